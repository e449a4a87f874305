//! Backups of this host: files in the state directory, written by operations; and the commands that work on the store of
//! a daemon that does not run.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use edgestack_model::Problem;
use edgestack_model::operation::Operation;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::app::idempotency::KEPT;
use crate::operations::{Ending, OPERATIONS, OperationError, Operations};
use crate::store::backup::{self, BackupError, Header};
use crate::store::{RedbStore, Store, StoreError};

/// Backups that are kept; the operator removes what is not needed.
pub const BACKUPS_MAX: usize = 32;
/// What the files' names end in.
const EXTENSION: &str = "backup";
/// What a backup leaves out: it speaks of the daemon that was, not of what it kept.
const LEFT_OUT: [&str; 2] = [KEPT, OPERATIONS];

/// The backups of a daemon.
pub struct Backups {
    directory: PathBuf,
    store: Arc<dyn Store>,
    operations: Arc<Operations>,
    /// Names of those that are being written.
    begun: Arc<Mutex<Vec<String>>>,
}

/// A backup that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was finished.
    pub created_at: Option<Timestamp>,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupsError {
    /// The name is taken.
    #[error("there is a backup `{0}` already")]
    Exists(String),
    /// There is no such backup.
    #[error("there is no backup `{0}`")]
    NotFound(String),
    /// There are too many.
    #[error("there are {BACKUPS_MAX} backups already; remove some of them")]
    TooMany,
    /// The directory or a file in it cannot be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The operation cannot be begun.
    #[error(transparent)]
    Operation(#[from] OperationError),
}

impl Backups {
    /// The backups below `state_dir`.
    pub fn new(state_dir: &Path, store: Arc<dyn Store>, operations: Arc<Operations>) -> Self {
        Self { directory: state_dir.join("backups"), store, operations, begun: Arc::default() }
    }

    /// Begins a backup. `name` is a valid name of an object, so it leads nowhere else.
    pub fn begin(&self, name: &str) -> Result<Operation, BackupsError> {
        self.make_directory()?;
        let path = self.path(name);
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if path.exists() || begun.iter().any(|other| other == name) {
            return Err(BackupsError::Exists(name.to_owned()));
        }
        if self.list()?.len() + begun.len() >= BACKUPS_MAX {
            return Err(BackupsError::TooMany);
        }
        let (store, all, own_name) = (Arc::clone(&self.store), Arc::clone(&self.begun), name.to_owned());
        let operation = self.operations.begin("backup", name, move |running| {
            let advance = |done, total| running.advance("writing entries", done, total);
            let written = store.list("").map_err(Failed::Store).and_then(|listing| {
                backup::write(&listing, &path, &LEFT_OUT, advance).map_err(Failed::Backup)
            });
            all.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| *other != own_name);
            match written {
                Ok(header) => Ending::Succeeded(json!({ "name": own_name, "header": header })),
                Err(Failed::Backup(BackupError::Cancelled)) => Ending::Cancelled,
                Err(Failed::Backup(error)) => Ending::Failed(problem(&error)),
                Err(Failed::Store(error)) => Ending::Failed(problem(&error)),
            }
        })?;
        begun.push(name.to_owned());
        Ok(operation)
    }

    /// The backups that are there, by name.
    pub fn list(&self) -> Result<Vec<BackupFile>, BackupsError> {
        let failed = |source| BackupsError::Io { action: "read", path: self.directory.clone(), source };
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            let (Some(name), true) = (name, path.extension().is_some_and(|end| end == EXTENSION)) else {
                continue;
            };
            let Ok(metadata) = path.metadata() else { continue };
            let created_at = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
            files.push(BackupFile { name: name.to_owned(), bytes: metadata.len(), created_at });
        }
        files.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(files)
    }

    /// The file of a backup.
    pub fn open(&self, name: &str) -> Result<std::fs::File, BackupsError> {
        self.opened("open", name, |path| std::fs::File::open(path))
    }

    /// Removes a backup.
    pub fn delete(&self, name: &str) -> Result<(), BackupsError> {
        self.opened("remove", name, |path| std::fs::remove_file(path))
    }

    fn opened<T>(
        &self,
        action: &'static str,
        name: &str,
        work: impl FnOnce(&Path) -> std::io::Result<T>,
    ) -> Result<T, BackupsError> {
        let is_name = edgestack_model::value::name(&json!(name)).is_ok();
        let path = self.path(name);
        if !is_name || !path.exists() {
            return Err(BackupsError::NotFound(name.to_owned()));
        }
        work(&path).map_err(|source| BackupsError::Io { action, path, source })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.{EXTENSION}"))
    }

    fn make_directory(&self) -> Result<(), BackupsError> {
        std::fs::create_dir_all(&self.directory).map_err(|source| BackupsError::Io {
            action: "make",
            path: self.directory.clone(),
            source,
        })
    }
}

enum Failed {
    Store(StoreError),
    Backup(BackupError),
}

fn problem(error: &dyn std::error::Error) -> Problem {
    crate::http::error::Failure::internal(crate::http::error::chain(error)).problem.as_ref().clone()
}

/// Why a command about backups failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// There is no store.
    #[error("there is no store at {}: has edgestackd run with this configuration?", .0.display())]
    NoStore(PathBuf),
    /// A store is there already.
    #[error("there is a store at {}; `--replace` moves it aside", .0.display())]
    Occupied(PathBuf),
    /// The store that is there cannot be moved aside.
    #[error("cannot move {} aside", path.display())]
    Aside {
        /// The store.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Writes a backup of the store at `store`, which no daemon has open.
pub fn back_up(store: &Path, output: &Path) -> Result<Header, CommandError> {
    // A store that is not there is not made.
    if !store.exists() {
        return Err(CommandError::NoStore(store.to_owned()));
    }
    let listing = RedbStore::open(store)?.list("")?;
    Ok(backup::write(&listing, output, &LEFT_OUT, |_, _| true)?)
}

/// Makes the store at `store` from a backup. One that is there is moved aside if `replace` says so; returns where to.
pub fn restore(store: &Path, input: &Path, replace: bool) -> Result<(Header, Option<PathBuf>), CommandError> {
    let mut backup = backup::read(input)?;
    let mut aside = None;
    if store.exists() {
        if !replace {
            return Err(CommandError::Occupied(store.to_owned()));
        }
        // Nobody has it open, and no revision of its is used again.
        let before = RedbStore::open(store)?;
        backup.header.revision = backup.header.revision.max(before.revision());
        drop(before);
        let to = store.with_extension(format!("before-restore-{}", Timestamp::now().as_nanosecond()));
        // A second name, so that there is a store at every moment: a daemon that finds none begins with nothing.
        std::fs::hard_link(store, &to)
            .map_err(|source| CommandError::Aside { path: store.to_owned(), source })?;
        aside = Some(to);
    }
    match RedbStore::restore(store, &backup, replace) {
        Ok(()) => Ok((backup.header, aside)),
        Err(error) => {
            if let Some(aside) = &aside {
                let _ = std::fs::remove_file(aside);
            }
            Err(error.into())
        }
    }
}
