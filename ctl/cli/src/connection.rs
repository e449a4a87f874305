//! Which daemon a command goes to, and who asks: flags before variables before the current context.
//!
//! The first of them that names a daemon decides; a context's token never goes to another daemon than its own.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use edgestack_client::{Client, DEFAULT_SOCKET, Remote};

use crate::config::{Config, Context};
use crate::error::CliError;

/// Longest token.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// Flags that say where the daemon is and who asks.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ConnectionArgs {
    /// Control socket of a daemon on this host; /run/edgestack/edgestackd.sock where nothing else is said
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "server", value_hint = ValueHint::AnyPath)]
    pub socket: Option<PathBuf>,
    /// URL of a daemon anywhere, like https://edge1:8443
    #[arg(long, short = 's', global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Context of the configuration to use
    #[arg(long, global = true, value_name = "CONTEXT", conflicts_with_all = ["socket", "server"])]
    pub context: Option<String>,
    /// Authority of the daemon's certificate
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Token; better in a context, or in EDGESTACK_TOKEN
    #[arg(long, global = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Certificate of the user
    #[arg(long, global = true, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, global = true, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Project to work in
    #[arg(short, long, global = true, value_name = "PROJECT")]
    pub project: Option<String>,
}

impl ConnectionArgs {
    fn from_environment() -> Self {
        let path = |name| variable(name).map(PathBuf::from);
        Self {
            socket: path("EDGECTL_SOCKET").or_else(|| path("EDGESTACK_SOCKET")),
            server: variable("EDGESTACK_SERVER"),
            context: variable("EDGESTACK_CONTEXT"),
            ca: path("EDGESTACK_CA"),
            token: variable("EDGESTACK_TOKEN"),
            cert: path("EDGESTACK_CERT"),
            key: path("EDGESTACK_KEY"),
            project: variable("EDGESTACK_PROJECT"),
        }
    }

    fn names_daemon(&self) -> bool {
        self.socket.is_some() || self.server.is_some() || self.context.is_some()
    }
}

/// A variable of the environment, unless it is empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The client that a command works with.
pub(crate) fn connect(written: &ConnectionArgs) -> Result<Client, CliError> {
    from_context(&resolve(written, &ConnectionArgs::from_environment(), Config::load)?)
}

/// What flags, variables and the configuration come to.
fn resolve(
    written: &ConnectionArgs,
    variables: &ConnectionArgs,
    config: impl FnOnce() -> Result<Config, CliError>,
) -> Result<Context, CliError> {
    let deciding = [written, variables].into_iter().find(|level| level.names_daemon());
    let mut context = match deciding {
        Some(ConnectionArgs { context: Some(name), socket: None, server: None, .. }) => {
            config()?.context(name)?.clone()
        }
        Some(level) => {
            // A variable for each: the socket is nearer.
            let server = level.server.clone().filter(|_| level.socket.is_none());
            Context { socket: level.socket.clone(), server, ..Context::default() }
        }
        None => {
            let config = config()?;
            match &config.current_context {
                Some(name) => config.context(name)?.clone(),
                None => Context { socket: Some(DEFAULT_SOCKET.into()), ..Context::default() },
            }
        }
    };
    for level in [variables, written] {
        let paths =
            [(&mut context.ca, &level.ca), (&mut context.cert, &level.cert), (&mut context.key, &level.key)];
        for (field, given) in paths {
            if given.is_some() {
                field.clone_from(given);
            }
        }
        let texts = [(&mut context.token, &level.token), (&mut context.project, &level.project)];
        for (field, given) in texts {
            if given.is_some() {
                field.clone_from(given);
            }
        }
    }
    Ok(context)
}

/// The client of a context. Reads the files that it names.
pub(crate) fn from_context(context: &Context) -> Result<Client, CliError> {
    let mut client = match &context.server {
        Some(url) => Client::remote(&Remote {
            url: url.clone(),
            authority: context.ca.clone(),
            certificate: context.cert.clone().zip(context.key.clone()),
        })?,
        None => Client::new(context.socket.clone().unwrap_or_else(|| DEFAULT_SOCKET.into())),
    };
    if let Some(token) = &context.token {
        client = client.with_token(token)?;
    }
    if let Some(project) = &context.project {
        client = client.with_project(project)?;
    }
    Ok(client)
}

/// Where a client's daemon is, for people.
pub(crate) fn place(client: &Client) -> String {
    client.place()
}

/// The token in a file; - is standard input.
pub(crate) fn read_token(path: &Path) -> Result<String, CliError> {
    let failed = |source| CliError::File { path: path.display().to_string(), source };
    let mut reader: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    let mut token = String::new();
    reader.by_ref().take(TOKEN_BYTES_MAX).read_to_string(&mut token).map_err(failed)?;
    Ok(token.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{ConnectionArgs, resolve};
    use crate::config::{Config, Context};

    fn config() -> Config {
        let context = |name: &str, token: Option<&str>| Context {
            name: name.to_owned(),
            server: Some(format!("https://{name}")),
            token: token.map(str::to_owned),
            project: Some("p".to_owned()),
            ..Context::default()
        };
        let contexts = vec![context("north", Some("secret")), context("south", None)];
        Config { current_context: Some("north".to_owned()), contexts }
    }

    fn resolved(written: &ConnectionArgs, variables: &ConnectionArgs) -> Context {
        resolve(written, variables, || Ok(config())).unwrap()
    }

    #[test]
    fn the_nearest_that_names_a_daemon_decides() {
        let none = ConnectionArgs::default();
        let socket = ConnectionArgs { socket: Some("/s".into()), ..none.clone() };
        let south = ConnectionArgs { context: Some("south".to_owned()), ..none.clone() };
        let server = ConnectionArgs { server: Some("https://other".to_owned()), ..none.clone() };
        assert_eq!(resolved(&none, &none).name, "north");
        assert_eq!(resolved(&none, &south).name, "south");
        assert_eq!(resolved(&south, &socket).name, "south", "flags come before variables");
        assert_eq!(resolved(&server, &socket).server.as_deref(), Some("https://other"));
        assert_eq!(resolved(&none, &socket).socket, socket.socket);
    }

    #[test]
    fn a_token_goes_to_its_own_daemon_alone() {
        let none = ConnectionArgs::default();
        let server = ConnectionArgs { server: Some("https://other".to_owned()), ..none.clone() };
        assert_eq!(resolved(&none, &none).token.as_deref(), Some("secret"));
        assert_eq!(resolved(&server, &none).token, None);
        let own = ConnectionArgs { token: Some("mine".to_owned()), ..none.clone() };
        assert_eq!(resolved(&own, &none).token.as_deref(), Some("mine"));
        assert_eq!(resolved(&none, &own).token.as_deref(), Some("mine"));
    }

    #[test]
    fn a_context_that_is_not_there_is_named() {
        let written = ConnectionArgs { context: Some("west".to_owned()), ..ConnectionArgs::default() };
        let error = resolve(&written, &ConnectionArgs::default(), || Ok(config())).unwrap_err();
        assert!(error.to_string().contains("`west` (known: north, south)"), "{error}");
    }
}
