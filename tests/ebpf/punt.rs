//! Packets that tier 0 must leave to the engine, and where everything that is not forwarded goes.

use edgestack_abi::DropReason;
use edgestack_abi::flow::{TIER0, VALID};
use edgestack_abi::port::{PORT_PUNT_ALL, PORT_UP, PORT_UPLINK, PORT_XDP_TRANSMIT};
use edgestack_dataplane::fastpath::{SkbOptions, Verdict};

use crate::packet::{
    Frame, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, TIME_TO_LIVE, TRANSPORT, Transport, fix_ipv4_checksum,
};
use crate::rig::{HOOKS, Hook, INSIDE, INTERFACE_MAC, MTU, OUTSIDE, Rig, key, outbound, translated, verdict};

const UDP: Transport = Transport::Udp { checksum: true };
const TCP: Transport = Transport::Tcp { flags: TCP_ACK };
const ECHO: Transport = Transport::Icmp { kind: 8 };

/// A rig that knows the flow of `frame`.
fn rig_with(frame: &Frame) -> Rig {
    let rig = Rig::new();
    rig.insert(key(frame, INSIDE), verdict(frame, &translated(*frame)));
    rig
}

/// Runs a packet through XDP and TC and wants it untouched in the engine's hands.
fn expect_punt(rig: &mut Rig, frame: &[u8], what: &str) {
    expect_punt_by(rig, &HOOKS, frame, what);
}

fn expect_punt_by(rig: &mut Rig, hooks: &[Hook], frame: &[u8], what: &str) {
    let _socket = rig.plug_engine();
    for &hook in hooks {
        let before = rig.fast_path.port_counters(INSIDE).unwrap();
        let run = rig.run(hook, INSIDE, frame);
        let after = rig.fast_path.port_counters(INSIDE).unwrap();
        assert_eq!(run.verdict, Verdict::Redirect, "{what} {hook:?}");
        assert_eq!(after.forwarded_packets, before.forwarded_packets, "{what} {hook:?} was forwarded");
        assert_eq!(after.punted_packets, before.punted_packets + 1, "{what} {hook:?}");
        assert_eq!(run.packet, frame, "{what} {hook:?} was changed");
    }
}

fn expect_forward(rig: &Rig, frame: &[u8], what: &str) {
    for hook in HOOKS {
        let before = rig.fast_path.port_counters(INSIDE).unwrap();
        let run = rig.run(hook, INSIDE, frame);
        let after = rig.fast_path.port_counters(INSIDE).unwrap();
        assert_eq!(run.verdict, Verdict::Redirect, "{what} {hook:?}");
        assert_eq!(after.forwarded_packets, before.forwarded_packets + 1, "{what} {hook:?}");
    }
}

#[test]
fn packets_that_the_parser_refuses_reach_the_engine_unchanged() {
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Transport, Change); 20] = [
        ("EtherType IPv6", UDP, |frame| frame[12..14].copy_from_slice(&[0x86, 0xdd])),
        ("ARP", UDP, |frame| frame[12..14].copy_from_slice(&[0x08, 0x06])),
        ("IP version 5", UDP, |frame| frame[14] = 0x55),
        ("IP options", UDP, |frame| frame[14] = 0x46),
        ("more fragments", UDP, |frame| frame[20] = 0x20),
        ("later fragment", UDP, |frame| frame[21] = 1),
        ("time to live 1", UDP, |frame| frame[TIME_TO_LIVE] = 1),
        ("time to live 0", UDP, |frame| frame[TIME_TO_LIVE] = 0),
        ("total length beyond the frame", UDP, |frame| {
            let length = (frame.len() - 14 + 1) as u16;
            frame[16..18].copy_from_slice(&length.to_be_bytes());
        }),
        ("total length within the UDP header", UDP, |frame| frame[16..18].copy_from_slice(&[0, 27])),
        ("total length within the IP header", UDP, |frame| frame[16..18].copy_from_slice(&[0, 19])),
        ("total length 0", TCP, |frame| frame[16..18].copy_from_slice(&[0, 0])),
        ("total length within the TCP header", TCP, |frame| frame[16..18].copy_from_slice(&[0, 39])),
        ("UDP length 7", UDP, |frame| frame[TRANSPORT + 4..TRANSPORT + 6].copy_from_slice(&[0, 7])),
        ("UDP length beyond the packet", UDP, |frame| frame[TRANSPORT + 5] += 1),
        ("TCP header of 16 bytes", TCP, |frame| frame[TRANSPORT + 12] = 0x40),
        ("TCP header beyond the packet", TCP, |frame| {
            frame.truncate(54 + 20);
            frame[16..18].copy_from_slice(&[0, 60]);
            frame[TRANSPORT + 12] = 0xf0;
            frame[16..18].copy_from_slice(&[0, 59]);
        }),
        ("protocol GRE", UDP, |frame| frame[23] = 47),
        ("ICMP unreachable", ECHO, |frame| frame[TRANSPORT] = 3),
        ("ICMP echo of code 1", ECHO, |frame| frame[TRANSPORT + 1] = 1),
    ];
    let mut rig = Rig::new();
    for (what, transport, change) in changes {
        let frame = outbound(transport);
        rig.insert(key(&frame, INSIDE), verdict(&frame, &translated(frame)));
        expect_forward(&rig, &frame.bytes(), what);
        let mut bytes = frame.bytes();
        change(&mut bytes);
        fix_ipv4_checksum(&mut bytes);
        expect_punt(&mut rig, &bytes, what);
    }
}

#[test]
fn a_header_whose_checksum_is_wrong_reaches_the_engine() {
    let frame = outbound(UDP);
    let mut rig = rig_with(&frame);
    for offset in [24, 25, 15, 30] {
        let mut bytes = frame.bytes();
        bytes[offset] ^= 0x10;
        expect_punt(&mut rig, &bytes, "wrong checksum");
    }
}

#[test]
fn only_segments_within_a_connection_are_forwarded() {
    let mut rig = rig_with(&outbound(TCP));
    for flags in [0, TCP_SYN, TCP_SYN | TCP_ACK, TCP_FIN | TCP_ACK, TCP_RST, TCP_RST | TCP_ACK, 0xff] {
        let frame = outbound(Transport::Tcp { flags });
        expect_punt(&mut rig, &frame.bytes(), &format!("TCP flags {flags:#x}"));
    }
    for flags in [TCP_ACK, TCP_ACK | 0x08, TCP_ACK | 0x20, TCP_ACK | 0xc0] {
        let frame = outbound(Transport::Tcp { flags });
        expect_forward(&rig, &frame.bytes(), &format!("TCP flags {flags:#x}"));
    }
}

#[test]
fn frames_too_short_for_their_headers_reach_the_engine() {
    let frame = outbound(TCP);
    let mut rig = rig_with(&frame);
    let bytes = frame.bytes();
    for length in [34, 41, 42, 53] {
        expect_punt(&mut rig, &bytes[..length], &format!("{length} bytes"));
    }
    // The kernel refuses to make an IPv4 packet of the stack, to test with, of less than an IPv4 header.
    for length in [14, 20, 33] {
        expect_punt_by(&mut rig, &[Hook::Xdp], &bytes[..length], &format!("{length} bytes"));
    }
}

#[test]
fn padding_behind_the_packet_is_kept() {
    let frame = Frame { payload_length: 0, ..outbound(UDP) };
    let rig = rig_with(&frame);
    let mut bytes = frame.bytes();
    bytes.resize(60, 0xaa);
    for hook in HOOKS {
        let run = rig.run(hook, INSIDE, &bytes);
        assert_eq!(run.verdict, Verdict::Redirect);
        let mut expected = translated(frame).bytes();
        expected.resize(60, 0xaa);
        assert_eq!(run.packet, expected, "{hook:?}");
    }
}

#[test]
fn a_flow_that_no_longer_holds_reaches_the_engine() {
    type Change = fn(&Rig, crate::rig::Place);
    let changes: [(&str, Change); 12] = [
        ("no tag", |rig, place| rig.set_tag(place, 0)),
        ("not valid", |rig, place| rig.update(place, |entry| entry.verdict.flags &= !VALID)),
        ("not for tier 0", |rig, place| rig.update(place, |entry| entry.verdict.flags &= !TIER0)),
        ("epoch of the ingress port", |rig, _| rig.set_port(INSIDE, |port| port.epoch += 1)),
        ("epoch of the egress port", |rig, _| rig.set_port(OUTSIDE, |port| port.epoch += 1)),
        ("egress port down", |rig, _| rig.set_port(OUTSIDE, |port| port.flags &= !PORT_UP)),
        ("ingress port captured", |rig, _| rig.set_port(INSIDE, |port| port.flags |= PORT_PUNT_ALL)),
        ("egress port captured", |rig, _| rig.set_port(OUTSIDE, |port| port.flags |= PORT_PUNT_ALL)),
        ("source MAC", |rig, place| rig.update(place, |entry| entry.verdict.match_ethernet_source[5] ^= 1)),
        ("destination MAC", |rig, place| {
            rig.update(place, |entry| entry.verdict.match_ethernet_destination[0] ^= 4);
        }),
        ("egress MTU", |rig, _| rig.set_port(OUTSIDE, |port| port.mtu = 60)),
        ("tier 0 off", |rig, _| {
            let control = rig.regions.control.read(0);
            let control = edgestack_abi::maps::Control { tier0_enabled: 0, ..control };
            rig.regions.control.write(0, control);
        }),
    ];
    let frame = outbound(UDP);
    let mut rig = Rig::new();
    for (what, change) in changes {
        rig.reset();
        let place = rig.insert(key(&frame, INSIDE), verdict(&frame, &translated(frame)));
        expect_forward(&rig, &frame.bytes(), what);
        change(&rig, place);
        expect_punt(&mut rig, &frame.bytes(), what);
    }
}

#[test]
fn epochs_may_wrap() {
    let frame = outbound(UDP);
    let rig = rig_with(&frame);
    rig.set_port(INSIDE, |port| port.epoch = u32::MAX);
    rig.set_port(OUTSIDE, |port| port.epoch = 3);
    let mut verdict = verdict(&frame, &translated(frame));
    verdict.epoch = 2;
    rig.insert(key(&frame, INSIDE), verdict);
    expect_forward(&rig, &frame.bytes(), "wrapped epoch");
}

#[test]
fn every_entry_of_both_buckets_is_found_and_no_other_key_is() {
    let frame = outbound(UDP);
    let mut rig = Rig::new();
    let places = rig.places(key(&frame, INSIDE));
    assert_eq!(places.len(), 8);
    for place in places {
        rig.insert_at(place, key(&frame, INSIDE), verdict(&frame, &translated(frame)));
        expect_forward(&rig, &frame.bytes(), &format!("{place:?}"));
        rig.update(place, |entry| *entry = edgestack_abi::FlowEntry::default());
        rig.set_tag(place, 0);
    }
    // Entries of other flows under the same tag stand before it.
    let places = rig.places(key(&frame, INSIDE));
    for place in &places[..3] {
        rig.insert_at(*place, key(&frame, INSIDE), verdict(&frame, &translated(frame)));
        rig.update(*place, |entry| entry.key.source ^= 1);
    }
    rig.insert_at(places[3], key(&frame, INSIDE), verdict(&frame, &translated(frame)));
    expect_forward(&rig, &frame.bytes(), "the fourth of one tag");
    let others = [
        Frame { source: [10, 0, 0, 6], ..frame },
        Frame { destination: [198, 51, 100, 8], ..frame },
        Frame { source_port: 40_001, ..frame },
        Frame { destination_port: 444, ..frame },
        Frame { transport: TCP, ..frame },
    ];
    for other in others {
        expect_punt(&mut rig, &other.bytes(), &format!("{other:?}"));
    }
    // The same packet from another port is another flow: this is what keeps tenants apart.
    let punted = rig.fast_path.port_counters(OUTSIDE).unwrap().punted_packets;
    let _socket = rig.plug_engine();
    rig.run(Hook::Tc, OUTSIDE, &frame.bytes());
    assert_eq!(rig.fast_path.port_counters(OUTSIDE).unwrap().punted_packets, punted + 1);
}

#[test]
fn segments_are_held_against_the_mtu_and_counted_one_by_one() {
    // A piece of a stream as the stack hands it over: larger than the MTU as a whole, right when cut.
    let frame = Frame { payload_length: 3000, ..outbound(TCP) };
    let mut rig = rig_with(&frame);
    let _socket = rig.plug_engine();
    let fits = SkbOptions { gso_size: u32::from(MTU) - 40, gso_segments: 3 };
    let run = rig.fast_path.run_tc(&rig.regions, INSIDE, &frame.bytes(), fits).unwrap();
    assert_eq!(run.verdict, Verdict::Redirect);
    let counters = rig.fast_path.port_counters(INSIDE).unwrap();
    assert_eq!((counters.forwarded_packets, counters.punted_packets), (3, 0));
    assert_eq!(counters.forwarded_bytes, 3000 + 3 * 54, "every segment has its headers");
    let too_big = SkbOptions { gso_size: u32::from(MTU) - 39, gso_segments: 3 };
    rig.fast_path.run_tc(&rig.regions, INSIDE, &frame.bytes(), too_big).unwrap();
    assert_eq!(rig.fast_path.port_counters(INSIDE).unwrap().punted_packets, 3);
    rig.fast_path.run_tc(&rig.regions, INSIDE, &frame.bytes(), SkbOptions::default()).unwrap();
    assert_eq!(rig.fast_path.port_counters(INSIDE).unwrap().punted_packets, 4);
}

#[test]
fn without_an_engine_misses_are_dropped_with_the_reason() {
    let rig = Rig::new();
    rig.regions
        .control
        .write(0, edgestack_abi::maps::Control { trunk_interface_index: 0, ..rig.regions.control.read(0) });
    for (count, hook) in (1..).zip(HOOKS) {
        assert_eq!(rig.run(hook, INSIDE, &outbound(UDP).bytes()).verdict, Verdict::Drop, "{hook:?}");
        assert_eq!(rig.fast_path.drops().unwrap()[DropReason::EngineAbsent as usize], count);
        assert_eq!(rig.fast_path.port_counters(INSIDE).unwrap().dropped_packets, count);
    }
}

#[test]
fn interfaces_that_are_no_port_pass_nothing() {
    let rig = Rig::new();
    for (count, hook) in (1..).zip(HOOKS) {
        assert_eq!(rig.run(hook, 0, &outbound(UDP).bytes()).verdict, Verdict::Drop, "{hook:?}");
        assert_eq!(rig.fast_path.drops().unwrap()[DropReason::UnknownPort as usize], count);
    }
}

#[test]
fn xdp_leaves_a_hit_to_tc_where_the_way_out_is_not_for_xdp() {
    let frame = outbound(UDP);
    let rig = rig_with(&frame);
    rig.set_port(OUTSIDE, |port| port.flags &= !PORT_XDP_TRANSMIT);
    let run = rig.run(Hook::Xdp, INSIDE, &frame.bytes());
    assert_eq!(run.verdict, Verdict::Pass);
    assert_eq!(run.packet, frame.bytes(), "unchanged");
    assert_eq!(rig.fast_path.port_counters(INSIDE).unwrap().forwarded_packets, 0, "counted once, by TC");
    assert_eq!(rig.run(Hook::Tc, INSIDE, &frame.bytes()).packet, translated(frame).bytes());
}

#[test]
fn a_port_without_a_device_drops_in_xdp() {
    let frame = outbound(UDP);
    let mut rig = rig_with(&frame);
    rig.fast_path.set_device(OUTSIDE, None).unwrap();
    rig.fast_path.set_device(OUTSIDE, None).expect("taking nothing away is no error");
    assert_eq!(rig.run(Hook::Xdp, INSIDE, &frame.bytes()).verdict, Verdict::Drop);
    assert_eq!(rig.fast_path.drops().unwrap()[DropReason::PortDown as usize], 1);
}

#[test]
fn the_host_keeps_its_share_of_an_uplink() {
    let mut rig = Rig::new();
    rig.set_port(INSIDE, |port| port.flags |= PORT_UPLINK);
    let _socket = rig.plug_engine();
    let own = Frame { ethernet_destination: INTERFACE_MAC, ..outbound(UDP) }.bytes();
    let multicast = Frame { ethernet_destination: [0x01, 0, 0x5e, 0, 0, 1], ..outbound(UDP) }.bytes();
    let mut request = Frame { ethernet_destination: [0xff; 6], ..outbound(UDP) }.bytes();
    request[12..14].copy_from_slice(&[0x08, 0x06]);
    let others = outbound(UDP).bytes();
    for (frame, host, punted) in [(&own, 1, 0), (&multicast, 1, 0), (&request, 1, 1), (&others, 0, 1)] {
        let before = rig.fast_path.port_counters(INSIDE).unwrap();
        let xdp = rig.run(Hook::Xdp, INSIDE, frame);
        let middle = rig.fast_path.port_counters(INSIDE).unwrap();
        let tc = rig.run(Hook::Tc, INSIDE, frame);
        let after = rig.fast_path.port_counters(INSIDE).unwrap();
        let expected = if host == 1 { Verdict::Pass } else { Verdict::Redirect };
        assert_eq!((xdp.verdict, tc.verdict), (expected, expected));
        assert_eq!(&tc.packet, frame, "the host's copy is as it came");
        assert_eq!(middle.host_packets, before.host_packets, "counted once, by TC");
        assert_eq!(after.host_packets - middle.host_packets, host);
        assert_eq!(after.punted_packets - middle.punted_packets, punted);
    }
    // On a workload's port nothing is the host's.
    rig.set_port(INSIDE, |port| port.flags &= !PORT_UPLINK);
    for hook in HOOKS {
        assert_eq!(rig.run(hook, INSIDE, &own).verdict, Verdict::Redirect);
    }
}
