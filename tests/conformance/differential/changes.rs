//! The configuration of a run: a topology, and changes of it that come and go.

use std::path::Path;

use edgestack_dataplane::config::Config;
use serde::Deserialize;

use super::random::Random;
use crate::case::{self, CaseError, Host, Patch, Topology};

/// The file `differential.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Name of the topology.
    topology: String,
    /// What may change, in the order in which it is applied.
    changes: Vec<Patch>,
}

/// The configuration as it is now.
pub(super) struct Changes {
    topology: Topology,
    patches: Vec<(Patch, bool)>,
    config: Config,
}

impl Changes {
    /// The topology, without any change.
    pub(super) fn load(root: &Path) -> Result<Self, CaseError> {
        let file: File = case::load(&root.join("differential.yaml"))?;
        let topology: Topology =
            case::load(&root.join("topologies").join(format!("{}.yaml", file.topology)))?;
        let config = topology.config.clone();
        Ok(Self { topology, patches: file.changes.into_iter().map(|patch| (patch, false)).collect(), config })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn hosts(&self) -> &[Host] {
        &self.topology.hosts
    }

    /// Makes a change, or takes it back.
    pub(super) fn change(&mut self, random: &mut Random) -> Result<(), String> {
        let index = random.below(self.patches.len() as u64) as usize;
        let is_made = &mut self.patches[index].1;
        *is_made = !*is_made;
        self.config = self.topology.config.clone();
        for (patch, _) in self.patches.iter().filter(|(_, is_made)| *is_made) {
            patch.apply(&mut self.config)?;
        }
        Ok(())
    }
}
