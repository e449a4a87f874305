//! Changes of what is allowed, seen from the flows: which are decided again, which end, which do not notice; at the size
//! of a site. And what rules count, and what of denials is kept for the log.

mod passing;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use edgestack_dataplane::address::MacAddress;
use edgestack_dataplane::config::{
    AddressGroup, Attach, Config, Direction, Network, Port, PortKind, Remote, SecurityGroup,
    SecurityGroupRule, Workload,
};
use edgestack_dataplane::engine::{Engine, EngineSettings, InterfaceBinding, Transmit, Worker};
use edgestack_dataplane::packet::{BATCH_SIZE, FramePool, Packet};
use edgestack_dataplane::tables::region::Regions;

const UDP: u8 = 17;
const TICKS_PER_SECOND: u32 = 1000 / edgestack_abi::maps::TICK_MS;

/// An engine with some workloads of one network, 10.0.0.0/8.
struct Gateway {
    engine: Engine,
    worker: Worker,
    pool: FramePool,
    config: Config,
}

impl Gateway {
    /// Workloads, of which number n is in the groups that `groups` says.
    fn new(workloads: u32, groups: impl Fn(u32) -> Vec<&'static str>, settings: EngineSettings) -> Self {
        Self::with_sessions((4 * workloads).next_power_of_two(), workloads, groups, settings)
    }

    /// The same with room for so many sessions.
    fn with_sessions(
        sessions: u32,
        workloads: u32,
        groups: impl Fn(u32) -> Vec<&'static str>,
        settings: EngineSettings,
    ) -> Self {
        let regions = Regions::anonymous(2 * sessions, sessions, 7).expect("memory");
        let engine = Engine::new(regions, settings).expect("fresh regions fit");
        let worker = engine.worker(0);
        let port = |number: u32| Port {
            id: format!("port-{number}"),
            name: format!("port-{number}"),
            network: "network".to_owned(),
            interface: None,
            kind: PortKind::Workload(Workload {
                security_groups: groups(number).into_iter().map(str::to_owned).collect(),
                ..Workload::new(mac(number), ip(number))
            }),
            attach: Attach::Auto,
            admin_state_up: true,
        };
        let config = Config {
            networks: vec![Arc::new(Network::new("network", "10.0.0.0/8".parse().expect("a range")))],
            ports: (0..workloads).map(|number| Arc::new(port(number))).collect(),
            ..Config::default()
        };
        let pool = FramePool::new(64).expect("memory");
        Self { engine, worker, pool, config }
    }

    /// Replaces a group, or adds it, and brings that into effect.
    fn set(&mut self, id: &str, rules: Vec<SecurityGroupRule>) {
        let group =
            Arc::new(SecurityGroup { id: id.to_owned(), name: id.to_owned(), log_denied: false, rules });
        match self.config.security_groups.iter_mut().find(|group| group.id == id) {
            Some(place) => *place = group,
            None => self.config.security_groups.push(group),
        }
    }

    fn apply(&self) -> usize {
        self.engine.apply(&self.config).expect("a sound configuration").touched_ports.len()
    }

    /// Tells that every port has an interface.
    fn plug(&self) {
        for port in &self.config.ports {
            let number = self.engine.port_number(&port.id).expect("applied");
            let mac = MacAddress([2, 0xfe, 0, 0, 0, 1]);
            let index = 100 + u32::from(number);
            let binding = InterfaceBinding { index, mac, mtu: 1500, xdp_transmit: true, first_socket: 0 };
            self.engine.set_interface(number, Some(binding));
        }
    }

    /// Sends a UDP packet for each pair of workloads; how many left.
    fn send(&mut self, pairs: impl IntoIterator<Item = (u32, u32)>) -> usize {
        let mut left = 0;
        let (mut batch, mut output) = (Vec::new(), Vec::new());
        for (from, to) in pairs {
            let number = self.engine.port_number(&format!("port-{from}")).expect("applied");
            let mut packet = self.pool.allocate(number).expect("the pool holds a batch");
            self.pool.write(&mut packet, &frame(from, to));
            batch.push(packet);
            if batch.len() == BATCH_SIZE {
                left += self.process(&mut batch, &mut output);
            }
        }
        left + self.process(&mut batch, &mut output)
    }

    /// Sends frames by the ports named; how many left.
    fn send_frames(&mut self, frames: &[(&str, [u8; 60])]) -> usize {
        let (mut batch, mut output) = (Vec::new(), Vec::new());
        for (port, frame) in frames {
            let number = self.engine.port_number(port).expect("applied");
            let mut packet = self.pool.allocate(number).expect("the pool holds a batch");
            self.pool.write(&mut packet, frame);
            batch.push(packet);
        }
        self.process(&mut batch, &mut output)
    }

    /// Lets time pass, tick by tick.
    fn wait_seconds(&mut self, seconds: u32) {
        let mut output = Vec::new();
        for _ in 0..seconds * TICKS_PER_SECOND {
            let now_ticks = self.engine.now_ticks() + 1;
            self.engine.tick(&mut self.worker, &mut self.pool, now_ticks, &mut output);
            output.drain(..).for_each(|sent| self.pool.free(sent.packet));
        }
    }

    fn process(&mut self, batch: &mut Vec<Packet>, output: &mut Vec<Transmit>) -> usize {
        self.engine.process(&mut self.worker, &mut self.pool, batch, output);
        let left = output.len();
        output.drain(..).for_each(|sent| self.pool.free(sent.packet));
        left
    }

    fn revalidations(&self) -> u64 {
        self.engine.counters_view().revalidations
    }

    fn hits(&self, rule: &str) -> u64 {
        let rules = self.engine.rule_hits_view();
        rules.iter().find(|view| view.id == rule).unwrap_or_else(|| panic!("no rule {rule}")).hits
    }
}

fn mac(number: u32) -> MacAddress {
    let [_, b, c, d] = number.to_be_bytes();
    MacAddress([2, 0, 1, b, c, d])
}

fn ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0100 + number)
}

/// A UDP packet from port 4000 to port 53.
fn frame(from: u32, to: u32) -> [u8; 60] {
    frame_to((mac(from), ip(from), 4000), (mac(to), ip(to), 53))
}

/// A UDP packet.
fn frame_to(source: (MacAddress, Ipv4Addr, u16), destination: (MacAddress, Ipv4Addr, u16)) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..6].copy_from_slice(&destination.0.0);
    frame[6..12].copy_from_slice(&source.0.0);
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, UDP]);
    frame[26..30].copy_from_slice(&source.1.octets());
    frame[30..34].copy_from_slice(&destination.1.octets());
    frame[34..36].copy_from_slice(&source.2.to_be_bytes());
    frame[36..38].copy_from_slice(&destination.2.to_be_bytes());
    frame[38..40].copy_from_slice(&[0, 26]);
    let mut sum: u32 = frame[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame
}

fn allow(id: &str, direction: Direction, remote: Remote) -> SecurityGroupRule {
    SecurityGroupRule { remote, ..SecurityGroupRule::new(id, direction) }
}

fn both(id: &str) -> Vec<SecurityGroupRule> {
    let rule = |name: &str, direction| allow(&format!("{id}-{name}"), direction, Remote::Any);
    vec![rule("out", Direction::Egress), rule("in", Direction::Ingress)]
}

/// Flows 0 to 1 (group `one`) and 2 to 3 (group `two`).
fn two_pairs() -> Gateway {
    let groups = |number| vec![if number < 2 { "one" } else { "two" }];
    let mut gateway = Gateway::new(4, groups, EngineSettings::default());
    gateway.set("one", both("one"));
    gateway.set("two", both("two"));
    gateway.apply();
    gateway.plug();
    assert_eq!(gateway.send([(0, 1), (2, 3)]), 2);
    gateway
}

#[test]
fn only_flows_of_ports_whose_rules_changed_are_decided_again() {
    let mut gateway = two_pairs();
    let mut rules = both("one");
    rules.push(SecurityGroupRule { protocol: Some(6), ..SecurityGroupRule::new("ssh", Direction::Ingress) });
    gateway.set("one", rules);
    assert_eq!(gateway.apply(), 2, "the members of the group");
    assert_eq!(gateway.send([(0, 1), (2, 3), (0, 1), (2, 3)]), 4);
    assert_eq!(gateway.revalidations(), 1, "one packet of the one flow");

    gateway.set("one", both("one"));
    gateway.set("unused", both("unused"));
    gateway.apply();
    gateway.send([(2, 3)]);
    assert_eq!(gateway.revalidations(), 1, "a group more is no matter of others");
}

#[test]
fn what_is_not_allowed_any_more_ends_and_nothing_else() {
    let mut gateway = two_pairs();
    for direction in [Direction::Ingress, Direction::Egress] {
        gateway.set("one", vec![SecurityGroupRule::new("left", direction)]);
        gateway.apply();
        assert_eq!(gateway.send([(0, 1), (2, 3)]), 1, "{direction:?} alone is not enough");
        gateway.set("one", both("one"));
        gateway.apply();
        assert_eq!(gateway.send([(0, 1), (2, 3)]), 2);
    }
    let view = gateway.engine.counters_view();
    assert_eq!((view.sessions, view.sessions_revoked, view.revalidations), (2, 2, 0));
}

#[test]
fn members_of_address_groups_and_of_remote_groups_are_followed() {
    let groups = |number| match number {
        0 => vec!["by-set"],
        1 => vec!["by-group"],
        2 => vec!["out", "friends"],
        _ => vec!["out"],
    };
    let mut gateway = Gateway::new(5, groups, EngineSettings::default());
    let set = |addresses: &[&str]| AddressGroup {
        id: "set".to_owned(),
        name: "set".to_owned(),
        addresses: addresses.iter().map(|range| range.parse().expect("a range")).collect(),
    };
    gateway.config.address_groups = vec![Arc::new(set(&["10.0.1.2/32", "10.0.1.3/32"]))];
    let by_set = Remote::AddressGroup { address_group: "set".to_owned() };
    gateway.set("by-set", vec![allow("set", Direction::Ingress, by_set)]);
    let by_group = Remote::Group { group: "friends".to_owned() };
    gateway.set("by-group", vec![allow("group", Direction::Ingress, by_group)]);
    gateway.set("out", vec![SecurityGroupRule::new("out", Direction::Egress)]);
    gateway.set("friends", Vec::new());
    gateway.apply();
    gateway.plug();
    assert_eq!(gateway.send([(2, 0), (3, 0), (4, 0)]), 2);
    assert_eq!(gateway.send([(2, 1), (3, 1)]), 1);

    // An address leaves the set: its flow ends, its neighbour's is looked at, those of others are not.
    gateway.config.address_groups = vec![Arc::new(set(&["10.0.1.3/32"]))];
    assert_eq!(gateway.apply(), 1);
    assert_eq!(gateway.send([(2, 0), (3, 0), (2, 1)]), 2);
    let view = gateway.engine.counters_view();
    assert_eq!((view.revalidations, view.sessions_revoked), (1, 1));

    // A workload leaves the group that a rule of another one names.
    let PortKind::Workload(workload) = &mut Arc::make_mut(&mut gateway.config.ports[2]).kind else {
        panic!("a workload")
    };
    workload.security_groups = vec!["out".to_owned()];
    assert_eq!(gateway.apply(), 1);
    assert_eq!(gateway.send([(2, 1), (3, 0)]), 1);
    let view = gateway.engine.counters_view();
    assert_eq!((view.revalidations, view.sessions_revoked), (1, 2));
}

#[test]
fn rules_count_what_they_allow_and_go_on_counting_through_changes() {
    let mut gateway = two_pairs();
    assert_eq!((gateway.hits("one-out"), gateway.hits("one-in"), gateway.hits("two-in")), (1, 1, 1));
    gateway.send([(0, 1), (0, 1)]);
    assert_eq!(gateway.hits("one-out"), 1, "packets of a known flow are not decided");

    let mut rules = both("one");
    rules.insert(
        0,
        SecurityGroupRule { protocol: Some(6), ..SecurityGroupRule::new("ssh", Direction::Egress) },
    );
    gateway.set("one", rules);
    gateway.apply();
    gateway.send([(0, 1)]);
    assert_eq!((gateway.hits("one-out"), gateway.hits("ssh"), gateway.hits("two-in")), (2, 0, 1));
}

#[test]
fn denials_are_kept_for_the_log_where_that_is_wished_and_only_so_many() {
    let deny = |log_denied: bool, settings: EngineSettings| {
        let mut gateway = Gateway::new(4, |number| vec![if number < 2 { "one" } else { "two" }], settings);
        gateway.set("one", vec![SecurityGroupRule::new("out", Direction::Egress)]);
        gateway.set("two", Vec::new());
        Arc::make_mut(&mut gateway.config.security_groups[0]).log_denied = log_denied;
        gateway.apply();
        gateway.plug();
        for _ in 0..10 {
            assert_eq!(gateway.send([(0, 1), (2, 3)]), 0);
        }
        let view = gateway.engine.counters_view();
        (gateway.engine.take_denials(), view.denials_logged, view.denials_suppressed)
    };
    let (denials, logged, suppressed) = deny(false, EngineSettings::default());
    assert_eq!((denials.len(), logged, suppressed), (0, 0, 0), "off by default");

    let (denials, logged, suppressed) = deny(true, EngineSettings::default());
    assert_eq!((denials.len(), logged, suppressed), (2, 2, 8), "two of one port in a second");
    let first = &denials[0];
    assert_eq!(
        (first.port.as_str(), first.security_groups.as_str(), first.direction),
        ("port-1", "one", "ingress")
    );
    assert_eq!((first.source, first.source_port), (ip(0).into(), 4000));
    assert_eq!((first.destination, first.destination_port, first.protocol), (ip(1).into(), 53, UDP));

    let (denials, ..) = deny(false, EngineSettings { log_denied: true, ..EngineSettings::default() });
    let ports: Vec<&str> = denials.iter().map(|denial| denial.port.as_str()).collect();
    assert_eq!(ports, ["port-1", "port-2", "port-1", "port-2"]);
    assert_eq!(denials[1].direction, "egress");
    let none = EngineSettings { log_denied: true, denied_logs_per_second: 0, ..EngineSettings::default() };
    let (denials, logged, suppressed) = deny(false, none);
    assert_eq!((denials.len(), logged, suppressed), (0, 0, 20));
}

#[test]
fn replacing_the_rules_of_ten_thousand_members_loses_no_flow() {
    const MEMBERS: u32 = 10_000;
    let settings = EngineSettings { new_flows_per_second_per_port: 0, ..EngineSettings::default() };
    let mut gateway = Gateway::new(MEMBERS, |_| vec!["all"], settings);
    gateway.set("all", both("first"));
    gateway.apply();
    gateway.plug();
    let pairs = || (0..MEMBERS / 2).map(|pair| (2 * pair, 2 * pair + 1));
    let opened = gateway.send(pairs());
    assert!(opened > MEMBERS as usize / 2 - 20, "only {opened} flows were opened");
    gateway.send(pairs());
    let sessions = gateway.engine.counters_view().sessions;
    assert_eq!(sessions, u64::from(MEMBERS / 2));

    gateway.set("all", both("second"));
    let started = Instant::now();
    let touched = gateway.apply();
    println!("the rules of {MEMBERS} members were replaced in {:?}", started.elapsed());
    assert_eq!(touched, MEMBERS as usize);
    assert_eq!(gateway.send(pairs()), MEMBERS as usize / 2);
    let view = gateway.engine.counters_view();
    assert_eq!((view.sessions, view.sessions_revoked, view.revalidations), (sessions, 0, sessions));
}
