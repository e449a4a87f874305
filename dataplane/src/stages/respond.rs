//! Respond: what the gateway answers itself.
//!
//! ARP requests for addresses that it knows the owner of (never flooded), pings of its own addresses, DHCP (whatever the
//! security groups say), and what ARP teaches about external neighbours.
//!
//! Drops: `UnknownDestination` (ARP for an address that nobody has), `MalformedDhcp`, `DhcpServer`, `SpoofedMac` (DHCP for
//! another's MAC address).

mod dhcp4;

use std::net::Ipv4Addr;

use edgestack_abi::DropReason;

use crate::address::MacAddress;
use crate::pipeline::{Context, Decision, Response, Stage};
use crate::snapshot::{Owner, Port};
use crate::tables::neighbour_table::NeighbourKey;
use crate::trace::Trace;
use crate::wire::arp::Arp;
use crate::wire::headers::{Headers, Ipv4, Network, Transport};

/// The answer, if the gateway has one.
pub fn run(
    context: &Context<'_>,
    headers: &Headers,
    frame: &[u8],
    port: &Port,
    trace: &mut Trace,
) -> Result<Option<Decision>, DropReason> {
    match &headers.network {
        Network::Arp(arp) => {
            let result = if port.workload.is_some() {
                workload_arp(context, arp, port)
            } else if arp.sender_mac != headers.ethernet_source {
                // Nobody speaks for another.
                Ok(Decision::Respond(Response::Silence))
            } else {
                Ok(uplink_arp(context, arp, port))
            };
            trace.step(Stage::Respond, || match &result {
                Ok(Decision::Respond(Response::Arp(reply))) => {
                    format!("answered: {} is at {}", reply.sender_ip, reply.sender_mac)
                }
                Ok(Decision::Learn(neighbour, mac)) => {
                    format!("learned that {} is at {mac}", neighbour.ip_address)
                }
                Ok(_) => "needs no answer".to_owned(),
                Err(_) => format!("nobody has {}", arp.target_ip),
            });
            result.map(Some)
        }
        Network::Ipv4(ip) => {
            if let Some(decision) = dhcp4::run(context, ip, frame, port, trace)? {
                return Ok(Some(decision));
            }
            let is_answered = is_ping_of_gateway(context, headers, ip, port);
            if is_answered {
                trace.step(Stage::Respond, || {
                    format!("answered: ping of the gateway address {}", ip.destination)
                });
            }
            Ok(is_answered.then_some(Decision::Respond(Response::Echo)))
        }
    }
}

/// A workload asks for its gateway or for another workload of its network; it is answered for both, and its own
/// announcements and probes need no answer.
fn workload_arp(context: &Context<'_>, arp: &Arp, port: &Port) -> Result<Decision, DropReason> {
    let is_own = port.workload.as_ref().is_some_and(|workload| workload.ip_address == arp.target_ip);
    if !arp.request || is_own {
        return Ok(Decision::Respond(Response::Silence));
    }
    let network = &context.snapshot.networks[port.network];
    let owner = match network.router {
        Some(router) if network.gateway_ip == Some(arp.target_ip) => {
            Some(context.snapshot.routers[router].mac_address)
        }
        _ if network.services.has_address(arp.target_ip) => Some(context.snapshot.gateway_mac(port.network)),
        _ => context
            .snapshot
            .port_in_network(port.network, arp.target_ip)
            .and_then(|port| port.workload.as_ref())
            .map(|workload| workload.mac_address),
    };
    let mac = owner.ok_or(DropReason::UnknownDestination)?;
    Ok(Decision::Respond(Response::Arp(arp.reply_from(mac))))
}

/// A neighbour asks for a router or floating IP, or tells where it is.
fn uplink_arp(context: &Context<'_>, arp: &Arp, port: &Port) -> Decision {
    let snapshot = context.snapshot;
    let network = &snapshot.networks[port.network];
    if arp.request
        && let Some(owner) = network.owner(arp.target_ip)
        && let Some(mac) = owner_mac(context, owner)
    {
        return Decision::Respond(Response::Arp(arp.reply_from(mac)));
    }
    let is_host = !arp.sender_ip.is_unspecified()
        && !arp.sender_mac.is_multicast()
        && !arp.sender_mac.is_zero()
        && network.cidr.contains(arp.sender_ip)
        && network.owner(arp.sender_ip).is_none();
    if is_host {
        return Decision::Learn(
            NeighbourKey { port: port.number, ip_address: arp.sender_ip },
            arp.sender_mac,
        );
    }
    Decision::Respond(Response::Silence)
}

/// The MAC address that answers for an address of an external network; none for a floating IP that stands for nobody.
pub fn owner_mac(context: &Context<'_>, owner: Owner) -> Option<MacAddress> {
    let router = match owner {
        Owner::Router(router) => router,
        Owner::FloatingIp(index) => context.snapshot.floating_ips[index].target?.1,
    };
    Some(context.snapshot.routers[router].mac_address)
}

fn is_ping_of_gateway(context: &Context<'_>, headers: &Headers, ip: &Ipv4, port: &Port) -> bool {
    if !matches!(ip.transport, Transport::IcmpEcho { request: true, .. }) {
        return false;
    }
    let snapshot = context.snapshot;
    if port.workload.is_some()
        && snapshot.networks[port.network].services.has_address(ip.destination)
        && snapshot.gateway_mac(port.network) == headers.ethernet_destination
    {
        return true;
    }
    let Some(router) = snapshot.router_at(port.network, headers.ethernet_destination) else {
        return false;
    };
    if port.workload.is_some() {
        return context.snapshot.is_router_address(router, ip.destination);
    }
    // From outside only the external address is there.
    context.snapshot.networks[port.network].owner(ip.destination) == Some(Owner::Router(router))
}

/// The router's address towards the sender of a packet that came in by `port` for `destination_mac`: what ICMP errors
/// are sent from. None when the packet was not for a router.
pub fn own_address(
    context: &Context<'_>,
    port: &Port,
    destination_mac: MacAddress,
) -> Option<(Ipv4Addr, MacAddress)> {
    let router = context.snapshot.router_at(port.network, destination_mac)?;
    let network = &context.snapshot.networks[port.network];
    let router = &context.snapshot.routers[router];
    let address = if network.external {
        router.external.as_ref().map(|external| external.ip_address)
    } else {
        network.gateway_ip
    };
    Some((address?, router.mac_address))
}
