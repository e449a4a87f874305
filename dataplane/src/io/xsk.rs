//! AF_XDP sockets: packets between one queue of an interface and a worker's frames, without the host's stack.
//!
//! Several sockets are registered with the memory of one [`FramePool`], each with its own fill and completion
//! ring, so that a frame received by one is sent by another without a copy. A socket remembers which frames it
//! holds, so that none is lost when it closes, whatever the kernel was doing with it.
//!
//! The control thread opens sockets, the worker that owns the pool uses them. Getting packets to the socket (the
//! XDP program and its map of sockets) is the business of [`crate::fastpath`].

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::rings::{ConsumerRing, ProducerRing};
use super::socket;
use crate::packet::{FRAME_SIZE, FrameMemory, FramePool, HEADROOM, Packet};

/// Frames that stay in the pool when receive rings are filled, for packets that the engine builds or holds.
pub const RESERVED_FRAMES: usize = 512;
/// Fill rings together take at most three quarters of the frames.
const FILL_SHARE: (u32, u32) = (3, 4);
/// The fill ring is refilled when so many frames are missing.
const REFILL_BATCH: u32 = 32;
/// Sizes and ways of working of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XskSettings {
    /// Packets that wait to be received, a power of two.
    pub receive_ring_packets: u32,
    /// Packets that wait to be sent, a power of two.
    pub transmit_ring_packets: u32,
    /// Frames that the kernel is given to receive into, a power of two.
    pub fill_ring_frames: u32,
    /// False forbids zero copy even where the driver has it.
    pub zero_copy: bool,
    /// How long the kernel polls the interface's queue in a system call of the worker, in microseconds; 0
    /// leaves the queue to the kernel's own threads.
    pub busy_poll_us: u32,
}

impl Default for XskSettings {
    fn default() -> Self {
        Self {
            receive_ring_packets: 1024,
            transmit_ring_packets: 2048,
            fill_ring_frames: 1024,
            zero_copy: true,
            busy_poll_us: 0,
        }
    }
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum XskError {
    /// The kernel refuses AF_XDP sockets to this process.
    #[error(
        "AF_XDP sockets need the capabilities CAP_NET_RAW and CAP_NET_ADMIN: run as root, or give them to the program"
    )]
    Capability,
    /// The kernel has no AF_XDP.
    #[error("the kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS); Linux 5.10 or newer is needed")]
    Unsupported,
    /// The memory must be pinned and the limit is too low.
    #[error(
        "{bytes} bytes of memory cannot be locked: raise RLIMIT_MEMLOCK (`LimitMEMLOCK=infinity` in the unit), or give the program CAP_IPC_LOCK"
    )]
    Memlock {
        /// What was wanted.
        bytes: usize,
    },
    /// Too many sockets for the frames of a worker.
    #[error(
        "{sockets} sockets with fill rings of {fill_ring_frames} frames do not fit in a worker's {frames} frames: raise `frames` or lower `fill_ring_frames`"
    )]
    Frames {
        /// Sockets that there would be.
        sockets: u32,
        /// Size of a fill ring.
        fill_ring_frames: u32,
        /// Frames of the worker.
        frames: u32,
    },
    /// Another program has the queue.
    #[error("queue {queue} of interface {interface_index} is in use by another AF_XDP socket")]
    QueueInUse {
        /// Index of the interface.
        interface_index: u32,
        /// Number of the queue.
        queue: u32,
    },
    /// The interface went away, or has no such queue.
    #[error("interface {interface_index} is gone or has no queue {queue}")]
    NoSuchQueue {
        /// Index of the interface.
        interface_index: u32,
        /// Number of the queue.
        queue: u32,
    },
    /// Anything else.
    #[error("AF_XDP socket: {step}: {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What the kernel counted of a socket (`XDP_STATISTICS`), and its way of working.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XskStatistics {
    /// Packets dropped for want of a frame to receive into, or for other reasons.
    pub receive_dropped: u64,
    /// Packets dropped because the receive ring was full.
    pub receive_ring_full: u64,
    /// Times that the kernel found no frame in the fill ring.
    pub fill_ring_empty: u64,
    /// Descriptors that the kernel refused: a bug here if ever it is not 0.
    pub invalid_descriptors: u64,
}

/// A socket bound to one queue of an interface.
#[derive(Debug)]
pub struct XskSocket {
    fill: ProducerRing<u64>,
    completion: ConsumerRing<u64>,
    receive: ConsumerRing<libc::xdp_desc>,
    transmit: ProducerRing<libc::xdp_desc>,
    held: FrameSet,
    /// Frames that the fill ring lacks of its target.
    missing_frames: u32,
    /// Packets given to the kernel and not yet completed.
    unsent_packets: u32,
    /// Packets are in the transmit ring that the kernel was not yet made to send.
    kick_wanted: bool,
    busy_poll: bool,
    zero_copy: bool,
    socket: OwnedFd,
    _memory: FrameMemory,
}

impl XskSocket {
    /// Opens a socket on `queue` of an interface and registers `memory`, whose pool then must be the one given
    /// to all other calls. `sockets` is how many of them will share the memory, this one included.
    pub fn open(
        memory: FrameMemory,
        interface_index: u32,
        queue: u32,
        settings: &XskSettings,
        sockets: u32,
    ) -> Result<Self, XskError> {
        let frames = (memory.length() / FRAME_SIZE) as u32;
        let fill_ring_frames = settings.fill_ring_frames;
        if u64::from(sockets) * u64::from(fill_ring_frames) * u64::from(FILL_SHARE.1)
            > u64::from(frames) * u64::from(FILL_SHARE.0)
        {
            return Err(XskError::Frames { sockets, fill_ring_frames, frames });
        }
        let parts = socket::open(&memory, interface_index, queue, settings)?;
        Ok(Self {
            fill: parts.fill,
            completion: parts.completion,
            receive: parts.receive,
            transmit: parts.transmit,
            held: FrameSet::new(frames),
            missing_frames: fill_ring_frames,
            unsent_packets: 0,
            kick_wanted: false,
            busy_poll: settings.busy_poll_us > 0,
            zero_copy: parts.zero_copy,
            socket: parts.socket,
            _memory: memory,
        })
    }

    /// Receives at most `max` packets.
    pub(super) fn receive(&mut self, in_port: u16, batch: &mut Vec<Packet>, max: usize) -> usize {
        let mut received = 0;
        while received < max {
            let Some(descriptor) = self.receive.pop() else { break };
            let frame = (descriptor.addr / FRAME_SIZE as u64) as u32;
            let offset = (descriptor.addr % FRAME_SIZE as u64) as u16;
            self.held.remove(frame);
            batch.push(Packet { frame, offset, length: descriptor.len as u16, in_port });
            received += 1;
        }
        if received > 0 {
            self.receive.release();
            self.missing_frames += received as u32;
        } else if self.busy_poll {
            socket::wake_receive(self.socket.as_fd());
        }
        received
    }

    /// Puts a packet into the transmit ring.
    pub(super) fn transmit(&mut self, packet: Packet) -> Result<(), Packet> {
        let addr = u64::from(packet.frame) * FRAME_SIZE as u64 + u64::from(packet.offset);
        let descriptor = libc::xdp_desc { addr, len: u32::from(packet.length), options: 0 };
        if !self.transmit.push(descriptor) {
            return Err(packet);
        }
        self.held.insert(packet.frame);
        self.unsent_packets += 1;
        self.kick_wanted = true;
        Ok(())
    }

    /// Makes the kernel send what is in the transmit ring.
    pub(super) fn flush(&mut self) {
        if !self.kick_wanted {
            return;
        }
        self.transmit.publish();
        self.kick_wanted = self.transmit.needs_wakeup()
            && socket::wake_transmit(self.socket.as_fd(), || self.transmit.pending());
    }

    /// Takes back the frames of sent packets, and gives the kernel frames to receive into.
    pub(super) fn recycle(&mut self, pool: &mut FramePool) {
        if self.unsent_packets > 0 {
            self.complete(pool);
        }
        if self.missing_frames >= REFILL_BATCH {
            self.refill(pool);
        }
    }

    fn complete(&mut self, pool: &mut FramePool) {
        let before = self.unsent_packets;
        while let Some(address) = self.completion.pop() {
            let frame = (address / FRAME_SIZE as u64) as u32;
            self.held.remove(frame);
            pool.free_frame(frame);
            self.unsent_packets = self.unsent_packets.saturating_sub(1);
        }
        if self.unsent_packets != before {
            self.completion.release();
        }
    }

    fn refill(&mut self, pool: &mut FramePool) {
        let mut filled = 0;
        while filled < self.missing_frames && pool.available() > RESERVED_FRAMES.min(pool.capacity() / 8) {
            let Some(frame) = pool.allocate_frame() else { break };
            if !self.fill.push(u64::from(frame) * FRAME_SIZE as u64) {
                pool.free_frame(frame);
                break;
            }
            self.held.insert(frame);
            filled += 1;
        }
        self.missing_frames -= filled;
        if filled > 0 {
            self.fill.publish();
            if self.fill.needs_wakeup() {
                socket::wake_receive(self.socket.as_fd());
            }
        }
    }

    /// The interface refused packets for now: flushing must be tried again, and nothing will tell when.
    pub fn is_refused(&self) -> bool {
        self.kick_wanted
    }

    /// Packets come only when the worker asks for them.
    pub fn is_busy_polled(&self) -> bool {
        self.busy_poll
    }

    /// The driver reads and writes the frames itself.
    pub fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// The socket, to be put into the map of sockets.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The socket, to be waited on.
    pub fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// What the kernel counted.
    pub fn statistics(&self) -> io::Result<XskStatistics> {
        socket::statistics(self.socket.as_fd())
    }

    /// Closes the socket; the frames that it holds are appended to `frames`. In copy mode they may be used at
    /// once; in zero copy mode the driver may write to them for a moment longer, so the caller lets them rest.
    pub(super) fn close(self, frames: &mut Vec<u32>) {
        frames.extend(self.held.iter());
    }
}

/// A set of frames of one pool, a bit for each.
#[derive(Debug)]
struct FrameSet {
    words: Vec<u64>,
}

impl FrameSet {
    fn new(frames: u32) -> Self {
        Self { words: vec![0; frames.div_ceil(64) as usize] }
    }

    #[inline]
    fn insert(&mut self, frame: u32) {
        let bit = 1 << (frame % 64);
        let word = &mut self.words[frame as usize / 64];
        debug_assert!(*word & bit == 0, "frame {frame} is given to the kernel twice");
        *word |= bit;
    }

    #[inline]
    fn remove(&mut self, frame: u32) {
        let bit = 1 << (frame % 64);
        let word = &mut self.words[frame as usize / 64];
        debug_assert!(*word & bit != 0, "the kernel returned frame {frame}, which it was not given");
        *word &= !bit;
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            (0..64).filter(move |bit| word >> bit & 1 != 0).map(move |bit| index as u32 * 64 + bit)
        })
    }
}

const _: () = {
    // The kernel places received packets behind XDP's own headroom, which is 256 bytes.
    assert!(HEADROOM == 256);
    assert!(FRAME_SIZE.is_power_of_two());
};

#[cfg(test)]
mod tests {
    use super::FrameSet;

    #[test]
    fn a_frame_set_gives_back_what_it_holds() {
        let mut set = FrameSet::new(130);
        for frame in [0, 63, 64, 129] {
            set.insert(frame);
        }
        set.remove(63);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 64, 129]);
    }
}
