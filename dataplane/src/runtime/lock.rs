//! One process per instance: a lock on a file that names its holder.
//!
//! The kernel drops the lock with the process, however it ends, so the file may stay. Because two processes may be
//! told of different directories, the instance also has a name in the network namespace, an abstract socket at which
//! nobody listens for anything: an instance belongs to one namespace.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::settings::StartError;

/// A process that is just ending, or a child between its fork and its exec, may hold the lock for a moment.
const PATIENCE: Duration = Duration::from_millis(250);
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// The lock, held for as long as the value lives.
#[derive(Debug)]
pub(super) struct InstanceLock {
    _file: File,
    _name: UnixDatagram,
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
        Ok(Self { _file: file, _name: take_name(instance, deadline)? })
    }
}

/// Takes the instance's name in the network namespace.
fn take_name(instance: &str, deadline: Instant) -> Result<UnixDatagram, StartError> {
    let name = format!("edgestack-instance/{instance}");
    let path = PathBuf::from(format!("@{name}"));
    let failed = |source| StartError::Lock { path: path.clone(), source };
    let address = SocketAddr::from_abstract_name(&name).map_err(failed)?;
    loop {
        match UnixDatagram::bind_addr(&address) {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() != ErrorKind::AddrInUse => return Err(failed(error)),
            Err(_) if Instant::now() < deadline => std::thread::sleep(RETRY_INTERVAL),
            Err(_) => {
                let process_id = "unknown".to_owned();
                return Err(StartError::InUse { instance: instance.to_owned(), process_id, path });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::InstanceLock;

    #[test]
    fn a_second_holder_learns_who_is_the_first() {
        let directory = std::env::temp_dir().join(format!("edgestack-lock-{}", std::process::id()));
        let first = InstanceLock::take(&directory, "lock-test-one").unwrap();
        let error = InstanceLock::take(&directory, "lock-test-one").unwrap_err().to_string();
        assert!(error.contains(&format!("process with id {}", std::process::id())), "{error}");
        let other = InstanceLock::take(&directory, "lock-test-two").unwrap();
        let elsewhere = directory.join("elsewhere");
        let error = InstanceLock::take(&elsewhere, "lock-test-one").unwrap_err().to_string();
        assert!(error.contains("`lock-test-one` is in use"), "{error}");
        drop(first);
        drop(InstanceLock::take(&directory, "lock-test-one").unwrap());
        drop(other);
        std::fs::remove_dir_all(&directory).unwrap();

        let error = InstanceLock::take("/proc/no-such".as_ref(), "one").unwrap_err().to_string();
        assert!(error.contains("run_dir"), "{error}");
    }
}
