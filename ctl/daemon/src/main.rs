//! `edgestackd`: reads the command line and the configuration, starts the daemon, and turns signals into its end.

mod commands;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Parser, Subcommand};
use edgestack_dataplane::fastpath::Finding;
use edgestack_model::role_binding::is_user;
use edgestackd::access::audit::{self, Verified};
use edgestackd::access::authority::Authority;
use edgestackd::config::{Config, DEFAULT_PATH, LogFormat};
use edgestackd::daemon;
use edgestackd::gateway::{Gateway, host_findings};
use edgestackd::http::error::chain;
use edgestackd::reconcile::plug::Plugger;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// Exit code of a configuration that cannot be used.
const EXIT_CONFIG: u8 = 2;

/// The EdgeStack daemon: control plane and dataplane of one edge host.
#[derive(Debug, Parser)]
#[command(name = "edgestackd", version, about)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH, global = true)]
    config: PathBuf,
    /// Read and check the configuration, say what is wrong with it, and do nothing else.
    #[arg(long)]
    check: bool,
    /// Detach the kernel programs of this configuration's instance, remove its tables and the interfaces that it made for
    /// ports: traffic through it stops.
    #[arg(long, conflicts_with = "check")]
    unpin: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What is done instead of running the daemon.
#[derive(Debug, Subcommand)]
enum Command {
    /// The audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Write everything that the store holds to a file, whether the daemon runs or not
    Backup {
        /// The file, which is made anew
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Make the store from a backup; the daemon must not run
    Restore {
        /// The file that `backup` wrote
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
        /// Move a store that is there aside
        #[arg(long)]
        replace: bool,
    },
    /// Make a certificate by which a client is a user, from the daemon's own authority
    IssueCertificate {
        /// The user: letters, digits and `.@_-`
        #[arg(long, value_name = "NAME")]
        user: String,
        /// How long it is good, in days
        #[arg(long, value_name = "DAYS", default_value = "90", value_parser = clap::value_parser!(u64).range(1..=3650))]
        days: u64,
        /// Where NAME.pem and NAME-key.pem are written
        #[arg(long, value_name = "DIRECTORY", default_value = ".")]
        output: PathBuf,
    },
}

/// What is done with the audit log.
#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that no line was changed or taken out
    Verify,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("edgestackd: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if arguments.check {
        report(&arguments.config, &config);
        return ExitCode::SUCCESS;
    }
    if let Some(command) = &arguments.command {
        return match run_command(command, &config) {
            Ok(message) => {
                println!("{message}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("edgestackd: {}", chain(error.as_ref()));
                ExitCode::FAILURE
            }
        };
    }
    start_log(&config);
    if arguments.unpin {
        return unpin(&config);
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %chain(error.as_ref()), "edgestackd cannot run");
            ExitCode::FAILURE
        }
    }
}

fn run_command(command: &Command, config: &Config) -> Result<String, Box<dyn std::error::Error>> {
    match command {
        Command::Audit(AuditCommand::Verify) => {
            let Verified { lines, first, last, digest } = audit::verify(&config.audit_directory())?;
            Ok(format!("{lines} lines are as they were written: {first} to {last}, whose digest is {digest}"))
        }
        Command::Backup { output } => commands::back_up(config, output),
        Command::Restore { input, replace } => commands::restore(config, input, *replace),
        Command::IssueCertificate { user, days, output } => {
            if !is_user(user) {
                return Err(format!("`{user}` is no name of a user: letters, digits and `.@_-`").into());
            }
            let authority = Authority::open(&config.tls_directory())?;
            let lifetime = Duration::from_hours(24 * days);
            let issued = authority.client(user, lifetime, SystemTime::now())?;
            let (certificate, key) = issued.write(output, user)?;
            Ok(format!("{} and {} are for {days} days", certificate.display(), key.display()))
        }
    }
}

fn start_log(config: &Config) {
    let filter = EnvFilter::new(config.log.level.get_ref());
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match config.log.format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

fn unpin(config: &Config) -> ExitCode {
    let instance = config.dataplane.instance.get_ref();
    if let Err(error) = Gateway::unpin(config) {
        tracing::error!(instance, error = %chain(&error), "the instance could not be removed");
        return ExitCode::FAILURE;
    }
    if let Err(error) = Plugger::new(instance).remove_all() {
        tracing::error!(instance, %error, "the interfaces of ports could not be removed");
        return ExitCode::FAILURE;
    }
    tracing::info!(instance, "the programs are detached, the tables and the interfaces of ports removed");
    ExitCode::SUCCESS
}

/// Says that the configuration is right, and what the host lacks for it.
fn report(path: &Path, config: &Config) {
    println!("{}: the configuration is right", path.display());
    if config.dataplane.enabled {
        for Finding { subject, ok, message } in host_findings(config) {
            println!("{} {subject}: {message}", if ok { "ok     " } else { "missing" });
        }
    }
}

fn run(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => break tracing::info!("SIGTERM: stopping"),
                    _ = interrupt.recv() => break tracing::info!("SIGINT: stopping"),
                    _ = hang_up.recv() => tracing::info!("SIGHUP: nothing to do; a restart reads the configuration"),
                }
            }
            let _ = stop.send(true);
        });
        daemon::run(config, stopped).await?;
        Ok(())
    })
}
