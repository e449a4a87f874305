//! How an object lies in the store, and under which keys.
//!
//! | key | value |
//! | --- | --- |
//! | `objects/<plural>/<id>` | the [`Record`] |
//! | `status/<plural>/<id>` | its status, written by reconcilers |
//! | `names/<plural>/<project>/<name>` | the owner; without the project for kinds that are the site's |
//! | `shared/<plural>/<name>` | the owner of the name in all projects: an object that all may use |
//! | `claims/...` | the owner of something that only one object may have (an address, an interface, ...) |
//! | `uses/<plural>/<id>/<user plural>/<user id>` | an owner that refers to the object |
//!
//! An owner is `<plural>/<id>/<name>/<project>`. A record lists the keys of the last groups that are its own, so that
//! they go with it. What each project has is counted in `usage/<project>` ([`super::usage`]).

use edgestack_model::project::DEFAULT_PROJECT;
use edgestack_model::{Kind, Labels, Object, Reference, Spec, Status};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Scope;
use super::error::AppError;
use crate::store::{Stored, Transaction};

/// Prefix of all objects.
pub const OBJECTS: &str = "objects/";
/// Prefix of all statuses.
pub const STATUSES: &str = "status/";

/// An object as it is stored: the status is kept apart, because others write it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Record<S: Spec> {
    /// Identifier.
    pub id: String,
    /// Name.
    pub name: String,
    /// The project that it belongs to; none where it is the site's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Words of the user's.
    pub labels: Labels,
    /// Raised with each change of `spec`, and of the rules of a security group.
    pub generation: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When `spec` or the labels were last changed.
    pub updated_at: Timestamp,
    /// The fields of the kind.
    pub spec: S,
    /// Keys of the store that are the object's own: its name, its claims and its uses of others.
    pub keys: Vec<String>,
}

/// A record with the revision that wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<S: Spec> {
    /// The record.
    pub record: Record<S>,
    /// Revision of the store.
    pub revision: u64,
}

impl<S: Spec> Entry<S> {
    /// Reads what the store holds.
    pub fn decode(stored: &Stored) -> Result<Self, AppError> {
        let record = serde_json::from_slice(&stored.value)
            .map_err(|source| AppError::Corrupt { key: stored.key.clone(), source })?;
        Ok(Self { record, revision: stored.revision })
    }

    /// The entity tag: changes with every write of the object, not with its status.
    pub fn etag(&self) -> String {
        format!("\"{}-{}\"", self.record.generation, self.revision)
    }
}

impl<S: Spec> Record<S> {
    /// Notes that the object, or what belongs to it, is changed now.
    pub fn raise_generation(&mut self) {
        self.generation += 1;
        self.updated_at = Timestamp::now();
    }

    /// The object as the API shows it.
    pub fn into_object(self, status: Status) -> Object<S> {
        let Self { id, name, project, labels, generation, created_at, updated_at, spec, keys: _ } = self;
        Object { id, name, project, labels, spec, generation, created_at, updated_at, status }
    }

    /// Adds the writing of the record itself to a transaction.
    pub fn put(&self, transaction: &mut Transaction) -> Result<(), AppError> {
        let key = object_key::<S>(&self.id);
        let value =
            serde_json::to_vec(self).map_err(|source| AppError::Corrupt { key: key.clone(), source })?;
        transaction.put(key, value);
        Ok(())
    }

    /// What the object's own keys hold.
    pub fn owner(&self) -> String {
        format!(
            "{}/{}/{}/{}",
            S::KIND.plural(),
            self.id,
            self.name,
            self.project.as_deref().unwrap_or_default()
        )
    }

    /// The name for people and for the dataplane: with the project, where that is not the default one.
    pub fn shown_name(&self) -> String {
        match self.project.as_deref() {
            None | Some(DEFAULT_PROJECT) => self.name.clone(),
            Some(project) => format!("{project}/{}", self.name),
        }
    }
}

/// Key of an object.
pub fn object_key<S: Spec>(id: &str) -> String {
    format!("{OBJECTS}{}/{id}", S::KIND.plural())
}

/// Prefix of all objects of a kind.
pub fn object_prefix<S: Spec>() -> String {
    format!("{OBJECTS}{}/", S::KIND.plural())
}

/// Key of an object's status.
pub fn status_key(plural: &str, id: &str) -> String {
    format!("{STATUSES}{plural}/{id}")
}

/// Key of a name within a project.
pub fn name_key<S: Spec>(project: Option<&str>, name: &str) -> String {
    match project {
        Some(project) => format!("names/{}/{project}/{name}", S::KIND.plural()),
        None => format!("names/{}/{name}", S::KIND.plural()),
    }
}

/// Prefix of the names of a kind, in all projects.
pub fn names_prefix<S: Spec>() -> String {
    format!("names/{}/", S::KIND.plural())
}

/// Key of a name that is the same object for all projects.
pub fn shared_key<S: Spec>(name: &str) -> String {
    format!("shared/{}/{name}", S::KIND.plural())
}

/// Prefix of those that use an object.
pub fn uses_prefix<S: Spec>(id: &str) -> String {
    format!("uses/{}/{id}/", S::KIND.plural())
}

/// An owner taken apart: plural, id and name.
pub fn parse_owner(value: &[u8]) -> Option<(&str, &str, &str)> {
    let mut parts = std::str::from_utf8(value).ok()?.split('/');
    Some((parts.next()?, parts.next()?, parts.next()?))
}

/// An owner as answers name it.
pub fn reference(value: &[u8]) -> Option<Reference> {
    let (plural, id, name) = parse_owner(value)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.plural() == plural);
    let kind = kind.map_or_else(|| plural.to_owned(), |kind| kind.singular().to_owned());
    Some(Reference { kind, id: id.to_owned(), name: name.to_owned() })
}

/// The project of an owner; empty where it is the site's. What was written before there were projects is of the default one.
pub fn project_of_owner(value: &[u8]) -> &str {
    let text = std::str::from_utf8(value).unwrap_or_default();
    text.split('/').nth(3).unwrap_or(DEFAULT_PROJECT)
}

/// An owner for people: `port web`. Who may not hear of it learns no name.
pub fn describe_owner(value: &[u8], scope: &Scope) -> String {
    let project = project_of_owner(value);
    match parse_owner(value) {
        _ if !project.is_empty() && !scope.may_hear_of(project) => "object of another project".to_owned(),
        Some((plural, _, name)) => {
            let shown = format!("{} {name}", plural.trim_end_matches('s').replace('_', " "));
            let elsewhere = !project.is_empty() && project != scope.project();
            if elsewhere { format!("{shown} of the project {project}") } else { shown }
        }
        None => "another object".to_owned(),
    }
}
