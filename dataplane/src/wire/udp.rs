//! UDP (RFC 768; over IPv6: RFC 8200, section 8.1): the payload of a received datagram, and headers around one that the
//! gateway makes.

use std::net::{IpAddr, Ipv4Addr};

use super::headers::Ip;
use super::{
    ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHERNET_LENGTH, IPV4_LENGTH, IPV6_LENGTH, PROTOCOL_UDP, ipv6_checksum,
    read_u16, sum, write_ipv4_checksum, write_u16,
};
use crate::address::MacAddress;

/// Length of a UDP header.
pub const UDP_LENGTH: usize = 8;

/// Time to live of the datagrams that the gateway makes.
const TTL: u8 = 64;

/// Where a datagram comes from, or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// MAC address.
    pub mac_address: MacAddress,
    /// IP address; that of the other end is of the same version.
    pub ip_address: IpAddr,
    /// UDP port.
    pub port: u16,
}

/// Length of the IP header of a datagram to or from an address.
pub fn ip_header_length(address: IpAddr) -> usize {
    if address.is_ipv4() { IPV4_LENGTH } else { IPV6_LENGTH }
}

/// Length of all headers in front of the payload of a datagram to or from an address.
pub fn headers_length(address: IpAddr) -> usize {
    ETHERNET_LENGTH + ip_header_length(address) + UDP_LENGTH
}

/// The payload of the datagram in `frame`, which `ip` describes; none when its checksum is wrong.
pub fn payload<'a>(frame: &'a [u8], ip: &Ip) -> Option<&'a [u8]> {
    let datagram = frame.get(ETHERNET_LENGTH + ip.header_length..ETHERNET_LENGTH + ip.total_length)?;
    if datagram.len() < UDP_LENGTH {
        return None;
    }
    let length = usize::from(read_u16(datagram, 4));
    let datagram = datagram.get(..length).filter(|datagram| datagram.len() >= UDP_LENGTH)?;
    // Over IPv4 a checksum of zero says that there is none.
    let has_none = ip.source.is_ipv4() && read_u16(datagram, 6) == 0;
    (has_none || checksum(datagram, ip.source, ip.destination) == 0).then(|| &datagram[UDP_LENGTH..])
}

/// Writes the headers in front of the `payload_length` bytes that stand at [`headers_length`] in `frame`; the length of
/// the whole frame.
pub fn write_headers(frame: &mut [u8], source: Place, destination: Place, payload_length: usize) -> usize {
    let length = headers_length(source.ip_address) + payload_length;
    let datagram = write_outer_headers(&mut frame[..length], source, destination, PROTOCOL_UDP);
    write_u16(datagram, 0, source.port);
    write_u16(datagram, 2, destination.port);
    write_u16(datagram, 4, (UDP_LENGTH + payload_length) as u16);
    write_u16(datagram, 6, 0);
    let sum = checksum(datagram, source.ip_address, destination.ip_address);
    write_u16(datagram, 6, if sum == 0 { 0xffff } else { sum });
    length
}

/// Writes the headers of Ethernet and IP in front of what is left of `frame`, and returns that.
pub(super) fn write_outer_headers(
    frame: &mut [u8],
    source: Place,
    destination: Place,
    protocol: u8,
) -> &mut [u8] {
    frame[..6].copy_from_slice(&destination.mac_address.0);
    frame[6..12].copy_from_slice(&source.mac_address.0);
    let is_ipv4 = source.ip_address.is_ipv4();
    write_u16(frame, 12, if is_ipv4 { ETHER_TYPE_IPV4 } else { ETHER_TYPE_IPV6 });
    let (header, rest) = frame[ETHERNET_LENGTH..].split_at_mut(ip_header_length(source.ip_address));
    header.fill(0);
    match (source.ip_address, destination.ip_address) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header[0] = 0x45;
            write_u16(header, 2, (IPV4_LENGTH + rest.len()) as u16);
            header[8] = TTL;
            header[9] = protocol;
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
            write_ipv4_checksum(header, IPV4_LENGTH);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            header[0] = 0x60;
            write_u16(header, 4, rest.len() as u16);
            header[6] = protocol;
            header[7] = TTL;
            header[8..24].copy_from_slice(&source.octets());
            header[24..40].copy_from_slice(&destination.octets());
        }
        _ => unreachable!("both ends of a datagram are of one version"),
    }
    rest
}

/// The checksum of a datagram with its pseudo-header: 0 where it contains a right one.
fn checksum(datagram: &[u8], source: IpAddr, destination: IpAddr) -> u16 {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => ipv4_checksum(datagram, source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ipv6_checksum(source, destination, PROTOCOL_UDP, datagram)
        }
        _ => unreachable!("both ends of a datagram are of one version"),
    }
}

fn ipv4_checksum(datagram: &[u8], source: Ipv4Addr, destination: Ipv4Addr) -> u16 {
    let whole = u64::from(sum(datagram))
        + u64::from(sum(&source.octets()))
        + u64::from(sum(&destination.octets()))
        + u64::from(PROTOCOL_UDP)
        + datagram.len() as u64;
    let folded = (whole & 0xffff) + ((whole >> 16) & 0xffff) + (whole >> 32);
    let folded = (folded & 0xffff) + (folded >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Place, headers_length, payload, write_headers};
    use crate::address::MacAddress;
    use crate::wire::headers::{self, Network};

    #[test]
    fn what_is_written_is_read_and_a_damaged_one_is_not() {
        for base in ["10.0.0.", "fd00::"] {
            let place = |last: u8, port| Place {
                mac_address: MacAddress([2, 0, 0, 0, 0, last]),
                ip_address: format!("{base}{last}").parse::<IpAddr>().unwrap(),
                port,
            };
            for text in [&b"odd"[..], b"even", b""] {
                let start = headers_length(place(1, 67).ip_address);
                let mut frame = vec![0; start + 4];
                frame[start..][..text.len()].copy_from_slice(text);
                let length = write_headers(&mut frame, place(1, 67), place(2, 68), text.len());
                let parsed = headers::parse(&frame[..length]).unwrap();
                let Network::Ip(ip) = parsed.network else { panic!("it is IP") };
                assert_eq!(payload(&frame[..length], &ip), Some(text));
                frame[start - 7] ^= 1;
                assert_eq!(payload(&frame[..length], &ip), None);
            }
        }
    }
}
