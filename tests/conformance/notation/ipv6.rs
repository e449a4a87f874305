//! The layers of IPv6: its header, ICMPv6 and neighbour discovery, from text to bytes and back.

use super::build::{Builder, Place, hex, number, one, protocol_of};
use super::print::{Shown, be16, checksum_text, payload, sctp, tcp, trailer, udp};
use super::{Addresses, Layer, NotationError, internet_checksum, pseudo_header};

/// The ICMPv6 messages that have a name.
const ICMPV6_TYPES: &[(&str, u8)] = &[
    ("unreachable", 1),
    ("too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
];
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Flags of an advertisement, from the highest bit.
const FLAGS: [(&str, u8); 3] = [("router", 0x80), ("solicited", 0x40), ("override", 0x20)];

impl Builder<'_> {
    /// `ipv6 SOURCE > DESTINATION`; `options=HEX` are extension headers, of which `next` names the first.
    pub(super) fn ipv6(
        &self,
        layer: &Layer,
        rest: &[Layer],
        place: &Place,
    ) -> Result<Vec<u8>, NotationError> {
        layer.only(&["class", "flow", "len", "next", "hops", "options"])?;
        let at = place.offset;
        let (source, destination) = layer.ends()?;
        let source = self.names.ipv6(one(layer, source)?)?.octets();
        let destination = self.names.ipv6(one(layer, destination)?)?.octets();
        let options = layer.field("options").map_or(Ok(Vec::new()), |text| hex(layer, text))?;
        let mut inner = Place { offset: at + 40 + options.len(), ..*place };
        inner.addresses = Addresses::Ipv6([source, destination].concat().try_into().unwrap_or([0; 32]));
        if let Some(observed) = self.observed {
            let length = self.observe(layer, "len", at + 4, 2)? as usize;
            inner.observed_end = (at + 40 + length).min(observed.len());
        }
        let body = self.layers(rest, &inner)?;
        let class = self.field(layer, "class", 0, 1, 0)? as u32;
        let flow = self.field(layer, "flow", 0, 4, 0)? as u32;
        let mut bytes = (6_u32 << 28 | class << 20 | flow).to_be_bytes().to_vec();
        let length = self.field(layer, "len", at + 4, 2, (options.len() + body.len()) as u64)?;
        bytes.extend((length as u16).to_be_bytes());
        bytes.push(self.field(layer, "next", at + 6, 1, protocol_of(rest))? as u8);
        bytes.push(self.field(layer, "hops", at + 7, 1, hops_of(rest))? as u8);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(options);
        bytes.extend(body);
        Ok(bytes)
    }

    /// As `icmp`, with the types and the pseudo header of ICMPv6.
    pub(super) fn icmpv6(
        &self,
        layer: &Layer,
        rest: &[Layer],
        place: &Place,
    ) -> Result<Vec<u8>, NotationError> {
        layer.only(&["type", "code", "id", "seq", "mtu", "rest", "checksum", "quote"])?;
        let at = place.offset;
        let kind = match layer.words.first() {
            Some(name) => ICMPV6_TYPES
                .iter()
                .find(|(candidate, _)| candidate == name)
                .map(|(_, kind)| u64::from(*kind))
                .ok_or_else(|| layer.error(format!("`{name}` is no ICMPv6 message; write `type=N`")))?,
            None => number(layer, layer.field("type").unwrap_or("missing"))?,
        };
        let mut body = self.layers(rest, &Place { offset: at + 8, ..*place })?;
        match layer.field("quote") {
            Some("*") => body.truncate(place.observed_end.saturating_sub(at + 8).max(48)),
            Some(length) => body.truncate(number(layer, length)? as usize),
            None => {}
        }
        let mut bytes = vec![kind as u8, self.field(layer, "code", at + 1, 1, 0)? as u8, 0, 0];
        if layer.field("rest").is_some() || layer.field("mtu").is_some() {
            let key = if layer.field("mtu").is_some() { "mtu" } else { "rest" };
            bytes.extend((self.field(layer, key, at + 4, 4, 0)? as u32).to_be_bytes());
        } else {
            bytes.extend((self.field(layer, "id", at + 4, 2, 0)? as u16).to_be_bytes());
            bytes.extend((self.field(layer, "seq", at + 6, 2, 0)? as u16).to_be_bytes());
        }
        self.finish_icmpv6(layer, bytes, &body, place)
    }

    /// `neighbour solicit|advertise TARGET [MAC] [router] [solicited] [override]`.
    pub(super) fn neighbour(
        &self,
        layer: &Layer,
        rest: &[Layer],
        place: &Place,
    ) -> Result<Vec<u8>, NotationError> {
        layer.only(&["code", "checksum"])?;
        let [kind, target, words @ ..] = layer.words.as_slice() else {
            return Err(layer.error("is written `neighbour solicit|advertise TARGET [MAC] [FLAGS]`"));
        };
        let (kind, option) = match kind.as_str() {
            "solicit" => (SOLICITATION, 1),
            "advertise" => (ADVERTISEMENT, 2),
            other => return Err(layer.error(format!("`{other}` is neither solicit nor advertise"))),
        };
        let code = self.field(layer, "code", place.offset + 1, 1, 0)? as u8;
        let mut bytes = vec![kind, code, 0, 0, 0, 0, 0, 0];
        bytes.extend(self.names.ipv6(target)?.octets());
        for word in words {
            if let Some((_, bit)) = FLAGS.iter().find(|(name, _)| name == word) {
                bytes[4] |= bit;
            } else {
                bytes.extend([option, 1]);
                bytes.extend(self.names.mac(word)?);
            }
        }
        let place_after = Place { offset: place.offset + bytes.len(), ..*place };
        let body = self.layers(rest, &place_after)?;
        self.finish_icmpv6(layer, bytes, &body, place)
    }

    pub(super) fn finish_icmpv6(
        &self,
        layer: &Layer,
        mut bytes: Vec<u8>,
        body: &[u8],
        place: &Place,
    ) -> Result<Vec<u8>, NotationError> {
        let pseudo = pseudo_header(place.addresses, 58, bytes.len() + body.len());
        let computed = internet_checksum(&[&pseudo, &bytes, body]);
        let checksum = self.checksum(layer, place.offset + 2, computed)?;
        bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend(body);
        Ok(bytes)
    }
}

/// RFC 4861: neighbour discovery comes from the link itself.
fn hops_of(rest: &[Layer]) -> u64 {
    let is_local = rest.first().is_some_and(|layer| matches!(layer.name.as_str(), "neighbour" | "router"));
    if is_local { 255 } else { 64 }
}

/// Reads an IPv6 packet.
pub(super) fn read(bytes: &[u8], names: &super::names::Names, layers: &mut Vec<Shown>) {
    if bytes.len() < 40 {
        layers.push(payload(bytes));
        return;
    }
    let (header, rest) = bytes.split_at(40);
    let mut layer = Shown::new("ipv6", format!("{} > {}", address(header, 8), address(header, 24)));
    let first = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    layer.field("version", first >> 28, first >> 28 == 6);
    let (class, flow) = (first >> 20 & 0xff, first & 0xf_ffff);
    layer.field("class", class, class == 0);
    layer.field("flow", flow, flow == 0);
    let length = usize::from(be16(header, 4));
    layer.field("len", length, length <= rest.len());
    layer.field("next", header[6], matches!(header[6], 6 | 17 | 58));
    layer.field("hops", header[7], matches!(header[7], 64 | 255));
    layers.push(layer);
    let (body, after) = rest.split_at(length.min(rest.len()));
    let addresses = Addresses::Ipv6(header[8..40].try_into().unwrap_or([0; 32]));
    match header[6] {
        6 if body.len() >= 20 => tcp(body, addresses, length, layers),
        17 if body.len() >= 8 => udp(body, addresses, names, layers),
        132 if body.len() >= 12 => sctp(body, layers),
        58 if body.len() >= 8 => icmpv6(body, addresses, names, layers),
        _ => layers.push(payload(body)),
    }
    trailer(after, layers);
}

fn icmpv6(body: &[u8], addresses: Addresses, names: &super::names::Names, layers: &mut Vec<Shown>) {
    let (kind, code) = (body[0], body[1]);
    let good = internet_checksum(&[&pseudo_header(addresses, 58, body.len()), body]) == 0;
    let is_neighbour = matches!(kind, SOLICITATION | ADVERTISEMENT) && body.len() >= 24;
    let mut layer = if is_neighbour {
        neighbour(body, names)
    } else {
        let name = ICMPV6_TYPES.iter().find(|(_, number)| *number == kind);
        Shown::new("icmpv6", name.map_or_else(|| format!("type={kind}"), |(name, _)| (*name).to_owned()))
    };
    layer.field("code", code, code == 0);
    layer.field("checksum", checksum_text(be16(body, 2), good), good);
    if is_neighbour {
        layers.push(layer);
        return;
    }
    if kind == 2 {
        layer.field("mtu", u32::from(be16(body, 4)) << 16 | u32::from(be16(body, 6)), false);
    } else {
        layer.field("id", be16(body, 4), be16(body, 4) == 0);
        layer.field("seq", be16(body, 6), be16(body, 6) == 0);
    }
    let quoted = &body[8..];
    let is_error = kind < 128;
    if is_error {
        layer.field("quote", quoted.len(), true);
    }
    layers.push(layer);
    if is_error && quoted.len() >= 40 {
        read(quoted, names, layers);
    } else if !quoted.is_empty() {
        layers.push(payload(quoted));
    }
}

fn neighbour(body: &[u8], names: &super::names::Names) -> Shown {
    let mut head = if body[0] == SOLICITATION { "solicit " } else { "advertise " }.to_owned();
    head.push_str(&address(body, 8));
    for option in body[24..].chunks(8) {
        match option {
            [1 | 2, 1, mac @ ..] if mac.len() == 6 => {
                head.push(' ');
                head.push_str(&names.mac_name(mac.try_into().unwrap_or_default()));
            }
            _ => head.push_str(" ?"),
        }
    }
    for (name, bit) in FLAGS {
        if body[4] & bit != 0 {
            head.push(' ');
            head.push_str(name);
        }
    }
    Shown::new("neighbour", head)
}

fn address(bytes: &[u8], at: usize) -> String {
    let octets: [u8; 16] = bytes[at..at + 16].try_into().unwrap_or_default();
    std::net::Ipv6Addr::from(octets).to_string()
}
