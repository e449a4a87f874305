//! What workloads believe of their neighbours and what is not so any more.
//!
//! A host sends for minutes to the MAC address that it knows without asking again. Where nobody has that address in its network,
//! because the router or another workload is one with another MAC address now, the host is told at once where its
//! neighbours are, instead of being left to find out.

use std::net::IpAddr;

use edgestack_abi::DropReason;

use super::commit::Hands;
use super::timers::Announcement;
use crate::address::MacAddress;
use crate::packet::Packet;
use crate::snapshot::Snapshot;
use crate::stages::respond;
use crate::wire::headers::Ip;
use crate::wire::read_mac;

impl Hands<'_> {
    /// Where a workload's packet that is dropped went to a MAC address that nobody has: tells the workload where its gateway
    /// is and, in its network, the packet's destination. As often as it may be told of errors.
    pub(super) fn correct(&mut self, packet: &Packet, reason: DropReason) {
        // An answer is dropped for the MAC address before anybody asks where it would go.
        if !matches!(reason, DropReason::NotOurMac | DropReason::InvalidConnectionState) {
            return;
        }
        let frame = self.pool.data(packet);
        let destination = MacAddress(read_mac(frame, 0));
        let Some(ip) = self.ip(packet) else { return };
        let snapshot = self.engine.snapshot.load();
        let owners = owners(&snapshot, packet.in_port, destination, &ip);
        if owners.iter().all(Option::is_none) || !self.may_tell(packet.in_port) {
            return;
        }
        for (address, (mac, is_router)) in owners.into_iter().flatten() {
            self.announce_address(&Announcement::new(packet.in_port, address, mac, is_router));
        }
    }
}

/// An address, who has it, and whether that is a router.
type Owner = (IpAddr, (MacAddress, bool));

/// Where the next hop of a packet from a port may be; nothing where it was sent to somebody.
fn owners(snapshot: &Snapshot, number: u16, destination: MacAddress, ip: &Ip) -> [Option<Owner>; 2] {
    let Some(port) = snapshot.port(number) else { return [None; 2] };
    let Some(workload) = &port.workload else { return [None; 2] };
    let network = &snapshot.networks[port.network];
    // In a physical network there are others, whom nobody here knows.
    let is_somebody = network.joint().is_some()
        || snapshot.gateway_mac(port.network) == destination
        || snapshot.router_at(port.network, destination).is_some()
        || network.port_by_mac(destination).is_some();
    if is_somebody {
        return [None; 2];
    }
    let gateway = network.gateway(ip.source.is_ipv6());
    let neighbour = Some(ip.destination)
        .filter(|address| gateway != Some(*address) && network.contains(*address) && !workload.has(*address));
    [gateway, neighbour].map(|address| {
        let address = address?;
        Some((address, respond::inside_owner(snapshot, port, address)?))
    })
}
