//! From layers to bytes.
//!
//! An expected packet is built with the observed one at hand: a field written `*` takes the observed value
//! *before* lengths and checksums are computed, so that comparing is an equality of bytes and everything that
//! was not left open is checked, checksums included.

use super::names::Names;
use super::{Addresses, Layer, NotationError, internet_checksum, pseudo_header};

/// Largest frame that a text may describe, in bytes.
const MAX_FRAME_LENGTH: usize = 65_550;

/// Makes the bytes of a frame. `observed` is the frame that it will be compared with, if any.
pub(crate) fn build(
    layers: &[Layer],
    names: &Names,
    observed: Option<&[u8]>,
) -> Result<Vec<u8>, NotationError> {
    let shaping = layers.iter().position(is_shaping).unwrap_or(layers.len());
    let (layers, shapers) = layers.split_at(shaping);
    let builder = Builder { names, observed };
    let mut frame = builder.layers(layers, &Place::default())?;
    for shaper in shapers {
        shape(&mut frame, shaper)?;
    }
    if frame.len() > MAX_FRAME_LENGTH {
        return Err(NotationError::new("packet", format!("is longer than {MAX_FRAME_LENGTH} bytes")));
    }
    Ok(frame)
}

/// Layers that change the finished frame: `pad LENGTH`, `trailer HEX`, `truncate LENGTH`.
fn is_shaping(layer: &Layer) -> bool {
    matches!(layer.name.as_str(), "pad" | "trailer" | "truncate")
}

fn shape(frame: &mut Vec<u8>, shaper: &Layer) -> Result<(), NotationError> {
    let word = shaper.words.first().ok_or_else(|| shaper.error("needs a value"))?;
    match shaper.name.as_str() {
        "trailer" => frame.extend(hex(shaper, word)?),
        "pad" => {
            let length = number(shaper, word)? as usize;
            frame.resize(length.max(frame.len()), 0);
        }
        "truncate" => frame.truncate(number(shaper, word)? as usize),
        _ => return Err(shaper.error("must come before `pad`, `trailer` and `truncate`")),
    }
    Ok(())
}

/// Where a layer stands.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    /// Offset of the layer in the frame.
    pub(super) offset: usize,
    /// Source and destination of the IP header around it.
    pub(super) addresses: Addresses,
    /// End of the IP packet in the observed frame.
    pub(super) observed_end: usize,
}

pub(super) struct Builder<'a> {
    pub(super) names: &'a Names,
    pub(super) observed: Option<&'a [u8]>,
}

impl Builder<'_> {
    pub(super) fn layers(&self, layers: &[Layer], place: &Place) -> Result<Vec<u8>, NotationError> {
        let Some((layer, rest)) = layers.split_first() else { return Ok(Vec::new()) };
        match layer.name.as_str() {
            "ether" => self.ethernet(layer, rest, place),
            "vlan" => self.vlan(layer, rest, place),
            "arp" => self.arp(layer, rest, place),
            "ipv4" => self.ipv4(layer, rest, place),
            "ipv6" => self.ipv6(layer, rest, place),
            "tcp" => self.tcp(layer, rest, place),
            "udp" => self.udp(layer, rest, place),
            "sctp" => super::sctp::build(self, layer, rest, place),
            "icmp" => self.icmp(layer, rest, place),
            "icmpv6" => self.icmpv6(layer, rest, place),
            "neighbour" => self.neighbour(layer, rest, place),
            "router" => self.router(layer, rest, place),
            "vxlan" => super::tunnel::vxlan(self, layer, rest, place),
            "geneve" => super::tunnel::geneve(self, layer, rest, place),
            "dhcp" => super::dhcp::build(self, layer),
            "dhcp6" => super::discovery::build(layer),
            "text" | "hex" | "zeros" | "fill" => self.payload(layer, rest, place),
            _ => Err(layer.error("is no layer that is known")),
        }
    }

    /// A number of `width` bytes at `at` in the frame: written, left open, or the default.
    pub(super) fn field(
        &self,
        layer: &Layer,
        key: &str,
        at: usize,
        width: usize,
        default: u64,
    ) -> Result<u64, NotationError> {
        match layer.field(key) {
            None => Ok(default),
            Some("*") => self.observe(layer, key, at, width),
            Some(text) if text.starts_with('$') => self.variable(layer, text, at, width),
            Some(text) => number(layer, text),
        }
    }

    pub(super) fn observe(
        &self,
        layer: &Layer,
        key: &str,
        at: usize,
        width: usize,
    ) -> Result<u64, NotationError> {
        let observed =
            self.observed.ok_or_else(|| layer.error(format!("`{key}=*` is for expected packets")))?;
        let bytes = observed.get(at..at + width).unwrap_or(&[]);
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn variable(&self, layer: &Layer, name: &str, at: usize, width: usize) -> Result<u64, NotationError> {
        let observed = self.observed.map(|_| self.observe(layer, name, at, width)).transpose()?;
        self.names.variable(name, observed)
    }

    /// A checksum: computed; `bad`, to be sent; `wrong`, as observed and not the right one; left open; or written.
    pub(super) fn checksum(&self, layer: &Layer, at: usize, computed: u16) -> Result<u16, NotationError> {
        match layer.field("checksum") {
            Some("bad") => Ok(spoiled(computed)),
            Some("wrong") => match self.observe(layer, "checksum", at, 2)? as u16 {
                observed if observed == computed => Ok(spoiled(computed)),
                observed => Ok(observed),
            },
            _ => Ok(self.field(layer, "checksum", at, 2, u64::from(computed))? as u16),
        }
    }

    fn ethernet(&self, layer: &Layer, rest: &[Layer], place: &Place) -> Result<Vec<u8>, NotationError> {
        layer.only(&["type"])?;
        let (source, destination) = layer.ends()?;
        let mut bytes = self.names.mac(one(layer, destination)?)?.to_vec();
        bytes.extend(self.names.mac(one(layer, source)?)?);
        let ether_type = self.field(layer, "type", place.offset + 12, 2, ether_type_of(rest))?;
        bytes.extend((ether_type as u16).to_be_bytes());
        self.append(bytes, rest, place)
    }

    fn vlan(&self, layer: &Layer, rest: &[Layer], place: &Place) -> Result<Vec<u8>, NotationError> {
        layer.only(&["type"])?;
        let tag = number(layer, one(layer, &layer.words)?)? as u16;
        let mut bytes = tag.to_be_bytes().to_vec();
        let ether_type = self.field(layer, "type", place.offset + 2, 2, ether_type_of(rest))?;
        bytes.extend((ether_type as u16).to_be_bytes());
        self.append(bytes, rest, place)
    }

    fn arp(&self, layer: &Layer, rest: &[Layer], place: &Place) -> Result<Vec<u8>, NotationError> {
        layer.only(&["hardware", "protocol", "hlen", "plen", "op"])?;
        let (source, destination) = layer.ends()?;
        let [operation, source_mac, source_ip] = source else {
            return Err(layer.error("is written `arp request|reply MAC IP > MAC IP`"));
        };
        let [target_mac, target_ip] = destination else {
            return Err(layer.error("is written `arp request|reply MAC IP > MAC IP`"));
        };
        let operation = match operation.as_str() {
            "request" => 1,
            "reply" => 2,
            other => number(layer, other)?,
        };
        let mut bytes = (self.field(layer, "hardware", 0, 2, 1)? as u16).to_be_bytes().to_vec();
        bytes.extend((self.field(layer, "protocol", 0, 2, 0x0800)? as u16).to_be_bytes());
        bytes.push(self.field(layer, "hlen", 0, 1, 6)? as u8);
        bytes.push(self.field(layer, "plen", 0, 1, 4)? as u8);
        bytes.extend((self.field(layer, "op", 0, 2, operation)? as u16).to_be_bytes());
        bytes.extend(self.names.mac(source_mac)?);
        bytes.extend(self.names.ip(source_ip)?.octets());
        match (target_mac.as_str(), self.observed) {
            ("*", Some(observed)) => {
                bytes.extend(observed.get(place.offset + 18..place.offset + 24).unwrap_or(&[0; 6]));
            }
            _ => bytes.extend(self.names.mac(target_mac)?),
        }
        bytes.extend(self.names.ip(target_ip)?.octets());
        self.append(bytes, rest, place)
    }

    fn ipv4(&self, layer: &Layer, rest: &[Layer], place: &Place) -> Result<Vec<u8>, NotationError> {
        layer.only(&["version", "ihl", "tos", "len", "id", "frag", "ttl", "proto", "checksum", "options"])?;
        let at = place.offset;
        let (source, destination) = layer.ends()?;
        let source = self.names.ip(one(layer, source)?)?.octets();
        let (destination, flags) =
            destination.split_first().ok_or_else(|| layer.error("needs a destination"))?;
        let destination = self.names.ip(destination)?.octets();
        let options = layer.field("options").map_or(Ok(Vec::new()), |text| hex(layer, text))?;
        let header_length = 20 + options.len();
        let mut inner = Place { offset: at + header_length, ..*place };
        inner.addresses = Addresses::Ipv4([source, destination].concat().try_into().unwrap_or_default());
        if let Some(observed) = self.observed {
            inner.observed_end = at + self.observe(layer, "len", at + 2, 2)? as usize;
            inner.observed_end = inner.observed_end.min(observed.len());
        }
        let body = self.layers(rest, &inner)?;

        let mut bytes = Vec::with_capacity(header_length + body.len());
        let ihl = self.field(layer, "ihl", 0, 1, header_length as u64 / 4)?;
        bytes.push((self.field(layer, "version", 0, 1, 4)? << 4 | ihl) as u8);
        bytes.push(self.field(layer, "tos", at + 1, 1, 0)? as u8);
        let length = self.field(layer, "len", at + 2, 2, (header_length + body.len()) as u64)?;
        bytes.extend((length as u16).to_be_bytes());
        bytes.extend((self.field(layer, "id", at + 4, 2, 0)? as u16).to_be_bytes());
        let mut fragment = self.field(layer, "frag", 0, 2, 0)? as u16;
        for (flag, bit) in [("rf", 0x8000), ("df", 0x4000), ("mf", 0x2000)] {
            fragment |= if flags.iter().any(|word| word == flag) { bit } else { 0 };
        }
        if layer.has_word("df?") {
            fragment |= self.observe(layer, "df", at + 6, 2)? as u16 & 0x4000;
        }
        bytes.extend(fragment.to_be_bytes());
        bytes.push(self.field(layer, "ttl", at + 8, 1, 64)? as u8);
        bytes.push(self.field(layer, "proto", at + 9, 1, protocol_of(rest))? as u8);
        bytes.extend([0, 0]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(options);
        let checksum = self.checksum(layer, at + 10, internet_checksum(&[&bytes]))?;
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend(body);
        Ok(bytes)
    }

    fn tcp(&self, layer: &Layer, rest: &[Layer], place: &Place) -> Result<Vec<u8>, NotationError> {
        layer.only(&["seq", "ack", "win", "urg", "offset", "checksum", "options"])?;
        let at = place.offset;
        let (source, destination) = layer.ends()?;
        let source = self.port(layer, one(layer, source)?, at)?;
        let (destination, flags) =
            destination.split_first().ok_or_else(|| layer.error("needs a destination"))?;
        let options = layer.field("options").map_or(Ok(Vec::new()), |text| hex(layer, text))?;
        let header_length = 20 + options.len();
        let body = self.layers(rest, &Place { offset: at + header_length, ..*place })?;
        let mut bytes = source.to_be_bytes().to_vec();
        bytes.extend(self.port(layer, destination, at + 2)?.to_be_bytes());
        bytes.extend((self.field(layer, "seq", at + 4, 4, 0)? as u32).to_be_bytes());
        bytes.extend((self.field(layer, "ack", at + 8, 4, 0)? as u32).to_be_bytes());
        bytes.push((self.field(layer, "offset", 0, 1, header_length as u64 / 4)? << 4) as u8);
        bytes.push(tcp_flags(layer, flags)?);
        bytes.extend((self.field(layer, "win", at + 14, 2, 64_240)? as u16).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend((self.field(layer, "urg", at + 18, 2, 0)? as u16).to_be_bytes());
        bytes.extend(options);
        let pseudo = pseudo_header(place.addresses, 6, bytes.len() + body.len());
        let checksum = self.checksum(layer, at + 16, internet_checksum(&[&pseudo, &bytes, &body]))?;
        bytes[16..18].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend(body);
        Ok(bytes)
    }

    fn udp(&self, layer: &Layer, rest: &[Layer], place: &Place) -> Result<Vec<u8>, NotationError> {
        layer.only(&["len", "checksum"])?;
        let at = place.offset;
        let (source, destination) = layer.ends()?;
        let body = self.layers(rest, &Place { offset: at + 8, ..*place })?;
        let mut bytes = self.port(layer, one(layer, source)?, at)?.to_be_bytes().to_vec();
        bytes.extend(self.port(layer, one(layer, destination)?, at + 2)?.to_be_bytes());
        let length = self.field(layer, "len", at + 4, 2, 8 + body.len() as u64)?;
        bytes.extend((length as u16).to_be_bytes());
        bytes.extend([0, 0]);
        let pseudo = pseudo_header(place.addresses, 17, length as usize);
        let computed = match internet_checksum(&[&pseudo, &bytes, &body]) {
            0 => 0xffff, // RFC 768: zero means that there is none.
            computed => computed,
        };
        let checksum = self.checksum(layer, at + 6, computed)?;
        bytes[6..8].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend(body);
        Ok(bytes)
    }

    fn icmp(&self, layer: &Layer, rest: &[Layer], place: &Place) -> Result<Vec<u8>, NotationError> {
        layer.only(&["type", "code", "id", "seq", "mtu", "rest", "checksum", "quote"])?;
        let at = place.offset;
        let kind = layer.words.first().map_or("", String::as_str);
        let kind = match icmp_type(kind) {
            Some(kind) => u64::from(kind),
            None if kind.is_empty() => number(layer, layer.field("type").unwrap_or("missing"))?,
            None => return Err(layer.error(format!("`{kind}` is no ICMP message; write `type=N`"))),
        };
        let mut body = self.layers(rest, &Place { offset: at + 8, ..*place })?;
        match layer.field("quote") {
            Some("*") => body.truncate(place.observed_end.saturating_sub(at + 8).max(28)),
            Some(length) => body.truncate(number(layer, length)? as usize),
            None => {}
        }
        let mut bytes = vec![kind as u8, self.field(layer, "code", at + 1, 1, 0)? as u8, 0, 0];
        if layer.field("rest").is_some() {
            bytes.extend((self.field(layer, "rest", at + 4, 4, 0)? as u32).to_be_bytes());
        } else {
            bytes.extend((self.field(layer, "id", at + 4, 2, 0)? as u16).to_be_bytes());
            let low = if layer.field("mtu").is_some() { "mtu" } else { "seq" };
            bytes.extend((self.field(layer, low, at + 6, 2, 0)? as u16).to_be_bytes());
        }
        let checksum = self.checksum(layer, at + 2, internet_checksum(&[&bytes, &body]))?;
        bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend(body);
        Ok(bytes)
    }

    fn payload(&self, layer: &Layer, rest: &[Layer], place: &Place) -> Result<Vec<u8>, NotationError> {
        layer.only(&[])?;
        let word = layer.words.first();
        let bytes = match (layer.name.as_str(), &layer.text, word) {
            ("text", Some(text), None) => text.clone().into_bytes(),
            ("hex", None, Some(_)) => hex(layer, &layer.words.concat())?,
            ("zeros", None, Some(word)) => vec![0; number(layer, word)? as usize],
            ("fill", None, Some(word)) => (0..number(layer, word)?).map(|index| index as u8).collect(),
            _ => {
                return Err(
                    layer.error("is written `text \"...\"`, `hex 00ff`, `zeros LENGTH` or `fill LENGTH`")
                );
            }
        };
        self.append(bytes, rest, place)
    }

    pub(super) fn append(
        &self,
        mut bytes: Vec<u8>,
        rest: &[Layer],
        place: &Place,
    ) -> Result<Vec<u8>, NotationError> {
        let next = Place { offset: place.offset + bytes.len(), ..*place };
        bytes.extend(self.layers(rest, &next)?);
        Ok(bytes)
    }

    pub(super) fn port(&self, layer: &Layer, text: &str, at: usize) -> Result<u16, NotationError> {
        let value = match text {
            "*" => self.observe(layer, "port", at, 2)?,
            _ if text.starts_with('$') => self.variable(layer, text, at, 2)?,
            _ => number(layer, text)?,
        };
        u16::try_from(value).map_err(|_| layer.error(format!("`{text}` is no port")))
    }
}

/// Another checksum than the right one, and never 0, which UDP has a meaning for.
fn spoiled(checksum: u16) -> u16 {
    if checksum == 0x0101 { 0x0202 } else { checksum ^ 0x0101 }
}

pub(super) fn one<'a>(layer: &Layer, words: &'a [String]) -> Result<&'a str, NotationError> {
    match words {
        [word] => Ok(word),
        _ => Err(layer.error(format!("wants one word in place of `{}`", words.join(" ")))),
    }
}

pub(super) fn number(layer: &Layer, text: &str) -> Result<u64, NotationError> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| layer.error(format!("`{text}` is no number")))
}

pub(super) fn hex(layer: &Layer, text: &str) -> Result<Vec<u8>, NotationError> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    if digits.len() != text.chars().count() || !digits.len().is_multiple_of(2) {
        return Err(layer.error(format!("`{text}` is not an even number of hexadecimal digits")));
    }
    Ok(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

fn ether_type_of(rest: &[Layer]) -> u64 {
    match rest.first().map(|layer| layer.name.as_str()) {
        Some("arp") => 0x0806,
        Some("vlan") => 0x8100,
        Some("ipv6") => 0x86dd,
        _ => 0x0800,
    }
}

pub(super) fn protocol_of(rest: &[Layer]) -> u64 {
    match rest.first().map(|layer| layer.name.as_str()) {
        Some("icmp") => 1,
        Some("icmpv6" | "neighbour" | "router") => 58,
        Some("tcp") => 6,
        Some("udp") => 17,
        Some("sctp") => 132,
        _ => 253, // RFC 3692: for experiments.
    }
}

/// The ICMP messages that have a name.
pub(super) const ICMP_TYPES: &[(&str, u8)] =
    &[("echo-reply", 0), ("unreachable", 3), ("redirect", 5), ("echo-request", 8), ("time-exceeded", 11)];

fn icmp_type(name: &str) -> Option<u8> {
    ICMP_TYPES.iter().find(|(candidate, _)| *candidate == name).map(|(_, number)| *number)
}

/// Letters of the TCP flags, from the lowest bit.
pub(super) const TCP_FLAGS: &str = "FSRPAUEC";

fn tcp_flags(layer: &Layer, words: &[String]) -> Result<u8, NotationError> {
    match one(layer, words)? {
        "none" => Ok(0),
        letters => letters.chars().try_fold(0, |flags, letter| {
            let bit = TCP_FLAGS.find(letter).ok_or_else(|| layer.error(format!("has no flag `{letter}`")))?;
            Ok(flags | 1 << bit)
        }),
    }
}
