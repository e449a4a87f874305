//! Floating IPs: an external address that stands for one workload, for all ports and in both directions, or for a load
//! balancer.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::meta::{Kind, Object, Spec};
use crate::reader::{Reader, Refusal};
use crate::value;

/// A floating IP as the API shows it.
pub type FloatingIp = Object<FloatingIpSpec>;

/// The fields of a floating IP. The last five are its association: all empty, or led by `instance_name`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloatingIpSpec {
    /// Name of the external network; an id is accepted too.
    pub network: String,
    /// The address; the lowest free one of the network's pool where left out.
    #[serde(default)]
    pub floating_ip: Option<Ipv4Addr>,
    /// Name of the router that joins the instance's network to the external one; found by the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
    /// What it is associated with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<InstanceType>,
    /// Name of the port or load balancer that it is associated with; an id is accepted too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<String>,
    /// Network of that; found by the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_network: Option<String>,
    /// Address of that; found by the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ip: Option<Ipv4Addr>,
    /// Free text.
    #[serde(default)]
    pub description: String,
}

/// What a floating IP can be associated with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceType {
    /// A workload, by its port.
    Vm,
    /// A load balancer.
    Lb,
}

impl Spec for FloatingIpSpec {
    const KIND: Kind = Kind::FloatingIp;
    const NAME_REQUIRED: bool = false;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let network = reader.required("network", "the name of an external network", value::reference);
        let floating_ip = reader.optional("floating_ip", value::ipv4);
        let instance_name = reader.optional("instance_name", filled).flatten();
        let instance_type = reader.optional("instance_type", read_instance_type).flatten();
        let router = reader.optional("router", filled).flatten();
        let target_network = reader.optional("target_network", filled).flatten();
        let target_ip = reader.optional("target_ip", |ip| match ip.as_str() {
            Some("") => Ok(None),
            _ => value::ipv4(ip).map(Some),
        });
        let target_ip = target_ip.flatten();
        let description = reader.optional("description", value::description).unwrap_or_default();
        let associated = instance_name.is_some();
        let named = target_network.is_some() || target_ip.is_some() || instance_type.is_some();
        if named && !associated {
            let hint = "the name of a port or load balancer, or leave instance_type and target_* out to disassociate";
            let refusal = Refusal::new("missing", "an association needs `instance_name`", hint);
            reader.refuse("instance_name", refusal);
        }
        let spec = Self {
            network: network?,
            floating_ip,
            router,
            instance_type: instance_type.or(associated.then_some(InstanceType::Vm)),
            instance_name,
            target_network,
            target_ip,
            description,
        };
        reader.is_clean().then_some(spec)
    }
}

/// A reference; EdgeStack's console sends an empty text for none.
fn filled(value: &Value) -> Result<Option<String>, Refusal> {
    match value.as_str() {
        Some("") => Ok(None),
        _ => value::reference(value).map(Some),
    }
}

fn read_instance_type(value: &Value) -> Result<Option<InstanceType>, Refusal> {
    match value.as_str() {
        Some("") => Ok(None),
        _ => value::word(value, &[("vm", InstanceType::Vm), ("lb", InstanceType::Lb)]).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{FloatingIpSpec, InstanceType};
    use crate::meta::tests::{accepted, refusals};

    #[test]
    fn an_address_alone_and_an_association_are_read() {
        let draft = accepted::<FloatingIpSpec>(&json!({"floating_ip": {"network": "wan"}}));
        assert_eq!((draft.name, draft.spec.instance_type), (None, None));
        let draft = accepted::<FloatingIpSpec>(&json!({"floating_ip": {
            "id": "0199", "network": "wan", "instance_type": "VM", "instance_name": "web", "target_network": "tenant",
            "target_ip": "10.0.0.5"
        }}));
        assert_eq!(draft.id.as_deref(), Some("0199"));
        assert_eq!(draft.spec.instance_type, Some(InstanceType::Vm));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let found =
            refusals::<FloatingIpSpec>(&json!({"floating_ip": {"network": "wan", "instance_type": "lb"}}));
        assert_eq!(found, [("/floating_ip/instance_name".to_owned(), "missing".to_owned())]);
        let found =
            refusals::<FloatingIpSpec>(&json!({"floating_ip": {"network": "wan", "target_ip": "10.0.0.5"}}));
        assert_eq!(found, [("/floating_ip/instance_name".to_owned(), "missing".to_owned())]);
    }
}
