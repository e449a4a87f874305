//! Configuration of a router's ways on: static routes, and what leaves untranslated.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::Cidr;

/// A static route of a router. Of those that hold an address the one with the longest prefix decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticRoute {
    /// Where to.
    pub destination: Cidr,
    /// By which host of one of the router's networks; none: nowhere.
    #[serde(default)]
    pub next_hop: Option<IpAddr>,
    /// Of a route to nowhere: senders are told by ICMP.
    #[serde(default)]
    pub reject: bool,
}

/// Destinations towards which sources keep their own addresses (RFC 6888, REQ-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnatExemption {
    /// Destination addresses, IPv4.
    pub destination: Cidr,
    /// IP protocol number; none is any.
    #[serde(default)]
    pub protocol: Option<u8>,
    /// Smallest destination port; none is any.
    #[serde(default)]
    pub port_min: Option<u16>,
    /// Largest destination port; `port_min` where left out.
    #[serde(default)]
    pub port_max: Option<u16>,
}

impl SnatExemption {
    /// Whether it is for packets of a protocol to an address and port.
    pub fn holds(&self, protocol: u8, address: IpAddr, port: u16) -> bool {
        let min = self.port_min.unwrap_or(0);
        let max = self.port_max.or(self.port_min).unwrap_or(u16::MAX);
        self.destination.contains(address)
            && self.protocol.is_none_or(|own| own == protocol)
            && (min..=max).contains(&port)
    }
}
