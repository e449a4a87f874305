//! Who talks to whom: what a flow key is made of.
//!
//! Stages and sessions speak of [`Tuple`]s, which have both addresses in full, whatever their version; the flow table is
//! searched by [`FlowKey`]s, which do not. Nothing here is used for packets of established flows.

use std::net::{IpAddr, Ipv6Addr};

use edgestack_abi::flow::{FAMILY_IPV6, address_hash};
use edgestack_abi::{FlowKey, SessionAddresses};

use crate::wire::{host_address, network_address};

/// One direction of a connection as received: the 5-tuple and the port that it came in by.
///
/// For an ICMP echo request `source_port` is the identifier and `destination_port` is 0; for a reply it is the other
/// way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same version.
    pub destination: IpAddr,
    /// Transport source port or ICMP identifier, network byte order.
    pub source_port: u16,
    /// Transport destination port or ICMP identifier, network byte order.
    pub destination_port: u16,
    /// The port that the packet came in by.
    pub in_port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

impl Tuple {
    /// The key by which the table with this secret seed finds the flow.
    pub fn key(&self, seed: u64) -> FlowKey {
        let (source, destination, family) = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                (network_address(source), network_address(destination), 0)
            }
            (source, destination) => (hash_of(source, seed), hash_of(destination, seed), FAMILY_IPV6),
        };
        FlowKey {
            source,
            destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
            in_port: self.in_port,
            protocol: self.protocol,
            family,
        }
    }

    /// The addresses as an IPv6 packet has them; none of IPv4.
    pub fn addresses(&self) -> Option<[[u64; 2]; 2]> {
        Some([words_of(self.source)?, words_of(self.destination)?])
    }

    /// Whether the addresses are IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// The tuple of an IPv4 key, or of an IPv6 key with these addresses.
    fn of(key: &FlowKey, source: [u64; 2], destination: [u64; 2]) -> Self {
        let (source, destination) = if key.family == FAMILY_IPV6 {
            (ipv6_of_words(source).into(), ipv6_of_words(destination).into())
        } else {
            (host_address(key.source).into(), host_address(key.destination).into())
        };
        Self {
            source,
            destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            in_port: key.in_port,
            protocol: key.protocol,
        }
    }
}

/// Both directions of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuples {
    /// The first packet, as received.
    pub original: Tuple,
    /// The replies, as received.
    pub reply: Tuple,
}

impl Tuples {
    /// The tuples of a session's keys; `addresses` are those of the session, which only IPv6 needs.
    pub fn of_session(original: &FlowKey, reply: &FlowKey, addresses: &SessionAddresses) -> Self {
        Self {
            original: Tuple::of(original, addresses.original_source, addresses.original_destination),
            reply: Tuple::of(reply, addresses.reply_source, addresses.reply_destination),
        }
    }

    /// The addresses as the session keeps them; none where they are IPv4 and the keys have them.
    pub fn addresses(&self) -> Option<SessionAddresses> {
        Some(SessionAddresses {
            original_source: words_of(self.original.source)?,
            original_destination: words_of(self.original.destination)?,
            reply_source: words_of(self.reply.source)?,
            reply_destination: words_of(self.reply.destination)?,
        })
    }

    /// The new source and destination of packets of a direction: the other direction's, turned round.
    pub fn translated(&self, is_reply: bool) -> (IpAddr, IpAddr) {
        let other = if is_reply { &self.original } else { &self.reply };
        (other.destination, other.source)
    }
}

/// An IPv6 address as two native words, the first eight bytes first; none for IPv4.
pub fn words_of(address: IpAddr) -> Option<[u64; 2]> {
    let IpAddr::V6(address) = address else { return None };
    let bits = address.to_bits();
    Some([((bits >> 64) as u64).to_be(), (bits as u64).to_be()])
}

/// The inverse of [`words_of`].
fn ipv6_of_words([high, low]: [u64; 2]) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(u64::from_be(high)) << 64 | u128::from(u64::from_be(low)))
}

/// The hash that stands for an IPv6 address; 0 for IPv4.
pub fn hash_of(address: IpAddr, seed: u64) -> u32 {
    words_of(address).map_or(0, |[first, last]| address_hash(first, last, seed))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Tuple, Tuples};

    fn tuple(source: &str, destination: &str) -> Tuple {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        Tuple {
            source: parse(source),
            destination: parse(destination),
            source_port: 5000_u16.to_be(),
            destination_port: 53_u16.to_be(),
            in_port: 3,
            protocol: 17,
        }
    }

    #[test]
    fn tuples_are_found_again_from_keys_and_addresses() {
        for (source, destination) in [("10.0.0.1", "192.0.2.9"), ("2001:db8::1", "2001:db8:0:1::ffff")] {
            let (original, reply) = (tuple(source, destination), tuple(destination, source));
            let tuples = Tuples { original, reply };
            let addresses = tuples.addresses().unwrap_or_default();
            let again = Tuples::of_session(&original.key(7), &reply.key(7), &addresses);
            assert_eq!(again, tuples);
            assert_eq!(tuples.translated(false), (original.source, original.destination));
        }
    }

    #[test]
    fn keys_of_both_versions_differ_and_hang_on_the_seed() {
        let (four, six) = (tuple("10.0.0.1", "10.0.0.2"), tuple("::10.0.0.1", "::10.0.0.2"));
        assert_ne!(four.key(1), six.key(1));
        assert_eq!(four.key(1), four.key(2));
        assert_ne!(six.key(1), six.key(2));
    }
}
