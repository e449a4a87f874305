//! The embedded store of one host: a single file, kept by redb.
//!
//! A commit returns after redb has synced it, so an acknowledged change survives the end of the process and of the
//! machine at any instant. One process has the file open at a time.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::{EventLog, Listing, Operation, SCHEMA_VERSION, Store, StoreError, Stored, Transaction, Watch};

/// Values, each behind the revision that wrote it (8 bytes, little endian).
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
/// Facts about the store itself.
const PROPERTIES: TableDefinition<'_, &str, u64> = TableDefinition::new("properties");
const SCHEMA: &str = "schema_version";
const REVISION: &str = "revision";
/// Memory that redb may use to cache pages.
const CACHE_BYTES: usize = 32 << 20;

/// A store in a file.
pub struct RedbStore {
    database: Database,
    path: String,
    log: Arc<EventLog>,
    /// Held over a commit and its entry in the log, so that both have the same order.
    commit: Mutex<()>,
}

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the store at `path`, which is made where there is none.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path_text = path.display().to_string();
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let database = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path_text.clone() },
            other => {
                StoreError::Backend { path: path_text.clone(), action: "be opened", source: Box::new(other) }
            }
        })?;
        let mut store = Self { database, path: path_text, log: EventLog::new(0), commit: Mutex::new(()) };
        let revision = store.prepare().map_err(|error| store.failed("be prepared", error))?;
        match revision {
            Ok(revision) => store.log = EventLog::new(revision),
            Err(found) => {
                return Err(StoreError::NewerSchema { path: store.path, found, known: SCHEMA_VERSION });
            }
        }
        Ok(store)
    }

    /// Makes the tables and returns the revision, or the schema version where this program does not know it.
    fn prepare(&self) -> Result<Result<u64, u64>, redb::Error> {
        let transaction = self.database.begin_write()?;
        let revision = {
            transaction.open_table(ENTRIES)?;
            let mut properties = transaction.open_table(PROPERTIES)?;
            let schema = properties.get(SCHEMA)?.map(|version| version.value());
            match schema {
                Some(found) if found > SCHEMA_VERSION => return Ok(Err(found)),
                Some(_) => {}
                None => {
                    properties.insert(SCHEMA, SCHEMA_VERSION)?;
                }
            }
            properties.get(REVISION)?.map_or(0, |revision| revision.value())
        };
        transaction.commit()?;
        Ok(Ok(revision))
    }

    fn failed(&self, action: &'static str, error: impl Into<redb::Error>) -> StoreError {
        StoreError::Backend { path: self.path.clone(), action, source: Box::new(error.into()) }
    }

    fn read(&self, key: &str) -> Result<Option<Stored>, redb::Error> {
        let entries = self.database.begin_read()?.open_table(ENTRIES)?;
        Ok(entries.get(key)?.map(|value| decode(key, value.value())))
    }

    fn read_prefix(&self, prefix: &str) -> Result<Listing, redb::Error> {
        let transaction = self.database.begin_read()?;
        let entries = transaction.open_table(ENTRIES)?;
        let properties = transaction.open_table(PROPERTIES)?;
        let revision = properties.get(REVISION)?.map_or(0, |revision| revision.value());
        let mut listing = Listing { revision, entries: Vec::new() };
        for entry in entries.range(prefix..)? {
            let (key, value) = entry?;
            if !key.value().starts_with(prefix) {
                break;
            }
            listing.entries.push(decode(key.value(), value.value()));
        }
        Ok(listing)
    }

    /// The new revision, or the condition that does not hold.
    fn write(&self, transaction: &Transaction) -> Result<Result<u64, StoreError>, redb::Error> {
        let write = self.database.begin_write()?;
        let revision = {
            let mut entries = write.open_table(ENTRIES)?;
            for (key, wanted) in &transaction.conditions {
                let found = entries.get(key.as_str())?.map_or(0, |value| decode_revision(value.value()));
                if found != *wanted {
                    let key = key.clone();
                    return Ok(Err(StoreError::Conflict { key, wanted: *wanted, found }));
                }
            }
            let mut properties = write.open_table(PROPERTIES)?;
            let revision = properties.get(REVISION)?.map_or(0, |revision| revision.value()) + 1;
            properties.insert(REVISION, revision)?;
            apply(&mut entries, revision, &transaction.operations)?;
            revision
        };
        write.commit()?;
        Ok(Ok(revision))
    }
}

fn apply(
    entries: &mut redb::Table<'_, &str, &[u8]>,
    revision: u64,
    operations: &[Operation],
) -> Result<(), redb::Error> {
    for operation in operations {
        match operation {
            Operation::Put { key, value } => {
                let mut encoded = Vec::with_capacity(8 + value.len());
                encoded.extend_from_slice(&revision.to_le_bytes());
                encoded.extend_from_slice(value);
                entries.insert(key.as_str(), encoded.as_slice())?;
            }
            Operation::Delete { key } => {
                entries.remove(key.as_str())?;
            }
        }
    }
    Ok(())
}

fn decode(key: &str, encoded: &[u8]) -> Stored {
    let value = encoded.get(8..).unwrap_or_default().to_vec();
    Stored { key: key.to_owned(), value, revision: decode_revision(encoded) }
}

fn decode_revision(encoded: &[u8]) -> u64 {
    encoded.first_chunk().copied().map_or(0, u64::from_le_bytes)
}

impl Store for RedbStore {
    fn get(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        self.read(key).map_err(|error| self.failed("be read", error))
    }

    fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.read_prefix(prefix).map_err(|error| self.failed("be read", error))
    }

    fn commit(&self, transaction: &Transaction) -> Result<u64, StoreError> {
        transaction.check_limits()?;
        let _ordered = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        let revision = self.write(transaction).map_err(|error| self.failed("be written", error))??;
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
