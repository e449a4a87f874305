//! Dry runs: what a write would do is told, and nothing is done.

use serde_json::{Value, json};

use crate::bodies::{network, port, site};
use crate::support::Daemon;

/// Everything that is stored, without statuses.
fn everything(daemon: &Daemon) -> Vec<Value> {
    ["networks", "ports", "routers", "floating_ips", "security_groups", "security_group_rules"]
        .map(|plural| {
            let mut body = daemon.get(plural).body[plural].clone();
            for object in body.as_array_mut().unwrap() {
                object.as_object_mut().unwrap().remove("status");
                object.as_object_mut().unwrap().remove("rules");
            }
            body
        })
        .into()
}

#[test]
fn nothing_of_a_dry_run_stays() {
    let daemon = site();
    daemon.create("floating_ips", &json!({"floating_ip": {"name": "fip", "network": "wan"}}));
    let before = everything(&daemon);
    let rule = json!({"security_group_rule": {"security_group_id": "default", "direction": "egress", "protocol": "sctp"}});
    for (method, path, body) in [
        ("POST", "networks", network("new", "10.9.0.0/24")),
        ("POST", "ports", port("db", "tenant")),
        ("POST", "security_group_rules", rule),
        ("PATCH", "networks/tenant", json!({"network": {"mtu": 1400}})),
        ("PUT", "networks/tenant", network("tenant", "10.0.0.0/24")),
        ("PUT", "floating_ips/fip", json!({"floating_ip": {"instance_name": "web"}})),
        ("POST", "routers/r1/peer_routers", json!({"peer_router": {"ip": "203.0.113.200"}})),
        ("DELETE", "floating_ips/fip", Value::Null),
    ] {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = daemon.request(method, &format!("{path}?dry_run=true"), &[], &body);
        assert_eq!((answer.status, &answer.body["dry_run"]), (200, &json!(true)), "{path}: {}", answer.text);
        assert!(answer.body["plan"].is_object(), "{path}: {}", answer.text);
        assert_eq!(answer.header("location"), None);
    }
    assert_eq!(everything(&daemon), before);
    let done = daemon.post("ports?dry_run=false", &port("db", "tenant"));
    assert_eq!((done.status, &done.body["plan"]), (201, &Value::Null));
}

#[test]
fn a_dry_run_is_refused_as_the_write_would_be() {
    let daemon = site();
    daemon.post("ports?dry_run=true", &port("db", "nowhere")).refused(
        400,
        "invalid",
        &[("/port/network", "not_found")],
    );
    let mut taken = port("db", "tenant");
    taken["port"]["ip_address"] = json!("10.0.0.2");
    daemon.post("ports?dry_run=true", &taken).refused(
        409,
        "conflict",
        &[("/port/ip_address", "address_in_use")],
    );
    daemon.delete("networks/wan?dry_run=true").refused(409, "in_use", &[("", "used_by")]);
    daemon.delete("networks/none?dry_run=true").refused(404, "not_found", &[]);
}

#[test]
fn a_plan_tells_objects_fields_addresses_and_flows() {
    let daemon = site();
    daemon.create("ports", &port("db", "tenant"));
    daemon.create("networks", &network("other", "10.1.0.0/24"));
    daemon.create("ports", &port("far", "other"));

    let created = daemon.post("ports?dry_run=true", &port("new", "tenant")).body;
    assert_eq!(created["port"]["ip_address"], "10.0.0.4", "as it would be");
    let plan = &created["plan"];
    assert_eq!((&plan["created"][0]["kind"], &plan["created"][0]["name"]), (&json!("port"), &json!("new")));
    assert_eq!((&plan["changed"], &plan["deleted"]), (&json!([]), &json!([])));
    assert_eq!(plan["addresses"][0]["address"], "10.0.0.4");
    assert_eq!(
        (&plan["addresses"][0]["network"], &plan["addresses"][0]["from"]),
        (&json!("tenant"), &Value::Null)
    );
    assert_eq!(plan["addresses"][0]["to"]["name"], "new");

    let patch = json!({"port": {"ip_address": "10.0.0.9", "labels": {"a": "b"}}});
    let plan = daemon.patch("ports/web?dry_run=true", &patch).body["plan"].clone();
    assert_eq!(plan["changed"][0]["name"], "web");
    assert_eq!(
        plan["changed"][0]["fields"],
        json!([{"field": "ip_address", "from": "10.0.0.2", "to": "10.0.0.9"},
            {"field": "labels", "from": {}, "to": {"a": "b"}}])
    );
    assert_eq!(plan["addresses"].as_array().unwrap().len(), 2);
    let decided_again = plan["flows"]["decided_again"].as_array().unwrap();
    assert!(decided_again.contains(&json!("web")));
    assert!(!decided_again.contains(&json!("far")), "of another tenant");

    let labels = json!({"port": {"labels": {"a": "b"}}});
    let plan = daemon.patch("ports/web?dry_run=true", &labels).body["plan"].clone();
    assert_eq!(plan["flows"], json!({"decided_again": [], "ended": []}));

    // A rule of the group of all ports concerns their flows.
    let rule = json!({"security_group_rule": {"security_group_id": "default", "direction": "ingress", "protocol": "tcp"}});
    let plan = daemon.post("security_group_rules?dry_run=true", &rule).body["plan"].clone();
    assert_eq!(plan["created"].as_array().unwrap().len(), 1);
    assert_eq!(plan["changed"], json!([]), "the group is written anew with its rule, and not changed itself");
    assert_eq!(plan["flows"]["decided_again"], json!(["web", "db", "far"]));

    let same = daemon.put("ports/web?dry_run=true", &daemon.get("ports/web").body).body["plan"].clone();
    assert_eq!((&same["changed"], &same["flows"]["decided_again"]), (&json!([]), &json!([])));
}
