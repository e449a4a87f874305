//! The trunk: the veth pair by which TC-attached ports exchange packets with the engine.
//!
//! A TC program that cannot forward a packet pushes a VLAN tag naming the ingress port and redirects it into the
//! trunk; the stack then segments and checksums it, and the engine reads it, tag in place, from an AF_XDP
//! socket at the far end. What the engine sends to such a port goes the same way back, the tag then naming
//! the egress port.
//!
//! Why a VLAN tag and not a header of our own: the kernel carries the tag beside the packet, so a TC program
//! adds and removes it without moving a byte, and a TC program cannot remove anything else from the front of
//! a frame that is not IP. The tag never leaves the host; a frame's own tag follows ours.
//!
//! A frame on the trunk without our tag is noise of the host's stack and is dropped by either end.

/// EtherType of the tag: IEEE 802.1Q.
pub const TRUNK_TAG_ETHER_TYPE: u16 = 0x8100;
/// Where the tag is: behind the two MAC addresses.
pub const TRUNK_TAG_OFFSET: usize = 12;
/// Length of the tag in bytes.
pub const TRUNK_TAG_LENGTH: usize = 4;

/// The tag for `port`, as it stands in the frame. The port's number takes all 16 bits behind the EtherType, those of the
/// priority too: nobody between the two ends reads them.
#[inline(always)]
pub const fn trunk_tag(port: u16) -> [u8; TRUNK_TAG_LENGTH] {
    let [type_high, type_low] = TRUNK_TAG_ETHER_TYPE.to_be_bytes();
    let [high, low] = port.to_be_bytes();
    [type_high, type_low, high, low]
}

/// The port that a tag names; none where the bytes are no tag, or name port 0.
#[inline(always)]
pub const fn trunk_tag_port(tag: [u8; TRUNK_TAG_LENGTH]) -> Option<u16> {
    let port = u16::from_be_bytes([tag[2], tag[3]]);
    if u16::from_be_bytes([tag[0], tag[1]]) == TRUNK_TAG_ETHER_TYPE && port != 0 { Some(port) } else { None }
}

const _: () = assert!(crate::maps::MAX_PORTS <= 1 << 16);

#[cfg(test)]
mod tests {
    use super::{trunk_tag, trunk_tag_port};

    #[test]
    fn tags_name_the_port_that_they_were_made_for() {
        assert_eq!(trunk_tag(1), [0x81, 0x00, 0, 1]);
        for port in [4095, 4096, 0x1001, 16_383] {
            assert_eq!(trunk_tag_port(trunk_tag(port)), Some(port));
        }
        assert_eq!(trunk_tag_port([0x08, 0x00, 0, 1]), None);
        assert_eq!(trunk_tag_port(trunk_tag(0)), None);
    }
}
