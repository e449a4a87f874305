//! IPv6 beside IPv4, with real hosts: neighbour discovery, routing inside and outside, path MTU, and datagrams in parts of both
//! versions.

use edgestack_tests::site::{INTERNET, Site};
use edgestack_tests::tenants::{self, Attach};
use edgestack_tests::traffic::ping::{ping, ping_with};
use edgestack_tests::traffic::udp::{self, UdpEcho};
use edgestack_tests::{LabError, inspect};

const WEB1: &str = "2001:db8:1::11";
const WEB2: &str = "2001:db8:1::12";
const DB: &str = "2001:db8:2::21";
const OUTSIDE: &str = "2001:db8:ffff::1";
const SERVER: &str = "2001:db8:9::9";
const ROUTER: &str = "2001:db8:ffff::10";

#[test]
fn over_xdp() -> Result<(), LabError> {
    both_versions(Attach::Xdp, true)
}

#[test]
fn over_xdp_and_tc() -> Result<(), LabError> {
    both_versions(Attach::Auto, true)
}

#[test]
fn over_tc_by_the_engine_alone() -> Result<(), LabError> {
    both_versions(Attach::Tc, false)
}

fn both_versions(attach: Attach, fast_path: bool) -> Result<(), LabError> {
    let site = tenants::start(attach, fast_path)?;
    let before = inspect::counters(&site.edgectl())?;
    configure(&site)?;
    inside(&site)?;
    outside(&site)?;
    in_parts(&site)?;
    let counters = inspect::counters(&site.edgectl())?;
    let by_tier0 = counters.tier0_packets - before.tier0_packets;
    assert_eq!(by_tier0 > 10, fast_path, "{counters:?}");
    Ok(())
}

/// IPv6 for the red tenant, which has only IPv4 so far.
pub(crate) fn configure(site: &Site) -> Result<(), LabError> {
    let edgectl = site.edgectl();
    for command in [
        format!("update-network internet --ipv6 2001:db8:ffff::/64 --ipv6-gateway {OUTSIDE}"),
        "update-network red-front --ipv6 2001:db8:1::/64".to_owned(),
        "update-network red-back --ipv6 2001:db8:2::/64".to_owned(),
        format!("update-port red-web1 --ipv6 {WEB1}"),
        format!("update-port red-web2 --ipv6 {WEB2}"),
        format!("update-port red-db --ipv6 {DB}"),
        format!("update-router red-router --external-ipv6 {ROUTER}"),
        // Rules are of IPv4 where nothing is said.
        "create-sgr red-web --direction egress --ether IPv6".to_owned(),
        "create-sgr red-db --direction ingress --protocol ipv6-icmp".to_owned(),
        "create-sgr red-web --direction ingress --protocol ipv6-icmp".to_owned(),
        "create-sgr red-db --direction ingress --protocol udp --port 7 --ether IPv6".to_owned(),
    ] {
        edgectl.run(&command)?;
    }
    for member in ["red-web1", "red-web2", "red-db", INTERNET] {
        // Routes are the test's own, not those that the gateway advertises.
        site.member(member).run("sysctl -q -w net.ipv6.conf.eth0.accept_ra=0")?;
        site.member(member).run("sysctl -q -w net.ipv6.conf.all.disable_ipv6=0")?;
    }
    for (member, address, gateway) in [
        ("red-web1", WEB1, "2001:db8:1::1"),
        ("red-web2", WEB2, "2001:db8:1::1"),
        ("red-db", DB, "2001:db8:2::1"),
    ] {
        let member = site.member(member);
        member.run(&format!("ip -6 address add {address}/64 dev eth0 nodad"))?;
        member.run(&format!("ip -6 route add default via {gateway}"))?;
    }
    let internet = site.member(INTERNET);
    internet.run(&format!("ip -6 address add {OUTSIDE}/64 dev eth0 nodad"))?;
    internet.run(&format!("ip -6 address add {SERVER}/128 dev lo nodad"))?;
    internet.run(&format!("ip -6 route add 2001:db8:1::/48 via {ROUTER}"))?;
    internet.run(&format!("ip -6 route add 2001:db8:2::/48 via {ROUTER}"))?;
    Ok(())
}

fn inside(site: &Site) -> Result<(), LabError> {
    let web = site.member("red-web1");
    for target in [WEB2, "2001:db8:1::1", DB, "2001:db8:2::1"] {
        let report = ping(web, target, 3)?;
        assert!(report.all_answered(), "{target}: {}", report.output);
    }
    assert!(ping(web, "2001:db8:1::99", 1)?.none_answered(), "nobody has the address");
    let _echo = UdpEcho::start(site.member("red-db"), &format!("[{DB}]:7"))?;
    let socket = udp::bind(web, "[::]:0")?;
    for _ in 0..20 {
        let seen = udp::ask(&socket, &format!("[{DB}]:7"))?.expect("the database answers");
        assert!(seen.starts_with(&format!("[{WEB1}]:")), "it sees the sender's own address: {seen}");
    }
    // The hop limit ends at the router, which says so.
    let report = ping_with(web, DB, 1, "-t 1")?;
    assert!(report.output.contains("Hop limit"), "{}", report.output);
    Ok(())
}

fn outside(site: &Site) -> Result<(), LabError> {
    let report = ping(site.member("red-web1"), SERVER, 3)?;
    assert!(report.all_answered(), "{}", report.output);
    let _echo = UdpEcho::start(site.member(INTERNET), &format!("[{SERVER}]:7"))?;
    let socket = udp::bind(site.member("red-web2"), "[::]:0")?;
    let seen = udp::ask(&socket, &format!("[{SERVER}]:7"))?.expect("the server answers");
    assert!(seen.starts_with(&format!("[{WEB2}]:")), "nothing is translated: {seen}");
    let report = ping(site.member(INTERNET), WEB1, 2)?;
    assert!(report.all_answered(), "a rule lets it in: {}", report.output);
    Ok(())
}

/// Pings too large for a packet, within a network, between networks, and by source translation.
fn in_parts(site: &Site) -> Result<(), LabError> {
    let web = site.member("red-web1");
    for target in [WEB2, DB, SERVER, "10.0.1.12", "10.0.2.21"] {
        let report = ping_with(web, target, 3, "-s 4000")?;
        assert!(report.all_answered(), "{target}: {}", report.output);
    }
    let report = ping_with(site.member("red-web2"), edgestack_tests::site::SERVER_IP, 3, "-s 4000")?;
    assert!(report.all_answered(), "{}", report.output);
    Ok(())
}
