//! The real `edgectl` against a daemon that answers as each test tells it to: what is sent, what is printed, and
//! how it fails.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, FakeDaemon, Request, Run, edgectl, problem, run, scratch};

fn networks() -> Value {
    json!({"networks": [
        {"id": "0199-1", "name": "blue", "type": "VXLAN", "segment_id": 100, "mtu": 1450, "cidr": "10.0.0.0/24",
         "gateway_ip": "10.0.0.1", "external": false, "dns": ["9.9.9.9"],
         "status": {"phase": "Active", "addresses": {"used": 2, "total": 253}}},
        {"id": "0199-2", "name": "wan", "type": "FLAT", "mtu": 1500, "cidr": "203.0.113.0/24", "gateway_ip": null,
         "external": true, "physnet_name": "up", "dns": [], "status": {"phase": "Pending"}},
    ], "total": 2})
}

/// A daemon with two networks, a port and a router.
fn site() -> FakeDaemon {
    FakeDaemon::start(|request| match request.path.rsplit_once('/').unwrap().1 {
        "networks" => Answer::json(200, &networks()),
        "ports" => Answer::json(200, &json!({"ports": [{"name": "web-1", "network": "blue"}], "total": 1})),
        "routers" => {
            let external = json!({"network": "wan", "ip": "203.0.113.5"});
            let router =
                json!({"name": "edge", "internal": ["blue"], "external": external, "enable_snat": true});
            Answer::json(200, &json!({"routers": [router], "total": 1}))
        }
        "blue" => Answer::json(200, &json!({"network": networks()["networks"][0]})),
        _ => problem(404, "not_found", "there is no such thing"),
    })
}

#[test]
fn a_list_is_a_table() {
    assert_eq!(
        site().run(&["list-networks"]).fine(),
        "NAME  TYPE   SEGMENT  CIDR            GATEWAY   MTU   ROUTER  USED/TOTAL  STATUS\n\
         blue  VXLAN  100      10.0.0.0/24     10.0.0.1  1450  edge    2/253       Active\n\
         wan   FLAT   -        203.0.113.0/24  -         1500  edge    -           Pending\n"
    );
    let wide = site().run(&["network", "list", "-o", "wide", "--no-headers", "wan"]).fine();
    assert!(wide.starts_with("wan ") && wide.ends_with("  Pending  0  yes  up  -  -  -  0199-2\n"), "{wide}");
}

#[test]
fn a_list_is_json_yaml_or_names() {
    let daemon = site();
    let answer: Value = serde_json::from_str(&daemon.run(&["list-networks", "-o", "json"]).fine()).unwrap();
    assert_eq!(answer, networks());
    let paths: Vec<String> = daemon.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/edgetron/resources/kubevirt/networks"], "JSON needs no other kinds");
    let yaml = daemon.run(&["list-networks", "-o", "yaml"]).fine();
    assert!(yaml.contains("name: blue"), "{yaml}");
    assert_eq!(daemon.run(&["list-networks", "-o", "name"]).fine(), "blue\nwan\n");
    assert_eq!(daemon.run(&["list-networks", "-q"]).fine(), "blue\nwan\n");
}

#[test]
fn parts_of_an_answer_are_picked_by_path() {
    let daemon = site();
    for (form, expected) in [
        ("jsonpath={.networks[*].name}", "blue wan\n"),
        ("jsonpath={range .networks[*]}{.name}={.mtu}{\"\\n\"}{end}", "blue=1450\nwan=1500\n"),
        ("jsonpath={.networks[?(@.external==true)].cidr}", "203.0.113.0/24\n"),
        ("custom-columns=NAME:.name,DNS:.dns[0]", "NAME  DNS\nblue  9.9.9.9\nwan   -\n"),
    ] {
        assert_eq!(daemon.run(&["list-networks", "-o", form]).fine(), expected, "{form}");
    }
    assert_eq!(daemon.run(&["show-network", "blue", "-o", "jsonpath={.cidr}"]).fine(), "10.0.0.0/24\n");
    let one = daemon.run(&["show-network", "blue", "-o", "custom-columns=MTU:.mtu", "--no-headers"]);
    assert_eq!(one.fine(), "1450\n");
    for wrong in ["xml", "jsonpath={.a", "custom-columns=NAME"] {
        let result = daemon.run(&["list-networks", "-o", wrong]);
        assert_eq!(result.code, Some(2), "{wrong}: {result:?}");
    }
}

#[test]
fn a_list_is_ordered_by_a_column_or_a_field() {
    let daemon = FakeDaemon::start(|_| {
        let port = |name: &str, ip: &str, phase: &str| json!({"name": name, "ip_address": ip, "network": "n", "status": {"phase": phase}});
        let ports = [
            port("b", "10.0.0.10", "Active"),
            port("a", "10.0.0.9", "Pending"),
            port("c", "10.0.0.1", "Down"),
        ];
        Answer::json(200, &json!({"ports": ports, "total": 3}))
    });
    for (key, names) in [
        ("name", "a\nb\nc\n"),
        ("IP", "c\na\nb\n"),
        ("ip_address", "c\na\nb\n"),
        (".status.phase", "b\nc\na\n"),
    ] {
        assert_eq!(daemon.run(&["list-ports", "--sort-by", key, "-o", "name"]).fine(), names, "{key}");
    }
    let result = daemon.run(&["list-ports", "--sort-by", "colour"]);
    assert_eq!(result.code, Some(2), "{result:?}");
    assert!(result.stderr.contains("`colour` is neither a column nor a field of a port"), "{result:?}");
}

#[test]
fn colours_are_for_terminals_and_for_those_who_insist() {
    let daemon = site();
    let colours = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = edgectl(&daemon.socket);
        command.arg("list-networks").args(arguments).envs(variables.iter().copied());
        Run::of(&command.output().unwrap()).fine().contains('\u{1b}')
    };
    assert!(!colours(&[], &[]), "a pipe is no terminal");
    assert!(colours(&["--color", "always"], &[("NO_COLOR", "1")]));
    assert!(colours(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!colours(&[], &[("CLICOLOR_FORCE", "0")]));
    assert!(!colours(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!colours(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
}

#[test]
fn one_object_is_its_fields_and_what_belongs_to_it() {
    let text = site().run(&["show-network", "blue"]).fine();
    for part in ["Name:        blue\n", "Status:      Active\n", "Addresses:\n", "web-1"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_name_that_is_not_there_is_exit_code_3() {
    let daemon = site();
    for arguments in [&["show-network", "red"] as &[&str], &["list-networks", "red"]] {
        let result = daemon.run(arguments);
        assert_eq!(result.code, Some(3), "{result:?}");
        assert!(result.stdout.is_empty());
        assert!(result.stderr.starts_with("error[not"), "{result:?}");
    }
}

#[test]
fn only_what_was_written_is_sent() {
    let daemon = FakeDaemon::start(|request| {
        let mut network = request.body["network"].clone();
        network["id"] = "0199".into();
        Answer::json(201, &json!({"message": "OK", "id": "0199", "name": "blue", "network": network}))
    });
    let arguments = [
        "create-network",
        "blue",
        "--cidr",
        "10.0.0.0/24",
        "--dns",
        "9.9.9.9",
        "--pool",
        "10.0.0.10-10.0.0.99",
        "--route",
        "10.9.0.0/16,10.0.0.7",
        "--mtu",
        "1400",
        "-v",
    ];
    let result = daemon.run(&arguments);
    assert!(result.stderr.starts_with("curl -sS --unix-socket '"), "{result:?}");
    assert_eq!(result.fine(), "created network blue: 10.0.0.0/24\n");
    let requests = daemon.requests();
    assert_eq!((requests[0].method.as_str(), requests.len()), ("POST", 1));
    assert_eq!(
        requests[0].body,
        json!({"network": {
            "name": "blue", "cidr": "10.0.0.0/24", "mtu": 1400, "dns": ["9.9.9.9"],
            "ip_pool": {"start": "10.0.0.10", "end": "10.0.0.99"},
            "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.7"}],
        }})
    );
    assert_eq!(daemon.run(&["create-network", "blue", "--cidr", "10.0.0.0/24", "-q"]).fine(), "");
    assert_eq!(
        daemon.run(&["network", "create", "blue", "--cidr", "10.0.0.0/24", "-o", "name"]).fine(),
        "blue\n"
    );
}

#[test]
fn rules_and_associations_have_the_bodies_of_the_api() {
    let daemon = FakeDaemon::start(|request| {
        let kind = request.path.split('/').nth(4).unwrap().trim_end_matches('s').to_owned();
        let object = match request.method.as_str() {
            "GET" => json!({"id": "0199", "name": "fip", "floating_ip": "203.0.113.9"}),
            _ => request.body[&kind].clone(),
        };
        Answer::json(200, &json!({ kind: object }))
    });
    daemon.run(&["create-sg", "web", "--rule", "ingress tcp 80 from any", "--rule", "egress"]).fine();
    daemon
        .run(&[
            "create-sgr",
            "web",
            "--direction",
            "ingress",
            "--protocol",
            "TCP",
            "--ports",
            "1-9",
            "--remote-sg",
            "a",
        ])
        .fine();
    daemon.run(&["associate-fip", "fip", "web-1", "--fixed-ip", "10.0.0.5"]).fine();
    daemon.run(&["update-router", "edge", "--external", "wan", "--no-snat"]).fine();
    daemon
        .run(&["create-port", "web-1", "--net", "blue", "--no-sg", "--pair", "10.0.0.0/28", "--attach", "tc"])
        .fine();
    let bodies: Vec<Value> = daemon
        .requests()
        .into_iter()
        .filter(|request| request.method != "GET")
        .map(|request| request.body)
        .collect();
    assert_eq!(
        bodies,
        [
            json!({"security_group": {"name": "web", "rules": [
                {"direction": "ingress", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80},
                {"direction": "egress", "protocol": "all"}]}}),
            json!({"security_group_rule": {"security_group_id": "web", "direction": "ingress", "protocol": "tcp",
                "port_range_min": 1, "port_range_max": 9, "remote_group_id": "a"}}),
            json!({"floating_ip": {"id": "0199", "instance_type": "vm", "instance_name": "web-1",
                "target_ip": "10.0.0.5"}}),
            json!({"router": {"enable_snat": false, "external": "wan"}}),
            json!({"port": {"name": "web-1", "network": "blue", "security_groups": [], "attach": "tc",
                "allowed_address_pairs": [{"ip_address": "10.0.0.0/28"}]}}),
        ]
    );
}

#[test]
fn a_refusal_is_told_whole() {
    let daemon = FakeDaemon::start(|_| {
        let mut answer = json!({"type": "/problems/invalid", "title": "Invalid", "status": 400, "code": "invalid",
            "detail": "the network is refused"});
        answer["errors"] = json!([
            {"pointer": "/network/cidr", "code": "invalid_cidr", "message": "`10.0.0.1/24` has host bits",
             "hint": "did you mean `10.0.0.0/24`?"},
            {"pointer": "/network/mtu", "code": "out_of_range", "message": "12 is out of range"},
        ]);
        Answer::json(400, &answer)
    });
    let result = daemon.run(&["create-network", "blue", "--cidr", "10.0.0.1/24"]);
    assert_eq!(result.code, Some(2));
    assert_eq!(
        result.stderr,
        "error[invalid]: the network is refused\n  \
         /network/cidr: `10.0.0.1/24` has host bits\n    \
         hint: did you mean `10.0.0.0/24`?\n  \
         /network/mtu: 12 is out of range\n"
    );
    let result = daemon.run(&["create-network", "blue", "--cidr", "10.0.0.1/24", "-o", "json"]);
    let document: Value = serde_json::from_str(&result.stderr).unwrap();
    assert_eq!(
        (document["code"].as_str(), document["errors"][1]["pointer"].as_str()),
        (Some("invalid"), Some("/network/mtu"))
    );
}

#[test]
fn statuses_are_exit_codes() {
    for (status, code) in [(403, 5), (404, 3), (409, 4), (422, 2), (500, 7), (503, 7), (504, 6)] {
        let daemon = FakeDaemon::start(move |_| problem(status, "some_code", "because"));
        let result = daemon.run(&["list-routers"]);
        assert_eq!((result.code, result.stderr.as_str()), (Some(code), "error[some_code]: because\n"));
    }
}

#[test]
fn a_socket_without_a_daemon_is_explained() {
    let missing = scratch("missing.sock");
    let result = run(&missing, &["list-ports"]);
    assert_eq!(result.code, Some(7));
    assert!(result.stderr.contains("error[socket_missing]: there is no socket at /"), "{result:?}");
    assert!(result.stderr.contains("hint: start the daemon"), "{result:?}");
    let dead = scratch("dead.sock");
    drop(UnixListener::bind(&dead).unwrap());
    let result = run(&dead, &["list-ports", "-o", "json"]);
    assert_eq!(result.code, Some(7));
    let document: Value = serde_json::from_str(&result.stderr).unwrap();
    assert_eq!(document["code"], "daemon_not_running");
}

#[test]
fn a_socket_that_may_not_be_opened_names_the_group() {
    let socket = scratch("closed.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, Permissions::from_mode(0o000)).unwrap();
    // Root may open everything, so another user must ask; and that user may not see into the build directory.
    let binary = scratch("edgectl");
    fs::copy(env!("CARGO_BIN_EXE_edgectl"), &binary).unwrap();
    let mut command = Command::new(&*binary);
    command.arg("list-ports").env("EDGECTL_SOCKET", &*socket).stdin(Stdio::null());
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(65_534).current_dir("/");
    }
    let result = Run::of(&command.output().unwrap());
    assert_eq!(result.code, Some(5), "{result:?}");
    assert!(result.stderr.contains("error[permission_denied]: this user may not open /"), "{result:?}");
    assert!(result.stderr.contains("hint: members of the group `edgestack` may"), "{result:?}");
}

#[test]
fn an_answer_that_never_comes_is_exit_code_6() {
    let daemon = FakeDaemon::start(|_| {
        std::thread::sleep(Duration::from_secs(20));
        problem(500, "late", "late")
    });
    let result = daemon.run(&["list-ports", "--timeout", "0.2"]);
    assert_eq!(result.code, Some(6), "{result:?}");
    assert!(result.stderr.contains("within 0.2 s"), "{result:?}");
}

#[test]
fn something_else_behind_the_socket_is_seen() {
    let daemon = FakeDaemon::start(|_| Answer::bytes(b"<html>hello</html>".to_vec()));
    let result = daemon.run(&["list-ports"]);
    assert_eq!(result.code, Some(7));
    assert!(result.stderr.contains("is no answer of EdgeStack: `<html>hello"), "{result:?}");
    let daemon = FakeDaemon::start(|_| Answer::json(200, &json!({"ports": 7})));
    assert!(daemon.run(&["list-ports"]).stderr.contains("is not understood"));
}

#[test]
fn removing_goes_on_and_says_what_failed() {
    let daemon = FakeDaemon::start(|request: &Request| match request.path.rsplit_once('/').unwrap().1 {
        "gone" => problem(404, "not_found", "there is no network `gone`"),
        "used" => problem(409, "in_use", "network `used` is used by port web-1"),
        name => Answer::json(200, &json!({"message": "OK", "id": "1", "name": name})),
    });
    let result = daemon.run(&["remove-network", "a", "used", "gone", "b"]);
    assert_eq!(result.code, Some(4), "that of the first failure: {result:?}");
    assert_eq!(result.stdout, "removed network a\nremoved network b\n");
    assert_eq!(
        result.stderr,
        "error[in_use]: network `used` is used by port web-1\nerror[not_found]: there is no network `gone`\n"
    );
    assert_eq!(daemon.run(&["remove-network", "gone", "--if-exists"]).fine(), "");
}

#[test]
fn wrong_arguments_are_exit_code_2_and_reach_nobody() {
    let daemon = site();
    for arguments in [
        &["create-network", "blue"] as &[&str],
        &["create-netwrok", "blue"],
        &["create-port", "p", "--net", "blue", "--ip", "10.0.0"],
        &["create-sg", "web", "--rule", "ingress tcp ssh"],
        &["update-port", "p", "--sg", "a", "--add-sg", "b"],
        &["update-network", "blue"],
        &["network-cli", "trace", "p", "tcp 10.0.0.1"],
        &["list-networks", "-o", "xml"],
    ] {
        let result = daemon.run(arguments);
        assert_eq!(result.code, Some(2), "{arguments:?}: {result:?}");
        assert!(result.stderr.starts_with("error"), "{result:?}");
    }
    assert!(daemon.requests().is_empty(), "{:?}", daemon.requests());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let many: Vec<Value> =
        (0..20_000).map(|number| json!({"name": format!("port-{number}"), "network": "n"})).collect();
    let daemon = FakeDaemon::start(move |_| Answer::json(200, &json!({"ports": many, "total": 20_000})));
    let mut child = edgectl(&daemon.socket)
        .arg("list-ports")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let result = Run::of(&child.wait_with_output().unwrap());
    assert_eq!((result.code, result.stderr.as_str()), (Some(0), ""));
}
