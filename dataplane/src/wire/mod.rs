//! Bytes to headers and back: parsing of received frames and building of the frames that the gateway makes.
//!
//! Contract: nothing here panics on any input of [`headers::parse`]. The builders panic only where their caller
//! hands them a buffer that is too short, which is a bug of the caller.
//!
//! RFCs to read first: 791 (IPv4), 792 (ICMP), 826 (ARP), 8200 (IPv6), 4443 (ICMPv6), 4861 (neighbour discovery), 768 (UDP),
//! 9293 (TCP), 9260 (SCTP), 2131 (DHCP), 8415 (DHCPv6).

pub mod arp;
pub mod dhcp4;
pub mod dhcp6;
pub mod dns;
pub mod fragment;
pub mod headers;
pub mod icmp;
pub mod neighbour;
pub mod router_discovery;
pub mod sctp;
pub mod tcp;
pub mod tunnel;
mod turn;
pub mod udp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgestack_abi::checksum;

/// Length of an Ethernet header without tags.
pub const ETHERNET_LENGTH: usize = 14;
/// Length of an IPv4 header without options.
pub const IPV4_LENGTH: usize = 20;
/// Length of an IPv6 header without extension headers.
pub const IPV6_LENGTH: usize = 40;
/// EtherType of IPv4.
pub const ETHER_TYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHER_TYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHER_TYPE_IPV6: u16 = 0x86dd;
/// IP protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// IP protocol number of ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;
/// IP protocol number of SCTP.
pub const PROTOCOL_SCTP: u8 = 132;
/// IP protocol number of UDP-Lite.
pub const PROTOCOL_UDP_LITE: u8 = 136;

/// The protocols that have a name here.
const PROTOCOL_NAMES: [(u8, &str); 10] = [
    (PROTOCOL_ICMP, "icmp"),
    (PROTOCOL_TCP, "tcp"),
    (PROTOCOL_UDP, "udp"),
    (PROTOCOL_ICMPV6, "icmpv6"),
    (PROTOCOL_SCTP, "sctp"),
    (PROTOCOL_UDP_LITE, "udplite"),
    (4, "ipip"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
];

/// The name of a protocol, else its number.
pub fn protocol_name(protocol: u8) -> String {
    let known = PROTOCOL_NAMES.iter().find(|(number, _)| *number == protocol);
    known.map_or_else(|| protocol.to_string(), |(_, name)| (*name).to_owned())
}

/// The number of a protocol by its name, or written out.
pub fn protocol_number(text: &str) -> Option<u8> {
    let named = PROTOCOL_NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
    named.map(|(number, _)| *number).or_else(|| text.parse().ok())
}

/// Whether packets of a protocol start with a source and a destination port.
pub const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_SCTP | PROTOCOL_UDP_LITE)
}

/// Whether connections of a protocol are told apart by ports, or by an identifier; those of others by their addresses alone.
pub const fn has_selectors(protocol: u8) -> bool {
    has_ports(protocol) || matches!(protocol, PROTOCOL_ICMP | PROTOCOL_ICMPV6)
}

/// TCP flag FIN (RFC 9293, section 3.1).
pub const TCP_FIN: u8 = 0x01;
/// TCP flag SYN.
pub const TCP_SYN: u8 = 0x02;
/// TCP flag RST.
pub const TCP_RST: u8 = 0x04;
/// TCP flag ACK.
pub const TCP_ACK: u8 = 0x10;

/// The 16-bit number at `at`, network byte order. Panics past the end.
#[inline]
pub fn read_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The 32-bit number at `at`, network byte order. Panics past the end.
#[inline]
pub fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The IPv4 address at `at`. Panics past the end.
#[inline]
pub fn read_ipv4(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}

/// The IPv6 address at `at`. Panics past the end.
#[inline]
pub fn read_ipv6(bytes: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[at..at + 16]);
    octets.into()
}

/// Writes an IP address at `at`, 4 or 16 bytes. Panics past the end.
pub fn write_address(bytes: &mut [u8], at: usize, address: IpAddr) {
    match address {
        IpAddr::V4(address) => bytes[at..at + 4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes[at..at + 16].copy_from_slice(&address.octets()),
    }
}

/// The MAC address at `at`. Panics past the end.
#[inline]
pub fn read_mac(bytes: &[u8], at: usize) -> [u8; 6] {
    let mut mac = [0; 6];
    mac.copy_from_slice(&bytes[at..at + 6]);
    mac
}

/// Writes a 16-bit number at `at`, network byte order. Panics past the end.
#[inline]
pub fn write_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// An address as the flow table holds it: the four bytes of the wire as one native word.
#[inline]
pub fn network_address(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// The inverse of [`network_address`].
#[inline]
pub fn host_address(address: u32) -> Ipv4Addr {
    Ipv4Addr::from(address.to_ne_bytes())
}

/// The ones' complement sum of `bytes`, not complemented (RFC 1071), as a number in network byte order.
pub fn sum(bytes: &[u8]) -> u32 {
    let mut sum = 0_u64;
    let (pairs, rest) = bytes.as_chunks::<2>();
    for pair in pairs {
        sum += u64::from(u16::from_be_bytes(*pair));
    }
    if let [last] = rest {
        sum += u64::from(*last) << 8;
    }
    while sum > 0xffff_ffff {
        sum = (sum & 0xffff_ffff) + (sum >> 32);
    }
    sum as u32
}

/// The Internet checksum of `bytes`: 0 where they contain a right checksum.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let sum = sum(bytes);
    !checksum::fold((sum & 0xffff) + (sum >> 16))
}

/// The checksum of an upper-layer packet of IPv6 with its pseudo header (RFC 8200, section 8.1): 0 where it contains a right
/// one.
pub fn ipv6_checksum(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, payload: &[u8]) -> u16 {
    let parts = [
        sum(&source.octets()),
        sum(&destination.octets()),
        payload.len() as u32,
        u32::from(protocol),
        sum(payload),
    ];
    !parts
        .into_iter()
        .fold(0, |total, part| checksum::fold(u32::from(total) + u32::from(checksum::fold(part))))
}

/// Writes the checksum of the IPv4 header of `length` bytes that `packet` starts with.
pub fn write_ipv4_checksum(packet: &mut [u8], length: usize) {
    write_u16(packet, 10, 0);
    let checksum = internet_checksum(&packet[..length]);
    write_u16(packet, 10, checksum);
}

#[cfg(test)]
mod tests {
    use super::internet_checksum;

    #[test]
    fn checksum_of_the_example_of_rfc_1071() {
        // Section 3: the sum of 00 01 f2 03 f4 f5 f6 f7 is ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(internet_checksum(&bytes), !0xddf2);
        assert_eq!(internet_checksum(&[0xff]), !0xff00, "an odd byte is padded with zero at the end");
    }
}
