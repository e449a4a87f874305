//! Route: by which port, and to which next hop?
//!
//! A router's table has its own networks, whose workloads are known from the configuration, static routes by workloads or by
//! hosts outside or to nowhere, and the default route by its peer; the longest prefix decides. Next hops outside are found by
//! ARP or neighbour discovery; the first packet waits for the answer. Who sends where no way leads is told (RFC 1812, section
//! 5.2.7.1; RFC 4443, section 3.1).
//!
//! Drops: `NoRoute`, `BlackHole`, `UnknownDestination`, `PortDown` (the external network has no uplink), `NeighbourUnresolved`.

use std::net::IpAddr;

use edgestack_abi::DropReason;

use super::destination::{Balanced, Destination, Way};
use crate::address::MacAddress;
use crate::pipeline::{Context, Stage, Stop, Subject};
use crate::snapshot::route_table::Hop;
use crate::snapshot::{Index, Leg, Port};
use crate::stages::next_hop_word;
use crate::tables::neighbour_table::{Asker, NeighbourKey};
use crate::trace::Trace;
use crate::wire::icmp::IcmpError;

/// The way on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Number of the egress port.
    pub port: u16,
    /// MAC addresses to send with; none: the packet stays within its network, as it is.
    pub ethernet: Option<Ethernet>,
    /// The leg by which it leaves.
    pub leaves_by: Option<Leg>,
    /// The neighbour that it is sent to, outside.
    pub next_hop: Option<NextHop>,
}

/// A neighbour that packets are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Who it is.
    pub neighbour: NeighbourKey,
    /// In whose name it is asked for.
    pub asker: Asker,
    /// Its MAC address is only what the connection had before, and must be asked for.
    pub is_assumed: bool,
}

/// MAC addresses of a routed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// The next hop.
    pub destination: MacAddress,
    /// The router.
    pub source: MacAddress,
}

/// Finds the way on.
pub fn run(
    context: &Context<'_>,
    subject: &Subject<'_>,
    destination: &Destination,
    trace: &mut Trace,
) -> Result<Route, Stop> {
    let result = find(context, subject, destination);
    trace.step(Stage::Route, || match &result {
        Ok(route) => describe(context, destination, route),
        Err(Stop::Hold(neighbour, _)) => {
            let next_hop = format!("next hop {} is not resolved: asking for it", neighbour.ip_address);
            by_route(context, destination, next_hop)
        }
        Err(Stop::Drop(reason) | Stop::Deny(reason, _) | Stop::Tell(reason, _) | Stop::Refuse(reason)) => {
            by_route(context, destination, reason.description().to_owned())
        }
    });
    result
}

fn describe(context: &Context<'_>, destination: &Destination, route: &Route) -> String {
    let name = context.snapshot.port(route.port).map_or("?", |port| port.name.as_str());
    match route.ethernet {
        None => format!("by port {name}, unchanged"),
        Some(ethernet) => {
            let way = format!("by port {name} to {} from {}", ethernet.destination, ethernet.source);
            by_route(context, destination, way)
        }
    }
}

/// What happens, with the route that says so.
fn by_route(context: &Context<'_>, destination: &Destination, what: String) -> String {
    let Way::Routed { router } = destination.way else { return what };
    match context.snapshot.routers[router].routes.find(destination.address) {
        Some(found) => format!("{found}: {what}"),
        None => what,
    }
}

fn find(context: &Context<'_>, subject: &Subject<'_>, destination: &Destination) -> Result<Route, Stop> {
    let snapshot = context.snapshot;
    match destination.way {
        Way::Switched { port } => {
            let port = snapshot.port(port).ok_or(Stop::Drop(DropReason::UnknownDestination))?.way();
            Ok(Route { port, ethernet: None, leaves_by: None, next_hop: None })
        }
        Way::FloatingIp { router, port, .. } => to_workload(context, router, snapshot.port(port)),
        Way::Balanced(balanced) => to_member(context, subject, &balanced),
        Way::Routed { router } => routed(context, subject, router, destination.address),
    }
}

fn routed(
    context: &Context<'_>,
    subject: &Subject<'_>,
    router: Index,
    address: IpAddr,
) -> Result<Route, Stop> {
    let snapshot = context.snapshot;
    let no_route = Stop::Tell(DropReason::NoRoute, IcmpError::NoRoute);
    let found = snapshot.routers[router].routes.find(address).ok_or(no_route)?;
    match found.hop {
        // RFC 1122, section 3.2.2: no error about a broadcast.
        Hop::Network(network) if snapshot.networks[network].is_broadcast(address) => {
            Err(Stop::Drop(DropReason::UnknownDestination))
        }
        Hop::Network(network) => to_workload(context, router, snapshot.port_in_network(network, address)),
        Hop::ByWorkload { network, address } => {
            to_workload(context, router, snapshot.port_in_network(network, address))
        }
        Hop::Outside(network) => outside(context, subject, Leg { router, network }, address),
        Hop::ByNeighbour { network, address } => outside(context, subject, Leg { router, network }, address),
        Hop::BlackHole { is_told: true } => Err(Stop::Tell(DropReason::BlackHole, IcmpError::RejectRoute)),
        Hop::BlackHole { is_told: false } => Err(Stop::Drop(DropReason::BlackHole)),
    }
}

fn to_workload(context: &Context<'_>, router: Index, port: Option<&Port>) -> Result<Route, Stop> {
    let unknown = Stop::Tell(DropReason::UnknownDestination, IcmpError::HostUnreachable);
    // By a physical network the router's MAC address would come from several hosts.
    let port = port.filter(|port| !context.snapshot.is_beyond_joint(port)).ok_or(unknown)?;
    let workload = port.workload.as_ref().ok_or(unknown)?;
    let ethernet =
        Ethernet { destination: workload.mac_address, source: context.snapshot.routers[router].mac_address };
    Ok(Route { port: port.way(), ethernet: Some(ethernet), leaves_by: None, next_hop: None })
}

/// To a member: from the gateway, or within one network as from the client, so that answers are sent to whoever the
/// member takes the client to be.
fn to_member(context: &Context<'_>, subject: &Subject<'_>, balanced: &Balanced) -> Result<Route, Stop> {
    let port = context.snapshot.port(balanced.port).ok_or(Stop::Drop(DropReason::UnknownDestination))?;
    let workload = port.workload.as_ref().ok_or(Stop::Drop(DropReason::UnknownDestination))?;
    let source = if balanced.is_adjacent && !balanced.is_masked {
        subject.ethernet_source
    } else if context.snapshot.is_beyond_joint(port) {
        return Err(Stop::Tell(DropReason::UnknownDestination, IcmpError::HostUnreachable));
    } else {
        context.snapshot.gateway_mac(port.network)
    };
    let ethernet = Ethernet { destination: workload.mac_address, source };
    Ok(Route { port: port.way(), ethernet: Some(ethernet), leaves_by: None, next_hop: None })
}

/// To a host of an external network.
fn outside(
    context: &Context<'_>,
    subject: &Subject<'_>,
    leg: Leg,
    ip_address: IpAddr,
) -> Result<Route, Stop> {
    let no_route = Stop::Tell(DropReason::NoRoute, IcmpError::NoRoute);
    let config = &context.snapshot.routers[leg.router];
    let external = config.leg_in(leg.network).ok_or(no_route)?;
    let port = context.snapshot.networks[leg.network].uplink.ok_or(Stop::Drop(DropReason::PortDown))?;
    let configured = external.peer_mac.filter(|_| external.peer(false) == Some(ip_address));
    let neighbour = NeighbourKey { port, ip_address };
    let resolved = configured.or_else(|| context.neighbours.mac_address(neighbour));
    let has_failed = resolved.is_none() && context.neighbours.has_failed(neighbour);
    // After a restart nobody is resolved; a connection goes on with the MAC address that it has, if the hop is the same.
    let kept = subject
        .keep
        .filter(|keep| !has_failed && keep.session.next_hop == next_hop_word(ip_address))
        .map(|keep| keep.next_hop_mac);
    let own = external.address(ip_address.is_ipv6()).ok_or(no_route)?;
    let asker = Asker { ip_address: own, mac_address: config.mac_address, is_workload: false };
    let Some(destination) = resolved.or(kept) else {
        return Err(if has_failed {
            Stop::Tell(DropReason::NeighbourUnresolved, IcmpError::HostUnreachable)
        } else {
            Stop::Hold(neighbour, asker)
        });
    };
    let ethernet = Ethernet { destination, source: config.mac_address };
    // A configured MAC address is never asked for.
    let next_hop =
        configured.is_none().then_some(NextHop { neighbour, asker, is_assumed: resolved.is_none() });
    Ok(Route { port, ethernet: Some(ethernet), leaves_by: Some(leg), next_hop })
}
