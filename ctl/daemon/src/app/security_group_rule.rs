//! Rules of the rules of security groups.
//!
//! A rule belongs to its group: it holds the claim `claims/rules/<group>/<what it allows>`, which finds duplicates
//! and lists the group, and each change of a rule rewrites its group, so that the group's entity tag speaks for its
//! rules too.

use edgestack_model::reader::Refusal;
use edgestack_model::security_group::RULES_MAX;
use edgestack_model::{AddressGroupSpec, Labels, SecurityGroupRuleSpec, SecurityGroupSpec};
use jiff::Timestamp;
use uuid::Uuid;

use super::error::AppError;
use super::record::{Entry, Record, name_key, object_key, parse_owner, status_key, uses_prefix};
use super::write::{Write, find};
use super::{Noun, Scope};
use crate::store::{Store, Transaction};

impl Noun for SecurityGroupRuleSpec {
    fn resolve(&mut self, previous: Option<&Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        let Some(group) = write.find::<SecurityGroupSpec>(&self.security_group_id)? else {
            let message = format!("there is no security group `{}`", self.security_group_id);
            write.refuse(
                "security_group_id",
                Refusal::new("not_found", message, "create the security group first"),
            );
            return Ok(());
        };
        self.security_group_id.clone_from(&group.record.id);
        if let Some(previous) = previous
            && previous.security_group_id != self.security_group_id
        {
            write.refuse_change("security_group_id", &previous.security_group_id);
        }
        resolve_remote(self, &group.record.name, "", write)?;
        if let Some(remote) = self.remote_group_id.as_ref().filter(|remote| **remote != group.record.id) {
            write.uses::<SecurityGroupSpec>("remote_group_id", remote);
        }
        if let Some(remote) = &self.remote_address_group_id {
            write.uses::<AddressGroupSpec>("remote_address_group_id", remote);
        }
        let count = write.store().list(&group_prefix(&group.record.id))?.entries.len();
        if previous.is_none() && count >= RULES_MAX {
            let message = format!("the security group `{}` has {count} rules already", group.record.name);
            let refusal = Refusal::new("too_many", message, format!("at most {RULES_MAX}"));
            write.conflict("security_group_id", refusal);
        }
        let key = claim_key(self);
        write.claim(key, "security_group_id", "duplicate_rule", "what the rule allows");
        Ok(())
    }

    fn twin(&self, write: &Write<'_>) -> Result<Option<Entry<Self>>, AppError> {
        let owner = write.store().get(&claim_key(self))?;
        match owner.as_ref().and_then(|owner| parse_owner(&owner.value)) {
            Some((_, id, _)) => find(write.store(), write.scope(), id),
            None => Ok(None),
        }
    }

    fn after_put(record: &Record<Self>, _wanted: &Self, write: &mut Write<'_>) -> Result<(), AppError> {
        let stored = find::<Self>(write.store(), write.scope(), &record.id)?;
        if stored.is_some_and(|stored| stored.record == *record) {
            return Ok(());
        }
        touch_group(&record.spec.security_group_id, write)
    }

    fn before_delete(entry: &Entry<Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        touch_group(&entry.record.spec.security_group_id, write)
    }

    fn part_of(&self) -> Option<&str> {
        Some(&self.security_group_id)
    }
}

/// A change of a rule is a change of its group.
fn touch_group(id: &str, write: &mut Write<'_>) -> Result<(), AppError> {
    let key = object_key::<SecurityGroupSpec>(id);
    if let Some(stored) = write.store().get(&key)? {
        let mut group = Entry::<SecurityGroupSpec>::decode(&stored)?.record;
        group.raise_generation();
        write.transaction().require(key, stored.revision);
        group.put(write.transaction())?;
    }
    Ok(())
}

/// Ids in place of the names of the other side; `prefix` is where the rule stands in the body. The rule's own group
/// may not exist yet, and does not count as a use.
pub(super) fn resolve_remote(
    rule: &mut SecurityGroupRuleSpec,
    group_name: &str,
    prefix: &str,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    if let Some(addresses) = &rule.remote_address_group_id {
        let field = format!("{prefix}remote_address_group_id");
        if let Some(group) = write.find_or_refuse::<AddressGroupSpec>(&field, addresses)? {
            rule.remote_address_group_id = Some(group.record.id);
        }
    }
    let Some(remote) = &rule.remote_group_id else { return Ok(()) };
    let field = format!("{prefix}remote_group_id");
    if remote == group_name || *remote == rule.security_group_id {
        rule.remote_group_id = Some(rule.security_group_id.clone());
    } else if let Some(group) = write.find_or_refuse::<SecurityGroupSpec>(&field, remote)? {
        rule.remote_group_id = Some(group.record.id);
    }
    Ok(())
}

/// A rule that stands in its group, with ids in place of names; unknown names stay, so that they equal no rule.
pub(super) fn inline(
    mut rule: SecurityGroupRuleSpec,
    group: &Record<SecurityGroupSpec>,
    store: &dyn Store,
) -> Result<SecurityGroupRuleSpec, AppError> {
    group.id.clone_into(&mut rule.security_group_id);
    let scope = Scope::of_project(group.project.as_deref().unwrap_or_default());
    if let Some(remote) = &rule.remote_group_id {
        if *remote == group.name {
            rule.remote_group_id = Some(group.id.clone());
        } else if let Some(group) = find::<SecurityGroupSpec>(store, &scope, remote)? {
            rule.remote_group_id = Some(group.record.id);
        }
    }
    if let Some(addresses) = &rule.remote_address_group_id
        && let Some(group) = find::<AddressGroupSpec>(store, &scope, addresses)?
    {
        rule.remote_address_group_id = Some(group.record.id);
    }
    Ok(rule)
}

/// The rules of a group, by what they allow.
pub(super) fn of_group(
    store: &dyn Store,
    group_id: &str,
) -> Result<Vec<Entry<SecurityGroupRuleSpec>>, AppError> {
    let mut rules = Vec::new();
    for claim in store.list(&group_prefix(group_id))?.entries {
        if let Some((_, id, _)) = parse_owner(&claim.value) {
            rules.extend(find(store, &Scope::default(), id)?);
        }
    }
    Ok(rules)
}

/// Adds a resolved rule to a transaction.
pub(super) fn add(
    rule: SecurityGroupRuleSpec,
    project: Option<String>,
    transaction: &mut Transaction,
) -> Result<(), AppError> {
    let id = Uuid::now_v7().to_string();
    let now = Timestamp::now();
    let mut keys = vec![claim_key(&rule), name_key::<SecurityGroupRuleSpec>(project.as_deref(), &id)];
    if let Some(remote) = rule.remote_group_id.as_ref().filter(|remote| **remote != rule.security_group_id) {
        keys.push(format!("{}security_group_rules/{id}", uses_prefix::<SecurityGroupSpec>(remote)));
    }
    if let Some(addresses) = &rule.remote_address_group_id {
        keys.push(format!("{}security_group_rules/{id}", uses_prefix::<AddressGroupSpec>(addresses)));
    }
    let record = Record {
        name: id.clone(),
        id,
        project,
        labels: Labels::new(),
        generation: 1,
        created_at: now,
        updated_at: now,
        spec: rule,
        keys,
    };
    for key in &record.keys {
        transaction.require(key.clone(), 0).put(key.clone(), record.owner());
    }
    record.put(transaction)
}

/// Adds the removal of a rule to the write of its group.
pub(super) fn remove(rule: &Entry<SecurityGroupRuleSpec>, write: &mut Write<'_>) {
    let key = object_key::<SecurityGroupRuleSpec>(&rule.record.id);
    let transaction = write.transaction();
    transaction.require(key.clone(), rule.revision).delete(key);
    transaction.delete(status_key("security_group_rules", &rule.record.id));
    for key in &rule.record.keys {
        transaction.delete(key.clone());
    }
}

fn group_prefix(group_id: &str) -> String {
    format!("claims/rules/{group_id}/")
}

fn claim_key(rule: &SecurityGroupRuleSpec) -> String {
    format!("{}{}", group_prefix(&rule.security_group_id), rule.identity())
}
