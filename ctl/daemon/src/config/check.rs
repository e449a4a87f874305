//! Mistakes of a configuration file: what they are, where they stand, and how they are noted.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;

/// Why a configuration cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that cannot be.
    Wrong {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong.
        mistakes: Vec<Mistake>,
    },
}

/// Something wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Wrong { path, mistakes } => {
                for (index, Mistake { line, column, message }) in mistakes.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "\n" };
                    write!(f, "{separator}{}:{line}:{column}: {message}", path.display())?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Wrong { .. } => None,
        }
    }
}

/// Adds to the parser's words which field is meant, and what was probably meant.
pub(super) fn explain(text: &str, at: &Range<usize>, message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if let Some(unknown) = message.strip_prefix("unknown field").and_then(|_| quoted.next())
        && let Some(known) = edgestack_model::suggest::nearest(unknown, quoted)
    {
        return format!("unknown field `{unknown}`, did you mean `{known}`?");
    }
    let message = message.trim_end().replace('\n', " ");
    let field = field_at(text, at.start).map_or_else(String::new, |field| format!("`{field}`: "));
    // The parsers of addresses do not say what they take.
    let fix = match message.as_str() {
        "invalid IPv4 address syntax" => ", write it like 192.0.2.1",
        "invalid IPv6 address syntax" => ", write it like 2001:db8::1",
        "invalid IP address syntax" => ", write it like 192.0.2.1, or with the subnet's prefix 192.0.2.1/24",
        _ => "",
    };
    format!("{field}{message}{fix}")
}

/// The field whose value stands at a place, such as `overlay.mtu`; none where no value begins there.
fn field_at(text: &str, at: usize) -> Option<String> {
    let before = text.get(..at)?;
    let (earlier, line) = before.rsplit_once('\n').unwrap_or(("", before));
    let key = line.trim_end().strip_suffix('=')?.trim();
    let header = earlier.lines().rev().find_map(|line| line.trim().strip_prefix('['));
    let table = header.and_then(|header| header.trim_start_matches('[').split(']').next());
    Some(table.map_or_else(|| key.to_owned(), |table| format!("{table}.{key}")))
}

pub(super) fn mistake(text: &str, at: &Range<usize>, message: impl Into<String>) -> Mistake {
    let before = text.get(..at.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    Mistake { line, column, message: message.into() }
}

/// Notes everything that is wrong beyond types and names.
pub(super) struct Check<'a> {
    pub(super) text: &'a str,
    pub(super) mistakes: Vec<Mistake>,
}

impl Check<'_> {
    pub(super) fn refuse<T: fmt::Display>(&mut self, field: &str, value: &Spanned<T>, fix: &str) {
        let message = format!("`{field} = {}` cannot be: {fix}", value.get_ref());
        self.mistakes.push(mistake(self.text, &value.span(), message));
    }
}
