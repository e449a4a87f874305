//! The stages of the pipeline, a file each. `pipeline::decide` calls them; they never call each other.

pub mod admit;
pub mod connection;
pub mod destination;
pub mod firewall;
pub mod fragment;
pub mod output;
pub mod respond;
pub mod route;
pub mod source;

use std::net::IpAddr;

use crate::tuple::hash_of;
use crate::wire::network_address;

/// A next hop as a session remembers it: to tell whether it is still the same.
pub fn next_hop_word(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => network_address(address),
        IpAddr::V6(_) => hash_of(address, 0).max(1),
    }
}
