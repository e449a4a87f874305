//! Events: what happened to an object, as the API lists and streams it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Revision of the store that it made; several objects may change with one.
    pub revision: u64,
    /// What happened.
    #[serde(rename = "type")]
    pub change: Change,
    /// Kind of the object, in the singular.
    pub kind: String,
    /// Its identifier.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The project that it is in; none where it is the site's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Why, in one word for programs.
    pub reason: String,
    /// What happened, in a sentence for people.
    pub message: String,
    /// When the daemon saw it.
    pub at: Timestamp,
    /// The object afterwards; as it was last where it is gone.
    pub object: Value,
}

/// What can happen to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was made.
    Created,
    /// Its fields or labels were changed.
    Updated,
    /// It was removed.
    Deleted,
    /// A reconciler said what became of it.
    Status,
}

impl Change {
    /// The words on the wire.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("created", Self::Created),
        ("updated", Self::Updated),
        ("deleted", Self::Deleted),
        ("status", Self::Status),
    ];

    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Status => "status",
        }
    }
}
