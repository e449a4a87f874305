//! `edgectl completion`: the script that teaches a shell edgectl's commands.

use clap::Args;
use clap_complete::Shell;

use crate::args;
use crate::command::Action;
use crate::error::CliError;
use crate::output::print;
use crate::session::Session;

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

impl Action for CompletionArgs {
    async fn run(self, _: &Session) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut args::command(), "edgectl", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}
