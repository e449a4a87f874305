//! SCTP (RFC 9260), as far as a gateway looks at it: ports, the verification tag, and what chunks say about the association.
//!
//! The checksum is a CRC32c over the whole packet and nothing of the IP header, so only a change of ports changes it. It is not
//! verified, but updated by what the new ports differ in: a wrong one stays wrong by as much, and the receiver drops it.

use super::headers::Ip;
use super::{ETHERNET_LENGTH, read_u16, read_u32, turn, write_u16};

/// Length of the common header.
pub const HEADER_LENGTH: usize = 12;
const CHECKSUM_AT: usize = 8;
const CHUNK_HEADER_LENGTH: usize = 4;
/// Length of an INIT or INIT ACK chunk without parameters.
const INIT_LENGTH: usize = 20;
/// Length of the shortest packet that opens an association.
pub const INIT_PACKET_LENGTH: usize = HEADER_LENGTH + INIT_LENGTH;
/// Length of a packet that is nothing but an ABORT.
const ABORT_LENGTH: usize = HEADER_LENGTH + CHUNK_HEADER_LENGTH;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;
/// Flag of ABORT and SHUTDOWN COMPLETE: the tag is the receiver's own, sent back.
const REFLECTED: u8 = 1;

/// What the chunks of a packet say about its association. Data, acknowledgements and heartbeats say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    /// INIT: it opens the association.
    pub init: bool,
    /// INIT ACK.
    pub init_ack: bool,
    /// COOKIE ECHO.
    pub cookie_echo: bool,
    /// COOKIE ACK.
    pub cookie_ack: bool,
    /// SHUTDOWN or SHUTDOWN ACK.
    pub shutdown: bool,
    /// ABORT or SHUTDOWN COMPLETE: the association is over.
    pub end: bool,
    /// The end has the tag of the other direction.
    pub is_reflected: bool,
    /// Of INIT and INIT ACK: the tag that packets to their sender have from now on.
    pub initiate_tag: u32,
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// The receiver's verification tag.
    pub verification_tag: u32,
    /// What its chunks say.
    pub chunks: Chunks,
}

/// Parses a packet, whose chunks must be whole; none when it is malformed.
pub fn parse(packet: &[u8]) -> Option<Packet> {
    if packet.len() < HEADER_LENGTH + CHUNK_HEADER_LENGTH {
        return None;
    }
    let mut chunks = Chunks::default();
    let (mut at, mut count, mut is_alone) = (HEADER_LENGTH, 0, false);
    while at < packet.len() {
        let header = packet.get(at..at + CHUNK_HEADER_LENGTH)?;
        let (kind, flags, length) = (header[0], header[1], usize::from(read_u16(header, 2)));
        let chunk = packet.get(at..at + length.max(CHUNK_HEADER_LENGTH)).filter(|_| length >= 4)?;
        match kind {
            INIT | INIT_ACK => {
                chunks.initiate_tag = read_u32(chunk.get(..INIT_LENGTH)?, 4);
                chunks.init |= kind == INIT;
                chunks.init_ack |= kind == INIT_ACK;
            }
            COOKIE_ECHO => chunks.cookie_echo = true,
            COOKIE_ACK => chunks.cookie_ack = true,
            SHUTDOWN | SHUTDOWN_ACK => chunks.shutdown = true,
            ABORT | SHUTDOWN_COMPLETE => {
                chunks.end = true;
                chunks.is_reflected = flags & REFLECTED != 0;
            }
            _ => {}
        }
        // RFC 9260, section 6.10: these are never bundled.
        is_alone |= matches!(kind, INIT | INIT_ACK | SHUTDOWN_COMPLETE);
        count += 1;
        at += length.next_multiple_of(4);
    }
    let verification_tag = read_u32(packet, 4);
    let opens = chunks.init || chunks.init_ack;
    // Section 8.5.1: an INIT has no tag, and tags of 0 are none.
    let is_possible = (!is_alone || count == 1)
        && chunks.init == (verification_tag == 0)
        && opens == (chunks.initiate_tag != 0);
    is_possible.then_some(Packet {
        source_port: read_u16(packet, 0),
        destination_port: read_u16(packet, 2),
        verification_tag,
        chunks,
    })
}

/// Writes new ports, network byte order as they stand, and updates the checksum. `packet` ends where the packet ends.
pub fn write_ports(packet: &mut [u8], source_port: u16, destination_port: u16) {
    let length = packet.len();
    let Some(header) = packet.first_chunk_mut::<HEADER_LENGTH>() else { return };
    let [a, b] = source_port.to_ne_bytes();
    let [c, d] = destination_port.to_ne_bytes();
    let new = [a, b, c, d];
    let mut difference = 0;
    for (byte, new) in header.iter_mut().zip(new) {
        difference = step(difference, *byte ^ new);
        *byte = new;
    }
    for _ in new.len()..length {
        difference = step(difference, 0);
    }
    for (byte, change) in header[CHECKSUM_AT..].iter_mut().zip(difference.to_le_bytes()) {
        *byte ^= change;
    }
}

/// Makes a packet of zeros behind its ports, at least [`INIT_PACKET_LENGTH`] long, one that opens an association.
pub fn write_init(packet: &mut [u8]) {
    let length = (packet.len() - HEADER_LENGTH) as u16;
    let chunk = &mut packet[HEADER_LENGTH..];
    chunk[0] = INIT;
    write_u16(chunk, 2, length);
    // Tag 1, a window of 64 KiB, one stream each way.
    chunk[4..INIT_LENGTH].copy_from_slice(&[0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let sum = checksum(packet);
    packet[CHECKSUM_AT..HEADER_LENGTH].copy_from_slice(&sum);
}

/// Turns the packet in `frame`, which `ip` describes, into the ABORT that refuses it (RFC 9260, section 8.4); the length of the
/// frame then. None when it is no packet.
pub fn abort_in_place(frame: &mut [u8], ip: &Ip) -> Option<usize> {
    let packet = frame.get(ETHERNET_LENGTH..ETHERNET_LENGTH + ip.total_length)?;
    let refused = parse(packet.get(ip.header_length..)?)?;
    // An INIT says the tag to answer with; who sends anything else knows no other than that which it has sent.
    let (tag, flags) = match refused.chunks {
        Chunks { init: true, initiate_tag, .. } => (initiate_tag, 0),
        _ => (refused.verification_tag, REFLECTED),
    };
    let (header, abort) = turn::back(frame, ip, ABORT_LENGTH)?;
    write_u16(abort, 0, refused.destination_port);
    write_u16(abort, 2, refused.source_port);
    abort[4..8].copy_from_slice(&tag.to_be_bytes());
    abort[HEADER_LENGTH..].copy_from_slice(&[ABORT, flags, 0, CHUNK_HEADER_LENGTH as u8]);
    let sum = checksum(abort);
    abort[CHECKSUM_AT..HEADER_LENGTH].copy_from_slice(&sum);
    Some(ETHERNET_LENGTH + header.len() + ABORT_LENGTH)
}

/// The checksum of a packet whose checksum field counts as 0, as the field has it.
pub fn checksum(packet: &[u8]) -> [u8; 4] {
    let bytes = packet.iter().enumerate();
    let crc = bytes.fold(u32::MAX, |crc, (at, byte)| {
        let is_checksum = (CHECKSUM_AT..CHECKSUM_AT + 4).contains(&at);
        step(crc, if is_checksum { 0 } else { *byte })
    });
    (!crc).to_le_bytes()
}

/// One byte of the CRC32c (RFC 9260, appendix A).
fn step(crc: u32, byte: u8) -> u32 {
    (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    /// The Castagnoli polynomial, the lowest bit first.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ POLYNOMIAL };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{checksum, parse, step, write_ports};

    /// A packet of ports 5000 and 80 with these chunks: type, flags, value.
    fn packet(tag: u32, chunks: &[(u8, u8, &[u8])]) -> Vec<u8> {
        let mut packet =
            [&5000_u16.to_be_bytes()[..], &80_u16.to_be_bytes(), &tag.to_be_bytes(), &[0; 4]].concat();
        for (kind, flags, value) in chunks {
            packet.extend([*kind, *flags]);
            packet.extend((4 + value.len() as u16).to_be_bytes());
            packet.extend(*value);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        let sum = checksum(&packet);
        packet[8..12].copy_from_slice(&sum);
        packet
    }

    #[test]
    fn the_checksum_is_the_crc32c() {
        // RFC 3720, appendix B.4: 32 bytes of zeros, and of ones.
        let crc = |byte: u8| !(0..32).fold(u32::MAX, |crc, _| step(crc, byte));
        assert_eq!((crc(0), crc(0xff)), (0x8a91_36aa, 0x62a8_ab43));
    }

    #[test]
    fn new_ports_keep_a_right_checksum_right_and_a_wrong_one_wrong() {
        let data = [7; 101];
        let right = packet(9, &[(0, 3, &data)]);
        let mut changed = right.clone();
        write_ports(&mut changed, 1234_u16.to_be(), 38_412_u16.to_be());
        assert_eq!(
            parse(&changed).map(|packet| (packet.source_port, packet.destination_port)),
            Some((1234, 38_412))
        );
        assert_eq!(changed[8..12], checksum(&changed));
        let mut wrong = right.clone();
        wrong[9] ^= 0x40;
        write_ports(&mut wrong, 1234_u16.to_be(), 38_412_u16.to_be());
        assert_eq!(wrong[9] ^ 0x40, changed[9]);
    }

    #[test]
    fn chunks_are_found_behind_others_and_malformed_ones_are_refused() {
        let init = [0, 0, 0, 5, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1];
        let chunks = |packet: &[u8]| parse(packet).map(|packet| packet.chunks);
        assert_eq!(chunks(&packet(0, &[(1, 0, &init)])).unwrap().initiate_tag, 5);
        assert!(
            chunks(&packet(9, &[(3, 0, &[0; 12]), (10, 0, &[1; 7]), (0, 3, &[2; 13])])).unwrap().cookie_echo
        );
        assert!(
            chunks(&packet(9, &[(9, 0, &[]), (6, 1, &[])]))
                .is_some_and(|chunks| chunks.end && chunks.is_reflected)
        );
        assert_eq!(chunks(&packet(7, &[(1, 0, &init)])), None, "an INIT with a tag");
        assert_eq!(chunks(&packet(0, &[(0, 3, &[0; 13])])), None, "data without one");
        assert_eq!(chunks(&packet(0, &[(1, 0, &init), (0, 3, &[0; 13])])), None, "an INIT with data");
        assert_eq!(chunks(&packet(0, &[(1, 0, &init[..8])])), None, "a short INIT");
        assert_eq!(chunks(&packet(0, &[(1, 0, &[0; 16])])), None, "an INIT without a tag to send to");
        let whole = packet(9, &[(0, 3, &[2; 13])]);
        assert!((0..whole.len() - 3).all(|length| parse(&whole[..length]).is_none()));
        let mut endless = whole.clone();
        endless[14..16].copy_from_slice(&[0, 0]);
        assert_eq!(parse(&endless), None, "a chunk of no length");
    }
}
