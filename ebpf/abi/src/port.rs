//! The port table: what tier 0 must know of a port.

/// The port exists, is up and has an interface.
pub const PORT_UP: u16 = 1 << 0;
/// Frames for this port may be redirected by XDP. Without it a hit in XDP is passed on, to be forwarded by
/// the TC program of the same interface, which keeps segmentation offload.
pub const PORT_XDP_TRANSMIT: u16 = 1 << 1;
/// Every packet of the port goes to the engine: it is being captured.
pub const PORT_PUNT_ALL: u16 = 1 << 2;
/// An uplink: the host may share its interface, so frames to the interface's own MAC address and
/// broadcasts go to the host's stack too.
pub const PORT_UPLINK: u16 = 1 << 3;
/// Frames of tunnels come in by this port.
pub const PORT_UNDERLAY: u16 = 1 << 4;
/// A tunnel whose next hop is not known: the engine finds it first.
pub const PORT_UNRESOLVED: u16 = 1 << 5;
/// Frames with VLAN tags come in by this port for others.
pub const PORT_VLANS: u16 = 1 << 6;

/// One port: 64 bytes, indexed by port number. Port 0 is none. Tier 0 reads the fields up to `interface_mac`; the
/// rest lets a new engine recognise the port, whose number must not change while flows refer to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct PortEntry {
    /// Raised by every change of configuration that concerns the port's flows; see `FlowVerdict::epoch`.
    pub epoch: u32,
    /// Index of the interface, 0 while there is none.
    pub interface_index: u32,
    /// [`PORT_UP`], [`PORT_XDP_TRANSMIT`], [`PORT_PUNT_ALL`], [`PORT_UPLINK`], [`PORT_UNDERLAY`],
    /// [`PORT_UNRESOLVED`], [`PORT_VLANS`].
    pub flags: u16,
    /// Largest IP packet that may leave by the port, in bytes.
    pub mtu: u16,
    /// Index into [`crate::maps::SOCKETS`] of the socket of receive queue 0; that of queue n follows at n.
    pub first_socket: u32,
    /// The MAC address of the interface itself (not of the workload behind it).
    pub interface_mac: [u8; 6],
    /// Number of the tunnel that the port is, 0 where it is an interface.
    pub tunnel: u16,
    /// Hash of the port's identifier; 0: the number is free.
    pub id_hash: u64,
    /// Hash of all configuration that concerns the port's flows; a change of it raises `epoch`.
    pub fingerprint: u64,
    /// Always 0.
    pub reserved: [u64; 3],
}

const _: () = assert!(size_of::<PortEntry>() == 64);
