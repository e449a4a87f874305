//! `edgectl network-cli`: what the dataplane does, seen from outside. It changes nothing, but that `clear` ends connections.
//!
//! One command line, or a prompt that takes the same commands ([`prompt`]).

mod capture;
mod clear;
mod prompt;
mod show;
mod trace;
mod trace_text;

#[cfg(test)]
pub(crate) use prompt::split_words;
pub(crate) use trace::write_rules_out as with_rules_written_out;

use clap::{Args, Subcommand};

use crate::command::Action;
use crate::error::CliError;
use crate::session::Session;

/// Arguments of network-cli.
#[derive(Debug, Args)]
pub(crate) struct NetworkCliArgs {
    #[command(subcommand)]
    pub command: Option<NetworkCommand>,
}

/// A command, also at the prompt.
#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Show a table of the dataplane
    Show(show::ShowArgs),
    /// End connections
    Clear(clear::ClearArgs),
    /// Follow a described packet through the pipeline without sending it
    Trace(trace::TraceArgs),
    /// Write the packets of a port to a pcap file
    Capture(capture::CaptureArgs),
}

impl Action for NetworkCliArgs {
    /// Does one command, or opens the prompt.
    async fn run(self, session: &Session) -> Result<(), CliError> {
        match self.command {
            Some(command) => run_command(session, command).await,
            None => prompt::run(session).await,
        }
    }
}

async fn run_command(session: &Session, command: NetworkCommand) -> Result<(), CliError> {
    match command {
        NetworkCommand::Show(args) => show::run(session, &args).await,
        NetworkCommand::Clear(args) => clear::run(session, &args).await,
        NetworkCommand::Trace(args) => trace::run(session, args).await,
        NetworkCommand::Capture(args) => capture::run(session, &args).await,
    }
}
