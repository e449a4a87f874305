//! Pools and forwarded ports of routers over HTTP.

use serde_json::{Value, json};

use crate::bodies::site;
use crate::support::{Answer, Daemon};

fn with_pool(daemon: &Daemon, pool: &Value) -> Answer {
    daemon.patch("routers/r1", &json!({"router": {"external": {"snat_pool": pool}}}))
}

#[test]
fn a_pool_takes_addresses_that_nobody_has() {
    let daemon = site();
    let wide = json!({"network": {"ip_pool": {"start": "203.0.113.10", "end": "203.0.113.60"}}});
    assert_eq!(daemon.patch("networks/wan", &wide).status, 200);
    let pool = json!({"addresses": ["203.0.113.40-203.0.113.43", "203.0.113.50"], "ports_per_workload": 500});
    let answer = with_pool(&daemon, &pool);
    assert_eq!(answer.status, 200, "{}", answer.text);
    let shown = &answer.body["router"]["external"]["snat_pool"];
    assert_eq!((&shown["addresses"], &shown["mapping"]), (&pool["addresses"], &json!("endpoint_dependent")));
    // Whoever comes later hears whose the address is.
    let taken = |answer: Answer, pointer: &str| {
        assert!(answer.text.contains("router r1"), "{}", answer.text);
        answer.refused(409, "conflict", &[(pointer, "address_in_use")]);
    };
    let fip = json!({"floating_ip": {"network": "wan", "floating_ip": "203.0.113.42"}});
    taken(daemon.post("floating_ips", &fip), "/floating_ip/floating_ip");
    let lb = json!({"lb": {"name": "shop", "network": "wan", "virtual_ip": "203.0.113.50", "router": "r1"}});
    taken(daemon.post("lbs", &lb), "/lb/virtual_ip");
    let other = json!({"router": {"name": "r2", "external": {"network": "wan",
        "snat_pool": {"addresses": ["203.0.113.39-203.0.113.40"]}}}});
    taken(daemon.post("routers", &other), "/router/external/snat_pool/addresses/0");
    // Given up, they are free.
    assert_eq!(with_pool(&daemon, &Value::Null).status, 200);
    assert_eq!(daemon.post("floating_ips", &fip).status, 201);
    let again = with_pool(&daemon, &pool);
    assert!(again.text.contains("203.0.113.42"), "{}", again.text);
    again.refused(409, "conflict", &[("/router/external/snat_pool/addresses/0", "address_in_use")]);
}

#[test]
fn pools_are_checked() {
    let daemon = site();
    let field = "/router/external/snat_pool/addresses/0";
    with_pool(&daemon, &json!({"addresses": ["192.0.2.1"]})).refused(
        400,
        "invalid",
        &[(field, "outside_cidr")],
    );
    let (owner, operator) = (daemon.token("project-owner", "default"), daemon.token("admin", "system"));
    let body = |pool: Value| json!({"router": {"external": {"snat_pool": pool}}});
    let ask = |token: &str, pool: Value| daemon.request_as(token, "PATCH", "routers/r1", &body(pool));
    // A tenant says how its sources leave; with how many addresses says the site.
    let more = json!({"addresses": ["203.0.113.40"]});
    ask(&owner, more.clone()).refused(400, "invalid", &[(field, "not_permitted")]);
    assert_eq!(ask(&owner, json!({"mapping": "endpoint_independent"})).status, 200);
    assert_eq!(ask(&operator, more).status, 200);
}

#[test]
fn ports_are_forwarded_one_by_one() {
    let daemon = site();
    let forward = |fields: Value| {
        let mut body =
            json!({"port_forward": {"protocol": "tcp", "port_range_min": 8080, "target_ip": "10.0.0.2"}});
        for (key, value) in fields.as_object().unwrap() {
            body["port_forward"][key] = value.clone();
        }
        daemon.post("routers/r1/port_forwards", &body)
    };
    let added = forward(json!({"target_port": 80}));
    assert_eq!(added.status, 201, "{}", added.text);
    let id = added.body["port_forward"]["id"].as_str().unwrap().to_owned();
    assert!(!id.is_empty());
    assert_eq!(forward(json!({"target_port": 80})).body["port_forward"]["id"], *id, "the same again");
    forward(json!({"port_range_min": 8000, "port_range_max": 8100})).refused(
        409,
        "conflict",
        &[("/port_forward", "overlap")],
    );
    forward(json!({"protocol": "udp", "target_ip": "192.0.2.1"})).refused(
        400,
        "invalid",
        &[("/router/port_forwards/1/target_ip", "outside_network")],
    );
    forward(json!({"protocol": "udp", "external_ip": "203.0.113.99"})).refused(
        400,
        "invalid",
        &[("/router/port_forwards/1/external_ip", "mismatch")],
    );
    forward(json!({"protocol": "icmp"})).refused(
        400,
        "invalid",
        &[("/port_forward/protocol", "invalid_value")],
    );
    assert_eq!(daemon.get("routers/r1/port_forwards").body["total"], 1);
    assert_eq!(daemon.delete("routers/r1/port_forwards/tcp:8080").status, 200);
    assert_eq!(daemon.delete(&format!("routers/r1/port_forwards/{id}")).status, 404);
}
