//! The port table: what both tiers must know of a port at every packet.
//!
//! Lives in shared memory. Fields are read singly and volatile on the packet path; the engine writes them under its
//! slow-path lock.

use edgestack_abi::PortEntry;

use super::region::Region;

/// The port table over its region.
#[derive(Debug)]
pub struct PortTable {
    ports: Region<PortEntry>,
}

impl PortTable {
    /// The table in `ports`.
    pub fn new(ports: Region<PortEntry>) -> Self {
        Self { ports }
    }

    /// The largest port number plus one.
    pub fn capacity(&self) -> u16 {
        self.ports.len() as u16
    }

    /// The whole record of a port.
    pub fn entry(&self, port: u16) -> PortEntry {
        self.ports.read(usize::from(port))
    }

    /// Changes the record of a port, under the slow-path lock.
    pub fn update(&self, port: u16, change: impl FnOnce(&mut PortEntry)) {
        let mut entry = self.entry(port);
        change(&mut entry);
        self.ports.write(usize::from(port), entry);
    }

    /// The epoch of a flow between two ports: the sum of theirs.
    #[inline]
    pub fn flow_epoch(&self, in_port: u16, out_port: u16) -> u32 {
        self.epoch(in_port).wrapping_add(self.epoch(out_port))
    }
}

#[expect(unsafe_code, reason = "single fields of shared records are read by pointer")]
mod fields {
    use super::PortTable;

    impl PortTable {
        /// The epoch of a port.
        #[inline]
        pub fn epoch(&self, port: u16) -> u32 {
            // SAFETY: the pointer is that of a record; epochs are aligned words.
            unsafe { (&raw const (*self.ports.pointer(usize::from(port))).epoch).read_volatile() }
        }

        /// The number of the tunnel that a port is, 0 for none.
        #[inline]
        pub fn tunnel(&self, port: u16) -> u16 {
            // SAFETY: as above.
            unsafe { (&raw const (*self.ports.pointer(usize::from(port))).tunnel).read_volatile() }
        }

        /// Flags and MTU of a port.
        #[inline]
        pub fn flags_and_mtu(&self, port: u16) -> (u16, u16) {
            let entry = self.ports.pointer(usize::from(port));
            // SAFETY: the pointer is that of a record.
            unsafe {
                ((&raw const (*entry).flags).read_volatile(), (&raw const (*entry).mtu).read_volatile())
            }
        }
    }
}
