//! Routers over HTTP.

use serde_json::json;

use crate::bodies::{external, network, site};
use crate::support::Daemon;

#[test]
fn routes_lead_to_hosts_of_the_routers_networks() {
    let daemon = Daemon::start();
    daemon.create("networks", &network("tenant", "10.0.0.0/24"));
    daemon.create("networks", &external());
    let router = |routes: serde_json::Value| json!({"router": {"name": "r", "internal": ["tenant"], "external": "wan", "routes": routes}});
    let wrong = daemon.post(
        "routers",
        &router(json!([
            {"destination": "10.9.0.0/16", "nexthop": "10.1.0.1"},
            {"destination": "10.8.0.0/16", "nexthop": "10.0.0.1"},
            {"destination": "10.0.0.0/24", "blackhole": true}
        ])),
    );
    wrong.refused(
        400,
        "invalid",
        &[
            ("/router/routes/0/nexthop", "nexthop_unreachable"),
            ("/router/routes/1/nexthop", "reserved_address"),
            ("/router/routes/2/destination", "connected"),
        ],
    );
    let routes = json!([{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"},
        {"destination": "10.8.0.0/16", "blackhole": true}]);
    let created = daemon.create("routers", &router(routes.clone()));
    assert_eq!(created["routes"], routes);
    let cut = daemon.patch("routers/r", &json!({"router": {"internal": []}}));
    cut.refused(400, "invalid", &[("/router/routes/0/nexthop", "nexthop_unreachable")]);
    let none = daemon.patch("routers/r", &json!({"router": {"internal": [], "routes": null}}));
    assert_eq!(none.status, 200, "{}", none.text);
}

#[test]
fn a_router_has_an_ipv6_address_where_the_outside_has() {
    let daemon = Daemon::start();
    let mut outside = external();
    outside["network"]["ipv6_cidr"] = json!("2001:db8::/64");
    outside["network"]["ipv6_gateway_ip"] = json!("fe80::1");
    daemon.create("networks", &outside);
    let created = daemon.create("routers", &json!({"router": {"name": "r", "external": "wan"}}));
    assert_eq!(created["external"]["ipv6"], "2001:db8::1");
    let taken = json!({"router": {"name": "s", "external": {"network": "wan", "ipv6": "2001:db8::1"}}});
    daemon.post("routers", &taken).refused(409, "conflict", &[("/router/external/ipv6", "address_in_use")]);
}

#[test]
fn the_server_fills_in_the_mac_and_the_external_address() {
    let daemon = site();
    let router = daemon.get("routers/r1").body["router"].clone();
    assert_eq!(router["external"], json!({"network": "wan", "ip": "203.0.113.10"}));
    assert_eq!((&router["internal"], &router["enable_snat"]), (&json!(["tenant"]), &json!(true)));
    assert!(router["mac"].as_str().unwrap().starts_with("02:"));
    let again = json!({"router": {"name": "r1", "internal": ["tenant"], "external": {"network": "wan"}}});
    assert_eq!(daemon.post("routers", &again).status, 200);
}

#[test]
fn networks_of_a_router_must_not_overlap_nor_have_another_router() {
    let daemon = site();
    daemon.create("networks", &network("twin", "10.0.0.0/16"));
    daemon.create("networks", &network("inside", "203.0.113.128/25"));
    let add = |internal| daemon.patch("routers/r1", &json!({"router": {"internal": internal}}));
    add(json!(["tenant", "twin"])).refused(400, "invalid", &[("/router/internal/1", "overlapping_cidr")]);
    add(json!(["tenant", "inside"])).refused(400, "invalid", &[("/router/internal/1", "overlapping_cidr")]);
    let second = json!({"router": {"name": "r2", "internal": ["tenant"]}});
    daemon.post("routers", &second).refused(409, "conflict", &[("/router/internal/0", "network_in_use")]);
    // Tenants may have the same addresses as long as they do not meet.
    daemon.create("routers", &json!({"router": {"name": "r2", "internal": ["twin"], "external": "wan"}}));
    assert_eq!(daemon.get("routers/r2").body["router"]["external"]["ip"], "203.0.113.11");
}

#[test]
fn references_are_checked() {
    let daemon = Daemon::start();
    daemon.create("networks", &network("tenant", "10.0.0.0/24"));
    daemon.create("networks", &external());
    let id = daemon.get("networks/tenant").body["network"]["id"].clone();
    let body =
        json!({"router": {"name": "r", "internal": ["tenant", "nowhere", "wan", id], "external": "tenant"}});
    daemon.post("routers", &body).refused(
        400,
        "invalid",
        &[
            ("/router/internal/1", "not_found"),
            ("/router/internal/2", "wrong_network"),
            ("/router/internal/3", "duplicate"),
            ("/router/external/network", "wrong_network"),
        ],
    );
    let outside = json!({"router": {"name": "r", "external": {"network": "wan", "ip": "198.51.100.1"}}});
    daemon.post("routers", &outside).refused(400, "invalid", &[("/router/external/ip", "outside_cidr")]);
    let gateway = json!({"router": {"name": "r", "external": {"network": "wan", "ip": "203.0.113.1"}}});
    daemon.post("routers", &gateway).refused(400, "invalid", &[("/router/external/ip", "reserved_address")]);
    let peer = json!({"router": {"name": "r", "external": "wan", "peer_router": {"ip": "10.0.0.9"}}});
    daemon.post("routers", &peer).refused(400, "invalid", &[("/router/peer_router/ip", "outside_cidr")]);
    assert_eq!(daemon.get("routers").body["total"], 0);
}

#[test]
fn the_peer_router_is_a_resource_of_its_own() {
    let daemon = site();
    assert_eq!(daemon.get("routers/r1/peer_routers").body, json!({"peer_routers": [], "total": 0}));
    let peer = json!({"peer_router": {"ip": "203.0.113.254", "mac": "02:00:00:00:00:fe"}});
    assert_eq!(daemon.post("routers/r1/peer_routers", &peer).status, 201);
    assert_eq!(daemon.get("routers/r1/peer_routers").body["peer_routers"][0], peer["peer_router"]);
    let other = json!({"peer_router": {"ip": "203.0.113.253"}});
    daemon.post("routers/r1/peer_routers", &other).refused(
        409,
        "conflict",
        &[("/peer_router/ip", "already_exists")],
    );
    let wrong = json!({"peer_router": {"address": "x"}});
    daemon.post("routers/r1/peer_routers", &wrong).refused(
        400,
        "invalid",
        &[("/peer_router/ip", "missing"), ("/peer_router/address", "unknown_field")],
    );
    daemon.delete("routers/r1/peer_routers/203.0.113.1").refused(404, "not_found", &[]);
    assert_eq!(daemon.delete("routers/r1/peer_routers/203.0.113.254").status, 200);
    assert_eq!(daemon.get("routers/r1").body["router"].get("peer_router"), None);
    daemon.get("routers/r9/peer_routers").refused(404, "not_found", &[]);
}

#[test]
fn the_address_of_a_peer_is_nobody_elses() {
    let daemon = site();
    let fip = |address: Option<&str>| {
        let mut body = json!({"floating_ip": {"network": "wan"}});
        if let Some(address) = address {
            body["floating_ip"]["floating_ip"] = json!(address);
        }
        daemon.post("floating_ips", &body)
    };
    let peer = |address: &str| json!({"peer_router": {"ip": address}});
    assert_eq!(daemon.post("routers/r1/peer_routers", &peer("203.0.113.11")).status, 201);
    fip(Some("203.0.113.11")).refused(409, "conflict", &[("/floating_ip/floating_ip", "address_in_use")]);
    assert_eq!(
        fip(None).body["floating_ip"]["floating_ip"],
        "203.0.113.12",
        "the peer's address is passed over"
    );
    let second = |peer: &str| {
        let ip = "203.0.113.40";
        json!({"router": {"name": "r2", "external": {"network": "wan", "ip": ip}, "peer_router": {"ip": peer}}})
    };
    for taken in ["203.0.113.10", "203.0.113.12"] {
        let answer = daemon.post("routers", &second(taken));
        answer.refused(409, "conflict", &[("/router/peer_router/ip", "address_in_use")]);
    }
    daemon.create("routers", &second("203.0.113.11"));
    assert_eq!(daemon.delete("routers/r1/peer_routers/203.0.113.11").status, 200);
    fip(Some("203.0.113.11")).refused(409, "conflict", &[("/floating_ip/floating_ip", "address_in_use")]);
    assert_eq!(daemon.delete("routers/r2").status, 200);
    assert_eq!(fip(Some("203.0.113.11")).status, 201, "free again, with the last router whose peer it was");
}

#[test]
fn an_address_stays_the_routers_own_until_it_leaves() {
    let daemon = site();
    let port = json!({"floating_ip": {"network": "wan", "floating_ip": "203.0.113.10"}});
    daemon.post("floating_ips", &port).refused(
        409,
        "conflict",
        &[("/floating_ip/floating_ip", "address_in_use")],
    );
    assert_eq!(daemon.patch("routers/r1", &json!({"router": {"external": ""}})).status, 200);
    daemon.create("floating_ips", &port);
}

/// A site whose router may have a second way out.
fn with_second_way_out() -> Daemon {
    let daemon = site();
    let mut mpls = network("mpls", "192.0.2.0/24");
    mpls["network"]["type"] = json!("FLAT");
    mpls["network"]["physnet_name"] = json!("physnet2");
    mpls["network"]["external"] = json!(true);
    daemon.create("networks", &mpls);
    daemon
}

#[test]
fn a_router_has_legs_in_further_external_networks() {
    let daemon = with_second_way_out();
    let change = |router: serde_json::Value| daemon.patch("routers/r1", &json!({ "router": router }));
    let legs = json!([{"network": "mpls", "routed": true}]);
    let route = json!([{"destination": "172.16.0.0/16", "nexthop": "192.0.2.9"}]);
    change(json!({"routes": route})).refused(
        400,
        "invalid",
        &[("/router/routes/0/nexthop", "nexthop_unreachable")],
    );
    let changed = change(json!({"further_externals": legs, "routes": route}));
    assert_eq!(changed.status, 200, "{}", changed.text);
    let router = daemon.get("routers/r1").body["router"].clone();
    assert_eq!(router["further_externals"], json!([{"network": "mpls", "ip": "192.0.2.2", "routed": true}]));
    // What was shown can be written again, and the address is the router's alone.
    let again = change(json!({"further_externals": router["further_externals"]}));
    assert_eq!(again.body["generation"], changed.body["generation"]);
    let taken = json!({"floating_ip": {"network": "mpls", "floating_ip": "192.0.2.2"}});
    daemon.post("floating_ips", &taken).refused(
        409,
        "conflict",
        &[("/floating_ip/floating_ip", "address_in_use")],
    );

    change(json!({"further_externals": [{"network": "mpls"}, {"network": "wan"}, {"network": "tenant"}, {"network": "x"}]}))
        .refused(
            400,
            "invalid",
            &[
                ("/router/further_externals/1/network", "duplicate"),
                ("/router/further_externals/2/network", "wrong_network"),
                ("/router/further_externals/3/network", "not_found"),
            ],
        );
    let own = json!({"routes": [{"destination": "10.9.0.0/16", "nexthop": "192.0.2.2"}]});
    change(own).refused(400, "invalid", &[("/router/routes/0/nexthop", "nexthop_unreachable")]);
    change(json!({"external": null, "port_forwards": null})).refused(
        400,
        "invalid",
        &[("/router/further_externals", "not_allowed")],
    );
}

#[test]
fn a_floating_ip_is_of_any_external_network_of_the_router_and_keeps_its_leg() {
    let daemon = with_second_way_out();
    let change = |router: serde_json::Value| daemon.patch("routers/r1", &json!({ "router": router }));
    let fip = json!({"floating_ip": {"network": "mpls", "floating_ip": "192.0.2.50", "instance_type": "vm",
        "instance_name": "web"}});
    daemon.post("floating_ips", &fip).refused(400, "invalid", &[("/floating_ip/instance_name", "no_router")]);
    assert_eq!(change(json!({"further_externals": [{"network": "mpls"}]})).status, 200);
    let id = daemon.create("floating_ips", &fip)["id"].as_str().unwrap().to_owned();
    let left = change(json!({"further_externals": null}));
    left.refused(409, "conflict", &[("/router/further_externals", "in_use")]);
    assert_eq!(daemon.delete(&format!("floating_ips/{id}")).status, 200);
    assert_eq!(change(json!({"further_externals": null})).status, 200);
    assert_eq!(daemon.get("networks/mpls/allocations").body["allocations"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_not_translated_is_said_leg_by_leg() {
    let daemon = site();
    let change =
        |external: serde_json::Value| daemon.patch("routers/r1", &json!({"router": {"external": external}}));
    let exemptions = json!([{"destination": "198.51.100.0/24", "protocol": "udp", "port_range_min": 53, "port_range_max": 53}]);
    assert_eq!(change(json!({"snat_exemptions": exemptions})).status, 200);
    assert_eq!(daemon.get("routers/r1").body["router"]["external"]["snat_exemptions"], exemptions);
    change(json!({"routed": true})).refused(
        400,
        "invalid",
        &[("/router/external/snat_exemptions", "not_allowed")],
    );
    assert_eq!(change(json!({"routed": true, "snat_exemptions": null})).status, 200);
    let shown = daemon.get("routers/r1").body["router"]["external"].clone();
    assert_eq!((&shown["routed"], shown.get("snat_exemptions")), (&json!(true), None));
}
