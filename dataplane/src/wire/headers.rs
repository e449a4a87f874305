//! What a received frame says: the parser of the slow path, which looks at everything.
//!
//! Established flows never come here: [`fast_key`] reads just what the flow table needs, under the same conditions
//! as the kernel programs.

use std::net::{IpAddr, Ipv4Addr};

use edgestack_abi::flow::{FAMILY_IPV6, address_hash};
use edgestack_abi::{DropReason, FlowKey};

use super::{
    ETHER_TYPE_ARP, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHERNET_LENGTH, IPV4_LENGTH, IPV6_LENGTH,
    PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_UDP_LITE, TCP_ACK,
    TCP_FIN, TCP_RST, TCP_SYN, has_ports, icmp, internet_checksum, ipv6_checksum, read_ipv4, read_ipv6,
    read_mac, read_u16, sctp,
};
use crate::address::MacAddress;
use crate::tuple::Tuple;
use crate::wire::arp::Arp;
use crate::wire::neighbour::Neighbour;
use crate::wire::router_discovery::Solicitation;

/// The bits of the fragment field that make a packet a fragment: more to come, or an offset (RFC 791).
const FRAGMENT_MASK: u16 = 0x3fff;

/// A parsed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Destination MAC address.
    pub ethernet_destination: MacAddress,
    /// Source MAC address.
    pub ethernet_source: MacAddress,
    /// What the frame carries.
    pub network: Network,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// An ARP packet.
    Arp(Arp),
    /// A neighbour solicitation or advertisement.
    Neighbour(Neighbour),
    /// A router solicitation.
    RouterSolicitation(Solicitation),
    /// Any other IP packet.
    Ip(Ip),
}

/// A parsed IPv4 or IPv6 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Length of the header with its options (20 to 60), or with its extension headers (from 40 on).
    pub header_length: usize,
    /// Length of header and payload; the frame may be longer by padding.
    pub total_length: usize,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// IP protocol number of what it carries.
    pub protocol: u8,
    /// Must not be fragmented on the way, as no IPv6 packet may be.
    pub dont_fragment: bool,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same version.
    pub destination: IpAddr,
    /// The part of a datagram that this packet is, where it is not all of it.
    pub fragment: Option<Fragment>,
    /// What the packet carries.
    pub transport: Transport,
}

/// A part of a datagram (RFC 791; RFC 8200, section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What all parts of the datagram share, beside its addresses.
    pub identification: u32,
    /// Where it starts in the datagram's payload, in bytes.
    pub offset: u32,
    /// Its bytes of that payload.
    pub length: u32,
    /// More parts follow it.
    pub more: bool,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment.
    Tcp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// Flags: CWR, ECE, URG, ACK, PSH, RST, SYN, FIN from the highest bit.
        flags: u8,
        /// It carries data.
        has_data: bool,
    },
    /// A part of a datagram that does not start with its transport header.
    LaterFragment,
    /// A UDP datagram.
    Udp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
    },
    /// A UDP-Lite datagram (RFC 3828).
    UdpLite {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
    },
    /// An SCTP packet.
    Sctp(sctp::Packet),
    /// Anything else: a protocol that the gateway knows nothing of but its number.
    Other,
    /// An ICMP echo request or reply.
    IcmpEcho {
        /// Request, or reply.
        request: bool,
        /// Identifier.
        identifier: u16,
    },
    /// An ICMP message about another packet.
    IcmpError {
        /// ICMP type: 3, 11 or 12; of ICMPv6 1 to 4.
        kind: u8,
        /// ICMP code.
        code: u8,
        /// The packet that it is about, as its sender's neighbour saw it.
        inner: Inner,
    },
}

/// The start of a packet quoted in an ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Offset of the quoted IP header from the outer IP header.
    pub offset: usize,
    /// Length of the quoted IP header, extension headers included.
    pub header_length: usize,
    /// IP protocol number.
    pub protocol: u8,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port or, of an echo request, identifier.
    pub source_port: u16,
    /// Destination port or, of an echo reply, identifier.
    pub destination_port: u16,
}

impl Ip {
    /// Source and destination address of an IPv4 packet.
    pub fn ipv4(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some((source, destination)),
            _ => None,
        }
    }

    /// The tuple of the packet's flow; none for ICMP errors, which belong to another's flow.
    pub fn tuple(&self, in_port: u16) -> Option<Tuple> {
        let (source_port, destination_port) = match self.transport {
            Transport::Tcp { source_port, destination_port, .. }
            | Transport::Udp { source_port, destination_port }
            | Transport::UdpLite { source_port, destination_port } => (source_port, destination_port),
            Transport::Sctp(sctp::Packet { source_port, destination_port, .. }) => {
                (source_port, destination_port)
            }
            Transport::Other => (0, 0),
            Transport::IcmpEcho { request: true, identifier } => (identifier, 0),
            Transport::IcmpEcho { request: false, identifier } => (0, identifier),
            Transport::IcmpError { .. } | Transport::LaterFragment => return None,
        };
        Some(Tuple {
            source: self.source,
            destination: self.destination,
            source_port: source_port.to_be(),
            destination_port: destination_port.to_be(),
            in_port,
            protocol: self.protocol,
        })
    }
}

impl Inner {
    /// The tuple of the *opposite* direction of the quoted packet, received on `in_port`: the direction that the
    /// ICMP error travels in.
    pub fn opposite_tuple(&self, in_port: u16) -> Tuple {
        Tuple {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port.to_be(),
            destination_port: self.source_port.to_be(),
            in_port,
            protocol: self.protocol,
        }
    }
}

/// The flow key of a frame that the flow table may forward; none for everything that the slow path must see.
///
/// The conditions are those of the kernel programs, to the letter: untagged IPv4 without options or IPv6 without extension
/// headers, no fragment, time to live above 1, and TCP without SYN, FIN and RST, or UDP, or ICMP echo. `seed` is the
/// table's.
#[inline]
pub fn fast_key(frame: &[u8], in_port: u16, seed: u64) -> Option<FlowKey> {
    const MINIMUM: usize = ETHERNET_LENGTH + IPV4_LENGTH + 8;
    let head: &[u8; MINIMUM] = frame.first_chunk()?;
    let total_length = u16::from_be_bytes([head[16], head[17]]) as usize;
    let is_plain = head[12] == 0x08
        && head[13] == 0x00
        && head[14] == 0x45
        && total_length + ETHERNET_LENGTH <= frame.len()
        && total_length >= IPV4_LENGTH + 8
        && u16::from_be_bytes([head[20], head[21]]) & FRAGMENT_MASK == 0
        && head[22] > 1;
    if !is_plain {
        return fast_key_ipv6(frame, in_port, seed);
    }
    let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let half = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
    let (source_port, destination_port) = match head[23] {
        PROTOCOL_UDP => (half(34), half(36)),
        PROTOCOL_TCP => {
            let flags = *frame.get(47)?;
            if total_length < IPV4_LENGTH + 20 || flags & (TCP_SYN | TCP_FIN | TCP_RST) != 0 {
                return None;
            }
            (half(34), half(36))
        }
        PROTOCOL_ICMP if head[35] == 0 => match head[34] {
            icmp_type if icmp_type == icmp::ECHO_REQUEST => (half(38), 0),
            icmp_type if icmp_type == icmp::ECHO_REPLY => (0, half(38)),
            _ => return None,
        },
        _ => return None,
    };
    Some(FlowKey {
        source: word(26),
        destination: word(30),
        source_port,
        destination_port,
        in_port,
        protocol: head[23],
        family: 0,
    })
}

/// Out of line: IPv4 should not pay for it.
fn fast_key_ipv6(frame: &[u8], in_port: u16, seed: u64) -> Option<FlowKey> {
    const MINIMUM: usize = ETHERNET_LENGTH + IPV6_LENGTH + 8;
    let head: &[u8; MINIMUM] = frame.first_chunk()?;
    let payload_length = u16::from_be_bytes([head[18], head[19]]) as usize;
    let is_plain = head[12] == 0x86
        && head[13] == 0xdd
        && head[14] >> 4 == 6
        && payload_length + ETHERNET_LENGTH + IPV6_LENGTH <= frame.len()
        && payload_length >= 8
        && head[21] > 1;
    if !is_plain {
        return None;
    }
    let half = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
    let (source_port, destination_port) = match head[20] {
        PROTOCOL_UDP => (half(54), half(56)),
        PROTOCOL_TCP => {
            let flags = *frame.get(67)?;
            if payload_length < 20 || flags & (TCP_SYN | TCP_FIN | TCP_RST) != 0 {
                return None;
            }
            (half(54), half(56))
        }
        PROTOCOL_ICMPV6 if head[55] == 0 => match head[54] {
            icmp::ECHO_REQUEST_IPV6 => (half(58), 0),
            icmp::ECHO_REPLY_IPV6 => (0, half(58)),
            _ => return None,
        },
        _ => return None,
    };
    let [source, destination] = ipv6_words(head)?;
    Some(FlowKey {
        source: address_hash(source[0], source[1], seed),
        destination: address_hash(destination[0], destination[1], seed),
        source_port,
        destination_port,
        in_port,
        protocol: head[20],
        family: FAMILY_IPV6,
    })
}

/// Source and destination address of an IPv6 frame, as native words; none when the frame is too short.
#[inline]
pub fn ipv6_words(frame: &[u8]) -> Option<[[u64; 2]; 2]> {
    let addresses: &[u8; 32] = frame.get(ETHERNET_LENGTH + 8..)?.first_chunk()?;
    let (words, _) = addresses.as_chunks::<8>();
    let word = |at: usize| words.get(at).copied().map_or(0, u64::from_ne_bytes);
    Some([[word(0), word(1)], [word(2), word(3)]])
}

/// Parses a frame completely, or says why it is dropped.
pub fn parse(frame: &[u8]) -> Result<Headers, DropReason> {
    if frame.len() < ETHERNET_LENGTH {
        return Err(DropReason::MalformedEthernet);
    }
    let payload = &frame[ETHERNET_LENGTH..];
    let network = match read_u16(frame, 12) {
        ETHER_TYPE_IPV4 => Network::Ip(parse_ipv4(payload)?),
        ETHER_TYPE_ARP => Network::Arp(Arp::parse(payload).ok_or(DropReason::MalformedArp)?),
        ETHER_TYPE_IPV6 => parse_ipv6(payload)?,
        _ => return Err(DropReason::UnknownEtherType),
    };
    Ok(Headers {
        ethernet_destination: MacAddress(read_mac(frame, 0)),
        ethernet_source: MacAddress(read_mac(frame, 6)),
        network,
    })
}

fn parse_ipv4(packet: &[u8]) -> Result<Ip, DropReason> {
    if packet.len() < IPV4_LENGTH || packet[0] >> 4 != 4 {
        return Err(DropReason::MalformedIpv4);
    }
    let header_length = usize::from(packet[0] & 0x0f) * 4;
    let total_length = usize::from(read_u16(packet, 2));
    if header_length < IPV4_LENGTH || total_length < header_length || total_length > packet.len() {
        return Err(DropReason::MalformedIpv4);
    }
    if internet_checksum(&packet[..header_length]) != 0 {
        return Err(DropReason::MalformedIpv4);
    }
    let field = read_u16(packet, 6);
    let fragment = if field & FRAGMENT_MASK == 0 {
        None
    } else {
        let identification = u32::from(read_u16(packet, 4));
        let fragment = Fragment {
            identification,
            offset: u32::from(field & 0x1fff) * 8,
            length: (total_length - header_length) as u32,
            more: field & 0x2000 != 0,
        };
        Some(fragment.checked().ok_or(DropReason::MalformedIpv4)?)
    };
    let protocol = packet[9];
    let payload = &packet[header_length..total_length];
    let transport = match (protocol, fragment) {
        (_, Some(fragment)) if fragment.offset != 0 => Transport::LaterFragment,
        (PROTOCOL_TCP, _) => parse_tcp(payload)?,
        (PROTOCOL_UDP, _) => parse_udp(payload, fragment.is_some())?,
        (PROTOCOL_SCTP, _) => parse_sctp(payload, fragment.is_some())?,
        (PROTOCOL_UDP_LITE, _) => parse_udp_lite(payload)?,
        // Only all parts together have the checksum.
        (PROTOCOL_ICMP, None) if internet_checksum(payload) != 0 => {
            return Err(DropReason::MalformedTransport);
        }
        (PROTOCOL_ICMP, _) => parse_icmp(payload, header_length)?,
        // These belong to IPv6.
        (HOP_BY_HOP | PROTOCOL_ICMPV6, _) => return Err(DropReason::UnknownProtocol),
        _ => Transport::Other,
    };
    Ok(Ip {
        header_length,
        total_length,
        ttl: packet[8],
        protocol,
        dont_fragment: field & 0x4000 != 0,
        source: read_ipv4(packet, 12).into(),
        destination: read_ipv4(packet, 16).into(),
        fragment,
        transport,
    })
}

impl Fragment {
    /// Largest payload of a datagram with the shortest header.
    const DATAGRAM_MAX: u32 = u16::MAX as u32;

    /// The fragment, if there can be one like it: every part but the last is a multiple of eight bytes, none is empty, and the
    /// datagram is no larger than a datagram may be.
    fn checked(self) -> Option<Self> {
        let is_possible = self.length > 0
            && (!self.more || self.length.is_multiple_of(8))
            && self.offset + self.length <= Self::DATAGRAM_MAX;
        is_possible.then_some(self)
    }
}

/// Most extension headers of a packet; RFC 8504, section 5.3 lets a node set a limit.
const EXTENSION_HEADERS_MAX: usize = 8;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT_HEADER: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

fn parse_ipv6(packet: &[u8]) -> Result<Network, DropReason> {
    if packet.len() < IPV6_LENGTH || packet[0] >> 4 != 6 {
        return Err(DropReason::MalformedIpv6);
    }
    let total_length = IPV6_LENGTH + usize::from(read_u16(packet, 4));
    let packet = packet.get(..total_length).ok_or(DropReason::MalformedIpv6)?;
    let Extensions { header_length, protocol, fragment } = skip_extension_headers(packet)?;
    let (source, destination) = (read_ipv6(packet, 8), read_ipv6(packet, 24));
    let payload = &packet[header_length..];
    let transport = match (protocol, fragment) {
        (_, Some(fragment)) if fragment.offset != 0 => Transport::LaterFragment,
        (PROTOCOL_TCP, _) => parse_tcp(payload)?,
        (PROTOCOL_UDP, _) => parse_udp(payload, fragment.is_some())?,
        (PROTOCOL_SCTP, _) => parse_sctp(payload, fragment.is_some())?,
        (PROTOCOL_UDP_LITE, _) => parse_udp_lite(payload)?,
        (PROTOCOL_ICMPV6, _) => {
            // Only all parts together have the checksum.
            if fragment.is_none() && ipv6_checksum(source, destination, protocol, payload) != 0 {
                return Err(DropReason::MalformedTransport);
            }
            let kind = payload.first().copied().unwrap_or_default();
            if Neighbour::is_type(kind) || Solicitation::is_type(kind) {
                // RFC 4861, sections 6.1 and 7.1: nothing from further away than the link, nothing behind extension headers.
                // RFC 6980: nor in parts.
                let is_local = packet[7] == u8::MAX && header_length == IPV6_LENGTH;
                let discovery = match kind {
                    _ if !is_local => None,
                    _ if Neighbour::is_type(kind) => {
                        Neighbour::parse(source, destination, payload).map(Network::Neighbour)
                    }
                    _ => Solicitation::parse(source, payload).map(Network::RouterSolicitation),
                };
                return discovery.ok_or(DropReason::MalformedTransport);
            }
            parse_icmpv6(payload, header_length)?
        }
        (PROTOCOL_ICMP, _) => return Err(DropReason::UnknownProtocol),
        _ => Transport::Other,
    };
    Ok(Network::Ip(Ip {
        header_length,
        total_length,
        ttl: packet[7],
        protocol,
        dont_fragment: true,
        source: source.into(),
        destination: destination.into(),
        fragment,
        transport,
    }))
}

/// The headers of an IPv6 packet.
struct Extensions {
    /// Where they end.
    header_length: usize,
    /// What follows.
    protocol: u8,
    /// The packet is a part of a datagram.
    fragment: Option<Fragment>,
}

/// Skips the extension headers of a packet. A routing header of type 0 is refused (RFC 5095). What follows the fragment
/// header of a later part is not looked at: it is anything.
fn skip_extension_headers(packet: &[u8]) -> Result<Extensions, DropReason> {
    let (mut at, mut next, mut fragment) = (IPV6_LENGTH, packet[6], None);
    for _ in 0..EXTENSION_HEADERS_MAX {
        match next {
            // RFC 8200, section 4.1: hop-by-hop options come first or not at all.
            HOP_BY_HOP if at != IPV6_LENGTH => return Err(DropReason::MalformedIpv6),
            FRAGMENT_HEADER if fragment.is_none() => {
                let header = packet.get(at..at + 8).ok_or(DropReason::MalformedIpv6)?;
                next = header[0];
                at += 8;
                fragment = read_fragment_header(header, packet.len() - at)?;
                if fragment.is_some_and(|fragment| fragment.offset != 0) {
                    return Ok(Extensions { header_length: at, protocol: next, fragment });
                }
            }
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let header = packet.get(at..at + 8).ok_or(DropReason::MalformedIpv6)?;
                if next == ROUTING && header[2] == 0 {
                    return Err(DropReason::MalformedIpv6);
                }
                next = header[0];
                at += 8 + 8 * usize::from(header[1]);
            }
            _ if at <= packet.len() => {
                return Ok(Extensions { header_length: at, protocol: next, fragment });
            }
            _ => return Err(DropReason::MalformedIpv6),
        }
    }
    Err(DropReason::MalformedIpv6)
}

/// The part that a fragment header of IPv6 with `length` bytes behind it describes; none where the datagram has only one
/// (RFC 6946).
fn read_fragment_header(header: &[u8], length: usize) -> Result<Option<Fragment>, DropReason> {
    let field = read_u16(header, 2);
    let fragment = Fragment {
        identification: u32::from(read_u16(header, 4)) << 16 | u32::from(read_u16(header, 6)),
        offset: u32::from(field & 0xfff8),
        length: length as u32,
        more: field & 1 != 0,
    };
    if fragment.offset == 0 && !fragment.more {
        return Ok(None);
    }
    fragment.checked().map(Some).ok_or(DropReason::MalformedIpv6)
}

fn parse_tcp(segment: &[u8]) -> Result<Transport, DropReason> {
    if segment.len() < 20 {
        return Err(DropReason::MalformedTransport);
    }
    let data_offset = usize::from(segment[12] >> 4) * 4;
    let flags = segment[13];
    let opens_and_ends = flags & TCP_SYN != 0 && flags & (TCP_FIN | TCP_RST) != 0;
    let says_nothing = flags & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK) == 0;
    if data_offset < 20 || data_offset > segment.len() || opens_and_ends || says_nothing {
        return Err(DropReason::MalformedTransport);
    }
    Ok(Transport::Tcp {
        source_port: read_u16(segment, 0),
        destination_port: read_u16(segment, 2),
        flags,
        has_data: segment.len() > data_offset,
    })
}

fn parse_udp(datagram: &[u8], is_fragment: bool) -> Result<Transport, DropReason> {
    if datagram.len() < 8 {
        return Err(DropReason::MalformedTransport);
    }
    let length = usize::from(read_u16(datagram, 4));
    // The length is that of the whole datagram.
    if length < 8 || (length > datagram.len() && !is_fragment) {
        return Err(DropReason::MalformedTransport);
    }
    Ok(Transport::Udp { source_port: read_u16(datagram, 0), destination_port: read_u16(datagram, 2) })
}

/// RFC 3828: as UDP, with the length of what the checksum covers in place of the length.
fn parse_udp_lite(datagram: &[u8]) -> Result<Transport, DropReason> {
    let covered = if datagram.len() < 8 { 1 } else { usize::from(read_u16(datagram, 4)) };
    // What it covers is not more than there is; 0 is all.
    if (1..8).contains(&covered) || (covered > datagram.len()) {
        return Err(DropReason::MalformedTransport);
    }
    Ok(Transport::UdpLite { source_port: read_u16(datagram, 0), destination_port: read_u16(datagram, 2) })
}

/// New ports change a checksum that only all parts together have, so SCTP in parts is not forwarded. Its endpoints know the
/// path's MTU (RFC 9260, section 7.3).
fn parse_sctp(packet: &[u8], is_fragment: bool) -> Result<Transport, DropReason> {
    if is_fragment {
        return Err(DropReason::Fragment);
    }
    sctp::parse(packet).map(Transport::Sctp).ok_or(DropReason::MalformedTransport)
}

/// RFC 792. The caller has checked the checksum (RFC 5508, REQ-3).
fn parse_icmp(message: &[u8], ip_header_length: usize) -> Result<Transport, DropReason> {
    if message.len() < 8 {
        return Err(DropReason::MalformedTransport);
    }
    let (kind, code) = (message[0], message[1]);
    match kind {
        icmp::ECHO_REQUEST | icmp::ECHO_REPLY if code == 0 => {
            Ok(Transport::IcmpEcho { request: kind == icmp::ECHO_REQUEST, identifier: read_u16(message, 4) })
        }
        icmp::UNREACHABLE | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM => {
            let inner = parse_inner(&message[8..], ip_header_length + 8)?;
            Ok(Transport::IcmpError { kind, code, inner })
        }
        _ => Err(DropReason::UnknownProtocol),
    }
}

/// RFC 4443. The caller has checked the checksum.
fn parse_icmpv6(message: &[u8], ip_header_length: usize) -> Result<Transport, DropReason> {
    if message.len() < 8 {
        return Err(DropReason::MalformedTransport);
    }
    let (kind, code) = (message[0], message[1]);
    match kind {
        icmp::ECHO_REQUEST_IPV6 | icmp::ECHO_REPLY_IPV6 if code == 0 => Ok(Transport::IcmpEcho {
            request: kind == icmp::ECHO_REQUEST_IPV6,
            identifier: read_u16(message, 4),
        }),
        icmp::UNREACHABLE_IPV6..=icmp::PARAMETER_PROBLEM_IPV6 => {
            let inner = parse_inner_ipv6(&message[8..], ip_header_length + 8)?;
            Ok(Transport::IcmpError { kind, code, inner })
        }
        _ => Err(DropReason::UnknownProtocol),
    }
}

fn parse_inner_ipv6(quote: &[u8], offset: usize) -> Result<Inner, DropReason> {
    if quote.len() < IPV6_LENGTH || quote[0] >> 4 != 6 {
        return Err(DropReason::MalformedTransport);
    }
    let Extensions { header_length, protocol, fragment } =
        skip_extension_headers(quote).map_err(|_| DropReason::MalformedTransport)?;
    if fragment.is_some_and(|fragment| fragment.offset != 0) {
        return Err(DropReason::RelatedUnknown); // As of IPv4.
    }
    let transport = quote.get(header_length..header_length + 8).ok_or(DropReason::MalformedTransport)?;
    let (source_port, destination_port) = match (protocol, transport[0]) {
        (protocol, _) if has_ports(protocol) => (read_u16(transport, 0), read_u16(transport, 2)),
        (PROTOCOL_ICMPV6, icmp::ECHO_REQUEST_IPV6) => (read_u16(transport, 4), 0),
        (PROTOCOL_ICMPV6, icmp::ECHO_REPLY_IPV6) => (0, read_u16(transport, 4)),
        (PROTOCOL_ICMP | PROTOCOL_ICMPV6, _) => return Err(DropReason::RelatedUnknown),
        _ => (0, 0),
    };
    Ok(Inner {
        offset,
        header_length,
        protocol,
        source: read_ipv6(quote, 8).into(),
        destination: read_ipv6(quote, 24).into(),
        source_port,
        destination_port,
    })
}

/// The packet quoted in an ICMP error. Its options are skipped (RFC 5508, REQ-3b), its header checksum must be
/// right (REQ-3a), its transport checksum is not looked at (REQ-3c), and what follows it is ignored (REQ-3d).
fn parse_inner(quote: &[u8], offset: usize) -> Result<Inner, DropReason> {
    let malformed = DropReason::MalformedTransport;
    if quote.len() < IPV4_LENGTH || quote[0] >> 4 != 4 {
        return Err(malformed);
    }
    let header_length = usize::from(quote[0] & 0x0f) * 4;
    if header_length < IPV4_LENGTH || quote.len() < header_length + 8 {
        return Err(malformed);
    }
    if internet_checksum(&quote[..header_length]) != 0 {
        return Err(malformed);
    }
    if read_u16(quote, 6) & 0x1fff != 0 {
        return Err(DropReason::RelatedUnknown); // A later fragment quotes no ports to find its flow by.
    }
    let protocol = quote[9];
    let transport = &quote[header_length..];
    let (source_port, destination_port) = match (protocol, transport[0]) {
        (protocol, _) if has_ports(protocol) => (read_u16(transport, 0), read_u16(transport, 2)),
        (PROTOCOL_ICMP, icmp::ECHO_REQUEST) => (read_u16(transport, 4), 0),
        (PROTOCOL_ICMP, icmp::ECHO_REPLY) => (0, read_u16(transport, 4)),
        (PROTOCOL_ICMP | PROTOCOL_ICMPV6, _) => return Err(DropReason::RelatedUnknown),
        _ => (0, 0),
    };
    Ok(Inner {
        offset,
        header_length,
        protocol,
        source: read_ipv4(quote, 12).into(),
        destination: read_ipv4(quote, 16).into(),
        source_port,
        destination_port,
    })
}
