//! Hashes that mean the same in the next process: of identifiers, and of the configuration that a port's flows
//! depend on.
//!
//! They are kept in shared memory beside the flows. A new engine finds a port's number by its id's hash, and leaves the
//! port's flows alone when its fingerprint has not changed.

use std::hash::{Hash, Hasher};

use crate::config::{Network, Port, Router, SecurityGroup, Services};

/// FNV-1a, 64 bits: simple and the same everywhere. Collisions would need two of a host's few thousand ports to
/// hash alike, at odds of about one in 10^13.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

fn fnv() -> Fnv {
    Fnv(0xcbf2_9ce4_8422_2325)
}

/// The hash of an identifier, never 0.
pub fn id_hash(id: &str) -> u64 {
    let mut hasher = fnv();
    id.hash(&mut hasher);
    hasher.finish().max(1)
}

/// The hash of any piece of configuration.
pub(super) fn of(value: &impl Hash) -> u64 {
    let mut hasher = fnv();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The hash of what flows depend on in a network.
pub(super) fn of_network(network: &Network) -> u64 {
    let Network {
        id,
        name: _,
        cidr,
        gateway_ip,
        ipv6_cidr,
        ipv6_gateway_ip,
        mtu,
        external,
        segment,
        services,
    } = network;
    // What DHCP and advertisements tell is no matter of flows.
    let Services { address, dhcp: _, advertisements: _, dhcp6: _, endpoints } = services;
    let ipv6 = (ipv6_cidr, ipv6_gateway_ip);
    of(&(id, cidr, gateway_ip, ipv6, mtu, external, segment, address, endpoints))
}

/// The hash of what flows depend on in a router; `networks` are the fingerprints of the networks that it touches.
pub(super) fn of_router(router: &Router, networks: &[u64]) -> u64 {
    let Router { id, name: _, mac_address, networks: _, external, further_externals, routes } = router;
    of(&(id, mac_address, external, further_externals, routes, networks))
}

/// The hash of what flows depend on in a security group, but for the members of address groups that its rules name.
pub(super) fn of_security_group(group: &SecurityGroup) -> u64 {
    let SecurityGroup { id, name: _, log_denied: _, rules } = group;
    of(&(id, rules))
}

/// The hash of several hashes, in their order.
pub(super) fn joined(first: u64, rest: impl Iterator<Item = u64>) -> u64 {
    let mut hasher = fnv();
    hasher.write_u64(first);
    rest.for_each(|hash| hasher.write_u64(hash));
    hasher.finish()
}

/// The hash of all that the flows of `port` depend on but the rules of its groups: its own settings, and the fingerprints
/// of its network, its router with the networks behind it, and its floating IP. Names and the interface do not matter
/// to flows.
///
/// Who is a member of a remote group is left out on purpose: it is a setting of the *other* port, whose own fingerprint
/// then changes, and a flow is decided again when either of its ports changes.
pub(super) fn of_port(port: &Port, related: &[u64]) -> u64 {
    let Port { id, name: _, network, interface: _, kind, attach: _, admin_state_up } = port;
    of(&(id, network, kind, admin_state_up, related))
}
