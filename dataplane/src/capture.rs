//! Captures: copies of the packets that a port receives and sends, for `edgectl network-cli capture`.
//!
//! While a port is captured, tier 0 hands all its packets to the engine ([`edgestack_abi::port::PORT_PUNT_ALL`],
//! set and cleared by the runtime), and the workers copy them into a bounded queue. A reader that is too slow
//! loses packets, which are counted; it never slows a worker. Without a capture the cost is one load per batch.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, Sender, bounded};

use crate::packet::{FRAME_SIZE, FramePool, Packet};

/// Captures at one time.
pub const CAPTURES_MAX: usize = 16;
/// Packets that wait for a reader.
pub const CAPTURE_QUEUE_PACKETS: usize = 4096;
/// Longest part of a packet that is copied, in bytes: all of it.
pub const SNAP_LENGTH_MAX: usize = FRAME_SIZE;

/// A packet as it crossed the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedPacket {
    /// When, since the epoch.
    pub timestamp_ns: u64,
    /// Received by the port or sent by it.
    pub direction: CaptureDirection,
    /// Its length on the wire.
    pub original_length: u32,
    /// Its bytes from the Ethernet header on, cut at the capture's snap length.
    pub bytes: Vec<u8>,
    /// Packets that this capture has lost so far because the reader was slow.
    pub lost_packets: u64,
}

/// Which way a packet crossed the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureDirection {
    /// The port received it.
    In,
    /// The port sent it.
    Out,
}

/// Why a capture could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// No such port.
    #[error("there is no port `{0}`")]
    UnknownPort(String),
    /// The port has nothing that packets could come from.
    #[error("port `{0}` has no interface yet: there is nothing to capture")]
    NoInterface(String),
    /// The limit of captures is reached.
    #[error("{CAPTURES_MAX} captures are running already; end one of them first")]
    TooMany,
}

/// The reading end of a capture; the capture ends when it is dropped.
#[derive(Debug)]
pub struct Capture {
    packets: Receiver<CapturedPacket>,
    _reader: Arc<()>,
}

impl Deref for Capture {
    type Target = Receiver<CapturedPacket>;

    fn deref(&self) -> &Self::Target {
        &self.packets
    }
}

/// One capture.
#[derive(Debug)]
struct Tap {
    port: u16,
    reader: Weak<()>,
    snap_length: usize,
    /// Packets still wanted.
    remaining: AtomicU64,
    lost_packets: AtomicU64,
    queue: Sender<CapturedPacket>,
}

/// The captures of a dataplane, shared by the runtime and the workers.
#[derive(Debug, Default)]
pub struct Captures {
    taps: ArcSwap<Vec<Arc<Tap>>>,
}

impl Captures {
    /// Starts a capture of at most `limit_packets` packets of `port`. It ends when that many were copied, or
    /// when the result is dropped.
    pub fn start(&self, port: u16, limit_packets: u64, snap_length: usize) -> Result<Capture, CaptureError> {
        if self.taps.load().len() >= CAPTURES_MAX {
            return Err(CaptureError::TooMany);
        }
        let (queue, packets) = bounded(CAPTURE_QUEUE_PACKETS);
        let reader = Arc::new(());
        let tap = Arc::new(Tap {
            port,
            reader: Arc::downgrade(&reader),
            snap_length: snap_length.min(SNAP_LENGTH_MAX),
            remaining: AtomicU64::new(limit_packets),
            lost_packets: AtomicU64::new(0),
            queue,
        });
        self.taps.rcu(|taps| taps.iter().chain([&tap]).cloned().collect::<Vec<_>>());
        Ok(Capture { packets, _reader: reader })
    }

    /// Ends the captures of `port`, whose number may soon be another port's.
    pub(crate) fn end(&self, port: u16) {
        if self.taps.load().iter().any(|tap| tap.port == port) {
            self.taps.rcu(|taps| taps.iter().filter(|tap| tap.port != port).cloned().collect::<Vec<_>>());
        }
    }

    /// Copies what `packets` yields to the captures that want it. Called once per batch.
    #[inline]
    pub(crate) fn observe<'a>(
        &self,
        pool: &FramePool,
        direction: CaptureDirection,
        packets: impl Iterator<Item = (u16, &'a Packet)>,
    ) {
        let taps = self.taps.load();
        if !taps.is_empty() {
            for (port, packet) in packets {
                for tap in taps.iter().filter(|tap| tap.port == port) {
                    tap.copy(direction, pool.data(packet));
                }
            }
        }
    }

    /// Forgets the captures that are over, which closes their queues, and returns the ports that are still
    /// captured.
    pub(crate) fn reap(&self) -> Vec<u16> {
        if self.taps.load().iter().any(|tap| tap.is_over()) {
            self.taps.rcu(|taps| taps.iter().filter(|tap| !tap.is_over()).cloned().collect::<Vec<_>>());
        }
        let mut ports: Vec<u16> = self.taps.load().iter().map(|tap| tap.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

impl Tap {
    fn copy(&self, direction: CaptureDirection, bytes: &[u8]) {
        let want = |remaining: u64| remaining.checked_sub(1);
        if self.remaining.fetch_update(Ordering::Relaxed, Ordering::Relaxed, want).is_err() {
            return;
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let packet = CapturedPacket {
            timestamp_ns: since_epoch.as_nanos() as u64,
            direction,
            original_length: bytes.len() as u32,
            bytes: bytes[..bytes.len().min(self.snap_length)].to_vec(),
            lost_packets: self.lost_packets.load(Ordering::Relaxed),
        };
        if self.queue.try_send(packet).is_err() {
            self.remaining.fetch_add(1, Ordering::Relaxed);
            self.lost_packets.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The limit is reached or nobody reads.
    fn is_over(&self) -> bool {
        self.remaining.load(Ordering::Relaxed) == 0 || self.reader.strong_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{CAPTURE_QUEUE_PACKETS, CAPTURES_MAX, CaptureDirection, CaptureError, Captures};
    use crate::packet::FramePool;

    fn observe(captures: &Captures, port: u16, bytes: &[u8]) {
        let mut pool = FramePool::new(1).unwrap();
        let mut packet = pool.allocate(port).unwrap();
        pool.write(&mut packet, bytes);
        captures.observe(&pool, CaptureDirection::In, [(port, &packet)].into_iter());
        pool.free(packet);
    }

    #[test]
    fn a_capture_copies_its_port_up_to_its_limit() {
        let captures = Captures::default();
        let receiver = captures.start(3, 2, 4).unwrap();
        assert_eq!(captures.reap(), [3]);
        for (port, bytes) in [(2, [0; 6]), (3, [1; 6]), (3, [2; 6]), (3, [3; 6])] {
            observe(&captures, port, &bytes);
        }
        let packets: Vec<_> = receiver.try_iter().collect();
        assert_eq!(packets.iter().map(|packet| packet.bytes.clone()).collect::<Vec<_>>(), [[1; 4], [2; 4]]);
        assert_eq!(packets[0].original_length, 6);
        assert_eq!(captures.reap(), [0u16; 0]);
        assert!(receiver.recv().is_err(), "the queue is closed");
    }

    #[test]
    fn a_slow_reader_loses_packets_and_learns_how_many() {
        let captures = Captures::default();
        let receiver = captures.start(1, u64::MAX, 64).unwrap();
        for _ in 0..CAPTURE_QUEUE_PACKETS + 5 {
            observe(&captures, 1, &[0; 60]);
        }
        assert_eq!(receiver.try_iter().count(), CAPTURE_QUEUE_PACKETS);
        observe(&captures, 1, &[0; 60]);
        assert_eq!(receiver.recv().unwrap().lost_packets, 5);
    }

    #[test]
    fn a_capture_ends_when_nobody_reads() {
        let captures = Captures::default();
        drop(captures.start(1, 10, 64).unwrap());
        assert_eq!(captures.reap(), [0u16; 0]);
    }

    #[test]
    fn a_capture_ends_with_its_port() {
        let captures = Captures::default();
        let (gone, kept) = (captures.start(1, 10, 64).unwrap(), captures.start(2, 10, 64).unwrap());
        observe(&captures, 1, &[0; 60]);
        captures.end(1);
        observe(&captures, 1, &[1; 60]);
        observe(&captures, 2, &[2; 60]);
        assert_eq!(captures.reap(), [2]);
        assert_eq!(gone.recv().unwrap().bytes, [0; 60], "what was copied before can be read");
        assert!(gone.recv().is_err(), "the queue is closed");
        assert_eq!(kept.try_iter().count(), 1);
    }

    #[test]
    fn captures_are_limited() {
        let captures = Captures::default();
        let receivers: Vec<_> = (0..CAPTURES_MAX).map(|_| captures.start(1, 1, 64).unwrap()).collect();
        assert_eq!(captures.start(1, 1, 64).unwrap_err(), CaptureError::TooMany);
        drop(receivers);
    }
}
