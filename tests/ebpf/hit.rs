//! Packets of known flows: what comes out, byte for byte, and what is counted.

use edgestack_abi::flow::{DECREMENT_TTL, REWRITE_ETHERNET, TIER0, TRANSLATE, VALID};
use edgestack_dataplane::fastpath::Verdict;

use crate::packet::{TCP_ACK, TCP_PSH, Transport};
use crate::rig::{HOOKS, INSIDE, NOW_TICKS, OUTSIDE, Rig, key, outbound, translated, verdict};

const TRANSPORTS: [Transport; 5] = [
    Transport::Tcp { flags: TCP_ACK | TCP_PSH },
    Transport::Udp { checksum: true },
    Transport::Udp { checksum: false },
    Transport::Icmp { kind: 8 },
    Transport::Icmp { kind: 0 },
];

#[test]
fn packets_come_out_as_if_written_anew() {
    let rig = Rig::new();
    for transport in TRANSPORTS {
        let (before, after) = (outbound(transport), translated(outbound(transport)));
        rig.insert(key(&before, INSIDE), verdict(&before, &after));
        for hook in HOOKS {
            let run = rig.run(hook, INSIDE, &before.bytes());
            assert_eq!(run.verdict, Verdict::Redirect, "{hook:?} {transport:?}");
            assert_eq!(run.packet, after.bytes(), "{hook:?} {transport:?}");
        }
    }
}

#[test]
fn only_what_the_verdict_says_is_rewritten() {
    let rig = Rig::new();
    let before = outbound(Transport::Udp { checksum: true });
    let after = translated(before);
    let cases = [
        (0, before),
        (DECREMENT_TTL, crate::packet::Frame { time_to_live: 63, ..before }),
        (
            REWRITE_ETHERNET,
            crate::packet::Frame {
                ethernet_source: after.ethernet_source,
                ethernet_destination: after.ethernet_destination,
                ..before
            },
        ),
        (TRANSLATE, crate::packet::Frame { source: after.source, source_port: after.source_port, ..before }),
    ];
    for (flags, expected) in cases {
        let mut verdict = verdict(&before, &after);
        verdict.flags = VALID | TIER0 | flags;
        rig.insert(key(&before, INSIDE), verdict);
        for hook in HOOKS {
            let run = rig.run(hook, INSIDE, &before.bytes());
            assert_eq!(run.verdict, Verdict::Redirect, "{hook:?} {flags:#x}");
            assert_eq!(run.packet, expected.bytes(), "{hook:?} {flags:#x}");
        }
    }
}

#[test]
fn counters_and_the_time_are_kept() {
    let rig = Rig::new();
    let before = outbound(Transport::Udp { checksum: true });
    let place = rig.insert(key(&before, INSIDE), verdict(&before, &translated(before)));
    let length = before.bytes().len() as u64;
    for (count, hook) in (1..).zip(HOOKS) {
        rig.run(hook, INSIDE, &before.bytes());
        let entry = rig.entry(place);
        assert_eq!((entry.engine_packets, entry.bytes, entry.tier0_packets), (0, count * length, count));
        assert_eq!(entry.last_seen_ticks, NOW_TICKS);
        let (inside, outside) =
            (rig.fast_path.port_counters(INSIDE).unwrap(), rig.fast_path.port_counters(OUTSIDE).unwrap());
        assert_eq!((inside.forwarded_packets, inside.forwarded_bytes), (count, count * length), "{hook:?}");
        assert_eq!((outside.transmitted_packets, outside.transmitted_bytes), (count, count * length));
        assert_eq!((inside.punted_packets, inside.dropped_packets, outside.forwarded_packets), (0, 0, 0));
    }
    assert!(rig.fast_path.drops().unwrap().iter().all(|count| *count == 0));
}
