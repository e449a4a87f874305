//! The runtime on real interfaces: trunk and XDP, interfaces that come and go, restarts, captures.

use edgestack_dataplane::config::Attach;
use edgestack_dataplane::runtime::Dataplane;
use edgestack_tests::LabError;
use edgestack_tests::namespace::Namespace;
use edgestack_tests::traffic::ping;

use crate::site::{Site, config};

const TWO_ADDRESS: &str = "10.0.0.12";
const GATEWAY: &str = "10.0.0.1";
const OUTSIDE_ADDRESS: &str = "198.51.100.1";

fn assert_answers(dataplane: &Dataplane, from: &Namespace, to: &str, count: u32) {
    let pings = ping::ping(from, to, count).expect("ping");
    assert!(pings.all_answered(), "{to}: {pings:?}\n{:#?}\n{:#?}", dataplane.ports(), dataplane.drops());
}

fn ping_everywhere(attach: Attach, attached: [&str; 3]) -> Result<(), LabError> {
    let site = Site::new()?;
    let dataplane = site.start_with(&config(attach));
    let ports = dataplane.ports();
    let states: Vec<_> = ports.iter().map(|port| (port.state.as_str(), port.attached.as_str())).collect();
    assert_eq!(states, attached.map(|attached| ("up", attached)), "{ports:#?}");
    assert_answers(&dataplane, &site.one, GATEWAY, 3);
    assert_answers(&dataplane, &site.one, TWO_ADDRESS, 20);
    assert_answers(&dataplane, &site.two, OUTSIDE_ADDRESS, 20);
    let counters = dataplane.counters();
    assert!(counters.tier0_packets >= 30, "{counters:#?}\n{:#?}", dataplane.flows(10));
    Ok(())
}

#[test]
fn packets_pass_by_the_trunk_and_by_xdp() -> Result<(), LabError> {
    ping_everywhere(Attach::Auto, ["tc", "tc", "xdp+tc"])
}

#[test]
fn packets_pass_by_the_trunk_alone() -> Result<(), LabError> {
    ping_everywhere(Attach::Tc, ["tc", "tc", "tc"])
}

#[test]
fn packets_pass_by_xdp_alone() -> Result<(), LabError> {
    ping_everywhere(Attach::Xdp, ["xdp+tc", "xdp+tc", "xdp+tc"])
}
