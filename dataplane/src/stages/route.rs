//! Route: by which port, and to which next hop?
//!
//! A router knows its own networks, whose workloads are known from the configuration, and one way out: the external
//! network, directly for its own addresses and by the peer for all others. Next hops outside are found by ARP or neighbour
//! discovery; the first packet waits for the answer.
//!
//! Drops: `NoRoute`, `UnknownDestination`, `PortDown` (the external network has no uplink), `NeighbourUnresolved`.

use edgestack_abi::DropReason;

use super::destination::{Balanced, Destination, Way};
use crate::address::MacAddress;
use crate::pipeline::{Context, Stage, Stop, Subject};
use crate::snapshot::{Index, Port};
use crate::stages::next_hop_word;
use crate::tables::neighbour_table::{Asker, NeighbourKey};
use crate::trace::Trace;

/// The way on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Number of the egress port.
    pub port: u16,
    /// MAC addresses to send with; none: the packet stays within its network, as it is.
    pub ethernet: Option<Ethernet>,
    /// The router by whose external leg it leaves.
    pub leaves_by: Option<Index>,
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
        Ok(route) => describe(context, route),
        Err(Stop::Hold(neighbour, _)) => {
            format!("next hop {} is not resolved: asking for it", neighbour.ip_address)
        }
        Err(Stop::Drop(reason) | Stop::Deny(reason, _) | Stop::Tell(reason, _) | Stop::Refuse(reason)) => {
            reason.description().to_owned()
        }
    });
    result
}

fn describe(context: &Context<'_>, route: &Route) -> String {
    let name = context.snapshot.port(route.port).map_or("?", |port| port.name.as_str());
    match route.ethernet {
        None => format!("by port {name}, unchanged"),
        Some(ethernet) => format!("by port {name} to {} from {}", ethernet.destination, ethernet.source),
    }
}

fn find(context: &Context<'_>, subject: &Subject<'_>, destination: &Destination) -> Result<Route, Stop> {
    let snapshot = context.snapshot;
    match destination.way {
        Way::Switched { port } => {
            let port = snapshot.port(port).ok_or(Stop::Drop(DropReason::UnknownDestination))?.way();
            Ok(Route { port, ethernet: None, leaves_by: None, next_hop: None })
        }
        Way::FloatingIp { router, port, .. } => match snapshot.port(port) {
            Some(port) => to_workload(context, router, port),
            None => Err(Stop::Drop(DropReason::UnknownDestination)),
        },
        Way::Balanced(balanced) => to_member(context, subject, &balanced),
        Way::Routed { router } => {
            if let Some(port) = snapshot.port_behind_router(router, destination.address) {
                return to_workload(context, router, port);
            }
            if snapshot.is_behind_router(router, destination.address) {
                return Err(Stop::Drop(DropReason::UnknownDestination));
            }
            outside(context, subject, destination, router)
        }
    }
}

fn to_workload(context: &Context<'_>, router: Index, port: &Port) -> Result<Route, Stop> {
    let workload = port.workload.as_ref().ok_or(Stop::Drop(DropReason::UnknownDestination))?;
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
    } else {
        context.snapshot.gateway_mac(port.network)
    };
    let ethernet = Ethernet { destination: workload.mac_address, source };
    Ok(Route { port: port.way(), ethernet: Some(ethernet), leaves_by: None, next_hop: None })
}

fn outside(
    context: &Context<'_>,
    subject: &Subject<'_>,
    destination: &Destination,
    router: Index,
) -> Result<Route, Stop> {
    let config = &context.snapshot.routers[router];
    let external = config.external.as_ref().ok_or(Stop::Drop(DropReason::NoRoute))?;
    let network = &context.snapshot.networks[external.network];
    let port = network.uplink.ok_or(Stop::Drop(DropReason::PortDown))?;
    let is_ipv6 = destination.address.is_ipv6();
    let is_direct = network.contains(destination.address);
    let next_hop = if is_direct { Some(destination.address) } else { external.peer(is_ipv6) };
    let ip_address = next_hop.ok_or(Stop::Drop(DropReason::NoRoute))?;
    let configured = external.peer_mac.filter(|_| external.peer(false) == Some(ip_address));
    let neighbour = NeighbourKey { port, ip_address };
    let resolved = configured.or_else(|| context.neighbours.mac_address(neighbour));
    // After a restart nobody is resolved; a connection goes on with the MAC address that it has, if the hop is the same.
    let kept = subject
        .keep
        .filter(|keep| keep.session.next_hop == next_hop_word(ip_address))
        .map(|keep| keep.next_hop_mac);
    let own = external.address(is_ipv6).ok_or(Stop::Drop(DropReason::NoRoute))?;
    let asker = Asker { ip_address: own, mac_address: config.mac_address };
    let Some(destination) = resolved.or(kept) else {
        return Err(if context.neighbours.has_failed(neighbour) {
            Stop::Drop(DropReason::NeighbourUnresolved)
        } else {
            Stop::Hold(neighbour, asker)
        });
    };
    let ethernet = Ethernet { destination, source: config.mac_address };
    // A configured MAC address is never asked for.
    let next_hop =
        configured.is_none().then_some(NextHop { neighbour, asker, is_assumed: resolved.is_none() });
    Ok(Route { port, ethernet: Some(ethernet), leaves_by: Some(router), next_hop })
}
