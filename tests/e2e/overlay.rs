//! Two hosts, each with a daemon, joined by an underlay: one tenant network on both, and a routed second one.
//!
//! ```text
//!  wl-a [front 10.0.1.11] ---- west [under0] ---- [under0] east ---- [front 10.0.1.12] wl-b
//!                                                              ---- [back  10.0.2.12] wl-c
//! ```

use std::time::Duration;

use edgestack_dataplane::inspect::FlowView;
use edgestack_tests::daemon::{DaemonSettings, Uplink};
use edgestack_tests::site::{Site, Workload};
use edgestack_tests::traffic::body::{Direction, carry, learned_mtu};
use edgestack_tests::traffic::iperf;
use edgestack_tests::traffic::ping::{ping, ping_with};
use edgestack_tests::traffic::udp::{self, UdpEcho};
use edgestack_tests::{LabError, inspect, wait};

const A: Workload =
    Workload { name: "wl-a", mac_address: "02:00:00:00:01:0a", address: "10.0.1.11/24", gateway: "10.0.1.1" };
const B: Workload =
    Workload { name: "wl-b", mac_address: "02:00:00:00:01:0b", address: "10.0.1.12/24", gateway: "10.0.1.1" };
const C: Workload =
    Workload { name: "wl-c", mac_address: "02:00:00:00:02:0c", address: "10.0.2.12/24", gateway: "10.0.2.1" };

/// How the two hosts are joined.
#[derive(Clone, Copy)]
struct Joint {
    network_type: &'static str,
    ipv6: bool,
    attach: &'static str,
    /// Largest packet of a workload that fits into a tunnel.
    mtu: usize,
}

#[test]
fn vxlan_over_ipv4() -> Result<(), LabError> {
    one_network(Joint { network_type: "vxlan", ipv6: false, attach: "auto", mtu: 1450 })
}

#[test]
fn geneve_over_ipv6() -> Result<(), LabError> {
    one_network(Joint { network_type: "geneve", ipv6: true, attach: "auto", mtu: 1430 })
}

#[test]
fn vxlan_over_ipv6_by_tc() -> Result<(), LabError> {
    one_network(Joint { network_type: "vxlan", ipv6: true, attach: "tc", mtu: 1430 })
}

#[test]
fn geneve_over_ipv4_by_xdp() -> Result<(), LabError> {
    one_network(Joint { network_type: "geneve", ipv6: false, attach: "xdp", mtu: 1450 })
}

fn one_network(joint: Joint) -> Result<(), LabError> {
    let (mut west, mut east) = (Site::unique()?, Site::unique()?);
    let is_xdp = joint.attach == "xdp";
    west.plug(&A, is_xdp)?;
    east.plug(&B, is_xdp)?;
    east.plug(&C, is_xdp)?;
    join(&west, &east)?;
    for (site, number, other, name) in [(&mut west, 1, 2, "east"), (&mut east, 2, 1, "west")] {
        let settings = settings(site, joint, number, other, name);
        site.start_daemon(settings)?;
    }
    create(&west, joint, &[("wl-a", &A, "front")], &[("wl-b", &B, "front"), ("wl-c", &C, "back")], "east")?;
    create(&east, joint, &[("wl-b", &B, "front"), ("wl-c", &C, "back")], &[("wl-a", &A, "front")], "west")?;
    reaches(&west, &east)?;
    path_mtu(&west, joint)?;
    bodies_arrive(&west, &east, joint)?;
    for target in ["10.0.1.12", "10.0.2.12"] {
        stays_in_the_kernel(&west, &east, target)?;
    }
    Ok(())
}

/// The cable between the hosts.
fn join(west: &Site, east: &Site) -> Result<(), LabError> {
    west.host()
        .run(&format!("ip link add under0 type veth peer name under0 netns {}", east.host().name()))?;
    for host in [west.host(), east.host()] {
        // XDP needs both, as on every veth: redirected frames are taken with GRO on, and checksums are in them already.
        host.run("ethtool -K under0 gro on tx off")?;
        host.run("ip link set under0 up")?;
    }
    Ok(())
}

fn settings(site: &Site, joint: Joint, number: u8, other: u8, name: &str) -> DaemonSettings {
    let mut settings = site.daemon_settings("auto");
    settings.uplinks.push(Uplink {
        interface: "under0".to_owned(),
        physical_network: "underlay".to_owned(),
        attach: joint.attach.to_owned(),
    });
    let (own, peer) = if joint.ipv6 {
        (format!("ipv6_address = \"2001:db8:ff::{number}/64\""), format!("2001:db8:ff::{other}"))
    } else {
        (format!("address = \"192.0.2.{number}/24\""), format!("192.0.2.{other}"))
    };
    settings.dataplane = format!(
        "\n[overlay]\nuplink = \"under0\"\n{own}\n\n[[overlay.peer]]\nname = \"{name}\"\naddress = \"{peer}\"\n"
    );
    settings
}

/// The objects of one host: those that all hosts have, its own ports, and those of the other.
fn create(
    site: &Site,
    joint: Joint,
    own: &[(&str, &Workload, &str)],
    others: &[(&str, &Workload, &str)],
    host: &str,
) -> Result<(), LabError> {
    let edgectl = site.edgectl();
    let kind = joint.network_type;
    edgectl.run(&format!("create-network front --type {kind} --segment-id 100 --cidr 10.0.1.0/24"))?;
    edgectl.run(&format!("create-network back --type {kind} --segment-id 200 --cidr 10.0.2.0/24"))?;
    edgectl.run("create-router r --net front --net back --mac 02:00:00:00:00:01")?;
    edgectl.run("create-sg open --rule egress --rule ingress")?;
    for (name, workload, network) in own {
        edgectl.run(&format!(
            "create-port {name} --net {network} --mac {} --ip {} --sg open --interface {name} --attach {}",
            workload.mac_address,
            workload.ip(),
            if joint.attach == "xdp" { "xdp" } else { "auto" },
        ))?;
    }
    for (name, workload, network) in others {
        edgectl.run(&format!(
            "create-port {name} --net {network} --mac {} --ip {} --sg open --host {host}",
            workload.mac_address,
            workload.ip()
        ))?;
    }
    wait::value("all ports to be up", Duration::from_secs(20), || {
        let ports = inspect::ports(&edgectl).map_err(|error| error.to_string())?;
        let ready = ports.iter().filter(|port| matches!(port.state.as_str(), "up" | "remote")).count();
        if ready == own.len() + others.len() + 1 { Ok(()) } else { Err(format!("{ports:#?}")) }
    })
}

fn reaches(west: &Site, east: &Site) -> Result<(), LabError> {
    for target in ["10.0.1.12", "10.0.2.12"] {
        // The first packet waits until the hosts have found each other.
        wait::value("the other host to be reached", Duration::from_secs(20), || {
            let report = ping(west.member("wl-a"), target, 1).map_err(|error| error.to_string())?;
            if report.all_answered() { Ok(()) } else { Err(report.output) }
        })?;
        let report = ping(west.member("wl-a"), target, 20)?;
        assert!(report.received >= 19, "{target}: {}", report.output);
    }
    for member in ["wl-b", "wl-c"] {
        let report = ping(east.member(member), "10.0.1.11", 20)?;
        assert!(report.received >= 19, "{member}: {}", report.output);
    }
    let _echo = UdpEcho::start(east.member("wl-c"), "10.0.2.12:7")?;
    let socket = udp::bind(west.member("wl-a"), "0.0.0.0:0")?;
    let seen = wait::value("the other host to answer", Duration::from_secs(20), || {
        udp::ask(&socket, "10.0.2.12:7")
            .map_err(|error| error.to_string())?
            .ok_or_else(|| "silence".to_owned())
    })?;
    assert!(seen.starts_with("10.0.1.11:"), "nothing is translated between hosts: {seen}");
    Ok(())
}

/// What is too large for the tunnel is said to be, within a network as between two, and what may be cut is cut.
fn path_mtu(west: &Site, joint: Joint) -> Result<(), LabError> {
    let a = west.member("wl-a");
    for target in ["10.0.1.12", "10.0.2.12"] {
        let report = ping_with(a, target, 2, &format!("-M do -s {}", joint.mtu - 27))?;
        assert!(report.none_answered(), "{target}: {}", report.output);
        assert!(
            report.output.contains(&format!("mtu = {}", joint.mtu))
                || report.output.contains(&format!("mtu={}", joint.mtu)),
            "{}",
            report.output
        );
        let report = ping_with(a, target, 2, &format!("-M do -s {}", joint.mtu - 28))?;
        assert!(report.all_answered(), "{target}: {}", report.output);
        let report = ping_with(a, target, 2, "-M dont -s 4000")?;
        assert!(report.all_answered(), "{target}: {}", report.output);
        a.run("ip route flush cache")?;
    }
    Ok(())
}

/// Workloads that take full-sized segments for granted learn what fits into the tunnel, within a network as between two.
fn bodies_arrive(west: &Site, east: &Site, joint: Joint) -> Result<(), LabError> {
    let a = west.member("wl-a");
    for (server, target) in [("wl-b", "10.0.1.12"), ("wl-c", "10.0.2.12")] {
        let address = std::net::SocketAddr::new(target.parse().expect("an address"), 80);
        let server = east.member(server);
        let wanted = u32::try_from(joint.mtu).ok();
        // Who has learned says so to the other, who then needs not: it is forgotten in between.
        carry(a, server, address, Direction::Download)?;
        assert_eq!(learned_mtu(server, "10.0.1.11")?, wanted, "{target}");
        server.run("ip route flush cache")?;
        carry(a, server, address, Direction::Upload)?;
        assert_eq!(learned_mtu(a, target)?, wanted, "{target}");
        a.run("ip route flush cache")?;
    }
    Ok(())
}

/// A TCP stream to the other host: after its start neither engine sees a packet of it.
fn stays_in_the_kernel(west: &Site, east: &Site, target: &str) -> Result<(), LabError> {
    let server = if target == "10.0.1.12" { "wl-b" } else { "wl-c" };
    let _server = iperf::server(east.member(server), target, east.directory())?;
    let client = iperf::start(west.member("wl-a"), target, 6, "", west.directory())?;
    let is_under_way = |site: &Site| {
        wait::value("the stream to be under way", Duration::from_secs(10), || {
            let flows = stream(site, target).map_err(|error| error.to_string())?;
            let most = flows.iter().map(|flow| flow.tier0_packets).max().unwrap_or(0);
            if most > 500 { Ok(flows) } else { Err(format!("{flows:#?}")) }
        })
    };
    let early = [is_under_way(west)?, is_under_way(east)?];
    std::thread::sleep(Duration::from_secs(1));
    let late = [stream(west, target)?, stream(east, target)?];
    let report = client.finish()?;
    assert!(report.bits_per_second > 1e6, "{target}: {report:?}");
    for (early, late) in early.iter().zip(&late) {
        inspect::assert_tier0_alone(early, late, target);
    }
    Ok(())
}

fn stream(site: &Site, target: &str) -> Result<Vec<FlowView>, LabError> {
    inspect::flows(&site.edgectl(), &format!("{target}:5201"))
}
