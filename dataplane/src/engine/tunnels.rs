//! Tunnels: frames come out of their outer headers before they are looked up, and get outer headers when they are sent.
//!
//! In between nothing knows of outer headers: a packet that came by a tunnel came in by the tunnel's port, and one that leaves
//! by it leaves by that port. The records that frames are wrapped by are shared with the kernel programs.

use std::net::IpAddr;

use edgestack_abi::flow::FAMILY_IPV6;
use edgestack_abi::port::{PORT_UNDERLAY, PORT_UNRESOLVED, PORT_UP, PORT_VLANS, PORT_XDP_TRANSMIT};
use edgestack_abi::tunnel::{KIND_VLAN, VLAN_IDENTIFIER, VLAN_TAG, VLAN_TAG_LENGTH};
use edgestack_abi::{DropReason, PortEntry, TunnelEntry};

use super::{Engine, SlowPath, Transmit, Worker, discard};
use crate::packet::{FramePool, Packet};
use crate::pipeline::Stage;
use crate::snapshot::Snapshot;
use crate::snapshot::overlay::{Overlay, Tunnel};
use crate::wire::headers::{self, Network, Transport};
use crate::wire::tunnel::{self, CONGESTION_EXPERIENCED};
use crate::wire::udp::{self, UDP_LENGTH};
use crate::wire::{ETHERNET_LENGTH, read_u16, write_u16};

/// A frame of a tunnel: the tunnel's port, the length of what is around the frame, and whether the way was congested.
struct Carried {
    port: u16,
    outer_length: usize,
    is_congested: bool,
}

impl Engine {
    /// Takes the outer headers off what came by tunnels; what cannot be taken is dropped.
    pub(super) fn unwrap_batch(&self, worker: &Worker, pool: &mut FramePool, batch: &mut Vec<Packet>) {
        let has = |packet: &Packet, flags: u16| self.ports.flags_and_mtu(packet.in_port).0 & flags != 0;
        if !batch.iter().any(|packet| has(packet, PORT_UNDERLAY | PORT_VLANS)) {
            return;
        }
        let snapshot = self.snapshot.load();
        let mut position = 0;
        while let Some(packet) = batch.get_mut(position) {
            position += 1;
            let (in_port, length) = (packet.in_port, packet.length);
            let mut taken = Ok(false);
            if has(packet, PORT_VLANS) {
                taken = untag(&snapshot, pool, packet);
            }
            if taken == Ok(false) && has(packet, PORT_UNDERLAY) {
                taken = take_carried(&snapshot, pool, packet);
            }
            if taken == Ok(false) {
                continue;
            }
            let received = worker.counters.port(in_port);
            received.received_packets.add(1);
            received.received_bytes.add(u64::from(length));
            if let Err(reason) = taken {
                position -= 1;
                discard(&worker.counters, pool, batch.remove(position), Stage::Decapsulate, reason);
            }
        }
    }

    /// Puts outer headers around what leaves by tunnels, of the packets from the `first` on.
    pub(super) fn wrap(
        &self,
        worker: &Worker,
        pool: &mut FramePool,
        output: &mut Vec<Transmit>,
        first: usize,
    ) {
        let mut position = first;
        while let Some(transmit) = output.get_mut(position) {
            position += 1;
            let number = self.ports.tunnel(transmit.port);
            if number == 0 {
                continue;
            }
            let entry = self.tunnels.entry(number);
            let wrapped = if self.ports.flags_and_mtu(transmit.port).0 & PORT_UNRESOLVED != 0 {
                // The next hop has fallen silent since the packet was decided about.
                Err(DropReason::NeighbourUnresolved)
            } else {
                wrap(pool, &mut transmit.packet, &entry)
            };
            match wrapped {
                Ok(()) => {
                    transmit.port = entry.under_port;
                    let sent = worker.counters.port(entry.under_port);
                    sent.transmitted_packets.add(1);
                    sent.transmitted_bytes.add(u64::from(transmit.packet.length));
                }
                Err(reason) => {
                    position -= 1;
                    let Transmit { packet, .. } = output.remove(position);
                    discard(&worker.counters, pool, packet, Stage::Encapsulate, reason);
                }
            }
        }
    }

    /// Brings the records of all VLANs up to date with the ports below.
    fn sync_vlans(&self, slow: &SlowPath, snapshot: &Snapshot) {
        for vlan in &snapshot.vlans {
            let present = self.ports.entry(vlan.port).tunnel;
            let Some(number) = self.tunnels.number_for(vlan.port, present) else { continue };
            self.tunnels.write(
                number,
                TunnelEntry {
                    port: vlan.port,
                    under_port: vlan.parent,
                    kind: KIND_VLAN,
                    identifier: u32::from(vlan.identifier),
                    remote: [u64::from(vlan.parent), 0],
                    ..TunnelEntry::default()
                },
            );
            let under = self.ports.entry(vlan.parent);
            // The tag is no part of what an interface's MTU counts, and its other networks' MTUs are none of this one's.
            let under_mtu = slow.bindings.get(&vlan.parent).map_or(u16::MAX, |binding| binding.mtu);
            let Some(port) = snapshot.port(vlan.port) else { continue };
            let flags = if port.up { PORT_UP | PORT_XDP_TRANSMIT } else { PORT_XDP_TRANSMIT };
            self.ports.update(vlan.port, |entry| {
                entry.flags = entry.flags & !(PORT_UP | PORT_XDP_TRANSMIT) | under.flags & flags;
                entry.mtu = snapshot.networks[port.network].mtu.min(under_mtu);
                entry.tunnel = number;
            });
        }
    }

    /// Brings the records of all tunnels up to date with their configuration, the port below, and what is known of next hops.
    pub(super) fn sync_tunnels(&self, slow: &mut SlowPath, snapshot: &Snapshot) {
        self.sync_vlans(slow, snapshot);
        let Some(overlay) = &snapshot.overlay else { return };
        let under_port = snapshot.networks[overlay.network].uplink.unwrap_or_default();
        let under = self.ports.entry(under_port);
        for tunnel in &overlay.tunnels {
            let port = self.ports.entry(tunnel.port);
            let Some(number) = self.tunnels.number_for(tunnel.port, port.tunnel) else { continue };
            let before = self.tunnels.entry(number);
            let wanted = TunnelEntry {
                ethernet_destination: before.ethernet_destination,
                ..record(overlay, tunnel, under_port)
            };
            let is_same = before == wanted && port.tunnel == number;
            let mac = self.next_hop_mac(slow, snapshot, tunnel, is_same.then_some((&port, &before)));
            let is_kept = is_same && mac.is_none_or(|mac| mac == before.ethernet_destination);
            if !is_kept {
                self.ports.update(tunnel.port, |entry| entry.flags |= PORT_UNRESOLVED);
                let ethernet_destination = mac.unwrap_or(before.ethernet_destination);
                self.tunnels.write(number, TunnelEntry { ethernet_destination, ..wanted });
            }
            let outer = tunnel::overhead(tunnel.remote.is_ipv6());
            let network = &snapshot.networks[snapshot.port(tunnel.port).map_or(0, |port| port.network)];
            self.ports.update(tunnel.port, |entry| {
                let keep = entry.flags & !(PORT_UP | PORT_XDP_TRANSMIT | PORT_UNRESOLVED);
                let unresolved = if mac.is_some() { 0 } else { PORT_UNRESOLVED };
                entry.flags = keep | under.flags & (PORT_UP | PORT_XDP_TRANSMIT) | unresolved;
                entry.mtu = network.mtu.min(under.mtu.saturating_sub(outer));
                entry.tunnel = number;
            });
        }
    }

    /// The MAC address of a tunnel's next hop. After a restart nobody is known yet, and what the record has goes on.
    fn next_hop_mac(
        &self,
        slow: &mut SlowPath,
        snapshot: &Snapshot,
        tunnel: &Tunnel,
        present: Option<(&PortEntry, &TunnelEntry)>,
    ) -> Option<[u8; 6]> {
        let (neighbour, asker) = snapshot.next_hop_of(tunnel)?;
        if let Some(mac) = slow.neighbours.mac_address(neighbour) {
            return Some(mac.0);
        }
        let (port, entry) = present?;
        if port.flags & PORT_UNRESOLVED != 0 || slow.neighbours.has_failed(neighbour) {
            return None;
        }
        let mac = crate::address::MacAddress(entry.ethernet_destination);
        slow.neighbours.adopt(neighbour, asker, mac, self.control.now_ticks());
        Some(mac.0)
    }

    /// Frees the records of tunnels that are no more.
    pub(super) fn forget_tunnel(&self, port: &PortEntry) {
        if port.tunnel != 0 {
            self.tunnels.clear(port.tunnel);
        }
    }
}

fn record(overlay: &Overlay, tunnel: &Tunnel, under_port: u16) -> TunnelEntry {
    let words = |address: IpAddr| -> [u64; 2] {
        let mut octets = [0; 16];
        match address {
            IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => octets = address.octets(),
        }
        let (first, last) = octets.split_at(8);
        [first, last].map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()))
    };
    TunnelEntry {
        port: tunnel.port,
        under_port,
        kind: tunnel.kind,
        family: if tunnel.remote.is_ipv6() { FAMILY_IPV6 } else { 0 },
        identifier: tunnel.identifier,
        ethernet_source: overlay.mac_address.0,
        local: words(tunnel.local),
        remote: words(tunnel.remote),
        ..TunnelEntry::default()
    }
}

/// The frame that `frame`, which is for the gateway as the end of tunnels, carries; none when it is no tunnel's.
fn find_carried(overlay: &Overlay, frame: &[u8]) -> Result<Option<Carried>, DropReason> {
    // What is malformed so far, the pipeline refuses.
    let Ok(headers) = headers::parse(frame) else { return Ok(None) };
    let Network::Ip(ip) = headers.network else { return Ok(None) };
    if !overlay.addresses.contains(&ip.destination) {
        return Ok(None);
    }
    let kind = match ip.transport {
        // RFC 7348, section 4.3: outer packets are not put together.
        Transport::LaterFragment => return Err(DropReason::MalformedTunnel),
        Transport::Udp { destination_port, .. } => tunnel::kind_of_port(destination_port),
        _ => None,
    };
    let Some(kind) = kind else { return Ok(None) };
    if ip.fragment.is_some() {
        return Err(DropReason::MalformedTunnel);
    }
    let start = ETHERNET_LENGTH + ip.header_length;
    let datagram = frame.get(start..ETHERNET_LENGTH + ip.total_length).ok_or(DropReason::MalformedTunnel)?;
    let has_checksum = read_u16(datagram, 6) != 0;
    if has_checksum && udp::payload(frame, &ip).is_none() {
        return Err(DropReason::MalformedTunnel);
    }
    let payload = datagram.get(UDP_LENGTH..usize::from(read_u16(datagram, 4)));
    let payload = payload.ok_or(DropReason::MalformedTunnel)?;
    if !overlay.peers.contains(&ip.source) {
        return Err(DropReason::UnknownPeer);
    }
    let header = tunnel::parse(kind, payload)?;
    let origin = (kind, header.identifier, ip.source);
    let port = overlay.port_by_origin.get(&origin).copied().ok_or(DropReason::UnknownNetwork)?;
    let service =
        if ip.source.is_ipv4() { frame[ETHERNET_LENGTH + 1] } else { frame[ETHERNET_LENGTH + 1] >> 4 };
    Ok(Some(Carried {
        port,
        outer_length: start + UDP_LENGTH + header.length,
        is_congested: service & CONGESTION_EXPERIENCED == CONGESTION_EXPERIENCED,
    }))
}

/// Makes a packet what it carries.
fn take(pool: &mut FramePool, packet: &mut Packet, carried: &Carried) -> Result<(), DropReason> {
    let length = usize::from(packet.length).checked_sub(carried.outer_length);
    packet.length = length.ok_or(DropReason::MalformedTunnel)? as u16;
    packet.offset += carried.outer_length as u16;
    if carried.is_congested && !tunnel::mark_congestion(pool.data_mut(packet)) {
        return Err(DropReason::MalformedTunnel);
    }
    packet.in_port = carried.port;
    Ok(())
}

/// Takes a frame that came by a tunnel out of its outer headers; whether it was one.
fn take_carried(snapshot: &Snapshot, pool: &mut FramePool, packet: &mut Packet) -> Result<bool, DropReason> {
    let Some(overlay) = &snapshot.overlay else { return Ok(false) };
    let frame = pool.data(packet);
    if !frame.starts_with(&overlay.mac_address.0) {
        return Ok(false);
    }
    let Some(carried) = find_carried(overlay, frame)? else { return Ok(false) };
    take(pool, packet, &carried).map(|()| true)
}

/// Takes the VLAN tag off a frame; whether it had one. A tag without an identifier is only a priority (IEEE 802.1Q).
fn untag(snapshot: &Snapshot, pool: &mut FramePool, packet: &mut Packet) -> Result<bool, DropReason> {
    let frame = pool.data_mut(packet);
    if frame.len() < ETHERNET_LENGTH + VLAN_TAG_LENGTH || read_u16(frame, 12) != VLAN_TAG {
        return Ok(false);
    }
    let identifier = read_u16(frame, 14) & VLAN_IDENTIFIER;
    if identifier != 0 {
        packet.in_port = snapshot.vlan(packet.in_port, identifier).ok_or(DropReason::UnknownNetwork)?;
    }
    frame.copy_within(..12, VLAN_TAG_LENGTH);
    packet.offset += VLAN_TAG_LENGTH as u16;
    packet.length -= VLAN_TAG_LENGTH as u16;
    Ok(true)
}

/// Puts a VLAN tag into a frame.
fn tag(pool: &mut FramePool, packet: &mut Packet, identifier: u32) -> Result<(), DropReason> {
    packet.offset = packet.offset.checked_sub(VLAN_TAG_LENGTH as u16).ok_or(DropReason::FramesExhausted)?;
    packet.length += VLAN_TAG_LENGTH as u16;
    let frame = pool.data_mut(packet);
    frame.copy_within(VLAN_TAG_LENGTH..VLAN_TAG_LENGTH + 12, 0);
    write_u16(frame, 12, VLAN_TAG);
    write_u16(frame, 14, identifier as u16);
    Ok(())
}

fn wrap(pool: &mut FramePool, packet: &mut Packet, entry: &TunnelEntry) -> Result<(), DropReason> {
    if entry.kind == KIND_VLAN {
        return tag(pool, packet, entry.identifier);
    }
    let length = tunnel::outer_length(entry.family == FAMILY_IPV6) as u16;
    packet.offset = packet.offset.checked_sub(length).ok_or(DropReason::FramesExhausted)?;
    packet.length += length;
    tunnel::write(pool.data_mut(packet), entry);
    Ok(())
}
