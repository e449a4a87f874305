//! What is told of packets that pass: live traces, and what external addresses have carried.

use std::net::Ipv4Addr;
use std::sync::Arc;

use edgestack_dataplane::address::MacAddress;
use edgestack_dataplane::config::{
    Attach, FloatingIp, FloatingIpTarget, Network, Port, PortKind, Router, RouterExternal,
};
use edgestack_dataplane::engine::EngineSettings;
use edgestack_dataplane::inspect::{LiveTraceRequest, NatView, TraceRequest};

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

/// Port 0 behind a router with source translation, port 1 with a floating IP.
fn translating() -> Gateway {
    let mut gateway = Gateway::new(2, |_| vec!["open"], EngineSettings::default());
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
