//! Taking over the tables of an engine before: after a restart, a crash or an upgrade.
//!
//! The flows, their counters, the translations and the TCP states are in shared memory and simply stay. What an engine
//! keeps besides them (free numbers, ports in use) is made anew from the sessions, and what a crash left half done is
//! removed.

use arc_swap::ArcSwap;
use edgestack_abi::FlowKey;
use edgestack_abi::Session;
use edgestack_abi::flow::REPLY;
use edgestack_abi::session::SESSION_SNAT;

use super::{Engine, EngineError, EngineSettings, RateWindow, SlowPath};
use crate::snapshot::Snapshot;
use crate::tables::control::ControlRecord;
use crate::tables::flow_table::{EntryIndex, FlowTable};
use crate::tables::neighbour_table::NeighbourTable;
use crate::tables::port_allocator::{Endpoint, PortAllocator};
use crate::tables::port_table::PortTable;
use crate::tables::region::Regions;
use crate::tables::session_table::SessionTable;

/// An engine over `regions` with all that they hold.
pub(super) fn engine(regions: Regions, settings: EngineSettings) -> Result<Engine, EngineError> {
    let control = ControlRecord::new(regions.control);
    let record = control.get();
    let expected = record.bucket_mask as usize + 1;
    if regions.flows.len() != expected {
        return Err(EngineError::TableSize { buckets: regions.flows.len(), expected });
    }
    let flows = FlowTable::new(regions.flows, regions.flow_tags, record.hash_seed);
    let mut sessions = SessionTable::new(regions.sessions);
    let allocator = recover(&flows, &mut sessions, record.now_ticks);
    let ports = PortTable::new(regions.ports);
    let slow = SlowPath {
        sessions,
        allocator,
        neighbours: NeighbourTable::default(),
        bindings: hashbrown::HashMap::new(),
        announcements: Vec::new(),
        new_flows: vec![RateWindow::default(); usize::from(ports.capacity())],
        icmp_errors: RateWindow::default(),
        random: record.hash_seed | 1,
        sweep_position: 0,
        created: 0,
        expired: 0,
        evicted: 0,
        revoked: 0,
    };
    Ok(Engine {
        settings,
        snapshot: ArcSwap::from_pointee(Snapshot::default()),
        flows,
        ports,
        control,
        port_by_interface: regions.port_by_interface,
        slow: slow.into(),
        neighbour_version: 0.into(),
        workers: Vec::new().into(),
    })
}

/// Removes what is not whole and finds the translated ports in use.
fn recover(flows: &FlowTable, sessions: &mut SessionTable, now_ticks: u32) -> PortAllocator {
    let mut allocator = PortAllocator::default();
    let broken: Vec<u32> = sessions
        .iter()
        .filter(|(index, session)| !is_whole(flows, *index, session))
        .map(|(index, _)| index)
        .collect();
    for index in broken {
        sessions.remove(index);
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
    flows.restore_tags();
    for (_, session) in sessions.iter().filter(|(_, session)| session.kind & SESSION_SNAT != 0) {
        let (endpoint, port) = translated_port(&session);
        allocator.take(endpoint, port);
    }
    allocator
}

fn is_whole(flows: &FlowTable, index: u32, session: &Session) -> bool {
    let holds = |entry: EntryIndex, key: &FlowKey| {
        flows.lookup(key, flows.hash(key)).is_some_and(|found| found.index == entry)
            && flows.entry(entry).session == index
    };
    holds(session.original_entry, &session.original) && holds(session.reply_entry, &session.reply)
}

/// The translated port that a session with `SESSION_SNAT` holds.
pub(super) fn translated_port(session: &Session) -> (Endpoint, u16) {
    let reply = &session.reply;
    let endpoint = Endpoint {
        external: reply.destination,
        remote: reply.source,
        remote_port: reply.source_port,
        protocol: reply.protocol,
    };
    (endpoint, u16::from_be(reply.destination_port))
}
