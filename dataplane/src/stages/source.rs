//! Source: under which address does the packet leave?
//!
//! Within a tenant's networks, with IPv6 everywhere, and where a router routes or exempts from translation, under its own. Outside, and towards a floating IP (RFC 4787, REQ-9: also from inside),
//! under the sender's floating IP, else under an external address of its router with a port of its own. To a member of a load
//! balancer under its own where answers come back so, else under the virtual address. A connection that is decided again
//! keeps what it has as long as that is still configured. Who gets no port is told (RFC 5508, REQ-8).
//!
//! Drops: `NoSnat`, `NatPortsExhausted`.

use std::net::IpAddr;

use edgestack_abi::DropReason;
use edgestack_abi::session::{SESSION_FLOATING_IP, SESSION_INDEPENDENT, SESSION_SNAT};

use super::destination::{Balanced, Destination, Way};
use super::route::Route;
use crate::pipeline::{Context, Stage, Stop, Subject};
use crate::snapshot::Leg;
use crate::stages::request_for;
use crate::tables::mapping_table::Internal;
use crate::tables::port_allocator::{Allocation, Endpoint};
use crate::trace::Trace;
use crate::tuple::Tuple;
use crate::wire::host_address;
use crate::wire::icmp::IcmpError;

/// The source that a packet leaves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Source address.
    pub address: IpAddr,
    /// Source port or ICMP identifier, network byte order.
    pub port: u16,
    /// `SESSION_SNAT`, with `SESSION_INDEPENDENT` or without, `SESSION_FLOATING_IP`, or 0: unchanged.
    pub kind: u8,
    /// The translated port to take.
    pub allocation: Option<Allocation>,
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
) -> Result<Source, Stop> {
    let crosses = match destination.way {
        Way::FloatingIp { sender, .. } => sender,
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
        (None, Some(leg)) if own.address.is_ipv4() => translate(context, subject, destination, leg, own),
        (None, _) => Ok(own),
    };
    trace.step(Stage::Source, || match &result {
        Ok(source) if source.kind & SESSION_SNAT != 0 => {
            format!("translated to address {} port {}", source.address, u16::from_be(source.port))
        }
        Ok(source) if source.kind == SESSION_FLOATING_IP => format!("floating IP {}", source.address),
        Ok(_) => "unchanged".to_owned(),
        Err(Stop::Drop(reason) | Stop::Deny(reason, _) | Stop::Tell(reason, _) | Stop::Refuse(reason)) => {
            reason.description().to_owned()
        }
        Err(Stop::Hold(..)) => String::new(),
    });
    result
}

/// The virtual address of a load balancer in the client's place, with a port that tells its connections apart.
fn mask(
    context: &Context<'_>,
    subject: &Subject<'_>,
    destination: &Destination,
    balanced: &Balanced,
) -> Result<Source, Stop> {
    let load_balancer = &context.snapshot.load_balancers[balanced.addressed.load_balancer];
    let address = load_balancer.vip;
    if let Some(keep) = subject.keep {
        let port = keep.reply.destination_port;
        return Ok(Source { address, port, kind: SESSION_SNAT, allocation: None });
    }
    // As the session's keys will have them, which of IPv6 addresses have hashes.
    let outgoing = Tuple { source: address, destination: destination.address, ..subject.tuple };
    let (key, own) = (outgoing.key(context.flows.seed()), subject.tuple.key(context.flows.seed()));
    let internal = Internal {
        in_port: own.in_port,
        address: own.source,
        port: u16::from_be(own.source_port),
        protocol: own.protocol,
    };
    let endpoint = Endpoint {
        external: key.source,
        remote: key.destination,
        remote_port: destination.port,
        protocol: key.protocol,
    };
    let allocation = context
        .allocator
        .find_towards(&endpoint, internal, context.random)
        .ok_or(Stop::Drop(DropReason::NatPortsExhausted))?;
    let port = allocation.port.to_be();
    Ok(Source { address, port, kind: SESSION_SNAT, allocation: Some(allocation) })
}

fn translate(
    context: &Context<'_>,
    subject: &Subject<'_>,
    destination: &Destination,
    leg: Leg,
    own: Source,
) -> Result<Source, Stop> {
    let snapshot = context.snapshot;
    let no_snat = Stop::Drop(DropReason::NoSnat);
    let external = snapshot.leg(leg).ok_or(no_snat)?;
    let pool = &external.pool;
    if let Some(keep) = subject.keep {
        let (address, port) = (keep.reply.destination, keep.reply.destination_port);
        let had_snat = keep.session.kind & SESSION_SNAT != 0;
        if had_snat && external.enable_snat && pool.may_use(address, keep.reply.protocol, u16::from_be(port))
        {
            let kind = keep.session.kind & (SESSION_SNAT | SESSION_INDEPENDENT);
            return Ok(Source { address, port, kind, allocation: None });
        }
    }
    let workload = subject.port.workload.as_ref().filter(|workload| workload.has(own.address));
    let floating_ip = workload.and_then(|workload| snapshot.floating_ip_of(workload, leg));
    if let Some(floating_ip) = floating_ip {
        let address = floating_ip.address.into();
        return Ok(Source { address, kind: SESSION_FLOATING_IP, ..own });
    }
    // Between two routers of the gateway nobody has routes to the other's networks.
    let leaves = matches!(destination.way, Way::Routed { .. });
    let to_port = u16::from_be(destination.port);
    if leaves && external.keeps_source(subject.tuple.protocol, destination.address, to_port) {
        return Ok(own);
    }
    if !external.enable_snat {
        return Err(no_snat);
    }
    let request = request_for(context, subject, destination.address, destination.port).ok_or(no_snat)?;
    let allocation = context
        .allocator
        .find(&pool.policy, &request)
        .ok_or(Stop::Tell(DropReason::NatPortsExhausted, IcmpError::Prohibited))?;
    let kind = SESSION_SNAT | if allocation.endpoint.is_independent() { SESSION_INDEPENDENT } else { 0 };
    let address = host_address(allocation.endpoint.external).into();
    Ok(Source { address, port: allocation.port.to_be(), kind, allocation: Some(allocation) })
}
