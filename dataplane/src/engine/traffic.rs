//! What has passed through external addresses: of sessions that have ended the totals, of the others their flows.
//!
//! Nothing is counted by packet: a session's flows count anyway, and when it ends they are added to the address that
//! translated them. Totals begin anew with every engine.

use edgestack_abi::Session;
use edgestack_abi::flow::FAMILY_IPV6;
use edgestack_abi::session::{SESSION_FLOATING_IP, SESSION_INBOUND, SESSION_PORT_FORWARD, SESSION_SNAT};
use hashbrown::{HashMap, HashSet};

use crate::tables::flow_table::FlowTable;

/// Packets and bytes, seen from inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) packets_out: u64,
    pub(super) packets_in: u64,
    pub(super) bytes_out: u64,
    pub(super) bytes_in: u64,
}

/// An external address in one of its roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ExternalAddress {
    /// Sources leave with it, and ports of it stand for workloads'; else it is a floating IP.
    pub(super) is_snat: bool,
    /// Network byte order.
    pub(super) address: u32,
}

/// The totals of sessions that have ended, by the address that translated them.
#[derive(Debug, Default)]
pub(super) struct EndedTraffic(HashMap<ExternalAddress, Traffic>);

impl Traffic {
    pub(super) fn add(&mut self, other: Self) {
        self.packets_out += other.packets_out;
        self.packets_in += other.packets_in;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
    }

    /// Without what is a part of it.
    pub(super) fn without(self, part: Self) -> Self {
        Self {
            packets_out: self.packets_out.saturating_sub(part.packets_out),
            packets_in: self.packets_in.saturating_sub(part.packets_in),
            bytes_out: self.bytes_out.saturating_sub(part.bytes_out),
            bytes_in: self.bytes_in.saturating_sub(part.bytes_in),
        }
    }

    pub(super) fn reversed(self) -> Self {
        Self {
            packets_out: self.packets_in,
            packets_in: self.packets_out,
            bytes_out: self.bytes_in,
            bytes_in: self.bytes_out,
        }
    }
}

impl EndedTraffic {
    /// Adds what a session that ends has carried.
    pub(super) fn add(&mut self, address: ExternalAddress, traffic: Traffic) {
        self.0.entry(address).or_default().add(traffic);
    }

    /// The total of an address.
    pub(super) fn get(&self, address: ExternalAddress) -> Traffic {
        self.0.get(&address).copied().unwrap_or_default()
    }

    /// Forgets addresses that are not configured any more.
    pub(super) fn retain(&mut self, configured: &HashSet<ExternalAddress>) {
        self.0.retain(|address, _| configured.contains(address));
    }
}

/// What a session has carried, for each of the addresses that translate it: that which its first packets leave with, and
/// that which they came to.
pub(super) fn of_session(
    flows: &FlowTable,
    index: u32,
    session: &Session,
) -> impl Iterator<Item = (ExternalAddress, Traffic)> {
    let (original, reply, kind) = (&session.original, &session.reply, session.kind);
    let is_ipv4 = original.family != FAMILY_IPV6;
    let outside = match kind {
        _ if kind & SESSION_SNAT != 0 => Some(true),
        _ if kind & SESSION_FLOATING_IP != 0 && reply.destination != original.source => Some(false),
        _ => None,
    };
    let inside = match kind {
        _ if kind & (SESSION_INBOUND | SESSION_PORT_FORWARD) != 0 => Some(true),
        _ if kind & SESSION_FLOATING_IP != 0 && original.destination != reply.source => Some(false),
        _ => None,
    };
    let outside = outside.map(|is_snat| ExternalAddress { is_snat, address: reply.destination });
    let inside = inside.map(|is_snat| ExternalAddress { is_snat, address: original.destination });
    let is_counted = is_ipv4 && (outside.is_some() || inside.is_some());
    let traffic = if is_counted { of_flows(flows, index, session) } else { Traffic::default() };
    // The first direction of a connection to the external address comes from outside.
    let both = [(outside, traffic), (inside, traffic.reversed())];
    both.into_iter().filter_map(move |(address, traffic)| Some((address.filter(|_| is_counted)?, traffic)))
}

/// What a session has carried, the first packet's direction as the one to the outside.
pub(super) fn of_flows(flows: &FlowTable, index: u32, session: &Session) -> Traffic {
    let counted = |entry| {
        let entry = flows.entry(entry);
        // Another's, where a crash left half a session.
        if entry.session == index { (entry.packets(), entry.bytes) } else { (0, 0) }
    };
    let (first, answers) = (counted(session.original_entry), counted(session.reply_entry));
    Traffic { packets_out: first.0, bytes_out: first.1, packets_in: answers.0, bytes_in: answers.1 }
}
