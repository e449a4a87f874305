//! Nodes over HTTP: the host's own.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bodies::{network, port};
use crate::support::Daemon;

/// The one node, once its host has told its facts.
pub(crate) fn node(daemon: &Daemon) -> Value {
    let started = Instant::now();
    loop {
        let list = daemon.get("nodes").body;
        if list["nodes"][0]["hostname"].is_string() {
            assert_eq!(list["total"], 1, "one host is one node");
            return list["nodes"][0].clone();
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the host tells its facts: {list}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_host_is_a_node_with_its_facts() {
    let mut daemon = Daemon::start();
    let first = node(&daemon);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(first["info"]["kernelVersion"], kernel.trim());
    assert!(
        first["capacity"]["vcpus"].as_u64() > Some(0) && first["capacity"]["memory_mib"].as_u64() > Some(0)
    );
    assert_eq!(first["physnets"], json!([{"network": "internet", "interface": "eth9"}]));
    assert_eq!((&first["state"], &first["schedulable"]), (&json!("NotReady"), &json!(true)));
    assert_eq!(first["status"]["conditions"][0]["reason"], "DataplaneOff");
    let name = first["name"].as_str().unwrap();
    let refused = daemon.post("nodes", &json!({"node": {"name": "other"}}));
    assert_eq!((refused.status, refused.body["code"].as_str()), (405, Some("method_not_allowed")));
    let kept = daemon.delete(&format!("nodes/{name}"));
    assert_eq!((kept.status, kept.body["code"].as_str()), (409, Some("protected")), "{}", kept.text);
    daemon.kill_and_restart();
    assert_eq!(node(&daemon)["id"], first["id"], "it is the same node after a restart");
    let whole = daemon.get(&format!("nodes/{name}")).body;
    let put = daemon.put(&format!("nodes/{name}"), &whole);
    assert_eq!((put.status, &put.body["node"]["generation"]), (200, &json!(1)), "{}", put.text);
}

#[test]
fn nothing_more_is_plugged_in_on_a_cordoned_node() {
    let daemon = Daemon::start();
    let name = node(&daemon)["name"].as_str().unwrap().to_owned();
    let act = |action: &str| daemon.put(&format!("nodes/{name}/action"), &json!({ "action": action }));
    daemon.create("networks", &network("tenant", "10.0.0.0/24"));
    let mut plugged = port("before", "tenant");
    plugged["port"]["interface"] = json!("veth-before");
    daemon.create("ports", &plugged);
    let cordoned = act("cordon");
    assert_eq!(
        (cordoned.status, &cordoned.body["node"]["state"]),
        (200, &json!("Cordoned")),
        "{}",
        cordoned.text
    );
    let mut after = port("after", "tenant");
    after["port"]["interface"] = json!("veth-after");
    daemon.post("ports", &after).refused(409, "conflict", &[("/port/interface", "node_cordoned")]);
    let described = daemon.patch("ports/before", &json!({"port": {"description": "x"}}));
    assert_eq!(described.status, 200, "what is there stays: {}", described.text);
    assert_eq!(daemon.create("ports", &port("unplugged", "tenant"))["interface"], json!(null));
    let drained = act("drain");
    assert_eq!(drained.body["plugged_ports"], json!(["before"]), "{}", drained.text);
    assert_eq!(
        (&drained.body["node"]["state"], &drained.body["node"]["schedulable"]),
        (&json!("Draining"), &json!(false))
    );
    let back = act("uncordon");
    assert_eq!(
        (&back.body["node"]["draining"], &back.body["node"]["schedulable"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(daemon.post("ports", &after).status, 201);
    act("reboot").refused(400, "invalid", &[("/action", "invalid_value")]);
    daemon.put("nodes/none/action", &json!({"action": "cordon"})).refused(404, "not_found", &[]);
}
