//! `nginx` in a namespace: HTTP and HTTPS with a page that says who answered whom.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::{Process, run, words};
use crate::error::LabError;
use crate::namespace::Namespace;
use crate::wait;

/// How long it may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running nginx; dropping it kills it at once, and so every connection that it has.
#[derive(Debug)]
pub struct Nginx {
    _process: Process,
}

impl Nginx {
    /// Serves HTTP on port 80 and HTTPS on port 443 of `namespace`, with its files in `directory`. The page reads
    /// `NAME sees ADDRESS:PORT`.
    pub fn start(namespace: &Namespace, name: &str, directory: &Path) -> Result<Self, LabError> {
        Self::start_at(namespace, name, directory, "0.0.0.0")
    }

    /// The same at one address, that of IPv6 in brackets, beside which HTTP is served on the loopback.
    pub fn start_at(
        namespace: &Namespace,
        name: &str,
        directory: &Path,
        address: &str,
    ) -> Result<Self, LabError> {
        let certificate = certificate(directory)?;
        let path = directory.join(format!("nginx-{name}.conf"));
        let text = configuration(name, directory, address, &certificate);
        std::fs::write(&path, text).map_err(LabError::system(format!("write {}", path.display())))?;
        let log = directory.join(format!("nginx-{name}.log"));
        let line = format!("nginx -c {} -e {}", path.display(), log.display());
        let process = namespace.enter(|| Process::start(&mut words(&line), &log))??;
        wait::value(&format!("nginx of {name} to answer"), START_TIMEOUT, || {
            let mut ask = words("curl --silent --fail --max-time 2 --output /dev/null http://127.0.0.1/");
            let asked = namespace.enter(|| run(&mut ask)).map_err(|error| error.to_string())?;
            asked.map(|_| ()).map_err(|error| format!("{error}: {}", process.log()))
        })?;
        Ok(Self { _process: process })
    }
}

/// One process, so that killing it leaves nobody who answers.
fn configuration(
    name: &str,
    directory: &Path,
    address: &str,
    (certificate, key): &(PathBuf, PathBuf),
) -> String {
    // The loopback is asked whether it runs.
    let loopback = if address == "0.0.0.0" { "" } else { "listen 127.0.0.1:80;" };
    format!(
        "daemon off;\nmaster_process off;\npid {directory}/nginx-{name}.pid;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n  access_log off;\n  server {{\n    listen {address}:80; {loopback}\n    listen {address}:443 ssl;\n\
         ssl_certificate {certificate};\n    ssl_certificate_key {key};\n\
         location / {{ default_type text/plain; return 200 \"{name} sees $remote_addr:$remote_port\\n\"; }}\n\
         location /ill {{ return 503; }}\n  }}\n}}\n",
        directory = directory.display(),
        certificate = certificate.display(),
        key = key.display(),
    )
}

/// A certificate that nobody trusts, made once for a directory, with its key.
fn certificate(directory: &Path) -> Result<(PathBuf, PathBuf), LabError> {
    let (certificate, key) = (directory.join("nginx.crt"), directory.join("nginx.key"));
    if !certificate.exists() {
        run(&mut words(&format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=nginx \
             -keyout {} -out {}",
            key.display(),
            certificate.display()
        )))?;
    }
    Ok((certificate, key))
}
