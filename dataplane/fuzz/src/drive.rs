//! What the fuzz targets do with their bytes, apart from libFuzzer: the plain tests drive the same code.
//!
//! Every function takes any bytes, never panics on a sound dataplane, and asserts what must always hold.
#![allow(dead_code, reason = "every target uses one of the functions")]
#![allow(unreachable_pub, reason = "included by path in several crates")]

#[path = "script.rs"]
mod script;

pub use script::Summary;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgestack_abi::flow::{DECREMENT_TTL, FAMILY_IPV6, REWRITE_ETHERNET, TRANSLATE, VALID};
use edgestack_abi::tunnel::{KIND_GENEVE, KIND_VXLAN};
use edgestack_abi::{FlowVerdict, TunnelEntry};
use edgestack_dataplane::address::MacAddress;
use edgestack_dataplane::io::pcap_file::PcapReader;
use edgestack_dataplane::rewrite;
use edgestack_dataplane::tuple::Tuple;
use edgestack_dataplane::wire::dhcp4::{self, MessageType};
use edgestack_dataplane::wire::dhcp6;
use edgestack_dataplane::wire::dhcp6::answer::{Dhcp6Option, Status, Verdict};
use edgestack_dataplane::wire::dns::{BadQuery, Query, Record, Reply, ResponseCode};
use edgestack_dataplane::wire::headers::{self, Network};
use edgestack_dataplane::wire::{tunnel, udp};

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

/// Reads the bytes as what a tunnel's datagram holds, and carries them as a frame: headers that are read are within their bytes, and
/// what is written is read again.
pub fn tunnel(data: &[u8]) {
    for kind in [KIND_VXLAN, KIND_GENEVE] {
        if let Ok(header) = tunnel::parse(kind, data) {
            assert!(header.length >= 8 && header.length <= data.len() && header.identifier < 1 << 24);
        }
        for is_ipv6 in [false, true] {
            let entry = TunnelEntry {
                kind,
                family: if is_ipv6 { FAMILY_IPV6 } else { 0 },
                identifier: 9,
                local: [1, 0],
                remote: [2, 0],
                ..TunnelEntry::default()
            };
            let outer = tunnel::outer_length(is_ipv6);
            let mut bytes = [&vec![0; outer][..], data].concat();
            tunnel::write(&mut bytes, &entry);
            let Ok(Network::Ip(ip)) = headers::parse(&bytes).map(|headers| headers.network) else {
                panic!("outer headers are malformed: {:02x?}", &bytes[..outer])
            };
            assert_eq!(14 + ip.total_length, bytes.len());
            let header = tunnel::parse(kind, &bytes[outer - 8..]).expect("the header is sound");
            assert_eq!((header.identifier, header.length, &bytes[outer..]), (9, 8, data));
        }
    }
    let was_sound = headers::parse(data).is_ok();
    let mut marked = data.to_vec();
    if tunnel::mark_congestion(&mut marked) && was_sound {
        assert!(headers::parse(&marked).is_ok(), "a mark makes a packet malformed: {data:02x?}");
    }
}

/// Reads the bytes as a DHCP client's message and answers it; the answer is a sound frame.
pub fn dhcp4(data: &[u8]) {
    let Some(request) = dhcp4::Request::parse(data) else { return };
    let options = [(6, 12), (121, 290), (119, usize::from(data[0]) + 60)];
    let options = options.map(|(code, length)| dhcp4::DhcpOption { code, data: vec![code; length] });
    for message in [MessageType::Offer, MessageType::Ack, MessageType::Nak] {
        let answer = dhcp4::Answer {
            message,
            request: &request,
            client_ip: [10, 0, 0, 11].into(),
            server: ([10, 0, 0, 1].into(), MacAddress([2, 0, 0, 0, 0, 1])),
            lease_seconds: 3600,
            host_name: "host",
            options: &options,
            mtu: 1500,
        };
        let mut frame = [0; dhcp4::FRAME_LENGTH_MAX];
        let length = answer.write(&mut frame);
        let Ok(Network::Ip(ip)) = headers::parse(&frame[..length]).map(|headers| headers.network) else {
            panic!("an answer is malformed: {:02x?}", &frame[..length])
        };
        let payload = udp::payload(&frame[..length], &ip).expect("the checksum is right");
        assert!(payload.len() + 28 <= usize::from(request.packet_length_max).max(576));
    }
}

/// Reads the bytes as a DHCPv6 client's message and answers it in every way; each answer is a sound frame with whole
/// options.
pub fn dhcp6(data: &[u8]) {
    let Some(request) = dhcp6::Request::parse(data) else { return };
    let options = [(23, 32), (24, usize::from(data[1]) + 9), (56, 20)];
    let options = options.map(|(code, length)| Dhcp6Option { code, data: vec![code as u8; length] });
    let verdicts = [
        Verdict::Offer,
        Verdict::Lease,
        Verdict::Information,
        Verdict::Noted,
        Verdict::Only(Status::NotOnLink),
    ];
    for verdict in verdicts {
        for client_ip in [None, Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11))] {
            let answer = dhcp6::answer::Answer {
                verdict,
                request: &request,
                client: (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), MacAddress([2, 0, 0, 0, 0, 9])),
                client_ip,
                server: (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2), MacAddress([2, 0, 0, 0, 0, 1])),
                server_id: &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1],
                lease_seconds: 3600,
                options: &options,
            };
            let mut frame = [0; dhcp6::answer::FRAME_LENGTH_MAX];
            let length = answer.write(&mut frame);
            let Ok(Network::Ip(ip)) = headers::parse(&frame[..length]).map(|headers| headers.network) else {
                panic!("an answer is malformed: {:02x?}", &frame[..length])
            };
            let payload = udp::payload(&frame[..length], &ip).expect("the checksum is right");
            assert!(payload[1..4] == data[1..4] && ip.total_length <= 1280);
            let mut rest = &payload[4..];
            while !rest.is_empty() {
                let (head, after) = rest.split_at(4);
                rest = &after[usize::from(u16::from_be_bytes([head[2], head[3]]))..];
            }
        }
    }
}

/// Reads the bytes as a question of a DNS client and as a server's answer to it; what is made of them is bounded.
pub fn dns(data: &[u8]) {
    match Query::parse(data) {
        Ok(query) => {
            let asked = query.to_upstream(7);
            assert_eq!(Query::parse(&asked).map(|again| again.name), Ok(query.name.clone()));
            let record = Record { name: query.name.clone(), kind: 1, ttl: 1, data: vec![0; 4] };
            for length_max in [512, 1232, 65_535] {
                let answer =
                    query.answer(ResponseCode::NoError, true, &vec![record.clone(); 50], None, length_max);
                assert!(answer.len() <= length_max && answer[..2] == data[..2]);
            }
        }
        Err(BadQuery::Answer(answer)) => assert_eq!(answer.len(), 12),
        Err(BadQuery::Silence) => {}
    }
    // The question of a client whose answer this would be.
    let Some((head, rest)) = data.split_first_chunk::<12>() else { return };
    let question = [&head[..2], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0], rest].concat();
    let Ok(query) = Query::parse(&question) else { return };
    if let Some(reply) = Reply::parse(data, &query, u16::from_be_bytes([data[0], data[1]])) {
        let answer = reply.answer(&query, 1, 512);
        assert!(answer.len() <= 512 && answer[..2] == data[..2]);
    }
}

/// Reads the bytes as a capture file.
pub fn pcap(data: &[u8]) {
    let Ok(mut reader) = PcapReader::new(data) else { return };
    while let Ok(Some(record)) = reader.next_record() {
        assert!(record.bytes.len() <= data.len());
    }
}
