//! What the fuzz targets do with their bytes, apart from libFuzzer: the plain tests drive the same code.
//!
//! Every function takes any bytes, never panics on a sound dataplane, and asserts what must always hold.
#![allow(dead_code, reason = "every target uses one of the functions")]
#![allow(unreachable_pub, reason = "included by path in several crates")]

#[path = "script.rs"]
mod script;

pub use script::Summary;

use edgestack_abi::flow::{DECREMENT_TTL, REWRITE_ETHERNET, TRANSLATE, VALID};
use edgestack_abi::{FlowKey, FlowVerdict};
use edgestack_dataplane::io::pcap_file::PcapReader;
use edgestack_dataplane::rewrite;
use edgestack_dataplane::wire::headers::{self, Network};

/// Parses the bytes as a frame, both ways, and holds the two parsers against each other.
pub fn parse(data: &[u8]) {
    let fast = headers::fast_key(data, 1);
    let whole = headers::parse(data);
    let Ok(parsed) = whole else { return };
    let Network::Ipv4(ip) = parsed.network else {
        assert!(fast.is_none(), "ARP has no flow key");
        return;
    };
    assert!(ip.total_length + 14 <= data.len() && (20..=60).contains(&ip.header_length));
    if let Some(fast) = fast {
        assert_eq!(ip.flow_key(1), Some(fast), "the parsers disagree on {data:02x?}");
        let verdict = rewriting_verdict(&fast);
        let mut frame = data.to_vec();
        rewrite::apply(&mut frame, &verdict, ip.protocol, ip.header_length);
        assert_eq!(frame.len(), data.len());
        let Ok(again) = headers::parse(&frame) else {
            panic!("a rewritten packet is malformed: {frame:02x?}")
        };
        let Network::Ipv4(again) = again.network else { panic!("a rewritten packet is of another kind") };
        assert_eq!((again.ttl, again.total_length), (ip.ttl - 1, ip.total_length));
    }
}

/// A verdict that changes everything that a verdict can.
fn rewriting_verdict(key: &FlowKey) -> FlowVerdict {
    let mut verdict = FlowVerdict {
        flags: VALID | DECREMENT_TTL | REWRITE_ETHERNET | TRANSLATE,
        source: !key.source,
        destination: key.destination.rotate_left(7),
        source_port: if key.source_port == 0 { 0 } else { !key.source_port },
        destination_port: if key.destination_port == 0 { 0 } else { key.destination_port.rotate_left(3) },
        ethernet_destination: [2, 0, 0, 0, 0, 1],
        ethernet_source: [2, 0, 0, 0, 0, 2],
        ..FlowVerdict::default()
    };
    (verdict.address_delta, verdict.port_delta) = rewrite::deltas(key, &verdict);
    verdict
}

/// Runs the bytes as a script of packets, time and configuration changes through an engine.
pub fn pipeline(data: &[u8]) -> Summary {
    script::run(data)
}

/// Reads the bytes as a capture file.
pub fn pcap(data: &[u8]) {
    let Ok(mut reader) = PcapReader::new(data) else { return };
    while let Ok(Some(record)) = reader.next_record() {
        assert!(record.bytes.len() <= data.len());
    }
}
