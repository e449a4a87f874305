//! EC2's dialect: a file for each fact, below a version of the API.

use super::instance::Instance;
use super::tree::{Child, Tree};

/// Versions of the API that are answered alike.
const VERSIONS: [&str; 5] = ["1.0", "2009-04-04", "2016-09-02", "2021-07-15", "latest"];
/// Digits of an instance's id.
const ID_DIGITS: usize = 17;

/// Everything.
pub(super) fn tree(instance: &Instance) -> Tree {
    let version = version(instance);
    Tree::directory(VERSIONS.map(|name| (name, Some(version.clone()))))
}

fn version(instance: &Instance) -> Tree {
    let meta_data = meta_data(instance);
    let document = serde_json::json!({
        "instanceId": instance_id(instance),
        "privateIp": instance.ip_address,
        "version": "2017-09-30",
    });
    let identity = Tree::directory([("document", Some(Tree::json(&document)))]);
    Tree::directory([
        ("dynamic", Some(Tree::directory([("instance-identity", Some(identity))]))),
        ("meta-data", Some(meta_data)),
        ("user-data", instance.user_data.as_ref().map(Tree::text)),
    ])
}

fn meta_data(instance: &Instance) -> Tree {
    let text = |text: &str| Some(Tree::text(text));
    let ip_address = instance.ip_address.to_string();
    let public_ip = instance.floating_ip.map(|address| address.to_string());
    let interface = Tree::directory([
        ("device-number", text("0")),
        ("local-hostname", text(&instance.name)),
        ("local-ipv4s", text(&ip_address)),
        ("mac", text(&instance.mac_address)),
        ("public-ipv4s", public_ip.as_ref().map(Tree::text)),
        ("security-groups", text(&instance.security_groups.join("\n"))),
        ("subnet-ipv4-cidr-block", text(&instance.network.cidr.to_string())),
    ]);
    let macs = Tree::directory([(instance.mac_address.as_str(), Some(interface))]);
    let interfaces = Tree::directory([("macs", Some(macs))]);
    let keys = (!instance.keys.is_empty()).then(|| public_keys(instance));
    Tree::directory([
        ("ami-launch-index", text("0")),
        ("hostname", text(&instance.name)),
        ("instance-action", text("none")),
        ("instance-id", text(&instance_id(instance))),
        ("local-hostname", text(&instance.name)),
        ("local-ipv4", text(&ip_address)),
        ("mac", text(&instance.mac_address)),
        ("network", Some(Tree::directory([("interfaces", Some(interfaces))]))),
        ("public-ipv4", public_ip.as_ref().map(Tree::text)),
        ("public-keys", keys),
        ("security-groups", text(&instance.security_groups.join("\n"))),
    ])
}

/// Keys are listed as `0=name` and read as `0/openssh-key`.
fn public_keys(instance: &Instance) -> Tree {
    let keys = instance.keys.iter().enumerate().map(|(index, (name, key))| {
        let file = Tree::directory([("openssh-key", Some(Tree::text(format!("{key}\n"))))]);
        Child::listed(index.to_string(), format!("{index}={name}"), file)
    });
    Tree::Directory(keys.collect())
}

/// An id of EC2's form: the last digits of the port's.
fn instance_id(instance: &Instance) -> String {
    let digits: String = instance.id.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("i-{}", &digits[digits.len().saturating_sub(ID_DIGITS)..])
}
