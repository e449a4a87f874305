//! What is kept of a request with an `Idempotency-Key`, so that it can be sent again without being done again.
//!
//! The [`Mark`] goes into the store in the transaction of the change itself, so that there is no moment at which the
//! change is made and the key is not known; the answer follows it. `http/idempotency.rs` reads both.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Prefix of what is kept.
pub const KEPT: &str = "idempotency/";

/// Marks a change as made by a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Key in the store.
    pub key: String,
    /// Digest of the request.
    pub request: String,
    /// When it came.
    pub at: Timestamp,
}

/// What is kept of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Digest of the request.
    pub request: String,
    /// When it came.
    pub at: Timestamp,
    /// The object that it changed, by id and name; none where it changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<(String, String)>,
    /// Its answer; none where the daemon ended before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers that belong to it.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Mark {
    /// What is kept as long as there is no answer.
    pub(super) fn kept(&self, id: &str, name: &str) -> Vec<u8> {
        let object = Some((id.to_owned(), name.to_owned()));
        let kept = Kept { request: self.request.clone(), at: self.at, object, answer: None };
        serde_json::to_vec(&kept).unwrap_or_default()
    }
}
