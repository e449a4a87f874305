//! The trunk: the veth pair by which TC-attached ports exchange packets with the engine.
//!
//! A TC program that cannot forward a packet prepends a [`PuntHeader`] naming the ingress port and redirects
//! it into the trunk; the stack then segments and checksums it, and the engine reads it from an AF_XDP socket
//! at the far end. What the engine sends to such a port goes the same way back, the header then naming the
//! egress port.

/// EtherType of the trunk's header: IEEE 802 local experimental 1 (RFC 9542, section 3).
pub const PUNT_ETHER_TYPE: u16 = 0x88b5;
/// Length of the header in bytes.
pub const PUNT_HEADER_LENGTH: usize = 16;

/// Prepended to every frame on the trunk: 16 bytes, all in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PuntHeader {
    /// Destination MAC address: zero; the trunk is read promiscuously.
    pub ethernet_destination: [u8; 6],
    /// Source MAC address: zero.
    pub ethernet_source: [u8; 6],
    /// [`PUNT_ETHER_TYPE`], network byte order.
    pub ether_type: [u8; 2],
    /// Number of the ingress port (to the engine) or egress port (from it), network byte order.
    pub port: [u8; 2],
}

impl PuntHeader {
    /// The header for `port`.
    #[inline(always)]
    pub const fn new(port: u16) -> Self {
        Self {
            ethernet_destination: [0; 6],
            ethernet_source: [0; 6],
            ether_type: PUNT_ETHER_TYPE.to_be_bytes(),
            port: port.to_be_bytes(),
        }
    }
}

const _: () = assert!(size_of::<PuntHeader>() == PUNT_HEADER_LENGTH);
