//! The names of a tenant, and upstream servers that behave well and badly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use edgestack_dataplane::wire::dns::{
    Name, Query, Record, ResponseCode, TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_PTR,
};
use edgestack_model::NetworkSpec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::forward::Forwarder;
use super::local;
use crate::services::directory::Directory;
use crate::services::testing::{id, mirror, site};

/// A question as clients write it.
fn query(name: &str, kind: u16) -> Query {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(Name::from_text(name).unwrap().as_bytes());
    message.extend([kind.to_be_bytes(), [0, 1]].concat());
    Query::parse(&message).unwrap()
}

/// Code, number of answers, and the last bytes of an answer.
fn read(answer: &[u8]) -> (u8, u16, &[u8]) {
    (answer[3] & 15, u16::from_be_bytes([answer[6], answer[7]]), &answer[answer.len() - 4..])
}

#[test]
fn a_tenant_finds_its_own_ports_and_no_others() {
    let app = site();
    let directory = Directory::new(&mirror(&app), "edge.internal");
    let ask = |network: &str, name: &str, kind: u16| {
        let id = id::<NetworkSpec>(&app, network);
        local::answer(&directory, directory.network(&id).unwrap(), &query(name, kind), 512)
    };
    let address = |network: &str, name: &str| {
        let answer = ask(network, name, TYPE_A).unwrap();
        let (code, count, end) = read(&answer);
        (code, (count > 0).then(|| <[u8; 4]>::try_from(end).unwrap()))
    };
    assert_eq!(address("front", "web.front.edge.internal"), (0, Some([10, 0, 1, 11])));
    assert_eq!(
        address("front", "DB.back.edge.internal"),
        (0, Some([10, 0, 2, 21])),
        "behind the same router"
    );
    assert_eq!(address("front", "web"), (0, Some([10, 0, 1, 11])), "a short name of its own network");
    assert_eq!(address("front", "db"), (3, None));
    assert_eq!(address("blue", "web.front.edge.internal"), (3, None), "of another tenant");
    assert_eq!(address("front", "nobody.front.edge.internal"), (3, None));
    assert_eq!(address("front", "front.edge.internal"), (0, None), "there, without an address");
    assert_eq!(address("front", "edge.internal"), (0, None));
    let answer = ask("front", "web.front.edge.internal", TYPE_AAAA).unwrap();
    assert_eq!(read(&answer).0, 0, "the name is there, an address of the kind is not");
    assert_eq!(answer[9], 1, "and how long that may be kept");
    assert_eq!(read(&ask("front", "web.front.edge.internal", TYPE_ANY).unwrap()).1, 1);

    let answer = ask("front", "11.1.0.10.in-addr.arpa", TYPE_PTR).unwrap();
    assert!(answer.ends_with(Name::from_text("web.front.edge.internal").unwrap().as_bytes()));
    let answer = ask("blue", "11.1.0.10.in-addr.arpa", TYPE_PTR).unwrap();
    assert!(answer.ends_with(Name::from_text("other.blue.edge.internal").unwrap().as_bytes()));
    assert_eq!(read(&ask("front", "99.1.0.10.in-addr.arpa", TYPE_PTR).unwrap()).0, 3);
    assert_eq!(ask("front", "8.8.8.8.in-addr.arpa", TYPE_PTR), None, "for others to say");
    assert_eq!(ask("front", "www.example.com", TYPE_A), None);
}

/// How a server of a test answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// At once.
    Well,
    /// Not at all.
    Silent,
    /// First with other ids.
    AfterForgeries,
    /// By TCP only.
    Truncated,
}

fn answer_to(message: &[u8], truncated: bool) -> Vec<u8> {
    let query = Query::parse(message).unwrap();
    let address = Record { name: query.name.clone(), kind: TYPE_A, ttl: 60, data: vec![192, 0, 2, 7] };
    query.answer(ResponseCode::NoError, false, &[address], None, if truncated { 1 } else { 512 })
}

/// A server at a place of its own; counts the questions that it is asked.
async fn server(manner: Manner) -> (SocketAddr, Arc<AtomicUsize>) {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let place = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(place).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            let answer = answer_to(&buffer[..length], manner == Manner::Truncated);
            if manner == Manner::AfterForgeries {
                for id in [0_u16, 0xffff] {
                    let mut forged = answer.clone();
                    forged[..2].copy_from_slice(
                        &(id ^ u16::from_be_bytes([answer[0], answer[1]]) ^ 1).to_be_bytes(),
                    );
                    forged.truncate(if id == 0 { 20 } else { forged.len() });
                    udp.send_to(&forged, client).await.unwrap();
                }
            }
            if manner != Manner::Silent {
                udp.send_to(&answer, client).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).await.unwrap();
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut message).await.unwrap();
            let answer = answer_to(&message, false);
            stream.write_all(&(answer.len() as u16).to_be_bytes()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    (place, asked)
}

#[tokio::test]
async fn answers_are_kept_and_asked_for_once() {
    let (place, asked) = server(Manner::Well).await;
    let forwarder = Forwarder::new(vec![place]);
    let query = query("www.example", TYPE_A);
    let (one, other) = tokio::join!(forwarder.ask(&[], &query, 512), forwarder.ask(&[], &query, 512));
    for answer in [one, other, forwarder.ask(&[], &query, 512).await] {
        assert_eq!(read(&answer.unwrap()), (0, 1, &[192, 0, 2, 7][..]));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let (own, asked_own) = server(Manner::Well).await;
    forwarder.ask(&[own], &query, 512).await.unwrap();
    assert_eq!(
        asked_own.load(Ordering::Relaxed),
        1,
        "a network's own servers are asked, whatever others said"
    );
}

#[tokio::test]
async fn the_next_server_is_asked_and_forgeries_are_passed_over() {
    let (silent, asked) = server(Manner::Silent).await;
    let (forged, _) = server(Manner::AfterForgeries).await;
    let forwarder = Forwarder::new(vec![silent, forged]);
    let answer = forwarder.ask(&[], &query("www.example", TYPE_A), 512).await.unwrap();
    assert_eq!(read(&answer), (0, 1, &[192, 0, 2, 7][..]));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let alone = Forwarder::new(vec![silent]);
    assert_eq!(alone.ask(&[], &query("www.example", TYPE_A), 512).await, None);
    assert_eq!(Forwarder::new(Vec::new()).ask(&[], &query("www.example", TYPE_A), 512).await, None);
}

#[tokio::test]
async fn what_does_not_fit_is_asked_for_by_tcp() {
    let (place, asked) = server(Manner::Truncated).await;
    let answer = Forwarder::new(vec![place]).ask(&[], &query("www.example", TYPE_A), 512).await.unwrap();
    assert_eq!(read(&answer), (0, 1, &[192, 0, 2, 7][..]));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}
