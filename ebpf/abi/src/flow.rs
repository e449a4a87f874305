//! The flow table: one table in shared memory, written by the engine and read by the kernel programs.
//!
//! The table is a `BPF_F_MMAPABLE` array of buckets. The engine maps it and works on it as plain memory; the
//! kernel programs look into the very same memory. So there is one lookup per packet, one set of counters, no
//! system call to install a flow, and nothing to hand over when the daemon restarts.
//!
//! A flow has two candidate buckets (see [`FlowKey::hash`], [`bucket_indices`]) of four entries each. An entry
//! is two cache lines: all that forwarding needs in the first, counters in the second. A second, small array holds a
//! word of [`tag`]s per bucket, eight buckets in a cache line, so that a lookup knows which entry to read: the table
//! itself is too large for any cache, and every entry that is read in vain costs a trip to memory.
//!
//! Protocol of the shared memory:
//! - The engine writes an entry completely, then sets [`VALID`] in its flags with a release store.
//! - A tag is a hint, set after its entry is valid and cleared before it is not: the key in the entry decides.
//! - A valid entry's key and verdict never change, but for its epoch and its [`TIER0`] flag.
//! - To change a verdict the engine writes another entry and then clears [`VALID`] of the old one.
//! - An entry that was valid is written again no sooner than [`QUARANTINE_TICKS`] after: a program that still
//!   reads it sees the old flow, whole.
//! - The counters and [`FlowEntry::last_seen_ticks`] are stamped by whoever forwards the packet, without a
//!   lock; a lost increment between two cores is accepted.

/// Entries of a bucket.
pub const BUCKET_ENTRIES: usize = 4;
/// How long a freed entry rests before it is used again, in ticks of [`crate::maps::TICK_MS`].
pub const QUARANTINE_TICKS: u32 = 3;

/// The entry holds a flow.
pub const VALID: u16 = 1 << 0;
/// Tier 0 may forward this flow; without it every packet goes to the engine.
pub const TIER0: u16 = 1 << 1;
/// The packet is routed: the time to live is decremented. Not set for traffic within a network.
pub const DECREMENT_TTL: u16 = 1 << 2;
/// Addresses or ports change: the new ones and the checksum deltas apply.
pub const TRANSLATE: u16 = 1 << 3;
/// The MAC addresses change.
pub const REWRITE_ETHERNET: u16 = 1 << 4;
/// The entry is the reply direction of its session.
pub const REPLY: u16 = 1 << 5;

/// What identifies a flow: the 5-tuple as received, and the port it was received on.
///
/// The ingress port stands for the tenant's address space, so that equal addresses of two tenants never meet,
/// and a workload cannot use another's flow by forging its addresses.
///
/// Addresses and transport ports are in network byte order, as in the packet. For an ICMP echo request
/// `source_port` is the identifier and `destination_port` is 0; for a reply it is the other way round, so
/// that translation treats the identifier as a port. Layout: 16 bytes, compared as two 64-bit words.
///
/// IPv6 addresses do not fit: the key has their [`address_hash`]es, and whoever finds an entry compares the addresses
/// themselves, which the session's [`crate::session::SessionAddresses`] holds. So one table, one size of entry and one
/// lookup serve both versions, and IPv4 pays nothing for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct FlowKey {
    /// IPv4 source address, network byte order; of IPv6 its hash.
    pub source: u32,
    /// IPv4 destination address, network byte order; of IPv6 its hash.
    pub destination: u32,
    /// Transport source port or ICMP identifier, network byte order.
    pub source_port: u16,
    /// Transport destination port or ICMP identifier, network byte order.
    pub destination_port: u16,
    /// The port that the packet came in by, host byte order.
    pub in_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// 0: IPv4. [`FAMILY_IPV6`]: IPv6.
    pub family: u8,
}

/// The family of a key with the hashes of IPv6 addresses.
pub const FAMILY_IPV6: u8 = 6;

/// The hash that stands for an IPv6 address in a [`FlowKey`]. `first` and `last` are its first and last eight bytes as
/// native words; the table's secret seed keeps senders from choosing addresses of one hash.
#[inline(always)]
pub const fn address_hash(first: u64, last: u64, seed: u64) -> u32 {
    let mut hash = (first ^ seed).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 32) ^ last).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash >> 32) as u32
}

impl FlowKey {
    /// The key as two words, for comparing and hashing.
    #[inline(always)]
    pub const fn words(&self) -> (u64, u64) {
        (
            self.source as u64 | (self.destination as u64) << 32,
            self.source_port as u64
                | (self.destination_port as u64) << 16
                | (self.in_port as u64) << 32
                | (self.protocol as u64) << 48
                | (self.family as u64) << 56,
        )
    }

    /// A 64-bit hash with a secret seed, so that a sender cannot aim at one bucket.
    ///
    /// Only 64-bit multiplications and shifts, which is what both the kernel's virtual machine and the CPU
    /// have. The constants are those of splitmix64's finaliser.
    #[inline(always)]
    pub const fn hash(&self, seed: u64) -> u64 {
        let (low, high) = self.words();
        let mut hash = (low ^ seed).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 32) ^ high).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash ^ (hash >> 32)
    }
}

/// The two candidate buckets of a hash. `mask` is the number of buckets, a power of two, less one.
#[inline(always)]
pub const fn bucket_indices(hash: u64, mask: u32) -> (u32, u32) {
    (hash as u32 & mask, (hash >> 32) as u32 & mask)
}

/// The tag of a flow's entry: 16 bits of its hash, never 0, which says that an entry holds no flow.
///
/// The tags of a bucket are one word, entry n's in bits 16n to 16n + 15.
#[inline(always)]
pub const fn tag(hash: u64) -> u16 {
    (hash >> 48) as u16 | 1
}

/// The entries of a bucket whose tag is `tag`: the highest bit of each of their tags. Exact, as no carry crosses a tag.
#[inline(always)]
pub const fn matching_tags(tags: u64, tag: u16) -> u64 {
    /// The lowest bit of every tag.
    const LOW_BITS: u64 = 0x0001_0001_0001_0001;
    /// All bits but the highest of every tag.
    const NOT_HIGH_BITS: u64 = 0x7fff_7fff_7fff_7fff;
    let difference = tags ^ (tag as u64 * LOW_BITS);
    !(((difference & NOT_HIGH_BITS) + NOT_HIGH_BITS) | difference | NOT_HIGH_BITS)
}

/// What is done to every packet of a flow: 48 bytes, the rest of the key's cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowVerdict {
    /// Sum of the epochs of the ingress and the egress port when this was decided (wrapping). Epochs only
    /// rise, so equal sums mean that neither has changed.
    pub epoch: u32,
    /// [`VALID`], [`TIER0`], [`DECREMENT_TTL`], [`TRANSLATE`], [`REWRITE_ETHERNET`], [`REPLY`].
    pub flags: u16,
    /// The port that the packet leaves by.
    pub out_port: u16,
    /// New source address, network byte order; of IPv6 its hash, the address is the session's.
    pub source: u32,
    /// New destination address, network byte order; of IPv6 its hash, the address is the session's.
    pub destination: u32,
    /// New source port or ICMP identifier, network byte order.
    pub source_port: u16,
    /// New destination port or ICMP identifier, network byte order.
    pub destination_port: u16,
    /// Folded change of the sum over the addresses: for the IPv4 header and the pseudo header.
    pub address_delta: u16,
    /// Folded change of the sum over the ports: for the transport header.
    pub port_delta: u16,
    /// New destination MAC address.
    pub ethernet_destination: [u8; 6],
    /// New source MAC address.
    pub ethernet_source: [u8; 6],
    /// The destination MAC address that the packet must come with; another goes to the engine.
    pub match_ethernet_destination: [u8; 6],
    /// The source MAC address that the packet must come with; another goes to the engine.
    pub match_ethernet_source: [u8; 6],
}

/// One direction of a connection: 128 bytes, two cache lines.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct FlowEntry {
    /// What identifies the flow.
    pub key: FlowKey,
    /// What happens to its packets.
    pub verdict: FlowVerdict,
    /// Packets that the engine forwarded; only it writes this.
    pub engine_packets: u64,
    /// Bytes forwarded by either, Ethernet header included.
    pub bytes: u64,
    /// Packets that tier 0 forwarded; of those in use only tier 0 writes this.
    pub tier0_packets: u64,
    /// When a packet was last forwarded, in ticks; for an invalid entry, when it was freed.
    pub last_seen_ticks: u32,
    /// Index of the session that this is a direction of.
    pub session: u32,
    /// Room for the encapsulation of tunnelled flows.
    pub reserved: [u64; 4],
}

impl FlowEntry {
    /// Packets forwarded by either.
    pub const fn packets(&self) -> u64 {
        self.engine_packets.wrapping_add(self.tier0_packets)
    }
}

/// Four entries that share a bucket: 512 bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct FlowBucket {
    /// The entries, in no order.
    pub entries: [FlowEntry; BUCKET_ENTRIES],
}

const _: () = {
    assert!(size_of::<FlowKey>() == 16);
    assert!(size_of::<FlowVerdict>() == 48);
    assert!(size_of::<FlowEntry>() == 128);
    assert!(core::mem::offset_of!(FlowEntry, verdict) == 16);
    assert!(core::mem::offset_of!(FlowEntry, engine_packets) == 64);
    assert!(size_of::<FlowBucket>() == 512);
};
