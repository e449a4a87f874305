//! The routes of a router: the longest prefix that holds an address decides.
//!
//! Connected networks, static routes and the default route are one table. Only the first packet of a connection is looked
//! up here, by one probe for each length of prefix that there is.

use std::fmt;
use std::net::IpAddr;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::Index;
use crate::address::Cidr;

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// To the workloads of a tenant network of the router.
    Network(Index),
    /// To the hosts of an external network that the router has a leg in.
    Outside(Index),
    /// By a workload of a tenant network of the router.
    ByWorkload {
        /// The network.
        network: Index,
        /// The workload's address there.
        address: IpAddr,
    },
    /// By a host of an external network that the router has a leg in.
    ByNeighbour {
        /// The network.
        network: Index,
        /// The host's address there.
        address: IpAddr,
    },
    /// Nowhere.
    BlackHole {
        /// The sender is told.
        is_told: bool,
    },
}

/// A route that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is for.
    pub destination: Cidr,
    /// Where it leads.
    pub hop: Hop,
}

/// The routes of a router, of both versions of IP.
#[derive(Debug, Default, PartialEq)]
pub struct RouteTable {
    routes: HashMap<Cidr, Hop>,
    /// Lengths of prefixes of IPv4, and of IPv6, the longest first.
    lengths: [Vec<u8>; 2],
}

impl RouteTable {
    /// Adds a route; false, and nothing is changed, where there is one to this destination.
    pub(super) fn insert(&mut self, destination: Cidr, hop: Hop) -> bool {
        let Entry::Vacant(entry) = self.routes.entry(destination) else { return false };
        entry.insert(hop);
        let lengths = &mut self.lengths[usize::from(destination.is_ipv6())];
        let position = lengths.partition_point(|length| *length > destination.prefix());
        if lengths.get(position) != Some(&destination.prefix()) {
            lengths.insert(position, destination.prefix());
        }
        true
    }

    /// The route of the longest prefix that holds an address.
    pub fn find(&self, address: IpAddr) -> Option<Found> {
        self.lengths[usize::from(address.is_ipv6())].iter().find_map(|length| {
            let destination = Cidr::containing(address, *length);
            self.routes.get(&destination).map(|hop| Found { destination, hop: *hop })
        })
    }

    /// Whether an address is inside: that of a workload, or behind one. A default route says nothing of that.
    pub fn leads_inside(&self, address: IpAddr) -> bool {
        self.find(address).is_some_and(|found| match found.hop {
            Hop::Network(_) => true,
            Hop::ByWorkload { .. } => found.destination.prefix() > 0,
            Hop::Outside(_) | Hop::ByNeighbour { .. } | Hop::BlackHole { .. } => false,
        })
    }

    /// Every route, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Found> {
        self.routes.iter().map(|(destination, hop)| Found { destination: *destination, hop: *hop })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hop {
            Hop::Network(_) | Hop::Outside(_) => write!(f, "connected network {}", self.destination),
            Hop::ByWorkload { address, .. } | Hop::ByNeighbour { address, .. } => {
                write!(f, "route {} via {address}", self.destination)
            }
            Hop::BlackHole { .. } => write!(f, "route {} to nowhere", self.destination),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Hop, RouteTable};

    fn table(routes: &[(&str, Hop)]) -> RouteTable {
        let mut table = RouteTable::default();
        for (destination, hop) in routes {
            assert!(table.insert(destination.parse().unwrap(), *hop));
        }
        table
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_decides_in_whatever_order_they_came() {
        let routes = [
            ("10.0.0.0/8", Hop::Outside(1)),
            ("0.0.0.0/0", Hop::Outside(0)),
            ("10.1.2.3/32", Hop::Outside(4)),
            ("10.1.0.0/16", Hop::Outside(2)),
            ("10.1.2.0/24", Hop::Outside(3)),
            ("2001:db8::/32", Hop::Outside(5)),
        ];
        let reversed: Vec<_> = routes.iter().rev().copied().collect();
        for table in [table(&routes), table(&reversed)] {
            let hop = |text| table.find(address(text)).map(|found| found.hop);
            assert_eq!(hop("10.1.2.3"), Some(Hop::Outside(4)));
            assert_eq!(hop("10.1.2.4"), Some(Hop::Outside(3)));
            assert_eq!(hop("10.1.3.1"), Some(Hop::Outside(2)));
            assert_eq!(hop("10.9.0.1"), Some(Hop::Outside(1)));
            assert_eq!(hop("192.0.2.1"), Some(Hop::Outside(0)));
            assert_eq!(hop("2001:db8:ffff::1"), Some(Hop::Outside(5)));
            assert_eq!(hop("2001:db9::1"), None, "a route of IPv4 is none of IPv6");
        }
    }

    #[test]
    fn a_destination_has_one_route() {
        let mut table = table(&[("10.0.0.0/8", Hop::Network(0))]);
        assert!(!table.insert("10.0.0.0/8".parse().unwrap(), Hop::Network(1)));
        assert_eq!(table.find(address("10.0.0.1")).unwrap().hop, Hop::Network(0));
        assert_eq!(table.iter().count(), 1);
    }

    #[test]
    fn a_default_route_by_a_workload_makes_nobody_a_host_inside() {
        let by = Hop::ByWorkload { network: 0, address: address("10.0.0.9") };
        let table = table(&[("0.0.0.0/0", by), ("10.0.0.0/24", Hop::Network(0)), ("10.9.0.0/16", by)]);
        assert!(table.leads_inside(address("10.0.0.200")));
        assert!(table.leads_inside(address("10.9.1.1")));
        assert!(!table.leads_inside(address("192.0.2.1")));
    }
}
