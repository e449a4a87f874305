//! Settings of the machine that a run needs, put back afterwards: the size of the kernel's connection table.

use std::fs;

use super::BenchError;

/// What is set, and to what: room for a million flows and a chain length below one.
const SETTINGS: [(&str, &str); 2] = [
    ("/sys/module/nf_conntrack/parameters/hashsize", "2097152"),
    ("/proc/sys/net/netfilter/nf_conntrack_max", "2097152"),
];

/// The settings in force; dropping it restores what was there before.
#[derive(Debug)]
pub struct Tuning {
    before: Vec<(&'static str, String)>,
}

impl Tuning {
    /// Sets them.
    pub fn apply() -> Result<Self, BenchError> {
        let mut tuning = Self { before: Vec::new() };
        for (path, value) in SETTINGS {
            let describe = |error| BenchError::Invalid(format!("cannot set {path}: {error}"));
            let old = fs::read_to_string(path).map_err(describe)?;
            fs::write(path, value).map_err(describe)?;
            tuning.before.push((path, old.trim().to_owned()));
        }
        Ok(tuning)
    }
}

impl Drop for Tuning {
    fn drop(&mut self) {
        for (path, value) in &self.before {
            // A machine that refuses its own old value cannot be helped.
            let _ = fs::write(path, value);
        }
    }
}
