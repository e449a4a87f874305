//! What happens to a packet that no established flow forwards: the stages, in order.
//!
//! [`decide`] is the whole of it. Stages do not call each other and do not change the packet, the tables or the clock:
//! each answers one question from what it is given, and [`decide`] hands the answers on. What follows from a
//! [`Decision`] (a session written, a frame rewritten, an ARP request sent) is done by the engine in `commit.rs`. So a
//! packet that is only described (`trace`) takes the very same way.
//!
//! A packet may end after any stage: every stage lists in its module doc what it may drop with.

use std::net::{IpAddr, Ipv6Addr};

use edgestack_abi::session::Session;
use edgestack_abi::{DropReason, FlowVerdict};

use crate::address::MacAddress;
use crate::connection::ConnectionState;
use crate::connection::sctp::Tags;
use crate::engine::Timeouts;
use crate::rewrite::ErrorRewrite;
use crate::snapshot::security_group::RuleReference;
use crate::snapshot::{Port, Snapshot};
use crate::stages::connection::{Belongs, Stale};
use crate::stages::fragment::Part;
use crate::stages::route::NextHop;
use crate::stages::{
    admit, connection, destination, encapsulate, firewall, fragment, output, respond, route, source,
};
use crate::tables::affinity_table::{AffinityTable, Choice, Client};
use crate::tables::flow_table::{EntryIndex, FlowTable};
use crate::tables::fragment_table::{DatagramKey, FragmentTable};
use crate::tables::neighbour_table::{Asker, NeighbourKey, NeighbourTable};
use crate::tables::port_allocator::{Allocation, PortAllocator};
use crate::tables::port_table::PortTable;
use crate::tables::session_table::SessionTable;
use crate::trace::Trace;
use crate::tuple::{Tuple, Tuples};
use crate::wire::TCP_RST;
use crate::wire::arp::Arp;
use crate::wire::dhcp4::MessageType;
use crate::wire::dhcp6::answer::Verdict;
use crate::wire::headers::{self, Fragment, Headers, Ip, Network, Transport};
use crate::wire::icmp::IcmpError;
use crate::wire::neighbour::Neighbour;

/// The stages in the order in which a packet meets them, pinned by a test. Metering, to come, has its place before
/// `Encapsulate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Bytes to headers.
    Parse,
    /// Outer headers of a tunnel off, before the frame inside is decided about (`engine/tunnels.rs`).
    Decapsulate,
    /// May this port send this?
    Admit,
    /// Does the gateway answer it itself: ARP, ping?
    Respond,
    /// Is it only a part of a datagram?
    Fragment,
    /// Does it belong to a known connection?
    Connection,
    /// Where does it really go: another workload, a floating IP's workload, a load balancer's member, outside?
    Destination,
    /// May the sender send it?
    FirewallEgress,
    /// By which port and next hop?
    Route,
    /// Under which address does it leave?
    Source,
    /// May the receiver receive it?
    FirewallIngress,
    /// Can the tunnel that it leaves by be sent through?
    Encapsulate,
    /// The verdicts of both directions.
    Output,
    /// Not a stage of the pipeline: sending what it decided.
    Transmit,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 14] = [
        Self::Parse,
        Self::Decapsulate,
        Self::Admit,
        Self::Respond,
        Self::Fragment,
        Self::Connection,
        Self::Destination,
        Self::FirewallEgress,
        Self::Route,
        Self::Source,
        Self::FirewallIngress,
        Self::Encapsulate,
        Self::Output,
        Self::Transmit,
    ];

    /// The name in traces, counters and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Decapsulate => "decapsulate",
            Self::Admit => "admit",
            Self::Respond => "respond",
            Self::Fragment => "fragment",
            Self::Connection => "connection",
            Self::Destination => "destination",
            Self::FirewallEgress => "firewall_egress",
            Self::Route => "route",
            Self::Source => "source",
            Self::FirewallIngress => "firewall_ingress",
            Self::Encapsulate => "encapsulate",
            Self::Output => "output",
            Self::Transmit => "transmit",
        }
    }
}

/// All that a decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The configuration.
    pub snapshot: &'a Snapshot,
    /// The flows.
    pub flows: &'a FlowTable,
    /// The sessions.
    pub sessions: &'a SessionTable,
    /// The ports.
    pub ports: &'a PortTable,
    /// The datagrams that come in parts.
    pub fragments: &'a FragmentTable,
    /// The translated ports in use.
    pub allocator: &'a PortAllocator,
    /// The neighbours of external networks.
    pub neighbours: &'a NeighbourTable,
    /// Where clients of load balancers went before.
    pub affinities: &'a AffinityTable,
    /// The engine's clock.
    pub now_ticks: u32,
    /// A random number.
    pub random: u32,
    /// Idle times after which connections end.
    pub timeouts: &'a Timeouts,
    /// Segments in mid-flow open connections.
    pub tcp_pickup: bool,
}

/// The first packet of a connection: now, or as the session remembers it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The port that it came in by.
    pub port: &'a Port,
    /// Destination MAC address.
    pub ethernet_destination: MacAddress,
    /// Source MAC address.
    pub ethernet_source: MacAddress,
    /// Addresses and ports as received.
    pub tuple: Tuple,
    /// The state of the connection after it.
    pub state: ConnectionState,
    /// SCTP: the tags that it announces.
    pub verification_tags: Tags,
    /// When a session is decided again: its translation and next hop are kept where they may be.
    pub keep: Option<Keep<'a>>,
}

/// What a session that is decided again has now.
#[derive(Clone, Copy, Debug)]
pub struct Keep<'a> {
    /// The session.
    pub session: &'a Session,
    /// Its replies, as received.
    pub reply: Tuple,
    /// The MAC address that its first direction is sent to.
    pub next_hop_mac: MacAddress,
}

/// Why a packet ends before the last stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Dropped.
    Drop(DropReason),
    /// Dropped by the groups of a port.
    Deny(DropReason, u16),
    /// Dropped, and the sender is told.
    Tell(DropReason, IcmpError),
    /// Dropped, and the sender is told by RST or ICMP as by the host that it was for.
    Refuse(DropReason),
    /// Its next hop must be found first.
    Hold(NeighbourKey, Asker),
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Decision {
    /// It ends at a stage.
    Drop(Stage, DropReason),
    /// It ends at a stage, and the gateway tells its sender, from this address.
    Tell(Stage, DropReason, IcmpError, (IpAddr, MacAddress)),
    /// It ends at a stage, and its sender gets a RST, of SCTP an ABORT, of the address that it was for.
    Reset(Stage, DropReason),
    /// It waits for its next hop.
    Hold(NeighbourKey, Asker),
    /// The gateway answers.
    Respond(Response),
    /// It was for the gateway's own information.
    Learn(NeighbourKey, MacAddress),
    /// It is forwarded by a flow that the table holds.
    Known(Known),
    /// It is forwarded as the first packet of a new connection.
    New(NewSession),
    /// It is an ICMP error that travels with a flow.
    Related(Related),
    /// It is a later part of a datagram, forwarded as the first was.
    Part(DatagramKey, Fragment, EntryIndex),
    /// It is a part of a datagram, and waits for the first.
    Await(DatagramKey),
}

/// An answer that is made of the packet itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// Somebody asked who has an address.
    Arp(Arp),
    /// The same by neighbour discovery: the answer, and the MAC address that it comes from.
    Neighbour(Neighbour, MacAddress),
    /// A workload asked for routers: what it is told, by itself, or with all where it has no address yet.
    Advertisement(Option<(Ipv6Addr, MacAddress)>),
    /// Somebody pinged a gateway address.
    Echo,
    /// A workload asked by DHCP.
    Dhcp(MessageType),
    /// The same by DHCPv6.
    Dhcp6(Verdict),
    /// One of the gateway's own servers or clients is to have it.
    Service,
    /// Nothing: the packet needs no answer.
    Silence,
}

/// A packet of a known connection.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its flow's entry.
    pub entry: EntryIndex,
    /// What happens to it.
    pub verdict: FlowVerdict,
    /// The session.
    pub session: u32,
    /// State of the connection after this packet.
    pub state: ConnectionState,
    /// FINs seen, this packet's included.
    pub fin_seen: u32,
    /// SCTP: the tags that are known after it.
    pub verification_tags: Tags,
    /// The session's verdicts under the present configuration, when the old ones were out of date.
    pub renewed: Option<NewSession>,
}

/// An ICMP error about a packet of a known connection.
#[derive(Clone, Copy, Debug)]
pub struct Related {
    /// The verdict of the direction that the error travels in.
    pub verdict: FlowVerdict,
    /// What else is rewritten.
    pub rewrite: ErrorRewrite,
}

/// A connection to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewSession {
    /// The first packet and its answers.
    pub tuples: Tuples,
    /// What happens to packets of its direction.
    pub original_verdict: FlowVerdict,
    /// What happens to answers.
    pub reply_verdict: FlowVerdict,
    /// Its state after the first packet.
    pub state: ConnectionState,
    /// SCTP: the tags that are known after that.
    pub verification_tags: Tags,
    /// How it is translated: `SESSION_SNAT` and the like.
    pub kind: u8,
    /// The translated port to take.
    pub allocation: Option<Allocation>,
    /// The mapping that it comes in by.
    pub inbound: Option<Allocation>,
    /// The choice of a load balancer's member to remember.
    pub affinity: Option<(Client, Choice)>,
    /// The neighbour that the first direction is sent to.
    pub next_hop: Option<NextHop>,
    /// The rules that allowed it, of the sender's groups and of the receiver's.
    pub allowed: [Option<RuleReference>; 2],
}

/// A decision, and a session that must end because it is not allowed any more or is replaced.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    /// What becomes of the packet.
    pub decision: Decision,
    /// The session that ends.
    pub ends: Option<u32>,
    /// The port whose groups deny it.
    pub denied_by: Option<u16>,
    /// It is the first part of a datagram, of this flow: what becomes of it holds for the others.
    pub first_part: Option<(DatagramKey, Fragment, Tuple)>,
    /// The datagram that ends because its parts contradict each other.
    pub ends_datagram: Option<DatagramKey>,
}

/// A packet that ends before the last stage: where, why, and the session that ends with it.
struct Ended {
    stage: Stage,
    stop: Stop,
    session: Option<u32>,
}

impl From<Decision> for Decided {
    fn from(decision: Decision) -> Self {
        Self { decision, ends: None, denied_by: None, first_part: None, ends_datagram: None }
    }
}

/// Decides a frame that came in by port `in_port`.
pub fn decide(context: &Context<'_>, frame: &[u8], in_port: u16, trace: &mut Trace) -> Decided {
    let headers = match headers::parse(frame) {
        Ok(headers) => headers,
        Err(reason) => {
            trace.step(Stage::Parse, || reason.description().to_owned());
            return Decision::Drop(Stage::Parse, reason).into();
        }
    };
    trace.step(Stage::Parse, || output::describe(frame));
    let port = match admit::run(context, &headers, in_port, trace) {
        Ok(port) => port,
        Err(reason) => return Decision::Drop(Stage::Admit, reason).into(),
    };
    // The gateway answers workloads where they are.
    let response = match port.tunnel {
        Some(_) => Ok(None),
        None => respond::run(context, &headers, frame, port, trace),
    };
    let ip = match (response, &headers.network) {
        (Ok(None), Network::Ip(ip)) => ip,
        (Ok(Some(decision)), _) => return decision.into(),
        (Ok(None), Network::Arp(_) | Network::Neighbour(_) | Network::RouterSolicitation(_)) => {
            return Decision::Respond(Response::Silence).into();
        }
        (Err(reason), _) => return Decision::Drop(Stage::Respond, reason).into(),
    };
    let first_part = match fragment::run(context, ip, in_port, trace) {
        Ok(Part::Whole) => None,
        Ok(Part::First(key, part)) => ip.tuple(in_port).map(|tuple| (key, part, tuple)),
        Ok(Part::Later(key, part, entry)) => {
            return later_part(context, ip, (key, part, entry), trace);
        }
        Ok(Part::Early(key)) => return Decision::Await(key).into(),
        Err(refused) => {
            let drop = Decided::from(Decision::Drop(Stage::Fragment, refused.reason));
            return Decided { ends_datagram: refused.ends, ..drop };
        }
    };
    match forward(context, &headers, ip, port, trace) {
        Ok(decided) => Decided { first_part, ..decided },
        Err(Ended { stage, stop, session }) => {
            let denied_by = if let Stop::Deny(_, port) = stop { Some(port) } else { None };
            let decision = match stop {
                Stop::Drop(reason) | Stop::Deny(reason, _) => Decision::Drop(stage, reason),
                Stop::Hold(neighbour, asker) => Decision::Hold(neighbour, asker),
                Stop::Refuse(reason) => refuse(stage, reason, &headers, ip),
                Stop::Tell(reason, error) => {
                    let is_ipv6 = ip.source.is_ipv6();
                    // Where no router is on the way, the host that the packet was for seems to say it: none is left in the dark
                    // by a way between hosts that takes less than the network does.
                    let other = (ip.destination, headers.ethernet_destination);
                    let is_inside = port.workload.is_some() || context.snapshot.is_joint(port);
                    let is_too_big = reason == DropReason::PacketTooBig && is_inside;
                    let own = respond::own_address(context, port, headers.ethernet_destination, is_ipv6);
                    match own.or(is_too_big.then_some(other)) {
                        // RFC 1122, section 3.2.2: no error about an error.
                        Some(own) if !matches!(ip.transport, Transport::IcmpError { .. }) => {
                            Decision::Tell(stage, reason, error, own)
                        }
                        _ => Decision::Drop(stage, reason),
                    }
                }
            };
            Decided { decision, ends: session, denied_by, first_part, ends_datagram: None }
        }
    }
}

/// A later part of a datagram goes where the first went, if it may go out as it is.
fn later_part(
    context: &Context<'_>,
    ip: &Ip,
    (key, part, entry): (DatagramKey, Fragment, EntryIndex),
    trace: &mut Trace,
) -> Decided {
    let verdict = context.flows.entry(entry).verdict;
    match encapsulate::run(context, &verdict, trace)
        .and_then(|()| output::check(context, ip, &verdict, trace))
    {
        Ok(()) => Decision::Part(key, part, entry).into(),
        // Who sent the first part was told.
        Err(Stop::Drop(reason) | Stop::Deny(reason, _) | Stop::Tell(reason, _) | Stop::Refuse(reason)) => {
            Decision::Drop(Stage::Output, reason).into()
        }
        Err(Stop::Hold(neighbour, asker)) => Decision::Hold(neighbour, asker).into(),
    }
}

/// The answer of a host that nobody listens at: a RST, an ABORT, or an error from the address that the packet was for.
fn refuse(stage: Stage, reason: DropReason, headers: &Headers, ip: &Ip) -> Decision {
    let own = (ip.destination, headers.ethernet_destination);
    match ip.transport {
        Transport::Tcp { flags, .. } if flags & TCP_RST != 0 => Decision::Drop(stage, reason),
        Transport::Sctp(packet) if packet.chunks.end => Decision::Drop(stage, reason),
        Transport::Tcp { .. } | Transport::Sctp(_) => Decision::Reset(stage, reason),
        // RFC 1122, section 3.2.2: no error about an error, or about a later part of a datagram.
        Transport::IcmpError { .. } | Transport::LaterFragment => Decision::Drop(stage, reason),
        Transport::Udp { .. } | Transport::UdpLite { .. } | Transport::Other | Transport::IcmpEcho { .. } => {
            Decision::Tell(stage, reason, IcmpError::PortUnreachable, own)
        }
    }
}

/// The stages that forwarded packets go through.
fn forward(
    context: &Context<'_>,
    headers: &Headers,
    ip: &Ip,
    port: &Port,
    trace: &mut Trace,
) -> Result<Decided, Ended> {
    let ended = |stage, stop, session| Ended { stage, stop, session };
    let belongs = connection::run(context, headers, ip, port, trace)
        .map_err(|reason| ended(Stage::Connection, Stop::Drop(reason), None))?;
    let (decision, verdict, ends) = match belongs {
        Belongs::Known(known) => (Decision::Known(known), known.verdict, None),
        Belongs::Related { mut related, stale } => {
            if let Some(stale) = stale {
                // An error travels only while its connection is allowed; the connection's own packets renew it.
                let new = renew(context, &stale, trace).map_err(|(stage, stop)| ended(stage, stop, None))?;
                related.verdict = stale.renewed(new).verdict;
            }
            (Decision::Related(related), related.verdict, None)
        }
        Belongs::Forgotten { subject, inner } => {
            let new =
                decide_new(context, &subject, trace).map_err(|(stage, stop)| ended(stage, stop, None))?;
            if new.allocation.is_some() {
                // The port that the connection was translated to is not known any more.
                return Err(ended(Stage::Connection, Stop::Drop(DropReason::RelatedUnknown), None));
            }
            let related = connection::related_to(&new, inner);
            (Decision::Related(related), related.verdict, None)
        }
        Belongs::Stale(stale) => {
            let new = renew(context, &stale, trace).map_err(|(stage, stop)| {
                // A next hop that must be found first, or is silent, says nothing against the connection.
                let is_silent = matches!(stop, Stop::Tell(DropReason::NeighbourUnresolved, _));
                let revoked = !is_silent && !matches!(stop, Stop::Hold(..));
                ended(stage, stop, revoked.then_some(stale.known.session))
            })?;
            let known = stale.renewed(new);
            (Decision::Known(known), known.verdict, None)
        }
        Belongs::New { subject, replaced } => {
            let new =
                decide_new(context, &subject, trace).map_err(|(stage, stop)| ended(stage, stop, replaced))?;
            (Decision::New(new), new.original_verdict, replaced)
        }
    };
    encapsulate::run(context, &verdict, trace).map_err(|stop| ended(Stage::Encapsulate, stop, ends))?;
    output::check(context, ip, &verdict, trace).map_err(|stop| ended(Stage::Output, stop, ends))?;
    Ok(Decided { ends, ..decision.into() })
}

/// Decides the first packet of a connection.
fn decide_new(
    context: &Context<'_>,
    subject: &Subject<'_>,
    trace: &mut Trace,
) -> Result<NewSession, (Stage, Stop)> {
    let destination = destination::run(context, subject, trace).map_err(|stop| (Stage::Destination, stop))?;
    let deny = |stage: Stage, port: u16| move |reason: DropReason| (stage, Stop::Deny(reason, port));
    let by_sender = firewall::egress(context, subject, &destination, trace)
        .map_err(deny(Stage::FirewallEgress, subject.port.number))?;
    let route = route::run(context, subject, &destination, trace).map_err(|stop| (Stage::Route, stop))?;
    let source =
        source::run(context, subject, &destination, &route, trace).map_err(|stop| (Stage::Source, stop))?;
    let by_receiver = firewall::ingress(context, subject, &destination, &route, &source, trace)
        .map_err(deny(Stage::FirewallIngress, route.port))?;
    let new = output::run(context, subject, &destination, &route, &source);
    Ok(NewSession { allowed: [by_sender, by_receiver], ..new })
}

/// Decides a session again from its first packet, as the configuration is now. Its translation must come out the same; one
/// without any may go another way.
fn renew(context: &Context<'_>, stale: &Stale<'_>, trace: &mut Trace) -> Result<NewSession, (Stage, Stop)> {
    let subject = &stale.subject();
    admit::check_addresses(context, subject, trace).map_err(|reason| (Stage::Admit, Stop::Drop(reason)))?;
    let new = decide_new(context, subject, trace)?;
    let reply = stale.tuples.reply;
    let is_translated = new.kind != 0 || stale.session.kind != 0;
    let goes_another_way = !is_translated && Tuple { in_port: reply.in_port, ..new.tuples.reply } == reply;
    if new.tuples.reply == reply || goes_another_way {
        return Ok(new);
    }
    trace.step(Stage::Connection, || "the connection's translation is not configured any more".to_owned());
    Err((Stage::Connection, Stop::Drop(DropReason::NoMapping)))
}

#[cfg(test)]
mod tests {
    use super::Stage;

    #[test]
    fn the_order_of_the_stages_is_pinned() {
        let labels: Vec<_> = Stage::ALL.iter().map(|stage| stage.label()).collect();
        assert_eq!(
            labels,
            [
                "parse",
                "decapsulate",
                "admit",
                "respond",
                "fragment",
                "connection",
                "destination",
                "firewall_egress",
                "route",
                "source",
                "firewall_ingress",
                "encapsulate",
                "output",
                "transmit"
            ]
        );
        for (index, stage) in Stage::ALL.iter().enumerate() {
            assert_eq!(*stage as usize, index);
        }
    }
}
