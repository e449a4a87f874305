//! What the lab's kernel programs and the bench that loads them both know: maps, records, the shape of a frame.
//!
//! The bench compiles this very file as one of its modules; it uses nothing but `core`.

/// `Array<Source>` with one record: what to send.
pub const SOURCE: &str = "SOURCE";
/// `Array<u32>` with one record: 1 makes the sink take the census.
pub const CENSUS_ENABLED: &str = "CENSUS_ENABLED";
/// `Array<u64>`: one bit per destination and source port seen while the census is taken.
pub const CENSUS: &str = "CENSUS";
/// `PerCpuArray<Sink>` with one record: what arrived.
pub const SINK: &str = "SINK";
/// `DevMap` with one record: where the plain redirect sends to.
pub const REDIRECT: &str = "REDIRECT";

/// XDP, run by `BPF_PROG_RUN` with live frames: makes every frame anew and sends it.
pub const PROGRAM_SOURCE: &str = "lab_source";
/// XDP: counts and drops what the source sent, leaves the rest to the stack.
pub const PROGRAM_SINK: &str = "lab_sink";
/// XDP: sends every UDP packet on as it is, leaves the rest to the stack.
pub const PROGRAM_REDIRECT: &str = "lab_redirect";

/// Length of a frame: an Ethernet frame of minimal length, without its check sequence.
pub const FRAME_LENGTH: usize = 60;
/// Hosts that send; their addresses follow each other.
pub const HOSTS: u32 = 256;
/// Destinations; their addresses follow each other.
pub const DESTINATIONS: u32 = 64;
/// The port that is sent to.
pub const DESTINATION_PORT: u16 = 4789;
/// Smallest source port.
pub const SOURCE_PORT_MIN: u32 = 1024;
/// Number of source ports.
pub const SOURCE_PORTS: u32 = 60_000;
/// Words of the census: a bit for each destination and port.
pub const CENSUS_WORDS: u32 = DESTINATIONS * 65_536 / 64;

/// What the source sends: flow after flow, one packet each, round and round.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Source {
    /// Number of flows.
    pub flows: u32,
    /// The flow that comes next.
    pub next: u32,
    /// Address of the first host, host byte order.
    pub first_host: u32,
    /// Address of the first destination, host byte order.
    pub first_destination: u32,
    /// Destination and source MAC address.
    pub ethernet: [u8; 12],
}

/// What the sink received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sink {
    /// UDP packets.
    pub packets: u64,
    /// Of these, with a wrong IP or UDP checksum; counted during a census only.
    pub broken: u64,
}

/// Host, destination and source port of a flow. Flows are spread over the hosts first, then the destinations; the
/// ports of one host towards one destination differ, those of several hosts overlap as they do in real life.
pub const fn flow(number: u32) -> (u32, u32, u16) {
    let host = number % HOSTS;
    let destination = number / HOSTS % DESTINATIONS;
    let round = number / (HOSTS * DESTINATIONS);
    let port = SOURCE_PORT_MIN + (round * 997 + host * 241 + destination * 31) % SOURCE_PORTS;
    (host, destination, port as u16)
}
