//! Ports over HTTP.

use std::thread;

use serde_json::{Value, json};

use crate::bodies::{external, network, port, site};
use crate::support::Daemon;

fn tenant() -> Daemon {
    let daemon = Daemon::start();
    daemon.create("networks", &network("tenant", "10.0.0.0/29"));
    daemon
}

#[test]
fn the_server_fills_in_addresses_and_the_default_group() {
    let daemon = tenant();
    let web = daemon.create("ports", &port("web", "tenant"));
    assert_eq!((&web["ip_address"], &web["network"]), (&json!("10.0.0.2"), &json!("tenant")));
    assert_eq!(web["security_groups"], json!(["default"]));
    assert!(web["mac_address"].as_str().unwrap().starts_with("02:"));
    let group = daemon.get("security_groups/default").body;
    let rules: Vec<(&str, bool)> = group["security_group"]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            let own = rule["remote_group_id"] == group["security_group"]["id"];
            (rule["direction"].as_str().unwrap(), own)
        })
        .collect();
    assert_eq!(rules, [("egress", false), ("ingress", true)]);
    let bare = daemon
        .create("ports", &json!({"port": {"name": "bare", "network": "tenant", "security_groups": []}}));
    assert_eq!(bare["security_groups"], json!([]));
    assert_eq!(daemon.get("security_groups").body["total"], 1);
}

#[test]
fn the_lowest_free_address_is_given_and_given_back() {
    let daemon = tenant();
    let id = daemon.get("networks/tenant").body["network"]["id"].clone();
    let address = |name: &str| {
        let body = json!({"port": {"name": name, "network": id, "security_groups": []}});
        daemon.create("ports", &body)["ip_address"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        ["a", "b", "c", "d", "e"].map(address).join(" "),
        "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6"
    );
    let full = daemon.post("ports", &port("f", "tenant"));
    full.refused(409, "conflict", &[("/port/ip_address", "pool_exhausted")]);
    assert_eq!(daemon.delete("ports/c").status, 200);
    assert_eq!(address("f"), "10.0.0.4");
    // A change that says nothing of the address keeps it.
    let kept =
        daemon.put("ports/f", &json!({"port": {"name": "f", "network": "tenant", "description": "x"}}));
    assert_eq!(kept.body["port"]["ip_address"], "10.0.0.4", "{}", kept.text);
    assert_eq!(kept.body["port"]["security_groups"], json!(["default"]));
}

#[test]
fn what_only_one_port_may_have_is_refused_to_the_second() {
    let daemon = tenant();
    daemon.create(
        "ports",
        &json!({"port": {"name": "web", "network": "tenant", "ip_address": "10.0.0.5",
            "mac_address": "02:00:00:00:00:05", "interface": "veth5"}}),
    );
    let second = daemon.post(
        "ports",
        &json!({"port": {"name": "db", "network": "tenant", "ip_address": "10.0.0.5",
            "mac_address": "02-00-00-00-00-05", "interface": "veth5"}}),
    );
    second.refused(
        409,
        "conflict",
        &[
            ("/port/ip_address", "address_in_use"),
            ("/port/interface", "interface_in_use"),
            ("/port/mac_address", "mac_in_use"),
        ],
    );
    assert!(second.text.contains("taken by the port web"), "{}", second.text);
    let uplink = json!({"port": {"name": "db", "network": "tenant", "interface": "eth9"}});
    daemon.post("ports", &uplink).refused(409, "conflict", &[("/port/interface", "interface_in_use")]);
    // The same address in another network is nobody's business.
    daemon.create("networks", &network("other", "10.0.0.0/29"));
    let body = json!({"port": {"name": "db", "network": "other", "ip_address": "10.0.0.5",
        "mac_address": "02:00:00:00:00:05"}});
    daemon.create("ports", &body);
}

#[test]
fn references_and_addresses_are_checked() {
    let daemon = tenant();
    daemon.create("networks", &external());
    let refused = |change: Value, errors: &[(&str, &str)]| {
        let mut body = port("web", "tenant");
        body["port"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        daemon.post("ports", &body).refused(400, "invalid", errors);
    };
    refused(json!({"network": "nowhere"}), &[("/port/network", "not_found")]);
    refused(json!({"network": "wan"}), &[("/port/network", "wrong_network")]);
    refused(json!({"ip_address": "10.0.1.5"}), &[("/port/ip_address", "outside_cidr")]);
    refused(json!({"ip_address": "10.0.0.7"}), &[("/port/ip_address", "reserved_address")]);
    refused(json!({"ip_address": "10.0.0.1"}), &[("/port/ip_address", "reserved_address")]);
    for interface in ["lo", "es-trunk0", "es0123abcd-1"] {
        refused(json!({"interface": interface}), &[("/port/interface", "reserved")]);
    }
    refused(
        json!({"network": "nowhere", "security_groups": ["x", "y"]}),
        &[
            ("/port/network", "not_found"),
            ("/port/security_groups/0", "not_found"),
            ("/port/security_groups/1", "not_found"),
        ],
    );
    assert_eq!(daemon.get("ports").body["total"], 0);
    assert_eq!(
        daemon.get("security_groups").body["total"],
        0,
        "a refused port leaves no default group behind"
    );
}

#[test]
fn a_network_cannot_be_changed_under_a_port() {
    let daemon = site();
    daemon.create("networks", &network("other", "10.1.0.0/24"));
    daemon.patch("ports/web", &json!({"port": {"network": "other", "ip_address": null}})).refused(
        400,
        "invalid",
        &[("/port/network", "immutable")],
    );
    let moved = daemon.patch("ports/web", &json!({"port": {"ip_address": "10.0.0.99"}}));
    assert_eq!(moved.body["port"]["ip_address"], "10.0.0.99");
    let free = daemon.create("ports", &port("db", "tenant"));
    assert_eq!(free["ip_address"], "10.0.0.2", "the address before is free again");
}

#[test]
fn a_hundred_parallel_creates_succeed() {
    let daemon = Daemon::start();
    daemon.create("networks", &network("tenant", "10.0.0.0/16"));
    let created: Vec<Value> = thread::scope(|scope| {
        let daemon = &daemon;
        let create =
            |number| scope.spawn(move || daemon.create("ports", &port(&format!("p{number}"), "tenant")));
        let workers: Vec<_> = (0..100).map(create).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let mut addresses: Vec<&str> = created.iter().map(|port| port["ip_address"].as_str().unwrap()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 100);
    assert_eq!(daemon.get("ports").body["total"], 100);
    let runs = daemon.get("/metrics").text;
    let applied = runs
        .lines()
        .find_map(|line| line.strip_prefix("edgestack_reconcile_runs_total{result=\"applied\"} "));
    let applied: u32 = applied.unwrap().parse().unwrap();
    assert!(applied < 100, "{applied} applications for 100 changes at once");
}

#[test]
fn a_port_says_what_it_waits_for() {
    let daemon = site();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let status = daemon.get("ports/web").body["port"]["status"].clone();
        if status["observed_generation"] == 1 {
            assert_eq!(status["phase"], "Pending");
            assert_eq!(status["conditions"][0]["reason"], "NotPlugged");
            return;
        }
        assert!(std::time::Instant::now() < deadline, "no status: {status}");
        thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn plugs_are_for_those_who_run_the_site_and_name_what_is_there() {
    let daemon = Daemon::start();
    daemon.create("networks", &network("tenant", "10.0.0.0/24"));
    let plugged = |plug: Value| {
        let mut body = port("web", "tenant");
        body["port"]["plug"] = plug;
        body
    };
    let wrong = daemon.post("ports", &plugged(json!({"type": "veth", "pid": 4_194_304})));
    wrong.refused(400, "invalid", &[("/port/plug/pid", "not_found")]);
    let member = daemon.token("member", "default");
    let path = format!("{}/ports", crate::support::OBJECTS);
    let tap = plugged(json!({"type": "tap"}));
    let refused = daemon.request_as(&member, "POST", &path, &tap);
    let errors = [("/port/plug", "not_permitted"), ("/port/interface", "not_permitted")];
    refused.refused(400, "invalid", &errors);
    let created = daemon.create("ports", &tap);
    let name = created["interface"].as_str().unwrap();
    assert!(name.starts_with("esp") && name.len() == 15, "{name}");
    assert_eq!(daemon.post("ports", &tap).status, 200, "asking again is harmless");
    let own = plugged(json!({"type": "veth", "pid": std::process::id()}));
    let other = daemon.put("ports/web", &own);
    assert!(other.body["port"]["plug"]["pid_started"].is_u64(), "{}", other.text);
    let shown = daemon.get("ports/web").body;
    assert_eq!(daemon.put("ports/web", &shown).status, 200, "what is shown can be sent back");
}
