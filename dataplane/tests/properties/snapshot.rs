//! Configurations of every shape: compiling one never panics, and one that is accepted is consistent.

use std::net::Ipv4Addr;
use std::sync::Arc;

use edgestack_dataplane::address::{Cidr, MacAddress};
use edgestack_dataplane::config::{
    AddressGroup, AddressPair, Attach, Config, Dhcp, Direction, Endpoint, FloatingIp, FloatingIpLoadBalancer,
    FloatingIpTarget, HostRoute, LoadBalancer, LoadBalancerMember, LoadBalancerRule, NatMapping, NatPool,
    Network, Port, PortForward, PortKind, Remote, Router, RouterExternal, SecurityGroup, SecurityGroupRule,
    Segment, Services, StaticRoute, Workload,
};
use edgestack_dataplane::snapshot::Snapshot;
use edgestack_dataplane::snapshot::overlay::numbered;
use hashbrown::HashMap;
use proptest::prelude::*;

use crate::site;

/// Identifiers come from a small set, so that objects refer to each other, to nothing, and clash.
fn id() -> impl Strategy<Value = String> {
    (0..5_u8).prop_map(|number| format!("id-{number}"))
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        8 => (0..3_u8, 0..6_u8).prop_map(|(network, host)| Ipv4Addr::new(10, network, 0, host)),
        1 => any::<u32>().prop_map(Ipv4Addr::from_bits),
    ]
}

fn cidr() -> impl Strategy<Value = Cidr> {
    (address(), prop_oneof![Just(24), Just(16), 0..=32_u8])
        .prop_map(|(address, prefix)| Cidr::containing(address, prefix))
}

fn mac() -> impl Strategy<Value = MacAddress> {
    prop_oneof![
        8 => (0..6_u8).prop_map(|number| MacAddress([2, 0, 0, 0, 0, number])),
        1 => any::<[u8; 6]>().prop_map(MacAddress),
    ]
}

fn services() -> impl Strategy<Value = Services> {
    let route = (cidr(), address()).prop_map(|(destination, next_hop)| HostRoute { destination, next_hop });
    let dhcp = (prop_oneof![Just(3600), any::<u32>()], any::<bool>(), prop::collection::vec(route, 0..3))
        .prop_map(|(lease_seconds, default_route, routes)| Dhcp {
            lease_seconds,
            default_route,
            routes,
            dns_servers: Vec::new(),
            ntp_servers: Vec::new(),
            domain: None,
            search: vec!["a.example".to_owned()],
        });
    let endpoint = (address(), prop_oneof![Just(6), Just(17), any::<u8>()], any::<u16>())
        .prop_map(|(address, protocol, port)| Endpoint { address: address.into(), protocol, port });
    let parts = (prop::option::of(address()), prop::option::of(dhcp), prop::collection::vec(endpoint, 0..2));
    let some = parts.prop_map(|(address, dhcp, endpoints)| Services {
        address,
        dhcp,
        endpoints,
        ..Services::default()
    });
    prop_oneof![1 => Just(Services::default()), 1 => some]
}

fn network() -> impl Strategy<Value = Network> {
    let mtu = prop_oneof![Just(1500), any::<u16>()];
    let segment = prop_oneof![
        6 => Just(None),
        2 => (0..3_u16).prop_map(|vlan_id| Some(Segment::Vlan { vlan_id })),
        1 => any::<u32>().prop_map(|vni| Some(Segment::Vxlan { vni })),
    ];
    (id(), cidr(), prop::option::of(address()), mtu, any::<bool>(), services(), segment).prop_map(
        |(id, cidr, gateway_ip, mtu, external, services, segment)| Network {
            gateway_ip,
            mtu,
            external,
            services,
            segment,
            ..Network::new(id, cidr)
        },
    )
}

fn address_pair() -> impl Strategy<Value = AddressPair> {
    (cidr(), prop::option::of(mac()))
        .prop_map(|(ip_address, mac_address)| AddressPair { ip_address, mac_address })
}

fn port_kind() -> impl Strategy<Value = PortKind> {
    let workload = (
        mac(),
        address(),
        prop::collection::vec(id(), 0..3),
        prop::collection::vec(address_pair(), 0..2),
        any::<bool>(),
    )
        .prop_map(|(mac_address, ip_address, security_groups, allowed_address_pairs, port_security)| {
            PortKind::Workload(Workload {
                security_groups,
                allowed_address_pairs,
                port_security,
                ..Workload::new(mac_address, ip_address)
            })
        });
    prop_oneof![4 => workload, 1 => Just(PortKind::Uplink)]
}

fn port() -> impl Strategy<Value = Port> {
    (id(), id(), port_kind(), any::<bool>()).prop_map(|(id, network, kind, admin_state_up)| Port {
        name: id.clone(),
        id,
        network,
        interface: matches!(kind, PortKind::Uplink).then(|| "eth1".to_owned()),
        kind,
        attach: Attach::Auto,
        admin_state_up,
    })
}

fn router() -> impl Strategy<Value = Router> {
    let external = (id(), address(), any::<bool>(), prop::option::of(address()), prop::option::of(mac()))
        .prop_map(|(network, ip_address, enable_snat, peer_ip, peer_mac)| RouterExternal {
            enable_snat,
            snat_pool: None,
            peer_ip,
            peer_mac,
            ..RouterExternal::new(network, ip_address)
        });
    let route = (address(), 0_u8..=32, prop::option::of(address()), any::<bool>()).prop_map(
        |(address, prefix, next_hop, reject)| StaticRoute {
            destination: Cidr::containing(address, prefix),
            next_hop: next_hop.map(Into::into),
            reject,
        },
    );
    let externals = prop::collection::vec(external, 0..3);
    let routes = prop::collection::vec(route, 0..3);
    (id(), mac(), prop::collection::vec(id(), 0..3), externals, routes).prop_map(
        |(id, mac_address, networks, mut externals, routes)| Router {
            further_externals: externals.split_off(externals.len().min(1)),
            external: externals.pop(),
            routes,
            ..Router::new(id, mac_address, networks)
        },
    )
}

fn floating_ip() -> impl Strategy<Value = FloatingIp> {
    let target = (id(), id()).prop_map(|(port, router)| FloatingIpTarget { port, router });
    let balanced =
        (id(), id()).prop_map(|(load_balancer, router)| FloatingIpLoadBalancer { load_balancer, router });
    (id(), address(), id(), prop::option::of(target), prop::option::weighted(0.3, balanced)).prop_map(
        |(id, floating_ip, network, target, load_balancer)| FloatingIp {
            target,
            load_balancer,
            ..FloatingIp::new(id, network, floating_ip)
        },
    )
}

fn load_balancer() -> impl Strategy<Value = LoadBalancer> {
    let port = || prop::option::of(any::<u16>());
    let protocol = prop::option::of(prop_oneof![Just(1), Just(6), Just(17), any::<u8>()]);
    let rule = (id(), protocol, port(), port(), port()).prop_map(
        |(id, protocol, port_range_min, port_range_max, target_port)| LoadBalancerRule {
            id,
            protocol,
            port_range_min,
            port_range_max,
            target_port,
        },
    );
    let member =
        (address(), port(), 0..300_u16, any::<bool>()).prop_map(|(address, port, weight, backup)| {
            LoadBalancerMember { port, weight, backup, ..LoadBalancerMember::new(address.into()) }
        });
    let lists = (prop::collection::vec(rule, 0..3), prop::collection::vec(member, 0..4));
    (id(), id(), address(), prop::option::of(id()), lists, any::<bool>()).prop_map(
        |(id, network, vip, router, (rules, members), admin_state_up)| LoadBalancer {
            name: id.clone(),
            id,
            network,
            vip: vip.into(),
            router,
            rules,
            members,
            affinity_seconds: None,
            reject: false,
            admin_state_up,
        },
    )
}

fn rule() -> impl Strategy<Value = SecurityGroupRule> {
    let remote = prop_oneof![
        Just(Remote::Any),
        cidr().prop_map(|cidr| Remote::Cidr { cidr }),
        id().prop_map(|group| Remote::Group { group }),
        id().prop_map(|address_group| Remote::AddressGroup { address_group }),
    ];
    let protocol = prop::option::of(prop_oneof![Just(1), Just(6), Just(17), any::<u8>()]);
    (id(), any::<bool>(), protocol, prop::option::of(any::<u16>()), prop::option::of(any::<u16>()), remote)
        .prop_map(|(id, ingress, protocol, port_range_min, port_range_max, remote)| SecurityGroupRule {
            protocol,
            port_range_min,
            port_range_max,
            remote,
            ..SecurityGroupRule::new(id, if ingress { Direction::Ingress } else { Direction::Egress })
        })
}

fn security_group() -> impl Strategy<Value = SecurityGroup> {
    (id(), prop::collection::vec(rule(), 0..4)).prop_map(|(id, rules)| SecurityGroup {
        name: id.clone(),
        id,
        log_denied: false,
        rules,
    })
}

fn address_group() -> impl Strategy<Value = AddressGroup> {
    (id(), prop::collection::vec(cidr(), 0..4)).prop_map(|(id, addresses)| AddressGroup {
        name: id.clone(),
        id,
        addresses,
    })
}

fn config() -> impl Strategy<Value = Config> {
    (
        prop::collection::vec(network(), 0..4),
        prop::collection::vec(port(), 0..5),
        prop::collection::vec(router(), 0..3),
        prop::collection::vec(floating_ip(), 0..3),
        prop::collection::vec(load_balancer(), 0..3),
        prop::collection::vec(security_group(), 0..3),
        prop::collection::vec(address_group(), 0..2),
    )
        .prop_map(
            |(networks, ports, routers, floating_ips, load_balancers, security_groups, address_groups)| {
                Config {
                    networks: shared(networks),
                    ports: shared(ports),
                    routers: shared(routers),
                    floating_ips: shared(floating_ips),
                    load_balancers: shared(load_balancers),
                    security_groups: shared(security_groups),
                    address_groups: shared(address_groups),
                    ..Config::default()
                }
            },
        )
}

fn shared<T>(objects: Vec<T>) -> Vec<Arc<T>> {
    objects.into_iter().map(Arc::new).collect()
}

fn numbers(config: &Config) -> HashMap<String, u16> {
    numbered(config).zip(1_u16..).collect()
}

/// The site of the fuzz targets with a pool, a forwarded port, services and IPv6; each bit of `more` changes one of them.
fn whole_site(variant: u16, more: u16) -> Config {
    let bit = |number: u16| more >> number & 1 != 0;
    let mut config = site::config(variant);
    let pool_address = Ipv4Addr::new(192, 0, 2, if bit(0) { 30 } else { 31 });
    let mut pool = NatPool::new("pool", vec![pool_address]);
    pool.mapping = if bit(1) { NatMapping::EndpointIndependent } else { NatMapping::EndpointDependent };
    config.nat_pools = vec![Arc::new(pool)];
    let router = Arc::make_mut(&mut config.routers[0]);
    let external = router.external.as_mut().expect("it leads out");
    external.snat_pool = (!bit(2)).then(|| "pool".to_owned());
    external.ipv6_address = bit(3).then(|| "2001:db8:ff::10".parse().expect("an address"));
    let forward = PortForward {
        id: "forward".to_owned(),
        router: "red".to_owned(),
        external_ip: None,
        protocol: 6,
        port_min: 8000,
        port_max: bit(4).then_some(8200),
        target: if bit(5) { "red-2" } else { "red-1" }.to_owned(),
        target_port: None,
    };
    config.port_forwards = if bit(6) { Vec::new() } else { vec![Arc::new(forward)] };
    let outside = Arc::make_mut(&mut config.networks[3]);
    outside.ipv6_cidr = Some("2001:db8:ff::/64".parse().expect("a range"));
    let network = Arc::make_mut(&mut config.networks[0]);
    network.ipv6_cidr = Some("2001:db8::/64".parse().expect("a range"));
    network.ipv6_gateway_ip = bit(7).then(|| "2001:db8::1".parse().expect("an address"));
    let server = Endpoint { address: Ipv4Addr::new(169, 254, 169, 254).into(), protocol: 6, port: 80 };
    network.services.endpoints = if bit(8) { vec![server] } else { Vec::new() };
    if let PortKind::Workload(workload) = &mut Arc::make_mut(&mut config.ports[0]).kind {
        workload.ipv6_address = bit(9).then(|| "2001:db8::11".parse().expect("an address"));
    }
    config
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn compiling_never_panics(config in config()) {
        match Snapshot::compile(&config, &numbers(&config)) {
            Err(error) => {
                prop_assert!(!error.problems.is_empty(), "refused without a reason");
                for problem in &error.problems {
                    prop_assert!(!problem.field.is_empty() && !problem.message.is_empty(), "{problem}");
                }
            }
            Ok(snapshot) => {
                prop_assert_eq!(snapshot.ports().count(), config.ports.len());
                for port in snapshot.ports() {
                    prop_assert!(port.network < snapshot.networks.len());
                    prop_assert_eq!(snapshot.port_number(&port.id), Some(port.number));
                    if let Some(workload) = &port.workload {
                        prop_assert!(workload.may_use(workload.mac_address, workload.ip_address.into()));
                        prop_assert!(snapshot.networks[port.network].contains(workload.ip_address.into()));
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_shared_with_the_snapshot_before_changes_nothing(
        // One bit at a time, so that most of the configuration is as before.
        start in 0..1_u16 << 15,
        changes in prop::collection::vec(0..25_u32, 1..8)
    ) {
        let mut before = Snapshot::default();
        let mut bits = u32::from(start);
        for change in changes {
            bits ^= 1 << change;
            let config = whole_site(bits as u16 & 0x7fff, (bits >> 15) as u16);
            let numbers = numbers(&config);
            let after = Snapshot::recompile(&before, &config, || numbers.clone()).unwrap();
            prop_assert!(after == Snapshot::compile(&config, &numbers).unwrap(), "bit {} of {:#x}", change, bits);
            before = after;
        }
    }

    #[test]
    fn a_change_of_order_is_no_change(config in config()) {
        let numbers = numbers(&config);
        let mut reversed = config.clone();
        reversed.security_groups.reverse();
        reversed.routers.reverse();
        reversed.load_balancers.reverse();
        reversed.floating_ips.reverse();
        reversed.ports.reverse();
        let (first, second) = (Snapshot::compile(&config, &numbers), Snapshot::compile(&reversed, &numbers));
        prop_assert_eq!(first.is_ok(), second.is_ok());
        if let (Ok(first), Ok(second)) = (first, second) {
            for port in first.ports() {
                let (one, other) = (first.fingerprint(port.number), second.fingerprint(port.number));
                prop_assert_eq!(one, other, "port {} would be touched", &port.id);
            }
        }
    }
}
