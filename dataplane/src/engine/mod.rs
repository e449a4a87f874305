//! The engine: tier 1, the authority over every flow.
//!
//! [`Engine::process`] takes a batch of packets. Those of established flows are forwarded at once, by one lookup each and
//! without a lock; the rest goes through the pipeline one by one, under the slow-path lock. What the pipeline decides is
//! carried out in `commit.rs`; `apply.rs` takes new configurations, `timers.rs` does what time brings, `adopt.rs` takes
//! over the flows of an engine before.
//!
//! The engine never does I/O and never reads a clock: packets, frames and ticks come in as arguments.

mod adopt;
mod advertise;
mod apply;
mod balanced;
mod commit;
mod correction;
mod count;
mod denials;
mod dhcp;
mod flow_filter;
mod nat;
mod settings;
mod timers;
mod traffic;
mod tunnels;
mod views;
mod what_if;

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use edgestack_abi::flow::{FAMILY_IPV6, REPLY, TIER0, VALID};
use edgestack_abi::port::{PORT_UNRESOLVED, PORT_UP};
use edgestack_abi::{DropReason, FlowKey};
use hashbrown::HashMap;

use crate::counters::WorkerCounters;
use crate::exchange::Exchange;
use crate::live_trace::LiveTraces;
use crate::packet::{BATCH_SIZE, FramePool, Packet};
use crate::pipeline::{self, Context, Decision, Known, Stage};
use crate::rewrite;
use crate::snapshot::Snapshot;
use crate::tables::affinity_table::AffinityTable;
use crate::tables::control::ControlRecord;
use crate::tables::flow_table::{FlowTable, Found};
use crate::tables::fragment_table::{DatagramKey, FragmentTable};
use crate::tables::neighbour_table::{NeighbourKey, NeighbourTable};
use crate::tables::port_allocator::PortAllocator;
use crate::tables::port_table::PortTable;
use crate::tables::region::{Region, Regions};
use crate::tables::session_table::SessionTable;
use crate::tables::tunnel_table::TunnelTable;
use crate::trace::Trace;
use crate::wire::headers::{fast_key, ipv6_words};
use crate::wire::{ETHERNET_LENGTH, IPV4_LENGTH, IPV6_LENGTH};

pub(crate) use timers::TICKS_PER_SECOND;

pub use flow_filter::FlowFilterError;
pub use settings::{
    ApplyReport, ConfigError, ConfigProblem, EngineError, EngineSettings, InterfaceBinding, Timeouts,
};
pub use what_if::TraceError;

/// Packets that a worker holds while their next hops are looked for, or the first parts of their datagrams are to come.
pub const HELD_MAX: usize = 256;
/// Packets that a worker holds for one next hop.
pub const HELD_PER_NEIGHBOUR_MAX: usize = 4;
/// Parts that a worker holds of one datagram.
const HELD_PER_DATAGRAM_MAX: usize = 48;

/// A packet to be sent.
#[derive(Debug)]
#[must_use = "a packet that is neither sent nor freed leaks its frame"]
pub struct Transmit {
    /// Number of the port to send it by.
    pub port: u16,
    /// The packet.
    pub packet: Packet,
}

/// The engine, shared by all workers.
#[derive(Debug)]
pub struct Engine {
    settings: EngineSettings,
    snapshot: ArcSwap<Snapshot>,
    /// Held while a configuration is taken, so that two never mix.
    applying: Mutex<()>,
    /// Held while all sessions are counted, one count at a time.
    counting: Mutex<()>,
    flows: FlowTable,
    ports: PortTable,
    tunnels: TunnelTable,
    control: ControlRecord,
    port_by_interface: Region<u32>,
    exchange: Exchange,
    live_traces: LiveTraces,
    slow: Mutex<SlowPath>,
    /// Raised whenever a next hop becomes known or fails, or the first part of a datagram has come, so that workers try their
    /// held packets again.
    neighbour_version: AtomicU32,
    workers: Mutex<Vec<Arc<WorkerCounters>>>,
}

/// What the slow path works on, under its lock.
#[derive(Debug)]
struct SlowPath {
    sessions: SessionTable,
    allocator: PortAllocator,
    neighbours: NeighbourTable,
    fragments: FragmentTable,
    affinities: AffinityTable,
    bindings: HashMap<u16, InterfaceBinding>,
    announcements: Vec<timers::Announcement>,
    advertisers: advertise::Advertisers,
    /// New flows per port in the present second.
    new_flows: Vec<RateWindow>,
    /// What each port has asked of the gateway itself in the present second.
    service_rates: Vec<ServiceRate>,
    icmp_errors: RateWindow,
    random: u64,
    sweep_position: u32,
    /// Sessions by the port that opened them.
    sessions_by_port: Vec<u32>,
    created: u64,
    expired: u64,
    evicted: u64,
    revoked: u64,
    denials: denials::Denials,
    ended_traffic: traffic::EndedTraffic,
    /// A count of all sessions that is under way.
    count: Option<count::Count>,
}

/// A count that starts again every second.
#[derive(Clone, Copy, Debug, Default)]
struct RateWindow {
    second: u32,
    count: u32,
}

/// What a port has asked of the gateway itself.
#[derive(Clone, Copy, Debug, Default)]
struct ServiceRate {
    dhcp: RateWindow,
    solicitations: RateWindow,
    packets: RateWindow,
    /// Errors that it was told of its packets.
    errors: RateWindow,
}

/// What one worker thread keeps to itself.
#[derive(Debug)]
pub struct Worker {
    /// Number of the worker; worker 0 also drives the timers.
    pub index: usize,
    counters: Arc<WorkerCounters>,
    /// Flow keys and hashes of the batch at work.
    keys: Vec<(Option<FlowKey>, u64)>,
    slow: Vec<Packet>,
    held: Vec<Held>,
    neighbour_version: u32,
}

/// A packet that waits.
#[derive(Debug)]
struct Held {
    packet: Packet,
    waits_for: WaitsFor,
    since_ticks: u32,
}

/// What a packet waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitsFor {
    /// Its next hop.
    Neighbour(NeighbourKey),
    /// The first part of its datagram.
    FirstPart(DatagramKey),
}

/// Packets that a worker holds for one ingress port.
const HELD_PER_PORT_MAX: usize = 64;

impl RateWindow {
    /// Counts one event; false when it is over the limit. 0 is no limit.
    fn admit(&mut self, now_ticks: u32, limit: u32) -> bool {
        let second = now_ticks / timers::TICKS_PER_SECOND;
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        limit == 0 || self.count <= limit
    }
}

impl SlowPath {
    /// A random number (xorshift); its seed is the table's secret.
    fn random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u32
    }
}

impl Worker {
    /// The worker's counters, for what happens outside the engine.
    pub fn counters(&self) -> &WorkerCounters {
        &self.counters
    }

    /// Packets that wait for their next hops.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

impl Engine {
    /// An engine over `regions`, adopting the flows that they hold.
    pub fn new(regions: Regions, settings: EngineSettings) -> Result<Self, EngineError> {
        adopt::engine(regions, settings)
    }

    /// The state of a worker thread. Each thread asks once.
    pub fn worker(&self, index: usize) -> Worker {
        let counters = Arc::new(WorkerCounters::default());
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        Worker {
            index,
            counters,
            keys: Vec::with_capacity(BATCH_SIZE),
            slow: Vec::with_capacity(BATCH_SIZE),
            held: Vec::with_capacity(HELD_MAX),
            neighbour_version: 0,
        }
    }

    /// The engine's clock.
    pub fn now_ticks(&self) -> u32 {
        self.control.now_ticks()
    }

    /// The configuration as it is in effect.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The slow path's state. A worker that panicked left it whole: every change is made by plain stores.
    fn slow(&self) -> MutexGuard<'_, SlowPath> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to the gateway's own servers.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// The live traces of packets.
    pub(crate) fn live_traces(&self) -> &LiveTraces {
        &self.live_traces
    }

    /// Puts out what the gateway's own servers send, a batch at most; how many packets that were. One worker does this.
    pub fn collect(&self, worker: &mut Worker, pool: &mut FramePool, output: &mut Vec<Transmit>) -> usize {
        let first = output.len();
        let mut collected = 0;
        while collected < BATCH_SIZE
            && let Some(parcel) = self.exchange.take_sent()
        {
            collected += 1;
            let port = parcel.port;
            if let Some(mut packet) = pool.allocate(port) {
                pool.write(&mut packet, &parcel.frame);
                worker.counters.responses.add(1);
                transmit(&worker.counters, output, port, packet);
            } else {
                worker.counters.dropped(Stage::Respond, DropReason::FramesExhausted, port);
            }
            self.exchange.recycle(parcel);
        }
        self.wrap(worker, pool, output, first);
        collected
    }

    /// Takes every packet of `batch`; each ends in `output`, is held for its next hop, or is freed.
    pub fn process(
        &self,
        worker: &mut Worker,
        pool: &mut FramePool,
        batch: &mut Vec<Packet>,
        output: &mut Vec<Transmit>,
    ) {
        self.retry_held(worker);
        let now_ticks = self.control.now_ticks();
        let first = output.len();
        worker.counters.packets.add(batch.len() as u64);
        self.unwrap_batch(worker, pool, batch);
        self.set_aside_traced(worker, pool, batch, now_ticks);
        while !batch.is_empty() {
            self.forward_known(worker, pool, batch, output, now_ticks);
        }
        if !worker.slow.is_empty() {
            self.decide(worker, pool, output, now_ticks);
            // What this batch has taught about next hops lets packets go that wait for them.
            self.retry_held(worker);
            if !worker.slow.is_empty() {
                self.decide(worker, pool, output, now_ticks);
            }
        }
        self.wrap(worker, pool, output, first);
    }

    /// Puts packets that live traces want into the worker's slow queue, whatever flow they are of.
    #[inline]
    fn set_aside_traced(
        &self,
        worker: &mut Worker,
        pool: &FramePool,
        batch: &mut Vec<Packet>,
        now_ticks: u32,
    ) {
        let taps = self.live_traces.taps();
        if taps.is_empty() {
            return;
        }
        let is_wanted = |packet: &mut Packet| {
            taps.iter().any(|tap| tap.wants(packet.in_port, pool.data(packet), now_ticks))
        };
        for packet in batch.extract_if(.., is_wanted) {
            let received = worker.counters.port(packet.in_port);
            received.received_packets.add(1);
            received.received_bytes.add(u64::from(packet.length));
            worker.slow.push(packet);
        }
    }

    /// Forwards the packets of established flows among the next [`BATCH_SIZE`] of the batch; the others go to the worker's
    /// slow queue. First all keys are read and their tags asked for, then the entries that the tags point to, then all
    /// flows are looked up: the memory of one is loaded while others are worked on.
    fn forward_known(
        &self,
        worker: &mut Worker,
        pool: &mut FramePool,
        batch: &mut Vec<Packet>,
        output: &mut Vec<Transmit>,
        now_ticks: u32,
    ) {
        let count = batch.len().min(BATCH_SIZE);
        let keys = &mut worker.keys;
        keys.clear();
        for packet in &batch[..count] {
            let key = fast_key(pool.data(packet), packet.in_port, self.flows.seed());
            let hash = key.map_or(0, |key| self.flows.hash(&key));
            self.flows.prefetch_tags(hash);
            keys.push((key, hash));
        }
        for (_, hash) in keys.iter() {
            self.flows.prefetch_entry(*hash);
        }
        for (packet, (key, hash)) in batch.drain(..count).zip(keys.iter()) {
            let received = worker.counters.port(packet.in_port);
            received.received_packets.add(1);
            received.received_bytes.add(u64::from(packet.length));
            let out_port = match key {
                Some(key) => self.forward(pool.data_mut(&packet), key, *hash, now_ticks),
                None => None,
            };
            match out_port {
                Some(port) => {
                    worker.counters.hits.add(1);
                    transmit(&worker.counters, output, port, packet);
                }
                None => worker.slow.push(packet),
            }
        }
    }

    /// Forwards a packet by its flow, under the same conditions as tier 0; the port that it leaves by.
    #[inline]
    fn forward(&self, frame: &mut [u8], key: &FlowKey, hash: u64, now_ticks: u32) -> Option<u16> {
        let found = self.flows.lookup(key, hash)?;
        let verdict = &found.verdict;
        let (flags, mtu) = self.ports.flags_and_mtu(verdict.out_port);
        let head: &[u8; ETHERNET_LENGTH + 6] = frame.first_chunk()?;
        let addresses: &[u8; 12] = head.first_chunk()?;
        // Of IPv6 the length is at another place, and without the header.
        let length_at = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
        let total_length = if key.family == FAMILY_IPV6 {
            length_at(ETHERNET_LENGTH + 4) + IPV6_LENGTH
        } else {
            length_at(ETHERNET_LENGTH + 2)
        };
        let is_forwarded = verdict.flags & (VALID | TIER0) == VALID | TIER0
            && verdict.epoch == self.ports.flow_epoch(key.in_port, verdict.out_port)
            && addresses[..6] == verdict.match_ethernet_destination
            && addresses[6..] == verdict.match_ethernet_source
            && flags & (PORT_UP | PORT_UNRESOLVED) == PORT_UP
            && total_length <= usize::from(mtu);
        if !is_forwarded {
            return None;
        }
        let length = frame.len() as u64;
        if key.family == FAMILY_IPV6 {
            self.rewrite_ipv6(frame, &found, key.protocol)?;
        } else {
            rewrite::apply(frame, verdict, key.protocol, IPV4_LENGTH);
        }
        self.flows.count(found.index, length, now_ticks);
        Some(verdict.out_port)
    }

    /// Rewrites a packet of an IPv6 flow, if the flow's addresses are the packet's: the key had only their hashes.
    fn rewrite_ipv6(&self, frame: &mut [u8], found: &Found, protocol: u8) -> Option<()> {
        let addresses = self.flows.addresses(self.flows.session(found.index));
        let is_reply = found.verdict.flags & REPLY != 0;
        // The session may have ended and its number be another's by now: then the entry is not valid any more, and is seen
        // not to be, once the addresses were read.
        fence(Ordering::Acquire);
        if ipv6_words(frame)? != addresses.received(is_reply) || !self.flows.is_valid(found.index) {
            return None;
        }
        rewrite::apply_ipv6(frame, &found.verdict, &addresses.sent(is_reply), protocol, IPV6_LENGTH);
        Some(())
    }

    /// Sends the worker's slow queue through the pipeline.
    fn decide(&self, worker: &mut Worker, pool: &mut FramePool, output: &mut Vec<Transmit>, now_ticks: u32) {
        let mut packets = std::mem::take(&mut worker.slow);
        let mut slow = self.slow();
        // Loaded under the lock: a decision by an old configuration must not get the epoch of a new one.
        let snapshot = self.snapshot.load();
        worker.counters.decisions.add(packets.len() as u64);
        let taps = self.live_traces.taps();
        for packet in packets.drain(..) {
            let random = slow.random();
            let context = self.context(&slow, &snapshot, random);
            let (frame, in_port) = (pool.data(&packet), packet.in_port);
            let tap = taps.iter().find(|tap| tap.take(in_port, frame, now_ticks));
            let mut trace = if tap.is_some() { Trace::recording() } else { Trace::off() };
            let decided = pipeline::decide(&context, frame, in_port, &mut trace);
            if let Some(tap) = tap {
                tap.tell(self.live_report(&snapshot, frame, in_port, &decided.decision, trace));
            }
            match decided.decision {
                Decision::New(new) | Decision::Known(Known { renewed: Some(new), .. }) => {
                    new.allowed.into_iter().flatten().for_each(|rule| snapshot.count_hit(rule));
                }
                Decision::Drop(stage, _) => {
                    if let Some(port) = decided.denied_by {
                        self.note_denial(
                            &mut slow,
                            &snapshot,
                            (port, stage),
                            pool.data(&packet),
                            packet.in_port,
                        );
                    }
                }
                _ => {}
            }
            if let Some(session) = decided.ends {
                slow.revoked += 1;
                self.end_session(&mut slow, session, now_ticks);
            }
            let mut hands = commit::Hands { engine: self, slow: &mut slow, worker, pool, output, now_ticks };
            hands.carry_out(packet, &decided.decision);
            hands.note_parts(&decided);
        }
        // What was put back meanwhile is for the next round.
        packets.append(&mut worker.slow);
        worker.slow = packets;
    }

    fn context<'a>(&'a self, slow: &'a SlowPath, snapshot: &'a Snapshot, random: u32) -> Context<'a> {
        Context {
            snapshot,
            flows: &self.flows,
            sessions: &slow.sessions,
            ports: &self.ports,
            allocator: &slow.allocator,
            neighbours: &slow.neighbours,
            fragments: &slow.fragments,
            affinities: &slow.affinities,
            now_ticks: self.control.now_ticks(),
            random,
            timeouts: &self.settings.timeouts,
            tcp_pickup: self.settings.tcp_pickup,
        }
    }

    /// Puts held packets back at work when what they wait for may have come.
    fn retry_held(&self, worker: &mut Worker) {
        let version = self.neighbour_version.load(Ordering::Acquire);
        if worker.neighbour_version == version || worker.held.is_empty() {
            worker.neighbour_version = version;
            return;
        }
        worker.neighbour_version = version;
        let slow = self.slow();
        let is_ready = |held: &mut Held| match held.waits_for {
            WaitsFor::Neighbour(neighbour) => !slow.neighbours.is_awaited(neighbour),
            WaitsFor::FirstPart(datagram) => slow.fragments.is_known(&datagram),
        };
        worker.slow.extend(worker.held.extract_if(.., is_ready).map(|held| held.packet));
    }
}

/// Hands a packet to the transmit queue and counts it.
fn transmit(counters: &WorkerCounters, output: &mut Vec<Transmit>, port: u16, packet: Packet) {
    let sent = counters.port(port);
    sent.transmitted_packets.add(1);
    sent.transmitted_bytes.add(u64::from(packet.length));
    output.push(Transmit { port, packet });
}

/// Drops a packet and counts why.
fn discard(
    counters: &WorkerCounters,
    pool: &mut FramePool,
    packet: Packet,
    stage: Stage,
    reason: DropReason,
) {
    counters.dropped(stage, reason, packet.in_port);
    pool.free(packet);
}
