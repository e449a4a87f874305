//! Memory that the engine shares with the kernel programs: arrays of plain records.
//!
//! A [`Region`] is either a mapped BPF array (tier 0 reads it too) or anonymous memory (tests, benches). All
//! access goes through raw pointers with volatile reads and writes, because the kernel and other workers use the
//! same memory at the same time; what may be written when is the protocol of `edgestack_abi::flow`. Only
//! the table modules use it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use edgestack_abi::maps::{Control, MAX_INTERFACE_INDEX, MAX_PORTS};
use edgestack_abi::tunnel::{INDEX_BUCKETS, MAX_TUNNELS};
use edgestack_abi::{FlowBucket, PortEntry, Session, SessionAddresses, TunnelEntry};

/// An array of records in shared memory. `T` must be valid for every bit pattern, as all records of the ABI are.
#[derive(Debug)]
pub struct Region<T> {
    start: NonNull<T>,
    length: usize,
}

/// The regions that an engine works on.
#[derive(Debug)]
pub struct Regions {
    /// The flow table; its length is a power of two.
    pub flows: Region<FlowBucket>,
    /// The tags of its buckets.
    pub flow_tags: Region<u64>,
    /// The sessions.
    pub sessions: Region<Session>,
    /// The IPv6 addresses of the sessions; as many.
    pub session_addresses: Region<SessionAddresses>,
    /// The ports, by number.
    pub ports: Region<PortEntry>,
    /// Port numbers by interface index.
    pub port_by_interface: Region<u32>,
    /// The tunnels, by number.
    pub tunnels: Region<TunnelEntry>,
    /// Tunnel numbers by what frames come with.
    pub tunnel_index: Region<u64>,
    /// One record.
    pub control: Region<Control>,
}

impl Regions {
    /// Fresh memory that no kernel program sees. `buckets` is rounded up to a power of two; `hash_seed` may be
    /// any number, and makes runs repeatable where it is fixed.
    pub fn anonymous(buckets: u32, sessions: u32, hash_seed: u64) -> io::Result<Self> {
        let buckets = buckets.next_power_of_two();
        let regions = Self {
            flows: Region::anonymous(buckets as usize)?,
            flow_tags: Region::anonymous(buckets as usize)?,
            sessions: Region::anonymous(sessions as usize)?,
            session_addresses: Region::anonymous(sessions as usize)?,
            ports: Region::anonymous(MAX_PORTS as usize)?,
            port_by_interface: Region::anonymous(MAX_INTERFACE_INDEX as usize)?,
            tunnels: Region::anonymous(MAX_TUNNELS as usize)?,
            tunnel_index: Region::anonymous(INDEX_BUCKETS as usize)?,
            control: Region::anonymous(1)?,
        };
        let control = Control { hash_seed, bucket_mask: buckets - 1, tier0_enabled: 1, ..Control::default() };
        regions.control.write(0, control);
        Ok(regions)
    }
}

#[expect(unsafe_code, reason = "memory shared with the kernel is mapped and accessed by pointer")]
mod access {
    use super::{AsRawFd, BorrowedFd, NonNull, Region, io};

    // SAFETY: the memory is shared by design; every access is volatile or atomic and never forms a reference.
    unsafe impl<T: Send> Send for Region<T> {}
    // SAFETY: as above.
    unsafe impl<T: Send> Sync for Region<T> {}

    impl<T: Copy> Region<T> {
        /// `length` records of fresh memory, all zero.
        pub fn anonymous(length: usize) -> io::Result<Self> {
            Self::new(length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
        }

        /// The `length` records of the mmapable BPF array behind `fd`.
        pub fn map(fd: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
            Self::new(length, libc::MAP_SHARED, fd.as_raw_fd())
        }

        fn new(length: usize, flags: i32, fd: i32) -> io::Result<Self> {
            let bytes = (length * size_of::<T>()).max(1);
            // SAFETY: a new mapping at an address of the kernel's choice aliases nothing of ours.
            let start = unsafe {
                libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0)
            };
            if start == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the range is the mapping just made; the advice changes no content.
            unsafe { libc::madvise(start, bytes, libc::MADV_HUGEPAGE) };
            let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
            Ok(Self { start, length })
        }

        /// A copy of the record at `index`. Panics when there is none.
        #[inline]
        pub fn read(&self, index: usize) -> T {
            // SAFETY: `pointer` checks the bound; T is plain data, so any bits the kernel left are a value.
            unsafe { self.pointer(index).read_volatile() }
        }

        /// Writes the record at `index`. Panics when there is none.
        #[inline]
        pub fn write(&self, index: usize, value: T) {
            // SAFETY: `pointer` checks the bound; concurrent readers follow the protocol of the table.
            unsafe { self.pointer(index).write_volatile(value) }
        }

        /// The address of the record at `index`. Panics when there is none.
        #[inline]
        pub(crate) fn pointer(&self, index: usize) -> *mut T {
            assert!(index < self.length, "record {index} of {}", self.length);
            // SAFETY: the index is within the mapping.
            unsafe { self.start.as_ptr().add(index) }
        }
    }

    impl<T> Drop for Region<T> {
        fn drop(&mut self) {
            // SAFETY: the mapping was made in `new` with this length, and nothing uses it after its owner.
            unsafe { libc::munmap(self.start.as_ptr().cast(), (self.length * size_of::<T>()).max(1)) };
        }
    }
}

impl<T> Region<T> {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}
