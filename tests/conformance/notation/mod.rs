//! Packets written as text, one line a packet, layers joined by `|`:
//!
//! ```text
//! ether vm-a > router-a | ipv4 vm-a > 198.51.100.9 ttl=3 | udp 5000 > 53 | text "query"
//! ```
//!
//! The same words describe a packet to be sent, one that is expected, and one that was seen, so that a failing
//! case prints what to compare. Lengths and checksums are computed unless the text sets them; a field written
//! `name=*` in an expected packet may have any value, and checksums over it are still verified. The full list
//! of layers and fields is in `tests/conformance/README.md`.
//!
//! This module parses; [`build`] makes bytes; [`print`] makes text of bytes; [`names`] knows the short names
//! of addresses. It never calls the dataplane: its checksums are its own, so that they can disagree.

pub(crate) mod build;
mod dhcp;
mod discovery;
mod ipv6;
pub(crate) mod names;
pub(crate) mod print;
mod sctp;
mod tunnel;

/// Why a packet's text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{layer}: {problem}")]
pub(crate) struct NotationError {
    layer: String,
    problem: String,
}

impl NotationError {
    fn new(layer: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { layer: layer.into(), problem: problem.into() }
    }
}

/// One layer as written: its name, its bare words, its `key=value` fields and its quoted text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layer {
    name: String,
    words: Vec<String>,
    fields: Vec<(String, String)>,
    text: Option<String>,
}

impl Layer {
    fn field(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn has_word(&self, word: &str) -> bool {
        self.words.iter().any(|candidate| candidate == word)
    }

    /// The words before and after the first `>`.
    fn ends(&self) -> Result<(&[String], &[String]), NotationError> {
        let at = self
            .words
            .iter()
            .position(|word| word == ">")
            .ok_or_else(|| self.error("needs `source > destination`"))?;
        Ok((&self.words[..at], &self.words[at + 1..]))
    }

    /// Refuses fields that the layer does not have, so that a slip of the pen does not pass for a test.
    fn only(&self, known: &[&str]) -> Result<(), NotationError> {
        match self.fields.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((key, _)) => Err(self.error(format!("has no field `{key}`; it has {}", known.join(", ")))),
            None => Ok(()),
        }
    }

    fn error(&self, problem: impl Into<String>) -> NotationError {
        NotationError::new(&self.name, problem)
    }
}

/// Splits a line into its layers.
pub(crate) fn parse(line: &str) -> Result<Vec<Layer>, NotationError> {
    split_outside_quotes(line, '|').iter().map(|part| parse_layer(part)).collect()
}

fn parse_layer(part: &str) -> Result<Layer, NotationError> {
    let mut layer = Layer::default();
    for token in tokens(part)? {
        if let Some(text) = token.strip_prefix('"') {
            layer.text = Some(text.to_owned());
        } else if layer.name.is_empty() {
            layer.name = token;
        } else if let Some((key, value)) = token.split_once('=') {
            layer.fields.push((key.to_owned(), value.to_owned()));
        } else {
            layer.words.push(token);
        }
    }
    if layer.name.is_empty() { Err(NotationError::new("packet", "an empty layer")) } else { Ok(layer) }
}

/// The tokens of a layer; a quoted one keeps its opening quote as a mark and loses the closing one.
fn tokens(part: &str) -> Result<Vec<String>, NotationError> {
    let mut tokens = Vec::new();
    let mut rest = part.trim_start();
    while !rest.is_empty() {
        let end = if let Some(quoted) = rest.strip_prefix('"') {
            let close = quoted.find('"').ok_or_else(|| NotationError::new(part, "a quote is not closed"))?;
            tokens.push(rest[..=close].to_owned());
            close + 2
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            end
        };
        rest = rest[end..].trim_start();
    }
    Ok(tokens)
}

fn split_outside_quotes(line: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for (index, character) in line.char_indices() {
        if character == '"' {
            quoted = !quoted;
        } else if character == separator && !quoted {
            parts.push(&line[start..index]);
            start = index + character.len_utf8();
        }
    }
    parts.push(&line[start..]);
    parts
}

/// The Internet checksum of some bytes (RFC 1071), written plainly and apart from the dataplane's.
pub(crate) fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Source and destination of an IP header, as the pseudo header of what it carries has them.
#[derive(Clone, Copy)]
pub(crate) enum Addresses {
    /// Of IPv4.
    Ipv4([u8; 8]),
    /// Of IPv6.
    Ipv6([u8; 32]),
}

impl Default for Addresses {
    fn default() -> Self {
        Self::Ipv4([0; 8])
    }
}

/// The pseudo header over a protocol's packets (RFC 768; RFC 8200, section 8.1).
pub(crate) fn pseudo_header(addresses: Addresses, protocol: u8, length: usize) -> Vec<u8> {
    match addresses {
        Addresses::Ipv4(addresses) => {
            let length = (length as u16).to_be_bytes();
            [&addresses[..], &[0, protocol], &length].concat()
        }
        Addresses::Ipv6(addresses) => {
            let length = (length as u32).to_be_bytes();
            [&addresses[..], &length, &[0, 0, 0, protocol]].concat()
        }
    }
}
