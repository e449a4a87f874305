//! Names, sizes and single-record contents of the maps.

/// Raised with every change of a layout in this crate; part of the pin directory's name.
pub const ABI_VERSION: u32 = 6;
/// Length of a tick in milliseconds. All times in shared memory are 32-bit counts of ticks.
pub const TICK_MS: u32 = 100;
/// Ports of one host; port 0 is none. Each costs 64 bytes in [`PORTS`], 8 in [`DEVICES`] and 64 for each CPU in
/// [`PORT_COUNTERS`]: 3.1 MiB on a host of two CPUs.
pub const MAX_PORTS: u32 = 16_384;
/// Largest interface index that a port may have, plus one. Indices only rise: a host that makes interfaces for
/// short-lived workloads passes 65,536 within weeks.
pub const MAX_INTERFACE_INDEX: u32 = 1_048_576;
/// AF_XDP sockets of one host.
pub const MAX_SOCKETS: u32 = 1024;
/// Buckets of the flow table where the configuration names no size: half a million entries.
pub const DEFAULT_BUCKETS: u32 = 131_072;

/// `Array<FlowBucket>`, mmapable: the flow table.
pub const FLOWS: &str = "FLOWS";
/// `Array<u64>`, mmapable: the tags of the flow table's buckets.
pub const FLOW_TAGS: &str = "FLOW_TAGS";
/// `Array<Session>`, mmapable: the sessions, which only the engine uses.
pub const SESSIONS: &str = "SESSIONS";
/// `Array<SessionAddresses>`, mmapable: the IPv6 addresses of the sessions, by number.
pub const SESSION_ADDRESSES: &str = "SESSION_ADDRESSES";
/// `Array<PortEntry>` by port number, mmapable.
pub const PORTS: &str = "PORTS";
/// `Array<TunnelEntry>` by tunnel number, mmapable.
pub const TUNNELS: &str = "TUNNELS";
/// `Array<u64>` of `tunnel::INDEX_BUCKETS`, mmapable: tunnel numbers by what frames come with.
pub const TUNNEL_INDEX: &str = "TUNNEL_INDEX";
/// `Array<[u32; MAX_INTERFACE_INDEX]>` with one record, mmapable: the port number by interface index, 0 for none. One
/// record, because the kernel rounds each up to eight bytes.
pub const PORT_BY_INTERFACE: &str = "PORT_BY_INTERFACE";
/// `Array<Control>` with one record, mmapable.
pub const CONTROL: &str = "CONTROL";
/// `PerCpuArray<PortCounters>` by port number.
pub const PORT_COUNTERS: &str = "PORT_COUNTERS";
/// `PerCpuArray<u64>` by drop reason.
pub const DROPS: &str = "DROPS";
/// `DevMap` by port number: where XDP redirects to.
pub const DEVICES: &str = "DEVICES";
/// `XskMap`: the engine's AF_XDP sockets.
pub const SOCKETS: &str = "SOCKETS";

/// XDP program of uplinks and of workload ports with `attach = "xdp"`.
pub const PROGRAM_XDP_PORT: &str = "edgestack_xdp_port";
/// XDP program of the engine's end of the trunk: hands every frame to the engine's socket.
pub const PROGRAM_XDP_TRUNK: &str = "edgestack_xdp_trunk";
/// TC ingress program of workload ports and uplinks.
pub const PROGRAM_TC_PORT: &str = "edgestack_tc_port";
/// TC ingress program of the kernel's end of the trunk: sends the engine's frames out of their ports.
pub const PROGRAM_TC_TRUNK: &str = "edgestack_tc_trunk";

/// What the engine tells tier 0: one record of 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Control {
    /// Seed of the flow hash; drawn once when the table is made.
    pub hash_seed: u64,
    /// Number of buckets less one; the number is a power of two.
    pub bucket_mask: u32,
    /// The engine's clock in ticks. It stands still while no engine runs, so that a restart ages no flow.
    pub now_ticks: u32,
    /// 1: tier 0 forwards; 0: it hands everything to the engine (`fast_path = "off"`).
    pub tier0_enabled: u32,
    /// Interface index of the kernel's end of the trunk, 0 while there is none.
    pub trunk_interface_index: u32,
    /// Index into [`SOCKETS`] of the trunk's socket of queue 0.
    pub trunk_first_socket: u32,
    /// Always 0.
    pub zero: [u32; 9],
}

const _: () = assert!(size_of::<Control>() == 64);
