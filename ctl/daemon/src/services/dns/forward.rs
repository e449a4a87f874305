//! Asking upstream servers, from the host's own stack.
//!
//! Each try has a socket of its own, and so a port of the kernel's choice, and a random id: an answer must be to this very
//! question. The same question of several clients is asked once.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use edgestack_dataplane::wire::dns::{Name, Query, Reply};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::OnceCell;

use super::cache::Cache;
use super::read_message;
use crate::services::random_bytes;

/// How long a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);
/// Times that the servers are gone through.
const ROUNDS: usize = 2;
/// Servers that are asked for one question.
const SERVERS_MAX: usize = 4;
/// Datagrams that are looked at for one answer: others may be forged.
const DATAGRAMS_MAX: usize = 32;
/// Longest answer by UDP that is taken.
const DATAGRAM_LENGTH_MAX: usize = 4096;

/// Whom is asked what: the servers, the name, type, and what the client wants of signatures.
type Key = (Arc<[SocketAddr]>, Name, u16, bool, bool);

/// A question under way: the answer, when there is one.
type Asking = OnceCell<Option<Arc<Reply>>>;

/// Asks upstream servers and keeps what they say.
pub(super) struct Forwarder {
    /// For networks that name no servers of their own.
    servers: Arc<[SocketAddr]>,
    cache: Mutex<Cache<Key>>,
    /// Questions under way.
    asking: Mutex<HashMap<Key, Arc<Asking>>>,
}

impl Forwarder {
    pub(super) fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers: servers.into(), cache: Mutex::new(Cache::new()), asking: Mutex::default() }
    }

    /// The answer for a client, of at most `length_max` bytes, from `own` servers or, where there are none, the daemon's.
    pub(super) async fn ask(&self, own: &[SocketAddr], query: &Query, length_max: usize) -> Option<Vec<u8>> {
        let servers = if own.is_empty() { Arc::clone(&self.servers) } else { own.into() };
        let key: Key = (servers, query.name.clone(), query.kind, query.dnssec_ok, query.checking_disabled);
        let known = lock(&self.cache).get(&key, Instant::now());
        if let Some((reply, age_seconds)) = known {
            return Some(reply.answer(query, age_seconds, length_max));
        }
        let cell = Arc::clone(lock(&self.asking).entry(key.clone()).or_default());
        let reply = cell.get_or_init(|| self.ask_servers(&key, query)).await.clone();
        let mut asking = lock(&self.asking);
        if asking.get(&key).is_some_and(|other| Arc::ptr_eq(other, &cell)) {
            asking.remove(&key);
        }
        drop(asking);
        Some(reply?.answer(query, 0, length_max))
    }

    /// Asks one server after the other until one answers.
    async fn ask_servers(&self, key: &Key, query: &Query) -> Option<Arc<Reply>> {
        for _ in 0..ROUNDS {
            for server in key.0.iter().take(SERVERS_MAX) {
                match ask_server(*server, query).await {
                    Ok(reply) => {
                        let reply = Arc::new(reply);
                        lock(&self.cache).put(key.clone(), Arc::clone(&reply), Instant::now());
                        return Some(reply);
                    }
                    Err(error) => tracing::debug!(%server, name = %query.name, %error, "no answer"),
                }
            }
        }
        None
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks one server: by UDP, and by TCP where that answer does not hold everything.
async fn ask_server(server: SocketAddr, query: &Query) -> io::Result<Reply> {
    let timeout = |_| io::Error::from(io::ErrorKind::TimedOut);
    let reply = tokio::time::timeout(ANSWER_TIMEOUT, ask_by_udp(server, query)).await.map_err(timeout)??;
    if !reply.truncated {
        return Ok(reply);
    }
    tokio::time::timeout(ANSWER_TIMEOUT, ask_by_tcp(server, query)).await.map_err(timeout)?
}

async fn ask_by_udp(server: SocketAddr, query: &Query) -> io::Result<Reply> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id = random_id()?;
    socket.send(&query.to_upstream(id)).await?;
    let mut buffer = vec![0; DATAGRAM_LENGTH_MAX];
    for _ in 0..DATAGRAMS_MAX {
        let length = socket.recv(&mut buffer).await?;
        if let Some(reply) = Reply::parse(&buffer[..length], query, id) {
            return Ok(reply);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the server sends what is no answer"))
}

async fn ask_by_tcp(server: SocketAddr, query: &Query) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(server).await?;
    let id = random_id()?;
    let message = query.to_upstream(id);
    let length = (message.len() as u16).to_be_bytes();
    stream.write_all(&[&length, &message[..]].concat()).await?;
    let answer = read_message(&mut stream).await?;
    answer
        .and_then(|answer| Reply::parse(&answer, query, id))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the server sends what is no answer"))
}

fn random_id() -> io::Result<u16> {
    random_bytes().map(u16::from_be_bytes)
}
