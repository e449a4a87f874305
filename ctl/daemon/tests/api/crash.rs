//! The end of the process at any instant loses nothing that was acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::bodies::network;
use crate::support::{Daemon, request};

/// Times that the daemon is killed.
const ROUNDS: u32 = 8;
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
