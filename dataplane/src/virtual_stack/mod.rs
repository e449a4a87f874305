//! Virtual stacks: the gateway as a TCP and UDP host inside tenant networks, for its own servers and clients.
//!
//! Tenants have equal addresses, so the host's stack cannot serve them. Here every port has a small stack of its own
//! (smoltcp), made with its first packet: who speaks is known by the port that a packet came in by, never by its addresses,
//! and no tenant's packets meet another's. The engine's `respond` stage hands packets over (see [`crate::exchange`]); what
//! the stacks send leaves by the port that it is for. One thread moves the packets and keeps the timers; servers and
//! clients are tasks of whoever uses [`TcpListener`], [`TcpStream`], [`UdpServer`] and [`Probe`]: all waiting is by
//! [`std::task::Waker`].
//!
//! Sockets, packets and queues are bounded, for each port and in all.

mod datagram;
mod device;
mod member;
mod probe;
mod state;
mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::engine::Engine;
use state::State;

pub use datagram::{Datagram, UdpServer};
pub use probe::{Answer, Probe};
pub use stream::{TcpListener, TcpStream};

/// TCP and UDP ports and identifiers of pings of the gateway's own clients ([`StackHandle::connect`], [`Probe`]).
pub const CLIENT_PORT_MIN: u16 = 61_000;
/// Packets that are taken before timers are looked at again.
const PACKETS_PER_TURN: usize = 128;
/// Longest sleep: idle stacks are looked for so often.
const TURN_MAX: Duration = Duration::from_secs(1);

/// The workload port that speaks with a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Identifier of the port.
    pub port: Arc<str>,
    /// Identifier of its network.
    pub network: Arc<str>,
}

/// Why there is no connection to a workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// There is no such workload port.
    #[error("there is no workload port `{0}`")]
    UnknownPort(String),
    /// An address cannot be connected to or from.
    #[error("no connection from {0} to {1} is possible")]
    Address(IpAddr, SocketAddr),
    /// Too many sockets.
    #[error("the gateway's own connections have no room for one more")]
    Full,
}

/// The stacks; dropping them ends their thread and every connection.
#[derive(Debug)]
pub struct VirtualStack {
    handle: StackHandle,
    thread: Option<JoinHandle<()>>,
}

/// A hold on the stacks, by which servers and clients are made.
#[derive(Clone, Debug)]
pub struct StackHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Arc<Engine>,
    state: Mutex<State>,
    stopping: AtomicBool,
}

impl VirtualStack {
    /// Starts the thread.
    pub fn start(engine: Arc<Engine>) -> io::Result<Self> {
        let state = Mutex::new(State::new());
        let shared = Arc::new(Shared { engine, state, stopping: AtomicBool::new(false) });
        let running = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("edgestack-stack".to_owned()).spawn(move || running.run())?;
        shared.engine.exchange().open(thread.thread().clone());
        Ok(Self { handle: StackHandle { shared }, thread: Some(thread) })
    }

    /// For servers and clients.
    pub fn handle(&self) -> StackHandle {
        self.handle.clone()
    }
}

impl Drop for VirtualStack {
    fn drop(&mut self) {
        let shared = &self.handle.shared;
        shared.stopping.store(true, Ordering::Release);
        shared.engine.exchange().call_stack();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the virtual stacks panicked; see its message above");
        }
        shared.state().close();
    }
}

impl StackHandle {
    /// A server for connections to a TCP port, at every address that the configuration has an endpoint for.
    pub fn listen(&self, port: u16) -> TcpListener {
        TcpListener::new(Arc::clone(&self.shared), port)
    }

    /// A server for datagrams to a UDP port.
    pub fn bind(&self, port: u16) -> UdpServer {
        UdpServer::new(Arc::clone(&self.shared), port)
    }

    /// Begins a connection from the gateway's address `local` to a workload, through its port. The address must be one that
    /// the gateway has in the port's network because of a service.
    pub fn connect(&self, port: &str, local: IpAddr, remote: SocketAddr) -> Result<TcpStream, ConnectError> {
        TcpStream::connect(&self.shared, port, local, remote)
    }

    /// Pings a workload from the gateway's address `local`, through its port.
    pub fn ping(&self, port: &str, local: IpAddr, remote: IpAddr) -> Result<Probe, ConnectError> {
        Probe::ask(&self.shared, port, local, remote, None)
    }

    /// Sends a datagram to a workload from the gateway's address `local`, through its port.
    pub fn ask(
        &self,
        port: &str,
        local: IpAddr,
        remote: SocketAddr,
        payload: &[u8],
    ) -> Result<Probe, ConnectError> {
        Probe::ask(&self.shared, port, local, remote.ip(), Some((remote.port(), payload)))
    }
}

impl Shared {
    /// The state. A thread that panicked while it held the lock left it as whole as any other moment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while !self.stopping.load(Ordering::Acquire) {
            let timeout = self.turn();
            if !timeout.is_zero() {
                std::thread::park_timeout(timeout);
            }
        }
    }

    /// Moves what there is to move; how long there is nothing to do then.
    fn turn(&self) -> Duration {
        let exchange = self.engine.exchange();
        let snapshot = self.engine.snapshot();
        let mut state = self.state();
        state.refresh(&snapshot);
        let mut taken = 0;
        while taken < PACKETS_PER_TURN
            && let Some(parcel) = exchange.take_offered()
        {
            taken += 1;
            state.receive(exchange, &snapshot, parcel);
        }
        let next = state.poll_due(exchange);
        if std::mem::take(&mut state.has_sent) {
            exchange.wake_worker();
        }
        if taken == PACKETS_PER_TURN { Duration::ZERO } else { next.min(TURN_MAX) }
    }
}
