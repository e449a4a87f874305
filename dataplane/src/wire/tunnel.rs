//! VXLAN (RFC 7348) and Geneve (RFC 8926): outer headers read and written.
//!
//! Reading looks at what follows the UDP header only; the outer headers are read like any packet's. Writing makes the
//! bytes that the kernel programs make, by the same record.

use edgestack_abi::flow::FAMILY_IPV6;
use edgestack_abi::tunnel::{
    GENEVE_FLAGS, GENEVE_PORT, KIND_GENEVE, KIND_VXLAN, OUTER_TTL, TUNNEL_HEADER_LENGTH, VXLAN_FLAGS,
    VXLAN_PORT, source_port,
};
use edgestack_abi::{DropReason, TunnelEntry};

use super::udp::UDP_LENGTH;
use super::{
    ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHERNET_LENGTH, IPV4_LENGTH, IPV6_LENGTH, PROTOCOL_TCP, PROTOCOL_UDP,
    read_u16, write_ipv4_checksum, write_u16,
};

/// The flag of a VXLAN header that says that the identifier is valid.
const VXLAN_VALID: u8 = 0x08;
/// Of a Geneve header's second byte: a message between the ends of tunnels, not a frame.
const GENEVE_CONTROL: u8 = 0x80;
/// Of the type of a Geneve option: who does not know it must not take the frame.
const OPTION_CRITICAL: u8 = 0x80;
/// Length of the fixed part of a Geneve option.
const OPTION_LENGTH: usize = 4;
/// EtherType that a Geneve header has for an Ethernet frame.
const TRANSPARENT_BRIDGING: u16 = 0x6558;
/// The bits of an IPv4 header that make a packet a part of a datagram: more to come, or an offset (RFC 791).
const FRAGMENT_BITS: u16 = 0x3fff;
/// Congestion experienced, of the last two bits of type of service or traffic class (RFC 3168).
pub const CONGESTION_EXPERIENCED: u8 = 0b11;

/// What the header of a tunnel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelHeader {
    /// `KIND_VXLAN` or `KIND_GENEVE`.
    pub kind: u8,
    /// Network identifier.
    pub identifier: u32,
    /// Length of the header with its options.
    pub length: usize,
}

/// The kind of tunnel that a UDP port is for.
pub fn kind_of_port(port: u16) -> Option<u8> {
    match port {
        VXLAN_PORT => Some(KIND_VXLAN),
        GENEVE_PORT => Some(KIND_GENEVE),
        _ => None,
    }
}

/// The UDP port of a kind of tunnel.
pub fn port_of_kind(kind: u8) -> u16 {
    if kind == KIND_GENEVE { GENEVE_PORT } else { VXLAN_PORT }
}

/// Reads the header that a UDP payload starts with.
pub fn parse(kind: u8, payload: &[u8]) -> Result<TunnelHeader, DropReason> {
    let header: &[u8; TUNNEL_HEADER_LENGTH] = payload.first_chunk().ok_or(DropReason::MalformedTunnel)?;
    let identifier = u32::from_be_bytes([0, header[4], header[5], header[6]]);
    if kind == KIND_VXLAN {
        // Other bits are reserved, and ignored (RFC 7348, section 5).
        if header[0] & VXLAN_VALID == 0 {
            return Err(DropReason::MalformedTunnel);
        }
        return Ok(TunnelHeader { kind, identifier, length: TUNNEL_HEADER_LENGTH });
    }
    let options_length = usize::from(header[0] & 0x3f) * 4;
    let length = TUNNEL_HEADER_LENGTH + options_length;
    let options = payload.get(TUNNEL_HEADER_LENGTH..length).ok_or(DropReason::MalformedTunnel)?;
    // RFC 8926, section 3.4: another version is not understood, and a control message is not forwarded.
    if header[0] >> 6 != 0 || header[1] & GENEVE_CONTROL != 0 {
        return Err(DropReason::MalformedTunnel);
    }
    if read_u16(header, 2) != TRANSPARENT_BRIDGING {
        return Err(DropReason::UnknownEtherType);
    }
    check_options(options)?;
    Ok(TunnelHeader { kind, identifier, length })
}

/// RFC 8926, section 3.5: options fill their room exactly, and none that is critical is known.
fn check_options(mut options: &[u8]) -> Result<(), DropReason> {
    while !options.is_empty() {
        let option: &[u8; OPTION_LENGTH] = options.first_chunk().ok_or(DropReason::MalformedTunnel)?;
        if option[2] & OPTION_CRITICAL != 0 {
            return Err(DropReason::TunnelOption);
        }
        let length = OPTION_LENGTH + usize::from(option[3] & 0x1f) * 4;
        options = options.get(length..).ok_or(DropReason::MalformedTunnel)?;
    }
    Ok(())
}

/// Length of all outer headers of a kind of address, the Ethernet header of the frame inside not among them.
pub fn outer_length(is_ipv6: bool) -> usize {
    let ip_length = if is_ipv6 { IPV6_LENGTH } else { IPV4_LENGTH };
    ETHERNET_LENGTH + ip_length + UDP_LENGTH + TUNNEL_HEADER_LENGTH
}

/// By how much a packet inside must be smaller than the largest that the way takes: the inner Ethernet header in place of the
/// outer, and all others.
pub fn overhead(is_ipv6: bool) -> u16 {
    outer_length(is_ipv6) as u16
}

/// Writes the outer headers of `tunnel` in front of the frame that stands at their length in `bytes`.
pub fn write(bytes: &mut [u8], tunnel: &TunnelEntry) {
    let is_ipv6 = tunnel.family == FAMILY_IPV6;
    let (outer, inner) = bytes.split_at_mut(outer_length(is_ipv6));
    let (port, congestion) = (flow_port(inner), congestion_of(inner));
    let inner_length = inner.len();
    let (ethernet, rest) = outer.split_at_mut(ETHERNET_LENGTH);
    ethernet[..6].copy_from_slice(&tunnel.ethernet_destination);
    ethernet[6..12].copy_from_slice(&tunnel.ethernet_source);
    write_u16(ethernet, 12, if is_ipv6 { ETHER_TYPE_IPV6 } else { ETHER_TYPE_IPV4 });
    let (ip, rest) = rest.split_at_mut(if is_ipv6 { IPV6_LENGTH } else { IPV4_LENGTH });
    let datagram_length = (UDP_LENGTH + TUNNEL_HEADER_LENGTH + inner_length) as u16;
    ip.fill(0);
    let octets = |address: [u64; 2]| -> [u8; 16] {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&address[0].to_ne_bytes());
        octets[8..].copy_from_slice(&address[1].to_ne_bytes());
        octets
    };
    if is_ipv6 {
        // The flow label tells flows apart like the source port (RFC 6438).
        let word = 0x6000_0000 | u32::from(congestion) << 20 | u32::from(port);
        ip[..4].copy_from_slice(&word.to_be_bytes());
        write_u16(ip, 4, datagram_length);
        ip[6] = PROTOCOL_UDP;
        ip[7] = OUTER_TTL;
        ip[8..24].copy_from_slice(&octets(tunnel.local));
        ip[24..40].copy_from_slice(&octets(tunnel.remote));
    } else {
        ip[0] = 0x45;
        ip[1] = congestion;
        write_u16(ip, 2, IPV4_LENGTH as u16 + datagram_length);
        ip[6] = 0x40; // Not to be fragmented on the way (RFC 7348, section 4.3).
        ip[8] = OUTER_TTL;
        ip[9] = PROTOCOL_UDP;
        ip[12..16].copy_from_slice(&octets(tunnel.local)[..4]);
        ip[16..20].copy_from_slice(&octets(tunnel.remote)[..4]);
        write_ipv4_checksum(ip, IPV4_LENGTH);
    }
    let (udp, header) = rest.split_at_mut(UDP_LENGTH);
    write_u16(udp, 0, port);
    write_u16(udp, 2, port_of_kind(tunnel.kind));
    write_u16(udp, 4, datagram_length);
    // No checksum: what is inside has its own (RFC 6935; RFC 7348, section 5).
    write_u16(udp, 6, 0);
    let flags = if tunnel.kind == KIND_GENEVE { GENEVE_FLAGS } else { VXLAN_FLAGS };
    header[..4].copy_from_slice(&flags.to_be_bytes());
    header[4..].copy_from_slice(&(tunnel.identifier << 8).to_be_bytes());
}

/// The source port of what carries this frame, by its flow: addresses and, of TCP and UDP that is whole, ports.
fn flow_port(frame: &[u8]) -> u16 {
    let word = |at: usize| match frame.get(at..at + 8) {
        Some(bytes) => u64::from_ne_bytes(bytes.try_into().unwrap_or_default()),
        None => 0,
    };
    let ports = |at: usize| match frame.get(at..at + 4) {
        Some(bytes) => u32::from_ne_bytes(bytes.try_into().unwrap_or_default()),
        None => 0,
    };
    let has_ports = |protocol: u8| matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP);
    match ip_of(frame) {
        Some((ETHER_TYPE_IPV4, ip)) => {
            let is_part = read_u16(ip, 6) & FRAGMENT_BITS != 0;
            let is_plain = ip[0] == 0x45 && !is_part && has_ports(ip[9]);
            let first = ETHERNET_LENGTH + IPV4_LENGTH;
            source_port([word(ETHERNET_LENGTH + 12), 0, 0, 0], if is_plain { ports(first) } else { 0 })
        }
        Some((ETHER_TYPE_IPV6, ip)) if ip.len() >= IPV6_LENGTH => {
            let first = ETHERNET_LENGTH + IPV6_LENGTH;
            let addresses = [8, 16, 24, 32].map(|at| word(ETHERNET_LENGTH + at));
            source_port(addresses, if has_ports(ip[6]) { ports(first) } else { 0 })
        }
        _ => source_port([0; 4], 0),
    }
}

/// EtherType and bytes of a frame's IP packet, if they hold an IPv4 header.
fn ip_of(frame: &[u8]) -> Option<(u16, &[u8])> {
    let ip = frame.get(ETHERNET_LENGTH..).filter(|ip| ip.len() >= IPV4_LENGTH)?;
    Some((read_u16(frame, 12), ip))
}

/// The congestion bits of a frame's IP packet: the outer header has them too (RFC 6040, section 4.1).
fn congestion_of(frame: &[u8]) -> u8 {
    match ip_of(frame) {
        Some((ETHER_TYPE_IPV4, ip)) => ip[1] & CONGESTION_EXPERIENCED,
        Some((ETHER_TYPE_IPV6, ip)) => ip[1] >> 4 & CONGESTION_EXPERIENCED,
        _ => 0,
    }
}

/// Brings what the outer header says of congestion into the frame; false where the frame cannot say it and must be dropped
/// (RFC 6040, section 4.2).
pub fn mark_congestion(frame: &mut [u8]) -> bool {
    if congestion_of(frame) == 0 {
        return false;
    }
    match ip_of(frame) {
        Some((ETHER_TYPE_IPV4, ip)) => {
            let header_length = usize::from(ip[0] & 0x0f) * 4;
            let ip = &mut frame[ETHERNET_LENGTH..];
            if header_length < IPV4_LENGTH
                || header_length > ip.len()
                || super::internet_checksum(&ip[..header_length]) != 0
            {
                // Left to the parser to refuse.
                return true;
            }
            ip[1] |= CONGESTION_EXPERIENCED;
            write_ipv4_checksum(ip, header_length);
        }
        _ => frame[ETHERNET_LENGTH + 1] |= CONGESTION_EXPERIENCED << 4,
    }
    true
}

#[cfg(test)]
mod tests {
    use edgestack_abi::flow::FAMILY_IPV6;
    use edgestack_abi::tunnel::{KIND_GENEVE, KIND_VXLAN};
    use edgestack_abi::{DropReason, TunnelEntry};

    use super::{kind_of_port, outer_length, parse, write};
    use crate::wire::ETHERNET_LENGTH;
    use crate::wire::headers::{self, Network, Transport};
    use crate::wire::udp::UDP_LENGTH;

    #[test]
    fn what_is_written_is_read() {
        for (kind, family) in
            [(KIND_VXLAN, 0), (KIND_GENEVE, 0), (KIND_VXLAN, FAMILY_IPV6), (KIND_GENEVE, FAMILY_IPV6)]
        {
            let tunnel = TunnelEntry {
                kind,
                family,
                identifier: 0x12_3456,
                local: [u64::from_ne_bytes([192, 0, 2, 1, 0, 0, 0, 0]), 1],
                remote: [u64::from_ne_bytes([192, 0, 2, 2, 0, 0, 0, 0]), 2],
                ..TunnelEntry::default()
            };
            let outer = outer_length(family == FAMILY_IPV6);
            let mut bytes = vec![7; outer + 60];
            write(&mut bytes, &tunnel);
            let Network::Ip(ip) = headers::parse(&bytes).unwrap().network else { panic!("it is IP") };
            let Transport::Udp { source_port, destination_port } = ip.transport else { panic!("it is UDP") };
            assert!(source_port >= 0xc000 && ip.dont_fragment);
            assert_eq!(kind_of_port(destination_port), Some(kind));
            let header = parse(kind, &bytes[ETHERNET_LENGTH + ip.header_length + UDP_LENGTH..]).unwrap();
            assert_eq!((header.identifier, header.length), (0x12_3456, 8));
            assert_eq!(bytes[outer..], [7; 60]);
        }
    }

    #[test]
    fn options_of_geneve_fill_their_room_and_none_is_critical() {
        let geneve = |first: u8, second: u8, options: &[u8]| {
            let header = [&[first, second, 0x65, 0x58, 0, 0, 9, 0], options].concat();
            parse(KIND_GENEVE, &header).map(|header| header.length)
        };
        assert_eq!(geneve(0, 0, &[]), Ok(8));
        assert_eq!(geneve(1, 0, &[1, 2, 0x7f, 0]), Ok(12), "an option that may be passed over");
        assert_eq!(geneve(3, 0, &[1, 2, 1, 1, 9, 9, 9, 9, 1, 2, 2, 0]), Ok(20));
        assert_eq!(geneve(1, 0x40, &[1, 2, 0x80, 0]), Err(DropReason::TunnelOption));
        assert_eq!(geneve(1, 0, &[1, 2, 0x80, 0]), Err(DropReason::TunnelOption), "whatever the header says");
        assert_eq!(geneve(1, 0, &[1, 2, 3, 1]), Err(DropReason::MalformedTunnel), "longer than its room");
        assert_eq!(geneve(2, 0, &[1, 2, 3, 0]), Err(DropReason::MalformedTunnel), "the room is not there");
        assert_eq!(geneve(0x40, 0, &[]), Err(DropReason::MalformedTunnel), "version 1");
        assert_eq!(geneve(0, 0x80, &[]), Err(DropReason::MalformedTunnel), "a control message");
        assert_eq!(parse(KIND_GENEVE, &[0, 0, 8, 0, 0, 0, 9, 0]), Err(DropReason::UnknownEtherType));
        assert_eq!(parse(KIND_VXLAN, &[0, 0, 0, 0, 0, 0, 9, 0]), Err(DropReason::MalformedTunnel));
        assert_eq!(parse(KIND_VXLAN, &[8, 0, 0, 0, 0, 0, 9]), Err(DropReason::MalformedTunnel));
    }
}
