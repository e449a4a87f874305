//! What is told of packets that pass: live traces, and what external addresses and rules of load balancers have carried.

use std::net::Ipv4Addr;
use std::sync::Arc;

use edgestack_dataplane::address::MacAddress;
use edgestack_dataplane::config::{
    Attach, FloatingIp, FloatingIpLoadBalancer, FloatingIpTarget, LoadBalancer, LoadBalancerMember,
    LoadBalancerRule, Network, Port, PortKind, Router, RouterExternal,
};
use edgestack_dataplane::engine::{EngineSettings, TraceError};
use edgestack_dataplane::inspect::{BalancerRuleView, FlowFilter, LiveTraceRequest, NatView, TraceRequest};

use crate::{Gateway, both, frame_to, ip, mac, two_pairs};

const NEXT_HOP: MacAddress = MacAddress([2, 0, 0, 0, 0xff, 1]);
const ROUTER: MacAddress = MacAddress([2, 0, 0, 0, 1, 1]);

fn described(port: &str, from: u32, to: u32) -> TraceRequest {
    TraceRequest {
        port: port.to_owned(),
        protocol: "udp".to_owned(),
        source: Some(ip(from).into()),
        destination: ip(to).into(),
        source_port: 4000,
        destination_port: 53,
        tcp_flags: None,
        source_mac: None,
        destination_mac: None,
        ttl: None,
        length: Some(46),
    }
}

#[test]
fn packets_that_pass_are_traced_in_the_words_of_described_ones() {
    let mut gateway = two_pairs();
    let hits = |gateway: &Gateway| gateway.engine.counters_view().engine_hits;
    let request = LiveTraceRequest {
        port: Some("port-0".to_owned()),
        protocol: Some("udp".to_owned()),
        count: Some(2),
        ..LiveTraceRequest::default()
    };
    let records = gateway.engine.live_trace(&request).expect("a sound request");
    let before = hits(&gateway);
    assert_eq!(gateway.send([(0, 1), (2, 3), (0, 1), (2, 3), (0, 1)]), 5, "they pass as ever");
    let traced: Vec<_> = records.try_iter().collect();
    assert_eq!(traced.len(), 2, "of the port, and only so many");
    let words = gateway.engine.trace(&described("port-0", 0, 1)).expect("a packet");
    for record in &traced {
        assert_eq!((record.in_port.as_str(), record.lost_packets), ("port-0", 0));
        assert_eq!(record.report, words);
        assert_eq!((words.verdict.as_str(), words.out_port.as_deref()), ("forward", Some("port-1")));
    }
    assert!(hits(&gateway) >= before + 2, "other ports' packets went by their flows");
    let before = hits(&gateway);
    gateway.send([(0, 1)]);
    assert_eq!(hits(&gateway), before + 1, "afterwards nothing is different");

    // Packets of no flow, of whatever port.
    gateway.set("two", Vec::new());
    gateway.apply();
    let records = gateway.engine.live_trace(&LiveTraceRequest::default()).expect("a sound request");
    assert_eq!(gateway.send([(2, 3)]), 0);
    let record = records.try_recv().expect("a record");
    assert_eq!(record.report.reason.as_deref(), Some("firewall_egress"));
    assert_eq!(record.report.steps.last().expect("steps").stage, "firewall_egress");
    let unknown = LiveTraceRequest { port: Some("nobody".to_owned()), ..LiveTraceRequest::default() };
    assert!(gateway.engine.live_trace(&unknown).is_err());
}

#[test]
fn packets_of_every_protocol_can_be_described() {
    let gateway = two_pairs();
    let trace = |protocol: &str, port: u16| {
        let (protocol, source_port, destination_port) = (protocol.to_owned(), port, port);
        let request = described("port-0", 0, 1);
        let request = TraceRequest { protocol, source_port, destination_port, length: None, ..request };
        gateway.engine.trace(&request)
    };
    for (protocol, port, words) in [
        ("sctp", 80, "sctp 10.0.1.0:80 > 10.0.1.1:80 tag 0x00000000 init ttl 64 length 52"),
        ("132", 81, "sctp 10.0.1.0:81 > 10.0.1.1:81 tag 0x00000000 init ttl 64 length 52"),
        ("udplite", 80, "udplite 10.0.1.0:80 > 10.0.1.1:80 ttl 64 length 28"),
        ("gre", 0, "protocol 47 10.0.1.0 > 10.0.1.1 ttl 64 length 20"),
        ("89", 0, "protocol 89 10.0.1.0 > 10.0.1.1 ttl 64 length 20"),
    ] {
        let report = trace(protocol, port).expect("a packet");
        assert_eq!((report.verdict.as_str(), report.out_port.as_deref()), ("forward", Some("port-1")));
        let packet = report.packet_out.expect("a packet that leaves");
        assert!(packet.ends_with(words), "{packet}");
    }
    assert_eq!(trace("gre", 80).unwrap_err(), TraceError::NoPorts("gre".to_owned()));
    assert_eq!(trace("stcp", 80).unwrap_err(), TraceError::UnknownProtocol("stcp".to_owned()));
}

/// Port 0 behind a router with source translation, port 1 with a floating IP.
fn translating() -> Gateway {
    translating_sessions(8)
}

/// The same with room for so many sessions.
fn translating_sessions(sessions: u32) -> Gateway {
    let mut gateway = Gateway::with_sessions(sessions, 2, |_| vec!["open"], EngineSettings::default());
    gateway.set("open", both("open"));
    let outside = "192.0.2.0/24".parse().expect("a range");
    let network = Network { external: true, ..Network::new("outside", outside) };
    gateway.config.networks.push(Arc::new(network));
    gateway.config.ports.push(Arc::new(Port {
        id: "wan".to_owned(),
        name: "wan".to_owned(),
        network: "outside".to_owned(),
        interface: None,
        kind: PortKind::Uplink,
        attach: Attach::Auto,
        admin_state_up: true,
    }));
    gateway.config.routers = vec![Arc::new(Router {
        external: Some(RouterExternal {
            enable_snat: true,
            peer_ip: Some(Ipv4Addr::new(192, 0, 2, 1)),
            peer_mac: Some(NEXT_HOP),
            ..RouterExternal::new("outside", Ipv4Addr::new(192, 0, 2, 10))
        }),
        ..Router::new("router", ROUTER, vec!["network".to_owned()])
    })];
    let target = FloatingIpTarget { port: "port-1".to_owned(), router: "router".to_owned() };
    gateway.config.floating_ips = vec![Arc::new(FloatingIp {
        target: Some(target),
        ..FloatingIp::new("floating", "outside", Ipv4Addr::new(192, 0, 2, 100))
    })];
    gateway.apply();
    gateway.plug();
    gateway
}

#[test]
fn external_addresses_tell_what_they_have_carried_also_when_sessions_have_ended() {
    let mut gateway = translating();
    let server = Ipv4Addr::new(198, 51, 100, 9);
    let out = |number: u32| frame_to((mac(number), ip(number), 4000), (ROUTER, server, 53));
    let back = |to: Ipv4Addr| frame_to((NEXT_HOP, server, 53), (ROUTER, to, 4000));
    let floating = Ipv4Addr::new(192, 0, 2, 100);
    let sent = [("port-0", out(0)), ("port-0", out(0)), ("port-1", out(1))];
    let answers =
        [("wan", back(Ipv4Addr::new(192, 0, 2, 10))), ("wan", back(floating)), ("wan", back(floating))];
    assert_eq!(gateway.send_frames(&sent), 3);
    assert_eq!(gateway.send_frames(&answers), 3);

    let shown = |gateway: &Gateway| {
        let views = gateway.engine.nat_view().into_iter();
        let fields = |view: NatView| {
            let packets = (view.packets_out, view.packets_in);
            (view.id, view.router_id, view.sessions, packets, (view.bytes_out, view.bytes_in))
        };
        views.map(fields).collect::<Vec<_>>()
    };
    let expected = |sessions| {
        let of = |id: &str, packets, bytes| (id.to_owned(), "router".to_owned(), sessions, packets, bytes);
        vec![of("router", (2, 1), (120, 60)), of("floating", (1, 2), (60, 120))]
    };
    assert_eq!(shown(&gateway), expected(1));
    gateway.wait_seconds(400);
    assert_eq!(gateway.engine.counters_view().sessions, 0);
    assert_eq!(shown(&gateway), expected(0), "what has ended still counts");
}

/// A load balancer of the workloads' network, by a rule for this port, whose only member is port 1, with a floating IP.
fn balance(gateway: &mut Gateway, rule: (&str, u16)) {
    let rule = LoadBalancerRule {
        id: rule.0.to_owned(),
        protocol: Some(crate::UDP),
        port_range_min: Some(rule.1),
        port_range_max: None,
        target_port: None,
    };
    gateway.config.load_balancers = vec![Arc::new(LoadBalancer {
        id: "balancer".to_owned(),
        name: "balancer".to_owned(),
        network: "network".to_owned(),
        vip: VIRTUAL.into(),
        router: None,
        rules: vec![rule],
        members: vec![LoadBalancerMember::new(ip(1).into())],
        affinity_seconds: None,
        reject: false,
        admin_state_up: true,
    })];
    let stands_for =
        FloatingIpLoadBalancer { load_balancer: "balancer".to_owned(), router: "router".to_owned() };
    gateway.config.floating_ips = vec![Arc::new(FloatingIp {
        load_balancer: Some(stands_for),
        ..FloatingIp::new("floating", "outside", Ipv4Addr::new(192, 0, 2, 100))
    })];
    gateway.apply();
}

const VIRTUAL: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

#[test]
fn rules_of_load_balancers_tell_what_they_have_balanced_also_when_sessions_have_ended() {
    let mut gateway = translating();
    balance(&mut gateway, ("dns", 53));
    let server = Ipv4Addr::new(198, 51, 100, 9);
    let to = |address, port| frame_to((mac(0), ip(0), port), (ROUTER, address, 53));
    let back = |mac_address, address| frame_to((mac(1), ip(1), 53), (mac_address, address, 4000));
    let outside = frame_to((NEXT_HOP, server, 4000), (ROUTER, Ipv4Addr::new(192, 0, 2, 100), 53));
    let asked = [("port-0", to(VIRTUAL, 4000)), ("port-0", to(VIRTUAL, 4001)), ("wan", outside)];
    assert_eq!(gateway.send_frames(&asked), 3);
    let answers = [("port-1", back(mac(0), ip(0))), ("port-1", back(ROUTER, server))];
    assert_eq!(gateway.send_frames(&answers), 2);
    let direct = frame_to((mac(0), ip(0), 5000), (mac(1), ip(1), 53));
    assert_eq!(gateway.send_frames(&[("port-0", direct)]), 1, "not balanced");

    let shown = |gateway: &Gateway| {
        let rules = gateway.engine.load_balancers_view().remove(0).rules.into_iter();
        let fields = |rule: BalancerRuleView| {
            let packets = (rule.packets_in, rule.packets_out);
            (rule.id, rule.sessions, rule.connections, packets, (rule.bytes_in, rule.bytes_out))
        };
        rules.map(fields).collect::<Vec<_>>()
    };
    let members = |gateway: &Gateway| {
        let members = gateway.engine.load_balancers_view().remove(0).members.into_iter();
        members
            .map(|one| {
                (
                    one.sessions,
                    one.connections,
                    (one.packets_in, one.packets_out),
                    one.bytes_in + one.bytes_out,
                )
            })
            .collect::<Vec<_>>()
    };
    let expected = |sessions| vec![("dns".to_owned(), sessions, 3, (3, 2), (180, 120))];
    assert_eq!(shown(&gateway), expected(3));
    assert_eq!(members(&gateway), [(3, 3, (3, 2), 300)], "it alone was given them");
    gateway.config.load_balancers.iter_mut().for_each(|balancer| Arc::make_mut(balancer).reject = true);
    gateway.apply();
    assert_eq!(shown(&gateway), expected(3), "a change of something else");
    gateway.config.ports.remove(0);
    gateway.apply();
    assert_eq!(shown(&gateway), expected(1), "of a client that is gone");
    gateway.wait_seconds(400);
    assert_eq!(gateway.engine.counters_view().sessions, 0);
    assert_eq!(shown(&gateway), expected(0), "what has ended still counts");
    assert_eq!(members(&gateway), [(0, 3, (3, 2), 300)], "of members too");
    balance(&mut gateway, ("other", 53));
    assert_eq!(shown(&gateway), [("other".to_owned(), 0, 0, (0, 0), (0, 0))], "another rule begins anew");
    assert_eq!(members(&gateway), [(0, 3, (3, 2), 300)], "the member is the same");
}

#[test]
fn what_ends_while_all_sessions_are_counted_counts_once() {
    const ROUNDS: u64 = 8;
    /// Of each sort: more than are looked at while the slow path waits.
    const SESSIONS: u16 = 2500;
    let mut gateway = translating_sessions(1 << 14);
    balance(&mut gateway, ("dns", 53));
    let server = Ipv4Addr::new(198, 51, 100, 9);
    for round in 1..=ROUNDS {
        for number in 0..SESSIONS {
            let from = (mac(0), ip(0), 10_000 + number);
            let (balanced, out) =
                (frame_to(from, (ROUTER, VIRTUAL, 53)), frame_to(from, (ROUTER, server, 53)));
            assert_eq!(gateway.send_frames(&[("port-0", balanced), ("port-0", out)]), 2);
        }
        let sent = round * u64::from(SESSIONS);
        let engine = &gateway.engine;
        let counted = || {
            let balanced = engine.load_balancers_view().remove(0).rules.remove(0);
            let nat = engine.nat_view().into_iter().find(|view| view.id == "router").expect("it translates");
            assert_eq!((balanced.packets_in, balanced.bytes_in), (sent, 60 * sent), "round {round}");
            assert_eq!((nat.packets_out, nat.bytes_out), (sent, 60 * sent), "round {round}");
            balanced.sessions.max(nat.sessions)
        };
        assert_eq!(counted(), u64::from(SESSIONS));
        std::thread::scope(|scope| {
            let ending = scope.spawn(|| engine.clear_flows(&FlowFilter::default()));
            while !ending.is_finished() {
                counted();
            }
            let ended = ending.join().expect("no panic").expect("a filter of nothing");
            assert_eq!(ended, 2 * u64::from(SESSIONS));
        });
        assert_eq!(counted(), 0);
        // Places of flows that have ended are used again a little later.
        gateway.wait_seconds(2);
    }
}
