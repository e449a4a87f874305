//! `edgectl diff -f`: what `apply` would change, as a unified diff of YAML. Exit code 0: nothing; 1: something; more: an
//! error.

use clap::Args;
use serde_json::{Map, Value};
use similar::TextDiff;

use crate::apply::{find, settled};
use crate::command::Action;
use crate::difference::{Sides, read, sides};
use crate::error::{CliError, exit};
use crate::output::{print, to_yaml};
use crate::session::Session;
use crate::site::SiteObject;
use crate::{references, site, site_files};

/// Lines around a change.
const CONTEXT_LINES: usize = 3;

/// Arguments of diff.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 no difference, 1 a difference, more an error.")]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pub files: site_files::FileArgs,
}

impl Action for DiffArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        match differs(session, &self).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(CliError::Told(exit::GENERAL)),
            // 1 says that there is a difference, so an error is something else.
            Err(error) if error.exit_code() == exit::GENERAL && !error.is_broken_pipe() => {
                error.tell(&session.output.format);
                Err(CliError::Told(exit::USAGE))
            }
            Err(error) => Err(error),
        }
    }
}

async fn differs(session: &Session, args: &DiffArgs) -> Result<bool, CliError> {
    let objects = site_files::read(&args.files)?;
    let errors = references::missing(session, &objects).await?;
    if !errors.is_empty() {
        return Err(site::invalid(&args.files.file.join(", "), errors));
    }
    let mut text = String::new();
    for object in &objects {
        text.push_str(&difference(session, object).await?);
    }
    if session.output.color {
        text = coloured(&text);
    }
    print(&text)?;
    Ok(!text.is_empty())
}

/// The difference that an object makes, empty for none.
async fn difference(session: &Session, object: &SiteObject) -> Result<String, CliError> {
    let called = format!("{}/{}", object.kind.singular(), object.name);
    let (from, to, old) = match find(session, object).await? {
        Some(found) => {
            let fields = settled(session, object, &found).await?;
            let Sides { from, to } = sides(object.kind, &found, &fields);
            (from, to, format!("a/{called}"))
        }
        None => (None, read(object.kind, &Value::Object(object.fields.clone())), "/dev/null".to_owned()),
    };
    let (from, to) = (lines(from)?, lines(to)?);
    if from == to {
        return Ok(String::new());
    }
    let diff = TextDiff::from_lines(&from, &to);
    let unified =
        diff.unified_diff().context_radius(CONTEXT_LINES).header(&old, &format!("b/{called}")).to_string();
    Ok(unified)
}

/// Fields as lines of YAML.
fn lines(fields: Option<Map<String, Value>>) -> Result<String, CliError> {
    fields.map_or(Ok(String::new()), |fields| to_yaml(&Value::Object(fields)))
}

fn coloured(text: &str) -> String {
    let mut colour = String::new();
    for line in text.lines() {
        let code = match line.as_bytes() {
            [b'-', b'-', ..] | [b'+', b'+', ..] => "1",
            [b'-', ..] => "31",
            [b'+', ..] => "32",
            [b'@', ..] => "36",
            _ => "0",
        };
        colour.extend(["\u{1b}[", code, "m", line, "\u{1b}[0m\n"]);
    }
    colour
}

#[cfg(test)]
mod tests {
    use super::coloured;

    #[test]
    fn what_goes_is_red_and_what_comes_is_green() {
        assert_eq!(
            coloured("-a\n+b\n c\n"),
            "\u{1b}[31m-a\u{1b}[0m\n\u{1b}[32m+b\u{1b}[0m\n\u{1b}[0m c\u{1b}[0m\n"
        );
    }
}
