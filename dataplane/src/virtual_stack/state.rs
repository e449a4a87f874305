//! All stacks and servers, under one lock: which packet is whose, and who waits for what.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::datagram::{Inbox, Received};
use super::member::{Accepted, Incoming, Member};
use super::probe::Probes;
use super::{CLIENT_PORT_MIN, Caller};
use crate::exchange::{Exchange, Parcel};
use crate::snapshot::Snapshot;
use crate::wire::headers::{self, Network, Transport};
use crate::wire::{TCP_ACK, TCP_SYN, udp};

/// Stacks at a time.
const MEMBERS_MAX: usize = 1024;
/// TCP sockets of all stacks.
const SOCKETS_MAX: usize = 512;
/// A stack without connections is kept so long.
const IDLE: Duration = Duration::from_mins(1);
/// Connections that wait to be accepted, of one server.
const BACKLOG: usize = 64;

/// The state.
pub(super) struct State {
    members: HashMap<u16, Member>,
    listeners: HashMap<u16, Backlog>,
    inboxes: HashMap<u16, Inbox>,
    /// Questions that are not answered yet.
    pub(super) probes: Probes,
    /// Ports whose stacks have something to do at once.
    dirty: Vec<u16>,
    /// Number of the last stack that was made.
    generation: u64,
    /// The configuration that the stacks were last compared with.
    snapshot: Option<Arc<Snapshot>>,
    swept: Instant,
    /// Packets were sent since the worker was last told.
    pub(super) has_sent: bool,
}

/// Connections that wait to be accepted.
#[derive(Default)]
struct Backlog {
    accepted: VecDeque<Accepted>,
    waker: Option<Waker>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("members", &self.members.len()).finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            members: HashMap::new(),
            listeners: HashMap::new(),
            inboxes: HashMap::new(),
            probes: Probes::default(),
            dirty: Vec::new(),
            generation: 0,
            snapshot: None,
            swept: Instant::now(),
            has_sent: false,
        }
    }

    /// Ends the stacks of ports that are not there any more.
    pub(super) fn refresh(&mut self, snapshot: &Arc<Snapshot>) {
        if self.snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, snapshot)) {
            return;
        }
        self.snapshot = Some(Arc::clone(snapshot));
        self.members.retain(|number, member| {
            let port = snapshot.port(*number).filter(|port| port.id == *member.caller.port);
            let is_kept = port
                .is_some_and(|port| port.up && *snapshot.networks[port.network].id == *member.caller.network);
            if !is_kept {
                member.abort();
            }
            is_kept
        });
    }

    /// Takes a packet that a workload sent to one of the gateway's servers or clients.
    pub(super) fn receive(&mut self, exchange: &Exchange, snapshot: &Snapshot, parcel: Parcel) {
        let number = parcel.port;
        let Ok(Network::Ip(ip)) = headers::parse(&parcel.frame).map(|headers| headers.network) else {
            return exchange.recycle(parcel);
        };
        let incoming = match ip.transport {
            Transport::Udp { source_port, destination_port } if destination_port < CLIENT_PORT_MIN => {
                let ends = (
                    SocketAddr::new(ip.source, source_port),
                    SocketAddr::new(ip.destination, destination_port),
                );
                if let Some(inbox) = self.inboxes.get_mut(&destination_port)
                    && let Some(payload) = udp::payload(&parcel.frame, &ip)
                    && let Some(received) = Received::new(snapshot, number, ends, &parcel.frame, payload)
                {
                    inbox.deliver(received);
                }
                return exchange.recycle(parcel);
            }
            Transport::Tcp { destination_port, flags, .. } => Incoming {
                local: SocketAddr::new(ip.destination, destination_port),
                opens: flags & (TCP_SYN | TCP_ACK) == TCP_SYN
                    && self.listeners.contains_key(&destination_port)
                    && self.sockets() < SOCKETS_MAX,
            },
            _ => {
                self.probes.receive(number, &ip, &parcel.frame);
                return exchange.recycle(parcel);
            }
        };
        let Some(member) = self.member(snapshot, number) else { return exchange.recycle(parcel) };
        member.receive(exchange, parcel, incoming);
        self.settle(number);
    }

    /// Lets the stacks that have something to do do it; how long none of them will.
    pub(super) fn poll_due(&mut self, exchange: &Exchange) -> Duration {
        let now = Instant::now();
        let due = self.members.iter().filter(|(_, member)| member.is_due(now)).map(|(number, _)| *number);
        let mut numbers: Vec<u16> = due.collect();
        numbers.append(&mut self.dirty);
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            if let Some(member) = self.members.get_mut(&number) {
                member.poll(exchange, None);
                self.settle(number);
            }
        }
        if now.duration_since(self.swept) >= IDLE {
            self.swept = now;
            self.members.retain(|_, member| !member.is_idle(now, IDLE));
        }
        self.members.values().map(|member| member.rests(now)).min().unwrap_or(Duration::MAX)
    }

    /// What follows from a stack's packets: connections to be accepted.
    fn settle(&mut self, number: u16) {
        let Some(member) = self.members.get_mut(&number) else { return };
        self.has_sent |= std::mem::take(&mut member.has_sent);
        let listeners = &mut self.listeners;
        member.settle(|accepted| {
            let backlog =
                listeners.get_mut(&accepted.local.port()).filter(|backlog| backlog.accepted.len() < BACKLOG);
            let Some(backlog) = backlog else { return false };
            backlog.accepted.push_back(accepted);
            if let Some(waker) = backlog.waker.take() {
                waker.wake();
            }
            true
        });
    }

    fn sockets(&self) -> usize {
        self.members.values().map(Member::sockets).sum()
    }

    /// The stack of a workload's port, made where there is none; none when there are too many.
    pub(super) fn member(&mut self, snapshot: &Snapshot, number: u16) -> Option<&mut Member> {
        if !self.members.contains_key(&number) {
            if self.members.len() >= MEMBERS_MAX {
                let now = Instant::now();
                self.members.retain(|_, member| !member.is_idle(now, Duration::ZERO));
            }
            if self.members.len() >= MEMBERS_MAX {
                return None;
            }
            self.generation += 1;
            let member = Member::new(snapshot, number, self.generation)?;
            self.members.insert(number, member);
        }
        self.members.get_mut(&number)
    }

    /// Whether there is room for one more socket.
    pub(super) fn has_room(&self) -> bool {
        self.sockets() < SOCKETS_MAX
    }

    /// The stack that a stream belongs to, while it is the same.
    pub(super) fn member_of(&mut self, number: u16, generation: u64) -> Option<&mut Member> {
        self.members.get_mut(&number).filter(|member| member.generation == generation)
    }

    /// Notes that a stack has something to do.
    pub(super) fn touch(&mut self, number: u16) {
        if !self.dirty.contains(&number) {
            self.dirty.push(number);
        }
    }

    pub(super) fn add_listener(&mut self, port: u16) {
        self.listeners.entry(port).or_default();
    }

    pub(super) fn remove_listener(&mut self, port: u16) {
        for accepted in self.listeners.remove(&port).into_iter().flat_map(|backlog| backlog.accepted) {
            if let Some(member) = self.member_of(accepted.number, accepted.generation) {
                member.leave(accepted.handle);
            }
        }
    }

    /// The next connection of a server; `waker` is woken when there is one.
    pub(super) fn accept(&mut self, port: u16, waker: &Waker) -> Option<Accepted> {
        let backlog = self.listeners.entry(port).or_default();
        let accepted = backlog.accepted.pop_front();
        if accepted.is_none() {
            backlog.waker = Some(waker.clone());
        }
        accepted
    }

    /// The queue of a UDP server, made where there is none.
    pub(super) fn inbox(&mut self, port: u16) -> &mut Inbox {
        self.inboxes.entry(port).or_default()
    }

    pub(super) fn remove_inbox(&mut self, port: u16) {
        self.inboxes.remove(&port);
    }

    /// Ends every connection.
    pub(super) fn close(&mut self) {
        self.members.values_mut().for_each(Member::abort);
        self.members.clear();
        self.listeners.clear();
        self.inboxes.clear();
    }
}

/// Who speaks through a port; none when it is no workload's.
pub(super) fn caller(snapshot: &Snapshot, number: u16) -> Option<Caller> {
    let port = snapshot.port(number).filter(|port| port.is_here())?;
    Some(Caller {
        port: port.id.as_str().into(),
        network: snapshot.networks[port.network].id.as_str().into(),
    })
}

/// Whether an address is one that a socket may have.
pub(super) fn is_host(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback()
}
