//! DHCP messages (RFC 2131): `dhcp request|reply MAC`, with options in hexadecimal digits.

use super::build::{Builder, hex, number, one};
use super::{Layer, NotationError};

/// Shortest message, in bytes.
const LENGTH_MIN: usize = 300;

/// The bytes of a message. Its end mark and padding are added.
pub(super) fn build(builder: &Builder<'_>, layer: &Layer) -> Result<Vec<u8>, NotationError> {
    layer.only(&["xid", "flags", "client", "your", "relay", "options", "cookie", "hlen"])?;
    let number_of =
        |key: &str, default: u64| layer.field(key).map_or(Ok(default), |text| number(layer, text));
    let address = |key: &str| {
        let text = layer.field(key).unwrap_or("0.0.0.0");
        Ok::<_, NotationError>(builder.names.ip(text)?.octets())
    };
    let (operation, mac) = match layer.words.as_slice() {
        [word, mac] if word == "request" => (1, mac),
        [word, mac] if word == "reply" => (2, mac),
        _ => return Err(layer.error("is written `dhcp request|reply MAC`")),
    };
    let mac = builder.names.mac(one(layer, std::slice::from_ref(mac))?)?;
    let mut bytes = vec![operation, 1, number_of("hlen", 6)? as u8, 0];
    bytes.extend((number_of("xid", 0x0102_0304)? as u32).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend((number_of("flags", 0)? as u16).to_be_bytes());
    bytes.extend(address("client")?);
    bytes.extend(address("your")?);
    bytes.extend([0; 4]);
    bytes.extend(address("relay")?);
    bytes.extend(mac);
    bytes.resize(236, 0);
    bytes.extend((number_of("cookie", 0x6382_5363)? as u32).to_be_bytes());
    bytes.extend(hex(layer, layer.field("options").unwrap_or_default())?);
    bytes.push(255);
    bytes.resize(bytes.len().max(LENGTH_MIN), 0);
    Ok(bytes)
}
