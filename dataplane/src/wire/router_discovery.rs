//! Router discovery for IPv6 over Ethernet: solicitations of hosts and advertisements of the gateway (RFC 4861, sections
//! 4.1 and 4.2; options: RFC 4191, RFC 8106).

use std::net::Ipv6Addr;

use super::neighbour::{self, ALL_NODES, link_local, multicast_mac};
use super::{
    ETHER_TYPE_IPV6, ETHERNET_LENGTH, IPV6_LENGTH, PROTOCOL_ICMPV6, ipv6_checksum, write_address, write_u16,
};
use crate::address::{Cidr, MacAddress};

/// ICMPv6 type router solicitation.
const SOLICITATION: u8 = 133;
/// ICMPv6 type router advertisement.
const ADVERTISEMENT: u8 = 134;
const SOLICITATION_LENGTH: usize = 8;
const ADVERTISEMENT_LENGTH: usize = 16;
const LINK_LAYER_ADDRESS_LENGTH: usize = 8;
/// What all options take at most: the packet passes every link (RFC 8200, section 5).
pub const OPTIONS_LENGTH_MAX: usize = 1280 - IPV6_LENGTH - ADVERTISEMENT_LENGTH - LINK_LAYER_ADDRESS_LENGTH;
/// Longest frame of an advertisement.
pub const FRAME_LENGTH_MAX: usize = ETHERNET_LENGTH + 1280;

/// Hosts send packets with this hop limit.
const HOP_LIMIT: u8 = 64;
const FLAG_MANAGED: u8 = 0x80;
const FLAG_OTHER: u8 = 0x40;

const OPTION_SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;
const OPTION_ROUTE: u8 = 24;
const OPTION_DNS_SERVERS: u8 = 25;
const OPTION_DNS_SEARCH: u8 = 31;
const PREFIX_ON_LINK: u8 = 0x80;
const PREFIX_AUTONOMOUS: u8 = 0x40;

/// A host asks for routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// Source address of the packet; unspecified while its sender has none.
    pub source: Ipv6Addr,
    /// The sender's MAC address, where it tells it.
    pub mac_address: Option<MacAddress>,
}

impl Solicitation {
    /// Whether an ICMPv6 type is a solicitation's.
    pub fn is_type(kind: u8) -> bool {
        kind == SOLICITATION
    }

    /// Parses an ICMPv6 message whose checksum and hop limit are right; none where RFC 4861, section 6.1.1 has it
    /// discarded.
    pub fn parse(source: Ipv6Addr, message: &[u8]) -> Option<Self> {
        let (head, options) = message.split_at_checked(SOLICITATION_LENGTH)?;
        let mac_address = neighbour::link_layer_address(options, OPTION_SOURCE_LINK_LAYER_ADDRESS).ok()?;
        let is_refused = head[1] != 0 || (source.is_unspecified() && mac_address.is_some());
        (!is_refused).then_some(Self { source, mac_address })
    }
}

/// What the gateway says of itself and of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement<'a> {
    /// Addresses are given by DHCPv6.
    pub managed: bool,
    /// All else is told by DHCPv6.
    pub other: bool,
    /// How long the gateway is a default router; 0: it is none.
    pub lifetime_seconds: u16,
    /// Options, at most [`OPTIONS_LENGTH_MAX`] bytes.
    pub options: &'a [u8],
}

impl Advertisement<'_> {
    /// Writes a frame from the router with the MAC address `source` to one host, or to all, into `frame`, which has
    /// [`FRAME_LENGTH_MAX`] bytes; its length.
    pub fn write(&self, frame: &mut [u8], source: MacAddress, host: Option<(Ipv6Addr, MacAddress)>) -> usize {
        let (destination, destination_mac) = host.unwrap_or((ALL_NODES, multicast_mac(ALL_NODES)));
        let payload_length = ADVERTISEMENT_LENGTH + LINK_LAYER_ADDRESS_LENGTH + self.options.len();
        let length = ETHERNET_LENGTH + IPV6_LENGTH + payload_length;
        let frame = &mut frame[..length];
        frame.fill(0);
        frame[..6].copy_from_slice(&destination_mac.0);
        frame[6..12].copy_from_slice(&source.0);
        write_u16(frame, 12, ETHER_TYPE_IPV6);
        let packet = &mut frame[ETHERNET_LENGTH..];
        packet[0] = 0x60;
        write_u16(packet, 4, payload_length as u16);
        packet[6] = PROTOCOL_ICMPV6;
        packet[7] = u8::MAX;
        let own_address = link_local(source);
        write_address(packet, 8, own_address.into());
        write_address(packet, 24, destination.into());
        let message = &mut packet[IPV6_LENGTH..];
        message[0] = ADVERTISEMENT;
        message[4] = HOP_LIMIT;
        message[5] = if self.managed { FLAG_MANAGED } else { 0 } | if self.other { FLAG_OTHER } else { 0 };
        write_u16(message, 6, self.lifetime_seconds);
        let options = &mut message[ADVERTISEMENT_LENGTH..];
        options[..2].copy_from_slice(&[OPTION_SOURCE_LINK_LAYER_ADDRESS, 1]);
        options[2..LINK_LAYER_ADDRESS_LENGTH].copy_from_slice(&source.0);
        options[LINK_LAYER_ADDRESS_LENGTH..].copy_from_slice(self.options);
        let checksum = ipv6_checksum(own_address, destination, PROTOCOL_ICMPV6, message);
        write_u16(message, 2, checksum);
        length
    }
}

/// The options of an advertisement, made once for a configuration.
#[derive(Debug, Default)]
pub struct Options(Vec<u8>);

impl Options {
    /// The network's prefix: its addresses are on the link and, if `autonomous`, hosts make their own of it.
    pub fn prefix(&mut self, prefix: Cidr, autonomous: bool, valid_seconds: u32, preferred_seconds: u32) {
        let std::net::IpAddr::V6(address) = prefix.address() else { return };
        let flags = PREFIX_ON_LINK | if autonomous { PREFIX_AUTONOMOUS } else { 0 };
        self.0.extend([OPTION_PREFIX, 4, prefix.prefix(), flags]);
        self.0.extend(valid_seconds.to_be_bytes());
        self.0.extend(preferred_seconds.to_be_bytes());
        self.0.extend([0; 4]);
        self.0.extend(address.octets());
    }

    /// Largest packet of the link.
    pub fn mtu(&mut self, mtu: u16) {
        self.0.extend([OPTION_MTU, 1, 0, 0, 0, 0]);
        self.0.extend(mtu.to_be_bytes());
    }

    /// A route by the gateway (RFC 4191, section 2.3).
    pub fn route(&mut self, destination: Cidr, lifetime_seconds: u16) {
        let std::net::IpAddr::V6(address) = destination.address() else { return };
        let units = destination.prefix().div_ceil(64);
        self.0.extend([OPTION_ROUTE, 1 + units, destination.prefix(), 0]);
        self.0.extend(u32::from(lifetime_seconds).to_be_bytes());
        self.0.extend(&address.octets()[..8 * usize::from(units)]);
    }

    /// Name servers (RFC 8106, section 5.1).
    pub fn dns_servers(&mut self, servers: &[Ipv6Addr], lifetime_seconds: u16) {
        if servers.is_empty() {
            return;
        }
        self.0.extend([OPTION_DNS_SERVERS, 1 + 2 * servers.len() as u8, 0, 0]);
        self.0.extend(u32::from(lifetime_seconds).to_be_bytes());
        self.0.extend(servers.iter().flat_map(Ipv6Addr::octets));
    }

    /// Domains that are searched, as the DNS writes them (RFC 8106, section 5.2).
    pub fn dns_search(&mut self, domains: &[u8], lifetime_seconds: u16) {
        if domains.is_empty() {
            return;
        }
        let units = domains.len().div_ceil(8);
        self.0.extend([OPTION_DNS_SEARCH, 1 + units as u8, 0, 0]);
        self.0.extend(u32::from(lifetime_seconds).to_be_bytes());
        self.0.extend(domains);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
    }

    /// The bytes of all of them.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Advertisement, FRAME_LENGTH_MAX, OPTIONS_LENGTH_MAX, Options, Solicitation};
    use crate::address::MacAddress;
    use crate::wire::{IPV6_LENGTH, ipv6_checksum, read_ipv6};

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 7]);

    fn options() -> Vec<u8> {
        let mut options = Options::default();
        options.prefix("2001:db8:a::/64".parse().unwrap(), true, 86_400, 14_400);
        options.mtu(1450);
        options.route("fd00:ec2::254/128".parse().unwrap(), 1800);
        options.route("2001:db8::/33".parse().unwrap(), 1800);
        options.route("::/0".parse().unwrap(), 1800);
        options.dns_servers(&["2001:db8:a::1".parse().unwrap(), "2001:db8::53".parse().unwrap()], 1800);
        options.dns_search(b"\x01a\x07example\0\x01b\0", 1800);
        options.into_bytes()
    }

    #[test]
    fn options_are_whole_units_of_eight_bytes() {
        let bytes = options();
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let (option, after) = rest.split_at(8 * usize::from(rest[1]));
            found.push((option[0], option.len()));
            rest = after;
        }
        assert_eq!(found, [(3, 32), (5, 8), (24, 24), (24, 16), (24, 8), (25, 40), (31, 24)]);
        assert_eq!(bytes[..4], [3, 4, 64, 0xc0]);
        let mut nothing = Options::default();
        nothing.dns_servers(&[], 9);
        nothing.dns_search(&[], 9);
        assert!(nothing.into_bytes().is_empty());
    }

    #[test]
    fn an_advertisement_is_a_sound_packet_from_the_link_local_address() {
        for options in [options(), vec![0; OPTIONS_LENGTH_MAX]] {
            let advertisement =
                Advertisement { managed: true, other: false, lifetime_seconds: 1800, options: &options };
            let mut frame = [0xa5; FRAME_LENGTH_MAX];
            let length = advertisement.write(&mut frame, MAC, None);
            assert_eq!(frame[..12], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7]);
            let packet = &frame[14..length];
            let (source, destination) = (read_ipv6(packet, 8), read_ipv6(packet, 24));
            assert_eq!(
                (source.to_string(), destination.to_string()),
                ("fe80::ff:fe00:7".into(), "ff02::1".into())
            );
            assert_eq!(ipv6_checksum(source, destination, 58, &packet[IPV6_LENGTH..]), 0);
            assert_eq!((packet[7], packet[IPV6_LENGTH + 5]), (255, 0x80));
            assert!(packet.len() <= 1280);
        }
    }

    #[test]
    fn solicitations_are_checked_as_rfc_4861_says() {
        let message = |code: u8, options: &[u8]| [&[133, code, 0, 0, 0, 0, 0, 0][..], options].concat();
        let parse = |source: &str, message: &[u8]| Solicitation::parse(source.parse().unwrap(), message);
        let told = [1, 1, 2, 0, 0, 0, 0, 7];
        assert_eq!(parse("fe80::1", &message(0, &told)).unwrap().mac_address, Some(MAC));
        assert!(parse("::", &message(0, &[])).is_some());
        assert!(parse("fe80::1", &message(0, &[14, 1, 1, 2, 3, 4, 5, 6])).is_some(), "unknown options");
        assert!(parse("::", &message(0, &told)).is_none(), "who has no address tells none of the link");
        assert!(parse("fe80::1", &message(1, &told)).is_none());
        assert!(parse("fe80::1", &message(0, &[1, 0, 2, 0, 0, 0, 0, 7])).is_none());
        assert!(parse("fe80::1", &message(0, &[1])).is_none());
        assert!(parse("fe80::1", &[133, 0, 0, 0]).is_none());
    }
}
