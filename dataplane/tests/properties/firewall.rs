//! Rules arranged for lookup decide as a plain walk over the list does, and name a rule that really matches.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use edgestack_dataplane::address::{Cidr, MacAddress};
use edgestack_dataplane::config::{
    AddressGroup, Attach, Config, Direction, Ethertype, Network, Port, PortKind, Remote, SecurityGroup,
    SecurityGroupRule, Workload,
};
use edgestack_dataplane::snapshot::Snapshot;
use edgestack_dataplane::snapshot::security_group::Question;
use proptest::prelude::*;

const GROUPS: usize = 3;
const ADDRESS_GROUPS: usize = 3;
const ICMP: u8 = 1;

/// Few values, so that rules and questions meet at the edges of each other.
fn number() -> impl Strategy<Value = u16> {
    prop_oneof![6 => 0..12_u16, 1 => Just(u16::MAX), 1 => Just(u16::MAX - 1), 1 => any::<u16>()]
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        6 => (0..3_u8, 0..5_u8).prop_map(|(third, fourth)| Ipv4Addr::new(10, 0, third, fourth)),
        1 => Just(Ipv4Addr::UNSPECIFIED),
        1 => Just(Ipv4Addr::BROADCAST),
        1 => any::<u32>().prop_map(Ipv4Addr::from_bits),
    ]
}

fn cidr() -> impl Strategy<Value = Cidr> {
    (address(), prop_oneof![Just(24), Just(16), Just(31), 0..=32_u8])
        .prop_map(|(address, prefix)| Cidr::containing(address, prefix))
}

fn remote() -> impl Strategy<Value = Remote> {
    prop_oneof![
        1 => Just(Remote::Any),
        4 => cidr().prop_map(|cidr| Remote::Cidr { cidr }),
        2 => (0..GROUPS).prop_map(|group| Remote::Group { group: format!("group-{group}") }),
        2 => (0..ADDRESS_GROUPS).prop_map(|set| Remote::AddressGroup { address_group: format!("set-{set}") }),
    ]
}

/// A rule that is accepted.
fn rule() -> impl Strategy<Value = SecurityGroupRule> {
    let protocol = prop::option::of(prop_oneof![Just(ICMP), Just(6), Just(17), Just(132), Just(47)]);
    let ethertype = prop::option::of(prop_oneof![3 => Just(Ethertype::Ipv4), 1 => Just(Ethertype::Ipv6)]);
    let ports = prop::option::of((number(), prop::option::of(number())));
    (any::<bool>(), ethertype, protocol, ports, remote()).prop_map(
        |(ingress, ethertype, protocol, ports, remote)| {
            let (min, max) = match (protocol, ports) {
                (Some(6 | 17 | 132), Some((one, other))) => {
                    let other = other.unwrap_or(one);
                    (Some(one.min(other)), Some(one.max(other)))
                }
                (Some(ICMP), Some((kind, code))) => (Some(kind % 256), code.map(|code| code % 256)),
                _ => (None, None),
            };
            let is_of_ipv4 = matches!(remote, Remote::Cidr { .. });
            SecurityGroupRule {
                ethertype: ethertype.filter(|ethertype| *ethertype == Ethertype::Ipv4 || !is_of_ipv4),
                protocol,
                port_range_min: min,
                port_range_max: max,
                remote,
                ..SecurityGroupRule::new("", if ingress { Direction::Ingress } else { Direction::Egress })
            }
        },
    )
}

/// What is asked: direction, protocol, selector, address, and the groups of the other side.
fn question() -> impl Strategy<Value = (bool, u8, u16, Ipv4Addr, u8)> {
    let protocol = prop_oneof![Just(ICMP), Just(6), Just(17), Just(132), Just(47), Just(50)];
    (any::<bool>(), protocol, prop_oneof![number(), 0..0x0c00_u16], address(), 0..1_u8 << GROUPS)
}

/// A site whose workload number n is in the groups that the bits of n name.
fn site(rules: Vec<(usize, SecurityGroupRule)>, sets: &[Vec<Cidr>]) -> Config {
    let mut groups: Vec<SecurityGroup> = (0..GROUPS)
        .map(|group| SecurityGroup {
            id: format!("group-{group}"),
            name: String::new(),
            log_denied: false,
            rules: Vec::new(),
        })
        .collect();
    for (position, (group, mut rule)) in rules.into_iter().enumerate() {
        rule.id = position.to_string();
        groups[group].rules.push(rule);
    }
    let port = |bits: u8| Port {
        id: format!("port-{bits}"),
        name: String::new(),
        network: "network".to_owned(),
        interface: None,
        kind: PortKind::Workload(Workload {
            security_groups: groups_of(bits).map(|group| format!("group-{group}")).collect(),
            ..Workload::new(MacAddress([2, 0, 0, 0, 0, bits]), Ipv4Addr::new(10, 9, 0, bits + 1))
        }),
        attach: Attach::Auto,
        admin_state_up: true,
    };
    let network = Network::new("network", "10.9.0.0/24".parse().unwrap());
    let set = |(set, addresses): (usize, &Vec<Cidr>)| AddressGroup {
        id: format!("set-{set}"),
        name: String::new(),
        addresses: addresses.clone(),
    };
    Config {
        networks: vec![Arc::new(network)],
        ports: (0..1 << GROUPS).map(|bits| Arc::new(port(bits))).collect(),
        security_groups: groups.into_iter().map(Arc::new).collect(),
        address_groups: sets.iter().enumerate().map(|set_of| Arc::new(set(set_of))).collect(),
        ..Config::default()
    }
}

fn groups_of(bits: u8) -> impl Iterator<Item = usize> {
    (0..GROUPS).filter(move |group| bits >> group & 1 != 0)
}

/// Whether a rule allows it, as its fields read.
fn matches(config: &Config, rule: &SecurityGroupRule, question: &Question<'_>, others: u8) -> bool {
    let in_range = match (rule.protocol, rule.port_range_min, rule.port_range_max) {
        (Some(ICMP), Some(kind), code) => {
            let [asked_kind, asked_code] = question.selector.to_be_bytes();
            u16::from(asked_kind) == kind && code.is_none_or(|code| code == u16::from(asked_code))
        }
        (_, Some(min), Some(max)) => (min..=max).contains(&question.selector),
        _ => true,
    };
    let IpAddr::V4(address) = question.remote_address else { unreachable!("questions are of IPv4") };
    let is_remote = match &rule.remote {
        Remote::Any => true,
        Remote::Cidr { cidr } => cidr.contains(address),
        Remote::Group { group } => groups_of(others).any(|other| format!("group-{other}") == *group),
        Remote::AddressGroup { address_group } => {
            let set = config.address_groups.iter().find(|set| set.id == *address_group).unwrap();
            set.addresses.iter().any(|range| range.contains(address))
        }
    };
    rule.direction == question.direction
        && rule.ethertype != Some(Ethertype::Ipv6)
        && rule.protocol.is_none_or(|protocol| protocol == question.protocol)
        && in_range
        && is_remote
}

/// One change of a configuration.
#[derive(Clone, Debug)]
enum Change {
    Rules(usize, Vec<SecurityGroupRule>),
    Addresses(usize, Vec<Cidr>),
    /// A group more, before all others.
    NewGroup,
    PortDown(usize),
    RemovePort(usize),
    /// A rule that names nobody: it is refused.
    Wrong(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let rules = (0..GROUPS, prop::collection::vec(rule(), 0..8));
    prop_oneof![
        6 => rules.prop_map(|(group, rules)| Change::Rules(group, rules)),
        3 => (0..ADDRESS_GROUPS, prop::collection::vec(cidr(), 0..6))
            .prop_map(|(set, addresses)| Change::Addresses(set, addresses)),
        1 => Just(Change::NewGroup),
        1 => (0..1_usize << GROUPS).prop_map(Change::PortDown),
        1 => (0..1_usize << GROUPS).prop_map(Change::RemovePort),
        1 => (0..GROUPS).prop_map(Change::Wrong),
    ]
}

/// Makes a change; whether it leaves ports and networks alone.
fn make(config: &mut Config, change: &Change) -> bool {
    let group = |config: &Config, number: usize| {
        let id = format!("group-{number}");
        config.security_groups.iter().position(|group| group.id == id).unwrap()
    };
    match change {
        Change::Rules(number, rules) => {
            let place = group(config, *number);
            let mut rules = rules.clone();
            (0..).zip(&mut rules).for_each(|(position, rule)| rule.id = format!("{number}-{position}"));
            Arc::make_mut(&mut config.security_groups[place]).rules = rules;
            true
        }
        Change::Addresses(set, addresses) => {
            Arc::make_mut(&mut config.address_groups[*set]).addresses.clone_from(addresses);
            true
        }
        Change::NewGroup => {
            let id = format!("new-{}", config.security_groups.len());
            let group = SecurityGroup { name: id.clone(), id, log_denied: false, rules: Vec::new() };
            config.security_groups.insert(0, Arc::new(group));
            false
        }
        Change::PortDown(place) => {
            if let Some(port) = config.ports.get_mut(*place) {
                Arc::make_mut(port).admin_state_up ^= true;
            }
            false
        }
        Change::RemovePort(place) => {
            if *place < config.ports.len() {
                config.ports.remove(*place);
            }
            false
        }
        Change::Wrong(number) => {
            let place = group(config, *number);
            let remote = Remote::Group { group: "nobody".to_owned() };
            let rule = SecurityGroupRule { remote, ..SecurityGroupRule::new("wrong", Direction::Ingress) };
            Arc::make_mut(&mut config.security_groups[place]).rules.push(rule);
            false
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_changed_snapshot_is_the_one_compiled_anew(
        rules in prop::collection::vec((0..GROUPS, rule()), 0..10),
        sets in prop::collection::vec(prop::collection::vec(cidr(), 0..6), ADDRESS_GROUPS),
        changes in prop::collection::vec(change(), 1..12),
    ) {
        let mut config = site(rules, &sets);
        let numbers: hashbrown::HashMap<String, u16> =
            config.ports.iter().map(|port| port.id.clone()).zip(1..).collect();
        let mut snapshot = Snapshot::compile(&config, &numbers).unwrap();
        for change in changes {
            let mut changed = config.clone();
            let keeps_topology = make(&mut changed, &change);
            let whole = Snapshot::compile(&changed, &numbers);
            match Snapshot::recompile(&snapshot, &changed, || numbers.clone()) {
                Ok(after) => {
                    prop_assert!(after == whole.unwrap(), "{:?}", change);
                    prop_assert!(!keeps_topology || after.shares_topology(&snapshot), "{:?}", change);
                    (snapshot, config) = (after, changed);
                }
                Err(error) => prop_assert_eq!(Err(error), whole.map(|_| ())),
            }
        }
    }

    #[test]
    fn the_index_decides_as_the_list_does(
        rules in prop::collection::vec((0..GROUPS, rule()), 0..40),
        sets in prop::collection::vec(prop::collection::vec(cidr(), 0..6), ADDRESS_GROUPS),
        questions in prop::collection::vec(question(), 1..40),
    ) {
        let config = site(rules, &sets);
        let numbers = config.ports.iter().map(|port| port.id.clone()).zip(1..).collect();
        let snapshot = Snapshot::compile(&config, &numbers).unwrap();
        for (ingress, protocol, selector, address, others) in questions {
            let other = snapshot.port_number(&format!("port-{others}")).unwrap();
            let question = Question {
                direction: if ingress { Direction::Ingress } else { Direction::Egress },
                protocol,
                selector,
                remote_address: address.into(),
                remote_port: snapshot.port(other),
            };
            for group in 0..GROUPS {
                let allowed = snapshot.allows(&[group], &question).map(|allowed| allowed.rule.id.clone());
                let mut rules = config.security_groups[group].rules.iter();
                if let Some(id) = allowed {
                    let rule = rules.find(|rule| rule.id == id).unwrap();
                    prop_assert!(matches(&config, rule, &question, others), "{rule:?} {question:?}");
                } else {
                    let missed = rules.find(|rule| matches(&config, rule, &question, others));
                    prop_assert!(missed.is_none(), "{missed:?} {question:?}");
                }
            }
        }
    }
}
