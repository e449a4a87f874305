//! `trace`: what would happen to a described packet, told stage by stage. Nothing is sent and nothing changes.

use std::net::Ipv4Addr;

use super::Engine;
use crate::address::MacAddress;
use crate::inspect::{TraceReport, TraceRequest};
use crate::pipeline::{self, Decision};
use crate::rewrite;
use crate::snapshot::{Port, Snapshot};
use crate::stages::output::describe;
use crate::trace::Trace;
use crate::wire::headers::{self, Network};
use crate::wire::{
    ETHERNET_LENGTH, IPV4_LENGTH, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, TCP_SYN, icmp,
    internet_checksum, write_ipv4_checksum, write_u16,
};

/// Largest packet that can be described.
const LENGTH_MAX: u16 = 9000;

/// Why a description is no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// There is no such port.
    #[error("port: there is no port `{0}`")]
    UnknownPort(String),
    /// The protocol is none of those that can be described.
    #[error("protocol: `{0}` is none of tcp, udp, icmp")]
    UnknownProtocol(String),
    /// The flags are none.
    #[error("tcp_flags: `{0}` is none of the letters S, A, F, R, P, U")]
    UnknownFlag(char),
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
        let frame = build(&snapshot, port, request)?;
        let mut trace = Trace::recording();
        let context = self.context(&slow, &snapshot, 0);
        let decision = pipeline::decide(&context, &frame, port.number, &mut trace).decision;
        Ok(report(&snapshot, frame, &decision, trace))
    }
}

fn report(snapshot: &Snapshot, mut frame: Vec<u8>, decision: &Decision, trace: Trace) -> TraceReport {
    let mut report = TraceReport {
        verdict: String::new(),
        reason: None,
        out_port: None,
        packet_out: None,
        steps: trace.into_steps(),
    };
    let forwarded = match decision {
        Decision::Drop(_, reason) | Decision::Tell(_, reason, ..) => {
            "drop".clone_into(&mut report.verdict);
            report.reason = Some(reason.label().to_owned());
            None
        }
        Decision::Hold(..) => {
            "hold".clone_into(&mut report.verdict);
            None
        }
        Decision::Respond(_) | Decision::Learn(..) => {
            "respond".clone_into(&mut report.verdict);
            None
        }
        Decision::Known(known) => Some(known.verdict),
        Decision::New(new) => Some(new.original_verdict),
        Decision::Related(related) => Some(related.verdict),
    };
    if let (Some(verdict), Ok(headers)) = (forwarded, headers::parse(&frame))
        && let Network::Ipv4(ip) = headers.network
    {
        "forward".clone_into(&mut report.verdict);
        rewrite::apply(&mut frame, &verdict, ip.protocol, ip.header_length);
        report.out_port = snapshot.port(verdict.out_port).map(|port| port.name.clone());
        report.packet_out = Some(describe(&frame));
    }
    report
}

/// The frame that was described, with everything left out filled in as the workload would.
fn build(snapshot: &Snapshot, port: &Port, request: &TraceRequest) -> Result<Vec<u8>, TraceError> {
    let (protocol, header_length) = match request.protocol.as_str() {
        "tcp" => (PROTOCOL_TCP, 20),
        "udp" => (PROTOCOL_UDP, 8),
        "icmp" => (PROTOCOL_ICMP, 8),
        other => return Err(TraceError::UnknownProtocol(other.to_owned())),
    };
    let shortest = (IPV4_LENGTH + header_length) as u16;
    let length = request.length.unwrap_or(shortest);
    if !(shortest..=LENGTH_MAX).contains(&length) {
        return Err(TraceError::Length(length, shortest));
    }
    let workload = port.workload.as_ref();
    let source =
        request.source.or(workload.map(|workload| workload.ip_address)).ok_or(TraceError::NoSource)?;
    let source_mac = request.source_mac.or(workload.map(|workload| workload.mac_address));
    let destination_mac =
        request.destination_mac.unwrap_or_else(|| next_hop(snapshot, port, request.destination));
    let mut frame = vec![0; ETHERNET_LENGTH + usize::from(length)];
    frame[..6].copy_from_slice(&destination_mac.0);
    frame[6..12].copy_from_slice(&source_mac.unwrap_or(MacAddress([2, 0, 0, 0, 0, 1])).0);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let packet = &mut frame[ETHERNET_LENGTH..];
    packet[..2].copy_from_slice(&[0x45, 0]);
    write_u16(packet, 2, length);
    packet[6] = 0x40; // Do not fragment, as a host that knows its path's MTU sends.
    packet[8] = request.ttl.unwrap_or(64);
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&request.destination.octets());
    write_ipv4_checksum(packet, IPV4_LENGTH);
    write_transport(&mut packet[IPV4_LENGTH..], protocol, request)?;
    Ok(frame)
}

fn write_transport(transport: &mut [u8], protocol: u8, request: &TraceRequest) -> Result<(), TraceError> {
    write_u16(transport, 0, request.source_port);
    write_u16(transport, 2, request.destination_port);
    match protocol {
        PROTOCOL_TCP => {
            transport[12] = 5 << 4;
            transport[13] = tcp_flags(request.tcp_flags.as_deref())?;
        }
        PROTOCOL_UDP => {
            let length = transport.len() as u16;
            write_u16(transport, 4, length);
        }
        _ => {
            transport[..4].copy_from_slice(&[icmp::ECHO_REQUEST, 0, 0, 0]);
            write_u16(transport, 4, request.source_port);
            let checksum = internet_checksum(transport);
            write_u16(transport, 2, checksum);
        }
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
fn next_hop(snapshot: &Snapshot, port: &Port, destination: Ipv4Addr) -> MacAddress {
    let network = &snapshot.networks[port.network];
    if port.workload.is_none() {
        // From outside the destination's owner answers ARP.
        let router = match network.owner(destination) {
            Some(crate::snapshot::Owner::Router(router)) => Some(router),
            Some(crate::snapshot::Owner::FloatingIp(index)) => {
                snapshot.floating_ips[index].target.map(|(_, router)| router)
            }
            None => None,
        };
        return router.map_or(MacAddress::default(), |router| snapshot.routers[router].mac_address);
    }
    let neighbour = network
        .cidr
        .contains(destination)
        .then(|| snapshot.port_in_network(port.network, destination))
        .flatten()
        .and_then(|port| port.workload.as_ref());
    match (neighbour, network.router) {
        (Some(workload), _) => workload.mac_address,
        (None, Some(router)) => snapshot.routers[router].mac_address,
        (None, None) => MacAddress::default(),
    }
}
