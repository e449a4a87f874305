//! What the fuzz targets do with their bytes, apart from libFuzzer: the plain tests drive the same code.
//!
//! Every function takes any bytes, never panics on a sound dataplane, and asserts what must always hold.
#![allow(dead_code, reason = "every target uses one of the functions")]
#![allow(unreachable_pub, reason = "included by path in several crates")]

#[path = "script.rs"]
mod script;

pub use script::Summary;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgestack_abi::FlowVerdict;
use edgestack_abi::flow::{DECREMENT_TTL, REWRITE_ETHERNET, TRANSLATE, VALID};
use edgestack_dataplane::io::pcap_file::PcapReader;
use edgestack_dataplane::rewrite;
use edgestack_dataplane::tuple::Tuple;
use edgestack_dataplane::wire::headers::{self, Network};

/// Seed of the flow keys.
const SEED: u64 = 0x5eed;

/// Parses the bytes as a frame, both ways, and holds the two parsers against each other.
pub fn parse(data: &[u8]) {
    let fast = headers::fast_key(data, 1, SEED);
    let whole = headers::parse(data);
    let Ok(parsed) = whole else { return };
    let Network::Ip(ip) = parsed.network else {
        assert!(fast.is_none(), "ARP and neighbour discovery have no flow key");
        return;
    };
    assert!(ip.total_length + 14 <= data.len() && ip.header_length <= ip.total_length);
    assert!(ip.source.is_ipv6() || (20..=60).contains(&ip.header_length));
    if let Some(fast) = fast {
        let tuple = ip.tuple(1).expect("what the quick parser takes has a tuple");
        assert_eq!(tuple.key(SEED), fast, "the parsers disagree on {data:02x?}");
        let (verdict, addresses) = rewriting_verdict(&tuple);
        let mut frame = data.to_vec();
        rewrite::apply_to(&mut frame, &verdict, &ip, &addresses);
        assert_eq!(frame.len(), data.len());
        let Ok(again) = headers::parse(&frame) else {
            panic!("a rewritten packet is malformed: {frame:02x?}")
        };
        let Network::Ip(again) = again.network else { panic!("a rewritten packet is of another kind") };
        assert_eq!((again.ttl, again.total_length), (ip.ttl - 1, ip.total_length));
    }
}

/// A verdict that changes everything that a verdict can, and the new addresses of an IPv6 packet.
fn rewriting_verdict(tuple: &Tuple) -> (FlowVerdict, [[u64; 2]; 2]) {
    let port = |old: u16, new: u16| if old == 0 { 0 } else { new };
    let new = Tuple {
        source: other_address(tuple.source),
        destination: other_address(tuple.destination),
        source_port: port(tuple.source_port, !tuple.source_port),
        destination_port: port(tuple.destination_port, tuple.destination_port.rotate_left(3)),
        ..*tuple
    };
    let key = new.key(SEED);
    let mut verdict = FlowVerdict {
        flags: VALID | DECREMENT_TTL | REWRITE_ETHERNET | TRANSLATE,
        source: key.source,
        destination: key.destination,
        source_port: key.source_port,
        destination_port: key.destination_port,
        ethernet_destination: [2, 0, 0, 0, 0, 1],
        ethernet_source: [2, 0, 0, 0, 0, 2],
        ..FlowVerdict::default()
    };
    (verdict.address_delta, verdict.port_delta) = rewrite::deltas(tuple, &new);
    (verdict, new.addresses().unwrap_or_default())
}

fn other_address(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits((!address.to_bits()).rotate_left(7)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits((!address.to_bits()).rotate_left(7)).into(),
    }
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
