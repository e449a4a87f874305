//! The command line: global flags, and every command in both spellings (`create-network` and `network create`).
//!
//! The commands are a table: [`NOUNS`] and their verbs, and [`OTHERS`]. Help, completion, manual pages and the tests
//! of the documentation come from it.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{StringValueParser, TypedValueParser};
use clap::{ArgMatches, Args, Command};

use crate::command::Standalone;
use crate::error::CliError;
use crate::noun::Noun;
use crate::output::{ColorChoice, Format};
use crate::session::Session;
use crate::{
    apply, completion, diff, doctor, floating_ip, network, network_cli, port, router, security_group,
    security_group_rule,
};

/// The nouns, in the order of the help text.
pub(crate) static NOUNS: &[&Noun] = &[
    &network::NOUN,
    &port::NOUN,
    &router::NOUN,
    &router::PEER_NOUN,
    &floating_ip::NOUN,
    &security_group::NOUN,
    &security_group_rule::NOUN,
];

/// The commands without a noun, under their titles in the help text.
pub(crate) static OTHERS: &[(&str, &[Standalone])] = &[
    (
        "Whole sites",
        &[
            Standalone::new::<apply::ApplyArgs>(
                "apply",
                "Create or update everything that a site file describes",
            ),
            Standalone::new::<diff::DiffArgs>("diff", "Show what apply would change, as a unified diff"),
            Standalone::new::<apply::DeleteArgs>("delete", "Remove everything that a site file describes"),
        ],
    ),
    (
        "Dataplane",
        &[Standalone::new::<network_cli::NetworkCliArgs>(
            "network-cli",
            "Look into the dataplane: tables, traces and captures; without a command, a prompt",
        )],
    ),
    (
        "Other",
        &[
            Standalone::new::<doctor::DoctorArgs>(
                "doctor",
                "Check the daemon and its dataplane, and say what to do",
            ),
            Standalone::new::<doctor::VersionArgs>("version", "Versions of edgectl and of the daemon"),
            Standalone::new::<completion::CompletionArgs>("completion", "Print a completion script"),
        ],
    ),
];

const TEMPLATE: &str = "\
{before-help}Options:
{options}{after-help}";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong as written, 3 not found, 4 conflict, 5 forbidden, 6 timeout, 7 daemon.
`edgectl COMMAND --help` says what a command takes.";

/// Width of the list of commands in the help text.
const HELP_WIDTH: usize = 100;

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Control socket of the daemon
    #[arg(long, global = true, env = "EDGECTL_SOCKET", value_name = "PATH", hide_env_values = true,
          default_value = edgestack_client::DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Form of the output: table (the default), wide, json, yaml, name, jsonpath=TEMPLATE, custom-columns=TITLE:PATH,...
    #[arg(
        short,
        long,
        global = true,
        env = "EDGECTL_OUTPUT",
        hide_env_values = true,
        value_parser = parse_format(),
        default_value = "table",
        hide_default_value = true,
        value_name = "FORM"
    )]
    pub output: Format,
    /// Tables without their header line
    #[arg(long, global = true)]
    pub no_headers: bool,
    /// Say nothing of what went well; lists are names alone
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Show each request as a curl command on stderr
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Colours
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        hide_possible_values = true,
        value_name = "auto|always|never"
    )]
    pub color: ColorChoice,
    /// How long to wait for an answer, or with --wait for the effect
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// edgectl with all its commands.
pub(crate) fn command() -> Command {
    let command = GlobalArgs::augment_args(Command::new("edgectl"))
        .version(env!("CARGO_PKG_VERSION"))
        .about("edgectl: operate an EdgeStack host")
        .long_about(None)
        .help_template(TEMPLATE)
        .before_help(help_text())
        .after_help(EXIT_CODES)
        .max_term_width(110)
        .subcommand_required(true)
        .arg_required_else_help(true);
    let others = OTHERS.iter().flat_map(|(_, others)| others.iter()).map(Standalone::command);
    let spelled =
        NOUNS.iter().flat_map(|noun| noun.verbs.iter().map(|verb| verb.command(noun, noun.spelled(verb))));
    command.subcommands(NOUNS.iter().map(|noun| noun_command(noun))).subcommands(spelled).subcommands(others)
}

/// `edgectl network`, with the verbs below it.
fn noun_command(noun: &'static Noun) -> Command {
    let verbs =
        noun.verbs.iter().map(|verb| verb.command(noun, verb.name.to_owned()).visible_aliases(verb.aliases));
    Command::new(noun.word)
        .about(noun.title)
        .visible_aliases(noun.aliases)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(verbs)
}

/// Does what the command line asks for.
pub(crate) async fn run(session: &Session, matches: &ArgMatches) -> Result<(), CliError> {
    // clap has seen to it that there is a command and that it is one of ours.
    let Some((word, arguments)) = matches.subcommand() else { return Ok(()) };
    for noun in NOUNS {
        if let Some(verb) = noun.verbs.iter().find(|verb| noun.spelled(verb) == word) {
            return verb.run(session, noun, arguments).await;
        }
        if noun.word == word
            && let Some((word, arguments)) = arguments.subcommand()
            && let Some(verb) = noun.verbs.iter().find(|verb| verb.name == word)
        {
            return verb.run(session, noun, arguments).await;
        }
    }
    let mut others = OTHERS.iter().flat_map(|(_, others)| others.iter());
    match others.find(|other| other.name == word) {
        Some(other) => other.run(session, arguments).await,
        None => Ok(()),
    }
}

/// The commands by noun.
fn help_text() -> String {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for noun in NOUNS {
        groups.push((noun.title, noun.verbs.iter().map(|verb| noun.spelled(verb)).collect()));
    }
    for (title, others) in OTHERS {
        groups.push((title, others.iter().map(|other| other.name.to_owned()).collect()));
    }
    if let Some((_, others)) = groups.last_mut() {
        others.push("help".to_owned());
    }
    let width = groups.iter().map(|(title, _)| title.len() + 3).max().unwrap_or_default();
    let mut text =
        "edgectl: operate an EdgeStack host\n\nUsage: edgectl [OPTIONS] COMMAND [ARGUMENTS]\n\n".to_owned();
    for (title, commands) in groups {
        let mut line = format!("{:width$}", format!("{title}:"));
        for command in commands {
            if line.len() + command.len() > HELP_WIDTH {
                text.extend([line.trim_end(), "\n"]);
                line = " ".repeat(width);
            }
            line.extend([&command, "  "]);
        }
        text.extend([line.trim_end(), "\n"]);
    }
    let nouns: Vec<&str> = NOUNS.iter().map(|noun| noun.word).collect();
    let nouns = nouns.join(", ");
    text.extend([
        "
Noun first is the same: ",
        &nouns,
        " (edgectl network create ...).",
    ]);
    text
}

/// Forms of the output, the words among them for completion.
fn parse_format() -> impl TypedValueParser<Value = Format> {
    StringValueParser::new().try_map(|text| Format::parse(&text))
}

/// `30`, `0.5`, `30s`, `500ms`, `5m` or `1h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = match unit.trim() {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is no unit of time: ms, s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is no time; write 30s or 5m"))?;
    match Duration::try_from_secs_f64(number * scale) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{NOUNS, OTHERS, command, parse_duration};

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in
            [("30", 30_000), ("0.5", 500), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "0", "5 days", "m", "-1s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_arguments_fit_together() {
        command().debug_assert();
    }

    #[test]
    fn the_reference_names_every_command() {
        let reference = include_str!("../../../docs/edgectl.md");
        for command in command().get_subcommands() {
            let name = command.get_name();
            assert!(reference.contains(&format!("`{name}`")), "{name} is not in docs/edgectl.md");
        }
    }

    #[test]
    fn no_two_commands_share_a_word() {
        let mut words: Vec<String> = Vec::new();
        for noun in NOUNS {
            words.push(noun.word.to_owned());
            words.extend(noun.aliases.iter().map(|alias| (*alias).to_owned()));
            words.extend(noun.verbs.iter().map(|verb| noun.spelled(verb)));
        }
        words.extend(OTHERS.iter().flat_map(|(_, others)| others.iter()).map(|other| other.name.to_owned()));
        let count = words.len();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), count);
    }

    #[test]
    fn both_spellings_take_the_same_arguments() {
        let parse = |words: &[&str]| {
            let matches = command().try_get_matches_from([&["edgectl"], words].concat()).unwrap();
            let (_, arguments) = matches.subcommand().unwrap();
            let arguments = arguments.subcommand().map_or(arguments, |(_, arguments)| arguments);
            format!("{arguments:?}")
        };
        for (one, other) in [
            (
                &["create-network", "blue", "--cidr", "10.0.0.0/24"] as &[&str],
                &["network", "create", "blue", "--cidr", "10.0.0.0/24"] as &[&str],
            ),
            (&["list-fips"], &["fip", "ls"]),
            (&["associate-fip", "a", "b"], &["floating-ip", "associate", "a", "b"]),
        ] {
            assert_eq!(parse(one), parse(other));
        }
    }
}
