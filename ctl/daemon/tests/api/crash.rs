//! The end of the process at any instant loses nothing that was acknowledged.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::bodies::network;
use crate::support::{Daemon, request};

/// Times that the daemon is killed.
const ROUNDS: u32 = 8;
/// Rules of each group that is written.
const RULES: usize = 12;
/// Clients that write at the same time.
const CLIENTS: u32 = 4;

#[test]
fn a_restart_keeps_everything() {
    let mut daemon = crate::bodies::site();
    let before: Vec<_> = ["networks", "ports", "routers", "security_groups", "security_group_rules"]
        .map(|plural| (plural, without_status(daemon.get(plural).body)))
        .into();
    daemon.kill_and_restart();
    for (plural, objects) in before {
        assert_eq!(without_status(daemon.get(plural).body), objects);
    }
    let port = daemon.create("ports", &crate::bodies::port("db", "tenant"));
    assert_eq!(port["ip_address"], "10.0.0.3", "what was allocated stays so");
}

#[test]
fn what_was_acknowledged_survives_kill_9_at_any_instant() {
    let mut daemon = Daemon::start();
    daemon.create("networks", &network("tenant", "10.0.0.0/16"));
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for round in 0..ROUNDS {
        let socket = daemon.socket();
        let killed = AtomicBool::new(false);
        let written: Vec<(String, String)> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (socket, killed) = (&socket, &killed);
                    scope.spawn(move || write_until_killed(socket, killed, round, client))
                })
                .collect();
            // Every round ends at another moment of the writing.
            thread::sleep(Duration::from_millis(u64::from(40 + round * 37 % 90)));
            daemon.kill();
            killed.store(true, Ordering::Relaxed);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        acknowledged.extend(written);
        daemon.kill_and_restart();
        let ports = daemon.get("ports").body;
        let ports = ports["ports"].as_array().unwrap();
        for (name, address) in &acknowledged {
            let found = ports.iter().find(|port| port["name"] == name.as_str());
            let found = found
                .unwrap_or_else(|| panic!("round {round}: the port {name} was acknowledged and is lost"));
            assert_eq!(found["ip_address"], address.as_str());
        }
        let mut addresses: Vec<&str> = ports.iter().filter_map(|port| port["ip_address"].as_str()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), ports.len(), "round {round}: an address was given twice");
    }
    assert!(acknowledged.len() > ROUNDS as usize, "only {} writes were acknowledged", acknowledged.len());
}

/// Creates ports until the daemon is gone; returns those that were acknowledged, with their addresses.
fn write_until_killed(
    socket: &std::path::Path,
    killed: &AtomicBool,
    round: u32,
    client: u32,
) -> Vec<(String, String)> {
    let mut written = Vec::new();
    for number in 0.. {
        if killed.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("p-{round}-{client}-{number}");
        let body = json!({"port": {"name": name, "network": "tenant"}}).to_string();
        match request(socket, "POST", "ports", &[], &body) {
            Ok(answer) if answer.status == 201 => {
                written.push((name, answer.body["port"]["ip_address"].as_str().unwrap().to_owned()));
            }
            Ok(answer) => panic!("{answer:?}"),
            Err(_) => break, // Cut off: not acknowledged.
        }
    }
    written
}

#[test]
fn a_change_of_many_keys_happens_whole_or_not_at_all_whenever_the_daemon_is_killed() {
    let mut daemon = Daemon::start();
    let mut acknowledged: Vec<String> = Vec::new();
    let mut removed: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let socket = daemon.socket();
        let (killed, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let written: Vec<(Vec<String>, Vec<String>)> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (socket, killed, done) = (&socket, &killed, &done);
                    scope.spawn(move || write_groups_until_killed(socket, killed, done, (round, client)))
                })
                .collect();
            // At another moment of the writing each round, however fast the machine is.
            while done.load(Ordering::Relaxed) < 3 * CLIENTS as usize {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_millis(u64::from(round * 7 % 20)));
            daemon.kill();
            killed.store(true, Ordering::Relaxed);
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        for (made, gone) in written {
            acknowledged.extend(made);
            removed.extend(gone);
        }
        daemon.kill_and_restart();
        let groups = daemon.get("security_groups").body;
        let groups = groups["security_groups"].as_array().unwrap();
        let rules = daemon.get("security_group_rules").body["total"].as_u64().unwrap();
        for group in groups {
            let count = group["rules"].as_array().unwrap().len();
            assert_eq!(count, RULES, "round {round}: the group {} came in part", group["name"]);
        }
        assert_eq!(rules as usize, groups.len() * RULES, "round {round}: rules without their group");
        let is_there = |name: &str| groups.iter().any(|group| group["name"] == name);
        for name in &acknowledged {
            assert_eq!(is_there(name), !removed.contains(name), "round {round}: the group {name}");
        }
        for name in &removed {
            assert!(
                !is_there(name),
                "round {round}: the group {name} was removed, acknowledged, and is there"
            );
        }
    }
    assert!(!removed.is_empty(), "of {} groups none was removed", acknowledged.len());
    // Nothing holds the name of what is gone.
    let again = daemon.post("security_groups", &json!({"security_group": {"name": removed[0]}}));
    assert_eq!(again.status, 201, "{}", again.text);
}

/// Creates groups with their rules, and removes every second, until the daemon is gone; returns those whose making and those
/// whose removal was acknowledged.
fn write_groups_until_killed(
    socket: &std::path::Path,
    killed: &AtomicBool,
    done: &AtomicUsize,
    (round, client): (u32, u32),
) -> (Vec<String>, Vec<String>) {
    let (mut made, mut removed) = (Vec::new(), Vec::new());
    let rules: Vec<serde_json::Value> = (0..RULES)
        .map(|port| json!({"direction": "ingress", "protocol": "tcp", "port_range_min": port + 1, "port_range_max": port + 1}))
        .collect();
    for number in 0.. {
        if killed.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("g-{round}-{client}-{number}");
        let body = json!({"security_group": {"name": name, "rules": rules}}).to_string();
        match request(socket, "POST", "security_groups", &[], &body) {
            Ok(answer) if answer.status == 201 => done.fetch_add(1, Ordering::Relaxed),
            Ok(answer) => panic!("{answer:?}"),
            Err(_) => break,
        };
        if number % 2 != 0 {
            made.push(name);
            continue;
        }
        match request(socket, "DELETE", &format!("security_groups/{name}"), &[], "") {
            Ok(answer) if answer.status == 200 => {
                done.fetch_add(1, Ordering::Relaxed);
                // Both were acknowledged: it was there, and is gone.
                removed.push(name.clone());
                made.push(name);
            }
            Ok(answer) => panic!("{answer:?}"),
            Err(_) => break, // Made, and perhaps removed.
        }
    }
    (made, removed)
}

/// Statuses are written after the answer, so they are left out of comparisons.
fn without_status(mut body: serde_json::Value) -> serde_json::Value {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.remove("status");
                fields.remove("revision");
                fields.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut body);
    body
}
