//! A packet that becomes its own answer: what TCP's and SCTP's refusals have in common.

use super::headers::Ip;
use super::{ETHERNET_LENGTH, IPV4_LENGTH, IPV6_LENGTH, write_ipv4_checksum, write_u16};

const TTL: u8 = 64;
const DONT_FRAGMENT: u16 = 0x4000;

/// Turns the packet in `frame`, which `ip` describes, round: it goes back from where it was for, with a fresh IP header over
/// `length` zeros of its protocol. The IP header, and those zeros for the caller to fill; none when the frame has no room.
pub(super) fn back<'a>(frame: &'a mut [u8], ip: &Ip, length: usize) -> Option<(&'a [u8], &'a mut [u8])> {
    let is_ipv6 = ip.source.is_ipv6();
    let (header_length, addresses_at, address_length) =
        if is_ipv6 { (IPV6_LENGTH, 8, 16) } else { (IPV4_LENGTH, 12, 4) };
    let end = ETHERNET_LENGTH + header_length + length;
    let frame = frame.get_mut(..end)?;
    let (ethernet, packet) = frame.split_at_mut(ETHERNET_LENGTH);
    let (destination, source) = ethernet[..12].split_at_mut(6);
    destination.swap_with_slice(source);
    let addresses = &mut packet[addresses_at..addresses_at + 2 * address_length];
    let (source, destination) = addresses.split_at_mut(address_length);
    source.swap_with_slice(destination);
    packet[..addresses_at].fill(0);
    if is_ipv6 {
        packet[0] = 0x60;
        write_u16(packet, 4, length as u16);
        packet[6..8].copy_from_slice(&[ip.protocol, TTL]);
    } else {
        packet[0] = 0x45;
        write_u16(packet, 2, (header_length + length) as u16);
        write_u16(packet, 6, DONT_FRAGMENT);
        packet[8..10].copy_from_slice(&[TTL, ip.protocol]);
        write_ipv4_checksum(packet, IPV4_LENGTH);
    }
    let (header, rest) = packet.split_at_mut(header_length);
    rest.fill(0);
    Some((header, rest))
}
