//! From bytes to text: the notation again, and field by field how two frames differ.
//!
//! Reads whatever it is given as far as it makes sense, because what failed may be malformed.

use std::fmt::{Display, Write as _};
use std::net::Ipv4Addr;

use super::build::{ICMP_TYPES, TCP_FLAGS};
use super::names::Names;
use super::{Addresses, internet_checksum, pseudo_header};

/// A layer as read: what is always printed, and its fields.
pub(super) struct Shown {
    name: &'static str,
    head: String,
    fields: Vec<Field>,
}

/// A field as read; `usual` ones are compared but not printed.
struct Field {
    name: &'static str,
    value: String,
    usual: bool,
}

impl Shown {
    pub(super) fn new(name: &'static str, head: String) -> Self {
        Self { name, head, fields: Vec::new() }
    }

    pub(super) fn field(&mut self, name: &'static str, value: impl Display, usual: bool) {
        self.fields.push(Field { name, value: value.to_string(), usual });
    }
}

/// The frame in the notation, without fields that have their usual value.
pub(crate) fn print(frame: &[u8], names: &Names) -> String {
    let mut text = String::new();
    for layer in read(frame, names) {
        if !text.is_empty() {
            text.push_str(" | ");
        }
        let _ = write!(text, "{} {}", layer.name, layer.head);
        for field in layer.fields.iter().filter(|field| !field.usual) {
            let _ = write!(text, " {}={}", field.name, field.value);
        }
    }
    text
}

/// One line for each field in which the frames differ.
pub(crate) fn differences(expected: &[u8], observed: &[u8], names: &Names) -> Vec<String> {
    let (expected, observed) = (read(expected, names), read(observed, names));
    let mut lines = Vec::new();
    for index in 0..expected.len().max(observed.len()) {
        match (expected.get(index), observed.get(index)) {
            (Some(left), Some(right)) if left.name == right.name => {
                layer_differences(left, right, &mut lines);
            }
            (left, right) => {
                let describe = |layer: Option<&Shown>| {
                    layer.map_or("nothing".to_owned(), |layer| format!("{} {}", layer.name, layer.head))
                };
                lines.push(format!("layer {index}: expected {}, got {}", describe(left), describe(right)));
            }
        }
    }
    lines
}

fn layer_differences(expected: &Shown, observed: &Shown, lines: &mut Vec<String>) {
    let name = expected.name;
    if expected.head != observed.head {
        lines.push(format!("{name}: expected {}, got {}", expected.head, observed.head));
    }
    for field in &expected.fields {
        let other = observed.fields.iter().find(|other| other.name == field.name);
        let other = other.map_or("nothing", |other| other.value.as_str());
        if field.value != other {
            lines.push(format!("{name}.{}: expected {}, got {other}", field.name, field.value));
        }
    }
}

pub(super) fn read(frame: &[u8], names: &Names) -> Vec<Shown> {
    let mut layers = Vec::new();
    if frame.len() < 14 {
        layers.push(payload(frame));
        return layers;
    }
    let mac = |at: usize| names.mac_name(frame[at..at + 6].try_into().unwrap_or_default());
    let mut ethernet = Shown::new("ether", format!("{} > {}", mac(6), mac(0)));
    let mut ether_type = be16(frame, 12);
    ethernet.field(
        "type",
        format!("{ether_type:#06x}"),
        matches!(ether_type, 0x0800 | 0x0806 | 0x8100 | 0x86dd),
    );
    layers.push(ethernet);
    let mut rest = &frame[14..];
    while ether_type == 0x8100 && rest.len() >= 4 {
        layers.push(Shown::new("vlan", be16(rest, 0).to_string()));
        ether_type = be16(rest, 2);
        rest = &rest[4..];
    }
    match ether_type {
        0x0806 => arp(rest, names, &mut layers),
        0x0800 => ipv4(rest, names, &mut layers),
        0x86dd => super::ipv6::read(rest, names, &mut layers),
        _ if rest.is_empty() => {}
        _ => layers.push(payload(rest)),
    }
    layers
}

fn arp(bytes: &[u8], names: &Names, layers: &mut Vec<Shown>) {
    if bytes.len() < 28 {
        layers.push(payload(bytes));
        return;
    }
    let mac = |at: usize| names.mac_name(bytes[at..at + 6].try_into().unwrap_or_default());
    let operation = match be16(bytes, 6) {
        1 => "request".to_owned(),
        2 => "reply".to_owned(),
        other => other.to_string(),
    };
    let head = format!("{operation} {} {} > {} {}", mac(8), ip(bytes, 14), mac(18), ip(bytes, 24));
    let mut layer = Shown::new("arp", head);
    layer.field("hardware", be16(bytes, 0), be16(bytes, 0) == 1);
    layer.field("protocol", format!("{:#06x}", be16(bytes, 2)), be16(bytes, 2) == 0x0800);
    layer.field("hlen", bytes[4], bytes[4] == 6);
    layer.field("plen", bytes[5], bytes[5] == 4);
    layers.push(layer);
    trailer(&bytes[28..], layers);
}

fn ipv4(bytes: &[u8], names: &Names, layers: &mut Vec<Shown>) {
    if bytes.len() < 20 || bytes[0] & 15 < 5 || bytes.len() < usize::from(bytes[0] & 15) * 4 {
        layers.push(payload(bytes));
        return;
    }
    let header_length = usize::from(bytes[0] & 15) * 4;
    let (header, rest) = bytes.split_at(header_length);
    let flags = be16(header, 6);
    let mut head = format!("{} > {}", ip(header, 12), ip(header, 16));
    for (bit, name) in [(0x8000, " rf"), (0x4000, " df"), (0x2000, " mf")] {
        head.push_str(if flags & bit != 0 { name } else { "" });
    }
    let mut layer = Shown::new("ipv4", head);
    let length = usize::from(be16(header, 2));
    layer.field("version", header[0] >> 4, header[0] >> 4 == 4);
    layer.field("tos", header[1], header[1] == 0);
    layer.field("len", length, length <= bytes.len());
    layer.field("id", be16(header, 4), be16(header, 4) == 0);
    let fragment_offset = flags & 0x1fff;
    layer.field("frag", fragment_offset, fragment_offset == 0);
    layer.field("ttl", header[8], header[8] == 64);
    layer.field("proto", header[9], matches!(header[9], 1 | 6 | 17 | 132));
    let good = internet_checksum(&[header]) == 0;
    layer.field("checksum", checksum_text(be16(header, 10), good), good);
    if header_length > 20 {
        layer.field("options", hex(&header[20..]), false);
    }
    layers.push(layer);
    let end = length.clamp(header_length, bytes.len()) - header_length;
    let (body, after) = rest.split_at(end);
    let addresses = Addresses::Ipv4(header[12..20].try_into().unwrap_or_default());
    match header[9] {
        _ if fragment_offset != 0 => layers.push(payload(body)),
        1 if body.len() >= 8 => icmp(body, names, layers),
        6 if body.len() >= 20 => tcp(body, addresses, length - header_length, layers),
        17 if body.len() >= 8 => udp(body, addresses, names, layers),
        132 if body.len() >= 12 => sctp(body, layers),
        _ => layers.push(payload(body)),
    }
    trailer(after, layers);
}

pub(super) fn tcp(body: &[u8], addresses: Addresses, length: usize, layers: &mut Vec<Shown>) {
    let letters: String = TCP_FLAGS
        .chars()
        .enumerate()
        .filter(|(bit, _)| body[13] >> bit & 1 != 0)
        .map(|(_, letter)| letter)
        .collect();
    let letters = if letters.is_empty() { "none".to_owned() } else { letters };
    let mut layer = Shown::new("tcp", format!("{} > {} {letters}", be16(body, 0), be16(body, 2)));
    layer.field("seq", be32(body, 4), be32(body, 4) == 0);
    layer.field("ack", be32(body, 8), be32(body, 8) == 0);
    let header_length = usize::from(body[12] >> 4) * 4;
    layer.field("win", be16(body, 14), be16(body, 14) == 64_240);
    layer.field("urg", be16(body, 18), be16(body, 18) == 0);
    let good = internet_checksum(&[&pseudo_header(addresses, 6, body.len()), body]) == 0;
    // A quoted packet that was cut has a checksum that nobody can verify.
    let unknown = body.len() < length;
    layer.field("checksum", checksum_text(be16(body, 16), good || unknown), good || unknown);
    let end = header_length.clamp(20, body.len());
    if header_length < 20 || header_length > body.len() {
        layer.field("offset", body[12] >> 4, false);
    } else if header_length > 20 {
        layer.field("options", hex(&body[20..end]), false);
    }
    layers.push(layer);
    if end < body.len() {
        layers.push(payload(&body[end..]));
    }
}

/// Ports, tag and checksum; the chunks as they are.
pub(super) fn sctp(body: &[u8], layers: &mut Vec<Shown>) {
    let mut layer = Shown::new("sctp", format!("{} > {}", be16(body, 0), be16(body, 2)));
    layer.field("vtag", be32(body, 4), be32(body, 4) == 0);
    layer.field("checksum", format!("{:#010x}", be32(body, 8)), false);
    layers.push(layer);
    layers.push(payload(&body[12..]));
}

pub(super) fn udp(body: &[u8], addresses: Addresses, names: &Names, layers: &mut Vec<Shown>) {
    let mut layer = Shown::new("udp", format!("{} > {}", be16(body, 0), be16(body, 2)));
    let length = usize::from(be16(body, 4));
    layer.field("len", length, length == body.len());
    let checksum = be16(body, 6);
    let good = internet_checksum(&[&pseudo_header(addresses, 17, body.len()), body]) == 0;
    if checksum == 0 {
        layer.field("checksum", 0, false);
    } else {
        let unknown = length > body.len();
        layer.field("checksum", checksum_text(checksum, good || unknown), good || unknown);
    }
    layers.push(layer);
    if body.len() > 8 && !super::tunnel::show(be16(body, 2), &body[8..], names, layers) {
        layers.push(payload(&body[8..]));
    }
}

fn icmp(body: &[u8], names: &Names, layers: &mut Vec<Shown>) {
    let (kind, code) = (body[0], body[1]);
    let name = ICMP_TYPES.iter().find(|(_, number)| *number == kind);
    let mut layer =
        Shown::new("icmp", name.map_or_else(|| format!("type={kind}"), |(name, _)| (*name).to_owned()));
    layer.field("code", code, code == 0);
    let (high, low) = (be16(body, 4), be16(body, 6));
    layer.field("id", high, high == 0);
    layer.field(if (kind, code) == (3, 4) { "mtu" } else { "seq" }, low, low == 0);
    let good = internet_checksum(&[body]) == 0;
    layer.field("checksum", checksum_text(be16(body, 2), good), good);
    let quoted = &body[8..];
    let is_error = matches!(kind, 3 | 4 | 5 | 11 | 12);
    if is_error {
        layer.field("quote", quoted.len(), true);
    }
    layers.push(layer);
    if is_error && quoted.len() >= 20 {
        ipv4(quoted, names, layers);
    } else if !quoted.is_empty() {
        layers.push(payload(quoted));
    }
}

pub(super) fn payload(bytes: &[u8]) -> Shown {
    if !bytes.is_empty() && bytes.iter().all(|byte| (0x20..0x7f).contains(byte) && *byte != b'"') {
        return Shown::new("text", format!("\"{}\"", String::from_utf8_lossy(bytes)));
    }
    Shown::new("hex", hex(bytes))
}

pub(super) fn trailer(bytes: &[u8], layers: &mut Vec<Shown>) {
    if !bytes.is_empty() {
        layers.push(Shown::new("trailer", hex(bytes)));
    }
}

pub(super) fn checksum_text(checksum: u16, good: bool) -> String {
    if good { "good".to_owned() } else { format!("{checksum:#06x}(wrong)") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn ip(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(be32(bytes, at))
}
