//! What lists show, kept written out, so that a list neither reads nor writes again what did not change.
//!
//! The objects of a kind are read from the store with its first list. From then on they follow the store's log: before each list
//! the changes since the last one are taken over, and as a write is in the log before it is answered, a list after the answer shows it.
//! Where the log no longer has them all, everything is read again. Called by `list.rs`; never writes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use edgestack_model::{Kind, Labels, Object, Status};
use serde::{Deserialize, Serialize};

use super::error::AppError;
use super::record::{Entry, object_prefix, status_key};
use super::{Noun, decode_status};
use crate::store::{Event, Store, Stored, Watch};

/// Bytes that are kept of one kind: about 50,000 ports. Of a kind that has more, nothing is kept.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// An object as lists show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its project; none where it is the site's.
    pub project: Option<String>,
    /// All projects may use it.
    pub is_shared: bool,
    /// Its labels.
    pub labels: Labels,
    /// Id of the object that it is a part of.
    pub part_of: Option<String>,
    /// The whole of it as JSON, except for what [`Noun::COMPLETE`] and [`Noun::LISTED`] add.
    pub text: Arc<str>,
}

/// The objects of all kinds that were listed so far.
#[derive(Debug, Default)]
pub struct Lists {
    kinds: Mutex<HashMap<Kind, Arc<Mutex<Option<Kept>>>>>,
}

/// The objects of one kind.
#[derive(Debug)]
struct Kept {
    /// In the order of the ids, which is the one that they were made in.
    objects: BTreeMap<String, Arc<Listed>>,
    bytes: usize,
    /// Hands out what `objects` does not have yet.
    changes: Watch,
}

impl Lists {
    /// All objects of a kind in the order they were made, and a revision from which on a watch misses nothing.
    pub fn of<S: Noun>(&self, store: &dyn Store) -> Result<(Vec<Arc<Listed>>, u64), AppError> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = Arc::clone(kinds.entry(S::KIND).or_default());
        drop(kinds);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        // What fails in the middle is not put back.
        let mut kept = match slot.take() {
            Some(kept) => kept,
            None => Kept::read::<S>(store)?,
        };
        if !kept.follow::<S>()? {
            kept = Kept::read::<S>(store)?;
        }
        let answer = (kept.objects.values().cloned().collect(), kept.changes.revision());
        if kept.bytes <= KEPT_BYTES_MAX {
            *slot = Some(kept);
        }
        Ok(answer)
    }
}

impl Kept {
    fn read<S: Noun>(store: &dyn Store) -> Result<Self, AppError> {
        let statuses = store.list(&status_key(S::KIND.plural(), ""))?;
        // What changes between the two listings is in the log, and is taken over from there once more.
        let changes = store.watch("", statuses.revision);
        let mut kept = Self { objects: BTreeMap::new(), bytes: 0, changes };
        let mut statuses = statuses.entries.into_iter().peekable();
        for stored in store.list(&object_prefix::<S>())?.entries {
            let record = Entry::<S>::decode(&stored)?.record;
            // Both listings are in the order of the ids.
            let key = status_key(S::KIND.plural(), &record.id);
            while statuses.next_if(|status| status.key < key).is_some() {}
            let status = statuses.next_if(|status| status.key == key);
            kept.set(&record.into_object(decode_status(status.as_ref().map(|status| &*status.value))))?;
        }
        Ok(kept)
    }

    /// Takes over what changed; false where the log does not say so any more.
    fn follow<S: Noun>(&mut self) -> Result<bool, AppError> {
        let (objects, statuses) = (object_prefix::<S>(), status_key(S::KIND.plural(), ""));
        let Ok(events) = self.changes.pending() else { return Ok(false) };
        for event in events {
            if let Some(id) = event.key.strip_prefix(&objects) {
                let id = id.to_owned();
                self.object_changed::<S>(&id, event)?;
            } else if let Some(id) = event.key.strip_prefix(&statuses) {
                self.status_changed::<S>(id, event.value.as_deref())?;
            }
        }
        Ok(true)
    }

    fn object_changed<S: Noun>(&mut self, id: &str, event: Event) -> Result<(), AppError> {
        let before = self.remove(id);
        let Some(value) = event.value else { return Ok(()) };
        let stored = Stored { key: event.key, value: value.to_vec(), revision: event.revision };
        let record = Entry::<S>::decode(&stored)?.record;
        let status = before.map_or_else(Status::default, |before| before.status());
        self.set(&record.into_object(status))
    }

    fn status_changed<S: Noun>(&mut self, id: &str, value: Option<&[u8]>) -> Result<(), AppError> {
        // A status without an object is left over, or its object's removal is in the log before it.
        let Some(before) = self.remove(id) else { return Ok(()) };
        let mut object: Object<S> = before.parse()?;
        object.status = decode_status(value);
        self.set(&object)
    }

    fn set<S: Noun>(&mut self, object: &Object<S>) -> Result<(), AppError> {
        let listed = Listed::new(object)?;
        self.bytes += listed.bytes();
        self.objects.insert(object.id.clone(), Arc::new(listed));
        Ok(())
    }

    fn remove(&mut self, id: &str) -> Option<Arc<Listed>> {
        let removed = self.objects.remove(id)?;
        self.bytes -= removed.bytes();
        Some(removed)
    }
}

impl Listed {
    fn new<S: Noun>(object: &Object<S>) -> Result<Self, AppError> {
        Ok(Self {
            id: object.id.clone(),
            name: object.name.clone(),
            project: object.project.clone(),
            is_shared: object.spec.is_shared(),
            labels: object.labels.clone(),
            part_of: object.spec.part_of().map(str::to_owned),
            text: write(object)?,
        })
    }

    /// The object with all its fields.
    pub fn parse<S: Noun>(&self) -> Result<Object<S>, AppError> {
        serde_json::from_str(&self.text).map_err(|source| AppError::Corrupt { key: self.id.clone(), source })
    }

    fn status(&self) -> Status {
        /// All that is read of the object.
        #[derive(Deserialize)]
        struct Part {
            status: Status,
        }
        serde_json::from_str::<Part>(&self.text).map(|part| part.status).unwrap_or_default()
    }

    /// Memory that it takes, about.
    fn bytes(&self) -> usize {
        let labels: usize = self.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        let others = [&self.project, &self.part_of].into_iter().flatten().map(String::len).sum::<usize>();
        let strings = 2 * self.id.len() + self.name.len() + others;
        size_of::<Self>() + strings + labels + self.text.len()
    }
}

/// An object as JSON, whose status has one more field.
pub(super) fn with_status(text: &str, field: &str, value: &impl Serialize) -> Option<Arc<str>> {
    // The status stands last, and is never empty.
    let open = text.strip_suffix("}}")?;
    let value = serde_json::to_string(value).ok()?;
    Some(format!("{open},\"{field}\":{value}}}}}").into())
}

/// An object as JSON.
pub(super) fn write<S: Noun>(object: &Object<S>) -> Result<Arc<str>, AppError> {
    let text = serde_json::to_string(object)
        .map_err(|source| AppError::Corrupt { key: object.id.clone(), source })?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use edgestack_model::{FlavorSpec, NetworkSpec, Spec as _, read_draft};
    use serde_json::{Value, json};

    use super::Listed;
    use crate::app::list::ListQuery;
    use crate::app::record::{object_key, status_key};
    use crate::app::{App, AppError, Noun};
    use crate::store::{MemoryStore, OPERATIONS_MAX, Transaction};

    fn app() -> App {
        App::new(Arc::new(MemoryStore::default()), Vec::new())
    }

    fn listed<S: Noun>(app: &App) -> Vec<Arc<str>> {
        app.list::<S>(&ListQuery::default()).unwrap().objects
    }

    /// What a daemon that starts now would list.
    fn afresh<S: Noun>(app: &App) -> Vec<Arc<str>> {
        listed::<S>(&App::new(Arc::clone(app.store()), Vec::new()))
    }

    fn network(number: usize) -> Value {
        json!({"network": {"name": format!("n{number}"), "cidr": format!("10.0.{number}.0/24")}})
    }

    fn create(app: &App, number: usize) -> String {
        let created = app.create(&read_draft::<NetworkSpec>(&network(number)).unwrap()).unwrap();
        let (crate::app::Created::New(shown) | crate::app::Created::Existing(shown)) = created;
        shown.object.id
    }

    fn describe(app: &App, reference: &str, description: &str) -> Result<(), AppError> {
        let change = |object: &edgestack_model::Object<NetworkSpec>| {
            let spec = NetworkSpec { description: description.to_owned(), ..object.spec.clone() };
            Ok(edgestack_model::Draft {
                id: None,
                name: None,
                project: None,
                labels: object.labels.clone(),
                spec,
            })
        };
        app.update::<NetworkSpec>(reference, None, change).map(|_| ())
    }

    fn report(app: &App, id: &str, generation: usize) {
        let status = json!({"phase": "Active", "observed_generation": generation, "conditions": []});
        let key = status_key(NetworkSpec::KIND.plural(), id);
        app.store().commit(Transaction::default().put(key, status.to_string())).unwrap();
    }

    fn kept_bytes<S: Noun>(app: &App) -> (usize, usize) {
        let kinds = app.lists.kinds.lock().unwrap();
        let slot = kinds[&S::KIND].lock().unwrap();
        let kept = slot.as_ref().unwrap();
        (kept.bytes, kept.objects.values().map(|object| Listed::bytes(object)).sum())
    }

    #[test]
    fn a_list_follows_every_change() {
        let app = app();
        let mut ids: Vec<String> = Vec::new();
        let mut random = 1_usize;
        for step in 0..300 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let choice = (random >> 33) % 8;
            let some = ids.get((random >> 40) % ids.len().max(1)).cloned();
            match (choice, some) {
                (0..=2, _) | (_, None) => {
                    let free = (0..256).find(|number| app.get::<NetworkSpec>(&format!("n{number}")).is_err());
                    ids.push(create(&app, free.unwrap()));
                }
                (3..=4, Some(id)) => describe(&app, &id, &format!("step {step}")).unwrap(),
                (5..=6, Some(id)) => report(&app, &id, step),
                (_, Some(id)) => {
                    app.delete::<NetworkSpec>(&id, None).unwrap();
                    ids.retain(|other| *other != id);
                    if step % 2 == 0 {
                        report(&app, &id, step); // As a reconciler may that has not heard of it yet.
                    }
                }
            }
            // Not after every change, so that several are taken over at once, too.
            if step % 3 != 0 {
                assert_eq!(listed::<NetworkSpec>(&app), afresh::<NetworkSpec>(&app), "after step {step}");
                let (counted, found) = kept_bytes::<NetworkSpec>(&app);
                assert_eq!(counted, found);
            }
        }
        assert!(ids.len() > 20, "{} networks are left", ids.len());
    }

    #[test]
    fn what_did_not_change_is_not_written_again() {
        let app = app();
        let ids: Vec<String> = (0..5).map(|number| create(&app, number)).collect();
        let before = app.seen::<NetworkSpec>().unwrap().0;
        describe(&app, &ids[1], "changed").unwrap();
        report(&app, &ids[3], 1);
        let after = app.seen::<NetworkSpec>().unwrap().0;
        let same: Vec<bool> = before.iter().zip(&after).map(|(a, b)| Arc::ptr_eq(a, b)).collect();
        assert_eq!(same, [true, false, true, false, true]);
        assert!(after[1].text.contains("\"changed\"") && after[3].text.contains("\"Active\""));
    }

    #[test]
    fn what_the_log_no_longer_has_is_read_again() {
        let app = app();
        create(&app, 0);
        assert_eq!(listed::<NetworkSpec>(&app).len(), 1);
        create(&app, 1);
        for round in 0..3 {
            let mut others = Transaction::default();
            for number in 0..OPERATIONS_MAX {
                others.put(format!("others/{number}"), round.to_string());
            }
            app.store().commit(&others).unwrap();
        }
        assert_eq!(listed::<NetworkSpec>(&app).len(), 2);
        assert_eq!(listed::<NetworkSpec>(&app), afresh::<NetworkSpec>(&app));
    }

    #[test]
    fn a_list_after_the_answer_to_a_write_shows_it() {
        let app = app();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let app = app.clone();
                scope.spawn(move || {
                    for number in 0..20 {
                        let id = create(&app, 20 * thread + number);
                        let has = |text: &str| listed::<NetworkSpec>(&app).iter().any(|it| it.contains(text));
                        assert!(has(&id), "made by thread {thread}");
                        let description = format!("of {thread}-{number}");
                        describe(&app, &id, &description).unwrap();
                        assert!(has(&description), "changed by thread {thread}");
                        if number % 2 == 0 {
                            app.delete::<NetworkSpec>(&id, None).unwrap();
                            assert!(!has(&id), "removed by thread {thread}");
                        }
                    }
                });
            }
        });
        assert_eq!(listed::<NetworkSpec>(&app).len(), 40);
        assert_eq!(listed::<NetworkSpec>(&app), afresh::<NetworkSpec>(&app));
    }

    #[test]
    fn a_value_that_cannot_be_read_is_said_until_it_is_mended() {
        let app = app();
        let id = create(&app, 0);
        listed::<NetworkSpec>(&app);
        let key = object_key::<NetworkSpec>(&id);
        let good = app.store().get(&key).unwrap().unwrap().value;
        app.store().commit(Transaction::default().put(&key, "{")).unwrap();
        for _ in 0..2 {
            let error = app.list::<NetworkSpec>(&ListQuery::default()).unwrap_err();
            assert!(matches!(error, AppError::Corrupt { key: ref found, .. } if *found == key), "{error}");
        }
        app.store().commit(Transaction::default().put(&key, good)).unwrap();
        assert_eq!(listed::<NetworkSpec>(&app), afresh::<NetworkSpec>(&app));
    }

    #[test]
    fn what_a_preview_shows_stays_there() {
        let app = app();
        create(&app, 0);
        assert_eq!(listed::<NetworkSpec>(&app).len(), 1);
        let (previewed, _) = app.preview();
        create(&previewed, 1);
        assert_eq!((listed::<NetworkSpec>(&previewed).len(), listed::<NetworkSpec>(&app).len()), (2, 1));
        // Revisions go on where the preview's went on.
        create(&app, 2);
        assert_eq!(listed::<NetworkSpec>(&app), afresh::<NetworkSpec>(&app));
    }

    #[test]
    fn what_is_added_to_answers_is_not_kept() {
        let app = app();
        let flavor = json!({"flavor": {"name": "small", "vcpus": 1, "ram": 512, "root_disk": 1}});
        app.create(&read_draft::<FlavorSpec>(&flavor).unwrap()).unwrap();
        let text = &listed::<FlavorSpec>(&app)[0];
        assert!(text.contains("\"Active\""), "{text}");
    }
}
