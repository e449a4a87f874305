//! What edgectl gives to shells and people: completion with live names, manual pages, explanations.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::daemon::Daemon;
use crate::support::{Run, edgectl_without_daemon, scratch};
use crate::terminal::Terminal;

fn local(arguments: &[&str]) -> Run {
    Run::of(&edgectl_without_daemon().args(arguments).output().unwrap())
}

/// Where shells find edgectl.
fn path() -> String {
    let directory = Path::new(env!("CARGO_BIN_EXE_edgectl")).parent().unwrap();
    format!("{}:{}", directory.display(), std::env::var("PATH").unwrap_or_default())
}

/// Whether a shell is installed, which `make setup` does.
fn has(shell: &str) -> bool {
    let found = Command::new(shell).arg("--version").stdout(Stdio::null()).status().is_ok();
    // libtest shows no words of tests that pass, so CI would not notice.
    assert!(found || std::env::var_os("CI").is_none(), "{shell} is not installed");
    if !found {
        eprintln!("skipped: {shell} is not installed (make setup)");
    }
    found
}

/// A daemon with three networks.
fn three_networks() -> Option<Daemon> {
    let daemon = Daemon::start()?;
    for (name, cidr) in [("blue", "10.41.0.0/24"), ("black", "10.42.0.0/24"), ("green", "10.43.0.0/24")] {
        daemon.run(&["create-network", name, "--cidr", cidr]).fine();
    }
    Some(daemon)
}

/// What bash offers behind a line, by the script that edgectl prints.
fn completed(socket: &Path, words: &[&str]) -> Vec<String> {
    let script = local(&["completion", "bash"]).fine();
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let last = words.len() - 1;
    let line = format!(
        "COMP_WORDS=({}); COMP_CWORD={last}; COMP_TYPE=9; _clap_complete_edgectl edgectl {} {}; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        quoted[last],
        quoted[last - 1]
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &format!("{script}\n{line}")])
        .env("PATH", path())
        .env("EDGECTL_SOCKET", socket)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let offered = Run::of(&output).fine();
    let mut words: Vec<String> = offered.split_whitespace().map(str::to_owned).collect();
    words.sort();
    words
}

#[test]
fn names_are_completed_as_the_daemon_has_them() {
    let Some(daemon) = three_networks() else { return };
    daemon.run(&["create-port", "web-1", "--net", "blue"]).fine();
    let complete = |words: &[&str]| completed(&daemon.socket, words);
    assert_eq!(complete(&["edgectl", "show-network", "bl"]), ["black", "blue"]);
    assert_eq!(complete(&["edgectl", "network", "show", "g"]), ["green"]);
    assert_eq!(complete(&["edgectl", "create-port", "p", "--net", "gr"]), ["green"]);
    assert_eq!(complete(&["edgectl", "remove-port", "w"]), ["web-1"]);
    assert_eq!(complete(&["edgectl", "network-cli", "trace", "w"]), ["web-1"]);
    assert_eq!(complete(&["edgectl", "list-netw"]), ["list-networks"]);
    assert_eq!(complete(&["edgectl", "edit", "network", "g"]), ["green"]);
    assert!(complete(&["edgectl", "list-networks", "--sort"]).contains(&"--sort-by".to_owned()));
    assert!(complete(&["edgectl", "list-networks", "-o", "j"]).contains(&"json".to_owned()));
    assert!(
        completed(Path::new("/no/such.sock"), &["edgectl", "show-network", ""])
            .iter()
            .all(|word| word.starts_with('-'))
    );
}

#[test]
fn fish_completes_names() {
    let Some(daemon) = three_networks().filter(|_| has("fish")) else { return };
    let home = scratch("fish");
    let directory = home.join("fish/completions");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("edgectl.fish"), local(&["completion", "fish"]).fine()).unwrap();
    let complete = |line: &str| {
        let output = Command::new("fish")
            .args(["--command", &format!("complete --do-complete '{line}'")])
            .envs([("HOME", &*home), ("XDG_CONFIG_HOME", &*home), ("XDG_DATA_HOME", &*home)])
            .env("PATH", path())
            .env("EDGECTL_SOCKET", &daemon.socket)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let offered = Run::of(&output).fine();
        let mut offered: Vec<String> = offered.lines().map(|line| line.replace('\t', ": ")).collect();
        offered.sort();
        offered
    };
    assert_eq!(complete("edgectl show-network bl"), ["black: 10.42.0.0/24", "blue: 10.41.0.0/24"]);
    assert_eq!(complete("edgectl create-port p --net g"), ["green: 10.43.0.0/24"]);
    assert_eq!(complete("edgectl list-netw"), ["list-networks: List networks"]);
}

#[test]
fn zsh_completes_names() {
    let Some(daemon) = three_networks().filter(|_| has("zsh")) else { return };
    let home = scratch("zsh");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("_edgectl"), local(&["completion", "zsh"]).fine()).unwrap();
    let settings = "fpath=($ZDOTDIR $fpath); autoload -U compinit; compinit -u -D; PS1='ready> '\n";
    std::fs::write(home.join(".zshrc"), settings).unwrap();
    let mut terminal = Terminal::start("zsh --no-globalrcs", |command| {
        command.env("ZDOTDIR", &*home).env("HOME", &*home).env("PATH", path());
        command.env("EDGECTL_SOCKET", &daemon.socket).env("EDGESTACK_CONFIG", "/dev/null");
    });
    terminal.shows("ready> ");
    // What was completed is what is run.
    terminal.types("edgectl show-netw\tgr\t\r");
    terminal.shows("10.43.0.0/24");
    terminal.shows("ready> ");
    terminal.types("edgectl show-network bl\t");
    terminal.shows("blue");
    terminal.shows("black");
}

#[test]
fn every_shell_has_a_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(local(&["completion", shell]).fine().contains("COMPLETE"), "{shell}");
    }
    assert_eq!(local(&["completion", "tcsh"]).code, Some(2));
}

#[test]
fn every_command_has_a_manual_page() {
    let pages = scratch("pages");
    local(&["man", pages.to_str().unwrap()]).fine();
    for (page, part) in [
        ("edgectl.1", "operate an EdgeStack host"),
        ("edgectl-create-network.1", "Create a network"),
        ("edgectl-network-create.1", "\\-\\-cidr"),
        ("edgectl-apply.1", "\\-\\-prune"),
        ("edgectl-config-set-context.1", "Make or change a context"),
    ] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(part), "{part} is not in {page}: {text}");
    }
}

#[test]
fn fields_are_explained_in_the_words_of_the_model() {
    let network = local(&["explain", "network"]).fine();
    for part in ["network (object)\n", "  cidr ", "IPv4 range", "The IPv4 subnet.", "  ip_pool"] {
        assert!(network.contains(part), "{part} is not in {network}");
    }
    let pool = local(&["explain", "networks.ip_pool"]).fine();
    assert!(pool.contains("  start") && pool.contains("First address."), "{pool}");
    let kind: Value =
        serde_json::from_str(&local(&["explain", "network.type", "-o", "json"]).fine()).unwrap();
    let words: Vec<&str> =
        kind["words"].as_array().unwrap().iter().map(|one| one["word"].as_str().unwrap()).collect();
    assert!(words.contains(&"VXLAN"), "{kind}");
    let wrong = local(&["explain", "network.gatewayip"]);
    assert_eq!(wrong.code, Some(3), "{wrong:?}");
    assert!(wrong.stderr.contains("did you mean `gateway_ip`?"), "{wrong:?}");
    assert_eq!(local(&["explain", "cloud"]).code, Some(3));
}
