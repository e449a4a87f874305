//! Backups and operations: through the API, by command, and back.

use std::process::Output;

use serde_json::{Value, json};

use crate::bodies::{network, port, site};
use crate::support::{Answer, Daemon};

/// Begins a backup and waits for its end.
fn back_up(daemon: &Daemon, name: &str) -> Value {
    let begun = daemon.post("backups", &json!({"backup": {"name": name}}));
    assert_eq!(begun.status, 202, "{}", begun.text);
    let id = begun.body["id"].as_str().unwrap();
    assert!(begun.header("location").unwrap().ends_with(&format!("operations/{id}")));
    let ended = daemon.get(&format!("operations/{id}?wait=20"));
    assert_eq!(ended.status, 200, "{}", ended.text);
    ended.body["operation"].clone()
}

fn command(daemon: &Daemon, arguments: &[&str]) -> Output {
    daemon.second().args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_backup_is_an_operation_and_a_file() {
    let mut daemon = site();
    let operation = back_up(&daemon, "nightly");
    assert_eq!((&operation["action"], &operation["phase"]), (&json!("backup"), &json!("Succeeded")));
    assert_eq!(operation["progress"]["percent"], 100);
    let entries = operation["result"]["header"]["entries"].as_u64().unwrap();
    assert!(entries > 10, "{operation}");
    let list = daemon.get("backups").body;
    assert_eq!((&list["total"], &list["backups"][0]["name"]), (&json!(1), &json!("nightly")));
    let content = daemon.get("backups/nightly").text;
    assert!(content.contains("objects/networks/"), "{content}");

    daemon.post("backups", &json!({"backup": {"name": "nightly"}})).refused(409, "already_exists", &[]);
    daemon.post("backups", &json!({"backup": {"name": "../x"}})).refused(
        400,
        "invalid",
        &[("/backup/name", "invalid_name")],
    );
    daemon.post("backups", &json!({"bakup": {}})).refused(
        400,
        "invalid",
        &[("/backup", "missing"), ("/bakup", "unknown_field")],
    );
    for outside in ["backups/..%2Fstore", "backups/store", "backups/%2E%2E"] {
        daemon.get(outside).refused(404, "not_found", &[]);
        daemon.delete(outside).refused(404, "not_found", &[]);
    }
    let id = operation["id"].as_str().unwrap().to_owned();
    daemon.delete(&format!("operations/{id}")).refused(409, "ended", &[]);
    daemon.get("operations/none").refused(404, "not_found", &[]);
    daemon.get(&format!("operations/{id}?wait=1000")).refused(400, "invalid", &[("?wait", "out_of_range")]);
    daemon.kill_and_restart();
    let list = daemon.get("operations").body;
    assert_eq!((&list["total"], &list["operations"][0]["id"]), (&json!(1), &json!(id)));
    assert_eq!(daemon.delete("backups/nightly").status, 200);
    assert_eq!(daemon.get("backups").body["total"], 0);
}

#[test]
fn the_command_backs_up_a_daemon_that_runs_and_one_that_does_not_and_restores() {
    let mut daemon = site();
    let (online, offline) = (daemon.directory().join("online"), daemon.directory().join("offline"));
    let (online, offline) = (online.to_str().unwrap().to_owned(), offline.to_str().unwrap().to_owned());
    let made = command(&daemon, &["backup", "--output", &online]);
    assert!(made.status.success(), "{}", said(&made));
    assert_eq!(daemon.get("backups").body["total"], 0, "what was fetched is not kept");
    let before = daemon.get("ports").body["ports"].clone();
    let tag = daemon.get("ports/web").header("etag").unwrap().to_owned();

    daemon.create("ports", &port("later", "tenant"));
    let refused = command(&daemon, &["restore", "--input", &online, "--replace"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("is edgestackd running already?"), "{}", said(&refused));

    daemon.kill();
    let made = command(&daemon, &["backup", "--output", &offline]);
    assert!(made.status.success(), "{}", said(&made));
    let refused = command(&daemon, &["restore", "--input", &online]);
    assert!(said(&refused).contains("--replace"), "{}", said(&refused));
    let restored = command(&daemon, &["restore", "--input", &online, "--replace"]);
    assert!(restored.status.success(), "{}", said(&restored));
    daemon.restart();
    let names = |list: &Value| -> Vec<Value> {
        list.as_array().unwrap().iter().map(|port| port["name"].clone()).collect()
    };
    let after = daemon.get("ports").body["ports"].clone();
    assert_eq!((names(&after), names(&before)), (vec![json!("web")], vec![json!("web")]));
    assert_eq!(after[0]["mac_address"], before[0]["mac_address"]);
    assert_eq!(daemon.get("ports/web").header("etag"), Some(tag.as_str()), "what did not change has its tag");
    assert_eq!(daemon.create("ports", &port("again", "tenant"))["ip_address"], "10.0.0.3");

    daemon.kill();
    let restored = command(&daemon, &["restore", "--input", &offline, "--replace"]);
    assert!(restored.status.success(), "{}", said(&restored));
    daemon.restart();
    assert_eq!(names(&daemon.get("ports").body["ports"]), [json!("web"), json!("later")]);
}

#[test]
fn a_damaged_backup_changes_nothing() {
    let mut daemon = site();
    let path = daemon.directory().join("b");
    let text = path.to_str().unwrap().to_owned();
    assert!(command(&daemon, &["backup", "--output", &text]).status.success());
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.replace("tenant", "tenamt")).unwrap();
    daemon.kill();
    let refused = command(&daemon, &["restore", "--input", &text, "--replace"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("no whole backup"), "{}", said(&refused));
    daemon.restart();
    assert_eq!(daemon.get("networks/tenant").status, 200);
    daemon.create("networks", &network("goes-on", "10.1.0.0/24"));
    let nothing = command(&daemon, &["restore", "--input", "/nowhere/b", "--replace"]);
    let _: Answer = daemon.get("networks/goes-on");
    assert!(said(&nothing).contains("cannot open /nowhere/b"), "{}", said(&nothing));
}
