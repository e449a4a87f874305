//! The embedded store of one host: a single file, kept by redb.
//!
//! A commit returns after redb has synced it, so an acknowledged change survives the end of the process and of the
//! machine at any instant. One process has the file open at a time.
//!
//! After an input or output error redb refuses everything until the file is opened again, which is done at once: when
//! there is space again, or the disk answers again, so does the store.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::backup::Backup;
use super::migrate::{self, MigrationError};
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
    /// None while it could not be opened again.
    database: RwLock<Option<Database>>,
    file: PathBuf,
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
        let is_new = !path.exists();
        let database = builder().create(path).map_err(|error| cannot_open(path, error))?;
        if is_new {
            let failed = |error: std::io::Error| redb::Error::Io(error);
            super::sync_directory_of(path).map_err(|source| StoreError::Backend {
                path: path_text.clone(),
                action: "be made",
                source: Box::new(failed(source)),
            })?;
        }
        let mut store = Self {
            database: RwLock::new(Some(database)),
            file: path.to_owned(),
            path: path_text,
            log: EventLog::new(0),
            commit: Mutex::new(()),
        };
        let prepared = {
            let database = store.database.read().unwrap_or_else(PoisonError::into_inner);
            database.as_ref().map_or(Ok(Ok(0)), prepare)
        };
        match prepared {
            Ok(Ok(revision)) => store.log = EventLog::new(revision),
            Ok(Err(found)) => {
                return Err(StoreError::NewerSchema { path: store.path, found, known: SCHEMA_VERSION });
            }
            Err(MigrationError::Backend(error)) => return Err(store.failed("be prepared", error)),
            Err(source) => return Err(StoreError::Migration { path: store.path, source }),
        }
        Ok(store)
    }

    /// Makes the store at `path` from a backup: whole, or not at all, in place of one that is there if `replace` says so. Its revisions go on after those that there were, so that
    /// no entity tag of before stands for something else.
    pub fn restore(path: &Path, backup: &Backup, replace: bool) -> Result<(), StoreError> {
        let path_text = path.display().to_string();
        if path.exists() && !replace {
            return Err(StoreError::Exists { path: path_text });
        }
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Backend {
            path: path_text.clone(),
            action: "be restored",
            source,
        };
        let partial = path.with_extension("restoring");
        match std::fs::remove_file(&partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error.into())),
            _ => {}
        }
        fill(&partial, backup).map_err(|error| failed(error.into()))?;
        std::fs::rename(&partial, path)
            .and_then(|()| super::sync_directory_of(path))
            .map_err(|error| failed(error.into()))
    }

    /// Works with the database; one that failed is opened again, for the next time.
    fn with<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.reopen()?;
        }
        let failure = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            match database.as_ref().map(work) {
                Some(Err(error @ (redb::Error::Io(_) | redb::Error::PreviousIo))) => error,
                Some(result) => return result.map_err(|error| self.failed(action, error)),
                None => redb::Error::PreviousIo,
            }
        };
        tracing::error!(path = self.path, error = %failure, "the store failed; it is opened again");
        self.reopen()?;
        Err(self.failed(action, failure))
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // Two handles of one file cannot be.
        *database = None;
        // A file that is not there is not made: an empty store would take everything away.
        let opened = builder().open(&self.file).map_err(|error| cannot_open(&self.file, error))?;
        *database = Some(opened);
        Ok(())
    }

    fn failed(&self, action: &'static str, error: impl Into<redb::Error>) -> StoreError {
        StoreError::Backend { path: self.path.clone(), action, source: Box::new(error.into()) }
    }

    /// After a commit that failed: whether it took effect all the same.
    fn has_reached(&self, revision: u64) -> bool {
        self.with("be read", |database| read_prefix(database, " "))
            .is_ok_and(|found| found.revision == revision)
    }
}

/// Makes a store of what a backup holds, in the layout that it was written in.
fn fill(path: &Path, backup: &Backup) -> Result<(), redb::Error> {
    let write = builder().create(path)?.begin_write()?;
    {
        let mut entries = write.open_table(ENTRIES)?;
        for Stored { key, value, revision } in &backup.entries {
            entries.insert(key.as_str(), encode(*revision, value).as_slice())?;
        }
        let mut properties = write.open_table(PROPERTIES)?;
        properties.insert(SCHEMA, backup.header.schema_version)?;
        properties.insert(REVISION, backup.header.revision + 1)?;
    }
    Ok(write.commit()?)
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn cannot_open(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.display().to_string();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path },
        other => StoreError::Backend { path, action: "be opened", source: Box::new(other) },
    }
}

/// Makes the tables, brings them to the layout of this program, and returns the revision, or the schema version where
/// this program does not know it.
fn prepare(database: &Database) -> Result<Result<u64, u64>, MigrationError> {
    let transaction = database.begin_write().map_err(redb::Error::from)?;
    let revision = {
        let mut entries = transaction.open_table(ENTRIES).map_err(redb::Error::from)?;
        let mut properties = transaction.open_table(PROPERTIES).map_err(redb::Error::from)?;
        let property = |name| match properties.get(name) {
            Ok(value) => Ok(value.map(|value| value.value())),
            Err(error) => Err(redb::Error::from(error)),
        };
        let revision = property(REVISION)?.unwrap_or_default();
        match property(SCHEMA)? {
            Some(found) if found > SCHEMA_VERSION => return Ok(Err(found)),
            Some(SCHEMA_VERSION) => {}
            older => {
                if let Some(version) = older {
                    tracing::info!(version, to = SCHEMA_VERSION, "the store is brought to the newer layout");
                    migrate::migrate(&mut entries, version)?;
                }
                properties.insert(SCHEMA, SCHEMA_VERSION).map_err(redb::Error::from)?;
            }
        }
        revision
    };
    transaction.commit().map_err(redb::Error::from)?;
    Ok(Ok(revision))
}

fn read(database: &Database, key: &str) -> Result<Option<Stored>, redb::Error> {
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    Ok(entries.get(key)?.map(|value| decode(key, value.value())))
}

fn read_prefix(database: &Database, prefix: &str) -> Result<Listing, redb::Error> {
    let transaction = database.begin_read()?;
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
fn write(database: &Database, transaction: &Transaction) -> Result<Result<u64, StoreError>, redb::Error> {
    let write = database.begin_write()?;
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
fn apply(
    entries: &mut redb::Table<'_, &str, &[u8]>,
    revision: u64,
    operations: &[Operation],
) -> Result<(), redb::Error> {
    for operation in operations {
        match operation {
            Operation::Put { key, value } => {
                entries.insert(key.as_str(), encode(revision, value).as_slice())?;
            }
            Operation::Delete { key } => {
                entries.remove(key.as_str())?;
            }
        }
    }
    Ok(())
}

fn encode(revision: u64, value: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(8 + value.len());
    encoded.extend_from_slice(&revision.to_le_bytes());
    encoded.extend_from_slice(value);
    encoded
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
        self.with("be read", |database| read(database, key))
    }

    fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.with("be read", |database| read_prefix(database, prefix))
    }

    fn commit(&self, transaction: &Transaction) -> Result<u64, StoreError> {
        transaction.check_limits()?;
        let _ordered = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.log.revision() + 1;
        let revision = match self.with("be written", |database| write(database, transaction)) {
            Ok(result) => result?,
            // The error may have come after the commit was in the file.
            Err(_) if self.has_reached(next) => next,
            Err(error) => return Err(error),
        };
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
    use super::{RedbStore, Store, StoreError, Transaction};

    #[test]
    fn after_an_error_of_the_disk_the_store_works_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        let store = RedbStore::open(&path).unwrap();
        store.commit(Transaction::default().put("a", "1")).unwrap();
        for _ in 0..2 {
            let error = || redb::Error::Io(std::io::Error::other("the disk is full"));
            let failed = store.with("be read", |_| Err::<(), _>(error())).unwrap_err();
            assert!(matches!(failed, StoreError::Backend { action: "be read", .. }), "{failed:?}");
            assert_eq!(store.get("a").unwrap().unwrap().value, b"1");
        }
        assert_eq!(store.commit(Transaction::default().put("a", "2")).unwrap(), 2);

        // A file that is gone is not replaced by an empty one.
        let elsewhere = directory.path().join("elsewhere");
        std::fs::rename(&path, &elsewhere).unwrap();
        store.with("be read", |_| Err::<(), _>(redb::Error::PreviousIo)).unwrap_err();
        assert!(store.get("a").is_err() && !path.exists());
        std::fs::rename(&elsewhere, &path).unwrap();
        assert_eq!(store.get("a").unwrap().unwrap().value, b"2");
    }
}
