//! What `make install` installs, into a directory, with programs that only stand for the real ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = "#!/bin/sh\necho completion\n";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs `make install` into `place`, of programs that lie in `place` too.
fn install(place: &Path) -> Vec<String> {
    let built = place.join("built");
    fs::create_dir_all(&built).unwrap();
    for program in ["edgestackd", "edgectl", "edgestack.o"] {
        fs::write(built.join(program), PROGRAM).unwrap();
        fs::set_permissions(built.join(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new("make")
        .current_dir(repository())
        .args(["-o", "build", "-o", "ebpf", "install", "PREFIX=/opt/es"])
        .arg(format!("DESTDIR={}", place.join("root").display()))
        .arg(format!("BUILT={}", built.display()))
        .arg(format!("BUILT_EBPF={}", built.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut files = Vec::new();
    list(&place.join("root"), "", &mut files);
    files.sort_unstable();
    files
}

fn list(directory: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}/{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() { list(&path, &name, files) } else { files.push(name) }
    }
}

#[test]
fn everything_that_a_host_needs_is_installed() {
    let place = std::env::temp_dir().join(format!("edgestack-install-{}", std::process::id()));
    let files = install(&place);
    assert_eq!(
        files,
        [
            "/etc/edgestack/edgestackd.toml",
            "/opt/es/bin/edgectl",
            "/opt/es/lib/systemd/system/edgestackd.service",
            "/opt/es/sbin/edgestackd",
            "/opt/es/share/bash-completion/completions/edgectl",
            "/opt/es/share/doc/edgestack/README.md",
            "/usr/lib/edgestack/edgestack.o",
        ]
    );
    let root = place.join("root");
    let unit = fs::read_to_string(root.join("opt/es/lib/systemd/system/edgestackd.service")).unwrap();
    for line in unit.lines().filter(|line| line.starts_with("ExecStart")) {
        let program = line.split_once('=').unwrap().1.split(' ').next().unwrap();
        assert!(files.iter().any(|file| file == program), "the unit starts {program}");
    }
    let manual = unit.lines().find_map(|line| line.strip_prefix("Documentation=file://")).unwrap();
    assert!(files.iter().any(|file| file == manual), "the unit names {manual}");

    let config = root.join("etc/edgestack/edgestackd.toml");
    fs::write(&config, "# mine\n").unwrap();
    install(&place);
    assert_eq!(fs::read_to_string(&config).unwrap(), "# mine\n", "a configuration that is there stays");
    fs::remove_dir_all(&place).unwrap();
}
