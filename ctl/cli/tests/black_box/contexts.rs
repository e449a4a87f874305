//! Contexts: the file, its permissions, what decides where a command goes, and that tokens are never shown.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::support::{Answer, FakeDaemon, Run, edgectl_without_daemon, scratch};

/// Runs edgectl with this configuration and these variables.
fn run(config: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Run {
    let mut command = edgectl_without_daemon();
    command.env("EDGESTACK_CONFIG", config).envs(variables.iter().copied()).args(arguments);
    Run::of(&command.output().unwrap())
}

/// A daemon whose one network is called after it.
fn daemon(name: &'static str) -> FakeDaemon {
    FakeDaemon::start(move |_| {
        Answer::json(200, &json!({"networks": [{"id": "1", "name": name}], "total": 1}))
    })
}

#[test]
fn commands_go_where_the_nearest_says() {
    let config = scratch("config.yaml");
    let (north, south) = (daemon("north"), daemon("south"));
    let (north_socket, south_socket) = (north.socket.to_str().unwrap(), south.socket.to_str().unwrap());
    run(&config, &[], &["config", "set-context", "north", "--socket", north_socket]).fine();
    run(&config, &[], &["config", "set-context", "south", "--socket", south_socket, "--project", "p"]).fine();
    let lists = |variables: &[(&str, &str)], arguments: &[&str]| {
        let arguments = [&["list-networks", "-o", "name"] as &[&str], arguments].concat();
        run(&config, variables, &arguments).fine()
    };
    let none = run(&config, &[], &["config", "current-context"]);
    assert_eq!(none.code, Some(3), "{none:?}");
    run(&config, &[], &["config", "use-context", "north"]).fine();
    assert_eq!(run(&config, &[], &["config", "current-context"]).fine(), "north\n");
    assert_eq!(lists(&[], &[]), "north\n");
    assert_eq!(lists(&[("EDGESTACK_CONTEXT", "south")], &[]), "south\n");
    assert_eq!(lists(&[("EDGESTACK_SOCKET", south_socket)], &[]), "south\n");
    assert_eq!(lists(&[("EDGESTACK_CONTEXT", "south")], &["--context", "north"]), "north\n");
    assert_eq!(lists(&[("EDGECTL_SOCKET", north_socket)], &["--socket", south_socket]), "south\n");

    let table = run(&config, &[], &["config", "get-contexts"]).fine();
    let first: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(first, ["*", "north", north_socket, "-", "-"], "{table}");
    assert_eq!(run(&config, &[], &["config", "get-contexts", "-o", "name"]).fine(), "north\nsouth\n");

    run(&config, &[], &["config", "delete-context", "north"]).fine();
    let gone = run(&config, &[], &["list-networks", "--context", "north"]);
    assert_eq!(gone.code, Some(3), "{gone:?}");
    assert!(gone.stderr.contains("there is no context `north` (known: south)"), "{gone:?}");
    assert_eq!(run(&config, &[], &["config", "current-context"]).code, Some(3));
}

#[test]
fn a_token_is_kept_for_its_owner_and_never_shown() {
    let config = scratch("config.yaml");
    let daemon = daemon("north");
    let socket = daemon.socket.to_str().unwrap();
    let token = scratch("token");
    fs::write(&token, "secret-of-mine\n").unwrap();
    let arguments =
        ["config", "set-context", "north", "--socket", socket, "--token-file", token.to_str().unwrap()];
    run(&config, &[], &arguments).fine();
    run(&config, &[], &["config", "use-context", "north"]).fine();
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&config).unwrap().contains("secret-of-mine"));
    for arguments in [
        &["config", "view"] as &[&str],
        &["config", "view", "-o", "json"],
        &["config", "get-contexts"],
        &["config", "get-contexts", "-o", "yaml"],
        &["list-networks", "-v", "-o", "name"],
    ] {
        let result = run(&config, &[], arguments);
        assert_eq!(result.code, Some(0), "{result:?}");
        assert!(!format!("{result:?}").contains("secret-of-mine"), "{arguments:?}: {result:?}");
    }
    let view: Value =
        serde_json::from_str(&run(&config, &[], &["config", "view", "-o", "json"]).fine()).unwrap();
    assert_eq!(view["contexts"][0]["token"], "(set)");

    fs::set_permissions(&config, Permissions::from_mode(0o644)).unwrap();
    let open = run(&config, &[], &["list-networks"]);
    assert_eq!(open.code, Some(2), "{open:?}");
    assert!(open.stderr.contains("others may read it") && open.stderr.contains("chmod 600"), "{open:?}");
}

#[test]
fn a_daemon_is_reached_by_https_with_a_token() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(daemon) = Daemon::start_with(&format!("[api]\nlisten = \"127.0.0.1:{port}\"\n")) else { return };
    daemon.run(&["create-network", "blue", "--cidr", "10.0.0.0/24"]).fine();
    let secret = daemon.run(&["create-token", "ci", "--role", "viewer", "-q"]).fine();
    let (config, token) = (scratch("config.yaml"), scratch("token"));
    fs::write(&token, &secret).unwrap();
    let (url, authority) = (format!("https://localhost:{port}"), daemon.authority());
    let there = ["--server", &url, "--ca", authority.to_str().unwrap()];
    let with_token = [&there as &[&str], &["--token-file", token.to_str().unwrap()]].concat();
    run(&config, &[], &[&["config", "set-context", "north"] as &[&str], &with_token].concat()).fine();
    run(&config, &[], &["config", "use-context", "north"]).fine();
    assert_eq!(run(&config, &[], &["list-networks", "-o", "name"]).fine(), "blue\n");

    let denied = run(&config, &[], &["create-network", "red", "--cidr", "10.1.0.0/24"]);
    assert_eq!(denied.code, Some(5), "a viewer only looks: {denied:?}");
    let nobody = run(&config, &[], &[&["list-networks"] as &[&str], &there].concat());
    assert_eq!(nobody.code, Some(5), "the token is the context's: {nobody:?}");
    let distrusted = run(&config, &[], &["list-networks", "--server", &url, "--token", secret.trim()]);
    assert_eq!(distrusted.code, Some(7), "the authority is not the system's: {distrusted:?}");
    let listed = daemon.run(&["list-tokens", "-o", "yaml"]).fine();
    assert!(listed.contains("name: ci") && !listed.contains(secret.trim()), "{listed}");
}

#[test]
fn what_cannot_be_connected_with_is_refused_when_it_is_set() {
    let config = scratch("config.yaml");
    for (arguments, part) in [
        (&["x"] as &[&str], "goes to no daemon"),
        (&["x", "--server", "http://edge"], "is no https URL"),
        (&["x", "--server", "https://edge", "--ca", "/no/such/ca.pem"], "/no/such/ca.pem"),
        (&["a b", "--socket", "/s"], "is no name of a context"),
        (&["x", "--server", "https://edge", "--socket", "/s"], "cannot be used with"),
        (&["x", "--server", "https://edge", "--cert", "/c"], "--key"),
    ] {
        let arguments = [&["config", "set-context"] as &[&str], arguments].concat();
        let result = run(&config, &[], &arguments);
        assert!(result.code.is_some_and(|code| code != 0), "{result:?}");
        assert!(result.stderr.contains(part), "{part} is not in {}", result.stderr);
    }
    assert!(!config.exists(), "nothing was written");
    fs::write(&config, "contexts: [{nmae: x}]").unwrap();
    let wrong = run(&config, &[], &["list-networks"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("nmae"), "{wrong:?}");
    // What needs no daemon works all the same.
    run(&config, &[], &["completion", "bash"]).fine();
}
