//! Completion in the shell: of commands and flags, and of names that the daemon knows now.
//!
//! The script of a shell asks edgectl itself for every word (`COMPLETE=bash edgectl`). What stands for an object is told
//! by the name of its value: `NETWORK` stands for a network, everywhere.

use std::time::Duration;

use clap::{Arg, Args, Command};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use serde_json::Value;

use crate::args::{self, EDIT, NOUNS};
use crate::command::Action;
use crate::config::Config;
use crate::connection::{self, ConnectionArgs};
use crate::error::CliError;
use crate::explain::noun_called;
use crate::noun::Noun;
use crate::output::print;
use crate::session::Session;
use crate::{port, security_group, value};

/// The variable by which a shell asks.
const VARIABLE: &str = "COMPLETE";
/// zsh takes the file for the function that completes when it is asked for the first time: that is answered, too.
const ZSH_FIRST_ANSWER: &str = "
if [[ ${funcstack[1]} == _edgectl ]]; then
    _clap_dynamic_completer_edgectl \"$@\"
fi
";
/// How long a shell waits for names.
const PATIENCE: Duration = Duration::from_secs(2);
/// Names offered at most.
const NAMES_MAX: usize = 1000;
/// Forms of the output that begin like this.
const FORMS: [&str; 7] = ["table", "wide", "json", "yaml", "name", "jsonpath=", "custom-columns="];

/// Arguments of completion.
#[derive(Debug, Args)]
#[command(after_help = "\
bash:  edgectl completion bash > /etc/bash_completion.d/edgectl
zsh:   edgectl completion zsh > /usr/local/share/zsh/site-functions/_edgectl
fish:  edgectl completion fish > ~/.config/fish/completions/edgectl.fish")]
pub(crate) struct CompletionArgs {
    /// Shell to write it for
    #[arg(value_parser = ["bash", "zsh", "fish", "elvish", "powershell"])]
    pub shell: String,
}

impl Action for CompletionArgs {
    async fn run(self, _: &Session) -> Result<(), CliError> {
        let mut script = Vec::new();
        if let Some(shell) = Shells::builtins().completer(&self.shell) {
            shell.write_registration(VARIABLE, "edgectl", "edgectl", "edgectl", &mut script)?;
        }
        if self.shell == "zsh" {
            script.extend(ZSH_FIRST_ANSWER.as_bytes());
        }
        print(&String::from_utf8_lossy(&script))
    }
}

/// Answers a shell that asks, and ends; comes back where none does.
pub(crate) fn answer() {
    CompleteEnv::with_factory(args::command).var(VARIABLE).complete();
}

/// The commands with candidates for the values that stand for something.
pub(crate) fn with_names(command: Command) -> Command {
    let words: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = command.mut_args(with_candidates);
    words.into_iter().fold(command, |command, word| command.mut_subcommand(word, with_names))
}

fn with_candidates(argument: Arg) -> Arg {
    if !argument.get_action().takes_values() {
        return argument;
    }
    // clap makes the name up from the field where it is not given.
    let given = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let value_name = given.unwrap_or_else(|| argument.get_id().as_str().to_uppercase());
    let candidates = match value_name.as_str() {
        "PORT PACKET" => ArgValueCandidates::new(|| names(&port::NOUN)),
        "CONTEXT" => ArgValueCandidates::new(context_names),
        "FORM" => ArgValueCandidates::new(|| FORMS.map(CompletionCandidate::new).into()),
        "OBJECT" => ArgValueCandidates::new(edited_names),
        "GROUP" => ArgValueCandidates::new(|| names(&security_group::NOUN)),
        name => match NOUNS.iter().find(|noun| noun.value_name() == name) {
            Some(noun) => ArgValueCandidates::new(|| names(noun)),
            None => return argument,
        },
    };
    argument.add(candidates)
}

fn context_names() -> Vec<CompletionCandidate> {
    let contexts = Config::load().unwrap_or_default().contexts;
    contexts.into_iter().map(|context| CompletionCandidate::new(context.name)).collect()
}

/// The names of objects of the kind that stands before them: `edgectl edit network`.
fn edited_names() -> Vec<CompletionCandidate> {
    let words: Vec<String> = std::env::args().collect();
    let kind = words.iter().position(|word| word == EDIT).and_then(|place| words.get(place + 1));
    kind.and_then(|kind| noun_called(kind).ok()).map_or_else(Vec::new, names)
}

/// The names of a noun's objects at the daemon that the command line means; none where it does not answer.
fn names(noun: &Noun) -> Vec<CompletionCandidate> {
    let Ok(client) = connection::connect(&written()) else { return Vec::new() };
    let client = client.with_timeout(PATIENCE);
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let objects =
        runtime.block_on(client.list::<Value>(noun.kind)).map(|list| list.items).unwrap_or_default();
    let candidate = |object: &Value| {
        let summary = (noun.summary)(object).trim().to_owned();
        let help = (!summary.is_empty()).then(|| summary.into());
        CompletionCandidate::new(value::name(object)).help(help)
    };
    objects.iter().take(NAMES_MAX).map(candidate).collect()
}

/// The flags of the line that is being written which say where the daemon is. The line is not whole, so clap cannot
/// read it.
fn written() -> ConnectionArgs {
    let words: Vec<String> = std::env::args().collect();
    let value = |flag: &str| {
        let place = words.iter().position(|word| word.split('=').next() == Some(flag))?;
        match words[place].split_once('=') {
            Some((_, value)) => Some(value.to_owned()),
            None => words.get(place + 1).cloned(),
        }
    };
    ConnectionArgs {
        socket: value("--socket").map(Into::into),
        server: value("--server").or_else(|| value("-s")),
        context: value("--context"),
        ca: value("--ca").map(Into::into),
        ..ConnectionArgs::default()
    }
}
