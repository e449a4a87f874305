//! The gateway that scripts are run on: two tenants with equal addresses, and variants of their configuration.

use std::net::Ipv4Addr;
use std::sync::Arc;

use edgestack_dataplane::address::{Cidr, MacAddress};
use edgestack_dataplane::config::{
    AddressPair, Attach, Config, Direction, FloatingIp, FloatingIpTarget, LoadBalancer, LoadBalancerMember,
    LoadBalancerRule, Network, Port, PortKind, Remote, Router, RouterExternal, SecurityGroup,
    SecurityGroupRule, StaticRoute, Workload,
};

/// Ports that packets come in by; the last does not exist.
pub const PORTS: [&str; 7] = ["red-1", "red-2", "red-3", "blue-1", "wan", "wan", "nobody"];

const RED_ROUTER: [u8; 6] = [2, 0, 0, 0, 1, 1];
const BLUE_ROUTER: [u8; 6] = [2, 0, 0, 0, 1, 2];
const NEXT_HOP: [u8; 6] = [2, 0, 0, 0, 0xff, 1];

/// MAC addresses that frames are sent to, or from when they lie.
pub const MACS: [[u8; 6]; 9] = [
    RED_ROUTER,
    BLUE_ROUTER,
    NEXT_HOP,
    [2, 0, 0, 0, 0, 1],
    [2, 0, 0, 0, 0, 2],
    [2, 0, 0, 0, 0, 3],
    [0xff; 6],
    [1, 0, 0x5e, 0, 0, 1],
    [0; 6],
];

/// Addresses that packets are sent to, or from when they lie.
pub const ADDRESSES: [Ipv4Addr; 16] = [
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(10, 0, 0, 11),
    Ipv4Addr::new(10, 0, 0, 12),
    Ipv4Addr::new(10, 0, 1, 1),
    Ipv4Addr::new(10, 0, 1, 13),
    Ipv4Addr::new(10, 0, 0, 40),
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv4Addr::new(192, 0, 2, 10),
    Ipv4Addr::new(192, 0, 2, 20),
    Ipv4Addr::new(192, 0, 2, 100),
    Ipv4Addr::new(192, 0, 2, 101),
    Ipv4Addr::new(198, 51, 100, 9),
    Ipv4Addr::new(203, 0, 113, 7),
    Ipv4Addr::new(224, 0, 0, 1),
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::UNSPECIFIED,
];

/// The MAC address that a port's frames truly come from.
pub fn own_mac(port: &str) -> [u8; 6] {
    match port {
        "red-1" | "blue-1" => [2, 0, 0, 0, 0, 1],
        "red-2" => [2, 0, 0, 0, 0, 2],
        "red-3" => [2, 0, 0, 0, 0, 3],
        _ => NEXT_HOP,
    }
}

/// The MAC address of a router that a port's packets are sent to.
pub fn gateway_mac(port: &str) -> [u8; 6] {
    if port == "blue-1" { BLUE_ROUTER } else { RED_ROUTER }
}

/// The address of the workload with this MAC address.
pub fn ip_of(mac: [u8; 6]) -> Option<Ipv4Addr> {
    ["red-1", "red-2", "red-3"].into_iter().find(|port| own_mac(port) == mac).map(own_ip)
}

/// The address that a port's packets truly come from.
pub fn own_ip(port: &str) -> Ipv4Addr {
    match port {
        "red-1" | "blue-1" => Ipv4Addr::new(10, 0, 0, 11),
        "red-2" => Ipv4Addr::new(10, 0, 0, 12),
        "red-3" => Ipv4Addr::new(10, 0, 1, 13),
        _ => Ipv4Addr::new(198, 51, 100, 9),
    }
}

/// A sound configuration; each bit of `variant` changes one thing.
pub fn config(variant: u16) -> Config {
    let bit = |number: u16| variant >> number & 1 != 0;
    let network = |id: &str, third: u8, mtu: u16, external: bool| Network {
        gateway_ip: Some(if external { ADDRESSES[6] } else { Ipv4Addr::new(10, 0, third, 1) }),
        mtu,
        external,
        ..Network::new(id, if external { cidr([192, 0, 2, 0], 24) } else { cidr([10, 0, third, 0], 24) })
    };
    let mut ports = vec![
        workload("red-1", "red-a", bit(0), !bit(1)),
        workload("red-2", "red-a", false, true),
        workload("blue-1", "blue", bit(2), true),
    ];
    if !bit(3) {
        ports.push(workload("red-3", "red-b", false, true));
    }
    ports.push(Port {
        id: "wan".to_owned(),
        name: "wan".to_owned(),
        network: "ext".to_owned(),
        interface: None,
        kind: PortKind::Uplink,
        attach: Attach::Auto,
        admin_state_up: !bit(4),
    });
    Config {
        networks: [
            network("red-a", 0, 1500, false),
            network("red-b", 1, if bit(5) { 1000 } else { 1500 }, false),
            network("blue", 0, 1500, false),
            network("ext", 0, 1500, true),
        ]
        .map(Arc::new)
        .into(),
        ports: ports.into_iter().map(Arc::new).collect(),
        routers: [
            Router {
                routes: if bit(15) { routes() } else { Vec::new() },
                ..router("red", RED_ROUTER, &["red-a", "red-b"], 10, !bit(6), bit(7))
            },
            router("blue", BLUE_ROUTER, &["blue"], 20, true, true),
        ]
        .map(Arc::new)
        .into(),
        floating_ips: [
            floating_ip("fip-red", ADDRESSES[9], bit(8).then_some(("red-1", "red"))),
            floating_ip("fip-blue", ADDRESSES[10], (!bit(9)).then_some(("blue-1", "blue"))),
        ]
        .map(Arc::new)
        .into(),
        security_groups: [group("open", bit(10), bit(11)), group("clients", false, bit(12))]
            .map(Arc::new)
            .into(),
        load_balancers: vec![Arc::new(load_balancer(bit(13), bit(14)))],
        ..Config::default()
    }
}

fn cidr(address: [u8; 4], prefix: u8) -> Cidr {
    Cidr::containing(Ipv4Addr::from(address), prefix)
}

fn workload(id: &str, network: &str, no_group: bool, port_security: bool) -> Port {
    Port {
        id: id.to_owned(),
        name: id.to_owned(),
        network: network.to_owned(),
        interface: None,
        kind: PortKind::Workload(Workload {
            security_groups: if no_group {
                Vec::new()
            } else {
                vec!["open".to_owned(), "clients".to_owned()]
            },
            allowed_address_pairs: vec![AddressPair {
                ip_address: cidr([10, 0, 0, 40], 32),
                mac_address: None,
            }],
            port_security,
            ..Workload::new(MacAddress(own_mac(id)), own_ip(id))
        }),
        attach: Attach::Auto,
        admin_state_up: true,
    }
}

fn router(id: &str, mac: [u8; 6], networks: &[&str], host: u8, enable_snat: bool, peer: bool) -> Router {
    let networks = networks.iter().map(|network| (*network).to_owned()).collect();
    Router {
        external: Some(RouterExternal {
            enable_snat,
            routed: !enable_snat,
            snat_pool: None,
            peer_mac: peer.then_some(MacAddress(NEXT_HOP)),
            ..RouterExternal::new("ext", Ipv4Addr::new(192, 0, 2, host))
        }),
        ..Router::new(id, MacAddress(mac), networks)
    }
}

/// By a workload, by a neighbour outside, and nowhere.
fn routes() -> Vec<StaticRoute> {
    let by = |address, prefix, next_hop: Option<Ipv4Addr>| StaticRoute {
        destination: cidr(address, prefix),
        next_hop: next_hop.map(Into::into),
        reject: next_hop.is_none(),
    };
    vec![
        by([203, 0, 113, 0], 24, Some(own_ip("red-2"))),
        by([198, 51, 0, 0], 16, Some(Ipv4Addr::new(192, 0, 2, 99))),
        by([198, 51, 100, 8], 31, None),
    ]
}

fn floating_ip(id: &str, address: Ipv4Addr, target: Option<(&str, &str)>) -> FloatingIp {
    FloatingIp {
        id: id.to_owned(),
        floating_ip: address,
        network: "ext".to_owned(),
        target: target
            .map(|(port, router)| FloatingIpTarget { port: port.to_owned(), router: router.to_owned() }),
        load_balancer: None,
    }
}

/// At the address that workloads of red-a may use too.
fn load_balancer(has_backup: bool, drained: bool) -> LoadBalancer {
    let rule = |id: &str, protocol, ports: Option<(u16, u16)>| LoadBalancerRule {
        id: id.to_owned(),
        protocol,
        port_range_min: ports.map(|(first, _)| first),
        port_range_max: ports.map(|(_, last)| last),
        target_port: ports.map(|(first, _)| first + 1),
    };
    let member = |port: &str, weight, backup| LoadBalancerMember {
        weight,
        backup,
        ..LoadBalancerMember::new(own_ip(port).into())
    };
    LoadBalancer {
        id: "balanced".to_owned(),
        name: "balanced".to_owned(),
        network: "red-a".to_owned(),
        vip: ADDRESSES[5].into(),
        router: None,
        rules: vec![
            rule("tcp", Some(6), Some((2000, 2002))),
            rule("udp", Some(17), Some((2000, 2002))),
            rule("ping", Some(1), None),
        ],
        members: vec![member("red-1", u16::from(!drained), false), member("red-2", 3, has_backup)],
        affinity_seconds: has_backup.then_some(2),
        reject: drained,
        admin_state_up: true,
    }
}

fn group(id: &str, only_udp: bool, by_group: bool) -> SecurityGroup {
    let rule = |direction: Direction, name: &str| SecurityGroupRule {
        protocol: only_udp.then_some(17),
        port_range_min: only_udp.then_some(2000),
        port_range_max: only_udp.then_some(2003),
        remote: if by_group { Remote::Group { group: "clients".to_owned() } } else { Remote::Any },
        ..SecurityGroupRule::new(format!("{id}-{name}"), direction)
    };
    SecurityGroup {
        id: id.to_owned(),
        name: id.to_owned(),
        log_denied: false,
        rules: vec![rule(Direction::Egress, "out"), rule(Direction::Ingress, "in")],
    }
}
