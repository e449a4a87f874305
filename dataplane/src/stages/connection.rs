//! Connection: does the packet belong to a connection that is known?
//!
//! A packet of a known connection goes on by the connection's verdict, after the TCP state is brought up to date. When
//! the configuration of one of its ports has changed since the verdict was made, the connection is decided again
//! from its first packet. An ICMP error belongs to the connection of the packet that it quotes (RFC 5508, REQ-4 to
//! REQ-6: it is translated with it and never ends it).
//!
//! Drops: `InvalidConnectionState`, `RelatedUnknown`, `UnknownPort`.

use edgestack_abi::flow::REPLY;
use edgestack_abi::{DropReason, FlowVerdict, Session};

use crate::address::MacAddress;
use crate::connection::{self, ConnectionState, Segment, Transition, advance};
use crate::pipeline::{Context, Keep, Known, NewSession, Related, Stage, Subject};
use crate::rewrite::ErrorRewrite;
use crate::snapshot::Port;
use crate::tables::flow_table::Found;
use crate::trace::Trace;
use crate::tuple::Tuples;
use crate::wire::headers::{Headers, Inner, Ip, Transport};
use crate::wire::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, sctp};

/// What a packet belongs to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack, for one packet")]
pub enum Belongs<'a> {
    /// A known connection.
    Known(Known),
    /// A known connection whose verdict is out of date.
    Stale(Box<Stale<'a>>),
    /// A known connection, as an error about one of its packets.
    Related {
        /// The error.
        related: Related,
        /// The connection, when its verdict is out of date.
        stale: Option<Box<Stale<'a>>>,
    },
    /// None that is known any more, as an error about a packet from a load balancer's virtual address: it is for the
    /// member that a connection like that is sent to.
    Forgotten {
        /// The first packet of the connection.
        subject: Subject<'a>,
        /// The packet that the error is about.
        inner: Inner,
    },
    /// None yet.
    New {
        /// The packet as the first of its connection.
        subject: Subject<'a>,
        /// A closed connection with the same addresses, which it replaces.
        replaced: Option<u32>,
    },
}

/// A connection that must be decided again.
#[derive(Debug)]
pub struct Stale<'a> {
    /// The packet's connection, with the verdict that is out of date.
    pub known: Known,
    /// The session.
    pub session: Session,
    /// Both of its directions.
    pub tuples: Tuples,
    port: &'a Port,
    /// The verdict of the first packet's direction, as it is.
    original: FlowVerdict,
    ethernet_destination: MacAddress,
    ethernet_source: MacAddress,
    is_reply: bool,
}

impl Stale<'_> {
    /// The connection's first packet.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            port: self.port,
            ethernet_destination: self.ethernet_destination,
            ethernet_source: self.ethernet_source,
            tuple: self.tuples.original,
            state: self.known.state,
            verification_tags: self.known.verification_tags,
            keep: Some(Keep {
                session: &self.session,
                reply: self.tuples.reply,
                next_hop_mac: MacAddress(self.original.ethernet_destination),
            }),
        }
    }

    /// The packet's connection with new verdicts.
    pub fn renewed(&self, new: NewSession) -> Known {
        let verdict = if self.is_reply { new.reply_verdict } else { new.original_verdict };
        Known { verdict, renewed: Some(new), ..self.known }
    }
}

/// Finds the packet's connection.
pub fn run<'a>(
    context: &Context<'a>,
    headers: &Headers,
    ip: &Ip,
    port: &'a Port,
    trace: &mut Trace,
) -> Result<Belongs<'a>, DropReason> {
    let result = find(context, headers, ip, port);
    trace.step(Stage::Connection, || match &result {
        Ok(Belongs::Known(known)) => format!("session {}, {}", known.session, known.state.label(ip.protocol)),
        Ok(Belongs::Stale(stale)) => {
            format!(
                "session {}, {}; the configuration has changed since",
                stale.known.session,
                stale.known.state.label(ip.protocol)
            )
        }
        Ok(Belongs::Related { .. }) => "an error about a packet of a known connection".to_owned(),
        Ok(Belongs::Forgotten { .. }) => {
            "an error to a load balancer about a connection of before".to_owned()
        }
        Ok(Belongs::New { replaced: None, .. }) => "new".to_owned(),
        Ok(Belongs::New { replaced: Some(session), .. }) => {
            format!("new, in place of the closed session {session}")
        }
        Err(reason) => reason.description().to_owned(),
    });
    result
}

fn find<'a>(
    context: &Context<'a>,
    headers: &Headers,
    ip: &Ip,
    port: &'a Port,
) -> Result<Belongs<'a>, DropReason> {
    let tuple = match (ip.transport, ip.tuple(port.number)) {
        // The quote of an error in parts cannot be translated: its checksum is over all of them.
        (Transport::IcmpError { .. }, _) if ip.fragment.is_some() => return Err(DropReason::RelatedUnknown),
        (Transport::IcmpError { inner, .. }, _) => {
            return match related(context, ip, port, inner) {
                Err(DropReason::RelatedUnknown) => {
                    forgotten(context, headers, ip, port, inner).ok_or(DropReason::RelatedUnknown)
                }
                result => result,
            };
        }
        (_, Some(tuple)) => tuple,
        (_, None) => return Err(DropReason::UnknownProtocol),
    };
    let subject = Subject {
        port,
        ethernet_destination: headers.ethernet_destination,
        ethernet_source: headers.ethernet_source,
        tuple,
        state: ConnectionState::first(ip.protocol),
        verification_tags: [0; 2],
        keep: None,
    };
    match context.flows.find(&tuple) {
        Some(found) => known(context, &subject, ip, found),
        None => opening(context, subject, ip)
            .map(|subject| Belongs::New { subject, replaced: None })
            .ok_or(DropReason::InvalidConnectionState),
    }
}

/// A packet as the first of its connection, if it opens one.
fn opening<'a>(context: &Context<'_>, subject: Subject<'a>, ip: &Ip) -> Option<Subject<'a>> {
    match ip.transport {
        Transport::Tcp { flags, .. } if flags & (TCP_SYN | TCP_ACK) == TCP_SYN => Some(subject),
        // In mid-flow, where that is configured; it says nothing of the end of anything.
        Transport::Tcp { flags, .. } => {
            let is_in_mid_flow = flags & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK) == TCP_ACK;
            let picked_up = Subject { state: ConnectionState::Established, ..subject };
            (context.tcp_pickup && is_in_mid_flow).then_some(picked_up)
        }
        Transport::Sctp(packet) if packet.chunks.init => {
            // Packets to its sender have the tag that it announces.
            Some(Subject { verification_tags: [0, packet.chunks.initiate_tag], ..subject })
        }
        Transport::Udp { .. } | Transport::UdpLite { .. } | Transport::Other => Some(subject),
        Transport::IcmpEcho { request, .. } => request.then_some(subject),
        Transport::Sctp(_) | Transport::IcmpError { .. } | Transport::LaterFragment => None,
    }
}

fn known<'a>(
    context: &Context<'a>,
    subject: &Subject<'a>,
    ip: &Ip,
    found: Found,
) -> Result<Belongs<'a>, DropReason> {
    let session_index = context.flows.session(found.index);
    let session = context.sessions.get(session_index).ok_or(DropReason::InvalidConnectionState)?;
    let is_reply = found.verdict.flags & REPLY != 0;
    let came_to = found.verdict.match_ethernet_destination == subject.ethernet_destination.0;
    let came_from = found.verdict.match_ethernet_source == subject.ethernet_source.0;
    let is_workload = subject.port.workload.is_some();
    if is_reply && !came_to && is_workload {
        // What a workload sends elsewhere is no answer, however alike the addresses.
        return Err(DropReason::InvalidConnectionState);
    }
    let mut known = known_as_it_is(session_index, &session, &found);
    let transition = match ip.transport {
        Transport::Tcp { flags, has_data, .. } => {
            advance(known.state, Segment { flags, has_data, is_reply }, &mut known.fin_seen)
        }
        Transport::Sctp(sctp::Packet { verification_tag: tag, chunks, .. }) => {
            let packet = connection::sctp::Packet { chunks, tag, is_reply };
            connection::sctp::advance(known.state, packet, &mut known.verification_tags)
        }
        _ => Transition::To(known.state),
    };
    match transition {
        Transition::To(next) => known.state = next,
        Transition::Reopen => {
            let subject = opening(context, *subject, ip).ok_or(DropReason::InvalidConnectionState)?;
            return Ok(Belongs::New { subject, replaced: Some(session_index) });
        }
        Transition::Invalid => return Err(DropReason::InvalidConnectionState),
    }
    // The first direction's packet may come to or, from outside, by another MAC address than before: then the connection
    // is decided again, so that its answers go where its packets come from.
    let is_moved = !is_reply && (!came_to || (!came_from && !is_workload));
    if is_fresh(context, subject.port.number, &found) && !is_moved {
        return Ok(Belongs::Known(known));
    }
    let ethernet = (!is_reply).then_some((subject.ethernet_destination, subject.ethernet_source));
    Ok(Belongs::Stale(Box::new(stale(context, &known, session, ethernet)?)))
}

/// The connection of a found flow, before a packet changes its state.
fn known_as_it_is(session_index: u32, session: &Session, found: &Found) -> Known {
    Known {
        entry: found.index,
        verdict: found.verdict,
        session: session_index,
        state: ConnectionState::from_number(session.state),
        fin_seen: session.fin_seen,
        verification_tags: session.verification_tags,
        renewed: None,
    }
}

/// Whether a verdict was made under the present configuration of both ports.
fn is_fresh(context: &Context<'_>, in_port: u16, found: &Found) -> bool {
    found.verdict.epoch == context.ports.flow_epoch(in_port, found.verdict.out_port)
}

/// The connection, to be decided again from its first packet; `ethernet` are the MAC addresses (destination, source)
/// that packets of its first direction come with now, where this is one.
fn stale<'a>(
    context: &Context<'a>,
    known: &Known,
    session: Session,
    ethernet: Option<(MacAddress, MacAddress)>,
) -> Result<Stale<'a>, DropReason> {
    let original = context.flows.entry(session.original_entry).verdict;
    let before =
        (MacAddress(original.match_ethernet_destination), MacAddress(original.match_ethernet_source));
    let (ethernet_destination, ethernet_source) = ethernet.unwrap_or(before);
    let port = context.snapshot.port(session.original.in_port).ok_or(DropReason::UnknownPort)?;
    let is_reply = known.verdict.flags & REPLY != 0;
    let tuples = context.flows.tuples(known.session, &session);
    Ok(Stale {
        known: *known,
        session,
        tuples,
        port,
        original,
        ethernet_destination,
        ethernet_source,
        is_reply,
    })
}

fn related<'a>(context: &Context<'a>, ip: &Ip, port: &Port, inner: Inner) -> Result<Belongs<'a>, DropReason> {
    let tuple = inner.opposite_tuple(port.number);
    let found = context.flows.find(&tuple).ok_or(DropReason::RelatedUnknown)?;
    if ip.destination != inner.source {
        // An error goes to the sender of what it is about.
        return Err(DropReason::RelatedUnknown);
    }
    let index = context.flows.session(found.index);
    let session = context.sessions.get(index).ok_or(DropReason::RelatedUnknown)?;
    let tuples = context.flows.tuples(index, &session);
    let is_reply = found.verdict.flags & REPLY != 0;
    // From the inside the source is hidden as the flow's is (RFC 5508, REQ-5); from outside an error of a router on the
    // way keeps its own source (REQ-4).
    let is_hidden = port.workload.is_some() || ip.source == tuple.source;
    let outer_source = is_hidden.then(|| tuples.translated(is_reply).0);
    let quoted = if is_reply { tuples.original } else { tuples.reply };
    let related = Related { verdict: found.verdict, rewrite: ErrorRewrite { inner, outer_source, quoted } };
    if is_fresh(context, port.number, &found) {
        return Ok(Belongs::Related { related, stale: None });
    }
    let stale = stale(context, &known_as_it_is(index, &session, &found), session, None)?;
    Ok(Belongs::Related { related, stale: Some(Box::new(stale)) })
}

/// The connection of a packet that a load balancer's member seems to have sent, though nothing is known of it: a restart
/// or another host's table may have lost it, and path MTU discovery must not hang on that.
fn forgotten<'a>(
    context: &Context<'a>,
    headers: &Headers,
    ip: &Ip,
    port: &'a Port,
    inner: Inner,
) -> Option<Belongs<'a>> {
    context.snapshot.load_balancer_for(port, headers.ethernet_destination, inner.source)?;
    // A ping by the virtual address is no answer of a member's. And an error goes to the sender of what it is about.
    let is_ping = matches!(inner.protocol, PROTOCOL_ICMP | PROTOCOL_ICMPV6) && inner.source_port != 0;
    if ip.destination != inner.source || is_ping {
        return None;
    }
    let tuple = inner.opposite_tuple(port.number);
    // A connection that is known is not guessed at.
    let is_unknown = context.flows.find(&tuple).is_none();
    is_unknown.then_some(Belongs::Forgotten {
        subject: Subject {
            port,
            ethernet_destination: headers.ethernet_destination,
            ethernet_source: headers.ethernet_source,
            tuple,
            state: ConnectionState::first(tuple.protocol),
            verification_tags: [0; 2],
            keep: None,
        },
        inner,
    })
}

/// What happens to an error about an answer of a connection that is decided like `new`. From outside it keeps its own
/// source, as it is a router's on the way; from inside it has the one that the connection has.
pub fn related_to(new: &NewSession, inner: Inner) -> Related {
    Related {
        verdict: new.original_verdict,
        rewrite: ErrorRewrite { inner, outer_source: None, quoted: new.tuples.reply },
    }
}
