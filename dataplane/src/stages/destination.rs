//! Destination: where does the packet really go?
//!
//! Within its network, by MAC address; to a router; or to a floating IP, whose workload's address then takes the
//! destination's place. A floating IP works from inside as from outside. (Virtual addresses of load balancers will be
//! looked up here too.)
//!
//! Drops: `NotOurMac`, `UnknownDestination`, `NoMapping`, `NoListener`.

use std::net::IpAddr;

use edgestack_abi::DropReason;

use crate::pipeline::{Context, Stage, Subject};
use crate::snapshot::{Index, Owner};
use crate::trace::Trace;

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The destination address, after translation.
    pub address: IpAddr,
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
    /// To this port, by its floating IP.
    FloatingIp {
        /// The router that the workload is behind.
        router: Index,
        /// Number of the port.
        port: u16,
        /// The sender's own router, when the sender is a workload.
        sender_router: Option<Index>,
    },
}

/// Finds out where a packet goes.
pub fn run(
    context: &Context<'_>,
    subject: &Subject<'_>,
    trace: &mut Trace,
) -> Result<Destination, DropReason> {
    let result = find(context, subject);
    trace.step(Stage::Destination, || match result {
        Ok(Destination { way: Way::Switched { port }, .. }) => {
            format!("port {} of the same network", name_of(context, port))
        }
        Ok(Destination { way: Way::Routed { router }, .. }) => {
            format!("router {}", context.snapshot.routers[router].name)
        }
        Ok(Destination { way: Way::FloatingIp { port, router, .. }, address }) => format!(
            "floating IP {} of port {}: destination becomes {address} behind router {}",
            subject.tuple.destination,
            name_of(context, port),
            context.snapshot.routers[router].name
        ),
        Err(reason) => reason.description().to_owned(),
    });
    result
}

fn name_of<'a>(context: &Context<'a>, port: u16) -> &'a str {
    context.snapshot.port(port).map_or("?", |port| port.name.as_str())
}

fn find(context: &Context<'_>, subject: &Subject<'_>) -> Result<Destination, DropReason> {
    let snapshot = context.snapshot;
    let address = subject.tuple.destination;
    let network = &snapshot.networks[subject.port.network];
    let Some(router) = snapshot.router_at(subject.port.network, subject.ethernet_destination) else {
        let port =
            network.port_by_mac(subject.ethernet_destination).filter(|port| *port != subject.port.number);
        let port = snapshot.port(port.ok_or(DropReason::NotOurMac)?).ok_or(DropReason::NotOurMac)?;
        // What a workload answers with must be its own, so it is sent nothing that is not.
        let is_its_own = port.workload.as_ref().is_some_and(|workload| {
            !workload.port_security || workload.may_use(workload.mac_address, address)
        });
        if !is_its_own {
            return Err(DropReason::UnknownDestination);
        }
        return Ok(Destination { address, way: Way::Switched { port: port.number } });
    };
    let is_workload = subject.port.workload.is_some();
    let outside = if is_workload {
        snapshot.routers[router].external.as_ref().map(|external| external.network)
    } else {
        Some(subject.port.network)
    };
    match outside.and_then(|network| snapshot.networks[network].owner(address)) {
        Some(Owner::FloatingIp(index)) => {
            let (port, through) = snapshot.floating_ips[index].target.ok_or(DropReason::NoMapping)?;
            let workload =
                snapshot.port(port).and_then(|port| port.workload.as_ref()).ok_or(DropReason::NoMapping)?;
            let sender_router = is_workload.then_some(router);
            let way = Way::FloatingIp { router: through, port, sender_router };
            Ok(Destination { address: workload.ip_address.into(), way })
        }
        // IPv6 is routed from outside as from inside.
        None if !is_workload && address.is_ipv6() && snapshot.is_behind_router(router, address) => {
            Ok(Destination { address, way: Way::Routed { router } })
        }
        _ if !is_workload => Err(DropReason::NoMapping),
        Some(Owner::Router(_)) => Err(DropReason::NoListener),
        None if snapshot.is_router_address(router, address) => Err(DropReason::NoListener),
        None => Ok(Destination { address, way: Way::Routed { router } }),
    }
}
