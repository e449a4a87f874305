//! UDP over IPv4 (RFC 768): the payload of a received datagram, and headers around one that the gateway makes.

use std::net::Ipv4Addr;

use super::headers::Ip;
use super::{
    ETHER_TYPE_IPV4, ETHERNET_LENGTH, IPV4_LENGTH, PROTOCOL_UDP, read_u16, sum, write_ipv4_checksum,
    write_u16,
};
use crate::address::MacAddress;

/// Length of a UDP header.
pub const UDP_LENGTH: usize = 8;
/// Length of all headers in front of the payload.
pub const HEADERS_LENGTH: usize = ETHERNET_LENGTH + IPV4_LENGTH + UDP_LENGTH;

/// Time to live of the datagrams that the gateway makes.
const TTL: u8 = 64;

/// Where a datagram comes from, or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// MAC address.
    pub mac_address: MacAddress,
    /// IP address.
    pub ip_address: Ipv4Addr,
    /// UDP port.
    pub port: u16,
}

/// The payload of the IPv4 datagram in `frame`, which `ip` describes; none when its checksum is wrong.
pub fn payload<'a>(frame: &'a [u8], ip: &Ip) -> Option<&'a [u8]> {
    let (source, destination) = ip.ipv4()?;
    let datagram = frame.get(ETHERNET_LENGTH + ip.header_length..ETHERNET_LENGTH + ip.total_length)?;
    if datagram.len() < UDP_LENGTH {
        return None;
    }
    let length = usize::from(read_u16(datagram, 4));
    let datagram = datagram.get(..length).filter(|datagram| datagram.len() >= UDP_LENGTH)?;
    // A checksum of zero says that there is none.
    let has_checksum = read_u16(datagram, 6) != 0;
    if has_checksum && checksum(datagram, source, destination) != 0 {
        return None;
    }
    Some(&datagram[UDP_LENGTH..])
}

/// Writes the headers in front of the `payload_length` bytes that stand at [`HEADERS_LENGTH`] in `frame`; the length of
/// the whole frame.
pub fn write_headers(frame: &mut [u8], source: Place, destination: Place, payload_length: usize) -> usize {
    let length = HEADERS_LENGTH + payload_length;
    frame[..6].copy_from_slice(&destination.mac_address.0);
    frame[6..12].copy_from_slice(&source.mac_address.0);
    write_u16(frame, 12, ETHER_TYPE_IPV4);
    let packet = &mut frame[ETHERNET_LENGTH..length];
    packet[..IPV4_LENGTH].fill(0);
    packet[0] = 0x45;
    write_u16(packet, 2, (IPV4_LENGTH + UDP_LENGTH + payload_length) as u16);
    packet[8] = TTL;
    packet[9] = PROTOCOL_UDP;
    packet[12..16].copy_from_slice(&source.ip_address.octets());
    packet[16..20].copy_from_slice(&destination.ip_address.octets());
    write_ipv4_checksum(packet, IPV4_LENGTH);
    let datagram = &mut packet[IPV4_LENGTH..];
    write_u16(datagram, 0, source.port);
    write_u16(datagram, 2, destination.port);
    write_u16(datagram, 4, (UDP_LENGTH + payload_length) as u16);
    write_u16(datagram, 6, 0);
    let sum = checksum(datagram, source.ip_address, destination.ip_address);
    write_u16(datagram, 6, if sum == 0 { 0xffff } else { sum });
    length
}

/// The checksum of a datagram with its pseudo-header: 0 where it contains a right one.
fn checksum(datagram: &[u8], source: Ipv4Addr, destination: Ipv4Addr) -> u16 {
    let halves = |address: Ipv4Addr| sum(&address.octets());
    let whole = u64::from(sum(datagram))
        + u64::from(halves(source))
        + u64::from(halves(destination))
        + u64::from(PROTOCOL_UDP)
        + datagram.len() as u64;
    let folded = (whole & 0xffff) + ((whole >> 16) & 0xffff) + (whole >> 32);
    let folded = (folded & 0xffff) + (folded >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::{HEADERS_LENGTH, Place, payload, write_headers};
    use crate::address::MacAddress;
    use crate::wire::headers::{self, Network};

    #[test]
    fn what_is_written_is_read_and_a_damaged_one_is_not() {
        let place = |last: u8, port| Place {
            mac_address: MacAddress([2, 0, 0, 0, 0, last]),
            ip_address: [10, 0, 0, last].into(),
            port,
        };
        for text in [&b"odd"[..], b"even", b""] {
            let mut frame = [0; HEADERS_LENGTH + 4];
            frame[HEADERS_LENGTH..][..text.len()].copy_from_slice(text);
            let length = write_headers(&mut frame, place(1, 67), place(2, 68), text.len());
            let parsed = headers::parse(&frame[..length]).unwrap();
            let Network::Ip(ip) = parsed.network else { panic!("it is IP") };
            assert_eq!(payload(&frame[..length], &ip), Some(text));
            frame[HEADERS_LENGTH - 7] ^= 1;
            assert_eq!(payload(&frame[..length], &ip), None);
        }
    }
}
