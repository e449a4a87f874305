//! Interfaces that the daemon makes for workloads: into namespaces, for machines, and never in the way of others'.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::time::Duration;

use edgestack_dataplane::io::plug::open_tap;
use edgestack_tests::command::{Process, run, words};
use edgestack_tests::daemon::binary;
use edgestack_tests::edgectl::Edgectl;
use edgestack_tests::namespace::Namespace;
use edgestack_tests::site::Site;
use edgestack_tests::traffic::ping::ping;
use edgestack_tests::{LabError, wait};
use rustix::fs::{OFlags, fcntl_setfl};
use serde_json::Value;

/// How long the daemon may take to see what has changed on its host.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn workloads_are_plugged_in_by_namespace_and_by_process() -> Result<(), LabError> {
    let mut site = started()?;
    let edgectl = site.edgectl();
    let blue = Namespace::create(&member(&site, "blue"))?;
    edgectl.run(&format!("create-port blue --net front --plug veth:{}", blue.name()))?;
    wait_for(&edgectl, "blue", |port| port["status"]["phase"] == "Active")?;

    // The second namespace comes after its port.
    let red_name = member(&site, "red");
    edgectl.run(&format!(
        "create-port red --net front --attach xdp --interface red0 --plug veth:{red_name},net0"
    ))?;
    let reason = format!("there is no network namespace `{red_name}` yet");
    wait_for(&edgectl, "red", |port| message(port) == reason)?;
    let red = Namespace::create(&red_name)?;
    let port = wait_for(&edgectl, "red", |port| port["status"]["phase"] == "Active")?;
    assert!(red.run("ip -o link show net0")?.contains(port["mac_address"].as_str().unwrap()));
    let address = port["ip_address"].as_str().unwrap().to_owned();
    assert!(ping(&blue, &address, 2)?.all_answered());
    assert!(red.run("ip route")?.contains("default via 10.0.1.1 dev net0"));

    // A restart makes nothing anew.
    let index = index_of(site.host(), "red0")?;
    site.daemon().kill();
    site.daemon().launch()?;
    wait_for(&edgectl, "red", |port| port["status"]["phase"] == "Active")?;
    assert_eq!(index_of(site.host(), "red0")?, index);
    assert!(ping(&blue, &address, 2)?.all_answered());

    // The third is found by a process that runs in it.
    let green = Namespace::create(&member(&site, "green"))?;
    let log = site.directory().join("sleep.log");
    let process = green.enter(|| Process::start(&mut words("sleep 1000"), &log))??;
    edgectl.run(&format!("create-port green --net front --plug veth:pid={}", process.id()))?;
    wait_for(&edgectl, "green", |port| port["status"]["phase"] == "Active")?;
    assert!(ping(&green, &address, 2)?.all_answered());

    // What goes with the port is gone at both ends.
    edgectl.run("remove-port red")?;
    wait::until("the interface to go", PATIENCE, || index_of(site.host(), "red0").is_err())?;
    assert!(red.run("ip link show net0").is_err());
    assert!(ping(&green, "10.0.1.1", 2)?.all_answered(), "the others stay");
    Ok(())
}

#[test]
fn a_tap_is_made_for_a_machine_and_nothing_of_others_is_touched() -> Result<(), LabError> {
    let mut site = started()?;
    let edgectl = site.edgectl();
    site.host().run("ip link add taken type veth peer name taken-peer")?;
    edgectl.run("create-port refused --net front --interface taken --plug tap")?;
    wait_for(&edgectl, "refused", |port| {
        message(port).contains("an interface of that name is there already")
    })?;
    edgectl.run("create-port vm --net front --ip 10.0.1.9 --mac 02:00:00:00:00:09 --plug tap")?;
    let port = wait_for(&edgectl, "vm", |port| port["status"]["phase"] == "Active")?;
    let interface = port["interface"].as_str().unwrap();
    assert!(interface.starts_with("esp"), "the daemon names it: {interface}");
    let answer = site.host().enter(|| ask_for_the_gateway(interface))??;
    assert_eq!(&answer[28..32], &[10, 0, 1, 1], "the gateway answers the machine's ARP");

    // Asked for by another name, it is made anew.
    edgectl.run("update-port vm --interface vm0")?;
    wait_for(&edgectl, "vm", |port| port["status"]["phase"] == "Active" && port["interface"] == "vm0")?;
    assert!(index_of(site.host(), interface).is_err());
    site.daemon().kill();
    edgectl.ask("remove-port vm")?;
    site.daemon().launch()?;
    edgectl.run("remove-port vm refused")?;
    wait::until("the tap to go", PATIENCE, || index_of(site.host(), "vm0").is_err())?;

    // What is left goes with the instance.
    edgectl.run("create-port last --net front --interface last0 --plug tap")?;
    wait_for(&edgectl, "last", |port| port["status"]["phase"] == "Active")?;
    site.daemon().stop()?;
    let config = site.daemon().settings().config_path();
    let mut unpin = Command::new(binary("edgestackd"));
    unpin.arg("--unpin").arg("--config").arg(config);
    site.host().enter(|| run(&mut unpin))??;
    assert!(index_of(site.host(), "last0").is_err());
    index_of(site.host(), "taken")?;
    Ok(())
}

fn started() -> Result<Site, LabError> {
    let mut site = Site::unique()?;
    let settings = site.daemon_settings("auto");
    site.start_daemon(settings)?;
    site.edgectl().run("create-network front --cidr 10.0.1.0/24")?;
    Ok(site)
}

/// Name of a namespace that goes with the site.
fn member(site: &Site, name: &str) -> String {
    site.host().name().replace("-host", &format!("-{name}"))
}

fn message(port: &Value) -> String {
    port["status"]["conditions"][0]["message"].as_str().unwrap_or_default().to_owned()
}

fn wait_for(edgectl: &Edgectl, name: &str, holds: impl Fn(&Value) -> bool) -> Result<Value, LabError> {
    wait::value(&format!("the port {name}"), PATIENCE, || {
        let shown = edgectl.json(&format!("show-port {name}")).map_err(|error| error.to_string())?;
        let port = shown.get("port").unwrap_or(&shown).clone();
        if holds(&port) { Ok(port) } else { Err(shown.to_string()) }
    })
}

fn index_of(host: &Namespace, interface: &str) -> Result<String, LabError> {
    let shown = host.run(&format!("ip -o link show {interface}"))?;
    Ok(shown.split(':').next().unwrap_or_default().to_owned())
}

/// Plays a machine behind a tap that asks for the gateway's MAC address; returns the answer.
fn ask_for_the_gateway(interface: &str) -> Result<Vec<u8>, LabError> {
    let mut tap = open_tap(interface).map_err(LabError::system("open the tap".to_owned()))?;
    fcntl_setfl(&tap, OFlags::NONBLOCK)
        .map_err(|error| LabError::system("set the tap up".to_owned())(error.into()))?;
    let mac = [2, 0, 0, 0, 0, 9];
    let request = [
        &[0xff; 6],
        &mac[..],
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &mac,
        &[10, 0, 1, 9],
        &[0; 6],
        &[10, 0, 1, 1],
    ];
    let request = request.concat();
    wait::value("the gateway's answer", PATIENCE, || {
        tap.write_all(&request).map_err(|error| error.to_string())?;
        let mut frame = [0; 2048];
        while let Ok(length) = tap.read(&mut frame) {
            // An ARP reply.
            if length >= 42 && frame[12..14] == [8, 6] && frame[20..22] == [0, 2] {
                return Ok(frame[..length].to_vec());
            }
        }
        Err("no answer".to_owned())
    })
}
