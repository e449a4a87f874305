//! How a dataplane is set up, and why it could not be.

use std::io;
use std::path::PathBuf;

use crate::engine::{EngineError, EngineSettings};
use crate::fastpath::{FastPathError, FastPathSettings};
use crate::io::xsk::{XskError, XskSettings};

/// Most workers of one dataplane.
pub const WORKERS_MAX: usize = 64;
/// Fewest frames of a worker: one socket with a ring of the usual size and some packets to work on.
pub const FRAMES_MIN: u32 = 1024;
/// Most frames of a worker: 16 GB.
pub const FRAMES_MAX: u32 = 1 << 22;
const RING_MIN: u32 = 64;
const RING_MAX: u32 = 1 << 16;

/// How a dataplane is set up; the defaults suit a small edge host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataplaneSettings {
    /// The kernel programs, their pins, and the sizes of the tables.
    pub fast_path: FastPathSettings,
    /// False: tier 0 hands every packet to the engine. Answers are the same, only slower.
    pub fast_path_enabled: bool,
    /// The engine's timeouts and limits.
    pub engine: EngineSettings,
    /// Worker threads; 0 is one for every four CPUs, and at least one.
    pub workers: usize,
    /// CPUs that the workers are pinned to, in order; empty leaves them to the scheduler.
    pub worker_cpus: Vec<usize>,
    /// Frames of each worker, 4 KiB each.
    pub frames: u32,
    /// How long a worker polls without a packet before it sleeps, in microseconds.
    pub spin_us: u32,
    /// The sockets.
    pub xsk: XskSettings,
    /// Directory of the file that keeps a second daemon away.
    pub run_directory: PathBuf,
}

impl Default for DataplaneSettings {
    fn default() -> Self {
        Self {
            fast_path: FastPathSettings::default(),
            fast_path_enabled: true,
            engine: EngineSettings::default(),
            workers: 0,
            worker_cpus: Vec::new(),
            frames: 16_384,
            spin_us: 20,
            xsk: XskSettings::default(),
            run_directory: PathBuf::from("/run/edgestack"),
        }
    }
}

/// Why a dataplane could not be started. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be.
    #[error("{field} = {value}: {message}")]
    Setting {
        /// Name of the setting.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is right.
        message: String,
    },
    /// Another process runs this instance.
    #[error("instance `{instance}` is in use by the process with id {process_id} (lock {}): stop it, or give this one another `instance`", .path.display())]
    InUse {
        /// The instance.
        instance: String,
        /// Who has it; `unknown` where the file does not say.
        process_id: String,
        /// The lock.
        path: PathBuf,
    },
    /// The lock cannot be taken for another reason.
    #[error("the lock {}: {source}; `run_dir` must name a directory that can be written", .path.display())]
    Lock {
        /// The lock.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel programs cannot be loaded or attached: the message says what is missing.
    #[error(transparent)]
    FastPath(#[from] FastPathError),
    /// The sockets of the trunk cannot be opened: the message says what is missing.
    #[error(transparent)]
    Socket(#[from] XskError),
    /// The tables cannot be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A thread, a socket or memory cannot be had.
    #[error("{step}: {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl StartError {
    pub(super) fn system(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { step, source }
    }
}

/// Refuses settings that cannot be, and fills in what is to be found out.
pub(super) fn check(settings: &DataplaneSettings, cpus: &[usize]) -> Result<usize, StartError> {
    let refuse = |field, value: String, message: String| Err(StartError::Setting { field, value, message });
    let workers = if settings.workers == 0 { (cpus.len() / 4).max(1) } else { settings.workers };
    if workers > WORKERS_MAX {
        return refuse("workers", workers.to_string(), format!("at most {WORKERS_MAX}"));
    }
    let pinned = &settings.worker_cpus;
    if !pinned.is_empty() && pinned.len() != workers {
        let message = format!("name one CPU for each of the {workers} workers, or none");
        return refuse("worker_cpus", format!("{pinned:?}"), message);
    }
    if let Some(cpu) = pinned.iter().find(|cpu| !cpus.contains(cpu)) {
        return refuse("worker_cpus", cpu.to_string(), format!("this process may use only {cpus:?}"));
    }
    if !(FRAMES_MIN..=FRAMES_MAX).contains(&settings.frames) {
        let message = format!("between {FRAMES_MIN} and {FRAMES_MAX}");
        return refuse("frames", settings.frames.to_string(), message);
    }
    let rings = [
        ("receive_ring_packets", settings.xsk.receive_ring_packets),
        ("transmit_ring_packets", settings.xsk.transmit_ring_packets),
        ("fill_ring_frames", settings.xsk.fill_ring_frames),
    ];
    for (field, size) in rings {
        if !size.is_power_of_two() || !(RING_MIN..=RING_MAX).contains(&size) {
            let message = format!("a power of two between {RING_MIN} and {RING_MAX}");
            return refuse(field, size.to_string(), message);
        }
    }
    Ok(workers)
}

#[cfg(test)]
mod tests {
    use super::{DataplaneSettings, check};

    #[test]
    fn settings_that_cannot_be_are_refused_by_name() {
        let cpus = [0, 1];
        assert_eq!(check(&DataplaneSettings::default(), &cpus).unwrap(), 1);
        assert_eq!(check(&DataplaneSettings::default(), &[0; 32]).unwrap(), 8);
        let wrong = |change: fn(&mut DataplaneSettings)| {
            let mut settings = DataplaneSettings::default();
            change(&mut settings);
            check(&settings, &cpus).unwrap_err().to_string()
        };
        assert!(wrong(|settings| settings.workers = 65).starts_with("workers = 65: at most"));
        assert!(wrong(|settings| settings.worker_cpus = vec![7]).starts_with("worker_cpus = 7:"));
        assert!(wrong(|settings| settings.worker_cpus = vec![0, 1]).contains("one CPU for each of the 1"));
        assert!(wrong(|settings| settings.frames = 1000).starts_with("frames = 1000:"));
        assert!(wrong(|settings| settings.xsk.fill_ring_frames = 1000).contains("power of two"));
        assert!(wrong(|settings| settings.xsk.receive_ring_packets = 0).contains("power of two"));
    }
}
