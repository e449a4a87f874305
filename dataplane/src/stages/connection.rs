//! Connection: does the packet belong to a connection that is known?
//!
//! A packet of a known connection goes on by the connection's verdict, after the TCP state is brought up to date. When
//! the configuration of one of its ports has changed since the verdict was made, the connection is decided again
//! from its first packet. An ICMP error belongs to the connection of the packet that it quotes (RFC 5508, REQ-4 to
//! REQ-6: it is translated with it and never ends it).
//!
//! Drops: `InvalidConnectionState`, `RelatedUnknown`, `UnknownPort`.

use edgestack_abi::flow::REPLY;
use edgestack_abi::{DropReason, FlowKey, FlowVerdict, Session};

use crate::address::MacAddress;
use crate::connection::{ConnectionState, Transition, advance};
use crate::pipeline::{Context, Keep, Known, NewSession, Related, Stage, Subject};
use crate::snapshot::Port;
use crate::tables::flow_table::Found;
use crate::trace::Trace;
use crate::wire::headers::{Headers, Inner, Ipv4, Transport};
use crate::wire::{TCP_ACK, TCP_SYN, host_address};

/// What a packet belongs to.
#[derive(Debug)]
pub enum Belongs<'a> {
    /// A known connection.
    Known(Known),
    /// A known connection whose verdict is out of date.
    Stale(Box<Stale<'a>>),
    /// A known connection, as an error about one of its packets.
    Related(Related),
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
    port: &'a Port,
    /// The verdict of the first packet's direction, as it is.
    original: FlowVerdict,
    ethernet_destination: MacAddress,
    is_reply: bool,
}

impl Stale<'_> {
    /// The connection's first packet.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            port: self.port,
            ethernet_destination: self.ethernet_destination,
            ethernet_source: MacAddress(self.original.match_ethernet_source),
            key: self.session.original,
            keep: Some(Keep {
                session: &self.session,
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
    ip: &Ipv4,
    port: &'a Port,
    trace: &mut Trace,
) -> Result<Belongs<'a>, DropReason> {
    let result = find(context, headers, ip, port);
    trace.step(Stage::Connection, || match &result {
        Ok(Belongs::Known(known)) => format!("session {}, {}", known.session, known.state.label()),
        Ok(Belongs::Stale(stale)) => {
            format!(
                "session {}, {}; the configuration has changed since",
                stale.known.session,
                stale.known.state.label()
            )
        }
        Ok(Belongs::Related(_)) => "an error about a packet of a known connection".to_owned(),
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
    ip: &Ipv4,
    port: &'a Port,
) -> Result<Belongs<'a>, DropReason> {
    let key = match (ip.transport, ip.flow_key(port.number)) {
        (Transport::IcmpError { inner, .. }, _) => return related(context, ip, port, inner),
        (_, Some(key)) => key,
        (_, None) => return Err(DropReason::UnknownProtocol),
    };
    let subject = Subject {
        port,
        ethernet_destination: headers.ethernet_destination,
        ethernet_source: headers.ethernet_source,
        key,
        keep: None,
    };
    match context.flows.lookup(&key, context.flows.hash(&key)) {
        Some(found) => known(context, &subject, ip, found),
        None if opens_connection(ip) => Ok(Belongs::New { subject, replaced: None }),
        None => Err(DropReason::InvalidConnectionState),
    }
}

fn opens_connection(ip: &Ipv4) -> bool {
    match ip.transport {
        Transport::Tcp { flags, .. } => flags & (TCP_SYN | TCP_ACK) == TCP_SYN,
        Transport::Udp { .. } => true,
        Transport::IcmpEcho { request, .. } => request,
        Transport::IcmpError { .. } => false,
    }
}

/// The state of a connection whose first packet has this protocol.
pub fn first_state(key: &FlowKey) -> ConnectionState {
    match key.protocol {
        crate::wire::PROTOCOL_TCP => ConnectionState::SynSent,
        crate::wire::PROTOCOL_UDP => ConnectionState::Udp,
        _ => ConnectionState::Icmp,
    }
}

fn known<'a>(
    context: &Context<'a>,
    subject: &Subject<'a>,
    ip: &Ipv4,
    found: Found,
) -> Result<Belongs<'a>, DropReason> {
    let session_index = context.flows.entry(found.index).session;
    let session = context.sessions.get(session_index).ok_or(DropReason::InvalidConnectionState)?;
    let is_reply = found.verdict.flags & REPLY != 0;
    let mut fin_seen = session.fin_seen;
    let mut state = ConnectionState::from_number(session.state);
    if let Transport::Tcp { flags, .. } = ip.transport {
        match advance(state, flags, is_reply, &mut fin_seen) {
            Transition::To(next) => state = next,
            Transition::Reopen => {
                return Ok(Belongs::New { subject: *subject, replaced: Some(session_index) });
            }
            Transition::Invalid => return Err(DropReason::InvalidConnectionState),
        }
    }
    let known = Known {
        entry: found.index,
        verdict: found.verdict,
        session: session_index,
        state,
        fin_seen,
        renewed: None,
    };
    // The first direction's packet may have come to another MAC address than before: that is another way to decide.
    let is_moved = !is_reply && found.verdict.match_ethernet_destination != subject.ethernet_destination.0;
    let is_fresh =
        found.verdict.epoch == context.ports.flow_epoch(subject.key.in_port, found.verdict.out_port);
    if is_fresh && !is_moved {
        return Ok(Belongs::Known(known));
    }
    let original = context.flows.entry(session.original_entry).verdict;
    let ethernet_destination =
        if is_reply { MacAddress(original.match_ethernet_destination) } else { subject.ethernet_destination };
    let port = context.snapshot.port(session.original.in_port).ok_or(DropReason::UnknownPort)?;
    Ok(Belongs::Stale(Box::new(Stale { known, session, port, original, ethernet_destination, is_reply })))
}

fn related<'a>(
    context: &Context<'a>,
    ip: &Ipv4,
    port: &Port,
    inner: Inner,
) -> Result<Belongs<'a>, DropReason> {
    let key = inner.opposite_key(port.number);
    let found = context.flows.lookup(&key, context.flows.hash(&key)).ok_or(DropReason::RelatedUnknown)?;
    // From the inside the source is hidden as the flow's is (RFC 5508, REQ-5); from outside an error of a router on the
    // way keeps its own source (REQ-4).
    let is_hidden = port.workload.is_some() || ip.source == host_address(key.source);
    let outer_source = is_hidden.then(|| found.verdict.source.to_ne_bytes());
    Ok(Belongs::Related(Related { verdict: found.verdict, inner, outer_source }))
}
