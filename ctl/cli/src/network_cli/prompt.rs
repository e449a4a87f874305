//! The prompt of `network-cli`: the same commands, with history and completion.
//!
//! A command that fails says so and the prompt goes on; Ctrl-C ends a command or clears the line, Ctrl-D and
//! `exit` leave.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{CommandFactory, Parser, ValueEnum};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper};

use super::show::TableName;
use super::{NetworkCommand, run_command};
use crate::error::{CliError, exit};
use crate::output::{Format, print};
use crate::session::Session;

/// Lines that the history keeps.
const HISTORY_LINES_MAX: usize = 1000;

/// A line at the prompt.
#[derive(Debug, Parser)]
#[command(
    name = "network-cli",
    no_binary_name = true,
    disable_version_flag = true,
    help_template = "{subcommands}\n  exit     Leave",
    disable_help_flag = true
)]
struct Line {
    /// Form of the output
    #[arg(short, long, global = true, value_name = "FORM", value_parser = Format::parse)]
    output: Option<Format>,
    #[command(subcommand)]
    command: NetworkCommand,
}

/// Reads and does commands until the user leaves. Without a terminal, commands come from standard input, one a line,
/// and the first that fails ends it.
pub(crate) async fn run(session: &Session) -> Result<(), CliError> {
    // A port list is also the proof that the daemon is there.
    let ports = session.client.ports().await?.into_iter().map(|port| port.name).collect();
    if !io::stdin().is_terminal() {
        for line in io::stdin().lock().lines() {
            let line = line.map_err(|source| CliError::File { path: "standard input".into(), source })?;
            if is_exit(&line) {
                break;
            }
            run_line(session, &line).await?;
        }
        return Ok(());
    }
    interactive(session, ports).await
}

async fn interactive(session: &Session, ports: Vec<String>) -> Result<(), CliError> {
    let config = rustyline::Config::builder()
        .max_history_size(HISTORY_LINES_MAX)
        .and_then(|builder| builder.history_ignore_dups(true))
        .map_err(terminal_error)?
        .completion_type(rustyline::CompletionType::List)
        .build();
    let mut editor: Editor<Assistant, FileHistory> = Editor::with_config(config).map_err(terminal_error)?;
    editor.set_helper(Some(Assistant { ports }));
    let history = history_path();
    if let Some(path) = &history {
        // No history yet is no failure.
        let _ = editor.load_history(path);
    }
    print("show, trace, capture; Tab completes, help lists, Ctrl-D leaves\n")?;
    loop {
        match editor.readline("edgestack> ") {
            Ok(line) if is_exit(&line) => break,
            Ok(line) => {
                let _ = editor.add_history_entry(&line);
                match run_line(session, &line).await {
                    Err(error) if error.is_broken_pipe() => return Err(error),
                    Err(error) => error.tell(&session.output.format),
                    Ok(()) => {}
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(terminal_error(error)),
        }
    }
    if let Some(path) = &history {
        // A history that cannot be kept is no reason to fail.
        let _ = path.parent().map(std::fs::create_dir_all);
        let _ = editor.save_history(path);
    }
    Ok(())
}

async fn run_line(session: &Session, line: &str) -> Result<(), CliError> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let words = split_words(line).map_err(|message| CliError::Usage { message, hint: None })?;
    match Line::try_parse_from(words) {
        Ok(line) => {
            let mut output = session.output.clone();
            if let Some(format) = line.output {
                output.format = format;
            }
            let session = Session {
                client: Arc::clone(&session.client),
                output,
                patience: session.patience,
                given: session.given.clone(),
                file: None,
            };
            run_command(&session, line.command).await
        }
        Err(error) if error.use_stderr() => {
            let _ = error.print();
            Err(CliError::Told(exit::USAGE))
        }
        Err(error) => print(&error.to_string()),
    }
}

fn is_exit(line: &str) -> bool {
    matches!(line.trim(), "exit" | "quit")
}

fn terminal_error(error: ReadlineError) -> CliError {
    let source = match error {
        ReadlineError::Io(source) => source,
        error => io::Error::other(error.to_string()),
    };
    CliError::File { path: "the terminal".to_owned(), source }
}

fn history_path() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    Some(state.join("edgectl/network-cli.history"))
}

/// Splits a line into words; quotes hold blanks.
pub(crate) fn split_words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.map_or(Ok(words), |open| Err(format!("the quote {open} is not closed")))
}

/// Completes commands, tables, flags and names of ports.
struct Assistant {
    ports: Vec<String>,
}

impl Assistant {
    /// What may stand behind the words before the one that is being written.
    fn candidates(&self, before: &[&str], flag: bool) -> Vec<String> {
        let command = Line::command();
        let Some(verb) = before.first() else {
            let verbs = command.get_subcommands().map(|verb| verb.get_name().to_owned());
            return verbs.chain(["help".to_owned(), "exit".to_owned()]).collect();
        };
        let Some(verb) = command.find_subcommand(verb) else { return Vec::new() };
        if flag {
            return verb
                .get_arguments()
                .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
                .collect();
        }
        let wants_port = match verb.get_name() {
            "show" => before.last() == Some(&"--port"),
            _ => before.len() == 1,
        };
        if wants_port {
            return self.ports.clone();
        }
        if verb.get_name() == "show" && before.len() == 1 {
            let tables = TableName::value_variants().iter().filter_map(ValueEnum::to_possible_value);
            return tables.map(|table| table.get_name().to_owned()).collect();
        }
        Vec::new()
    }
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let written = &line[..position];
        let start = written.rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
        let before: Vec<&str> = written[..start].split_whitespace().collect();
        let word = &written[start..];
        let pairs = self.candidates(&before, word.starts_with('-')).into_iter();
        let pairs = pairs
            .filter(|candidate| candidate.starts_with(word))
            .map(|candidate| Pair { display: candidate.clone(), replacement: candidate + " " });
        Ok((start, pairs.collect()))
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {}
impl Validator for Assistant {}
impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Assistant, Line, split_words};

    #[test]
    fn quotes_hold_blanks() {
        let words = |line: &str| split_words(line).unwrap().join("|");
        assert_eq!(
            words("trace a 'tcp 1.1.1.1 > 2.2.2.2:80'  --ttl 1"),
            "trace|a|tcp 1.1.1.1 > 2.2.2.2:80|--ttl|1"
        );
        assert_eq!(words(r#"a "" b"#), "a||b");
        assert!(split_words("trace 'x").unwrap_err().contains("not closed"));
    }

    #[test]
    fn a_packet_needs_no_quotes_at_the_prompt() {
        for line in
            ["trace web-1 tcp 10.0.0.5:4000>10.0.0.9:80 --ttl 3", "trace web-1 --ttl 3 tcp >10.0.0.9:80"]
        {
            Line::try_parse_from(split_words(line).unwrap()).unwrap();
        }
    }

    #[test]
    fn words_are_completed() {
        let assistant = Assistant { ports: vec!["web-1".into()] };
        assert!(assistant.candidates(&[], false).contains(&"trace".to_owned()));
        assert!(assistant.candidates(&["show"], false).contains(&"neighbours".to_owned()));
        assert_eq!(assistant.candidates(&["trace"], false), ["web-1"]);
        assert_eq!(assistant.candidates(&["show", "flows", "--port"], false), ["web-1"]);
        assert!(assistant.candidates(&["show", "flows"], true).contains(&"--watch".to_owned()));
        assert!(assistant.candidates(&["nothing"], false).is_empty());
    }
}
