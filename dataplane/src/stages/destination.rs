//! Destination: where does the packet really go?
//!
//! Within its network, by MAC address, where one that nobody has here is a machine's in the physical network that it is joined to; to a router; to a workload by a floating IP, a forwarded port or an
//! endpoint-independent mapping, whose address and port then take the destination's place; or to a load balancer, whose member's
//! do. All of these work from inside as from outside.
//!
//! Drops: `NotOurMac`, `UnknownDestination`, `NoMapping`, `NoListener`, `NoMember`, `InvalidConnectionState` (from another
//! host, for a router, and no answer).

mod balanced;
mod translated;

use std::net::IpAddr;

use edgestack_abi::DropReason;
use edgestack_abi::session::{SESSION_FLOATING_IP, SESSION_INBOUND, SESSION_PORT_FORWARD};

pub use balanced::Balanced;

use crate::pipeline::{Context, Stage, Stop, Subject};
use crate::snapshot::{Index, Leg, Owner};
use crate::stages::output;
use crate::tables::port_allocator::Allocation;
use crate::trace::Trace;

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The destination address, after translation.
    pub address: IpAddr,
    /// The destination port, after translation, network byte order.
    pub port: u16,
    /// `SESSION_FLOATING_IP`, `SESSION_PORT_FORWARD`, `SESSION_INBOUND`, `SESSION_LOAD_BALANCED`, or 0: as the sender wrote it.
    pub kind: u8,
    /// The mapping that it is reached by.
    pub inbound: Option<Allocation>,
    /// By what way.
    pub way: Way,
}

/// The way to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To this port of the same network, as it is.
    Switched {
        /// Number of the port.
        port: u16,
    },
    /// Through this router.
    Routed {
        /// The router.
        router: Index,
    },
    /// To this port, by its floating IP, a forwarded port or a mapping.
    FloatingIp {
        /// The router that the workload is behind.
        router: Index,
        /// Number of the port.
        port: u16,
        /// The leg of the sender's own router, when the sender is a workload.
        sender: Option<Leg>,
    },
    /// To a member of a load balancer.
    Balanced(Balanced),
}

/// Finds out where a packet goes.
pub fn run(context: &Context<'_>, subject: &Subject<'_>, trace: &mut Trace) -> Result<Destination, Stop> {
    let result = find(context, subject);
    trace.step(Stage::Destination, || match result {
        Ok(Destination { way: Way::Switched { port }, .. }) => {
            format!("port {} of the same network", name_of(context, port))
        }
        Ok(Destination { way: Way::Routed { router }, .. }) => {
            format!("router {}", context.snapshot.routers[router].name)
        }
        Ok(Destination { way: Way::FloatingIp { port, router, .. }, address, kind, .. }) => format!(
            "{} {} of port {}: destination becomes {address} behind router {}",
            match kind {
                SESSION_PORT_FORWARD => "forwarded port of",
                SESSION_INBOUND => "mapping of",
                _ => "floating IP",
            },
            subject.tuple.destination,
            name_of(context, port),
            context.snapshot.routers[router].name
        ),
        Ok(Destination { way: Way::Balanced(balanced), address, port, .. }) => {
            let load_balancer = &context.snapshot.load_balancers[balanced.addressed.load_balancer];
            let member = output::endpoint(address, u16::from_be(port));
            let name = name_of(context, balanced.port);
            format!("load balancer {}: destination becomes member {member}, port {name}", load_balancer.name)
        }
        Err(Stop::Drop(reason) | Stop::Deny(reason, _) | Stop::Tell(reason, _) | Stop::Refuse(reason)) => {
            reason.description().to_owned()
        }
        Err(Stop::Hold(..)) => "waits for its next hop".to_owned(),
    });
    result
}

fn name_of<'a>(context: &Context<'a>, port: u16) -> &'a str {
    context.snapshot.port(port).map_or("?", |port| port.name.as_str())
}

fn find(context: &Context<'_>, subject: &Subject<'_>) -> Result<Destination, Stop> {
    let snapshot = context.snapshot;
    let address = subject.tuple.destination;
    let balanced = match subject.port.tunnel {
        // What comes from another host was balanced there.
        Some(_) => None,
        None => snapshot.load_balancer_for(subject.port, subject.ethernet_destination, address),
    };
    match balanced {
        Some(addressed) => balanced::find(context, subject, addressed),
        None => unbalanced(context, subject).map_err(Stop::Drop),
    }
}

fn unbalanced(context: &Context<'_>, subject: &Subject<'_>) -> Result<Destination, DropReason> {
    let snapshot = context.snapshot;
    let address = subject.tuple.destination;
    let network = &snapshot.networks[subject.port.network];
    let Some(router) = snapshot.router_at(subject.port.network, subject.ethernet_destination) else {
        let port = match network.port_by_mac(subject.ethernet_destination) {
            Some(port) => Some(port).filter(|port| *port != subject.port.number),
            None => beyond(context, subject),
        };
        let port = snapshot.port(port.ok_or(DropReason::NotOurMac)?).ok_or(DropReason::NotOurMac)?;
        // What a workload answers with must be its own, so it is sent nothing that is not.
        let is_its_own = port.workload.as_ref().is_none_or(|workload| {
            !workload.port_security || workload.may_use(workload.mac_address, address)
        });
        if !is_its_own {
            return Err(DropReason::UnknownDestination);
        }
        return Ok(Destination::new(subject, Way::Switched { port: port.number }));
    };
    if subject.port.tunnel.is_some() {
        // Another host sends to the router only the answers to what came from here.
        return Err(DropReason::InvalidConnectionState);
    }
    let is_workload = subject.port.workload.is_some();
    let owned = if is_workload {
        snapshot.owner_outside(router, address)
    } else {
        network.owner(address).map(|owner| (owner, Leg { router, network: subject.port.network }))
    };
    let sender = owned.map(|(_, leg)| leg).filter(|_| is_workload);
    if let Some((Owner::Router(owner), leg)) = owned {
        let at = Leg { router: owner, network: leg.network };
        let forwarded = translated::forwarded(context, subject, at, sender);
        if let Some(destination) = forwarded.or_else(|| translated::mapped(context, subject, at, sender)) {
            return Ok(destination);
        }
    }
    match owned.map(|(owner, _)| owner) {
        Some(Owner::FloatingIp(index)) => {
            let (port, through) = snapshot.floating_ips[index].target.ok_or(DropReason::NoMapping)?;
            let workload =
                snapshot.port(port).and_then(|port| port.workload.as_ref()).ok_or(DropReason::NoMapping)?;
            let way = Way::FloatingIp { router: through, port, sender };
            let address = workload.ip_address.into();
            Ok(Destination { address, kind: SESSION_FLOATING_IP, ..Destination::new(subject, way) })
        }
        None if !is_workload && is_routed_inside(context, subject, router) => {
            Ok(Destination::new(subject, Way::Routed { router }))
        }
        _ if !is_workload => Err(DropReason::NoMapping),
        Some(Owner::Router(_) | Owner::LoadBalancer(_) | Owner::Overlay) => Err(DropReason::NoListener),
        None if snapshot.is_router_address(router, address) => Err(DropReason::NoListener),
        None => Ok(Destination::new(subject, Way::Routed { router })),
    }
}

/// The way to machines of the physical network that a workload's own is joined to.
fn beyond(context: &Context<'_>, subject: &Subject<'_>) -> Option<u16> {
    let (network, mac) = (subject.port.network, subject.ethernet_destination);
    let is_host = !mac.is_zero() && mac != context.snapshot.gateway_mac(network);
    context.snapshot.networks[network].joint().filter(|_| is_host && subject.port.workload.is_some())
}

/// Whether outside may reach the destination, which is nobody's outside: IPv6 is routed from there as from inside, and IPv4
/// where the router's leg routes it.
fn is_routed_inside(context: &Context<'_>, subject: &Subject<'_>, router: Index) -> bool {
    let address = subject.tuple.destination;
    let leg = Leg { router, network: subject.port.network };
    let is_routed =
        context.snapshot.leg(leg).is_some_and(|external| external.routed && !external.enable_snat);
    (address.is_ipv6() || is_routed) && context.snapshot.is_behind_router(router, address)
}

impl Destination {
    /// Where the sender wrote, by `way`.
    fn new(subject: &Subject<'_>, way: Way) -> Self {
        let (address, port) = (subject.tuple.destination, subject.tuple.destination_port);
        Self { address, port, kind: 0, inbound: None, way }
    }
}
