//! Contexts: the daemons that the user works with, by name, in `~/.config/edgestack/config.yaml`, and the commands that
//! change that file. It may hold tokens, so nobody but its owner may read it, and they are never shown.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::command::Action;
use crate::connection::{self, ConnectionArgs, variable};
use crate::error::CliError;
use crate::noun::{Column, World};
use crate::output::print;
use crate::session::Session;
use crate::value::{self, text};

/// Largest file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Shown in place of a token.
const HIDDEN: &str = "(set)";

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The context of commands that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_context: Option<String>,
    /// All contexts.
    pub contexts: Vec<Context>,
}

/// A daemon, and who the user is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Context {
    /// Its name.
    pub name: String,
    /// The control socket of a daemon on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// The URL of a daemon anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// File of the authority that its certificate is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The user's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// File of the user's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// File of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The project that commands work in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

impl Config {
    /// Where the file is: `EDGESTACK_CONFIG`, or below the user's directory for configuration.
    pub(crate) fn path() -> Option<PathBuf> {
        if let Some(path) = variable("EDGESTACK_CONFIG") {
            return Some(path.into());
        }
        let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))?;
        Some(base.join("edgestack/config.yaml"))
    }

    /// Reads the file; empty where there is none.
    pub(crate) fn load() -> Result<Self, CliError> {
        let Some(path) = Self::path() else { return Ok(Self::default()) };
        let failed = |source| CliError::File { path: path.display().to_string(), source };
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        let mut text = String::new();
        (&file).take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let config: Self = serde_saphyr::from_str(&text).map_err(|error| {
            CliError::usage(format!("{}: {error}", path.display()), "edgectl config mends it")
        })?;
        let open_to_others = file.metadata().map_err(failed)?.mode() & 0o077 != 0;
        if open_to_others && config.contexts.iter().any(|context| context.token.is_some()) {
            return Err(CliError::usage(
                format!("{} has tokens in it and others may read it", path.display()),
                format!("chmod 600 {}", path.display()),
            ));
        }
        Ok(config)
    }

    /// Writes the file, whole or not at all, for its owner alone.
    fn save(&self) -> Result<(), CliError> {
        let path = Self::path().ok_or_else(|| {
            CliError::usage("this user has no directory for configuration", "set HOME or EDGESTACK_CONFIG")
        })?;
        let failed = |source| CliError::File { path: path.display().to_string(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let text =
            serde_saphyr::to_string(self).map_err(|error| failed(io::Error::other(error.to_string())))?;
        let beside = path.with_extension(format!("new.{}", std::process::id()));
        let written = write_private(&beside, text.as_bytes()).and_then(|()| fs::rename(&beside, &path));
        if written.is_err() {
            // What is half written is of no use.
            let _ = fs::remove_file(&beside);
        }
        written.map_err(failed)
    }

    /// The context of this name.
    pub(crate) fn context(&self, name: &str) -> Result<&Context, CliError> {
        self.contexts.iter().find(|context| context.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.contexts.iter().map(|context| context.name.as_str()).collect();
            let known = if names.is_empty() { "there is none yet".to_owned() } else { names.join(", ") };
            CliError::NotFound(format!("there is no context `{name}` (known: {known})"))
        })
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

impl Context {
    /// As it may be shown: without its token.
    fn shown(&self) -> Value {
        let token = self.token.as_ref().map(|_| HIDDEN.to_owned());
        serde_json::to_value(Self { token, ..self.clone() }).unwrap_or_default()
    }

    /// Takes over what the user gave.
    fn set(&mut self, given: &ConnectionArgs, token: Option<String>) {
        if given.socket.is_some() || given.server.is_some() {
            self.socket.clone_from(&given.socket);
            self.server.clone_from(&given.server);
        }
        let fields = [(&mut self.ca, &given.ca), (&mut self.cert, &given.cert), (&mut self.key, &given.key)];
        for (field, given) in fields {
            if let Some(path) = given {
                // The command may run elsewhere next time.
                *field = Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()));
            }
        }
        if let Some(token) = token {
            self.token = Some(token).filter(|token| !token.is_empty());
        }
        if let Some(project) = &given.project {
            self.project = Some(project.clone()).filter(|project| !project.is_empty());
        }
    }
}

/// Arguments of config.
#[derive(Debug, Args)]
#[command(after_help = "\
Where a command goes is said by its flags (--socket, --server or --context), else by EDGESTACK_SOCKET,
EDGESTACK_SERVER or EDGESTACK_CONTEXT, else by the current context; else it is this host's socket.
EDGESTACK_CA, _TOKEN, _CERT, _KEY and _PROJECT go with them; EDGESTACK_CONFIG names another file.")]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

/// What may be done with contexts.
#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// List the contexts
    GetContexts,
    /// Name the current context
    CurrentContext,
    /// Let commands go to this context from now on
    UseContext {
        /// Name of the context
        #[arg(value_name = "CONTEXT")]
        name: String,
    },
    /// Make or change a context: --socket or --server, --ca, --cert, --key, --project say what
    SetContext {
        /// Name of the context
        #[arg(value_name = "CONTEXT")]
        name: String,
        /// File with the token; - for standard input; an empty one takes it away
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// Forget contexts
    DeleteContext {
        /// Names of the contexts
        #[arg(value_name = "CONTEXT", required = true)]
        names: Vec<String>,
    },
    /// Show the file, tokens left out
    View,
}

impl Action for ConfigArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let mut config = Config::load()?;
        let output = &session.output;
        match self.command {
            ConfigCommand::GetContexts => get_contexts(session, &config),
            ConfigCommand::CurrentContext => match &config.current_context {
                Some(name) if output.value(&json!({ "current_context": name }))? => Ok(()),
                Some(name) => print(&format!("{name}\n")),
                None => Err(CliError::NotFound("there is no current context".to_owned())),
            },
            ConfigCommand::UseContext { name } => {
                config.context(&name)?;
                config.current_context = Some(name.clone());
                config.save()?;
                output.confirm(&format!("commands go to context {name} now"))
            }
            ConfigCommand::SetContext { name, token_file } => {
                let done = set_context(session, &mut config, &name, token_file.as_deref())?;
                config.save()?;
                output.confirm(&format!("{done} context {name}"))
            }
            ConfigCommand::DeleteContext { names } => {
                for name in &names {
                    config.context(name)?;
                }
                config.contexts.retain(|context| !names.contains(&context.name));
                if config.current_context.as_ref().is_some_and(|current| names.contains(current)) {
                    config.current_context = None;
                }
                config.save()?;
                output.confirm(&format!("removed context {}", names.join(", ")))
            }
            ConfigCommand::View => {
                let contexts: Vec<Value> = config.contexts.iter().map(Context::shown).collect();
                let body = json!({ "current_context": config.current_context, "contexts": contexts });
                if output.value(&body)? {
                    return Ok(());
                }
                print(&crate::output::to_yaml(&body)?)
            }
        }
    }
}

fn get_contexts(session: &Session, config: &Config) -> Result<(), CliError> {
    const COLUMNS: &[Column] = &[
        Column { title: "CURRENT", wide: false, text: |context, _| text(context, "/current") },
        Column { title: "NAME", wide: false, text: |context, _| value::name(context) },
        Column {
            title: "DAEMON",
            wide: false,
            text: |context, _| text(context, "/server") + &text(context, "/socket"),
        },
        Column { title: "PROJECT", wide: false, text: |context, _| text(context, "/project") },
        Column {
            title: "AS",
            wide: false,
            text: |context, _| match (context.get("token"), context.get("cert")) {
                (Some(_), _) => "token".to_owned(),
                (None, Some(_)) => "certificate".to_owned(),
                (None, None) => String::new(),
            },
        },
    ];
    let contexts = config.contexts.iter().map(|context| {
        let mut shown = context.shown();
        shown["current"] =
            if config.current_context.as_ref() == Some(&context.name) { "*" } else { "" }.into();
        shown
    });
    let contexts: Vec<Value> = contexts.collect();
    session.print_list(COLUMNS, "contexts", &contexts, contexts.len(), &World::default())
}

fn set_context(
    session: &Session,
    config: &mut Config,
    name: &str,
    token_file: Option<&Path>,
) -> Result<&'static str, CliError> {
    if name.is_empty() || name.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err(CliError::usage(
            format!("`{name}` is no name of a context"),
            "letters, digits, `-`, `_`",
        ));
    }
    let token = token_file.map(connection::read_token).transpose()?.or_else(|| session.given.token.clone());
    let (mut context, done) = match config.context(name) {
        Ok(context) => (context.clone(), "changed"),
        Err(_) => (Context { name: name.to_owned(), ..Context::default() }, "created"),
    };
    context.set(&session.given, token);
    if context.socket.is_none() && context.server.is_none() {
        return Err(CliError::usage(
            format!("context `{name}` goes to no daemon"),
            "name it: --socket PATH, or --server https://HOST:PORT --ca FILE",
        ));
    }
    // What cannot be connected with is refused now: a wrong URL, a file that is not there.
    connection::from_context(&context)?;
    config.contexts.retain(|other| other.name != name);
    config.contexts.push(context);
    config.contexts.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(done)
}
