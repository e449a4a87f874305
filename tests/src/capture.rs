//! What arrives on an interface, recorded with `tcpdump`.

use std::path::Path;
use std::time::Duration;

use crate::command::{Process, words};
use crate::error::LabError;
use crate::namespace::Namespace;
use crate::wait;

/// A running capture, one line a packet.
#[derive(Debug)]
pub struct Capture {
    process: Process,
}

impl Capture {
    /// Records the packets on `eth0` of `namespace` that match `filter` (the language of tcpdump), MAC addresses
    /// included.
    pub fn start(namespace: &Namespace, filter: &str, directory: &Path) -> Result<Self, LabError> {
        let log = directory.join(format!("tcpdump-{}.log", namespace.name()));
        // An earlier capture of the same namespace is not of this one.
        let _ = std::fs::remove_file(&log);
        let line = format!("tcpdump -n -e -l --immediate-mode -Q in -i eth0 {filter}");
        let process = namespace.enter(|| Process::start(&mut words(&line), &log))??;
        wait::until("tcpdump to listen", Duration::from_secs(5), || process.log().contains("listening on"))?;
        Ok(Self { process })
    }

    /// The packets so far, one line each.
    pub fn packets(&self) -> Vec<String> {
        // tcpdump's own messages have no time in front.
        let is_packet =
            |line: &&str| line.as_bytes().get(2) == Some(&b':') && line.as_bytes().get(5) == Some(&b':');
        self.process.log().lines().filter(is_packet).map(str::to_owned).collect()
    }
}
