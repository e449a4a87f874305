//! ICMP messages that the gateway makes itself: echo replies and errors (RFC 792, RFC 1812 section 4.3; RFC 4443).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::headers::Ip;
use super::udp::{self, Place};
use super::{
    ETHERNET_LENGTH, IPV4_LENGTH, IPV6_LENGTH, PROTOCOL_ICMP, PROTOCOL_ICMPV6, internet_checksum,
    ipv6_checksum, read_ipv6, write_ipv4_checksum, write_u16,
};
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

/// ICMPv6 type destination unreachable, the first of the errors.
pub const UNREACHABLE_IPV6: u8 = 1;
/// ICMPv6 type packet too big.
pub const TOO_BIG_IPV6: u8 = 2;
/// ICMPv6 type time exceeded.
pub const TIME_EXCEEDED_IPV6: u8 = 3;
/// ICMPv6 type parameter problem, the last of the errors.
pub const PARAMETER_PROBLEM_IPV6: u8 = 4;
/// ICMPv6 type echo request.
pub const ECHO_REQUEST_IPV6: u8 = 128;
/// ICMPv6 type echo reply.
pub const ECHO_REPLY_IPV6: u8 = 129;

/// Time to live of the messages that the gateway makes.
const TTL: u8 = 64;
/// RFC 1812, section 4.3.2.3: an error quotes as much as fits in 576 bytes.
const QUOTE_LENGTH_MAX: usize = 576 - IPV4_LENGTH - 8;
/// RFC 4443, section 2.4 (c): an error quotes as much as fits in the smallest MTU of IPv6.
const QUOTE_LENGTH_MAX_IPV6: usize = 1280 - IPV6_LENGTH - 8;
/// Length of the longest frame that [`write_error`] builds.
pub const ERROR_LENGTH_MAX: usize = ETHERNET_LENGTH + 1280;

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
    /// The router has no route to the destination (RFC 1812, section 5.2.7.1).
    NoRoute,
    /// The router has a route to the destination that leads nowhere.
    RejectRoute,
    /// The destination, or the next hop to it, is not there.
    HostUnreachable,
    /// Nobody takes what was sent to the port (RFC 1122, section 3.2.2.1).
    PortUnreachable,
    /// Communication administratively prohibited (RFC 5508, REQ-8).
    Prohibited,
}

/// Turns the echo request in `frame` into its reply, in place. `ip` describes the request.
pub fn echo_reply_in_place(frame: &mut [u8], ip: &Ip) {
    let (destination, source) = frame[..12].split_at_mut(6);
    destination.swap_with_slice(source);
    let packet = &mut frame[ETHERNET_LENGTH..ETHERNET_LENGTH + ip.total_length];
    let (kind, addresses_at, address_length) = if ip.source.is_ipv6() {
        packet[7] = TTL;
        (ECHO_REPLY_IPV6, 8, 16)
    } else {
        packet[8] = TTL;
        (ECHO_REPLY, 12, 4)
    };
    let (source, destination) =
        packet[addresses_at..addresses_at + 2 * address_length].split_at_mut(address_length);
    source.swap_with_slice(destination);
    packet[ip.header_length] = kind;
    write_icmp_checksum(packet, ip.header_length);
    if ip.source.is_ipv4() {
        write_ipv4_checksum(packet, ip.header_length);
    }
}

/// Writes an echo request without payload into `frame`, which has the length of [`udp::headers_length`]; the source's
/// port is its identifier.
pub fn write_echo_request(frame: &mut [u8], source: Place, destination: Place) {
    let is_ipv4 = source.ip_address.is_ipv4();
    let protocol = if is_ipv4 { PROTOCOL_ICMP } else { PROTOCOL_ICMPV6 };
    let message = udp::write_outer_headers(frame, source, destination, protocol);
    message.fill(0);
    message[0] = if is_ipv4 { ECHO_REQUEST } else { ECHO_REQUEST_IPV6 };
    write_u16(message, 4, source.port);
    write_icmp_checksum(&mut frame[ETHERNET_LENGTH..], udp::ip_header_length(source.ip_address));
}

/// Computes afresh the checksum of the ICMP message in an IP packet that ends with it.
pub fn write_icmp_checksum(packet: &mut [u8], header_length: usize) {
    let (header, message) = packet.split_at_mut(header_length);
    write_u16(message, 2, 0);
    let checksum = if header[0] >> 4 == 6 {
        ipv6_checksum(read_ipv6(header, 8), read_ipv6(header, 24), PROTOCOL_ICMPV6, message)
    } else {
        internet_checksum(message)
    };
    write_u16(message, 2, checksum);
}

/// Builds in `buffer` the error about the IP packet in `offending` and returns its length; none where the router's address
/// is of the other version.
///
/// It goes back to the sender of the packet, from `router_ip` and `router_mac`. `buffer` must hold
/// [`ERROR_LENGTH_MAX`] bytes.
pub fn write_error(
    buffer: &mut [u8],
    error: IcmpError,
    offending: &[u8],
    ip: &Ip,
    (router_ip, router_mac): (IpAddr, MacAddress),
) -> Option<usize> {
    buffer[..6].copy_from_slice(&offending[6..12]);
    buffer[6..12].copy_from_slice(&router_mac.0);
    buffer[12..14].copy_from_slice(&offending[12..14]);
    let quote = &offending[ETHERNET_LENGTH..ETHERNET_LENGTH + ip.total_length];
    let packet = &mut buffer[ETHERNET_LENGTH..];
    let length = match (router_ip, ip.source) {
        (IpAddr::V4(router), IpAddr::V4(sender)) => {
            let quote = &quote[..quote.len().min(QUOTE_LENGTH_MAX)];
            error_ipv4(packet, error, quote, (router, sender))
        }
        (IpAddr::V6(router), IpAddr::V6(sender)) => {
            let quote = &quote[..quote.len().min(QUOTE_LENGTH_MAX_IPV6)];
            error_ipv6(packet, error, quote, (router, sender))
        }
        _ => return None,
    };
    Some(ETHERNET_LENGTH + length)
}

fn error_ipv4(
    packet: &mut [u8],
    error: IcmpError,
    quote: &[u8],
    (router, sender): (Ipv4Addr, Ipv4Addr),
) -> usize {
    let length = IPV4_LENGTH + 8 + quote.len();
    let packet = &mut packet[..length];
    packet[..IPV4_LENGTH].fill(0);
    packet[..2].copy_from_slice(&[0x45, 0xc0]);
    write_u16(packet, 2, length as u16);
    packet[8..10].copy_from_slice(&[TTL, PROTOCOL_ICMP]);
    packet[12..16].copy_from_slice(&router.octets());
    packet[16..20].copy_from_slice(&sender.octets());
    write_ipv4_checksum(packet, IPV4_LENGTH);
    let (kind, code, mtu) = match error {
        IcmpError::TtlExceeded => (TIME_EXCEEDED, 0, 0),
        IcmpError::FragmentationNeeded { mtu } => (UNREACHABLE, 4, mtu),
        IcmpError::NoRoute | IcmpError::RejectRoute => (UNREACHABLE, 0, 0),
        IcmpError::HostUnreachable => (UNREACHABLE, 1, 0),
        IcmpError::PortUnreachable => (UNREACHABLE, 3, 0),
        IcmpError::Prohibited => (UNREACHABLE, 13, 0),
    };
    write_message(packet, IPV4_LENGTH, (kind, code, mtu), quote);
    length
}

fn error_ipv6(
    packet: &mut [u8],
    error: IcmpError,
    quote: &[u8],
    (router, sender): (Ipv6Addr, Ipv6Addr),
) -> usize {
    let length = IPV6_LENGTH + 8 + quote.len();
    let packet = &mut packet[..length];
    packet[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, PROTOCOL_ICMPV6, TTL]);
    write_u16(packet, 4, (8 + quote.len()) as u16);
    packet[8..24].copy_from_slice(&router.octets());
    packet[24..40].copy_from_slice(&sender.octets());
    let (kind, code, mtu) = match error {
        IcmpError::TtlExceeded => (TIME_EXCEEDED_IPV6, 0, 0),
        IcmpError::FragmentationNeeded { mtu } => (TOO_BIG_IPV6, 0, mtu),
        IcmpError::NoRoute => (UNREACHABLE_IPV6, 0, 0),
        IcmpError::RejectRoute => (UNREACHABLE_IPV6, 6, 0),
        IcmpError::HostUnreachable => (UNREACHABLE_IPV6, 3, 0),
        IcmpError::PortUnreachable => (UNREACHABLE_IPV6, 4, 0),
        IcmpError::Prohibited => (UNREACHABLE_IPV6, 1, 0),
    };
    write_message(packet, IPV6_LENGTH, (kind, code, mtu), quote);
    length
}

/// Writes the message of an error behind the IP header: type, code, the MTU in its last two bytes, and the quote.
fn write_message(packet: &mut [u8], header_length: usize, (kind, code, mtu): (u8, u8, u16), quote: &[u8]) {
    let message = &mut packet[header_length..];
    message[..8].copy_from_slice(&[kind, code, 0, 0, 0, 0, 0, 0]);
    write_u16(message, 6, mtu);
    message[8..].copy_from_slice(quote);
    write_icmp_checksum(packet, header_length);
}
