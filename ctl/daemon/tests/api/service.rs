//! What belongs to no kind: bodies that are none, entity tags, the paths about the daemon itself, its start and end.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::bodies::{network, site};
use crate::support::Daemon;

#[test]
fn what_is_no_request_is_refused() {
    let daemon = Daemon::start();
    let post = |headers: &[&str], body: &str| daemon.request("POST", "networks", headers, body);
    post(&[], "{\"network\": ").refused(400, "malformed", &[]);
    assert!(post(&[], "{\n  \"network\": nope}").text.contains("line 2 column"));
    daemon.request("POST", "networks", &[], "").refused(400, "malformed", &[]);
    post(&["Content-Type: text/plain"], "{}").refused(415, "unsupported_media_type", &[]);
    post(&[], "[]").refused(400, "invalid", &[("", "wrong_type")]);
    post(&[], "{\"netwrk\": {}}").refused(400, "invalid", &[("", "missing"), ("/netwrk", "unknown_field")]);
    post(&[], &format!("\"{}\"", "x".repeat(1 << 20))).refused(413, "too_large", &[]);
    post(&[], &"[".repeat(100_000)).refused(400, "malformed", &[]);
    daemon.get("nothing").refused(404, "no_such_path", &[]);
    daemon.delete("networks").refused(405, "method_not_allowed", &[]);
    daemon.request("PATCH", "networks/x", &[], "7").refused(400, "malformed", &[]);
}

#[test]
fn an_entity_tag_guards_a_change() {
    let daemon = Daemon::start();
    daemon.create("networks", &network("tenant", "10.0.0.0/24"));
    let tag = daemon.get("networks/tenant").header("etag").unwrap().to_owned();
    let patch = |tag: &str, mtu: u16| {
        let body = json!({"network": {"mtu": mtu}}).to_string();
        daemon.request("PATCH", "networks/tenant", &[&format!("If-Match: {tag}")], &body)
    };
    let changed = patch(&tag, 1400);
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
    patch(&tag, 1300).refused(412, "precondition_failed", &[]);
    daemon.request("DELETE", "networks/tenant", &[&format!("If-Match: {tag}")], "").refused(
        412,
        "precondition_failed",
        &[],
    );
    assert_eq!(patch("*", 1300).status, 200);
    let tag = daemon.get("networks/tenant").header("etag").unwrap().to_owned();
    let unchanged = daemon.request("GET", "networks/tenant", &[&format!("If-None-Match: {tag}")], "");
    assert_eq!((unchanged.status, unchanged.text.as_str()), (304, ""));
}

#[test]
fn the_daemon_tells_about_itself() {
    let daemon = site();
    let version = daemon.get("/version").body;
    assert_eq!((&version["name"], &version["dataplane"]), (&json!("edgestackd"), &json!("off")));
    assert_eq!(daemon.get("/healthz").status, 200);
    let metrics = daemon.get("/metrics").text;
    for line in [
        "edgestack_objects{kind=\"network\"} 2",
        "edgestack_dataplane_up 0.0",
        "edgestack_api_requests_total{",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    for path in [
        "ports",
        "flows",
        "nat",
        "neighbours",
        "drops",
        "rules",
        "counters",
        "snapshot",
        "capture?port=web",
        "trace/live",
    ] {
        daemon.get(&format!("/edgetron/network/{path}")).refused(503, "dataplane_off", &[]);
    }
    daemon.get("/edgetron/network/flows?limit=many").refused(400, "malformed", &[]);
    daemon.get("/edgetron/network/flows?limt=5").refused(400, "malformed", &[]);
    daemon.delete("/edgetron/network/flows").refused(400, "malformed", &[]);
    // A project is a filter here: it gets to the dataplane.
    daemon.delete("/edgetron/network/flows?project=blue").refused(503, "dataplane_off", &[]);
    let trace = json!({"port": "web", "protocol": "tcp", "destination": "10.0.0.9", "prot": 1});
    daemon.post("/edgetron/network/trace", &trace).refused(400, "malformed", &[]);
}

/// A value that a schema allows.
fn sample(schema: &Value) -> String {
    match schema["type"].as_str() {
        Some("integer") => schema["minimum"].to_string(),
        Some("boolean") => "true".to_owned(),
        _ if schema["enum"].is_array() => schema["enum"][0].as_str().unwrap().to_owned(),
        _ if schema["anyOf"].is_array() => "192.0.2.1".to_owned(),
        _ => "x".to_owned(),
    }
}

#[test]
fn every_parameter_that_is_described_is_known() {
    let daemon = site();
    let description = daemon.get("/openapi.json").body;
    let mut asked = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        let of_all = methods.as_object().unwrap().iter().filter(|(method, _)| {
            !path.contains('{') && (*method == "get" || path.ends_with("/flows") && *method == "delete")
        });
        for (method, operation) in of_all {
            for parameter in operation["parameters"].as_array().unwrap() {
                let (name, value) = (parameter["name"].as_str().unwrap(), sample(&parameter["schema"]));
                let target = format!("{path}?{name}={value}");
                let answer = daemon.request(&method.to_uppercase(), &target, &[], "");
                let is_known =
                    !answer.text.contains("unknown_parameter") && !answer.text.contains("unknown field");
                assert!(is_known, "{method} {target}: {}", answer.text);
                asked += 1;
            }
        }
    }
    assert!(asked > 50, "{asked}");
    let unknown = daemon.get("/edgetron/network/flows?x=1");
    assert!(unknown.text.contains("unknown field"), "{}", unknown.text);
}

#[test]
fn every_kind_has_a_manifest_that_can_be_created_again() {
    let daemon = site();
    daemon.create("floating_ips", &json!({"floating_ip": {"network": "wan", "instance_name": "web"}}));
    for (path, first) in [
        ("networks/tenant", "network:"),
        ("ports/web", "port:"),
        ("routers/r1", "router:"),
        ("floating_ips/fip-203-0-113-11", "floating_ip:"),
        ("security_groups/default", "security_group:"),
    ] {
        let manifest = daemon.get(&format!("{path}/manifest")).body["manifest"].as_str().unwrap().to_owned();
        assert!(manifest.starts_with(first), "{manifest}");
        assert!(!manifest.contains("status") && !manifest.contains("created_at"), "{manifest}");
        let body: serde_json::Value = serde_saphyr::from_str(&manifest).unwrap();
        let plural = path.split('/').next().unwrap();
        let again = daemon.post(plural, &body);
        assert_eq!(again.status, 200, "{manifest}\n{}", again.text);
    }
}

#[test]
fn a_second_daemon_is_told_about_the_first() {
    let daemon = Daemon::start();
    let second = daemon.second().output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let log = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(log.contains("is edgestackd running already?"), "{log}");
    assert_eq!(daemon.get("/healthz").status, 200, "the first goes on");
    let mode = std::fs::metadata(daemon.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn the_daemon_stops_in_order() {
    let mut daemon = Daemon::start();
    assert_eq!(daemon.stop(), Some(0));
    assert!(!daemon.socket().exists());
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    let daemon = Daemon::start();
    let path = daemon.directory().join("wrong.toml");
    std::fs::write(&path, "[dataplane]\nenabld = true\n").unwrap();
    for check in [true, false] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgestackd"));
        command.arg("--config").arg(&path);
        if check {
            command.arg("--check");
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("wrong.toml:2:1: unknown field `enabld`, did you mean `enabled`?"), "{error}");
    }
}
