//! Interfaces that are missing, disappear and return: said clearly, and recovered from without a restart.

use std::time::Duration;

use edgestack_tests::site::{INTERNET, SERVER_IP, Site, UPLINK};
use edgestack_tests::tenants::{self, Attach, TENANTS};
use edgestack_tests::traffic::http::{HttpServer, fetch};
use edgestack_tests::traffic::ping::ping;
use edgestack_tests::{LabError, inspect, link, wait};

#[test]
fn an_interface_disappears_and_returns() -> Result<(), LabError> {
    for attach in [Attach::Xdp, Attach::Tc] {
        let mut site = tenants::start(attach, true)?;
        assert!(ping(site.member("red-web1"), "10.0.1.12", 2)?.all_answered());
        link::disconnect(site.host(), "red-web2")?;
        site.unplug("red-web2");
        let reason = port_leaves_state(&site, "red-web2", "up")?;
        assert!(reason.contains("red-web2"), "the reason names the interface: {reason}");
        assert!(ping(site.member("red-web1"), "10.0.1.12", 1)?.none_answered());
        assert!(ping(site.member("red-web1"), "10.0.1.1", 2)?.all_answered(), "the others go on");

        site.plug(&TENANTS[0].workloads[1], attach == Attach::Xdp)?;
        tenants::wait_for_ports(&site)?;
        assert!(ping(site.member("red-web1"), "10.0.1.12", 2)?.all_answered(), "{attach:?}: it is back");
    }
    Ok(())
}

#[test]
fn an_uplink_that_comes_later_is_taken_up() -> Result<(), LabError> {
    let mut site = Site::unique()?;
    for workload in TENANTS.iter().flat_map(|tenant| &tenant.workloads) {
        site.plug(workload, false)?;
    }
    // The configuration names an uplink that is not there yet.
    let mut settings = site.daemon_settings("auto");
    settings.uplinks.push(edgestack_tests::daemon::Uplink {
        interface: UPLINK.to_owned(),
        physical_network: edgestack_tests::site::PHYSICAL_NETWORK.to_owned(),
        attach: "auto".to_owned(),
    });
    site.start_daemon(settings)?;
    for command in tenants::commands(Attach::Auto) {
        site.edgectl().run(&command)?;
    }
    let port = uplink(&site)?;
    assert!(port.0 != "up" && port.1.contains(UPLINK), "it says what it waits for: {port:?}");
    assert!(ping(site.member("red-web1"), "10.0.1.12", 2)?.all_answered(), "the rest works meanwhile");

    site.connect_internet()?;
    tenants::wait_for_ports(&site)?;
    let _http = HttpServer::start(site.member(INTERNET), INTERNET, 80)?;
    assert!(fetch(site.member("red-web2"), SERVER_IP)?.is_some());
    Ok(())
}

/// Waits until a port is no longer in `state`; returns the reason that it gives.
fn port_leaves_state(site: &Site, name: &str, state: &str) -> Result<String, LabError> {
    let edgectl = site.edgectl();
    wait::value(&format!("port {name} not to be {state}"), Duration::from_secs(5), || {
        let ports = inspect::ports(&edgectl).map_err(|error| error.to_string())?;
        let port = ports.into_iter().find(|port| port.name == name).ok_or("no such port")?;
        if port.state == state { Err(format!("{port:?}")) } else { Ok(port.reason) }
    })
}

fn uplink(site: &Site) -> Result<(String, String), LabError> {
    let ports = inspect::ports(&site.edgectl())?;
    let port = ports.into_iter().find(|port| port.kind == "uplink").expect("the uplink is a port");
    Ok((port.state, port.reason))
}
