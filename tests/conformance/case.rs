//! A conformance case: a file that says what is configured, what packets come in, and what must happen.
//!
//! Reads and checks files; runs nothing. `tests/conformance/README.md` explains the format to its writers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgestack_dataplane::address::MacAddress;
use edgestack_dataplane::config::{Config, Id};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Largest number of ticks that one step may let pass.
pub(crate) const MAX_ADVANCE_MS: u64 = 3 * 60 * 60 * 1000;

/// Why a case could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaseError {
    /// The file is missing or unreadable.
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// The file is not what the format says.
    #[error("{path}: {message}")]
    Parse { path: PathBuf, message: String },
}

/// One case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Equal to the file's name without `.yaml`.
    pub(crate) name: String,
    /// What holds, in a sentence or two.
    pub(crate) description: String,
    /// Where the demand comes from: an RFC and its requirement, `bug N` of the predecessor, or a scenario.
    pub(crate) source: Vec<String>,
    /// Name of the file in `topologies/` that the configuration starts from.
    pub(crate) topology: String,
    /// How the configuration differs from the topology.
    #[serde(default)]
    pub(crate) config: Patch,
    /// Fewest packets that tier 0 must forward when the case runs with it.
    #[serde(default)]
    pub(crate) tier0_hits: u64,
    /// Why the case is not run with restarts: it is about what an engine forgets (neighbours, packets that wait).
    #[serde(default)]
    pub(crate) no_restart: Option<String>,
    /// Settings of the engine that differ from the defaults.
    #[serde(default)]
    pub(crate) settings: Settings,
    /// What happens.
    pub(crate) timeline: Vec<Step>,
}

/// Settings of the engine.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Segments in mid-flow open connections.
    pub(crate) tcp_pickup: bool,
}

/// A configuration that several cases start from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topology {
    /// What it is, for people.
    #[serde(rename = "description")]
    _description: String,
    /// Hosts that the configuration does not know of, as names for packets.
    #[serde(default)]
    pub(crate) hosts: Vec<Host>,
    /// The configuration.
    pub(crate) config: Config,
}

/// A host outside.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Host {
    /// Name in packets.
    pub(crate) name: String,
    /// Its MAC address.
    pub(crate) mac_address: MacAddress,
    /// Its address.
    pub(crate) ip_address: Ipv4Addr,
    /// Its IPv6 address.
    #[serde(default)]
    pub(crate) ipv6_address: Option<Ipv6Addr>,
}

/// A change of configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Patch {
    /// Identifiers of objects that go.
    pub(crate) remove: Vec<Id>,
    /// Objects that come, or take the place of those with the same identifier.
    pub(crate) set: Config,
}

/// One step: something happens, and all that leaves because of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Step {
    /// Why this step is there, for people; printed when it fails.
    pub(crate) note: String,
    /// Packets by the port that they come in by. A list comes in as one batch.
    pub(crate) send: BTreeMap<Id, OneOrMany>,
    /// Time that passes.
    pub(crate) advance_ms: u64,
    /// The configuration changes.
    pub(crate) config: Option<Patch>,
    /// Every packet that leaves, by port, in order. What is not listed must not leave.
    pub(crate) expect: BTreeMap<Id, OneOrMany>,
    /// Ports whose packets are not looked at in this step.
    pub(crate) unchecked: Vec<Id>,
    /// Reasons that are counted, one for each packet dropped; `any` is one drop for whatever reason, `any?` is
    /// whatever number. Left out, nothing may be dropped.
    pub(crate) drop: OneOrMany,
    /// Number of sessions after the step.
    pub(crate) sessions: Option<u64>,
}

/// A text or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    /// A single text.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    /// The texts.
    pub(crate) fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

impl Case {
    /// Reads a case and its topology; the case's own change of configuration is applied.
    pub(crate) fn load(path: &Path, topologies: &Path) -> Result<(Self, Topology), CaseError> {
        let case: Self = load(path)?;
        let refuse = |message: String| CaseError::Parse { path: path.to_owned(), message };
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        if case.name != stem {
            return Err(refuse(format!("`name: {}` is not the name of the file", case.name)));
        }
        if case.source.is_empty() || case.description.is_empty() || case.timeline.is_empty() {
            return Err(refuse("`source`, `description` and `timeline` must not be empty".to_owned()));
        }
        let mut topology: Topology = load(&topologies.join(format!("{}.yaml", case.topology)))?;
        case.config.apply(&mut topology.config).map_err(refuse)?;
        Ok((case, topology))
    }

    /// What a case says that it proves.
    pub(crate) fn sources(path: &Path) -> Result<Vec<String>, CaseError> {
        Ok(load::<Self>(path)?.source)
    }
}

/// Reads a file of YAML.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<T, CaseError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| CaseError::Read { path: path.to_owned(), source })?;
    serde_saphyr::from_str(&text)
        .map_err(|error| CaseError::Parse { path: path.to_owned(), message: error.to_string() })
}

impl Patch {
    /// Changes a configuration. Refuses to remove what is not there.
    pub(crate) fn apply(&self, config: &mut Config) -> Result<(), String> {
        for id in &self.remove {
            let before = count(config);
            config.networks.retain(|object| &object.id != id);
            config.ports.retain(|object| &object.id != id);
            config.routers.retain(|object| &object.id != id);
            config.floating_ips.retain(|object| &object.id != id);
            config.load_balancers.retain(|object| &object.id != id);
            config.security_groups.retain(|object| &object.id != id);
            config.address_groups.retain(|object| &object.id != id);
            config.nat_pools.retain(|object| &object.id != id);
            config.port_forwards.retain(|object| &object.id != id);
            if count(config) == before {
                return Err(format!("`remove: {id}`: no object has this id"));
            }
        }
        let set = self.set.clone();
        merge(&mut config.networks, set.networks, |object| &object.id);
        merge(&mut config.ports, set.ports, |object| &object.id);
        merge(&mut config.routers, set.routers, |object| &object.id);
        merge(&mut config.floating_ips, set.floating_ips, |object| &object.id);
        merge(&mut config.load_balancers, set.load_balancers, |object| &object.id);
        merge(&mut config.security_groups, set.security_groups, |object| &object.id);
        merge(&mut config.address_groups, set.address_groups, |object| &object.id);
        merge(&mut config.nat_pools, set.nat_pools, |object| &object.id);
        merge(&mut config.port_forwards, set.port_forwards, |object| &object.id);
        config.overlay = set.overlay.or(config.overlay.take());
        Ok(())
    }
}

fn count(config: &Config) -> usize {
    config.networks.len()
        + config.ports.len()
        + config.routers.len()
        + config.floating_ips.len()
        + config.load_balancers.len()
        + config.security_groups.len()
        + config.address_groups.len()
        + config.nat_pools.len()
        + config.port_forwards.len()
}

fn merge<T>(objects: &mut Vec<Arc<T>>, changes: Vec<Arc<T>>, id: impl Fn(&T) -> &Id) {
    for change in changes {
        match objects.iter_mut().find(|object| id(object) == id(&change)) {
            Some(object) => *object = change,
            None => objects.push(change),
        }
    }
}
