//! The rules: what may be created, changed and deleted, and what the server fills in.
//!
//! [`App`] does the same few things for every kind of object; what is particular to a kind is its [`Noun`], in the
//! file of its name. Called by `http/`, on threads that may block. Never talks to the dataplane: reconcilers watch
//! the store.

mod address_group;
pub mod addresses;
mod cascade;
pub mod error;
mod flavor;
mod floating_ip;
pub mod idempotency;
mod keypair;
pub mod list;
pub mod listed;
pub mod load_balancer;
pub mod network;
pub mod node;
mod port;
mod project;
pub mod record;
mod router;
pub mod scope;
mod security_group;
mod security_group_rule;
pub mod token;
pub mod usage;
pub mod write;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use edgestack_model::address::MacAddress;
use edgestack_model::project::DEFAULT_PROJECT;
use edgestack_model::reader::Refusal;
use edgestack_model::{
    Condition, ConditionStatus, Draft, Labels, Limits, NetworkSpec, Object, Phase, PortSpec, ProjectSpec,
    Reference, Spec, Status,
};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use addresses::{Allocation, Claims, Usage};
pub use error::AppError;
use idempotency::Mark;
use listed::{Listed, Lists};
use record::{Entry, Record, name_key, object_key, project_of_owner, reference, status_key, uses_prefix};
pub use scope::{Reach, Scope};
use write::Write;

use crate::store::{Preview, Store, StoreError, Transaction};

/// Times that a write is tried again because others changed what it had looked at.
const ATTEMPTS_MAX: u32 = 8;

/// What is particular to a kind of object.
pub trait Noun: Spec {
    /// Replaces references by names, fills in what the request left open, claims what only one object may have and
    /// notes everything that is wrong with the request against the other objects.
    fn resolve(&mut self, previous: Option<&Self>, write: &mut Write<'_>) -> Result<(), AppError>;

    /// The name of an object whose request gave none.
    fn default_name(&self, id: &str) -> String {
        id.to_owned()
    }

    /// The object that a request without a known name stands for all the same.
    fn twin(&self, _write: &Write<'_>) -> Result<Option<Entry<Self>>, AppError> {
        Ok(None)
    }

    /// Further operations that go with the creation or the change of the object.
    fn after_put(_record: &Record<Self>, _wanted: &Self, _write: &mut Write<'_>) -> Result<(), AppError> {
        Ok(())
    }

    /// Refuses the removal for reasons other than being used, and adds further operations that go with it.
    fn before_delete(_entry: &Entry<Self>, _write: &mut Write<'_>) -> Result<(), AppError> {
        Ok(())
    }

    /// Fields that differ between the stored object and a request, beside those of the stored spec.
    fn more_differences(
        _entry: &Entry<Self>,
        _wanted: &Self,
        _store: &dyn Store,
    ) -> Result<Vec<String>, AppError> {
        Ok(Vec::new())
    }

    /// Takes out of the fields of an object what a request cannot set.
    fn only_settable(_fields: &mut serde_json::Map<String, Value>) {}

    /// The object that it is a part of, by its id, for kinds whose objects are.
    fn part_of(&self) -> Option<&str> {
        None
    }

    /// Adds what answers show beside the stored fields.
    const COMPLETE: Option<Complete<Self>> = None;

    /// The same for lists, of what is written out already: for kinds of which there may be too much to read.
    const LISTED: Option<CompleteListed> = None;
}

/// Adds to objects what answers show beside the stored fields.
pub type Complete<S> = fn(&mut [Object<S>], &App) -> Result<(), AppError>;

/// What lists show of objects.
pub type CompleteListed = fn(&[Arc<Listed>], &App) -> Result<Vec<Arc<str>>, AppError>;

/// The application: the rules over a store.
#[derive(Clone)]
pub struct App {
    store: Arc<dyn Store>,
    /// What lists show of it.
    lists: Arc<Lists>,
    /// The addresses of networks that are given.
    claims: Arc<Claims>,
    /// Writes of this process follow each other, so that they need not be tried again because of each other.
    writer: Arc<Mutex<()>>,
    /// Interfaces of uplinks, which no workload's port may have.
    reserved_interfaces: Arc<[String]>,
    /// Goes into the store with a change, so that the request that made it is known.
    mark: Option<Arc<Mark>>,
    /// How much a project may have that has no limits of its own.
    limits: Arc<Limits>,
    /// What may be reached.
    scope: Scope,
}

/// An address that is not free, with the MAC address of the port that has it.
pub type Taken = (Allocation, Option<MacAddress>);

/// An object with its entity tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown<S: Spec> {
    /// The object.
    pub object: Object<S>,
    /// Its entity tag.
    pub etag: String,
}

/// What became of a request to create an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Created<S: Spec> {
    /// It was made.
    New(Shown<S>),
    /// It was there already, just as requested.
    Existing(Shown<S>),
}

impl App {
    /// The rules over `store`, on a host whose uplinks have `reserved_interfaces`.
    pub fn new(store: Arc<dyn Store>, reserved_interfaces: Vec<String>) -> Self {
        Self {
            store,
            lists: Arc::default(),
            claims: Arc::default(),
            writer: Arc::default(),
            reserved_interfaces: reserved_interfaces.into(),
            mark: None,
            limits: Arc::default(),
            scope: Scope::default(),
        }
    }

    /// The same rules, each of whose changes is marked.
    #[must_use]
    pub fn marked(&self, mark: Mark) -> Self {
        Self { mark: Some(Arc::new(mark)), ..self.clone() }
    }

    /// The same rules over a preview of the store, which shows what they would do.
    #[must_use]
    pub fn preview(&self) -> (Self, Arc<Preview>) {
        let preview = Preview::new(Arc::clone(&self.store));
        (self.over(Arc::clone(&preview) as Arc<dyn Store>), preview)
    }

    fn over(&self, store: Arc<dyn Store>) -> Self {
        Self { store, lists: Arc::default(), claims: Arc::default(), mark: None, ..self.clone() }
    }

    /// Commits a change of `record`, or of what belongs to it, counted.
    fn commit<S: Spec>(&self, mut transaction: Transaction, record: &Record<S>) -> Result<(), AppError> {
        usage::count(self.store.as_ref(), &mut transaction, &self.limits)?;
        if let Some(mark) = &self.mark {
            transaction.put(mark.key.clone(), mark.kept(&record.id, &record.name));
        }
        self.store.commit(&transaction)?;
        Ok(())
    }

    /// The same, with these limits for projects that have none of their own.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits: Arc::new(limits), ..self }
    }

    /// The same rules for somebody who may reach less.
    #[must_use]
    pub fn within(&self, scope: Scope) -> Self {
        Self { scope, ..self.clone() }
    }

    /// What may be reached.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// How much a project may have that has no limits of its own.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether there is a project.
    pub fn has_project(&self, name: &str) -> Result<bool, AppError> {
        Ok(self.store.get(&name_key::<ProjectSpec>(None, name))?.is_some())
    }

    /// How much a project has of each kind, and how much it may have.
    pub fn usage(&self, project: &str) -> Result<(usage::Counts, Limits), AppError> {
        let (counts, _) = usage::counts(self.store.as_ref(), project)?;
        Ok((counts, usage::limits(self.store.as_ref(), project, &self.limits)?))
    }

    /// Gives a project limits of its own. What it has already stays, also where it is more.
    pub fn set_limits(&self, project: &str, limits: &Limits) -> Result<(), AppError> {
        self.attempt(|| {
            let key = usage::limits_key(project);
            let value = serde_json::to_vec(limits)
                .map_err(|source| AppError::Corrupt { key: key.clone(), source })?;
            let mut transaction = Transaction::default();
            if let Some(stored) = self.store.get(&name_key::<ProjectSpec>(None, project))? {
                // Not of a project that goes meanwhile.
                transaction.require(stored.key, stored.revision);
            }
            self.store.commit(transaction.put(key, value))?;
            Ok(())
        })
    }

    /// Makes what is always there.
    pub fn prepare(&self) -> Result<(), AppError> {
        let name = Some(DEFAULT_PROJECT.to_owned());
        let description = "The project of requests that name none.".to_owned();
        let spec = ProjectSpec { description };
        if write::find::<ProjectSpec>(self.store.as_ref(), &self.scope, DEFAULT_PROJECT)?.is_none() {
            self.create(&Draft { id: None, name, project: None, labels: Labels::new(), spec })?;
        }
        Ok(())
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The object that `reference` (a name or an id) stands for.
    pub fn get<S: Noun>(&self, reference: &str) -> Result<Shown<S>, AppError> {
        let entry = self.entry::<S>(reference)?;
        self.show(entry)
    }

    /// Creates an object, or returns the one that is just as requested.
    pub fn create<S: Noun>(&self, draft: &Draft<S>) -> Result<Created<S>, AppError> {
        let id = Uuid::now_v7().to_string();
        let (entry, new) = self.attempt(|| self.try_create(&id, draft))?;
        let shown = self.show(entry)?;
        Ok(if new { Created::New(shown) } else { Created::Existing(shown) })
    }

    fn try_create<S: Noun>(&self, id: &str, draft: &Draft<S>) -> Result<(Entry<S>, bool), AppError> {
        let mut write = self.write::<S>(id);
        if let Some(name) = &draft.name
            && let Some(existing) = write::find::<S>(self.store.as_ref(), &self.scope, name)?
        {
            return Ok((self.same_or_refuse(existing, draft)?, false));
        }
        let project = self.scope.project_of::<S>();
        if draft.project.is_some() && draft.project.as_deref() != project {
            let hint = "name the project of the request: ?project=NAME";
            write.refuse("project", Refusal::new("mismatch", "the request is for another project", hint));
        }
        let mut spec = draft.spec.clone();
        spec.resolve(None, &mut write)?;
        if let Some(twin) = if write.is_clean() { spec.twin(&write)? } else { None } {
            return Ok((twin, false));
        }
        write.finish_refusals()?;
        let name = draft.name.clone().unwrap_or_else(|| spec.default_name(id));
        if let Some(existing) = write::find::<S>(self.store.as_ref(), &self.scope, &name)? {
            return Ok((self.same_or_refuse(existing, draft)?, false));
        }
        let now = Timestamp::now();
        let record = Record {
            id: id.to_owned(),
            name,
            project: project.map(str::to_owned),
            labels: draft.labels.clone(),
            generation: 1,
            created_at: now,
            updated_at: now,
            spec,
            keys: Vec::new(),
        };
        S::after_put(&record, &draft.spec, &mut write)?;
        let transaction = write.put(record.clone(), None)?;
        self.commit(transaction, &record)?;
        Ok((self.entry(id)?, true))
    }

    /// The existing object if it is what the draft asks for.
    fn same_or_refuse<S: Noun>(&self, existing: Entry<S>, draft: &Draft<S>) -> Result<Entry<S>, AppError> {
        let mut write = self.write_of(&existing.record).for_comparison();
        let mut wanted = draft.spec.clone();
        wanted.resolve(Some(&existing.record.spec), &mut write)?;
        write.finish_refusals()?;
        let mut differences = differences(&wanted, &existing.record.spec);
        if draft.labels != existing.record.labels {
            differences.push("labels".to_owned());
        }
        differences.extend(S::more_differences(&existing, &draft.spec, self.store.as_ref())?);
        if differences.is_empty() {
            return Ok(existing);
        }
        Err(AppError::Exists { kind: S::KIND, name: existing.record.name, differences })
    }

    /// Replaces all fields of an object by those of the draft.
    pub fn replace<S: Noun>(
        &self,
        reference: &str,
        draft: &Draft<S>,
        if_match: Option<&str>,
    ) -> Result<Shown<S>, AppError> {
        self.update(reference, if_match, |_| Ok(draft.clone()))
    }

    /// Changes an object: `change` makes the draft from what is stored.
    pub fn update<S: Noun>(
        &self,
        reference: &str,
        if_match: Option<&str>,
        change: impl Fn(&Object<S>) -> Result<Draft<S>, AppError>,
    ) -> Result<Shown<S>, AppError> {
        let entry = self.attempt(|| {
            let previous = self.own_entry::<S>(reference)?;
            check_etag(&previous, if_match)?;
            let draft = change(&self.show(previous.clone())?.object)?;
            self.try_update(&previous, &draft)
        })?;
        self.show(entry)
    }

    fn try_update<S: Noun>(&self, previous: &Entry<S>, draft: &Draft<S>) -> Result<Entry<S>, AppError> {
        let mut write = self.write_of(&previous.record);
        if draft.project.is_some() && draft.project != previous.record.project {
            write.refuse_change("project", previous.record.project.as_deref().unwrap_or_default());
        }
        for (field, given, kept) in
            [("id", &draft.id, &previous.record.id), ("name", &draft.name, &previous.record.name)]
        {
            if given.as_ref().is_some_and(|given| given != kept && *given != previous.record.id) {
                write.refuse_change(field, kept);
            }
        }
        let mut spec = draft.spec.clone();
        spec.resolve(Some(&previous.record.spec), &mut write)?;
        let mut record = previous.record.clone();
        if draft.labels != record.labels {
            record.labels.clone_from(&draft.labels);
            record.updated_at = Timestamp::now();
        }
        if spec != record.spec {
            record.spec = spec;
            record.raise_generation();
        }
        write.finish_refusals()?;
        let operations = write.transaction().operations.len();
        S::after_put(&record, &draft.spec, &mut write)?;
        let more = write.transaction().operations.len() > operations;
        if more && record.generation == previous.record.generation {
            record.raise_generation();
        }
        let changed = record != previous.record;
        let transaction = write.put(record, Some(previous))?;
        if changed {
            self.commit(transaction, &previous.record)?;
        }
        self.entry(&previous.record.id)
    }

    /// Removes an object that nobody uses.
    pub fn delete<S: Noun>(&self, reference: &str, if_match: Option<&str>) -> Result<Record<S>, AppError> {
        self.attempt(|| {
            let entry = self.own_entry::<S>(reference)?;
            check_etag(&entry, if_match)?;
            self.delete_now(&entry)?;
            Ok(entry.record)
        })
    }

    fn delete_now<S: Noun>(&self, entry: &Entry<S>) -> Result<(), AppError> {
        let mut write = self.write_of(&entry.record);
        let users = self.users(entry)?;
        if !users.is_empty() {
            return Err(AppError::InUse { kind: S::KIND, name: entry.record.name.clone(), users });
        }
        S::before_delete(entry, &mut write)?;
        self.commit(write.delete(entry)?, &entry.record)
    }

    /// Who stands in the way of the removal of an object.
    fn users<S: Noun>(&self, entry: &Entry<S>) -> Result<Vec<Reference>, AppError> {
        let listing = self.store.list(&uses_prefix::<S>(&entry.record.id))?;
        let users = listing.entries.iter().filter_map(|user| {
            let hidden = !self.scope.may_hear_of(project_of_owner(&user.value));
            let user = reference(&user.value).filter(|user| user.id != entry.record.id)?;
            // That there is one must be said; which one is not for the caller.
            let name = "of another project".to_owned();
            Some(if hidden { Reference { id: String::new(), name, ..user } } else { user })
        });
        Ok(users.collect())
    }

    /// Ids of the objects of a kind that refer to an object.
    pub fn users_of<S: Noun>(&self, id: &str, plural: &str) -> Result<Vec<String>, AppError> {
        let listing = self.store.list(&format!("{}{plural}/", uses_prefix::<S>(id)))?;
        let owners =
            listing.entries.iter().filter_map(|user| Some(record::parse_owner(&user.value)?.1.to_owned()));
        Ok(owners.collect())
    }

    fn entry<S: Noun>(&self, reference: &str) -> Result<Entry<S>, AppError> {
        let entry = write::find(self.store.as_ref(), &self.scope, reference)?;
        entry.ok_or_else(|| AppError::NotFound { kind: S::KIND, reference: reference.to_owned() })
    }

    /// The object that `reference` stands for, if it may be changed.
    fn own_entry<S: Noun>(&self, reference: &str) -> Result<Entry<S>, AppError> {
        let entry = self.entry::<S>(reference)?;
        if self.scope.may_change(&entry.record) {
            return Ok(entry);
        }
        Err(AppError::NotYours { kind: S::KIND, name: entry.record.name })
    }

    fn show<S: Noun>(&self, entry: Entry<S>) -> Result<Shown<S>, AppError> {
        let etag = entry.etag();
        let status = self.store.get(&status_key(S::KIND.plural(), &entry.record.id))?;
        let mut objects =
            [entry.record.into_object(decode_status(status.as_ref().map(|status| &*status.value)))];
        if let Some(complete) = S::COMPLETE {
            complete(&mut objects, self)?;
        }
        let [object] = objects;
        Ok(Shown { object, etag })
    }

    fn write<S: Noun>(&self, id: &str) -> Write<'_> {
        Write::new(self.store.as_ref(), self.scope.clone(), S::KIND, id, &self.reserved_interfaces)
    }

    /// A write of an object that there is, in its own project.
    fn write_of<S: Noun>(&self, record: &Record<S>) -> Write<'_> {
        let scope = self.scope.moved_to(record.project.as_deref());
        Write::new(self.store.as_ref(), scope, S::KIND, &record.id, &self.reserved_interfaces)
    }

    /// Runs a write, again where the store says that something it had looked at has changed.
    fn attempt<T>(&self, mut write: impl FnMut() -> Result<T, AppError>) -> Result<T, AppError> {
        let _one_at_a_time = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut attempts = 0;
        loop {
            attempts += 1;
            match write() {
                Err(AppError::Store(StoreError::Conflict { .. })) if attempts < ATTEMPTS_MAX => {}
                result => return result,
            }
        }
    }

    /// The addresses of a network that are not free, with the MAC addresses of ports, and how many are free. Who has
    /// one is left out where that is for others.
    pub fn allocations(&self, reference: &str) -> Result<(Vec<Taken>, u64), AppError> {
        let network = self.entry::<NetworkSpec>(reference)?;
        let store = self.store.as_ref();
        let mut allocations = Vec::new();
        for mut allocation in addresses::allocations(store, &network.record.id)? {
            if !allocation.project.is_empty() && !self.scope.may_hear_of(&allocation.project) {
                allocation.id.clear();
                allocation.name.clear();
                allocations.push((allocation, None));
                continue;
            }
            let port = match allocation.plural.as_str() {
                "ports" => write::find::<PortSpec>(store, &Scope::default(), &allocation.id)?,
                _ => None,
            };
            allocations.push((allocation, port.and_then(|port| port.record.spec.mac_address)));
        }
        Ok((allocations, addresses::free_count(store, &network)?))
    }

    /// How much of a network's pool of IPv4 addresses is given.
    pub fn address_usage(&self, reference: &str) -> Result<Option<Usage>, AppError> {
        let network = self.entry::<NetworkSpec>(reference)?.record;
        let networks = std::iter::once((network.id.as_str(), &network.spec));
        Ok(self.claims.usages(self.store.as_ref(), networks)?.pop())
    }

    /// At most `limit` free IPv4 addresses of each network that is seen, with the network's name and how many there are.
    pub fn available_addresses(&self, limit: usize) -> Result<Vec<(String, Vec<IpAddr>, u64)>, AppError> {
        let store = self.store.as_ref();
        let mut networks = Vec::new();
        for stored in store.list(&record::object_prefix::<NetworkSpec>())?.entries {
            let network = Entry::<NetworkSpec>::decode(&stored)?;
            if !self.scope.sees(&network.record) {
                continue;
            }
            let free = addresses::free(store, &network, false)?.take(limit).collect();
            let count = addresses::free_count(store, &network)?;
            networks.push((network.record.name, free, count));
        }
        Ok(networks)
    }

    /// Whether the object `id` of a kind exists.
    pub fn exists<S: Noun>(&self, id: &str) -> Result<bool, AppError> {
        Ok(self.store.get(&object_key::<S>(id))?.is_some())
    }
}

fn check_etag<S: Spec>(entry: &Entry<S>, if_match: Option<&str>) -> Result<(), AppError> {
    let Some(wanted) = if_match else { return Ok(()) };
    let found = entry.etag();
    if wanted.split(',').any(|tag| matches!(tag.trim(), "*") || tag.trim() == found) {
        return Ok(());
    }
    let name = entry.record.name.clone();
    Err(AppError::Changed { kind: S::KIND, name, wanted: wanted.to_owned(), found })
}

fn decode_status(value: Option<&[u8]>) -> Status {
    // A status that cannot be read is as good as none: the reconciler writes it anew.
    value.and_then(|value| serde_json::from_slice(value).ok()).unwrap_or_default()
}

/// The status of objects that nothing has to be done for: what is stored is in effect.
fn in_effect<S: Spec>(objects: &mut [Object<S>]) {
    for object in objects {
        let ready = Condition {
            kind: "Ready".to_owned(),
            status: ConditionStatus::True,
            reason: "Stored".to_owned(),
            message: String::new(),
        };
        object.status =
            Status { phase: Phase::Active, observed_generation: object.generation, conditions: vec![ready] };
    }
}

/// Names of the fields in which two specs differ.
fn differences<S: Spec>(left: &S, right: &S) -> Vec<String> {
    let fields = |spec: &S| match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (left, right) = (fields(left), fields(right));
    let mut names: Vec<String> = left.keys().chain(right.keys()).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| left.get(name) != right.get(name));
    names
}
