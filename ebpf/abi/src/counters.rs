//! Counters that tier 0 keeps per port and per CPU.

/// Packets and bytes of one port on one CPU, as tier 0 saw them: 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct PortCounters {
    /// Packets received on the port and forwarded by tier 0. A segmented packet counts once per segment.
    pub forwarded_packets: u64,
    /// Bytes of those packets.
    pub forwarded_bytes: u64,
    /// Packets received on the port and handed to the engine.
    pub punted_packets: u64,
    /// Packets received on the port and left to the host's stack (uplinks).
    pub host_packets: u64,
    /// Packets sent out of the port by tier 0.
    pub transmitted_packets: u64,
    /// Bytes of those packets.
    pub transmitted_bytes: u64,
    /// Packets that tier 0 dropped; [`crate::maps::DROPS`] says why.
    pub dropped_packets: u64,
    /// Always 0.
    pub zero: u64,
}

const _: () = assert!(size_of::<PortCounters>() == 64);
