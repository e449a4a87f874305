//! What the dataplane does not do yet, said by the objects that ask for it: a condition that does not hold, beside
//! `Ready`, with the reason. What is in no condition here is in effect. A part that learns to do it takes its line out.

use std::net::IpAddr;

use edgestack_model::{Condition, ConditionStatus, NetworkSpec};

/// Parts of a network that wait.
pub(super) fn network(spec: &NetworkSpec) -> Vec<Condition> {
    let mut waits = Vec::new();
    let gateway = spec.effective_ipv6_gateway().map(IpAddr::V6);
    let is_untold = |next_hop: IpAddr| next_hop.is_ipv6() && Some(next_hop) != gateway;
    if spec.host_routes.iter().any(|route| is_untold(route.nexthop)) {
        let message = "hosts are told of IPv6 routes by the gateway alone: router advertisements and DHCPv6 have no words \
                       for another next hop";
        waits.push(wait("HostSettings", "NotAnnounced", message));
    }
    waits
}

fn wait(kind: &str, reason: &str, message: &str) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: ConditionStatus::False,
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}
