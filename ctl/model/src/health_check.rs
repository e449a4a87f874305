//! How the members of a load balancer are checked.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::load_balancer::port;
use crate::reader::{Reader, Refusal};
use crate::value;

/// Shortest and longest pause between checks of a member.
const INTERVAL_SECONDS: (u64, u64) = (1, 3600);
/// Most checks in a row that a change of state may need.
const THRESHOLD_MAX: u64 = 100;
const PATH_LETTERS_MAX: usize = 1024;
const HOST_LETTERS_MAX: usize = 255;
/// Longest text that is sent, in bytes.
const SEND_BYTES_MAX: usize = 512;

/// A check: what is asked, how often, and how many answers make a member healthy or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is asked.
    #[serde(rename = "type")]
    pub kind: CheckKind,
    /// The port that is asked; where left out that of the member or of the first rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// UDP: the text that is sent, which must be answered; where left out, silence is well while pings are answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// HTTP and HTTPS: the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// HTTP and HTTPS: the host that the request names; the member's address where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// HTTP and HTTPS: the status codes that are well: `200`, `200-399`, `200,204`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_codes: Option<String>,
    /// Seconds between two checks of a member.
    pub interval_seconds: u32,
    /// Seconds that an answer may take.
    pub timeout_seconds: u32,
    /// Good answers in a row that make a member healthy.
    pub healthy_threshold: u32,
    /// Bad ones in a row that make it unhealthy.
    pub unhealthy_threshold: u32,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// A connection is made.
    Tcp,
    /// A page is fetched.
    Http,
    /// A page is fetched by TLS, whosever certificate is shown.
    Https,
    /// A datagram is sent: "port unreachable" is bad.
    Udp,
    /// It is pinged.
    Icmp,
}

impl CheckKind {
    /// The words on the wire.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("tcp", Self::Tcp),
        ("http", Self::Http),
        ("https", Self::Https),
        ("udp", Self::Udp),
        ("icmp", Self::Icmp),
    ];

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Https => "https",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

impl HealthCheck {
    /// Reads the fields of a check.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let kind = reader.required("type", "`tcp`", |word| value::word(word, &CheckKind::WORDS));
        let port = reader.optional("port", port);
        let send = reader.optional("send", send);
        let path = reader.optional("path", path);
        let host = reader.optional("host", host);
        let expected_codes = reader.optional("expected_codes", codes);
        let mut seconds = |key, default| {
            let (least, most) = INTERVAL_SECONDS;
            reader.optional(key, |number| value::integer(number, least, most)).unwrap_or(default) as u32
        };
        let interval_seconds = seconds("interval_seconds", 5);
        let timeout_seconds = seconds("timeout_seconds", u64::from(interval_seconds.min(3)));
        let mut count = |key, default| {
            reader.optional(key, |number| value::integer(number, 1, THRESHOLD_MAX)).unwrap_or(default) as u32
        };
        let (healthy_threshold, unhealthy_threshold) =
            (count("healthy_threshold", 2), count("unhealthy_threshold", 3));
        let kind = kind?;
        refuse_others(reader, kind);
        if timeout_seconds > interval_seconds {
            let message =
                format!("{timeout_seconds} seconds are longer than the interval of {interval_seconds}");
            reader.refuse("timeout_seconds", Refusal::new("out_of_range", message, "at most the interval"));
        }
        Some(Self {
            kind,
            port,
            send,
            path,
            host,
            expected_codes,
            interval_seconds,
            timeout_seconds,
            healthy_threshold,
            unhealthy_threshold,
        })
    }

    /// Whether a status code is well.
    pub fn expects(&self, code: u16) -> bool {
        let ranges = self.expected_codes.as_deref().unwrap_or("200-399");
        ranges.split(',').filter_map(range).any(|(first, last)| (first..=last).contains(&code))
    }
}

/// Refuses the fields that other kinds of checks have.
fn refuse_others(reader: &mut Reader<'_>, kind: CheckKind) {
    let is_page = matches!(kind, CheckKind::Http | CheckKind::Https);
    let fields = [
        ("port", kind != CheckKind::Icmp, "a ping has no port", "leave it out"),
        ("send", kind == CheckKind::Udp, "only UDP has it", "leave it out, or use `udp`"),
        ("path", is_page, "only HTTP has it", "leave it out, or use `http`"),
        ("host", is_page, "only HTTP has it", "leave it out, or use `http`"),
        ("expected_codes", is_page, "only HTTP has it", "leave it out, or use `http`"),
    ];
    for (field, is_of_it, message, hint) in fields {
        if !is_of_it && reader.has(field) {
            reader.refuse(field, Refusal::new("not_allowed", message, hint));
        }
    }
}

fn send(value: &Value) -> Result<String, Refusal> {
    let text = value::text(value)?;
    if (1..=SEND_BYTES_MAX).contains(&text.len()) {
        return Ok(text);
    }
    let message = format!("it has {} bytes", text.len());
    Err(Refusal::new("out_of_range", message, format!("1 to {SEND_BYTES_MAX} bytes")))
}

fn path(value: &Value) -> Result<String, Refusal> {
    let text = value::text(value)?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.starts_with('/') && is_plain && text.len() <= PATH_LETTERS_MAX {
        return Ok(text);
    }
    Err(Refusal::new("invalid_value", format!("`{text}` is no path"), "`/healthz`"))
}

fn host(value: &Value) -> Result<String, Refusal> {
    let text = value::text(value)?;
    if text.len() <= HOST_LETTERS_MAX && is_host(&text) {
        return Ok(text);
    }
    let hint = "`www.example.com`, `www.example.com:8080` or `[2001:db8::1]`";
    Err(Refusal::new("invalid_value", format!("`{text}` is no host"), hint))
}

/// Whether a request may name this as its host: a name or an address, that of IPv6 in brackets, and a port where one is
/// wanted (RFC 9110, section 7.2).
fn is_host(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (is_name, port) = if let Some((address, port)) = bracketed {
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        (!name.is_empty() && name.bytes().all(is_plain), port)
    };
    is_name && (port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()))
}

fn codes(value: &Value) -> Result<String, Refusal> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        _ => value::text(value)?,
    };
    let is_range = |text: &str| {
        range(text).is_some_and(|(first, last)| (100..=599).contains(&first) && first <= last && last <= 599)
    };
    if text.len() <= 100 && text.split(',').all(is_range) {
        return Ok(text);
    }
    Err(Refusal::new("invalid_value", format!("`{text}` are no status codes"), "`200-399` or `200,204`"))
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.trim().split_once('-').unwrap_or((text.trim(), text.trim()));
    Some((first.parse().ok()?, last.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::LoadBalancerSpec;
    use crate::meta::tests::{accepted, refusals};

    fn body(check: &Value) -> Value {
        json!({"lb": {"name": "web", "network": "tenant", "health_check": check}})
    }

    #[test]
    fn defaults_are_filled_in_and_codes_are_ranges() {
        let check =
            accepted::<LoadBalancerSpec>(&body(&json!({"type": "http", "expected_codes": "200,301-302"})));
        let check = check.spec.health_check.unwrap();
        assert_eq!((check.interval_seconds, check.timeout_seconds, check.unhealthy_threshold), (5, 3, 3));
        assert_eq!(
            [200, 201, 301, 302, 303].map(|code| check.expects(code)),
            [true, false, true, true, false]
        );
    }

    #[test]
    fn hosts_are_names_and_addresses_with_ports() {
        for host in ["a", "www.example.com:8080", "10.0.0.1:80", "[2001:db8::1]", "[::1]:443"] {
            let check = accepted::<LoadBalancerSpec>(&body(&json!({"type": "https", "host": host})));
            assert_eq!(check.spec.health_check.unwrap().host.as_deref(), Some(host));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (check, field, code) in [
            (json!({}), "type", "missing"),
            (json!({"type": "tcp", "path": "/"}), "path", "not_allowed"),
            (json!({"type": "icmp", "port": 80}), "port", "not_allowed"),
            (json!({"type": "https", "send": "x"}), "send", "not_allowed"),
            (json!({"type": "udp", "send": ""}), "send", "out_of_range"),
            (json!({"type": "http", "path": "x"}), "path", "invalid_value"),
            (json!({"type": "http", "host": "a\r\nb"}), "host", "invalid_value"),
            (json!({"type": "http", "host": "2001:db8::1"}), "host", "invalid_value"),
            (json!({"type": "http", "host": "[10.0.0.1]"}), "host", "invalid_value"),
            (json!({"type": "http", "host": "[2001:db8::1]:x"}), "host", "invalid_value"),
            (json!({"type": "http", "host": ""}), "host", "invalid_value"),
            (json!({"type": "http", "expected_codes": "700"}), "expected_codes", "invalid_value"),
            (
                json!({"type": "tcp", "interval_seconds": 1, "timeout_seconds": 2}),
                "timeout_seconds",
                "out_of_range",
            ),
        ] {
            let found = refusals::<LoadBalancerSpec>(&body(&check));
            assert_eq!(found, [(format!("/lb/health_check/{field}"), code.to_owned())], "{check}");
        }
    }
}
