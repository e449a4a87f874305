//! What carries tenant networks between hosts: the gateway's own outer address, the other hosts, and the identifiers that
//! networks have on the way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::Id;
use crate::address::MacAddress;

/// How a network's frames are told from those of others where they share a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "type", rename_all = "snake_case")]
pub enum Segment {
    /// A tenant network, between hosts in VXLAN (RFC 7348).
    Vxlan {
        /// Network identifier, 1 to 16777215.
        vni: u32,
    },
    /// A tenant network, between hosts in Geneve (RFC 8926).
    Geneve {
        /// Network identifier, 1 to 16777215.
        vni: u32,
    },
    /// An external network, or a tenant's that an uplink joins to a physical one: with a VLAN tag (IEEE 802.1Q) on the interface of
    /// another uplink, whose network has none.
    Vlan {
        /// Identifier, 1 to 4094.
        vlan_id: u16,
    },
}

/// The gateway's place in the network that carries the tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// The external network whose uplink carries the tunnels.
    pub network: Id,
    /// The gateway's MAC address there as the end of tunnels.
    pub mac_address: MacAddress,
    /// Its address there, for peers with an IPv4 address.
    #[serde(default)]
    pub ip_address: Option<Ipv4Addr>,
    /// Its address there, for peers with an IPv6 address.
    #[serde(default)]
    pub ipv6_address: Option<Ipv6Addr>,
    /// The other hosts.
    #[serde(default)]
    pub peers: Vec<Peer>,
}

/// Another host that carries the same tenant networks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Unique identifier.
    pub id: Id,
    /// Name for people.
    pub name: String,
    /// Its address as the end of tunnels.
    pub address: IpAddr,
}
