//! `--wait` and `--watch`: against the real daemon, and for what needs a dataplane against one that answers as told.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::support::{Answer, FakeDaemon, edgectl, problem};

/// A command that goes on, and its lines as they come.
struct Going {
    child: Child,
    lines: Receiver<String>,
}

impl Going {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The test may have seen enough.
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(20)).expect("another line")
    }

    /// The words of the next line.
    #[track_caller]
    fn words(&self) -> Vec<String> {
        self.line().split_whitespace().map(str::to_owned).collect()
    }

    /// Ends it as Ctrl-C does.
    fn interrupt(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon with a port that is in effect from the `looks`th look on.
fn slow(looks: u32) -> FakeDaemon {
    let seen = AtomicU32::new(0);
    FakeDaemon::start(move |request| {
        let number = seen.fetch_add(1, Ordering::Relaxed);
        let (phase, status, message) = match number {
            number if number < looks => ("Pending", "False", "no interface is plugged in"),
            _ => ("Active", "True", "it carries packets"),
        };
        let port = json!({"id": "0199", "name": "web-1", "generation": 1, "status": {
            "phase": phase, "observed_generation": 1,
            "conditions": [{"type": "Ready", "status": status, "reason": "X", "message": message}]}});
        let status = if request.method == "POST" { 201 } else { 200 };
        Answer::json(status, &json!({"message": "OK", "port": port}))
    })
}

#[test]
fn a_create_waits_until_the_object_is_in_effect() {
    let daemon = slow(3);
    let result = daemon.run(&["create-port", "web-1", "--net", "blue", "--wait"]);
    assert_eq!(result.stderr, "waiting: port web-1 is Pending: no interface is plugged in\n");
    assert_eq!(result.fine(), "created port web-1\n");
    let phase = slow(2).run(&["create-port", "w", "--net", "b", "--wait", "-o", "jsonpath={.status.phase}"]);
    assert_eq!(phase.fine(), "Active\n", "what is printed is the object as it became");
    let quiet = slow(2).run(&["update-port", "web-1", "--no-sg", "--wait", "-q"]);
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (Some(0), "", ""));
}

#[test]
fn an_object_that_goes_away_is_not_waited_for() {
    let daemon = FakeDaemon::start(|request| match request.method.as_str() {
        "POST" => Answer::json(
            201,
            &json!({"port": {"id": "0199", "name": "web-1", "status": {"phase": "Pending"}}}),
        ),
        _ => problem(404, "not_found", "there is no port `0199`"),
    });
    let result = daemon.run(&["create-port", "web-1", "--net", "blue", "--wait"]);
    assert_eq!(result.code, Some(3), "{result:?}");
    assert!(result.stderr.contains("port web-1 was removed meanwhile"), "{result:?}");
}

#[test]
fn waiting_ends_with_what_is_waited_for() {
    let Some(daemon) = Daemon::start() else { return };
    let started = Instant::now();
    let arguments = ["create-network", "blue", "--cidr", "10.0.0.0/24", "--wait", "--timeout", "600ms"];
    let result = daemon.run(&arguments);
    assert_eq!(result.code, Some(6), "{result:?}");
    let why =
        "error[timeout]: after 0.6 s network blue is Pending: the dataplane does not run on this host\n";
    assert!(result.stderr.ends_with(why), "{result:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(daemon.run(&["remove-network", "blue", "--wait"]).fine(), "removed network blue\n");
}

#[test]
fn a_list_is_watched() {
    let Some(daemon) = Daemon::start() else { return };
    daemon.run(&["create-network", "blue", "--cidr", "10.0.0.0/24"]).fine();
    let mut table = edgectl(&daemon.socket);
    table.args(["list-networks", "--watch"]);
    let table = Going::start(table);
    let mut json = edgectl(&daemon.socket);
    json.args(["list-networks", "-w", "-o", "json", "blue", "green"]);
    // A name that is not there yet is refused, as in every list.
    assert_eq!(json.output().unwrap().status.code(), Some(3));
    let mut json = edgectl(&daemon.socket);
    json.args(["list-networks", "-w", "-o", "json"]);
    let json = Going::start(json);

    assert_eq!(table.words()[..3], ["EVENT", "NAME", "TYPE"]);
    assert_eq!(table.words()[..2], ["listed", "blue"]);
    let event = |line: String| -> Value { serde_json::from_str(&line).unwrap() };
    let first = event(json.line());
    assert_eq!((first["event"].as_str(), first["network"]["name"].as_str()), (Some("listed"), Some("blue")));

    daemon.run(&["create-network", "green", "--cidr", "10.1.0.0/24"]).fine();
    // A network may be seen before its reconciler saw it, and then once more.
    let mut words = table.words();
    while words[1] != "green" {
        words = table.words();
    }
    assert_eq!(words[0], "created");
    daemon.run(&["update-network", "blue", "--mtu", "1400"]).fine();
    while !(words[1] == "blue" && words.contains(&"1400".to_owned())) {
        words = table.words();
    }
    assert_eq!(words[0], "changed");
    daemon.run(&["remove-network", "green"]).fine();
    while words[0] != "removed" {
        words = table.words();
    }
    assert_eq!(words[1], "green");
    let mut last = event(json.line());
    while last["event"] != "removed" {
        last = event(json.line());
    }
    assert_eq!(last["network"]["name"], "green");
    assert_eq!(table.interrupt(), Some(0));
}

#[test]
fn an_object_is_watched_until_it_is_gone() {
    let Some(daemon) = Daemon::start() else { return };
    daemon.run(&["create-network", "blue", "--cidr", "10.0.0.0/24"]).fine();
    let mut command = edgectl(&daemon.socket);
    command.args(["show-network", "blue", "--watch", "-o", "jsonpath={.mtu}"]);
    let mut shown = Going::start(command);
    shown.line();
    daemon.run(&["update-network", "blue", "--mtu", "1400"]).fine();
    while shown.line() != "1400" {}
    daemon.run(&["remove-network", "blue"]).fine();
    assert_eq!(shown.child.wait().unwrap().code(), Some(3));
}
