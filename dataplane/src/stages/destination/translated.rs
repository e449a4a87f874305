//! The workload behind an external address and port of a router: by a forwarded port, or by an endpoint-independent mapping.

use std::net::IpAddr;

use edgestack_abi::session::{SESSION_INBOUND, SESSION_PORT_FORWARD};

use super::{Destination, Way};
use crate::config::NatFiltering;
use crate::connection::ConnectionState;
use crate::engine::TICKS_PER_SECOND;
use crate::pipeline::{Context, Subject};
use crate::snapshot::Leg;
use crate::stages::request_for;
use crate::tables::mapping_table::{External, Mapping};
use crate::tables::port_allocator::{Allocation, Endpoint};
use crate::wire::{PROTOCOL_TCP, PROTOCOL_UDP, host_address, network_address};

/// The workload that a port of a router's external address is forwarded to.
pub(super) fn forwarded(
    context: &Context<'_>,
    subject: &Subject<'_>,
    at: Leg,
    sender: Option<Leg>,
) -> Option<Destination> {
    let tuple = &subject.tuple;
    let forwards = &context.snapshot.networks[at.network].forwards;
    let (port, target) =
        forwards.find(tuple.destination, tuple.protocol, u16::from_be(tuple.destination_port))?;
    let address = context.snapshot.port(port)?.workload.as_ref()?.ip_address.into();
    let way = Way::FloatingIp { router: at.router, port, sender };
    let kind = SESSION_PORT_FORWARD;
    Some(Destination { address, port: target.to_be(), kind, ..Destination::new(subject, way) })
}

/// The workload that has an endpoint-independent mapping, where the pool lets the sender in (RFC 4787, REQ-8).
pub(super) fn mapped(
    context: &Context<'_>,
    subject: &Subject<'_>,
    at: Leg,
    sender: Option<Leg>,
) -> Option<Destination> {
    let tuple = &subject.tuple;
    let (IpAddr::V4(own), IpAddr::V4(source)) = (tuple.destination, tuple.source) else { return None };
    let pool = &context.snapshot.leg(at)?.pool;
    let may_be = pool.policy.is_independent && matches!(tuple.protocol, PROTOCOL_TCP | PROTOCOL_UDP);
    if !may_be || pool.filtering == NatFiltering::EndpointDependent {
        return None;
    }
    let (address, protocol) = (network_address(own), tuple.protocol);
    let external = External { address, protocol, port: u16::from_be(tuple.destination_port) };
    let mapping = context.allocator.mappings().at(external)?;
    let port = context.snapshot.port(mapping.internal.in_port)?;
    if context.snapshot.networks[port.network].router != Some(at.router) {
        return None;
    }
    // What the receiver would see: from inside it is the sender's own mapping.
    let remote = match sender {
        None => network_address(source),
        Some(leg) => external_address(context, subject, leg)?,
    };
    let is_kept = subject.keep.is_some_and(|keep| keep.session.kind & SESSION_INBOUND != 0);
    let is_known = pool.filtering == NatFiltering::EndpointIndependent
        || context.allocator.mappings().knows(external, remote);
    let may_enter = is_kept || (is_known && is_alive(context, protocol, mapping));
    if !may_enter {
        return None;
    }
    let internal = mapping.internal;
    let endpoint = Endpoint { external: address, remote: 0, remote_port: 0, protocol };
    let inbound =
        Allocation { endpoint, port: external.port, internal, remote, block_size: 0, high_water_ports: 0 };
    let way = Way::FloatingIp { router: at.router, port: internal.in_port, sender };
    Some(Destination {
        address: host_address(internal.address).into(),
        port: internal.port.to_be(),
        kind: SESSION_INBOUND,
        inbound: Some(inbound),
        way,
    })
}

/// Packets from outside do not keep a mapping alive (RFC 7857, section 7): something was heard from inside in time.
fn is_alive(context: &Context<'_>, protocol: u8, mapping: &Mapping) -> bool {
    let state = if protocol == PROTOCOL_TCP { ConnectionState::Established } else { ConnectionState::Udp };
    let idle_ticks = context.now_ticks.wrapping_sub(mapping.heard_ticks);
    idle_ticks < state.timeout_seconds(protocol, context.timeouts).saturating_mul(TICKS_PER_SECOND)
}

/// The external address that a workload would send to another's mapping with, network byte order.
fn external_address(context: &Context<'_>, subject: &Subject<'_>, leg: Leg) -> Option<u32> {
    let snapshot = context.snapshot;
    let workload = subject.port.workload.as_ref()?;
    if let Some(floating_ip) = snapshot.floating_ip_of(workload, leg) {
        return Some(network_address(floating_ip.address));
    }
    let policy = &snapshot.leg(leg)?.pool.policy;
    let request = request_for(context, subject, subject.tuple.destination, subject.tuple.destination_port)?;
    Some(context.allocator.find(policy, &request)?.endpoint.external)
}
