//! Brings desired state into effect: watch the store, full sync, apply, write statuses, sync again on a timer.

pub mod built;
pub mod mirror;
mod nat;
pub mod network;
pub mod node;
pub mod overlay;
pub mod plug;
mod quarantine;
pub mod services;
pub mod status;
#[cfg(test)]
mod tests;
mod waits;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How far desired state is in effect; shared with `/readyz` and `/metrics`.
#[derive(Debug, Default)]
pub struct Progress {
    applied: AtomicU64,
    failed: AtomicU64,
    last_duration_us: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Progress {
    /// Notes that desired state is in effect.
    pub fn applied(&self, duration: Duration) {
        self.last_duration_us.store(duration.as_micros() as u64, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.applied.fetch_add(1, Ordering::Release);
    }

    /// Notes that desired state could not be brought into effect.
    pub fn failed(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.failed.fetch_add(1, Ordering::Release);
    }

    /// Why the daemon is not ready, or None: it has not brought what is stored into effect yet. Later failures are
    /// told by statuses; the traffic of what is in effect goes on.
    pub fn not_ready(&self) -> Option<String> {
        if self.applied.load(Ordering::Acquire) > 0 {
            return None;
        }
        let error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(error.unwrap_or_else(|| "desired state is being brought into effect".to_owned()))
    }

    /// Whether the last run brought desired state into effect.
    pub fn is_in_effect(&self) -> bool {
        self.applied.load(Ordering::Acquire) > 0
            && self.last_error.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Runs that succeeded and runs that failed.
    pub fn counts(&self) -> (u64, u64) {
        (self.applied.load(Ordering::Acquire), self.failed.load(Ordering::Acquire))
    }

    /// Time that the last successful run took.
    pub fn last_duration(&self) -> Duration {
        Duration::from_micros(self.last_duration_us.load(Ordering::Relaxed))
    }
}
