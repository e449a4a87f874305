//! The rings that user space and the kernel pass descriptors through: single producer, single consumer, mapped
//! from an AF_XDP socket.
//!
//! Indices run freely and wrap; the entry of an index is `index & mask`. Each side keeps its own index here and
//! publishes it with a release store; it reads the other's with an acquire load only when its copy says that
//! there is nothing left. The kernel's protocol is in its `net/xdp/xsk_queue.h`. Used by [`super::xsk`] only.
#![expect(unsafe_code, reason = "the rings are memory shared with the kernel")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// A mapping of one ring.
#[derive(Debug)]
struct RingMemory<T> {
    start: NonNull<u8>,
    length: usize,
    offsets: libc::xdp_ring_offset,
    entries: u32,
    _entry: std::marker::PhantomData<T>,
}

// SAFETY: the mapping is owned by the value and not tied to a thread.
unsafe impl<T: Copy + Send> Send for RingMemory<T> {}

impl<T: Copy> RingMemory<T> {
    /// Maps the ring at `page_offset` of the socket. `offsets` are those that the kernel told for it.
    fn map(
        socket: BorrowedFd<'_>,
        page_offset: i64,
        offsets: libc::xdp_ring_offset,
        entries: u32,
    ) -> io::Result<Self> {
        let length = offsets.desc as usize + entries as usize * size_of::<T>();
        // SAFETY: a new shared mapping of the socket's ring aliases nothing in this process; the kernel checks
        // offset and length.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                page_offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, length, offsets, entries, _entry: std::marker::PhantomData })
    }

    fn word(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: the kernel places aligned 32-bit words at the offsets it told, within the mapping, and both
        // sides access them atomically.
        unsafe { self.start.add(offset as usize).cast::<AtomicU32>().as_ref() }
    }

    fn producer(&self) -> &AtomicU32 {
        self.word(self.offsets.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.word(self.offsets.consumer)
    }

    fn entry(&self, index: u32) -> *mut T {
        let position = (index & (self.entries - 1)) as usize;
        // SAFETY: the position is below `entries`, for which the mapping has room behind `desc`.
        unsafe { self.start.add(self.offsets.desc as usize).cast::<T>().add(position).as_ptr() }
    }
}

impl<T> Drop for RingMemory<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `map` with this length and nothing refers to it after.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// A ring that user space writes and the kernel reads: fill or transmit.
#[derive(Debug)]
pub(super) struct ProducerRing<T> {
    memory: RingMemory<T>,
    produced: u32,
    consumed: u32,
}

impl<T: Copy> ProducerRing<T> {
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        page_offset: i64,
        offsets: libc::xdp_ring_offset,
        entries: u32,
    ) -> io::Result<Self> {
        let memory = RingMemory::map(socket, page_offset, offsets, entries)?;
        let produced = memory.producer().load(Ordering::Relaxed);
        let consumed = memory.consumer().load(Ordering::Acquire);
        Ok(Self { memory, produced, consumed })
    }

    /// Entries that the other side has not taken yet, written but not published ones included.
    pub(super) fn pending(&mut self) -> u32 {
        self.consumed = self.memory.consumer().load(Ordering::Acquire);
        self.produced.wrapping_sub(self.consumed)
    }

    /// Writes an entry; the other side sees it after [`Self::publish`]. False when the ring is full.
    #[inline]
    pub(super) fn push(&mut self, entry: T) -> bool {
        if self.produced.wrapping_sub(self.consumed) >= self.memory.entries
            && self.pending() >= self.memory.entries
        {
            return false;
        }
        // SAFETY: the entry lies between the consumer's and the producer's index, where only this side writes.
        unsafe { self.memory.entry(self.produced).write(entry) };
        self.produced = self.produced.wrapping_add(1);
        true
    }

    /// Lets the other side see all entries written so far.
    #[inline]
    pub(super) fn publish(&mut self) {
        self.memory.producer().store(self.produced, Ordering::Release);
    }

    /// The kernel asks to be woken by a system call.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        self.memory.word(self.memory.offsets.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// A ring that the kernel writes and user space reads: receive or completion.
#[derive(Debug)]
pub(super) struct ConsumerRing<T> {
    memory: RingMemory<T>,
    produced: u32,
    consumed: u32,
}

impl<T: Copy> ConsumerRing<T> {
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        page_offset: i64,
        offsets: libc::xdp_ring_offset,
        entries: u32,
    ) -> io::Result<Self> {
        let memory = RingMemory::map(socket, page_offset, offsets, entries)?;
        let produced = memory.producer().load(Ordering::Acquire);
        let consumed = memory.consumer().load(Ordering::Relaxed);
        Ok(Self { memory, produced, consumed })
    }

    /// Takes the next entry; the other side may overwrite it after [`Self::release`].
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.produced == self.consumed {
            self.produced = self.memory.producer().load(Ordering::Acquire);
            if self.produced == self.consumed {
                return None;
            }
        }
        // SAFETY: the entry lies between the consumer's and the producer's index, where only this side reads.
        let entry = unsafe { self.memory.entry(self.consumed).read() };
        self.consumed = self.consumed.wrapping_add(1);
        Some(entry)
    }

    /// Lets the other side reuse all entries taken so far.
    #[inline]
    pub(super) fn release(&mut self) {
        self.memory.consumer().store(self.consumed, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, FromRawFd, OwnedFd};

    use super::{ConsumerRing, ProducerRing};

    const OFFSETS: libc::xdp_ring_offset =
        libc::xdp_ring_offset { producer: 0, consumer: 64, desc: 192, flags: 128 };

    /// Both sides of one ring, in a memory file that stands for the socket.
    fn pair(entries: u32) -> (ProducerRing<u64>, ConsumerRing<u64>) {
        // SAFETY: the name is a C string; the result is a descriptor that nobody else owns.
        let file = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"ring".as_ptr(), 0)) };
        let file = std::fs::File::from(file);
        file.set_len(4096).unwrap();
        (
            ProducerRing::map(file.as_fd(), 0, OFFSETS, entries).unwrap(),
            ConsumerRing::map(file.as_fd(), 0, OFFSETS, entries).unwrap(),
        )
    }

    #[test]
    fn entries_appear_when_published_and_make_room_when_released() {
        let (mut producer, mut consumer) = pair(4);
        for entry in 0..4 {
            assert!(producer.push(entry));
        }
        assert_eq!(consumer.pop(), None, "not published");
        producer.publish();
        assert!(!producer.push(4), "full");
        assert_eq!((consumer.pop(), consumer.pop()), (Some(0), Some(1)));
        assert!(!producer.push(4), "taken but not released");
        consumer.release();
        assert_eq!(producer.pending(), 2);
        assert!(producer.push(4));
        producer.publish();
        assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some(2), Some(3), Some(4)));
        assert_eq!(consumer.pop(), None);
    }

    #[test]
    fn indices_wrap() {
        let (mut producer, mut consumer) = pair(2);
        let near_the_end = u32::MAX - 2;
        (producer.produced, producer.consumed) = (near_the_end, near_the_end);
        (consumer.produced, consumer.consumed) = (near_the_end, near_the_end);
        consumer.release();
        producer.publish();
        for entry in 0..10 {
            assert!(producer.push(entry), "{entry}");
            producer.publish();
            assert_eq!(consumer.pop(), Some(entry));
            consumer.release();
        }
    }
}
