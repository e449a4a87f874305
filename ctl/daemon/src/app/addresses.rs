//! Addresses of networks: who has which, how many are given, and which is the next to be given out.
//!
//! Each address that is given is a claim of the store, so that no two objects have one. The keys end in the address
//! as hexadecimal digits, so that a listing comes in the order of the addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

use edgestack_model::{NetworkSpec, Spec as _};
use serde::Serialize;

use super::error::AppError;
use super::record::{Entry, parse_owner, project_of_owner};
use crate::store::{Store, StoreError, Watch};

/// Prefix of the claims on IPv4 addresses.
const IPV4_CLAIMS: &str = "claims/addresses/";
/// Prefix of the notes on the addresses of routers' peers.
const PEER_CLAIMS: &str = "claims/peers/";
/// Prefix of the claims on IPv6 addresses.
const IPV6_CLAIMS: &str = "claims/ipv6-addresses/";

/// An address of a network that is not free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The address.
    pub address: IpAddr,
    /// Plural of the kind of who has it.
    pub plural: String,
    /// Id of who has it.
    pub id: String,
    /// Name of who has it.
    pub name: String,
    /// Project of who has it; empty where it is the site's.
    pub project: String,
    /// It is the address of a machine outside: a router's peer.
    pub peer: bool,
}

impl Allocation {
    /// What the address is for, in one word: `gateway`, `peer_router`, or the kind of who has it.
    pub fn purpose(&self) -> &str {
        match self.plural.as_str() {
            _ if self.peer => "peer_router",
            plural if plural == NetworkSpec::KIND.plural() => "gateway",
            plural => plural.trim_end_matches('s'),
        }
    }
}

/// The addresses of a network that are not free, in their order, IPv4 first.
pub fn allocations(store: &dyn Store, network_id: &str) -> Result<Vec<Allocation>, StoreError> {
    let prefixes = [
        (addresses_prefix(network_id), false),
        (peers_prefix(network_id), true),
        (ipv6_addresses_prefix(network_id), false),
    ];
    let mut allocations = Vec::new();
    for (prefix, peer) in prefixes {
        for entry in store.list(&prefix)?.entries {
            let address = entry.key.strip_prefix(&prefix).and_then(parse_address);
            if let (Some(address), Some((plural, id, name))) = (address, parse_owner(&entry.value)) {
                let (plural, id, name) = (plural.to_owned(), id.to_owned(), name.to_owned());
                let project = project_of_owner(&entry.value).to_owned();
                allocations.push(Allocation { address, plural, id, name, project, peer });
            }
        }
    }
    allocations.sort_by_key(|allocation| allocation.address);
    Ok(allocations)
}

/// The lowest address of the network's pool that nobody has and that is not reserved.
pub fn lowest_free(
    store: &dyn Store,
    network: &Entry<NetworkSpec>,
    ipv6: bool,
) -> Result<Option<IpAddr>, AppError> {
    Ok(free(store, network, ipv6)?.next())
}

/// The addresses of the network's pool that nobody has and that are not reserved, in their order.
pub fn free(
    store: &dyn Store,
    network: &Entry<NetworkSpec>,
    ipv6: bool,
) -> Result<impl Iterator<Item = IpAddr> + use<>, AppError> {
    let Network { start, end, taken, reserved } = Network::read(store, network, ipv6)?;
    let mut candidate = start;
    let next = std::iter::from_fn(move || {
        while candidate <= end {
            let address = candidate;
            if let Some((_, last)) = reserved.iter().find(|(first, last)| (*first..=*last).contains(&address))
            {
                candidate = last.saturating_add(1);
                continue;
            }
            candidate = candidate.saturating_add(1);
            if !taken.contains(&address) {
                return Some(from_bits(address, ipv6));
            }
        }
        None
    });
    Ok(next)
}

/// How much of a network's pool of IPv4 addresses is given; what is reserved is no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Addresses that somebody has.
    pub used: u64,
    /// All addresses.
    pub total: u64,
}

/// How many IPv4 addresses of the network's pool are free.
pub fn free_count(store: &dyn Store, network: &Entry<NetworkSpec>) -> Result<u64, AppError> {
    let Usage { used, total } = Network::read(store, network, false)?.usage();
    Ok(total - used)
}

/// The keys of all claims on IPv4 addresses: read from the store once, from then on by its log, as a list of all networks asks
/// for each of them.
#[derive(Debug, Default)]
pub struct Claims(Mutex<Option<Followed>>);

#[derive(Debug)]
struct Followed {
    keys: BTreeSet<String>,
    /// Hands out what `keys` does not have yet.
    changes: Watch,
}

impl Claims {
    /// How much of the pools of some networks is given, in their order.
    pub fn usages<'a>(
        &self,
        store: &dyn Store,
        networks: impl Iterator<Item = (&'a str, &'a NetworkSpec)>,
    ) -> Result<Vec<Usage>, AppError> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What fails in the middle is not put back.
        let mut followed = match slot.take() {
            Some(followed) => followed,
            None => Followed::read(store)?,
        };
        if !followed.follow() {
            followed = Followed::read(store)?;
        }
        let usages = networks
            .map(|(id, spec)| {
                let prefixes = [addresses_prefix(id), peers_prefix(id)];
                let taken = prefixes.iter().flat_map(|prefix| followed.of_prefix(prefix));
                Network::new(spec, false, taken.collect()).usage()
            })
            .collect();
        *slot = Some(followed);
        Ok(usages)
    }
}

impl Followed {
    fn read(store: &dyn Store) -> Result<Self, AppError> {
        let mut keys = BTreeSet::new();
        let addresses = store.list(IPV4_CLAIMS)?;
        // What changes between the two listings is in the log, and is taken over from there once more.
        let changes = store.watch("claims/", addresses.revision);
        for entries in [addresses.entries, store.list(PEER_CLAIMS)?.entries] {
            keys.extend(entries.into_iter().map(|entry| entry.key));
        }
        Ok(Self { keys, changes })
    }

    /// Takes over what changed; false where the log does not say so any more.
    fn follow(&mut self) -> bool {
        let Ok(events) = self.changes.pending() else { return false };
        for event in events {
            if !event.key.starts_with(IPV4_CLAIMS) && !event.key.starts_with(PEER_CLAIMS) {
                continue;
            }
            match event.value {
                Some(_) => self.keys.insert(event.key),
                None => self.keys.remove(&event.key),
            };
        }
        true
    }

    fn of_prefix(&self, prefix: &str) -> impl Iterator<Item = u128> {
        let keys = self.keys.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        keys.map_while(move |key| key.strip_prefix(prefix)).filter_map(parse_address).map(to_bits)
    }
}

/// One family of a network's addresses as numbers.
struct Network {
    start: u128,
    end: u128,
    taken: BTreeSet<u128>,
    reserved: Vec<(u128, u128)>,
}

impl Network {
    fn read(store: &dyn Store, network: &Entry<NetworkSpec>, ipv6: bool) -> Result<Self, AppError> {
        let id = &network.record.id;
        let prefixes =
            if ipv6 { vec![ipv6_addresses_prefix(id)] } else { vec![addresses_prefix(id), peers_prefix(id)] };
        let mut taken = BTreeSet::new();
        for prefix in prefixes {
            let entries = store.list(&prefix)?.entries;
            let addresses =
                entries.iter().filter_map(|entry| parse_address(entry.key.strip_prefix(&prefix)?));
            taken.extend(addresses.map(to_bits));
        }
        Ok(Self::new(&network.record.spec, ipv6, taken))
    }

    fn new(spec: &NetworkSpec, ipv6: bool, taken: BTreeSet<u128>) -> Self {
        let pool = if ipv6 {
            spec.effective_ipv6_pool().map(|pool| (IpAddr::V6(pool.start), IpAddr::V6(pool.end)))
        } else {
            let pool = spec.effective_pool();
            Some((IpAddr::V4(pool.start), IpAddr::V4(pool.end)))
        };
        let reserved = spec.reservations.iter().filter(|range| range.start.is_ipv6() == ipv6);
        let reserved = reserved.map(|range| (to_bits(range.start), to_bits(range.end)));
        // Without an IPv6 subnet there is nothing to give: a range that ends before it starts.
        let (start, end) = pool.map_or((1, 0), |(start, end)| (to_bits(start), to_bits(end)));
        Self { start, end, taken, reserved: reserved.collect() }
    }

    fn usage(&self) -> Usage {
        let Self { start, end, taken, reserved } = self;
        let overlap = |first: u128, last: u128| {
            let (first, last) = (first.max(*start), last.min(*end));
            if first <= last { last - first + 1 } else { 0 }
        };
        let kept: u128 = reserved.iter().map(|(first, last)| overlap(*first, *last)).sum();
        let is_reserved =
            |address: &u128| reserved.iter().any(|(first, last)| (*first..=*last).contains(address));
        let used = taken.range(start..=end).filter(|address| !is_reserved(address)).count() as u64;
        Usage { used, total: (overlap(*start, *end) - kept) as u64 }
    }
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn from_bits(bits: u128, ipv6: bool) -> IpAddr {
    if ipv6 { Ipv6Addr::from_bits(bits).into() } else { Ipv4Addr::from_bits(bits as u32).into() }
}

/// The address at the start of what follows a prefix: 8 hexadecimal digits are IPv4, 32 are IPv6.
fn parse_address(rest: &str) -> Option<IpAddr> {
    let digits = rest.split('/').next()?;
    let bits = u128::from_str_radix(digits, 16).ok()?;
    Some(from_bits(bits, digits.len() > 8))
}

/// Key of the claim on an address of a network.
pub fn address_key(network_id: &str, address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{}{:08x}", addresses_prefix(network_id), address.to_bits()),
        IpAddr::V6(address) => format!("{}{:032x}", ipv6_addresses_prefix(network_id), address.to_bits()),
    }
}

/// The network's id and the address of a claim's key; none where the key is of something else.
pub fn parse_address_key(key: &str) -> Option<(&str, IpAddr)> {
    let rest = key.strip_prefix(IPV4_CLAIMS).or_else(|| key.strip_prefix(IPV6_CLAIMS))?;
    let (network_id, address) = rest.split_once('/')?;
    Some((network_id, parse_address(address)?))
}

fn addresses_prefix(network_id: &str) -> String {
    format!("{IPV4_CLAIMS}{network_id}/")
}

fn ipv6_addresses_prefix(network_id: &str) -> String {
    format!("{IPV6_CLAIMS}{network_id}/")
}

/// Key under which a router notes that an address of a network is its peer's; several routers may have one peer.
pub fn peer_key(network_id: &str, address: Ipv4Addr, router_id: &str) -> String {
    format!("{}{:08x}/{router_id}", peers_prefix(network_id), address.to_bits())
}

fn peers_prefix(network_id: &str) -> String {
    format!("{PEER_CLAIMS}{network_id}/")
}
