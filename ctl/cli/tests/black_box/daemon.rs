//! The real `edgectl` against the real `edgestackd` with its dataplane off: no root is needed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Run, Scratch, edgectl, run, scratch};

const SITE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/examples/site.yaml");

/// A daemon that ends with the test.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) socket: PathBuf,
    _config: Scratch,
}

impl Daemon {
    /// Starts one; none, and the reason on stderr, where it was not built.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// Starts one with more in its configuration.
    pub(crate) fn start_with(more: &str) -> Option<Self> {
        let binary = Path::new(env!("CARGO_BIN_EXE_edgectl")).with_file_name("edgestackd");
        if !binary.exists() {
            // libtest shows no words of tests that pass, so CI would not notice.
            assert!(std::env::var_os("CI").is_none(), "{} is not built", binary.display());
            eprintln!("skipped: {} is not built (cargo build -p edgestackd)", binary.display());
            return None;
        }
        let config = scratch("edgestackd.toml");
        let directory = config.parent().unwrap().display().to_string();
        let text = format!(
            "state_dir = \"{directory}/state\"\nrun_dir = \"{directory}/run\"\n[dataplane]\nenabled = false\n\
             [[uplink]]\nname = \"wan\"\ninterface = \"wan0\"\nphysical_network = \"internet\"\n{more}"
        );
        fs::write(&config, text).unwrap();
        for part in ["state", "run"] {
            fs::create_dir_all(format!("{directory}/{part}")).unwrap();
        }
        let log = fs::File::create(format!("{directory}/log")).unwrap();
        let child = Command::new(binary)
            .arg("--config")
            .arg(&*config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let socket = format!("{directory}/run/edgestackd.sock").into();
        let daemon = Self { child, socket, _config: config };
        let deadline = Instant::now() + Duration::from_secs(20);
        while run(&daemon.socket, &["version"]).stdout.contains("unknown") {
            let log = || fs::read_to_string(format!("{directory}/log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the daemon did not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(daemon)
    }

    /// The file of the authority that its certificate is from.
    pub(crate) fn authority(&self) -> PathBuf {
        self.socket.with_file_name("../state/tls/ca.pem")
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        run(&self.socket, arguments)
    }

    /// The answer to a command as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[arguments, &["-o", "json"]].concat()).fine()).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `apply` did to each object.
fn results(answer: &Value) -> Vec<&str> {
    answer["results"].as_array().unwrap().iter().map(|done| done["result"].as_str().unwrap()).collect()
}

#[test]
fn a_site_is_applied_changed_and_removed() {
    let Some(daemon) = Daemon::start() else { return };
    assert_eq!(results(&daemon.json(&["apply", "-f", SITE, "--dry-run"])), ["created"; 10]);
    assert_eq!(daemon.json(&["list-networks"])["total"], 0, "a dry run changes nothing");
    assert_eq!(results(&daemon.json(&["apply", "-f", SITE])), ["created"; 10]);
    assert_eq!(results(&daemon.json(&["apply", "-f", SITE])), ["unchanged"; 10]);

    let site = fs::read_to_string(SITE).unwrap();
    let changed = scratch("changed.yaml");
    let text = site.replace("tcp 443", "tcp 8443").replace("instance_name: web-1", "instance_name: web-2");
    fs::write(&changed, text).unwrap();
    let changed = changed.to_str().unwrap();
    let text = daemon.run(&["apply", "-f", changed]).fine();
    let lines = [
        "updated security group web\n  rules: ingress tcp 443 -> ingress tcp 8443\n",
        "updated floating ip 203.0.113.20\n  instance_name: web-1 -> web-2\n",
        "\n2 updated, 8 unchanged\n",
    ];
    for part in lines {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(results(&daemon.json(&["apply", "-f", changed])), ["unchanged"; 10]);
    assert_eq!(daemon.json(&["show-fip", "203.0.113.20"])["floating_ip"]["target_ip"], "10.0.1.12");

    assert_eq!(results(&daemon.json(&["delete", "-f", SITE])), ["removed"; 10]);
    assert_eq!(results(&daemon.json(&["delete", "-f", SITE])), ["absent"; 10]);
}

#[test]
fn what_a_list_shows_as_yaml_can_be_applied() {
    let Some(daemon) = Daemon::start() else { return };
    daemon.run(&["apply", "-f", SITE, "-q"]).fine();
    let mut site = String::new();
    for list in ["list-networks", "list-sgs", "list-ports", "list-routers", "list-fips"] {
        site.push_str("---\n");
        site.push_str(&daemon.run(&[list, "-o", "yaml"]).fine());
    }
    let file = scratch("site.yaml");
    fs::write(&file, site).unwrap();
    let file = file.to_str().unwrap();
    let unchanged = |answer: &Value| results(answer).iter().all(|result| *result == "unchanged");
    let answer = daemon.json(&["apply", "-f", file]);
    assert!(unchanged(&answer), "{answer:#}");
    daemon.run(&["delete", "-f", SITE]).fine();
    daemon.run(&["apply", "-f", file]).fine();
    let answer = daemon.json(&["apply", "-f", SITE]);
    assert!(unchanged(&answer), "{answer:#}");
}

#[test]
fn a_mistake_in_a_site_changes_nothing() {
    let Some(daemon) = Daemon::start() else { return };
    let file = scratch("wrong.yaml");
    fs::write(&file, "network: {name: a, cidr: 10.0.0.0/24}\n---\nport: {name: P, netwrok: a}\n").unwrap();
    let result = daemon.run(&["apply", "-f", file.to_str().unwrap()]);
    assert_eq!(result.code, Some(2), "{result:?}");
    assert!(result.stderr.contains("document 2, port `P`/port/netwrok"), "{result:?}");
    assert_eq!(daemon.json(&["list-networks"])["total"], 0);
}

#[test]
fn every_noun_is_created_changed_shown_and_removed() {
    let Some(daemon) = Daemon::start() else { return };
    let script = "\
create-network internet --type flat --external --physnet wan --cidr 203.0.113.0/24 --gateway 203.0.113.1
network create blue --cidr 10.0.0.0/24 --dns 9.9.9.9 --pool 10.0.0.10-10.0.0.99 --route 10.9.0.0/16,10.0.0.7
create-network green --type vxlan --segment-id 77 --cidr 10.0.1.0/24
update-network blue --mtu 1400 --description Blue
show-network blue
create-sg web --rule egress --rule ingress|tcp|80
create-sgr web --direction ingress --protocol tcp --ports 8000-8100 --remote-sg web
create-sgr web --direction ingress --protocol icmp --icmp-type 8 --icmp-code 0
create-sgr web --direction ingress --protocol icmp --icmp-type redirect --icmp-code host-redirect
create-address-group office --address 192.0.2.0/24,fd00::/8
update-address-group office --add-address 198.51.100.7 --remove-address fd00::/8
create-sgr web --direction ingress --protocol tcp --port 22 --remote-address-group office
show-address-group office
list-address-groups
update-sg web --description Web
list-sgrs --sg web
remove-sgr web --match tcp|22|from|ag:office
remove-sgr web --match tcp|8000-8100
show-sg web
create-port p1 --net blue --sg web --mac 02:00:00:00:00:01 --ip 10.0.0.20 --attach tc --pair 10.0.0.128/25
port create p2 --net blue --no-sg
update-port p2 --add-sg web --interface eth9
update-port p2 --remove-sg web --clear-interface --admin-up false --port-security false
show-port p2
create-router edge --net blue --external internet --external-ip 203.0.113.5
update-router edge --add-net green --no-snat --description Edge
update-router edge --remove-net green --snat
update-router edge --add-route 10.9.0.0/16,10.0.0.7 --add-route 10.8.0.0/16,blackhole
update-router edge --remove-route 10.8.0.0/16
create-peer-router edge --ip 203.0.113.7 --mac 02:00:00:00:00:07
list-peer-routers edge
remove-peer-router edge --ip 203.0.113.7
show-router edge
create-fip 203.0.113.20 --net internet --name front
create-fip --net internet --port p1
remove-fip fip-203-0-113-1
associate-fip front p1
show-fip 203.0.113.20
disassociate-fip front
update-router edge --clear-external
create-flavor small --cpu 2 --memory 4Gi --disk 20 --gpu nvidia.com/A10
update-flavor small --memory 8Gi --spec dedicated_cpu
show-flavor small
list-flavors -o wide
create-keypair me --public-key ssh-ed25519|AAAAC3NzaC1lZDI1NTE5AAAAIDI5OTV6U3H9xHE53NHqz5NG8NLxAwTzQHlVcFjvSVZT|me
show-keypair me
list-keypairs
list-nodes -o wide
remove-keypair me
remove-flavor small
list-networks -o wide
list-ports -o wide
list-routers -o wide
list-fips -o wide
list-sgs -o wide
fip rm front
remove-router edge
remove-port p1 p2
remove-sg web
remove-address-group office
remove-network blue green internet";
    for line in script.lines() {
        // The gateway has the first address and the router asked for .5: the first free one is .2.
        let line = line.replace("fip-203-0-113-1", "fip-203-0-113-2");
        let words: Vec<String> = line.split(' ').map(|word| word.replace('|', " ")).collect();
        let result = Run::of(&edgectl(&daemon.socket).args(&words).output().unwrap());
        assert_eq!(result.code, Some(0), "{line}: {}", result.stderr);
    }
}

#[test]
fn a_private_key_goes_into_a_file_of_its_own_and_nowhere_else() {
    let Some(daemon) = Daemon::start() else { return };
    let file = scratch("id_edge");
    let path = file.to_str().unwrap();
    let made = daemon.run(&["create-keypair", "edge", "--generate", "--out", path]).fine();
    assert!(made.contains("SHA256:") && !made.contains("PRIVATE"), "{made}");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(fs::read_to_string(&file).unwrap().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
    let again = daemon.run(&["create-keypair", "other", "--generate", "--out", path]);
    assert_eq!(again.code, Some(2), "a file is not written over: {again:?}");
    let unused = scratch("id_unused");
    let taken = daemon.run(&["create-keypair", "edge", "--generate", "--out", unused.to_str().unwrap()]);
    assert_eq!(taken.code, Some(4), "{taken:?}");
    assert!(!unused.exists(), "there is no file without a key");
    let pasted = daemon.run(&["create-keypair", "me", "--public-key", &format!("@{path}")]);
    assert_eq!(pasted.code, Some(2), "{pasted:?}");
    assert!(pasted.stderr.contains("PRIVATE key") && !pasted.stderr.contains("BEGIN"), "{pasted:?}");
}

#[test]
fn what_the_daemon_refuses_is_told_with_its_exit_code() {
    let Some(daemon) = Daemon::start() else { return };
    daemon.run(&["create-network", "blue", "--cidr", "10.0.0.0/24"]).fine();
    daemon.run(&["create-port", "p1", "--net", "blue", "--ip", "10.0.0.5"]).fine();
    for (line, code, part) in [
        ("create-network red --cidr 10.0.0.1/24", 2, "/network/cidr: "),
        ("create-network Red --cidr 10.0.0.0/24 --mtu 1", 2, "/network/mtu: "),
        ("create-port p2 --net red", 2, "/port/network: there is no network `red`"),
        ("create-port p2 --net blue --ip 10.0.0.5", 4, "10.0.0.5"),
        ("create-network blue --cidr 10.0.0.0/24 --mtu 1400", 4, "error[already_exists]"),
        ("remove-network blue", 4, "port p1"),
        ("show-router edge", 3, "there is no router `edge`"),
        ("network-cli show ports", 7, "error[dataplane_off]"),
        ("network-cli trace p1 tcp>10.0.0.9:80", 2, "is no packet"),
        ("doctor", 1, ""),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let result = daemon.run(&words);
        assert_eq!(result.code, Some(code), "{line}: {result:?}");
        assert!(result.stderr.contains(part), "{line}: {}", result.stderr);
    }
}
