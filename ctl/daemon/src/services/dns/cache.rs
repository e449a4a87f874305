//! Answers of upstream servers, for as long as they may be kept.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgestack_dataplane::wire::dns::Reply;

/// Bytes of all answers.
const BYTES_MAX: usize = 8 << 20;
/// Answers.
const ENTRIES_MAX: usize = 16_384;
/// No answer is kept longer, whatever it says.
const TTL_SECONDS_MAX: u32 = 3600;

/// The cache. Times come in as arguments.
#[derive(Debug)]
pub(super) struct Cache<K> {
    entries: HashMap<K, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    reply: Arc<Reply>,
    since: Instant,
    until: Instant,
}

impl<K: Eq + Hash + Clone> Cache<K> {
    pub(super) fn new() -> Self {
        Self { entries: HashMap::new(), bytes: 0 }
    }

    /// The answer to a question, and its age in seconds.
    pub(super) fn get(&self, key: &K, now: Instant) -> Option<(Arc<Reply>, u32)> {
        let entry = self.entries.get(key).filter(|entry| entry.until > now)?;
        let age = now.saturating_duration_since(entry.since).as_secs();
        Some((Arc::clone(&entry.reply), u32::try_from(age).unwrap_or(u32::MAX)))
    }

    /// Keeps an answer, where it may be kept at all.
    pub(super) fn put(&mut self, key: K, reply: Arc<Reply>, now: Instant) {
        let Some(ttl) = reply.ttl.map(|ttl| ttl.min(TTL_SECONDS_MAX)).filter(|ttl| *ttl > 0) else { return };
        let size = reply.size();
        if size > BYTES_MAX / 64 {
            return;
        }
        self.remove(&key);
        if self.bytes + size > BYTES_MAX || self.entries.len() >= ENTRIES_MAX {
            self.make_room(now);
        }
        self.bytes += size;
        let until = now + Duration::from_secs(ttl.into());
        self.entries.insert(key, Entry { reply, since: now, until });
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.reply.size();
        }
    }

    /// What is over goes, and half of the rest, the soonest over first.
    fn make_room(&mut self, now: Instant) {
        let mut ends: Vec<Instant> = self.entries.values().map(|entry| entry.until).collect();
        ends.sort_unstable();
        let middle = ends.get(ends.len() / 2).copied().unwrap_or(now).max(now);
        self.entries.retain(|_, entry| entry.until > middle);
        if self.entries.len() > ENTRIES_MAX / 2 {
            // All end at the same time.
            self.entries.clear();
        }
        self.bytes = self.entries.values().map(|entry| entry.reply.size()).sum();
    }
}
