//! Address translation as the packet path reads it: a router's pool, and the ports that are forwarded.

use std::net::{IpAddr, Ipv4Addr};

use hashbrown::HashMap;

use crate::config::NatFiltering;
use crate::tables::port_allocator::PortPolicy;
use crate::wire::network_address;

/// The addresses that a router's sources leave with.
#[derive(Debug, Default, PartialEq)]
pub struct Pool {
    /// Name for people; the router's, where it has no pool but its own address.
    pub name: String,
    /// The addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Who may send to a mapping from outside.
    pub filtering: NatFiltering,
    /// How ports are given out.
    pub policy: PortPolicy,
}

/// A range of external ports that stands for a workload's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Smallest external port.
    pub min: u16,
    /// Largest external port.
    pub max: u16,
    /// Number of the workload's port.
    pub port: u16,
    /// The workload's transport port for `min`.
    pub target: u16,
}

/// The forwarded ports of an external network, by address and protocol; the ranges do not overlap.
#[derive(Debug, Default, PartialEq)]
pub struct Forwards(HashMap<(Ipv4Addr, u8), Vec<Forward>>);

impl Pool {
    /// Whether an address is one of the pool's.
    pub fn has(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(address) if self.addresses.contains(&address))
    }

    /// Whether sources may leave with a port of an address: it is the pool's, and not forwarded.
    pub fn may_use(&self, address: IpAddr, protocol: u8, port: u16) -> bool {
        let IpAddr::V4(address) = address else { return false };
        self.addresses.contains(&address)
            && !self.policy.is_reserved(network_address(address), protocol, port)
    }
}

impl Forwards {
    /// What an external port stands for: the workload's port, and the transport port there.
    pub fn find(&self, address: IpAddr, protocol: u8, port: u16) -> Option<(u16, u16)> {
        let IpAddr::V4(address) = address else { return None };
        let forwards = self.0.get(&(address, protocol))?;
        let position = forwards.partition_point(|forward| forward.max < port);
        let forward = forwards.get(position).filter(|forward| forward.min <= port)?;
        Some((forward.port, forward.target + (port - forward.min)))
    }

    /// Adds a range; false, and nothing is changed, when it overlaps another.
    pub(super) fn insert(&mut self, address: Ipv4Addr, protocol: u8, forward: Forward) -> bool {
        let forwards = self.0.entry((address, protocol)).or_default();
        let position = forwards.partition_point(|other| other.max < forward.min);
        if forwards.get(position).is_some_and(|other| other.min <= forward.max) {
            return false;
        }
        forwards.insert(position, forward);
        true
    }
}
