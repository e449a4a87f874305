//! The table `[api]` of the configuration file: the HTTPS listener, and who may use the control socket.

use std::net::SocketAddr;
use std::path::PathBuf;

use edgestack_model::Role;
use edgestack_model::project::{DEFAULT_PROJECT, SYSTEM_PROJECT};
use serde::Deserialize;
use toml::Spanned;

use super::check::{Check, mistake};
use super::spanless;

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

impl Check<'_> {
    pub(super) fn api(&mut self, api: &Api) {
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
}
