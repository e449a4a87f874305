//! The stages of the pipeline, a file each. `pipeline::decide` calls them; they never call each other.

pub mod admit;
pub mod connection;
pub mod destination;
pub mod encapsulate;
pub mod firewall;
pub mod fragment;
pub mod output;
pub mod respond;
pub mod route;
pub mod source;

use std::net::IpAddr;

use crate::pipeline::{Context, Subject};
use crate::tables::mapping_table::Internal;
use crate::tables::port_allocator::Request;
use crate::tuple::hash_of;
use crate::wire::network_address;

/// A next hop as a session remembers it: to tell whether it is still the same.
pub fn next_hop_word(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => network_address(address),
        IpAddr::V6(_) => hash_of(address, 0).max(1),
    }
}

/// What the first packet of a connection asks of the port allocator, towards this remote; none for IPv6.
fn request_for(
    context: &Context<'_>,
    subject: &Subject<'_>,
    remote: IpAddr,
    remote_port: u16,
) -> Option<Request> {
    let tuple = &subject.tuple;
    let (IpAddr::V4(own), IpAddr::V4(remote)) = (tuple.source, remote) else { return None };
    let internal = Internal {
        in_port: tuple.in_port,
        address: network_address(own),
        port: u16::from_be(tuple.source_port),
        protocol: tuple.protocol,
    };
    Some(Request { internal, remote: network_address(remote), remote_port, random: context.random })
}
