//! TCP segments that the gateway makes itself: a RST in answer to a SYN (RFC 9293, section 3.10.7.1).

use super::headers::Ip;
use super::{
    ETHERNET_LENGTH, PROTOCOL_TCP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, internet_checksum, ipv6_checksum,
    read_ipv6, read_u16, turn, write_u16,
};

const TCP_LENGTH: usize = 20;

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

    let (header, segment) = turn::back(frame, ip, TCP_LENGTH)?;
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
    Some(ETHERNET_LENGTH + header.len() + TCP_LENGTH)
}

/// The checksum of a segment with its pseudo header.
fn ipv4_checksum(header: &[u8], segment: &[u8]) -> u16 {
    let mut summed = [0; 12 + TCP_LENGTH];
    summed[..8].copy_from_slice(&header[12..20]);
    summed[8..12].copy_from_slice(&[0, PROTOCOL_TCP, 0, segment.len() as u8]);
    summed[12..].copy_from_slice(segment);
    internet_checksum(&summed)
}
