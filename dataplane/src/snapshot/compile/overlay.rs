//! The overlay: its place outside, the peers, the tunnels to them, and the workloads behind them; uplinks with VLAN tags, and those
//! that join tenant networks to physical ones.

use std::net::IpAddr;
use std::sync::Arc;

use edgestack_abi::maps::MAX_PORTS;
use edgestack_abi::tunnel::{IDENTIFIER_MAX, MAX_TUNNELS};
use hashbrown::{HashMap, HashSet};

use super::super::overlay::{Overlay, Remote, Tunnel, Vlan, Wanted, tunnelled, wanted};
use super::super::{Index, Owner, Port, fingerprint};
use super::Compiler;
use crate::config::{self, PortKind, Segment};

/// Workloads on other hosts that one host knows: what is left of the numbers beyond those of its own ports.
const REMOTE_WORKLOADS_MAX: usize = (u16::MAX as u32 - MAX_PORTS + 1) as usize;

/// Largest identifier of a VLAN (IEEE 802.1Q, section 9.6).
const VLAN_MAX: u16 = 4094;

/// By what ports packets leave for workloads on other hosts.
pub(super) struct Carriers {
    /// Those of tunnels, by peer and network.
    tunnels: HashMap<(Index, Index), u16>,
    /// Those that join networks to physical ones, by network.
    joints: HashMap<Index, u16>,
}

impl Compiler<'_> {
    /// Identifiers of networks are possible, and each is one network's.
    pub(super) fn segments(&mut self) {
        let mut seen = HashSet::new();
        for network in &self.config.networks {
            if let Some(Segment::Vlan { vlan_id }) = network.segment {
                let object = format!("network {}", network.name);
                if !(1..=VLAN_MAX).contains(&vlan_id) {
                    let message = format!("{vlan_id} is not between 1 and {VLAN_MAX}");
                    self.problem(object, "segment.vlan_id", message);
                }
            }
            let Some((kind, identifier)) = tunnelled(network.segment) else { continue };
            let object = format!("network {}", network.name);
            if network.external {
                let message = "a network between hosts is a tenant's, and this one is external".to_owned();
                self.problem(object.clone(), "segment", message);
            }
            if identifier == 0 || identifier > IDENTIFIER_MAX {
                let message = format!("{identifier} is not between 1 and {IDENTIFIER_MAX}");
                self.problem(object.clone(), "segment.vni", message);
            }
            if !seen.insert((kind, identifier)) {
                let message = format!("{identifier} is another network's; give every network its own");
                self.problem(object, "segment.vni", message);
            }
        }
    }

    /// Which uplinks are VLANs of the interfaces of others.
    pub(super) fn vlans(&mut self) {
        let config = self.config;
        let uplinks = config.ports.iter().filter(|port| port.kind == PortKind::Uplink);
        let mut untagged = HashMap::new();
        let mut tagged = Vec::new();
        for port in uplinks {
            let Some(network) = self.network_index.get(port.network.as_str()) else { continue };
            let network = &config.networks[*network];
            let Some(number) = self.topology.port_number(&port.id) else { continue };
            match (network.segment, &port.interface) {
                (Some(Segment::Vlan { vlan_id }), _) => tagged.push((port, network, number, vlan_id)),
                (None, Some(interface)) => {
                    let first = untagged.entry(interface.as_str()).or_insert(number);
                    *first = number.min(*first);
                }
                _ => {}
            }
        }
        let rooms = (MAX_TUNNELS as usize).saturating_sub(1 + wanted(config).len());
        let mut seen = HashSet::new();
        for (position, (port, network, number, identifier)) in tagged.into_iter().enumerate() {
            let object = format!("network {}", network.name);
            let interface = port.interface.as_deref().unwrap_or_default();
            let Some(parent) = untagged.get(interface).copied() else {
                let message =
                    format!("no uplink has interface `{interface}` for a network without a VLAN tag");
                self.problem(object, "segment", message);
                continue;
            };
            if !seen.insert((parent, identifier)) {
                let message = format!("VLAN {identifier} of interface {interface} is another network's");
                self.problem(object.clone(), "segment.vlan_id", message);
            }
            if position >= rooms {
                let message = format!("tunnels and VLANs are more than the {} of one host", MAX_TUNNELS - 1);
                self.problem(object, "segment", message);
            }
            self.topology.vlans.push(Vlan { port: number, parent, identifier });
            self.topology.vlan_parents.insert(number, parent);
        }
        self.topology.vlans.sort_unstable_by_key(|vlan| (vlan.parent, vlan.identifier));
    }

    /// By what ports packets leave for workloads on other hosts. Those of the tunnels that are asked for are made.
    pub(super) fn carriers(&mut self, port_numbers: &HashMap<String, u16>) -> Carriers {
        let mut carriers = Carriers { joints: self.joints(port_numbers), tunnels: HashMap::new() };
        self.tunnel_ports(port_numbers, &mut carriers.tunnels);
        carriers
    }

    /// The uplinks that join tenant networks to physical ones, by network.
    fn joints(&self, port_numbers: &HashMap<String, u16>) -> HashMap<Index, u16> {
        let uplinks = self.config.ports.iter().filter(|port| port.kind == PortKind::Uplink);
        let joint = |port: &Arc<config::Port>| {
            let network = self.network_index.get(port.network.as_str()).copied()?;
            let joins = !self.config.networks[network].external;
            Some((network, *port_numbers.get(&port.id)?)).filter(|_| joins)
        };
        uplinks.filter_map(joint).collect()
    }

    fn tunnel_ports(
        &mut self,
        port_numbers: &HashMap<String, u16>,
        carriers: &mut HashMap<(Index, Index), u16>,
    ) {
        let wanted = wanted(self.config);
        if wanted.len() >= MAX_TUNNELS as usize {
            let message =
                format!("{} tunnels are more than the {} of one host", wanted.len(), MAX_TUNNELS - 1);
            self.problem("overlay".to_owned(), "peers", message);
            return;
        }
        for (index, tunnel) in wanted.iter().enumerate() {
            let number = port_numbers.get(&tunnel.id).copied().unwrap_or_default();
            if number == 0 || self.topology.port(number).is_some() {
                let message = "there is no free port number for a tunnel; remove ports first".to_owned();
                self.problem("overlay".to_owned(), "peers", message);
                continue;
            }
            carriers.insert((tunnel.peer, tunnel.network), number);
            self.insert_port(Port {
                number,
                id: tunnel.id.clone(),
                name: tunnel.name.clone(),
                network: tunnel.network,
                up: true,
                workload: None,
                remote: None,
                tunnel: Some(index),
                settings_fingerprint: 0,
            });
        }
    }

    /// The number and the host of a workload that is not on this one; none where the configuration is wrong.
    pub(super) fn remote(
        &mut self,
        object: &str,
        peer: &str,
        network: Index,
        carriers: &Carriers,
    ) -> Option<(u16, Remote)> {
        let peers = self.config.overlay.as_ref().map_or(&[][..], |overlay| &overlay.peers);
        let position = peers.iter().position(|candidate| candidate.id == peer);
        let joint = carriers.joints.get(&network).copied();
        let config::Network { name, segment, .. } = &*self.config.networks[network];
        if joint.is_none() {
            let message = match position {
                _ if tunnelled(*segment).is_none() => Some(format!(
                    "network {name} is not carried between hosts; give it a VXLAN or Geneve segment, or an uplink"
                )),
                None => Some(format!("the overlay has no peer `{peer}`")),
                Some(_) => None,
            };
            if let Some(message) = message {
                self.problem(object.to_owned(), "peer", message);
                return None;
            }
        }
        if self.remote_workloads >= REMOTE_WORKLOADS_MAX {
            let message = format!("more than {REMOTE_WORKLOADS_MAX} workloads on other hosts");
            self.problem(object.to_owned(), "peer", message);
            return None;
        }
        let number = (MAX_PORTS as usize + self.remote_workloads) as u16;
        self.remote_workloads += 1;
        // Where there is none the tunnel's problem was told.
        let tunnel = || carriers.tunnels.get(&(position?, network)).copied();
        let carrier = joint.or_else(tunnel)?;
        Some((number, Remote { peer: position, carrier }))
    }

    /// The gateway's place outside and the tunnels from there. Routers and their networks are known.
    pub(super) fn overlay(&mut self) {
        let Some(overlay) = &self.config.overlay else { return };
        let object = || "overlay".to_owned();
        let Some(network) = self.network_index.get(overlay.network.as_str()).copied() else {
            self.problem(object(), "network", format!("there is no network `{}`", overlay.network));
            return;
        };
        if !self.topology.networks[network].external {
            let message = format!("network {} is not external; tunnels go out by an uplink", overlay.network);
            self.problem(object(), "network", message);
            return;
        }
        if self.config.networks[network].segment.is_some() {
            let message = format!("network {} has a VLAN tag; tunnels go out without one", overlay.network);
            self.problem(object(), "network", message);
        }
        let mac = overlay.mac_address;
        if mac.is_multicast() || mac.is_zero() {
            self.problem(object(), "mac_address", format!("{mac} is no address of one host"));
        } else if self.topology.router_at(network, mac).is_some() {
            self.problem(object(), "mac_address", format!("{mac} is a router's"));
        }
        let addresses = [
            ("ip_address", overlay.ip_address.map(IpAddr::from)),
            ("ipv6_address", overlay.ipv6_address.map(IpAddr::from)),
        ];
        for (field, address) in addresses {
            let Some(address) = address else { continue };
            let entry = &self.topology.networks[network];
            if !entry.contains(address) {
                let message = format!("{address} is in no subnet of the external network {}", entry.name);
                self.problem(object(), field, message);
            }
            self.own("overlay", field, network, (address, Owner::Overlay));
        }
        let next_hops = self.overlay_peers(overlay, network);
        let tunnels =
            wanted(self.config).into_iter().filter_map(|wanted| self.tunnel(overlay, &wanted, &next_hops));
        let tunnels: Vec<Tunnel> = tunnels.collect();
        let port_by_origin = tunnels
            .iter()
            .map(|tunnel| ((tunnel.kind, tunnel.identifier, tunnel.remote), tunnel.port))
            .collect();
        self.topology.overlay = Some(Overlay {
            network,
            mac_address: mac,
            addresses: addresses.into_iter().filter_map(|(_, address)| address).collect(),
            tunnels,
            peers: overlay.peers.iter().map(|peer| peer.address).collect(),
            port_by_origin,
        });
    }

    /// Checks the peers; the next hop towards each.
    fn overlay_peers(&mut self, overlay: &config::Overlay, network: Index) -> Vec<Option<IpAddr>> {
        let mut seen = HashSet::new();
        let mut next_hops = Vec::with_capacity(overlay.peers.len());
        for peer in &overlay.peers {
            let object = format!("peer {}", peer.name);
            if !seen.insert(&peer.id) {
                self.problem(object.clone(), "id", "is used twice; give every peer its own".to_owned());
            }
            let entry = &self.topology.networks[network];
            let is_ipv6 = peer.address.is_ipv6();
            let local = if is_ipv6 {
                overlay.ipv6_address.map(IpAddr::from)
            } else {
                overlay.ip_address.map(IpAddr::from)
            };
            let next_hop =
                if entry.contains(peer.address) { Some(peer.address) } else { entry.gateway(is_ipv6) };
            let is_shared = overlay.peers.iter().filter(|other| other.address == peer.address).count() > 1;
            let no_host =
                peer.address.is_unspecified() || peer.address.is_multicast() || peer.address.is_loopback();
            let message = if no_host {
                Some(format!("{} is no address of a host", peer.address))
            } else if local.is_none() {
                Some(format!(
                    "{} needs {} of the overlay",
                    peer.address,
                    if is_ipv6 { "`ipv6_address`" } else { "`ip_address`" }
                ))
            } else if entry.owner(peer.address).is_some() {
                Some(format!("{} is an address of this gateway", peer.address))
            } else if is_shared {
                Some(format!("{} is another peer's", peer.address))
            } else if next_hop.is_none() {
                Some(format!(
                    "{} is in no subnet of network {}, which has no gateway",
                    peer.address, entry.name
                ))
            } else {
                None
            };
            if let Some(message) = message {
                self.problem(object, "address", message);
            }
            next_hops.push(next_hop);
        }
        next_hops
    }

    fn tunnel(
        &self,
        overlay: &config::Overlay,
        wanted: &Wanted,
        next_hops: &[Option<IpAddr>],
    ) -> Option<Tunnel> {
        let peer = &overlay.peers[wanted.peer];
        let (kind, identifier) = tunnelled(self.config.networks[wanted.network].segment)?;
        let local =
            if peer.address.is_ipv6() { overlay.ipv6_address?.into() } else { overlay.ip_address?.into() };
        Some(Tunnel {
            port: self.topology.port_number(&wanted.id)?,
            peer: wanted.peer,
            peer_name: peer.name.clone(),
            kind,
            identifier,
            local,
            remote: peer.address,
            next_hop: next_hops[wanted.peer]?,
        })
    }

    /// What the flows by which a network is joined to a physical one depend on beside the port's own: the workloads beyond.
    pub(super) fn joint_fingerprints(&mut self, remote: &[(Remote, Index, u64)]) {
        for (host, network, own) in remote {
            if self.topology.networks[*network].joint() != Some(host.carrier) {
                continue;
            }
            if let Some(Some(port)) = self.topology.ports.get_mut(usize::from(host.carrier)) {
                port.settings_fingerprint = port.settings_fingerprint.wrapping_add(fingerprint::of(own));
            }
        }
    }

    /// What the flows of tunnels depend on: where they lead, their network with its router, and the workloads behind the
    /// peer, whatever of their networks those are in.
    pub(super) fn tunnel_fingerprints(
        &mut self,
        networks: &[u64],
        routers: &[u64],
        remote: &[(Remote, Index, u64)],
    ) {
        let Some(overlay) = &self.config.overlay else { return };
        let mut behind: HashMap<(Index, Index), u64> = HashMap::new();
        for (host, network, own) in remote {
            let Some(peer) = host.peer else { continue };
            let router = self.topology.networks[*network].router;
            let space =
                router.map_or(vec![*network], |router| self.topology.routers[router].networks.clone());
            for network in space {
                let sum = behind.entry((peer, network)).or_default();
                *sum = sum.wrapping_add(fingerprint::of(own));
            }
        }
        for wanted in wanted(self.config) {
            let Some(number) = self.topology.port_number(&wanted.id) else { continue };
            let router = self.topology.networks[wanted.network].router.map(|router| routers[router]);
            let peer = &overlay.peers[wanted.peer];
            let place = (&overlay.network, overlay.mac_address, overlay.ip_address, overlay.ipv6_address);
            let workloads = behind.get(&(wanted.peer, wanted.network));
            let own = fingerprint::of(&(
                place,
                &peer.id,
                peer.address,
                networks[wanted.network],
                router,
                workloads,
            ));
            if let Some(Some(port)) = self.topology.ports.get_mut(usize::from(number)) {
                port.settings_fingerprint = own;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::Snapshot;
    use crate::config::{Attach, Config, Network, Port, PortKind, Segment};

    /// An uplink by `interface` to an external network in this VLAN.
    fn with_uplink(config: &mut Config, name: &str, interface: &str, vlan_id: Option<u16>) {
        config.networks.push(Arc::new(Network {
            external: true,
            segment: vlan_id.map(|vlan_id| Segment::Vlan { vlan_id }),
            ..Network::new(name, "192.0.2.0/24".parse().unwrap())
        }));
        config.ports.push(Arc::new(Port {
            id: name.to_owned(),
            name: name.to_owned(),
            network: name.to_owned(),
            interface: Some(interface.to_owned()),
            kind: PortKind::Uplink,
            attach: Attach::Auto,
            admin_state_up: true,
        }));
    }

    /// The objects that are refused, with their fields.
    fn refused(config: &Config) -> Vec<(String, String)> {
        let numbers = config.ports.iter().zip(1..).map(|(port, number)| (port.id.clone(), number)).collect();
        match Snapshot::compile(config, &numbers) {
            Ok(_) => Vec::new(),
            Err(error) => error.problems.into_iter().map(|problem| (problem.object, problem.field)).collect(),
        }
    }

    #[test]
    fn vlans_have_an_uplink_below_and_an_identifier_of_their_own() {
        let is = |object: &str, field: &str| (object.to_owned(), field.to_owned());
        let mut config = Config::default();
        with_uplink(&mut config, "ten", "eth1", Some(10));
        assert_eq!(refused(&config), [is("network ten", "segment")], "nothing is below");
        with_uplink(&mut config, "flat", "eth1", None);
        with_uplink(&mut config, "eleven", "eth1", Some(11));
        assert_eq!(refused(&config), []);
        with_uplink(&mut config, "again", "eth1", Some(10));
        with_uplink(&mut config, "other", "eth2", Some(10));
        with_uplink(&mut config, "none", "eth1", Some(0));
        with_uplink(&mut config, "most", "eth1", Some(4095));
        let wanted = [
            is("network none", "segment.vlan_id"),
            is("network most", "segment.vlan_id"),
            is("network again", "segment.vlan_id"),
            is("network other", "segment"),
        ];
        assert_eq!(refused(&config), wanted);

        // A tenant's may leave by one too, or by none; in tunnels it needs none.
        let mut tenant = Config::default();
        let network =
            |segment| Arc::new(Network { segment, ..Network::new("in", "10.0.0.0/24".parse().unwrap()) });
        tenant.networks.push(network(Some(Segment::Vlan { vlan_id: 10 })));
        with_uplink(&mut tenant, "plain", "eth1", None);
        with_uplink(&mut tenant, "out", "eth1", Some(20));
        assert!(refused(&tenant).is_empty());
        Arc::make_mut(&mut tenant.ports[1]).network = "in".to_owned();
        assert!(refused(&tenant).is_empty());
        tenant.networks[0] = network(Some(Segment::Vxlan { vni: 10 }));
        assert_eq!(refused(&tenant), [is("port out", "network")]);
    }
}
