//! What the dataplane does not do yet, said by the objects that ask for it: a condition that does not hold, beside
//! `Ready`, with the reason. What is in no condition here is in effect. A part that learns to do it takes its line out.

use std::net::IpAddr;

use edgestack_model::{Condition, ConditionStatus, NetworkSpec, PortSpec};
use ipnet::IpNet;

/// Parts of a network that wait.
pub(super) fn network(spec: &NetworkSpec) -> Vec<Condition> {
    let mut waits = Vec::new();
    if spec.ipv6_cidr.is_some() {
        waits.push(wait("Ipv6", "NotCarried", "packets of IPv6 are not carried in this version"));
    }
    let routes = spec.host_routes.iter().any(|route| route.nexthop.is_ipv6());
    if routes || spec.dns.iter().any(IpAddr::is_ipv6) {
        let message = "name servers and routes of IPv6 are told to no host: the gateway announces no IPv6 in this \
                       version";
        waits.push(wait("HostSettings", "NotAnnounced", message));
    }
    waits
}

/// Parts of a port that wait.
pub(super) fn port(spec: &PortSpec) -> Vec<Condition> {
    let pair = spec.allowed_address_pairs.iter().any(|pair| matches!(pair.ip_address, IpNet::V6(_)));
    if spec.ipv6_address.is_some() || pair {
        return vec![wait("Ipv6", "NotCarried", "packets of IPv6 are not carried in this version")];
    }
    Vec::new()
}

fn wait(kind: &str, reason: &str, message: &str) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: ConditionStatus::False,
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}
