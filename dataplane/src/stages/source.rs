//! Source: under which address does the packet leave?
//!
//! Within a tenant's networks, and with IPv6 everywhere, under its own. Outside, and towards a floating IP (RFC 4787, REQ-9: also from inside),
//! under the sender's floating IP, else under its router's external address with a port of its own. To a member of a load
//! balancer under its own where answers come back so, else under the virtual address. A connection that is decided again
//! keeps what it has as long as that is still configured.
//!
//! Drops: `NoSnat`, `NatPortsExhausted`.

use std::net::IpAddr;

use edgestack_abi::DropReason;
use edgestack_abi::session::{SESSION_FLOATING_IP, SESSION_SNAT};

use super::destination::{Balanced, Destination, Way};
use super::route::Route;
use crate::pipeline::{Context, Stage, Subject};
use crate::snapshot::Index;
use crate::tables::port_allocator::Endpoint;
use crate::trace::Trace;
use crate::tuple::Tuple;
use crate::wire::network_address;

/// The source that a packet leaves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Source address.
    pub address: IpAddr,
    /// Source port or ICMP identifier, network byte order.
    pub port: u16,
    /// `SESSION_SNAT`, `SESSION_FLOATING_IP`, or 0: unchanged.
    pub kind: u8,
    /// The translated port to take.
    pub allocation: Option<(Endpoint, u16)>,
}

impl Source {
    /// Whether it is another than the sender's own.
    pub fn is_translated(&self) -> bool {
        self.kind != 0
    }
}

/// Chooses the source.
pub fn run(
    context: &Context<'_>,
    subject: &Subject<'_>,
    destination: &Destination,
    route: &Route,
    trace: &mut Trace,
) -> Result<Source, DropReason> {
    let crosses = match destination.way {
        Way::FloatingIp { sender_router, .. } => sender_router,
        Way::Balanced(balanced) => balanced.addressed.crosses,
        Way::Routed { .. } => route.leaves_by,
        Way::Switched { .. } => None,
    };
    let own =
        Source { address: subject.tuple.source, port: subject.tuple.source_port, kind: 0, allocation: None };
    let masked = match destination.way {
        Way::Balanced(balanced) if balanced.is_masked => Some(balanced),
        _ => None,
    };
    let result = match (masked, crosses) {
        (Some(balanced), _) => mask(context, subject, destination, &balanced),
        // IPv6 is routed, never translated.
        (None, Some(router)) if own.address.is_ipv4() => {
            translate(context, subject, destination, router, own)
        }
        (None, _) => Ok(own),
    };
    trace.step(Stage::Source, || match &result {
        Ok(source) if source.kind == SESSION_SNAT => {
            format!("translated to address {} port {}", source.address, u16::from_be(source.port))
        }
        Ok(source) if source.kind == SESSION_FLOATING_IP => format!("floating IP {}", source.address),
        Ok(_) => "unchanged".to_owned(),
        Err(reason) => reason.description().to_owned(),
    });
    result
}

/// The virtual address of a load balancer in the client's place, with a port that tells its connections apart.
fn mask(
    context: &Context<'_>,
    subject: &Subject<'_>,
    destination: &Destination,
    balanced: &Balanced,
) -> Result<Source, DropReason> {
    let load_balancer = &context.snapshot.load_balancers[balanced.addressed.load_balancer];
    let address = load_balancer.vip;
    if let Some(keep) = subject.keep {
        let port = keep.reply.destination_port;
        return Ok(Source { address, port, kind: SESSION_SNAT, allocation: None });
    }
    // As the session's key will have them, which of IPv6 addresses has hashes.
    let outgoing = Tuple { source: address, destination: destination.address, ..subject.tuple };
    let key = outgoing.key(context.flows.seed());
    let endpoint = Endpoint {
        external: key.source,
        remote: key.destination,
        remote_port: destination.port,
        protocol: key.protocol,
    };
    let port = context
        .allocator
        .find(&endpoint, u16::from_be(subject.tuple.source_port), context.random)
        .ok_or(DropReason::NatPortsExhausted)?;
    Ok(Source { address, port: port.to_be(), kind: SESSION_SNAT, allocation: Some((endpoint, port)) })
}

fn translate(
    context: &Context<'_>,
    subject: &Subject<'_>,
    destination: &Destination,
    router: Index,
    own: Source,
) -> Result<Source, DropReason> {
    let snapshot = context.snapshot;
    let external = snapshot.routers[router].external.as_ref().ok_or(DropReason::NoSnat)?;
    if let Some(keep) = subject.keep {
        let reply = keep.reply;
        let had_snat = keep.session.kind & SESSION_SNAT != 0;
        if had_snat && external.enable_snat && external.has(reply.destination) {
            let (address, port) = (reply.destination, reply.destination_port);
            return Ok(Source { address, port, kind: SESSION_SNAT, allocation: None });
        }
    }
    let workload = subject.port.workload.as_ref().filter(|workload| workload.has(own.address));
    let floating_ip = workload.and_then(|workload| snapshot.floating_ip_of(workload, router));
    if let Some(floating_ip) = floating_ip {
        let address = floating_ip.address.into();
        return Ok(Source { address, kind: SESSION_FLOATING_IP, ..own });
    }
    if !external.enable_snat {
        return Err(DropReason::NoSnat);
    }
    let IpAddr::V4(remote) = destination.address else { return Err(DropReason::NoSnat) };
    let endpoint = Endpoint {
        external: network_address(external.ip_address),
        remote: network_address(remote),
        remote_port: destination.port,
        protocol: subject.tuple.protocol,
    };
    let port = context
        .allocator
        .find(&endpoint, u16::from_be(own.port), context.random)
        .ok_or(DropReason::NatPortsExhausted)?;
    let allocation = Some((endpoint, port));
    let address = external.ip_address.into();
    Ok(Source { address, port: port.to_be(), kind: SESSION_SNAT, allocation })
}
