//! Source ports (and ICMP identifiers) of external addresses: who has which, and which is free.
//!
//! With endpoint-dependent mapping a port may be used once towards each remote endpoint, so that one address carries
//! 64,512 connections to *each* destination (RFC 7857, section 3 permits the overlap). With endpoint-independent mapping a
//! port stands for one address and port inside ([`mapping_table`](super::mapping_table)). What is free is known exactly:
//! a port is refused only when all are taken, after no random tries.
//!
//! A caller looks for a port with [`PortAllocator::find`] and takes it with [`PortAllocator::take`] when the
//! connection is made, so that a refused or merely traced packet costs none.

use std::collections::BTreeMap;

use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};

use super::mapping_table::{External, Internal, Mapping, MappingTable};
use super::port_set::{PortSet, Wanted, first_free};
use crate::wire::has_selectors;

/// Most released ports that rest; above it they are free at once.
const RESTING_MAX: usize = 1 << 20;
/// Ports below this are a class of their own (RFC 4787, REQ-3).
const CLASS_BOUNDARY: u16 = 1024;

/// Within what a port is unique: all in network byte order, as in the reply's flow key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// External address that the ports belong to.
    pub external: u32,
    /// Remote address; 0: whoever, for an endpoint-independent mapping.
    pub remote: u32,
    /// Remote port; 0 for ICMP.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// How the ports of a pool are given out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PortPolicy {
    /// The external addresses, network byte order.
    pub addresses: Vec<u32>,
    /// Mapping is endpoint-independent.
    pub is_independent: bool,
    /// A workload keeps to its address.
    pub is_paired: bool,
    /// Smallest port.
    pub min: u16,
    /// Largest port.
    pub max: u16,
    /// Sources below 1024 get ports below 1024, and no others.
    pub preserves_class: bool,
    /// Even ports stay even and odd ones odd while there are any.
    pub preserves_parity: bool,
    /// Ports are chosen at random rather than kept.
    pub is_random: bool,
    /// Most ports of one workload; 0 is no limit.
    pub ports_per_workload: u32,
    /// Ports in a block; 0: no blocks.
    pub block_size: u16,
    /// Most blocks of a workload.
    pub blocks_per_workload: u16,
    /// How long a released port rests, in ticks.
    pub hold_ticks: u32,
    /// From so many ports in use on, of one address and towards one endpoint, the pool is nearly exhausted.
    pub high_water_ports: u32,
    /// Ports that are forwarded, by address and protocol: never given out.
    pub reserved: HashMap<(u32, u8), PortSet>,
}

/// A connection that wants a port.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Who opens it.
    pub internal: Internal,
    /// Remote address, network byte order.
    pub remote: u32,
    /// Remote port, network byte order.
    pub remote_port: u16,
    /// A number that the port is looked for from.
    pub random: u32,
}

/// A port that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Within what the port is unique.
    pub endpoint: Endpoint,
    /// The port, host byte order.
    pub port: u16,
    /// Who has it.
    pub internal: Internal,
    /// Remote address, network byte order.
    pub remote: u32,
    /// Ports in the block that it comes from; 0: none.
    pub block_size: u16,
    /// So many ports in use are nearly all; 0: not looked at.
    pub high_water_ports: u32,
}

/// What one workload has.
#[derive(Clone, Debug, Default)]
struct Holding {
    /// The address that it is paired with.
    address: u32,
    ports: u32,
    blocks: u16,
}

/// Ports that belong to one workload.
#[derive(Clone, Copy, Debug)]
struct Block {
    last: u16,
    owner: u16,
    ports: u32,
}

/// The ports in use.
#[derive(Debug, Default)]
pub struct PortAllocator {
    used: HashMap<Endpoint, PortSet>,
    mappings: MappingTable,
    holdings: HashMap<u16, Holding>,
    /// By address and first port.
    blocks: BTreeMap<(u32, u16), Block>,
    /// Released ports by the tick in which they are free.
    resting: BTreeMap<u32, Vec<(Endpoint, u16, u16)>>,
    resting_count: usize,
    used_count: usize,
    high_waters: u64,
}

impl Endpoint {
    /// Whether its ports stand for one inside endpoint each, whoever the remote.
    pub fn is_independent(&self) -> bool {
        self.remote == 0
    }

    fn independent(&self) -> Self {
        Self { remote: 0, remote_port: 0, ..*self }
    }

    fn external(&self, port: u16) -> External {
        External { address: self.external, protocol: self.protocol, port }
    }
}

impl PortPolicy {
    /// Whether a port is forwarded.
    pub fn is_reserved(&self, address: u32, protocol: u8, port: u16) -> bool {
        self.reserved.get(&(address, protocol)).is_some_and(|ports| ports.contains(port))
    }

    /// The smallest and largest port for a source port.
    fn range(&self, own: u16) -> (u16, u16) {
        match self.preserves_class {
            true if own < CLASS_BOUNDARY => (1, CLASS_BOUNDARY - 1),
            true => (self.min.max(CLASS_BOUNDARY), self.max),
            false => (self.min, self.max),
        }
    }

    /// The addresses in the order in which a workload asks them.
    fn addresses_from(&self, paired: Option<u32>, in_port: u16) -> impl Iterator<Item = u32> + '_ {
        let count = self.addresses.len().max(1);
        let known = paired.and_then(|paired| self.addresses.iter().position(|address| *address == paired));
        // Neighbours in number are spread evenly.
        let first = known.unwrap_or(usize::from(in_port) % count);
        let tried = if self.is_paired { 1 } else { count };
        (0..tried).filter_map(move |step| self.addresses.get((first + step) % count).copied())
    }
}

impl PortAllocator {
    /// Ports in use towards all endpoints together, those that rest included.
    pub fn used(&self) -> usize {
        self.used_count
    }

    /// Times that the used ports of an address towards an endpoint have come to a pool's high-water mark.
    pub fn high_waters(&self) -> u64 {
        self.high_waters
    }

    /// The used ports of every external address towards the remote endpoint that it has most towards.
    pub fn most_used(&self) -> HashMap<u32, usize> {
        let mut most = HashMap::new();
        for (endpoint, ports) in &self.used {
            let entry = most.entry(endpoint.external).or_insert(0);
            *entry = ports.len().max(*entry);
        }
        most
    }

    /// The endpoint-independent mappings.
    pub fn mappings(&self) -> &MappingTable {
        &self.mappings
    }

    /// The same, to be told what was heard of from inside.
    pub fn mappings_mut(&mut self) -> &mut MappingTable {
        &mut self.mappings
    }

    /// A port for a connection: the one of its mapping, else its own where it is free, else the first free one from a place
    /// that `random` chooses on. None when all that the workload may have are in use.
    pub fn find(&self, policy: &PortPolicy, request: &Request) -> Option<Allocation> {
        let Internal { in_port, protocol, .. } = request.internal;
        // Without ports one inside host has an address towards a remote one.
        let is_independent = policy.is_independent && has_selectors(protocol);
        let allocation = |external: u32, port: u16| {
            let endpoint =
                Endpoint { external, remote: request.remote, remote_port: request.remote_port, protocol };
            Allocation {
                endpoint: if is_independent { endpoint.independent() } else { endpoint },
                port,
                internal: request.internal,
                remote: request.remote,
                block_size: policy.block_size,
                high_water_ports: policy.high_water_ports,
            }
        };
        if is_independent
            && let Some(External { address, port, .. }) = self.mappings.of(&request.internal)
            && policy.addresses.contains(&address)
            && !policy.is_reserved(address, protocol, port)
        {
            return Some(allocation(address, port));
        }
        let holding = self.holdings.get(&in_port);
        let has_quota = policy.ports_per_workload == 0
            || holding.is_none_or(|holding| holding.ports < policy.ports_per_workload);
        if !has_quota {
            return None;
        }
        policy
            .addresses_from(holding.map(|holding| holding.address), in_port)
            .map(|address| allocation(address, 0))
            .find_map(|candidate| {
                let port = self.free_port(policy, request, &candidate.endpoint)?;
                Some(Allocation { port, ..candidate })
            })
    }

    /// A port of an address that is no pool's, towards one remote endpoint.
    pub fn find_towards(&self, endpoint: &Endpoint, internal: Internal, random: u32) -> Option<Allocation> {
        let Endpoint { remote, remote_port, .. } = *endpoint;
        let policy = PortPolicy { min: CLASS_BOUNDARY, max: u16::MAX, ..PortPolicy::default() };
        let request = Request { internal, remote, remote_port, random };
        let port = self.free_port(&policy, &request, endpoint)?;
        Some(Allocation { endpoint: *endpoint, port, internal, remote, block_size: 0, high_water_ports: 0 })
    }

    /// A free port of one address.
    fn free_port(&self, policy: &PortPolicy, request: &Request, endpoint: &Endpoint) -> Option<u16> {
        let empty = PortSet::default();
        let used = |endpoint: &Endpoint| self.used.get(endpoint).unwrap_or(&empty);
        if !has_selectors(endpoint.protocol) {
            return (!used(endpoint).contains(0)).then_some(0);
        }
        let key = (endpoint.external, endpoint.protocol);
        let sets =
            [used(endpoint), used(&endpoint.independent()), policy.reserved.get(&key).unwrap_or(&empty)];
        let Internal { in_port, port: own, .. } = request.internal;
        let (min, max) = policy.range(own);
        let is_free = |port: u16| (min..=max).contains(&port) && !sets.iter().any(|set| set.contains(port));
        let start = min.saturating_add((request.random % (u32::from(max - min) + 1)) as u16);
        let parities: &[Option<u16>] = if policy.preserves_parity { &[Some(own % 2), None] } else { &[None] };
        if policy.block_size == 0 {
            if !policy.is_random && is_free(own) {
                return Some(own);
            }
            return parities
                .iter()
                .find_map(|parity| first_free(&sets, &Wanted { min, max, parity: *parity, start }));
        }
        let within = |(first, last): (u16, u16)| (first.max(min), last.min(max));
        let blocks = || self.blocks_of(endpoint.external, in_port).map(within);
        if !policy.is_random && is_free(own) && blocks().any(|(first, last)| (first..=last).contains(&own)) {
            return Some(own);
        }
        let in_blocks = |parity: Option<u16>| {
            blocks()
                .filter(|(min, max)| min <= max)
                .find_map(|(min, max)| first_free(&sets, &Wanted { min, max, parity, start }))
        };
        parities.iter().find_map(|parity| in_blocks(*parity)).or_else(|| {
            let has = self.holdings.get(&in_port).map_or(0, |holding| holding.blocks);
            let (min, max) = if has < policy.blocks_per_workload {
                self.free_block(policy, endpoint.external, (min, max), start)?
            } else {
                return None;
            };
            parities.iter().find_map(|parity| first_free(&sets, &Wanted { min, max, parity: *parity, start }))
        })
    }

    /// The first and last ports of the blocks that a workload has of an address.
    fn blocks_of(&self, address: u32, in_port: u16) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.blocks
            .range((address, 0)..=(address, u16::MAX))
            .filter(move |(_, block)| block.owner == in_port)
            .map(|((_, first), block)| (*first, block.last))
    }

    /// A block that nobody has, whole within a range.
    fn free_block(
        &self,
        policy: &PortPolicy,
        address: u32,
        (min, max): (u16, u16),
        start: u16,
    ) -> Option<(u16, u16)> {
        let size = u32::from(policy.block_size);
        let (first, end) = (u32::from(min).div_ceil(size), (u32::from(max) + 1) / size);
        let count = end.checked_sub(first).filter(|count| *count > 0)?;
        let offset = u32::from(start) % count;
        (0..count)
            .map(|step| (first + (offset + step) % count) * size)
            .map(|first| (first as u16, (first + size - 1) as u16))
            .find(|(first, last)| {
                let mut overlapping = self.blocks.range((address, 0)..=(address, *last)).rev().take(1);
                overlapping.all(|((_, _), block)| block.last < *first)
            })
    }

    /// Marks a port as used, by a connection that was heard of from inside at `heard_ticks`. False when another has it.
    pub fn take(&mut self, allocation: &Allocation, heard_ticks: Option<u32>) -> bool {
        let Allocation { endpoint, port, internal, remote, .. } = *allocation;
        if endpoint.is_independent()
            && self.mappings.join(endpoint.external(port), &internal, remote, heard_ticks)
        {
            return true;
        }
        let used = self.used.entry(endpoint).or_default();
        if !used.insert(port) {
            return false;
        }
        self.used_count += 1;
        self.high_waters += u64::from(used.len() as u32 == allocation.high_water_ports);
        if endpoint.is_independent() {
            self.mappings.insert(endpoint.external(port), Mapping::new(internal, heard_ticks), remote);
        }
        let holding = self.holdings.entry(internal.in_port).or_default();
        holding.address = endpoint.external;
        holding.ports += 1;
        if allocation.block_size != 0 {
            self.take_of_block(endpoint.external, port, internal.in_port, allocation.block_size);
        }
        true
    }

    fn take_of_block(&mut self, address: u32, port: u16, in_port: u16, size: u16) {
        if let Some(block) = self.block_mut(address, port) {
            block.ports += 1;
            return;
        }
        let first = port / size * size;
        let last = first.saturating_add(size - 1);
        self.blocks.insert((address, first), Block { last, owner: in_port, ports: 1 });
        self.holdings.entry(in_port).or_default().blocks += 1;
    }

    fn block_mut(&mut self, address: u32, port: u16) -> Option<&mut Block> {
        let (_, block) = self.blocks.range_mut((address, 0)..=(address, port)).next_back()?;
        (block.last >= port).then_some(block)
    }

    /// Gives ports that are in use to their blocks, after a restart or when a pool is given blocks: the allocations are
    /// all that there are, and `size_of` is the size of an address's blocks.
    pub fn recover_blocks(
        &mut self,
        allocations: impl Iterator<Item = Allocation>,
        size_of: impl Fn(u32) -> u16,
    ) {
        self.blocks.clear();
        for holding in self.holdings.values_mut() {
            holding.blocks = 0;
        }
        // Connections of one independent mapping have one port together.
        let resting: Vec<_> = self.resting.values().flatten().copied().collect();
        let held = allocations.map(|held| (held.endpoint, held.port, held.internal.in_port)).chain(resting);
        let mut seen = HashSet::new();
        for (endpoint, port, in_port) in held {
            let size = size_of(endpoint.external);
            if size != 0 && seen.insert((endpoint, port)) {
                self.take_of_block(endpoint.external, port, in_port, size);
            }
        }
    }

    /// A connection that had a port has ended: the port is free when it was the last and the port has rested.
    pub fn release(&mut self, allocation: &Allocation, hold_ticks: u32, now_ticks: u32) {
        let Allocation { endpoint, port, internal, remote, .. } = *allocation;
        let due = now_ticks.wrapping_add(hold_ticks);
        let rests = hold_ticks > 0 && self.resting_count < RESTING_MAX;
        if endpoint.is_independent()
            && !self.mappings.leave(endpoint.external(port), remote, rests.then_some(due))
        {
            return;
        }
        if rests {
            self.resting.entry(due).or_default().push((endpoint, port, internal.in_port));
            self.resting_count += 1;
        } else {
            self.free(&endpoint, port, internal.in_port);
        }
    }

    /// Frees the ports that have rested.
    pub fn expire(&mut self, now_ticks: u32) {
        while let Some(entry) = self.resting.first_entry()
            && *entry.key() <= now_ticks
        {
            let (due, rested) = entry.remove_entry();
            self.resting_count -= rested.len();
            for (endpoint, port, in_port) in rested {
                // A mapping that was used again meanwhile goes on.
                if !endpoint.is_independent() || self.mappings.has_rested(endpoint.external(port), due) {
                    self.free(&endpoint, port, in_port);
                }
            }
        }
    }

    fn free(&mut self, endpoint: &Endpoint, port: u16, in_port: u16) {
        let Entry::Occupied(mut used) = self.used.entry(*endpoint) else { return };
        if !used.get_mut().remove(port) {
            return;
        }
        if used.get().is_empty() {
            used.remove();
        }
        self.used_count -= 1;
        if endpoint.is_independent() {
            self.mappings.remove(endpoint.external(port));
        }
        self.free_of_block(endpoint.external, port);
        if let Some(holding) = self.holdings.get_mut(&in_port) {
            holding.ports = holding.ports.saturating_sub(1);
            if holding.ports == 0 {
                self.holdings.remove(&in_port);
            }
        }
    }

    fn free_of_block(&mut self, address: u32, port: u16) {
        let before = self.blocks.range_mut((address, 0)..=(address, port)).next_back();
        let Some((key, block)) = before.filter(|(_, block)| block.last >= port) else { return };
        block.ports = block.ports.saturating_sub(1);
        if block.ports > 0 {
            return;
        }
        let (key, owner) = (*key, block.owner);
        self.blocks.remove(&key);
        if let Some(holding) = self.holdings.get_mut(&owner) {
            holding.blocks = holding.blocks.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Allocation, Internal, PortAllocator, PortPolicy, Request};
    use crate::tables::port_set::PortSet;

    const PORTS: usize = 65_536 - 1024;

    fn policy() -> PortPolicy {
        PortPolicy { addresses: vec![1], is_paired: true, min: 1024, max: u16::MAX, ..PortPolicy::default() }
    }

    fn request(in_port: u16, port: u16, remote: u32, random: u32) -> Request {
        let internal = Internal { in_port, address: 10, port, protocol: 6 };
        Request { internal, remote, remote_port: 3, random }
    }

    fn take(allocator: &mut PortAllocator, policy: &PortPolicy, request: &Request) -> Option<Allocation> {
        let found = allocator.find(policy, request)?;
        assert!(allocator.take(&found, Some(0)), "{found:?} was not free");
        Some(found)
    }

    #[test]
    fn the_preferred_port_is_kept_while_it_is_free() {
        let (mut allocator, policy) = (PortAllocator::default(), policy());
        let first = take(&mut allocator, &policy, &request(1, 5000, 2, 0)).unwrap();
        assert_eq!(first.port, 5000);
        assert!(!allocator.take(&first, None), "a port is taken once");
        assert_eq!(allocator.find(&policy, &request(2, 5000, 2, 7)).unwrap().port, 1031);
        assert_eq!(
            allocator.find(&policy, &request(2, 5000, 9, 0)).unwrap().port,
            5000,
            "another destination"
        );
        assert_ne!(allocator.find(&policy, &request(2, 80, 2, 0)).unwrap().port, 80, "a well-known port");
        allocator.release(&first, 0, 0);
        assert_eq!(allocator.used(), 0);
    }

    #[test]
    fn every_port_is_given_out_before_one_is_refused() {
        let (mut allocator, policy) = (PortAllocator::default(), policy());
        for number in 0..PORTS {
            take(&mut allocator, &policy, &request(1, 2000, 2, number as u32 * 31)).expect("not yet full");
        }
        assert_eq!(allocator.find(&policy, &request(1, 2000, 2, 0)), None);
        let other = take(&mut allocator, &policy, &request(1, 40_000, 7, 0)).unwrap();
        allocator.release(
            &Allocation { endpoint: super::Endpoint { remote: 2, ..other.endpoint }, ..other },
            0,
            0,
        );
        assert_eq!(allocator.find(&policy, &request(1, 2000, 2, 12_345)).unwrap().port, 40_000);
    }

    #[test]
    fn an_independent_mapping_serves_every_destination_and_rests() {
        let (mut allocator, mut policy) = (PortAllocator::default(), policy());
        policy.is_independent = true;
        let one = take(&mut allocator, &policy, &request(1, 5000, 2, 0)).unwrap();
        let two = take(&mut allocator, &policy, &request(1, 5000, 9, 0)).unwrap();
        assert_eq!((one.port, two.port, allocator.used()), (5000, 5000, 1));
        assert_ne!(take(&mut allocator, &policy, &request(2, 5000, 9, 0)).unwrap().port, 5000);
        let external = one.endpoint.external(5000);
        assert!(allocator.mappings().knows(external, 9));
        allocator.release(&one, 1200, 10);
        assert!(!allocator.mappings().knows(external, 2));
        allocator.release(&two, 1200, 20);
        assert!(allocator.mappings().at(external).is_none(), "it stands for nobody");
        assert_ne!(allocator.find(&policy, &request(3, 5000, 2, 0)).unwrap().port, 5000);
        assert_eq!(allocator.find(&policy, &request(1, 5000, 2, 0)).unwrap().port, 5000, "its own again");
        allocator.expire(1219);
        assert_ne!(allocator.find(&policy, &request(3, 5000, 2, 0)).unwrap().port, 5000);
        allocator.expire(1220);
        assert_eq!(allocator.find(&policy, &request(3, 5000, 2, 0)).unwrap().port, 5000);
    }

    #[test]
    fn reserved_ports_classes_parity_and_quota_hold() {
        let (mut allocator, mut policy) = (PortAllocator::default(), policy());
        let mut reserved = PortSet::default();
        assert!(reserved.insert(5000));
        policy.reserved.insert((1, 6), reserved);
        policy.preserves_class = true;
        policy.preserves_parity = true;
        policy.ports_per_workload = 2;
        for random in 0..500 {
            let even = allocator.find(&policy, &request(1, 5000, 2, random * 131)).unwrap().port;
            assert!(even != 5000 && even % 2 == 0 && even >= 1024);
        }
        let _ = take(&mut allocator, &policy, &request(1, 53, 2, 0)).unwrap();
        let low = take(&mut allocator, &policy, &request(2, 53, 2, 0)).unwrap();
        assert!(low.port < 1024 && low.port % 2 == 1 && low.port != 53);
        let _ = take(&mut allocator, &policy, &request(1, 700, 2, 0)).unwrap();
        assert_eq!(allocator.find(&policy, &request(1, 701, 2, 0)), None, "two ports are its quota");
    }

    #[test]
    fn blocks_belong_to_one_workload_while_it_uses_them() {
        let (mut allocator, mut policy) = (PortAllocator::default(), policy());
        policy.block_size = 64;
        policy.blocks_per_workload = 1;
        let first = take(&mut allocator, &policy, &request(1, 5000, 2, 99)).unwrap();
        let block = first.port / 64;
        for number in 1..64 {
            let next = take(&mut allocator, &policy, &request(1, 5000, 2, number * 977)).unwrap();
            assert_eq!(next.port / 64, block);
        }
        assert_eq!(allocator.find(&policy, &request(1, 5000, 2, 0)), None, "its block is full");
        let other = take(&mut allocator, &policy, &request(2, 5000, 2, 99)).unwrap();
        assert_ne!(other.port / 64, block);
        allocator.release(&other, 0, 0);
        assert!(take(&mut allocator, &policy, &request(3, 5000, 2, 99)).unwrap().port / 64 != block);
    }
}
