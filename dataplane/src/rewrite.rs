//! The one place in user space that changes a forwarded packet.
//!
//! Stages only say what should change, as a `FlowVerdict`; [`apply`] does it. The kernel programs do the same with the
//! same record (`ebpf/src/rewrite.rs`), and the conformance cases hold the two against each other.

use edgestack_abi::checksum::{difference, fold, update, update_nonzero};
use edgestack_abi::flow::{DECREMENT_TTL, REWRITE_ETHERNET, TRANSLATE};
use edgestack_abi::{FlowKey, FlowVerdict};

use crate::wire::headers::Inner;
use crate::wire::{
    ETHERNET_LENGTH, IPV4_LENGTH, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, internet_checksum, read_u16,
    write_u16,
};

/// Offset of the time to live, whose 16-bit word is shared with the protocol number.
const TTL_AT: usize = ETHERNET_LENGTH + 8;
const CHECKSUM_AT: usize = ETHERNET_LENGTH + 10;
const SOURCE_AT: usize = ETHERNET_LENGTH + 12;
/// Length of the Ethernet and IPv4 headers without options.
const HEADERS: usize = ETHERNET_LENGTH + IPV4_LENGTH;

/// The folded deltas of a translation from the addresses and ports of `key` to those of `verdict`:
/// over the addresses, and over the ports.
pub fn deltas(key: &FlowKey, verdict: &FlowVerdict) -> (u16, u16) {
    let addresses = difference(key.source, verdict.source) + difference(key.destination, verdict.destination);
    let ports = difference(u32::from(key.source_port), u32::from(verdict.source_port))
        + difference(u32::from(key.destination_port), u32::from(verdict.destination_port));
    (fold(addresses), fold(ports))
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
        PROTOCOL_UDP => {
            write_ports(head, verdict);
            update_udp(head, both);
        }
        PROTOCOL_ICMP => {
            // An echo's identifier stands for both ports, one of which is 0; there is no pseudo header.
            let identifier = verdict.source_port | verdict.destination_port;
            head[4..6].copy_from_slice(&identifier.to_ne_bytes());
            update_icmp(head, verdict.port_delta);
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

/// Rewrites an ICMP error as the flow that it travels with is rewritten, and the packet that it quotes the other
/// way round (RFC 5508, REQ-4 and REQ-5).
///
/// `verdict` and `key` are those of the direction that the error travels in. `outer_source` replaces the error's
/// source address. Everything is computed afresh, as errors are rare.
pub fn apply_to_error(
    frame: &mut [u8],
    verdict: &FlowVerdict,
    header_length: usize,
    inner: &Inner,
    outer_source: Option<[u8; 4]>,
) {
    if verdict.flags & REWRITE_ETHERNET != 0 {
        frame[..6].copy_from_slice(&verdict.ethernet_destination);
        frame[6..12].copy_from_slice(&verdict.ethernet_source);
    }
    let packet = &mut frame[ETHERNET_LENGTH..];
    let total_length = usize::from(read_u16(packet, 2));
    if verdict.flags & DECREMENT_TTL != 0 {
        packet[8] -= 1;
    }
    if verdict.flags & TRANSLATE != 0 {
        if let Some(source) = outer_source {
            packet[12..16].copy_from_slice(&source);
        }
        packet[16..20].copy_from_slice(&verdict.destination.to_ne_bytes());
        let quote = &mut packet[inner.offset..total_length];
        translate_quote(quote, verdict, inner);
        let message = &mut packet[header_length..total_length];
        write_u16(message, 2, 0);
        let checksum = internet_checksum(message);
        write_u16(message, 2, checksum);
    }
    crate::wire::write_ipv4_checksum(packet, header_length);
}

/// Restores the quoted packet to what its sender sent: its source becomes the flow's new destination, and so on.
fn translate_quote(quote: &mut [u8], verdict: &FlowVerdict, inner: &Inner) {
    let (old_source, old_destination) =
        (u32::from_ne_bytes(inner.source.octets()), u32::from_ne_bytes(inner.destination.octets()));
    let addresses = difference(old_source, verdict.destination) + difference(old_destination, verdict.source);
    let ports = difference(u32::from(inner.source_port.to_be()), u32::from(verdict.destination_port))
        + difference(u32::from(inner.destination_port.to_be()), u32::from(verdict.source_port));
    let both = fold(u32::from(fold(addresses)) + u32::from(fold(ports)));
    quote[12..16].copy_from_slice(&verdict.destination.to_ne_bytes());
    quote[16..20].copy_from_slice(&verdict.source.to_ne_bytes());
    // The header's checksum was right when it was parsed, so adding the change keeps it right.
    update_at(quote, 10, fold(addresses));
    let transport = &mut quote[inner.header_length..];
    if inner.protocol == PROTOCOL_ICMP {
        let identifier = verdict.source_port | verdict.destination_port;
        transport[4..6].copy_from_slice(&identifier.to_ne_bytes());
        update_icmp(transport, fold(ports));
        return;
    }
    transport[..2].copy_from_slice(&verdict.destination_port.to_ne_bytes());
    transport[2..4].copy_from_slice(&verdict.source_port.to_ne_bytes());
    match inner.protocol {
        PROTOCOL_UDP => update_udp(transport, both),
        // Only the first 8 bytes are sure to be quoted; the checksum of TCP lies beyond them.
        PROTOCOL_TCP if transport.len() >= 18 => update_at(transport, 16, both),
        _ => {}
    }
}
