//! The outer headers of what comes from another host, and of what goes there: VXLAN and Geneve over IPv4, without options.

use std::net::IpAddr;

use edgestack_dataplane::config::{Config, Peer, Segment};
use etherparse::PacketBuilder;

const VXLAN_PORT: u16 = 4789;
const GENEVE_PORT: u16 = 6081;
/// Ethernet, IPv4 and UDP.
const OUTER_LENGTH: usize = 42;
const HEADER_LENGTH: usize = 8;
/// The source port of what is sent, any.
const SOURCE_PORT: u16 = 50_000;

/// A way between two hosts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tunnel {
    ethernet_source: [u8; 6],
    ethernet_destination: [u8; 6],
    source: [u8; 4],
    destination: [u8; 4],
    port: u16,
    header: [u8; HEADER_LENGTH],
}

impl Tunnel {
    /// From a peer, whose next hop has this MAC address, to the gateway, for a network of this kind; none where there is none.
    pub(super) fn from_peer(
        config: &Config,
        peer: &Peer,
        segment: Option<Segment>,
        mac: [u8; 6],
    ) -> Option<Self> {
        let overlay = config.overlay.as_ref()?;
        let IpAddr::V4(source) = peer.address else { return None };
        let identified = |vni: u32, mut header: [u8; HEADER_LENGTH]| {
            header[4..7].copy_from_slice(&vni.to_be_bytes()[1..]);
            header
        };
        let (port, header) = match segment? {
            Segment::Vxlan { vni } => (VXLAN_PORT, identified(vni, [8, 0, 0, 0, 0, 0, 0, 0])),
            Segment::Geneve { vni } => (GENEVE_PORT, identified(vni, [0, 0, 0x65, 0x58, 0, 0, 0, 0])),
            Segment::Vlan { .. } => return None,
        };
        Some(Self {
            ethernet_source: mac,
            ethernet_destination: overlay.mac_address.0,
            source: source.octets(),
            destination: overlay.ip_address?.octets(),
            port,
            header,
        })
    }

    /// Reads a frame; the tunnel and what is inside, none when it comes by no tunnel.
    pub(super) fn unwrap(frame: &[u8]) -> Option<(Self, &[u8])> {
        let (outer, inner) = frame.split_at_checked(OUTER_LENGTH + HEADER_LENGTH)?;
        let port = u16::from_be_bytes([outer[36], outer[37]]);
        let is_tunnel = outer[12..15] == [8, 0, 0x45] && outer[23] == 17;
        let header = outer[OUTER_LENGTH..].try_into().ok()?;
        (is_tunnel && [VXLAN_PORT, GENEVE_PORT].contains(&port)).then_some((
            Self {
                ethernet_source: outer[6..12].try_into().ok()?,
                ethernet_destination: outer[..6].try_into().ok()?,
                source: outer[26..30].try_into().ok()?,
                destination: outer[30..34].try_into().ok()?,
                port,
                header,
            },
            inner,
        ))
    }

    /// The way back.
    pub(super) fn reversed(self) -> Self {
        Self {
            ethernet_source: self.ethernet_destination,
            ethernet_destination: self.ethernet_source,
            source: self.destination,
            destination: self.source,
            ..self
        }
    }

    /// The frame with the outer headers.
    pub(super) fn wrap(&self, inner: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(inner.len() + OUTER_LENGTH + HEADER_LENGTH);
        let payload = [&self.header[..], inner].concat();
        let written = PacketBuilder::ethernet2(self.ethernet_source, self.ethernet_destination)
            .ipv4(self.source, self.destination, 64)
            .udp(SOURCE_PORT, self.port)
            .write(&mut frame, &payload);
        written.map_or_else(|_| Vec::new(), |()| frame)
    }
}
