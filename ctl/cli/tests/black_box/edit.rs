//! `edgectl edit` with scripts for editors, against the real daemon.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::daemon::Daemon;
use crate::support::{Run, Scratch, edgectl, scratch};

/// A daemon with the network `blue`.
fn site() -> Option<Daemon> {
    let daemon = Daemon::start()?;
    daemon.run(&["create-network", "blue", "--cidr", "10.0.0.0/24", "--mtu", "1450"]).fine();
    Some(daemon)
}

/// An editor that does this with the file `$1`. The directory that it is in is its own.
fn editor(script: &str) -> Scratch {
    let path = scratch("editor");
    fs::write(&path, format!("#!/bin/sh\nset -eu\ncd \"$(dirname \"$0\")\"\n{script}\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

fn edit<const N: usize>(daemon: &Daemon, editor: &Path, object: [&str; N]) -> Run {
    let mut command = edgectl(&daemon.socket);
    command.env("EDITOR", editor).env_remove("VISUAL").env("TMPDIR", editor.parent().unwrap());
    command.env("EDGECTL", env!("CARGO_BIN_EXE_edgectl"));
    Run::of(&command.arg("edit").args(object).output().unwrap())
}

fn mtu(daemon: &Daemon) -> Value {
    daemon.json(&["show-network", "blue"])["network"]["mtu"].clone()
}

/// Files that were left behind.
fn left(editor: &Path) -> Vec<String> {
    let entries = fs::read_dir(editor.parent().unwrap()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("edgectl-")).collect()
}

#[test]
fn what_is_saved_is_written() {
    let Some(daemon) = site() else { return };
    let lower = editor("cp \"$1\" given.yaml; sed -i 's/mtu: 1450/mtu: 1400/' \"$1\"");
    assert!(edit(&daemon, &lower, ["network", "blue"]).fine().starts_with("updated network blue"));
    assert_eq!(mtu(&daemon), 1400);
    let given = fs::read_to_string(lower.with_file_name("given.yaml")).unwrap();
    assert!(given.starts_with("# ") && given.contains("\nnetwork:\n  name: blue\n"), "{given}");
    assert!(!given.contains("generation"), "what the daemon writes is not there to be edited: {given}");
    assert!(left(&lower).is_empty());

    let nothing = editor("true");
    assert_eq!(edit(&daemon, &nothing, ["networks", "blue"]).fine(), "nothing was changed\n");
    let emptied = editor(": > \"$1\"");
    assert_eq!(edit(&daemon, &emptied, ["network", "blue"]).fine(), "nothing was changed\n");
    assert_eq!(mtu(&daemon), 1400);
}

#[test]
fn what_is_refused_comes_back_with_the_reasons() {
    let Some(daemon) = site() else { return };
    let careless = editor(
        "if grep -q '^#   /network/mtu: ' \"$1\"; then sed -i 's/mtu: 10$/mtu: 1300/' \"$1\"\n\
         elif grep -q '^# error' \"$1\"; then sed -i 's/mtu: : .*/mtu: 10/' \"$1\"\n\
         else sed -i 's/mtu: 1450/mtu: : 5/' \"$1\"; fi",
    );
    edit(&daemon, &careless, ["network", "blue"]).fine();
    assert_eq!(mtu(&daemon), 1300);

    let stubborn = editor("grep -q '^# error' \"$1\" || sed -i 's/mtu: 1300/mtu: 10/' \"$1\"");
    let given_up = edit(&daemon, &stubborn, ["network", "blue"]);
    assert_eq!(given_up.code, Some(2), "{given_up:?}");
    assert!(given_up.stderr.contains("/network/mtu"), "{given_up:?}");
    let kept = left(&stubborn);
    assert!(given_up.stderr.contains(&kept[0]), "{given_up:?}");
    let text = fs::read_to_string(stubborn.with_file_name(&kept[0])).unwrap();
    assert!(text.contains("mtu: 10\n"), "{text}");

    let broken = editor("exit 3");
    let failed = edit(&daemon, &broken, ["network", "blue"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(left(&broken).is_empty());
    assert_eq!(mtu(&daemon), 1300);
}

#[test]
fn what_others_change_meanwhile_is_not_overwritten_unseen() {
    let Some(daemon) = site() else { return };
    let other = "\"$EDGECTL\" update-network blue --description theirs >/dev/null";
    let slow = |again: &str| {
        editor(&format!(
            "if grep -q '^# +  description: theirs' \"$1\"; then {again}\n\
             else sed -i 's/mtu: 1450/mtu: 1400/' \"$1\"; {other}; fi"
        ))
    };
    let yielding = edit(&daemon, &slow("true"), ["network", "blue"]);
    assert_eq!(yielding.code, Some(4), "{yielding:?}");
    assert_eq!(mtu(&daemon), 1450);
    daemon.run(&["update-network", "blue", "--description", "ours"]).fine();
    let insisting = slow("sed -i '/^# Take this line out/d' \"$1\"");
    let written = edit(&daemon, &insisting, ["-v", "network", "blue"]);
    // The command that is shown does the same, under the same condition.
    let puts: Vec<&str> = written.stderr.lines().filter(|line| line.contains(" -X PUT ")).collect();
    assert!(!puts.is_empty() && puts.iter().all(|put| put.contains(" -H 'if-match: \"")), "{written:?}");
    written.fine();
    let network = &daemon.json(&["show-network", "blue"])["network"];
    assert_eq!((&network["mtu"], &network["description"]), (&1400.into(), &"ours".into()));
}

#[test]
fn what_cannot_be_edited_is_told() {
    let Some(daemon) = site() else { return };
    let never = editor("touch called");
    for (object, code) in [(["cloud", "blue"], 3), (["network", "red"], 3), (["token", "ci"], 2)] {
        assert_eq!(edit(&daemon, &never, object).code, Some(code), "{object:?}");
    }
    assert!(!never.with_file_name("called").exists());
}
