//! The one place in user space that changes a forwarded packet.
//!
//! Stages only say what should change, as a `FlowVerdict`; [`apply`] does it. The kernel programs do the same with the
//! same record (`ebpf/src/rewrite.rs`), and the conformance cases hold the two against each other.

use std::net::IpAddr;

use edgestack_abi::FlowVerdict;
use edgestack_abi::checksum::{difference, fold, update, update_nonzero};
use edgestack_abi::flow::{DECREMENT_TTL, REWRITE_ETHERNET, TRANSLATE};

use crate::tuple::{Tuple, words_of};
use crate::wire::headers::{Inner, Ip, Transport};
use crate::wire::{
    ETHERNET_LENGTH, IPV4_LENGTH, IPV6_LENGTH, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP,
    PROTOCOL_UDP, PROTOCOL_UDP_LITE, has_ports, icmp, network_address, sctp, write_address,
};

/// A protocol without a header to rewrite: 255 is reserved.
const PROTOCOL_NONE: u8 = 255;
/// Offset of the time to live, whose 16-bit word is shared with the protocol number.
const TTL_AT: usize = ETHERNET_LENGTH + 8;
const CHECKSUM_AT: usize = ETHERNET_LENGTH + 10;
const SOURCE_AT: usize = ETHERNET_LENGTH + 12;
/// Length of the Ethernet and IPv4 headers without options.
const HEADERS: usize = ETHERNET_LENGTH + IPV4_LENGTH;
/// Offset of the hop limit.
const HOP_LIMIT_AT: usize = ETHERNET_LENGTH + 7;
const SOURCE_AT_IPV6: usize = ETHERNET_LENGTH + 8;
/// Length of the Ethernet and IPv6 headers without extension headers.
const HEADERS_IPV6: usize = ETHERNET_LENGTH + IPV6_LENGTH;

/// The folded deltas of a translation from the addresses and ports of `old` to those of `new`:
/// over the addresses, and over the ports.
pub fn deltas(old: &Tuple, new: &Tuple) -> (u16, u16) {
    let addresses = u32::from(address_delta(old.source, new.source))
        + u32::from(address_delta(old.destination, new.destination));
    let ports = difference(u32::from(old.source_port), u32::from(new.source_port))
        + difference(u32::from(old.destination_port), u32::from(new.destination_port));
    (fold(addresses), fold(ports))
}

fn address_delta(old: IpAddr, new: IpAddr) -> u16 {
    match (old, new) {
        (IpAddr::V4(old), IpAddr::V4(new)) => fold(difference(network_address(old), network_address(new))),
        _ => match (words_of(old), words_of(new)) {
            (Some([a, b]), Some([c, d])) => [(a, c), (b, d)].into_iter().fold(0, |sum, (old, new)| {
                let halves = u32::from(fold(difference(old as u32, new as u32)))
                    + u32::from(fold(difference((old >> 32) as u32, (new >> 32) as u32)));
                fold(u32::from(sum) + u32::from(fold(halves)))
            }),
            _ => 0, // Both directions of a connection are of one version.
        },
    }
}

/// The new addresses of an IPv6 flow's packets, as the packet has them: source, then destination.
pub type NewAddresses = [[u64; 2]; 2];

/// Rewrites the IP packet in `frame`, described by `ip`, as `verdict` says; `addresses` are the new ones of an IPv6 flow.
///
/// What follows the header of a later part of a datagram is no transport header.
pub fn apply_to(frame: &mut [u8], verdict: &FlowVerdict, ip: &Ip, addresses: &NewAddresses) {
    let protocol = if ip.transport == Transport::LaterFragment { PROTOCOL_NONE } else { ip.protocol };
    if ip.source.is_ipv6() {
        apply_ipv6(frame, verdict, addresses, protocol, ip.header_length);
    } else {
        apply(frame, verdict, protocol, ip.header_length);
    }
    // Its checksum is over all of it, which only the slow path has time for.
    if protocol == PROTOCOL_SCTP && verdict.flags & TRANSLATE != 0 && verdict.port_delta != 0 {
        let packet = &mut frame[ETHERNET_LENGTH..][..ip.total_length][ip.header_length..];
        sctp::write_ports(packet, verdict.source_port, verdict.destination_port);
    }
}

/// Rewrites `frame`, an Ethernet frame with an IPv4 packet whose header is `header_length` bytes long, as
/// `verdict` says. The caller has checked that the frame holds the packet's headers whole.
#[inline]
pub fn apply(frame: &mut [u8], verdict: &FlowVerdict, protocol: u8, header_length: usize) {
    // Both headers in one array: constant offsets need no bounds checks.
    let Some((head, rest)) = frame.split_first_chunk_mut::<HEADERS>() else { return };
    if verdict.flags & REWRITE_ETHERNET != 0 {
        head[..6].copy_from_slice(&verdict.ethernet_destination);
        head[6..12].copy_from_slice(&verdict.ethernet_source);
    }
    let mut header_delta = 0;
    if verdict.flags & DECREMENT_TTL != 0 {
        head[TTL_AT] = head[TTL_AT].wrapping_sub(1);
        // The word of TTL and protocol falls by 0x0100 in network byte order: the sum gains its complement.
        header_delta = u32::from(0xfeff_u16.to_be());
    }
    if verdict.flags & TRANSLATE != 0 {
        header_delta += u32::from(verdict.address_delta);
        head[SOURCE_AT..SOURCE_AT + 4].copy_from_slice(&verdict.source.to_ne_bytes());
        head[SOURCE_AT + 4..].copy_from_slice(&verdict.destination.to_ne_bytes());
        let options_length = header_length - IPV4_LENGTH;
        translate_transport(&mut rest[options_length..], verdict, protocol);
    }
    if header_delta != 0 {
        update_at(head, CHECKSUM_AT, fold(header_delta));
    }
}

/// Rewrites `frame`, an Ethernet frame with an IPv6 packet whose headers are `header_length` bytes long. The caller has
/// checked that the frame holds the packet's headers whole.
pub fn apply_ipv6(
    frame: &mut [u8],
    verdict: &FlowVerdict,
    addresses: &NewAddresses,
    protocol: u8,
    header_length: usize,
) {
    let Some((head, rest)) = frame.split_first_chunk_mut::<HEADERS_IPV6>() else { return };
    if verdict.flags & REWRITE_ETHERNET != 0 {
        head[..6].copy_from_slice(&verdict.ethernet_destination);
        head[6..12].copy_from_slice(&verdict.ethernet_source);
    }
    if verdict.flags & DECREMENT_TTL != 0 {
        head[HOP_LIMIT_AT] = head[HOP_LIMIT_AT].wrapping_sub(1);
    }
    if verdict.flags & TRANSLATE != 0 {
        for (word, bytes) in addresses.as_flattened().iter().zip(head[SOURCE_AT_IPV6..].chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        translate_transport(&mut rest[header_length - IPV6_LENGTH..], verdict, protocol);
    }
}

/// Adds `delta` to the checksum at `at`.
#[inline]
fn update_at(bytes: &mut [u8], at: usize, delta: u16) {
    let checksum = u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    bytes[at..at + 2].copy_from_slice(&update(checksum, delta).to_ne_bytes());
}

#[inline]
fn translate_transport(transport: &mut [u8], verdict: &FlowVerdict, protocol: u8) {
    let both = fold(u32::from(verdict.address_delta) + u32::from(verdict.port_delta));
    // The shortest of the three headers; that of TCP is longer.
    let Some((head, rest)) = transport.split_first_chunk_mut::<8>() else { return };
    match protocol {
        PROTOCOL_TCP => {
            write_ports(head, verdict);
            if let Some(rest) = rest.first_chunk_mut::<12>() {
                update_at(rest, 8, both);
            }
        }
        PROTOCOL_UDP | PROTOCOL_UDP_LITE => {
            write_ports(head, verdict);
            update_udp(head, both);
        }
        PROTOCOL_ICMP => {
            // An echo's identifier stands for both ports, one of which is 0; there is no pseudo header.
            let identifier = verdict.source_port | verdict.destination_port;
            head[4..6].copy_from_slice(&identifier.to_ne_bytes());
            update_icmp(head, verdict.port_delta);
        }
        PROTOCOL_ICMPV6 => {
            let identifier = verdict.source_port | verdict.destination_port;
            head[4..6].copy_from_slice(&identifier.to_ne_bytes());
            update_icmp(head, both);
        }
        _ => {}
    }
}

/// Adds `delta` to the checksum of an ICMP header.
#[inline]
fn update_icmp(message: &mut [u8], delta: u16) {
    let checksum = u16::from_ne_bytes([message[2], message[3]]);
    message[2..4].copy_from_slice(&update_nonzero(checksum, delta).to_ne_bytes());
}

/// Adds `delta` to the checksum of a UDP header. RFC 768: 0 says that there is none, and a computed 0 is sent as all ones.
#[inline]
fn update_udp(datagram: &mut [u8], delta: u16) {
    let checksum = u16::from_ne_bytes([datagram[6], datagram[7]]);
    if checksum != 0 {
        datagram[6..8].copy_from_slice(&update_nonzero(checksum, delta).to_ne_bytes());
    }
}

#[inline]
fn write_ports(transport: &mut [u8; 8], verdict: &FlowVerdict) {
    transport[..2].copy_from_slice(&verdict.source_port.to_ne_bytes());
    transport[2..4].copy_from_slice(&verdict.destination_port.to_ne_bytes());
}

/// How an ICMP error is rewritten beside what its flow's verdict says.
#[derive(Clone, Copy, Debug)]
pub struct ErrorRewrite {
    /// The quoted packet.
    pub inner: Inner,
    /// What the error's source address becomes; none: it keeps its own.
    pub outer_source: Option<IpAddr>,
    /// The tuple of the quoted packet as its sender sent it.
    pub quoted: Tuple,
}

/// Rewrites an ICMP error as the flow that it travels with is rewritten, and the packet that it quotes the other
/// way round (RFC 5508, REQ-4 and REQ-5).
///
/// `verdict` is that of the direction that the error travels in. Everything is computed afresh, as errors are rare.
pub fn apply_to_error(frame: &mut [u8], verdict: &FlowVerdict, ip: &Ip, error: &ErrorRewrite) {
    if verdict.flags & REWRITE_ETHERNET != 0 {
        frame[..6].copy_from_slice(&verdict.ethernet_destination);
        frame[6..12].copy_from_slice(&verdict.ethernet_source);
    }
    let is_ipv6 = ip.source.is_ipv6();
    let packet = &mut frame[ETHERNET_LENGTH..ETHERNET_LENGTH + ip.total_length];
    let (ttl_at, source_at, destination_at) = if is_ipv6 { (7, 8, 24) } else { (8, 12, 16) };
    if verdict.flags & DECREMENT_TTL != 0 {
        packet[ttl_at] -= 1;
    }
    if verdict.flags & TRANSLATE != 0 {
        if let Some(source) = error.outer_source {
            write_address(packet, source_at, source);
        }
        // An error goes to the sender of what it quotes.
        write_address(packet, destination_at, error.quoted.source);
        translate_quote(&mut packet[error.inner.offset..], error);
        icmp::write_icmp_checksum(packet, ip.header_length);
    }
    if !is_ipv6 {
        crate::wire::write_ipv4_checksum(packet, ip.header_length);
    }
}

/// Restores the quoted packet to what its sender sent.
fn translate_quote(quote: &mut [u8], error: &ErrorRewrite) {
    let ErrorRewrite { inner, quoted, .. } = error;
    let arrived = Tuple {
        source: inner.source,
        destination: inner.destination,
        source_port: inner.source_port.to_be(),
        destination_port: inner.destination_port.to_be(),
        ..*quoted
    };
    let (addresses, ports) = deltas(&arrived, quoted);
    let both = fold(u32::from(addresses) + u32::from(ports));
    if quoted.is_ipv6() {
        write_address(quote, 8, quoted.source);
        write_address(quote, 24, quoted.destination);
    } else {
        write_address(quote, 12, quoted.source);
        write_address(quote, 16, quoted.destination);
        // The header's checksum was right when it was parsed, so adding the change keeps it right.
        update_at(quote, 10, addresses);
    }
    let transport = &mut quote[inner.header_length..];
    if matches!(inner.protocol, PROTOCOL_ICMP | PROTOCOL_ICMPV6) {
        let identifier = quoted.source_port | quoted.destination_port;
        transport[4..6].copy_from_slice(&identifier.to_ne_bytes());
        update_icmp(transport, if quoted.is_ipv6() { both } else { ports });
        return;
    }
    if !has_ports(inner.protocol) {
        return;
    }
    transport[..2].copy_from_slice(&quoted.source_port.to_ne_bytes());
    transport[2..4].copy_from_slice(&quoted.destination_port.to_ne_bytes());
    match inner.protocol {
        PROTOCOL_UDP | PROTOCOL_UDP_LITE => update_udp(transport, both),
        // Only the first 8 bytes are sure to be quoted; the checksum of TCP lies beyond them.
        PROTOCOL_TCP if transport.len() >= 18 => update_at(transport, 16, both),
        _ => {}
    }
}
