//! Waiting for something to become true, with a bound.

use std::time::{Duration, Instant};

use crate::error::LabError;

/// How often a condition is tried.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Tries `condition` until it holds; fails after `timeout` naming `what`.
pub fn until(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) -> Result<(), LabError> {
    value(what, timeout, || if condition() { Ok(()) } else { Err(String::new()) })
}

/// Tries `attempt` until it gives a value; fails after `timeout` with what the last attempt said.
pub fn value<T>(
    what: &str,
    timeout: Duration,
    mut attempt: impl FnMut() -> Result<T, String>,
) -> Result<T, LabError> {
    let deadline = Instant::now() + timeout;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= deadline => {
                let detail = if reason.is_empty() { reason } else { format!("\n{reason}") };
                return Err(LabError::Timeout { what: what.to_owned(), seconds: timeout.as_secs(), detail });
            }
            Err(_) => std::thread::sleep(POLL_INTERVAL),
        }
    }
}
