//! What happened to objects: the store's changes as events, the last of them kept in memory.
//!
//! The feed follows the store from before the API listens, so that nothing is missed. Readers take events by the
//! revision that they know; who asks for what is no longer kept is told so, and reads the objects anew. After a restart
//! the feed is empty, like the store's own log.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edgestack_model::event::{Change, Event};
use edgestack_model::{Kind, Status};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::app::record::{OBJECTS, STATUSES, status_key};
use crate::store::{self, Compacted, Store, StoreError, Watch};

/// Events that are kept.
pub const EVENTS_MAX: usize = 4096;
/// Bytes of the objects of all events that are kept.
const EVENTS_BYTES_MAX: usize = 32 << 20;
/// Readers that wait for events at the same time: of the tenants of one project, and of those who run the site.
pub const SUBSCRIBERS_MAX: usize = 64;
/// The same of all.
const SUBSCRIBERS_OF_ALL_MAX: usize = 1024;
/// Pause after the store could not be read.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The events of a store.
pub struct Feed {
    store: Arc<dyn Store>,
    ring: Mutex<Ring>,
    latest: watch::Sender<u64>,
    /// How many readers there are, by the project whose tenants they are; none for those of the site.
    subscribers: Arc<Mutex<HashMap<Option<String>, usize>>>,
    stop: watch::Receiver<bool>,
}

struct Ring {
    /// The events, each with the bytes of its object.
    events: VecDeque<(Arc<Event>, usize)>,
    bytes: usize,
    /// Every event after this revision is kept.
    oldest: u64,
    /// Every change up to this revision was seen.
    seen: u64,
    /// Records of all objects.
    known: Records,
}

/// Records as they are stored, by `<plural>/<id>`.
type Records = HashMap<String, Arc<[u8]>>;

/// Events after a revision, with the revision that they lead to.
pub type News = (u64, Vec<Arc<Event>>);

impl Feed {
    /// The feed of a store from now on; returns the watch that [`Feed::run`] goes on with.
    pub fn new(store: Arc<dyn Store>, stop: watch::Receiver<bool>) -> Result<(Arc<Self>, Watch), StoreError> {
        let (known, revision) = read_known(store.as_ref())?;
        let watch = store.watch("", revision);
        let ring = Ring { events: VecDeque::new(), bytes: 0, oldest: revision, seen: revision, known };
        let feed = Self {
            store,
            ring: Mutex::new(ring),
            latest: watch::Sender::new(revision),
            subscribers: Arc::default(),
            stop,
        };
        Ok((Arc::new(feed), watch))
    }

    /// Follows the store until the daemon stops.
    pub async fn run(self: Arc<Self>, mut changes: Watch) {
        let mut stop = self.stop.clone();
        // News that were not taken to their end are lost: what came of them is read anew, and readers are told.
        let mut is_lost = false;
        loop {
            let pause = if is_lost { RETRY_AFTER } else { Duration::ZERO };
            let news = tokio::select! {
                () = stopped(&mut stop) => return,
                () = tokio::time::sleep(pause), if is_lost => None,
                news = changes.next(), if !is_lost => news.ok(),
            };
            let feed = Arc::clone(&self);
            let taken = tokio::task::spawn_blocking(move || match news {
                Some(news) => feed.take(&news).map(|()| None),
                None => feed.start_anew().map(Some),
            });
            let taken = taken.await;
            is_lost = !matches!(taken, Ok(Ok(_)));
            match taken {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(watch))) => changes = watch,
                Ok(Err(error)) => tracing::warn!(%error, "events could not be read from the store"),
                Err(error) => tracing::error!(%error, "following the store failed"),
            }
        }
    }

    /// Events after `revision`.
    pub fn after(&self, revision: u64) -> Result<News, Compacted> {
        let ring = self.ring();
        // A revision that was never reached is of another store, such as the one before a restore.
        if revision < ring.oldest || revision > ring.seen {
            return Err(Compacted { wanted: revision, oldest: ring.oldest });
        }
        let first = ring.events.partition_point(|(event, _)| event.revision <= revision);
        Ok((ring.seen, ring.events.range(first..).map(|(event, _)| Arc::clone(event)).collect()))
    }

    /// The revision that every event up to is known, and the one after which every event is kept.
    pub fn bounds(&self) -> (u64, u64) {
        let ring = self.ring();
        (ring.seen, ring.oldest)
    }

    /// A place among the readers that wait: of a project's tenants, or of those who run the site. None when there are
    /// too many.
    pub fn subscribe(&self, project: Option<&str>) -> Option<Subscription> {
        let project = project.map(str::to_owned);
        let mut counts = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = counts.values().sum();
        let own = counts.get(&project).copied().unwrap_or_default();
        if own >= SUBSCRIBERS_MAX || all >= SUBSCRIBERS_OF_ALL_MAX {
            return None;
        }
        counts.insert(project.clone(), own + 1);
        let place = Place { subscribers: Arc::clone(&self.subscribers), project };
        Some(Subscription { latest: self.latest.subscribe(), stop: self.stop.clone(), _place: place })
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, changes: &[store::Event]) -> Result<(), StoreError> {
        let at = Timestamp::now();
        let mut ring = self.ring();
        for change in changes {
            let made = if let Some(key) = change.key.strip_prefix(OBJECTS) {
                self.of_object(&mut ring, key, change, at)?
            } else if let Some(key) = change.key.strip_prefix(STATUSES) {
                of_status(&ring, key, change, at)
            } else {
                None
            };
            ring.seen = change.revision;
            if let Some((event, bytes)) = made {
                ring.push(event, bytes);
            }
        }
        let seen = ring.seen;
        drop(ring);
        self.latest.send_replace(seen);
        Ok(())
    }

    /// Reads all objects anew; what happened in between is lost, and readers are told.
    fn start_anew(&self) -> Result<Watch, StoreError> {
        let (known, revision) = read_known(self.store.as_ref())?;
        let mut ring = self.ring();
        *ring = Ring { events: VecDeque::new(), bytes: 0, oldest: revision, seen: revision, known };
        drop(ring);
        self.latest.send_replace(revision);
        Ok(self.store.watch("", revision))
    }

    fn of_object(
        &self,
        ring: &mut Ring,
        key: &str,
        change: &store::Event,
        at: Timestamp,
    ) -> Result<Option<(Event, usize)>, StoreError> {
        let Some((kind, id)) = parse_key(key) else { return Ok(None) };
        let (record, what, reason) = match &change.value {
            Some(value) => match ring.known.insert(key.to_owned(), Arc::clone(value)) {
                None => (Arc::clone(value), Change::Created, "Created"),
                Some(_) => (Arc::clone(value), Change::Updated, "Updated"),
            },
            None => match ring.known.remove(key) {
                Some(record) => (record, Change::Deleted, "Deleted"),
                None => return Ok(None),
            },
        };
        let status = self.store.get(&status_key(kind.plural(), id))?;
        let status = status.and_then(|status| serde_json::from_slice(&status.value).ok());
        let Some((name, object)) = show(&record, status.unwrap_or_default()) else { return Ok(None) };
        let message = format!("the {kind} {name} was {}", what.word());
        let event = event(change.revision, what, (kind, id, name), (reason.to_owned(), message), at, object);
        Ok(Some((event, record.len())))
    }
}

impl Ring {
    fn push(&mut self, event: Event, bytes: usize) {
        self.events.push_back((Arc::new(event), bytes));
        self.bytes += bytes;
        while self.events.len() > EVENTS_MAX || self.bytes > EVENTS_BYTES_MAX {
            let Some((dropped, bytes)) = self.events.pop_front() else { break };
            self.bytes -= bytes;
            self.oldest = dropped.revision;
        }
    }
}

/// A reader that waits for events.
pub struct Subscription {
    latest: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    _place: Place,
}

/// A place among the readers, which is free when this goes.
struct Place {
    subscribers: Arc<Mutex<HashMap<Option<String>, usize>>>,
    project: Option<String>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.project) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.project);
            }
        }
    }
}

impl Subscription {
    /// Waits for events after `revision`; false when the daemon stops.
    pub async fn changed(&mut self, revision: u64) -> bool {
        tokio::select! {
            () = stopped(&mut self.stop) => false,
            changed = moved_on(&mut self.latest, revision) => changed,
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that nobody is left to say so, which is as good.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn moved_on(latest: &mut watch::Receiver<u64>, revision: u64) -> bool {
    latest.wait_for(|latest| *latest != revision).await.is_ok()
}

fn of_status(ring: &Ring, key: &str, change: &store::Event, at: Timestamp) -> Option<(Event, usize)> {
    let (kind, id) = parse_key(key)?;
    let status: Status = serde_json::from_slice(change.value.as_deref()?).ok()?;
    let record = ring.known.get(key)?;
    let condition = status.conditions.first();
    let reason = condition.map_or_else(String::new, |condition| condition.reason.clone());
    let phase = status.phase;
    let (name, object) = show(record, status.clone())?;
    let message = match condition.map(|condition| condition.message.as_str()) {
        Some(message) if !message.is_empty() => message.to_owned(),
        _ => format!("the {kind} {name} is {phase}"),
    };
    let event = event(change.revision, Change::Status, (kind, id, name), (reason, message), at, object);
    Some((event, record.len()))
}

fn event(
    revision: u64,
    change: Change,
    (kind, id, name): (Kind, &str, String),
    (reason, message): (String, String),
    at: Timestamp,
    object: Value,
) -> Event {
    let (kind, id) = (kind.singular().to_owned(), id.to_owned());
    let project = object["project"].as_str().map(str::to_owned);
    Event { revision, change, kind, id, name, project, reason, message, at, object }
}

/// Kind and id of a key without its group.
fn parse_key(key: &str) -> Option<(Kind, &str)> {
    let (plural, id) = key.split_once('/')?;
    Some((Kind::ALL.into_iter().find(|kind| kind.plural() == plural)?, id))
}

/// Name and object of a stored record, as the API shows them, but for what it finds elsewhere.
fn show(record: &[u8], status: Status) -> Option<(String, Value)> {
    let mut fields: Map<String, Value> = serde_json::from_slice(record).ok()?;
    let name = fields.get("name")?.as_str()?.to_owned();
    fields.shift_remove("keys");
    if let Some(Value::Object(mut spec)) = fields.shift_remove("spec") {
        // The rules of a group are objects of their own, with events of their own.
        spec.shift_remove("rules");
        fields.extend(spec);
    }
    fields.insert("status".to_owned(), serde_json::to_value(status).ok()?);
    Some((name, Value::Object(fields)))
}

fn read_known(store: &dyn Store) -> Result<(Records, u64), StoreError> {
    let listing = store.list(OBJECTS)?;
    let known = listing.entries.into_iter().filter_map(|entry| {
        let key = entry.key.strip_prefix(OBJECTS)?.to_owned();
        Some((key, Arc::from(entry.value)))
    });
    Ok((known.collect(), listing.revision))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use edgestack_model::event::Change;
    use tokio::sync::watch;

    use super::{EVENTS_MAX, Feed, SUBSCRIBERS_MAX};
    use crate::store::{Listing, MemoryStore, Store, StoreError, Stored, Transaction, Watch};

    fn record(name: &str, description: &str) -> String {
        format!(
            r#"{{"id":"1","name":"{name}","labels":{{}},"spec":{{"description":"{description}"}},"keys":["k"]}}"#
        )
    }

    fn feed(store: &Arc<dyn Store>) -> (Arc<Feed>, watch::Sender<bool>) {
        let (stop, stopped) = watch::channel(false);
        let (feed, changes) = Feed::new(Arc::clone(store), stopped).unwrap();
        tokio::spawn(Arc::clone(&feed).run(changes));
        (feed, stop)
    }

    /// Waits until the feed has seen everything.
    async fn settled(feed: &Feed, store: &dyn Store) {
        let mut subscription = feed.subscribe(None).unwrap();
        while feed.bounds().0 < store.revision() {
            subscription.changed(feed.bounds().0).await;
        }
    }

    #[tokio::test]
    async fn changes_become_events() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        store.commit(Transaction::default().put("objects/networks/0", record("before", ""))).unwrap();
        let (feed, _stop) = feed(&store);
        let key = "objects/networks/1";
        store.commit(Transaction::default().put(key, record("a", "")).put("names/networks/a", "x")).unwrap();
        store.commit(Transaction::default().put(key, record("a", "changed"))).unwrap();
        let status = r#"{"phase":"Pending","conditions":[{"type":"Ready","status":"False","reason":"NoUplink","message":"there is none"}]}"#;
        store.commit(Transaction::default().put("status/networks/1", status)).unwrap();
        store.commit(Transaction::default().put("objects/unknown/1", record("x", ""))).unwrap();
        store.commit(Transaction::default().delete(key).delete("status/networks/1")).unwrap();
        settled(&feed, store.as_ref()).await;
        let (seen, events) = feed.after(1).unwrap();
        assert_eq!(seen, 6);
        let told: Vec<(u64, Change, &str)> =
            events.iter().map(|event| (event.revision, event.change, event.reason.as_str())).collect();
        assert_eq!(
            told,
            [
                (2, Change::Created, "Created"),
                (3, Change::Updated, "Updated"),
                (4, Change::Status, "NoUplink"),
                (6, Change::Deleted, "Deleted"),
            ]
        );
        assert_eq!(events[2].message, "there is none");
        assert_eq!(events[2].object["status"]["phase"], "Pending");
        assert_eq!(events[3].object["description"], "changed", "as it was last");
        assert!(events[3].object.get("keys").is_none());
        assert_eq!(feed.after(4).unwrap().1.len(), 1);
        assert!(feed.after(7).is_err(), "of another store");
    }

    /// A store that can be read no more after a time, and then again.
    struct Failing {
        below: MemoryStore,
        failures_left: AtomicUsize,
    }

    impl Store for Failing {
        fn get(&self, key: &str) -> Result<Option<Stored>, StoreError> {
            let left = |left: usize| left.checked_sub(1);
            if self.failures_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
                return Err(StoreError::Exists { path: "of this test".to_owned() });
            }
            self.below.get(key)
        }

        fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
            self.below.list(prefix)
        }

        fn commit(&self, transaction: &Transaction) -> Result<u64, StoreError> {
            self.below.commit(transaction)
        }

        fn watch(&self, prefix: &str, revision: u64) -> Watch {
            self.below.watch(prefix, revision)
        }

        fn revision(&self) -> u64 {
            self.below.revision()
        }
    }

    #[tokio::test]
    async fn events_that_could_not_be_read_are_not_passed_over() {
        let failing = Failing { below: MemoryStore::default(), failures_left: AtomicUsize::new(1) };
        let store: Arc<dyn Store> = Arc::new(failing);
        let (feed, _stop) = feed(&store);
        store.commit(Transaction::default().put("objects/networks/1", record("a", ""))).unwrap();
        settled(&feed, store.as_ref()).await;
        assert!(feed.after(0).is_err(), "a reader is told that something is missing");
        store.commit(Transaction::default().put("objects/networks/2", record("b", ""))).unwrap();
        settled(&feed, store.as_ref()).await;
        assert_eq!(feed.after(1).unwrap().1.len(), 1);
    }

    #[tokio::test]
    async fn what_is_no_longer_kept_is_told() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let (feed, _stop) = feed(&store);
        for number in 0..=EVENTS_MAX {
            store
                .commit(Transaction::default().put("objects/networks/1", record("a", &number.to_string())))
                .unwrap();
        }
        settled(&feed, store.as_ref()).await;
        assert_eq!(feed.after(0).unwrap_err().oldest, 1);
        assert_eq!(feed.after(1).unwrap().1.len(), EVENTS_MAX);
    }

    #[tokio::test]
    async fn one_project_takes_no_places_of_others() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let (feed, _stop) = feed(&store);
        let mut places: Vec<_> = std::iter::from_fn(|| feed.subscribe(Some("blue"))).collect();
        assert_eq!(places.len(), SUBSCRIBERS_MAX);
        assert!(feed.subscribe(Some("red")).is_some() && feed.subscribe(None).is_some());
        places.pop();
        assert!(feed.subscribe(Some("blue")).is_some(), "a place is free again");
    }
}
