//! `--wait`: until objects are in effect, or gone, and meanwhile what is waited for.
//!
//! On a terminal that is one line that changes; elsewhere a line on stderr for each thing that is waited for.

use std::io::{self, IsTerminal};
use std::time::Duration;

use edgestack_client::Kind;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::error::{CliError, exit};
use crate::session::Session;
use crate::value::{list, text};

/// How often it looks again.
const STEP: Duration = Duration::from_millis(100);
/// How often the line on a terminal moves.
const TICK: Duration = Duration::from_millis(120);

/// An object that is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its kind.
    pub kind: Kind,
    /// What the API finds it by.
    pub reference: String,
    /// What people call it.
    pub name: String,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The object is as it was asked for.
    InEffect,
    /// There is no such object.
    Gone,
}

/// Waits for every target, at most `patience`.
pub(crate) async fn wait(
    session: &Session,
    targets: &[Target],
    until: Until,
    patience: Duration,
) -> Result<(), CliError> {
    let started = tokio::time::Instant::now();
    let mut line = Line::new(session.output.quiet);
    let mut waiting = targets.to_vec();
    loop {
        let mut reasons = Vec::new();
        let mut still = Vec::new();
        for target in waiting {
            if let Some(reason) = reason(session, &target, until).await? {
                reasons.push(reason);
                still.push(target);
            }
        }
        waiting = still;
        let Some(first) = reasons.first() else {
            line.end();
            return Ok(());
        };
        if started.elapsed() >= patience {
            line.end();
            for reason in &reasons {
                eprintln!("error[timeout]: after {} s {reason}", patience.as_secs_f32());
            }
            return Err(CliError::Told(exit::TIMEOUT));
        }
        let others = match reasons.len() - 1 {
            0 => String::new(),
            others => format!(" (and {others} more)"),
        };
        line.show(&format!("{first}{others}"));
        tokio::time::sleep(STEP).await;
    }
}

/// Why a target is still waited for; none where it is not.
async fn reason(session: &Session, target: &Target, until: Until) -> Result<Option<String>, CliError> {
    let found = match session.client.get::<Value>(target.kind, &target.reference).await {
        Ok(found) => Some(found),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let called = format!("{} {}", target.kind, target.name);
    Ok(match (found, until) {
        (None, Until::Gone) => None,
        (None, Until::InEffect) => return Err(CliError::NotFound(format!("{called} was removed meanwhile"))),
        (Some(_), Until::Gone) => Some(format!("{called} is still there")),
        (Some(object), Until::InEffect) => why_not_in_effect(&object).map(|why| format!("{called} {why}")),
    })
}

/// Why an object is not in effect; none where it is.
pub(crate) fn why_not_in_effect(object: &Value) -> Option<String> {
    let phase = text(object, "/status/phase");
    let is_current = object["status"]["observed_generation"].as_u64() >= object["generation"].as_u64();
    // Some kinds are in effect as soon as they are stored, and have no status.
    if phase.is_empty() || (is_current && matches!(phase.as_str(), "Active" | "Down" | "Ready")) {
        return None;
    }
    let why = list(object, "/status/conditions").iter().find(|condition| condition["status"] != "True");
    let why = why.map(|condition| text(condition, "/message")).filter(|message| !message.is_empty());
    Some(match why {
        Some(why) => format!("is {phase}: {why}"),
        None if is_current => format!("is {phase}"),
        None => format!("is {phase}, its last change not seen yet"),
    })
}

/// The progress line.
struct Line {
    bar: Option<ProgressBar>,
    last: String,
    quiet: bool,
}

impl Line {
    fn new(quiet: bool) -> Self {
        let bar = (!quiet && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar, last: String::new(), quiet }
    }

    fn show(&mut self, text: &str) {
        if text == self.last || self.quiet {
            return;
        }
        text.clone_into(&mut self.last);
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => eprintln!("waiting: {text}"),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::why_not_in_effect;

    #[test]
    fn what_is_waited_for_is_said() {
        let object = |phase: &str, observed: u64| {
            json!({"generation": 2, "status": {"phase": phase, "observed_generation": observed, "conditions": [
                {"type": "Known", "status": "True", "message": "seen"},
                {"type": "Ready", "status": "False", "message": "no interface is plugged in"}]}})
        };
        assert_eq!(why_not_in_effect(&object("Active", 2)), None);
        assert_eq!(why_not_in_effect(&object("Down", 3)), None);
        let why = why_not_in_effect(&object("Pending", 2));
        assert_eq!(why.as_deref(), Some("is Pending: no interface is plugged in"));
        let old = json!({"generation": 2, "status": {"phase": "Active", "observed_generation": 1}});
        assert_eq!(why_not_in_effect(&old).as_deref(), Some("is Active, its last change not seen yet"));
        assert_eq!(why_not_in_effect(&json!({"name": "small"})), None);
    }
}
