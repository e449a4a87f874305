//! Every service with every way of attaching tier 0, and without it: the answers are the same.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use edgestack_dataplane::inspect::LiveTraceView;
use edgestack_tests::site::{INTERNET, SERVER_IP, Site};
use edgestack_tests::tenants::{self, Attach};
use edgestack_tests::traffic::http::{HttpServer, fetch};
use edgestack_tests::traffic::ping::{ping, ping_with};
use edgestack_tests::traffic::udp::{self, UdpEcho};
use edgestack_tests::{LabError, inspect, run, wait};

#[test]
fn over_xdp() -> Result<(), LabError> {
    all_services(Attach::Xdp, true)
}

#[test]
fn over_tc() -> Result<(), LabError> {
    all_services(Attach::Tc, true)
}

#[test]
fn over_xdp_and_tc() -> Result<(), LabError> {
    all_services(Attach::Auto, true)
}

#[test]
fn over_xdp_by_the_engine_alone() -> Result<(), LabError> {
    all_services(Attach::Xdp, false)
}

#[test]
fn over_tc_by_the_engine_alone() -> Result<(), LabError> {
    all_services(Attach::Tc, false)
}

fn all_services(attach: Attach, fast_path: bool) -> Result<(), LabError> {
    let site = tenants::start(attach, fast_path)?;
    switching_and_routing(&site)?;
    translation(&site)?;
    floating_ips(&site)?;
    time_to_live(&site)?;
    let counters = inspect::counters(&site.edgectl())?;
    assert_eq!(counters.tier0_packets > 0, fast_path, "{counters:?}");
    Ok(())
}

fn switching_and_routing(site: &Site) -> Result<(), LabError> {
    let web = site.member("red-web1");
    for target in ["10.0.1.12", "10.0.1.1", "10.0.2.21", "10.0.2.1"] {
        let report = ping(web, target, 3)?;
        assert!(report.all_answered(), "{target}: {}", report.output);
    }
    assert!(ping(web, "10.0.1.99", 1)?.none_answered(), "nobody has the address");
    let _db = HttpServer::start(site.member("red-db"), "red-db", 5432)?;
    let page = fetch(web, "10.0.2.21:5432")?.expect("the database answers");
    assert!(page.starts_with("red-db sees 10.0.1.11:"), "{page}");
    // A large packet that fits, and one that may not be fragmented and does not.
    assert!(ping_with(web, "10.0.2.21", 2, "-s 1472 -M do")?.all_answered());
    Ok(())
}

/// TCP, UDP and ICMP leave with the router's address, and their answers return.
fn translation(site: &Site) -> Result<(), LabError> {
    let _http = HttpServer::start(site.member(INTERNET), INTERNET, 80)?;
    let _echo = UdpEcho::start(site.member(INTERNET), &format!("{SERVER_IP}:7"))?;
    for (from, router) in [("red-web2", "198.51.100.11"), ("blue-web2", "198.51.100.12")] {
        let member = site.member(from);
        let page = fetch(member, SERVER_IP)?.unwrap_or_else(|| panic!("{from} fetches a page"));
        assert!(page.starts_with(&format!("internet sees {router}:")), "{page}");
        let socket = udp::bind(member, "0.0.0.0:0")?;
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.extend(udp::ask(&socket, &format!("{SERVER_IP}:7"))?);
        }
        assert_eq!(seen.len(), 3, "{from}: {seen:?}");
        assert!(seen.iter().all(|address| *address == seen[0]), "one socket, one mapping: {seen:?}");
        assert!(seen[0].starts_with(&format!("{router}:")), "{seen:?}");
        assert!(ping(member, SERVER_IP, 3)?.all_answered(), "{from} pings");
    }
    Ok(())
}

fn floating_ips(site: &Site) -> Result<(), LabError> {
    let _servers = ["red-web1", "blue-web1"]
        .map(|name| HttpServer::start(site.member(name), name, 80))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let _http = HttpServer::start(site.member(INTERNET), INTERNET, 80)?;
    for (from, target, expected) in [
        (INTERNET, "198.51.100.101", "red-web1 sees 198.51.100.1:"),
        (INTERNET, "198.51.100.102", "blue-web1 sees 198.51.100.1:"),
        ("red-web1", SERVER_IP, "internet sees 198.51.100.101:"),
        ("blue-web1", SERVER_IP, "internet sees 198.51.100.102:"),
        // From inside: another workload, another network, the other tenant.
        ("red-web2", "198.51.100.101", "red-web1 sees "),
        ("red-db", "198.51.100.101", "red-web1 sees "),
        ("blue-web2", "198.51.100.101", "red-web1 sees 198.51.100.12:"),
    ] {
        let page = fetch(site.member(from), target)?.unwrap_or_else(|| panic!("{from} fetches {target}"));
        assert!(page.starts_with(expected), "{from} to {target}: {page}");
    }
    assert!(ping(site.member(INTERNET), "198.51.100.101", 3)?.all_answered());
    let shown = site.edgectl().json("show-fip 198.51.100.101")?;
    let traffic = &shown["floating_ip"]["status"]["traffic"];
    for field in ["packets_in", "packets_out", "bytes_in", "bytes_out"] {
        assert!(traffic[field].as_u64().is_some_and(|count| count > 3), "{field} in {shown}");
    }
    Ok(())
}

/// The gateway is a hop: it answers when the time to live ends there.
fn time_to_live(site: &Site) -> Result<(), LabError> {
    let web = site.member("red-web1");
    let report = ping_with(web, "10.0.2.21", 1, "-t 1")?;
    assert!(report.none_answered(), "{}", report.output);
    assert!(
        report.output.contains("10.0.1.1") && report.output.contains("Time to live exceeded"),
        "{}",
        report.output
    );
    assert!(ping_with(web, "10.0.2.21", 1, "-t 2")?.all_answered());
    // Within a network nothing is counted down.
    assert!(ping_with(web, "10.0.1.12", 1, "-t 1")?.all_answered());
    // From outside, through a floating IP, the error comes back to the sender.
    let report = ping_with(site.member(INTERNET), "198.51.100.101", 1, "-t 1")?;
    assert!(report.output.contains("Time to live exceeded"), "{}", report.output);
    Ok(())
}

#[test]
fn a_trace_says_what_a_packet_meets() -> Result<(), LabError> {
    let site = tenants::start(Attach::Auto, true)?;
    let edgectl = site.edgectl();
    let denied = edgectl.json("network-cli trace red-web1 'tcp 10.0.2.21:80'")?.to_string();
    assert!(denied.contains("firewall_ingress") && denied.contains("red-db"), "{denied}");
    edgectl.run("network-cli trace red-web1 'tcp 10.0.2.21:5432' --expect forward")?;
    let denied = edgectl.json("network-cli trace red-web1 'sctp > 10.0.2.21:5432'")?.to_string();
    assert!(denied.contains("firewall_ingress") && denied.contains("red-db"), "{denied}");
    let counters = inspect::counters(&edgectl)?;
    assert_eq!(counters.sessions, 0, "a trace leaves nothing behind: {counters:?}");
    Ok(())
}

#[test]
fn a_live_trace_tells_of_packets_that_pass_also_by_the_fast_path() -> Result<(), LabError> {
    let site = tenants::start(Attach::Auto, true)?;
    let edgectl = site.edgectl();
    let traced = AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        let pinging = scope.spawn(|| {
            let mut answered = true;
            while !traced.load(Ordering::Relaxed) {
                answered &= ping(site.member("red-web1"), "10.0.1.12", 50)?.received > 0;
            }
            Ok::<bool, LabError>(answered)
        });
        let is_forwarded = || {
            inspect::flows(&edgectl, "10.0.1.12")
                .is_ok_and(|flows| flows.iter().any(|flow| flow.tier0_packets > 0))
        };
        let begun = wait::until("tier 0 to forward the ping", Duration::from_secs(20), is_forwarded);
        let line = "network-cli trace --live --port red-web1 'icmp 10.0.1.12' --count 60 -o json";
        let output = begun.and_then(|()| edgectl.run(line));
        traced.store(true, Ordering::Relaxed);
        assert!(pinging.join().expect("no panic")?, "packets pass while they are traced");
        output
    })?;
    let records: Vec<LiveTraceView> = serde_json::Deserializer::from_str(&output)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap_or_else(|error| panic!("{error}: {output}"));
    assert_eq!(records.len(), 60, "{output}");
    for record in &records {
        assert_eq!(
            (record.in_port.as_str(), record.report.verdict.as_str()),
            ("red-web1", "forward"),
            "{record:?}"
        );
        assert_eq!(record.report.out_port.as_deref(), Some("red-web2"), "{record:?}");
    }
    // Each ping program is one flow: most packets are of one that tier 0 knows.
    let known = records.iter().filter(|record| record.report.steps.iter().all(|step| step.stage != "route"));
    assert!(known.count() > 30, "{output}");
    let unknown = edgectl.ask("network-cli trace --live --port nobody")?;
    assert!(unknown.code != 0 && unknown.errors.contains("nobody"), "{unknown:?}");
    Ok(())
}

#[test]
fn a_capture_is_read_by_tcpdump() -> Result<(), LabError> {
    let site = tenants::start(Attach::Auto, true)?;
    let file = site.directory().join("red-web1.pcap");
    let log = site.directory().join("capture.log");
    let mut command =
        site.edgectl().command(&format!("network-cli capture red-web1 -w {} --count 4", file.display()));
    let mut capture = edgestack_tests::Process::start(&mut command, &log)?;
    // More than the capture takes: it starts when it starts.
    let report = ping_with(site.member("red-web1"), "10.0.1.12", 40, "-i 0.05")?;
    assert!(report.all_answered(), "{}", report.output);
    capture.finish(std::time::Duration::from_secs(10))?;
    let text = run(&mut edgestack_tests::command::words(&format!("tcpdump -n -r {}", file.display())))?;
    assert!(text.contains("10.0.1.11 > 10.0.1.12: ICMP echo request"), "{text}");
    Ok(())
}
