//! What a command fails with, the exit code it means, and how it is told on stderr.

use std::io::{self, Write};

use edgestack_client::{ClientError, Problem};
use serde_json::json;

use crate::output::Format;

/// Exit codes; documented in the help text and relied upon by scripts.
pub(crate) mod exit {
    /// Anything without a code of its own.
    pub(crate) const GENERAL: u8 = 1;
    /// The command or an object in it is wrong as written.
    pub(crate) const USAGE: u8 = 2;
    /// The object does not exist.
    pub(crate) const NOT_FOUND: u8 = 3;
    /// The object exists already, is in use, or was changed meanwhile.
    pub(crate) const CONFLICT: u8 = 4;
    /// This user may not.
    pub(crate) const FORBIDDEN: u8 = 5;
    /// No answer in time.
    pub(crate) const TIMEOUT: u8 = 6;
    /// The daemon is not there, broke, or is overloaded.
    pub(crate) const SERVER: u8 = 7;
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The daemon could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The command is wrong as written.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to write instead.
        hint: Option<String>,
    },
    /// What the command asks for does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The command cannot be done in this state.
    #[error("{message}")]
    Conflict {
        /// What is in the way.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output could not be written.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
    /// Several things failed and each was told already; the exit code of the first.
    #[error("not everything was done")]
    Told(u8),
}

impl CliError {
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) => client_exit_code(error),
            Self::Usage { .. } => exit::USAGE,
            Self::NotFound(_) => exit::NOT_FOUND,
            Self::Conflict { .. } => exit::CONFLICT,
            Self::File { .. } | Self::Output(_) => exit::GENERAL,
            Self::Told(code) => *code,
        }
    }

    /// The reader of standard output has gone, which is no failure.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The daemon is away, which may pass.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Client(_)) && self.exit_code() == exit::SERVER
    }

    /// Tells the error on stderr: as text, or as a problem document where JSON was asked for.
    pub(crate) fn tell(&self, format: &Format) {
        if matches!(self, Self::Told(_)) {
            return;
        }
        let text = match format {
            Format::Json => format!("{:#}\n", serde_json::to_value(self.problem()).unwrap_or_default()),
            _ => self.text(),
        };
        // Nobody is left to tell that stderr is gone.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    fn code(&self) -> &str {
        match self {
            Self::Client(error) => error.code(),
            Self::Usage { .. } => "usage",
            Self::NotFound(_) => "not_found",
            Self::Conflict { .. } => "conflict",
            Self::File { .. } => "file",
            Self::Output(_) => "output",
            Self::Told(_) => "failed",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Client(error) => error.hint(),
            Self::Usage { hint, .. } | Self::Conflict { hint, .. } => hint.clone(),
            _ => None,
        }
    }

    /// The error for people, with everything that is wrong and what to do.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![format!("error[{}]: {self}", self.code())];
        if let Self::Client(ClientError::Problem(problem)) = self {
            for error in &problem.errors {
                let separator = if error.pointer.is_empty() { "" } else { ": " };
                lines.push(["  ", &error.pointer, separator, &error.message].concat());
                lines.extend(error.hint.iter().map(|hint| format!("    hint: {hint}")));
            }
        }
        lines.extend(self.hint().map(|hint| format!("hint: {hint}")));
        lines.push(String::new());
        lines.join("\n")
    }

    /// The daemon's problem document, or one in its form for what failed on this side.
    fn problem(&self) -> serde_json::Value {
        if let Self::Client(ClientError::Problem(problem)) = self {
            return serde_json::to_value(problem.as_ref()).unwrap_or_default();
        }
        let mut document = json!({
            "type": "about:blank",
            "title": "the command failed before the daemon answered",
            "status": 0,
            "detail": self.to_string(),
            "code": self.code(),
        });
        if let Some(hint) = self.hint() {
            document["hint"] = hint.into();
        }
        document
    }
}

fn client_exit_code(error: &ClientError) -> u8 {
    match error {
        ClientError::PermissionDenied { .. } => exit::FORBIDDEN,
        ClientError::Timeout { .. } => exit::TIMEOUT,
        ClientError::Problem(problem) => problem_exit_code(problem),
        ClientError::Request(_) | ClientError::Remote(_) => exit::GENERAL,
        ClientError::SocketMissing { .. }
        | ClientError::NotRunning { .. }
        | ClientError::Connect { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Transport { .. }
        | ClientError::Unexpected { .. }
        | ClientError::Decode { .. }
        | ClientError::TooLong { .. } => exit::SERVER,
    }
}

fn problem_exit_code(problem: &Problem) -> u8 {
    match problem.status {
        400 | 413 | 415 | 422 => exit::USAGE,
        401 | 403 => exit::FORBIDDEN,
        404 => exit::NOT_FOUND,
        409 | 412 | 428 => exit::CONFLICT,
        408 | 504 => exit::TIMEOUT,
        429 | 500.. => exit::SERVER,
        _ => exit::GENERAL,
    }
}

#[cfg(test)]
mod tests {
    use edgestack_client::{ClientError, FieldError, Problem};

    use super::CliError;

    fn refused(status: u16, errors: Vec<FieldError>) -> CliError {
        ClientError::Problem(Box::new(Problem {
            kind: "/problems/invalid".into(),
            title: "Invalid".into(),
            status,
            detail: "2 fields of the network are wrong".into(),
            code: "invalid".into(),
            errors,
            users: Vec::new(),
        }))
        .into()
    }

    #[test]
    fn statuses_have_the_documented_exit_codes() {
        for (status, code) in [
            (400, 2),
            (422, 2),
            (403, 5),
            (404, 3),
            (409, 4),
            (412, 4),
            (418, 1),
            (429, 7),
            (500, 7),
            (503, 7),
            (504, 6),
        ] {
            assert_eq!(refused(status, Vec::new()).exit_code(), code, "{status}");
        }
    }

    #[test]
    fn every_field_error_is_told_with_its_pointer_and_hint() {
        let field = |pointer: &str, message: &str, hint: Option<&str>| FieldError {
            pointer: pointer.into(),
            code: "x".into(),
            message: message.into(),
            hint: hint.map(Into::into),
        };
        let error = refused(
            422,
            vec![
                field("/network/cidr", "bits are set beyond the prefix", Some("did you mean `10.0.0.0/24`?")),
                field("/network/mtu", "is below 576", None),
                field("", "port web-1", None),
            ],
        );
        assert_eq!(
            error.text(),
            "error[invalid]: 2 fields of the network are wrong\n  \
             /network/cidr: bits are set beyond the prefix\n    \
             hint: did you mean `10.0.0.0/24`?\n  \
             /network/mtu: is below 576\n  \
             port web-1\n"
        );
    }
}
