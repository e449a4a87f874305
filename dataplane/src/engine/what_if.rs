//! `trace`: what would happen to a described packet, told stage by stage. Nothing is sent and nothing changes.

use std::net::IpAddr;

use edgestack_abi::flow::REPLY;

use super::Engine;
use crate::address::MacAddress;
use crate::inspect::{LiveTraceRequest, LiveTraceView, TraceReport, TraceRequest};
use crate::live_trace::{LiveTrace, LiveTraceError};
use crate::pipeline::{self, Decision};
use crate::rewrite;
use crate::snapshot::{Port, Snapshot};
use crate::stages::output::describe;
use crate::tables::neighbour_table::{NeighbourKey, NeighbourTable};
use crate::trace::Trace;
use crate::wire::headers::{self, Network};
use crate::wire::{
    ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHERNET_LENGTH, IPV4_LENGTH, IPV6_LENGTH, PROTOCOL_ICMP,
    PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_UDP_LITE, TCP_SYN, has_ports,
    has_selectors, icmp, protocol_number, sctp, write_address, write_ipv4_checksum, write_u16,
};

/// Largest packet that can be described.
const LENGTH_MAX: u16 = 9000;

/// Why a description is no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// There is no such port.
    #[error("port: there is no port `{0}`")]
    UnknownPort(String),
    /// The workload is on another host.
    #[error("port: `{0}` is on another host; trace its packets there")]
    Elsewhere(String),
    /// The protocol is none.
    #[error("protocol: `{0}` is no protocol that has a name here; write its number, 0 to 255")]
    UnknownProtocol(String),
    /// Ports of a protocol that has none.
    #[error("source_port, destination_port: protocol {0} has no ports; leave them out")]
    NoPorts(String),
    /// The flags are none.
    #[error("tcp_flags: `{0}` is none of the letters S, A, F, R, P, U")]
    UnknownFlag(char),
    /// Source and destination are not of one version.
    #[error("source: {0} and the destination {1} are not of one IP version")]
    Versions(IpAddr, IpAddr),
    /// An uplink has no address of its own.
    #[error("source: packets from an uplink need a source address")]
    NoSource,
    /// The length does not fit.
    #[error("length: {0} is not between {1} and {LENGTH_MAX}")]
    Length(u16, u16),
}

impl Engine {
    /// Sends a described packet through the pipeline without sending it.
    pub fn trace(&self, request: &TraceRequest) -> Result<TraceReport, TraceError> {
        let slow = self.slow();
        let snapshot = self.snapshot.load();
        let port = snapshot
            .ports()
            .find(|port| port.id == request.port || port.name == request.port)
            .ok_or_else(|| TraceError::UnknownPort(request.port.clone()))?;
        if port.remote.is_some() {
            return Err(TraceError::Elsewhere(request.port.clone()));
        }
        let frame = build(&snapshot, &slow.neighbours, port, request)?;
        let mut trace = Trace::recording();
        let context = self.context(&slow, &snapshot, 0);
        let decision = pipeline::decide(&context, &frame, port.number, &mut trace).decision;
        Ok(self.report(&snapshot, frame, &decision, trace))
    }

    /// Starts a live trace of packets that pass; see [`crate::live_trace`].
    pub fn live_trace(&self, request: &LiveTraceRequest) -> Result<LiveTrace, LiveTraceError> {
        let snapshot = self.snapshot.load();
        let port = request.port.as_ref().map(|wanted| {
            let found = snapshot.ports().find(|port| port.id == *wanted || port.name == *wanted);
            found.map(|port| port.number).ok_or_else(|| LiveTraceError::UnknownPort(wanted.clone()))
        });
        self.live_traces.start(request, port.transpose()?)
    }

    /// What was decided about a packet that passes.
    pub(super) fn live_report(
        &self,
        snapshot: &Snapshot,
        frame: &[u8],
        in_port: u16,
        decision: &Decision,
        trace: Trace,
    ) -> LiveTraceView {
        LiveTraceView {
            in_port: snapshot
                .port(in_port)
                .map_or_else(|| format!("port {in_port}"), |port| port.name.clone()),
            packet: describe(frame),
            lost_packets: 0,
            report: self.report(snapshot, frame.to_vec(), decision, trace),
        }
    }

    fn report(
        &self,
        snapshot: &Snapshot,
        mut frame: Vec<u8>,
        decision: &Decision,
        trace: Trace,
    ) -> TraceReport {
        let mut report = TraceReport {
            verdict: String::new(),
            reason: None,
            out_port: None,
            packet_out: None,
            steps: trace.into_steps(),
        };
        let forwarded = match decision {
            Decision::Drop(_, reason) | Decision::Tell(_, reason, ..) | Decision::Reset(_, reason) => {
                "drop".clone_into(&mut report.verdict);
                report.reason = Some(reason.label().to_owned());
                None
            }
            Decision::Hold(..) | Decision::Await(_) => {
                "hold".clone_into(&mut report.verdict);
                None
            }
            Decision::Respond(_) | Decision::Learn(..) => {
                "respond".clone_into(&mut report.verdict);
                None
            }
            Decision::Known(known) => {
                let is_reply = known.verdict.flags & REPLY != 0;
                Some((known.verdict, self.flows.addresses(known.session).sent(is_reply)))
            }
            Decision::New(new) => {
                let addresses = new.tuples.addresses().unwrap_or_default();
                Some((new.original_verdict, addresses.sent(false)))
            }
            // What an error quotes and what is behind a first part are not written out.
            Decision::Related(related) => {
                leaves_by(&mut report, snapshot, related.verdict.out_port);
                None
            }
            Decision::Part(_, _, entry) => {
                leaves_by(&mut report, snapshot, self.flows.entry(*entry).verdict.out_port);
                None
            }
        };
        if let (Some((verdict, addresses)), Ok(headers)) = (forwarded, headers::parse(&frame))
            && let Network::Ip(ip) = headers.network
        {
            leaves_by(&mut report, snapshot, verdict.out_port);
            rewrite::apply_to(&mut frame, &verdict, &ip, &addresses);
            report.packet_out = Some(describe(&frame));
        }
        report
    }
}

fn leaves_by(report: &mut TraceReport, snapshot: &Snapshot, out_port: u16) {
    "forward".clone_into(&mut report.verdict);
    report.out_port = snapshot.port(out_port).map(|port| port.name.clone());
}

/// The frame that was described, with everything left out filled in as the workload would.
fn build(
    snapshot: &Snapshot,
    neighbours: &NeighbourTable,
    port: &Port,
    request: &TraceRequest,
) -> Result<Vec<u8>, TraceError> {
    let is_ipv6 = request.destination.is_ipv6();
    let (protocol, transport_length) = protocol(request)?;
    let header_length = if is_ipv6 { IPV6_LENGTH } else { IPV4_LENGTH };
    let shortest = (header_length + transport_length) as u16;
    let length = request.length.unwrap_or(shortest);
    if !(shortest..=LENGTH_MAX).contains(&length) {
        return Err(TraceError::Length(length, shortest));
    }
    let workload = port.workload.as_ref();
    let own = workload.and_then(|workload| workload.address(is_ipv6));
    let source = request.source.or(own).ok_or(TraceError::NoSource)?;
    if source.is_ipv6() != is_ipv6 {
        return Err(TraceError::Versions(source, request.destination));
    }
    let source_mac = request.source_mac.or(workload.map(|workload| workload.mac_address));
    let destination_mac =
        request.destination_mac.unwrap_or_else(|| next_hop(snapshot, neighbours, port, request.destination));
    let mut frame = vec![0; ETHERNET_LENGTH + usize::from(length)];
    frame[..6].copy_from_slice(&destination_mac.0);
    frame[6..12].copy_from_slice(&source_mac.unwrap_or(MacAddress([2, 0, 0, 0, 0, 1])).0);
    write_u16(&mut frame, 12, if is_ipv6 { ETHER_TYPE_IPV6 } else { ETHER_TYPE_IPV4 });
    let packet = &mut frame[ETHERNET_LENGTH..];
    let ttl = request.ttl.unwrap_or(64);
    if is_ipv6 {
        packet[0] = 0x60;
        write_u16(packet, 4, length - IPV6_LENGTH as u16);
        packet[6..8].copy_from_slice(&[protocol, ttl]);
        write_address(packet, 8, source);
        write_address(packet, 24, request.destination);
    } else {
        packet[..2].copy_from_slice(&[0x45, 0]);
        write_u16(packet, 2, length);
        packet[6] = 0x40; // Do not fragment, as a host that knows its path's MTU sends.
        packet[8..10].copy_from_slice(&[ttl, protocol]);
        write_address(packet, 12, source);
        write_address(packet, 16, request.destination);
        write_ipv4_checksum(packet, IPV4_LENGTH);
    }
    write_transport(packet, header_length, protocol, request)?;
    Ok(frame)
}

/// The protocol, and the length of its shortest packet.
fn protocol(request: &TraceRequest) -> Result<(u8, usize), TraceError> {
    let name = &request.protocol;
    let protocol = protocol_number(name).ok_or_else(|| TraceError::UnknownProtocol(name.clone()))?;
    if !has_selectors(protocol) && (request.source_port, request.destination_port) != (0, 0) {
        return Err(TraceError::NoPorts(name.clone()));
    }
    Ok(match protocol {
        PROTOCOL_TCP => (protocol, 20),
        PROTOCOL_SCTP => (protocol, sctp::INIT_PACKET_LENGTH),
        PROTOCOL_UDP | PROTOCOL_UDP_LITE => (protocol, 8),
        // Of whichever version, the packet's own.
        PROTOCOL_ICMP | PROTOCOL_ICMPV6 => {
            (if request.destination.is_ipv6() { PROTOCOL_ICMPV6 } else { PROTOCOL_ICMP }, 8)
        }
        _ => (protocol, 0),
    })
}

fn write_transport(
    packet: &mut [u8],
    header_length: usize,
    protocol: u8,
    request: &TraceRequest,
) -> Result<(), TraceError> {
    let transport = &mut packet[header_length..];
    if has_ports(protocol) {
        write_u16(transport, 0, request.source_port);
        write_u16(transport, 2, request.destination_port);
    }
    match protocol {
        PROTOCOL_TCP => {
            transport[12] = 5 << 4;
            transport[13] = tcp_flags(request.tcp_flags.as_deref())?;
        }
        PROTOCOL_UDP => {
            let length = transport.len() as u16;
            write_u16(transport, 4, length);
        }
        PROTOCOL_SCTP => sctp::write_init(transport),
        PROTOCOL_ICMP | PROTOCOL_ICMPV6 => {
            let kind = if protocol == PROTOCOL_ICMP { icmp::ECHO_REQUEST } else { icmp::ECHO_REQUEST_IPV6 };
            transport[..4].copy_from_slice(&[kind, 0, 0, 0]);
            write_u16(transport, 4, request.source_port);
            icmp::write_icmp_checksum(packet, header_length);
        }
        _ => {}
    }
    Ok(())
}

fn tcp_flags(letters: Option<&str>) -> Result<u8, TraceError> {
    let Some(letters) = letters else { return Ok(TCP_SYN) };
    let flag = |letter: char| {
        let position = "FSRPAU".find(letter.to_ascii_uppercase()).ok_or(TraceError::UnknownFlag(letter))?;
        Ok(1 << position)
    };
    letters.chars().try_fold(0, |flags, letter| Ok(flags | flag(letter)?))
}

/// The MAC address that a host behind `port` would send to: that of a neighbour on its network, else its gateway's.
fn next_hop(
    snapshot: &Snapshot,
    neighbours: &NeighbourTable,
    port: &Port,
    destination: IpAddr,
) -> MacAddress {
    let network = &snapshot.networks[port.network];
    if port.workload.is_none() && network.external {
        // From outside the destination's owner answers ARP.
        let router = match network.owner(destination) {
            Some(owner) => snapshot.router_of(owner),
            // IPv6 is routed to the router that it is behind.
            None => network.routers().find(|router| snapshot.is_behind_router(*router, destination)),
        };
        return router.map_or(MacAddress::default(), |router| snapshot.routers[router].mac_address);
    }
    if network.load_balancer(destination).is_some() {
        return snapshot.gateway_mac(port.network);
    }
    let neighbour = network
        .contains(destination)
        .then(|| snapshot.port_in_network(port.network, destination))
        .flatten()
        .and_then(|port| port.workload.as_ref())
        .map(|workload| workload.mac_address);
    let beyond = network
        .joint()
        .and_then(|port| neighbours.mac_address(NeighbourKey { port, ip_address: destination }));
    match (neighbour.or(beyond), network.router) {
        (Some(mac), _) => mac,
        (None, Some(router)) => snapshot.routers[router].mac_address,
        (None, None) => MacAddress::default(),
    }
}
