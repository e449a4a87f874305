//! The maps, with the names of [`edgestack_abi::maps`]. The loader sets the sizes of [`FLOWS`],
//! [`FLOW_TAGS`], [`SESSIONS`] and [`SESSION_ADDRESSES`]; those written here are the smallest.
//!
//! Lookups in plain and per-CPU arrays become a bounds check and an addition when the kernel compiles the
//! programs; none of them is a call.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, DevMap, PerCpuArray, XskMap};
use edgestack_abi::maps::{Control, MAX_INTERFACE_INDEX, MAX_PORTS, MAX_SOCKETS};
use edgestack_abi::tunnel::{INDEX_BUCKETS, MAX_TUNNELS};
use edgestack_abi::{FlowBucket, PortCounters, PortEntry, Session, SessionAddresses, TunnelEntry};

/// `BPF_F_MMAPABLE` (include/uapi/linux/bpf.h): user space maps the array as memory.
const MMAPABLE: u32 = 1 << 10;
/// Room for every reason that one byte can tell, so that a new reason does not change the map.
const REASONS_MAX: u32 = 256;

#[map]
pub static FLOWS: Array<FlowBucket> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub static FLOW_TAGS: Array<u64> = Array::with_max_entries(1, MMAPABLE);
/// Never read here; declared so that it is made, pinned and found with the others.
#[map]
pub static SESSIONS: Array<Session> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub static SESSION_ADDRESSES: Array<SessionAddresses> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub static PORTS: Array<PortEntry> = Array::with_max_entries(MAX_PORTS, MMAPABLE);
#[map]
pub static PORT_BY_INTERFACE: Array<[u32; MAX_INTERFACE_INDEX as usize]> =
    Array::with_max_entries(1, MMAPABLE);
#[map]
pub static TUNNELS: Array<TunnelEntry> = Array::with_max_entries(MAX_TUNNELS, MMAPABLE);
#[map]
pub static TUNNEL_INDEX: Array<u64> = Array::with_max_entries(INDEX_BUCKETS, MMAPABLE);
#[map]
pub static CONTROL: Array<Control> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub static PORT_COUNTERS: PerCpuArray<PortCounters> = PerCpuArray::with_max_entries(MAX_PORTS, 0);
#[map]
pub static DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(REASONS_MAX, 0);
#[map]
pub static DEVICES: DevMap = DevMap::with_max_entries(MAX_PORTS, 0);
#[map]
pub static SOCKETS: XskMap = XskMap::with_max_entries(MAX_SOCKETS, 0);

/// The control record. It is there whenever the map is; the kernel's verifier cannot know.
#[inline(always)]
pub fn control() -> Option<&'static Control> {
    CONTROL.get(0)
}

/// The number of the port that an interface is, 0 for none.
#[inline(always)]
pub fn port_number(interface_index: u32) -> u16 {
    match PORT_BY_INTERFACE.get(0) {
        Some(numbers) if interface_index < MAX_INTERFACE_INDEX => numbers[interface_index as usize] as u16,
        _ => 0,
    }
}

/// A port's entry. Port 0 has one too: all zero, so that nothing matches it.
#[inline(always)]
pub fn port(number: u16) -> Option<&'static PortEntry> {
    PORTS.get(number as u32)
}
