//! Cutting an IPv4 packet into parts that fit (RFC 791, section 3.2, "Fragmentation").

use super::{ETHERNET_LENGTH, IPV4_LENGTH, read_u16, write_ipv4_checksum, write_u16};

/// More parts follow.
const MORE: u16 = 0x2000;
/// The bits of the offset, in units of eight bytes.
const OFFSET: u16 = 0x1fff;

/// Calls `send` with every part of the IPv4 packet in `frame`, in order, as a frame of `mtu` bytes of IP at most.
/// `buffer` holds a part. False where the packet cannot be cut: it has options, or `mtu` leaves no room for data.
pub fn split(frame: &[u8], mtu: usize, buffer: &mut [u8], mut send: impl FnMut(&[u8])) -> bool {
    let packet = &frame[ETHERNET_LENGTH..];
    let total_length = usize::from(read_u16(packet, 2));
    let room = (mtu.saturating_sub(IPV4_LENGTH) / 8 * 8).min(buffer.len() - ETHERNET_LENGTH - IPV4_LENGTH);
    if packet[0] != 0x45 || room < 8 {
        return false;
    }
    let field = read_u16(packet, 6);
    let payload = &packet[IPV4_LENGTH..total_length];
    for (number, data) in payload.chunks(room / 8 * 8).enumerate() {
        let start = number * (room / 8 * 8);
        let is_last = start + data.len() == payload.len();
        // The last part of a part has as many behind it as the whole had.
        let more = if is_last { field & MORE } else { MORE };
        let length = IPV4_LENGTH + data.len();
        let part = &mut buffer[..ETHERNET_LENGTH + length];
        part[..ETHERNET_LENGTH + IPV4_LENGTH].copy_from_slice(&frame[..ETHERNET_LENGTH + IPV4_LENGTH]);
        part[ETHERNET_LENGTH + IPV4_LENGTH..].copy_from_slice(data);
        let header = &mut part[ETHERNET_LENGTH..];
        write_u16(header, 2, length as u16);
        write_u16(header, 6, more | ((field & OFFSET) + (start / 8) as u16));
        write_ipv4_checksum(header, IPV4_LENGTH);
        send(part);
    }
    true
}

/// Changes the identification of the IPv4 packet in `frame` by `mask`.
pub fn mask_identification(frame: &mut [u8], header_length: usize, mask: u16) {
    let packet = &mut frame[ETHERNET_LENGTH..];
    let identification = read_u16(packet, 4);
    write_u16(packet, 4, identification ^ mask);
    write_ipv4_checksum(packet, header_length);
}

#[cfg(test)]
mod tests {
    use super::split;
    use crate::wire::headers::{self, Network};
    use crate::wire::write_ipv4_checksum;

    fn frame(payload: usize, field: u16) -> Vec<u8> {
        let mut frame = vec![0; 34 + payload];
        frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
        frame[16..18].copy_from_slice(&(20 + payload as u16).to_be_bytes());
        frame[20..22].copy_from_slice(&field.to_be_bytes());
        frame[22..24].copy_from_slice(&[64, 17]);
        write_ipv4_checksum(&mut frame[14..], 20);
        for (index, byte) in frame[34..].iter_mut().enumerate() {
            *byte = index as u8;
        }
        frame
    }

    /// Offset, length and whether more follow, of every part.
    fn parts(frame: &[u8], mtu: usize) -> Vec<(u32, u32, bool)> {
        let (mut parts, mut data) = (Vec::new(), Vec::new());
        assert!(split(frame, mtu, &mut [0; 2048], |part| {
            let Ok(Network::Ip(ip)) = headers::parse(part).map(|headers| headers.network) else {
                panic!("every part is a packet")
            };
            let fragment = ip.fragment.expect("and a part");
            parts.push((fragment.offset, fragment.length, fragment.more));
            data.extend_from_slice(&part[34..]);
        }));
        assert_eq!(data, frame[34..], "together they are the whole");
        parts
    }

    #[test]
    fn a_packet_is_cut_at_multiples_of_eight() {
        let whole = {
            let mut whole = frame(100, 0);
            whole[38..40].copy_from_slice(&100_u16.to_be_bytes());
            whole
        };
        assert_eq!(parts(&whole, 70), [(0, 48, true), (48, 48, true), (96, 4, false)]);
    }

    #[test]
    fn a_part_is_cut_again() {
        assert_eq!(parts(&frame(64, 0x2000 | 5), 60), [(40, 40, true), (80, 24, true)]);
        assert_eq!(parts(&frame(50, 5), 60), [(40, 40, true), (80, 10, false)]);
    }

    #[test]
    fn nothing_is_cut_where_nothing_fits() {
        assert!(!split(&frame(64, 0), 27, &mut [0; 2048], |_| panic!("nothing fits")));
    }
}
