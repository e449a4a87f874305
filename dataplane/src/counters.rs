//! Counters of the engine: one set per worker, written only by it and read by anybody.
//!
//! A relaxed load and store by the only writer costs what a plain addition costs: no lock and no locked instruction.

use std::sync::atomic::{AtomicU64, Ordering};

use edgestack_abi::DropReason;
use edgestack_abi::maps::MAX_PORTS;

use crate::pipeline::Stage;

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`. Only the owning worker calls this.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one port in one worker.
#[derive(Debug, Default)]
pub struct PortCounters {
    /// Packets received by the engine.
    pub received_packets: Counter,
    /// Bytes of those.
    pub received_bytes: Counter,
    /// Packets sent by the engine.
    pub transmitted_packets: Counter,
    /// Bytes of those.
    pub transmitted_bytes: Counter,
    /// Packets received and dropped.
    pub dropped_packets: Counter,
}

/// Counters of one worker.
#[derive(Debug)]
pub struct WorkerCounters {
    /// Packets received.
    pub packets: Counter,
    /// Packets forwarded by a known flow.
    pub hits: Counter,
    /// Packets decided by the pipeline.
    pub decisions: Counter,
    /// Packets that the engine made: answers, errors, ARP requests.
    pub responses: Counter,
    /// Packets of flows decided again.
    pub revalidations: Counter,
    ports: Box<[PortCounters]>,
    drops: Box<[Counter]>,
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self {
            packets: Counter::default(),
            hits: Counter::default(),
            decisions: Counter::default(),
            responses: Counter::default(),
            revalidations: Counter::default(),
            ports: (0..MAX_PORTS).map(|_| PortCounters::default()).collect(),
            drops: (0..Stage::ALL.len() * DropReason::COUNT).map(|_| Counter::default()).collect(),
        }
    }
}

impl WorkerCounters {
    /// The counters of a port. Numbers beyond the table count as port 0.
    #[inline]
    pub fn port(&self, number: u16) -> &PortCounters {
        self.ports.get(usize::from(number)).unwrap_or(&self.ports[0])
    }

    /// Counts a drop.
    pub fn dropped(&self, stage: Stage, reason: DropReason, port: u16) {
        self.drops[stage as usize * DropReason::COUNT + reason as usize].add(1);
        self.port(port).dropped_packets.add(1);
    }

    /// Drops by stage and reason.
    pub fn drops(&self, stage: Stage, reason: DropReason) -> u64 {
        self.drops[stage as usize * DropReason::COUNT + reason as usize].get()
    }
}
