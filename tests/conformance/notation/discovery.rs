//! What hosts are told of IPv6: router discovery (RFC 4861) and DHCPv6 (RFC 8415), with options in hexadecimal digits.

use super::build::{Builder, Place, hex, number, one};
use super::{Layer, NotationError};

const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
/// Flags of an advertisement.
const FLAGS: [(&str, u8); 2] = [("managed", 0x80), ("other", 0x40)];
/// DHCPv6 messages that have a name.
const DHCP6_TYPES: [(&str, u8); 11] = [
    ("solicit", 1),
    ("advertise", 2),
    ("request", 3),
    ("confirm", 4),
    ("renew", 5),
    ("rebind", 6),
    ("reply", 7),
    ("release", 8),
    ("decline", 9),
    ("information-request", 11),
    ("relay-forward", 12),
];

impl Builder<'_> {
    /// `router solicit [MAC]`, `router advertise MAC [managed] [other]`.
    pub(super) fn router(
        &self,
        layer: &Layer,
        rest: &[Layer],
        place: &Place,
    ) -> Result<Vec<u8>, NotationError> {
        layer.only(&["lifetime", "code", "checksum", "options"])?;
        let [kind, words @ ..] = layer.words.as_slice() else {
            return Err(layer.error("is written `router solicit|advertise [MAC] [FLAGS]`"));
        };
        let code = self.field(layer, "code", place.offset + 1, 1, 0)? as u8;
        let lifetime = self.field(layer, "lifetime", place.offset + 6, 2, 0)? as u16;
        let mut bytes = match kind.as_str() {
            "solicit" => vec![SOLICITATION, code, 0, 0, 0, 0, 0, 0],
            "advertise" => {
                let [high, low] = lifetime.to_be_bytes();
                vec![ADVERTISEMENT, code, 0, 0, 64, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0]
            }
            other => return Err(layer.error(format!("`{other}` is neither solicit nor advertise"))),
        };
        for word in words {
            if let Some((_, bit)) = FLAGS.iter().find(|(name, _)| name == word) {
                bytes[5] |= bit;
            } else {
                bytes.extend([1, 1]);
                bytes.extend(self.names.mac(word)?);
            }
        }
        bytes.extend(hex(layer, layer.field("options").unwrap_or_default())?);
        let place_after = Place { offset: place.offset + bytes.len(), ..*place };
        let body = self.layers(rest, &place_after)?;
        self.finish_icmpv6(layer, bytes, &body, place)
    }
}

/// The bytes of a DHCPv6 message: `dhcp6 TYPE`, or `dhcp6 type=N`.
pub(super) fn build(layer: &Layer) -> Result<Vec<u8>, NotationError> {
    layer.only(&["type", "xid", "options"])?;
    let kind = if layer.words.is_empty() {
        number(layer, layer.field("type").unwrap_or("missing"))? as u8
    } else {
        let name = one(layer, &layer.words)?;
        let known = DHCP6_TYPES.iter().find(|(candidate, _)| *candidate == name);
        known.ok_or_else(|| layer.error(format!("`{name}` is no message; write `type=N`")))?.1
    };
    let xid = layer.field("xid").map_or(Ok(0x01_0203), |text| number(layer, text))? as u32;
    let mut bytes = vec![kind];
    bytes.extend(&xid.to_be_bytes()[1..]);
    bytes.extend(hex(layer, layer.field("options").unwrap_or_default())?);
    Ok(bytes)
}
