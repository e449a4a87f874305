//! Firewall: the security groups of the sender and of the receiver.
//!
//! Groups are lists of what is allowed; a port without groups passes nothing, and a port without port security
//! everything. They are asked about the first packet of a connection only: its answers belong to it.
//!
//! Drops: `FirewallEgress`, `FirewallIngress`.

use std::net::IpAddr;

use edgestack_abi::DropReason;

use super::destination::{Destination, Way};
use super::route::Route;
use super::source::Source;
use crate::config::Direction;
use crate::pipeline::{Context, Stage, Subject};
use crate::snapshot::Port;
use crate::snapshot::security_group::{Question, RuleReference, icmp_selector};
use crate::trace::Trace;
use crate::wire::icmp::{ECHO_REQUEST, ECHO_REQUEST_IPV6};
use crate::wire::{PROTOCOL_ICMP, PROTOCOL_ICMPV6};

/// May the sender send this, and by which rule? Its rules see the address that it wrote; membership of the receiver in a remote group is
/// that of the workload behind it.
pub fn egress(
    context: &Context<'_>,
    subject: &Subject<'_>,
    destination: &Destination,
    trace: &mut Trace,
) -> Result<Option<RuleReference>, DropReason> {
    let receiver = match destination.way {
        Way::Switched { port } => context.snapshot.port(port),
        Way::FloatingIp { port, router, sender } if sender.is_some_and(|leg| leg.router == router) => {
            context.snapshot.port(port)
        }
        Way::Balanced(balanced) if balanced.addressed.crosses.is_none() => {
            context.snapshot.port(balanced.port)
        }
        Way::FloatingIp { .. } | Way::Balanced(_) => None,
        Way::Routed { router } => context.snapshot.port_behind_router(router, destination.address),
    };
    let question = Question {
        direction: Direction::Egress,
        protocol: subject.tuple.protocol,
        selector: selector(subject, subject.tuple.destination_port),
        remote_address: subject.tuple.destination,
        remote_port: receiver,
    };
    ask(context, subject.port, &question, trace)
}

/// May the receiver receive this, and by which rule? Its rules see the sender's address and the port as they arrive; a
/// translated sender counts as a member of no group. Of a load balancer's client they see the client, whatever the member does.
pub fn ingress(
    context: &Context<'_>,
    subject: &Subject<'_>,
    destination: &Destination,
    route: &Route,
    source: &Source,
    trace: &mut Trace,
) -> Result<Option<RuleReference>, DropReason> {
    let Some(receiver) = context.snapshot.port(route.port) else { return Ok(None) };
    let is_masked = matches!(destination.way, Way::Balanced(balanced) if balanced.is_masked);
    let (address, is_known) = match source.is_translated() {
        true if is_masked => (subject.tuple.source, true),
        translated => (source.address, !translated),
    };
    // The rules of a workload on another host are asked there.
    let sender =
        is_known.then(|| context.snapshot.sender(subject.port, subject.ethernet_source, address)).flatten();
    let question = Question {
        direction: Direction::Ingress,
        protocol: subject.tuple.protocol,
        selector: selector(subject, destination.port),
        remote_address: address,
        remote_port: sender,
    };
    ask(context, receiver, &question, trace)
}

/// The destination port; of ICMP type and code, and only requests, whose code is 0, open a connection.
fn selector(subject: &Subject<'_>, destination_port: u16) -> u16 {
    match subject.tuple.protocol {
        PROTOCOL_ICMP => icmp_selector(ECHO_REQUEST, 0),
        PROTOCOL_ICMPV6 => icmp_selector(ECHO_REQUEST_IPV6, 0),
        _ => u16::from_be(destination_port),
    }
}

fn ask(
    context: &Context<'_>,
    port: &Port,
    question: &Question<'_>,
    trace: &mut Trace,
) -> Result<Option<RuleReference>, DropReason> {
    let (stage, reason) = match question.direction {
        Direction::Egress => (Stage::FirewallEgress, DropReason::FirewallEgress),
        Direction::Ingress => (Stage::FirewallIngress, DropReason::FirewallIngress),
    };
    let Some(workload) = &port.workload else { return Ok(None) };
    if !workload.port_security {
        trace.step(stage, || format!("port {} has no port security", port.name));
        return Ok(None);
    }
    let Some(allowed) = context.snapshot.allows(&workload.security_groups, question) else {
        trace.step(stage, || denied(context, port, question.remote_address, &workload.security_groups));
        return Err(reason);
    };
    trace.step(stage, || {
        format!("allowed by rule {} of group {} of port {}", allowed.rule.id, allowed.group.name, port.name)
    });
    Ok(Some(allowed.reference))
}

fn denied(context: &Context<'_>, port: &Port, remote: IpAddr, groups: &[usize]) -> String {
    if groups.is_empty() {
        return format!(
            "port {} has no security group, so nothing but ARP and ping of its gateway passes",
            port.name
        );
    }
    let names: Vec<_> =
        groups.iter().map(|group| context.snapshot.security_groups[*group].name.as_str()).collect();
    format!("no rule of group {} of port {} allows this with {remote}", names.join(", "), port.name)
}
