//! Neighbour discovery for IPv6 over Ethernet: solicitations and advertisements of addresses (RFC 4861, sections 4.3, 4.4).

use std::net::Ipv6Addr;

use super::{
    ETHER_TYPE_IPV6, ETHERNET_LENGTH, IPV6_LENGTH, PROTOCOL_ICMPV6, ipv6_checksum, read_ipv6, read_mac,
    write_u16,
};
use crate::address::MacAddress;

/// ICMPv6 type neighbour solicitation.
const SOLICITATION: u8 = 135;
/// ICMPv6 type neighbour advertisement.
const ADVERTISEMENT: u8 = 136;
/// Length of both messages without options.
const MESSAGE_LENGTH: usize = 24;
/// Length of a link-layer address option.
const OPTION_LENGTH: usize = 8;
const OPTION_SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
const OPTION_TARGET_LINK_LAYER_ADDRESS: u8 = 2;
/// Length of the frames that [`Neighbour::write`] builds.
pub const FRAME_LENGTH: usize = ETHERNET_LENGTH + IPV6_LENGTH + MESSAGE_LENGTH + OPTION_LENGTH;
/// Flags of an advertisement: from a router, in answer to a solicitation, replacing what was known.
const ROUTER_SOLICITED_OVERRIDE: [u8; 3] = [0x80, 0x40, 0x20];

/// A parsed solicitation or advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Solicitation, or advertisement.
    pub solicitation: bool,
    /// Source address of the packet; unspecified while its sender looks for others with its address.
    pub source: Ipv6Addr,
    /// Destination address of the packet.
    pub destination: Ipv6Addr,
    /// The address that is asked for, or told of.
    pub target: Ipv6Addr,
    /// The MAC address told with it: of a solicitation its sender's, of an advertisement the target's.
    pub mac_address: Option<MacAddress>,
    /// An advertisement in answer to a solicitation.
    pub solicited: bool,
    /// An advertisement of a router.
    pub router: bool,
    /// An advertisement that replaces what its receivers know.
    pub overrides: bool,
}

impl Neighbour {
    /// Whether an ICMPv6 type is one of the two.
    pub fn is_type(kind: u8) -> bool {
        matches!(kind, SOLICITATION | ADVERTISEMENT)
    }

    /// Parses an ICMPv6 message whose checksum and hop limit are right; none where RFC 4861, section 7.1 has it
    /// discarded.
    pub fn parse(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Option<Self> {
        let head: &[u8; MESSAGE_LENGTH] = message.first_chunk()?;
        let solicitation = head[0] == SOLICITATION;
        let target = read_ipv6(head, 8);
        let solicited = !solicitation && head[4] & ROUTER_SOLICITED_OVERRIDE[1] != 0;
        let wanted =
            if solicitation { OPTION_SOURCE_LINK_LAYER_ADDRESS } else { OPTION_TARGET_LINK_LAYER_ADDRESS };
        let mac_address = link_layer_address(&message[MESSAGE_LENGTH..], wanted).ok()?;
        let is_probe = solicitation && source.is_unspecified();
        let is_refused = head[1] != 0
            || target.is_multicast()
            || (is_probe && (mac_address.is_some() || destination != solicited_node(target)))
            || (!solicitation && source.is_unspecified())
            || (solicited && destination.is_multicast());
        if is_refused {
            return None;
        }
        let router = !solicitation && head[4] & ROUTER_SOLICITED_OVERRIDE[0] != 0;
        let overrides = !solicitation && head[4] & ROUTER_SOLICITED_OVERRIDE[2] != 0;
        Some(Self { solicitation, source, destination, target, mac_address, solicited, router, overrides })
    }

    /// The advertisement that says that `mac`, a router's where `router` is set, has the address asked for.
    #[must_use]
    pub fn reply_from(&self, mac: MacAddress, router: bool) -> Self {
        let is_probe = self.source.is_unspecified();
        Self {
            solicitation: false,
            source: self.target,
            destination: if is_probe { ALL_NODES } else { self.source },
            target: self.target,
            mac_address: Some(mac),
            solicited: !is_probe,
            router,
            overrides: true,
        }
    }

    /// Writes a frame of [`FRAME_LENGTH`] bytes from `source_mac` to `destination_mac`.
    pub fn write(&self, frame: &mut [u8], source_mac: MacAddress, destination_mac: MacAddress) {
        frame[..6].copy_from_slice(&destination_mac.0);
        frame[6..12].copy_from_slice(&source_mac.0);
        write_u16(frame, 12, ETHER_TYPE_IPV6);
        let packet = &mut frame[ETHERNET_LENGTH..FRAME_LENGTH];
        packet.fill(0);
        packet[0] = 0x60;
        write_u16(packet, 4, (MESSAGE_LENGTH + OPTION_LENGTH) as u16);
        packet[6] = PROTOCOL_ICMPV6;
        packet[7] = u8::MAX;
        packet[8..24].copy_from_slice(&self.source.octets());
        packet[24..40].copy_from_slice(&self.destination.octets());
        let message = &mut packet[IPV6_LENGTH..];
        message[0] = if self.solicitation { SOLICITATION } else { ADVERTISEMENT };
        if !self.solicitation {
            let [router, solicited, replaces] = ROUTER_SOLICITED_OVERRIDE;
            let flags = [(self.router, router), (self.solicited, solicited), (self.overrides, replaces)];
            message[4] = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum();
        }
        message[8..24].copy_from_slice(&self.target.octets());
        message[24] = if self.solicitation {
            OPTION_SOURCE_LINK_LAYER_ADDRESS
        } else {
            OPTION_TARGET_LINK_LAYER_ADDRESS
        };
        message[25] = 1;
        message[26..32].copy_from_slice(&self.mac_address.unwrap_or(source_mac).0);
        let checksum = ipv6_checksum(self.source, self.destination, PROTOCOL_ICMPV6, message);
        write_u16(message, 2, checksum);
    }
}

/// `ff02::1`: every node of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The group that the owner of an address listens to (RFC 4291, section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    const GROUP: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(GROUP | address.to_bits() & 0xff_ffff)
}

/// The MAC address of a multicast group (RFC 2464, section 7).
pub fn multicast_mac(group: Ipv6Addr) -> MacAddress {
    let [.., a, b, c, d] = group.octets();
    MacAddress([0x33, 0x33, a, b, c, d])
}

/// The link-local address that a MAC address makes (RFC 4291, appendix A): the gateway's own.
pub fn link_local(mac: MacAddress) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets[..2].copy_from_slice(&[0xfe, 0x80]);
    octets[8..11].copy_from_slice(&mac.0[..3]);
    octets[8] ^= 2;
    octets[11..13].copy_from_slice(&[0xff, 0xfe]);
    octets[13..].copy_from_slice(&mac.0[3..]);
    octets.into()
}

/// An option runs past its message, or has no length.
pub(super) struct MalformedOption;

/// The link-layer address among the options.
pub(super) fn link_layer_address(
    mut options: &[u8],
    wanted: u8,
) -> Result<Option<MacAddress>, MalformedOption> {
    let mut found = None;
    while !options.is_empty() {
        let length = 8 * usize::from(*options.get(1).ok_or(MalformedOption)?);
        let option = options.get(..length).filter(|option| !option.is_empty()).ok_or(MalformedOption)?;
        if option[0] == wanted && length == OPTION_LENGTH {
            found = Some(MacAddress(read_mac(option, 2)));
        }
        options = &options[length..];
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{ALL_NODES, FRAME_LENGTH, Neighbour, link_local, multicast_mac, solicited_node};
    use crate::address::MacAddress;
    use crate::wire::headers::{self, Network};

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 7]);

    fn solicitation(source: &str, target: &str) -> Neighbour {
        let target = target.parse().unwrap();
        Neighbour {
            solicitation: true,
            source: source.parse().unwrap(),
            destination: solicited_node(target),
            target,
            mac_address: Some(MAC),
            solicited: false,
            router: false,
            overrides: false,
        }
    }

    #[test]
    fn what_is_written_parses_to_the_same() {
        let asked = solicitation("2001:db8::5", "2001:db8::1");
        for message in
            [asked, asked.reply_from(MAC, true), solicitation("fe80::1", "fe80::2").reply_from(MAC, false)]
        {
            let mut frame = [0xa5; FRAME_LENGTH];
            message.write(&mut frame, MAC, multicast_mac(message.destination));
            let parsed = headers::parse(&frame).unwrap();
            assert_eq!(parsed.network, Network::Neighbour(message));
            frame[21] = 254;
            assert!(headers::parse(&frame).is_err(), "a hop limit below 255 comes from further away");
        }
    }

    #[test]
    fn probes_are_answered_to_all() {
        let reply = solicitation("::", "2001:db8::1").reply_from(MAC, false);
        assert_eq!((reply.destination, reply.solicited), (ALL_NODES, false));
    }

    #[test]
    fn addresses_made_from_addresses() {
        assert_eq!(solicited_node("2001:db8::12:3456".parse().unwrap()).to_string(), "ff02::1:ff12:3456");
        assert_eq!(multicast_mac("ff02::1:ff12:3456".parse().unwrap()).to_string(), "33:33:ff:12:34:56");
        assert_eq!(link_local(MAC).to_string(), "fe80::ff:fe00:7");
    }

    #[test]
    fn malformed_options_are_refused() {
        let message = |options: &[u8]| [&[135, 0, 0, 0, 0, 0, 0, 0][..], &[0x20; 16], options].concat();
        let parse = |options: &[u8]| {
            Neighbour::parse("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap(), &message(options))
        };
        assert!(parse(&[]).is_some());
        assert!(parse(&[14, 1, 1, 2, 3, 4, 5, 6]).is_some(), "unknown options are passed over");
        for wrong in [&[1, 0, 2, 0, 0, 0, 0, 7][..], &[1, 2, 2, 0, 0, 0, 0, 7], &[1]] {
            assert!(parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
