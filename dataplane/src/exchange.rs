//! The way between the engine and the gateway's own servers: packets in bounded queues, by the port that they belong to.
//!
//! Workers put packets in and take packets out without a lock and without allocating: frames are copied into parcels that
//! were made at the start, and when none is free a packet is dropped. The other side is the virtual stack's thread. The
//! exchange looks into no packet.

use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use crossbeam::queue::ArrayQueue;
use mio::Waker;

use crate::packet::{FRAME_SIZE, HEADROOM};

/// Packets that are on their way, in both directions together.
const PARCELS: usize = 512;
/// Longest frame of a parcel, in bytes.
pub const PARCEL_LENGTH_MAX: usize = FRAME_SIZE - HEADROOM;

/// A copy of a packet.
#[derive(Debug)]
pub struct Parcel {
    /// Number of the port that it came in by, or that it leaves by.
    pub port: u16,
    /// The frame.
    pub frame: Vec<u8>,
}

/// The queues.
#[derive(Debug)]
pub struct Exchange {
    free: ArrayQueue<Parcel>,
    to_stack: ArrayQueue<Parcel>,
    to_engine: ArrayQueue<Parcel>,
    stack: OnceLock<Thread>,
    worker: OnceLock<Arc<Waker>>,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            free: ArrayQueue::new(PARCELS),
            to_stack: ArrayQueue::new(PARCELS),
            to_engine: ArrayQueue::new(PARCELS),
            stack: OnceLock::new(),
            worker: OnceLock::new(),
        }
    }
}

impl Exchange {
    /// Copies a packet for the servers. False when there is no room, or nobody to take it.
    pub fn offer(&self, port: u16, frame: &[u8]) -> bool {
        let Some(mut parcel) = self.parcel() else { return false };
        if frame.len() > PARCEL_LENGTH_MAX {
            self.recycle(parcel);
            return false;
        }
        parcel.port = port;
        parcel.frame.extend_from_slice(frame);
        self.to_stack.push(parcel).is_ok()
    }

    /// The next packet that the servers send.
    pub fn take_sent(&self) -> Option<Parcel> {
        self.to_engine.pop()
    }

    /// Gives an empty parcel back.
    pub fn recycle(&self, mut parcel: Parcel) {
        parcel.frame.clear();
        // There are never more parcels than places.
        let _ = self.free.push(parcel);
    }

    /// Wakes the servers when there is something for them. Called once a batch.
    pub fn wake_stack(&self) {
        if !self.to_stack.is_empty() {
            self.call_stack();
        }
    }

    /// Notes whom to wake when the servers send.
    pub fn set_worker(&self, waker: Arc<Waker>) {
        // One worker takes what is sent; it is the first to say so.
        let _ = self.worker.set(waker);
    }

    /// Starts: from now on packets are taken, by the calling thread.
    pub(crate) fn open(&self, stack: Thread) {
        if self.stack.set(stack).is_ok() {
            for _ in 0..PARCELS {
                self.recycle(Parcel { port: 0, frame: Vec::with_capacity(PARCEL_LENGTH_MAX) });
            }
        }
    }

    /// An empty parcel, while there is one.
    pub(crate) fn parcel(&self) -> Option<Parcel> {
        self.free.pop()
    }

    /// Whether an answer could be sent now.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// The next packet for the servers.
    pub(crate) fn take_offered(&self) -> Option<Parcel> {
        self.to_stack.pop()
    }

    /// Hands a packet to the engine; [`Exchange::wake_worker`] follows.
    pub(crate) fn send(&self, parcel: Parcel) {
        // There are never more parcels than places.
        let _ = self.to_engine.push(parcel);
    }

    /// Wakes the worker that sends for the servers.
    pub(crate) fn wake_worker(&self) {
        if let Some(worker) = self.worker.get()
            && let Err(error) = worker.wake()
        {
            tracing::error!(%error, "a worker cannot be woken; answers wait for its next tick");
        }
    }

    /// Wakes the servers' thread.
    pub(crate) fn call_stack(&self) {
        if let Some(stack) = self.stack.get() {
            stack.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Exchange, PARCEL_LENGTH_MAX, PARCELS};

    #[test]
    fn parcels_are_bounded_and_come_back() {
        let exchange = Exchange::default();
        assert!(!exchange.offer(1, &[1]), "nobody takes it");
        exchange.open(std::thread::current());
        exchange.open(std::thread::current());
        assert!(!exchange.offer(1, &vec![0; PARCEL_LENGTH_MAX + 1]));
        for round in 0..2 {
            for _ in 0..PARCELS {
                assert!(exchange.offer(7, &[round; 60]));
            }
            assert!(!exchange.offer(7, &[1]) && !exchange.has_room());
            while let Some(parcel) = exchange.take_offered() {
                assert_eq!((parcel.port, &parcel.frame[..]), (7, &[round; 60][..]));
                exchange.send(parcel);
            }
            while let Some(parcel) = exchange.take_sent() {
                exchange.recycle(parcel);
            }
        }
    }
}
