//! VXLAN and Geneve, around a frame of their own.

use super::build::{Builder, Place, hex, number, one};
use super::names::Names;
use super::print::{Shown, be16, payload, read};
use super::{Layer, NotationError};

/// UDP ports by which the layers are known.
const VXLAN_PORT: u16 = 4789;
const GENEVE_PORT: u16 = 6081;

/// `vxlan VNI`.
pub(super) fn vxlan(
    builder: &Builder<'_>,
    layer: &Layer,
    rest: &[Layer],
    place: &Place,
) -> Result<Vec<u8>, NotationError> {
    layer.only(&["flags", "reserved"])?;
    let identifier = number(layer, one(layer, &layer.words)?)? as u32;
    let mut bytes = vec![builder.field(layer, "flags", place.offset, 1, 0x08)? as u8, 0, 0, 0];
    let reserved = builder.field(layer, "reserved", place.offset + 7, 1, 0)? as u32;
    bytes.extend((identifier << 8 | reserved).to_be_bytes());
    builder.append(bytes, rest, place)
}

/// `geneve VNI`.
pub(super) fn geneve(
    builder: &Builder<'_>,
    layer: &Layer,
    rest: &[Layer],
    place: &Place,
) -> Result<Vec<u8>, NotationError> {
    layer.only(&["version", "flags", "protocol", "options", "optlen"])?;
    let identifier = number(layer, one(layer, &layer.words)?)? as u32;
    let options = layer.field("options").map_or(Ok(Vec::new()), |text| hex(layer, text))?;
    let words = builder.field(layer, "optlen", place.offset, 1, options.len() as u64 / 4)?;
    let version = builder.field(layer, "version", place.offset, 1, 0)?;
    let mut bytes = vec![(version << 6 | words) as u8];
    bytes.push(builder.field(layer, "flags", place.offset + 1, 1, 0)? as u8);
    let protocol = builder.field(layer, "protocol", place.offset + 2, 2, 0x6558)?;
    bytes.extend((protocol as u16).to_be_bytes());
    bytes.extend((identifier << 8).to_be_bytes());
    bytes.extend(options);
    builder.append(bytes, rest, place)
}

/// What a datagram to this port carries, as far as it is a tunnel's.
pub(super) fn show(port: u16, body: &[u8], names: &Names, layers: &mut Vec<Shown>) -> bool {
    let identifier = |bytes: &[u8]| u32::from_be_bytes([0, bytes[4], bytes[5], bytes[6]]);
    if !matches!(port, VXLAN_PORT | GENEVE_PORT) || body.len() < 8 {
        return false;
    }
    let mut inner = 8;
    if port == VXLAN_PORT {
        let mut layer = Shown::new("vxlan", identifier(body).to_string());
        layer.field("flags", body[0], body[0] == 8);
        layer.field("reserved", body[7], body[7] == 0);
        layers.push(layer);
    } else {
        let words = usize::from(body[0] & 0x3f);
        inner += words * 4;
        let mut layer = Shown::new("geneve", identifier(body).to_string());
        layer.field("version", body[0] >> 6, body[0] >> 6 == 0);
        layer.field("optlen", words, words == 0);
        layer.field("flags", body[1], body[1] == 0);
        layer.field("protocol", format!("{:#06x}", be16(body, 2)), be16(body, 2) == 0x6558);
        layers.push(layer);
    }
    match body.get(inner..) {
        Some(frame) => layers.extend(read(frame, names)),
        None => layers.push(payload(&body[8..])),
    }
    true
}
