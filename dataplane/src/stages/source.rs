//! Source: under which address does the packet leave?
//!
//! Within a tenant's networks, and with IPv6 everywhere, under its own. Outside, and towards a floating IP (RFC 4787, REQ-9: also from inside),
//! under the sender's floating IP, else under its router's external address with a port of its own. A connection that is
//! decided again keeps what it has as long as that is still configured.
//!
//! Drops: `NoSnat`, `NatPortsExhausted`.

use std::net::IpAddr;

use edgestack_abi::DropReason;
use edgestack_abi::session::{SESSION_FLOATING_IP, SESSION_SNAT};

use super::destination::{Destination, Way};
use super::route::Route;
use crate::pipeline::{Context, Stage, Subject};
use crate::snapshot::Index;
use crate::tables::port_allocator::Endpoint;
use crate::trace::Trace;
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
        Way::Routed { .. } => route.leaves_by,
        Way::Switched { .. } => None,
    };
    let own =
        Source { address: subject.tuple.source, port: subject.tuple.source_port, kind: 0, allocation: None };
    let result = match crosses {
        // IPv6 is routed, never translated.
        Some(router) if own.address.is_ipv4() => translate(context, subject, destination, router, own),
        _ => Ok(own),
    };
    trace.step(Stage::Source, || match &result {
        Ok(source) if source.kind == SESSION_SNAT => {
            format!("router's address {} port {}", source.address, u16::from_be(source.port))
        }
        Ok(source) if source.kind == SESSION_FLOATING_IP => format!("floating IP {}", source.address),
        Ok(_) => "unchanged".to_owned(),
        Err(reason) => reason.description().to_owned(),
    });
    result
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
        remote_port: subject.tuple.destination_port,
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
