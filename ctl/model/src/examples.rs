//! One example of each kind: what a request to create it may look like, and the object that becomes of it. Shown by the
//! API's description; a test has the model read every one.

use serde_json::{Value, json};

use crate::Kind;
use crate::any::show_any;

/// Id of every object of an example.
const ID: &str = "0197a1b2-5c3d-7e4f-8a90-b1c2d3e4f506";
/// When every object of an example was made.
const CREATED_AT: &str = "2026-11-27T09:30:00Z";
/// A public key, made for this example; nobody has its private key.
const PUBLIC_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDI5OTV6U3H9xHE53NHqz5NG8NLxAwTzQHlVcFjvSVZT me@laptop";

/// The body of a request to create an object of a kind.
pub fn request(kind: Kind) -> Value {
    let fields = match kind {
        Kind::Network => {
            json!({"name": "front", "type": "VXLAN", "cidr": "10.0.1.0/24", "gateway_ip": "10.0.1.1",
            "ip_pool": {"start": "10.0.1.10", "end": "10.0.1.200"}, "dns": ["9.9.9.9"], "labels": {"tier": "web"}})
        }
        Kind::Port => json!({"name": "web-1", "network": "front", "ip_address": "10.0.1.10",
            "security_groups": ["web"], "plug": {"type": "veth", "namespace": "web-1"}}),
        Kind::Router => json!({"name": "edge", "internal": ["front"],
            "external": {"network": "internet", "ip": "203.0.113.10"}, "enable_snat": true}),
        Kind::LoadBalancer => json!({"name": "shop", "network": "front", "virtual_ip": "10.0.1.100",
            "rules": [{"protocol": "tcp", "port_range_min": 80, "port_range_max": 80, "target_port": 8080}],
            "members": ["10.0.1.10", "10.0.1.11"]}),
        Kind::FloatingIp => json!({"name": "web-ip", "network": "internet", "floating_ip": "203.0.113.20",
            "instance_name": "web-1"}),
        Kind::SecurityGroup => json!({"name": "web", "description": "What web servers may"}),
        Kind::SecurityGroupRule => {
            json!({"security_group_id": "web", "direction": "ingress", "protocol": "tcp",
            "port_range_min": 80, "port_range_max": 80, "remote_ip_prefix": "0.0.0.0/0"})
        }
        Kind::Project => json!({"name": "blue", "description": "The blue team"}),
        Kind::Token => json!({"name": "ci", "role": "member"}),
        Kind::RoleBinding => json!({"name": "alice-owns", "user": "alice", "role": "project-owner"}),
        Kind::AddressGroup => json!({"name": "office", "addresses": ["192.0.2.0/24", "2001:db8:1::/48"]}),
        Kind::Flavor => json!({"name": "small", "vcpus": 2, "ram": 2048, "root_disk": 20}),
        Kind::Keypair => json!({"name": "me", "public_key": PUBLIC_KEY}),
        Kind::Node => json!({"name": "edge-1", "schedulable": true, "description": "In the shed"}),
    };
    json!({ kind.singular(): fields })
}

/// The object that becomes of [`request`], as the API shows it without what other objects and the host add to it.
pub fn object(kind: Kind) -> Value {
    show_any(kind, &request(kind), ID, CREATED_AT).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{object, request};
    use crate::Kind;
    use crate::any::read_any;

    #[test]
    fn every_example_is_read_and_shown() {
        for kind in Kind::ALL {
            read_any(kind, &request(kind)).unwrap_or_else(|errors| panic!("{kind}: {errors:?}"));
            assert_eq!(object(kind)["generation"], 1, "{kind}");
        }
    }
}
