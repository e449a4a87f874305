//! Output: the verdicts of both directions, and whether this packet may go out as it is.
//!
//! Drops: `TtlExceeded`, `PacketTooBig`, `PortDown`.

use std::net::{IpAddr, SocketAddr};

use edgestack_abi::flow::{DECREMENT_TTL, REPLY, REWRITE_ETHERNET, TRANSLATE};
use edgestack_abi::port::PORT_UP;
use edgestack_abi::{DropReason, FlowVerdict};

use super::destination::{Balanced, Destination, Way};
use super::route::Route;
use super::source::Source;
use crate::pipeline::{Context, NewSession, Stage, Stop, Subject};
use crate::rewrite;
use crate::trace::Trace;
use crate::tuple::{Tuple, Tuples};
use crate::wire::IPV4_LENGTH;
use crate::wire::headers::{self, Ip, Network, Transport};
use crate::wire::icmp::IcmpError;
use crate::wire::sctp::Chunks;

/// Puts together what the stages said.
pub fn run(
    context: &Context<'_>,
    subject: &Subject<'_>,
    destination: &Destination,
    route: &Route,
    source: &Source,
) -> NewSession {
    let original = subject.tuple;
    let reply = Tuple {
        source: destination.address,
        destination: source.address,
        source_port: destination.port,
        destination_port: source.port,
        in_port: route.port,
        protocol: original.protocol,
    };
    let (sent_to, sent_from) = match route.ethernet {
        Some(ethernet) => (ethernet.destination, ethernet.source),
        None => (subject.ethernet_destination, subject.ethernet_source),
    };
    let affinity = match destination.way {
        Way::Balanced(balanced) => balanced.affinity,
        _ => None,
    };
    let stays = matches!(destination.way, Way::Balanced(Balanced { is_adjacent: true, .. }));
    let routed = match route.ethernet {
        None => 0,
        Some(_) if stays => REWRITE_ETHERNET,
        Some(_) => DECREMENT_TTL | REWRITE_ETHERNET,
    };
    let epoch = context.ports.flow_epoch(original.in_port, route.port);
    let original_verdict = FlowVerdict {
        epoch,
        flags: routed,
        out_port: route.port,
        ethernet_destination: sent_to.0,
        ethernet_source: sent_from.0,
        match_ethernet_destination: subject.ethernet_destination.0,
        match_ethernet_source: subject.ethernet_source.0,
        ..FlowVerdict::default()
    };
    let reply_verdict = FlowVerdict {
        epoch,
        flags: routed | REPLY,
        out_port: original.in_port,
        ethernet_destination: subject.ethernet_source.0,
        ethernet_source: subject.ethernet_destination.0,
        match_ethernet_destination: sent_from.0,
        match_ethernet_source: sent_to.0,
        ..FlowVerdict::default()
    };
    let seed = context.flows.seed();
    NewSession {
        tuples: Tuples { original, reply },
        original_verdict: translating(original_verdict, &original, &reply, seed),
        reply_verdict: translating(reply_verdict, &reply, &original, seed),
        state: subject.state,
        verification_tags: subject.verification_tags,
        kind: source.kind | destination.kind,
        allocation: source.allocation,
        inbound: destination.inbound,
        affinity,
        next_hop: route.next_hop,
        allowed: [None; 2],
    }
}

/// The verdict with what it makes of addresses and ports of `tuple`: those of the `other` direction, turned round.
fn translating(verdict: FlowVerdict, tuple: &Tuple, other: &Tuple, seed: u64) -> FlowVerdict {
    let new = Tuple {
        source: other.destination,
        destination: other.source,
        source_port: other.destination_port,
        destination_port: other.source_port,
        ..*tuple
    };
    let key = new.key(seed);
    let mut verdict = FlowVerdict {
        source: key.source,
        destination: key.destination,
        source_port: key.source_port,
        destination_port: key.destination_port,
        ..verdict
    };
    if new != *tuple {
        verdict.flags |= TRANSLATE;
        (verdict.address_delta, verdict.port_delta) = rewrite::deltas(tuple, &new);
    }
    verdict
}

/// Whether this packet may go out by its verdict: its time to live, its size, the port.
pub fn check(context: &Context<'_>, ip: &Ip, verdict: &FlowVerdict, trace: &mut Trace) -> Result<(), Stop> {
    let (flags, mtu) = context.ports.flags_and_mtu(verdict.out_port);
    let result = if verdict.flags & DECREMENT_TTL != 0 && ip.ttl <= 1 {
        Err(Stop::Tell(DropReason::TtlExceeded, IcmpError::TtlExceeded))
    } else if flags & PORT_UP == 0 {
        Err(Stop::Drop(DropReason::PortDown))
    } else if ip.total_length > usize::from(mtu) && ip.dont_fragment {
        Err(Stop::Tell(DropReason::PacketTooBig, IcmpError::FragmentationNeeded { mtu }))
    } else if ip.total_length > usize::from(mtu) && ip.header_length != IPV4_LENGTH {
        // Options are not sent with every part, so packets that have some are not cut.
        Err(Stop::Drop(DropReason::PacketTooBig))
    } else {
        Ok(())
    };
    trace.step(Stage::Output, || match result {
        Ok(()) if ip.total_length > usize::from(mtu) => format!("forwarded, in parts for the MTU of {mtu}"),
        Ok(()) => "forwarded".to_owned(),
        Err(Stop::Tell(DropReason::PacketTooBig, _)) => {
            format!("larger than the MTU of {mtu}; the sender is told by ICMP")
        }
        Err(Stop::Drop(reason) | Stop::Deny(reason, _) | Stop::Tell(reason, _) | Stop::Refuse(reason)) => {
            reason.description().to_owned()
        }
        Err(Stop::Hold(..)) => "waits for its next hop".to_owned(),
    });
    result
}

/// A frame in one line, for people.
pub fn describe(frame: &[u8]) -> String {
    let headers = match headers::parse(frame) {
        Ok(headers) => headers,
        Err(reason) => return reason.description().to_owned(),
    };
    let ethernet = format!("{} > {}", headers.ethernet_source, headers.ethernet_destination);
    let ip = match headers.network {
        Network::Arp(arp) if arp.request => {
            return format!("{ethernet}: arp who has {} tell {}", arp.target_ip, arp.sender_ip);
        }
        Network::Arp(arp) => return format!("{ethernet}: arp {} is at {}", arp.sender_ip, arp.sender_mac),
        Network::Neighbour(neighbour) if neighbour.solicitation => {
            return format!("{ethernet}: neighbour who has {} tell {}", neighbour.target, neighbour.source);
        }
        Network::Neighbour(neighbour) => {
            return format!("{ethernet}: neighbour {} is here, tells {}", neighbour.target, neighbour.source);
        }
        Network::RouterSolicitation(solicitation) => {
            return format!("{ethernet}: who is a router, tell {}", solicitation.source);
        }
        Network::Ip(ip) => ip,
    };
    let (source, destination) = (ip.source, ip.destination);
    let packet = match ip.transport {
        Transport::Tcp { source_port, destination_port, flags, .. } => {
            format!(
                "tcp {} > {} flags [{}]",
                endpoint(source, source_port),
                endpoint(destination, destination_port),
                tcp_flags(flags)
            )
        }
        Transport::Udp { source_port, destination_port } => {
            format!("udp {} > {}", endpoint(source, source_port), endpoint(destination, destination_port))
        }
        Transport::UdpLite { source_port, destination_port } => {
            let (from, to) = (endpoint(source, source_port), endpoint(destination, destination_port));
            format!("udplite {from} > {to}")
        }
        Transport::Sctp(sctp) => {
            let (from, to) =
                (endpoint(source, sctp.source_port), endpoint(destination, sctp.destination_port));
            format!("sctp {from} > {to} tag {:#010x}{}", sctp.verification_tag, sctp_chunks(&sctp.chunks))
        }
        Transport::Other => format!("protocol {} {source} > {destination}", ip.protocol),
        Transport::LaterFragment => format!("part of protocol {} {source} > {destination}", ip.protocol),
        Transport::IcmpEcho { request, identifier } => {
            let kind = if request { "request" } else { "reply" };
            format!("icmp echo {kind} {source} > {destination} id {identifier}")
        }
        Transport::IcmpError { kind, code, inner } => format!(
            "icmp error {kind}/{code} {source} > {destination} about {} > {}",
            endpoint(inner.source, inner.source_port),
            endpoint(inner.destination, inner.destination_port)
        ),
    };
    format!("{ethernet}: {packet} ttl {} length {}", ip.ttl, ip.total_length)
}

/// Address and port, for people: `192.0.2.1:53`, `[2001:db8::1]:53`.
pub fn endpoint(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

fn sctp_chunks(chunks: &Chunks) -> String {
    let Chunks { init, init_ack, cookie_echo, cookie_ack, shutdown, end, .. } = *chunks;
    let names = [
        (init, " init"),
        (init_ack, " init-ack"),
        (cookie_echo, " cookie-echo"),
        (cookie_ack, " cookie-ack"),
        (shutdown, " shutdown"),
        (end, " end"),
    ];
    names.iter().filter(|(is_there, _)| *is_there).map(|(_, name)| *name).collect()
}

fn tcp_flags(flags: u8) -> String {
    ["F", "S", "R", "P", ".", "U"]
        .iter()
        .enumerate()
        .filter(|(bit, _)| flags & (1 << bit) != 0)
        .map(|(_, name)| *name)
        .collect()
}
