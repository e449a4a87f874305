//! A store over another, in which changes are seen and nothing of the other changes.
//!
//! Serves two ends: a dry run looks at what a write would do and drops the preview; a write of several steps makes all
//! of them in a preview, each seeing the ones before, and commits them as one transaction of the store below.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{EventLog, Listing, Operation, Store, StoreError, Stored, Transaction, Watch};

/// A store over another.
pub struct Preview {
    below: Arc<dyn Store>,
    state: Mutex<State>,
    log: Arc<EventLog>,
}

#[derive(Default)]
struct State {
    /// What the store below must still have for the changes to be right.
    conditions: BTreeMap<String, u64>,
    /// Keys that were written: their revision and value; none where they were removed.
    written: BTreeMap<String, (u64, Option<Vec<u8>>)>,
    /// The same keys as they were last written, in that order.
    order: Vec<String>,
}

/// A key that differs between the preview and the store below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key.
    pub key: String,
    /// The value below.
    pub before: Option<Vec<u8>>,
    /// The value in the preview.
    pub after: Option<Vec<u8>>,
}

impl Preview {
    /// A preview that does not differ from `below` yet.
    pub fn new(below: Arc<dyn Store>) -> Arc<Self> {
        let log = EventLog::new(below.revision());
        Arc::new(Self { below, state: Mutex::default(), log })
    }

    /// The store below.
    pub fn below(&self) -> &Arc<dyn Store> {
        &self.below
    }

    /// All changes as one transaction of the store below, on the conditions that they were made under.
    pub fn transaction(&self) -> Transaction {
        let state = self.state();
        let mut transaction = Transaction::default();
        for (key, revision) in &state.conditions {
            transaction.require(key.clone(), *revision);
        }
        for key in &state.order {
            match state.written.get(key) {
                Some((_, Some(value))) => transaction.put(key.clone(), value.clone()),
                Some((_, None)) => transaction.delete(key.clone()),
                None => continue,
            };
        }
        transaction
    }

    /// What differs from the store below, in the order it was written.
    pub fn differences(&self) -> Result<Vec<Difference>, StoreError> {
        let state = self.state();
        let mut differences = Vec::new();
        for key in &state.order {
            let before = self.below.get(key)?.map(|stored| stored.value);
            let after = state.written.get(key).and_then(|(_, value)| value.clone());
            if before != after {
                differences.push(Difference { key: key.clone(), before, after });
            }
        }
        Ok(differences)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, key: &str, revision: u64, value: Option<Vec<u8>>) {
        if self.written.insert(key.to_owned(), (revision, value)).is_some() {
            self.order.retain(|other| other != key);
        }
        self.order.push(key.to_owned());
    }
}

impl Store for Preview {
    fn get(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        let state = self.state();
        match state.written.get(key) {
            Some((revision, value)) => Ok(value.as_ref().map(|value| Stored {
                key: key.to_owned(),
                value: value.clone(),
                revision: *revision,
            })),
            None => self.below.get(key),
        }
    }

    fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let state = self.state();
        let mut entries = self.below.list(prefix)?.entries;
        let written = state.written.range(prefix.to_owned()..);
        let written: Vec<_> = written.take_while(|(key, _)| key.starts_with(prefix)).collect();
        if !written.is_empty() {
            entries.retain(|entry| !state.written.contains_key(&entry.key));
            entries.extend(written.into_iter().filter_map(|(key, (revision, value))| {
                Some(Stored { key: key.clone(), value: value.clone()?, revision: *revision })
            }));
            entries.sort_by(|left, right| left.key.cmp(&right.key));
        }
        Ok(Listing { revision: self.log.revision(), entries })
    }

    fn commit(&self, transaction: &Transaction) -> Result<u64, StoreError> {
        transaction.check_limits()?;
        let mut state = self.state();
        for (key, wanted) in &transaction.conditions {
            let (found, is_below) = match state.written.get(key) {
                Some((revision, Some(_))) => (*revision, false),
                Some((_, None)) => (0, false),
                None => (self.below.get(key)?.map_or(0, |stored| stored.revision), true),
            };
            if found != *wanted {
                return Err(StoreError::Conflict { key: key.clone(), wanted: *wanted, found });
            }
            if is_below {
                state.conditions.insert(key.clone(), found);
            }
        }
        let revision = self.log.revision() + 1;
        for operation in &transaction.operations {
            match operation {
                Operation::Put { key, value } => state.write(key, revision, Some(value.clone())),
                Operation::Delete { key } => state.write(key, revision, None),
            }
        }
        drop(state);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Difference, Preview};
    use crate::store::{MemoryStore, Store, StoreError, Transaction};

    #[test]
    fn steps_see_each_other_and_become_one_transaction() {
        let below: Arc<dyn Store> = Arc::new(MemoryStore::default());
        for key in ["a", "b", "c"] {
            below.commit(Transaction::default().put(key, "1")).unwrap();
        }
        let preview = Preview::new(Arc::clone(&below));
        let second =
            preview.commit(Transaction::default().require("a", 1).put("a", "2").delete("b")).unwrap();
        assert_eq!(preview.get("a").unwrap().unwrap().value, b"2");
        assert_eq!(preview.get("b").unwrap(), None);
        let third =
            Transaction::default().require("a", second).require("d", 0).put("d", "1").put("a", "3").clone();
        preview.commit(&third).unwrap();
        let refused = preview.commit(Transaction::default().require("b", 2).put("b", "9"));
        assert!(matches!(refused, Err(StoreError::Conflict { found: 0, .. })), "{refused:?}");
        let keys: Vec<String> =
            preview.list("").unwrap().entries.into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ["a", "c", "d"]);

        assert_eq!(below.get("a").unwrap().unwrap().value, b"1", "nothing changed below");
        let bytes = |text: &str| Some(text.as_bytes().to_vec());
        let difference = |key: &str, before, after| Difference { key: key.to_owned(), before, after };
        assert_eq!(
            preview.differences().unwrap(),
            [
                difference("b", bytes("1"), None),
                difference("d", None, bytes("1")),
                difference("a", bytes("1"), bytes("3")),
            ]
        );
        let whole = preview.transaction();
        assert_eq!(below.commit(&whole).unwrap(), 4);
        assert_eq!(below.get("a").unwrap().unwrap().value, b"3");
    }

    #[test]
    fn what_others_changed_meanwhile_is_found() {
        let below: Arc<dyn Store> = Arc::new(MemoryStore::default());
        below.commit(Transaction::default().put("a", "1")).unwrap();
        let preview = Preview::new(Arc::clone(&below));
        preview.commit(Transaction::default().require("a", 1).put("b", "1")).unwrap();
        below.commit(Transaction::default().put("a", "2")).unwrap();
        let refused = below.commit(&preview.transaction());
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
        assert_eq!(below.get("b").unwrap(), None);
    }
}
