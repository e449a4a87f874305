//! Commands without their types: what a command's arguments are and what it does, so that all commands stand in one
//! table (`args.rs`).

use std::pin::Pin;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::error::CliError;
use crate::session::Session;

/// What comes of a command.
pub(crate) type Outcome<'a> = Pin<Box<dyn Future<Output = Result<(), CliError>> + 'a>>;

/// Arguments of a command, and what it does.
pub(crate) trait Action: Args {
    /// Does it.
    async fn run(self, session: &Session) -> Result<(), CliError>;
}

/// A command that belongs to no noun.
pub(crate) struct Standalone {
    /// Its word.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// It works without a daemon.
    pub is_local: bool,
    arguments: fn(Command) -> Command,
    run: for<'a> fn(&'a Session, &'a ArgMatches) -> Outcome<'a>,
}

impl Standalone {
    /// The command that `A` has the arguments of.
    pub(crate) const fn new<A: Action>(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            is_local: false,
            arguments: A::augment_args,
            run: |session, matches| Box::pin(async move { read::<A>(matches)?.run(session).await }),
        }
    }

    /// The same, for a command that works without a daemon.
    pub(crate) const fn local(self) -> Self {
        Self { is_local: true, ..self }
    }

    /// The command for clap.
    pub(crate) fn command(&self) -> Command {
        // The arguments come first: the docs of their type are not those of the command.
        (self.arguments)(Command::new(self.name)).about(self.about).long_about(None)
    }

    /// Does it.
    pub(crate) fn run<'a>(&self, session: &'a Session, matches: &'a ArgMatches) -> Outcome<'a> {
        (self.run)(session, matches)
    }
}

/// The arguments as their type.
pub(crate) fn read<A: FromArgMatches>(matches: &ArgMatches) -> Result<A, CliError> {
    // clap has refused already what the type would refuse.
    A::from_arg_matches(matches).map_err(|error| CliError::Usage { message: error.to_string(), hint: None })
}
