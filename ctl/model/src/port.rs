//! Ports: where a workload is plugged into a network.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::address::MacAddress;
use crate::meta::{Kind, Object, Spec};
use crate::metadata;
use crate::plug::Plug;
use crate::reader::{Reader, Refusal};
use crate::value;

/// Security groups of one port.
pub const SECURITY_GROUPS_MAX: usize = 16;
/// Further addresses of one port.
pub const ADDRESS_PAIRS_MAX: usize = 32;

/// Public keys of one port.
pub const SSH_KEYS_MAX: usize = 16;

/// A port as the API shows it.
pub type Port = Object<PortSpec>;

/// The fields of a port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Name of its network; an id is accepted too.
    pub network: String,
    /// MAC address of the workload; made by the server where left out.
    #[serde(default)]
    pub mac_address: Option<MacAddress>,
    /// IP address of the workload; the lowest free one of the network's pool where left out.
    #[serde(default)]
    pub ip_address: Option<Ipv4Addr>,
    /// IPv6 address of the workload; the lowest free one of the network's pool where left out, none where the network
    /// has no IPv6 subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<Ipv6Addr>,
    /// Names of its security groups: `default` where left out, none where the list is empty.
    #[serde(default)]
    pub security_groups: Option<Vec<String>>,
    /// Further source addresses that the workload may use.
    #[serde(default)]
    pub allowed_address_pairs: Vec<AddressPair>,
    /// False turns anti-spoofing and security groups off.
    pub port_security: bool,
    /// False: the port passes nothing.
    pub admin_state_up: bool,
    /// The other host that the workload is on; this one where left out. Its name among the overlay's peers, any name in a VLAN or FLAT
    /// network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The host's interface that the workload is behind; none while nothing is plugged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// An interface that the daemon makes for the workload, and removes with the port; it gets the name in `interface`,
    /// or one of the daemon's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plug: Option<Plug>,
    /// How the kernel fast path is attached to the interface.
    pub attach: Attach,
    /// What cloud-init or the like is told to do in the workload: served to it by the metadata service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// Facts for the workload, served to it by the metadata service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Public keys that may log in to the workload, in OpenSSH's format: served to it by the metadata service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
    /// Free text.
    #[serde(default)]
    pub description: String,
}

/// A further address of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPair {
    /// Address or range.
    pub ip_address: IpNet,
    /// MAC address, the port's own where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<MacAddress>,
}

/// How the kernel fast path is attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attach {
    /// XDP and TC for uplinks, TC for workloads.
    #[default]
    Auto,
    /// XDP: most packets per second.
    Xdp,
    /// TC: keeps segmentation offload.
    Tc,
}

impl Attach {
    /// The words on the wire.
    pub const WORDS: [(&'static str, Self); 3] = [("auto", Self::Auto), ("xdp", Self::Xdp), ("tc", Self::Tc)];
}

impl Spec for PortSpec {
    const KIND: Kind = Kind::Port;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let network = reader.required("network", "the name of a network", value::reference);
        let mac_address = reader.optional("mac_address", value::mac);
        let ip_address = reader.optional("ip_address", value::ipv4);
        let ipv6_address = reader.optional("ipv6_address", value::ipv6);
        let security_groups = reader.list("security_groups", SECURITY_GROUPS_MAX, value::reference);
        let allowed_address_pairs =
            reader.objects("allowed_address_pairs", ADDRESS_PAIRS_MAX, read_pair).unwrap_or_default();
        let port_security = reader.optional("port_security", value::boolean).unwrap_or(true);
        let admin_state_up = reader.optional("admin_state_up", value::boolean).unwrap_or(true);
        let host = reader.optional("host", value::name);
        let interface = reader.optional("interface", value::interface);
        if host.is_some() && interface.is_some() {
            let message = "a workload on another host is behind no interface of this one";
            reader.refuse("interface", Refusal::new("not_allowed", message, "leave out one of the two"));
        }
        let plug = reader.object("plug", Plug::read);
        if host.is_some() && plug.is_some() {
            let message = "the daemon of another host makes the interfaces there";
            reader.refuse("plug", Refusal::new("not_allowed", message, "leave out one of the two"));
        }
        let attach =
            reader.optional("attach", |attach| value::word(attach, &Attach::WORDS)).unwrap_or_default();
        let user_data = reader.optional("user_data", metadata::user_data);
        let metadata = metadata::read(reader);
        let ssh_keys = reader.list("ssh_keys", SSH_KEYS_MAX, metadata::ssh_key).unwrap_or_default();
        let description = reader.optional("description", value::description).unwrap_or_default();
        if let Some(groups) = &security_groups {
            refuse_repeated(reader, "security_groups", groups);
        }
        let spec = Self {
            network: network?,
            mac_address,
            ip_address,
            ipv6_address,
            security_groups,
            allowed_address_pairs,
            port_security,
            admin_state_up,
            host,
            interface,
            plug,
            attach,
            user_data,
            metadata,
            ssh_keys,
            description,
        };
        reader.is_clean().then_some(spec)
    }
}

/// Refuses entries that stand twice in a list.
pub(crate) fn refuse_repeated(reader: &mut Reader<'_>, key: &str, entries: &[String]) {
    for (index, entry) in entries.iter().enumerate() {
        if entries[..index].contains(entry) {
            let message = format!("`{entry}` stands twice in the list");
            reader.refuse(&format!("{key}/{index}"), Refusal::new("duplicate", message, "leave one out"));
        }
    }
}

fn read_pair(reader: &mut Reader<'_>) -> Option<AddressPair> {
    let ip_address = reader.required("ip_address", "`10.0.0.100`", value::cidr_or_address);
    let mac_address = reader.optional("mac_address", value::mac);
    Some(AddressPair { ip_address: ip_address?, mac_address })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Attach, PortSpec};
    use crate::meta::tests::{accepted, refusals};

    #[test]
    fn no_groups_and_an_empty_list_differ() {
        let spec = accepted::<PortSpec>(&json!({"port": {"name": "a", "network": "n"}})).spec;
        assert_eq!(spec.security_groups, None);
        assert!(spec.port_security && spec.admin_state_up);
        assert_eq!(spec.attach, Attach::Auto);
        let spec =
            accepted::<PortSpec>(&json!({"port": {"name": "a", "network": "n", "security_groups": []}})).spec;
        assert_eq!(spec.security_groups, Some(Vec::new()));
    }

    #[test]
    fn wrong_fields_are_named() {
        let found = refusals::<PortSpec>(&json!({"port": {
            "name": "a", "mac_address": "ff:ff:ff:ff:ff:ff", "ip_address": "10.0.0", "security_groups": ["x", "x"],
            "allowed_address_pairs": [{"ip_address": "10.0.0.1/8"}], "port_security": "yes",
            "interface": "much-too-long-for-linux", "attach": "dpdk"
        }}));
        let wanted = [
            ("/port/network", "missing"),
            ("/port/mac_address", "invalid_mac"),
            ("/port/ip_address", "invalid_address"),
            ("/port/allowed_address_pairs/0/ip_address", "invalid_cidr"),
            ("/port/port_security", "wrong_type"),
            ("/port/interface", "invalid_interface"),
            ("/port/attach", "invalid_value"),
            ("/port/security_groups/1", "duplicate"),
        ];
        assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    }
}
