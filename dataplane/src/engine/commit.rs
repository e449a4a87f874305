//! Carrying out what the pipeline decided about a packet.
//!
//! The only place that makes and ends sessions, and where packets leave the slow path. Called under the slow-path lock.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;

use edgestack_abi::flow::{REPLY, TIER0, VALID, address_hash};
use edgestack_abi::session::SESSION_SNAT;
use edgestack_abi::{DropReason, FlowVerdict, Session};

use super::timers::ticks_since;
use super::{
    Engine, HELD_MAX, HELD_PER_DATAGRAM_MAX, HELD_PER_NEIGHBOUR_MAX, HELD_PER_PORT_MAX, Held, SlowPath,
    Transmit, WaitsFor, Worker, discard, traffic, transmit,
};
use crate::address::MacAddress;
use crate::connection::{ConnectionState, tier0_directions};
use crate::packet::{FRAME_SIZE, FramePool, Packet};
use crate::pipeline::{Decided, Decision, Known, NewSession, Related, Response, Stage};
use crate::rewrite;
use crate::snapshot::Snapshot;
use crate::stages::next_hop_word;
use crate::tables::flow_table::EntryIndex;
use crate::tables::fragment_table::Forwarded;
use crate::tables::neighbour_table::{Asker, Learned, NeighbourKey, Probe};
use crate::tuple::Tuple;
use crate::wire::arp::{self, Arp};
use crate::wire::fragment;
use crate::wire::headers::{self, Ip, Network};
use crate::wire::icmp::{self, IcmpError};
use crate::wire::neighbour::{self, Neighbour};
use crate::wire::{PROTOCOL_SCTP, sctp, tcp};

/// A UDP flow that was used within this time does not give way to a new flow.
const UDP_SAFE_TICKS: u32 = 300;

/// Packets to the gateway's own servers that one port may send in a second.
const SERVICE_PACKETS_PER_SECOND_AND_PORT: u32 = 2000;

/// A port is told of the whole limit's errors divided by this.
const ICMP_ERROR_SHARES: u32 = 4;

/// Sessions that are looked at to find one that gives way.
const EVICTION_SAMPLE: u32 = 256;
/// A workload that has more than the whole table divided by this hoards: when no session is free its established ones give
/// way too.
const HOARD_SHARES: u32 = 8;

/// Everything that carrying out a decision may touch.
pub(super) struct Hands<'a> {
    pub(super) engine: &'a Engine,
    pub(super) slow: &'a mut SlowPath,
    pub(super) worker: &'a mut Worker,
    pub(super) pool: &'a mut FramePool,
    pub(super) output: &'a mut Vec<Transmit>,
    pub(super) now_ticks: u32,
}

impl Hands<'_> {
    /// Does what was decided; the packet is sent, held or freed.
    pub(super) fn carry_out(&mut self, packet: Packet, decision: &Decision) {
        match *decision {
            Decision::Drop(stage, reason) => {
                self.correct(&packet, reason);
                self.discard(packet, stage, reason);
            }
            Decision::Tell(stage, reason, error, own) => {
                self.tell(&packet, error, own);
                self.discard(packet, stage, reason);
            }
            Decision::Reset(stage, reason) => self.reset(packet, stage, reason),
            Decision::Hold(neighbour, asker) => self.hold(packet, neighbour, asker),
            Decision::Respond(response) => self.respond(packet, response),
            Decision::Learn(neighbour, mac) => {
                self.learn(neighbour, mac);
                self.pool.free(packet);
            }
            Decision::Known(ref known) => self.known(packet, known),
            Decision::New(ref new) => self.new_session(packet, new),
            Decision::Related(ref related) => self.related(packet, related),
            Decision::Part(ref datagram, ref part, entry) => {
                self.slow.fragments.note(datagram, part);
                let verdict = self.engine.flows.entry(entry).verdict;
                self.forward(packet, entry, &verdict);
            }
            Decision::Await(datagram) => self.wait(packet, WaitsFor::FirstPart(datagram)),
        }
    }

    pub(super) fn discard(&mut self, packet: Packet, stage: Stage, reason: DropReason) {
        discard(&self.worker.counters, self.pool, packet, stage, reason);
    }

    pub(super) fn send(&mut self, port: u16, packet: Packet) {
        transmit(&self.worker.counters, self.output, port, packet);
    }

    /// The IP headers of a packet that the pipeline has parsed before.
    pub(super) fn ip(&self, packet: &Packet) -> Option<Ip> {
        match headers::parse(self.pool.data(packet)).ok()?.network {
            Network::Ip(ip) => Some(ip),
            Network::Arp(_) | Network::Neighbour(_) | Network::RouterSolicitation(_) => None,
        }
    }

    /// Sends an ICMP error about a packet back to where it came from.
    fn tell(&mut self, packet: &Packet, error: IcmpError, own: (IpAddr, MacAddress)) {
        let Some(ip) = self.ip(packet) else { return };
        if !self.may_tell(packet.in_port) {
            return self.worker.counters.dropped(Stage::Output, DropReason::IcmpRate, packet.in_port);
        }
        let Some(mut message) = self.pool.allocate(packet.in_port) else {
            return self.worker.counters.dropped(Stage::Output, DropReason::FramesExhausted, packet.in_port);
        };
        let mut buffer = [0; icmp::ERROR_LENGTH_MAX];
        let offending = self.pool.data(packet);
        let Some(length) = icmp::write_error(&mut buffer, error, offending, &ip, own) else {
            return self.pool.free(message);
        };
        self.pool.write(&mut message, &buffer[..length]);
        self.worker.counters.responses.add(1);
        self.send(packet.in_port, message);
    }

    /// Whether a port may be told of one more error: within its share, so that nobody takes the errors of all others.
    pub(super) fn may_tell(&mut self, port: u16) -> bool {
        let limit = self.engine.settings.icmp_errors_per_second;
        let share = limit.div_ceil(ICMP_ERROR_SHARES);
        let rate = self.slow.service_rates.get_mut(usize::from(port));
        rate.is_none_or(|rate| rate.errors.admit(self.now_ticks, share))
            && self.slow.icmp_errors.admit(self.now_ticks, limit)
    }

    /// Turns a packet of TCP or SCTP into the RST or ABORT that refuses it; it counts as dropped.
    fn reset(&mut self, mut packet: Packet, stage: Stage, reason: DropReason) {
        self.worker.counters.dropped(stage, reason, packet.in_port);
        if !self.may_tell(packet.in_port) {
            return self.discard(packet, Stage::Output, DropReason::IcmpRate);
        }
        let length = self.ip(&packet).and_then(|ip| {
            let frame = self.pool.data_mut(&packet);
            if ip.protocol == PROTOCOL_SCTP {
                sctp::abort_in_place(frame, &ip)
            } else {
                tcp::reset_in_place(frame, &ip)
            }
        });
        let Some(length) = length else { return self.pool.free(packet) };
        packet.length = length as u16;
        self.worker.counters.responses.add(1);
        self.send(packet.in_port, packet);
    }

    fn hold(&mut self, packet: Packet, neighbour: NeighbourKey, asker: Asker) {
        if let Some(probe) = self.slow.neighbours.resolve(neighbour, asker, None, self.now_ticks) {
            self.ask(&probe);
        }
        self.wait(packet, WaitsFor::Neighbour(neighbour));
    }

    /// Keeps a packet until what it waits for has come, as far as there is room for it.
    fn wait(&mut self, packet: Packet, waits_for: WaitsFor) {
        let (stage, reason, limit) = match waits_for {
            WaitsFor::Neighbour(_) => (Stage::Route, DropReason::NeighbourUnresolved, HELD_PER_NEIGHBOUR_MAX),
            WaitsFor::FirstPart(_) => (Stage::Fragment, DropReason::Fragment, HELD_PER_DATAGRAM_MAX),
        };
        let held = &self.worker.held;
        let waiting = held.iter().filter(|held| held.waits_for == waits_for).count();
        let of_port = held.iter().filter(|held| held.packet.in_port == packet.in_port).count();
        if waiting >= limit || of_port >= HELD_PER_PORT_MAX || held.len() >= HELD_MAX {
            return self.discard(packet, stage, reason);
        }
        self.worker.held.push(Held { packet, waits_for, since_ticks: self.now_ticks });
    }

    /// Lets the other parts of a datagram know what became of the first, and ends one whose parts contradict each other.
    pub(super) fn note_parts(&mut self, decided: &Decided) {
        if let Some(datagram) = &decided.ends_datagram {
            self.slow.fragments.refuse(datagram);
        }
        // A first part that is held has not been decided about.
        let Some((datagram, part, tuple)) = decided.first_part else { return };
        if matches!(decided.decision, Decision::Hold(..)) {
            return;
        }
        let is_dropped = matches!(decided.decision, Decision::Drop(..) | Decision::Tell(..));
        let found = if is_dropped { None } else { self.engine.flows.find(&tuple) };
        let flows = &self.engine.flows;
        let forwarded = found.map(|found| Forwarded {
            key: tuple.key(flows.seed()),
            session: flows.session(found.index),
            is_reply: found.verdict.flags & REPLY != 0,
        });
        self.slow.fragments.decide(datagram, forwarded, self.now_ticks);
        self.slow.fragments.note(&datagram, &part);
        self.engine.neighbour_version.fetch_add(1, Ordering::Release);
    }

    /// Sends an ARP request or a neighbour solicitation.
    pub(super) fn ask(&mut self, probe: &Probe) {
        let sender_mac = probe.asker.mac_address;
        match (probe.neighbour.ip_address, probe.asker.ip_address) {
            (IpAddr::V4(target_ip), IpAddr::V4(sender_ip)) => {
                let target_mac = MacAddress::default();
                let request = Arp { request: true, sender_mac, sender_ip, target_mac, target_ip };
                let destination = probe.known_mac.unwrap_or(MacAddress::BROADCAST);
                self.send_arp(probe.neighbour.port, &request, destination);
            }
            (IpAddr::V6(target), IpAddr::V6(source)) => {
                let group = neighbour::solicited_node(target);
                // RFC 4861, section 7.3.3: who is known is asked directly.
                let (destination, destination_mac) = match probe.known_mac {
                    Some(mac) => (target, mac),
                    None => (group, neighbour::multicast_mac(group)),
                };
                let mac_address = Some(sender_mac);
                let (solicited, router, overrides) = (false, false, false);
                let solicitation = Neighbour {
                    solicitation: true,
                    source,
                    destination,
                    target,
                    mac_address,
                    solicited,
                    router,
                    overrides,
                };
                self.send_neighbour(probe.neighbour.port, &solicitation, sender_mac, destination_mac);
            }
            _ => {} // Asker and neighbour are of one version.
        }
    }

    /// Sends a neighbour discovery packet by a port.
    pub(super) fn send_neighbour(
        &mut self,
        port: u16,
        packet: &Neighbour,
        source_mac: MacAddress,
        destination_mac: MacAddress,
    ) {
        let mut buffer = [0; neighbour::FRAME_LENGTH];
        packet.write(&mut buffer, source_mac, destination_mac);
        self.send_frame(port, &buffer);
    }

    /// Sends an ARP packet by a port.
    pub(super) fn send_arp(&mut self, port: u16, packet: &Arp, destination: MacAddress) {
        let mut buffer = [0; arp::FRAME_LENGTH];
        packet.write(&mut buffer, destination);
        self.send_frame(port, &buffer);
    }

    /// Sends a frame of the gateway's own by a port.
    pub(super) fn send_frame(&mut self, port: u16, bytes: &[u8]) {
        let Some(mut frame) = self.pool.allocate(port) else {
            return self.worker.counters.dropped(Stage::Respond, DropReason::FramesExhausted, port);
        };
        self.pool.write(&mut frame, bytes);
        self.worker.counters.responses.add(1);
        self.send(port, frame);
    }

    fn respond(&mut self, mut packet: Packet, response: Response) {
        match response {
            Response::Silence => return self.pool.free(packet),
            Response::Dhcp(message) => return self.dhcp(packet, message),
            Response::Dhcp6(verdict) => return self.dhcp6(packet, verdict),
            Response::Advertisement(host) => return self.solicited(packet, host),
            Response::Service => return self.service(packet),
            Response::Arp(reply) => {
                // Who asks also tells where it is (RFC 826).
                self.learn(
                    NeighbourKey { port: packet.in_port, ip_address: reply.target_ip.into() },
                    reply.target_mac,
                );
                packet.length = arp::FRAME_LENGTH as u16;
                reply.write(self.pool.data_mut(&packet), reply.target_mac);
            }
            Response::Neighbour(reply, mac) => {
                let asker = MacAddress(crate::wire::read_mac(self.pool.data(&packet), 6));
                // Who probes for an address has none yet: all are told.
                let to = if reply.solicited { asker } else { neighbour::multicast_mac(reply.destination) };
                if reply.solicited {
                    let ip_address = reply.destination.into();
                    self.learn(NeighbourKey { port: packet.in_port, ip_address }, asker);
                }
                let in_port = packet.in_port;
                self.pool.free(packet);
                return self.send_neighbour(in_port, &reply, mac, to);
            }
            Response::Echo => {
                let Some(ip) = self.ip(&packet) else { return self.pool.free(packet) };
                icmp::echo_reply_in_place(self.pool.data_mut(&packet), &ip);
            }
        }
        self.worker.counters.responses.add(1);
        self.send(packet.in_port, packet);
    }

    /// Hands a packet to the gateway's own servers.
    fn service(&mut self, packet: Packet) {
        let rate = self.slow.service_rates.get_mut(usize::from(packet.in_port));
        let is_too_fast =
            rate.is_some_and(|rate| !rate.packets.admit(self.now_ticks, SERVICE_PACKETS_PER_SECOND_AND_PORT));
        if is_too_fast {
            return self.discard(packet, Stage::Respond, DropReason::ServiceRate);
        }
        if !self.engine.exchange.offer(packet.in_port, self.pool.data(&packet)) {
            return self.discard(packet, Stage::Respond, DropReason::ServiceBusy);
        }
        self.pool.free(packet);
    }

    fn learn(&mut self, neighbour: NeighbourKey, mac: MacAddress) {
        let learned = self.slow.neighbours.learn(neighbour, mac, self.now_ticks);
        if learned == Learned::Moved {
            // Its flows send to the old address: all flows of the uplink are decided again.
            self.engine.ports.update(neighbour.port, |port| port.epoch = port.epoch.wrapping_add(1));
        }
        if matches!(learned, Learned::New | Learned::Moved) {
            self.engine.sync_tunnels(self.slow, &self.engine.snapshot.load());
            self.engine.neighbour_version.fetch_add(1, Ordering::Release);
        }
    }

    fn known(&mut self, packet: Packet, known: &Known) {
        let Some(mut session) = self.slow.sessions.get(known.session) else {
            return self.discard(packet, Stage::Connection, DropReason::InvalidConnectionState);
        };
        let before = session;
        if let Some(new) = &known.renewed {
            self.worker.counters.revalidations.add(1);
            let (tuples, index) = (&new.tuples, known.session);
            let original = (&tuples.original, &new.original_verdict);
            let reply = (&tuples.reply, &new.reply_verdict);
            let renewed = self
                .renew(&mut session.original_entry, index, original)
                .and_then(|()| self.renew(&mut session.reply_entry, index, reply));
            if let Err(reason) = renewed {
                self.slow.sessions.update(index, &session);
                self.engine.end_session(self.slow, index, self.now_ticks);
                return self.discard(packet, Stage::Output, reason);
            }
            session.reply = tuples.reply.key(self.engine.flows.seed());
        }
        if let Some(new) = &known.renewed
            && let Some(hop) = new.next_hop
        {
            session.next_hop = next_hop_word(hop.neighbour.ip_address);
            let assumed = Some(MacAddress(new.original_verdict.ethernet_destination));
            let neighbours = &mut self.slow.neighbours;
            if hop.is_assumed
                && let Some(probe) = neighbours.resolve(hop.neighbour, hop.asker, assumed, self.now_ticks)
            {
                self.ask(&probe);
            }
        }
        session.state = known.state as u8;
        session.fin_seen = known.fin_seen;
        session.verification_tags = known.verification_tags;
        if known.state != ConnectionState::from_number(before.state) || known.fin_seen != before.fin_seen {
            let (original, reply) = tier0_directions(known.state, known.fin_seen);
            self.set_tier0(session.original_entry, original);
            self.set_tier0(session.reply_entry, reply);
        }
        self.slow.sessions.update(known.session, &session);
        let is_reply = known.verdict.flags & REPLY != 0;
        let entry = if is_reply { session.reply_entry } else { session.original_entry };
        self.forward(packet, entry, &known.verdict);
    }

    fn set_tier0(&self, entry: EntryIndex, enabled: bool) {
        let (set, clear) = if enabled { (TIER0, 0) } else { (0, TIER0) };
        self.engine.flows.set_flags(entry, set, clear);
    }

    /// Gives an entry its verdict of now, and its key where answers come by another port now: in place when only the epoch
    /// differs, else by a new entry. Fails when there is no room for one.
    fn renew(
        &mut self,
        entry: &mut EntryIndex,
        session: u32,
        (tuple, verdict): (&Tuple, &FlowVerdict),
    ) -> Result<(), DropReason> {
        let flows = &self.engine.flows;
        let (key, old) = (tuple.key(flows.seed()), flows.entry(*entry));
        let flags = verdict.flags | (old.verdict.flags & (VALID | TIER0));
        let is_same =
            (FlowVerdict { flags, ..*verdict }) == (FlowVerdict { epoch: verdict.epoch, ..old.verdict });
        if is_same && key == old.key {
            flows.set_epoch(*entry, verdict.epoch);
            return Ok(());
        }
        if key != old.key && flows.lookup(&key, flows.hash(&key)).is_some() {
            // Another connection's packets look like this one's answers.
            return Err(DropReason::InvalidConnectionState);
        }
        let place = flows
            .insert(&key, &FlowVerdict { flags, ..*verdict }, session, self.now_ticks)
            .map_err(|_| DropReason::FlowTableFull)?;
        flows.carry_counters(*entry, place);
        flows.remove(*entry, self.now_ticks);
        *entry = place;
        Ok(())
    }

    fn new_session(&mut self, packet: Packet, new: &NewSession) {
        let limit = self.engine.settings.new_flows_per_second_per_port;
        let rate = self.slow.new_flows.get_mut(usize::from(packet.in_port));
        if rate.is_some_and(|rate| !rate.admit(self.now_ticks, limit)) {
            return self.discard(packet, Stage::Connection, DropReason::NewFlowRate);
        }
        match self.install(new) {
            Ok(entry) => self.forward(packet, entry, &new.original_verdict),
            Err(reason) => self.discard(packet, Stage::Output, reason),
        }
    }

    /// Writes the session and its two flows; the entry of the first direction.
    fn install(&mut self, new: &NewSession) -> Result<EntryIndex, DropReason> {
        let flows = &self.engine.flows;
        if self.slow.sessions.next_free().is_none() {
            self.take_from_heaviest();
        }
        let index = self.slow.sessions.next_free().ok_or(DropReason::FlowTableFull)?;
        let [original_key, reply_key] =
            [new.tuples.original, new.tuples.reply].map(|tuple| tuple.key(flows.seed()));
        // The memory of the answers' flow, which nobody has looked for before, is loaded while the other is worked on.
        let reply_hash = flows.hash(&reply_key);
        flows.prefetch_tags(reply_hash);
        let is_taken = |key, hash| flows.lookup(key, hash).is_some();
        let is_original_taken = is_taken(&original_key, flows.hash(&original_key));
        flows.prefetch_entry(reply_hash);
        if is_original_taken || is_taken(&reply_key, reply_hash) {
            // Another connection's packets look like this one's, or like its answers.
            return Err(DropReason::InvalidConnectionState);
        }
        flows.set_addresses(index, &new.tuples);
        let state = new.state;
        let tier0 = if state.is_tier0() { TIER0 } else { 0 };
        let with_tier0 = |verdict: &FlowVerdict| FlowVerdict { flags: verdict.flags | tier0, ..*verdict };
        let original = flows.insert(&original_key, &with_tier0(&new.original_verdict), index, self.now_ticks);
        let original_entry = original.map_err(|occupants| self.make_room(&occupants))?;
        let reply = flows.insert(&reply_key, &with_tier0(&new.reply_verdict), index, self.now_ticks);
        let reply_entry = reply.map_err(|occupants| {
            flows.remove(original_entry, self.now_ticks);
            self.make_room(&occupants)
        })?;
        if let Some(allocation) = new.allocation {
            self.slow.allocator.take(&allocation, Some(self.now_ticks));
        }
        if let Some(inbound) = new.inbound {
            self.slow.allocator.take(&inbound, None);
        }
        if let Some((client, choice)) = new.affinity {
            self.slow.affinities.remember(client, choice, self.now_ticks);
        }
        let session = Session {
            original: original_key,
            reply: reply_key,
            original_entry,
            reply_entry,
            created_ticks: self.now_ticks,
            state: state as u8,
            kind: new.kind,
            verification_tags: new.verification_tags,
            next_hop: new.next_hop.map_or(0, |hop| next_hop_word(hop.neighbour.ip_address)),
            ..Session::default()
        };
        self.slow.sessions.insert(index, session);
        if let Some(count) = self.slow.sessions_by_port.get_mut(usize::from(original_key.in_port)) {
            *count += 1;
        }
        self.slow.created += 1;
        self.engine.count_balanced(&session, &new.tuples);
        Ok(original_entry)
    }

    /// All sessions are in use: one of the port that has opened most gives way, so that no port can keep the others from
    /// opening any. Established TCP connections never do, but those of a workload that hoards: who completes handshakes
    /// with a friend would have all sessions for hours.
    fn take_from_heaviest(&mut self) {
        let counts = self.slow.sessions_by_port.iter().enumerate();
        let Some((heaviest, count)) = counts.max_by_key(|(_, count)| **count) else { return };
        let snapshot = self.engine.snapshot.load();
        let is_workload = snapshot.port(heaviest as u16).is_some_and(|port| port.workload.is_some());
        let hoards = is_workload && *count > self.slow.sessions.capacity() / HOARD_SHARES;
        let end = self.slow.sessions.end();
        let start = self.slow.random() % end.max(1);
        let mut victim = None;
        for index in (0..EVICTION_SAMPLE.min(end)).map(|step| (start + step) % end) {
            let Some(session) = self.slow.sessions.get(index) else { continue };
            let state = ConnectionState::from_number(session.state);
            if usize::from(session.original.in_port) == heaviest && (hoards || state.gives_way()) {
                let idle =
                    ticks_since(self.engine.flows.last_seen_ticks(session.original_entry), self.now_ticks);
                victim = victim.max(Some((std::cmp::Reverse(state), idle, index)));
            }
        }
        if let Some((_, _, index)) = victim {
            self.slow.evicted += 1;
            self.engine.end_session(self.slow, index, self.now_ticks);
        }
    }

    /// Ends the flow of least worth among those that occupy a new flow's places. The place is free for the sender's next
    /// try, after its rest.
    fn make_room(&mut self, occupants: &[EntryIndex]) -> DropReason {
        let flows = &self.engine.flows;
        let worth = |entry: &EntryIndex| {
            let entry = flows.entry(*entry);
            let session = self.slow.sessions.get(entry.session)?;
            let state = ConnectionState::from_number(session.state);
            let idle = ticks_since(entry.last_seen_ticks, self.now_ticks);
            let gives_way =
                state < ConnectionState::Udp || (state == ConnectionState::Udp && idle >= UDP_SAFE_TICKS);
            (entry.verdict.flags & VALID != 0 && gives_way).then_some((
                state,
                std::cmp::Reverse(idle),
                entry.session,
            ))
        };
        if let Some((_, _, session)) = occupants.iter().filter_map(worth).min() {
            self.slow.evicted += 1;
            self.engine.end_session(self.slow, session, self.now_ticks);
        }
        DropReason::FlowTableFull
    }

    /// Sends a packet by its flow, in parts where it is too large for its way out.
    fn forward(&mut self, packet: Packet, entry: EntryIndex, verdict: &FlowVerdict) {
        let Some(ip) = self.ip(&packet) else {
            return self.discard(packet, Stage::Output, DropReason::MalformedIpv4);
        };
        let (session, is_reply) = (self.engine.flows.session(entry), verdict.flags & REPLY != 0);
        let new = self.engine.flows.addresses(session).sent(is_reply);
        rewrite::apply_to(self.pool.data_mut(&packet), verdict, &ip, &new);
        self.engine.flows.count(entry, u64::from(packet.length), self.now_ticks);
        let (_, mtu) = self.engine.ports.flags_and_mtu(verdict.out_port);
        let is_cut = ip.total_length > usize::from(mtu);
        if (is_cut || ip.fragment.is_some())
            && let Some((source, _)) = ip.ipv4()
            && !is_reply
            && self.slow.sessions.get(session).is_some_and(|session| session.kind & SESSION_SNAT != 0)
        {
            let mask = identification_mask(source, self.engine.flows.seed());
            fragment::mask_identification(self.pool.data_mut(&packet), ip.header_length, mask);
        }
        if is_cut {
            self.send_in_parts(packet, verdict.out_port, mtu);
        } else {
            self.send(verdict.out_port, packet);
        }
    }

    fn send_in_parts(&mut self, packet: Packet, port: u16, mtu: u16) {
        let whole = self.pool.data(&packet).to_vec();
        let mut frames = Vec::new();
        let (pool, in_port) = (&mut *self.pool, packet.in_port);
        let is_cut = fragment::split(&whole, usize::from(mtu), &mut [0; FRAME_SIZE], |part| {
            frames.push(pool.allocate(in_port).map(|mut frame| {
                pool.write(&mut frame, part);
                frame
            }));
        });
        if !is_cut {
            return self.discard(packet, Stage::Output, DropReason::PacketTooBig);
        }
        for frame in frames {
            match frame {
                Some(frame) => self.send(port, frame),
                None => self.worker.counters.dropped(Stage::Output, DropReason::FramesExhausted, in_port),
            }
        }
        self.pool.free(packet);
    }

    fn related(&mut self, packet: Packet, related: &Related) {
        let Some(ip) = self.ip(&packet) else {
            return self.discard(packet, Stage::Output, DropReason::MalformedIpv4);
        };
        rewrite::apply_to_error(self.pool.data_mut(&packet), &related.verdict, &ip, &related.rewrite);
        self.send(related.verdict.out_port, packet);
    }
}

/// What the identifications of a host's datagrams are changed by where many hosts share an address, so that the parts of one
/// are not taken for parts of another's (RFC 6864, section 5.3.1). Those of one host stay as different as they were.
fn identification_mask(source: Ipv4Addr, seed: u64) -> u16 {
    (address_hash(u64::from(source.to_bits()), 0, seed) >> 16) as u16
}

impl Engine {
    /// Ends a session: its flows, its translated port, its number.
    pub(super) fn end_session(&self, slow: &mut SlowPath, index: u32, now_ticks: u32) {
        self.end_session_of(slow, &self.snapshot.load(), index, now_ticks);
    }

    /// As [`Self::end_session`], of a session whose ports are in this snapshot.
    pub(super) fn end_session_of(
        &self,
        slow: &mut SlowPath,
        snapshot: &Snapshot,
        index: u32,
        now_ticks: u32,
    ) {
        let Some(session) = slow.sessions.get(index) else { return };
        for (address, traffic) in traffic::of_session(&self.flows, index, &session) {
            slow.ended_traffic.add(address, traffic);
            if let Some(count) = slow.count_of(index) {
                count.ended.add(address, traffic);
            }
        }
        self.add_balanced(slow, snapshot, index, &session);
        for entry in [session.original_entry, session.reply_entry] {
            if self.flows.entry(entry).session == index {
                self.flows.remove(entry, now_ticks);
            }
        }
        slow.release_ports(snapshot, &session, now_ticks);
        if let Some(count) = slow.sessions_by_port.get_mut(usize::from(session.original.in_port)) {
            *count = count.saturating_sub(1);
        }
        slow.sessions.remove(index);
    }
}
