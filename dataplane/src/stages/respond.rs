//! Respond: what the gateway answers itself.
//!
//! ARP requests and neighbour solicitations for addresses that it knows the owner of (never flooded), router solicitations,
//! pings of its own addresses, DHCP of both versions (whatever the security groups say), what is for the gateway's own
//! servers, and what ARP and neighbour discovery teach about external neighbours. In a network that is joined to a physical one,
//! machines there are answered for by this host's workloads, and asked for when a workload asks: its question waits meanwhile.
//!
//! Drops: `UnknownDestination` (somebody asks for an address that nobody has), `MalformedDhcp`, `DhcpServer`, `SpoofedMac`
//! (DHCP for another's MAC address), `NoListener` (an address of services where nothing is served).

mod dhcp4;
mod dhcp6;
mod router_discovery;

use std::net::IpAddr;

use edgestack_abi::DropReason;

use crate::address::MacAddress;
use crate::pipeline::{Context, Decision, Response, Stage};
use crate::snapshot::{Owner, Port, Snapshot};
use crate::tables::neighbour_table::{Asker, NeighbourKey};
use crate::trace::Trace;
use crate::virtual_stack::CLIENT_PORT_MIN;
use crate::wire::arp::Arp;
use crate::wire::headers::{Headers, Ip, Network, Transport};
use crate::wire::neighbour::Neighbour;
use crate::wire::{PROTOCOL_TCP, PROTOCOL_UDP};

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
                Ok(Decision::Hold(..)) => format!("asking the physical network for {}", arp.target_ip),
                Ok(_) => "needs no answer".to_owned(),
                Err(_) => format!("nobody has {}", arp.target_ip),
            });
            result.map(Some)
        }
        Network::Neighbour(neighbour) => {
            let speaks_for_another = neighbour.mac_address.is_some_and(|mac| mac != headers.ethernet_source);
            let result = if port.workload.is_some() {
                workload_neighbour(context, neighbour, port)
            } else if speaks_for_another {
                Ok(Decision::Respond(Response::Silence))
            } else {
                Ok(uplink_neighbour(context, neighbour, port))
            };
            trace.step(Stage::Respond, || match &result {
                Ok(Decision::Respond(Response::Neighbour(reply, mac))) => {
                    format!("answered: {} is at {mac}", reply.target)
                }
                Ok(Decision::Learn(neighbour, mac)) => {
                    format!("learned that {} is at {mac}", neighbour.ip_address)
                }
                Ok(Decision::Hold(..)) => format!("asking the physical network for {}", neighbour.target),
                Ok(_) => "needs no answer".to_owned(),
                Err(_) => format!("nobody has {}", neighbour.target),
            });
            result.map(Some)
        }
        Network::RouterSolicitation(solicitation) => {
            Ok(Some(router_discovery::run(context, headers, solicitation, port, trace)))
        }
        Network::Ip(ip) => {
            if let Some(decision) = dhcp4::run(context, ip, frame, port, trace)? {
                return Ok(Some(decision));
            }
            if let Some(decision) = dhcp6::run(context, ip, frame, port, trace)? {
                return Ok(Some(decision));
            }
            if let Some(decision) = service(context, headers, ip, port, trace)? {
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

/// A packet for one of the gateway's own servers, or an answer to one of its clients. The addresses of services outside
/// of the network are nobody else's: what is sent there is never forwarded.
fn service(
    context: &Context<'_>,
    headers: &Headers,
    ip: &Ip,
    port: &Port,
    trace: &mut Trace,
) -> Result<Option<Decision>, DropReason> {
    let network = &context.snapshot.networks[port.network];
    // The servers do not put datagrams together.
    if port.workload.is_none() || ip.fragment.is_some() || !network.services.has_address(ip.destination) {
        return Ok(None);
    }
    let is_served = match ip.transport {
        Transport::Udp { destination_port, .. } => {
            network.services.has_endpoint(ip.destination, PROTOCOL_UDP, destination_port)
                || destination_port >= CLIENT_PORT_MIN
        }
        Transport::Tcp { destination_port, .. } => {
            network.services.has_endpoint(ip.destination, PROTOCOL_TCP, destination_port)
                || destination_port >= CLIENT_PORT_MIN
        }
        // Answers to the gateway's own pings, and what ICMP says of what it sent.
        Transport::IcmpEcho { request: false, identifier } if identifier >= CLIENT_PORT_MIN => true,
        Transport::IcmpError { inner, .. }
            if inner.source == ip.destination && inner.source_port >= CLIENT_PORT_MIN =>
        {
            true
        }
        _ => return Ok(None),
    };
    let is_for_gateway = context.snapshot.gateway_mac(port.network) == headers.ethernet_destination;
    if is_served && is_for_gateway {
        trace.step(Stage::Respond, || format!("the gateway's server at {} takes it", ip.destination));
        return Ok(Some(Decision::Respond(Response::Service)));
    }
    if network.contains(ip.destination) {
        return Ok(None);
    }
    trace.step(Stage::Respond, || format!("{} serves nothing there", ip.destination));
    Err(DropReason::NoListener)
}

/// A workload asks for its gateway or for another workload of its network; it is answered for both, and its own
/// announcements and probes need no answer.
fn workload_arp(context: &Context<'_>, arp: &Arp, port: &Port) -> Result<Decision, DropReason> {
    let is_own = port.workload.as_ref().is_some_and(|workload| workload.ip_address == arp.target_ip);
    if !arp.request || is_own {
        return Ok(Decision::Respond(Response::Silence));
    }
    Ok(match find_owner(context, port, arp.target_ip.into())? {
        Found::At(mac, _) => Decision::Respond(Response::Arp(arp.reply_from(mac))),
        Found::Asked(neighbour, asker) => Decision::Hold(neighbour, asker),
    })
}

/// As [`workload_arp`], for IPv6.
fn workload_neighbour(
    context: &Context<'_>,
    neighbour: &Neighbour,
    port: &Port,
) -> Result<Decision, DropReason> {
    let target = IpAddr::from(neighbour.target);
    let is_own = port.workload.as_ref().is_some_and(|workload| workload.has(target));
    if !neighbour.solicitation || is_own {
        return Ok(Decision::Respond(Response::Silence));
    }
    // Nobody objects to a probe: the address is the sender's. Who only asks is told nothing.
    let is_probe = neighbour.source.is_unspecified();
    match find_owner(context, port, target) {
        Ok(Found::At(mac, is_router)) => {
            Ok(Decision::Respond(Response::Neighbour(neighbour.reply_from(mac, is_router), mac)))
        }
        Ok(Found::Asked(..)) | Err(_) if is_probe => Ok(Decision::Respond(Response::Silence)),
        Ok(Found::Asked(neighbour, asker)) => Ok(Decision::Hold(neighbour, asker)),
        Err(reason) => Err(reason),
    }
}

/// Who has an address of a tenant network.
enum Found {
    /// Whoever is at this MAC address, and whether it is the router.
    At(MacAddress, bool),
    /// Somebody in the physical network, if anybody, who is asked for in this name.
    Asked(NeighbourKey, Asker),
}

fn find_owner(context: &Context<'_>, port: &Port, address: IpAddr) -> Result<Found, DropReason> {
    if let Some((mac, is_router)) = inside_owner(context.snapshot, port, address) {
        return Ok(Found::At(mac, is_router));
    }
    let unknown = DropReason::UnknownDestination;
    let network = &context.snapshot.networks[port.network];
    let is_host = network.contains(address) && !network.is_broadcast(address);
    let uplink = network.joint().filter(|_| is_host).ok_or(unknown)?;
    let neighbour = NeighbourKey { port: uplink, ip_address: address };
    if let Some(mac) = context.neighbours.mac_address(neighbour) {
        return Ok(Found::At(mac, false));
    }
    let workload = port.workload.as_ref().filter(|_| !context.neighbours.has_failed(neighbour));
    let workload = workload.ok_or(unknown)?;
    let ip_address = workload.address(address.is_ipv6()).ok_or(unknown)?;
    let asker = Asker { ip_address, mac_address: workload.mac_address, is_workload: true };
    Ok(Found::Asked(neighbour, asker))
}

/// The MAC address of who has an address of a tenant network, and whether it is the router.
pub fn inside_owner(snapshot: &Snapshot, port: &Port, address: IpAddr) -> Option<(MacAddress, bool)> {
    let network = &snapshot.networks[port.network];
    if let Some(router) = network.router.map(|router| &snapshot.routers[router])
        && (network.is_gateway(address) || router.link_local() == address)
    {
        return Some((router.mac_address, true));
    }
    let is_served =
        network.services.has_address(address) || snapshot.is_gateway_link_local(port.network, address);
    if is_served {
        return Some((snapshot.gateway_mac(port.network), true));
    }
    if network.load_balancer(address).is_some() {
        return Some((snapshot.gateway_mac(port.network), false));
    }
    let owner = snapshot.port_in_network(port.network, address)?;
    Some((owner.workload.as_ref()?.mac_address, false))
}

/// A neighbour asks for a router or floating IP, or tells where it is.
fn uplink_arp(context: &Context<'_>, arp: &Arp, port: &Port) -> Decision {
    if arp.request
        && let Some(mac) = outside_owner(context, port, arp.target_ip.into())
    {
        return Decision::Respond(Response::Arp(arp.reply_from(mac)));
    }
    learn(context, port, arp.sender_ip.into(), arp.sender_mac)
}

/// As [`uplink_arp`], for IPv6.
fn uplink_neighbour(context: &Context<'_>, neighbour: &Neighbour, port: &Port) -> Decision {
    if neighbour.solicitation
        && let Some(mac) = outside_owner(context, port, neighbour.target.into())
    {
        let is_router = !context.snapshot.is_joint(port);
        return Decision::Respond(Response::Neighbour(neighbour.reply_from(mac, is_router), mac));
    }
    let told_of = if neighbour.solicitation { neighbour.source } else { neighbour.target };
    // RFC 4861, section 7.2.5: who only adds to what is known, such as one of several hosts with the address, moves nobody.
    let key = NeighbourKey { port: port.number, ip_address: told_of.into() };
    let is_known = context.neighbours.mac_address(key).is_some();
    if is_known && !neighbour.solicitation && !neighbour.overrides {
        return Decision::Respond(Response::Silence);
    }
    match neighbour.mac_address {
        Some(mac) => learn(context, port, told_of.into(), mac),
        None => Decision::Respond(Response::Silence),
    }
}

/// The MAC address that answers for an address of the gateway's in an external network, or of a workload of this host in a
/// physical one. There every host has the tenant's gateway, so none answers for it.
fn outside_owner(context: &Context<'_>, port: &Port, address: IpAddr) -> Option<MacAddress> {
    let network = &context.snapshot.networks[port.network];
    if context.snapshot.is_joint(port) {
        let owner = context.snapshot.port_in_network(port.network, address)?;
        return owner
            .workload
            .as_ref()
            .filter(|_| owner.is_here() && owner.up)
            .map(|owner| owner.mac_address);
    }
    match network.owner(address) {
        Some(owner) => owner_mac(context, owner),
        None => network
            .routers()
            .map(|router| &context.snapshot.routers[router])
            .find(|router| router.link_local() == address)
            .map(|router| router.mac_address),
    }
}

/// A host of an external network is at `mac`.
fn learn(context: &Context<'_>, port: &Port, ip_address: IpAddr, mac: MacAddress) -> Decision {
    let network = &context.snapshot.networks[port.network];
    let is_link_local = matches!(ip_address, IpAddr::V6(address) if address.is_unicast_link_local());
    let is_host = !ip_address.is_unspecified()
        && !mac.is_multicast()
        && !mac.is_zero()
        && (network.contains(ip_address) || is_link_local)
        && network.owner(ip_address).is_none()
        && context.snapshot.port_in_network(port.network, ip_address).is_none();
    if is_host {
        return Decision::Learn(NeighbourKey { port: port.number, ip_address }, mac);
    }
    Decision::Respond(Response::Silence)
}

/// The MAC address that answers for an address of an external network.
pub fn owner_mac(context: &Context<'_>, owner: Owner) -> Option<MacAddress> {
    context.snapshot.mac_of(owner)
}

fn is_ping_of_gateway(context: &Context<'_>, headers: &Headers, ip: &Ip, port: &Port) -> bool {
    // A ping in parts would have to be put together.
    if !matches!(ip.transport, Transport::IcmpEcho { request: true, .. }) || ip.fragment.is_some() {
        return false;
    }
    let snapshot = context.snapshot;
    let is_served = snapshot.networks[port.network].services.has_address(ip.destination)
        || snapshot.is_gateway_link_local(port.network, ip.destination);
    if port.workload.is_some()
        && is_served
        && snapshot.gateway_mac(port.network) == headers.ethernet_destination
    {
        return true;
    }
    if let Some(found) = snapshot.load_balancer_for(port, headers.ethernet_destination, ip.destination) {
        let load_balancer = &snapshot.load_balancers[found.load_balancer];
        return load_balancer.up && !load_balancer.balances_pings();
    }
    let Some(router) = snapshot.router_at(port.network, headers.ethernet_destination) else {
        return snapshot.networks[port.network].owner(ip.destination) == Some(Owner::Overlay);
    };
    if port.workload.is_some() {
        return context.snapshot.is_router_address(router, ip.destination);
    }
    // From outside only the external addresses are there.
    context.snapshot.networks[port.network].owner(ip.destination) == Some(Owner::Router(router))
        || ip.destination == context.snapshot.routers[router].link_local()
}

/// The router's address towards the sender of a packet that came in by `port` for `destination_mac`: what ICMP errors
/// are sent from. None when the packet was not for a router.
pub fn own_address(
    context: &Context<'_>,
    port: &Port,
    destination_mac: MacAddress,
    is_ipv6: bool,
) -> Option<(IpAddr, MacAddress)> {
    let router = context.snapshot.router_at(port.network, destination_mac)?;
    let network = &context.snapshot.networks[port.network];
    let router = &context.snapshot.routers[router];
    let address = if network.external {
        router.leg_in(port.network).and_then(|external| external.address(is_ipv6))
    } else {
        network.gateway(is_ipv6)
    };
    // RFC 4443, section 2.2 (d): any of the router's addresses will do.
    let address = address.or_else(|| is_ipv6.then(|| router.link_local().into()));
    Some((address?, router.mac_address))
}
