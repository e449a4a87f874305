//! The audit log: who tried to change what, and what came of it. One JSON object a line, each with the digest of the line
//! before, so that nothing in the middle can be changed or taken out unseen.
//!
//! Files are `audit-<number of the first line>.jsonl` in `audit/` of the state directory; a full one is closed and the
//! next begun, and the oldest is removed. What is cut off at the end cannot be seen in the files alone: the number and
//! the digest of the last line are logged with every start and every new file. A line that could not be written is owed:
//! it comes before all others, and nothing more is let through until it is written. Called by `http/guard.rs`.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The digest before the first line.
const NOTHING_BEFORE: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Letters of a path that are kept.
const PATH_LETTERS_MAX: usize = 512;
/// Lines that wait until they can be written; more are refused attempts only, and are left out.
const OWED_LINES_MAX: usize = 4096;
/// Lines of one answer.
pub const PAGE_LINES_MAX: usize = 1000;

/// What somebody tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Identifier of the request, as in its answer.
    pub request_id: String,
    /// Who.
    pub who: String,
    /// From where.
    pub from: String,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// In which project; empty where that was not found out.
    pub project: String,
    /// What, in the words of the table of permissions.
    pub action: String,
    /// The status of the answer.
    pub status: u16,
    /// The code of the problem; empty where there was none.
    pub code: String,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Number, from 1 on without a gap.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// Identifier of the request.
    pub request_id: String,
    /// Who.
    pub who: String,
    /// From where.
    pub from: String,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// In which project.
    pub project: String,
    /// What.
    pub action: String,
    /// The status of the answer.
    pub status: u16,
    /// The code of the problem.
    pub code: String,
    /// Digest of the line before.
    pub previous: String,
    /// Digest of this line: of everything above.
    pub digest: String,
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file cannot be read or written.
    #[error("the audit log {} cannot be {action}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The log is not what was written.
    #[error("{}:{line}: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Line in the file, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// What a check of the log has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Lines that were checked.
    pub lines: u64,
    /// Number of the first of them; those before were removed with their files.
    pub first: u64,
    /// Number of the last one.
    pub last: u64,
    /// Digest of the last one.
    pub digest: String,
}

/// The log, open for appending.
#[derive(Debug)]
pub struct AuditLog {
    directory: PathBuf,
    file_bytes_max: u64,
    files_max: usize,
    state: Mutex<State>,
    /// What could not be written yet, the oldest first, with its time.
    owed: Mutex<VecDeque<(Timestamp, Attempt)>>,
}

#[derive(Debug)]
struct State {
    /// None after a failure, until it can be opened again.
    file: Option<File>,
    path: PathBuf,
    bytes: u64,
    last: u64,
    digest: String,
    unsynced: bool,
}

impl AuditLog {
    /// Opens the log in `directory`, which is made where there is none. A line that was not written whole, because the
    /// machine stopped, is taken off.
    pub fn open(directory: &Path, file_bytes_max: u64, files_max: usize) -> Result<Self, AuditError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("made", directory))?;
        let state = open_last(directory)?;
        tracing::info!(last = state.last, digest = state.digest, "the audit log goes on");
        let (state, owed) = (Mutex::new(state), Mutex::default());
        Ok(Self { directory: directory.to_owned(), file_bytes_max, files_max, state, owed })
    }

    /// Whether a line can be written; after a failure, by writing what is owed.
    pub fn works(&self) -> Result<(), AuditError> {
        let mut state = self.state();
        if state.file.is_none() {
            *state = open_last(&self.directory)?;
        }
        self.write_owed(&mut state)
    }

    /// Appends a line, now or as soon as that is possible.
    pub fn append(&self, attempt: &Attempt) -> Result<(), AuditError> {
        let mut state = self.state();
        {
            let mut owed = self.owed();
            if owed.len() < OWED_LINES_MAX {
                owed.push_back((Timestamp::now(), attempt.clone()));
            }
        }
        self.write_owed(&mut state)
    }

    fn write_owed(&self, state: &mut State) -> Result<(), AuditError> {
        let mut owed = self.owed();
        while let Some((time, attempt)) = owed.front() {
            self.write(state, *time, attempt)?;
            owed.pop_front();
        }
        Ok(())
    }

    fn write(&self, state: &mut State, time: Timestamp, attempt: &Attempt) -> Result<(), AuditError> {
        if state.file.is_none() {
            *state = open_last(&self.directory)?;
        }
        if state.bytes >= self.file_bytes_max {
            self.begin_file(state)?;
        }
        let line = Line::new(attempt, state.last + 1, time, state.digest.clone());
        let text = line.text() + "\n";
        let Some(file) = &mut state.file else { return Ok(()) };
        if let Err(source) = file.write_all(text.as_bytes()) {
            state.file = None;
            return Err(AuditError::File { action: "written", path: state.path.clone(), source });
        }
        state.bytes += text.len() as u64;
        state.last = line.seq;
        state.digest = line.digest;
        state.unsynced = true;
        Ok(())
    }

    /// Brings what was written to the disk.
    pub fn sync(&self) -> Result<(), AuditError> {
        let mut state = self.state();
        if !std::mem::take(&mut state.unsynced) {
            return Ok(());
        }
        let Some(file) = &state.file else { return Ok(()) };
        file.sync_data().map_err(failed("written", &state.path))
    }

    /// At most `limit` lines before the line `before`, the newest first.
    pub fn read(&self, before: Option<u64>, limit: usize) -> Result<Vec<Line>, AuditError> {
        let before = before.unwrap_or(u64::MAX);
        let mut page = Vec::new();
        for (first, path) in files(&self.directory)?.into_iter().rev() {
            if first >= before {
                continue;
            }
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break, // Removed meanwhile.
                Err(source) => return Err(AuditError::File { action: "read", path, source }),
            };
            // A line that is being written has no end yet.
            let lines = text.split_inclusive('\n').rev().filter_map(|line| line.strip_suffix('\n'));
            let lines = lines.filter_map(|line| serde_json::from_str::<Line>(line).ok());
            page.extend(lines.filter(|line| line.seq < before).take(limit - page.len()));
            if page.len() == limit {
                break;
            }
        }
        Ok(page)
    }

    /// Closes a full file, begins the next and removes the oldest.
    fn begin_file(&self, state: &mut State) -> Result<(), AuditError> {
        if let Some(file) = &state.file {
            file.sync_data().map_err(failed("written", &state.path))?;
        }
        tracing::info!(last = state.last, digest = state.digest, "the audit log begins another file");
        let path = path_of(&self.directory, state.last + 1);
        state.file = Some(create(&path)?);
        state.path = path;
        state.bytes = 0;
        let files = files(&self.directory)?;
        for (_, path) in files.iter().take(files.len().saturating_sub(self.files_max)) {
            fs::remove_file(path).map_err(failed("removed", path))?;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owed(&self) -> MutexGuard<'_, VecDeque<(Timestamp, Attempt)>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn new(attempt: &Attempt, seq: u64, time: Timestamp, previous: String) -> Self {
        let Attempt { request_id, who, from, method, path, project, action, status, code } = attempt.clone();
        let path = path.chars().take(PATH_LETTERS_MAX).collect();
        let digest = String::new();
        let mut line = Self {
            seq,
            time,
            request_id,
            who,
            from,
            method,
            path,
            project,
            action,
            status,
            code,
            previous,
            digest,
        };
        line.digest = line.digest_of_rest();
        line
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The digest that the line should have.
    fn digest_of_rest(&self) -> String {
        let rest = Self { digest: String::new(), ..self.clone() };
        crate::hexadecimal(&Sha256::digest(rest.text().as_bytes()))
    }
}

/// Checks every line of the log in `directory`.
pub fn verify(directory: &Path) -> Result<Verified, AuditError> {
    let mut found = Verified { lines: 0, first: 0, last: 0, digest: NOTHING_BEFORE.to_owned() };
    for (first, path) in files(directory)? {
        let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
        for (index, text) in text.split_inclusive('\n').enumerate() {
            let broken = |reason: String| AuditError::Broken { path: path.clone(), line: index + 1, reason };
            let whole = text.strip_suffix('\n').ok_or_else(|| broken("the line is not whole".to_owned()))?;
            let line: Line = serde_json::from_str(whole).map_err(|error| broken(error.to_string()))?;
            if line.text() != whole {
                return Err(broken("the line was written by somebody else".to_owned()));
            }
            if index == 0 && line.seq != first {
                return Err(broken(format!("the file begins with line {}, not {first}", line.seq)));
            }
            if found.lines == 0 {
                // What came before was removed with its file; the chain begins here.
                found.first = line.seq;
                found.digest.clone_from(&line.previous);
                found.last = line.seq - 1;
                if line.seq == 1 && line.previous != NOTHING_BEFORE {
                    return Err(broken("the first line names one before it".to_owned()));
                }
            }
            if line.seq != found.last + 1 {
                return Err(broken(format!("line {} follows line {}", line.seq, found.last)));
            }
            if line.previous != found.digest {
                return Err(broken("the line before was changed or replaced".to_owned()));
            }
            if line.digest != line.digest_of_rest() {
                return Err(broken("the line was changed".to_owned()));
            }
            found.lines += 1;
            found.last = line.seq;
            found.digest = line.digest;
        }
    }
    Ok(found)
}

/// Opens the newest file at its end, or the first one.
fn open_last(directory: &Path) -> Result<State, AuditError> {
    let Some((first, path)) = files(directory)?.pop() else {
        let path = path_of(directory, 1);
        let file = Some(create(&path)?);
        let digest = NOTHING_BEFORE.to_owned();
        return Ok(State { file, path, bytes: 0, last: 0, digest, unsynced: false });
    };
    let text = fs::read(&path).map_err(failed("read", &path))?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let file = OpenOptions::new().append(true).open(&path).map_err(failed("opened", &path))?;
    if whole < text.len() {
        tracing::warn!(
            bytes = text.len() - whole,
            "the last line of the audit log was not whole; it is taken off"
        );
        file.set_len(whole as u64).map_err(failed("written", &path))?;
    }
    let last = text[..whole].split_inclusive(|byte| *byte == b'\n').next_back();
    let (last, digest) = match last {
        Some(line) => {
            let broken = |error: serde_json::Error| AuditError::Broken {
                path: path.clone(),
                line: text[..whole].split(|byte| *byte == b'\n').count() - 1,
                reason: error.to_string(),
            };
            let line: Line = serde_json::from_slice(line).map_err(broken)?;
            (line.seq, line.digest)
        }
        None => (first - 1, digest_before(directory, first)?),
    };
    Ok(State { file: Some(file), path, bytes: whole as u64, last, digest, unsynced: false })
}

/// The digest of the line before the one that the newest file is to begin with.
fn digest_before(directory: &Path, first: u64) -> Result<String, AuditError> {
    let Some((_, path)) = files(directory)?.into_iter().rev().find(|(number, _)| *number < first) else {
        return Ok(NOTHING_BEFORE.to_owned());
    };
    let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
    let line = text.lines().next_back().and_then(|line| serde_json::from_str::<Line>(line).ok());
    Ok(line.map_or_else(|| NOTHING_BEFORE.to_owned(), |line| line.digest))
}

/// The files, each with the number of its first line, in order.
fn files(directory: &Path) -> Result<Vec<(u64, PathBuf)>, AuditError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed("read", directory))? {
        let path = entry.map_err(failed("read", directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix("audit-").and_then(|name| name.strip_suffix(".jsonl"));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            files.push((number, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn path_of(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("audit-{first:012}.jsonl"))
}

fn create(path: &Path) -> Result<File, AuditError> {
    let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(path);
    file.map_err(failed("made", path))
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> AuditError + use<'a> {
    move |source| AuditError::File { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Attempt, AuditError, AuditLog, files, verify};

    fn attempt(path: &str) -> Attempt {
        Attempt {
            request_id: "r".to_owned(),
            who: "token:default/ci".to_owned(),
            from: "192.0.2.1:5".to_owned(),
            method: "POST".to_owned(),
            path: path.to_owned(),
            project: "default".to_owned(),
            action: "create networks".to_owned(),
            status: 201,
            code: String::new(),
        }
    }

    #[test]
    fn the_chain_goes_on_over_restarts_and_files_and_what_is_old_goes() {
        let directory = tempfile::tempdir().unwrap();
        for start in 0..10 {
            let log = AuditLog::open(directory.path(), 1000, 3).unwrap();
            for line in 0..5 {
                log.append(&attempt(&format!("/{start}/{line}"))).unwrap();
            }
            log.sync().unwrap();
        }
        let found = verify(directory.path()).unwrap();
        assert_eq!(found.last, 50);
        assert!(found.first > 1 && found.lines == 51 - found.first, "{found:?}");
        assert_eq!(files(directory.path()).unwrap().len(), 3);
        let log = AuditLog::open(directory.path(), 1000, 3).unwrap();
        let page = log.read(None, 4).unwrap();
        assert_eq!(page.iter().map(|line| line.seq).collect::<Vec<_>>(), [50, 49, 48, 47]);
        assert_eq!(log.read(Some(47), 1).unwrap()[0].path, "/9/0");
        assert_eq!(log.read(Some(found.first), 5).unwrap(), []);
    }

    #[test]
    fn every_change_of_the_past_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let log = AuditLog::open(directory.path(), 1 << 20, 3).unwrap();
        for path in ["/a", "/b", "/c"] {
            log.append(&attempt(path)).unwrap();
        }
        let path = files(directory.path()).unwrap()[0].1.clone();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(verify(directory.path()).unwrap().lines, 3);
        let lines: Vec<&str> = text.lines().collect();
        let forged = [
            text.replace("/b", "/x"),
            format!("{}\n{}\n", lines[0], lines[2]),
            format!("{}\n{}\n{}\n", lines[1], lines[0], lines[2]),
            text.replace("\"seq\":1,", "\"seq\": 1,"),
            text.replace("201", "403"),
            format!("{text}{}\n", lines[2]),
            text[..text.len() - 5].to_owned(),
        ];
        for forged in forged {
            fs::write(&path, &forged).unwrap();
            assert!(matches!(verify(directory.path()), Err(AuditError::Broken { .. })), "{forged}");
        }
        // Whoever also writes the digest anew is caught by the next line.
        let mut line: super::Line = serde_json::from_str(lines[1]).unwrap();
        line.path = "/x".to_owned();
        line.digest = line.digest_of_rest();
        fs::write(&path, format!("{}\n{}\n{}\n", lines[0], line.text(), lines[2])).unwrap();
        let error = verify(directory.path()).unwrap_err().to_string();
        assert!(error.contains("jsonl:3: the line before was changed"), "{error}");
    }

    #[test]
    fn a_line_that_is_not_whole_is_taken_off_at_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        AuditLog::open(directory.path(), 1 << 20, 3).unwrap().append(&attempt("/a")).unwrap();
        let path = files(directory.path()).unwrap()[0].1.clone();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}{{\"seq\":2,\"ti")).unwrap();
        let log = AuditLog::open(directory.path(), 1 << 20, 3).unwrap();
        log.append(&attempt("/b")).unwrap();
        assert_eq!(verify(directory.path()).unwrap().lines, 2);
    }

    #[test]
    fn what_could_not_be_written_is_owed_and_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let log = AuditLog::open(directory.path(), 1 << 20, 3).unwrap();
        log.append(&attempt("/a")).unwrap();
        log.state().file = Some(fs::File::options().write(true).open("/dev/full").unwrap());
        assert!(matches!(log.append(&attempt("/b")), Err(AuditError::File { action: "written", .. })));
        let elsewhere = directory.path().with_extension("elsewhere");
        fs::rename(directory.path(), &elsewhere).unwrap();
        assert!(log.works().is_err(), "nothing more is let through");
        assert!(log.append(&attempt("/c")).is_err());
        fs::rename(&elsewhere, directory.path()).unwrap();
        log.works().unwrap();
        let page = log.read(None, 10).unwrap();
        assert_eq!(page.iter().map(|line| line.path.as_str()).collect::<Vec<_>>(), ["/c", "/b", "/a"]);
        assert_eq!(verify(directory.path()).unwrap().lines, 3);
    }

    #[test]
    fn a_new_file_without_a_line_goes_on_with_the_chain() {
        let directory = tempfile::tempdir().unwrap();
        AuditLog::open(directory.path(), 1 << 20, 3).unwrap().append(&attempt("/a")).unwrap();
        fs::write(super::path_of(directory.path(), 2), "").unwrap();
        AuditLog::open(directory.path(), 1 << 20, 3).unwrap().append(&attempt("/b")).unwrap();
        assert_eq!(verify(directory.path()).unwrap().lines, 2);
    }
}
