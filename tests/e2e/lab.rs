//! The lab itself, without the product: a failure here is not the daemon's.

use edgestack_tests::capture::Capture;
use edgestack_tests::link::{Plug, connect};
use edgestack_tests::namespace::{Namespace, list, unique_prefix};
use edgestack_tests::traffic::{http, iperf, ping, udp};
use edgestack_tests::wait;
use edgestack_tests::{LabError, run};
use std::time::Duration;

#[test]
fn a_cable_carries_every_kind_of_traffic() -> Result<(), LabError> {
    let prefix = unique_prefix();
    let host = Namespace::create(&format!("{prefix}-host"))?;
    let far = Namespace::create(&format!("{prefix}-far"))?;
    let directory = std::env::temp_dir().join(&prefix);
    std::fs::create_dir_all(&directory).map_err(LabError::system("make a directory"))?;
    let plug = Plug { address: Some("192.0.2.2/24"), gateway: Some("192.0.2.1"), ..Plug::new("cable0") };
    connect(&host, &far, &plug)?;
    host.run("ip address add 192.0.2.1/24 dev cable0")?;

    let capture = Capture::start(&far, "icmp or arp", &directory)?;
    assert!(ping::ping(&host, "192.0.2.2", 3)?.all_answered());
    assert!(ping::ping(&host, "192.0.2.99", 1)?.none_answered());
    wait::until("the capture to see the ping", Duration::from_secs(2), || {
        capture.packets().iter().any(|line| line.contains("ICMP echo request"))
    })?;

    let _server = http::HttpServer::start(&far, "far", 80)?;
    let page = http::fetch(&host, "192.0.2.2")?.expect("the page");
    assert!(page.starts_with("far sees 192.0.2.1:"), "{page}");
    assert_eq!(http::fetch(&host, "192.0.2.2:81")?, None);

    let _echo = udp::UdpEcho::start(&far, "192.0.2.2:7")?;
    let socket = udp::bind(&host, "0.0.0.0:4000")?;
    assert_eq!(udp::ask(&socket, "192.0.2.2:7")?.as_deref(), Some("192.0.2.1:4000"));
    assert_eq!(udp::ask(&socket, "192.0.2.2:8")?, None);

    let _iperf = iperf::server(&far, "192.0.2.2", &directory)?;
    let report = iperf::run(&host, "192.0.2.2", 1, "", &directory)?;
    assert!(report.bits_per_second > 1e6, "{report:?}");
    let report = iperf::run(&host, "192.0.2.2", 1, "--udp --bitrate 1M", &directory)?;
    assert!(report.datagrams > 0 && report.lost == 0, "{report:?}");

    drop((host, far));
    assert_eq!(list(&prefix), Vec::<String>::new());
    std::fs::remove_dir_all(directory).map_err(LabError::system("remove a directory"))
}

#[test]
fn a_failing_command_says_what_and_why() {
    let error = run(&mut edgestack_tests::command::words("ip link show no-such-link")).expect_err("it fails");
    let message = error.to_string();
    assert!(message.contains("ip link show no-such-link") && message.contains("does not exist"), "{message}");
}
