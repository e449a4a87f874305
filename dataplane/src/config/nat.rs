//! Configuration of address translation: pools of external addresses, and ports that are forwarded to workloads.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Id, default_true};

/// External addresses that a router's sources leave with, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatPool {
    /// Unique identifier.
    pub id: Id,
    /// Name for people.
    pub name: String,
    /// The addresses, in the external network of the router that uses the pool. They need not be contiguous.
    pub addresses: Vec<Ipv4Addr>,
    /// What an external port stands for.
    #[serde(default)]
    pub mapping: NatMapping,
    /// Who may send to a mapping from outside, when it is independent of the endpoint.
    #[serde(default)]
    pub filtering: NatFiltering,
    /// A workload keeps to one address; when its ports are exhausted no connection is opened. False: it takes the next.
    #[serde(default = "default_true")]
    pub paired: bool,
    /// Smallest port that is given out.
    #[serde(default = "default_port_min")]
    pub port_min: u16,
    /// Largest port that is given out.
    #[serde(default = "default_port_max")]
    pub port_max: u16,
    /// Sources below 1024 get ports below 1024 (whatever `port_min`), the others never.
    #[serde(default)]
    pub preserve_class: bool,
    /// Even ports stay even and odd ones odd while there are any.
    #[serde(default)]
    pub preserve_parity: bool,
    /// Ports are chosen at random rather than kept.
    #[serde(default)]
    pub randomize: bool,
    /// Most translated ports of one workload; 0 is no limit.
    #[serde(default)]
    pub ports_per_workload: u32,
    /// Ports are given to workloads in blocks of so many; 0: one by one.
    #[serde(default)]
    pub port_block_size: u16,
    /// Most blocks of one workload.
    #[serde(default = "default_blocks_per_workload")]
    pub port_blocks_per_workload: u16,
    /// How long a released port is kept from other workloads; 120 seconds where left out and the mapping is independent, else 0.
    #[serde(default)]
    pub port_hold_seconds: Option<u32>,
    /// From this share of used ports on the pool is reported as nearly exhausted.
    #[serde(default = "default_high_water_percent")]
    pub high_water_percent: u8,
}

/// What an external port stands for (RFC 4787, section 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NatMapping {
    /// One connection: the port serves others towards other destinations.
    #[default]
    EndpointDependent,
    /// One address and port inside, whomever it sends to.
    EndpointIndependent,
}

/// Who may send to a mapping from outside (RFC 4787, section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NatFiltering {
    /// The addresses and ports that it has sent to: answers only.
    #[default]
    EndpointDependent,
    /// The addresses that it has sent to, from whatever port.
    AddressDependent,
    /// Everybody.
    EndpointIndependent,
}

/// An external port, or a range of them, that stands for a workload's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortForward {
    /// Unique identifier.
    pub id: Id,
    /// The router whose address it is.
    pub router: Id,
    /// The external address: the router's own, where left out, or one of its pool.
    #[serde(default)]
    pub external_ip: Option<Ipv4Addr>,
    /// IP protocol number: TCP, UDP or SCTP.
    pub protocol: u8,
    /// The external port; of a range the smallest.
    pub port_min: u16,
    /// The largest external port; `port_min` where left out.
    #[serde(default)]
    pub port_max: Option<u16>,
    /// The workload's port of the gateway, by id.
    pub target: Id,
    /// The workload's transport port for `port_min`; the same where left out.
    #[serde(default)]
    pub target_port: Option<u16>,
}

impl NatPool {
    /// A pool of these addresses, with the defaults for all else.
    pub fn new(id: impl Into<Id>, addresses: Vec<Ipv4Addr>) -> Self {
        let id = id.into();
        Self {
            name: id.clone(),
            id,
            addresses,
            mapping: NatMapping::default(),
            filtering: NatFiltering::default(),
            paired: true,
            port_min: default_port_min(),
            port_max: default_port_max(),
            preserve_class: false,
            preserve_parity: false,
            randomize: false,
            ports_per_workload: 0,
            port_block_size: 0,
            port_blocks_per_workload: default_blocks_per_workload(),
            port_hold_seconds: None,
            high_water_percent: default_high_water_percent(),
        }
    }
}

/// RFC 4787, REQ-3: the well-known ports are a class of their own.
fn default_port_min() -> u16 {
    1024
}

fn default_port_max() -> u16 {
    u16::MAX
}

fn default_blocks_per_workload() -> u16 {
    1
}

fn default_high_water_percent() -> u8 {
    80
}
