//! OpenStack's dialect: JSON documents, below a version of the API.

use serde_json::{Map, Value, json};

use super::instance::Instance;
use super::tree::Tree;

/// Versions of the API that are answered alike.
const VERSIONS: [&str; 5] = ["2012-08-10", "2015-10-15", "2018-08-27", "2020-10-14", "latest"];

/// Everything.
pub(super) fn tree(instance: &Instance) -> Tree {
    let version = Tree::directory([
        ("meta_data.json", Some(Tree::json(&meta_data(instance)))),
        ("network_data.json", Some(Tree::json(&network_data(instance)))),
        ("user_data", instance.user_data.as_ref().map(Tree::text)),
        ("vendor_data.json", Some(Tree::json(&json!({})))),
        ("vendor_data2.json", Some(Tree::json(&json!({})))),
    ]);
    Tree::directory(VERSIONS.map(|name| (name, Some(version.clone()))))
}

fn meta_data(instance: &Instance) -> Value {
    let keys: Vec<Value> =
        instance.keys.iter().map(|(name, key)| json!({"name": name, "type": "ssh", "data": key})).collect();
    let by_name: Map<String, Value> =
        instance.keys.iter().map(|(name, key)| (name.clone(), Value::from(key.as_str()))).collect();
    json!({
        "uuid": instance.id,
        "name": instance.name,
        "hostname": instance.name,
        "launch_index": 0,
        "meta": instance.metadata,
        "public_keys": by_name,
        "keys": keys,
        "devices": [],
    })
}

fn network_data(instance: &Instance) -> Value {
    let services: Vec<Value> =
        instance.network.dns.iter().map(|address| json!({"type": "dns", "address": address})).collect();
    json!({
        "links": [{
            "id": "link0",
            "type": "phy",
            "ethernet_mac_address": instance.mac_address,
            "mtu": instance.network.mtu,
            "vif_id": instance.id,
        }],
        "networks": [{
            "id": "network0",
            "type": "ipv4_dhcp",
            "link": "link0",
            "network_id": instance.network_id,
        }],
        "services": services,
    })
}
