//! What workloads are told of IPv6, with real clients: the kernel's own autoconfiguration by router advertisements, dhclient
//! for DHCPv6, then dig and curl over what they have learned.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use edgestack_tests::site::Site;
use edgestack_tests::tenants::{self, Attach};
use edgestack_tests::traffic::ping::ping;
use edgestack_tests::{LabError, inspect, wait};

/// What the client runs when its lease changes: it is written down, and the address is taken.
const SCRIPT: &str = "#!/bin/sh\n\
    env >DIRECTORY/$reason.env\n\
    case $reason in BOUND6) ip -6 address add $new_ip6_address/128 dev eth0 nodad ;; esac\n";
const SUBNET: &str = "2001:db8:1::/64";
const GATEWAY: &str = "2001:db8:1::1";
const METADATA: &str = "fd00:ec2::254";
/// How long hosts may take: duplicate address detection alone takes a second, and solicitations have pauses of four.
const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn dhcpv6_over_tc() -> Result<(), LabError> {
    dhcpv6(Attach::Tc)
}

#[test]
fn dhcpv6_over_xdp() -> Result<(), LabError> {
    dhcpv6(Attach::Xdp)
}

/// The way by advertisement, the address by DHCPv6, whatever the groups say.
fn dhcpv6(attach: Attach) -> Result<(), LabError> {
    let site = tenants::start(attach, true)?;
    let edgectl = site.edgectl();
    edgectl.run(&format!("update-network red-front --ipv6 {SUBNET}"))?;
    edgectl.run("update-port red-web1 --no-sg --ipv6 2001:db8:1::11")?;
    listen_to_routers(&site, "red-web1")?;
    let namespace = site.member("red-web1");
    let addresses = namespace.run("ip -6 address show dev eth0 scope global")?;
    assert!(!addresses.contains("2001:db8"), "nobody makes an address here: {addresses}");
    let (script, directory) = (script(&site), site.directory().display());
    let line = format!(
        "dhclient -6 -1 -sf {} -cf /dev/null -lf {directory}/leases6 -pf {directory}/dhclient6.pid eth0",
        script.display()
    );
    namespace.run(&line)?;
    let lease = environment(&site, "BOUND6");
    assert_eq!(lease["new_ip6_address"], "2001:db8:1::11", "{lease:?}");
    assert_eq!(lease["new_max_life"], "86400", "{lease:?}");
    assert_eq!(lease["new_dhcp6_name_servers"], GATEWAY);
    assert_eq!(lease["new_dhcp6_domain_search"], "red-front.edgestack.internal. edgestack.internal.");
    uses_services(&site, "red-web1", "2001:db8:1::11")?;
    // It is given back, without a complaint of either.
    namespace.run(&line.replace(" -1 ", " -r "))?;
    let drops = inspect::drops(&edgectl)?;
    let of_dhcp = |reason: &str| reason.contains("dhcp") || reason.contains("service");
    assert!(drops.iter().all(|drop| !of_dhcp(&drop.reason)), "{drops:?}");
    Ok(())
}

/// The address that the kernel makes is the one that its port is given.
#[test]
fn autoconfiguration() -> Result<(), LabError> {
    let site = tenants::start(Attach::Auto, true)?;
    let edgectl = site.edgectl();
    edgectl.run(&format!("update-network red-front --ipv6 {SUBNET} --ipv6-ra-mode slaac"))?;
    // The port is older than the subnet.
    edgectl.run("update-port red-web2 --no-sg")?;
    let port = edgectl.json("show-port red-web2")?;
    let address = "2001:db8:1:0:0:ff:fe0a:112".parse::<std::net::Ipv6Addr>().expect("an address").to_string();
    assert!(port.to_string().contains(&address), "{port}");
    listen_to_routers(&site, "red-web2")?;
    let namespace = site.member("red-web2");
    wait::value("an address that the kernel has made", PATIENCE, || {
        let show = "ip -6 address show dev eth0 scope global -tentative";
        let shown = namespace.run(show).map_err(|error| error.to_string())?;
        if shown.contains(&address) { Ok(()) } else { Err(shown) }
    })?;
    uses_services(&site, "red-web2", &address)
}

/// Turns IPv6 on anew as of a host that listens to routers, and waits for its default route.
fn listen_to_routers(site: &Site, member: &str) -> Result<(), LabError> {
    let namespace = site.member(member);
    for setting in [
        "eth0.accept_ra=2",
        "eth0.autoconf=1",
        "eth0.addr_gen_mode=0",
        "all.disable_ipv6=0",
        "eth0.disable_ipv6=1",
        "eth0.disable_ipv6=0",
    ] {
        namespace.run(&format!("sysctl -q -w net.ipv6.conf.{setting}"))?;
    }
    wait::value("a default route by a router advertisement", PATIENCE, || {
        let show = |line: &str| namespace.run(line).map_err(|error| error.to_string());
        let routes = show("ip -6 route show default")?;
        let own = show("ip -6 address show dev eth0 scope link -tentative")?;
        let is_ready = routes.contains("via fe80::") && routes.contains("proto ra") && own.contains("fe80::");
        if is_ready { Ok(()) } else { Err(format!("{routes}{own}")) }
    })
}

/// The gateway, DNS and metadata are reached over IPv6.
fn uses_services(site: &Site, member: &str, address: &str) -> Result<(), LabError> {
    let namespace = site.member(member);
    let report = ping(namespace, GATEWAY, 2)?;
    assert!(report.all_answered(), "{}", report.output);
    let name = namespace.run(&format!("curl -s -m 10 http://[{METADATA}]/latest/meta-data/hostname"))?;
    assert_eq!(name, member);
    for protocol in ["+notcp", "+tcp"] {
        let line =
            format!("dig @{GATEWAY} {protocol} +short +tries=5 AAAA {member}.red-front.edgestack.internal");
        assert_eq!(namespace.run(&line)?.trim(), address);
    }
    Ok(())
}

fn script(site: &Site) -> PathBuf {
    let path = site.directory().join("client6.sh");
    let text = SCRIPT.replace("DIRECTORY", &site.directory().display().to_string());
    fs::write(&path, text).expect("the directory of a site can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a file of our own");
    path
}

/// What the client told its script at `event`.
fn environment(site: &Site, event: &str) -> BTreeMap<String, String> {
    let path = site.directory().join(format!("{event}.env"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
