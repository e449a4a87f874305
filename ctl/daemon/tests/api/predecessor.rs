//! What went wrong in EdgeStack's own network control, as its published part shows, and must not here. Each test has the number
//! that the bug has in the sources of the conformance cases; those of the packet path are there.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bodies::{external, network, port, site};
use crate::node::node;
use crate::support::{Daemon, OBJECTS};

/// Names that Java's `hashCode` makes the smallest number of (whose absolute value is negative), and equal ones.
const SMALLEST_HASH: &str = "polygenelubricants";
const EQUAL_HASHES: [&str; 2] = ["an", "c0"];

/// Waits until the status of an object is of a generation.
fn observed(daemon: &Daemon, path: &str, generation: u64) {
    let started = Instant::now();
    loop {
        let body = daemon.get(path).body;
        let object = body.as_object().and_then(|body| body.values().next()).cloned().unwrap_or_default();
        if object["status"]["observed_generation"] == generation {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{path}: {object}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same as Java's `String.hashCode`, to be sure of the names above.
fn java_hash(name: &str) -> i32 {
    name.bytes().fold(0, |hash: i32, byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
}

#[test]
fn bug_10_where_a_router_is_does_not_hang_on_its_name_or_description() {
    assert_eq!(java_hash(SMALLEST_HASH), i32::MIN);
    let daemon = Daemon::start();
    daemon.create("networks", &external());
    let router = |name: &str| json!({"router": {"name": name, "external": "wan"}});
    for name in [SMALLEST_HASH, "r1", "r2"] {
        daemon.create("routers", &router(name));
    }
    let all = || -> Vec<Value> { daemon.get("routers").body["routers"].as_array().unwrap().clone() };
    let before = all();
    // A change that is for people, and one more router, move none.
    let described = daemon.patch("routers/r1", &json!({"router": {"description": "x"}}));
    assert_eq!(described.status, 200, "{}", described.text);
    assert_eq!(daemon.delete("routers/r2").status, 200);
    for (before, after) in before.iter().zip(all()) {
        assert_eq!((&before["mac"], &before["external"]), (&after["mac"], &after["external"]), "{after}");
        observed(
            &daemon,
            &format!("routers/{}", after["name"].as_str().unwrap()),
            1 + u64::from(after["name"] == "r1"),
        );
    }
}

#[test]
fn bug_17_what_waits_holds_up_nothing_else() {
    let daemon = site();
    // A reader that never reads, and an object that waits for its interface for ever.
    let mut reader = UnixStream::connect(daemon.socket()).unwrap();
    let head = format!("GET {OBJECTS}/events?watch=true HTTP/1.1\r\nHost: x\r\n\r\n");
    reader.write_all(head.as_bytes()).unwrap();
    let mut waiting = port("waiting", "tenant");
    waiting["port"]["interface"] = json!("no-such-if");
    daemon.create("ports", &waiting);
    for number in 0..40 {
        let mut body = network(&format!("n{number}"), "10.9.0.0/24");
        body["network"]["description"] = json!("x".repeat(1000));
        daemon.create("networks", &body);
    }
    for number in 0..40 {
        observed(&daemon, &format!("networks/n{number}"), 1);
    }
    let status = &daemon.get("ports/waiting").body["port"]["status"];
    assert!(
        !status["conditions"][0]["reason"].as_str().unwrap().is_empty(),
        "it says what it waits for: {status}"
    );
}

#[test]
fn bug_18_a_host_that_starts_again_is_what_it_was() {
    let mut daemon = Daemon::start();
    let before = node(&daemon);
    let name = before["name"].as_str().unwrap().to_owned();
    assert_eq!(daemon.put(&format!("nodes/{name}/action"), &json!({"action": "cordon"})).status, 200);
    for _ in 0..2 {
        daemon.kill_and_restart();
        let after = node(&daemon);
        for field in ["id", "name", "physnets", "interfaces"] {
            assert_eq!(after[field], before[field], "{field}");
        }
        assert_eq!((&after["schedulable"], &after["state"]), (&json!(false), &json!("Cordoned")));
    }
}

#[test]
fn bug_19_names_of_equal_hashes_are_different_objects() {
    let [one, other] = EQUAL_HASHES;
    assert_eq!(java_hash(one), java_hash(other));
    let daemon = Daemon::start();
    daemon.create("networks", &external());
    let mut made = Vec::new();
    for name in EQUAL_HASHES {
        let network = daemon.create("networks", &network(name, "10.0.0.0/24"));
        let port = daemon.create("ports", &port(name, name));
        let router = json!({"router": {"name": name, "internal": [name], "external": "wan"}});
        let router = daemon.create("routers", &router);
        let group = daemon.create("security_groups", &json!({"security_group": {"name": name}}));
        made.push([
            network["id"].clone(),
            network["segment_id"].clone(),
            port["id"].clone(),
            port["mac_address"].clone(),
            router["id"].clone(),
            router["mac"].clone(),
            router["external"]["ip"].clone(),
            group["id"].clone(),
        ]);
    }
    for (one, other) in made[0].iter().zip(&made[1]) {
        assert!(!one.is_null() && one != other, "{one} and {other}");
    }
    assert_eq!(daemon.delete(&format!("ports/{one}")).status, 200);
    assert_eq!(daemon.get(&format!("ports/{other}")).status, 200, "the other is still there");
}

#[test]
fn bug_20_names_are_a_projects_own_and_interfaces_are_named_as_one_likes() {
    let daemon = Daemon::start();
    daemon.create("projects", &json!({"project": {"name": "blue"}}));
    for (project, interface) in [("default", "tap0"), ("blue", "eth0.blue")] {
        daemon.create(&format!("networks?project={project}"), &network("front", "10.0.0.0/24"));
        let mut web = port("web", "front");
        web["port"]["interface"] = json!(interface);
        let web = daemon.create(&format!("ports?project={project}"), &web);
        assert_eq!((&web["ip_address"], &web["interface"]), (&json!("10.0.0.2"), &json!(interface)));
    }
    assert_eq!(daemon.delete("ports/web").status, 200);
    assert_eq!(daemon.get("ports/web?project=blue").status, 200, "that of the other project is still there");
}

#[test]
fn bug_23_what_is_shown_can_be_written_and_nothing_shown_is_lost() {
    let daemon = site();
    daemon.create(
        "security_groups",
        &json!({"security_group": {"name": "open", "rules": [{"direction": "ingress"}]}}),
    );
    daemon.patch("ports/web", &json!({"port": {"security_groups": ["open", "default"]}}));
    daemon.create(
        "floating_ips",
        &json!({"floating_ip": {"name": "f", "network": "wan", "instance_name": "web"}}),
    );
    let lb = json!({"lb": {"name": "shop", "network": "tenant", "members": ["10.0.0.2"],
        "rules": [{"protocol": "tcp", "port_range_min": 80}]}});
    daemon.create("lbs", &lb);
    daemon.create(
        "address_groups",
        &json!({"address_group": {"name": "office", "addresses": ["192.0.2.0/24"]}}),
    );
    for path in [
        "networks/tenant",
        "ports/web",
        "routers/r1",
        "lbs/shop",
        "security_groups/open",
        "address_groups/office",
    ] {
        let shown = daemon.get(path);
        let (name, object) = shown.body.as_object().unwrap().iter().next().unwrap();
        let fields: Value = object.clone();
        let written = daemon.put(path, &shown.body);
        assert_eq!(written.status, 200, "{path}: {}", written.text);
        let after = &daemon.get(path).body[name];
        for (field, value) in fields.as_object().unwrap() {
            if !["status", "updated_at"].contains(&field.as_str()) {
                assert_eq!(&after[field], value, "{field} of {path}");
            }
        }
    }
    assert_eq!(daemon.get("ports/web").body["port"]["security_groups"], json!(["open", "default"]));
}

#[test]
fn bug_23_a_body_without_its_fields_is_told_which_and_reading_changes_nothing() {
    let daemon = site();
    for (path, kind) in [
        ("networks", "network"),
        ("ports", "port"),
        ("routers", "router"),
        ("floating_ips", "floating_ip"),
        ("lbs", "lb"),
        ("security_groups", "security_group"),
        ("security_group_rules", "security_group_rule"),
        ("address_groups", "address_group"),
        ("projects", "project"),
        ("keypairs", "keypair"),
        ("flavors", "flavor"),
        ("tokens", "token"),
        ("role_bindings", "role_binding"),
    ] {
        for body in [json!({}), json!({ kind: {} }), json!({ kind: null }), json!([]), json!({ kind: [1] })] {
            let answer = daemon.post(path, &body);
            assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text);
            assert!(
                answer
                    .errors()
                    .iter()
                    .all(|(pointer, code)| pointer.starts_with('/') | pointer.is_empty() && !code.is_empty())
            );
        }
    }
    let latest = |daemon: &Daemon| daemon.get("events?limit=1").body["events"].clone();
    observed(&daemon, "ports/web", 1);
    let before = latest(&daemon);
    for path in [
        "networks",
        "ports/web",
        "routers/r1/peer_routers",
        "networks/tenant/allocations",
        "networks/available_ips",
    ] {
        assert_eq!(daemon.get(path).status, 200, "{path}");
    }
    assert_eq!(latest(&daemon), before);
}

#[test]
fn bug_25_what_a_port_costs_does_not_grow_with_the_ports() {
    let daemon = site();
    let changed_by = |number: usize| -> Vec<Value> {
        observed(&daemon, &format!("ports/p{}", number - 1), 1);
        let before = daemon.get("events?limit=1").body["revision"].clone();
        let name = format!("p{number}");
        daemon.create("ports", &port(&name, "tenant"));
        observed(&daemon, &format!("ports/{name}"), 1);
        let events = daemon.get(&format!("events?since={before}&limit=1000")).body["events"].clone();
        events
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["kind"] != "node")
            .map(|event| event["name"].clone())
            .collect()
    };
    daemon.create("ports", &port("p0", "tenant"));
    let few = changed_by(1);
    for number in 2..100 {
        daemon.create("ports", &port(&format!("p{number}"), "tenant"));
    }
    let many = changed_by(100);
    assert!(few.iter().all(|name| name == "p1") && !few.is_empty(), "{few:?}");
    assert!(many.iter().all(|name| name == "p100") && many.len() <= few.len(), "{many:?} and before {few:?}");
}
