//! Tunnels: ports that are no interface of their own, but a way through another port's.
//!
//! What leaves by such a port is wrapped in outer headers, or gets a VLAN tag, and is sent by the port below; what comes in by the port below with
//! those headers around it came in by the tunnel's port. A flow's key and verdict name the tunnel's port like any other, and
//! its [`crate::PortEntry::tunnel`] names its record in [`crate::maps::TUNNELS`].
//!
//! Protocol of the shared memory: the engine fills a record while its port is not up, or has
//! [`crate::port::PORT_UNRESOLVED`] set, then puts its number into the index. The index is a hash table of [`INDEX_BUCKETS`]
//! words of four numbers each; a tunnel that finds no room there is served by the engine alone.

/// Tunnels of one host; number 0 is none. Each costs 64 bytes.
pub const MAX_TUNNELS: u32 = 4096;
/// Buckets of the index, a power of two; each is a word of four tunnel numbers.
pub const INDEX_BUCKETS: u32 = 8192;
/// Tunnel numbers of a bucket.
pub const BUCKET_TUNNELS: usize = 4;

/// Ethernet in UDP (RFC 7348).
pub const KIND_VXLAN: u8 = 1;
/// Ethernet in UDP with options (RFC 8926).
pub const KIND_GENEVE: u8 = 2;

/// A VLAN of the port below (IEEE 802.1Q). Of its record only the ports and the identifier say anything, and the first word of
/// the peer's address is the port below.
pub const KIND_VLAN: u8 = 3;

/// EtherType of a VLAN tag.
pub const VLAN_TAG: u16 = 0x8100;
/// Length of a VLAN tag.
pub const VLAN_TAG_LENGTH: usize = 4;
/// The bits of a tag that are the VLAN's identifier; the others are a priority.
pub const VLAN_IDENTIFIER: u16 = 0x0fff;

/// UDP port of VXLAN.
pub const VXLAN_PORT: u16 = 4789;
/// UDP port of Geneve.
pub const GENEVE_PORT: u16 = 6081;
/// Length of a VXLAN header, and of a Geneve header without options.
pub const TUNNEL_HEADER_LENGTH: usize = 8;
/// First word of a VXLAN header: the flag that says that the identifier is valid.
pub const VXLAN_FLAGS: u32 = 0x0800_0000;
/// First word of a Geneve header without options: version 0, an Ethernet frame inside.
pub const GENEVE_FLAGS: u32 = 0x0000_6558;
/// Largest network identifier: 24 bits.
pub const IDENTIFIER_MAX: u32 = 0xff_ffff;
/// Time to live of outer headers.
pub const OUTER_TTL: u8 = 64;

/// One tunnel: 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct TunnelEntry {
    /// The tunnel's port; 0: the record is free.
    pub port: u16,
    /// The port whose interface it goes through.
    pub under_port: u16,
    /// [`KIND_VXLAN`], [`KIND_GENEVE`] or [`KIND_VLAN`].
    pub kind: u8,
    /// Family of the outer addresses: 0, or [`crate::flow::FAMILY_IPV6`].
    pub family: u8,
    /// Always 0.
    pub zero: [u8; 2],
    /// Identifier of the network or of the VLAN.
    pub identifier: u32,
    /// Outer destination MAC address: the next hop towards the peer.
    pub ethernet_destination: [u8; 6],
    /// Outer source MAC address: the gateway's own.
    pub ethernet_source: [u8; 6],
    /// Always 0.
    pub reserved: u32,
    /// The gateway's own outer address as the packet has it; an IPv4 address is the first half of the first word.
    pub local: [u64; 2],
    /// The peer's outer address, likewise.
    pub remote: [u64; 2],
}

impl TunnelEntry {
    /// The bucket of the index that its number is in.
    #[inline(always)]
    pub const fn bucket(&self, seed: u64) -> u32 {
        bucket(self.kind, self.identifier, self.remote, seed)
    }
}

/// The bucket of the tunnel of this kind and network that frames from `remote` come by.
#[inline(always)]
pub const fn bucket(kind: u8, identifier: u32, remote: [u64; 2], seed: u64) -> u32 {
    let mut hash = (remote[0] ^ seed).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 32) ^ remote[1]).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= (kind as u64) << 32 | identifier as u64;
    hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash >> 32) as u32 & (INDEX_BUCKETS - 1)
}

/// The UDP source port of what carries a packet of a flow, so that paths are shared between flows and no flow is
/// reordered (RFC 7348, section 5; RFC 8926, section 3.3): of the range for such use, by a hash of what is the same in all
/// packets of the flow.
#[inline(always)]
pub const fn source_port(addresses: [u64; 4], ports: u32) -> u16 {
    let mut hash = 0xff51_afd7_ed55_8ccd_u64;
    let mut index = 0;
    while index < 4 {
        hash = (hash ^ (hash >> 32) ^ addresses[index]).wrapping_mul(0x94d0_49bb_1331_11eb);
        index += 1;
    }
    hash = (hash ^ (hash >> 29) ^ ports as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    0xc000 | (hash >> 48) as u16 & 0x3fff
}

const _: () = assert!(size_of::<TunnelEntry>() == 64 && INDEX_BUCKETS.is_power_of_two());
