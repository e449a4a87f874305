//! Site files against the real daemon: `diff`, what is checked before the first write, directories.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::daemon::Daemon;
use crate::support::{Run, edgectl, scratch};

const SITE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/examples/site.yaml");

#[test]
fn a_difference_is_shown_and_is_exit_code_1() {
    let Some(daemon) = Daemon::start() else { return };
    let new = daemon.run(&["diff", "-f", SITE]);
    assert_eq!(new.code, Some(1), "{new:?}");
    assert!(new.stdout.contains("--- /dev/null\n+++ b/network/front\n"), "{}", new.stdout);
    assert_eq!(daemon.json(&["list-networks"])["total"], 0, "a diff changes nothing");
    daemon.run(&["apply", "-f", SITE, "-q"]).fine();
    assert_eq!(daemon.run(&["diff", "-f", SITE]).fine(), "");

    let changed = scratch("changed.yaml");
    let text = fs::read_to_string(SITE).unwrap();
    let text =
        text.replace("tcp 443", "tcp 8443").replace("cidr: 10.0.1.0/24", "cidr: 10.0.1.0/24, mtu: 1400");
    fs::write(&changed, text).unwrap();
    let changed = changed.to_str().unwrap();
    let diff = daemon.run(&["diff", "-f", changed]);
    assert_eq!(diff.code, Some(1), "{diff:?}");
    for part in [
        "--- a/network/front\n+++ b/network/front\n@@ ",
        "+mtu: 1400\n",
        "--- a/security_group/web\n",
        "\n-- ingress tcp 443\n",
        "\n+- ingress tcp 8443\n",
    ] {
        assert!(diff.stdout.contains(part), "{part} is not in {}", diff.stdout);
    }
    assert!(!diff.stdout.contains("router"), "{}", diff.stdout);
    let coloured = daemon.run(&["diff", "-f", changed, "--color", "always"]).stdout;
    assert!(coloured.contains("\u{1b}[32m+mtu: 1400\u{1b}[0m\n"), "{coloured}");
    daemon.run(&["apply", "-f", changed, "-q"]).fine();
    assert_eq!(daemon.run(&["diff", "-f", changed]).fine(), "");

    let missing = daemon.run(&["diff", "-f", "no-such-file.yaml"]);
    assert!(missing.code > Some(1), "{missing:?}");
}

#[test]
fn references_are_checked_before_the_first_write() {
    let Some(daemon) = Daemon::start() else { return };
    daemon.run(&["create-network", "there", "--cidr", "10.9.0.0/24"]).fine();
    let file = scratch("site.yaml");
    let text = "\
networks: [{name: front, cidr: 10.0.1.0/24}]
---
port: {name: p1, network: frnt, security_groups: [web, db]}
---
port: {name: p2, network: there}
---
security_group: {name: web, rules: ['egress', 'ingress tcp 80 from clients']}
---
router: {name: edge, internal: [front, back], external: wan}
";
    fs::write(&file, text).unwrap();
    for command in ["apply", "diff"] {
        let result = daemon.run(&[command, "-f", file.to_str().unwrap()]);
        assert_eq!(result.code, Some(2), "{result:?}");
        for part in [
            "document 2, port `p1`/network: there is no network `frnt`\n    hint: did you mean `front`?\n",
            "document 2, port `p1`/security_groups/1: there is no security group `db`\n",
            "document 4, security group `web`/rules/1/remote_group_id: there is no security group `clients`\n",
            "document 5, router `edge`/internal/1: there is no network `back`\n",
            "document 5, router `edge`/external/network: there is no network `wan`\n",
            ": 5 mistakes\n",
        ] {
            assert!(result.stderr.contains(part), "{part} is not in {}", result.stderr);
        }
    }
    assert_eq!(daemon.json(&["list-networks"])["total"], 1);
    assert_eq!(daemon.json(&["list-ports"])["total"], 0);
}

#[test]
fn a_directory_is_a_site() {
    let Some(daemon) = Daemon::start() else { return };
    let site = scratch("site");
    fs::create_dir_all(site.join("more")).unwrap();
    fs::write(site.join("2-port.yml"), "port: {name: p1, network: a}").unwrap();
    fs::write(site.join("1-network.json"), r#"{"network": {"name": "a", "cidr": "10.0.0.0/24"}}"#).unwrap();
    fs::write(site.join("notes.txt"), "not: {a: site}").unwrap();
    fs::write(site.join("more/sg.yaml"), "security_group: {name: web, rules: [egress]}").unwrap();
    let site = site.to_str().unwrap();
    let flat = daemon.run(&["apply", "-f", site]).fine();
    assert!(flat.contains("created network a\ncreated port p1\n") && !flat.contains("web"), "{flat}");
    let deep = daemon.run(&["apply", "-R", "-f", site]).fine();
    assert!(deep.contains("created security group web"), "{deep}");
    let empty = scratch("empty");
    fs::create_dir(&empty).unwrap();
    let result = daemon.run(&["apply", "-f", empty.to_str().unwrap()]);
    assert_eq!(result.code, Some(2), "{result:?}");
    assert!(result.stderr.contains("has no file that ends in .yaml"), "{result:?}");
}

#[test]
fn documents_come_by_standard_input_too() {
    let Some(daemon) = Daemon::start() else { return };
    let mut command = edgectl(&daemon.socket);
    command.args(["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let text = "network: {name: a, cidr: 10.0.0.0/24}\n---\n---\nport: {name: p, network: a}\n";
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let text = Run::of(&child.wait_with_output().unwrap()).fine();
    assert!(text.ends_with("\n2 created\n"), "{text}");
}

#[test]
fn what_the_files_do_not_have_is_pruned_by_label() {
    let Some(daemon) = Daemon::start() else { return };
    let file = scratch("site.yaml");
    let both = "\
networks:
  - {name: keep, cidr: 10.0.1.0/24, labels: {site: north}}
  - {name: drop, cidr: 10.0.2.0/24, labels: {site: north}}
---
port: {name: p, network: drop, labels: {site: north}}
";
    fs::write(&file, both).unwrap();
    let path = file.to_str().unwrap();
    daemon.run(&["apply", "-f", path]).fine();
    daemon.run(&["create-network", "other", "--cidr", "10.0.3.0/24", "--label", "site=south"]).fine();
    fs::write(&file, both.lines().take(2).collect::<Vec<_>>().join("\n")).unwrap();

    let unasked = daemon.run(&["apply", "-f", path, "--prune", "-l", "site=north"]);
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    assert!(unasked.stderr.contains("nobody can be asked: remove port p, network drop?"), "{unasked:?}");
    let dry = daemon.run(&["apply", "-f", path, "--prune", "-l", "site=north", "--dry-run"]).fine();
    assert!(dry.contains("(dry run) removed network drop\n"), "{dry}");
    assert_eq!(daemon.json(&["list-networks"])["total"], 3);

    let done = daemon.run(&["apply", "-f", path, "--prune", "-l", "site=north", "--yes"]).fine();
    let expected = "unchanged network keep\nremoved port p\nremoved network drop\n1 unchanged, 2 removed\n";
    assert_eq!(done, expected);
    assert_eq!(daemon.run(&["list-networks", "-o", "name"]).fine(), "keep\nother\n");
    assert_eq!(daemon.run(&["apply", "-f", path, "--prune"]).code, Some(2), "a selector is needed");
}

#[test]
fn labels_select_and_limits_cut() {
    let Some(daemon) = Daemon::start() else { return };
    for (name, tier) in [("a", "web"), ("b", "db"), ("c", "web")] {
        let cidr = format!("10.0.{}.0/24", name.as_bytes()[0]);
        daemon.run(&["create-network", name, "--cidr", &cidr, "--label", &format!("tier={tier}")]).fine();
    }
    let names = |arguments: &[&str]| {
        let arguments = [&["list-networks", "-o", "name"] as &[&str], arguments].concat();
        daemon.run(&arguments).fine().replace('\n', " ")
    };
    assert_eq!(names(&["-l", "tier=web"]), "a c ");
    assert_eq!(names(&["--selector", "tier in (db),!old"]), "b ");
    assert_eq!(names(&["--limit", "2"]), "a b ");
    assert_eq!(names(&["-l", "tier=web", "--limit", "1", "--sort-by", "name"]), "a ");
    assert_eq!(daemon.json(&["list-networks", "--limit", "1"])["total"], 3);
    let cut = daemon.run(&["list-networks", "--limit", "2", "--show-labels"]);
    assert!(cut.stdout.contains("LABELS\n") && cut.stdout.contains("tier=db"), "{cut:?}");
    assert_eq!(cut.stderr, "2 of 3\n");

    daemon.run(&["update-network", "a", "--label", "tier-", "--label", "stage=test"]).fine();
    assert_eq!(
        daemon.json(&["show-network", "a"])["network"]["labels"],
        serde_json::json!({"stage": "test"})
    );
    for wrong in [&["-l", "tier in web"] as &[&str], &["--limit", "0"]] {
        let result = daemon.run(&[&["list-networks"] as &[&str], wrong].concat());
        assert_eq!(result.code, Some(2), "{result:?}");
    }
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let Some(daemon) = Daemon::start() else { return };
    let create = ["create-network", "blue", "--cidr", "10.0.0.0/24"];
    let dry = daemon.run(&[&create as &[&str], &["--dry-run"]].concat()).fine();
    assert!(dry.starts_with("(dry run) would create network blue\n"), "{dry}");
    assert_eq!(daemon.json(&["list-networks"])["total"], 0);
    daemon.run(&create).fine();
    daemon.run(&["create-port", "p1", "--net", "blue"]).fine();
    let dry = daemon.run(&["update-network", "blue", "--mtu", "1300", "--dry-run"]).fine();
    assert!(dry.contains("(dry run) would change network blue\n(dry run)   mtu: "), "{dry}");

    let refused = daemon.run(&["remove-network", "blue"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    let dry = daemon.run(&["remove-network", "blue", "--cascade", "--dry-run"]).fine();
    assert!(dry.contains("would remove port p1\n") && dry.contains("would remove network blue\n"), "{dry}");
    let plan = daemon.json(&["remove-network", "blue", "--cascade", "--dry-run"]);
    assert_eq!(plan["plan"]["deleted"].as_array().map(Vec::len), Some(2), "{plan}");
    assert_eq!(daemon.json(&["list-ports"])["total"], 1);
    daemon.run(&["remove-network", "blue", "--cascade"]).fine();
    assert_eq!(daemon.json(&["list-ports"])["total"], 0);
}
