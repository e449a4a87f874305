//! Keypairs over HTTP.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;

use serde_json::json;

use crate::support::Daemon;

const PUBLIC_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDI5OTV6U3H9xHE53NHqz5NG8NLxAwTzQHlVcFjvSVZT me@laptop";

#[test]
fn a_public_key_is_imported_and_never_changes() {
    let daemon = Daemon::start();
    let body = json!({"keypair": {"name": "me", "public_key": PUBLIC_KEY, "description": "laptop"}});
    let created = daemon.create("keypairs", &body);
    assert_eq!(created["fingerprint"], "SHA256:RI1htthW93/dwdksqcAvV1gs6HwhQ7UE81cHG6EsNVM");
    assert_eq!((&created["type"], &created["comment"]), (&json!("ssh-ed25519"), &json!("me@laptop")));
    assert_eq!(created["status"]["phase"], "Active");
    assert_eq!(daemon.post("keypairs", &body).status, 200);
    let whole = daemon.get("keypairs/me").body;
    assert_eq!(daemon.put("keypairs/me", &whole).status, 200, "what GET returned can be PUT back");
    let described = daemon.patch("keypairs/me", &json!({"keypair": {"description": "desk"}}));
    assert_eq!(described.status, 200, "{}", described.text);
    let made = daemon.post("keypairs", &json!({"keypair": {"name": "other", "generate": "ecdsa-p256"}}));
    let other = made.body["keypair"]["public_key"].clone();
    daemon.patch("keypairs/me", &json!({"keypair": {"public_key": other}})).refused(
        400,
        "invalid",
        &[("/keypair/public_key", "immutable")],
    );
    assert_eq!(daemon.delete("keypairs/me").status, 200);
}

#[test]
fn a_key_that_the_daemon_makes_is_told_once_and_fits_its_public_key() {
    let daemon = Daemon::start();
    for (name, kind) in [("first", "ed25519"), ("second", "ecdsa-p256")] {
        let answer = daemon.post("keypairs", &json!({"keypair": {"name": name, "generate": kind}}));
        assert_eq!(
            (answer.status, answer.header("cache-control")),
            (201, Some("no-store")),
            "{}",
            answer.text
        );
        let private_key = answer.body["private_key"].as_str().unwrap();
        assert!(private_key.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
        let path = daemon.directory().join(name);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(&path).unwrap().write_all(private_key.as_bytes()).unwrap();
        let public_key = answer.body["keypair"]["public_key"].as_str().unwrap();
        match Command::new("ssh-keygen").arg("-y").arg("-f").arg(&path).output() {
            Ok(output) => {
                let derived = String::from_utf8(output.stdout).unwrap();
                let words = |line: &str| line.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>();
                assert_eq!(words(derived.trim()), words(public_key), "ssh-keygen agrees");
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
        }
        for path in [format!("keypairs/{name}"), "keypairs".to_owned(), format!("keypairs/{name}/manifest")] {
            assert!(!daemon.get(&path).text.contains("PRIVATE"), "{path}");
        }
        let again = daemon.post("keypairs", &json!({"keypair": {"name": name, "generate": kind}}));
        assert_eq!(
            (again.status, again.body["code"].as_str()),
            (409, Some("already_exists")),
            "{}",
            again.text
        );
        assert!(!again.text.contains("PRIVATE"));
    }
    let store = std::fs::read(daemon.directory().join("state/edgestack.redb")).unwrap();
    assert!(!store.windows(7).any(|part| part == b"PRIVATE"), "private keys are not stored");
}

#[test]
fn a_private_key_is_refused_without_being_repeated() {
    let daemon = Daemon::start();
    let pasted = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n";
    let answer = daemon.post("keypairs", &json!({"keypair": {"name": "me", "public_key": pasted}}));
    answer.refused(400, "invalid", &[("/keypair/public_key", "private_key")]);
    assert!(!answer.text.contains("c2VjcmV0"), "{}", answer.text);
}
