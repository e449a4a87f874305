//! A packet as a few fields: what random traffic is made of, and what the answer to a packet is made from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    IcmpEchoHeader, Icmpv4Type, Icmpv6Type, IpNumber, LinkSlice, NetSlice, PacketBuilder, PacketBuilderStep,
    SlicedPacket, TransportSlice,
};

use super::tunnel::Tunnel;

/// TCP flags, as in the header.
pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const PSH: u8 = 8;
pub(super) const ACK: u8 = 16;

/// Types of chunks of SCTP.
pub(super) const DATA: u8 = 0;
pub(super) const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
pub(super) const ABORT: u8 = 6;
pub(super) const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;
/// The tag that whoever opens an association announces, and that of the other side.
const TAGS: [u8; 2] = [1, 2];

/// The part above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp { source: u16, destination: u16 },
    Tcp { source: u16, destination: u16, flags: u8 },
    Echo { is_reply: bool, identifier: u16 },
    Sctp { source: u16, destination: u16, chunk: u8, tag: u8 },
    Other { protocol: u8 },
}

/// A packet.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) ethernet_source: [u8; 6],
    pub(super) ethernet_destination: [u8; 6],
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// TTL or hop limit.
    pub(super) ttl: u8,
    pub(super) transport: Transport,
    /// Bytes above the transport header.
    pub(super) payload_length: usize,
    /// What it comes by from another host.
    pub(super) tunnel: Option<Tunnel>,
}

impl Segment {
    /// The frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let inner = self.encode_inner();
        self.tunnel.map_or_else(|| inner.clone(), |tunnel| tunnel.wrap(&inner))
    }

    fn encode_inner(&self) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2(self.ethernet_source, self.ethernet_destination);
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.encode_transport(ethernet.ipv4(source.octets(), destination.octets(), self.ttl), true)
            }
            (source, destination) => {
                let octets = |address: IpAddr| match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                    IpAddr::V6(address) => address.octets(),
                };
                self.encode_transport(ethernet.ipv6(octets(source), octets(destination), self.ttl), false)
            }
        }
    }

    fn encode_transport(&self, ip: PacketBuilderStep<etherparse::IpHeaders>, is_ipv4: bool) -> Vec<u8> {
        let payload: Vec<u8> = (0..self.payload_length).map(|index| index as u8 ^ 0x5a).collect();
        let mut frame = Vec::with_capacity(payload.len() + 80);
        let written = match self.transport {
            Transport::Udp { source, destination } => ip.udp(source, destination).write(&mut frame, &payload),
            Transport::Tcp { source, destination, flags } => {
                let mut tcp = ip.tcp(source, destination, 1000, 5000);
                let has = |flag: u8| flags & flag != 0;
                tcp = if has(FIN) { tcp.fin() } else { tcp };
                tcp = if has(SYN) { tcp.syn() } else { tcp };
                tcp = if has(RST) { tcp.rst() } else { tcp };
                tcp = if has(PSH) { tcp.psh() } else { tcp };
                tcp = if has(ACK) { tcp.ack(77) } else { tcp };
                tcp.write(&mut frame, &payload)
            }
            Transport::Echo { is_reply, identifier } => match (is_ipv4, is_reply) {
                (true, false) => ip.icmpv4_echo_request(identifier, 1).write(&mut frame, &payload),
                (true, true) => ip.icmpv4_echo_reply(identifier, 1).write(&mut frame, &payload),
                (false, false) => ip.icmpv6_echo_request(identifier, 1).write(&mut frame, &payload),
                (false, true) => ip.icmpv6_echo_reply(identifier, 1).write(&mut frame, &payload),
            },
            Transport::Sctp { source, destination, chunk, tag } => {
                let packet = sctp(source, destination, (chunk, tag), &payload);
                ip.write(&mut frame, IpNumber::SCTP, &packet)
            }
            Transport::Other { protocol } => ip.write(&mut frame, IpNumber(protocol), &payload),
        };
        // Writing to memory fails for payloads beyond 64 KiB, which there are none of.
        written.map_or_else(|_| Vec::new(), |()| frame)
    }

    /// Reads a frame; none when it is of another kind.
    pub(super) fn decode(frame: &[u8]) -> Option<Self> {
        match Tunnel::unwrap(frame) {
            Some((tunnel, inner)) => Some(Self { tunnel: Some(tunnel), ..Self::decode_inner(inner)? }),
            None => Self::decode_inner(frame),
        }
    }

    fn decode_inner(frame: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let Some(LinkSlice::Ethernet2(ethernet)) = packet.link else { return None };
        let (source, destination, ttl, payload): (IpAddr, IpAddr, u8, _) = match packet.net? {
            NetSlice::Ipv4(ip) if ip.is_payload_fragmented() => return None,
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                (
                    header.source_addr().into(),
                    header.destination_addr().into(),
                    header.ttl(),
                    ip.payload().clone(),
                )
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                (
                    header.source_addr().into(),
                    header.destination_addr().into(),
                    header.hop_limit(),
                    ip.payload().clone(),
                )
            }
            NetSlice::Arp(_) => return None,
        };
        let echo = |is_reply, header: IcmpEchoHeader| Transport::Echo { is_reply, identifier: header.id };
        let (transport, payload_length) = match packet.transport {
            None if payload.ip_number == IpNumber::SCTP => {
                let (transport, length) = read_sctp(payload.payload)?;
                (transport, length)
            }
            None => (Transport::Other { protocol: payload.ip_number.0 }, payload.payload.len()),
            Some(transport) => match transport {
                TransportSlice::Igmp(_) => return None,
                TransportSlice::Udp(udp) => (
                    Transport::Udp { source: udp.source_port(), destination: udp.destination_port() },
                    udp.payload().len(),
                ),
                TransportSlice::Tcp(tcp) => (
                    Transport::Tcp {
                        source: tcp.source_port(),
                        destination: tcp.destination_port(),
                        flags: tcp.slice()[13],
                    },
                    tcp.payload().len(),
                ),
                TransportSlice::Icmpv4(icmp) => match icmp.icmp_type() {
                    Icmpv4Type::EchoRequest(header) => (echo(false, header), icmp.payload().len()),
                    Icmpv4Type::EchoReply(header) => (echo(true, header), icmp.payload().len()),
                    _ => return None,
                },
                TransportSlice::Icmpv6(icmp) => match icmp.icmp_type() {
                    Icmpv6Type::EchoRequest(header) => (echo(false, header), icmp.payload().len()),
                    Icmpv6Type::EchoReply(header) => (echo(true, header), icmp.payload().len()),
                    _ => return None,
                },
            },
        };
        Some(Self {
            ethernet_source: ethernet.source(),
            ethernet_destination: ethernet.destination(),
            source,
            destination,
            ttl,
            transport,
            payload_length,
            tunnel: None,
        })
    }

    /// What the receiver sends back. None for what nobody answers.
    pub(super) fn answer(&self) -> Option<Self> {
        let transport = match self.transport {
            Transport::Udp { source, destination } => {
                Transport::Udp { source: destination, destination: source }
            }
            Transport::Tcp { flags, .. } if flags & RST != 0 => return None,
            Transport::Tcp { source, destination, flags } => {
                let flags = match flags & (SYN | FIN | ACK) {
                    SYN => SYN | ACK,
                    flags if flags & FIN != 0 => FIN | ACK,
                    _ => ACK,
                };
                Transport::Tcp { source: destination, destination: source, flags }
            }
            Transport::Echo { is_reply: true, .. } => return None,
            Transport::Echo { identifier, .. } => Transport::Echo { is_reply: true, identifier },
            Transport::Sctp { source, destination, chunk, tag } => {
                let chunk = match chunk {
                    INIT => INIT_ACK,
                    INIT_ACK => COOKIE_ECHO,
                    COOKIE_ECHO => COOKIE_ACK,
                    COOKIE_ACK => DATA,
                    DATA => SACK,
                    SHUTDOWN => SHUTDOWN_ACK,
                    SHUTDOWN_ACK => SHUTDOWN_COMPLETE,
                    _ => return None,
                };
                // What is sent has the tag of its receiver; an INIT has none, and its answer that of who sent it.
                let tag = if tag == TAGS[0] { TAGS[1] } else { TAGS[0] };
                Transport::Sctp { source: destination, destination: source, chunk, tag }
            }
            Transport::Other { .. } => self.transport,
        };
        Some(Self {
            ethernet_source: self.ethernet_destination,
            ethernet_destination: self.ethernet_source,
            source: self.destination,
            destination: self.source,
            ttl: 64,
            transport,
            payload_length: self.payload_length % 700,
            tunnel: self.tunnel.map(Tunnel::reversed),
        })
    }

    /// An ICMP error about this packet, as its receiver or a router on the way sends it.
    pub(super) fn error(&self, kind: u8, code: u8) -> Vec<u8> {
        let frame = self.encode_inner();
        let quoted = &frame[14..frame.len().min(14 + 128)];
        let ethernet = PacketBuilder::ethernet2(self.ethernet_destination, self.ethernet_source);
        let mut answer = Vec::new();
        let rest = [0, 0, 5, 0];
        let written = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => ethernet
                .ipv4(destination.octets(), source.octets(), 64)
                .icmpv4_raw(kind, code, rest)
                .write(&mut answer, quoted),
            (IpAddr::V6(source), IpAddr::V6(destination)) => ethernet
                .ipv6(destination.octets(), source.octets(), 64)
                .icmpv6_raw(kind % 4 + 1, code, rest)
                .write(&mut answer, quoted),
            _ => return answer,
        };
        if written.is_err() {
            return Vec::new();
        }
        self.tunnel.map_or_else(|| answer.clone(), |tunnel| tunnel.reversed().wrap(&answer))
    }
}

/// A packet of SCTP with one chunk. Its checksum is not looked at on the way, and only kept as wrong as it is.
fn sctp(source: u16, destination: u16, (chunk, tag): (u8, u8), payload: &[u8]) -> Vec<u8> {
    let value = match chunk {
        INIT | INIT_ACK => {
            let own = if chunk == INIT { TAGS[0] } else { TAGS[1] };
            vec![0, 0, 0, own, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]
        }
        DATA => [&[0; 12], payload].concat(),
        _ => vec![0; 4],
    };
    let mut packet = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    packet.extend([0, 0, 0, tag, 0, 0, 0, 0, chunk, 3]);
    packet.extend((value.len() as u16 + 4).to_be_bytes());
    packet.extend(value);
    packet.resize(packet.len().next_multiple_of(4), 0);
    packet
}

/// Reads what [`sctp`] makes; the length of the payload, too.
fn read_sctp(packet: &[u8]) -> Option<(Transport, usize)> {
    let head: &[u8; 16] = packet.first_chunk()?;
    let number = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let transport =
        Transport::Sctp { source: number(0), destination: number(2), chunk: head[12], tag: head[7] };
    Some((transport, usize::from(number(14)).saturating_sub(16)))
}

/// The answer to an ARP request or a neighbour solicitation, by `mac`; none to anything else.
pub(super) fn resolved(frame: &[u8], mac: [u8; 6]) -> Option<Vec<u8>> {
    let (asker, ether_type) = (frame.get(6..12)?, frame.get(12..14)?);
    if ether_type == [8, 6] && frame.get(20..22)? == [0, 1] {
        let (sender, target) = (frame.get(28..32)?, frame.get(38..42)?);
        return Some([asker, &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &mac, target, asker, sender].concat());
    }
    if ether_type == [0x86, 0xdd] && frame.get(54) == Some(&135) {
        let address = |at: usize| -> Option<[u8; 16]> { frame.get(at..at + 16)?.try_into().ok() };
        let (sender, target) = (address(22)?, address(62)?);
        let body = [target.as_slice(), &[2, 1], &mac].concat();
        let mut answer = Vec::new();
        PacketBuilder::ethernet2(mac, asker.try_into().ok()?)
            .ipv6(target, sender, 255)
            .icmpv6_raw(136, 0, [0x60, 0, 0, 0])
            .write(&mut answer, &body)
            .ok()?;
        return Some(answer);
    }
    None
}

/// A message of DHCPv6 from a host to whoever serves it: a Solicit, a Confirm, an Information-request or another, by its type.
pub(super) fn dhcp6(mac: [u8; 6], kind: u8) -> Vec<u8> {
    let mut link_local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, 0, 0, 0xff, 0xfe, 0, 0, 0];
    link_local[9..11].copy_from_slice(&mac[1..3]);
    link_local[13..].copy_from_slice(&mac[3..]);
    let all_servers = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2];
    // Who it is, by its MAC address; an address that it wants; the time that it has waited; what it wants to know.
    let client = [&[0, 1, 0, 10, 0, 3, 0, 1], &mac[..]].concat();
    let wanted = [0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 2, 0, 0, 0, 6, 0, 2, 0, 23];
    let message = [&[kind, 1, 2, 3], &client[..], &wanted].concat();
    let mut frame = Vec::new();
    let written = PacketBuilder::ethernet2(mac, [0x33, 0x33, 0, 1, 0, 2])
        .ipv6(link_local, all_servers, 1)
        .udp(546, 547)
        .write(&mut frame, &message);
    written.map_or_else(|_| Vec::new(), |()| frame)
}

/// Whether two addresses are of one family.
pub(super) fn same_family(one: IpAddr, other: IpAddr) -> bool {
    matches!((one, other), (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)))
}

/// Addresses of nobody, one of each family.
pub(super) const NOBODY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 1, 0, 77)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x77)),
];
