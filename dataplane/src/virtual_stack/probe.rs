//! Questions to a workload that one packet answers: a ping, and a datagram to a port. There is no socket for them: a probe
//! is known by the port that it went out by and by a number of its own, the datagram's source port or the ping's identifier.

use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hashbrown::HashMap;

use super::state::{caller, is_host};
use super::{CLIENT_PORT_MIN, ConnectError, Shared};
use crate::exchange::PARCEL_LENGTH_MAX;
use crate::wire::headers::{Ip, Transport};
use crate::wire::icmp;
use crate::wire::udp::{self, Place};

/// Probes of all ports that wait for their answers.
const PROBES_MAX: usize = 512;
/// How often a free number is tried before there is none.
const TRIES: u16 = 16;

/// A question that was asked. Dropping it forgets it.
#[derive(Debug)]
pub struct Probe {
    shared: Arc<Shared>,
    key: Key,
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was answered; by a datagram with these bytes, if a datagram was sent.
    Reply(Vec<u8>),
    /// ICMP says that nobody is there.
    Unreachable,
}

/// What a probe is known by: the port's number in the dataplane, and its own.
type Key = (u16, u16);

/// Probes that wait.
#[derive(Default)]
pub(super) struct Probes {
    waiting: HashMap<Key, Waiting>,
}

struct Waiting {
    local: IpAddr,
    /// Its port is that of a datagram; none: it is a ping.
    remote: IpAddr,
    remote_port: Option<u16>,
    answer: Option<Answer>,
    waker: Option<Waker>,
}

impl Probes {
    /// Takes a packet that a workload sent to one of the gateway's addresses, where it answers a probe.
    pub(super) fn receive(&mut self, number: u16, ip: &Ip, frame: &[u8]) {
        let (own_number, remote_port) = match &ip.transport {
            Transport::Udp { source_port, destination_port } => (*destination_port, Some(*source_port)),
            Transport::IcmpEcho { request: false, identifier } => (*identifier, None),
            Transport::IcmpError { inner, .. } => (inner.source_port, None),
            _ => return,
        };
        let Some(waiting) = self.waiting.get_mut(&(number, own_number)) else { return };
        let is_to =
            |source: IpAddr, destination: IpAddr| waiting.local == source && waiting.remote == destination;
        let answer = match &ip.transport {
            Transport::IcmpError { kind, inner, .. } => {
                // What says this in one version says something else in the other.
                let is_unreachable =
                    *kind == if ip.source.is_ipv4() { icmp::UNREACHABLE } else { icmp::UNREACHABLE_IPV6 };
                let is_of_it =
                    waiting.remote_port.is_none_or(|remote_port| remote_port == inner.destination_port);
                let is_about_it = is_unreachable && is_to(inner.source, inner.destination) && is_of_it;
                is_about_it.then_some(Answer::Unreachable)
            }
            _ if !is_to(ip.destination, ip.source) || waiting.remote_port != remote_port => None,
            Transport::Udp { .. } => udp::payload(frame, ip).map(|payload| Answer::Reply(payload.to_vec())),
            _ => Some(Answer::Reply(Vec::new())),
        };
        if let Some(answer) = answer {
            // The first one counts.
            waiting.answer.get_or_insert(answer);
            if let Some(waker) = waiting.waker.take() {
                waker.wake();
            }
        }
    }

    fn add(&mut self, number: u16, waiting: Waiting) -> Option<Key> {
        if self.waiting.len() >= PROBES_MAX {
            return None;
        }
        // Numbers must not be guessed by who cannot see them.
        let random = std::hash::RandomState::new().build_hasher().finish();
        let count = u32::from(u16::MAX - CLIENT_PORT_MIN) + 1;
        let start = random as u32 % count;
        let mut keys =
            (0..u32::from(TRIES)).map(|step| (number, CLIENT_PORT_MIN + ((start + step) % count) as u16));
        let key = keys.find(|key| !self.waiting.contains_key(key))?;
        self.waiting.insert(key, waiting);
        Some(key)
    }
}

impl Probe {
    /// Asks through a port: with a datagram of `payload` to a port, or with a ping.
    pub(super) fn ask(
        shared: &Arc<Shared>,
        port: &str,
        local: IpAddr,
        remote: IpAddr,
        question: Option<(u16, &[u8])>,
    ) -> Result<Self, ConnectError> {
        let snapshot = shared.engine.snapshot();
        let unknown = || ConnectError::UnknownPort(port.to_owned());
        let number = snapshot.port_number(port).ok_or_else(unknown)?;
        caller(&snapshot, number).ok_or_else(unknown)?;
        let asked = snapshot.port(number).ok_or_else(unknown)?;
        let workload = asked.workload.as_ref().ok_or_else(unknown)?;
        let remote_port = question.map(|(remote_port, _)| remote_port);
        let payload = question.map_or(&[][..], |(_, payload)| payload);
        let start = udp::headers_length(local);
        let is_possible = is_host(local)
            && is_host(remote)
            && local.is_ipv4() == remote.is_ipv4()
            && start + payload.len() <= PARCEL_LENGTH_MAX;
        if !is_possible {
            let remote = SocketAddr::new(remote, remote_port.unwrap_or(0));
            return Err(ConnectError::Address(local, remote));
        }
        let exchange = shared.engine.exchange();
        let waiting = Waiting { local, remote, remote_port, answer: None, waker: None };
        let key = shared.state().probes.add(number, waiting).ok_or(ConnectError::Full)?;
        // From here on it is forgotten whatever happens.
        let probe = Self { shared: Arc::clone(shared), key };
        let mut parcel = exchange.parcel().ok_or(ConnectError::Full)?;
        parcel.port = number;
        parcel.frame.resize(start, 0);
        parcel.frame.extend_from_slice(payload);
        let gateway = snapshot.gateway_mac(asked.network);
        let source = Place { mac_address: gateway, ip_address: local, port: key.1 };
        let destination =
            Place { mac_address: workload.mac_address, ip_address: remote, port: remote_port.unwrap_or(0) };
        if question.is_some() {
            udp::write_headers(&mut parcel.frame, source, destination, payload.len());
        } else {
            icmp::write_echo_request(&mut parcel.frame, source, destination);
        }
        exchange.send(parcel);
        exchange.wake_worker();
        Ok(probe)
    }

    /// Waits for the answer.
    pub fn poll_answer(&self, context: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.shared.state();
        let Some(waiting) = state.probes.waiting.get_mut(&self.key) else { return Poll::Pending };
        if let Some(answer) = &waiting.answer {
            return Poll::Ready(answer.clone());
        }
        waiting.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.shared.state().probes.waiting.remove(&self.key);
    }
}
