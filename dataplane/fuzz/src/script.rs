//! Bytes as a script for an engine: packets, some sound and some not, time, and changes of configuration.
//!
//! Whatever the script, the engine takes every packet of a batch, sends only by ports that exist, and gives
//! every frame back.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use edgestack_dataplane::config::Config;
use edgestack_dataplane::engine::{Engine, EngineSettings, Transmit, Worker};
use edgestack_dataplane::packet::{FRAME_SIZE, FramePool, HEADROOM};
use edgestack_dataplane::tables::region::Regions;

#[path = "carry.rs"]
mod carry;
#[path = "site.rs"]
mod site;

/// Most operations of a script.
const OPERATIONS_MAX: usize = 4096;
/// Buckets of the flow table: few, so that it fills.
const BUCKETS: u32 = 8;
/// Sessions that there may be.
const SESSIONS: u32 = 24;
/// Frames of the pool: few, so that it runs empty while packets wait for ARP.
const FRAMES: u32 = 48;
/// Ticks after which nothing waits any more.
const SETTLE_TICKS: u32 = 100;

/// The bytes of a script, read from the front; zero at the end.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    fn half(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }
}

/// What a script did, so that a test can tell whether it did anything.
#[derive(Debug, Default)]
pub struct Summary {
    /// Packets sent to the engine.
    pub packets: usize,
    /// Packets that left.
    pub left: usize,
    /// Labels of the reasons that packets were dropped for.
    pub drops: BTreeSet<String>,
}

/// Runs a script.
pub fn run(script: &[u8]) -> Summary {
    let mut cursor = Cursor { rest: script };
    let mut run = Run::new();
    run.apply(0);
    for _ in 0..OPERATIONS_MAX {
        if cursor.rest.is_empty() {
            break;
        }
        match cursor.byte() {
            0..=219 => {
                let (port, frame) = packet(&mut cursor);
                run.send(port, &frame);
            }
            220..=229 => {
                let port = cursor.choose(&site::PORTS);
                let length = usize::from(cursor.byte()).min(cursor.rest.len());
                let (frame, rest) = cursor.rest.split_at(length);
                run.send(port, frame);
                cursor.rest = rest;
            }
            230..=231 => {
                let ticks = u32::from(cursor.half()) % 4000;
                run.advance(ticks.max(1));
            }
            _ => {
                let variant = cursor.half();
                run.apply(variant);
            }
        }
    }
    run.finish();
    run.summary
}

struct Run {
    engine: Engine,
    worker: Worker,
    pool: FramePool,
    now_ticks: u32,
    config: Config,
    summary: Summary,
}

impl Run {
    fn new() -> Self {
        let regions = Regions::anonymous(BUCKETS, SESSIONS, 7).expect("memory");
        let engine = Engine::new(regions, EngineSettings::default()).expect("fresh regions fit");
        let worker = engine.worker(0);
        let pool = FramePool::new(FRAMES).expect("memory");
        Self { engine, worker, pool, now_ticks: 1, config: Config::default(), summary: Summary::default() }
    }

    fn apply(&mut self, variant: u16) {
        self.config = site::config(variant);
        self.engine.apply(&self.config).expect("every variant is sound");
        site::plug(&self.engine, &self.config, (variant & 0x4000 != 0).then_some(0));
    }

    fn send(&mut self, port: &str, frame: &[u8]) {
        self.summary.packets += 1;
        let number = self.engine.port_number(port).unwrap_or(4000);
        let Some(mut packet) = self.pool.allocate(number) else { return };
        self.pool.write(&mut packet, &frame[..frame.len().min(FRAME_SIZE - HEADROOM)]);
        let (mut batch, mut output) = (vec![packet], Vec::new());
        self.engine.process(&mut self.worker, &mut self.pool, &mut batch, &mut output);
        assert!(batch.is_empty(), "a packet was left in the batch");
        self.drain(output);
    }

    fn advance(&mut self, ticks: u32) {
        let mut output = Vec::new();
        for _ in 0..ticks {
            self.now_ticks = self.now_ticks.wrapping_add(1);
            self.engine.tick(&mut self.worker, &mut self.pool, self.now_ticks, &mut output);
        }
        self.drain(output);
    }

    fn drain(&mut self, output: Vec<Transmit>) {
        for Transmit { port, packet } in output {
            let is_known =
                self.config.ports.iter().any(|known| self.engine.port_number(&known.id) == Some(port));
            assert!(is_known, "a packet leaves by port {port}, which does not exist");
            assert!(self.pool.data(&packet).len() >= 14, "what leaves is no frame");
            self.pool.free(packet);
            self.summary.left += 1;
        }
    }

    fn finish(&mut self) {
        let counters = self.engine.counters_view();
        assert!(counters.sessions <= u64::from(SESSIONS), "more sessions than there may be");
        self.advance(SETTLE_TICKS);
        let drops = self.engine.drops_view().into_iter().filter(|drop| drop.packets > 0);
        self.summary.drops = drops.map(|drop| drop.reason).collect();
        assert_eq!(self.pool.available(), self.pool.capacity(), "frames leaked");
    }
}

/// A packet of the script: mostly sound, of addresses that mean something.
fn packet(cursor: &mut Cursor<'_>) -> (&'static str, Vec<u8>) {
    let port = cursor.choose(&site::PORTS);
    let destination_mac = match cursor.byte() {
        0..=207 => site::gateway_mac(port),
        _ => cursor.choose(&site::MACS),
    };
    let source_mac = match cursor.byte() {
        0..=239 => site::own_mac(port),
        _ => cursor.choose(&site::MACS),
    };
    let source = match cursor.byte() {
        0..=199 => site::own_ip(port),
        _ => cursor.choose(&site::ADDRESSES),
    };
    let mut frame = Vec::with_capacity(128);
    frame.extend(destination_mac);
    frame.extend(source_mac);
    let kind = cursor.byte();
    if kind >= 240 {
        arp(cursor, &mut frame, source_mac, source);
    } else {
        frame.extend([8, 0]);
        // A frame to a workload mostly carries a packet for it: others end at the destination stage.
        let destination = match site::ip_of(destination_mac) {
            Some(own) if cursor.byte() < 240 => own,
            _ => cursor.choose(&site::ADDRESSES),
        };
        let datagram = ipv4(cursor, kind, source, destination);
        frame.extend(datagram);
    }
    damage(cursor, &mut frame);
    let port = carry::carry(cursor, port, &mut frame);
    (port, frame)
}

fn arp(cursor: &mut Cursor<'_>, frame: &mut Vec<u8>, source_mac: [u8; 6], source: Ipv4Addr) {
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1 + cursor.byte() % 2]);
    frame.extend(source_mac);
    frame.extend(source.octets());
    frame.extend(cursor.choose(&site::MACS));
    frame.extend(cursor.choose(&site::ADDRESSES).octets());
}

fn ipv4(cursor: &mut Cursor<'_>, kind: u8, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let (protocol, payload) = match kind {
        0..=99 => (17, udp(cursor, source, destination)),
        100..=179 => (6, tcp(cursor, source, destination)),
        180..=209 => (1, echo(cursor)),
        210..=229 => (1, icmp_error(cursor)),
        _ => (cursor.byte(), vec![cursor.byte(); 24]),
    };
    let ttl = cursor.choose(&[64, 2, 1, 0, 255]);
    let fragment = cursor.choose(&[0x4000, 0, 0, 0x4000, 0, 0x4000, 0x2000, 0x0010]);
    header(protocol, ttl, fragment, source, destination, payload)
}

fn header(
    protocol: u8,
    ttl: u8,
    fragment: u16,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    payload: Vec<u8>,
) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([ttl, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let checksum = checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}

fn udp(cursor: &mut Cursor<'_>, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let length = usize::from(cursor.choose(&[0_u16, 1, 18, 1472]));
    let mut datagram = ports(cursor);
    datagram.extend((8 + length as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.resize(8 + length, 0x55);
    finish_transport(&mut datagram, 6, 17, source, destination);
    datagram
}

fn tcp(cursor: &mut Cursor<'_>, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let mut segment = ports(cursor);
    segment.extend(u32::from(cursor.byte()).to_be_bytes());
    segment.extend(u32::from(cursor.byte()).to_be_bytes());
    let flags = cursor.choose(&[0x02, 0x12, 0x10, 0x18, 0x11, 0x14, 0x04, 0x00, 0x03, 0xff]);
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.resize(20 + usize::from(cursor.choose(&[0_u16, 7, 1460])), 0x55);
    finish_transport(&mut segment, 16, 6, source, destination);
    segment
}

fn echo(cursor: &mut Cursor<'_>) -> Vec<u8> {
    let kind = cursor.choose(&[8, 0]);
    let mut message = vec![kind, 0, 0, 0, 0, cursor.byte() % 4, 0, 1, 1, 2, 3, 4, 5];
    finish_icmp(&mut message);
    message
}

/// An error about a packet of the same kinds of addresses, so that it may be about one that is known.
fn icmp_error(cursor: &mut Cursor<'_>) -> Vec<u8> {
    let (source, destination) = (cursor.choose(&site::ADDRESSES), cursor.choose(&site::ADDRESSES));
    let (protocol, quoted) = match cursor.byte() % 4 {
        0 => (6, tcp(cursor, source, destination)),
        1 => (1, echo(cursor)),
        _ => (17, udp(cursor, source, destination)),
    };
    let quoted = header(protocol, 60, 0, source, destination, quoted);
    let mut message = vec![cursor.choose(&[3, 11, 12, 5]), cursor.byte() % 6, 0, 0, 0, 0, 0x05, 0x14];
    let length = usize::from(cursor.choose(&[28_u16, 28, 48, 576, 20, 0]));
    message.extend(&quoted[..length.min(quoted.len())]);
    finish_icmp(&mut message);
    message
}

fn ports(cursor: &mut Cursor<'_>) -> Vec<u8> {
    let port = |number: u8| 2000 + u16::from(number % 6);
    let mut bytes = port(cursor.byte()).to_be_bytes().to_vec();
    bytes.extend(port(cursor.byte()).to_be_bytes());
    bytes
}

fn finish_transport(
    bytes: &mut [u8],
    checksum_at: usize,
    protocol: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
) {
    let mut pseudo = source.octets().to_vec();
    pseudo.extend(destination.octets());
    pseudo.extend([0, protocol]);
    pseudo.extend((bytes.len() as u16).to_be_bytes());
    pseudo.extend(bytes.iter());
    let checksum = checksum(&pseudo);
    bytes[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn finish_icmp(message: &mut [u8]) {
    let checksum = checksum(message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Now and then cuts, lengthens or overwrites the frame.
fn damage(cursor: &mut Cursor<'_>, frame: &mut Vec<u8>) {
    match cursor.byte() {
        0..=215 => {}
        216..=225 => frame.truncate(usize::from(cursor.byte())),
        226..=235 => frame.extend(vec![0; usize::from(cursor.byte())]),
        _ => {
            for _ in 0..=cursor.byte() % 4 {
                let at = usize::from(cursor.byte()) % frame.len().clamp(1, 80);
                if let Some(byte) = frame.get_mut(at) {
                    *byte = cursor.byte();
                }
            }
        }
    }
}
