//! The configuration files of the repository: they load, and the commented example says what the defaults are.

use std::path::{Path, PathBuf};

use edgestackd::config::Config;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

/// A configuration without the places in the file that its values are from.
fn plain(config: &Config) -> String {
    let text = format!("{config:#?}");
    let places = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with("span: ") && !line.starts_with("start: ") && !line.starts_with("end: ")
    };
    text.lines().filter(places).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_commented_example_holds_the_defaults() {
    let example = Config::load(&directory().join("edgestackd.toml")).unwrap();
    assert_eq!(plain(&example), plain(&Config::default()));
}

#[test]
fn what_the_example_leaves_commented_out_is_right_too() {
    let text = std::fs::read_to_string(directory().join("edgestackd.toml")).unwrap();
    let code = |line: &str| {
        let Some(line) = line.strip_prefix('#') else { return line.to_owned() };
        if line.starts_with(' ') || line.is_empty() { String::new() } else { line.to_owned() }
    };
    let text: Vec<String> = text.lines().map(code).collect();
    let config = Config::parse(&text.join("\n")).unwrap();
    assert_eq!(config.uplink.len(), 1);
    assert!(
        config.metrics.listen.is_some() && config.socket.is_some() && config.dataplane.ebpf_object.is_some()
    );
}

#[test]
fn every_example_loads() {
    let mut count = 0;
    for file in std::fs::read_dir(directory().join("examples")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue; // A site in YAML, for edgectl.
        }
        Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        count += 1;
    }
    assert!(count >= 2);
}
