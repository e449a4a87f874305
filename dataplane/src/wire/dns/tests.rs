//! Tests of questions, answers and names, byte by byte.

use super::{
    BadQuery, CLASS_IN, HEADER_LENGTH, Name, Query, Record, Reply, ResponseCode, TYPE_A, TYPE_AAAA, TYPE_SOA,
};
use crate::wire::{read_u16, write_u16};

fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

/// A client's question, with what it can do where `edns` says so.
fn query(text: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    for label in text.split('.') {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend([kind.to_be_bytes(), CLASS_IN.to_be_bytes()].concat());
    if let Some(length) = edns {
        message.extend([0, 0, 41]);
        message.extend(length.to_be_bytes());
        message.extend([0, 0, 0x80, 0, 0, 0]);
    }
    message
}

fn address(owner: &str, ttl: u32) -> Record {
    Record { name: name(owner), kind: TYPE_A, ttl, data: vec![10, 0, 0, 1] }
}

#[test]
fn names() {
    assert_eq!(name("WWW.Example").as_bytes(), b"\x03www\x07example\0");
    assert_eq!(name("").as_bytes(), b"\0");
    assert_eq!(name("a.b").to_string(), "a.b.");
    assert!(name("a.b.c").is_within(&name("b.c")) && name("b.c").is_within(&name("b.c")));
    assert!(!name("ab.c").is_within(&name("b.c")) && !name("c").is_within(&name("b.c")));
    assert!(name("c").is_within(&name("")));
    for text in ["a..b", ".", &"a".repeat(64), &"a.".repeat(127)] {
        assert_eq!(Name::from_text(text), None, "{text}");
    }
}

#[test]
fn a_question_is_read_and_answered_in_its_spelling() {
    let message = query("Web.Example", TYPE_A, None);
    let query = Query::parse(&message).unwrap();
    assert_eq!((query.id, query.kind, query.class), (0x1234, TYPE_A, CLASS_IN));
    assert_eq!(query.name, name("web.example"));
    assert!(query.recursion_desired && !query.dnssec_ok);
    assert_eq!(query.answer_length_max(), 512);
    let answer = query.answer(ResponseCode::NoError, true, &[address("web.example", 5)], None, 512);
    assert_eq!(answer[..12], [0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    assert_eq!(answer[12..29], message[12..29], "the question as it was asked");
    assert_eq!(answer[29..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 1]);
}

#[test]
fn what_does_not_fit_is_cut_and_said_so() {
    let query = Query::parse(&query("web.example", TYPE_A, Some(4096))).unwrap();
    assert_eq!(query.answer_length_max(), 1232);
    let answers = vec![address("web.example", 5); 100];
    let long = query.answer(ResponseCode::NoError, true, &answers, None, 1232);
    assert_eq!(read_u16(&long, 2) & 0x0200, 0x0200, "truncated");
    assert_eq!(long.len(), HEADER_LENGTH + 17 + 11);
    assert_eq!(long[4..12], [0, 1, 0, 0, 0, 0, 0, 1], "only the question, and what the server can do");
    let whole = query.answer(ResponseCode::NoError, true, &answers, None, 65_535);
    assert_eq!((read_u16(&whole, 2) & 0x0200, read_u16(&whole, 6)), (0, 100));
}

#[test]
fn what_is_no_question_is_answered_or_not() {
    let good = query("a", TYPE_A, None);
    for length in 0..HEADER_LENGTH {
        assert_eq!(Query::parse(&good[..length]), Err(BadQuery::Silence));
    }
    for length in HEADER_LENGTH..good.len() {
        let Err(BadQuery::Answer(answer)) = Query::parse(&good[..length]) else { panic!("{length} bytes") };
        assert_eq!(answer[..4], [0x12, 0x34, 0x81, 1]);
    }
    let changed = |at: usize, value: u8| {
        let mut message = good.clone();
        message[at] = value;
        Query::parse(&message)
    };
    assert_eq!(changed(2, 0x81), Err(BadQuery::Silence), "an answer");
    assert!(matches!(changed(2, 0x29), Err(BadQuery::Answer(answer)) if answer[3] == 4), "an update");
    assert!(matches!(changed(5, 2), Err(BadQuery::Answer(answer)) if answer[3] == 1), "two questions");
    assert!(matches!(changed(12, 0xc0), Err(BadQuery::Answer(_))), "a pointer into the header");
    assert!(matches!(changed(12, 0x41), Err(BadQuery::Answer(_))), "a label of an unknown kind");
    let mut twice = query("a", TYPE_A, Some(1000));
    let opt = twice[19..].to_vec();
    twice.extend(opt);
    twice[11] = 2;
    assert!(matches!(Query::parse(&twice), Err(BadQuery::Answer(_))), "RFC 6891, section 6.1.1");
}

/// A server's answer to what it is asked.
fn reply(asked: &[u8], code: ResponseCode, answers: &[Record], authority: Option<&Record>) -> Vec<u8> {
    Query::parse(asked).unwrap().answer(code, true, answers, authority, 65_535)
}

#[test]
fn an_answer_is_kept_as_long_as_it_may_be() {
    let client = Query::parse(&query("Web.Example", TYPE_A, None)).unwrap();
    let asked = client.to_upstream(77);
    let answers = [address("web.example", 300), address("other.example", 60)];
    let message = reply(&asked, ResponseCode::NoError, &answers, None);
    let parsed = Reply::parse(&message, &client, 77).unwrap();
    assert_eq!((parsed.ttl, parsed.truncated), (Some(60), false));
    let answer = parsed.answer(&client, 50, 512);
    assert_eq!(read_u16(&answer, 0), 0x1234);
    assert_eq!(read_u16(&answer, 10), 0, "the client did not say what it can do");
    assert_eq!(answer[13..16], *b"Web", "in the client's spelling");
    assert_eq!(answer[29 + 6..29 + 10], 250_u32.to_be_bytes());
    let aware = Query::parse(&query("web.example", TYPE_A, Some(1232))).unwrap();
    assert_eq!(read_u16(&parsed.answer(&aware, 0, 1232), 10), 1);
    assert_eq!(read_u16(&parsed.answer(&client, 0, 40), 2) & 0x0200, 0x0200, "cut to what the client takes");
}

#[test]
fn that_there_is_nothing_is_kept_as_the_zone_says() {
    let client = Query::parse(&query("no.example", TYPE_AAAA, None)).unwrap();
    let asked = client.to_upstream(1);
    let mut data = b"\0\0".to_vec();
    data.extend([0; 16]);
    data.extend(30_u32.to_be_bytes());
    let soa = Record { name: name("example"), kind: TYPE_SOA, ttl: 3600, data };
    let kept = |code, authority: Option<&Record>| {
        Reply::parse(&reply(&asked, code, &[], authority), &client, 1).unwrap().ttl
    };
    assert_eq!(kept(ResponseCode::NameError, Some(&soa)), Some(30));
    assert_eq!(kept(ResponseCode::NoError, Some(&soa)), Some(30));
    assert_eq!(kept(ResponseCode::NameError, None), None);
    assert_eq!(kept(ResponseCode::ServerFailure, Some(&soa)), None);
}

#[test]
fn answers_to_other_questions_are_not_taken() {
    let client = Query::parse(&query("web.example", TYPE_A, None)).unwrap();
    let message = reply(&client.to_upstream(77), ResponseCode::NoError, &[address("web.example", 9)], None);
    assert!(Reply::parse(&message, &client, 77).is_some());
    assert!(Reply::parse(&message, &client, 78).is_none(), "another id");
    let other = Query::parse(&query("web.example", TYPE_AAAA, None)).unwrap();
    assert!(Reply::parse(&message, &other, 77).is_none());
    let other = Query::parse(&query("wob.example", TYPE_A, None)).unwrap();
    assert!(Reply::parse(&message, &other, 77).is_none());
    assert!(Reply::parse(&client.to_upstream(77), &client, 77).is_none(), "a question");
    for length in 0..message.len() {
        assert!(Reply::parse(&message[..length], &client, 77).is_none(), "{length} bytes");
    }
    let mut many = message.clone();
    write_u16(&mut many, 6, 9);
    assert!(Reply::parse(&many, &client, 77).is_none(), "more records than there are");
}
