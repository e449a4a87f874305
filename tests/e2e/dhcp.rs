//! DHCP with real clients: busybox's udhcpc and ISC's dhclient get their port's address, whatever the groups say.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use edgestack_tests::site::Site;
use edgestack_tests::tenants::{self, Attach};
use edgestack_tests::traffic::ping::ping;
use edgestack_tests::{LabError, inspect};

/// What both clients run when their lease changes: it is written down, and the address is taken.
const SCRIPT: &str = "#!/bin/sh\n\
    env >DIRECTORY/$1$reason.env\n\
    address=${ip:-$new_ip_address}\n\
    mask=${subnet:-$new_subnet_mask}\n\
    case $1$reason in bound|BOUND|REBOOT) ip address add $address/$mask dev eth0 ;; esac\n";

#[test]
fn leases_over_tc() -> Result<(), LabError> {
    leases(Attach::Tc)
}

#[test]
fn leases_over_xdp() -> Result<(), LabError> {
    leases(Attach::Xdp)
}

fn leases(attach: Attach) -> Result<(), LabError> {
    let site = tenants::start(attach, true)?;
    let edgectl = site.edgectl();
    // A port without any group, and name servers: more than two.
    edgectl.run("update-port red-web1 --no-sg")?;
    edgectl.run(
        "update-network red-front --dns 10.0.1.1 --dns 8.8.8.8 --dns 9.9.9.9 --route 10.9.0.0/16,10.0.1.12",
    )?;
    let script = script(&site);
    for (member, address) in [("red-web1", "10.0.1.11"), ("blue-web2", "10.0.1.12")] {
        let namespace = site.member(member);
        namespace.run("ip address flush dev eth0")?;
        namespace.run(&format!(
            "busybox udhcpc -i eth0 -f -q -n -t 5 -T 1 -O 121 -O mtu -O search -s {}",
            script.display()
        ))?;
        let lease = environment(&site, "bound");
        assert_eq!(lease["ip"], address, "{member}: {lease:?}");
        assert_eq!((&*lease["serverid"], &*lease["router"]), ("10.0.1.1", "10.0.1.1"));
        assert_eq!((&*lease["mask"], &*lease["mtu"], &*lease["lease"]), ("24", "1500", "86400"));
        assert_eq!(lease["hostname"], member);
        assert!(ping(namespace, "10.0.1.1", 2)?.all_answered(), "{member} uses its lease");
    }
    site.member("red-web1").run("ip address flush dev eth0")?;
    dhclient(&site, "red-web1", &script)?;
    let drops = inspect::drops(&edgectl)?;
    let of_dhcp = |reason: &str| reason.contains("dhcp") || reason.contains("service");
    assert!(drops.iter().all(|drop| !of_dhcp(&drop.reason)), "{drops:?}");
    Ok(())
}

/// A lease by dhclient, with the routes and all name servers; then it is given back.
fn dhclient(site: &Site, member: &str, script: &std::path::Path) -> Result<(), LabError> {
    let directory = site.directory().display();
    let configuration = site.directory().join("dhclient.conf");
    let text = "option rfc3442 code 121 = array of unsigned integer 8;\n\
                request subnet-mask, routers, domain-name-servers, rfc3442, interface-mtu;\n";
    fs::write(&configuration, text).expect("the directory of a site can be written");
    let line = format!(
        "dhclient -4 -1 -sf {} -cf {} -lf {directory}/leases -pf {directory}/dhclient.pid eth0",
        script.display(),
        configuration.display()
    );
    let namespace = site.member(member);
    namespace.run(&line)?;
    let lease = environment(site, "BOUND");
    assert_eq!(lease["new_ip_address"], "10.0.1.11", "{lease:?}");
    assert_eq!(lease["new_domain_name_servers"], "10.0.1.1 8.8.8.8 9.9.9.9");
    let routes: Vec<&str> = lease["new_rfc3442"].split(' ').collect();
    assert_eq!(routes[..7].join("."), "16.10.9.10.0.1.12", "{routes:?}");
    assert_eq!(routes[routes.len() - 5..].join("."), "0.10.0.1.1", "the default route is one of them");
    assert!(ping(namespace, "10.0.1.1", 2)?.all_answered());
    namespace.run(&line.replace(" -1 ", " -r "))?;
    Ok(())
}

fn script(site: &Site) -> PathBuf {
    let path = site.directory().join("client.sh");
    let text = SCRIPT.replace("DIRECTORY", &site.directory().display().to_string());
    fs::write(&path, text).expect("the directory of a site can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a file of our own");
    path
}

/// What a client told its script at `event`.
fn environment(site: &Site, event: &str) -> BTreeMap<String, String> {
    let path = site.directory().join(format!("{event}.env"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
