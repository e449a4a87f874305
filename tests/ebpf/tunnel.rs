//! Tunnels and VLANs in the kernel programs: what is put around a packet and taken off it, byte for byte, and what is left to the
//! engine as it came.

use edgestack_abi::port::{PORT_UNDERLAY, PORT_UP, PORT_VLANS, PORT_XDP_TRANSMIT};
use edgestack_abi::tunnel::{INDEX_BUCKETS, KIND_GENEVE, KIND_VLAN, KIND_VXLAN, OUTER_TTL};
use edgestack_abi::{FlowVerdict, PortEntry, TunnelEntry};
use edgestack_dataplane::fastpath::Verdict;

use crate::packet::{Frame, TCP_ACK, TCP_SYN, Transport, fix_ipv4_checksum, sum};
use crate::rig::{HOOKS, Hook, INSIDE, OUTSIDE, Rig, key, outbound, translated, verdict};

/// Port of the tunnel or VLAN; its interface is that of [`OUTSIDE`].
const CARRIER: u16 = 9;
const NUMBER: u16 = 5;
const IDENTIFIER: u32 = 0x12_3456;
const VLAN: u16 = 10;
const OWN_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x51];
const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x52];
const UDP: Transport = Transport::Udp { checksum: true };
const TUNNELS: [(u8, bool); 4] =
    [(KIND_VXLAN, false), (KIND_VXLAN, true), (KIND_GENEVE, false), (KIND_GENEVE, true)];

/// The address that ends in `last`, as the record has it.
fn address(is_ipv6: bool, last: u8) -> Vec<u8> {
    if is_ipv6 { [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[last]].concat() } else { vec![192, 0, 2, last] }
}

fn words(address: &[u8]) -> [u64; 2] {
    let mut octets = [0; 16];
    octets[..address.len()].copy_from_slice(address);
    let (first, last) = octets.split_at(8);
    [first, last].map(|half| u64::from_ne_bytes(half.try_into().unwrap()))
}

/// What a rig is given, beside two ports: one more, through the second.
fn rig_with(entry: TunnelEntry, under_flag: u16) -> Rig {
    let rig = Rig::new();
    let bucket = entry.bucket(rig.regions.control.read(0).hash_seed) & (INDEX_BUCKETS - 1);
    rig.regions.tunnels.write(usize::from(NUMBER), entry);
    rig.regions.tunnel_index.write(bucket as usize, u64::from(NUMBER));
    rig.regions.ports.write(
        usize::from(CARRIER),
        PortEntry {
            epoch: u32::from(CARRIER) * 100_000,
            flags: PORT_UP | PORT_XDP_TRANSMIT,
            mtu: 1430,
            tunnel: NUMBER,
            ..PortEntry::default()
        },
    );
    rig.set_port(OUTSIDE, |port| port.flags |= under_flag);
    rig
}

fn tunnel(kind: u8, is_ipv6: bool) -> Rig {
    let entry = TunnelEntry {
        port: CARRIER,
        under_port: OUTSIDE,
        kind,
        family: if is_ipv6 { edgestack_abi::flow::FAMILY_IPV6 } else { 0 },
        identifier: IDENTIFIER,
        ethernet_destination: PEER_MAC,
        ethernet_source: OWN_MAC,
        local: words(&address(is_ipv6, 1)),
        remote: words(&address(is_ipv6, 2)),
        ..TunnelEntry::default()
    };
    rig_with(entry, PORT_UNDERLAY)
}

fn vlan() -> Rig {
    let entry = TunnelEntry {
        port: CARRIER,
        under_port: OUTSIDE,
        kind: KIND_VLAN,
        identifier: u32::from(VLAN),
        remote: [u64::from(OUTSIDE), 0],
        ..TunnelEntry::default()
    };
    rig_with(entry, PORT_VLANS)
}

/// The verdict that makes `after` of `before` on the way from one port to another.
fn between(before: &Frame, after: &Frame, ports: [u16; 2]) -> FlowVerdict {
    let epoch =
        ports.map(|port| u32::from(port) * 100_000).iter().fold(0_u32, |sum, epoch| sum.wrapping_add(*epoch));
    FlowVerdict { out_port: ports[1], epoch, ..verdict(before, after) }
}

/// A flow that leaves by the carrier, and one that comes in by it.
fn learn(rig: &Rig, frame: &Frame, ports: [u16; 2]) -> Frame {
    let after = translated(*frame);
    rig.insert(key(frame, ports[0]), between(frame, &after, ports));
    after
}

/// The way that a frame travels: MAC and IP addresses from and to, by their last byte.
struct Way {
    macs: [[u8; 6]; 2],
    hosts: [u8; 2],
}

const OUT: Way = Way { macs: [OWN_MAC, PEER_MAC], hosts: [1, 2] };
const IN: Way = Way { macs: [PEER_MAC, OWN_MAC], hosts: [2, 1] };

/// Outer headers written by hand, around `inner`.
fn wrapped((kind, is_ipv6): (u8, bool), way: &Way, source_port: u16, inner: &[u8]) -> Vec<u8> {
    let [from, to] = way.macs;
    let addresses = way.hosts.map(|last| address(is_ipv6, last)).concat();
    let length = (16 + inner.len()) as u16;
    let ip = if is_ipv6 {
        let word = 0x6000_0000 | u32::from(source_port);
        [&word.to_be_bytes()[..], &length.to_be_bytes(), &[17, OUTER_TTL], &addresses].concat()
    } else {
        let head = [&[0x45, 0][..], &(20 + length).to_be_bytes(), &[0, 0, 0x40, 0, OUTER_TTL, 17, 0, 0]];
        let mut ip = [&head.concat()[..], &addresses].concat();
        let checksum = !sum(&ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        ip
    };
    let ether_type: [u8; 2] = if is_ipv6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    let (port, flags) = if kind == KIND_GENEVE { (6081_u16, 0x6558_u32) } else { (4789, 0x0800_0000) };
    [
        &to[..],
        &from,
        &ether_type,
        &ip,
        &source_port.to_be_bytes(),
        &port.to_be_bytes(),
        &length.to_be_bytes(),
        &[0, 0],
        &flags.to_be_bytes(),
        &(IDENTIFIER << 8).to_be_bytes(),
        inner,
    ]
    .concat()
}

fn tagged(frame: &[u8], tag: u16) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &tag.to_be_bytes(), &frame[12..]].concat()
}

/// Where the UDP header of the outer headers is.
fn datagram(is_ipv6: bool) -> usize {
    if is_ipv6 { 54 } else { 34 }
}

#[test]
fn outer_headers_are_written_as_by_hand() {
    for (kind, is_ipv6) in TUNNELS {
        let rig = tunnel(kind, is_ipv6);
        for transport in [UDP, Transport::Tcp { flags: TCP_ACK }, Transport::Icmp { kind: 8 }] {
            let frame = outbound(transport);
            let after = learn(&rig, &frame, [INSIDE, CARRIER]);
            let mut source_ports = Vec::new();
            for hook in HOOKS {
                let before = [CARRIER, OUTSIDE].map(|port| rig.fast_path.port_counters(port).unwrap());
                let run = rig.run(hook, INSIDE, &frame.bytes());
                let what = format!("{hook:?} {kind} {is_ipv6} {transport:?}");
                assert_eq!(run.verdict, Verdict::Redirect, "{what}");
                let at = datagram(is_ipv6);
                let source_port = u16::from_be_bytes([run.packet[at], run.packet[at + 1]]);
                assert!(source_port >= 0xc000, "{what}");
                assert_eq!(run.packet, wrapped((kind, is_ipv6), &OUT, source_port, &after.bytes()), "{what}");
                source_ports.push(source_port);
                let now = [CARRIER, OUTSIDE].map(|port| rig.fast_path.port_counters(port).unwrap());
                let lengths = [frame.bytes().len(), run.packet.len()].map(|length| length as u64);
                for ((before, now), length) in before.iter().zip(&now).zip(lengths) {
                    assert_eq!(now.transmitted_packets, before.transmitted_packets + 1, "{what}");
                    assert_eq!(now.transmitted_bytes, before.transmitted_bytes + length, "{what}");
                }
            }
            assert_eq!(source_ports[0], source_ports[1], "a flow has one way, whichever program sends it");
        }
    }
}

#[test]
fn outer_headers_are_taken_off() {
    for (kind, is_ipv6) in TUNNELS {
        let rig = tunnel(kind, is_ipv6);
        let frame = outbound(UDP);
        let after = learn(&rig, &frame, [CARRIER, INSIDE]);
        for hook in HOOKS {
            let run = rig.run(hook, OUTSIDE, &wrapped((kind, is_ipv6), &IN, 50_000, &frame.bytes()));
            assert_eq!(run.verdict, Verdict::Redirect, "{hook:?} {kind} {is_ipv6}");
            assert_eq!(run.packet, after.bytes(), "{hook:?} {kind} {is_ipv6}");
            let carrier = rig.fast_path.port_counters(CARRIER).unwrap();
            assert!(carrier.forwarded_packets > 0, "{hook:?} {kind} {is_ipv6}");
        }
    }
}

/// Runs what came in by the uplink through both programs and wants it untouched in the engine's hands.
fn expect_punt(rig: &mut Rig, frame: &[u8], what: &str) {
    let _socket = rig.plug_engine();
    for hook in HOOKS {
        let before = rig.fast_path.port_counters(OUTSIDE).unwrap();
        let run = rig.run(hook, OUTSIDE, frame);
        let after = rig.fast_path.port_counters(OUTSIDE).unwrap();
        assert_eq!(run.verdict, Verdict::Redirect, "{what} {hook:?}");
        assert_eq!(after.punted_packets, before.punted_packets + 1, "{what} {hook:?}");
        assert_eq!(run.packet, frame, "{what} {hook:?} was changed");
    }
}

#[test]
fn what_is_not_plainly_a_tunnels_reaches_the_engine_unchanged() {
    for (kind, is_ipv6) in TUNNELS {
        let mut rig = tunnel(kind, is_ipv6);
        let frame = outbound(Transport::Tcp { flags: TCP_ACK });
        learn(&rig, &frame, [CARRIER, INSIDE]);
        let sound = wrapped((kind, is_ipv6), &IN, 50_000, &frame.bytes());
        assert_ne!(rig.run(Hook::Xdp, OUTSIDE, &sound).packet, sound, "it is taken as it is");
        let at = datagram(is_ipv6);
        let changes: [(&str, usize, u8); 8] = [
            ("another MAC address", 5, 1),
            ("another sender", if is_ipv6 { 37 } else { 29 }, 9),
            ("another network", at + 14, 1),
            ("a checksum", at + 7, 1),
            ("a datagram longer than its packet", at + 4, 0x40),
            ("another port", at + 3, 1),
            ("congestion on the way", 15, if is_ipv6 { 0x30 } else { 3 }),
            ("flags of the header", at + 8, if kind == KIND_GENEVE { 0x40 } else { 8 }),
        ];
        for (what, position, bits) in changes {
            let mut changed = sound.clone();
            changed[position] ^= bits;
            if !is_ipv6 {
                fix_ipv4_checksum(&mut changed);
            }
            expect_punt(&mut rig, &changed, &format!("{what} {kind} {is_ipv6}"));
        }
        if kind == KIND_GENEVE {
            let mut with_option = sound.clone();
            with_option[at + 8] = 1;
            expect_punt(&mut rig, &with_option, "an option");
        }
        let opening = outbound(Transport::Tcp { flags: TCP_SYN }).bytes();
        expect_punt(&mut rig, &wrapped((kind, is_ipv6), &IN, 50_000, &opening), "a connection that opens");
        // Shorter ones than an IPv6 header the kernel does not run a TC program on.
        for length in (54..sound.len()).step_by(7) {
            expect_punt(&mut rig, &sound[..length], &format!("cut to {length} {kind} {is_ipv6}"));
        }
    }
}

#[test]
fn tags_are_put_in_and_taken_off() {
    let rig = vlan();
    let frame = outbound(UDP);
    let after = learn(&rig, &frame, [INSIDE, CARRIER]);
    let out = rig.run(Hook::Xdp, INSIDE, &frame.bytes());
    assert_eq!((out.verdict, out.packet), (Verdict::Redirect, tagged(&after.bytes(), VLAN)));
    // TC leaves the tag beside the packet, where this run does not show it.
    let out = rig.run(Hook::Tc, INSIDE, &frame.bytes());
    assert_eq!((out.verdict, out.packet), (Verdict::Redirect, after.bytes()));

    let rig = vlan();
    let after = learn(&rig, &frame, [CARRIER, INSIDE]);
    for tag in [VLAN, VLAN | 0xe000] {
        let run = rig.run(Hook::Xdp, OUTSIDE, &tagged(&frame.bytes(), tag));
        assert_eq!((run.verdict, run.packet), (Verdict::Redirect, after.bytes()), "{tag:#x}");
    }
}

#[test]
fn other_tags_reach_the_engine_unchanged() {
    let mut rig = vlan();
    let frame = outbound(UDP);
    learn(&rig, &frame, [CARRIER, INSIDE]);
    let bytes = frame.bytes();
    for (what, frame) in [
        ("another VLAN", tagged(&bytes, VLAN + 1)),
        ("only a priority", tagged(&bytes, 0xe000)),
        ("two tags", tagged(&tagged(&bytes, VLAN), VLAN)),
        ("none", bytes.clone()),
        ("an unknown flow", tagged(&Frame { source_port: 1, ..frame }.bytes(), VLAN)),
        ("nothing behind the tag", tagged(&bytes, VLAN)[..18].to_vec()),
    ] {
        expect_punt(&mut rig, &frame, what);
    }
    // Nothing is looked for where no VLAN is.
    rig.set_port(OUTSIDE, |port| port.flags &= !PORT_VLANS);
    expect_punt(&mut rig, &tagged(&bytes, VLAN), "no VLANs");
}
