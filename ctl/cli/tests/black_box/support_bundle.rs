//! `support-bundle` against the real daemon: what is in it, and what is not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::daemon::Daemon;
use crate::support::scratch;

#[test]
fn a_bundle_has_what_helps_and_no_secret() {
    let Some(daemon) = Daemon::start() else { return };
    daemon.run(&["create-network", "blue", "--cidr", "10.0.0.0/24"]).fine();
    let config = scratch("edgestackd.toml");
    fs::write(&config, "state_dir = \"/var/lib/edgestack\"\ntoken = \"do-not-show-me\"\n").unwrap();
    let file = scratch("bundle.tar.gz");
    let path = file.to_str().unwrap();
    let arguments = ["support-bundle", "-o", path, "--config", config.to_str().unwrap()];
    let told = daemon.run(&arguments).fine();
    assert!(told.contains("REMOVED.txt says where"), "{told}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let out = scratch("out");
    fs::create_dir(&out).unwrap();
    assert!(Command::new("tar").args(["-xzf", path, "-C"]).arg(&*out).status().unwrap().success());
    let read = |name: &str| fs::read_to_string(out.join("edgestack-support").join(name)).unwrap();
    assert!(read("objects/networks.yaml").contains("name: blue"));
    assert!(read("doctor.txt").contains("the daemon answers at"));
    assert!(read("daemon/metrics.txt").contains("# EOF"));
    assert!(read("host/proc-meminfo.txt").contains("MemTotal"));
    assert_eq!(read("daemon/edgestackd.toml"), "state_dir = \"/var/lib/edgestack\"\ntoken = (removed)\n");
    assert!(read("REMOVED.txt").contains("daemon/edgestackd.toml:2\n"));
    assert!(read("MISSING.txt").contains("dataplane/ports.yaml: "), "the dataplane is off here");

    let again = daemon.run(&arguments);
    assert_eq!(again.code, Some(1), "a file is not written over: {again:?}");
    assert_eq!(daemon.run(&["support-bundle"]).code, Some(2));
    assert_eq!(daemon.run(&["support-bundle", "-o", "json"]).code, Some(2), "a form is no file");
}
