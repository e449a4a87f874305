//! Taking over the tables of an engine before: after a restart, a crash or an upgrade.
//!
//! The flows, their counters, the translations and the TCP states are in shared memory and simply stay. What an engine
//! keeps besides them (free numbers, ports in use) is made anew from the sessions, and what a crash left half done is
//! removed.

use std::hash::{Hash, Hasher};

use std::sync::Mutex;

use arc_swap::ArcSwap;
use edgestack_abi::FlowKey;
use edgestack_abi::Session;
use edgestack_abi::flow::REPLY;

use super::advertise::Advertisers;
use super::{Engine, EngineError, EngineSettings, RateWindow, ServiceRate, SlowPath, nat};
use crate::address::MacAddress;
use crate::exchange::Exchange;
use crate::live_trace::LiveTraces;
use crate::snapshot::Snapshot;
use crate::tables::affinity_table::AffinityTable;
use crate::tables::control::ControlRecord;
use crate::tables::flow_table::FlowTable;
use crate::tables::fragment_table::FragmentTable;
use crate::tables::neighbour_table::{Asker, NeighbourKey, NeighbourTable};
use crate::tables::port_table::PortTable;
use crate::tables::region::Regions;
use crate::tables::session_table::SessionTable;
use crate::tables::tunnel_table::TunnelTable;
use crate::wire::host_address;

/// An engine over `regions` with all that they hold.
pub(super) fn engine(regions: Regions, settings: EngineSettings) -> Result<Engine, EngineError> {
    let control = ControlRecord::new(regions.control);
    let record = control.get();
    let expected = record.bucket_mask as usize + 1;
    if regions.flows.len() != expected {
        return Err(EngineError::TableSize { buckets: regions.flows.len(), expected });
    }
    let flows = FlowTable::new(regions.flows, regions.flow_tags, regions.session_addresses, record.hash_seed);
    let mut sessions = SessionTable::new(regions.sessions);
    recover(&flows, &mut sessions, record.now_ticks);
    let allocator = nat::recover(&flows, &sessions);
    let neighbours = known_neighbours(&flows, &sessions, record.now_ticks);
    let ports = PortTable::new(regions.ports);
    let mut sessions_by_port = vec![0; usize::from(ports.capacity())];
    for (_, session) in sessions.iter() {
        if let Some(count) = sessions_by_port.get_mut(usize::from(session.original.in_port)) {
            *count += 1;
        }
    }
    let slow = SlowPath {
        sessions,
        allocator,
        neighbours,
        fragments: FragmentTable::default(),
        affinities: AffinityTable::default(),
        bindings: hashbrown::HashMap::new(),
        announcements: Vec::new(),
        advertisers: Advertisers::new(ports.capacity()),
        new_flows: vec![RateWindow::default(); usize::from(ports.capacity())],
        service_rates: vec![ServiceRate::default(); usize::from(ports.capacity())],
        icmp_errors: RateWindow::default(),
        random: random_seed(record.hash_seed),
        sweep_position: 0,
        sessions_by_port,
        created: 0,
        expired: 0,
        evicted: 0,
        revoked: 0,
        denials: super::denials::Denials::new(ports.capacity()),
        ended_traffic: super::traffic::EndedTraffic::default(),
        count: None,
    };
    Ok(Engine {
        exchange: Exchange::default(),
        live_traces: LiveTraces::default(),
        settings,
        snapshot: ArcSwap::from_pointee(Snapshot::default()),
        applying: Mutex::new(()),
        counting: Mutex::new(()),
        flows,
        ports,
        tunnels: TunnelTable::new(regions.tunnels, regions.tunnel_index, record.hash_seed),
        control,
        port_by_interface: regions.port_by_interface,
        slow: slow.into(),
        neighbour_version: 0.into(),
        workers: Vec::new().into(),
    })
}

/// The seed of the engine's own random numbers, some of which a tenant sees: it tells nothing of the table's secret.
fn random_seed(secret: u64) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    secret.hash(&mut hasher);
    hasher.finish() | 1
}

/// The next hops that adopted flows send to: known until they are heard of or stay silent.
fn known_neighbours(flows: &FlowTable, sessions: &SessionTable, now_ticks: u32) -> NeighbourTable {
    let mut neighbours = NeighbourTable::default();
    // Of an IPv6 next hop the session has only a hash: it is asked for anew, while flows go on with the MAC address they have.
    let is_known = |session: &Session| session.next_hop != 0 && session.original.family == 0;
    for (_, session) in sessions.iter().filter(|(_, session)| is_known(session)) {
        let verdict = flows.entry(session.original_entry).verdict;
        let key =
            NeighbourKey { port: session.reply.in_port, ip_address: host_address(session.next_hop).into() };
        let asker = Asker {
            ip_address: host_address(session.reply.destination).into(),
            mac_address: MacAddress(verdict.ethernet_source),
            is_workload: false,
        };
        neighbours.adopt(key, asker, MacAddress(verdict.ethernet_destination), now_ticks);
    }
    neighbours
}

/// Removes what is not whole.
fn recover(flows: &FlowTable, sessions: &mut SessionTable, now_ticks: u32) {
    flows.restore_tags();
    let whole: Vec<(u32, Option<Session>)> =
        sessions.iter().map(|(index, session)| (index, whole(flows, index, session))).collect();
    for (index, session) in whole {
        match session {
            Some(session) => sessions.update(index, &session),
            None => sessions.remove(index),
        }
    }
    for (index, entry) in flows.iter() {
        let session = sessions.get(entry.session);
        let belongs = session.is_some_and(|session| {
            let place =
                if entry.verdict.flags & REPLY == 0 { session.original_entry } else { session.reply_entry };
            place == index
        });
        if !belongs {
            flows.remove(index, now_ticks);
        }
    }
}

/// The session with both of its entries, wherever a crash left them; none when one is missing.
fn whole(flows: &FlowTable, index: u32, session: Session) -> Option<Session> {
    let entry_of = |key: &FlowKey| {
        let found = flows.lookup(key, flows.hash(key))?;
        (flows.session(found.index) == index).then_some(found.index)
    };
    let (original_entry, reply_entry) = (entry_of(&session.original)?, entry_of(&session.reply)?);
    Some(Session { original_entry, reply_entry, ..session })
}
