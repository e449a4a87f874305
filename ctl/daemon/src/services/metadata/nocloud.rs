//! Files for cloud-init's NoCloud: `ds=nocloud;s=http://169.254.169.254/nocloud/`.

use serde_json::{Map, Value, json};

use super::instance::Instance;
use super::tree::Tree;

/// Everything. YAML is asked for, and JSON is YAML.
pub(super) fn tree(instance: &Instance) -> Tree {
    let keys: Vec<&str> = instance.keys.iter().map(|(_, key)| key.as_str()).collect();
    let mut meta_data: Map<String, Value> = Map::new();
    meta_data.insert("instance-id".to_owned(), json!(instance.id));
    meta_data.insert("local-hostname".to_owned(), json!(instance.name));
    if !keys.is_empty() {
        meta_data.insert("public-keys".to_owned(), json!(keys));
    }
    let network_config = json!({
        "version": 2,
        "ethernets": {
            "id0": {"match": {"macaddress": instance.mac_address}, "dhcp4": true, "mtu": instance.network.mtu},
        },
    });
    let yaml = |value: Value| Some(Tree::text(format!("{value}\n")));
    Tree::directory([
        ("meta-data", yaml(Value::Object(meta_data))),
        ("network-config", yaml(network_config)),
        ("user-data", Some(Tree::text(instance.user_data.clone().unwrap_or_default()))),
        ("vendor-data", Some(Tree::text(""))),
    ])
}
