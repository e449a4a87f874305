//! The overlay as the packet path reads it: which ports are tunnels, to whom, and of which network.
//!
//! A tunnel is a port: packets of one network that are exchanged with one peer leave and come in by it. A workload on another
//! host has a number too, above those of the port table, by which the stages know it; its packets come in and leave by
//! the tunnel of its network to its host.

use std::collections::BTreeSet;
use std::net::IpAddr;

use edgestack_abi::tunnel::{KIND_GENEVE, KIND_VXLAN};
use hashbrown::{HashMap, HashSet};

use super::{Index, Port, Snapshot};
use crate::address::MacAddress;
use crate::config::{Config, PortKind, Segment};
use crate::tables::neighbour_table::{Asker, NeighbourKey};

/// What carries tenant networks between hosts.
#[derive(Debug, PartialEq)]
pub struct Overlay {
    /// The external network that carries the tunnels.
    pub network: Index,
    /// The gateway's MAC address there as the end of tunnels.
    pub mac_address: MacAddress,
    /// Its addresses there.
    pub addresses: Vec<IpAddr>,
    /// The tunnels.
    pub tunnels: Vec<Tunnel>,
    /// Addresses of the peers.
    pub peers: HashSet<IpAddr>,
    /// Ports of the tunnels by kind, network identifier and the peer's address.
    pub port_by_origin: HashMap<(u8, u32, IpAddr), u16>,
}

/// The way of one network's packets to and from one peer.
#[derive(Debug, PartialEq)]
pub struct Tunnel {
    /// Its port.
    pub port: u16,
    /// The peer's position in the configuration.
    pub peer: Index,
    /// The peer's name.
    pub peer_name: String,
    /// `KIND_VXLAN` or `KIND_GENEVE`.
    pub kind: u8,
    /// Network identifier.
    pub identifier: u32,
    /// The gateway's own outer address.
    pub local: IpAddr,
    /// The peer's.
    pub remote: IpAddr,
    /// The peer itself, or the gateway on the way to it.
    pub next_hop: IpAddr,
}

/// The host of a workload that is not on this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The peer's position in the configuration, where it is one of the overlay's.
    pub peer: Option<Index>,
    /// The port of the tunnel of the workload's network to that peer, or of the physical network that its own is joined to.
    pub carrier: u16,
}

/// An uplink that is a VLAN of another's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Its port.
    pub port: u16,
    /// The port whose interface it is.
    pub parent: u16,
    /// Identifier.
    pub identifier: u16,
}

/// A tunnel that a configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Identifier of its port.
    pub id: String,
    /// Name of its port.
    pub name: String,
    /// The peer's position in the configuration.
    pub peer: Index,
    /// The network's position in the configuration.
    pub network: Index,
}

/// Kind and network identifier of a network that is carried between hosts.
pub fn tunnelled(segment: Option<Segment>) -> Option<(u8, u32)> {
    match segment? {
        Segment::Vxlan { vni } => Some((KIND_VXLAN, vni)),
        Segment::Geneve { vni } => Some((KIND_GENEVE, vni)),
        Segment::Vlan { .. } => None,
    }
}

/// The tunnels that a configuration asks for: to every peer with a workload, one for each network of the workload's address
/// space, since routed packets come in by the network that they are routed to.
pub fn wanted(config: &Config) -> Vec<Wanted> {
    let Some(overlay) = &config.overlay else { return Vec::new() };
    let peers: HashMap<&str, Index> =
        overlay.peers.iter().enumerate().map(|(index, peer)| (peer.id.as_str(), index)).collect();
    let networks: HashMap<&str, Index> =
        config.networks.iter().enumerate().map(|(index, network)| (network.id.as_str(), index)).collect();
    let spaces: HashMap<&str, &[String]> = config
        .routers
        .iter()
        .flat_map(|router| {
            router.networks.iter().map(|network| (network.as_str(), router.networks.as_slice()))
        })
        .collect();
    let mut pairs = BTreeSet::new();
    for port in &config.ports {
        let PortKind::Workload(workload) = &port.kind else { continue };
        let Some(peer) = workload.peer.as_ref().and_then(|peer| peers.get(peer.as_str())) else { continue };
        let own = std::slice::from_ref(&port.network);
        for network in spaces.get(port.network.as_str()).copied().unwrap_or(own) {
            pairs.extend(networks.get(network.as_str()).map(|network| (*peer, *network)));
        }
    }
    let is_tunnelled = |pair: &(Index, Index)| tunnelled(config.networks[pair.1].segment).is_some();
    pairs
        .into_iter()
        .filter(is_tunnelled)
        .map(|(peer, network)| {
            let (to, of) = (&overlay.peers[peer], &config.networks[network]);
            let (id, name) = (format!("tunnel/{}/{}", to.id, of.id), format!("{}/{}", to.name, of.name));
            Wanted { id, name, peer, network }
        })
        .collect()
}

/// Identifiers of everything in a configuration that needs a number of the port table.
pub fn numbered(config: &Config) -> impl Iterator<Item = String> {
    let is_here = |kind: &PortKind| !matches!(kind, PortKind::Workload(workload) if workload.peer.is_some());
    let ports = config.ports.iter().filter(move |port| is_here(&port.kind)).map(|port| port.id.clone());
    ports.chain(wanted(config).into_iter().map(|tunnel| tunnel.id))
}

impl Snapshot {
    /// The tunnel that a port is.
    pub fn tunnel(&self, port: u16) -> Option<&Tunnel> {
        let tunnel = self.port(port)?.tunnel?;
        self.overlay.as_ref()?.tunnels.get(tunnel)
    }

    /// The port of a VLAN of another port.
    pub fn vlan(&self, parent: u16, identifier: u16) -> Option<u16> {
        let place =
            self.vlans.binary_search_by_key(&(parent, identifier), |vlan| (vlan.parent, vlan.identifier));
        Some(self.vlans[place.ok()?].port)
    }

    /// The port whose interface a port is a VLAN of.
    pub fn vlan_parent(&self, port: u16) -> Option<u16> {
        self.vlan_parents.get(&port).copied()
    }

    /// The VLANs of a port.
    pub fn vlans_of(&self, parent: u16) -> &[Vlan] {
        let first = self.vlans.partition_point(|vlan| vlan.parent < parent);
        let end = self.vlans.partition_point(|vlan| vlan.parent <= parent);
        &self.vlans[first..end]
    }

    /// The neighbour that a tunnel's packets are sent to, and in whose name it is asked for.
    pub fn next_hop_of(&self, tunnel: &Tunnel) -> Option<(NeighbourKey, Asker)> {
        let overlay = self.overlay.as_ref()?;
        let port = self.networks[overlay.network].uplink?;
        let asker = Asker { ip_address: tunnel.local, mac_address: overlay.mac_address, is_workload: false };
        Some((NeighbourKey { port, ip_address: tunnel.next_hop }, asker))
    }

    /// The workload that has sent a packet which came in by `port`, as far as it is one's that is known.
    pub fn sender<'a>(&'a self, port: &'a Port, mac: MacAddress, address: IpAddr) -> Option<&'a Port> {
        if self.is_joint(port) {
            let found = self.port(self.networks[port.network].port_by_mac(mac)?);
            return found.filter(|sender| sender.remote.is_some());
        }
        let Some(tunnel) = self.tunnel(port.number) else { return Some(port) };
        let found = match self.router_at(port.network, mac) {
            Some(router) => self.port_behind_router(router, address),
            None => self.port(self.networks[port.network].port_by_mac(mac)?),
        };
        found.filter(|sender| sender.remote.is_some_and(|remote| remote.peer == Some(tunnel.peer)))
    }
}

impl Port {
    /// A workload of this host is behind it.
    pub fn is_here(&self) -> bool {
        self.workload.is_some() && self.remote.is_none()
    }

    /// The number of the port that packets for it leave by.
    pub fn way(&self) -> u16 {
        self.remote.map_or(self.number, |remote| remote.carrier)
    }
}
