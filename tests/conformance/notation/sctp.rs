//! The layer of SCTP: `sctp PORT > PORT CHUNK...`, with `vtag=`, `tag=` (of INIT and INIT ACK), `flags=` and `checksum=`.
//!
//! What follows the layer is the payload of the last chunk. The checksum is computed bit by bit, apart from the dataplane's.

use super::build::{Builder, Place};
use super::{Layer, NotationError};

/// The chunks by name: type, and length of what stands before the payload.
const CHUNKS: &[(&str, u8, usize)] = &[
    ("data", 0, 12),
    ("init", 1, 16),
    ("init-ack", 2, 16),
    ("sack", 3, 12),
    ("heartbeat", 4, 0),
    ("abort", 6, 0),
    ("shutdown", 7, 4),
    ("shutdown-ack", 8, 0),
    ("error", 9, 0),
    ("cookie-echo", 10, 0),
    ("cookie-ack", 11, 0),
    ("shutdown-complete", 14, 0),
];

/// Makes the bytes of a packet.
pub(super) fn build(
    builder: &Builder<'_>,
    layer: &Layer,
    rest: &[Layer],
    place: &Place,
) -> Result<Vec<u8>, NotationError> {
    layer.only(&["vtag", "tag", "flags", "checksum"])?;
    let at = place.offset;
    let (source, destination) = layer.ends()?;
    let [source] = source else { return Err(layer.error("needs one source port")) };
    let (destination, names) = destination.split_first().ok_or_else(|| layer.error("needs a destination"))?;
    let mut bytes = builder.port(layer, source, at)?.to_be_bytes().to_vec();
    bytes.extend(builder.port(layer, destination, at + 2)?.to_be_bytes());
    bytes.extend((builder.field(layer, "vtag", at + 4, 4, 0)? as u32).to_be_bytes());
    bytes.extend([0; 4]);
    for (position, name) in names.iter().enumerate() {
        let chunk = CHUNKS.iter().find(|(candidate, ..)| candidate == name);
        let (_, kind, length) =
            chunk.ok_or_else(|| layer.error(format!("`{name}` is no chunk that is known")))?;
        let mut value = vec![0; *length];
        if matches!(kind, 1 | 2) {
            let tag = builder.field(layer, "tag", at + bytes.len() + 4, 4, 1)? as u32;
            value[..4].copy_from_slice(&tag.to_be_bytes());
        }
        if position + 1 == names.len() {
            value.extend(builder.layers(rest, &Place { offset: at + bytes.len() + 4 + length, ..*place })?);
        }
        bytes.extend([*kind, builder.field(layer, "flags", at + bytes.len() + 1, 1, 0)? as u8]);
        bytes.extend((4 + value.len() as u16).to_be_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let computed = crc32c(&bytes);
    let checksum = match layer.field("checksum") {
        Some("bad") => !computed,
        Some("wrong") => match (builder.observe(layer, "checksum", at + 8, 4)? as u32).swap_bytes() {
            observed if observed == computed => !computed,
            observed => observed,
        },
        Some("*") => (builder.observe(layer, "checksum", at + 8, 4)? as u32).swap_bytes(),
        _ => computed,
    };
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}
