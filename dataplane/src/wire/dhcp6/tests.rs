//! Tests of messages and answers, byte by byte.

use std::net::Ipv6Addr;

use super::answer::{Answer, Dhcp6Option, FRAME_LENGTH_MAX, Status, Verdict};
use super::{AssociationKind, MessageType, Request};
use crate::address::MacAddress;
use crate::wire::headers::{self, Network};
use crate::wire::udp;

const OWN: &str = "2001:db8:a::11";
const OTHER: &str = "2001:db8:a::99";
const SERVER_ID: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
const CLIENT_ID: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0x0a, 1];

fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
}

fn address(address: &str) -> Vec<u8> {
    let address: Ipv6Addr = address.parse().unwrap();
    option(5, &[&address.octets()[..], &[0; 8]].concat())
}

/// An association for addresses with the number `id`.
fn association(id: u8, addresses: &[&str]) -> Vec<u8> {
    let addresses: Vec<u8> = addresses.iter().flat_map(|text| address(text)).collect();
    option(3, &[&[0, 0, 0, id, 0, 0, 0, 0, 0, 0, 0, 0][..], &addresses].concat())
}

fn message(kind: u8, options: &[Vec<u8>]) -> Vec<u8> {
    [&[kind, 0xaa, 0xbb, 0xcc][..], &options.concat()].concat()
}

fn client() -> Vec<u8> {
    option(1, &CLIENT_ID)
}

fn server() -> Vec<u8> {
    option(2, &SERVER_ID)
}

/// The options of the answer to a message.
fn answer(verdict: Verdict, message: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let request = Request::parse(message).unwrap();
    let options =
        [Dhcp6Option { code: 23, data: vec![0x53; 16] }, Dhcp6Option { code: 24, data: vec![1; 9] }];
    let answer = Answer {
        verdict,
        request: &request,
        client: ("fe80::ff:fe00:a01".parse().unwrap(), MacAddress([2, 0, 0, 0, 0x0a, 1])),
        client_ip: Some(OWN.parse().unwrap()),
        server: ("fe80::ff:fe00:101".parse().unwrap(), MacAddress([2, 0, 0, 0, 1, 1])),
        server_id: &SERVER_ID,
        lease_seconds: 1000,
        options: &options,
    };
    let mut frame = [0xa5; FRAME_LENGTH_MAX];
    let length = answer.write(&mut frame);
    let Network::Ip(ip) = headers::parse(&frame[..length]).unwrap().network else { panic!("it is IP") };
    let payload = udp::payload(&frame[..length], &ip).expect("a right checksum");
    assert_eq!(payload[..4], [verdict.message() as u8, 0xaa, 0xbb, 0xcc]);
    split(&payload[4..])
}

fn split(bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    super::options(bytes).map(|(code, data)| (code, data.to_vec())).collect()
}

fn codes(options: &[(u16, Vec<u8>)]) -> Vec<u16> {
    options.iter().map(|(code, _)| *code).collect()
}

#[test]
fn a_request_is_read() {
    let temporary = option(4, &[0, 0, 0, 9]);
    let bytes =
        message(1, &[client(), association(7, &[OWN]), temporary, option(6, &[0, 23]), option(14, &[])]);
    let request = Request::parse(&bytes).unwrap();
    assert_eq!((request.message, request.rapid_commit), (MessageType::Solicit, true));
    assert_eq!(request.client_id, Some(&CLIENT_ID[..]));
    assert!(request.wants(23) && !request.wants(24));
    let found: Vec<_> = request.associations().map(|found| (found.kind, found.id[3])).collect();
    assert_eq!(found, [(AssociationKind::NonTemporary, 7), (AssociationKind::Temporary, 9)]);
    let addresses: Vec<String> =
        request.associations().flat_map(|found| found.addresses()).map(|found| found.to_string()).collect();
    assert_eq!(addresses, [OWN]);
}

#[test]
fn what_rfc_8415_has_discarded_is_refused() {
    let refused = |kind: u8, options: &[Vec<u8>]| Request::parse(&message(kind, options)).is_none();
    assert!(refused(1, &[]), "a SOLICIT without its client's name");
    assert!(refused(1, &[client(), server()]), "a SOLICIT to a server");
    for kind in [3, 5, 8, 9] {
        assert!(refused(kind, &[client()]) && refused(kind, &[server()]), "type {kind} needs both names");
        assert!(!refused(kind, &[client(), server()]), "type {kind}");
    }
    for kind in [4, 6] {
        assert!(refused(kind, &[client(), server()]) && !refused(kind, &[client()]), "type {kind}");
    }
    assert!(
        refused(11, &[association(1, &[])]) && !refused(11, &[]),
        "an INFORMATION-REQUEST wants no address"
    );
    for kind in [0, 2, 7, 10, 12, 13, 255] {
        assert!(refused(kind, &[client()]), "type {kind} is no client's");
    }
    for wrong in [
        vec![0, 1, 0],
        option(1, &[0, 3]),
        option(1, &[0; 131]),
        [client(), client()].concat(),
        [client(), option(6, &[0])].concat(),
        [client(), option(3, &[0; 11])].concat(),
        [client(), option(3, &[&[0; 12][..], &option(5, &[0; 23])].concat())].concat(),
        [client(), option(3, &[&[0; 12][..], &[0, 5, 0, 24]].concat())].concat(),
        [client(), vec![0, 3, 0xff, 0xff]].concat(),
    ] {
        assert!(refused(1, std::slice::from_ref(&wrong)), "{wrong:02x?}");
    }
    assert!(Request::parse(&[1, 2, 3]).is_none());
}

#[test]
fn the_first_association_gets_the_address_and_the_others_nothing() {
    let prefix = option(25, &[0; 12]);
    let bytes = message(1, &[client(), association(1, &[OTHER]), association(2, &[]), prefix]);
    let options = answer(Verdict::Offer, &bytes);
    assert_eq!(codes(&options), [2, 1, 7, 3, 3, 25, 23, 24]);
    let lifetime = 1000_u32.to_be_bytes();
    let times = [500_u32.to_be_bytes(), 800_u32.to_be_bytes()].concat();
    let own: Ipv6Addr = OWN.parse().unwrap();
    let given = option(5, &[&own.octets()[..], &lifetime, &lifetime].concat());
    assert_eq!(options[3].1, [&[0, 0, 0, 1][..], &times, &given].concat());
    assert_eq!(options[4].1[12..], option(13, &[0, 2]), "there are no more addresses");
    assert_eq!(options[5].1[12..], option(13, &[0, 6]), "nor prefixes");
}

#[test]
fn what_is_renewed_is_the_own_address_and_all_others_end() {
    let bytes = message(5, &[client(), server(), association(1, &[OTHER, OWN])]);
    let options = answer(Verdict::Lease, &bytes);
    let inner = split(&options[2].1[12..]);
    let lifetimes: Vec<_> = inner
        .iter()
        .map(|(_, data)| (data[15], u32::from_be_bytes([data[20], data[21], data[22], data[23]])))
        .collect();
    assert_eq!(lifetimes, [(0x11, 1000), (0x99, 0)]);
    let unknown = message(6, &[client(), association(1, &[]), association(2, &[OTHER])]);
    let options = answer(Verdict::Lease, &unknown);
    assert_eq!(codes(&split(&options[3].1[12..])), [5, 13], "NoBinding");
}

#[test]
fn answers_hold_what_was_asked_for() {
    let commit = message(1, &[client(), association(1, &[]), option(14, &[]), option(6, &[0, 24])]);
    assert_eq!(codes(&answer(Verdict::Lease, &commit)), [2, 1, 14, 3, 24]);
    let information = message(11, &[option(6, &[0, 23, 0, 32])]);
    let options = answer(Verdict::Information, &information);
    assert_eq!(codes(&options), [2, 23, 32]);
    assert_eq!(options[2].1, 1000_u32.to_be_bytes());
    let release = message(8, &[client(), server(), association(1, &[OWN]), association(2, &[OTHER])]);
    let options = answer(Verdict::Noted, &release);
    assert_eq!(codes(&options), [2, 1, 13, 3]);
    assert_eq!((&options[2].1[..], options[3].1[3]), (&[0, 0][..], 2), "success, but for what is another's");
    let confirm = message(4, &[client(), association(1, &[OTHER])]);
    assert_eq!(answer(Verdict::Only(Status::NotOnLink), &confirm)[2], (13, vec![0, 4]));
}

#[test]
fn what_there_is_no_room_for_is_left_out() {
    let many: Vec<&str> = [OTHER; 80].to_vec();
    let bytes = message(5, &[client(), server(), association(1, &many), association(2, &[])]);
    let options = answer(Verdict::Lease, &bytes);
    assert_eq!(codes(&options)[..3], [2, 1, 3]);
    let inner = split(&options[2].1[12..]);
    assert!((30..80).contains(&inner.len()), "{} addresses", inner.len());
}
