//! What the gateway serves the workloads of a tenant network itself: DHCP of both versions, router advertisements, and the
//! places of its own servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::default_true;
use crate::address::Cidr;

/// What the gateway serves the workloads of a tenant network itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Services {
    /// The gateway's address as a server; the network's gateway where left out.
    pub address: Option<Ipv4Addr>,
    /// What DHCP tells workloads; none: no DHCP.
    pub dhcp: Option<Dhcp>,
    /// What IPv6 router advertisements tell workloads; none: nothing is advertised.
    pub advertisements: Option<Advertisements>,
    /// What DHCPv6 tells workloads; none: no DHCPv6.
    pub dhcp6: Option<Dhcp6>,
    /// Where the gateway's own servers are reached.
    pub endpoints: Vec<Endpoint>,
}

/// What DHCP tells the workloads of a network beside their addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dhcp {
    /// How long an address may be used before it is asked for again.
    #[serde(default = "default_lease_seconds")]
    pub lease_seconds: u32,
    /// The network's gateway leads everywhere.
    #[serde(default = "default_true")]
    pub default_route: bool,
    /// Further routes.
    #[serde(default)]
    pub routes: Vec<HostRoute>,
    /// Name servers.
    #[serde(default)]
    pub dns_servers: Vec<Ipv4Addr>,
    /// Time servers.
    #[serde(default)]
    pub ntp_servers: Vec<Ipv4Addr>,
    /// The domain of the network's workloads.
    #[serde(default)]
    pub domain: Option<String>,
    /// Domains that short names are looked for in.
    #[serde(default)]
    pub search: Vec<String>,
}

/// A route that workloads are told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRoute {
    /// Where to.
    pub destination: Cidr,
    /// By which host of the network.
    pub next_hop: Ipv4Addr,
}

/// Where one of the gateway's own servers is reached by workloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Address.
    pub address: IpAddr,
    /// IP protocol number: TCP or UDP.
    pub protocol: u8,
    /// Port.
    pub port: u16,
}

/// What the gateway's router advertisements tell the workloads of a network with an IPv6 subnet (RFC 4861, section 6.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advertisements {
    /// Workloads make addresses of their own in the subnet, which is a /64 (RFC 4862).
    #[serde(default)]
    pub autonomous: bool,
    /// They get addresses by DHCPv6.
    #[serde(default)]
    pub managed: bool,
    /// They get all else by DHCPv6.
    #[serde(default)]
    pub other: bool,
    /// The network's router leads everywhere.
    #[serde(default = "default_true")]
    pub default_route: bool,
    /// What else it leads to (RFC 4191).
    #[serde(default)]
    pub routes: Vec<Cidr>,
    /// Name servers (RFC 8106).
    #[serde(default)]
    pub dns_servers: Vec<Ipv6Addr>,
    /// Domains that short names are looked for in.
    #[serde(default)]
    pub search: Vec<String>,
    /// Longest time between two that nobody has asked for.
    #[serde(default = "default_interval_seconds")]
    pub interval_seconds: u16,
}

impl Default for Advertisements {
    fn default() -> Self {
        Self {
            autonomous: false,
            managed: false,
            other: false,
            default_route: true,
            routes: Vec::new(),
            dns_servers: Vec::new(),
            search: Vec::new(),
            interval_seconds: default_interval_seconds(),
        }
    }
}

/// What DHCPv6 tells the workloads of a network with an IPv6 subnet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dhcp6 {
    /// Workloads get their addresses; false: only what is below.
    #[serde(default = "default_true")]
    pub addresses: bool,
    /// How long an address may be used before it is asked for again.
    #[serde(default = "default_lease_seconds")]
    pub lease_seconds: u32,
    /// Name servers.
    #[serde(default)]
    pub dns_servers: Vec<Ipv6Addr>,
    /// Time servers.
    #[serde(default)]
    pub ntp_servers: Vec<Ipv6Addr>,
    /// Domains that short names are looked for in.
    #[serde(default)]
    pub search: Vec<String>,
}

fn default_lease_seconds() -> u32 {
    86_400
}

fn default_interval_seconds() -> u16 {
    600
}
