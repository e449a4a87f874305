//! Where desired state is kept: a small store with the semantics of etcd.
//!
//! Keys are texts, values are bytes, every commit raises one revision for the whole store. A [`Transaction`] holds
//! over several keys: either all of its conditions hold and all of its operations happen, or nothing does. What was
//! acknowledged survives `kill -9` and power loss. Readers of changes [watch](Store::watch) from a revision; the log
//! of changes is bounded, and who falls behind it is told to read everything again.
//!
//! Nothing here knows what the values mean; `app/` does, and it is the only caller besides the reconcilers' reads.

use std::path::Path;

pub mod backup;
mod event_log;
mod memory;
mod migrate;
mod preview;
mod redb;

#[cfg(test)]
mod tests;

pub use event_log::{Compacted, Event, EventLog, Watch};
pub use memory::MemoryStore;
pub use migrate::MigrationError;
pub use preview::{Difference, Preview};
pub use redb::RedbStore;

/// Operations of one transaction.
pub const OPERATIONS_MAX: usize = 8192;
/// Bytes of one value.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// The layout of keys and values that this program writes.
pub const SCHEMA_VERSION: u64 = migrate::NEWEST;

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// Revision of the commit that last wrote it.
    pub revision: u64,
}

/// Keys with a common prefix, in order, as they were at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The revision of the store that the entries are from.
    pub revision: u64,
    /// The entries, sorted by key.
    pub entries: Vec<Stored>,
}

/// Changes that happen together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Revisions that keys must still have; 0 stands for a key that does not exist.
    pub conditions: Vec<(String, u64)>,
    /// What to do.
    pub operations: Vec<Operation>,
}

/// One change of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writes a value.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
    },
    /// Removes a key; nothing happens where there is none.
    Delete {
        /// The key.
        key: String,
    },
}

impl Transaction {
    /// Demands that `key` was last written at `revision` (0: that it does not exist).
    pub fn require(&mut self, key: impl Into<String>, revision: u64) -> &mut Self {
        self.conditions.push((key.into(), revision));
        self
    }

    /// Writes a value.
    pub fn put(&mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.operations.push(Operation::Put { key: key.into(), value: value.into() });
        self
    }

    /// Removes a key.
    pub fn delete(&mut self, key: impl Into<String>) -> &mut Self {
        self.operations.push(Operation::Delete { key: key.into() });
        self
    }

    /// Refuses what no back end would take.
    fn check_limits(&self) -> Result<(), StoreError> {
        if self.operations.len() > OPERATIONS_MAX {
            return Err(StoreError::TooLarge {
                what: "operations of one transaction",
                size: self.operations.len(),
                limit: OPERATIONS_MAX,
            });
        }
        for operation in &self.operations {
            if let Operation::Put { value, .. } = operation
                && value.len() > VALUE_BYTES_MAX
            {
                return Err(StoreError::TooLarge {
                    what: "bytes of one value",
                    size: value.len(),
                    limit: VALUE_BYTES_MAX,
                });
            }
        }
        Ok(())
    }
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A condition of the transaction does not hold; nothing was changed.
    #[error("`{key}` is at revision {found}, not {wanted}")]
    Conflict {
        /// The key of the condition.
        key: String,
        /// The revision that it should have had.
        wanted: u64,
        /// The revision that it has.
        found: u64,
    },
    /// A limit was exceeded; nothing was changed.
    #[error("{size} {what} are more than the limit of {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        size: usize,
        /// How much there may be.
        limit: usize,
    },
    /// There is a store where one was to be made.
    #[error("there is a store at {path} already")]
    Exists {
        /// The file.
        path: String,
    },
    /// Another process has the store open.
    #[error("the store {path} is open in another process: is edgestackd running already?")]
    InUse {
        /// The file.
        path: String,
    },
    /// The store was written by a newer program.
    #[error(
        "the store {path} has schema version {found}, this edgestackd knows up to {known}: run the newer one"
    )]
    NewerSchema {
        /// The file.
        path: String,
        /// Its version.
        found: u64,
        /// The newest version that this program knows.
        known: u64,
    },
    /// The store was written by an older program, and could not be brought to the layout of this one.
    #[error("the store {path} cannot be brought to this edgestackd's layout; it stays as it was")]
    Migration {
        /// The file.
        path: String,
        /// Why.
        source: MigrationError,
    },
    /// Reading or writing failed.
    #[error("the store {path} failed to {action}")]
    Backend {
        /// The file.
        path: String,
        /// What was tried.
        action: &'static str,
        /// What the engine said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Brings the name of a file to the disk: that its content is there is not enough after a power loss.
fn sync_directory_of(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// A store. `redb` on disk is the one of a single host; the one in memory serves tests.
pub trait Store: Send + Sync {
    /// The value of one key.
    fn get(&self, key: &str) -> Result<Option<Stored>, StoreError>;

    /// All keys that start with `prefix`.
    fn list(&self, prefix: &str) -> Result<Listing, StoreError>;

    /// Does all of `transaction` or nothing, and returns the new revision. When it returns, the change is durable.
    fn commit(&self, transaction: &Transaction) -> Result<u64, StoreError>;

    /// Changes of keys that start with `prefix`, from the first after `revision` on.
    fn watch(&self, prefix: &str, revision: u64) -> Watch;

    /// The revision of the last commit.
    fn revision(&self) -> u64;
}
