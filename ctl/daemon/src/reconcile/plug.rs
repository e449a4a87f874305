//! The interfaces that ports ask for: made where they are missing, removed where no port asks for them any more.
//!
//! What was made is known by its mark, which says for which port it is and what it is like; so a restart finds all of
//! it, and a port that asks for something else gets it anew. Interfaces without a mark of this daemon are never touched.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use edgestack_dataplane::address::MacAddress;
use edgestack_dataplane::io::plug::{self, FarEnd, NearEnd};
use edgestack_model::plug::{Plug, PlugKind};
use edgestack_model::{NetworkSpec, PortSpec, Spec as _, port};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::mirror::Mirror;
use crate::app::record::Record;
use crate::hexadecimal;

/// Namespaces into which no workload is plugged: the daemon's and the machine's.
const HOST_NAMESPACES: [&str; 2] = ["/proc/thread-self/ns/net", "/proc/1/ns/net"];
/// Bytes of the digest in a mark.
const DIGEST_BYTES: usize = 8;

/// An interface that is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    port_id: String,
    interface: String,
    mtu: u16,
    mac_address: MacAddress,
    plug: Plug,
    addresses: Vec<(IpAddr, u8)>,
    gateways: Vec<IpAddr>,
    checksums: bool,
}

/// Keeps the interfaces as they are wanted.
#[derive(Clone, Debug, Default)]
pub struct Plugger {
    /// What the marks of this daemon begin with.
    prefix: String,
    /// Nothing was wanted at the last look.
    is_idle: bool,
}

/// Why an interface is not there, for the status of its port.
#[derive(Debug)]
enum PlugError {
    /// What it leads to is not there yet.
    Waits(String),
    /// The kernel refused.
    Refused(io::Error),
}

impl fmt::Display for PlugError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waits(what) => f.write_str(what),
            Self::Refused(error) => write!(f, "the interface cannot be made: {error}"),
        }
    }
}

impl From<io::Error> for PlugError {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

impl Plugger {
    /// A plugger that has not looked yet, of the instance of the dataplane that has this name.
    pub fn new(instance: &str) -> Self {
        Self { prefix: format!("edgestack {instance} "), is_idle: false }
    }

    /// Makes what is missing and removes what is not wanted; returns what stands in the way, by the id of the port.
    pub fn look(&mut self, wanted: &[Wanted]) -> BTreeMap<String, String> {
        if self.prefix.is_empty() || self.is_idle && wanted.is_empty() {
            return BTreeMap::new();
        }
        let mut problems = BTreeMap::new();
        let brought = self.bring_about(wanted, &mut problems);
        let is_done = brought.is_ok();
        if let Err(error) = brought {
            tracing::warn!(%error, "the interfaces of ports could not be brought up to date");
            for one in wanted {
                problems
                    .insert(one.port_id.clone(), format!("the host's interfaces cannot be read: {error}"));
            }
        }
        self.is_idle = wanted.is_empty() && is_done;
        problems
    }

    /// Removes every interface that was made.
    pub fn remove_all(&self) -> io::Result<()> {
        self.bring_about(&[], &mut BTreeMap::new())
    }

    fn bring_about(&self, wanted: &[Wanted], problems: &mut BTreeMap<String, String>) -> io::Result<()> {
        let marks: BTreeMap<String, &Wanted> =
            wanted.iter().map(|wanted| (wanted.mark(&self.prefix), wanted)).collect();
        let mut there = Vec::new();
        for link in plug::marked(&self.prefix)? {
            if marks.get(&link.mark).is_some_and(|wanted| wanted.interface == link.name) {
                there.push(link.mark);
            } else {
                tracing::info!(interface = link.name, "removing an interface that no port asks for");
                plug::remove(link.index)?;
            }
        }
        for (mark, wanted) in marks.iter().filter(|(mark, _)| !there.contains(mark)) {
            match wanted.make(mark) {
                Ok(()) => tracing::info!(interface = wanted.interface, port = wanted.port_id, "plugged in"),
                Err(error) => {
                    problems.insert(wanted.port_id.clone(), error.to_string());
                }
            }
        }
        Ok(())
    }
}

impl Wanted {
    /// The mark of the interface: for which port it is, and a digest of what it is like. What is digested stays the same
    /// from one release to the next: a mark that changed would have every workload unplugged by an upgrade.
    fn mark(&self, prefix: &str) -> String {
        let Self { port_id: _, interface, mtu, mac_address, plug, addresses, gateways, checksums } = self;
        let mac_address = mac_address.to_string();
        let like = json!([interface, mtu, mac_address, plug, addresses, gateways, checksums]);
        let digest = Sha256::digest(like.to_string());
        format!("{prefix}{} {}", self.port_id, hexadecimal(&digest[..DIGEST_BYTES]))
    }

    fn make(&self, mark: &str) -> Result<(), PlugError> {
        let near = NearEnd { name: &self.interface, mark, mtu: self.mtu };
        if self.plug.kind == PlugKind::Tap {
            return Ok(plug::make_tap(&near, self.plug.owner)?);
        }
        let namespace = self.namespace()?;
        let far = FarEnd {
            namespace: namespace.as_fd(),
            name: self.plug.guest_interface(),
            mac_address: self.mac_address,
            addresses: &self.addresses,
            gateways: &self.gateways,
            checksums: self.checksums,
        };
        Ok(plug::make_veth(&near, &far)?)
    }

    /// The workload's network namespace, which is not the host's.
    fn namespace(&self) -> Result<File, PlugError> {
        let (path, what) = match (&self.plug.namespace, self.plug.pid) {
            (Some(name), _) => {
                (PathBuf::from("/run/netns").join(name), format!("no network namespace `{name}`"))
            }
            (None, Some(pid)) => {
                if process_start(pid) != self.plug.pid_started {
                    let message = format!("the process {pid} has ended; name another, or a namespace");
                    return Err(PlugError::Waits(message));
                }
                (PathBuf::from(format!("/proc/{pid}/ns/net")), format!("no process {pid}"))
            }
            (None, None) => return Err(PlugError::Waits("no namespace is named".to_owned())),
        };
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => PlugError::Waits(format!("there is {what} yet")),
            _ => PlugError::Refused(error),
        })?;
        let identity = |file: &File| file.metadata().map(|found| (found.dev(), found.ino()));
        for own in HOST_NAMESPACES {
            // The first process of the machine cannot be looked at from within every container.
            if File::open(own).is_ok_and(|own| identity(&own).ok() == identity(&file).ok()) {
                let message = format!("{} is the host's own network namespace", path.display());
                return Err(PlugError::Waits(message));
            }
        }
        Ok(file)
    }
}

/// When a process was started, in the kernel's ticks; none where there is no such process.
pub fn process_start(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have spaces and parentheses itself; the time is the 20th field behind it.
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// What the ports ask for.
pub(super) fn wanted(mirror: &Mirror) -> Vec<Wanted> {
    let plugged: Vec<&Record<PortSpec>> =
        mirror.ports.values().map(AsRef::as_ref).filter(|port| port.spec.plug.is_some()).collect();
    if plugged.is_empty() {
        return Vec::new();
    }
    let mut networks: BTreeMap<(Option<&str>, &str), &Record<NetworkSpec>> = BTreeMap::new();
    for network in mirror.networks.values() {
        networks.insert((network.project.as_deref(), network.name.as_str()), network);
        if network.spec.is_shared() {
            networks.insert((None, network.name.as_str()), network);
        }
    }
    let find = |port: &Record<PortSpec>| {
        let name = port.spec.network.as_str();
        networks.get(&(port.project.as_deref(), name)).or_else(|| networks.get(&(None, name))).copied()
    };
    plugged.into_iter().filter_map(|port| of_port(port, find(port)?)).collect()
}

fn of_port(port: &Record<PortSpec>, network: &Record<NetworkSpec>) -> Option<Wanted> {
    let (spec, network) = (&port.spec, &network.spec);
    let plug = spec.plug.clone()?;
    let mut addresses = Vec::new();
    let mut gateways = Vec::new();
    if plug.kind == PlugKind::Veth && plug.configure != Some(false) {
        let prefix = |address: IpAddr| match address {
            IpAddr::V4(_) => Some(network.cidr.prefix_len()),
            IpAddr::V6(_) => network.ipv6_cidr.map(|cidr| cidr.prefix_len()),
        };
        let own = spec.ip_address.map(IpAddr::V4).into_iter().chain(spec.ipv6_address.map(IpAddr::V6));
        addresses.extend(own.filter_map(|address| Some((address, prefix(address)?))));
        let next_hops = network.gateway_ip.map(IpAddr::V4).into_iter();
        let next_hops = next_hops.chain(network.effective_ipv6_gateway().map(IpAddr::V6));
        let reachable = |hop: &IpAddr| addresses.iter().any(|(own, _)| own.is_ipv4() == hop.is_ipv4());
        gateways.extend(next_hops.filter(|hop| network.default_route && reachable(hop)));
    }
    Some(Wanted {
        port_id: port.id.clone(),
        interface: spec.interface.clone()?,
        mtu: network.mtu,
        mac_address: MacAddress(spec.mac_address?.0),
        addresses,
        gateways,
        checksums: spec.attach == port::Attach::Xdp,
        plug,
    })
}

#[cfg(test)]
mod tests {
    use edgestack_dataplane::address::MacAddress;
    use edgestack_model::plug::{Plug, PlugKind};

    use super::{Wanted, process_start};

    #[test]
    fn a_process_has_a_time_of_its_start() {
        assert!(process_start(std::process::id()).is_some_and(|ticks| ticks > 0));
        assert_eq!(process_start(u32::MAX), None);
    }

    #[test]
    fn a_mark_outlives_releases_and_tells_one_interface_from_another() {
        let wanted = Wanted {
            port_id: "p1".to_owned(),
            interface: "tap-a".to_owned(),
            mtu: 1450,
            mac_address: MacAddress([2, 0, 0, 0, 0, 1]),
            plug: Plug {
                kind: PlugKind::Veth,
                namespace: Some("blue".to_owned()),
                pid: None,
                pid_started: None,
                guest_interface: None,
                configure: None,
                owner: None,
            },
            addresses: vec![("10.0.1.10".parse().unwrap(), 24), ("fd00::10".parse().unwrap(), 64)],
            gateways: vec!["10.0.1.1".parse().unwrap()],
            checksums: false,
        };
        let mark = wanted.mark("edgestack default ");
        assert_eq!(mark, "edgestack default p1 f2ca1e904573ff79");
        assert_ne!(Wanted { mtu: 1400, ..wanted.clone() }.mark("edgestack default "), mark);
        assert_ne!(Wanted { checksums: true, ..wanted }.mark("edgestack default "), mark);
    }
}
