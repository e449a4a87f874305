//! Frames of a script that come in by a tunnel or with a VLAN tag: what is around them, mostly sound.

use super::{Cursor, header, site};

/// First words of a Geneve header: flags and protocol.
const GENEVE: [u8; 2] = [0x65, 0x58];
/// UDP ports of VXLAN and Geneve.
const VXLAN_PORT: u16 = 4789;
const GENEVE_PORT: u16 = 6081;

/// Puts what belongs around a frame of `port`; returns the port that it comes in by.
pub(super) fn carry(cursor: &mut Cursor<'_>, port: &'static str, frame: &mut Vec<u8>) -> &'static str {
    let wrong = cursor.byte() >= 240;
    match port {
        "wan-10" => {
            let tag = if wrong { cursor.half() } else { site::VLAN };
            let at = frame.len().min(12);
            frame.splice(at..at, [[0x81, 0], tag.to_be_bytes()].concat());
        }
        "far-red" => {
            let vni = if wrong { cursor.half().into() } else { site::RED_VNI };
            let flags = if wrong { cursor.byte() } else { 8 };
            tunnel(cursor, VXLAN_PORT, &[&[flags, 0, 0, 0][..], &vni_bytes(vni)].concat(), frame);
        }
        "far-blue" => {
            let vni = if wrong { cursor.half().into() } else { site::BLUE_VNI };
            let options = options(cursor);
            // The room that is told for options is mostly theirs.
            let words = if wrong { cursor.byte() } else { (options.len() / 4) as u8 };
            let flags = if wrong { cursor.byte() } else { 0 };
            let head = [&[words, flags][..], &GENEVE, &vni_bytes(vni), &options].concat();
            tunnel(cursor, GENEVE_PORT, &head, frame);
        }
        other => return other,
    }
    "wan"
}

fn vni_bytes(vni: u32) -> [u8; 4] {
    (vni << 8).to_be_bytes()
}

/// Options of Geneve: a few, some critical, some longer than their room, some of any bytes.
fn options(cursor: &mut Cursor<'_>) -> Vec<u8> {
    let mut options = Vec::new();
    for _ in 0..cursor.choose(&[0, 0, 1, 2, 5]) {
        let kind = cursor.choose(&[1, 2, 0x7f, 0x80]);
        let words = cursor.choose(&[0, 0, 1, 3, 31]);
        options.extend([1, 2, kind, words]);
        let bytes = if cursor.byte() < 240 { usize::from(words) * 4 } else { 4 };
        options.extend(vec![0x55; bytes]);
    }
    options.truncate(63 * 4);
    options
}

fn tunnel(cursor: &mut Cursor<'_>, port: u16, head: &[u8], frame: &mut Vec<u8>) {
    let mut datagram = 50_000_u16.to_be_bytes().to_vec();
    datagram.extend(port.to_be_bytes());
    datagram.extend((8 + (head.len() + frame.len()) as u16).to_be_bytes());
    datagram.extend(cursor.choose(&[0_u16, 0, 0, 0, 0, 0, 0, 0x1234]).to_be_bytes());
    datagram.extend(head);
    datagram.extend(frame.iter());
    let fragment = cursor.choose(&[0x4000, 0, 0x4000, 0x4000, 0x4000, 0, 0x4000, 0x2000]);
    let source = if cursor.byte() < 240 { site::PEER } else { cursor.choose(&site::ADDRESSES) };
    let mut outer = [site::OVERLAY_MAC, site::own_mac("wan")].concat();
    outer.extend([8, 0]);
    outer.extend(header(17, 64, fragment, source, site::OVERLAY, datagram));
    *frame = outer;
}
