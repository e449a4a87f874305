//! What this host is: kernel, processors, memory, interfaces, read from the host each time it is asked. Changes nothing.

use std::net::{IpAddr, UdpSocket};

use edgestack_dataplane::io::interface::Interfaces;
use edgestack_model::address::MacAddress;
use edgestack_model::node::{
    Capacity, FastPath, HostInterface, NodeFacts, NodeInfo, NodeState, PhysicalNetwork,
};
use edgestack_model::value;
use jiff::Timestamp;
use serde_json::Value;

use crate::config::Config;
use crate::gateway::host_findings;
use crate::reconcile::network::Uplink;

/// Interfaces that are told of: a host with thousands of workloads tells of the first.
const INTERFACES_MAX: usize = 256;

/// The name of this host's node: the configured one, else what the host calls itself, as far as a name can be so.
pub fn node_name(configured: Option<&str>) -> String {
    let name = configured.map_or_else(hostname, str::to_owned);
    name_of(&name)
}

/// What the host is now.
pub fn facts(config: &Config, uplinks: &[Uplink]) -> NodeFacts {
    let missing: Vec<String> = host_findings(config)
        .into_iter()
        .filter(|finding| !finding.ok)
        .map(|finding| format!("{}: {}", finding.subject, finding.message))
        .collect();
    let physnet = |uplink: &Uplink| PhysicalNetwork {
        network: uplink.physical_network.clone(),
        interface: uplink.interface.clone(),
    };
    let mut node_role = vec!["control".to_owned()];
    node_role.extend(config.dataplane.enabled.then(|| "gateway".to_owned()));
    NodeFacts {
        state: NodeState::Ready,
        hostname: hostname(),
        node_role,
        data_ip: config.node.data_ip.or_else(default_address),
        info: NodeInfo {
            kernel_version: read("/proc/sys/kernel/osrelease"),
            os_image: os_image(&read("/etc/os-release")),
            architecture: std::env::consts::ARCH.to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        capacity: Capacity {
            vcpus: processors(&read("/proc/cpuinfo")),
            memory_mib: memory_kib(&read("/proc/meminfo"), "MemTotal") / 1024,
        },
        interfaces: interfaces(&read("/proc/net/dev")),
        physnets: uplinks.iter().map(physnet).collect(),
        fast_path: FastPath { capable: missing.is_empty(), missing },
        heartbeat_at: Timestamp::now(),
    }
}

/// The share of the host's memory that is available, in percent; none where it cannot be told.
pub fn memory_available_percent() -> Option<u64> {
    let memory = read("/proc/meminfo");
    let total = memory_kib(&memory, "MemTotal");
    (total > 0).then(|| memory_kib(&memory, "MemAvailable") * 100 / total)
}

/// A file's text without the blanks around it; empty where it cannot be read.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn hostname() -> String {
    read("/proc/sys/kernel/hostname")
}

/// The address that the host takes towards the outside. No packet is sent.
fn default_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_unspecified())
}

/// The name of a host as the name of an object.
fn name_of(host: &str) -> String {
    let first = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let letters = first.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' });
    let name: String = letters.take(value::NAME_LETTERS_MAX - "node-".len()).collect();
    let mut name = name.trim_matches('-').to_owned();
    if !name.starts_with(|letter: char| letter.is_ascii_lowercase()) {
        name.insert_str(0, "node-");
        name.truncate(name.trim_end_matches('-').len());
    }
    // What is made here is always a name; the fallback is for what nobody thought of.
    value::name(&Value::String(name)).unwrap_or_else(|_| "node".to_owned())
}

fn os_image(os_release: &str) -> String {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.map_or_else(String::new, |name| name.trim_matches('"').to_owned())
}

fn processors(cpuinfo: &str) -> u32 {
    cpuinfo.lines().filter(|line| line.starts_with("processor")).count() as u32
}

fn memory_kib(meminfo: &str, key: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The interfaces of this network namespace by the kernel's list of them.
fn interfaces(devices: &str) -> Vec<HostInterface> {
    let Ok(interfaces) = Interfaces::open() else { return Vec::new() };
    let names = devices.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    let interface = |name: &str| {
        let found = interfaces.find(name).ok()??;
        let mac_address = MacAddress(found.mac.0);
        Some(HostInterface { name: name.to_owned(), mac_address, mtu: found.mtu, up: found.up })
    };
    names.filter(|name| *name != "lo").filter_map(interface).take(INTERFACES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::{facts, memory_available_percent, memory_kib, name_of, os_image, processors};
    use crate::config::Config;

    #[test]
    fn names_of_hosts_become_names_of_objects() {
        for (host, name) in [
            ("edge-1", "edge-1"),
            ("Edge_1.example.com", "edge-1"),
            ("1st", "node-1st"),
            ("", "node"),
            ("-", "node"),
            ("ähnlich", "hnlich"),
        ] {
            assert_eq!(name_of(host), name, "{host}");
        }
        assert_eq!(name_of(&"9".repeat(100)).len(), 63);
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        assert_eq!(processors("processor\t: 0\nmodel name : x\n\nprocessor\t: 1\n"), 2);
        assert_eq!(memory_kib("MemTotal:  2048 kB\nMemAvailable: 512 kB\n", "MemAvailable"), 512);
        assert_eq!(memory_kib("", "MemTotal"), 0);
        assert_eq!(
            os_image("ID=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
    }

    #[test]
    fn this_host_has_facts() {
        let facts = facts(&Config::default(), &[]);
        assert!(facts.capacity.vcpus > 0 && facts.capacity.memory_mib > 0);
        assert!(!facts.info.kernel_version.is_empty() && !facts.hostname.is_empty());
        assert_eq!(facts.fast_path.capable, facts.fast_path.missing.is_empty());
        assert!(memory_available_percent().is_some_and(|percent| percent <= 100));
    }
}
