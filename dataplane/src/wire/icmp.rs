//! ICMP messages that the gateway makes itself: echo replies and errors (RFC 792, RFC 1812 section 4.3).

use std::net::Ipv4Addr;

use super::headers::Ipv4;
use super::{ETHERNET_LENGTH, IPV4_LENGTH, PROTOCOL_ICMP, internet_checksum, write_ipv4_checksum, write_u16};
use crate::address::MacAddress;

/// ICMP type echo reply.
pub const ECHO_REPLY: u8 = 0;
/// ICMP type destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// ICMP type echo request.
pub const ECHO_REQUEST: u8 = 8;
/// ICMP type time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// ICMP type parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;

/// Time to live of the messages that the gateway makes.
const TTL: u8 = 64;
/// RFC 1812, section 4.3.2.3: an error quotes as much as fits in 576 bytes.
const QUOTE_LENGTH_MAX: usize = 576 - IPV4_LENGTH - 8;
/// Length of the headers in front of the quote.
const HEADERS_LENGTH: usize = ETHERNET_LENGTH + IPV4_LENGTH + 8;

/// An ICMP error that the gateway sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Time to live exceeded in transit.
    TtlExceeded,
    /// Fragmentation needed, with the MTU of the next hop (RFC 1191).
    FragmentationNeeded {
        /// Largest packet that would have passed.
        mtu: u16,
    },
}

/// Turns the echo request in `frame` into its reply, in place. `ip` describes the request.
pub fn echo_reply_in_place(frame: &mut [u8], ip: &Ipv4) {
    let (destination, source) = frame[..12].split_at_mut(6);
    destination.swap_with_slice(source);
    let packet = &mut frame[ETHERNET_LENGTH..ETHERNET_LENGTH + ip.total_length];
    packet[8] = TTL;
    packet[12..16].copy_from_slice(&ip.destination.octets());
    packet[16..20].copy_from_slice(&ip.source.octets());
    write_ipv4_checksum(packet, ip.header_length);
    let message = &mut packet[ip.header_length..];
    message[0] = ECHO_REPLY;
    write_u16(message, 2, 0);
    let checksum = internet_checksum(message);
    write_u16(message, 2, checksum);
}

/// Builds in `buffer` the error about the IPv4 packet in `offending` and returns its length.
///
/// It goes back to the sender of the packet, from `router_ip` and `router_mac`. `buffer` must hold
/// [`error_length`] bytes.
pub fn write_error(
    buffer: &mut [u8],
    error: IcmpError,
    offending: &[u8],
    ip: &Ipv4,
    (router_ip, router_mac): (Ipv4Addr, MacAddress),
) -> usize {
    let quote_length = ip.total_length.min(QUOTE_LENGTH_MAX);
    buffer[..6].copy_from_slice(&offending[6..12]);
    buffer[6..12].copy_from_slice(&router_mac.0);
    buffer[12..14].copy_from_slice(&[0x08, 0x00]);
    let packet = &mut buffer[ETHERNET_LENGTH..HEADERS_LENGTH + quote_length];
    packet[..IPV4_LENGTH].copy_from_slice(&[
        0x45,
        0xc0,
        0,
        0,
        0,
        0,
        0,
        0,
        TTL,
        PROTOCOL_ICMP,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ]);
    write_u16(packet, 2, (IPV4_LENGTH + 8 + quote_length) as u16);
    packet[12..16].copy_from_slice(&router_ip.octets());
    packet[16..20].copy_from_slice(&ip.source.octets());
    write_ipv4_checksum(packet, IPV4_LENGTH);
    let message = &mut packet[IPV4_LENGTH..];
    let (kind, code, mtu) = match error {
        IcmpError::TtlExceeded => (TIME_EXCEEDED, 0, 0),
        IcmpError::FragmentationNeeded { mtu } => (UNREACHABLE, 4, mtu),
    };
    message[..8].copy_from_slice(&[kind, code, 0, 0, 0, 0, 0, 0]);
    write_u16(message, 6, mtu);
    message[8..].copy_from_slice(&offending[ETHERNET_LENGTH..ETHERNET_LENGTH + quote_length]);
    let checksum = internet_checksum(message);
    write_u16(message, 2, checksum);
    HEADERS_LENGTH + quote_length
}

/// Length of the frame that [`write_error`] builds about `ip`.
pub fn error_length(ip: &Ipv4) -> usize {
    HEADERS_LENGTH + ip.total_length.min(QUOTE_LENGTH_MAX)
}
