//! The IPv4 and IPv6 subnets of a network: ranges of addresses, and which addresses a host may have.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::reader::{Reader, Refusal};
use crate::value;

/// Ranges of one network that are given to nobody.
pub const RESERVATIONS_MAX: usize = 64;
/// Shortest and longest prefix of a network's IPv4 subnet.
const IPV4_PREFIX_BITS: (u8, u8) = (8, 30);
/// Prefix of the subnets that hosts make addresses of their own in (RFC 4862).
pub(crate) const AUTONOMOUS_PREFIX_BITS: u8 = 64;
/// Shortest and longest prefix of a network's IPv6 subnet.
const IPV6_PREFIX_BITS: (u8, u8) = (64, 126);

/// A range of addresses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool<A> {
    /// First address.
    pub start: A,
    /// Last address.
    pub end: A,
}

/// A range of IPv4 addresses.
pub type IpPool = Pool<Ipv4Addr>;
/// A range of IPv6 addresses.
pub type Ipv6Pool = Pool<Ipv6Addr>;

impl<A: Copy + Ord> Pool<A> {
    /// Whether `address` is in the pool.
    pub fn contains(&self, address: A) -> bool {
        (self.start..=self.end).contains(&address)
    }
}

impl<A: fmt::Display> fmt::Display for Pool<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.start, self.end)
    }
}

impl<A: Copy + Ord + fmt::Display> Pool<A> {
    /// Reads a pool.
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        examples: [&str; 2],
        parse: impl Fn(&Value) -> Result<A, Refusal>,
    ) -> Option<Self> {
        let start = reader.required("start", examples[0], &parse);
        let end = reader.required("end", examples[1], &parse);
        Some(Self { start: start?, end: end? })
    }

    /// Refuses a pool that has an end outside of the subnet, or its ends in the wrong order.
    pub(crate) fn check(&self, key: &str, reader: &mut Reader<'_>, outside: impl Fn(A) -> Option<Refusal>) {
        for (end, address) in [("start", self.start), ("end", self.end)] {
            if let Some(refusal) = outside(address) {
                reader.refuse(&format!("{key}/{end}"), refusal);
            }
        }
        if self.start > self.end {
            let message = format!("the range ends at {} before it starts at {}", self.end, self.start);
            reader.refuse(key, Refusal::new("invalid_range", message, "swap start and end"));
        }
    }
}

/// How the hosts of an IPv6 subnet get their addresses and settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipv6RaMode {
    /// By DHCPv6, announced by router advertisements; whatever address a port has.
    Stateful,
    /// Addresses that they make of their MAC addresses, all else by DHCPv6.
    Stateless,
    /// Addresses that they make of their MAC addresses, all else by router advertisements.
    Slaac,
    /// Not from the gateway, which advertises nothing.
    None,
}

impl Ipv6RaMode {
    /// The words of the API.
    pub const WORDS: [(&str, Self); 4] = [
        ("stateful", Self::Stateful),
        ("stateless", Self::Stateless),
        ("slaac", Self::Slaac),
        ("none", Self::None),
    ];

    /// Hosts make addresses of their own.
    pub const fn is_autonomous(self) -> bool {
        matches!(self, Self::Stateless | Self::Slaac)
    }
}

/// Addresses of the subnet that are given to nobody: those of machines that the gateway knows nothing of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// First address.
    pub start: IpAddr,
    /// Last address; the first where left out.
    pub end: IpAddr,
    /// What it is kept for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl Reservation {
    /// Whether `address` is kept.
    pub fn contains(&self, address: IpAddr) -> bool {
        (self.start..=self.end).contains(&address)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let start = reader.required("start", "`10.0.0.2`", value::ip);
        let end = reader.optional("end", value::ip).or(start);
        let description = reader.optional("description", value::description).unwrap_or_default();
        Some(Self { start: start?, end: end?, description })
    }
}

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.start, self.end)
    }
}

/// The first address of the subnet that a host may have.
pub(crate) fn first_host(cidr: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from_bits(cidr.network().to_bits() + 1)
}

/// The first address of the subnet that a host may have: the one before is that of all its routers (RFC 4291).
pub(crate) fn first_ipv6_host(cidr: Ipv6Net) -> Ipv6Addr {
    Ipv6Addr::from_bits(cidr.network().to_bits() + 1)
}

/// Every address of the subnet that a host may have.
pub(crate) fn hosts(cidr: Ipv4Net) -> IpPool {
    Pool { start: first_host(cidr), end: Ipv4Addr::from_bits(cidr.broadcast().to_bits() - 1) }
}

/// Every address of the subnet that a host may have.
pub(crate) fn ipv6_hosts(cidr: Ipv6Net) -> Ipv6Pool {
    Pool { start: first_ipv6_host(cidr), end: cidr.broadcast() }
}

/// Why an address is none of a host of the subnet, or None.
pub(crate) fn refuse_outside(cidr: Ipv4Net, address: Ipv4Addr) -> Option<Refusal> {
    let edge = address == cidr.network() || address == cidr.broadcast();
    (edge || !cidr.contains(&address)).then(|| outside(&address, &cidr, &first_host(cidr)))
}

/// Why an address is none of a host of the subnet, or None.
pub(crate) fn refuse_ipv6_outside(cidr: Ipv6Net, address: Ipv6Addr) -> Option<Refusal> {
    (address == cidr.network() || !cidr.contains(&address))
        .then(|| outside(&address, &cidr, &first_ipv6_host(cidr)))
}

fn outside(address: &dyn fmt::Display, cidr: &dyn fmt::Display, example: &dyn fmt::Display) -> Refusal {
    let message = format!("{address} is no host address of {cidr}");
    Refusal::new("outside_cidr", message, format!("such as {example}"))
}

/// The IPv4 subnet of a network.
pub(crate) fn ipv4_subnet(value: &Value) -> Result<Ipv4Net, Refusal> {
    let cidr = value::cidr(value)?;
    refuse_prefix(cidr.prefix_len(), IPV4_PREFIX_BITS)?;
    let first = cidr.network();
    if first.is_multicast()
        || first.is_loopback()
        || first.is_unspecified()
        || first.is_broadcast()
        || first.octets()[0] >= 240
    {
        let message = format!("{cidr} is no range that hosts can have");
        return Err(Refusal::new("invalid_cidr", message, "such as `10.0.0.0/24`"));
    }
    Ok(cidr)
}

/// The IPv6 subnet of a network.
pub(crate) fn ipv6_subnet(value: &Value) -> Result<Ipv6Net, Refusal> {
    let cidr = value::ipv6_cidr(value)?;
    refuse_prefix(cidr.prefix_len(), IPV6_PREFIX_BITS)?;
    let first = cidr.network();
    let mapped = first.to_ipv4_mapped().is_some() || first.segments()[..6] == [0; 6];
    if first.is_multicast() || first.is_unicast_link_local() || mapped {
        let message = format!("{cidr} is no range that hosts can have");
        return Err(Refusal::new("invalid_cidr", message, "such as `fd00:0:0:1::/64`"));
    }
    Ok(cidr)
}

fn refuse_prefix(prefix_bits: u8, (shortest, longest): (u8, u8)) -> Result<(), Refusal> {
    if (shortest..=longest).contains(&prefix_bits) {
        return Ok(());
    }
    let size = if prefix_bits < shortest { "large" } else { "small" };
    let message = format!("a network of /{prefix_bits} is too {size}");
    Err(Refusal::new("out_of_range", message, format!("from /{shortest} to /{longest}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{hosts, ipv4_subnet, ipv6_hosts, ipv6_subnet, refuse_ipv6_outside, refuse_outside};

    #[test]
    fn subnets_are_ranges_that_hosts_can_have() {
        for good in ["fd00::/64", "2001:db8:1:2::/64", "2001:db8::8/126"] {
            assert!(ipv6_subnet(&json!(good)).is_ok(), "{good}");
        }
        for (wrong, code) in [
            ("fd00::/63", "out_of_range"),
            ("fd00::/127", "out_of_range"),
            ("fe80::/64", "invalid_cidr"),
            ("ff02::/64", "invalid_cidr"),
            ("::/96", "invalid_cidr"),
            ("::ffff:10.0.0.0/120", "invalid_cidr"),
            ("fd00::1/64", "invalid_cidr"),
            ("10.0.0.0/24", "invalid_cidr"),
        ] {
            let found = ipv6_subnet(&json!(wrong)).unwrap_err().code;
            assert_eq!(found, code, "{wrong}");
        }
        assert_eq!(ipv4_subnet(&json!("10.0.0.0/7")).unwrap_err().code, "out_of_range");
        assert_eq!(ipv4_subnet(&json!("10.0.0.0/31")).unwrap_err().code, "out_of_range");
        assert_eq!(ipv4_subnet(&json!("240.0.0.0/8")).unwrap_err().code, "invalid_cidr");
    }

    #[test]
    fn the_ends_of_a_subnet_are_no_hosts() {
        let cidr = "10.0.0.0/30".parse().unwrap();
        assert_eq!(hosts(cidr).to_string(), "10.0.0.1 to 10.0.0.2");
        for edge in ["10.0.0.0", "10.0.0.3", "10.0.0.4"] {
            assert!(refuse_outside(cidr, edge.parse().unwrap()).is_some(), "{edge}");
        }
        let cidr = "fd00::/126".parse().unwrap();
        assert_eq!(ipv6_hosts(cidr).to_string(), "fd00::1 to fd00::3", "IPv6 has no broadcast address");
        for edge in ["fd00::", "fd00::4"] {
            assert!(refuse_ipv6_outside(cidr, edge.parse().unwrap()).is_some(), "{edge}");
        }
        assert!(refuse_ipv6_outside(cidr, "fd00::3".parse().unwrap()).is_none());
    }
}
