//! `edgectl man`: a manual page for every command, from the same table as the help.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::args;
use crate::command::Action;
use crate::error::CliError;
use crate::session::Session;

/// Arguments of man.
#[derive(Debug, Args)]
#[command(after_help = "Then: man -l DIR/edgectl-create-network.1")]
pub(crate) struct ManArgs {
    /// Directory for the pages; made where it is not there
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}

impl Action for ManArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let failed = |source| CliError::File { path: self.directory.display().to_string(), source };
        std::fs::create_dir_all(&self.directory).map_err(failed)?;
        clap_mangen::generate_to(args::command(), &self.directory).map_err(failed)?;
        session.output.confirm(&format!("manual pages in {}", self.directory.display()))
    }
}
