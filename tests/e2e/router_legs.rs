//! A router with two ways out: one that translates, one that does not, and what bypasses translation; all by the API.

use std::time::Duration;

use edgestack_tests::daemon::Uplink;
use edgestack_tests::link::{Plug, connect};
use edgestack_tests::namespace::{Namespace, unique_prefix};
use edgestack_tests::site::{INTERNET, PHYSICAL_NETWORK, SERVER_IP, Site, UPSTREAM_IP, Workload};
use edgestack_tests::traffic::http::{HttpServer, fetch};
use edgestack_tests::traffic::ping::ping;
use edgestack_tests::{Edgectl, LabError, wait};

/// A server beyond the second way out.
const PARTNER_IP: &str = "172.16.0.9";

const VM: Workload =
    Workload { name: "vm", mac_address: "02:00:00:0a:01:11", address: "10.0.1.11/24", gateway: "10.0.1.1" };

/// A workload behind a router, with the internet and a partner outside.
fn site() -> Result<(Site, Namespace), LabError> {
    let mut site = Site::unique()?;
    site.connect_internet()?;
    let partner = Namespace::create(&format!("{}-partner", unique_prefix()))?;
    let plug = Plug { address: Some("192.0.2.1/24"), checksums: true, ..Plug::new("uplink1") };
    connect(site.host(), &partner, &plug)?;
    partner.run(&format!("ip address add {PARTNER_IP}/32 dev lo"))?;
    partner.run("ip route add 10.0.1.0/24 via 192.0.2.10")?;
    site.member(INTERNET).run("ip route add 10.0.1.0/24 via 198.51.100.11")?;
    site.plug(&VM, false)?;
    let mut settings = site.daemon_settings("auto");
    settings.uplinks.push(Uplink {
        interface: "uplink1".to_owned(),
        physical_network: "leased".to_owned(),
        attach: "auto".to_owned(),
    });
    site.start_daemon(settings)?;
    let edgectl = site.edgectl();
    for command in [
        format!(
            "create-network internet --type flat --physnet {PHYSICAL_NETWORK} --external --cidr 198.51.100.0/24 \
             --gateway {UPSTREAM_IP}"
        ),
        "create-network leased --type flat --physnet leased --external --cidr 192.0.2.0/24 --gateway 192.0.2.1"
            .to_owned(),
        "create-network front --cidr 10.0.1.0/24 --mtu 1500".to_owned(),
        format!(
            "create-router r1 --net front --external internet --external-ip 198.51.100.11 \
             --snat-exempt {SERVER_IP}/32:tcp:8080 --further-external leased,ip=192.0.2.10,routed \
             --route 172.16.0.0/16,192.0.2.1 --route 10.66.0.0/16,reject --route 10.67.0.0/16,blackhole"
        ),
        "create-sg open --rule egress --rule ingress".to_owned(),
        format!(
            "create-port vm --net front --mac {} --ip 10.0.1.11 --sg open --interface vm",
            VM.mac_address
        ),
    ] {
        edgectl.run(&command)?;
    }
    wait::value("all ports to be up", Duration::from_secs(10), || {
        let ports = edgectl.json("network-cli show ports").map_err(|error| error.to_string())?;
        let states = ports["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        let up = states.iter().filter(|port| port["state"] == "up").count();
        if up == 3 { Ok(()) } else { Err(format!("{up} of 3 ports are up: {ports}")) }
    })?;
    Ok((site, partner))
}

/// Fetches until the page is as expected: a change of a router takes a moment.
fn becomes(from: &Namespace, target: &str, expected: Option<&str>) -> Result<(), LabError> {
    wait::value(&format!("the page of {target}"), Duration::from_secs(10), || {
        let page = fetch(from, target).map_err(|error| error.to_string())?;
        let is_expected = match (&page, expected) {
            (Some(page), Some(expected)) => page.starts_with(expected),
            (None, None) => true,
            _ => false,
        };
        if is_expected { Ok(()) } else { Err(format!("{page:?} and not {expected:?}")) }
    })
}

#[test]
fn every_leg_translates_as_the_api_says() -> Result<(), LabError> {
    let (site, partner) = site()?;
    let (vm, edgectl): (&Namespace, Edgectl) = (site.member("vm"), site.edgectl());
    let _servers = [
        HttpServer::start(site.member(INTERNET), "internet", 80)?,
        HttpServer::start(site.member(INTERNET), "internet", 8080)?,
        HttpServer::start(&partner, "partner", 80)?,
        HttpServer::start(vm, "vm", 80)?,
    ];
    becomes(vm, SERVER_IP, Some("internet sees 198.51.100.11:"))?;
    becomes(vm, &format!("{SERVER_IP}:8080"), Some("internet sees 10.0.1.11:"))?;
    becomes(vm, PARTNER_IP, Some("partner sees 10.0.1.11:"))?;
    // What is routed out is routed in; what is only exempt is not.
    becomes(&partner, "10.0.1.11", Some("vm sees 192.0.2.1:"))?;
    assert_eq!(fetch(site.member(INTERNET), "10.0.1.11")?, None);
    // A black hole that rejects says so, the other is silent.
    let (rejected, dropped) = (ping(vm, "10.66.0.1", 1)?, ping(vm, "10.67.0.1", 1)?);
    assert!(rejected.output.contains("Unreachable"), "{}", rejected.output);
    assert!(!dropped.output.contains("Unreachable"), "{}", dropped.output);

    let shown = edgectl.run("show-router r1")?;
    assert!(shown.contains("leased") && shown.contains("192.0.2.10"), "{shown}");
    edgectl.run(&format!("update-router r1 --remove-snat-exempt {SERVER_IP}/32:tcp:8080"))?;
    becomes(vm, &format!("{SERVER_IP}:8080"), Some("internet sees 198.51.100.11:"))?;
    edgectl.run("update-router r1 --add-further-external leased,ip=192.0.2.10")?;
    becomes(vm, PARTNER_IP, Some("partner sees 192.0.2.10:"))?;
    becomes(&partner, "10.0.1.11", None)?;
    edgectl.run("update-router r1 --routed")?;
    becomes(vm, SERVER_IP, Some("internet sees 10.0.1.11:"))?;
    edgectl
        .run("update-router r1 --not-routed --remove-further-external leased --remove-route 172.16.0.0/16")?;
    becomes(vm, SERVER_IP, Some("internet sees 198.51.100.11:"))?;
    becomes(vm, PARTNER_IP, None)
}
