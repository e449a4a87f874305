//! A store in memory, for tests. It forgets everything when dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{EventLog, Listing, Operation, Store, StoreError, Stored, Transaction, Watch};

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    log: Arc<EventLog>,
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    entries: BTreeMap<String, (u64, Vec<u8>)>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { state: Mutex::default(), log: EventLog::new(0) }
    }
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        let state = self.state();
        Ok(state.entries.get(key).map(|(revision, value)| Stored {
            key: key.to_owned(),
            value: value.clone(),
            revision: *revision,
        }))
    }

    fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let state = self.state();
        let from_prefix = state.entries.range(prefix.to_owned()..);
        let entries = from_prefix
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, (revision, value))| Stored {
                key: key.clone(),
                value: value.clone(),
                revision: *revision,
            })
            .collect();
        Ok(Listing { revision: state.revision, entries })
    }

    fn commit(&self, transaction: &Transaction) -> Result<u64, StoreError> {
        transaction.check_limits()?;
        let mut state = self.state();
        for (key, wanted) in &transaction.conditions {
            let found = state.entries.get(key).map_or(0, |(revision, _)| *revision);
            if found != *wanted {
                return Err(StoreError::Conflict { key: key.clone(), wanted: *wanted, found });
            }
        }
        state.revision += 1;
        let revision = state.revision;
        for operation in &transaction.operations {
            match operation {
                Operation::Put { key, value } => {
                    state.entries.insert(key.clone(), (revision, value.clone()));
                }
                Operation::Delete { key } => {
                    state.entries.remove(key);
                }
            }
        }
        self.log.append(revision, transaction);
        Ok(revision)
    }

    fn watch(&self, prefix: &str, revision: u64) -> Watch {
        Watch::new(&self.log, prefix, revision)
    }

    fn revision(&self) -> u64 {
        self.log.revision()
    }
}
