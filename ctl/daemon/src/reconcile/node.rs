//! This host's node: made where there is none, its facts told when they change and once a minute, its status written.
//! Never changes what is wanted of the node.

use std::sync::Arc;
use std::time::Duration;

use edgestack_model::node::{NodeFacts, NodeState};
use edgestack_model::{
    Condition, ConditionStatus, Draft, Labels, NodeSpec, Object, Phase, Spec as _, Status,
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::network::Uplink;
use crate::app::node::{facts_key, plugged_ports};
use crate::app::record::status_key;
use crate::app::{App, AppError, Created};
use crate::config::Config;
use crate::gateway::Gateway;
use crate::host;
use crate::store::Transaction;

/// How often the host is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often it says that it is there, though nothing has changed.
const HEARTBEAT_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// Below so much available memory the host is short of it.
const MEMORY_PERCENT_MIN: u64 = 5;

/// Looks after this host's node.
pub struct NodeAgent {
    app: App,
    gateway: Arc<Gateway>,
    config: Config,
    uplinks: Vec<Uplink>,
    told: Option<NodeFacts>,
    status: Option<Status>,
}

impl NodeAgent {
    /// An agent that has not looked yet.
    pub fn new(app: App, gateway: Arc<Gateway>, config: Config, uplinks: Vec<Uplink>) -> Self {
        Self { app, gateway, config, uplinks, told: None, status: None }
    }

    /// Runs until `stop` says so.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let looked = tokio::task::spawn_blocking(move || {
                let result = self.look();
                (self, result)
            });
            match looked.await {
                Ok((agent, result)) => {
                    self = agent;
                    if let Err(error) = result {
                        tracing::warn!(%error, "the node of this host could not be brought up to date");
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "looking after this host's node has failed");
                    return;
                }
            }
            tokio::select! {
                _ = stop.changed() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Brings the node up to date with the host.
    fn look(&mut self) -> Result<(), AppError> {
        let name = host::node_name(self.config.node.name.as_deref());
        let node = match self.app.get::<NodeSpec>(&name) {
            Ok(shown) => shown.object,
            Err(AppError::NotFound { .. }) => {
                let spec = NodeSpec::default();
                let draft = Draft { id: None, name: Some(name), project: None, labels: Labels::new(), spec };
                match self.app.create(&draft)? {
                    Created::New(shown) | Created::Existing(shown) => shown.object,
                }
            }
            Err(error) => return Err(error),
        };
        let mut facts = host::facts(&self.config, &self.uplinks);
        if !self.gateway.is_running() {
            facts.state = NodeState::NotReady;
        }
        let status = self.status_of(&node)?;
        let mut transaction = Transaction::default();
        if self.is_worth_telling(&facts) {
            transaction.put(facts_key(&node.id), serde_json::to_vec(&facts).unwrap_or_default());
        }
        if self.status.as_ref() != Some(&status) {
            let key = status_key(NodeSpec::KIND.plural(), &node.id);
            transaction.put(key, serde_json::to_vec(&status).unwrap_or_default());
        }
        if !transaction.operations.is_empty() {
            self.app.store().commit(&transaction)?;
        }
        if self.is_worth_telling(&facts) {
            self.told = Some(facts);
        }
        self.status = Some(status);
        Ok(())
    }

    /// Whether something but the time has changed, or it is time for a heartbeat.
    fn is_worth_telling(&self, facts: &NodeFacts) -> bool {
        self.told.as_ref().is_none_or(|told| {
            let as_told = NodeFacts { heartbeat_at: told.heartbeat_at, ..facts.clone() };
            as_told != *told || Timestamp::now().duration_since(told.heartbeat_at) >= HEARTBEAT_EVERY
        })
    }

    fn status_of(&self, node: &Object<NodeSpec>) -> Result<Status, AppError> {
        let running = self.gateway.is_running();
        let mut conditions = vec![if running {
            condition("Ready", true, "Heartbeat", String::new())
        } else {
            condition("Ready", false, "DataplaneOff", "the dataplane does not run on this host".to_owned())
        }];
        let available = host::memory_available_percent();
        if let Some(percent) = available.filter(|percent| *percent < MEMORY_PERCENT_MIN) {
            let message = format!("{percent} percent of the memory are available");
            conditions.push(condition("MemoryPressure", true, "LittleMemory", message));
        }
        if node.spec.draining {
            let plugged = plugged_ports(self.app.store().as_ref())?;
            conditions.push(if plugged.is_empty() {
                condition("Drained", true, "NothingLeft", String::new())
            } else {
                let message =
                    format!("{} ports are plugged in; take their workloads elsewhere", plugged.len());
                condition("Drained", false, "PortsPlugged", message)
            });
        }
        let phase = match (running, node.spec.schedulable) {
            (false, _) => Phase::Pending,
            (true, true) => Phase::Active,
            (true, false) => Phase::Down,
        };
        Ok(Status { phase, observed_generation: node.generation, conditions })
    }
}

fn condition(kind: &str, holds: bool, reason: &str, message: String) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: if holds { ConditionStatus::True } else { ConditionStatus::False },
        reason: reason.to_owned(),
        message,
    }
}
