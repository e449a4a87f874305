//! TCP for servers and clients: what a listener accepts, and the two directions of a connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{RecvError, Socket, State};

use super::member::Accepted;
use super::state::caller;
use super::{Caller, ConnectError, Shared};

/// A server's ear for one TCP port; dropping it refuses further connections.
#[derive(Debug)]
pub struct TcpListener {
    shared: Arc<Shared>,
    port: u16,
}

/// A connection with a workload. Dropping it closes it.
#[derive(Debug)]
pub struct TcpStream {
    shared: Arc<Shared>,
    number: u16,
    generation: u64,
    handle: SocketHandle,
    caller: Caller,
    local: SocketAddr,
    remote: SocketAddr,
}

impl TcpListener {
    pub(super) fn new(shared: Arc<Shared>, port: u16) -> Self {
        shared.state().add_listener(port);
        Self { shared, port }
    }

    /// The next connection.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<TcpStream> {
        let accepted = self.shared.state().accept(self.port, context.waker());
        accepted.map_or(Poll::Pending, |accepted| Poll::Ready(TcpStream::new(&self.shared, accepted)))
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        self.shared.state().remove_listener(self.port);
        self.shared.engine.exchange().call_stack();
    }
}

impl TcpStream {
    fn new(shared: &Arc<Shared>, accepted: Accepted) -> Self {
        let Accepted { number, generation, handle, caller, local, remote } = accepted;
        Self { shared: Arc::clone(shared), number, generation, handle, caller, local, remote }
    }

    pub(super) fn connect(
        shared: &Arc<Shared>,
        port: &str,
        local: IpAddr,
        remote: SocketAddr,
    ) -> Result<Self, ConnectError> {
        let snapshot = shared.engine.snapshot();
        let unknown = || ConnectError::UnknownPort(port.to_owned());
        let number = snapshot.port_number(port).ok_or_else(unknown)?;
        let caller = caller(&snapshot, number).ok_or_else(unknown)?;
        let mut state = shared.state();
        if !state.has_room() {
            return Err(ConnectError::Full);
        }
        let member = state.member(&snapshot, number).ok_or(ConnectError::Full)?;
        let handle = member.connect(local, remote)?;
        let (generation, local) = (member.generation, SocketAddr::new(local, 0));
        state.touch(number);
        drop(state);
        shared.engine.exchange().call_stack();
        Ok(Self { shared: Arc::clone(shared), number, generation, handle, caller, local, remote })
    }

    /// The workload's port.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The gateway's end.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The workload's end.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Packets are sent with this time to live from now on: 1 keeps answers from being forwarded.
    pub fn set_hop_limit(&self, hop_limit: u8) {
        self.with(|socket| socket.set_hop_limit(Some(hop_limit.max(1))));
    }

    /// Waits until a connection that was begun is open.
    pub fn poll_connected(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.with(|socket| match socket.state() {
            State::SynSent | State::SynReceived => {
                socket.register_send_waker(context.waker());
                Poll::Pending
            }
            State::Closed => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
            _ => Poll::Ready(Ok(())),
        });
        polled.unwrap_or_else(|| Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())))
    }

    /// Reads what has come; 0 at the end.
    pub fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let polled = self.with(|socket| match socket.recv_slice(buffer) {
            Ok(0) => {
                socket.register_recv_waker(context.waker());
                Poll::Pending
            }
            Ok(length) => Poll::Ready(Ok(length)),
            Err(RecvError::Finished) => Poll::Ready(Ok(0)),
            Err(RecvError::InvalidState) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        });
        self.finish(polled)
    }

    /// Writes as much as there is room for.
    pub fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let polled = self.with(|socket| match socket.send_slice(bytes) {
            Ok(0) => {
                socket.register_send_waker(context.waker());
                Poll::Pending
            }
            Ok(length) => Poll::Ready(Ok(length)),
            Err(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        });
        self.finish(polled)
    }

    /// Says that nothing more is written.
    pub fn shutdown(&self) {
        self.with(Socket::close);
        self.touch();
    }

    fn with<T>(&self, action: impl FnOnce(&mut Socket<'static>) -> T) -> Option<T> {
        let mut state = self.shared.state();
        let member = state.member_of(self.number, self.generation)?;
        member.socket(self.handle).map(action)
    }

    /// The stack has something to do when bytes were moved: to send them, or to say that there is room again.
    fn finish(&self, polled: Option<Poll<io::Result<usize>>>) -> Poll<io::Result<usize>> {
        match polled {
            Some(Poll::Ready(Ok(moved))) => {
                if moved > 0 {
                    self.touch();
                }
                Poll::Ready(Ok(moved))
            }
            Some(polled) => polled,
            None => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    }

    fn touch(&self) {
        self.shared.state().touch(self.number);
        self.shared.engine.exchange().call_stack();
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(member) = state.member_of(self.number, self.generation) {
            member.leave(self.handle);
            state.touch(self.number);
        }
        drop(state);
        self.shared.engine.exchange().call_stack();
    }
}
