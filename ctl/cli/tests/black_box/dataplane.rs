//! `edgectl network-cli` against a daemon that answers as each test tells it to.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, FakeDaemon, Run, edgectl, problem, scratch};
use crate::terminal::Terminal;

/// A pcap file with so many packets of 60 bytes.
fn pcap(packets: usize) -> Vec<u8> {
    let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
    bytes.resize(24, 0);
    for _ in 0..packets {
        bytes.extend([0; 8]);
        bytes.extend(60u32.to_le_bytes());
        bytes.extend(60u32.to_le_bytes());
        bytes.extend([0x55; 60]);
    }
    bytes
}

fn counters() -> Value {
    json!({"tier0_packets": 75_000, "engine_packets": 25_000, "engine_hits": 20_000, "engine_decisions": 5000,
        "engine_responses": 12, "dropped_packets": 7, "sessions": 300, "sessions_max": 1_048_576,
        "sessions_created": 400, "sessions_expired": 90, "sessions_evicted": 0, "sessions_revoked": 10,
        "nat_high_waters": 0, "revalidations": 3, "denials_logged": 0, "denials_suppressed": 0})
}

/// A daemon with a dataplane of one port, one flow and two drop reasons.
pub(crate) fn dataplane() -> FakeDaemon {
    FakeDaemon::start(|request| match request.path.split('?').next().unwrap() {
        "/edgetron/network/ports" => Answer::json(
            200,
            &json!({"ports": [
            {"number": 1, "id": "0199", "name": "web-1", "kind": "workload", "network": "blue", "interface": null,
             "state": "waiting", "reason": "no interface is plugged in", "attached": "none", "mtu": 1500,
             "mac_address": "02:00:00:00:00:01", "ip_address": "10.0.0.5", "epoch": 3,
             "counters": {"tier0_packets": 900, "tier0_bytes": 54000, "engine_packets": 100, "engine_bytes": 6000,
                          "transmitted_packets": 1000, "transmitted_bytes": 60000, "dropped_packets": 2}}]}),
        ),
        "/edgetron/network/drops" => Answer::json(
            200,
            &json!({"drops": [
            {"reason": "spoofed_source", "description": "The source is not the port's own.", "stage": "admit", "packets": 3},
            {"reason": "no_route", "description": "No route.", "stage": "route", "packets": 0},
            {"reason": "ttl_expired", "description": "TTL ran out.", "stage": "route", "packets": 12_000}]}),
        ),
        "/edgetron/network/counters" => Answer::json(200, &json!({"counters": counters()})),
        "/edgetron/network/flows" => Answer::json(200, &json!({"flows": []})),
        "/edgetron/network/nat" => Answer::json(200, &json!({"nat": []})),
        "/edgetron/network/snapshot" => Answer::json(200, &json!({"snapshot": {"networks": []}})),
        "/edgetron/network/trace" => Answer::json(
            200,
            &json!({"verdict": "drop", "reason": "security_group_ingress",
            "out_port": null, "packet_out": null, "steps": [
                {"stage": "admit", "decision": "the source is the port's own"},
                {"stage": "firewall_ingress", "decision": "no rule of `db` allows tcp 22"}]}),
        ),
        "/version" => Answer::json(200, &json!({"version": env!("CARGO_PKG_VERSION"), "commit": "abc"})),
        "/readyz" => Answer::json(200, &json!({"ready": true})),
        _ => problem(404, "not_found", "there is no such thing"),
    })
}

#[test]
fn tables_are_for_people_and_json_is_raw() {
    let daemon = dataplane();
    let show = |arguments: &[&str]| daemon.run(&[&["network-cli", "show"], arguments].concat()).fine();
    let ports = show(&["ports"]);
    assert!(ports.contains("web-1  workload  blue     -          waiting  none"), "{ports}");
    assert!(ports.contains("1000  90.0%") && ports.contains("no interface is plugged in"), "{ports}");
    assert_eq!(
        show(&["drops"]),
        "REASON          STAGE  PACKETS  MEANING\n\
         ttl_expired     route  12.0k    TTL ran out.\n\
         spoofed_source  admit  3        The source is not the port's own.\n"
    );
    assert!(show(&["drops", "--all"]).contains("no_route"));
    let text = show(&["counters"]);
    assert!(text.contains("Packets by tier 0 (kernel)  75.0k (75.0%)\n"), "{text}");
    let raw: Value = serde_json::from_str(&show(&["counters", "-o", "json"])).unwrap();
    assert_eq!(raw, json!({"counters": counters()}));
    assert_eq!(show(&["nat"]), "KIND  ROUTER  EXTERNAL  INTERNAL  SESSIONS  PORTS  OUT  IN\n");
    assert!(show(&["snapshot"]).contains("networks: []"));
}

#[test]
fn a_trace_asks_for_the_packet_and_shows_the_verdict() {
    let daemon = dataplane();
    let trace =
        ["network-cli", "trace", "web-1", "tcp 10.0.0.5:4000>10.0.1.9:22", "--ttl", "3", "--tcp-flags", "sa"];
    assert_eq!(
        daemon.run(&trace).fine(),
        "tcp 10.0.0.5:4000 > 10.0.1.9:22 into port web-1\n\n\
         1  admit             the source is the port's own\n\
         2  firewall_ingress  no rule of `db` allows tcp 22\n\n\
         ✗ DROP: security_group_ingress\n"
    );
    let body = &daemon.requests()[0].body;
    for (key, value) in [
        ("port", json!("web-1")),
        ("protocol", json!("tcp")),
        ("source", json!("10.0.0.5")),
        ("source_port", json!(4000)),
        ("destination", json!("10.0.1.9")),
        ("destination_port", json!(22)),
        ("tcp_flags", json!("SA")),
        ("ttl", json!(3)),
        ("length", json!(null)),
    ] {
        assert_eq!(body[key], value, "{key}");
    }
    let expect = |verdict: &str| {
        daemon.run(&["network-cli", "trace", "web-1", "udp >10.0.1.9:53", "--expect", verdict]).code
    };
    assert_eq!((expect("drop"), expect("forward")), (Some(0), Some(1)));
}

#[test]
fn a_capture_is_written_whole() {
    let daemon = FakeDaemon::start(|_| Answer::bytes(pcap(5)));
    let file = scratch("all.pcap");
    let result = daemon.run(&["network-cli", "capture", "web-1", "-w", file.to_str().unwrap(), "-c", "5"]);
    assert!(result.stderr.ends_with(&format!("5 packets in {}\n", file.display())), "{result:?}");
    result.fine();
    assert_eq!(std::fs::read(&file).unwrap(), pcap(5));
    assert_eq!(daemon.requests()[0].path, "/edgetron/network/capture?port=web-1&limit=5");
    let output =
        edgectl(&daemon.socket).args(["network-cli", "capture", "web-1", "-w", "-", "-q"]).output().unwrap();
    assert_eq!((output.stdout, output.stderr), (pcap(5), Vec::new()));
}

#[test]
fn ctrl_c_ends_a_capture_with_whole_records() {
    let daemon = FakeDaemon::start(|_| {
        let mut answer = Answer::bytes(pcap(3));
        answer.body.truncate(answer.body.len() - 10);
        answer.endless = true;
        answer
    });
    let file = scratch("cut.pcap");
    let child = edgectl(&daemon.socket)
        .args(["network-cli", "capture", "web-1", "-w", file.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::fs::metadata(&file).map_or(0, |file| file.len()) < pcap(2).len() as u64 {
        assert!(Instant::now() < deadline, "nothing was written");
        std::thread::sleep(Duration::from_millis(10));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let result = Run::of(&child.wait_with_output().unwrap());
    assert!(result.stderr.contains("2 packets"), "{result:?}");
    result.fine();
    assert_eq!(std::fs::read(&file).unwrap(), pcap(2));
}

#[test]
fn a_capture_that_cannot_be_leaves_no_file() {
    let file = scratch("none.pcap");
    let result = dataplane().run(&["network-cli", "capture", "nowhere", "-w", file.to_str().unwrap()]);
    assert_eq!(result.code, Some(3), "{result:?}");
    assert!(!file.exists());
}

#[test]
fn the_prompt_takes_commands_from_standard_input() {
    let daemon = dataplane();
    let prompt = |input: &str| {
        let mut child = edgectl(&daemon.socket)
            .arg("network-cli")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Run::of(&child.wait_with_output().unwrap())
    };
    let text = prompt("# a note\nshow drops\n\ntrace web-1 tcp >10.0.1.9:22\nexit\nshow nonsense\n").fine();
    let json: Value = serde_json::from_str(&prompt("show nat -o json\n").fine()).unwrap();
    assert_eq!(json, json!({"nat": []}));
    assert!(text.contains("ttl_expired") && text.contains("DROP"), "{text}");
    let result = prompt("show nonsense\nshow drops\n");
    assert_eq!((result.code, result.stdout.as_str()), (Some(2), ""));
}

#[test]
fn the_doctor_finds_what_waits() {
    let result = dataplane().run(&["doctor"]);
    assert_eq!(result.code, Some(1), "{result:?}");
    for line in [
        "✓ the daemon answers at ",
        "✓ the daemon is ready\n",
        "✓ 0 of 1 ports of the dataplane are up\n",
        "✗ port web-1 is waiting: no interface is plugged in\n    edgectl update-port web-1 --interface NAME\n",
        "✓ the kernel fast path carried 75.0% of 100k packets\n",
    ] {
        assert!(result.stdout.contains(line), "{line} is not in {}", result.stdout);
    }
    let version = dataplane().run(&["version", "-o", "json"]).fine();
    let version: Value = serde_json::from_str(&version).unwrap();
    assert_eq!(version["daemon"]["commit"], "abc");
}

#[test]
fn the_prompt_completes_and_remembers() {
    let daemon = dataplane();
    let state = scratch("state");
    let line = format!("{} network-cli --socket {}", env!("CARGO_BIN_EXE_edgectl"), daemon.socket.display());
    let open = || {
        let mut terminal = Terminal::start(&line, |command| {
            command.env("XDG_STATE_HOME", &*state).env("EDGESTACK_CONFIG", "/dev/null");
        });
        terminal.shows("edgestack> ");
        terminal
    };
    let (tab, enter, up, interrupt, end) = ("\t", "\r", "\u{1b}[A", "\u{3}", "\u{4}");

    let mut terminal = open();
    // Neither `sh` nor `dro` is a word.
    terminal.types(&format!("sh{tab}dro{tab}{enter}"));
    terminal.shows("The source is not the port's own.");
    terminal.shows("edgestack> ");
    // Names of ports, and a line that is cleared.
    terminal.types(&format!("trace we{tab}"));
    terminal.shows("trace web-1 ");
    terminal.types(interrupt);
    terminal.shows("edgestack> ");
    terminal.types(&format!("shw{enter}"));
    terminal.shows("unrecognized subcommand");
    terminal.shows("edgestack> ");
    // Two lines back, the cleared one not counted.
    terminal.types(&format!("{up}{up}{enter}"));
    terminal.shows("The source is not the port's own.");
    terminal.shows("edgestack> ");
    terminal.types(end);
    assert_eq!(terminal.ends(), Some(0));

    let mut terminal = open();
    terminal.types(&format!("{up}{enter}"));
    terminal.shows("The source is not the port's own.");
    terminal.shows("edgestack> ");
    terminal.types(&format!("exit{enter}"));
    assert_eq!(terminal.ends(), Some(0));
    let history = std::fs::read_to_string(state.join("edgectl/network-cli.history")).unwrap();
    assert!(history.contains("show drops") && !history.contains("trace web-1"), "{history}");
}
