//! The audit log: every attempt to change something is in it, and it shows when somebody changes it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bodies::network;
use crate::support::Daemon;

fn verify(daemon: &Daemon) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_edgestackd"))
        .arg("--config")
        .arg(daemon.directory().join("edgestackd.toml"))
        .args(["audit", "verify"])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

fn file(daemon: &Daemon) -> PathBuf {
    daemon.directory().join("state/audit/audit-000000000001.jsonl")
}

#[test]
fn attempts_are_noted_with_who_and_what_came_of_them() {
    let mut daemon = Daemon::start();
    let viewer = daemon.token("viewer", "default");
    let body = network("tenant", "10.0.0.0/24");
    let denied = daemon.request_as(&viewer, "POST", "networks", &body);
    denied.refused(403, "forbidden", &[]);
    daemon.create("networks", &body);
    daemon.get("networks");
    daemon.request_as("edgs_wrong", "DELETE", "networks/tenant", &Value::Null);
    daemon.kill_and_restart();
    let page = daemon.get("audit?limit=3").body;
    let lines: Vec<Value> = page["audit"].as_array().unwrap().clone();
    let told = |line: &Value| {
        ["who", "action", "path", "status", "code"]
            .map(|key| line[key].to_string().replace('"', ""))
            .join(" ")
    };
    let prefix = crate::support::OBJECTS;
    assert_eq!(
        lines.iter().map(told).collect::<Vec<_>>(),
        [
            format!("unknown delete networks {prefix}/networks/tenant 401 unauthenticated"),
            format!("uid:{} create networks {prefix}/networks 201 ", rustix::process::geteuid().as_raw()),
            format!("token:default/viewer-token create networks {prefix}/networks 403 forbidden"),
        ]
    );
    assert_eq!(lines[2]["request_id"].as_str(), denied.header("x-request-id"));
    let next = page["continue"].as_str().unwrap();
    let rest = daemon.get(&format!("audit?continue={next}")).body;
    assert_eq!((&rest["total"], &rest["audit"][0]["action"]), (&json!(1), &json!("create tokens")));
    assert!(!std::fs::read_to_string(file(&daemon)).unwrap().contains(&viewer), "secrets are not in it");
    let (whole, told) = verify(&daemon);
    assert!(whole && told.starts_with("4 lines are as they were written: 1 to 4"), "{told}");
}

#[test]
fn who_goes_away_in_the_middle_takes_no_line_with_it() {
    const WRITES: usize = 20;
    let daemon = Daemon::start();
    for number in 0..WRITES {
        let body = network(&format!("n{number}"), "10.0.0.0/24").to_string();
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        let head = format!(
            "POST {}/networks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            crate::support::OBJECTS,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        if number == WRITES - 1 {
            // One stays for its answer, so that something is made however late the daemon gets to hear the others.
            assert!(stream.read(&mut [0; 64]).unwrap() > 0);
        } else {
            std::thread::sleep(Duration::from_millis(number as u64));
        }
    }
    // Some go before they are heard at all; of the others nothing may be made that is not noted.
    let (started, mut agreed) = (Instant::now(), 0);
    while agreed < 5 {
        let (networks, lines) = (daemon.get("networks").body, daemon.get("audit?limit=1000").body);
        let made = networks["total"].as_u64().unwrap();
        let noted = lines["audit"].as_array().unwrap().iter().filter(|line| line["status"] == 201).count();
        agreed = if made > 0 && made == noted as u64 { agreed + 1 } else { 0 };
        assert!(started.elapsed() < Duration::from_mins(1), "{made} of {WRITES} made, {noted} noted");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_change_of_the_log_is_found() {
    let daemon = Daemon::start();
    for index in 0..3 {
        daemon.create("networks", &network(&format!("n{index}"), "10.0.0.0/24"));
    }
    let text = std::fs::read_to_string(file(&daemon)).unwrap();
    std::fs::write(file(&daemon), text.replacen("201", "409", 1)).unwrap();
    let (whole, told) = verify(&daemon);
    assert!(!whole && told.contains("jsonl:1: the line was changed"), "{told}");
}

#[test]
fn a_write_that_cannot_be_noted_is_not_made() {
    let mut daemon = Daemon::start();
    daemon.create("networks", &network("n", "10.0.0.0/24"));
    let text = std::fs::read_to_string(file(&daemon)).unwrap();
    std::fs::write(file(&daemon), "no line\n").unwrap();
    daemon.kill();
    // It does not go on over what it does not understand.
    assert_eq!(daemon.second().output().unwrap().status.code(), Some(1));
    std::fs::write(file(&daemon), text).unwrap();
    daemon.kill_and_restart();
    assert_eq!(daemon.get("networks").body["total"], 1);
}
