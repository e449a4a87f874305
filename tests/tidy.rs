//! The house rules that a machine can check, as a test: `make lint` and `cargo test` run it.
//!
//! It reads the sources that git tracks (or would track) and never changes them. A finding names the file, the line
//! and what to do. CONTRIBUTING.md gives the reasons.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest Rust file, in lines.
const FILE_LINES_MAX: usize = 1000;
/// Longest line of text files, in characters; generous, because tables need it.
const LINE_CHARACTERS_MAX: usize = 240;

/// Words that mark work left undone; written in pieces so that this file passes its own test.
const OPEN_WORK: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];
/// Directories that exist only on somebody's machine.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/home", "/"), concat!("/tmp/", "bash")];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate is a directory of the workspace")
}

/// Text files of the repository. Files that are not UTF-8 (captures, images) are left out.
fn sources() -> Vec<Source> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the sources");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .expect("paths are UTF-8")
        .lines()
        .filter_map(|line| {
            let text = fs::read_to_string(root().join(line)).ok()?;
            Some(Source { path: PathBuf::from(line), text })
        })
        .collect()
}

/// Fails with every finding at once.
fn report(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

fn lines_with(source: &Source, words: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        for word in words {
            if line.contains(word) {
                findings.push(format!("{}:{}: {word}", source.path.display(), index + 1));
            }
        }
    }
    findings
}

#[test]
fn files_are_short_enough_to_read() {
    let findings: Vec<String> = sources()
        .iter()
        .filter(|source| source.is_rust() && source.text.lines().count() > FILE_LINES_MAX)
        .map(|source| format!("{}: {} lines", source.path.display(), source.text.lines().count()))
        .collect();
    report(&format!("a Rust file has {FILE_LINES_MAX} lines at most: cut it along its subjects"), &findings);
}

#[test]
fn modules_say_what_they_are() {
    let findings: Vec<String> = sources()
        .iter()
        .filter(|source| source.is_rust())
        .filter(|source| {
            let first = source.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
            !first.is_some_and(|line| line.starts_with("//!"))
        })
        .map(|source| source.path.display().to_string())
        .collect();
    report("a Rust file starts with //!: what it is, what it never does, who calls it", &findings);
}

#[test]
fn nothing_is_left_open() {
    let findings: Vec<String> = sources()
        .iter()
        .filter(|source| source.path != Path::new("CONTRIBUTING.md"))
        .flat_map(|source| lines_with(source, &OPEN_WORK))
        .collect();
    report("work left undone belongs into an issue, not into the code", &findings);
}

#[test]
fn no_path_of_a_machine_is_in_the_tree() {
    let findings: Vec<String> =
        sources().iter().flat_map(|source| lines_with(source, &MACHINE_PATHS)).collect();
    report("paths of one machine work on no other", &findings);
}

#[test]
fn lines_fit_and_have_no_trailing_space() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.path != Path::new("Cargo.lock")) {
        let markdown = source.path.extension().is_some_and(|extension| extension == "md");
        for (index, line) in source.text.lines().enumerate() {
            let place = format!("{}:{}", source.path.display(), index + 1);
            if source.is_rust() && line.chars().count() > LINE_CHARACTERS_MAX {
                findings.push(format!("{place}: longer than {LINE_CHARACTERS_MAX} characters"));
            }
            if !markdown && source.path != Path::new("LICENSE") && line.ends_with([' ', '\t']) {
                findings.push(format!("{place}: trailing space"));
            }
        }
    }
    report("lines", &findings);
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let findings: Vec<String> = sources()
        .iter()
        .filter(|source| source.path.file_name().is_some_and(|name| name == "Cargo.toml"))
        .filter(|source| source.text.contains("[package]"))
        // Workspaces of their own cannot inherit; they carry their own table.
        .filter(|source| {
            let inherits = source.text.contains("[lints]\nworkspace = true");
            let own = source.text.contains("[lints.") || source.text.contains("[workspace");
            !inherits && !own
        })
        .map(|source| source.path.display().to_string())
        .collect();
    report("a member has [lints] workspace = true", &findings);
}

#[test]
fn every_dependency_is_the_workspace_s() {
    let mut findings = Vec::new();
    for source in sources() {
        let is_manifest = source.path.file_name().is_some_and(|name| name == "Cargo.toml");
        if !is_manifest || source.text.contains("[workspace") || !source.text.contains("[package]") {
            continue;
        }
        let mut in_dependencies = false;
        for (index, line) in source.text.lines().enumerate() {
            if line.starts_with('[') {
                in_dependencies = line.ends_with("dependencies]");
            } else if in_dependencies && line.contains('=') && !line.contains("workspace = true") {
                let continued = line.starts_with(' ') || line.starts_with('#');
                if !continued {
                    findings.push(format!("{}:{}: {line}", source.path.display(), index + 1));
                }
            }
        }
    }
    report("versions are written once, in the workspace's Cargo.toml", &findings);
}

#[test]
fn no_binary_is_in_the_tree() {
    let binary = |path: &str| {
        let path = Path::new(path);
        ["o", "elf", "bin", "so", "a"]
            .iter()
            .any(|kind| path.extension().is_some_and(|extension| extension == *kind))
    };
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files"])
        .current_dir(root())
        .output()
        .expect("git lists the sources");
    let findings: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|path| binary(path))
        .map(str::to_owned)
        .collect();
    report("binaries are built, never committed", &findings);
}
