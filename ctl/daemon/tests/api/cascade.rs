//! Removal of objects that are in use: refused with the users, or together with them.

use serde_json::{Value, json};

use crate::bodies::{network, port, site};
use crate::support::Daemon;

/// Kinds and names of a list of references.
fn named(references: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let references = references.as_array().unwrap_or_else(|| panic!("no list: {references}"));
    references.iter().map(|reference| (text(&reference["kind"]), text(&reference["name"]))).collect()
}

fn pairs(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    wanted.iter().map(|(kind, name)| ((*kind).to_owned(), (*name).to_owned())).collect()
}

#[test]
fn a_refusal_lists_the_users() {
    let daemon = site();
    let refused = daemon.delete("networks/tenant");
    refused.refused(409, "in_use", &[("", "used_by"), ("", "used_by")]);
    assert_eq!(named(&refused.body["users"]), pairs(&[("port", "web"), ("router", "r1")]));
    let id = refused.body["users"][0]["id"].as_str().unwrap();
    assert_eq!(daemon.get(&format!("ports/{id}")).body["port"]["name"], "web");
    assert!(refused.text.contains("is used by port web, router r1"), "{}", refused.text);
}

#[test]
fn many_users_are_listed_in_part() {
    let daemon = Daemon::start();
    daemon.create("networks", &network("tenant", "10.0.0.0/16"));
    for number in 0..105 {
        daemon.create("ports", &port(&format!("p{number}"), "tenant"));
    }
    let refused = daemon.delete("networks/tenant");
    assert_eq!(refused.body["users"].as_array().unwrap().len(), 100);
    assert!(refused.body["detail"].as_str().unwrap().ends_with(", 95 more"), "{}", refused.text);
}

#[test]
fn a_cascade_removes_the_users_first_and_all_at_once() {
    let daemon = site();
    daemon.create(
        "floating_ips",
        &json!({"floating_ip": {"name": "fip", "network": "wan", "instance_name": "web"}}),
    );
    daemon.create("networks", &network("other", "10.1.0.0/24"));
    daemon.create("ports", &port("stays", "other"));

    let plan = daemon.delete("networks/tenant?cascade=true&dry_run=true");
    assert_eq!(plan.status, 200, "{}", plan.text);
    let wanted = pairs(&[("floating_ip", "fip"), ("port", "web"), ("router", "r1"), ("network", "tenant")]);
    assert_eq!(named(&plan.body["plan"]["deleted"]), wanted, "users before what they use");
    assert_eq!(plan.body["plan"]["flows"]["ended"], json!(["web"]));
    let mut freed: Vec<&str> = plan.body["plan"]["addresses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["address"].as_str().unwrap())
        .collect();
    freed.sort_unstable();
    assert_eq!(freed, ["10.0.0.1", "10.0.0.2", "203.0.113.10", "203.0.113.11"]);
    assert_eq!(daemon.get("networks/tenant").status, 200, "only asked");

    let revision = daemon.get("ports").body["revision"].as_u64().unwrap();
    assert_eq!(daemon.delete("networks/tenant?cascade=true").status, 200);
    for gone in ["networks/tenant", "ports/web", "routers/r1", "floating_ips/fip"] {
        daemon.get(gone).refused(404, "not_found", &[]);
    }
    assert_eq!(daemon.get("ports/stays").status, 200);
    assert!(
        daemon.get("ports").body["revision"].as_u64().unwrap() <= revision + 3,
        "one transaction, and statuses"
    );
    // What they had is free again.
    daemon.create("networks", &network("tenant", "10.0.0.0/24"));
    assert_eq!(daemon.create("ports", &port("web", "tenant"))["ip_address"], "10.0.0.2");
}

#[test]
fn a_cascade_removes_nothing_that_its_caller_may_not() {
    let daemon = site();
    let body = json!({"floating_ip": {"name": "fip", "network": "wan", "instance_name": "web"}});
    daemon.create("floating_ips", &body);
    // An operator looks after ports, and only looks at floating IPs.
    let operator = daemon.token("operator", "system");
    let remove = |path: &str| daemon.request_as(&operator, "DELETE", path, &Value::Null);
    remove("floating_ips/fip").refused(403, "forbidden", &[]);
    remove("ports/web?cascade=true").refused(409, "in_use", &[("", "used_by")]);
    assert_eq!(daemon.get("floating_ips/fip").body["floating_ip"]["instance_name"], "web");
    assert_eq!(daemon.delete("floating_ips/fip").status, 200);
    assert_eq!(remove("ports/web?cascade=true").status, 200, "nothing stands in the way");
}

#[test]
fn a_cascade_that_cannot_be_removes_nothing() {
    let daemon = site();
    // The group `default` is protected, whoever asks.
    daemon.delete("security_groups/default?cascade=true").refused(409, "protected", &[]);
    assert_eq!(daemon.get("ports/web").status, 200, "the port was not removed before it was found out");
    daemon.delete("networks/tenant?cascade=maybe").refused(400, "invalid", &[("?cascade", "invalid_value")]);
    daemon.patch("networks/tenant?cascade=true", &json!({"network": {"mtu": 1400}})).refused(
        400,
        "invalid",
        &[("?cascade", "unknown_parameter")],
    );
    let tag = "If-Match: \"9-9\"";
    daemon.request("DELETE", "networks/tenant?cascade=true", &[tag], "").refused(
        412,
        "precondition_failed",
        &[],
    );
    // A group goes with the rules of others that refer to it.
    daemon.create("security_groups", &json!({"security_group": {"name": "a"}}));
    daemon.create(
        "security_groups",
        &json!({"security_group": {"name": "b",
        "rules": [{"direction": "ingress", "protocol": "tcp", "remote_group_id": "a"}]}}),
    );
    assert_eq!(daemon.delete("security_groups/a?cascade=true").status, 200);
    assert_eq!(daemon.get("security_groups/b").body["security_group"]["rules"], json!([]));
}
