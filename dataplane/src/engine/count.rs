//! Looks at all sessions, for views and for what is done to many of them: a slice at a time, so that the slow path waits for a
//! slice and never for a million sessions.
//!
//! In between sessions end, and what they have carried goes into totals. So that a count that adds those totals to what it saw
//! itself counts nothing twice, it is kept in mind what it has seen and ended since. Called by control threads.

use std::ops::{ControlFlow, Range};
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use edgestack_abi::Session;
use hashbrown::HashMap;

use super::traffic::{EndedTraffic, Traffic};
use super::{Engine, SlowPath};
use crate::snapshot::load_balancer::TotalsKey;

/// Sessions that are looked at while the slow path waits: less than a millisecond of it.
const SLICE_SESSIONS: u32 = 1024;
/// How long the lock is left to others between two slices. A mutex alone lets whoever had it last take it again.
const PAUSE: Duration = Duration::from_micros(50);

/// What a count that is under way has seen, and what of it has ended since.
#[derive(Debug, Default)]
pub(super) struct Count {
    /// Sessions below this number were looked at.
    seen_to: u32,
    /// What they had carried when they ended, by external address.
    pub(super) ended: EndedTraffic,
    /// The same by rule and by member of a load balancer.
    pub(super) ended_balanced: HashMap<TotalsKey, Traffic>,
}

impl SlowPath {
    /// The count that has looked at a session already, where one is under way.
    pub(super) fn count_of(&mut self, session: u32) -> Option<&mut Count> {
        self.count.as_mut().filter(|count| session < count.seen_to)
    }
}

impl Engine {
    /// Gives `work` the numbers of all sessions, a slice at a time, each under the slow-path lock, until it has enough.
    pub(super) fn in_slices(&self, mut work: impl FnMut(&mut SlowPath, Range<u32>) -> ControlFlow<()>) {
        let mut first = 0_u32;
        loop {
            let mut slow = self.slow();
            let end = slow.sessions.end();
            let next = first.saturating_add(SLICE_SESSIONS).min(end);
            if work(&mut slow, first..next).is_break() || next >= end {
                return;
            }
            first = next;
            drop(slow);
            thread::sleep(PAUSE);
        }
    }

    /// Gives every session to `look`, which notes what it finds in `found`; then `finish` adds it all up. The slow path has the
    /// totals of what has ended, and the count what is in them and was found as well.
    pub(super) fn count_sessions<F, T>(
        &self,
        mut found: F,
        mut look: impl FnMut(&mut F, u32, &Session),
        finish: impl FnOnce(F, &SlowPath, &Count) -> T,
    ) -> T {
        let _turn = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        self.slow().count = Some(Count::default());
        self.in_slices(|slow, slice| {
            for index in slice.clone() {
                if let Some(session) = slow.sessions.get(index) {
                    look(&mut found, index, &session);
                }
            }
            if let Some(count) = &mut slow.count {
                count.seen_to = slice.end;
            }
            ControlFlow::Continue(())
        });
        let mut slow = self.slow();
        let count = slow.count.take().unwrap_or_default();
        finish(found, &slow, &count)
    }
}
