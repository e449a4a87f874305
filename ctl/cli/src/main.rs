//! `edgectl`, the command line of EdgeStack.
//!
//! Reads the arguments ([`args`]), asks the daemon over its control socket (`edgestack-client`) and prints what it
//! answers ([`output`]). It keeps no state but the history of its prompt, and decides nothing: what may be done is
//! the daemon's to say. One file for each noun holds that noun's commands.

mod address_group;
mod apply;
mod args;
mod command;
mod completion;
mod config;
mod confirm;
mod connection;
mod describe;
mod diff;
mod difference;
mod doctor;
mod edit;
mod error;
mod explain;
mod fields;
mod flavor;
mod floating_ip;
mod json_path;
mod keypair;
mod load_balancer;
mod manual;
mod nat;
mod network;
mod network_cli;
mod node;
mod noun;
mod output;
mod plan;
mod port;
mod project;
mod references;
mod role_binding;
mod router;
mod rule_text;
mod security_group;
mod security_group_rule;
mod session;
mod site;
mod site_files;
mod support_bundle;
mod test_ping;
mod token;
mod top;
mod value;
mod wait;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;

use edgestack_client::{Client, Method, Sent};

use crate::args::GlobalArgs;
use crate::command::read;
use crate::error::{CliError, exit};
use crate::output::{Format, Output};
use crate::session::Session;

fn main() -> ExitCode {
    // A shell that asks for completions gets them, and nothing else happens.
    completion::answer();
    let matches = match args::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help and versions come here too, with exit code 0; a reader that has gone is no failure.
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let global: GlobalArgs = match read(&matches) {
        Ok(global) => global,
        Err(error) => return ended(&error, &Format::Table),
    };
    let (format, file) = match global.output(&matches) {
        Ok(output) => output,
        Err(error) => return ended(&error, &Format::Table),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ended(&CliError::Output(error), &format),
    };
    let session = match session(&global, format.clone(), args::is_local(&matches)) {
        Ok(session) => Session { file, ..session },
        Err(error) => return ended(&error, &format),
    };
    match runtime.block_on(args::run(&session, &matches)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ended(&error, &format),
    }
}

/// Tells an error and says which exit code it means.
fn ended(error: &CliError, format: &Format) -> ExitCode {
    if error.is_broken_pipe() {
        return ExitCode::SUCCESS;
    }
    error.tell(format);
    ExitCode::from(error.exit_code())
}

/// What the command works with. A command that needs no daemon works whatever the configuration says of daemons.
fn session(global: &GlobalArgs, format: Format, is_local: bool) -> Result<Session, CliError> {
    let client = if is_local { Client::new("") } else { connection::connect(&global.connection)? };
    let mut client = client.with_timeout(global.timeout);
    if global.verbose {
        let place = connection::place(&client);
        client = client.with_observer(move |sent| eprintln!("{}", curl(&place, sent)));
    }
    let output =
        Output { format, no_headers: global.no_headers, quiet: global.quiet, color: global.color.enabled() };
    Ok(Session {
        client: Arc::new(client),
        output,
        patience: global.timeout,
        given: global.connection.clone(),
        file: None,
    })
}

/// A request as a curl command that does the same; who asks, and whom they trust, is left out.
fn curl(place: &str, sent: &Sent<'_>) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut words = vec!["curl -sS".to_owned()];
    let base = if place.starts_with("https://") {
        place
    } else {
        words.extend(["--unix-socket".to_owned(), quoted(place)]);
        "http://localhost"
    };
    if *sent.method != Method::GET {
        words.push(format!("-X {}", sent.method));
    }
    for (header, value) in [("x-project", sent.project), ("if-match", sent.if_match)] {
        if let Some(value) = value {
            words.extend(["-H".to_owned(), quoted(&format!("{header}: {value}"))]);
        }
    }
    if let Some(body) = sent.body {
        words.push("-H 'content-type: application/json' -d".to_owned());
        words.push(quoted(&body.to_string()));
    }
    words.push(quoted(&format!("{base}{}", sent.path)));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use edgestack_client::{Method, Sent};
    use serde_json::json;

    #[test]
    fn requests_are_shown_as_curl_commands() {
        let plain =
            Sent { method: &Method::GET, path: "/version", body: None, project: None, if_match: None };
        assert_eq!(
            super::curl("/run/x.sock", &plain),
            "curl -sS --unix-socket '/run/x.sock' 'http://localhost/version'"
        );
        assert_eq!(
            super::curl("https://edge:8443", &Sent { method: &Method::DELETE, path: "/p", ..plain }),
            "curl -sS -X DELETE 'https://edge:8443/p'"
        );
        let body = json!({"description": "it's"});
        let post = Sent { method: &Method::POST, path: "/p", body: Some(&body), ..plain };
        assert_eq!(
            super::curl("/s", &post),
            r#"curl -sS --unix-socket '/s' -X POST -H 'content-type: application/json' -d '{"description":"it'\''s"}' 'http://localhost/p'"#
        );
        let put = Sent { method: &Method::PUT, project: Some("blue"), if_match: Some("\"7-1\""), ..post };
        assert_eq!(
            super::curl("/s", &put),
            r#"curl -sS --unix-socket '/s' -X PUT -H 'x-project: blue' -H 'if-match: "7-1"' -H 'content-type: application/json' -d '{"description":"it'\''s"}' 'http://localhost/p'"#
        );
    }
}
