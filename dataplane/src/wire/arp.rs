//! ARP for IPv4 over Ethernet (RFC 826; probes and announcements: RFC 5227).

use std::net::Ipv4Addr;

use super::{ETHER_TYPE_ARP, ETHERNET_LENGTH, read_ipv4, read_mac, read_u16, write_u16};
use crate::address::MacAddress;

/// Length of an ARP packet for IPv4 over Ethernet.
pub const ARP_LENGTH: usize = 28;
/// Length of a frame that carries one.
pub const FRAME_LENGTH: usize = ETHERNET_LENGTH + ARP_LENGTH;

const OPERATION_REQUEST: u16 = 1;
const OPERATION_REPLY: u16 = 2;

/// A parsed ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request, or reply.
    pub request: bool,
    /// MAC address of the sender.
    pub sender_mac: MacAddress,
    /// IP address of the sender; unspecified in a probe.
    pub sender_ip: Ipv4Addr,
    /// MAC address of the target; meaningless in a request.
    pub target_mac: MacAddress,
    /// The address that is asked for.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Parses the payload of an ARP frame; none when it is truncated or not IPv4 over Ethernet.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let payload = payload.get(..ARP_LENGTH)?;
        let operation = read_u16(payload, 6);
        let is_ipv4_over_ethernet = payload[..6] == [0, 1, 8, 0, 6, 4];
        if !is_ipv4_over_ethernet || !matches!(operation, OPERATION_REQUEST | OPERATION_REPLY) {
            return None;
        }
        Some(Self {
            request: operation == OPERATION_REQUEST,
            sender_mac: MacAddress(read_mac(payload, 8)),
            sender_ip: read_ipv4(payload, 14),
            target_mac: MacAddress(read_mac(payload, 18)),
            target_ip: read_ipv4(payload, 24),
        })
    }

    /// Writes a frame of [`FRAME_LENGTH`] bytes to `destination`.
    pub fn write(&self, frame: &mut [u8], destination: MacAddress) {
        frame[..6].copy_from_slice(&destination.0);
        frame[6..12].copy_from_slice(&self.sender_mac.0);
        write_u16(frame, 12, ETHER_TYPE_ARP);
        let payload = &mut frame[ETHERNET_LENGTH..FRAME_LENGTH];
        payload[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        write_u16(payload, 6, if self.request { OPERATION_REQUEST } else { OPERATION_REPLY });
        payload[8..14].copy_from_slice(&self.sender_mac.0);
        payload[14..18].copy_from_slice(&self.sender_ip.octets());
        payload[18..24].copy_from_slice(&self.target_mac.0);
        payload[24..28].copy_from_slice(&self.target_ip.octets());
    }

    /// The reply that says that `mac` has the address asked for.
    #[must_use]
    pub fn reply_from(&self, mac: MacAddress) -> Self {
        Self {
            request: false,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arp, FRAME_LENGTH};
    use crate::address::MacAddress;

    #[test]
    fn what_is_written_parses_to_the_same() {
        let arp = Arp {
            request: true,
            sender_mac: MacAddress([2, 0, 0, 0, 0, 1]),
            sender_ip: [10, 0, 0, 5].into(),
            target_mac: MacAddress::default(),
            target_ip: [10, 0, 0, 1].into(),
        };
        let mut frame = [0xa5; FRAME_LENGTH];
        arp.write(&mut frame, MacAddress::BROADCAST);
        assert_eq!(Arp::parse(&frame[14..]), Some(arp));
        assert_eq!(frame[..6], [0xff; 6]);
        for length in 0..28 {
            assert_eq!(Arp::parse(&frame[14..14 + length]), None, "{length} bytes");
        }
        frame[14 + 5] = 6;
        assert_eq!(Arp::parse(&frame[14..]), None, "a protocol length of 6 is not IPv4");
    }
}
