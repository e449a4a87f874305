//! The record of a packet's way through the pipeline, for people.
//!
//! The stages describe what they decide to a [`Trace`]. On the packet path it is off and describes nothing: the closure
//! is not called, so no text is made.

use crate::inspect::TraceStep;
use crate::pipeline::Stage;

/// Where stages describe their decisions.
#[derive(Debug, Default)]
pub struct Trace {
    steps: Option<Vec<TraceStep>>,
}

impl Trace {
    /// A trace that records nothing.
    pub const fn off() -> Self {
        Self { steps: None }
    }

    /// A trace that records.
    pub fn recording() -> Self {
        Self { steps: Some(Vec::new()) }
    }

    /// Describes a decision of a stage.
    #[inline]
    pub fn step(&mut self, stage: Stage, decision: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.steps {
            steps.push(TraceStep { stage: stage.label().to_owned(), decision: decision() });
        }
    }

    /// What was recorded.
    pub fn into_steps(self) -> Vec<TraceStep> {
        self.steps.unwrap_or_default()
    }
}
