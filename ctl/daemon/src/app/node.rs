//! Rules of nodes. A host makes its own node and tells its facts, which lie beside the node in the store.

use edgestack_model::node::{NodeAction, NodeFacts, NodeState};
use edgestack_model::{NodeSpec, PortSpec, Spec as _};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::error::AppError;
use super::record::{Entry, object_prefix};
use super::write::Write;
use super::{App, Complete, Noun, Shown};
use crate::store::Store;

/// A host that has not been heard of for so long is away.
pub const OFFLINE_AFTER: SignedDuration = SignedDuration::from_secs(180);

impl Noun for NodeSpec {
    fn resolve(&mut self, _previous: Option<&Self>, _write: &mut Write<'_>) -> Result<(), AppError> {
        self.facts = None;
        Ok(())
    }

    fn before_delete(entry: &Entry<Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        let facts = facts(write.store(), &entry.record.id)?;
        if facts.is_some_and(|facts| state(&entry.record.spec, &facts) != NodeState::Offline) {
            let reason = "its host is there and would make it again; stop edgestackd on it first";
            return Err(AppError::Protected { kind: Self::KIND, name: entry.record.name.clone(), reason });
        }
        write.transaction().delete(facts_key(&entry.record.id));
        Ok(())
    }

    fn only_settable(fields: &mut Map<String, Value>) {
        for key in edgestack_model::node::FACTS {
            fields.remove(key);
        }
    }

    const COMPLETE: Option<Complete<Self>> = Some(|objects, app| {
        for object in objects {
            if let Some(mut facts) = facts(app.store.as_ref(), &object.id)? {
                facts.state = state(&object.spec, &facts);
                object.spec.facts = Some(facts);
            }
        }
        Ok(())
    });
}

impl App {
    /// Does something with a node; says by name which ports are still plugged in on it.
    pub fn act_on_node(
        &self,
        reference: &str,
        action: NodeAction,
        if_match: Option<&str>,
    ) -> Result<(Shown<NodeSpec>, Vec<String>), AppError> {
        let shown = self.update::<NodeSpec>(reference, if_match, |node| {
            let (schedulable, draining) = match action {
                NodeAction::Cordon => (false, node.spec.draining),
                NodeAction::Uncordon => (true, false),
                NodeAction::Drain => (false, true),
            };
            let spec = NodeSpec { schedulable, draining, ..node.spec.clone() };
            Ok(edgestack_model::Draft {
                id: None,
                name: None,
                project: None,
                labels: node.labels.clone(),
                spec,
            })
        })?;
        Ok((shown, plugged_ports(self.store().as_ref())?))
    }
}

/// The names of ports that a workload is plugged into.
pub fn plugged_ports(store: &dyn Store) -> Result<Vec<String>, AppError> {
    let mut names = Vec::new();
    for stored in store.list(&object_prefix::<PortSpec>())?.entries {
        let port = Entry::<PortSpec>::decode(&stored)?.record;
        if port.spec.interface.is_some() {
            names.push(port.name);
        }
    }
    Ok(names)
}

/// Whether there are nodes, and nothing may be placed on any of them.
pub(super) fn all_are_cordoned(store: &dyn Store) -> Result<bool, AppError> {
    let nodes = store.list(&object_prefix::<NodeSpec>())?.entries;
    for stored in &nodes {
        if Entry::<NodeSpec>::decode(stored)?.record.spec.schedulable {
            return Ok(false);
        }
    }
    Ok(!nodes.is_empty())
}

/// Key of what a host tells of itself.
pub fn facts_key(node_id: &str) -> String {
    format!("facts/nodes/{node_id}")
}

fn facts(store: &dyn Store, node_id: &str) -> Result<Option<NodeFacts>, AppError> {
    let stored = store.get(&facts_key(node_id))?;
    // Facts that cannot be read are as good as none: the host tells them anew.
    Ok(stored.and_then(|stored| serde_json::from_slice(&stored.value).ok()))
}

/// What a host can be used for now: what it said, seen with what is wanted of it and how long ago it said so.
fn state(spec: &NodeSpec, facts: &NodeFacts) -> NodeState {
    if Timestamp::now().duration_since(facts.heartbeat_at) > OFFLINE_AFTER {
        return NodeState::Offline;
    }
    match facts.state {
        _ if spec.draining => NodeState::Draining,
        _ if !spec.schedulable => NodeState::Cordoned,
        told => told,
    }
}
