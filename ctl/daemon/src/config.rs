//! The daemon's configuration file: TOML, strict, every mistake named with its line, column, field and way out.
//!
//! `config/edgestackd.toml` documents every field; a test loads it and holds it against the defaults here.

mod overlay;
mod services;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};

use edgestack_model::limits::LIMIT_MAX;
use edgestack_model::port::Attach;
use edgestack_model::project::{DEFAULT_PROJECT, SYSTEM_PROJECT};
use edgestack_model::{Kind, Limits, Role};
use serde::Deserialize;
use toml::Spanned;

pub use overlay::{Overlay, Peer};
pub use services::{Dhcp, Dns, Metadata};

/// Where the file is when `--config` does not say.
pub const DEFAULT_PATH: &str = "/etc/edgestack/edgestackd.toml";
/// Uplinks of one host.
pub const UPLINKS_MAX: usize = 64;
/// Letters of an instance's name; it becomes the name of a directory.
pub const INSTANCE_LETTERS_MAX: usize = 64;
/// Name of the instance whose pins and interfaces have the plain names.
pub const DEFAULT_INSTANCE: &str = "default";

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

/// The HTTPS listener of the API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Address and port; no listener where left out.
    pub listen: Option<SocketAddr>,
    /// Further names and addresses that the daemon's own certificate is for.
    pub names: Vec<Spanned<String>>,
    /// Certificate chain in PEM, with `key`; one of the daemon's own authority where left out.
    pub certificate: Option<Spanned<PathBuf>>,
    /// Private key of `certificate`.
    pub key: Option<Spanned<PathBuf>>,
    /// Authority of the certificates that clients may show; the daemon's own where that made the certificate.
    pub client_ca: Option<PathBuf>,
    /// Requests per second that one caller may make in the long run.
    pub requests_per_second: Spanned<u32>,
    /// Requests that one caller may make at once.
    pub requests_burst: Spanned<u32>,
    /// Users of this host beside its administrators, who may use the control socket too.
    pub local_users: Vec<LocalUser>,
}

/// A user of this host, and a role.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalUser {
    /// The number of the user.
    pub uid: u32,
    /// What the user may do.
    pub role: Role,
    /// Where; the default project, or the site for roles of the site, where left out.
    pub project: Option<String>,
}

impl LocalUser {
    /// The project that a binding of the role would be in.
    pub fn project(&self) -> &str {
        let standard = if self.role.is_of_the_site() { SYSTEM_PROJECT } else { DEFAULT_PROJECT };
        self.project.as_deref().unwrap_or(standard)
    }
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

/// The dataplane.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dataplane {
    /// False: the daemon keeps desired state and carries no traffic.
    pub enabled: bool,
    /// `off`: the engine carries all traffic alone.
    pub fast_path: Switch,
    /// Worker threads; 0 is one for each of `worker_cpus`, or for every four CPUs where that is empty.
    pub workers: Spanned<usize>,
    /// CPUs that the workers are pinned to; empty leaves them to the scheduler.
    pub worker_cpus: Spanned<Vec<usize>>,
    /// Packet buffers of each worker, 4 KiB each.
    pub frames: Spanned<u32>,
    /// How long a worker polls without a packet before it sleeps, in microseconds.
    pub spin_us: u32,
    /// False: packets are copied even where the driver could do without.
    pub zero_copy: bool,
    /// How long the kernel polls an interface on behalf of a worker, in microseconds; 0 leaves that to interrupts.
    pub busy_poll_us: u32,
    /// Entries of the flow table, two for each connection.
    pub flow_table_entries: Spanned<u32>,
    /// Most connections at a time.
    pub sessions: Spanned<u32>,
    /// Tells several daemons of one machine apart.
    pub instance: Spanned<String>,
    /// The kernel programs; looked for where left out.
    pub ebpf_object: Option<PathBuf>,
    /// New connections per second that one port may open; 0 is no limit.
    pub new_flows_per_second_per_port: u32,
    /// ICMP errors per second that the gateway sends; 0 is no limit.
    pub icmp_errors_per_second: u32,
    /// What security groups deny is logged, within `denied_logs_per_second`.
    pub log_denied: bool,
    /// Denied packets that are logged in a second; the others are counted.
    pub denied_logs_per_second: u32,
    /// Idle times after which connections end.
    pub timeouts: Timeouts,
}

/// On or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// On.
    #[default]
    On,
    /// Off.
    Off,
}

/// Idle times in seconds after which connections end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// TCP before the handshake is complete.
    pub tcp_half_open_seconds: Spanned<u32>,
    /// TCP established.
    pub tcp_established_seconds: Spanned<u32>,
    /// TCP after a FIN or RST.
    pub tcp_closing_seconds: Spanned<u32>,
    /// UDP.
    pub udp_seconds: Spanned<u32>,
    /// ICMP queries.
    pub icmp_seconds: Spanned<u32>,
}

/// An interface to the outside.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// Name for people: in counters, traces and `edgectl`.
    pub name: Spanned<String>,
    /// The host's interface. It may be missing when the daemon starts, and come later.
    pub interface: Spanned<String>,
    /// The physical network behind it: external networks name it as `physnet_name`.
    pub physical_network: Spanned<String>,
    /// How the fast path is attached.
    #[serde(default)]
    pub attach: Attach,
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

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: None,
            names: Vec::new(),
            certificate: None,
            key: None,
            client_ca: None,
            requests_per_second: spanless(50),
            requests_burst: spanless(200),
            local_users: Vec::new(),
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

impl Default for Dataplane {
    fn default() -> Self {
        Self {
            enabled: true,
            fast_path: Switch::On,
            workers: spanless(0),
            worker_cpus: spanless(Vec::new()),
            frames: spanless(16_384),
            spin_us: 20,
            zero_copy: true,
            busy_poll_us: 0,
            flow_table_entries: spanless(1 << 19),
            sessions: spanless(1 << 16),
            instance: spanless(DEFAULT_INSTANCE.to_owned()),
            ebpf_object: None,
            new_flows_per_second_per_port: 50_000,
            icmp_errors_per_second: 1000,
            log_denied: false,
            denied_logs_per_second: 10,
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_half_open_seconds: spanless(240),
            tcp_established_seconds: spanless(7440),
            tcp_closing_seconds: spanless(240),
            udp_seconds: spanless(300),
            icmp_seconds: spanless(60),
        }
    }
}

/// A value that stands in no file.
fn spanless<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that cannot be.
    Wrong {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong.
        mistakes: Vec<Mistake>,
    },
}

/// Something wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Wrong { path, mistakes } => {
                for (index, Mistake { line, column, message }) in mistakes.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "\n" };
                    write!(f, "{separator}{}:{line}:{column}: {message}", path.display())?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Wrong { .. } => None,
        }
    }
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
            vec![mistake(text, &at, explain(error.message()))]
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

/// Adds to the parser's words what was probably meant.
fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if let Some(unknown) = message.strip_prefix("unknown field").and_then(|_| quoted.next())
        && let Some(known) = edgestack_model::suggest::nearest(unknown, quoted)
    {
        return format!("unknown field `{unknown}`, did you mean `{known}`?");
    }
    message.trim_end().replace('\n', " ")
}

fn mistake(text: &str, at: &Range<usize>, message: impl Into<String>) -> Mistake {
    let before = text.get(..at.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    Mistake { line, column, message: message.into() }
}

/// Whether a filter says what it means: a word alone that is no level would be the name of a part, and all others silent.
fn is_level(filter: &str) -> bool {
    let words = filter.split(',').map(str::trim).filter(|part| !part.contains(['=', '[']));
    words.into_iter().all(|word| word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok())
        && filter.parse::<tracing_subscriber::EnvFilter>().is_ok()
}

/// Notes everything that is wrong beyond types and names.
struct Check<'a> {
    text: &'a str,
    mistakes: Vec<Mistake>,
}

impl Check<'_> {
    fn refuse<T: fmt::Display>(&mut self, field: &str, value: &Spanned<T>, fix: &str) {
        let message = format!("`{field} = {}` cannot be: {fix}", value.get_ref());
        self.mistakes.push(mistake(self.text, &value.span(), message));
    }

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

    fn api(&mut self, api: &Api) {
        for name in &api.names {
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            let host = (1..=253).contains(&name.get_ref().len()) && name.get_ref().bytes().all(letters);
            if !host && name.get_ref().parse::<std::net::IpAddr>().is_err() {
                self.refuse("api.names", name, "a host name or an address");
            }
        }
        for (field, value) in [
            ("api.requests_per_second", &api.requests_per_second),
            ("api.requests_burst", &api.requests_burst),
        ] {
            if !(1..=1_000_000).contains(value.get_ref()) {
                self.refuse(field, value, "from 1 to 1000000");
            }
        }
        for user in &api.local_users {
            if (user.project() == SYSTEM_PROJECT) != user.role.is_of_the_site() {
                let message = format!(
                    "`api.local_users` of uid {}: the role {} is given {}",
                    user.uid,
                    user.role,
                    if user.role.is_of_the_site() { "without a project" } else { "in a project" }
                );
                self.mistakes.push(mistake(self.text, &(0..0), message));
            }
        }
        let alone = match (&api.certificate, &api.key) {
            (Some(certificate), None) => Some(("api.certificate", certificate, "`key` is missing beside it")),
            (None, Some(key)) => Some(("api.key", key, "`certificate` is missing beside it")),
            _ => None,
        };
        if let Some((field, path, fix)) = alone {
            let shown = Spanned::new(path.span(), path.get_ref().display().to_string());
            self.refuse(field, &shown, fix);
        }
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

    fn dataplane(&mut self, dataplane: &Dataplane) {
        let instance = dataplane.instance.get_ref();
        let well_formed = (1..=INSTANCE_LETTERS_MAX).contains(&instance.len())
            && instance.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !well_formed {
            let fix = format!("1 to {INSTANCE_LETTERS_MAX} letters, digits, `-` and `_`");
            self.refuse("dataplane.instance", &dataplane.instance, &fix);
        }
        let entries = *dataplane.flow_table_entries.get_ref();
        if !entries.is_power_of_two() || !(1 << 10..=1 << 24).contains(&entries) {
            let fix = "a power of two from 1024 to 16777216";
            self.refuse("dataplane.flow_table_entries", &dataplane.flow_table_entries, fix);
        }
        let sessions = *dataplane.sessions.get_ref();
        if sessions == 0 || sessions > entries / 2 {
            let fix = format!("from 1 to half of flow_table_entries, {}", entries / 2);
            self.refuse("dataplane.sessions", &dataplane.sessions, &fix);
        }
        if *dataplane.workers.get_ref() > 64 {
            self.refuse("dataplane.workers", &dataplane.workers, "at most 64; 0 chooses by the CPUs");
        }
        self.worker_cpus(dataplane);
        if !(1024..=1 << 22).contains(dataplane.frames.get_ref()) {
            self.refuse("dataplane.frames", &dataplane.frames, "from 1024 to 4194304");
        }
        let Timeouts {
            tcp_half_open_seconds,
            tcp_established_seconds,
            tcp_closing_seconds,
            udp_seconds,
            icmp_seconds,
        } = &dataplane.timeouts;
        for (field, timeout) in [
            ("dataplane.timeouts.tcp_half_open_seconds", tcp_half_open_seconds),
            ("dataplane.timeouts.tcp_established_seconds", tcp_established_seconds),
            ("dataplane.timeouts.tcp_closing_seconds", tcp_closing_seconds),
            ("dataplane.timeouts.udp_seconds", udp_seconds),
            ("dataplane.timeouts.icmp_seconds", icmp_seconds),
        ] {
            if !(1..=86_400 * 7).contains(timeout.get_ref()) {
                self.refuse(field, timeout, "from 1 second to 7 days");
            }
        }
    }

    fn services(&mut self, config: &Config) {
        let lease = &config.dhcp.lease_seconds;
        if !(60..=86_400 * 365).contains(lease.get_ref()) {
            self.refuse("dhcp.lease_seconds", lease, "from 60 seconds to a year");
        }
        let domain = &config.dns.domain;
        if !edgestack_dataplane::snapshot::services::is_domain(domain.get_ref()) {
            self.refuse("dns.domain", domain, "a name such as `site1.example`");
        }
        let lists = [
            (
                "dhcp.ntp_servers",
                config.dhcp.ntp_servers.get_ref().len(),
                services::NTP_SERVERS_MAX,
                config.dhcp.ntp_servers.span(),
            ),
            (
                "dns.forwarders",
                config.dns.forwarders.get_ref().len(),
                services::FORWARDERS_MAX,
                config.dns.forwarders.span(),
            ),
        ];
        for (field, count, maximum, span) in lists {
            if count > maximum {
                let message = format!("`{field}` has {count} servers: at most {maximum}");
                self.mistakes.push(mistake(self.text, &span, message));
            }
        }
    }

    fn worker_cpus(&mut self, dataplane: &Dataplane) {
        let (cpus, workers) = (dataplane.worker_cpus.get_ref(), *dataplane.workers.get_ref());
        let repeated = cpus.iter().enumerate().any(|(index, cpu)| cpus[..index].contains(cpu));
        let fix = if repeated {
            "each CPU once".to_owned()
        } else if !cpus.is_empty() && workers != 0 && cpus.len() != workers {
            format!("one CPU for each of the {workers} workers, or none")
        } else {
            return;
        };
        let message = format!("`dataplane.worker_cpus = {cpus:?}` cannot be: {fix}");
        self.mistakes.push(mistake(self.text, &dataplane.worker_cpus.span(), message));
    }

    fn uplinks(&mut self, uplinks: &[Uplink]) {
        if uplinks.len() > UPLINKS_MAX {
            let message =
                format!("{} uplinks are more than the {UPLINKS_MAX} that a host may have", uplinks.len());
            self.mistakes.push(mistake(self.text, &uplinks[UPLINKS_MAX].name.span(), message));
        }
        for (index, uplink) in uplinks.iter().enumerate() {
            let earlier = &uplinks[..index];
            let interface = serde_json::Value::from(uplink.interface.get_ref().as_str());
            if edgestack_model::value::interface(&interface).is_err() {
                self.refuse(
                    "uplink.interface",
                    &uplink.interface,
                    "1 to 15 letters without spaces, `/` and `:`",
                );
            }
            for (field, value) in
                [("uplink.name", &uplink.name), ("uplink.physical_network", &uplink.physical_network)]
            {
                if value.get_ref().is_empty() || value.get_ref().len() > 63 {
                    self.refuse(field, value, "1 to 63 letters");
                }
            }
            if earlier.iter().any(|other| other.name.get_ref() == uplink.name.get_ref()) {
                self.refuse("uplink.name", &uplink.name, "another uplink has this name");
            }
            if earlier.iter().any(|other| other.interface.get_ref() == uplink.interface.get_ref()) {
                self.refuse("uplink.interface", &uplink.interface, "another uplink has this interface");
            }
            let same_network =
                |other: &&Uplink| other.physical_network.get_ref() == uplink.physical_network.get_ref();
            if earlier.iter().any(|other| same_network(&other)) {
                let fix = "another uplink leads to this physical network; one each is possible";
                self.refuse("uplink.physical_network", &uplink.physical_network, fix);
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
        assert!(found[0].starts_with("c.toml:1:13: invalid type: integer `5`"), "{found:?}");
        let found = mistakes("[dataplane\n");
        assert!(found[0].starts_with("c.toml:1:11: "), "{found:?}");
        let found = mistakes("[dataplane]\nfast_path = \"maybe\"\n");
        assert!(found[0].contains("`on`") && found[0].starts_with("c.toml:2:13"), "{found:?}");
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
