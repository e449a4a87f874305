//! The programs over a table written by hand: two ports, flows between them, packets through XDP and TC.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use edgestack_abi::checksum::{difference, fold};
use edgestack_abi::flow::{
    BUCKET_ENTRIES, DECREMENT_TTL, REWRITE_ETHERNET, TIER0, TRANSLATE, VALID, bucket_indices, tag,
};
use edgestack_abi::port::{PORT_UP, PORT_XDP_TRANSMIT};
use edgestack_abi::{FlowEntry, FlowKey, FlowVerdict, PortEntry};
use edgestack_dataplane::fastpath::{FastPath, SkbOptions, TableSizes, TestRun};
use edgestack_dataplane::tables::region::Regions;

use crate::packet::{Frame, Transport};

/// Port of the workload.
pub(crate) const INSIDE: u16 = 3;
/// Port of the outside.
pub(crate) const OUTSIDE: u16 = 16_383;
pub(crate) const MTU: u16 = 1500;
pub(crate) const SIZES: TableSizes = TableSizes { buckets: 1024, sessions: 16 };
pub(crate) const NOW_TICKS: u32 = 777;

pub(crate) const WORKLOAD_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
pub(crate) const ROUTER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 2];
pub(crate) const GATEWAY_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 3];
pub(crate) const INTERFACE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 4];

/// Which program a packet goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Xdp,
    Tc,
}

pub(crate) const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];

/// Loaded programs, their tables, and a socket for what goes to the engine.
pub(crate) struct Rig {
    pub(crate) fast_path: FastPath,
    pub(crate) regions: Regions,
}

/// Where a flow's entry is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) bucket: u32,
    pub(crate) entry: usize,
}

impl Rig {
    /// A fast path that pins nothing, with two ports that are up, and a trunk.
    pub(crate) fn new() -> Self {
        Self::over(FastPath::load_unpinned(None, "ebpf-test", SIZES).expect("load the programs"))
    }

    pub(crate) fn over(mut fast_path: FastPath) -> Self {
        let regions = fast_path.regions().expect("map the tables");
        for port in [INSIDE, OUTSIDE] {
            fast_path.set_device(port, Some(1)).expect("set the device");
        }
        let rig = Self { fast_path, regions };
        rig.reset();
        rig
    }

    /// A fast path over tables that another left, as they are.
    pub(crate) fn adopt(fast_path: FastPath) -> Self {
        let regions = fast_path.regions().expect("map the tables");
        Self { fast_path, regions }
    }

    /// Puts the ports and the control record back as [`Rig::new`] makes them. Flows and counters stay.
    pub(crate) fn reset(&self) {
        for port in [INSIDE, OUTSIDE] {
            self.regions.ports.write(usize::from(port), port_entry(port));
        }
        let mut control = self.regions.control.read(0);
        control.now_ticks = NOW_TICKS;
        control.tier0_enabled = 1;
        control.trunk_interface_index = 1;
        self.regions.control.write(0, control);
    }

    /// Puts an AF_XDP socket where misses of both ports go. It lives as long as the guard.
    pub(crate) fn plug_engine(&mut self) -> OwnedFd {
        let socket = socket();
        self.fast_path.set_socket(0, Some(socket.as_fd())).expect("set the socket");
        socket
    }

    pub(crate) fn run(&self, hook: Hook, port: u16, frame: &[u8]) -> TestRun {
        let run = match hook {
            Hook::Xdp => self.fast_path.run_xdp(&self.regions, port, frame),
            Hook::Tc => self.fast_path.run_tc(&self.regions, port, frame, SkbOptions::default()),
        };
        run.expect("run the program")
    }

    /// Writes a flow into the first entry of its first bucket.
    pub(crate) fn insert(&self, key: FlowKey, verdict: FlowVerdict) -> Place {
        let control = self.regions.control.read(0);
        let hash = key.hash(control.hash_seed);
        let (bucket, _) = bucket_indices(hash, control.bucket_mask);
        self.insert_at(Place { bucket, entry: 0 }, key, verdict)
    }

    /// All places where the programs look for a key.
    pub(crate) fn places(&self, key: FlowKey) -> Vec<Place> {
        let control = self.regions.control.read(0);
        let (first, second) = bucket_indices(key.hash(control.hash_seed), control.bucket_mask);
        [first, second]
            .into_iter()
            .flat_map(|bucket| (0..BUCKET_ENTRIES).map(move |entry| Place { bucket, entry }))
            .collect()
    }

    pub(crate) fn insert_at(&self, place: Place, key: FlowKey, verdict: FlowVerdict) -> Place {
        self.update(place, |entry| *entry = FlowEntry { key, verdict, ..FlowEntry::default() });
        self.set_tag(place, tag(key.hash(self.regions.control.read(0).hash_seed)));
        place
    }

    /// Writes the tag of an entry; 0 says that it holds no flow.
    pub(crate) fn set_tag(&self, place: Place, tag: u16) {
        let (bucket, shift) = (place.bucket as usize, 16 * place.entry);
        let others = self.regions.flow_tags.read(bucket) & !(0xffff << shift);
        self.regions.flow_tags.write(bucket, others | u64::from(tag) << shift);
    }

    pub(crate) fn update(&self, place: Place, change: impl FnOnce(&mut FlowEntry)) {
        let mut bucket = self.regions.flows.read(place.bucket as usize);
        change(&mut bucket.entries[place.entry]);
        self.regions.flows.write(place.bucket as usize, bucket);
    }

    pub(crate) fn entry(&self, place: Place) -> FlowEntry {
        self.regions.flows.read(place.bucket as usize).entries[place.entry]
    }

    pub(crate) fn set_port(&self, port: u16, change: impl FnOnce(&mut PortEntry)) {
        let mut entry = self.regions.ports.read(usize::from(port));
        change(&mut entry);
        self.regions.ports.write(usize::from(port), entry);
    }
}

fn port_entry(port: u16) -> PortEntry {
    PortEntry {
        epoch: u32::from(port) * 100_000,
        interface_index: 1,
        flags: PORT_UP | PORT_XDP_TRANSMIT,
        mtu: MTU,
        first_socket: 0,
        interface_mac: INTERFACE_MAC,
        ..PortEntry::default()
    }
}

fn socket() -> OwnedFd {
    // SAFETY: a plain system call; the result is checked before it is owned.
    let socket = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    assert!(socket >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor is new and nobody else's.
    unsafe { OwnedFd::from_raw_fd(socket) }
}

/// A packet of the workload to somebody outside.
pub(crate) fn outbound(transport: Transport) -> Frame {
    Frame {
        ethernet_source: WORKLOAD_MAC,
        ethernet_destination: ROUTER_MAC,
        source: [10, 0, 0, 5],
        destination: [198, 51, 100, 7],
        source_port: 40_000,
        destination_port: 443,
        time_to_live: 64,
        transport,
        payload_length: 33,
    }
}

/// What the gateway makes of `outbound`: routed, translated to its own address and another port.
pub(crate) fn translated(frame: Frame) -> Frame {
    Frame {
        ethernet_source: ROUTER_MAC,
        ethernet_destination: GATEWAY_MAC,
        source: [203, 0, 113, 9],
        source_port: 61_111,
        time_to_live: frame.time_to_live - 1,
        ..frame
    }
}

/// The flow key of a frame received on `in_port`.
pub(crate) fn key(frame: &Frame, in_port: u16) -> FlowKey {
    let (source_port, destination_port, protocol) = match frame.transport {
        Transport::Tcp { .. } => (frame.source_port, frame.destination_port, 6),
        Transport::Udp { .. } => (frame.source_port, frame.destination_port, 17),
        Transport::Icmp { kind: 8 } => (frame.source_port, 0, 1),
        Transport::Icmp { .. } => (0, frame.source_port, 1),
    };
    FlowKey {
        source: u32::from_ne_bytes(frame.source),
        destination: u32::from_ne_bytes(frame.destination),
        source_port: source_port.to_be(),
        destination_port: destination_port.to_be(),
        in_port,
        protocol,
        family: 0,
    }
}

/// The verdict that makes `after` of `before`.
pub(crate) fn verdict(before: &Frame, after: &Frame) -> FlowVerdict {
    let (old, new) = (key(before, INSIDE), key(after, INSIDE));
    let addresses = difference(old.source, new.source) + difference(old.destination, new.destination);
    let ports = difference(u32::from(old.source_port), u32::from(new.source_port))
        + difference(u32::from(old.destination_port), u32::from(new.destination_port));
    FlowVerdict {
        epoch: (u32::from(INSIDE) * 100_000).wrapping_add(u32::from(OUTSIDE) * 100_000),
        flags: VALID | TIER0 | DECREMENT_TTL | TRANSLATE | REWRITE_ETHERNET,
        out_port: OUTSIDE,
        source: new.source,
        destination: new.destination,
        source_port: new.source_port,
        destination_port: new.destination_port,
        address_delta: fold(addresses),
        port_delta: fold(ports),
        ethernet_destination: after.ethernet_destination,
        ethernet_source: after.ethernet_source,
        match_ethernet_destination: before.ethernet_destination,
        match_ethernet_source: before.ethernet_source,
    }
}
