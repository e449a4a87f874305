//! How many objects of each kind a project has, and how many it may have.
//!
//! The counts are one value of the store for each project, `usage/<project>`. Whatever a transaction puts and deletes is
//! counted in the same transaction, under the condition that the counts are still what they were: two creates at once
//! cannot both take the last place. Counts that are missing are made from the objects.

use std::collections::BTreeMap;

use edgestack_model::project::{DEFAULT_PROJECT, SYSTEM_PROJECT};
use edgestack_model::{Kind, Limits};
use serde::Deserialize;

use super::error::AppError;
use super::record::OBJECTS;
use crate::store::{Operation, Store, Transaction};

/// Objects by the plural of their kind.
pub type Counts = BTreeMap<String, u64>;

/// Key of a project's counts.
pub fn usage_key(project: &str) -> String {
    format!("usage/{project}")
}

/// Key of the limits that a project has in place of those of the configuration.
pub fn limits_key(project: &str) -> String {
    format!("limits/{project}")
}

/// The counts of a project and the revision that wrote them; 0 where they had to be made.
pub fn counts(store: &dyn Store, project: &str) -> Result<(Counts, u64), AppError> {
    let key = usage_key(project);
    if let Some(stored) = store.get(&key)? {
        let counts = serde_json::from_slice(&stored.value);
        return Ok((counts.map_err(|source| AppError::Corrupt { key, source })?, stored.revision));
    }
    let mut counts = Counts::new();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_of_projects()) {
        for stored in store.list(&format!("{OBJECTS}{}/", kind.plural()))?.entries {
            if project_of(&stored.value).as_deref() == Some(project) {
                *counts.entry(kind.plural().to_owned()).or_default() += 1;
            }
        }
    }
    Ok((counts, 0))
}

/// The limits of a project: its own, else those of the configuration.
pub fn limits(store: &dyn Store, project: &str, defaults: &Limits) -> Result<Limits, AppError> {
    let key = limits_key(project);
    match store.get(&key)? {
        Some(stored) => {
            let own: Limits =
                serde_json::from_slice(&stored.value).map_err(|source| AppError::Corrupt { key, source })?;
            Ok(own.over(defaults))
        }
        None => Ok(defaults.clone()),
    }
}

/// Adds the counting of a transaction to it, and refuses what is more than a project may have.
pub fn count(store: &dyn Store, transaction: &mut Transaction, defaults: &Limits) -> Result<(), AppError> {
    for (project, changes) in changes(store, transaction)? {
        let key = usage_key(&project);
        if transaction.operations.iter().any(|operation| operation.key() == key) {
            continue; // The project itself goes, with what is left in it.
        }
        let name_key = format!("names/projects/{project}");
        let built_in = [DEFAULT_PROJECT, SYSTEM_PROJECT].contains(&project.as_str());
        let comes_now = transaction.operations.iter().any(|operation| operation.key() == name_key);
        if !built_in && !comes_now && store.get(&name_key)?.is_none() {
            return Err(AppError::NotFound { kind: Kind::Project, reference: project });
        }
        let (mut counts, revision) = counts(store, &project)?;
        let limits = limits(store, &project, defaults)?;
        for (kind, change) in changes {
            let count = counts.entry(kind.clone()).or_default();
            let used = *count;
            *count = used.saturating_add_signed(change);
            let limit = limits.of(&kind);
            if change > 0 && *count > limit {
                return Err(AppError::QuotaExceeded { project, kind, used, limit });
            }
        }
        counts.retain(|_, count| *count > 0);
        let value =
            serde_json::to_vec(&counts).map_err(|source| AppError::Corrupt { key: key.clone(), source })?;
        transaction.require(key.clone(), revision).put(key, value);
    }
    Ok(())
}

/// How many objects of each kind come and go, by project.
fn changes(
    store: &dyn Store,
    transaction: &Transaction,
) -> Result<BTreeMap<String, BTreeMap<String, i64>>, AppError> {
    // What each key is in the end: one may be written twice.
    let mut last: BTreeMap<&str, Option<&[u8]>> = BTreeMap::new();
    for operation in &transaction.operations {
        if operation.key().starts_with(OBJECTS) {
            last.insert(operation.key(), operation.value());
        }
    }
    let mut changes: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for (key, value) in last {
        let Some((kind, _)) = key.strip_prefix(OBJECTS).and_then(|key| key.split_once('/')) else { continue };
        let before = store.get(key)?;
        let (stored, change) = match (&before, value) {
            (None, Some(value)) => (value, 1),
            (Some(before), None) => (before.value.as_slice(), -1),
            _ => continue,
        };
        if let Some(project) = project_of(stored) {
            *changes.entry(project).or_default().entry(kind.to_owned()).or_default() += change;
        }
    }
    Ok(changes)
}

/// The project in a stored object; none for those of the site.
fn project_of(value: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Head {
        project: Option<String>,
    }
    serde_json::from_slice::<Head>(value).ok()?.project
}

impl Operation {
    /// The key that it is about.
    fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// What is there afterwards.
    fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Put { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }
}
