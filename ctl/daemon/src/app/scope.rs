//! What a request may reach: the project that it works in, and whose objects it sees.
//!
//! Made by `access/` for each request. The rules look everything up through it, so that what is of another project is
//! not there: neither found, nor named in an error.

use std::collections::BTreeSet;

use edgestack_model::project::DEFAULT_PROJECT;
use edgestack_model::{Kind, Spec};

use super::listed::Listed;
use super::record::Record;

/// What a request may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The project that objects are made in, and that names are looked up in.
    project: String,
    /// Whose objects are seen.
    reach: Reach,
    /// Objects may name what is the host's (interfaces, physical networks), and what all projects share may be changed.
    host: bool,
}

/// Whose objects are seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everybody's.
    All,
    /// Those of some projects.
    Projects(BTreeSet<String>),
}

impl Reach {
    /// One project.
    pub fn one(project: &str) -> Self {
        Self::Projects(BTreeSet::from([project.to_owned()]))
    }

    /// Whether the project is one of them.
    pub fn has(&self, project: &str) -> bool {
        match self {
            Self::All => true,
            Self::Projects(projects) => projects.contains(project),
        }
    }
}

impl Scope {
    /// Works in `project`, sees what is in `reach`; `host` where what is the host's may be named.
    pub fn new(project: &str, reach: Reach, host: bool) -> Self {
        Self { project: project.to_owned(), reach, host }
    }

    /// One project, with everything that may be done in it.
    pub fn of_project(project: &str) -> Self {
        Self::new(project, Reach::one(project), true)
    }

    /// The same for an object of another project.
    #[must_use]
    pub fn moved_to(&self, project: Option<&str>) -> Self {
        match project {
            Some(project) => Self { project: project.to_owned(), ..self.clone() },
            None => self.clone(),
        }
    }

    /// The project that objects are made in.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The project that a new object of the kind is in; none for kinds that are the site's.
    pub fn project_of<S: Spec>(&self) -> Option<&str> {
        S::KIND.is_of_projects().then_some(self.project.as_str())
    }

    /// Whether objects may name what is the host's.
    pub fn may_name_the_host(&self) -> bool {
        self.host
    }

    /// Whether an object is seen.
    pub fn sees<S: Spec>(&self, record: &Record<S>) -> bool {
        self.sees_one(S::KIND, record.project.as_deref(), &record.name, record.spec.is_shared())
    }

    /// Whether an object of a list is seen.
    pub fn sees_listed(&self, kind: Kind, object: &Listed) -> bool {
        self.sees_one(kind, object.project.as_deref(), &object.name, object.is_shared)
    }

    fn sees_one(&self, kind: Kind, project: Option<&str>, name: &str, is_shared: bool) -> bool {
        match project {
            Some(project) => self.reach.has(project) || is_shared,
            None if kind == Kind::Project => self.reach.has(name),
            None => true,
        }
    }

    /// Whether an object that is seen may be changed.
    pub fn may_change<S: Spec>(&self, record: &Record<S>) -> bool {
        let own = record.project.as_ref().is_none_or(|project| self.reach.has(project));
        own && (self.host || !record.spec.is_shared())
    }

    /// Whether everything of the site is seen.
    pub fn sees_the_site(&self) -> bool {
        self.reach == Reach::All
    }

    /// Whether the owner of something (an address, a name) may be named to the caller.
    pub fn may_hear_of(&self, project: &str) -> bool {
        self.reach.has(project)
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self::new(DEFAULT_PROJECT, Reach::All, true)
    }
}
