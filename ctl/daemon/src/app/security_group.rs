//! Rules of security groups, and the `default` group of ports that name none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use edgestack_model::security_group::DEFAULT_GROUP;
use edgestack_model::security_group_rule::{Direction, EthernetType, Protocol};
use edgestack_model::{Labels, SecurityGroupRuleSpec, SecurityGroupSpec, Spec};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::error::AppError;
use super::record::{Entry, Record, name_key, object_key, status_key};
use super::write::Write;
use super::{Complete, CompleteListed, Noun, Scope, decode_status, security_group_rule};
use crate::store::{Store, Transaction};

impl Noun for SecurityGroupSpec {
    fn resolve(&mut self, _previous: Option<&Self>, _write: &mut Write<'_>) -> Result<(), AppError> {
        // The rules are objects of their own: `after_put` takes those of the request.
        self.rules.clear();
        self.wanted_rules = None;
        Ok(())
    }

    fn more_differences(
        entry: &Entry<Self>,
        wanted: &Self,
        store: &dyn Store,
    ) -> Result<Vec<String>, AppError> {
        let Some(wanted) = &wanted.wanted_rules else { return Ok(Vec::new()) };
        let mut identities = BTreeSet::new();
        for rule in wanted {
            let rule = security_group_rule::inline(rule.clone(), &entry.record, store)?;
            identities.insert(rule.identity());
        }
        let rules = security_group_rule::of_group(store, &entry.record.id)?;
        let existing: BTreeSet<String> = rules.iter().map(|rule| rule.record.spec.identity()).collect();
        Ok(if identities == existing { Vec::new() } else { vec!["rules".to_owned()] })
    }

    fn after_put(record: &Record<Self>, wanted: &Self, write: &mut Write<'_>) -> Result<(), AppError> {
        match &wanted.wanted_rules {
            Some(wanted) => replace_rules(record, wanted, write),
            None => Ok(()),
        }
    }

    fn before_delete(entry: &Entry<Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        if entry.record.name == DEFAULT_GROUP {
            let reason = "it is the group of ports that name none; its rules can be changed";
            return Err(AppError::Protected { kind: Self::KIND, name: DEFAULT_GROUP.to_owned(), reason });
        }
        for rule in security_group_rule::of_group(write.store(), &entry.record.id)? {
            security_group_rule::remove(&rule, write);
        }
        Ok(())
    }

    fn only_settable(fields: &mut serde_json::Map<String, Value>) {
        let Some(Value::Array(rules)) = fields.get_mut("rules") else { return };
        for rule in rules.iter_mut().filter_map(Value::as_object_mut) {
            for key in [
                "id",
                "name",
                "project",
                "labels",
                "security_group_id",
                "generation",
                "created_at",
                "updated_at",
                "status",
            ] {
                rule.remove(key);
            }
            rule.retain(|_, value| !value.is_null());
        }
    }

    const COMPLETE: Option<Complete<Self>> = Some(|objects, app| {
        let store = app.store.as_ref();
        for object in objects {
            object.spec.rules.clear();
            for rule in security_group_rule::of_group(store, &object.id)? {
                let status = store.get(&status_key(SecurityGroupRuleSpec::KIND.plural(), &rule.record.id))?;
                let status = decode_status(status.as_ref().map(|status| &*status.value));
                object.spec.rules.push(rule.record.into_object(status));
            }
        }
        Ok(())
    });

    const LISTED: Option<CompleteListed> = Some(|groups, app| {
        let (rules, _) = app.within(Scope::default()).seen::<SecurityGroupRuleSpec>()?;
        let mut of_group: HashMap<&str, Vec<&str>> = HashMap::new();
        for rule in &rules {
            of_group.entry(rule.part_of.as_deref().unwrap_or_default()).or_default().push(&rule.text);
        }
        let written = groups.iter().map(|group| match of_group.get(group.id.as_str()) {
            Some(rules) => with_rules(&group.text, rules).into(),
            None => Arc::clone(&group.text),
        });
        Ok(written.collect())
    });
}

/// A group as JSON without rules, with these, which are JSON too.
fn with_rules(group: &str, rules: &[&str]) -> String {
    /// Stands in no value: the quotation marks of texts are escaped.
    const NONE: &str = "\"rules\":[]";
    let Some(place) = group.find(NONE) else { return group.to_owned() };
    let (before, after) = group.split_at(place + NONE.len() - 1);
    let length = rules.iter().map(|rule| rule.len() + 1).sum::<usize>();
    let mut text = String::with_capacity(group.len() + length);
    text.push_str(before);
    for (index, rule) in rules.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(rule);
    }
    text.push_str(after);
    text
}

/// Makes the rules of a group those of a request: what is there already stays as it is.
fn replace_rules(
    group: &Record<SecurityGroupSpec>,
    wanted: &[SecurityGroupRuleSpec],
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    let mut missing = BTreeMap::new();
    for (index, rule) in wanted.iter().enumerate() {
        let mut rule = rule.clone();
        rule.security_group_id.clone_from(&group.id);
        security_group_rule::resolve_remote(&mut rule, &group.name, &format!("rules/{index}/"), write)?;
        missing.insert(rule.identity(), rule);
    }
    for existing in security_group_rule::of_group(write.store(), &group.id)? {
        if missing.remove(&existing.record.spec.identity()).is_none() {
            security_group_rule::remove(&existing, write);
        }
    }
    for rule in missing.into_values() {
        security_group_rule::add(rule, group.project.clone(), write.transaction())?;
    }
    Ok(())
}

/// Adds the removal of a group and of its rules to the write of its project.
pub(super) fn remove_with_rules(
    group: &Entry<SecurityGroupSpec>,
    rules: &[Entry<SecurityGroupRuleSpec>],
    write: &mut Write<'_>,
) {
    for rule in rules {
        security_group_rule::remove(rule, write);
    }
    let key = object_key::<SecurityGroupSpec>(&group.record.id);
    let transaction = write.transaction();
    transaction.require(key.clone(), group.revision).delete(key);
    transaction.delete(status_key(SecurityGroupSpec::KIND.plural(), &group.record.id));
    for key in &group.record.keys {
        transaction.delete(key.clone());
    }
}

/// Makes the `default` group where there is none: egress to everywhere, ingress from the group itself. It comes with
/// the object that is written, so not with one that is refused. Says whether there was none.
pub(super) fn make_default(write: &mut Write<'_>) -> Result<bool, AppError> {
    let project = write.scope().project().to_owned();
    let key = name_key::<SecurityGroupSpec>(Some(&project), DEFAULT_GROUP);
    if write.store().get(&key)?.is_some() {
        return Ok(false);
    }
    if write.is_comparison() {
        return Ok(true);
    }
    let id = add_default(&project, write.transaction())?;
    write.uses::<SecurityGroupSpec>("security_groups", &id);
    Ok(true)
}

/// Adds the `default` group of a project to a transaction, and returns its id.
pub(super) fn add_default(project: &str, transaction: &mut Transaction) -> Result<String, AppError> {
    let key = name_key::<SecurityGroupSpec>(Some(project), DEFAULT_GROUP);
    let id = Uuid::now_v7().to_string();
    let now = Timestamp::now();
    let record = Record {
        id: id.clone(),
        name: DEFAULT_GROUP.to_owned(),
        project: Some(project.to_owned()),
        labels: Labels::new(),
        generation: 1,
        created_at: now,
        updated_at: now,
        spec: SecurityGroupSpec {
            description: "Group of ports that name none: egress to everywhere, ingress from the same group."
                .to_owned(),
            rules: Vec::new(),
            wanted_rules: None,
        },
        keys: vec![key.clone()],
    };
    transaction.require(key.clone(), 0).put(key, record.owner());
    record.put(transaction)?;
    let rule = |direction, remote_group_id| SecurityGroupRuleSpec {
        security_group_id: id.clone(),
        direction,
        protocol: Protocol::All,
        port_range_min: None,
        port_range_max: None,
        ethernet_type: EthernetType::All,
        remote_ip_prefix: None,
        remote_group_id,
        remote_address_group_id: None,
        description: String::new(),
    };
    let project = record.project;
    security_group_rule::add(rule(Direction::Egress, None), project.clone(), transaction)?;
    security_group_rule::add(rule(Direction::Ingress, Some(id.clone())), project, transaction)?;
    Ok(id)
}
