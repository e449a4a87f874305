//! Load balancers over HTTP.

use serde_json::{Value, json};

use crate::bodies::site;

#[test]
fn a_load_balancer_is_made_as_edgestacks_console_does() {
    let daemon = site();
    let lb =
        daemon.create("lbs", &json!({"lb": {"name": "shop", "network": "tenant", "members": ["10.0.0.2"]}}));
    assert_eq!((&lb["virtual_ip"], &lb["members"]), (&json!("10.0.0.3"), &json!(["10.0.0.2"])));
    let id = &lb["id"];
    let rule =
        json!({"lb_rule": {"lb_id": id, "protocol": "tcp", "port_range_min": 80, "port_range_max": 80}});
    let added = daemon.post("lb_rules", &rule);
    assert_eq!(added.status, 201, "{}", added.text);
    let rule_id = added.body["lb_rule"]["id"].as_str().unwrap().to_owned();
    assert_eq!((added.body["id"].as_str(), &added.body["lb_rule"]["lb_id"]), (Some(&*rule_id), id));
    // The same again changes nothing; one in its way is refused.
    assert_eq!(daemon.post("lb_rules", &rule).body["lb_rule"]["id"], *rule_id);
    let wide = json!({"lb_rule": {"protocol": "tcp", "port_range_min": 1, "port_range_max": 100}});
    daemon.post("lbs/shop/rules", &wide).refused(409, "conflict", &[("/lb_rule/port_range_min", "overlap")]);
    assert_eq!(daemon.get("lb_rules").body["total"], 1);
    assert_eq!(daemon.get(&format!("lb_rules/{rule_id}")).body["lb_rule"]["protocol"], "tcp");
    assert_eq!(daemon.delete("lbs/shop/rules/tcp:80").status, 200);
    assert_eq!(daemon.delete(&format!("lb_rules/{rule_id}")).status, 404);
}

#[test]
fn members_come_and_go_one_by_one() {
    let daemon = site();
    daemon.create("lbs", &json!({"lb": {"name": "shop", "network": "tenant"}}));
    let add = |member: Value| daemon.post("lbs/shop/members", &json!({ "member": member }));
    assert_eq!(add(json!("10.0.0.2")).status, 201);
    let drained = add(json!({"address": "10.0.0.2", "weight": 0}));
    let members = &drained.body["lb"]["members"];
    assert_eq!((members.as_array().map(Vec::len), &members[0]["weight"]), (Some(1), &json!(0)));
    add(json!("192.0.2.1")).refused(400, "invalid", &[("/lb/members/1", "outside_network")]);
    add(json!("web")).refused(400, "invalid", &[("/member", "invalid_address")]);
    assert_eq!(daemon.delete("lbs/shop/members/10.0.0.2").status, 200);
    assert_eq!(daemon.delete("lbs/shop/members/10.0.0.2").status, 404);
}

#[test]
fn a_floating_ip_stands_for_a_load_balancer_and_keeps_it() {
    let daemon = site();
    daemon.create("lbs", &json!({"lb": {"name": "shop", "network": "tenant"}}));
    let body = json!({"floating_ip": {"network": "wan", "instance_type": "lb", "instance_name": "shop"}});
    let fip = daemon.create("floating_ips", &body);
    assert_eq!((&fip["target_ip"], &fip["router"]), (&json!("10.0.0.3"), &json!("r1")));
    daemon.delete("lbs/shop").refused(409, "in_use", &[("", "used_by")]);
    let moved = daemon.patch("lbs/shop", &json!({"lb": {"virtual_ip": "10.0.0.77"}}));
    moved.refused(409, "conflict", &[("/lb/virtual_ip", "in_use")]);
}

#[test]
fn addresses_routers_and_networks_are_checked() {
    let daemon = site();
    let ask = |fields: Value| {
        let mut body = json!({"lb": {"name": "shop", "network": "tenant"}});
        for (key, value) in fields.as_object().unwrap() {
            body["lb"][key] = value.clone();
        }
        daemon.post("lbs", &body)
    };
    ask(json!({"virtual_ip": "10.0.0.2"})).refused(409, "conflict", &[("/lb/virtual_ip", "address_in_use")]);
    ask(json!({"virtual_ip": "192.0.2.1"})).refused(400, "invalid", &[("/lb/virtual_ip", "outside_cidr")]);
    ask(json!({"virtual_ip": "fd00::1"})).refused(400, "invalid", &[("/lb/virtual_ip", "outside_cidr")]);
    ask(json!({"router": "r1"})).refused(400, "invalid", &[("/lb/router", "not_allowed")]);
    ask(json!({"network": "none"})).refused(400, "invalid", &[("/lb/network", "not_found")]);
    // In an external network the router is found, and stays.
    let outside =
        daemon.create("lbs", &json!({"lb": {"name": "out", "network": "wan", "members": ["10.0.0.2"]}}));
    assert_eq!(outside["router"], "r1");
    daemon.delete("routers/r1").refused(409, "in_use", &[("", "used_by")]);
}

#[test]
fn a_virtual_address_may_be_ipv6() {
    let daemon = site();
    daemon.create(
        "networks",
        &json!({"network": {"name": "six", "cidr": "10.6.0.0/24", "ipv6_cidr": "fd06::/64"}}),
    );
    let body = |fields: Value| {
        let mut body = json!({"lb": {"name": "six", "network": "six", "members": ["fd06::20"]}});
        for (key, value) in fields.as_object().unwrap() {
            body["lb"][key] = value.clone();
        }
        body
    };
    let ask = |fields: Value| daemon.post("lbs", &body(fields));
    ask(json!({"virtual_ip": "10.6.0.9"})).refused(400, "invalid", &[("/lb/members/0", "mismatch")]);
    let unbracketed = json!({"health_check": {"type": "http", "host": "fd06::20"}});
    ask(unbracketed).refused(400, "invalid", &[("/lb/health_check/host", "invalid_value")]);
    let lb = daemon
        .create("lbs", &body(json!({"health_check": {"type": "http", "port": 8080, "host": "[fd06::20]"}})));
    assert_eq!(lb["health_check"]["host"], "[fd06::20]");
    for kind in ["tcp", "https", "udp", "icmp"] {
        let change =
            json!({"lb": {"health_check": {"type": kind, "path": null, "port": null, "host": null}}});
        let changed = daemon.patch("lbs/six", &change);
        assert_eq!((changed.status, &changed.body["lb"]["health_check"]["type"]), (200, &json!(kind)));
    }
    let address = lb["virtual_ip"].as_str().unwrap().to_owned();
    assert!(address.starts_with("fd06::"), "{address}");
    let port = json!({"port": {"name": "p", "network": "six", "ipv6_address": address}});
    daemon.post("ports", &port).refused(409, "conflict", &[("/port/ipv6_address", "address_in_use")]);
    daemon.create("floating_ips", &json!({"floating_ip": {"name": "f", "network": "wan"}}));
    let association = json!({"floating_ip": {"instance_type": "lb", "instance_name": "six"}});
    let refused = daemon.patch("floating_ips/f", &association);
    refused.refused(400, "invalid", &[("/floating_ip/instance_name", "not_allowed")]);
}
