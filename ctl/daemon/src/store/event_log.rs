//! The bounded log of changes that watches read. Both back ends append to one after each commit.
//!
//! It lives in memory: after a restart it is empty and every older revision counts as compacted, which sends readers
//! through a full listing, as they would start anyway.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::{Operation, Transaction};

/// Changes that are kept for readers that are behind.
pub(super) const EVENTS_MAX: usize = 16_384;
/// Bytes of the keys and values of all changes that are kept.
const EVENTS_BYTES_MAX: usize = 64 << 20;

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Revision of the commit.
    pub revision: u64,
    /// The key.
    pub key: String,
    /// The new value; none where the key was removed.
    pub value: Option<Arc<[u8]>>,
}

impl Event {
    fn bytes(&self) -> usize {
        self.key.len() + self.value.as_deref().map_or(0, <[u8]>::len)
    }
}

/// The wanted changes are no longer in the log: list everything, then watch from the listing's revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("changes after revision {wanted} are gone, the log starts after {oldest}")]
pub struct Compacted {
    /// The revision that was asked for.
    pub wanted: u64,
    /// The oldest revision that can be asked for.
    pub oldest: u64,
}

/// The log.
#[derive(Debug)]
pub struct EventLog {
    events: Mutex<Events>,
    latest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Events {
    queue: VecDeque<Event>,
    bytes: usize,
    /// Every change after this revision is in the queue.
    oldest: u64,
}

impl EventLog {
    /// An empty log of a store that is at `revision`.
    pub fn new(revision: u64) -> Arc<Self> {
        let events = Mutex::new(Events { queue: VecDeque::new(), bytes: 0, oldest: revision });
        Arc::new(Self { events, latest: watch::Sender::new(revision) })
    }

    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        *self.latest.borrow()
    }

    /// Appends the changes of a commit. Commits are appended in their order: the caller holds its write lock.
    pub fn append(&self, revision: u64, transaction: &Transaction) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        for operation in &transaction.operations {
            let (key, value) = match operation {
                Operation::Put { key, value } => (key, Some(Arc::from(value.as_slice()))),
                Operation::Delete { key } => (key, None),
            };
            let event = Event { revision, key: key.clone(), value };
            events.bytes += event.bytes();
            events.queue.push_back(event);
        }
        while events.queue.len() > EVENTS_MAX || events.bytes > EVENTS_BYTES_MAX {
            let Some(dropped) = events.queue.pop_front() else { break };
            events.bytes -= dropped.bytes();
            events.oldest = dropped.revision;
        }
        drop(events);
        self.latest.send_replace(revision);
    }

    /// Changes of keys that start with `prefix` after `revision`, with the revision that they lead to.
    fn after(&self, prefix: &str, revision: u64) -> Result<(u64, Vec<Event>), Compacted> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if revision < events.oldest {
            return Err(Compacted { wanted: revision, oldest: events.oldest });
        }
        let first = events.queue.partition_point(|event| event.revision <= revision);
        let newer = events.queue.range(first..);
        let latest = events.queue.back().map_or(revision, |event| event.revision.max(revision));
        Ok((latest, newer.filter(|event| event.key.starts_with(prefix)).cloned().collect()))
    }
}

/// A reader of changes.
#[derive(Debug)]
pub struct Watch {
    log: Arc<EventLog>,
    latest: watch::Receiver<u64>,
    prefix: String,
    seen: u64,
}

impl Watch {
    pub(super) fn new(log: &Arc<EventLog>, prefix: &str, revision: u64) -> Self {
        let latest = log.latest.subscribe();
        Self { log: Arc::clone(log), latest, prefix: prefix.to_owned(), seen: revision }
    }

    /// The changes since the last call; waits until there are some.
    pub async fn next(&mut self) -> Result<Vec<Event>, Compacted> {
        loop {
            self.latest.mark_unchanged();
            let events = self.pending()?;
            if !events.is_empty() {
                return Ok(events);
            }
            // The log holds the sender, and this holds the log: it does not close.
            let _ = self.latest.changed().await;
        }
    }

    /// The revision up to which all changes were handed out.
    pub fn revision(&self) -> u64 {
        self.seen
    }

    /// The changes since the last call, possibly none.
    pub fn pending(&mut self) -> Result<Vec<Event>, Compacted> {
        let (seen, events) = self.log.after(&self.prefix, self.seen)?;
        self.seen = seen;
        Ok(events)
    }
}
