//! Tables in shared memory that outlive an engine, as the pinned maps of the kernel do.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};

use edgestack_abi::maps::{Control, MAX_INTERFACE_INDEX, MAX_PORTS};
use edgestack_abi::tunnel::{INDEX_BUCKETS, MAX_TUNNELS};
use edgestack_abi::{FlowBucket, PortEntry, Session, SessionAddresses, TunnelEntry};
use edgestack_dataplane::tables::region::{Region, Regions};

/// One file for each table; all vanish with the value.
pub(crate) struct SharedMemory {
    flows: File,
    flow_tags: File,
    sessions: File,
    session_addresses: File,
    ports: File,
    port_by_interface: File,
    tunnels: File,
    tunnel_index: File,
    control: File,
    buckets: u32,
    session_count: u32,
}

impl SharedMemory {
    /// Empty tables.
    pub(crate) fn new(buckets: u32, session_count: u32, hash_seed: u64) -> io::Result<Self> {
        let memory = Self {
            flows: file::<FlowBucket>(buckets)?,
            flow_tags: file::<u64>(buckets)?,
            sessions: file::<Session>(session_count)?,
            session_addresses: file::<SessionAddresses>(session_count)?,
            ports: file::<PortEntry>(MAX_PORTS)?,
            port_by_interface: file::<u32>(MAX_INTERFACE_INDEX)?,
            tunnels: file::<TunnelEntry>(MAX_TUNNELS)?,
            tunnel_index: file::<u64>(INDEX_BUCKETS)?,
            control: file::<Control>(1)?,
            buckets,
            session_count,
        };
        let control = Control { hash_seed, bucket_mask: buckets - 1, tier0_enabled: 1, ..Control::default() };
        memory.regions()?.control.write(0, control);
        Ok(memory)
    }

    /// The tables, for one more engine.
    pub(crate) fn regions(&self) -> io::Result<Regions> {
        Ok(Regions {
            flows: Region::map(self.flows.as_fd(), self.buckets as usize)?,
            flow_tags: Region::map(self.flow_tags.as_fd(), self.buckets as usize)?,
            sessions: Region::map(self.sessions.as_fd(), self.session_count as usize)?,
            session_addresses: Region::map(self.session_addresses.as_fd(), self.session_count as usize)?,
            ports: Region::map(self.ports.as_fd(), MAX_PORTS as usize)?,
            port_by_interface: Region::map(self.port_by_interface.as_fd(), MAX_INTERFACE_INDEX as usize)?,
            tunnels: Region::map(self.tunnels.as_fd(), MAX_TUNNELS as usize)?,
            tunnel_index: Region::map(self.tunnel_index.as_fd(), INDEX_BUCKETS as usize)?,
            control: Region::map(self.control.as_fd(), 1)?,
        })
    }
}

/// A file without a name that holds `length` records, all zero.
fn file<T>(length: u32) -> io::Result<File> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("edgestack-conformance-{}-{number}", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    file.set_len(u64::from(length) * size_of::<T>() as u64)?;
    Ok(file)
}
