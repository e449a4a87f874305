//! Floating IPs over HTTP.

use serde_json::{Value, json};

use crate::bodies::{network, port, site};

#[test]
fn a_floating_ip_is_associated_and_disassociated_as_edgestacks_console_does() {
    let daemon = site();
    let created = daemon.create("floating_ips", &json!({"floating_ip": {"network": "wan"}}));
    assert_eq!(
        (&created["floating_ip"], &created["name"]),
        (&json!("203.0.113.11"), &json!("fip-203-0-113-11"))
    );
    let id = created["id"].as_str().unwrap();
    let path = format!("floating_ips/{id}");
    let associate = json!({"floating_ip": {"id": id, "instance_type": "vm", "instance_name": "web",
        "target_network": "tenant", "target_ip": "10.0.0.2"}});
    let associated = daemon.put(&path, &associate);
    assert_eq!(associated.status, 200, "{}", associated.text);
    let object = &associated.body["floating_ip"];
    assert_eq!((&object["router"], &object["target_ip"]), (&json!("r1"), &json!("10.0.0.2")));
    assert_eq!(object["floating_ip"], "203.0.113.11");

    // Nothing that it needs can be taken away.
    daemon.delete("ports/web").refused(409, "in_use", &[("", "used_by")]);
    daemon.delete("routers/r1").refused(409, "in_use", &[("", "used_by")]);
    let change = |patch: Value| daemon.patch("routers/r1", &json!({ "router": patch }));
    change(json!({"internal": []})).refused(409, "conflict", &[("/router/internal", "in_use")]);
    change(json!({"external": null})).refused(409, "conflict", &[("/router/external", "in_use")]);
    let moved = daemon.patch("ports/web", &json!({"port": {"ip_address": "10.0.0.77"}}));
    moved.refused(409, "conflict", &[("/port/ip_address", "in_use")]);

    let disassociated = daemon.put(&path, &json!({"floating_ip": {"id": id}}));
    assert_eq!(disassociated.status, 200, "{}", disassociated.text);
    let object = &disassociated.body["floating_ip"];
    assert_eq!((object.get("instance_name"), object.get("router")), (None, None));
    assert_eq!(object["floating_ip"], "203.0.113.11");
    assert_eq!(daemon.delete("ports/web").status, 200);
    assert_eq!(daemon.delete(&path).status, 200);
}

#[test]
fn addresses_come_from_the_pool_and_each_once() {
    let daemon = site();
    let ask = |address: &str| {
        daemon.post("floating_ips", &json!({"floating_ip": {"network": "wan", "floating_ip": address}}))
    };
    ask("203.0.113.99").refused(400, "invalid", &[("/floating_ip/floating_ip", "outside_pool")]);
    ask("10.0.0.5").refused(400, "invalid", &[("/floating_ip/floating_ip", "outside_cidr")]);
    assert_eq!(ask("203.0.113.12").status, 201);
    assert_eq!(ask("203.0.113.12").status, 200, "a repeated request changes nothing");
    let named = json!({"floating_ip": {"name": "mine", "network": "wan", "floating_ip": "203.0.113.12"}});
    daemon.post("floating_ips", &named).refused(
        409,
        "conflict",
        &[("/floating_ip/floating_ip", "address_in_use")],
    );
    let any = json!({"floating_ip": {"network": "wan"}});
    assert_eq!(daemon.create("floating_ips", &any)["floating_ip"], "203.0.113.11");
    daemon.post("floating_ips", &any).refused(
        409,
        "conflict",
        &[("/floating_ip/floating_ip", "pool_exhausted")],
    );
}

#[test]
fn a_patch_moves_a_floating_ip_to_another_workload() {
    let daemon = site();
    daemon.create("ports", &port("web-2", "tenant"));
    let path = "floating_ips/fip-203-0-113-11";
    daemon.create("floating_ips", &json!({"floating_ip": {"network": "wan", "instance_name": "web"}}));
    let moved = daemon.patch(path, &json!({"floating_ip": {"instance_name": "web-2"}}));
    assert_eq!(moved.status, 200, "{}", moved.text);
    assert_eq!(moved.body["floating_ip"]["target_ip"], daemon.get("ports/web-2").body["port"]["ip_address"]);

    // The address that it has stays its own when the pool no longer holds it.
    let pool = json!({"network": {"ip_pool": {"start": "203.0.113.12", "end": "203.0.113.20"}}});
    assert_eq!(daemon.patch("networks/wan", &pool).status, 200);
    let free = daemon.patch(path, &json!({"floating_ip": {"instance_name": null}}));
    assert_eq!(free.status, 200, "{}", free.text);
    let object = &free.body["floating_ip"];
    assert_eq!((&object["floating_ip"], object.get("target_ip")), (&json!("203.0.113.11"), None));
}

#[test]
fn an_association_must_be_possible() {
    let daemon = site();
    daemon.create("networks", &network("island", "10.9.0.0/24"));
    daemon.create("ports", &port("lonely", "island"));
    let associate = |fields: Value| {
        let mut body = json!({"floating_ip": {"network": "wan"}});
        body["floating_ip"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        daemon.post("floating_ips", &body)
    };
    let refused = |fields, errors: &[(&str, &str)]| {
        associate(fields).refused(400, "invalid", errors);
    };
    refused(json!({"instance_name": "nobody"}), &[("/floating_ip/instance_name", "not_found")]);
    refused(json!({"instance_name": "lonely"}), &[("/floating_ip/instance_name", "no_router")]);
    refused(json!({"instance_type": "lb"}), &[("/floating_ip/instance_name", "missing")]);
    refused(json!({"instance_type": "vip"}), &[("/floating_ip/instance_type", "invalid_value")]);
    refused(
        json!({"instance_name": "web", "target_network": "island", "target_ip": "10.0.0.9", "router": "r9"}),
        &[
            ("/floating_ip/target_network", "mismatch"),
            ("/floating_ip/target_ip", "mismatch"),
            ("/floating_ip/router", "mismatch"),
        ],
    );
    refused(json!({"network": "tenant"}), &[("/floating_ip/network", "wrong_network")]);
    assert_eq!(associate(json!({"instance_name": "web"})).status, 201);
    let second = associate(json!({"instance_name": "web"}));
    second.refused(409, "conflict", &[("/floating_ip/instance_name", "already_associated")]);
    let address = daemon
        .patch("floating_ips/fip-203-0-113-11", &json!({"floating_ip": {"floating_ip": "203.0.113.12"}}));
    address.refused(400, "invalid", &[("/floating_ip/floating_ip", "immutable")]);
}
