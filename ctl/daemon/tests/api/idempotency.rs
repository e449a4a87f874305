//! The header `Idempotency-Key`.

use std::thread;

use serde_json::{Value, json};

use crate::bodies::{network, port, site};
use crate::support::{Answer, Daemon, request};

fn keyed(daemon: &Daemon, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    daemon.request(method, path, &[&format!("Idempotency-Key: {key}")], &body)
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

#[test]
fn a_write_that_is_sent_again_is_answered_again_and_not_done_again() {
    let mut daemon = site();
    let body = port("db", "tenant");
    let first = keyed(&daemon, "k1", "POST", "ports", &body);
    assert_eq!((first.status, is_replayed(&first)), (201, false), "{}", first.text);
    daemon.delete("ports/db");
    for restarted in [false, true] {
        if restarted {
            daemon.kill_and_restart();
        }
        let again = keyed(&daemon, "k1", "POST", "ports", &body);
        assert!(is_replayed(&again));
        assert_eq!((again.status, &again.text), (first.status, &first.text), "exactly as before");
        for header in ["etag", "location", "content-type"] {
            assert_eq!(again.header(header), first.header(header));
        }
        daemon.get("ports/db").refused(404, "not_found", &[]);
    }
    let other = keyed(&daemon, "k2", "POST", "ports", &body);
    assert_eq!((other.status, is_replayed(&other)), (201, false), "another key is another request");

    let patch = json!({"port": {"description": "x"}});
    let changed = keyed(&daemon, "k3", "PATCH", "ports/db", &patch);
    daemon.patch("ports/db", &json!({"port": {"description": "y"}}));
    assert_eq!(keyed(&daemon, "k3", "PATCH", "ports/db", &patch).text, changed.text);
    assert_eq!(daemon.get("ports/db").body["port"]["description"], "y", "what others did meanwhile stays");
    let removed = keyed(&daemon, "k4", "DELETE", "ports/db", &Value::Null);
    assert_eq!(keyed(&daemon, "k4", "DELETE", "ports/db", &Value::Null).text, removed.text);
    assert_eq!(removed.status, 200);
}

#[test]
fn a_key_is_for_one_request() {
    let daemon = site();
    assert_eq!(keyed(&daemon, "k", "POST", "ports", &port("a", "tenant")).status, 201);
    for (method, path, body) in [
        ("POST", "ports", port("b", "tenant")),
        ("POST", "networks", network("b", "10.1.0.0/24")),
        ("POST", "ports?dry_run=true", port("a", "tenant")),
        ("PUT", "ports/a", port("a", "tenant")),
    ] {
        keyed(&daemon, "k", method, path, &body).refused(422, "idempotency_mismatch", &[]);
    }
    daemon.get("ports/b").refused(404, "not_found", &[]);
    for wrong in ["", &"x".repeat(256)] {
        keyed(&daemon, wrong, "POST", "ports", &port("b", "tenant")).refused(
            400,
            "invalid_idempotency_key",
            &[],
        );
    }
    let twice = ["Idempotency-Key: a", "Idempotency-Key: b"];
    let twice = daemon.request("POST", "ports", &twice, &port("b", "tenant").to_string());
    twice.refused(400, "invalid_idempotency_key", &[]);
}

#[test]
fn what_was_refused_or_only_asked_about_leaves_the_key_free() {
    let daemon = site();
    let body = port("db", "later");
    keyed(&daemon, "k", "POST", "ports", &body).refused(400, "invalid", &[("/port/network", "not_found")]);
    daemon.create("networks", &network("later", "10.1.0.0/24"));
    assert_eq!(keyed(&daemon, "k", "POST", "ports?dry_run=true", &body).status, 200);
    let done = keyed(&daemon, "k", "POST", "ports", &body);
    assert_eq!((done.status, is_replayed(&done)), (201, false));
}

#[test]
fn the_same_request_many_times_at_once_is_done_once() {
    let daemon = site();
    let socket = daemon.socket();
    // Without a name in the body, each would make another floating IP.
    let body = json!({"floating_ip": {"network": "wan"}}).to_string();
    let answers: Vec<Answer> = thread::scope(|scope| {
        let send = || request(&socket, "POST", "floating_ips", &["Idempotency-Key: same"], &body).unwrap();
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let made: Vec<&Answer> =
        answers.iter().filter(|answer| answer.status == 201 && !is_replayed(answer)).collect();
    assert_eq!(made.len(), 1);
    for answer in &answers {
        match answer.status {
            201 => assert_eq!(answer.text, made[0].text),
            _ => drop(answer.refused(409, "in_progress", &[])),
        }
    }
    assert_eq!(daemon.get("floating_ips").body["total"], 1);
}
