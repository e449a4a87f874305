//! `edgectl support-bundle`: what somebody who helps needs to see, in one file, without secrets.
//!
//! Everything that goes in passes [`redact`]; `REMOVED.txt` in the bundle says what was taken out and where, `MISSING.txt`
//! what could not be had. A part that fails is missing, and the rest is there.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::{Args, ValueHint};
use edgestack_client::{Kind, Method, collection_path};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::command::Action;
use crate::doctor;
use crate::error::CliError;
use crate::output::to_yaml;
use crate::session::Session;

/// Most bytes of one part.
const PART_BYTES_MAX: usize = 16 << 20;
/// How long a program of the host may take.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections that go in.
const FLOWS_MAX: usize = 1000;
/// What stands in place of a secret.
const REMOVED: &str = "(removed)";
/// Parts of the names of fields that hold secrets. User data is among them: people put passwords there.
const SECRET_WORDS: [&str; 10] = [
    "token",
    "secret",
    "password",
    "passwd",
    "private",
    "credential",
    "authorization",
    "user_data",
    "api_key",
    "passphrase",
];
/// Files of the host.
const FILES: [&str; 8] = [
    "/etc/os-release",
    "/proc/version",
    "/proc/cmdline",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/net/dev",
    "/proc/interrupts",
];
/// Programs of the host that change nothing, and the name of what they print.
const PROGRAMS: [(&str, &[&str]); 6] = [
    ("host/links.txt", &["ip", "-d", "-s", "link"]),
    ("host/addresses.txt", &["ip", "addr"]),
    ("host/routes.txt", &["ip", "route", "show", "table", "all"]),
    ("host/uname.txt", &["uname", "-a"]),
    ("daemon/unit.txt", &["systemctl", "status", "edgestackd", "--no-pager"]),
    ("daemon/log.txt", &["journalctl", "-u", "edgestackd", "-n", "5000", "--no-pager"]),
];

/// Arguments of support-bundle.
#[derive(Debug, Args)]
#[command(
    override_usage = "edgectl support-bundle -o FILE.tar.gz [OPTIONS]",
    after_help = "\
-o names the file here; one that is there already is not written over.
In it: versions, findings of doctor, all objects, the dataplane's tables, metrics, the daemon's configuration and log, and
facts of the host. Secrets are taken out; REMOVED.txt in the bundle says where. Look through it before it leaves the house."
)]
pub(crate) struct SupportBundleArgs {
    /// Configuration of the daemon
    #[arg(long, value_name = "FILE", default_value = "/etc/edgestack/edgestackd.toml", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
}

impl Action for SupportBundleArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let Some(path) = session.file.as_ref() else {
            return Err(CliError::usage(
                "where the bundle goes is not said",
                "edgectl support-bundle -o FILE.tar.gz",
            ));
        };
        let failed = |source| CliError::File { path: path.display().to_string(), source };
        // For its owner alone: what is in it is nobody else's to read.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let mut bundle = Bundle::default();
        from_daemon(session, &mut bundle).await;
        from_host(&self.config, &mut bundle).await;
        let removed = bundle.removed.len();
        let parts = bundle.parts.len();
        bundle.write(file).map_err(failed)?;
        session.output.confirm(&format!(
            "{parts} parts in {}, {removed} secrets taken out (REMOVED.txt says where)",
            path.display()
        ))
    }
}

/// What goes into the file.
#[derive(Default)]
struct Bundle {
    parts: Vec<(String, Vec<u8>)>,
    removed: Vec<String>,
    missing: Vec<String>,
}

impl Bundle {
    /// Adds a part, or says that it is missing.
    fn add(&mut self, name: &str, text: Result<String, String>) {
        match text {
            Ok(text) => {
                let mut text = redact_lines(name, &text, &mut self.removed);
                if text.len() > PART_BYTES_MAX {
                    let cut = text.floor_char_boundary(PART_BYTES_MAX);
                    text.truncate(cut);
                    self.missing.push(format!("{name}: cut at {PART_BYTES_MAX} bytes"));
                }
                self.parts.push((name.to_owned(), text.into_bytes()));
            }
            Err(why) => self.missing.push(format!("{name}: {why}")),
        }
    }

    /// Adds a value as YAML.
    fn add_value(&mut self, name: &str, value: Result<Value, String>) {
        let text = value.and_then(|mut value| {
            redact(&mut value, name, &mut self.removed);
            to_yaml(&value).map_err(|error| error.to_string())
        });
        self.add(name, text);
    }

    fn write(mut self, file: std::fs::File) -> std::io::Result<()> {
        for (name, lines) in [("REMOVED.txt", &self.removed), ("MISSING.txt", &self.missing)] {
            let text = if lines.is_empty() { "nothing\n".to_owned() } else { lines.join("\n") + "\n" };
            self.parts.push((name.to_owned(), text.into_bytes()));
        }
        let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
        for (name, bytes) in &self.parts {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(now);
            archive.append_data(&mut header, Path::new("edgestack-support").join(name), bytes.as_slice())?;
        }
        archive.into_inner()?.finish()?.flush()
    }
}

async fn from_daemon(session: &Session, bundle: &mut Bundle) {
    let client = &session.client;
    let told = |error: edgestack_client::ClientError| error.to_string();
    bundle.add("doctor.txt", Ok(doctor::report(session).await));
    bundle.add_value(
        "versions.yaml",
        client.request(Method::GET, "/version", None).await.map(|reply| reply.body).map_err(told),
    );
    bundle.add("daemon/metrics.txt", client.text("/metrics").await.map_err(told));
    bundle.add("daemon/readyz.txt", client.text("/readyz").await.map_err(told));
    for kind in Kind::ALL {
        let objects = client.request(Method::GET, &collection_path(kind), None).await;
        bundle.add_value(
            &format!("objects/{}.yaml", kind.plural()),
            objects.map(|reply| reply.body).map_err(told),
        );
    }
    for table in ["ports", "nat", "neighbours", "drops", "counters", "snapshot"] {
        let body = client.request(Method::GET, &format!("/edgetron/network/{table}"), None).await;
        bundle.add_value(&format!("dataplane/{table}.yaml"), body.map(|reply| reply.body).map_err(told));
    }
    let flows =
        client.request(Method::GET, &format!("/edgetron/network/flows?limit={FLOWS_MAX}"), None).await;
    bundle.add_value("dataplane/flows.yaml", flows.map(|reply| reply.body).map_err(told));
}

async fn from_host(config: &Path, bundle: &mut Bundle) {
    bundle.add("daemon/edgestackd.toml", read(config));
    for path in FILES {
        let name = path.trim_start_matches('/').replace('/', "-");
        bundle.add(&format!("host/{name}.txt"), read(Path::new(path)));
    }
    for (name, words) in PROGRAMS {
        bundle.add(name, run(words).await);
    }
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn run(words: &[&str]) -> Result<String, String> {
    let Some((program, arguments)) = words.split_first() else { return Err("no program".to_owned()) };
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PROGRAM_TIMEOUT, command.output()).await {
        Ok(Ok(output)) => {
            let text = [output.stdout, output.stderr].concat();
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        Ok(Err(error)) => Err(format!("{program}: {error}")),
        Err(_) => Err(format!("{program} took more than {} s", PROGRAM_TIMEOUT.as_secs())),
    }
}

/// Takes secrets out of a value, and notes where each was.
fn redact(value: &mut Value, place: &str, removed: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                let place = format!("{place}/{key}");
                let is_empty = field.is_null() || field.as_str() == Some("") || field.is_boolean();
                if is_secret(key) && !is_empty {
                    *field = REMOVED.into();
                    removed.push(place);
                } else {
                    redact(field, &place, removed);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                redact(item, &format!("{place}/{index}"), removed);
            }
        }
        _ => {}
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// Takes secrets out of text: what stands behind `key =` or `key:` with the name of a secret, what stands behind
/// `Bearer`, and private keys in PEM.
fn redact_lines(place: &str, text: &str, removed: &mut Vec<String>) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut in_key = false;
    for (number, line) in text.lines().enumerate() {
        let is_marker = line.contains("PRIVATE KEY-----");
        if is_marker && line.contains("-----BEGIN") {
            in_key = true;
            removed.push(format!("{place}:{}: a private key", number + 1));
        }
        if in_key {
            if is_marker && line.contains("-----END") {
                in_key = false;
                plain.push_str(REMOVED);
                plain.push('\n');
            }
            continue;
        }
        match without_secret(line) {
            Some(line) => {
                removed.push(format!("{place}:{}", number + 1));
                plain.push_str(&line);
            }
            None => plain.push_str(line),
        }
        plain.push('\n');
    }
    plain
}

/// The line without its secret, if it has one that is not taken out yet.
fn without_secret(line: &str) -> Option<String> {
    if let Some((before, rest)) = line.split_once("Bearer ") {
        let end =
            rest.find(|letter: char| letter.is_whitespace() || "\"',".contains(letter)).unwrap_or(rest.len());
        return (!rest[..end].is_empty()).then(|| format!("{before}Bearer {REMOVED}{}", &rest[end..]));
    }
    let place = line.find(['=', ':'])?;
    let (key, value) = (&line[..place], line[place + 1..].trim());
    let word = key.trim().trim_matches(['"', '\'', '-', ' ', '#']);
    // A sentence of a log with a colon is no setting: the names of settings are one word.
    let is_setting = !word.is_empty() && !word.contains(char::is_whitespace) && is_secret(word);
    let is_plain = value.is_empty()
        || value.contains(REMOVED)
        || matches!(value, "true" | "false" | "null" | "{}" | "[]");
    (is_setting && !is_plain).then(|| format!("{} {REMOVED}", &line[..=place]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{redact, redact_lines};

    #[test]
    fn secrets_of_values_are_taken_out_and_noted() {
        let mut value = json!({"tokens": [{"name": "ci", "token_hash": "abc", "scope": "read"}],
            "port": {"user_data": "#cloud-config", "private": null, "has_secret": true}, "public_key": "ssh-ed25519 A"});
        let mut removed = Vec::new();
        redact(&mut value, "objects", &mut removed);
        assert_eq!(
            value,
            json!({"tokens": "(removed)",
                "port": {"user_data": "(removed)", "private": null, "has_secret": true}, "public_key": "ssh-ed25519 A"})
        );
        assert_eq!(removed, ["objects/tokens", "objects/port/user_data"]);
    }

    #[test]
    fn secrets_of_text_are_taken_out_and_noted() {
        let mut removed = Vec::new();
        let text = "listen = \":8443\"\ntoken = \"abc\"\n# password: old\nauthorization: Bearer abc.def, next\n\
            tls_key_is_private: true\n-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n\
            a token of the user: was used\n";
        let plain = redact_lines("f", text, &mut removed);
        assert_eq!(
            plain,
            "listen = \":8443\"\ntoken = (removed)\n# password: (removed)\n\
             authorization: Bearer (removed), next\ntls_key_is_private: true\n(removed)\n\
             a token of the user: was used\n"
        );
        assert_eq!(removed, ["f:2", "f:3", "f:4", "f:6: a private key"]);
    }
}
