//! The tables of the configuration file about what workloads are served: `[dhcp]`, `[dns]`, `[metadata]`.

use std::net::IpAddr;

use serde::Deserialize;
use toml::Spanned;

use super::check::{Check, mistake};
use super::{Config, spanless};

/// Where a host keeps the addresses of its own name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Upstream name servers.
pub(super) const FORWARDERS_MAX: usize = 8;
/// Time servers that workloads are told.
pub(super) const NTP_SERVERS_MAX: usize = 8;

/// What DHCP tells all workloads.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dhcp {
    /// How long an address may be used before it is asked for again.
    pub lease_seconds: Spanned<u32>,
    /// Time servers, of both versions.
    pub ntp_servers: Spanned<Vec<IpAddr>>,
}

/// DNS for workloads, at the gateway of each network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// False: there is none, and only the servers of a network's `dns` are told.
    pub enabled: bool,
    /// The domain that all workloads' names are below.
    pub domain: Spanned<String>,
    /// Servers that are asked for all other names; those of this host where left out.
    pub forwarders: Spanned<Vec<IpAddr>>,
}

/// The metadata service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metadata {
    /// False: there is none.
    pub enabled: bool,
    /// False: EC2's dialect wants a session token with every request (IMDSv2).
    pub imdsv1: bool,
}

impl Default for Dhcp {
    fn default() -> Self {
        Self { lease_seconds: spanless(86_400), ntp_servers: spanless(Vec::new()) }
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            enabled: true,
            domain: spanless("edgestack.internal".to_owned()),
            forwarders: spanless(Vec::new()),
        }
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self { enabled: true, imdsv1: true }
    }
}

impl Dns {
    /// The servers that are asked: those given, else this host's own.
    pub fn effective_forwarders(&self) -> Vec<IpAddr> {
        if !self.forwarders.get_ref().is_empty() {
            return self.forwarders.get_ref().clone();
        }
        match std::fs::read_to_string(RESOLV_CONF) {
            Ok(text) => name_servers(&text),
            Err(error) => {
                tracing::warn!(%error, "{RESOLV_CONF} cannot be read and `dns.forwarders` is empty: only workloads' names are known");
                Vec::new()
            }
        }
    }
}

/// The name servers of a `resolv.conf`.
fn name_servers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?
    });
    servers.take(FORWARDERS_MAX).collect()
}

impl Check<'_> {
    pub(super) fn services(&mut self, config: &Config) {
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
                NTP_SERVERS_MAX,
                config.dhcp.ntp_servers.span(),
            ),
            (
                "dns.forwarders",
                config.dns.forwarders.get_ref().len(),
                FORWARDERS_MAX,
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
}

#[cfg(test)]
mod tests {
    use super::name_servers;

    #[test]
    fn name_servers_of_a_host() {
        let text = "# nameserver 1.1.1.1\nsearch a.example\nnameserver 10.0.0.2\nnameserver  fd00::1 \nnameserver x\n";
        let servers: Vec<String> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.2", "fd00::1"]);
    }
}
