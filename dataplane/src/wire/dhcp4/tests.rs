//! Tests of messages and answers, byte by byte.

use std::net::Ipv4Addr;

use super::{Answer, DhcpOption, FRAME_LENGTH_MAX, MessageType, Request, is_answer};
use crate::address::MacAddress;
use crate::wire::headers::{self, Network};
use crate::wire::{read_u16, udp};

const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

/// A client's message with these options.
fn message(options: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 236];
    message[..3].copy_from_slice(&[1, 1, 6]);
    message[4..8].copy_from_slice(&[1, 2, 3, 4]);
    message[28..34].copy_from_slice(&CLIENT.0);
    [&message, &[99, 130, 83, 99][..], options, &[255]].concat()
}

fn answer<'a>(request: &'a Request<'a>, options: &'a [DhcpOption]) -> Answer<'a> {
    Answer {
        message: MessageType::Ack,
        request,
        client_ip: [10, 0, 0, 11].into(),
        server: ([10, 0, 0, 1].into(), MacAddress([2, 0, 0, 0, 1, 1])),
        lease_seconds: 86_400,
        host_name: "web",
        options,
        mtu: 1500,
    }
}

/// Destination and message of a frame.
fn sent(answer: &Answer<'_>) -> ((MacAddress, Ipv4Addr), Vec<u8>) {
    let mut frame = [0xa5; FRAME_LENGTH_MAX];
    let length = answer.write(&mut frame);
    let parsed = headers::parse(&frame[..length]).unwrap();
    let Network::Ip(ip) = parsed.network else { panic!("it is IPv4") };
    assert!(is_answer(&ip));
    let payload = udp::payload(&frame[..length], &ip).unwrap().to_vec();
    ((parsed.ethernet_destination, ip.ipv4().unwrap().1), payload)
}

/// The options of a message as a client joins them (RFC 3396).
fn options(message: &[u8]) -> Vec<(u8, Vec<u8>)> {
    fn collect(mut area: &[u8], joined: &mut Vec<(u8, Vec<u8>)>) {
        while let [code, rest @ ..] = area {
            match code {
                0 => area = rest,
                255 => return,
                code => {
                    let data = &rest[1..][..usize::from(rest[0])];
                    area = &rest[1 + data.len()..];
                    match joined.iter_mut().find(|(other, _)| other == code) {
                        Some((_, whole)) => whole.extend(data),
                        None => joined.push((*code, data.to_vec())),
                    }
                }
            }
        }
        panic!("an area has no end");
    }
    let mut joined = Vec::new();
    collect(&message[240..], &mut joined);
    let overload = joined.iter().find(|(code, _)| *code == 52).map_or(0, |(_, data)| data[0]);
    if overload & 1 != 0 {
        collect(&message[108..236], &mut joined);
    }
    if overload & 2 != 0 {
        collect(&message[44..108], &mut joined);
    }
    joined
}

#[test]
fn a_request_is_read() {
    let bytes = message(&[
        0, 53, 1, 3, 50, 4, 10, 0, 0, 9, 54, 4, 10, 0, 0, 1, 57, 2, 5, 220, 55, 3, 121, 3, 6, 61, 2, 1, 7,
        99, 0,
    ]);
    let request = Request::parse(&bytes).unwrap();
    assert_eq!(request.message, MessageType::Request);
    assert_eq!(request.requested_ip, Some([10, 0, 0, 9].into()));
    assert_eq!(request.server, Some([10, 0, 0, 1].into()));
    assert_eq!(request.packet_length_max, 1500);
    assert_eq!(request.parameters, [121, 3, 6]);
    assert_eq!(request.client_identifier, Some(&[1, 7][..]));
    assert_eq!((request.client_mac, request.relayed, request.broadcast), (CLIENT, false, false));
}

#[test]
fn options_in_other_fields_are_read() {
    let mut bytes = message(&[52, 1, 3]);
    bytes[108..112].copy_from_slice(&[53, 1, 1, 255]);
    bytes[44..51].copy_from_slice(&[50, 4, 10, 0, 0, 9, 255]);
    let request = Request::parse(&bytes).unwrap();
    assert_eq!((request.message, request.requested_ip), (MessageType::Discover, Some([10, 0, 0, 9].into())));
    bytes[242] = 1;
    assert_eq!(Request::parse(&bytes).unwrap().requested_ip, None);
}

#[test]
fn what_is_malformed_is_not_read() {
    let good = message(&[53, 1, 1]);
    assert!(Request::parse(&good).is_some());
    for length in 0..243 {
        assert!(Request::parse(&good[..length]).is_none(), "{length} bytes");
    }
    for (at, value) in [(0, 2), (1, 6), (2, 16), (236, 0), (241, 2), (242, 9), (241, 250)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert!(Request::parse(&bad).is_none(), "byte {at} is {value}");
    }
    let mut relayed = good.clone();
    relayed[27] = 1;
    assert!(Request::parse(&relayed).unwrap().relayed);
    assert!(Request::parse(&message(&[53, 1, 1, 82, 0])).unwrap().relayed);
}

#[test]
fn the_answer_goes_where_the_client_can_take_it() {
    let mut bytes = message(&[53, 1, 3]);
    let own = (CLIENT, Ipv4Addr::new(10, 0, 0, 11));
    let all = (MacAddress::BROADCAST, Ipv4Addr::BROADCAST);
    assert_eq!(sent(&answer(&Request::parse(&bytes).unwrap(), &[])).0, own);
    bytes[10] = 0x80;
    assert_eq!(sent(&answer(&Request::parse(&bytes).unwrap(), &[])).0, all);
    bytes[12..16].copy_from_slice(&[10, 0, 0, 11]);
    let request = Request::parse(&bytes).unwrap();
    let ((destination, address), reply) = sent(&answer(&request, &[]));
    assert_eq!((destination, address), own, "a client that renews has its address");
    assert_eq!((&reply[12..16], &reply[16..20]), (&[10, 0, 0, 11][..], &[10, 0, 0, 11][..]));
    let nak = Answer { message: MessageType::Nak, ..answer(&request, &[]) };
    let (destination, reply) = sent(&nak);
    assert_eq!(destination, all);
    assert_eq!(reply[12..20], [0; 8]);
    assert_eq!(options(&reply), [(53, vec![6]), (54, vec![10, 0, 0, 1])]);
}

#[test]
fn wanted_options_come_first_and_the_identifier_comes_back() {
    let bytes = message(&[53, 1, 1, 55, 2, 12, 6, 61, 3, 1, 2, 3]);
    let request = Request::parse(&bytes).unwrap();
    let network = [(1, vec![255; 4]), (6, vec![8; 12])].map(|(code, data)| DhcpOption { code, data });
    let (_, reply) = sent(&answer(&request, &network));
    assert_eq!(reply.len(), 300, "BOOTP's shortest message");
    let codes: Vec<u8> = options(&reply).iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [53, 54, 61, 51, 58, 59, 6, 12, 1]);
    let inform = Request { message: MessageType::Inform, ..request };
    let (_, reply) = sent(&answer(&inform, &network));
    assert!(options(&reply).iter().all(|(code, _)| ![51, 58, 59].contains(code)), "no lease");
    assert_eq!(reply[16..20], [0; 4]);
}

#[test]
fn long_options_are_split_and_fill_the_other_fields() {
    let bytes = message(&[53, 1, 1]);
    let request = Request::parse(&bytes).unwrap();
    let long = |length: usize| (0..length).map(|byte| byte as u8).collect::<Vec<u8>>();
    let network = [(121, long(290)), (6, long(64)), (119, long(60))];
    let network = network.map(|(code, data)| DhcpOption { code, data });
    let (_, reply) = sent(&answer(&request, &network));
    assert!(reply.len() <= 548, "what every client takes");
    let found = options(&reply);
    for option in &network {
        let whole = found.iter().find(|(code, _)| *code == option.code);
        assert_eq!(whole.map(|(_, data)| data), Some(&option.data), "option {}", option.code);
    }
    // A client that takes more needs no other fields; what fits nowhere is left out, and the rest is there.
    let roomy = Request { packet_length_max: 1500, ..request };
    let (_, reply) = sent(&answer(&roomy, &network));
    assert!(options(&reply).iter().all(|(code, _)| *code != 52));
    let huge = [(121, long(2000)), (6, long(4))].map(|(code, data)| DhcpOption { code, data });
    let found = options(&sent(&answer(&request, &huge)).1);
    assert!(found.iter().any(|(code, _)| *code == 6) && found.iter().all(|(code, _)| *code != 121));
}

#[test]
fn every_amount_of_options_fits_or_is_left_out() {
    let bytes = message(&[53, 1, 1]);
    let request = Request::parse(&bytes).unwrap();
    for first in 0..600 {
        for second in [0, 1, 2, 61, 62, 63, 124, 125, 126, 255, 256] {
            let network = [(121, vec![1; first]), (6, vec![2; second])];
            let network = network.map(|(code, data)| DhcpOption { code, data });
            let (_, reply) = sent(&answer(&request, &network));
            assert!((300..=548).contains(&reply.len()));
            for (code, data) in options(&reply).iter().filter(|(code, _)| [121, 6].contains(code)) {
                let whole = network.iter().find(|option| option.code == *code).unwrap();
                assert_eq!(data, &whole.data, "{code} of {first} and {second}");
            }
            assert_eq!(read_u16(&reply, 10), 0);
        }
    }
}
