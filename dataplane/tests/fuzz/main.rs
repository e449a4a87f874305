//! The fuzz targets' code under the plain test runner: seeded random scripts, and what fuzzing once found.
//!
//! `make fuzz` does the same guided by coverage. A finding is kept as a file below `tests/fuzz/regressions/<target>/`,
//! named for what went wrong.

#[path = "../../fuzz/src/drive.rs"]
mod drive;

use std::path::Path;

/// Packets that the random scripts send in all.
const PACKETS: usize = 200_000;
/// Bytes of a script; a packet takes some twenty.
const SCRIPT_LENGTH: usize = 20_000;
/// Any number: the same in every run.
const SEED: u64 = 0x5eed;

/// Random bytes (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 56) as u8).collect()
    }
}

#[test]
fn random_scripts_leave_no_trace() {
    let mut random = Random(SEED);
    let mut total = drive::Summary::default();
    while total.packets < PACKETS {
        let summary = drive::pipeline(&random.bytes(SCRIPT_LENGTH));
        total.packets += summary.packets;
        total.left += summary.left;
        total.drops.extend(summary.drops);
    }
    println!("{total:?}");
    assert!(total.left > PACKETS / 20, "scripts that forward little test little: {total:?}");
}

#[test]
fn random_frames_are_parsed_alike() {
    let mut random = Random(SEED);
    for _ in 0..PACKETS {
        let length = 14 + random.next() as usize % 60;
        let mut frame = random.bytes(length);
        // Most random frames end at their EtherType; these do not.
        frame[12..14].copy_from_slice(&[8, 0]);
        if let Some(byte) = frame.get_mut(14) {
            *byte = 0x45;
        }
        drive::parse(&frame);
    }
}

#[test]
fn random_headers_of_tunnels_are_read_or_refused() {
    let mut random = Random(SEED);
    for _ in 0..PACKETS / 4 {
        // Options of Geneve whose lengths mostly fill the room that the header tells.
        let mut options = Vec::new();
        for _ in 0..random.next() % 4 {
            let words = random.next() as u8 % 4;
            options.extend([1, 2, random.next() as u8 & 0x83, words]);
            options.extend(random.bytes(usize::from(words) * 4));
        }
        let mut datagram = vec![(options.len() / 4) as u8, 0, 0x65, 0x58, 0, 0, 9, 0];
        datagram.extend(options);
        let length = random.next() as usize % 80;
        datagram.extend(random.bytes(length));
        let flips = random.next() % 3;
        for _ in 0..flips {
            let at = random.next() as usize % datagram.len();
            datagram[at] = random.next() as u8;
        }
        drive::tunnel(&datagram);
        // The same as a frame, whose congestion bits are looked at.
        if let Some(frame) = datagram.get_mut(..16) {
            frame[12..14].copy_from_slice(&if random.next().is_multiple_of(2) {
                [8, 0]
            } else {
                [0x86, 0xdd]
            });
            frame[14] = if frame[12] == 8 { 0x45 } else { 0x60 };
            drive::tunnel(&datagram);
        }
    }
}

#[test]
fn random_requests_by_dhcp_are_answered_or_not() {
    let mut random = Random(SEED);
    for _ in 0..PACKETS / 4 {
        let mut message = vec![0; 240];
        message[..3].copy_from_slice(&[1, 1, 6]);
        message[236..].copy_from_slice(&[99, 130, 83, 99]);
        message.extend([53, 1, 1 + (random.next() >> 61) as u8]);
        for _ in 0..random.next() % 8 {
            let codes = [50, 52, 54, 55, 57, 61, 82];
            let code = codes[random.next() as usize % codes.len()];
            let length = random.next() as usize % 6;
            message.extend([code, length as u8]);
            message.extend(random.bytes(length));
        }
        let flips = random.next() % 3;
        for _ in 0..flips {
            let at = random.next() as usize % message.len();
            message[at] = random.next() as u8;
        }
        drive::dhcp4(&message);
    }
}

#[test]
fn random_requests_by_dhcpv6_are_answered_or_not() {
    let mut random = Random(SEED);
    let option = |message: &mut Vec<u8>, code: u8, data: &[u8]| {
        message.extend([0, code, (data.len() >> 8) as u8, data.len() as u8]);
        message.extend(data);
    };
    for _ in 0..PACKETS / 4 {
        let mut message = vec![1 + random.next() as u8 % 13, 1, 2, random.next() as u8];
        let length = 3 + random.next() as usize % 20;
        option(&mut message, 1, &random.bytes(length));
        if random.next().is_multiple_of(2) {
            option(&mut message, 2, &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1]);
        }
        for _ in 0..random.next() % 5 {
            let code = [3, 4, 6, 14, 25, 39][random.next() as usize % 6];
            let length = [12, 4, 2, 0, 12, 5][random.next() as usize % 6];
            let mut data = random.bytes(length);
            for _ in 0..random.next() % 40 {
                option(&mut data, 5, &[&[0x20; 16][..], &[0; 8]].concat());
            }
            option(&mut message, code, &data);
        }
        if random.next().is_multiple_of(4) {
            let at = random.next() as usize % message.len();
            message[at] = random.next() as u8;
        }
        drive::dhcp6(&message);
    }
}

#[test]
fn random_messages_of_the_dns_are_read_or_not() {
    let mut random = Random(SEED);
    for _ in 0..PACKETS / 4 {
        let counts = [random.next() >> 62, random.next() >> 62, random.next() >> 62];
        let mut message = random.bytes(2);
        message.extend([
            (random.next() >> 60) as u8 * 8 + 1,
            0,
            0,
            1,
            0,
            counts[0] as u8,
            0,
            counts[1] as u8,
            0,
            counts[2] as u8,
        ]);
        message.extend(*b"\x03www\x07example\0\0\x01\0\x01");
        for _ in 0..counts.iter().sum::<u64>() {
            let names: [&[u8]; 4] = [&[0xc0, 12], &[0], b"\x01a\xc0\x10", &[0xc0, 29]];
            message.extend(names[random.next() as usize % names.len()]);
            let length = random.next() as usize % 24;
            let kinds = [1, 6, 28, 41];
            message.extend([
                0,
                kinds[random.next() as usize % kinds.len()],
                0,
                1,
                0,
                0,
                0,
                60,
                0,
                length as u8,
            ]);
            message.extend(random.bytes(length));
        }
        if random.next().is_multiple_of(2) {
            let at = random.next() as usize % message.len();
            message[at] = random.next() as u8;
        }
        drive::dns(&message);
        message[2] |= 0x80;
        drive::dns(&message);
    }
}

#[test]
fn random_captures_are_read_or_refused() {
    let mut random = Random(SEED);
    for _ in 0..2_000 {
        let mut file = edgestack_dataplane::io::pcap_file::file_header(64).to_vec();
        let length = random.next() as usize % 200;
        file.extend(random.bytes(length));
        drive::pcap(&file);
        let length = random.next() as usize % 64;
        drive::pcap(&random.bytes(length));
    }
}

#[test]
fn what_fuzzing_found_stays_fixed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/regressions");
    for (target, run) in [
        ("parse", (|data: &[u8]| drive::parse(data)) as fn(&[u8])),
        ("pipeline", |data| {
            drive::pipeline(data);
        }),
        ("tunnel", |data| drive::tunnel(data)),
        ("dhcp4", |data| drive::dhcp4(data)),
        ("dhcp6", |data| drive::dhcp6(data)),
        ("dns", |data| drive::dns(data)),
        ("pcap", |data| drive::pcap(data)),
    ] {
        for entry in std::fs::read_dir(root.join(target)).into_iter().flatten().flatten() {
            let data = std::fs::read(entry.path()).expect("a regression is readable");
            run(&data);
        }
    }
}
