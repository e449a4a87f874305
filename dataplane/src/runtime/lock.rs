//! One process per instance: a lock on a file that names its holder.
//!
//! The kernel drops the lock with the process, however it ends, so the file may stay.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::settings::StartError;

/// A process that is just ending, or a child between its fork and its exec, may hold the lock for a moment.
const PATIENCE: Duration = Duration::from_millis(250);
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// The lock, held for as long as the value lives.
#[derive(Debug)]
pub(super) struct InstanceLock {
    _file: File,
}

impl InstanceLock {
    pub(super) fn take(directory: &Path, instance: &str) -> Result<Self, StartError> {
        let path = directory.join(format!("{instance}.lock"));
        let failed = |source| StartError::Lock { path: path.clone(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        let mut options = File::options();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let deadline = Instant::now() + PATIENCE;
        let mut locked = file.try_lock();
        while matches!(locked, Err(TryLockError::WouldBlock)) && Instant::now() < deadline {
            std::thread::sleep(RETRY_INTERVAL);
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it only makes the message better.
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                let process_id = if holder.is_empty() { "unknown" } else { holder }.to_owned();
                return Err(StartError::InUse { instance: instance.to_owned(), process_id, path });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::InstanceLock;

    #[test]
    fn a_second_holder_learns_who_is_the_first() {
        let directory = std::env::temp_dir().join(format!("edgestack-lock-{}", std::process::id()));
        let first = InstanceLock::take(&directory, "one").unwrap();
        let error = InstanceLock::take(&directory, "one").unwrap_err().to_string();
        assert!(error.contains(&format!("process with id {}", std::process::id())), "{error}");
        let other = InstanceLock::take(&directory, "two").unwrap();
        drop(first);
        drop(InstanceLock::take(&directory, "one").unwrap());
        drop(other);
        std::fs::remove_dir_all(&directory).unwrap();

        let error = InstanceLock::take("/proc/no-such".as_ref(), "one").unwrap_err().to_string();
        assert!(error.contains("run_dir"), "{error}");
    }
}
