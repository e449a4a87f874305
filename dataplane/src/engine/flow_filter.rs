//! Which connections are meant: for showing some of them, and for ending them.

use std::net::IpAddr;
use std::ops::{ControlFlow, Range};

use edgestack_abi::Session;
use hashbrown::HashSet;

use super::{Engine, SlowPath};
use crate::connection::ConnectionState;
use crate::inspect::FlowFilter;
use crate::snapshot::{Port, Snapshot};
use crate::tuple::Tuples;
use crate::wire::protocol_number;

/// The project of ports whose names tell none.
const DEFAULT_PROJECT: &str = "default";

/// Why a filter means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowFilterError {
    /// The protocol is none.
    #[error("protocol: `{0}` is no protocol that has a name here; write its number, 0 to 255")]
    Protocol(String),
    /// No connection is ever in this state.
    #[error("state: `{0}` is none of {1}")]
    State(String, String),
    /// There is no such port.
    #[error("port: there is no port `{0}`")]
    Port(String),
}

/// A filter, looked up in the configuration.
struct Compiled {
    protocol: Option<u8>,
    address: Option<IpAddr>,
    transport_port: Option<u16>,
    state: Option<String>,
    /// Numbers of ports of which one is the connection's.
    ports: [Option<HashSet<u16>>; 2],
}

impl Compiled {
    fn new(filter: &FlowFilter, snapshot: &Snapshot) -> Result<Self, FlowFilterError> {
        let protocol = filter
            .protocol
            .as_ref()
            .map(|name| protocol_number(name).ok_or_else(|| FlowFilterError::Protocol(name.clone())))
            .transpose()?;
        let state = filter.state.as_ref().map(|state| state.to_ascii_lowercase());
        if let Some(state) = state.as_ref().filter(|state| !ConnectionState::LABELS.contains(&state.as_str()))
        {
            return Err(FlowFilterError::State(state.clone(), ConnectionState::LABELS.join(", ")));
        }
        let numbers = |is_meant: &dyn Fn(&Port) -> bool| -> HashSet<u16> {
            snapshot.ports().filter(|port| is_meant(port)).map(|port| port.number).collect()
        };
        let named = filter.port.as_ref().map(|name| {
            let found = numbers(&|port| port.name == *name || port.id == *name);
            if found.is_empty() { Err(FlowFilterError::Port(name.clone())) } else { Ok(found) }
        });
        let of_project = filter
            .project
            .as_ref()
            .map(|project| numbers(&|port| port.workload.is_some() && project_of(&port.name) == project));
        let ports = [named.transpose()?, of_project];
        let (address, transport_port) = (filter.address, filter.transport_port);
        Ok(Self { protocol, address, transport_port, state, ports })
    }

    fn means(&self, session: &Session, tuples: &Tuples) -> bool {
        let Tuples { original, reply } = tuples;
        let addresses = [original.source, original.destination, reply.source, reply.destination];
        let transport_ports =
            [original.source_port, original.destination_port, reply.source_port, reply.destination_port];
        let state = ConnectionState::from_number(session.state).label(original.protocol);
        self.protocol.is_none_or(|protocol| protocol == original.protocol)
            && self.address.is_none_or(|address| addresses.contains(&address))
            && self.transport_port.is_none_or(|port| transport_ports.contains(&port.to_be()))
            && self.state.as_ref().is_none_or(|wanted| wanted == state)
            && self
                .ports
                .iter()
                .flatten()
                .all(|ports| ports.contains(&original.in_port) || ports.contains(&reply.in_port))
    }
}

/// What is before a slash is the project.
fn project_of(name: &str) -> &str {
    name.split_once('/').map_or(DEFAULT_PROJECT, |(project, _)| project)
}

impl Engine {
    /// The numbers of at most `limit` sessions that a filter means.
    pub(super) fn sessions_meant(
        &self,
        filter: &FlowFilter,
        limit: usize,
    ) -> Result<Vec<(u32, Session)>, FlowFilterError> {
        let compiled = Compiled::new(filter, &self.snapshot.load())?;
        let mut meant = Vec::new();
        self.in_slices(|slow, slice| {
            meant.extend(self.meant(slow, slice, &compiled).take(limit - meant.len()));
            if meant.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        Ok(meant)
    }

    /// Ends the connections that a filter means, each in both tiers at once; how many that were. Those that allow it open again
    /// with their next packet.
    pub fn clear_flows(&self, filter: &FlowFilter) -> Result<u64, FlowFilterError> {
        let compiled = Compiled::new(filter, &self.snapshot.load())?;
        let mut ended = 0;
        self.in_slices(|slow, slice| {
            let meant: Vec<u32> = self.meant(slow, slice, &compiled).map(|(index, _)| index).collect();
            let now_ticks = self.now_ticks();
            for index in &meant {
                self.end_session(slow, *index, now_ticks);
            }
            ended += meant.len() as u64;
            slow.revoked += meant.len() as u64;
            ControlFlow::Continue(())
        });
        Ok(ended)
    }

    /// The sessions of a slice that are meant.
    fn meant<'a>(
        &'a self,
        slow: &'a SlowPath,
        slice: Range<u32>,
        compiled: &'a Compiled,
    ) -> impl Iterator<Item = (u32, Session)> + 'a {
        let sessions = slice.filter_map(|index| Some((index, slow.sessions.get(index)?)));
        sessions.filter(|(index, session)| compiled.means(session, &self.flows.tuples(*index, session)))
    }
}
