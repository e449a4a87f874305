//! The real `edgectl` against the daemon under test.

use std::path::PathBuf;
use std::process::Command;

use crate::command::{output, run};
use crate::daemon::binary;
use crate::error::LabError;

/// Runs `edgectl` over one daemon's control socket.
#[derive(Clone, Debug)]
pub struct Edgectl {
    socket: PathBuf,
}

/// How a command of `edgectl` ended.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Exit status; 0 is success.
    pub code: i32,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

impl Edgectl {
    /// For the daemon that listens on `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Runs a command line, which must succeed, and returns its output.
    pub fn run(&self, line: &str) -> Result<String, LabError> {
        run(&mut self.command(line))
    }

    /// Runs a command, whatever its result.
    pub fn ask(&self, line: &str) -> Result<Answer, LabError> {
        let output = output(&mut self.command(line))?;
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command that prints JSON.
    pub fn json(&self, line: &str) -> Result<serde_json::Value, LabError> {
        let output = self.run(&format!("{line} -o json"))?;
        serde_json::from_str(&output)
            .map_err(|error| LabError::Unexpected { what: format!("edgectl {line} ({error})"), output })
    }

    /// `edgectl` with the arguments of `line`, not yet started.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(binary("edgectl"));
        command.arg("--socket").arg(&self.socket).args(split(line));
        command
    }
}

/// The words of a command line; single quotes hold words together, as in a shell.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(split("a  --b 'c d' ''"), ["a", "--b", "c d", ""]);
    }
}
