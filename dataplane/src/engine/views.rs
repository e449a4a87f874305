//! What the engine shows of itself. Called by the control thread; the packet path goes on meanwhile.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use edgestack_abi::flow::{REPLY, TRANSLATE};
use edgestack_abi::{DropReason, FlowEntry, Session};

use super::{Engine, FlowFilterError, timers};
use crate::connection::ConnectionState;
use crate::inspect::{
    CountersView, DropView, FlowFilter, FlowView, NeighbourView, PortCountersView, RuleHitsView,
};
use crate::pipeline::Stage;
use crate::snapshot::Snapshot;
use crate::snapshot::security_group::{Rule, SecurityGroup};
use crate::stages::output::endpoint;
use crate::tables::flow_table::is_tier0;
use crate::tuple::Tuple;
use crate::wire::protocol_name;

impl Engine {
    /// The flows that a filter means, both directions of a session one after the other, of `limit` sessions at most.
    pub fn flows_view(&self, filter: &FlowFilter, limit: usize) -> Result<Vec<FlowView>, FlowFilterError> {
        let snapshot = self.snapshot.load();
        let sessions = self.sessions_meant(filter, limit)?;
        let mut views = Vec::with_capacity(sessions.len() * 2);
        for (index, session) in &sessions {
            for entry in [session.original_entry, session.reply_entry] {
                views.push(self.flow_view(&snapshot, *index, session, &self.flows.entry(entry)));
            }
        }
        Ok(views)
    }

    fn flow_view(&self, snapshot: &Snapshot, index: u32, session: &Session, entry: &FlowEntry) -> FlowView {
        let verdict = &entry.verdict;
        let is_reply = verdict.flags & REPLY != 0;
        let tuples = self.flows.tuples(index, session);
        let (received, other) =
            if is_reply { (tuples.reply, tuples.original) } else { (tuples.original, tuples.reply) };
        let Tuple { in_port, protocol, .. } = received;
        let is_translated = verdict.flags & TRANSLATE != 0;
        let text = |address: IpAddr, port: u16| endpoint(address, u16::from_be(port));
        let changed =
            |old: String, new: String| if is_translated && old != new { new } else { String::new() };
        let source = text(received.source, received.source_port);
        let destination = text(received.destination, received.destination_port);
        let idle_ticks = self.now_ticks().wrapping_sub(entry.last_seen_ticks);
        FlowView {
            session: index,
            direction: if is_reply { "reply" } else { "original" }.to_owned(),
            protocol: protocol_name(protocol),
            state: ConnectionState::from_number(session.state).label(protocol).to_owned(),
            in_port: port_name(snapshot, in_port),
            translated_source: changed(source.clone(), text(other.destination, other.destination_port)),
            translated_destination: changed(destination.clone(), text(other.source, other.source_port)),
            source,
            destination,
            out_port: port_name(snapshot, verdict.out_port),
            tier0: is_tier0(verdict),
            packets: entry.packets(),
            tier0_packets: entry.tier0_packets,
            bytes: entry.bytes,
            idle_seconds: f64::from(idle_ticks) / f64::from(timers::TICKS_PER_SECOND),
        }
    }

    /// The neighbours of external networks.
    pub fn neighbours_view(&self) -> Vec<NeighbourView> {
        let snapshot = self.snapshot.load();
        let slow = self.slow();
        let mut views: Vec<NeighbourView> = slow
            .neighbours
            .iter()
            .map(|(key, neighbour)| NeighbourView {
                network: snapshot
                    .port(key.port)
                    .map_or_else(String::new, |port| snapshot.networks[port.network].name.clone()),
                ip_address: key.ip_address,
                mac_address: neighbour.mac_address,
                state: neighbour.state().to_owned(),
                age_seconds: f64::from(self.now_ticks().wrapping_sub(neighbour.heard_ticks))
                    / f64::from(timers::TICKS_PER_SECOND),
            })
            .collect();
        views.sort_by(|a, b| (&a.network, a.ip_address).cmp(&(&b.network, b.ip_address)));
        views
    }

    /// What the rules of all security groups have allowed so far.
    pub fn rule_hits_view(&self) -> Vec<RuleHitsView> {
        let snapshot = self.snapshot.load();
        let of_group = |group: &Arc<SecurityGroup>| {
            let (security_group_id, security_group) = (group.id.clone(), group.name.clone());
            let rules = group.ingress.rules.iter().chain(&group.egress.rules);
            let view = |rule: &Rule| RuleHitsView {
                security_group_id: security_group_id.clone(),
                security_group: security_group.clone(),
                id: rule.id.clone(),
                hits: rule.hits.get(),
            };
            rules.map(view).collect::<Vec<_>>()
        };
        snapshot.security_groups.iter().flat_map(of_group).collect()
    }

    /// The engine's drops by reason and stage, those that happened.
    pub fn drops_view(&self) -> Vec<DropView> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut views = Vec::new();
        for stage in Stage::ALL {
            for reason in DropReason::ALL {
                let packets = workers.iter().map(|worker| worker.drops(stage, *reason)).sum::<u64>();
                if packets > 0 {
                    views.push(DropView {
                        reason: reason.label().to_owned(),
                        description: reason.description().to_owned(),
                        stage: stage.label().to_owned(),
                        packets,
                    });
                }
            }
        }
        views
    }

    /// The engine's counters; what tier 0 counts is 0 here.
    pub fn counters_view(&self) -> CountersView {
        let mut view = CountersView::default();
        {
            let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            for worker in workers.iter() {
                view.engine_packets += worker.packets.get();
                view.engine_hits += worker.hits.get();
                view.engine_decisions += worker.decisions.get();
                view.engine_responses += worker.responses.get();
                view.revalidations += worker.revalidations.get();
            }
        }
        view.dropped_packets = self.drops_view().iter().map(|drop| drop.packets).sum();
        let slow = self.slow();
        view.sessions = u64::from(slow.sessions.len());
        view.sessions_max = u64::from(slow.sessions.capacity());
        view.sessions_created = slow.created;
        view.sessions_expired = slow.expired;
        view.sessions_evicted = slow.evicted;
        view.sessions_revoked = slow.revoked;
        view.nat_high_waters = slow.allocator.high_waters();
        (view.denials_logged, view.denials_suppressed) = slow.denials.counts();
        view
    }

    /// The engine's counters of a port; what tier 0 counts is 0 here.
    pub fn port_counters_view(&self, port: u16) -> PortCountersView {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut view = PortCountersView::default();
        for counters in workers.iter().map(|worker| worker.port(port)) {
            view.engine_packets += counters.received_packets.get();
            view.engine_bytes += counters.received_bytes.get();
            view.transmitted_packets += counters.transmitted_packets.get();
            view.transmitted_bytes += counters.transmitted_bytes.get();
            view.dropped_packets += counters.dropped_packets.get();
        }
        view
    }

    /// The record of a port.
    pub fn port_entry(&self, port: u16) -> edgestack_abi::PortEntry {
        self.ports.entry(port)
    }
}

fn port_name(snapshot: &Snapshot, number: u16) -> String {
    snapshot.port(number).map_or_else(|| format!("port {number}"), |port| port.name.clone())
}
