//! Taking a new configuration, and hearing what the ports are plugged into.
//!
//! A configuration is compiled first; only when all of it is right is it published, at once, and the epochs of the ports
//! that it changes are raised. No flow is flushed: those of a changed port are decided again by their next packets.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use edgestack_abi::port::{
    PORT_PUNT_ALL, PORT_UNDERLAY, PORT_UP, PORT_UPLINK, PORT_VLANS, PORT_XDP_TRANSMIT,
};
use hashbrown::{HashMap, HashSet};

use super::timers::Announcement;
use super::{ApplyReport, ConfigError, Engine, InterfaceBinding, SlowPath};
use crate::address::MacAddress;
use crate::config::Config;
use crate::snapshot::load_balancer::Health;
use crate::snapshot::overlay::numbered;
use crate::snapshot::{Network, Owner, Port, Snapshot, id_hash};

impl Engine {
    /// Takes a new configuration, whole or not at all.
    pub fn apply(&self, config: &Config) -> Result<ApplyReport, ConfigError> {
        let _turn = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        // New flows are decided on while the configuration is compiled; they wait only while it takes effect. The port
        // table's identifiers are written in turn only, so they can be read before.
        let old = self.snapshot.load_full();
        let new = Arc::new(Snapshot::recompile(&old, config, || self.number_ports(config))?);
        if !new.shares_topology(&old) {
            new.select_members(&old, self.settings.maglev_places);
        }
        let mut slow = self.slow();
        self.snapshot.store(Arc::clone(&new));
        let touched = if new.shares_topology(&old) {
            self.write_rules(&slow, &old, &new)
        } else {
            self.write_ports(&mut slow, &old, &new)
        };
        drop(slow);
        let names = touched.iter().filter_map(|number| Some(new.port(*number)?.name.clone()));
        Ok(ApplyReport { touched_ports: names.collect() })
    }

    /// Raises the epochs of the ports whose rules have changed; returns their numbers.
    fn write_rules(&self, slow: &SlowPath, old: &Snapshot, new: &Snapshot) -> Vec<u16> {
        let ports = new
            .ports()
            .filter(|port| port.remote.is_none())
            .filter(|port| old.fingerprint(port.number) != new.fingerprint(port.number));
        ports.filter(|port| self.write_port(slow, new, port)).map(|port| port.number).collect()
    }

    /// Brings the whole port table up to date; returns the numbers of the ports whose flows must be decided again.
    fn write_ports(&self, slow: &mut SlowPath, old: &Snapshot, new: &Snapshot) -> Vec<u16> {
        let mut touched = Vec::new();
        let mut removed = HashSet::new();
        for number in 1..self.ports.capacity() {
            match new.port(number) {
                Some(port) if self.write_port(slow, new, port) => touched.push(number),
                None if self.ports.entry(number).id_hash != 0 => {
                    self.clear_port(slow, number);
                    removed.insert(number);
                }
                _ => {}
            }
        }
        if !removed.is_empty() {
            self.end_sessions_of(slow, old, &removed);
        }
        slow.forget_neighbours(new);
        self.sync_tunnels(slow, new);
        slow.recover_blocks(old, new);
        slow.ended_traffic.retain(&super::nat::external_addresses(new));
        slow.announce(old, new);
        touched
    }

    /// Tells which members of load balancers answer, by the load balancer's id and the member's name, as checks have found.
    /// Connections without a handshake of their own are decided again where their member has fallen ill. The names that
    /// nobody has any more are left out.
    pub fn set_health(&self, found: &[(String, String, Health)]) {
        let _turn = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.snapshot.load_full();
        for load_balancer in &snapshot.load_balancers {
            let before = load_balancer.selection();
            let mut healths = before.healths.clone();
            let mut ill = Vec::new();
            for (_, name, health) in found.iter().filter(|(id, ..)| *id == load_balancer.id) {
                let Some(position) = load_balancer.member_named(name) else { continue };
                if healths[position] != *health && *health == Health::Unhealthy {
                    ill.extend(load_balancer.members[position].port_number);
                }
                healths[position] = *health;
            }
            if healths == before.healths {
                continue;
            }
            load_balancer.select(healths, before.table(), self.settings.maglev_places);
            let _slow = self.slow();
            for port in ill.into_iter().filter_map(|port| snapshot.port(port)).map(Port::way) {
                self.ports.update(port, |port| port.epoch = port.epoch.wrapping_add(1));
            }
        }
    }

    /// A number for every port and tunnel: the one that it has, else the lowest free one.
    fn number_ports(&self, config: &Config) -> HashMap<String, u16> {
        let numbers = || 1..self.ports.capacity();
        let hash = |number: u16| self.ports.entry(number).id_hash;
        let by_hash: HashMap<u64, u16> =
            numbers().map(|number| (hash(number), number)).filter(|(hash, _)| *hash != 0).collect();
        let mut free = numbers().filter(|number| hash(*number) == 0);
        let known = |id: &String| by_hash.get(&id_hash(id)).copied();
        let number = |id: String| {
            let number = known(&id).or_else(|| free.next()).unwrap_or_default();
            (id, number)
        };
        numbered(config).map(number).collect()
    }

    /// Brings the record of a port up to date; true when its flows must be decided again.
    fn write_port(&self, slow: &SlowPath, snapshot: &Snapshot, port: &Port) -> bool {
        let before = self.ports.entry(port.number);
        let is_known = before.id_hash == id_hash(&port.id);
        let fingerprint = snapshot.fingerprint(port.number);
        let is_touched = before.fingerprint != fingerprint || !is_known;
        let network_mtu = snapshot.networks[port.network].mtu;
        let binding = slow.bindings.get(&port.number);
        // Right after a restart nothing is bound by this engine yet, while the record still says what is plugged in.
        let is_plugged = binding.is_some() || (is_known && before.interface_index != 0);
        if is_touched {
            // Before the fingerprint: who is killed in between raises it once more at the next start, and never not at all.
            self.ports.update(port.number, |entry| entry.epoch = entry.epoch.wrapping_add(1));
        }
        if port.tunnel.is_some() {
            self.ports.update(port.number, |entry| {
                entry.id_hash = id_hash(&port.id);
                entry.fingerprint = fingerprint;
            });
            return is_touched;
        }
        let is_vlan = snapshot.vlan_parent(port.number).is_some();
        let has_vlans = !snapshot.vlans_of(port.number).is_empty();
        let is_underlay = snapshot
            .overlay
            .as_ref()
            .is_some_and(|overlay| snapshot.networks[overlay.network].uplink == Some(port.number));
        if !is_vlan {
            // It may have been one.
            self.forget_tunnel(&before);
        }
        self.ports.update(port.number, |entry| {
            let of_parent = if is_vlan && is_known { PORT_UP } else { 0 };
            let keep = entry.flags & (PORT_PUNT_ALL | PORT_XDP_TRANSMIT | of_parent);
            entry.flags = keep
                | if has_vlans { PORT_VLANS } else { 0 }
                | if port.up && is_plugged { PORT_UP } else { 0 }
                | if port.workload.is_none() { PORT_UPLINK } else { 0 }
                | if is_underlay { PORT_UNDERLAY } else { 0 };
            entry.mtu = binding.map_or(network_mtu, |binding| network_mtu.min(binding.mtu));
            entry.tunnel = if is_vlan { entry.tunnel } else { 0 };
            entry.id_hash = id_hash(&port.id);
            entry.fingerprint = fingerprint;
        });
        is_touched
    }

    fn clear_port(&self, slow: &mut SlowPath, number: u16) {
        slow.bindings.remove(&number);
        let before = self.ports.entry(number);
        self.forget_tunnel(&before);
        if before.interface_index != 0 && (before.interface_index as usize) < self.port_by_interface.len() {
            self.port_by_interface.write(before.interface_index as usize, 0);
        }
        // The epoch goes on: flows of the port that had this number never fit the one that gets it next.
        self.ports.update(number, |entry| {
            *entry = edgestack_abi::PortEntry { epoch: entry.epoch.wrapping_add(1), ..Default::default() };
        });
    }

    /// Ends the sessions of ports that are gone, which `old` has.
    fn end_sessions_of(&self, slow: &mut SlowPath, old: &Snapshot, ports: &HashSet<u16>) {
        let ended: Vec<u32> = slow
            .sessions
            .iter()
            .filter(|(_, session)| {
                ports.contains(&session.original.in_port) || ports.contains(&session.reply.in_port)
            })
            .map(|(index, _)| index)
            .collect();
        slow.revoked += ended.len() as u64;
        for index in ended {
            self.end_session_of(slow, old, index, self.control.now_ticks());
        }
    }

    /// Number of the port of this host with this id.
    pub fn port_number(&self, port_id: &str) -> Option<u16> {
        self.snapshot.load().port_number(port_id).filter(|number| *number < self.ports.capacity())
    }

    /// The id of the port whose interface a port is a VLAN of.
    pub fn vlan_parent_id(&self, port: u16) -> Option<String> {
        let snapshot = self.snapshot.load();
        Some(snapshot.port(snapshot.vlan_parent(port)?)?.id.clone())
    }

    /// Tells what a port is plugged into; none: nothing. A VLAN is told by the port below.
    pub fn set_interface(&self, port: u16, binding: Option<InterfaceBinding>) {
        let mut slow = self.slow();
        let snapshot = self.snapshot.load();
        let before = self.ports.entry(port).interface_index as usize;
        let after = binding.map_or(0, |binding| binding.index as usize);
        if before != after && before != 0 && before < self.port_by_interface.len() {
            self.port_by_interface.write(before, 0);
        }
        match binding {
            Some(binding) => {
                if before != after {
                    let vlans = snapshot.vlans_of(port).iter().map(|vlan| vlan.port);
                    for port in vlans.chain([port]) {
                        slow.neighbours.doubt(port, self.control.now_ticks());
                    }
                }
                slow.bindings.insert(port, binding)
            }
            None => slow.bindings.remove(&port),
        };
        let configured = snapshot.port(port);
        let network_mtu = configured.map(|port| snapshot.networks[port.network].mtu);
        self.ports.update(port, |entry| {
            let keep = entry.flags & (PORT_PUNT_ALL | PORT_UPLINK | PORT_UNDERLAY | PORT_VLANS);
            let is_up = binding.is_some() && configured.is_some_and(|port| port.up);
            let transmits = binding.is_some_and(|binding| binding.xdp_transmit);
            entry.flags =
                keep | if is_up { PORT_UP } else { 0 } | if transmits { PORT_XDP_TRANSMIT } else { 0 };
            entry.interface_index = after as u32;
            if let Some(binding) = binding {
                entry.interface_mac = binding.mac.0;
                entry.first_socket = binding.first_socket;
                entry.mtu = network_mtu.map_or(binding.mtu, |mtu| mtu.min(binding.mtu));
            }
        });
        if after != 0 && after < self.port_by_interface.len() {
            self.port_by_interface.write(after, u32::from(port));
        }
        self.sync_tunnels(&mut slow, &snapshot);
    }

    /// Sends every packet of a port through the engine, so that it can be captured, or ends that.
    pub fn set_punt_all(&self, port: u16, punt_all: bool) {
        let _slow = self.slow();
        self.ports.update(port, |entry| {
            entry.flags = (entry.flags & !PORT_PUNT_ALL) | if punt_all { PORT_PUNT_ALL } else { 0 };
        });
    }

    /// Tells tier 0 where the trunk is, and whether it may forward at all.
    pub fn set_tier0(&self, enabled: bool, trunk_interface_index: u32, trunk_first_socket: u32) {
        let _slow = self.slow();
        self.control.update(|control| {
            control.tier0_enabled = u32::from(enabled);
            control.trunk_interface_index = trunk_interface_index;
            control.trunk_first_socket = trunk_first_socket;
        });
    }
}

impl SlowPath {
    /// Forgets neighbours that no router, or no workload of this host, could reach any more.
    fn forget_neighbours(&mut self, snapshot: &Snapshot) {
        self.neighbours.retain(|neighbour, asker| {
            snapshot.port(neighbour.port).is_some_and(|port| {
                if snapshot.is_joint(port) {
                    let workload = snapshot.port_in_network(port.network, asker.ip_address);
                    return asker.is_workload && workload.is_some_and(Port::is_here);
                }
                let owner = snapshot.networks[port.network].owner(asker.ip_address);
                matches!(owner, Some(Owner::Router(_) | Owner::Overlay))
            })
        });
    }

    /// Lets external and physical networks know of addresses that are new or moved (RFC 5227, section 3).
    fn announce(&mut self, old: &Snapshot, new: &Snapshot) {
        // What is not ours any more is not announced, even if it waited for its uplink.
        let ours: HashSet<(IpAddr, MacAddress, Option<u16>)> =
            new.networks.iter().flat_map(|network| answered(new, network)).collect();
        self.announcements.retain(|announcement| ours.contains(&announcement.says()));
        let before: HashSet<(IpAddr, MacAddress, Option<u16>)> =
            old.networks.iter().flat_map(|network| answered(old, network)).collect();
        for network in &new.networks {
            let Some(port) = network.uplink else { continue };
            let waiting: HashSet<_> = self.announcements.iter().map(Announcement::says).collect();
            let fresh = answered(new, network)
                .filter(|address| !before.contains(address) && !waiting.contains(address));
            self.announcements
                .extend(fresh.map(|(ip, mac, _)| Announcement::new(port, ip, mac, network.external)));
        }
    }
}

/// The addresses that the gateway answers for by a network's uplink, and the MAC address that it says: in an external network
/// its own, in a physical one those of the workloads of this host.
fn answered<'a>(
    snapshot: &'a Snapshot,
    network: &'a Network,
) -> impl Iterator<Item = (IpAddr, MacAddress, Option<u16>)> + 'a {
    let owned =
        network.owned_addresses().filter_map(|(address, owner)| Some((address, snapshot.mac_of(owner)?)));
    let is_joined = network.joint().is_some();
    let workloads = network.ports_by_ip().filter(move |_| is_joined).filter_map(|(address, number)| {
        let port = snapshot.port(number).filter(|port| port.is_here() && port.up)?;
        Some((address, port.workload.as_ref()?.mac_address))
    });
    owned.chain(workloads).map(|(address, mac)| (address, mac, network.uplink))
}
