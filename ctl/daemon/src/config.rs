//! The daemon's configuration file: TOML, strict, every mistake named with its line, column, field and way out.
//!
//! `config/edgestackd.toml` documents every field; a test loads it and holds it against the defaults here. Large tables have
//! files of their own, with their defaults and what is checked of them.

mod api;
mod check;
mod dataplane;
mod overlay;
mod services;
mod uplink;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use edgestack_model::limits::LIMIT_MAX;
use edgestack_model::{Kind, Limits};
use serde::Deserialize;
use toml::Spanned;

pub use api::{Api, LocalUser};
use check::{Check, explain, mistake};
pub use check::{ConfigError, Mistake};
pub use dataplane::{DEFAULT_INSTANCE, Dataplane, INSTANCE_LETTERS_MAX, Switch, Timeouts};
pub use overlay::{Overlay, Peer};
pub use services::{Dhcp, Dns, Metadata};
pub use uplink::{UPLINKS_MAX, Uplink};

/// Where the file is when `--config` does not say.
pub const DEFAULT_PATH: &str = "/etc/edgestack/edgestackd.toml";

/// The configuration of a daemon.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Directory of the store.
    pub state_dir: PathBuf,
    /// Directory of the control socket and of locks.
    pub run_dir: PathBuf,
    /// The control socket; `edgestackd.sock` in `run_dir` where left out.
    pub socket: Option<PathBuf>,
    /// This host as others see it.
    pub node: Node,
    /// The log.
    pub log: Log,
    /// The HTTPS listener.
    pub api: Api,
    /// The audit log.
    pub audit: Audit,
    /// How many objects of a kind a project may have that has no limits of its own.
    pub quotas: BTreeMap<String, Spanned<u64>>,
    /// The metrics listener.
    pub metrics: Metrics,
    /// The dataplane.
    pub dataplane: Dataplane,
    /// What DHCP tells all workloads.
    pub dhcp: Dhcp,
    /// DNS for workloads.
    pub dns: Dns,
    /// The metadata service.
    pub metadata: Metadata,
    /// Interfaces to the outside.
    pub uplink: Vec<Uplink>,
    /// What carries tenant networks between hosts; none: this host is alone.
    pub overlay: Option<Overlay>,
}

/// This host as others see it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Name of its node; the host's own where left out.
    pub name: Option<String>,
    /// The address by which other hosts reach its tunnels; the one towards its default route where left out.
    pub data_ip: Option<IpAddr>,
}

/// The log, written to standard error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// What is written: `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,edgestackd=debug`.
    pub level: Spanned<String>,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The audit log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Size at which a file is closed and the next one begun, in MiB.
    pub file_mib: Spanned<u32>,
    /// Files that are kept.
    pub files: Spanned<u32>,
}

/// A TCP listener that serves metrics and health, and nothing else.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Address and port; no listener where left out.
    pub listen: Option<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/edgestack"),
            run_dir: PathBuf::from("/run/edgestack"),
            socket: None,
            node: Node::default(),
            log: Log::default(),
            api: Api::default(),
            audit: Audit::default(),
            quotas: BTreeMap::new(),
            metrics: Metrics::default(),
            dataplane: Dataplane::default(),
            dhcp: Dhcp::default(),
            dns: Dns::default(),
            metadata: Metadata::default(),
            uplink: Vec::new(),
            overlay: None,
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { file_mib: spanless(16), files: spanless(16) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: spanless("info".to_owned()) }
    }
}

/// A value that stands in no file.
fn spanless<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

impl Config {
    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|mistakes| ConfigError::Wrong { path: path.to_owned(), mistakes })
    }

    /// Reads and checks a configuration.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().unwrap_or(0..0);
            vec![mistake(text, &at, explain(text, &at, error.message()))]
        })?;
        let mut check = Check { text, mistakes: Vec::new() };
        check.config(&config);
        if check.mistakes.is_empty() { Ok(config) } else { Err(check.mistakes) }
    }

    /// The control socket.
    pub fn socket_path(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.run_dir.join("edgestackd.sock"))
    }

    /// The directory of the audit log.
    pub fn audit_directory(&self) -> PathBuf {
        self.state_dir.join("audit")
    }

    /// How much a project may have that has no limits of its own.
    pub fn limits(&self) -> Limits {
        Limits(self.quotas.iter().map(|(kind, limit)| (kind.clone(), *limit.get_ref())).collect())
    }

    /// The directory of the daemon's own authority.
    pub fn tls_directory(&self) -> PathBuf {
        self.state_dir.join("tls")
    }

    /// The file of the store.
    pub fn store_path(&self) -> PathBuf {
        self.state_dir.join("edgestack.redb")
    }
}

/// Whether a filter says what it means: a word alone that is no level would be the name of a part, and all others silent.
fn is_level(filter: &str) -> bool {
    let words = filter.split(',').map(str::trim).filter(|part| !part.contains(['=', '[']));
    words.into_iter().all(|word| word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok())
        && filter.parse::<tracing_subscriber::EnvFilter>().is_ok()
}

impl Check<'_> {
    fn config(&mut self, config: &Config) {
        if !is_level(config.log.level.get_ref()) {
            self.refuse("log.level", &config.log.level, "write error, warn, info, debug or trace");
        }
        self.api(&config.api);
        self.quotas(&config.quotas);
        if !(1..=1024).contains(config.audit.file_mib.get_ref()) {
            self.refuse("audit.file_mib", &config.audit.file_mib, "from 1 to 1024");
        }
        if !(2..=1000).contains(config.audit.files.get_ref()) {
            self.refuse("audit.files", &config.audit.files, "from 2 to 1000");
        }
        self.dataplane(&config.dataplane);
        self.services(config);
        self.uplinks(&config.uplink);
        self.overlay(config.overlay.as_ref(), &config.uplink);
    }

    fn quotas(&mut self, quotas: &BTreeMap<String, Spanned<u64>>) {
        for (kind, limit) in quotas {
            let kinds = || Kind::ALL.into_iter().filter(|kind| kind.is_of_projects()).map(Kind::plural);
            if !kinds().any(|known| known == kind) {
                let meant = edgestack_model::suggest::nearest(kind, kinds());
                let hint = meant.map_or_else(String::new, |meant| format!(", did you mean `{meant}`?"));
                let message = format!("`quotas.{kind}`: projects have no such objects{hint}");
                self.mistakes.push(mistake(self.text, &limit.span(), message));
            } else if *limit.get_ref() > LIMIT_MAX {
                self.refuse(&format!("quotas.{kind}"), limit, &format!("at most {LIMIT_MAX}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, ConfigError, Switch};

    fn mistakes(text: &str) -> Vec<String> {
        let mistakes = Config::parse(text).expect_err("the configuration should be refused");
        ConfigError::Wrong { path: "c.toml".into(), mistakes }
            .to_string()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn nothing_is_required() {
        let config = Config::parse("").unwrap();
        assert_eq!(config.socket_path().to_str(), Some("/run/edgestack/edgestackd.sock"));
        assert_eq!(config.store_path().to_str(), Some("/var/lib/edgestack/edgestack.redb"));
        assert_eq!(config.dataplane.fast_path, Switch::On);
    }

    #[test]
    fn mistakes_have_a_line_a_column_and_a_way_out() {
        assert_eq!(
            mistakes("[dataplane]\nfastpath = \"on\"\n"),
            ["c.toml:2:1: unknown field `fastpath`, did you mean `fast_path`?"]
        );
        let found = mistakes("state_dir = 5\n");
        assert!(found[0].starts_with("c.toml:1:13: `state_dir`: invalid type: integer `5`"), "{found:?}");
        let found = mistakes("[dataplane\n");
        assert!(found[0].starts_with("c.toml:1:11: "), "{found:?}");
        let found = mistakes("[dataplane]\nfast_path = \"maybe\"\n");
        assert!(
            found[0].contains("`on`") && found[0].starts_with("c.toml:2:13: `dataplane.fast_path`"),
            "{found:?}"
        );
        let found = mistakes("[[uplink]]\nname = \"wan\"\n");
        assert!(found[0].contains("interface"), "{found:?}");
    }

    #[test]
    fn all_values_that_cannot_be_are_named_at_once() {
        for level in ["warning", "verbose", "info,edgestackd"] {
            assert_eq!(mistakes(&format!("[log]\nlevel = \"{level}\"\n")).len(), 1, "{level}");
        }
        assert!(Config::parse("[log]\nlevel = \"info,edgestackd=debug\"\n").is_ok());
        assert_eq!(
            mistakes("[quotas]\nport = 5\n"),
            ["c.toml:2:8: `quotas.port`: projects have no such objects, did you mean `ports`?"]
        );
        assert_eq!(
            mistakes("[api]\nlocal_users = [{ uid = 1, role = \"admin\", project = \"x\" }]\n").len(),
            1
        );
        assert_eq!(mistakes("[api]\nrequests_burst = 0\n[audit]\nfiles = 1\n").len(), 2);
        assert_eq!(mistakes("[api]\nnames = [\"a b\"]\nkey = \"k.pem\"\n").len(), 2);
        assert_eq!(mistakes("[dataplane]\nworkers = 3\nworker_cpus = [0, 1]\n").len(), 1);
        assert_eq!(
            mistakes("[dataplane]\nworker_cpus = [1, 1]\n"),
            ["c.toml:2:15: `dataplane.worker_cpus = [1, 1]` cannot be: each CPU once"]
        );
        assert!(Config::parse("[dataplane]\nworker_cpus = [0, 1]\ninstance = \"Lab_2\"\n").is_ok());
        let text = "[log]\nlevel = \"lo=ud=x\"\n[dataplane]\ninstance = \"A b\"\nflow_table_entries = 1000\n\
                    workers = 65\n[dataplane.timeouts]\nudp_seconds = 0\n\
                    [[uplink]]\nname = \"a\"\ninterface = \"eth 0\"\nphysical_network = \"wan\"\n\
                    [[uplink]]\nname = \"a\"\ninterface = \"eth1\"\nphysical_network = \"wan\"\n";
        let found = mistakes(text);
        let places: Vec<&str> = found.iter().map(|line| line.split(" cannot be").next().unwrap()).collect();
        assert_eq!(
            places,
            [
                "c.toml:2:9: `log.level = lo=ud=x`",
                "c.toml:4:12: `dataplane.instance = A b`",
                "c.toml:5:22: `dataplane.flow_table_entries = 1000`",
                "c.toml:1:1: `dataplane.sessions = 65536`",
                "c.toml:6:11: `dataplane.workers = 65`",
                "c.toml:8:15: `dataplane.timeouts.udp_seconds = 0`",
                "c.toml:11:13: `uplink.interface = eth 0`",
                "c.toml:14:8: `uplink.name = a`",
                "c.toml:16:20: `uplink.physical_network = wan`",
            ]
        );
    }
}
