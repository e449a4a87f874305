//! Networks over HTTP.

use serde_json::json;

use crate::bodies::{external, network, port};
use crate::support::Daemon;

#[test]
fn a_network_lives_its_whole_life() {
    let daemon = Daemon::start();
    let created = daemon.post("networks", &network("tenant", "10.0.0.0/24"));
    assert_eq!(created.status, 201, "{}", created.text);
    let object = &created.body["network"];
    assert_eq!(object["gateway_ip"], "10.0.0.1");
    assert_eq!(object["ip_pool"], json!({"start": "10.0.0.1", "end": "10.0.0.254"}));
    assert_eq!(
        (&object["type"], &object["segment_id"], &object["mtu"]),
        (&json!("VXLAN"), &json!(1), &json!(1450))
    );
    let id = created.body["id"].as_str().unwrap();
    assert!(created.header("location").unwrap().ends_with(id));

    for reference in ["tenant", id] {
        let shown = daemon.get(&format!("networks/{reference}"));
        assert_eq!(shown.body["network"]["name"], "tenant");
    }
    let list = daemon.get("networks");
    assert_eq!((&list.body["total"], &list.body["networks"][0]["id"]), (&json!(1), &json!(id)));

    let patched = daemon.patch("networks/tenant", &json!({"network": {"mtu": 1400, "dns": ["9.9.9.9"]}}));
    assert_eq!(patched.status, 200, "{}", patched.text);
    assert_eq!(patched.body["network"]["generation"], 2);
    assert_eq!(patched.body["network"]["dns"], json!(["9.9.9.9"]));
    let again = daemon.patch("networks/tenant", &json!({"network": {"mtu": 1400}}));
    assert_eq!(again.body["network"]["generation"], 2, "no change, no generation");

    let mut whole = daemon.get("networks/tenant").body;
    whole["network"]["description"] = json!("changed");
    let replaced = daemon.put("networks/tenant", &whole);
    assert_eq!(replaced.status, 200, "what GET returned can be PUT back: {}", replaced.text);
    assert_eq!(replaced.body["network"]["mtu"], 1400);

    let deleted = daemon.delete("networks/tenant");
    assert_eq!(deleted.body, json!({"message": "OK", "id": id, "name": "tenant"}));
    daemon.get("networks/tenant").refused(404, "not_found", &[]);
    daemon.delete("networks/tenant").refused(404, "not_found", &[]);
    let list = daemon.get("networks").body;
    assert_eq!((&list["networks"], &list["total"]), (&json!([]), &json!(0)));
}

#[test]
fn creating_again_is_harmless_and_creating_another_is_refused() {
    let daemon = Daemon::start();
    let first = daemon.post("networks", &network("tenant", "10.0.0.0/24"));
    let second = daemon.post("networks", &network("tenant", "10.0.0.0/24"));
    assert_eq!(second.status, 200);
    assert_eq!(second.body["id"], first.body["id"]);
    let other = daemon.post("networks", &network("tenant", "10.0.1.0/24"));
    other.refused(
        409,
        "already_exists",
        &[("/network/cidr", "differs"), ("/network/gateway_ip", "differs"), ("/network/ip_pool", "differs")],
    );
}

#[test]
fn every_wrong_field_is_named_and_nothing_is_stored() {
    let daemon = Daemon::start();
    let answer = daemon.post(
        "networks",
        &json!({"network": {"name": "UPPER", "cidr": "10.0.0.1/24", "segmentId": 5, "mtu": 10, "type": "STT"}}),
    );
    answer.refused(
        400,
        "invalid",
        &[
            ("/network/name", "invalid_name"),
            ("/network/type", "invalid_value"),
            ("/network/mtu", "out_of_range"),
            ("/network/cidr", "invalid_cidr"),
            ("/network/segmentId", "unknown_field"),
        ],
    );
    assert!(
        answer.text.contains("did you mean `10.0.0.0/24`?")
            && answer.text.contains("did you mean `segment_id`?")
    );
    assert_eq!(daemon.get("networks").body["total"], 0);
}

#[test]
fn what_only_one_network_may_have_is_given_once() {
    let daemon = Daemon::start();
    let taken = json!({"network": {"name": "a", "cidr": "10.0.0.0/24", "type": "GENEVE", "segment_id": 2}});
    daemon.create("networks", &taken);
    let second = json!({"network": {"name": "b", "cidr": "10.0.0.0/24", "type": "GENEVE", "segment_id": 2}});
    daemon.post("networks", &second).refused(409, "conflict", &[("/network/segment_id", "segment_in_use")]);
    // Chosen ones go around those given, and types do not share.
    let chosen = |name: &str, kind: &str| {
        daemon.create("networks", &json!({"network": {"name": name, "cidr": "10.0.0.0/24", "type": kind}}))
            ["segment_id"]
            .clone()
    };
    assert_eq!(
        [chosen("c", "GENEVE"), chosen("d", "GENEVE"), chosen("e", "VXLAN")],
        [1, 3, 1].map(|id| json!(id))
    );
    daemon.create("networks", &external());
    let mut second = external();
    second["network"]["name"] = json!("wan2");
    daemon.post("networks", &second).refused(409, "conflict", &[("/network/physnet_name", "physnet_in_use")]);
}

#[test]
fn what_others_rely_on_does_not_change() {
    let daemon = Daemon::start();
    daemon.create("networks", &network("tenant", "10.0.0.0/24"));
    daemon.create("ports", &port("web", "tenant"));
    let change = |patch| daemon.patch("networks/tenant", &json!({ "network": patch }));
    change(json!({"cidr": "10.0.0.0/16"})).refused(400, "invalid", &[("/network/cidr", "immutable")]);
    change(json!({"type": "GENEVE"})).refused(400, "invalid", &[("/network/type", "immutable")]);
    change(json!({"segment_id": 9})).refused(400, "invalid", &[("/network/segment_id", "immutable")]);
    change(json!({"name": "other"})).refused(400, "invalid", &[("/network/name", "immutable")]);
    change(json!({"id": "other"})).refused(400, "invalid", &[("/network/id", "immutable")]);
    change(json!({"gateway_ip": "10.0.0.2"})).refused(
        409,
        "conflict",
        &[("/network/gateway_ip", "address_in_use")],
    );
    let users = daemon.delete("networks/tenant");
    users.refused(409, "in_use", &[("", "used_by")]);
    assert!(users.text.contains("port web"), "{}", users.text);
    assert_eq!(daemon.delete("ports/web").status, 200);
    assert_eq!(daemon.delete("networks/tenant").status, 200);
}

#[test]
fn reserved_addresses_are_given_to_nobody() {
    let daemon = Daemon::start();
    let mut body = network("tenant", "10.0.0.0/24");
    body["network"]["reservations"] =
        json!([{"start": "10.0.0.2", "end": "10.0.0.9", "description": "printers"}, {"start": "10.0.0.11"}]);
    let created = daemon.create("networks", &body);
    assert_eq!(created["reservations"][1], json!({"start": "10.0.0.11", "end": "10.0.0.11"}));
    let address = |name: &str| daemon.create("ports", &port(name, "tenant"))["ip_address"].clone();
    assert_eq!([address("a"), address("b")], [json!("10.0.0.10"), json!("10.0.0.12")]);
    let mut wanted = port("c", "tenant");
    wanted["port"]["ip_address"] = json!("10.0.0.5");
    daemon.post("ports", &wanted).refused(400, "invalid", &[("/port/ip_address", "reserved_address")]);
    let patch = json!({"network": {"reservations": [{"start": "10.0.0.2", "end": "10.0.0.20"}]}});
    let refused = daemon.patch("networks/tenant", &patch);
    refused.refused(409, "conflict", &[("/network/reservations/0", "address_in_use")]);
    assert!(
        refused.text.contains("10.0.0.10 of the range 10.0.0.2 to 10.0.0.20 belongs to the port a"),
        "{}",
        refused.text
    );
    let none = daemon.patch("networks/tenant", &json!({"network": {"reservations": null}}));
    assert_eq!((none.status, &none.body["network"]["reservations"]), (200, &json!(null)));
    assert_eq!(address("d"), json!("10.0.0.2"));
}

#[test]
fn hosts_that_make_their_own_addresses_have_them() {
    let daemon = Daemon::start();
    let mut slaac = network("tenant", "10.0.0.0/24");
    slaac["network"]["ipv6_cidr"] = json!("fd00:0:0:1::/64");
    slaac["network"]["ipv6_ra_mode"] = json!("slaac");
    assert_eq!(daemon.create("networks", &slaac)["ipv6_ra_mode"], "slaac");
    let mut body = port("a", "tenant");
    body["port"]["mac_address"] = json!("02:00:00:00:0a:01");
    assert_eq!(daemon.create("ports", &body)["ipv6_address"], "fd00::1:0:ff:fe00:a01");
    // It goes with the MAC address, an address of its own choice does not.
    let changed = daemon.patch("ports/a", &json!({"port": {"mac_address": "02:00:00:00:0a:02"}}));
    assert_eq!(changed.body["port"]["ipv6_address"], "fd00::1:0:ff:fe00:a02", "{}", changed.text);
    let changed = daemon.patch("ports/a", &json!({"port": {"ipv6_address": "fd00:0:0:1::9"}}));
    assert_eq!(changed.status, 200, "{}", changed.text);
    let changed = daemon.patch("ports/a", &json!({"port": {"mac_address": "02:00:00:00:0a:03"}}));
    assert_eq!(changed.body["port"]["ipv6_address"], "fd00:0:0:1::9", "{}", changed.text);
    // Addresses are from the pool again, and nobody loses one.
    let changed = daemon.patch("networks/tenant", &json!({"network": {"ipv6_ra_mode": "stateful"}}));
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(daemon.create("ports", &port("b", "tenant"))["ipv6_address"], "fd00:0:0:1::2");
    let wrong = json!({"network": {"ipv6_ra_mode": "dhcp"}});
    daemon.patch("networks/tenant", &wrong).refused(
        400,
        "invalid",
        &[("/network/ipv6_ra_mode", "invalid_value")],
    );
}

#[test]
fn ipv6_addresses_are_given_out_beside_the_others() {
    let daemon = Daemon::start();
    daemon.create("networks", &network("tenant", "10.0.0.0/24"));
    let before = daemon.create("ports", &port("before", "tenant"));
    assert_eq!(before["ipv6_address"], json!(null));
    let patched = daemon.patch("networks/tenant", &json!({"network": {"ipv6_cidr": "fd00:0:0:1::/64"}}));
    assert_eq!(patched.body["network"]["ipv6_gateway_ip"], "fd00:0:0:1::1", "{}", patched.text);
    assert_eq!(daemon.post("ports", &port("before", "tenant")).status, 200, "it is still what was asked for");
    let after = daemon.create("ports", &port("after", "tenant"));
    assert_eq!((&after["ip_address"], &after["ipv6_address"]), (&json!("10.0.0.3"), &json!("fd00:0:0:1::2")));
    let mut same = port("same", "tenant");
    same["port"]["ipv6_address"] = json!("fd00:0:0:1::2");
    daemon.post("ports", &same).refused(409, "conflict", &[("/port/ipv6_address", "address_in_use")]);
    same["port"]["ipv6_address"] = json!("fd00:0:0:1::1");
    daemon.post("ports", &same).refused(400, "invalid", &[("/port/ipv6_address", "reserved_address")]);
    let change = |patch| daemon.patch("networks/tenant", &json!({ "network": patch }));
    let none = change(json!({"ipv6_cidr": null, "ipv6_gateway_ip": null, "ipv6_ip_pool": null}));
    none.refused(409, "conflict", &[("/network/ipv6_cidr", "in_use")]);
    assert_eq!(daemon.delete("ports/after").status, 200);
    let none = change(json!({"ipv6_cidr": null, "ipv6_gateway_ip": null, "ipv6_ip_pool": null}));
    assert_eq!(none.status, 200, "{}", none.text);
    daemon.create("networks", &network("plain", "10.0.0.0/24"));
    same["port"]["network"] = json!("plain");
    daemon.post("ports", &same).refused(400, "invalid", &[("/port/ipv6_address", "outside_cidr")]);
}

#[test]
fn the_uplink_of_a_network_in_use_stays() {
    let daemon = Daemon::start();
    daemon.create("networks", &external());
    daemon.create("routers", &json!({"router": {"name": "r", "external": "wan"}}));
    let moved = daemon.patch("networks/wan", &json!({"network": {"physnet_name": "other"}}));
    moved.refused(409, "conflict", &[("/network/physnet_name", "in_use")]);
    assert!(moved.text.contains("the router r has an address"), "{}", moved.text);
}

/// How much of a network's pool is given, as the list and the network itself say.
fn usage(daemon: &Daemon, name: &str) -> (u64, u64) {
    let list = daemon.get("networks").body["networks"].as_array().unwrap().clone();
    let listed = list.iter().find(|network| network["name"] == name).unwrap()["status"]["addresses"].clone();
    let shown = daemon.get(&format!("networks/{name}")).body["network"]["status"]["addresses"].clone();
    assert_eq!(listed, shown, "{name}");
    (listed["used"].as_u64().unwrap(), listed["total"].as_u64().unwrap())
}

/// What is given and freed is counted; the tenant's network has three addresses free.
fn usage_follows(daemon: &Daemon, external: &str, tenant: &str) {
    let (outside, total) = usage(daemon, external);
    assert_eq!(usage(daemon, tenant), (2, 5), "the gateway and a port; what is reserved is not counted");
    daemon.create("ports", &port("second", tenant));
    assert_eq!(usage(daemon, tenant), (3, 5));
    assert_eq!(daemon.delete("ports/web").status, 200);
    assert_eq!(daemon.delete("ports/second").status, 200);
    assert_eq!(usage(daemon, tenant), (1, 5));
    let fip = daemon.post("floating_ips", &json!({"floating_ip": {"network": external}}));
    assert_eq!(usage(daemon, external), (outside + 1, total), "{}", fip.text);
    let whole = daemon.patch(&format!("networks/{tenant}"), &json!({"network": {"reservations": []}}));
    assert_eq!((whole.status, usage(daemon, tenant)), (200, (1, 6)), "{}", whole.text);
}

#[test]
fn addresses_are_shown_with_who_has_them() {
    let daemon = Daemon::start();
    daemon.create("networks", &external());
    let mut body = network("tenant", "10.0.0.0/29");
    body["network"]["reservations"] = json!([{"start": "10.0.0.2"}]);
    daemon.create("networks", &body);
    let web = daemon.create("ports", &port("web", "tenant"));
    daemon.create(
        "routers",
        &json!({"router": {"name": "r", "internal": ["tenant"], "external": "wan",
        "peer_router": {"ip": "203.0.113.9"}}}),
    );
    let shown = daemon.get("networks/tenant/allocations");
    assert_eq!((&shown.body["total"], &shown.body["free"]), (&json!(2), &json!(3)), "{}", shown.text);
    let rows = shown.body["allocations"].as_array().unwrap();
    assert_eq!((&rows[0]["ip_address"], &rows[0]["purpose"]), (&json!("10.0.0.1"), &json!("gateway")));
    assert_eq!((&rows[1]["name"], &rows[1]["mac_address"]), (&json!("web"), &web["mac_address"]));
    let outside = daemon.get("networks/wan/allocations");
    let purposes: Vec<&str> = outside.body["allocations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["purpose"].as_str().unwrap())
        .collect();
    assert!(purposes.contains(&"router") && purposes.contains(&"peer_router"), "{purposes:?}");
    let available = daemon.get("networks/available_ips?limit=2");
    let all = available.body["all_ips"].as_array().unwrap();
    let tenant = all.iter().find(|entry| entry["network"] == "tenant").unwrap();
    assert_eq!(tenant["ips"], json!(["10.0.0.4", "10.0.0.5"]), "{}", available.text);
    assert_eq!(tenant["total"], 3);
    usage_follows(&daemon, "wan", "tenant");
    daemon.get("networks/none/allocations").refused(404, "not_found", &[]);
    let physnets = daemon.get("physnets");
    assert_eq!(
        physnets.body["physnets"],
        json!([{"name": "internet", "interface": "eth9", "uplink": "wan0"}])
    );
}
