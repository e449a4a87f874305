//! `edgectl completion`: the script that teaches a shell edgectl's commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::error::CliError;
use crate::output::print;

/// Arguments of completion.
#[derive(Debug, Args)]
#[command(after_help = "\
bash:  edgectl completion bash > /etc/bash_completion.d/edgectl
zsh:   edgectl completion zsh > /usr/local/share/zsh/site-functions/_edgectl
fish:  edgectl completion fish > ~/.config/fish/completions/edgectl.fish")]
pub(crate) struct CompletionArgs {
    /// Shell to write it for
    pub shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &CompletionArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "edgectl", &mut script);
    print(&String::from_utf8_lossy(&script))
}
