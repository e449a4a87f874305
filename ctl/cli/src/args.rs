//! The command line: global flags, and every command in both spellings (`create-network` and `network create`).
//!
//! The commands are a table: [`NOUNS`] and their verbs, and [`OTHERS`]. Help, completion, manual pages and the tests
//! of the documentation come from it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, Command};

use crate::command::Standalone;
use crate::connection::ConnectionArgs;
use crate::error::CliError;
use crate::noun::Noun;
use crate::output::{ColorChoice, Format};
use crate::session::Session;
use crate::{
    address_group, apply, completion, config, diff, doctor, edit, explain, flavor, floating_ip, keypair,
    load_balancer, manual, nat, network, network_cli, node, port, project, role_binding, router,
    security_group, security_group_rule, support_bundle, test_ping, token, top,
};

/// The nouns, in the order of the help text.
pub(crate) static NOUNS: &[&Noun] = &[
    &network::NOUN,
    &port::NOUN,
    &router::NOUN,
    &router::PEER_NOUN,
    &nat::NOUN,
    &floating_ip::NOUN,
    &load_balancer::NOUN,
    &load_balancer::RULE_NOUN,
    &security_group::NOUN,
    &security_group_rule::NOUN,
    &address_group::NOUN,
    &flavor::NOUN,
    &keypair::NOUN,
    &node::NOUN,
    &project::NOUN,
    &token::NOUN,
    &role_binding::NOUN,
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
        &[
            Standalone::new::<network_cli::NetworkCliArgs>(
                "network-cli",
                "Look into the dataplane: tables, traces and captures; without a command, a prompt",
            ),
            Standalone::new::<test_ping::TestPingArgs>(
                "test-ping",
                "Say whether one workload reaches another, and what is in the way",
            ),
            Standalone::new::<top::TopArgs>("top", "Watch ports, flows and drops live"),
        ],
    ),
    (
        "Other",
        &[
            Standalone::new::<doctor::DoctorArgs>(
                "doctor",
                "Check the daemon and its dataplane, and say what to do",
            ),
            Standalone::new::<support_bundle::SupportBundleArgs>(
                SUPPORT_BUNDLE,
                "Collect what somebody who helps needs to see, without secrets",
            ),
            Standalone::new::<doctor::VersionArgs>("version", "Versions of edgectl and of the daemon"),
            Standalone::new::<config::ConfigArgs>(
                "config",
                "Contexts: the daemons that you work with, by name",
            )
            .local(),
            Standalone::new::<edit::EditArgs>(EDIT, "Change an object in your editor"),
            Standalone::new::<explain::ExplainArgs>("explain", "Say what the fields of an object are")
                .local(),
            Standalone::new::<completion::CompletionArgs>("completion", "Print a completion script").local(),
            Standalone::new::<manual::ManArgs>("man", "Write the manual pages into a directory").local(),
        ],
    ),
];

const TEMPLATE: &str = "\
{before-help}Options:
{options}{after-help}";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong as written, 3 not found, 4 conflict, 5 forbidden, 6 timeout, 7 daemon.
`edgectl COMMAND --help` says what a command takes.";

/// The command behind which a kind and a name stand.
pub(crate) const EDIT: &str = "edit";
/// The command for which `-o` names a file.
const SUPPORT_BUNDLE: &str = "support-bundle";
/// Width of the list of commands in the help text.
const HELP_WIDTH: usize = 100;

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Form of the output: table (the default), wide, json, yaml, name, jsonpath=TEMPLATE, custom-columns=TITLE:PATH,...
    #[arg(short, long, global = true, env = "EDGECTL_OUTPUT", hide_env_values = true, value_name = "FORM")]
    pub output: Option<String>,
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

impl GlobalArgs {
    /// The form of the output, and the file that `-o` names for a command that writes one.
    pub(crate) fn output(&self, matches: &ArgMatches) -> Result<(Format, Option<PathBuf>), CliError> {
        let Some(text) = &self.output else { return Ok((Format::Table, None)) };
        if matches.subcommand_name() == Some(SUPPORT_BUNDLE) {
            // Also where `EDGECTL_OUTPUT` says it: a form is no name of a file.
            let path = Some(PathBuf::from(text)).filter(|_| Format::parse(text).is_err());
            return Ok((Format::Table, path));
        }
        let format = Format::parse(text)
            .map_err(|message| CliError::usage(format!("`{text}` is no form of the output"), message))?;
        Ok((format, None))
    }
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
    let nouns = NOUNS.iter().map(|noun| noun_command(noun));
    completion::with_names(command.subcommands(nouns).subcommands(spelled).subcommands(others))
}

/// The command works without a daemon.
pub(crate) fn is_local(matches: &ArgMatches) -> bool {
    let mut others = OTHERS.iter().flat_map(|(_, others)| others.iter());
    others.any(|other| other.is_local && Some(other.name) == matches.subcommand_name())
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
    use std::collections::HashSet;
    use std::time::Duration;

    use clap::Command;

    use super::{EXIT_CODES, NOUNS, OTHERS, command, parse_duration};
    use crate::error::exit;
    use crate::network_cli::split_words;

    const REFERENCE: &str = include_str!("../../../docs/edgectl.md");

    #[test]
    fn exit_codes_are_documented() {
        for (code, word) in [
            (exit::GENERAL, "failed"),
            (exit::USAGE, "wrong as written"),
            (exit::NOT_FOUND, "not found"),
            (exit::CONFLICT, "conflict"),
            (exit::FORBIDDEN, "forbidden"),
            (exit::TIMEOUT, "timeout"),
            (exit::SERVER, "daemon"),
        ] {
            assert!(EXIT_CODES.contains(&format!("{code} {word}")), "{code} is not in the help");
            assert!(REFERENCE.contains(&format!("| {code} | ")), "{code} is not in docs/edgectl.md");
        }
    }

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
        for command in command().get_subcommands() {
            let name = command.get_name();
            assert!(REFERENCE.contains(&format!("`{name}`")), "{name} is not in docs/edgectl.md");
        }
    }

    #[test]
    fn the_examples_of_the_reference_are_commands() {
        let mut count = 0;
        for line in REFERENCE.lines().filter_map(|line| line.strip_prefix("$ edgectl ")) {
            let words = split_words(line.split(" | ").next().unwrap()).unwrap();
            let words = std::iter::once("edgectl".to_owned()).chain(words);
            let parsed = command().try_get_matches_from(words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            count += 1;
        }
        assert!(count > 10, "{count} examples");
    }

    /// All flags of a command and of those below it.
    fn flags(command: &Command, found: &mut HashSet<String>) {
        let long = command.get_arguments().filter_map(clap::Arg::get_long_and_visible_aliases);
        found.extend(long.flatten().map(|flag| format!("--{flag}")));
        let short = command.get_arguments().filter_map(clap::Arg::get_short);
        found.extend(short.map(|flag| format!("-{flag}")));
        command.get_subcommands().for_each(|below| flags(below, found));
    }

    #[test]
    fn the_reference_names_no_flag_that_is_not_there() {
        let mut known = HashSet::new();
        flags(&command(), &mut known);
        for span in
            REFERENCE.split('`').skip(1).step_by(2).filter(|span| span.starts_with('-') && span.len() > 1)
        {
            let flag = span.split([' ', '=', ',']).next().unwrap();
            assert!(known.contains(flag), "{flag} of docs/edgectl.md is no flag");
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
