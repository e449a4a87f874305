//! One write in the making: what it looked at, what it claims, what is wrong with it.
//!
//! The rules of a noun ([`super::Noun::resolve`]) look up references and claim addresses here; what they find wrong
//! they note, so that all of it is reported at once. At the end the write is one transaction of the store, whose
//! conditions are everything that was looked at: had another write changed it meanwhile, the store refuses and
//! [`super::App`] starts over.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgestack_model::address::MacAddress;
use edgestack_model::reader::Refusal;
use edgestack_model::{FieldError, Kind, NetworkSpec, Spec};

use super::Scope;
use super::addresses::{self, address_key, peer_key};
use super::error::AppError;
use super::record::{
    Entry, Record, describe_owner, name_key, names_prefix, object_key, parse_owner, shared_key, status_key,
    uses_prefix,
};
use crate::store::{Store, Transaction};

/// A write in the making, for one object.
pub struct Write<'a> {
    store: &'a dyn Store,
    scope: Scope,
    kind: Kind,
    id: String,
    transaction: Transaction,
    claims: BTreeMap<String, Claim>,
    invalid: Vec<FieldError>,
    conflicts: Vec<FieldError>,
    reserved_interfaces: &'a [String],
    /// Nothing will be written: a request is compared with the object that has its name.
    comparison: bool,
}

/// Something that only one object may have.
struct Claim {
    field: String,
    code: &'static str,
    what: String,
}

impl<'a> Write<'a> {
    /// A write of the object `id`, in the project of `scope`.
    pub fn new(
        store: &'a dyn Store,
        scope: Scope,
        kind: Kind,
        id: &str,
        reserved_interfaces: &'a [String],
    ) -> Self {
        Self {
            store,
            scope,
            kind,
            id: id.to_owned(),
            transaction: Transaction::default(),
            claims: BTreeMap::new(),
            invalid: Vec::new(),
            conflicts: Vec::new(),
            reserved_interfaces,
            comparison: false,
        }
    }

    /// The same, for comparing only: changes that would be refused are no mistakes of the request.
    #[must_use]
    pub fn for_comparison(mut self) -> Self {
        self.comparison = true;
        self
    }

    /// Whether nothing will be written.
    pub fn is_comparison(&self) -> bool {
        self.comparison
    }

    /// What the write may reach.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Notes that only those who run the host may set the field `field`, unless the caller does.
    pub fn require_host(&mut self, field: &str, what: &str) {
        if !self.scope.may_name_the_host() {
            let message = format!("{what} is for those who run the site");
            self.refuse(field, Refusal::new("not_permitted", message, "leave it out, or ask a netadmin"));
        }
    }

    /// Id of the object that is written.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Notes that the request is wrong in the field `field` (a pointer below the object, such as `external/ip`).
    pub fn refuse(&mut self, field: &str, refusal: Refusal) {
        let error = self.field_error(field, refusal);
        self.invalid.push(error);
    }

    /// Notes that the field `field`, which never changes, was to be changed from `kept`.
    pub fn refuse_change(&mut self, field: &str, kept: &str) {
        if !self.comparison {
            let hint = format!("leave it at `{kept}`, or delete the object and create another");
            self.refuse(field, Refusal::new("immutable", format!("`{field}` cannot be changed"), hint));
        }
    }

    /// Notes that another object is in the way of the field `field`.
    pub fn conflict(&mut self, field: &str, refusal: Refusal) {
        let error = self.field_error(field, refusal);
        self.conflicts.push(error);
    }

    /// Whether nothing was refused so far.
    pub fn is_clean(&self) -> bool {
        self.invalid.is_empty() && self.conflicts.is_empty()
    }

    fn field_error(&self, field: &str, refusal: Refusal) -> FieldError {
        let pointer = format!("/{}/{field}", self.kind.singular());
        FieldError { pointer, code: refusal.code.to_owned(), message: refusal.message, hint: refusal.hint }
    }

    /// The object that `reference` (a name or an id) stands for. The write will only happen if it is unchanged then.
    pub fn find<S: Spec>(&mut self, reference: &str) -> Result<Option<Entry<S>>, AppError> {
        let entry = find::<S>(self.store, &self.scope, reference)?;
        if let Some(entry) = &entry {
            self.transaction.require(object_key::<S>(&entry.record.id), entry.revision);
        }
        Ok(entry)
    }

    /// The object that the field `field` refers to: noted as used by the one that is written, refused where there
    /// is none.
    pub fn refer<S: Spec>(&mut self, field: &str, reference: &str) -> Result<Option<Entry<S>>, AppError> {
        let entry = self.find_or_refuse::<S>(field, reference)?;
        if let Some(entry) = &entry {
            self.uses::<S>(field, &entry.record.id);
        }
        Ok(entry)
    }

    /// The object that the field `field` refers to, refused where there is none.
    pub fn find_or_refuse<S: Spec>(
        &mut self,
        field: &str,
        reference: &str,
    ) -> Result<Option<Entry<S>>, AppError> {
        let entry = self.find::<S>(reference)?;
        if entry.is_none() {
            let message = format!("there is no {} `{reference}`", S::KIND);
            self.refuse(field, Refusal::new("not_found", message, format!("create the {} first", S::KIND)));
        }
        Ok(entry)
    }

    /// Notes that the object `id` is used by the one that is written, so that it is not removed under it.
    pub fn uses<S: Spec>(&mut self, field: &str, id: &str) {
        let key = format!("{}{}/{}", uses_prefix::<S>(id), self.kind.plural(), self.id);
        self.claim(key, field, "in_use", "the use");
    }

    /// Claims something that only one object may have; `what` names it in the message to the second.
    pub fn claim(&mut self, key: String, field: &str, code: &'static str, what: impl Into<String>) {
        self.claims.insert(key, Claim { field: field.to_owned(), code, what: what.into() });
    }

    /// Whether an uplink has the interface.
    pub fn is_reserved_interface(&self, interface: &str) -> bool {
        self.reserved_interfaces.iter().any(|reserved| reserved == interface)
    }

    /// Who has a claim, if it is somebody else.
    pub fn other_owner(&self, key: &str) -> Result<Option<String>, AppError> {
        let Some(stored) = self.store.get(key)? else { return Ok(None) };
        let mine = parse_owner(&stored.value).is_some_and(|(_, id, _)| id == self.id);
        Ok((!mine).then(|| describe_owner(&stored.value, &self.scope)))
    }

    /// Claims an IPv4 address of a network: `wanted`, or the lowest free one of its pool.
    pub fn claim_address(
        &mut self,
        network: &Entry<NetworkSpec>,
        wanted: Option<Ipv4Addr>,
        field: &str,
    ) -> Result<Option<Ipv4Addr>, AppError> {
        let network_id = network.record.id.as_str();
        let address = if let Some(address) = wanted {
            if let Some(router) = self.peer_of(network_id, address)? {
                let message = format!("{address} is the peer router of the {router}");
                let hint = "choose another, or leave it out for the lowest free address";
                self.conflict(field, Refusal::new("address_in_use", message, hint));
            }
            address
        } else {
            let free = addresses::lowest_free(self.store, network, false)?;
            let Some(IpAddr::V4(address)) = free else {
                let pool = network.record.spec.effective_pool();
                self.refuse_exhausted(network, &pool.to_string(), "ip_pool", field);
                return Ok(None);
            };
            address
        };
        self.claim_any(network, IpAddr::V4(address), field);
        Ok(Some(address))
    }

    /// Claims an IPv6 address of a network: `wanted`, or the lowest free one of its pool.
    pub fn claim_ipv6_address(
        &mut self,
        network: &Entry<NetworkSpec>,
        wanted: Option<Ipv6Addr>,
        field: &str,
    ) -> Result<Option<Ipv6Addr>, AppError> {
        let address = if let Some(address) = wanted {
            address
        } else {
            let free = addresses::lowest_free(self.store, network, true)?;
            let Some(IpAddr::V6(address)) = free else {
                let pool = network.record.spec.effective_ipv6_pool();
                let pool = pool.map_or_else(String::new, |pool| pool.to_string());
                self.refuse_exhausted(network, &pool, "ipv6_ip_pool", field);
                return Ok(None);
            };
            address
        };
        self.claim_any(network, IpAddr::V6(address), field);
        Ok(Some(address))
    }

    fn claim_any(&mut self, network: &Entry<NetworkSpec>, address: IpAddr, field: &str) {
        let what = format!("{address} of the network `{}`", network.record.name);
        self.claim(address_key(&network.record.id, address), field, "address_in_use", what);
    }

    fn refuse_exhausted(&mut self, network: &Entry<NetworkSpec>, pool: &str, pool_field: &str, field: &str) {
        let message = format!("the pool {pool} of the network `{}` has no free address", network.record.name);
        let hint = format!("widen the network's {pool_field}, or delete what is no longer needed");
        self.conflict(field, Refusal::new("pool_exhausted", message, hint));
    }

    /// Another router that has the address as its peer.
    fn peer_of(&self, network_id: &str, address: Ipv4Addr) -> Result<Option<String>, AppError> {
        let peers = self.store.list(&peer_key(network_id, address, ""))?.entries;
        let others = peers.iter().find(|peer| !peer.key.ends_with(&format!("/{}", self.id)));
        Ok(others.map(|peer| describe_owner(&peer.value, &self.scope)))
    }

    /// Adds to the transaction what belongs to the object: other objects that come and go with it.
    pub fn transaction(&mut self) -> &mut Transaction {
        &mut self.transaction
    }

    /// The store, for reading.
    pub fn store(&self) -> &'a dyn Store {
        self.store
    }

    /// Finishes the write of `record`: its keys that are new must be free, those it no longer has are given up.
    pub fn put<S: Spec>(
        mut self,
        mut record: Record<S>,
        previous: Option<&Entry<S>>,
    ) -> Result<Transaction, AppError> {
        let owner = record.owner();
        let claims = std::mem::take(&mut self.claims);
        let mut keys: Vec<String> = claims.keys().cloned().collect();
        keys.push(name_key::<S>(record.project.as_deref(), &record.name));
        if previous.is_none() && S::MAY_BE_SHARED {
            self.keep_shared_names_apart(&record)?;
        }
        if record.spec.is_shared() {
            keys.push(shared_key::<S>(&record.name));
        }
        let old: &[String] = previous.map_or(&[], |previous| &previous.record.keys);
        for (key, claim) in &claims {
            if old.contains(key) {
                continue;
            }
            if let Some(other) = self.other_owner(key)? {
                let Claim { field, code, what } = claim;
                let refusal =
                    Refusal { code, message: format!("{what} is taken by the {other}"), hint: None };
                self.conflict(field, refusal);
            }
        }
        self.finish_refusals()?;
        for key in keys.iter().filter(|key| !old.contains(key)) {
            self.transaction.require(key.clone(), 0).put(key.clone(), owner.clone());
        }
        for key in old.iter().filter(|key| !keys.contains(key)) {
            self.transaction.delete(key.clone());
        }
        record.keys = keys;
        let revision = previous.map_or(0, |previous| previous.revision);
        self.transaction.require(object_key::<S>(&record.id), revision);
        record.put(&mut self.transaction)?;
        Ok(self.transaction)
    }

    /// A name that is shared is nobody else's in any project, so that a reference never means two objects.
    fn keep_shared_names_apart<S: Spec>(&mut self, record: &Record<S>) -> Result<(), AppError> {
        let shared = shared_key::<S>(&record.name);
        if !record.spec.is_shared() {
            // Whether it is taken was looked at before; it must still be so when this is committed.
            self.transaction.require(shared, 0);
            return Ok(());
        }
        if self.store.get(&shared)?.is_some() {
            let message = format!("the name `{}` is shared by another {}", record.name, S::KIND);
            self.conflict("name", Refusal::new("name_in_use", message, "choose another name"));
        }
        let suffix = format!("/{}", record.name);
        let own = name_key::<S>(record.project.as_deref(), &record.name);
        for taken in self.store.list(&names_prefix::<S>())?.entries {
            if taken.key.ends_with(&suffix) && taken.key != own {
                let owner = describe_owner(&taken.value, &self.scope);
                let message = format!("what all projects see cannot have the name of the {owner}");
                self.conflict("name", Refusal::new("name_in_use", message, "choose another name"));
            }
        }
        // Whoever takes the name in another project meanwhile demands that it is not shared.
        Ok(())
    }

    /// Finishes the removal of an object.
    pub fn delete<S: Spec>(mut self, entry: &Entry<S>) -> Result<Transaction, AppError> {
        self.finish_refusals()?;
        let id = &entry.record.id;
        self.transaction.require(object_key::<S>(id), entry.revision).delete(object_key::<S>(id));
        self.transaction.delete(status_key(S::KIND.plural(), id));
        for key in &entry.record.keys {
            self.transaction.delete(key.clone());
        }
        Ok(self.transaction)
    }

    /// Everything that was refused, as one error.
    pub fn finish_refusals(&mut self) -> Result<(), AppError> {
        let kind = self.kind;
        if !self.invalid.is_empty() {
            let mut errors = std::mem::take(&mut self.invalid);
            errors.append(&mut self.conflicts);
            return Err(AppError::Invalid { kind, errors });
        }
        if !self.conflicts.is_empty() {
            return Err(AppError::Conflict { kind, errors: std::mem::take(&mut self.conflicts) });
        }
        Ok(())
    }
}

/// The object that `reference` (a name or an id) stands for, where it is seen. A name means an object of the scope's
/// project before one that all projects share.
pub fn find<S: Spec>(
    store: &dyn Store,
    scope: &Scope,
    reference: &str,
) -> Result<Option<Entry<S>>, AppError> {
    let mut by_name = store.get(&name_key::<S>(scope.project_of::<S>(), reference))?;
    if by_name.is_none() && S::MAY_BE_SHARED {
        by_name = store.get(&shared_key::<S>(reference))?;
    }
    let id = by_name.as_ref().and_then(|owner| parse_owner(&owner.value)).map_or(reference, |(_, id, _)| id);
    let entry: Option<Entry<S>> = store.get(&object_key::<S>(id))?.as_ref().map(Entry::decode).transpose()?;
    Ok(entry.filter(|entry| scope.sees(&entry.record)))
}

/// Key of the claim on a MAC address of a network.
pub fn mac_key(network_id: &str, mac: MacAddress) -> String {
    format!("claims/macs/{network_id}/{mac}")
}
