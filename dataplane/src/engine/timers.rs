//! What time brings: idle sessions end, next hops are asked for again, new addresses are announced, routers advertise
//! themselves.
//!
//! There is no timer per flow. Both tiers stamp flows with the engine's clock, and a sweep passes a part of the sessions
//! each tick, so that each is passed within [`SWEEP_TICKS`]. It looks at those that may have come to their end.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use edgestack_abi::DropReason;
use edgestack_abi::Session;
use edgestack_abi::maps::TICK_MS;
use edgestack_abi::session::SESSION_INBOUND;

use super::commit::Hands;
use super::{Engine, Held, SlowPath, Transmit, WaitsFor, Worker, discard};
use crate::address::MacAddress;
use crate::connection::ConnectionState;
use crate::packet::FramePool;
use crate::pipeline::Stage;
use crate::tables::flow_table::FlowTable;
use crate::wire::arp::Arp;
use crate::wire::neighbour::{ALL_NODES, Neighbour, multicast_mac};

/// Ticks in a second.
pub(crate) const TICKS_PER_SECOND: u32 = 1000 / TICK_MS;
/// Within so many ticks the sweep passes every session.
pub(super) const SWEEP_TICKS: u32 = 50;
/// Sessions that a sweep passes at least.
const SWEEP_MIN: u32 = 1024;
/// A session is looked at after so many ticks, however long it may be idle.
const REST_TICKS_MAX: u32 = 3600 * TICKS_PER_SECOND;
/// How long a packet waits for its next hop.
const HELD_TICKS: u32 = 3 * TICKS_PER_SECOND + 5;
/// How long a part of a datagram waits for the first.
const HELD_PART_TICKS: u32 = 2 * TICKS_PER_SECOND;
/// Times that a new address is announced (RFC 5227, section 1.1), and the pause between.
const ANNOUNCEMENTS: u8 = 3;
const ANNOUNCE_INTERVAL_TICKS: u32 = 2 * TICKS_PER_SECOND;
/// Announcements per tick.
const ANNOUNCE_BATCH: usize = 64;

/// An address whose neighbours are to learn where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announcement {
    port: u16,
    ip_address: IpAddr,
    mac_address: MacAddress,
    is_router: bool,
    left: u8,
    due_ticks: Option<u32>,
}

impl Announcement {
    /// To be sent by `port` as soon as it is up; `is_router`: the address is a router's, not a workload's.
    pub(super) fn new(port: u16, ip_address: IpAddr, mac_address: MacAddress, is_router: bool) -> Self {
        Self { port, ip_address, mac_address, is_router, left: ANNOUNCEMENTS, due_ticks: None }
    }

    /// The address, whose it is, and where it is announced.
    pub(super) fn says(&self) -> (IpAddr, MacAddress, Option<u16>) {
        (self.ip_address, self.mac_address, Some(self.port))
    }
}

impl Engine {
    /// Does what is due. Every worker calls it each tick; worker 0 also advances the clock to `now_ticks` and does what
    /// is due for all.
    pub fn tick(
        &self,
        worker: &mut Worker,
        pool: &mut FramePool,
        now_ticks: u32,
        output: &mut Vec<Transmit>,
    ) {
        let first = output.len();
        if worker.index == 0 {
            self.control.set_now_ticks(now_ticks);
            let mut slow = self.slow();
            self.sweep(&mut slow, now_ticks);
            if !slow.fragments.is_empty() {
                slow.fragments.expire(now_ticks);
            }
            slow.allocator.expire(now_ticks);
            let due = slow.neighbours.due(now_ticks);
            if due.has_failed {
                self.neighbour_version.fetch_add(1, Ordering::Release);
                self.sync_tunnels(&mut slow, &self.snapshot.load());
            }
            // Nothing more is sent to where a neighbour was.
            for port in due.silent_ports {
                self.ports.update(port, |port| port.epoch = port.epoch.wrapping_add(1));
            }
            let mut hands = Hands { engine: self, slow: &mut slow, worker, pool, output, now_ticks };
            for probe in due.probes {
                hands.ask(&probe);
            }
            hands.announce();
            hands.advertise_due();
        }
        give_up_held(worker, pool, now_ticks);
        // Held packets whose next hop is known go through the pipeline again.
        self.retry_held(worker);
        if !worker.slow.is_empty() {
            self.decide(worker, pool, output, now_ticks);
        }
        self.wrap(worker, pool, output, first);
    }

    /// Passes a part of the sessions and ends the idle ones. When the table fills up, sessions of little worth are given
    /// less time and the sweep goes faster, so that room is made before it is missing.
    fn sweep(&self, slow: &mut SlowPath, now_ticks: u32) {
        let used_percent = u64::from(slow.sessions.len()) * 100 / u64::from(slow.sessions.capacity().max(1));
        let (haste, divisor) = match used_percent {
            0..=80 => (1, 1),
            81..=95 => (4, 8),
            _ => (16, 64),
        };
        let end = slow.sessions.end();
        let visits = (end / SWEEP_TICKS * haste).max(SWEEP_MIN).min(end);
        for _ in 0..visits {
            let index = if slow.sweep_position >= end { 0 } else { slow.sweep_position };
            slow.sweep_position = index + 1;
            if divisor > 1 || slow.sessions.is_due(index, now_ticks) {
                self.look_at(slow, index, now_ticks, divisor);
            }
        }
    }

    /// Ends a session that was idle for its time, or says when that may be. That of a session that gives way is divided by
    /// `divisor`.
    fn look_at(&self, slow: &mut SlowPath, index: u32, now_ticks: u32, divisor: u32) {
        let Some(session) = slow.sessions.get(index) else { return };
        let has_mappings = self.hear_mappings(slow, &session);
        let state = ConnectionState::from_number(session.state);
        let timeout_ticks = state
            .timeout_seconds(session.original.protocol, &self.settings.timeouts)
            .saturating_mul(TICKS_PER_SECOND);
        let idle_ticks = idle_ticks(&self.flows, &session, now_ticks);
        let divisor = if state.gives_way() { divisor } else { 1 };
        if idle_ticks >= timeout_ticks / divisor {
            slow.expired += 1;
            self.end_session(slow, index, now_ticks);
        } else if !has_mappings {
            // Packets only put its end off. Mappings are to hear of theirs.
            let rest_ticks = timeout_ticks.saturating_sub(idle_ticks).min(REST_TICKS_MAX);
            slow.sessions.rest_until(index, now_ticks.wrapping_add(rest_ticks));
        }
    }
}

/// Drops packets that have waited in vain.
fn give_up_held(worker: &mut Worker, pool: &mut FramePool, now_ticks: u32) {
    let is_old = |held: &Held| {
        let limit = match held.waits_for {
            WaitsFor::Neighbour(_) => HELD_TICKS,
            WaitsFor::FirstPart(_) => HELD_PART_TICKS,
        };
        ticks_since(held.since_ticks, now_ticks) > limit
    };
    while let Some(position) = worker.held.iter().position(is_old) {
        let held = worker.held.swap_remove(position);
        let (stage, reason) = match held.waits_for {
            WaitsFor::Neighbour(_) => (Stage::Route, DropReason::NeighbourUnresolved),
            WaitsFor::FirstPart(_) => (Stage::Fragment, DropReason::Fragment),
        };
        discard(&worker.counters, pool, held.packet, stage, reason);
    }
}

/// Ticks from `then` to `now`; 0 where `then` is ahead, as another worker's clock may be by one.
pub(super) fn ticks_since(then: u32, now: u32) -> u32 {
    let difference = now.wrapping_sub(then);
    if difference as i32 >= 0 { difference } else { 0 }
}

/// Ticks since a packet of either direction was forwarded; of a session that came in by a mapping, one from inside (RFC 7857,
/// section 7).
fn idle_ticks(flows: &FlowTable, session: &Session, now_ticks: u32) -> u32 {
    let idle = |entry| ticks_since(flows.last_seen_ticks(entry), now_ticks);
    if session.kind & SESSION_INBOUND != 0 {
        return idle(session.reply_entry);
    }
    idle(session.original_entry).min(idle(session.reply_entry))
}

impl Hands<'_> {
    /// Sends the announcements that are due by ports that are up.
    fn announce(&mut self) {
        let now_ticks = self.now_ticks;
        let mut announcements = std::mem::take(&mut self.slow.announcements);
        let mut sent = 0;
        announcements.retain_mut(|announcement| {
            let is_due = announcement.due_ticks.is_none_or(|due| now_ticks.wrapping_sub(due) as i32 >= 0);
            if !is_due || sent >= ANNOUNCE_BATCH || !self.engine.is_up(announcement.port) {
                return true;
            }
            sent += 1;
            self.announce_address(announcement);
            announcement.left -= 1;
            announcement.due_ticks = Some(now_ticks.wrapping_add(ANNOUNCE_INTERVAL_TICKS));
            announcement.left > 0
        });
        announcements.append(&mut self.slow.announcements);
        self.slow.announcements = announcements;
    }
}

impl Hands<'_> {
    /// Tells all neighbours of a port where an address is (RFC 5227, section 3; RFC 4861, section 7.2.6).
    pub(super) fn announce_address(&mut self, announcement: &Announcement) {
        let Announcement { port, ip_address, mac_address, is_router, .. } = *announcement;
        match ip_address {
            IpAddr::V4(address) => {
                let packet = Arp {
                    request: true,
                    sender_mac: mac_address,
                    sender_ip: address,
                    target_mac: MacAddress::default(),
                    target_ip: address,
                };
                self.send_arp(port, &packet, MacAddress::BROADCAST);
            }
            IpAddr::V6(address) => {
                let packet = Neighbour {
                    solicitation: false,
                    source: address,
                    destination: ALL_NODES,
                    target: address,
                    mac_address: Some(mac_address),
                    solicited: false,
                    router: is_router,
                    overrides: true,
                };
                self.send_neighbour(port, &packet, mac_address, multicast_mac(ALL_NODES));
            }
        }
    }
}

impl Engine {
    pub(super) fn is_up(&self, port: u16) -> bool {
        self.ports.flags_and_mtu(port).0 & edgestack_abi::port::PORT_UP != 0
    }
}
