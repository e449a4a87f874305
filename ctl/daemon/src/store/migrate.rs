//! From an older layout of the store to the one that this program writes.
//!
//! Each step leads from one schema version to the next. All steps that a store needs are one transaction with the new
//! version number: a program that is killed in the middle finds the store as it was.

use redb::{ReadableTable, Table};

/// Why a store could not be brought to the layout of this program.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The file could not be read or written.
    #[error(transparent)]
    Backend(#[from] redb::Error),
    /// A value is not what the older program wrote.
    #[error("the value of `{key}` is not as schema version {version} has it: {reason}")]
    Value {
        /// The key.
        key: String,
        /// The version of the layout.
        version: u64,
        /// What is wrong.
        reason: String,
    },
}

/// A step; the entry number `n` leads from version `n + 1` to version `n + 2`.
type Step = fn(&mut Entries<'_, '_>) -> Result<(), MigrationError>;

/// All steps, the oldest first.
const STEPS: [Step; 2] = [give_labels, give_projects];

/// The layout that the steps lead to.
pub(super) const NEWEST: u64 = STEPS.len() as u64 + 1;

/// Takes all steps from `version` on.
pub(super) fn migrate(table: &mut Table<'_, &str, &[u8]>, version: u64) -> Result<(), MigrationError> {
    let taken = version.saturating_sub(1) as usize;
    for (step, version) in STEPS.iter().zip(1..).skip(taken) {
        step(&mut Entries { table, version })?;
    }
    Ok(())
}

/// The entries of a store whose layout changes. Revisions stay: what an entry says is the same in another form.
struct Entries<'a, 'b> {
    table: &'a mut Table<'b, &'static str, &'static [u8]>,
    version: u64,
}

impl Entries<'_, '_> {
    /// All entries whose keys start with `prefix`, as they are stored.
    fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, MigrationError> {
        let mut listed = Vec::new();
        for entry in self.table.range(prefix..).map_err(redb::Error::from)? {
            let (key, value) = entry.map_err(redb::Error::from)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            listed.push((key.value().to_owned(), value.value().to_vec()));
        }
        Ok(listed)
    }

    /// Writes an entry as it is stored.
    fn put(&mut self, key: &str, value: &[u8]) -> Result<(), MigrationError> {
        self.table.insert(key, value).map_err(redb::Error::from)?;
        Ok(())
    }

    /// Removes an entry.
    fn remove(&mut self, key: &str) -> Result<(), MigrationError> {
        self.table.remove(key).map_err(redb::Error::from)?;
        Ok(())
    }

    /// Replaces every value whose key starts with `prefix`, a JSON object, by what `change` makes of it.
    fn change_objects(
        &mut self,
        prefix: &str,
        change: impl Fn(&mut serde_json::Map<String, serde_json::Value>),
    ) -> Result<(), MigrationError> {
        let mut changed = Vec::new();
        for entry in self.table.range(prefix..).map_err(redb::Error::from)? {
            let (key, value) = entry.map_err(redb::Error::from)?;
            let (key, value) = (key.value(), value.value());
            if !key.starts_with(prefix) {
                break;
            }
            let wrong =
                |reason: String| MigrationError::Value { key: key.to_owned(), version: self.version, reason };
            let (revision, json) =
                value.split_at_checked(8).ok_or_else(|| wrong("it is cut off".to_owned()))?;
            let mut object = serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))?;
            change(&mut object);
            let json = serde_json::to_vec(&object).map_err(|error| wrong(error.to_string()))?;
            changed.push((key.to_owned(), [revision, &json].concat()));
        }
        for (key, value) in changed {
            self.table.insert(key.as_str(), value.as_slice()).map_err(redb::Error::from)?;
        }
        Ok(())
    }
}

/// To version 2: every object has labels.
fn give_labels(entries: &mut Entries<'_, '_>) -> Result<(), MigrationError> {
    entries.change_objects("objects/", |object| {
        object.entry("labels").or_insert_with(|| serde_json::Map::new().into());
    })
}

/// Kinds whose objects belong to projects from version 3 on.
const KINDS_OF_PROJECTS: [&str; 6] =
    ["networks", "ports", "routers", "floating_ips", "security_groups", "security_group_rules"];

/// To version 3: what there is belongs to the project `default`, names are within projects, and those of external
/// networks are shared by all.
fn give_projects(entries: &mut Entries<'_, '_>) -> Result<(), MigrationError> {
    for kind in KINDS_OF_PROJECTS {
        let (old, new) = (format!("names/{kind}/"), format!("names/{kind}/default/"));
        let shared = format!("shared/{kind}/");
        let is_shared = |object: &serde_json::Map<String, serde_json::Value>| {
            kind == "networks" && object.get("spec").is_some_and(|spec| spec["external"] == true)
        };
        entries.change_objects(&format!("objects/{kind}/"), |object| {
            let name =
                object.get("name").and_then(|name| name.as_str()).map(|name| format!("{shared}{name}"));
            let shared = name.filter(|_| is_shared(object));
            object.insert("project".to_owned(), "default".into());
            if let Some(keys) = object.get_mut("keys").and_then(|keys| keys.as_array_mut()) {
                for key in keys.iter_mut() {
                    if let Some(name) = key.as_str().and_then(|key| key.strip_prefix(&old)) {
                        *key = format!("{new}{name}").into();
                    }
                }
                keys.extend(shared.map(serde_json::Value::from));
            }
        })?;
        for (key, owner) in entries.list(&old)? {
            entries.remove(&key)?;
            entries.put(&format!("{new}{}", &key[old.len()..]), &owner)?;
        }
        for (key, value) in entries.list(&format!("objects/{kind}/"))? {
            let (revision, json) = value.split_at(value.len().min(8));
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(json).unwrap_or_default();
            let id = key.rsplit('/').next().unwrap_or_default();
            if let (true, Some(name)) =
                (is_shared(&object), object.get("name").and_then(|name| name.as_str()))
            {
                let owner = [revision, format!("{kind}/{id}/{name}/default").as_bytes()].concat();
                entries.put(&format!("{shared}{name}"), &owner)?;
            }
        }
    }
    Ok(())
}
