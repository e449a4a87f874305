//! What is wrong is refused by name, and changes nothing.

use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Duration;

use edgestack_tests::command::output;
use edgestack_tests::daemon::{Daemon, DaemonSettings, binary, write_config};
use edgestack_tests::site::Site;
use edgestack_tests::tenants::{self, Attach};
use edgestack_tests::{LabError, inspect, wait};

#[test]
fn a_second_daemon_is_turned_away_and_the_first_goes_on() -> Result<(), LabError> {
    let mut site = Site::unique()?;
    let settings = site.daemon_settings("auto");
    site.start_daemon(settings.clone())?;
    let message = refused(&site, &settings)?;
    assert!(message.contains("another process"), "the store is taken: {message}");

    // With directories of its own, the second still may not touch the tables of the first.
    let mut elsewhere = settings;
    elsewhere.directory = site.directory().join("second");
    write_config(&elsewhere)?;
    let message = refused(&site, &elsewhere)?;
    assert!(message.contains("in use"), "the instance is taken: {message}");
    site.edgectl().run("list-networks")?;
    inspect::counters(&site.edgectl())?;
    Ok(())
}

/// Starts a daemon that must end by itself with an error; returns what it said.
fn refused(site: &Site, settings: &DaemonSettings) -> Result<String, LabError> {
    let mut command = Command::new("timeout");
    command.arg("10").arg(binary("edgestackd")).arg("--config").arg(settings.config_path());
    let result = site.host().enter(|| output(&mut command))??;
    let message = String::from_utf8_lossy(&result.stderr).into_owned();
    assert_eq!(result.status.code(), Some(1), "{message}");
    Ok(message)
}

#[test]
fn a_socket_in_use_is_named() -> Result<(), LabError> {
    let site = Site::unique()?;
    let settings = site.daemon_settings("auto");
    write_config(&settings)?;
    let _other = UnixListener::bind(settings.socket_path()).map_err(LabError::system("bind the socket"))?;
    let error = Daemon::start(site.host(), settings.clone()).expect_err("the socket is somebody else's");
    let message = error.to_string();
    assert!(message.contains(&settings.socket_path().display().to_string()), "{message}");
    Ok(())
}

#[test]
fn a_stale_socket_is_replaced() -> Result<(), LabError> {
    let mut site = Site::unique()?;
    let settings = site.daemon_settings("auto");
    site.start_daemon(settings)?;
    site.daemon().kill();
    site.daemon().launch()?;
    site.edgectl().run("list-networks").map(drop)
}

#[test]
fn a_bad_configuration_names_line_and_field() -> Result<(), LabError> {
    let site = Site::unique()?;
    for (line, expected) in [
        ("wokers = 1", "wokers"),
        ("workers = \"two\"", "two"),
        ("flow_table_entries = 1000", "flow_table_entries"),
        ("fast_path = \"maybe\"", "maybe"),
    ] {
        let mut settings = site.daemon_settings("auto");
        settings.dataplane = line.to_owned();
        if line.starts_with("fast_path") {
            std::fs::create_dir_all(&settings.directory).map_err(LabError::system("make a directory"))?;
            let path = settings.config_path();
            std::fs::write(path, format!("\n\n\n\n\n[dataplane]\n{line}\n"))
                .map_err(LabError::system("write"))?;
        } else {
            write_config(&settings)?;
        }
        let mut command = Command::new(binary("edgestackd"));
        command.arg("--check").arg("--config").arg(settings.config_path());
        let result = output(&mut command)?;
        let message = String::from_utf8_lossy(&result.stderr).into_owned();
        assert!(!result.status.success(), "{line}: {message}");
        assert!(message.contains(expected) && message.contains("edgestackd.toml:7:"), "{line}: {message}");
    }
    Ok(())
}

#[test]
fn wrong_objects_are_refused_by_field_and_change_nothing() -> Result<(), LabError> {
    let site = tenants::start(Attach::Auto, true)?;
    let edgectl = site.edgectl();
    // The first port without a group makes the group of that name.
    edgectl.run("create-port plain --net red-back")?;
    let before = wait::value("the port to be in effect", Duration::from_secs(5), || {
        let snapshot = edgectl.run("network-cli show snapshot").map_err(|error| error.to_string())?;
        if snapshot.contains("name: plain") { Ok(snapshot) } else { Err(snapshot) }
    })?;
    for (command, expected) in [
        ("create-network bad --cidr 10.0.9.0/33", "cidr"),
        ("create-network bad --cidr 10.0.9.1/24", "cidr"),
        ("create-network red-front --cidr 10.0.9.0/24", "red-front"),
        ("create-port bad --net nowhere", "nowhere"),
        ("create-port bad --net red-front --ip 10.0.1.11", "10.0.1.11"),
        ("create-port bad --net red-front --ip 10.7.7.7", "ip_address"),
        ("create-port bad --net red-front --sg nobody", "nobody"),
        ("create-router bad --net red-front", "red-front"),
        ("create-fip 198.51.100.101 --net internet", "198-51-100-101"),
        ("create-fip 192.0.2.1 --net internet", "192.0.2.1"),
        ("create-sgr red-web --direction ingress --protocol tcp --remote-ip 10.0.0.0/99", "10.0.0.0/99"),
        ("remove-network red-front", "red-front"),
        ("remove-sg red-web", "red-web"),
    ] {
        let answer = edgectl.ask(command)?;
        assert!(answer.code != 0, "{command} was accepted: {}", answer.output);
        assert!(answer.errors.contains(expected), "{command} does not name {expected}: {}", answer.errors);
    }
    assert_eq!(edgectl.run("network-cli show snapshot")?, before);
    Ok(())
}
