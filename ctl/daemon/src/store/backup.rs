//! Backups: everything that a store holds at one revision, as a file that is checked whole before it is trusted.
//!
//! The file is lines of JSON: a [`Header`], one line for each entry, and a [`Trailer`] with the SHA-256 of all lines before.
//! What keys mean is not known here: the caller says what is left out.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Listing, SCHEMA_VERSION, Stored, VALUE_BYTES_MAX};
use crate::hexadecimal;

/// The format of the file.
pub const FORMAT_VERSION: u64 = 1;
/// Bytes of one line: a value with every byte escaped, its key, and the words around them.
const LINE_BYTES_MAX: u64 = 7 * VALUE_BYTES_MAX as u64;
/// Entries between two looks at whether the work is still wanted.
const ENTRIES_PER_STEP: usize = 1000;
/// Permissions of the file: it holds all that the store does.
const MODE: u32 = 0o600;

/// First line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the format.
    pub edgestack_backup: u64,
    /// Layout of keys and values.
    pub schema_version: u64,
    /// Revision of the store.
    pub revision: u64,
    /// Lines that follow.
    pub entries: u64,
    /// When it was written.
    pub created_at: Timestamp,
    /// Version of the program that wrote it.
    pub written_by: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    revision: u64,
    value: String,
}

/// Last line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trailer {
    sha256: String,
}

/// A backup that was read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its first line.
    pub header: Header,
    /// What the store held.
    pub entries: Vec<Stored>,
}

/// Why there is no backup, or none that can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is no backup, or not as it was written.
    #[error("{} is no whole backup: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A newer program wrote it.
    #[error("{} has {what} {found}, this edgestackd knows up to {known}: use the newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// What is newer.
        what: &'static str,
        /// Its version.
        found: u64,
        /// The newest that this program knows.
        known: u64,
    },
    /// A value is no text.
    #[error("the value of `{key}` cannot be written to a backup")]
    Value {
        /// Its key.
        key: String,
    },
    /// Somebody asked to give it up.
    #[error("the backup was cancelled")]
    Cancelled,
}

/// Writes `listing` to a new file at `path`, which is there whole or not at all, without the keys that start with one of
/// `left_out`. `advance` is told entries that are done and all of them, and says whether to go on.
pub fn write(
    listing: &Listing,
    path: &Path,
    left_out: &[&str],
    mut advance: impl FnMut(u64, u64) -> bool,
) -> Result<Header, BackupError> {
    let failed = |action| {
        let path = path.to_owned();
        move |source| BackupError::Io { action, path, source }
    };
    let partial = path.with_extension("partial");
    let is_kept = |entry: &&Stored| !left_out.iter().any(|prefix| entry.key.starts_with(prefix));
    let kept: Vec<&Stored> = listing.entries.iter().filter(is_kept).collect();
    let header = Header {
        edgestack_backup: FORMAT_VERSION,
        schema_version: SCHEMA_VERSION,
        revision: listing.revision,
        entries: kept.len() as u64,
        created_at: Timestamp::now(),
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let written = (|| {
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(true).mode(MODE).open(&partial);
        let mut out = Hashing { out: BufWriter::new(file.map_err(failed("make"))?), hash: Sha256::new() };
        out.line(&header).map_err(failed("write"))?;
        for (index, entry) in kept.iter().enumerate() {
            if index % ENTRIES_PER_STEP == 0 && !advance(index as u64, header.entries) {
                return Err(BackupError::Cancelled);
            }
            let value = std::str::from_utf8(&entry.value).ok();
            let value = value.ok_or_else(|| BackupError::Value { key: entry.key.clone() })?.to_owned();
            let line = Line { key: entry.key.clone(), revision: entry.revision, value };
            out.line(&line).map_err(failed("write"))?;
        }
        let sha256 = hexadecimal(&out.hash.clone().finalize());
        out.line(&Trailer { sha256 }).map_err(failed("write"))?;
        let file = out.out.into_inner().map_err(|error| failed("write")(error.into_error()))?;
        file.sync_all().map_err(failed("write"))?;
        std::fs::rename(&partial, path).and_then(|()| super::sync_directory_of(path)).map_err(failed("make"))
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written.map(|()| header)
}

/// Reads and checks the whole file at `path`.
pub fn read(path: &Path) -> Result<Backup, BackupError> {
    let file = File::open(path).map_err(|source| BackupError::Io {
        action: "open",
        path: path.to_owned(),
        source,
    })?;
    let mut lines = Lines { path, input: BufReader::new(file), hash: Sha256::new(), number: 0 };
    let header: Header = lines.next()?;
    let newer = |what, found, known| BackupError::Newer { path: path.to_owned(), what, found, known };
    if header.edgestack_backup > FORMAT_VERSION {
        return Err(newer("the format", header.edgestack_backup, FORMAT_VERSION));
    }
    if header.schema_version > SCHEMA_VERSION {
        return Err(newer("schema version", header.schema_version, SCHEMA_VERSION));
    }
    let mut entries = Vec::new();
    for _ in 0..header.entries {
        let Line { key, revision, value } = lines.next()?;
        entries.push(Stored { key, value: value.into_bytes(), revision });
    }
    let sha256 = hexadecimal(&lines.hash.clone().finalize());
    let trailer: Trailer = lines.next()?;
    if trailer.sha256 != sha256 {
        return Err(lines.damaged("its checksum is another one"));
    }
    if !lines.input.fill_buf().is_ok_and(<[u8]>::is_empty) {
        return Err(lines.damaged("something follows after its end"));
    }
    Ok(Backup { header, entries })
}

/// Writes lines and hashes them.
struct Hashing<W: Write> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Hashing<W> {
    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.hash.update(&text);
        self.out.write_all(&text)
    }
}

/// Reads lines and hashes them.
struct Lines<'a> {
    path: &'a Path,
    input: BufReader<File>,
    hash: Sha256,
    number: u64,
}

impl Lines<'_> {
    fn next<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, BackupError> {
        self.number += 1;
        let mut text = Vec::new();
        let read = io::Read::take(&mut self.input, LINE_BYTES_MAX).read_until(b'\n', &mut text);
        read.map_err(|source| BackupError::Io { action: "read", path: self.path.to_owned(), source })?;
        if text.last() != Some(&b'\n') {
            return Err(self.damaged("it is cut off"));
        }
        self.hash.update(&text);
        serde_json::from_slice(&text).map_err(|error| self.damaged(&error.to_string()))
    }

    fn damaged(&self, reason: &str) -> BackupError {
        let reason = format!("line {}: {reason}", self.number);
        BackupError::Damaged { path: self.path.to_owned(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::{BackupError, read, write};
    use crate::store::{MemoryStore, RedbStore, SCHEMA_VERSION, Store, StoreError, Transaction};

    const LEFT_OUT: [&str; 2] = ["idempotency/", "operations/"];

    fn filled() -> MemoryStore {
        let store = MemoryStore::default();
        store.commit(Transaction::default().put("objects/networks/1", r#"{"name":"a\n\"é"}"#)).unwrap();
        let mut second = Transaction::default();
        second.put("names/networks/a", "networks/1/a").put("idempotency/x", "{}").put("operations/1", "{}");
        store.commit(&second).unwrap();
        store
    }

    #[test]
    fn a_backup_is_read_back_and_restored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.backup");
        let store = filled();
        let mut steps = Vec::new();
        let header = write(&store.list("").unwrap(), &path, &LEFT_OUT, |done, total| {
            steps.push((done, total));
            true
        });
        assert_eq!(steps, [(0, 2)]);
        let backup = read(&path).unwrap();
        assert_eq!(backup.header, header.unwrap());
        assert_eq!((backup.header.revision, backup.header.schema_version), (2, SCHEMA_VERSION));
        let kept = |store: &dyn Store| store.list("").unwrap().entries;
        let mut wanted = kept(&store);
        wanted.retain(|entry| !LEFT_OUT.iter().any(|prefix| entry.key.starts_with(prefix)));
        assert_eq!(wanted.len(), 2);
        assert_eq!(backup.entries, wanted, "without keys of requests and operations");
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777,
            0o600
        );

        let file = directory.path().join("store.redb");
        RedbStore::restore(&file, &backup, false).unwrap();
        let restored = RedbStore::open(&file).unwrap();
        assert_eq!(kept(&restored), wanted);
        assert!(restored.revision() > 2, "no entity tag of before stands for something else");
        drop(restored);
        assert!(matches!(RedbStore::restore(&file, &backup, false), Err(StoreError::Exists { .. })));
    }

    #[test]
    fn what_is_not_as_it_was_written_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.backup");
        write(&filled().list("").unwrap(), &path, &LEFT_OUT, |_, _| true).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        let without_one = [lines[0], lines[2], lines[3]].concat();
        for (damaged, reason) in [
            (whole.replace("networks/1/a", "networks/2/a"), "checksum"),
            (whole[..whole.len() - 1].to_owned(), "cut off"),
            (lines[..2].concat(), "cut off"),
            (without_one, "line 3"),
            (format!("{whole}{{}}\n"), "follows"),
            (String::new(), "line 1: it is cut off"),
            ("{\"some\": \"JSON\"}\n".to_owned(), "line 1"),
        ] {
            std::fs::write(&path, &damaged).unwrap();
            let refused = read(&path).unwrap_err();
            assert!(matches!(refused, BackupError::Damaged { .. }), "{damaged}: {refused}");
            assert!(refused.to_string().contains(reason), "{damaged}: {refused}");
        }
        let newer = whole.replace(&format!("\"schema_version\":{SCHEMA_VERSION}"), "\"schema_version\":999");
        std::fs::write(&path, newer).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("schema version 999"));
    }

    #[test]
    fn a_backup_that_is_given_up_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.backup");
        let given_up = write(&filled().list("").unwrap(), &path, &LEFT_OUT, |_, _| false);
        assert!(matches!(given_up, Err(BackupError::Cancelled)));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
