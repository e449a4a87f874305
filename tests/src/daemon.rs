//! The real `edgestackd` under test: its configuration, its life and its end.
//!
//! It runs in the namespace that plays the host, with a directory and an instance name of its own, so that many
//! can run at once. What it pinned is removed with the guard.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::command::{Process, run};
use crate::edgectl::Edgectl;
use crate::error::LabError;
use crate::namespace::Namespace;
use crate::wait;

/// Where daemons pin, one directory per ABI version.
const PIN_ROOT: &str = "/sys/fs/bpf/edgestack";
/// How long a daemon may take to be ready, or to stop.
const PATIENCE: Duration = Duration::from_secs(20);
/// Lines of the daemon's log that go into a message.
const LOG_LINES_MAX: usize = 40;

/// What a daemon is started with.
#[derive(Clone, Debug)]
pub struct DaemonSettings {
    /// Directory of the configuration, the store, the socket and the log.
    pub directory: PathBuf,
    /// Name of the instance: part of its pins' path.
    pub instance: String,
    /// Interfaces to external networks.
    pub uplinks: Vec<Uplink>,
    /// False: the engine carries everything.
    pub fast_path: bool,
    /// Further lines of the configuration's `[dataplane]` table, and tables after it.
    pub dataplane: String,
}

/// An interface to an external network.
#[derive(Clone, Debug)]
pub struct Uplink {
    /// Name of the interface.
    pub interface: String,
    /// Name of the physical network.
    pub physical_network: String,
    /// `auto`, `xdp` or `tc`.
    pub attach: String,
}

/// A daemon; dropping it kills it and removes its pins.
#[derive(Debug)]
pub struct Daemon {
    settings: DaemonSettings,
    host: String,
    process: Option<Process>,
    keep: bool,
}

impl Daemon {
    /// Writes the configuration and starts the daemon in the namespace `host`, and waits until it is ready.
    pub fn start(host: &Namespace, settings: DaemonSettings) -> Result<Self, LabError> {
        write_config(&settings)?;
        let mut daemon = Self { settings, host: host.name().to_owned(), process: None, keep: false };
        daemon.launch()?;
        Ok(daemon)
    }

    /// Starts the daemon again after [`Daemon::stop`] or [`Daemon::kill`].
    pub fn launch(&mut self) -> Result<(), LabError> {
        let host = Namespace::existing(&self.host);
        let config = self.settings.config_path();
        let log = self.settings.log_path();
        let process = host.enter(|| {
            Process::start(Command::new(binary("edgestackd")).arg("--config").arg(&config), &log)
        })??;
        self.process = Some(process);
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<(), LabError> {
        let socket = self.settings.socket_path();
        let process = self.process.as_mut();
        let mut ended = process;
        let ready = wait::value("edgestackd to be ready", PATIENCE, || {
            if let Some(status) = ended.as_mut().and_then(|process| process.ended()) {
                return Ok(Err(status));
            }
            readiness(&socket).map(Ok)
        });
        let log = self.log_tail();
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => Err(LabError::Failed {
                command: "edgestackd".to_owned(),
                status: status.to_string(),
                output: log,
            }),
            Err(LabError::Timeout { what, seconds, detail }) => {
                Err(LabError::Timeout { what, seconds, detail: format!("{detail}\n{log}") })
            }
            Err(other) => Err(other),
        }
    }

    /// Asks the daemon to end (SIGTERM) and waits for it. Pins stay, traffic goes on.
    pub fn stop(&mut self) -> Result<(), LabError> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal(Signal::TERM)?;
        process.finish(PATIENCE).map(drop)
    }

    /// Ends the daemon at once (SIGKILL). Pins stay, traffic goes on.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// The process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// `edgectl` for this daemon.
    pub fn edgectl(&self) -> Edgectl {
        Edgectl::new(self.settings.socket_path())
    }

    /// What Prometheus is told.
    pub fn metrics(&self) -> Result<String, LabError> {
        get(&self.settings.socket_path(), "/metrics").map_err(LabError::system("read the metrics"))
    }

    /// What it was started with.
    pub fn settings(&self) -> &DaemonSettings {
        &self.settings
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.settings.log_path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
    }

    /// Lets the daemon and its pins live on when the guard is dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.keep {
            if let Some(process) = self.process.take() {
                process.detach();
            }
            return;
        }
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- edgestackd ---\n{}\n---", self.log_tail());
        }
        remove_pins(&self.settings.instance);
    }
}

impl DaemonSettings {
    /// Settings with the fast path on and no uplink.
    pub fn new(directory: PathBuf, instance: &str) -> Self {
        Self {
            directory,
            instance: instance.to_owned(),
            uplinks: Vec::new(),
            fast_path: true,
            dataplane: String::new(),
        }
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.directory.join("edgestackd.toml")
    }

    /// The control socket.
    pub fn socket_path(&self) -> PathBuf {
        self.directory.join("edgestackd.sock")
    }

    /// Where the daemon's output goes.
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("edgestackd.log")
    }

    /// The configuration file's text.
    pub fn config_text(&self) -> String {
        let mut text = format!(
            "state_dir = \"{directory}\"\nrun_dir = \"{directory}\"\n\n[dataplane]\ninstance = \"{instance}\"\n\
             fast_path = \"{fast_path}\"\n{dataplane}\n",
            directory = self.directory.display(),
            instance = self.instance,
            fast_path = if self.fast_path { "on" } else { "off" },
            dataplane = self.dataplane,
        );
        for uplink in &self.uplinks {
            let Uplink { interface, physical_network, attach } = uplink;
            write!(
                text,
                "\n[[uplink]]\nname = \"{interface}\"\ninterface = \"{interface}\"\n\
                 physical_network = \"{physical_network}\"\nattach = \"{attach}\"\n"
            )
            .expect("writing to a String does not fail");
        }
        text
    }
}

/// Writes the configuration file into the settings' directory, which is made when missing.
pub fn write_config(settings: &DaemonSettings) -> Result<(), LabError> {
    fs::create_dir_all(&settings.directory)
        .map_err(LabError::system(format!("make {}", settings.directory.display())))?;
    let path = settings.config_path();
    fs::write(&path, settings.config_text()).map_err(LabError::system(format!("write {}", path.display())))
}

/// Asks `/readyz` over the control socket.
fn readiness(socket: &Path) -> Result<(), String> {
    let answer = get(socket, "/readyz").map_err(|error| error.to_string())?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer) }
}

/// What the daemon answers over its control socket, header and body.
fn get(socket: &Path, path: &str) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: edgestack\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The program `name` of this workspace, built by the same profile as the caller.
pub fn binary(name: &str) -> PathBuf {
    // Tests are in target/PROFILE/deps, programs in target/PROFILE.
    let own = std::env::current_exe().unwrap_or_default();
    let directory = own.parent().unwrap_or(Path::new("."));
    let directory =
        if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
    directory.join(name)
}

/// The kernel programs, as `make ebpf` builds them.
pub fn ebpf_object() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/edgestack.o");
    path.canonicalize().unwrap_or(path)
}

/// The directories under which instances pin, one per ABI version.
pub fn pin_directories() -> Vec<PathBuf> {
    let entries = fs::read_dir(PIN_ROOT).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Removes what the daemon `instance` pinned: programs, links and maps end with it.
pub fn remove_pins(instance: &str) {
    for directory in pin_directories() {
        let pins = directory.join(instance);
        if pins.exists() {
            // rm, because the file system of pins is not one that every library call knows.
            let _ = run(Command::new("rm").arg("-rf").arg(&pins));
        }
    }
}
