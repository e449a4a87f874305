//! TCP segments that the gateway makes itself: a RST in answer to a SYN (RFC 9293, section 3.10.7.1).

use super::headers::Ip;
use super::{
    ETHERNET_LENGTH, IPV4_LENGTH, IPV6_LENGTH, PROTOCOL_TCP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN,
    internet_checksum, ipv6_checksum, read_ipv6, read_u16, write_ipv4_checksum, write_u16,
};

const TCP_LENGTH: usize = 20;
const TTL: u8 = 64;

/// Turns the TCP segment in `frame`, which `ip` describes and which opens a connection, into the RST that refuses it;
/// the length of the frame then. None when the segment is shorter than its header.
pub fn reset_in_place(frame: &mut [u8], ip: &Ip) -> Option<usize> {
    let packet = frame.get_mut(ETHERNET_LENGTH..ETHERNET_LENGTH + ip.total_length)?;
    let segment = packet.get(ip.header_length..)?;
    let head: [u8; TCP_LENGTH] = *segment.first_chunk()?;
    let data_length = segment.len().saturating_sub(usize::from(head[12] >> 4) * 4) as u32;
    let counted = [TCP_SYN, TCP_FIN].iter().filter(|flag| head[13] & **flag != 0).count() as u32;
    let sequence = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    let acknowledged = sequence.wrapping_add(data_length).wrapping_add(counted);

    let (destination, source) = frame[..12].split_at_mut(6);
    destination.swap_with_slice(source);
    let packet = &mut frame[ETHERNET_LENGTH..];
    let (header_length, addresses_at, address_length) =
        if ip.source.is_ipv6() { (IPV6_LENGTH, 8, 16) } else { (IPV4_LENGTH, 12, 4) };
    let addresses = &mut packet[addresses_at..addresses_at + 2 * address_length];
    let (source, destination) = addresses.split_at_mut(address_length);
    source.swap_with_slice(destination);
    let length = header_length + TCP_LENGTH;
    if ip.source.is_ipv6() {
        packet[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, TCP_LENGTH as u8, PROTOCOL_TCP, TTL]);
    } else {
        packet[..addresses_at].copy_from_slice(&[
            0x45,
            0,
            0,
            length as u8,
            0,
            0,
            0x40,
            0,
            TTL,
            PROTOCOL_TCP,
            0,
            0,
        ]);
        write_ipv4_checksum(packet, IPV4_LENGTH);
    }
    let (header, segment) = packet[..length].split_at_mut(header_length);
    segment.fill(0);
    write_u16(segment, 0, read_u16(&head, 2));
    write_u16(segment, 2, read_u16(&head, 0));
    segment[8..12].copy_from_slice(&acknowledged.to_be_bytes());
    segment[12..14].copy_from_slice(&[5 << 4, TCP_RST | TCP_ACK]);
    let checksum = if ip.source.is_ipv6() {
        ipv6_checksum(read_ipv6(header, 8), read_ipv6(header, 24), PROTOCOL_TCP, segment)
    } else {
        ipv4_checksum(header, segment)
    };
    write_u16(segment, 16, checksum);
    Some(ETHERNET_LENGTH + length)
}

/// The checksum of a segment with its pseudo header.
fn ipv4_checksum(header: &[u8], segment: &[u8]) -> u16 {
    let mut summed = [0; 12 + TCP_LENGTH];
    summed[..8].copy_from_slice(&header[12..20]);
    summed[8..12].copy_from_slice(&[0, PROTOCOL_TCP, 0, segment.len() as u8]);
    summed[12..].copy_from_slice(segment);
    internet_checksum(&summed)
}
