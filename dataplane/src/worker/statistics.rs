//! What a worker counts: drops outside of the engine, and its frames.
//!
//! One writer, any reader; nothing here is written per packet that goes its way.

use std::sync::atomic::{AtomicU64, Ordering};

use edgestack_abi::DropReason;

/// The counters of one worker.
#[derive(Debug)]
pub struct WorkerStatistics {
    drops: [AtomicU64; DropReason::COUNT],
    frames_available: AtomicU64,
    frames: AtomicU64,
}

impl Default for WorkerStatistics {
    fn default() -> Self {
        Self {
            drops: std::array::from_fn(|_| AtomicU64::new(0)),
            frames_available: AtomicU64::new(0),
            frames: AtomicU64::new(0),
        }
    }
}

impl WorkerStatistics {
    /// Packets that the worker dropped for `reason`, and that the kernel dropped on the way to it.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Ordering::Relaxed)
    }

    /// Free frames and all frames, as of the last tick.
    pub fn frames(&self) -> (u64, u64) {
        (self.frames_available.load(Ordering::Relaxed), self.frames.load(Ordering::Relaxed))
    }

    pub(super) fn count_drop(&self, reason: DropReason) {
        self.count_drops(reason, 1);
    }

    pub(super) fn count_drops(&self, reason: DropReason, packets: u64) {
        self.drops[reason as usize].fetch_add(packets, Ordering::Relaxed);
    }

    pub(super) fn set_frames(&self, available: usize, all: usize) {
        self.frames_available.store(available as u64, Ordering::Relaxed);
        self.frames.store(all as u64, Ordering::Relaxed);
    }
}
