//! The command line: global flags, and every command in both spellings (`create-network` and `network create`).
//!
//! The spellings share their argument types: [`Command::noun_first`] turns the first into the second, and
//! `main.rs` runs that one.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::output::{ColorChoice, Format};
use crate::{
    apply, completion, fields, floating_ip, network, network_cli, port, router, security_group,
    security_group_rule,
};

/// The commands by noun, for the help text; a test keeps it whole.
const COMMANDS: &str = "\
edgectl: operate an EdgeStack host

Usage: edgectl [OPTIONS] COMMAND [ARGUMENTS]

Networks:         create-network  list-networks  show-network  update-network  remove-network
Ports:            create-port  list-ports  show-port  update-port  remove-port
Routers:          create-router  list-routers  show-router  update-router  remove-router
Next hops:        create-peer-router  list-peer-routers  remove-peer-router
Floating IPs:     create-fip  list-fips  show-fip  associate-fip  disassociate-fip  remove-fip
Security groups:  create-sg  list-sgs  show-sg  update-sg  remove-sg
Their rules:      create-sgr  list-sgrs  show-sgr  remove-sgr
Whole sites:      apply  delete
Dataplane:        network-cli
Other:            doctor  version  completion  help

Noun first is the same: network, port, router, peer-router, fip, sg, sgr (edgectl network create ...).";

const TEMPLATE: &str = "\
{before-help}Options:
{options}{after-help}";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong as written, 3 not found, 4 conflict, 5 forbidden, 6 timeout, 7 daemon.
`edgectl COMMAND --help` says what a command takes.";

/// edgectl: operate an EdgeStack host
#[derive(Debug, Parser)]
#[command(
    name = "edgectl",
    version,
    help_template = TEMPLATE,
    before_help = COMMANDS,
    after_help = EXIT_CODES,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Control socket of the daemon
    #[arg(long, global = true, env = "EDGECTL_SOCKET", value_name = "PATH", hide_env_values = true,
          default_value = edgestack_client::DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Form of the output
    #[arg(
        short,
        long,
        global = true,
        env = "EDGECTL_OUTPUT",
        hide_env_values = true,
        value_enum,
        default_value = "table",
        hide_possible_values = true,
        value_name = "table|wide|json|yaml|name"
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
    /// How long to wait for an answer
    #[arg(long, global = true, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    pub timeout: Duration,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Networks
    #[command(subcommand)]
    Network(network::Verb),
    /// Ports
    #[command(subcommand)]
    Port(port::Verb),
    /// Routers
    #[command(subcommand)]
    Router(router::Verb),
    /// Next hops of routers
    #[command(subcommand)]
    PeerRouter(router::PeerVerb),
    /// Floating IPs
    #[command(subcommand, alias = "floating-ip")]
    Fip(floating_ip::Verb),
    /// Security groups
    #[command(subcommand, alias = "security-group")]
    Sg(security_group::Verb),
    /// Security group rules
    #[command(subcommand, alias = "security-group-rule")]
    Sgr(security_group_rule::Verb),

    /// Create a network
    CreateNetwork(network::CreateArgs),
    /// List networks
    ListNetworks(fields::ListArgs),
    /// Show a network and its addresses
    ShowNetwork(fields::ShowArgs),
    /// Change a network
    UpdateNetwork(network::UpdateArgs),
    /// Remove networks
    RemoveNetwork(fields::RemoveArgs),

    /// Create a port: a place in a network into which a workload is plugged
    CreatePort(port::CreateArgs),
    /// List ports
    ListPorts(port::ListPortsArgs),
    /// Show a port
    ShowPort(fields::ShowArgs),
    /// Change a port
    UpdatePort(port::UpdateArgs),
    /// Remove ports
    RemovePort(fields::RemoveArgs),

    /// Create a router
    CreateRouter(router::CreateArgs),
    /// List routers
    ListRouters(fields::ListArgs),
    /// Show a router
    ShowRouter(fields::ShowArgs),
    /// Change a router
    UpdateRouter(router::UpdateArgs),
    /// Remove routers
    RemoveRouter(fields::RemoveArgs),

    /// Give a router its next hop upstream
    CreatePeerRouter(router::CreatePeerArgs),
    /// List the next hops of a router
    ListPeerRouters(router::ListPeersArgs),
    /// Take the next hop from a router; the external network's gateway serves again
    RemovePeerRouter(router::RemovePeerArgs),

    /// Take a floating IP from an external network
    CreateFip(floating_ip::CreateArgs),
    /// List floating IPs
    ListFips(floating_ip::ListFipsArgs),
    /// Show a floating IP
    ShowFip(fields::ShowArgs),
    /// Let a floating IP stand for the workload of a port
    AssociateFip(floating_ip::AssociateArgs),
    /// Let a floating IP stand for nothing
    DisassociateFip(fields::ShowArgs),
    /// Give floating IPs back
    RemoveFip(fields::RemoveArgs),

    /// Create a security group
    CreateSg(security_group::CreateArgs),
    /// List security groups
    ListSgs(fields::ListArgs),
    /// Show a security group and its rules
    ShowSg(fields::ShowArgs),
    /// Change a security group
    UpdateSg(security_group::UpdateArgs),
    /// Remove security groups
    RemoveSg(fields::RemoveArgs),

    /// Add a rule to a security group
    CreateSgr(security_group_rule::CreateArgs),
    /// List rules
    ListSgrs(security_group_rule::ListRulesArgs),
    /// Show a rule
    ShowSgr(fields::ShowArgs),
    /// Remove rules
    RemoveSgr(security_group_rule::RemoveRulesArgs),

    /// Create or update everything that a site file describes
    Apply(apply::ApplyArgs),
    /// Remove everything that a site file describes
    Delete(apply::DeleteArgs),

    /// Look into the dataplane: tables, traces and captures; without a command, a prompt
    NetworkCli(network_cli::NetworkCliArgs),
    /// Check the daemon and its dataplane, and say what to do
    Doctor,
    /// Versions of edgectl and of the daemon
    Version,
    /// Print a completion script
    Completion(completion::CompletionArgs),
}

impl Command {
    /// The same command in its noun-first spelling.
    pub(crate) fn noun_first(self) -> Self {
        match self {
            Self::CreateNetwork(args) => Self::Network(network::Verb::Create(args)),
            Self::ListNetworks(args) => Self::Network(network::Verb::List(args)),
            Self::ShowNetwork(args) => Self::Network(network::Verb::Show(args)),
            Self::UpdateNetwork(args) => Self::Network(network::Verb::Update(args)),
            Self::RemoveNetwork(args) => Self::Network(network::Verb::Remove(args)),
            Self::CreatePort(args) => Self::Port(port::Verb::Create(args)),
            Self::ListPorts(args) => Self::Port(port::Verb::List(args)),
            Self::ShowPort(args) => Self::Port(port::Verb::Show(args)),
            Self::UpdatePort(args) => Self::Port(port::Verb::Update(args)),
            Self::RemovePort(args) => Self::Port(port::Verb::Remove(args)),
            Self::CreateRouter(args) => Self::Router(router::Verb::Create(args)),
            Self::ListRouters(args) => Self::Router(router::Verb::List(args)),
            Self::ShowRouter(args) => Self::Router(router::Verb::Show(args)),
            Self::UpdateRouter(args) => Self::Router(router::Verb::Update(args)),
            Self::RemoveRouter(args) => Self::Router(router::Verb::Remove(args)),
            Self::CreatePeerRouter(args) => Self::PeerRouter(router::PeerVerb::Create(args)),
            Self::ListPeerRouters(args) => Self::PeerRouter(router::PeerVerb::List(args)),
            Self::RemovePeerRouter(args) => Self::PeerRouter(router::PeerVerb::Remove(args)),
            Self::CreateFip(args) => Self::Fip(floating_ip::Verb::Create(args)),
            Self::ListFips(args) => Self::Fip(floating_ip::Verb::List(args)),
            Self::ShowFip(args) => Self::Fip(floating_ip::Verb::Show(args)),
            Self::AssociateFip(args) => Self::Fip(floating_ip::Verb::Associate(args)),
            Self::DisassociateFip(args) => Self::Fip(floating_ip::Verb::Disassociate(args)),
            Self::RemoveFip(args) => Self::Fip(floating_ip::Verb::Remove(args)),
            Self::CreateSg(args) => Self::Sg(security_group::Verb::Create(args)),
            Self::ListSgs(args) => Self::Sg(security_group::Verb::List(args)),
            Self::ShowSg(args) => Self::Sg(security_group::Verb::Show(args)),
            Self::UpdateSg(args) => Self::Sg(security_group::Verb::Update(args)),
            Self::RemoveSg(args) => Self::Sg(security_group::Verb::Remove(args)),
            Self::CreateSgr(args) => Self::Sgr(security_group_rule::Verb::Create(args)),
            Self::ListSgrs(args) => Self::Sgr(security_group_rule::Verb::List(args)),
            Self::ShowSgr(args) => Self::Sgr(security_group_rule::Verb::Show(args)),
            Self::RemoveSgr(args) => Self::Sgr(security_group_rule::Verb::Remove(args)),
            other => other,
        }
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 =
        text.trim_end_matches('s').parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{COMMANDS, Cli, Command};

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_text_and_the_reference_name_every_command() {
        let named: Vec<&str> = COMMANDS.split([' ', ',', '\n', ':']).collect();
        let reference = include_str!("../../../docs/edgectl.md");
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(named.contains(&name), "{name} is not in the help text");
            assert!(reference.contains(&format!("`{name}`")), "{name} is not in docs/edgectl.md");
        }
    }

    #[test]
    fn both_spellings_are_the_same_command() {
        let parse = |words: &[&str]| {
            let words = [&["edgectl"], words].concat();
            format!("{:?}", Cli::try_parse_from(words).unwrap().command.noun_first())
        };
        assert_eq!(
            parse(&["create-network", "blue", "--cidr", "10.0.0.0/24"]),
            parse(&["network", "create", "blue", "--cidr", "10.0.0.0/24"])
        );
        assert_eq!(parse(&["list-fips"]), parse(&["fip", "ls"]));
        assert_eq!(parse(&["associate-fip", "a", "b"]), parse(&["floating-ip", "associate", "a", "b"]));
    }

    #[test]
    fn every_verb_noun_command_has_its_noun_first_spelling() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            if ["create-", "list-", "show-", "update-", "remove-"].iter().any(|verb| name.starts_with(verb)) {
                let mut words = vec!["edgectl".to_owned(), name.to_owned()];
                for argument in command.get_arguments().filter(|argument| argument.is_required_set()) {
                    let flag = argument.get_long().filter(|_| !argument.is_positional());
                    words.extend(flag.map(|flag| format!("--{flag}")));
                    words.push(if flag == Some("direction") { "ingress" } else { "10.0.0.1" }.to_owned());
                }
                let parsed = Cli::try_parse_from(&words).unwrap().command.noun_first();
                let noun_first = matches!(
                    parsed,
                    Command::Network(_)
                        | Command::Port(_)
                        | Command::Router(_)
                        | Command::PeerRouter(_)
                        | Command::Fip(_)
                        | Command::Sg(_)
                        | Command::Sgr(_)
                );
                assert!(noun_first, "{name} has no noun-first spelling");
            }
        }
    }
}
