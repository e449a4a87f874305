//! Rules of security groups over HTTP.

use serde_json::{Value, json};

use crate::support::Daemon;

fn rule(fields: &Value) -> Value {
    let mut body = json!({"security_group_rule": {"security_group_id": "web", "direction": "ingress"}});
    body["security_group_rule"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn with_group() -> Daemon {
    let daemon = Daemon::start();
    daemon.create("security_groups", &json!({"security_group": {"name": "web"}}));
    daemon
}

#[test]
fn a_rule_lives_its_whole_life() {
    let daemon = with_group();
    let before = daemon.get("security_groups/web");
    let body = rule(
        &json!({"protocol": "TCP", "port_range_min": "80", "port_range_max": 90, "remote_ip_prefix": "10.0.0.0/8"}),
    );
    let created = daemon.create("security_group_rules", &body);
    assert_eq!(created["security_group_id"], before.body["security_group"]["id"]);
    assert_eq!((&created["protocol"], &created["port_range_min"]), (&json!("tcp"), &json!(80)));
    assert_eq!(created["name"], created["id"]);
    let after = daemon.get("security_groups/web");
    assert_eq!(after.body["security_group"]["rules"][0]["id"], created["id"]);
    assert_ne!(before.header("etag"), after.header("etag"), "the tag of a group speaks for its rules");

    let path = format!("security_group_rules/{}", created["id"].as_str().unwrap());
    let patched = daemon.patch(&path, &json!({"security_group_rule": {"port_range_max": 91}}));
    assert_eq!(patched.body["security_group_rule"]["port_range_max"], 91, "{}", patched.text);
    let put_back = daemon.put(&path, &daemon.get(&path).body);
    assert_eq!(put_back.status, 200, "{}", put_back.text);
    assert_eq!(daemon.delete(&path).status, 200);
    assert_eq!(daemon.get("security_groups/web").body["security_group"]["rules"], json!([]));
}

#[test]
fn a_duplicate_is_answered_with_the_rule_that_is_there() {
    let daemon = with_group();
    let first = daemon.post("security_group_rules", &rule(&json!({"protocol": "6"})));
    let second =
        daemon.post("security_group_rules", &rule(&json!({"protocol": "tcp", "remote_ip_prefix": "all"})));
    assert_eq!((first.status, second.status), (201, 200));
    assert_eq!(first.body["id"], second.body["id"]);
    daemon.create("security_group_rules", &rule(&json!({"protocol": "udp"})));
    assert_eq!(daemon.get("security_group_rules").body["total"], 2);
    let path = format!("security_group_rules/{}", first.body["id"].as_str().unwrap());
    let clash = daemon.patch(&path, &json!({"security_group_rule": {"protocol": "udp"}}));
    clash.refused(409, "conflict", &[("/security_group_rule/security_group_id", "duplicate_rule")]);
}

#[test]
fn references_and_fields_are_checked() {
    let daemon = with_group();
    let refused = |fields: Value, errors: &[(&str, &str)]| {
        daemon.post("security_group_rules", &rule(&fields)).refused(400, "invalid", errors);
    };
    refused(json!({"security_group_id": "x"}), &[("/security_group_rule/security_group_id", "not_found")]);
    refused(json!({"remote_group_id": "x"}), &[("/security_group_rule/remote_group_id", "not_found")]);
    refused(
        json!({"direction": "in", "protocol": "tcp", "port_range_min": 70_000, "remote_ip_prefix": "1.2.3.4/99"}),
        &[
            ("/security_group_rule/direction", "invalid_value"),
            ("/security_group_rule/port_range_min", "out_of_range"),
            ("/security_group_rule/remote_ip_prefix", "invalid_cidr"),
        ],
    );
    assert_eq!(daemon.get("security_group_rules").body["total"], 0);
}
