//! Packets and the memory that they live in.
//!
//! Every worker has one [`FramePool`]: a block of memory cut into frames of [`FRAME_SIZE`] bytes, which is also
//! the memory that its AF_XDP sockets are registered with, so that a packet goes from one port to another
//! without a copy. A [`Packet`] owns its frame: it is sent, held or freed, never copied and never forgotten.

/// Bytes of a frame. A packet and its headroom fit in one; larger packets are refused by the port's MTU.
pub const FRAME_SIZE: usize = 4096;
/// Bytes kept free before a packet that a port receives or the engine builds, for prepended headers.
pub const HEADROOM: usize = 256;
/// Packets that are processed together.
pub const BATCH_SIZE: usize = 32;

/// A packet in the engine's hands: a place in a [`FramePool`] and the port it came in by.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a packet that is dropped without FramePool::free leaks its frame"]
pub struct Packet {
    /// Index of the frame in the pool.
    pub frame: u32,
    /// First byte of the Ethernet header within the frame.
    pub offset: u16,
    /// Length in bytes from the Ethernet header on.
    pub length: u16,
    /// Number of the port that it was received on.
    pub in_port: u16,
}

/// The frames of one worker.
#[derive(Debug)]
pub struct FramePool {
    memory: FrameMemory,
    free: Vec<u32>,
    frames: u32,
}

impl FramePool {
    /// A pool of `frames` frames, all free. Fails where the memory cannot be had.
    pub fn new(frames: u32) -> std::io::Result<Self> {
        Ok(Self {
            memory: FrameMemory::new(frames as usize * FRAME_SIZE)?,
            free: (0..frames).rev().collect(),
            frames,
        })
    }

    /// Takes a free frame and makes an empty packet of it, `HEADROOM` bytes in. None when none is free.
    pub fn allocate(&mut self, in_port: u16) -> Option<Packet> {
        let frame = self.free.pop()?;
        Some(Packet { frame, offset: HEADROOM as u16, length: 0, in_port })
    }

    /// Gives a packet's frame back.
    #[expect(clippy::needless_pass_by_value, reason = "the packet must not be used after")]
    pub fn free(&mut self, packet: Packet) {
        self.free_frame(packet.frame);
    }

    /// Takes a bare frame, for a receive ring.
    pub fn allocate_frame(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Gives a bare frame back, as a completion ring returns it.
    pub fn free_frame(&mut self, frame: u32) {
        debug_assert!(frame < self.frames, "frame {frame} is not of this pool");
        debug_assert!(self.free.len() < self.frames as usize, "a frame was freed twice");
        self.free.push(frame);
    }

    /// Number of free frames. All frames are free when no port, queue or ring holds one.
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Number of frames, free or not.
    pub fn capacity(&self) -> usize {
        self.frames as usize
    }

    /// The bytes of a packet, from its Ethernet header on.
    #[inline]
    pub fn data(&self, packet: &Packet) -> &[u8] {
        let start = packet.frame as usize * FRAME_SIZE + packet.offset as usize;
        self.memory.bytes(start, packet.length as usize)
    }

    /// The bytes of a packet, to be changed in place.
    #[inline]
    pub fn data_mut(&mut self, packet: &Packet) -> &mut [u8] {
        let start = packet.frame as usize * FRAME_SIZE + packet.offset as usize;
        self.memory.bytes_mut(start, packet.length as usize)
    }

    /// Makes an empty packet hold `bytes`. Panics when they do not fit in the frame behind the packet's offset.
    pub fn write(&mut self, packet: &mut Packet, bytes: &[u8]) {
        assert!(
            packet.offset as usize + bytes.len() <= FRAME_SIZE,
            "{} bytes do not fit in a frame",
            bytes.len()
        );
        packet.length = bytes.len() as u16;
        self.data_mut(packet).copy_from_slice(bytes);
    }

    /// A handle of the memory, for registering it with a socket. The memory lives as long as any handle.
    pub fn memory(&self) -> FrameMemory {
        self.memory.clone()
    }
}

/// Page-aligned memory that stays where it is for as long as a handle of it lives, as AF_XDP wants it.
#[derive(Clone, Debug)]
pub struct FrameMemory {
    start: std::ptr::NonNull<u8>,
    length: usize,
    _mapping: std::sync::Arc<memory::Mapping>,
}

#[expect(unsafe_code, reason = "memory shared with the kernel is mapped by hand")]
mod memory {
    use super::FrameMemory;
    use std::io;
    use std::ptr::NonNull;
    use std::sync::Arc;

    /// The mapping itself, unmapped with the last handle.
    #[derive(Debug)]
    pub(super) struct Mapping {
        start: NonNull<u8>,
        length: usize,
    }

    // SAFETY: the mapping is not tied to a thread. Only the pool reads or writes it through its handle, and a
    // pool has one owner; other handles are for the kernel.
    unsafe impl Send for Mapping {}
    // SAFETY: as above.
    unsafe impl Sync for Mapping {}
    // SAFETY: as above.
    unsafe impl Send for FrameMemory {}
    // SAFETY: as above.
    unsafe impl Sync for FrameMemory {}

    impl FrameMemory {
        pub(super) fn new(length: usize) -> io::Result<Self> {
            // SAFETY: a new private anonymous mapping aliases nothing.
            let start = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    length.max(1),
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            if start == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
            Ok(Self { start, length, _mapping: Arc::new(Mapping { start, length }) })
        }

        /// Address of the first byte, for registering the memory with the kernel.
        pub fn address(&self) -> u64 {
            self.start.as_ptr() as u64
        }

        /// Length in bytes.
        pub fn length(&self) -> usize {
            self.length
        }

        /// The bytes of one packet and no more: the kernel may be writing to frames beside it. Panics outside of the memory.
        #[inline]
        pub(super) fn bytes(&self, start: usize, length: usize) -> &[u8] {
            assert!(start <= self.length && length <= self.length - start, "{start} and {length} bytes");
            // SAFETY: the range is within the mapping, which is initialised (zero) by the kernel and lives as long as self.
            // It is a packet's, and the kernel writes only to frames that a ring holds, which no packet refers to.
            unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(start), length) }
        }

        /// As [`Self::bytes`], to be changed.
        #[inline]
        pub(super) fn bytes_mut(&mut self, start: usize, length: usize) -> &mut [u8] {
            assert!(start <= self.length && length <= self.length - start, "{start} and {length} bytes");
            // SAFETY: as above, and the pool's `&mut self` is the only access from user space.
            unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(start), length) }
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: the mapping was made in `new` with this length and no handle is left.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.length.max(1)) };
        }
    }
}
