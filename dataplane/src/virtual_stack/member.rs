//! The stack of one port: an interface of smoltcp, the gateway's addresses that the port speaks to, and TCP sockets.

use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint};

use super::device::PortDevice;
use super::state::{caller, is_host};
use super::{CLIENT_PORT_MIN, Caller, ConnectError};
use crate::address::MacAddress;
use crate::exchange::{Exchange, Parcel};
use crate::snapshot::Snapshot;

/// TCP sockets of one port.
const SOCKETS_MAX: usize = 16;
/// What a socket holds that is not read, and not acknowledged, in bytes.
const RECEIVE_BUFFER: usize = 8 * 1024;
const SEND_BUFFER: usize = 16 * 1024;
/// A peer that is silent while it should answer is given up after this time.
const SILENCE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(20);
/// A connection without traffic is probed so often.
const KEEP_ALIVE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(10);
/// How long a connection that its server has left may take to end.
const FAREWELL: Duration = Duration::from_secs(10);

/// The stack of a port.
pub(super) struct Member {
    pub(super) caller: Caller,
    pub(super) generation: u64,
    number: u16,
    interface: Interface,
    sockets: SocketSet<'static>,
    connections: Vec<Connection>,
    ends: (MacAddress, MacAddress),
    mtu: usize,
    started: Instant,
    used: Instant,
    due: Option<Instant>,
    pub(super) has_sent: bool,
}

struct Connection {
    handle: SocketHandle,
    state: Use,
}

/// Who has a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Nobody yet: it is not open.
    Waiting,
    /// A stream.
    Held,
    /// Nobody any more.
    Left(Instant),
}

/// A connection that a server may have.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) number: u16,
    pub(super) generation: u64,
    pub(super) handle: SocketHandle,
    pub(super) caller: Caller,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// What is known of a packet before the stack has it.
#[derive(Clone, Copy)]
pub(super) struct Incoming {
    /// Where it goes to.
    pub(super) local: SocketAddr,
    /// It opens a connection to a server.
    pub(super) opens: bool,
}

impl Member {
    /// A stack for a workload's port; none when the number is no such port's.
    pub(super) fn new(snapshot: &Snapshot, number: u16, generation: u64) -> Option<Self> {
        let port = snapshot.port(number)?;
        let workload = port.workload.as_ref()?;
        let ends = (snapshot.gateway_mac(port.network), workload.mac_address);
        let mtu = usize::from(snapshot.networks[port.network].mtu);
        let mut config = Config::new(HardwareAddress::Ip);
        // Initial sequence numbers must not be guessed: the standard library's hash keys are random.
        config.random_seed = std::hash::RandomState::new().build_hasher().finish();
        let nowhere = &Exchange::default();
        let mut device =
            PortDevice { exchange: nowhere, received: None, port: number, ends, mtu, has_sent: false };
        let mut interface = Interface::new(config, &mut device, smoltcp::time::Instant::ZERO);
        // All answers leave by the port, whatever their destination.
        let routes = interface.routes_mut();
        let is_routed = routes.add_default_ipv4_route(Ipv4Addr::new(169, 254, 0, 1)).is_ok()
            && routes.add_default_ipv6_route(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)).is_ok();
        debug_assert!(is_routed, "a new interface has room for two routes");
        let now = Instant::now();
        Some(Self {
            caller: caller(snapshot, number)?,
            generation,
            number,
            interface,
            sockets: SocketSet::new(Vec::new()),
            connections: Vec::new(),
            ends,
            mtu,
            started: now,
            used: now,
            due: None,
            has_sent: false,
        })
    }

    /// Takes a packet from the workload.
    pub(super) fn receive(&mut self, exchange: &Exchange, parcel: Parcel, incoming: Incoming) {
        self.used = Instant::now();
        if let Some(source) = parcel.frame.get(6..).and_then(|rest| rest.first_chunk()) {
            self.ends.1 = MacAddress(*source);
        }
        self.add_address(incoming.local.ip());
        if incoming.opens {
            self.listen(incoming.local);
        }
        self.poll(exchange, Some(parcel));
    }

    /// Makes sure that a socket waits for a connection, where one more may be.
    fn listen(&mut self, local: SocketAddr) {
        let endpoint = IpEndpoint::from(local);
        let waits = self.connections.iter().any(|connection| {
            let socket: &Socket<'_> = self.sockets.get(connection.handle);
            socket.state() == State::Listen && socket.listen_endpoint() == endpoint.into()
        });
        if waits || self.connections.len() >= SOCKETS_MAX {
            return;
        }
        let mut socket = new_socket();
        if socket.listen(endpoint).is_ok() {
            self.connections.push(Connection { handle: self.sockets.add(socket), state: Use::Waiting });
        }
    }

    /// Begins a connection to the workload.
    pub(super) fn connect(
        &mut self,
        local: IpAddr,
        remote: SocketAddr,
    ) -> Result<SocketHandle, ConnectError> {
        if self.connections.len() >= SOCKETS_MAX {
            return Err(ConnectError::Full);
        }
        let refused = || ConnectError::Address(local, remote);
        if !is_host(local) || !is_host(remote.ip()) {
            return Err(refused());
        }
        self.add_address(local);
        let count = u32::from(u16::MAX - CLIENT_PORT_MIN) + 1;
        let start = std::hash::RandomState::new().build_hasher().finish() as u32 % count;
        let mut ports = (0..count).map(|step| CLIENT_PORT_MIN + ((start + step) % count) as u16);
        let port = ports.find(|port| {
            self.connections.iter().all(|connection| {
                let socket: &Socket<'_> = self.sockets.get(connection.handle);
                socket.local_endpoint().is_none_or(|endpoint| endpoint.port != *port)
            })
        });
        let mut socket = new_socket();
        let local = IpEndpoint::new(IpAddress::from(local), port.ok_or(ConnectError::Full)?);
        socket.connect(self.interface.context(), IpEndpoint::from(remote), local).map_err(|_| refused())?;
        let handle = self.sockets.add(socket);
        self.connections.push(Connection { handle, state: Use::Held });
        self.used = Instant::now();
        Ok(handle)
    }

    /// Sends, receives and lets time pass.
    pub(super) fn poll(&mut self, exchange: &Exchange, received: Option<Parcel>) {
        let elapsed = self.started.elapsed();
        let now = smoltcp::time::Instant::from_micros(elapsed.as_micros() as i64);
        let mut device = PortDevice {
            exchange,
            received,
            port: self.number,
            ends: self.ends,
            mtu: self.mtu,
            has_sent: false,
        };
        self.interface.poll(now, &mut device, &mut self.sockets);
        self.has_sent |= device.has_sent;
        if let Some(parcel) = device.received {
            exchange.recycle(parcel);
        }
        let delay = self.interface.poll_delay(now, &self.sockets);
        // While there is no room to send, asking again at once would not help.
        let shortest = Duration::from_millis(u64::from(!exchange.has_room()));
        self.due =
            delay.map(|delay| Instant::now() + Duration::from_micros(delay.total_micros()).max(shortest));
    }

    /// Hands open connections to `accept`, which says whether they are wanted, and removes those that have ended.
    pub(super) fn settle(&mut self, mut accept: impl FnMut(Accepted) -> bool) {
        let now = Instant::now();
        let mut index = 0;
        while index < self.connections.len() {
            let connection = &mut self.connections[index];
            let socket: &mut Socket<'_> = self.sockets.get_mut(connection.handle);
            let state = socket.state();
            if connection.state == Use::Waiting
                && matches!(state, State::Established | State::CloseWait)
                && let (Some(local), Some(remote)) = (socket.local_endpoint(), socket.remote_endpoint())
            {
                let accepted = Accepted {
                    number: self.number,
                    generation: self.generation,
                    handle: connection.handle,
                    caller: self.caller.clone(),
                    local: address(local),
                    remote: address(remote),
                };
                connection.state = Use::Held;
                if !accept(accepted) {
                    socket.abort();
                    connection.state = Use::Left(now);
                }
            }
            let is_over = match connection.state {
                Use::Waiting => state == State::Closed,
                Use::Held => false,
                Use::Left(since) => {
                    if now.duration_since(since) > FAREWELL {
                        socket.abort();
                    }
                    matches!(state, State::Closed | State::TimeWait)
                }
            };
            if is_over {
                let connection = self.connections.swap_remove(index);
                self.sockets.remove(connection.handle);
            } else {
                index += 1;
            }
        }
    }

    /// The socket of a connection that a stream has.
    pub(super) fn socket(&mut self, handle: SocketHandle) -> Option<&mut Socket<'static>> {
        let is_held = |connection: &Connection| connection.handle == handle && connection.state == Use::Held;
        self.connections.iter().any(is_held).then(|| self.sockets.get_mut(handle))
    }

    /// The stream of a connection is gone.
    pub(super) fn leave(&mut self, handle: SocketHandle) {
        if let Some(connection) = self.connections.iter_mut().find(|connection| connection.handle == handle) {
            connection.state = Use::Left(Instant::now());
            let socket: &mut Socket<'_> = self.sockets.get_mut(handle);
            // Who has not read what came is told so.
            if socket.recv_queue() > 0 {
                socket.abort();
            } else {
                socket.close();
            }
            self.due = Some(Instant::now());
        }
    }

    /// Ends all connections, and wakes who waits for them.
    pub(super) fn abort(&mut self) {
        for connection in &self.connections {
            let socket: &mut Socket<'_> = self.sockets.get_mut(connection.handle);
            socket.abort();
        }
    }

    pub(super) fn sockets(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// How long it has nothing to do.
    pub(super) fn rests(&self, now: Instant) -> Duration {
        self.due.map_or(Duration::MAX, |due| due.saturating_duration_since(now))
    }

    pub(super) fn is_idle(&self, now: Instant, idle: Duration) -> bool {
        self.connections.is_empty() && now.duration_since(self.used) >= idle
    }

    /// The gateway has an address towards the workload. The engine hands over only packets to addresses that are
    /// configured; the oldest gives way.
    fn add_address(&mut self, address: IpAddr) {
        let address = IpAddress::from(address);
        if self.interface.has_ip_addr(address) {
            return;
        }
        self.interface.update_ip_addrs(|addresses| {
            let prefix = if matches!(address, IpAddress::Ipv4(_)) { 32 } else { 128 };
            if addresses.is_full() {
                addresses.remove(0);
            }
            let added = addresses.push(IpCidr::new(address, prefix));
            debug_assert!(added.is_ok(), "there is room after one was removed");
        });
    }
}

fn new_socket() -> Socket<'static> {
    let buffer = |length| SocketBuffer::new(vec![0; length]);
    let mut socket = Socket::new(buffer(RECEIVE_BUFFER), buffer(SEND_BUFFER));
    socket.set_timeout(Some(SILENCE));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_nagle_enabled(false);
    socket
}

fn address(endpoint: IpEndpoint) -> SocketAddr {
    SocketAddr::new(endpoint.addr.into(), endpoint.port)
}
