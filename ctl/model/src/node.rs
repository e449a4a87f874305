//! Nodes: the hosts of the site. A host makes its own node and tells its facts; a request only says what may be
//! placed on it.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::MacAddress;
use crate::meta::{Kind, Object, Spec};
use crate::reader::Reader;
use crate::value;

/// Fields that the host tells: accepted in a request, so that what GET returned can be PUT back, and ignored.
pub const FACTS: [&str; 10] = [
    "state",
    "hostname",
    "node_role",
    "data_ip",
    "info",
    "capacity",
    "interfaces",
    "physnets",
    "fast_path",
    "heartbeat_at",
];

/// A node as the API shows it.
pub type Node = Object<NodeSpec>;

/// The fields of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// False: nothing more is placed on it.
    pub schedulable: bool,
    /// What is on it is to leave; set by the actions `drain` and `uncordon`.
    #[serde(default)]
    pub draining: bool,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// What the host tells of itself; none before it did.
    #[serde(flatten)]
    pub facts: Option<NodeFacts>,
}

/// What a host tells of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// What the host can be used for, in one word.
    #[serde(default)]
    pub state: NodeState,
    /// The host's own name.
    pub hostname: String,
    /// What the host does: `control`, `gateway`.
    pub node_role: Vec<String>,
    /// The address by which other hosts reach its tunnels.
    pub data_ip: Option<IpAddr>,
    /// Its system.
    pub info: NodeInfo,
    /// What there is to be given.
    pub capacity: Capacity,
    /// Its network interfaces.
    pub interfaces: Vec<HostInterface>,
    /// Physical networks that it has an uplink to.
    pub physnets: Vec<PhysicalNetwork>,
    /// Whether the kernel can forward established flows.
    pub fast_path: FastPath,
    /// When it last said so.
    pub heartbeat_at: Timestamp,
}

/// What a host can be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// Everything.
    #[default]
    Ready,
    /// It is there and does not carry traffic; a condition says why.
    NotReady,
    /// Nothing more is placed on it.
    Cordoned,
    /// What is on it is to leave.
    Draining,
    /// It has not been heard of for some time.
    Offline,
}

/// The system of a host, spelled as Kubernetes does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeInfo {
    /// Version of the kernel.
    pub kernel_version: String,
    /// The distribution.
    pub os_image: String,
    /// The instruction set.
    pub architecture: String,
    /// Version of the daemon.
    pub agent_version: String,
}

/// What a host has to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Hardware threads.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
}

/// A network interface of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInterface {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac_address: MacAddress,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Administratively up.
    pub up: bool,
}

/// A physical network that a host has an uplink to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhysicalNetwork {
    /// Its name, as the `physnet_name` of networks.
    pub network: String,
    /// The interface.
    pub interface: String,
}

/// Whether the kernel of a host can forward established flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FastPath {
    /// Nothing is missing.
    pub capable: bool,
    /// What is missing.
    pub missing: Vec<String>,
}

/// What can be done with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAction {
    /// Nothing more is placed on it.
    Cordon,
    /// Things are placed on it again.
    Uncordon,
    /// What is on it is to leave, and nothing more is placed on it.
    Drain,
}

impl NodeAction {
    /// The words on the wire.
    pub const WORDS: [(&'static str, Self); 3] =
        [("cordon", Self::Cordon), ("uncordon", Self::Uncordon), ("drain", Self::Drain)];
}

impl Default for NodeSpec {
    fn default() -> Self {
        Self { schedulable: true, draining: false, description: String::new(), facts: None }
    }
}

impl Spec for NodeSpec {
    const KIND: Kind = Kind::Node;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        reader.ignore(&FACTS);
        let schedulable = reader.optional("schedulable", value::boolean).unwrap_or(true);
        let draining = reader.optional("draining", value::boolean).unwrap_or(false);
        let description = reader.optional("description", value::description).unwrap_or_default();
        let spec = Self { schedulable: schedulable && !draining, draining, description, facts: None };
        reader.is_clean().then_some(spec)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::NodeSpec;
    use crate::meta::tests::{accepted, refusals};

    #[test]
    fn facts_are_not_settable_and_a_draining_node_takes_nothing() {
        let body =
            json!({"node": {"name": "edge-1", "state": "Ready", "hostname": "x", "capacity": {"vcpus": 9}}});
        assert_eq!(accepted::<NodeSpec>(&body).spec, NodeSpec::default());
        let draining = json!({"node": {"name": "edge-1", "schedulable": true, "draining": true}});
        assert!(!accepted::<NodeSpec>(&draining).spec.schedulable);
        let found = refusals::<NodeSpec>(&json!({"node": {"name": "edge-1", "schedulable": 1, "roles": []}}));
        assert_eq!(found[0], ("/node/schedulable".to_owned(), "wrong_type".to_owned()));
        assert_eq!(found[1], ("/node/roles".to_owned(), "unknown_field".to_owned()));
    }
}
