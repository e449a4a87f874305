//! UDP for servers: datagrams that workloads sent, and answers to them. There is no socket and no state for each workload.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::state::caller;
use super::{Caller, Shared};
use crate::address::MacAddress;
use crate::exchange::PARCEL_LENGTH_MAX;
use crate::snapshot::Snapshot;
use crate::wire::read_mac;
use crate::wire::udp::{self, Place};

/// Datagrams that wait for a server.
const WAITING_MAX: usize = 256;

/// A server's ear for one UDP port; dropping it refuses further datagrams.
#[derive(Debug)]
pub struct UdpServer {
    shared: Arc<Shared>,
    port: u16,
}

/// A datagram that a workload sent.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// The workload's port.
    pub caller: Caller,
    /// The workload's end.
    pub remote: SocketAddr,
    /// The gateway's end.
    pub local: SocketAddr,
    /// What it says.
    pub payload: Vec<u8>,
    /// Longest answer in bytes.
    pub answer_length_max: usize,
    number: u16,
    ends: (MacAddress, MacAddress),
}

pub(super) struct Received(Datagram);

/// Datagrams for one server.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: VecDeque<Datagram>,
    waker: Option<Waker>,
}

impl Received {
    pub(super) fn new(
        snapshot: &Snapshot,
        number: u16,
        (remote, local): (SocketAddr, SocketAddr),
        frame: &[u8],
        payload: &[u8],
    ) -> Option<Self> {
        let caller = caller(snapshot, number)?;
        let network = snapshot.port(number)?.network;
        let packet_length_max = usize::from(snapshot.networks[network].mtu);
        let datagram = Datagram {
            caller,
            remote,
            local,
            payload: payload.to_vec(),
            answer_length_max: packet_length_max - udp::ip_header_length(local.ip()) - udp::UDP_LENGTH,
            number,
            ends: (snapshot.gateway_mac(network), MacAddress(read_mac(frame, 6))),
        };
        Some(Self(datagram))
    }
}

impl Inbox {
    /// Keeps a datagram for the server; one too many is lost.
    pub(super) fn deliver(&mut self, Received(datagram): Received) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(datagram);
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl UdpServer {
    pub(super) fn new(shared: Arc<Shared>, port: u16) -> Self {
        shared.state().inbox(port);
        Self { shared, port }
    }

    /// The next datagram.
    pub fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Datagram> {
        let mut state = self.shared.state();
        let inbox = state.inbox(self.port);
        let Some(datagram) = inbox.waiting.pop_front() else {
            inbox.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        Poll::Ready(datagram)
    }

    /// Answers a datagram. False when the answer is too long, or there is no room for it now.
    pub fn answer(&self, asked: &Datagram, payload: &[u8]) -> bool {
        let exchange = self.shared.engine.exchange();
        let start = udp::headers_length(asked.local.ip());
        let length = start + payload.len();
        if payload.len() > asked.answer_length_max || length > PARCEL_LENGTH_MAX {
            return false;
        }
        // The port may have become another's while the answer was looked for.
        let snapshot = self.shared.engine.snapshot();
        if caller(&snapshot, asked.number).as_ref() != Some(&asked.caller) {
            return false;
        }
        let Some(mut parcel) = exchange.parcel() else { return false };
        parcel.port = asked.number;
        parcel.frame.resize(start, 0);
        parcel.frame.extend_from_slice(payload);
        let source =
            Place { mac_address: asked.ends.0, ip_address: asked.local.ip(), port: asked.local.port() };
        let destination =
            Place { mac_address: asked.ends.1, ip_address: asked.remote.ip(), port: asked.remote.port() };
        udp::write_headers(&mut parcel.frame, source, destination, payload.len());
        exchange.send(parcel);
        exchange.wake_worker();
        true
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.shared.state().remove_inbox(self.port);
    }
}
