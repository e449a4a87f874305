//! `top` on a terminal of its own, and `test-ping`, against a dataplane that answers as told.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::dataplane::dataplane;
use crate::support::{Answer, FakeDaemon, problem};

#[test]
fn top_draws_on_a_terminal_and_leaves_it_as_it_was() {
    let daemon = dataplane();
    // script(1) makes the terminal.
    let line = format!(
        "stty rows 24 cols 80; exec {} top --interval 0.2 --socket {}",
        env!("CARGO_BIN_EXE_edgectl"),
        daemon.socket.display()
    );
    let mut child = Command::new("script")
        .args(["-qfec", &line, "/dev/null"])
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let screen = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
    });
    let mut stdin = child.stdin.take().unwrap();
    for key in ["2", "\t", "s", "p", "q"] {
        std::thread::sleep(Duration::from_millis(400));
        stdin.write_all(key.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "q does not quit");
        std::thread::sleep(Duration::from_millis(20));
    };
    let screen = screen.join().unwrap().unwrap();
    assert_eq!(status.code(), Some(0), "{screen}");
    let (begin, end) = (screen.find("\u{1b}[?1049h"), screen.rfind("\u{1b}[?1049l"));
    assert!(begin < end && end.is_some(), "the screen behind comes back: {screen:?}");
    for part in ["edgectl", "sessions", "web-1", "spoofed_source", "PAUSED"] {
        assert!(screen.contains(part), "{part} is not in {screen:?}");
    }
}

#[test]
fn top_without_a_terminal_prints_the_ports_once() {
    let daemon = dataplane();
    let once = daemon.run(&["top", "--once", "--interval", "0.1"]).fine();
    assert!(once.starts_with("PORT ") && once.contains("\nweb-1  waiting"), "{once}");
    let result = daemon.run(&["top"]);
    assert_eq!(result.code, Some(2), "{result:?}");
    assert!(result.stderr.contains("top needs a terminal"), "{result:?}");
    let off = FakeDaemon::start(|_| problem(503, "dataplane_off", "the dataplane does not run"));
    assert_eq!(off.run(&["top", "--once"]).code, Some(7));
}

#[test]
fn test_ping_says_what_is_in_the_way() {
    let daemon = FakeDaemon::start(|request| {
        use serde_json::json;
        match (request.method.as_str(), request.path.rsplit('/').next().unwrap()) {
            ("GET", "db-1") => {
                Answer::json(200, &json!({"port": {"name": "db-1", "ip_address": "10.0.2.11"}}))
            }
            ("GET", "security_group_rules") => Answer::json(200, &json!({"security_group_rules": []})),
            ("GET", "security_groups") => Answer::json(200, &json!({"security_groups": []})),
            ("POST", "trace") if request.body["destination_port"] == 5432 => Answer::json(
                200,
                &json!({"verdict": "forward", "reason": null, "out_port": "db-1", "packet_out": null, "steps": [
                    {"stage": "firewall_ingress", "decision": "allowed by rule 7 of group db of port db-1"},
                    {"stage": "output", "decision": "forwarded"}]}),
            ),
            ("POST", "trace") => Answer::json(
                200,
                &json!({"verdict": "drop", "reason": "firewall_ingress", "out_port": null, "packet_out": null, "steps": [
                    {"stage": "route", "decision": "by port db-1"},
                    {"stage": "firewall_ingress", "decision": "no rule of group db of port db-1 allows this"}]}),
            ),
            _ => problem(404, "not_found", "there is no such thing"),
        }
    });
    let reached = daemon.run(&["test-ping", "web-1", "db-1", "--port", "5432/tcp"]).fine();
    assert!(reached.ends_with("\n✓ web-1 reaches db-1 by port db-1\n"), "{reached}");
    let dropped = daemon.run(&["test-ping", "web-1", "db-1"]);
    assert_eq!(dropped.code, Some(1), "{dropped:?}");
    assert!(
        dropped.stdout.ends_with(
            "✗ web-1 does not reach db-1: firewall_ingress drops it (firewall_ingress): no rule of group db of \
             port db-1 allows this\n  edgectl create-sgr GROUP --direction ingress --protocol icmp\n"
        ),
        "{}",
        dropped.stdout
    );
    let sent = daemon.requests().into_iter().rfind(|request| request.method == "POST").unwrap().body;
    assert_eq!((sent["port"].as_str(), sent["destination"].as_str()), (Some("web-1"), Some("10.0.2.11")));
    let json = daemon.run(&["test-ping", "web-1", "db-1", "-o", "jsonpath={.reached} {.stage}"]);
    assert_eq!((json.code, json.stdout.as_str()), (Some(1), "false firewall_ingress\n"));
    assert_eq!(daemon.run(&["test-ping", "web-1", "nobody"]).code, Some(3));
}
