//! DNS for workloads: the names of their own tenant's ports, and everything else from upstream servers, with a cache.
//!
//! Questions come in on virtual stacks, by UDP and TCP; upstream servers are asked from the host's own stack. Every queue
//! and table has a limit; a port that asks too much at once is told so.

mod cache;
mod forward;
mod local;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edgestack_dataplane::virtual_stack::{Caller, StackHandle, TcpStream};
use edgestack_dataplane::wire::dns::{self, BadQuery, CLASS_IN, Query, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, watch};

use super::DNS_PORT;
use super::directory::Directory;
use super::stream::{Connection, accept, receive};
use forward::Forwarder;

/// Questions that are worked on at a time, in all and of one port.
const QUESTIONS_MAX: usize = 512;
const QUESTIONS_PER_PORT_MAX: usize = 32;
/// The same while more than half of all places are taken: who asks a lot, of servers that do not answer, leaves some to others.
const QUESTIONS_PER_PORT_BUSY_MAX: usize = 4;
/// Connections at a time.
const CONNECTIONS_MAX: usize = 128;
/// Questions of one connection.
const QUESTIONS_PER_CONNECTION_MAX: usize = 100;
/// How long a connection may be idle.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer by TCP.
const TCP_LENGTH_MAX: usize = 65_535;

/// The server.
struct Server {
    directory: watch::Receiver<Arc<Directory>>,
    forwarder: Forwarder,
    questions: Semaphore,
    by_port: Mutex<HashMap<Arc<str>, usize>>,
}

/// Serves until `stop` says so. `forwarders` are asked for networks that name no servers of their own.
pub async fn serve(
    stack: StackHandle,
    directory: watch::Receiver<Arc<Directory>>,
    forwarders: Vec<SocketAddr>,
    mut stop: watch::Receiver<bool>,
) {
    let server = Arc::new(Server {
        directory,
        forwarder: Forwarder::new(forwarders),
        questions: Semaphore::new(QUESTIONS_MAX),
        by_port: Mutex::default(),
    });
    let udp = Arc::new(stack.bind(DNS_PORT));
    let tcp = stack.listen(DNS_PORT);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let server = Arc::clone(&server);
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            datagram = receive(&udp) => {
                let udp = Arc::clone(&udp);
                tokio::spawn(async move {
                    let limit = |query: &Query| query.answer_length_max().min(datagram.answer_length_max);
                    if let Some(answer) = server.ask(&datagram.caller, &datagram.payload, limit).await {
                        udp.answer(&datagram, &answer);
                    }
                });
            }
            stream = accept(&tcp) => {
                // One too many is closed at once.
                if let Ok(permit) = Arc::clone(&connections).try_acquire_owned() {
                    tokio::spawn(async move {
                        if let Err(error) = server.converse(stream).await {
                            tracing::debug!(%error, "a connection for DNS ended early");
                        }
                        drop(permit);
                    });
                }
            }
        }
    }
}

impl Server {
    /// Answers the questions of a connection (RFC 7766).
    async fn converse(&self, stream: TcpStream) -> std::io::Result<()> {
        let caller = stream.caller().clone();
        let mut connection = Connection(Arc::new(stream));
        for _ in 0..QUESTIONS_PER_CONNECTION_MAX {
            let question = tokio::time::timeout(IDLE_TIMEOUT, read_message(&mut connection)).await??;
            let Some(question) = question else { break };
            let Some(answer) = self.ask(&caller, &question, |_| TCP_LENGTH_MAX).await else { break };
            let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
            let framed = [&length.to_be_bytes(), &answer[..]].concat();
            tokio::time::timeout(IDLE_TIMEOUT, connection.write_all(&framed)).await??;
        }
        connection.shutdown().await
    }

    /// The answer to a message; none where none is due.
    async fn ask(
        &self,
        caller: &Caller,
        message: &[u8],
        length_max: impl Fn(&Query) -> usize,
    ) -> Option<Vec<u8>> {
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(BadQuery::Silence) => return None,
            Err(BadQuery::Answer(answer)) => return Some(answer),
        };
        let length_max = length_max(&query);
        let is_refused = query.class != CLASS_IN || matches!(query.kind, dns::TYPE_AXFR | dns::TYPE_IXFR);
        if is_refused {
            return Some(query.refusal(ResponseCode::Refused));
        }
        let directory = Arc::clone(&self.directory.borrow());
        let Some(network) = directory.network(&caller.network) else {
            return Some(query.refusal(ResponseCode::ServerFailure));
        };
        if let Some(answer) = local::answer(&directory, network, &query, length_max) {
            return Some(answer);
        }
        if !query.recursion_desired {
            return Some(query.refusal(ResponseCode::Refused));
        }
        let Some(_turn) = self.turn(caller) else {
            return Some(query.refusal(ResponseCode::ServerFailure));
        };
        let own: Vec<SocketAddr> =
            network.dns.iter().map(|server| SocketAddr::new(*server, DNS_PORT)).collect();
        let answer = self.forwarder.ask(&own, &query, length_max).await;
        Some(answer.unwrap_or_else(|| query.refusal(ResponseCode::ServerFailure)))
    }

    /// A place among the questions that are worked on.
    fn turn<'a>(&'a self, caller: &Caller) -> Option<Turn<'a>> {
        let is_busy = self.questions.available_permits() < QUESTIONS_MAX / 2;
        let permit = self.questions.try_acquire().ok()?;
        let mut by_port = self.by_port.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_port.entry(Arc::clone(&caller.port)).or_default();
        if *count >= if is_busy { QUESTIONS_PER_PORT_BUSY_MAX } else { QUESTIONS_PER_PORT_MAX } {
            return None;
        }
        *count += 1;
        Some(Turn { server: self, port: Arc::clone(&caller.port), _permit: permit })
    }
}

/// A place among the questions; dropping it leaves it to others.
struct Turn<'a> {
    server: &'a Server,
    port: Arc<str>,
    _permit: tokio::sync::SemaphorePermit<'a>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut by_port = self.server.by_port.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_port.get_mut(&self.port) {
            *count -= 1;
            if *count == 0 {
                by_port.remove(&self.port);
            }
        }
    }
}

/// A message with its length in front; none at the end of the connection.
async fn read_message(stream: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length).await {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}
