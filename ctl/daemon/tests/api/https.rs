//! The HTTPS listener, by the client that `edgectl` uses: whom it trusts, and whom the daemon does.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use edgestack_client::{Client, ClientError, Remote};

use crate::support::Daemon;

/// A daemon that listens at a port of its own, and its URL.
pub(crate) fn listening() -> (Daemon, u16) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    (Daemon::start_with(&format!("[api]\nlisten = \"127.0.0.1:{port}\"\n")), port)
}

pub(crate) fn remote(daemon: &Daemon, port: u16) -> Remote {
    let authority: PathBuf = daemon.directory().join("state/tls/ca.pem");
    Remote { url: format!("https://127.0.0.1:{port}"), authority: Some(authority), certificate: None }
}

#[tokio::test]
async fn the_daemon_is_trusted_by_its_own_authority_alone() {
    let (daemon, port) = listening();
    let remote = remote(&daemon, port);
    let client = Client::remote(&remote).unwrap();
    assert!(client.text("/readyz").await.unwrap().contains("ready"));
    let by_name = Remote { url: format!("https://localhost:{port}"), ..remote.clone() };
    assert!(Client::remote(&by_name).unwrap().text("/healthz").await.is_ok());

    let elsewhere = Daemon::start_with("[api]\nlisten = \"127.0.0.1:0\"\n");
    let other = Remote { authority: Some(elsewhere.directory().join("state/tls/ca.pem")), ..remote.clone() };
    let error = Client::remote(&other).unwrap().text("/readyz").await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("ca.pem"), "{error}");
    let missing = Remote { authority: Some("/nowhere.pem".into()), ..remote };
    assert!(matches!(Client::remote(&missing), Err(ClientError::Remote(_))));
}

#[tokio::test]
async fn who_says_nothing_of_themselves_may_ask_for_health_only() {
    let (daemon, port) = listening();
    let client = Client::remote(&remote(&daemon, port)).unwrap();
    let error = client.version().await.unwrap_err();
    assert_eq!(error.problem().map(|problem| problem.status), Some(401), "{error}");
    assert_eq!(error.code(), "unauthenticated");
}

#[test]
fn who_speaks_no_tls_gets_no_answer() {
    let (_daemon, port) = listening();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
}

#[test]
fn who_is_silent_or_takes_too_many_places_is_let_go() {
    let (daemon, port) = listening();
    let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let ends_within = |mut stream: TcpStream, seconds: u64| {
        stream.set_read_timeout(Some(Duration::from_secs(seconds))).unwrap();
        matches!(stream.read(&mut [0]), Ok(0)) || stream.take_error().unwrap().is_some()
    };
    let silent: Vec<TcpStream> = (0..64).map(|_| connect()).collect();
    // The listener takes them one after another; the next one is one too many, at once.
    assert!(ends_within(connect(), 8), "an address has 64 places");
    assert_eq!(daemon.get("/healthz").status, 200, "other listeners have their own");
    assert!(ends_within(silent.into_iter().next().unwrap(), 20), "a handshake may take ten seconds");
}

#[tokio::test]
async fn a_restart_keeps_the_certificate() {
    let (mut daemon, port) = listening();
    let path = daemon.directory().join("state/tls/server.pem");
    let before = std::fs::read(&path).unwrap();
    daemon.kill_and_restart();
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(Client::remote(&remote(&daemon, port)).unwrap().text("/healthz").await.is_ok());
}
