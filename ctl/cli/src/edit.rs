//! `edgectl edit KIND NAME`: an object's manifest in the user's editor, written back where the object still is what the
//! editor was given.
//!
//! What is refused comes back with the reasons above it as comments, as often as the user tries; a file that is left as it
//! was ends it. Nothing that was written is lost: it stays in a file.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use edgestack_client::{ClientError, Kind, Manifest};
use serde_json::Value;
use similar::TextDiff;
use tempfile::{NamedTempFile, TempPath};

use crate::command::Action;
use crate::error::CliError;
use crate::explain::{kinds, noun_called};
use crate::noun::Noun;
use crate::session::Session;

/// The editor of who names none.
const DEFAULT_EDITOR: &str = "vi";
/// Lines around what somebody else has changed.
const CONTEXT_LINES: usize = 1;
/// What stands above every text.
const HOW: &str = "Changed and saved, this is written to the daemon; left as it is, nothing is.";

/// Arguments of edit.
#[derive(Debug, Args)]
#[command(after_help = "\
The editor is $VISUAL, else $EDITOR, else vi.

Examples:
  edgectl edit network blue
  EDITOR=nano edgectl edit sg web")]
pub(crate) struct EditArgs {
    /// Kind of the object, such as network or sg
    #[arg(value_name = "KIND", add = ArgValueCandidates::new(kinds))]
    pub kind: String,
    /// Name or id
    #[arg(value_name = "OBJECT")]
    pub name: String,
}

impl Action for EditArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let noun = noun_called(&self.kind)?;
        if noun.kind == Kind::Token {
            return Err(CliError::usage("a token is never changed", "remove it and create another"));
        }
        let name = session.resolve(noun, &self.name).await?;
        let given = session.client.manifest(noun.kind, &name).await?;
        let mut draft = Draft::new(&given.text)?;
        let result = edit(session, noun, &name, given, &mut draft).await;
        if result.is_err() && draft.is_changed {
            draft.keep()?;
        }
        result
    }
}

/// Lets the user edit until the daemon takes it, or the user gives up.
async fn edit(
    session: &Session,
    noun: &Noun,
    name: &str,
    mut given: Manifest,
    draft: &mut Draft,
) -> Result<(), CliError> {
    let mut refused = None;
    while let Some(text) = draft.edit()? {
        let error = match write(session, noun, name, &text, &given).await {
            Ok(object) => return session.told(noun, "updated", &object),
            Err(error) => error,
        };
        let mut reasons = error.text();
        if is_of_another_time(&error) {
            let now = session.client.manifest(noun.kind, name).await?;
            reasons.push_str(&meanwhile(&given.text, &now.text));
            given = now;
        } else if !is_of_the_text(&error) {
            return Err(error);
        }
        draft.offer(&reasons, &text)?;
        refused = Some(error);
    }
    match refused {
        None => session.output.confirm("nothing was changed"),
        Some(error) => Err(error),
    }
}

/// Puts the object that the text describes in place of the one that is there, unless that is another by now.
async fn write(
    session: &Session,
    noun: &Noun,
    name: &str,
    text: &str,
    given: &Manifest,
) -> Result<Value, CliError> {
    let body: Value = serde_saphyr::from_str(text)
        .map_err(|error| CliError::Usage { message: error.to_string(), hint: None })?;
    Ok(session.client.replace_unchanged(noun.kind, name, &body, given.etag.as_deref()).await?)
}

/// Somebody else has changed the object.
fn is_of_another_time(error: &CliError) -> bool {
    matches!(error, CliError::Client(ClientError::Problem(problem)) if problem.status == 412)
}

/// Another text may be taken.
fn is_of_the_text(error: &CliError) -> bool {
    match error {
        CliError::Client(ClientError::Problem(problem)) => matches!(problem.status, 400 | 409 | 413 | 422),
        CliError::Usage { .. } => true,
        _ => false,
    }
}

/// What somebody else has changed.
fn meanwhile(given: &str, now: &str) -> String {
    let diff = TextDiff::from_lines(given, now);
    let diff = diff.unified_diff().context_radius(CONTEXT_LINES).to_string();
    format!("Take this line out to replace what somebody else has changed meanwhile:\n{diff}")
}

/// A text in a file of its own, which goes with it.
struct Draft {
    path: TempPath,
    /// What the editor is given.
    offered: String,
    /// The user has changed it.
    is_changed: bool,
}

impl Draft {
    fn new(text: &str) -> Result<Self, CliError> {
        let file = tempfile::Builder::new().prefix("edgectl-").suffix(".yaml").tempfile();
        let path = file.map(NamedTempFile::into_temp_path).map_err(|source| {
            let path = std::env::temp_dir().display().to_string();
            CliError::File { path, source }
        })?;
        let mut draft = Self { path, offered: String::new(), is_changed: false };
        draft.offer("", text)?;
        Ok(draft)
    }

    /// Puts a text into the file, below `reasons` why it was not taken.
    fn offer(&mut self, reasons: &str, text: &str) -> Result<(), CliError> {
        let comments = reasons.lines().chain([HOW]).map(|line| format!("# {line}\n"));
        self.offered = comments.chain([text.to_owned()]).collect();
        std::fs::write(&self.path, &self.offered).map_err(|source| in_file(&self.path, source))
    }

    /// Lets the user edit it. Returns the text without the comments above it; none where it is as it was, or gone.
    fn edit(&mut self) -> Result<Option<String>, CliError> {
        let editor = ["VISUAL", "EDITOR"].into_iter().find_map(|name| std::env::var(name).ok());
        let editor = editor.filter(|editor| !editor.trim().is_empty());
        let editor = editor.unwrap_or_else(|| DEFAULT_EDITOR.to_owned());
        // By the shell, as it may have arguments of its own.
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(&self.path);
        let told = |source| CliError::File { path: format!("the editor `{editor}`"), source };
        let status = command.status().map_err(told)?;
        if !status.success() {
            return Err(told(io::Error::other(format!("{status}; nothing was changed"))));
        }
        let text = std::fs::read_to_string(&self.path).map_err(|source| in_file(&self.path, source))?;
        let written = without_comments(&text);
        if text == self.offered || written.trim().is_empty() {
            return Ok(None);
        }
        self.is_changed = true;
        Ok(Some(written.to_owned()))
    }

    /// Leaves the file to the user.
    fn keep(self) -> Result<(), CliError> {
        let path = self.path.to_owned();
        let kept: PathBuf = self.path.keep().map_err(|error| in_file(&path, error.error))?;
        eprintln!("what you wrote is kept in {}", kept.display());
        Ok(())
    }
}

fn in_file(path: &Path, source: io::Error) -> CliError {
    CliError::File { path: path.display().to_string(), source }
}

/// A text without the lines of comments that it begins with.
fn without_comments(text: &str) -> &str {
    let mut rest = text;
    while rest.starts_with('#') {
        rest = rest.split_once('\n').map_or("", |(_, below)| below);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::{meanwhile, without_comments};

    #[test]
    fn comments_above_are_no_part_of_a_text() {
        assert_eq!(without_comments("# a\n#b\nnetwork:\n  # of mine\n"), "network:\n  # of mine\n");
        assert_eq!(without_comments("# a"), "");
        assert_eq!(without_comments(""), "");
    }

    #[test]
    fn what_others_change_is_shown() {
        let text = meanwhile("a: 1\nb: 2\n", "a: 1\nb: 3\n");
        assert!(text.ends_with(" a: 1\n-b: 2\n+b: 3\n"), "{text}");
    }
}
