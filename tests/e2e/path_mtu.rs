//! Path MTU discovery by real hosts: a narrow link beyond the upstream router, and TCP that must find out.
//!
//! ```text
//!  workload [1500] ---- host ---- internet ==== beyond ---- far 203.0.113.130
//!                  edgestackd    router    1280   router  1500
//! ```
//!
//! Both ends say that they take full-sized segments, so only the router's ICMP message, translated back to who sent, lets a
//! large body through.

use std::net::SocketAddr;

use edgestack_tests::LabError;
use edgestack_tests::namespace::{Namespace, unique_prefix};
use edgestack_tests::site::{INTERNET, Site};
use edgestack_tests::tenants::{self, Attach};
use edgestack_tests::traffic::body::{Direction, carry, learned_mtu};

const FAR: &str = "203.0.113.130";
const FLOATING_IP: &str = "198.51.100.101";
const BALANCED_IP: &str = "198.51.100.150";
const NARROW_MTU: u32 = 1280;

/// The narrow link and what is behind it, from the router that is the world outside.
struct Beyond {
    _router: Namespace,
    far: Namespace,
}

#[test]
fn by_auto() -> Result<(), LabError> {
    bodies_pass_a_narrow_link(Attach::Auto, true)
}

#[test]
fn by_xdp() -> Result<(), LabError> {
    bodies_pass_a_narrow_link(Attach::Xdp, true)
}

#[test]
fn without_the_fast_path() -> Result<(), LabError> {
    bodies_pass_a_narrow_link(Attach::Auto, false)
}

fn bodies_pass_a_narrow_link(attach: Attach, fast_path: bool) -> Result<(), LabError> {
    let site = tenants::start(attach, fast_path)?;
    let beyond = Beyond::connect(&site)?;
    let at = |address: &str| SocketAddr::new(address.parse().expect("an address"), 80);

    // Behind the router's address, from inside.
    let source = site.member("red-web2");
    assert_eq!(learned_mtu(source, FAR)?, None);
    carry(source, &beyond.far, at(FAR), Direction::Upload)?;
    assert_eq!(learned_mtu(source, FAR)?, Some(NARROW_MTU), "SNAT");

    // Behind a floating IP, for who asks from outside.
    let floating = site.member("red-web1");
    carry(&beyond.far, floating, at(FLOATING_IP), Direction::Download)?;
    assert_eq!(learned_mtu(floating, FAR)?, Some(NARROW_MTU), "floating IP");

    // Behind a load balancer: the message is for its address and reaches the member.
    let edgectl = site.edgectl();
    edgectl
        .run("create-lb shop --net blue-front --vip 10.0.1.100 --rule tcp:80 --member 10.0.1.12 --wait")?;
    edgectl.run(&format!("create-fip {BALANCED_IP} --net internet --lb shop"))?;
    let member = site.member("blue-web2");
    carry(&beyond.far, member, at(BALANCED_IP), Direction::Download)?;
    assert_eq!(learned_mtu(member, FAR)?, Some(NARROW_MTU), "load balancer");
    Ok(())
}

impl Beyond {
    fn connect(site: &Site) -> Result<Self, LabError> {
        let prefix = unique_prefix();
        let internet = site.member(INTERNET);
        let router = Namespace::create(&format!("{prefix}-beyond"))?;
        let far = Namespace::create(&format!("{prefix}-far"))?;
        internet.run(&format!(
            "ip link add narrow mtu {NARROW_MTU} type veth peer name narrow mtu {NARROW_MTU} netns {}",
            router.name()
        ))?;
        router.run(&format!("ip link add wide type veth peer name eth0 netns {}", far.name()))?;
        for (namespace, interface, address) in [
            (internet, "narrow", "192.0.2.1/30"),
            (&router, "narrow", "192.0.2.2/30"),
            (&router, "wide", "203.0.113.129/25"),
            (&far, "eth0", "203.0.113.130/25"),
        ] {
            namespace.run(&format!("ip address add {address} dev {interface}"))?;
            namespace.run(&format!("ip link set {interface} up"))?;
        }
        for namespace in [internet, &router] {
            namespace.run("sysctl -q -w net.ipv4.ip_forward=1")?;
        }
        internet.run("ip route add 203.0.113.128/25 via 192.0.2.2")?;
        router.run("ip route add default via 192.0.2.1")?;
        far.run("ip route add default via 203.0.113.129")?;
        Ok(Self { _router: router, far })
    }
}
