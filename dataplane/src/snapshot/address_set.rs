//! A set of addresses: what the ranges of an address group come to. One search, however many they are.

use std::net::IpAddr;

use super::fingerprint;
use crate::address::Cidr;

/// Disjoint ranges of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AddressSet {
    ipv4: Vec<(u128, u128)>,
    ipv6: Vec<(u128, u128)>,
    /// Hash of the ranges.
    pub(super) fingerprint: u64,
}

impl AddressSet {
    /// The addresses in any of the ranges.
    pub(super) fn new(ranges: &[Cidr]) -> Self {
        let of_version = |is_ipv6| disjoint(ranges.iter().filter(|range| version(**range) == is_ipv6));
        let (ipv4, ipv6) = (of_version(false), of_version(true));
        let fingerprint = fingerprint::of(&(&ipv4, &ipv6));
        Self { ipv4, ipv6, fingerprint }
    }

    /// Whether an address of a version is in the set.
    pub(super) fn contains(&self, is_ipv6: bool, address: u128) -> bool {
        let ranges = if is_ipv6 { &self.ipv6 } else { &self.ipv4 };
        is_within(ranges, |first| first <= address, address)
    }
}

/// Whether an address is in one of the ranges, of which `is_before` says whether they begin at it or before.
fn is_within(ranges: &[(u128, u128)], mut is_before: impl FnMut(u128) -> bool, address: u128) -> bool {
    let after = ranges.partition_point(|(first, _)| is_before(*first));
    after.checked_sub(1).is_some_and(|place| address <= ranges[place].1)
}

/// First and last address of each range in order, those that touch as one.
fn disjoint<'a>(ranges: impl Iterator<Item = &'a Cidr>) -> Vec<(u128, u128)> {
    let mut all: Vec<(u128, u128)> = ranges.map(|range| bounds(*range)).collect();
    all.sort_unstable();
    let mut apart: Vec<(u128, u128)> = Vec::with_capacity(all.len());
    for (first, last) in all {
        match apart.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => apart.push((first, last)),
        }
    }
    apart.shrink_to_fit();
    apart
}

/// An address as a number, which means nothing without its version.
pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Whether a range is of IPv6.
pub(super) fn version(range: Cidr) -> bool {
    range.is_ipv6()
}

/// First and last address of a range.
pub(super) fn bounds(range: Cidr) -> (u128, u128) {
    let length = if version(range) { 128 } else { 32 };
    let first = number(range.address());
    let host_bits = length - u32::from(range.prefix());
    (first, first | 1_u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{AddressSet, is_within, number};
    use crate::address::Cidr;

    #[test]
    fn a_set_holds_its_ranges_and_nothing_else() {
        let set = ["10.0.1.0/24", "10.0.0.0/24", "10.0.0.128/25", "192.0.2.7/32", "255.255.255.255/32"];
        let set = AddressSet::new(&set.map(|range| range.parse().unwrap()));
        assert_eq!(set.ipv4.len(), 3, "what touches is one range");
        let contains = |text: &str| {
            let address: IpAddr = text.parse().unwrap();
            set.contains(address.is_ipv6(), number(address))
        };
        for inside in ["10.0.0.0", "10.0.0.200", "10.0.1.255", "192.0.2.7", "255.255.255.255"] {
            assert!(contains(inside), "{inside}");
        }
        for outside in ["9.255.255.255", "10.0.2.0", "192.0.2.6", "192.0.2.8", "255.255.255.254", "::a00:1"] {
            assert!(!contains(outside), "{outside}");
        }
        assert!(!AddressSet::default().contains(false, 0));
    }

    /// Ranges that are looked at to find an address among so many that do not touch.
    fn work(members: u32) -> usize {
        let range = |number: u32| Cidr::containing(std::net::Ipv4Addr::from_bits(2 * number), 32);
        let set = AddressSet::new(&(0..members).map(range).collect::<Vec<_>>());
        assert_eq!(set.ipv4.len(), members as usize);
        let of_one = |address: u128| {
            let mut looks = 0;
            let is_before = |first| {
                looks += 1;
                first <= address
            };
            assert_eq!(is_within(&set.ipv4, is_before, address), set.contains(false, address));
            looks
        };
        (0..u128::from(2 * members)).map(of_one).max().unwrap()
    }

    #[test]
    fn ten_thousand_members_are_found_by_a_few_looks() {
        assert!(work(10_000) <= 15, "{} looks", work(10_000));
        assert!(work(10_000) <= work(10) + 10, "a thousand times the members, ten looks more");
    }
}
