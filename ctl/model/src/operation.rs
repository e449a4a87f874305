//! Operations: what takes longer than a request, with its progress.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Problem;

/// Something that takes longer than a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Identifier given by the server.
    pub id: String,
    /// What is done, such as `backup`.
    pub action: String,
    /// What it is done to or with: a name.
    pub target: String,
    /// How far it is, in one word.
    pub phase: OperationPhase,
    /// How far it is, in numbers.
    pub progress: Progress,
    /// What came of it; null before the end, and where nothing did.
    pub result: Value,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// How far an operation is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationPhase {
    /// It is being worked on.
    Running,
    /// It is done.
    Succeeded,
    /// It could not be done.
    Failed,
    /// It was given up because somebody asked for that.
    Cancelled,
}

/// How far an operation is, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done at the moment.
    pub step: String,
    /// Units of work that are done.
    pub done: u64,
    /// All units of work; 0 where that is not known.
    pub total: u64,
    /// The same in percent.
    pub percent: u8,
}

impl Progress {
    /// Some units of work of all.
    pub fn new(step: impl Into<String>, done: u64, total: u64) -> Self {
        let percent = (done * 100).checked_div(total).map_or(0, |percent| percent.min(100) as u8);
        Self { step: step.into(), done, total, percent }
    }
}
