//! `edgectl`, the command line of EdgeStack.
//!
//! Reads the arguments ([`args`]), asks the daemon over its control socket (`edgestack-client`) and prints what it
//! answers ([`output`]). It keeps no state but the history of its prompt, and decides nothing: what may be done is
//! the daemon's to say. One file for each noun holds that noun's commands.

mod apply;
mod args;
mod completion;
mod describe;
mod difference;
mod doctor;
mod error;
mod fields;
mod floating_ip;
mod network;
mod network_cli;
mod output;
mod port;
mod router;
mod rule_text;
mod security_group;
mod security_group_rule;
mod session;
mod site;
mod value;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use edgestack_client::{Client, Method};
use serde_json::Value;

use crate::args::{Cli, Command, GlobalArgs};
use crate::error::{CliError, exit};
use crate::output::Output;
use crate::session::Session;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and versions come here too, with exit code 0; a reader that has gone is no failure.
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let format = cli.global.output;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            CliError::Output(error).tell(format);
            return ExitCode::from(exit::GENERAL);
        }
    };
    let session = session(&cli.global);
    match runtime.block_on(run(&session, cli.command.noun_first())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            error.tell(format);
            ExitCode::from(error.exit_code())
        }
    }
}

fn session(global: &GlobalArgs) -> Session {
    let mut client = Client::new(&global.socket).with_timeout(global.timeout);
    if global.verbose {
        let socket = global.socket.display().to_string();
        client = client
            .with_observer(move |method, path, body| eprintln!("{}", curl(&socket, method, path, body)));
    }
    let output = Output {
        format: global.output,
        no_headers: global.no_headers,
        quiet: global.quiet,
        color: global.color.enabled(),
    };
    Session { client: Arc::new(client), output }
}

async fn run(session: &Session, command: Command) -> Result<(), CliError> {
    match command {
        Command::Network(verb) => network::run(session, verb).await,
        Command::Port(verb) => port::run(session, verb).await,
        Command::Router(verb) => router::run(session, verb).await,
        Command::PeerRouter(verb) => router::run_peer(session, verb).await,
        Command::Fip(verb) => floating_ip::run(session, verb).await,
        Command::Sg(verb) => security_group::run(session, verb).await,
        Command::Sgr(verb) => security_group_rule::run(session, verb).await,
        Command::Apply(args) => apply::apply(session, &args).await,
        Command::Delete(args) => apply::delete(session, &args).await,
        Command::NetworkCli(args) => network_cli::run(session, args).await,
        Command::Doctor => doctor::run(session).await,
        Command::Version => doctor::version(session).await,
        Command::Completion(args) => completion::run(&args),
        // `noun_first` leaves no other spelling; a test sees to that.
        other => unreachable!("{other:?} has no noun-first spelling"),
    }
}

/// A request as a curl command that does the same.
fn curl(socket: &str, method: &Method, path: &str, body: Option<&Value>) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut words = vec!["curl -sS --unix-socket".to_owned(), quoted(socket)];
    if *method != Method::GET {
        words.push(format!("-X {method}"));
    }
    if let Some(body) = body {
        words.push("-H 'content-type: application/json' -d".to_owned());
        words.push(quoted(&body.to_string()));
    }
    words.push(quoted(&format!("http://localhost{path}")));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use edgestack_client::Method;
    use serde_json::json;

    #[test]
    fn requests_are_shown_as_curl_commands() {
        assert_eq!(
            super::curl("/run/x.sock", &Method::GET, "/version", None),
            "curl -sS --unix-socket '/run/x.sock' 'http://localhost/version'"
        );
        let body = json!({"description": "it's"});
        assert_eq!(
            super::curl("/s", &Method::POST, "/p", Some(&body)),
            r#"curl -sS --unix-socket '/s' -X POST -H 'content-type: application/json' -d '{"description":"it'\''s"}' 'http://localhost/p'"#
        );
    }
}
