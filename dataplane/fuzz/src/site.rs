//! The gateway that scripts are run on: two tenants with equal addresses, on another host too, and variants of
//! their configuration.

use std::net::Ipv4Addr;
use std::sync::Arc;

use edgestack_dataplane::address::{Cidr, MacAddress};
use edgestack_dataplane::config::{
    AddressPair, Attach, Config, Direction, FloatingIp, FloatingIpTarget, LoadBalancer, LoadBalancerMember,
    LoadBalancerRule, Network, Overlay, Peer, Port, PortKind, Remote, Router, RouterExternal, SecurityGroup,
    SecurityGroupRule, Segment, StaticRoute, Workload,
};
use edgestack_dataplane::engine::{Engine, InterfaceBinding};

/// Ports that packets come in by, some through the uplink of others; one does not exist.
pub const PORTS: [&str; 10] =
    ["red-1", "red-2", "red-3", "blue-1", "wan", "wan", "nobody", "far-red", "far-blue", "wan-10"];

/// Identifiers of the networks that are on two hosts.
pub const RED_VNI: u32 = 7;
pub const BLUE_VNI: u32 = 8;
/// The tag of the external network that has one.
pub const VLAN: u16 = 10;
/// The ends of the tunnels.
pub const OVERLAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);
pub const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 201);
pub const OVERLAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x50];

const RED_ROUTER: [u8; 6] = [2, 0, 0, 0, 1, 1];
const BLUE_ROUTER: [u8; 6] = [2, 0, 0, 0, 1, 2];
const GREEN_ROUTER: [u8; 6] = [2, 0, 0, 0, 1, 3];
const NEXT_HOP: [u8; 6] = [2, 0, 0, 0, 0xff, 1];

/// MAC addresses that frames are sent to, or from when they lie.
pub const MACS: [[u8; 6]; 12] = [
    RED_ROUTER,
    BLUE_ROUTER,
    GREEN_ROUTER,
    OVERLAY_MAC,
    [2, 0, 0, 0, 0, 4],
    NEXT_HOP,
    [2, 0, 0, 0, 0, 1],
    [2, 0, 0, 0, 0, 2],
    [2, 0, 0, 0, 0, 3],
    [0xff; 6],
    [1, 0, 0x5e, 0, 0, 1],
    [0; 6],
];

/// Addresses that packets are sent to, or from when they lie.
pub const ADDRESSES: [Ipv4Addr; 20] = [
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
    PEER,
    OVERLAY,
    Ipv4Addr::new(10, 0, 0, 31),
    Ipv4Addr::new(198, 18, 0, 30),
];

/// The MAC address that a port's frames truly come from.
pub fn own_mac(port: &str) -> [u8; 6] {
    match port {
        "red-1" | "blue-1" => [2, 0, 0, 0, 0, 1],
        "red-2" => [2, 0, 0, 0, 0, 2],
        "red-3" => [2, 0, 0, 0, 0, 3],
        "far-red" | "far-blue" => [2, 0, 0, 0, 0, 4],
        _ => NEXT_HOP,
    }
}

/// The MAC address that a port's packets are sent to: a router's or, of those that were routed on another host, a workload's.
pub fn gateway_mac(port: &str) -> [u8; 6] {
    match port {
        "blue-1" => BLUE_ROUTER,
        "wan-10" => GREEN_ROUTER,
        "far-red" | "far-blue" => own_mac("red-1"),
        _ => RED_ROUTER,
    }
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
        "far-red" | "far-blue" => Ipv4Addr::new(10, 0, 0, 31),
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
    ports.extend([
        far(workload("far-red", "red-a", false, true)),
        far(workload("far-blue", "blue", false, true)),
    ]);
    ports.extend([uplink("wan", "ext", !bit(4)), uplink("wan-10", "ext-10", true)]);
    Config {
        networks: [
            Network { segment: Some(Segment::Vxlan { vni: RED_VNI }), ..network("red-a", 0, 1500, false) },
            network("red-b", 1, if bit(5) { 1000 } else { 1500 }, false),
            Network { segment: Some(Segment::Geneve { vni: BLUE_VNI }), ..network("blue", 0, 1500, false) },
            network("ext", 0, 1500, true),
            Network {
                segment: Some(Segment::Vlan { vlan_id: VLAN }),
                cidr: cidr([198, 18, 0, 0], 24),
                gateway_ip: None,
                ..network("ext-10", 0, 1500, true)
            },
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
            Router {
                external: Some(RouterExternal::new("ext-10", Ipv4Addr::new(198, 18, 0, 30))),
                ..Router::new("green", MacAddress(GREEN_ROUTER), Vec::new())
            },
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
        overlay: Some(Arc::new(overlay())),
        ..Config::default()
    }
}

/// The other host and its workloads.
/// Tells that the ports of this host have interfaces, but for the one at position `unplugged`.
pub fn plug(engine: &Engine, config: &Config, unplugged: Option<usize>) {
    for (position, port) in config.ports.iter().enumerate() {
        // Of another host, or through the interface of another port.
        let number = engine.port_number(&port.id);
        let Some(number) = number.filter(|number| engine.port_entry(*number).tunnel == 0) else {
            continue;
        };
        let binding = InterfaceBinding {
            index: 100 + u32::from(number),
            mac: MacAddress([2, 0xfe, 0, 0, 0, number as u8]),
            mtu: 1500,
            xdp_transmit: true,
            first_socket: 0,
        };
        engine.set_interface(number, (unplugged != Some(position)).then_some(binding));
    }
}

fn overlay() -> Overlay {
    Overlay {
        network: "ext".to_owned(),
        mac_address: MacAddress(OVERLAY_MAC),
        ip_address: Some(OVERLAY),
        ipv6_address: None,
        peers: vec![Peer { id: "peer".to_owned(), name: "peer".to_owned(), address: PEER.into() }],
    }
}

fn far(mut port: Port) -> Port {
    if let PortKind::Workload(workload) = &mut port.kind {
        workload.peer = Some("peer".to_owned());
        workload.allowed_address_pairs.clear();
    }
    port
}

fn uplink(id: &str, network: &str, admin_state_up: bool) -> Port {
    Port {
        id: id.to_owned(),
        name: id.to_owned(),
        network: network.to_owned(),
        interface: Some("eth1".to_owned()),
        kind: PortKind::Uplink,
        attach: Attach::Auto,
        admin_state_up,
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
