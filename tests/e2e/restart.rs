//! The daemon ends and comes back, and the configuration changes, while traffic flows.

use std::time::Duration;

use edgestack_tests::site::{INTERNET, SERVER_IP, Site};
use edgestack_tests::tenants::{self, Attach};
use edgestack_tests::traffic::http::{HttpServer, fetch};
use edgestack_tests::traffic::iperf;
use edgestack_tests::{LabError, inspect};

#[test]
fn a_stopped_daemon_loses_no_packet_of_an_established_flow() -> Result<(), LabError> {
    restart(Attach::Xdp, |site| site.daemon().stop())?;
    restart(Attach::Auto, |site| site.daemon().stop())
}

#[test]
fn a_killed_daemon_loses_no_packet_of_an_established_flow() -> Result<(), LabError> {
    let kill = |site: &mut Site| {
        site.daemon().kill();
        Ok(())
    };
    restart(Attach::Xdp, kill)?;
    restart(Attach::Tc, kill)
}

fn restart(attach: Attach, end: impl Fn(&mut Site) -> Result<(), LabError>) -> Result<(), LabError> {
    let mut site = tenants::start(attach, true)?;
    let _http = HttpServer::start(site.member(INTERNET), INTERNET, 80)?;
    let _server = iperf::server(site.member(INTERNET), SERVER_IP, site.directory())?;
    let objects = site.edgectl().run("list-ports -o name")?;
    let stream = stream(&site, 6)?;
    std::thread::sleep(Duration::from_secs(1));
    let before = stream_packets(&site)?;
    end(&mut site)?;
    std::thread::sleep(Duration::from_secs(1));
    site.daemon().launch()?;
    let after = stream_packets(&site)?;
    assert!(
        after > before,
        "{attach:?}: the new daemon knows the flow: {before} packets before, {after} after"
    );
    let report = stream.finish()?;
    assert!(report.is_whole(), "{attach:?}: {report}");
    assert_eq!(site.edgectl().run("list-ports -o name")?, objects, "{attach:?}: desired state is kept");
    assert!(fetch(site.member("blue-web2"), SERVER_IP)?.is_some(), "{attach:?}: new connections work");
    Ok(())
}

#[test]
fn changes_of_one_tenant_leave_the_other_alone() -> Result<(), LabError> {
    let site = tenants::start(Attach::Auto, true)?;
    let _server = iperf::server(site.member(INTERNET), SERVER_IP, site.directory())?;
    let edgectl = site.edgectl();
    let stream = stream(&site, 6)?;
    std::thread::sleep(Duration::from_secs(1));
    let engine = || -> Result<u64, LabError> {
        let flows = inspect::flows(&edgectl, &format!("{SERVER_IP}:5201"))?;
        Ok(flows
            .iter()
            .filter(|flow| flow.protocol == "udp")
            .map(|flow| flow.packets - flow.tier0_packets)
            .sum())
    };
    let before = engine()?;
    for command in [
        "create-sg blue-extra --rule 'ingress tcp 443'",
        "update-port blue-web1 --add-sg blue-extra",
        "create-network blue-third --cidr 10.0.3.0/24 --mtu 1500",
        "update-router blue-router --add-net blue-third",
        "create-port blue-third1 --net blue-third",
        "remove-port blue-third1",
        "remove-fip 198.51.100.102",
    ] {
        edgectl.run(command)?;
    }
    assert_eq!(engine()?, before, "red's flow is not even looked at again");
    let report = stream.finish()?;
    assert!(report.is_whole(), "{report}");
    Ok(())
}

fn stream(site: &Site, seconds: u64) -> Result<iperf::Stream, LabError> {
    iperf::Stream::start(site.member("red-web2"), site.member(INTERNET), SERVER_IP, seconds, site.directory())
}

fn stream_packets(site: &Site) -> Result<u64, LabError> {
    let flows = inspect::flows(&site.edgectl(), &format!("{SERVER_IP}:5201"))?;
    let packets = flows.iter().filter(|flow| flow.protocol == "udp").map(|flow| flow.packets).max();
    Ok(packets.unwrap_or(0))
}
