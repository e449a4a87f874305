//! Milliseconds from a changed configuration to its effect, at a site of 10,000 workload ports: 100 security groups of 100
//! members each, and one that all are in; 100 networks behind 10 routers.
//!
//! What is measured is CPU time of the thread, so that a busy machine adds cache misses only.

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use edgestack_dataplane::address::{Cidr, MacAddress};
use edgestack_dataplane::config::{
    Attach, Config, Direction, Network, Port, PortKind, Router, SecurityGroup, SecurityGroupRule, Workload,
};
use edgestack_dataplane::engine::{Engine, EngineSettings};
use edgestack_dataplane::tables::region::Regions;
use support::cpu_time;

const PORTS: u32 = 10_000;
const GROUPS: u32 = 100;
const NETWORKS: u32 = 100;
const ROUTERS: u32 = 10;

fn group(id: &str, rules: u16, first_port: u16) -> Arc<SecurityGroup> {
    let rule = |number: u16| SecurityGroupRule {
        protocol: Some(6),
        port_range_min: Some(first_port + number),
        port_range_max: Some(first_port + number),
        ..SecurityGroupRule::new(format!("{id}-{number}"), Direction::Ingress)
    };
    let rules = (0..rules).map(rule).collect();
    Arc::new(SecurityGroup { id: id.to_owned(), name: id.to_owned(), log_denied: false, rules })
}

fn port(number: u32) -> Arc<Port> {
    let network = number % NETWORKS;
    let host = number / NETWORKS;
    let mac_address = MacAddress([2, 0, 0, 1, (number >> 8) as u8, number as u8]);
    let ip_address = Ipv4Addr::from_bits(0x0a00_0010 + (network << 16) + host);
    Arc::new(Port {
        id: format!("port-{number}"),
        name: format!("port-{number}"),
        network: format!("network-{network}"),
        interface: None,
        kind: PortKind::Workload(Workload {
            security_groups: vec![format!("group-{}", number % GROUPS), "all".to_owned()],
            ..Workload::new(mac_address, ip_address)
        }),
        attach: Attach::Auto,
        admin_state_up: true,
    })
}

fn site() -> Config {
    let network = |number: u32| {
        let address = Ipv4Addr::from_bits(0x0a00_0000 + (number << 16));
        Arc::new(Network::new(format!("network-{number}"), Cidr::containing(address, 16)))
    };
    let router = |number: u32| {
        let networks = (0..NETWORKS).filter(|network| network % ROUTERS == number);
        Arc::new(Router::new(
            format!("router-{number}"),
            MacAddress([2, 0, 0, 2, 0, number as u8]),
            networks.map(|network| format!("network-{network}")).collect(),
        ))
    };
    let groups = (0..GROUPS).map(|number| group(&format!("group-{number}"), 100, 1000));
    Config {
        networks: (0..NETWORKS).map(network).collect(),
        ports: (0..PORTS).map(port).collect(),
        routers: (0..ROUTERS).map(router).collect(),
        security_groups: groups.chain([group("all", 10, 1)]).collect(),
        ..Config::default()
    }
}

/// Applies the two configurations in turn.
fn in_turn(criterion: &mut Criterion, name: &str, one: &Config, other: &Config, touched: usize) {
    let regions = Regions::anonymous(1024, 1024, 0x5eed).expect("memory");
    let engine = Engine::new(regions, EngineSettings::default()).expect("fresh regions fit");
    engine.apply(one).expect("a sound configuration");
    assert_eq!(engine.apply(other).expect("a sound configuration").touched_ports.len(), touched);
    engine.apply(one).expect("a sound configuration");
    let mut is_other = false;
    criterion.bench_function(&format!("configuration/{name}"), |bencher| {
        bencher.iter_custom(|iterations| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..iterations {
                is_other = !is_other;
                let start = cpu_time();
                engine.apply(if is_other { other } else { one }).expect("a sound configuration");
                elapsed += cpu_time().saturating_sub(start);
            }
            elapsed
        });
    });
}

fn change(criterion: &mut Criterion) {
    let before = site();
    let with_group = |place: usize, changed: Arc<SecurityGroup>| {
        let mut config = before.clone();
        config.security_groups[place] = changed;
        config
    };
    let members = (PORTS / GROUPS) as usize;
    in_turn(criterion, "one_rule", &before, &with_group(7, group("group-7", 101, 1000)), members);
    let replaced = with_group(GROUPS as usize, group("all", 10, 5000));
    in_turn(criterion, "rules_of_10000_members", &before, &replaced, PORTS as usize);
    let mut one_port = before.clone();
    one_port.ports.push(port(PORTS));
    in_turn(criterion, "one_port", &before, &one_port, 1);
    in_turn(criterion, "everything", &before, &Config::default(), 0);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3));
    targets = change
}
criterion_main!(benches);
