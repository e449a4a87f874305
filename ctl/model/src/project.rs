//! Projects: tenants. Every object of a tenant belongs to one, and its name is its own only within it.

use serde::{Deserialize, Serialize};

use crate::meta::{Kind, Object, Spec};
use crate::reader::{Reader, Refusal};
use crate::value;

/// The project of requests that name none, and of everything that was made before there were projects.
pub const DEFAULT_PROJECT: &str = "default";
/// Where roles of the whole site are given: tokens and role bindings in it hold everywhere, nothing else is in it.
pub const SYSTEM_PROJECT: &str = "system";
/// In place of a project's name: every project that the caller may look at.
pub const ALL_PROJECTS: &str = "all";

/// A project as the API shows it.
pub type Project = Object<ProjectSpec>;

/// The fields of a project.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProjectSpec {
    /// Free text.
    #[serde(default)]
    pub description: String,
}

impl Spec for ProjectSpec {
    const KIND: Kind = Kind::Project;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        if let Some(name) = reader.raw("name").and_then(serde_json::Value::as_str)
            && [ALL_PROJECTS, SYSTEM_PROJECT].contains(&name)
        {
            let message = format!("`{name}` is a word of the API's own");
            reader.refuse("name", Refusal::new("reserved", message, "choose another name"));
        }
        let description = reader.optional("description", value::description).unwrap_or_default();
        reader.is_clean().then_some(Self { description })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ProjectSpec;
    use crate::meta::tests::{accepted, refusals};

    #[test]
    fn names_of_the_apis_own_are_refused() {
        assert_eq!(
            accepted::<ProjectSpec>(&json!({"project": {"name": "blue"}})).name.as_deref(),
            Some("blue")
        );
        for name in ["all", "system"] {
            let found = refusals::<ProjectSpec>(&json!({"project": {"name": name}}));
            assert_eq!(found, [("/project/name".to_owned(), "reserved".to_owned())]);
        }
    }
}
