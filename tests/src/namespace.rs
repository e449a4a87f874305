//! Network namespaces that are removed when their guard is dropped.
//!
//! A namespace is entered by a thread made for it ([`Namespace::enter`]): sockets opened and programs started by
//! that thread belong to the namespace. That leaves the mount namespace alone, unlike `ip netns exec`, which
//! hides the machine's /sys/fs/bpf, where the daemon pins its maps.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fd::AsFd;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{describe, run, words};
use crate::error::LabError;

/// Where `ip netns` keeps its namespaces.
const NAMESPACE_DIRECTORY: &str = "/run/netns";
/// First part of the name of everything that a test makes outside of its namespaces.
const TEST_PREFIX: &str = "est-";

/// A network namespace, removed with everything in it when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    keep: bool,
}

impl Namespace {
    /// Makes the namespace `name` with its loopback up. One of the same name must not exist.
    pub fn create(name: &str) -> Result<Self, LabError> {
        run(&mut words(&format!("ip netns add {name}")))?;
        let namespace = Self { name: name.to_owned(), keep: false };
        // No IPv6: its neighbour discovery and router solicitations would disturb the counters that tests compare.
        // A kernel without IPv6 has no such switch, and needs none.
        namespace.enter(|| {
            for scope in ["all", "default"] {
                let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
            }
        })?;
        namespace.run("ip link set lo up")?;
        Ok(namespace)
    }

    /// The namespace of that name that somebody else made, and keeps.
    pub fn existing(name: &str) -> Self {
        Self { name: name.to_owned(), keep: true }
    }

    /// Name as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Leaves the namespace where it is when the guard is dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Does something within the namespace, on a thread of its own.
    pub fn enter<T: Send>(&self, action: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        let path = Path::new(NAMESPACE_DIRECTORY).join(&self.name);
        let file = File::open(&path).map_err(LabError::system(format!("open {}", path.display())))?;
        let inside = move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(action())
        };
        let result: std::io::Result<T> = std::thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        result.map_err(LabError::system(format!("enter namespace {}", self.name)))
    }

    /// Runs a command line within the namespace and returns its output.
    pub fn run(&self, line: &str) -> Result<String, LabError> {
        self.run_command(&mut words(line))
    }

    /// Runs a program within the namespace and returns its output.
    pub fn run_command(&self, command: &mut Command) -> Result<String, LabError> {
        let result = self.enter(|| run(command))?;
        result.map_err(|error| match error {
            LabError::Failed { status, output, .. } => {
                LabError::Failed { command: format!("[{}] {}", self.name, describe(command)), status, output }
            }
            other => other,
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing can be done about a failure here; the next run removes it.
            let _ = remove(&self.name);
        }
    }
}

/// Removes the namespace `name` and ends the processes in it.
pub fn remove(name: &str) -> Result<(), LabError> {
    for id in run(&mut words(&format!("ip netns pids {name}")))?.lines() {
        if let Some(id) = id.trim().parse().ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(id, Signal::KILL);
        }
    }
    run(&mut words(&format!("ip netns delete {name}"))).map(drop)
}

/// Names of all namespaces that start with `prefix`.
pub fn list(prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(NAMESPACE_DIRECTORY) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    names
}

/// A prefix for the names of one test's namespaces, directory and daemon: `est-PID-N`.
pub fn unique_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    static CLEAN: Once = Once::new();
    CLEAN.call_once(remove_stale);
    format!("{TEST_PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Removes what test processes left that were killed: names carry the process id.
pub fn remove_stale() {
    let is_stale = |name: &str| {
        let id = name.strip_prefix(TEST_PREFIX).and_then(|rest| rest.split('-').next()?.parse().ok());
        id.and_then(Pid::from_raw).is_some_and(|id| test_kill_process(id).is_err())
    };
    for name in list(TEST_PREFIX).iter().filter(|name| is_stale(name)) {
        let _ = remove(name);
    }
    let directories = [std::env::temp_dir()].into_iter().chain(crate::daemon::pin_directories());
    for entry in directories.filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_stale) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
