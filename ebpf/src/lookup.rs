//! The flow of a packet, and whether tier 0 may still forward by it. The same for XDP and TC.

use edgestack_abi::flow::{self, BUCKET_ENTRIES, TIER0, VALID, bucket_indices, tag};
use edgestack_abi::maps::Control;
use edgestack_abi::port::{PORT_PUNT_ALL, PORT_UP};
use edgestack_abi::{FlowEntry, FlowKey, PortEntry};

use crate::maps;
use crate::parse::{Headers, load};

/// A flow that holds for this packet.
#[derive(Clone, Copy)]
pub struct Hit {
    /// Its entry; the verdict in it does not change while the program runs (the table's protocol).
    pub entry: *mut FlowEntry,
    /// Flags of the verdict, as they were when it was found valid.
    pub flags: u16,
    /// The port that the packet leaves by.
    pub out_port: u16,
    /// Flags of that port.
    pub out_flags: u16,
    /// Interface of that port.
    pub out_interface_index: u32,
}

impl Hit {
    /// The verdict has this flag.
    #[inline(always)]
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// The flow to forward the packet by. None: the engine decides.
///
/// `data` is a frame that [`crate::parse::parse`] accepted as `headers`; `packet_length` the length of the IP packet, or
/// of the largest segment that it will be cut into.
#[inline(always)]
pub fn decide(
    control: &Control,
    ingress: &PortEntry,
    in_port: u16,
    data: usize,
    headers: &Headers,
    packet_length: u32,
) -> Option<Hit> {
    let entry = find(control, in_port, headers)?;
    // SAFETY: `find` returns a pointer into the flow table. On CPUs that keep the order of loads (x86) the flags, read
    // after the key, tell that all of the entry was written; see the protocol in `edgestack_abi::flow`.
    let verdict = unsafe { &(*entry).verdict };
    let flags = verdict.flags;
    if flags & (VALID | TIER0) != VALID | TIER0 {
        return None;
    }
    let egress = maps::port(verdict.out_port)?;
    // A change of either port's configuration makes the flow one to decide again.
    if verdict.epoch != ingress.epoch.wrapping_add(egress.epoch) {
        return None;
    }
    if !addressed_as_expected(data, entry) {
        return None;
    }
    if egress.flags & PORT_UP == 0 || (egress.flags | ingress.flags) & PORT_PUNT_ALL != 0 {
        return None;
    }
    // Larger than the way out takes: the engine answers.
    if packet_length > egress.mtu as u32 {
        return None;
    }
    Some(Hit {
        entry,
        flags,
        out_port: verdict.out_port,
        out_flags: egress.flags,
        out_interface_index: egress.interface_index,
    })
}

/// Whether both MAC addresses are those that the flow was decided for: anti-spoofing, and the router or neighbour that
/// the packet was sent to.
#[inline(always)]
fn addressed_as_expected(data: usize, entry: *mut FlowEntry) -> bool {
    let expected = entry as usize + core::mem::offset_of!(FlowEntry, verdict);
    let expected = expected + core::mem::offset_of!(edgestack_abi::FlowVerdict, match_ethernet_destination);
    // SAFETY: 12 bytes from there are the two addresses of the entry; the frame was parsed, so it has 12 bytes too.
    unsafe {
        let difference = (load::<u64>(expected, 0) ^ load::<u64>(data, 0))
            | (load::<u32>(expected, 8) ^ load::<u32>(data, 8)) as u64;
        difference == 0
    }
}

/// The entry whose key is the packet's.
#[inline(always)]
fn find(control: &Control, in_port: u16, headers: &Headers) -> Option<*mut FlowEntry> {
    let key = FlowKey {
        source: headers.addresses as u32,
        destination: (headers.addresses >> 32) as u32,
        source_port: headers.ports as u16,
        destination_port: (headers.ports >> 16) as u16,
        in_port,
        protocol: headers.protocol,
        zero: 0,
    };
    let hash = key.hash(control.hash_seed);
    let (first, second) = bucket_indices(hash, control.bucket_mask);
    if let Some(entry) = find_in_bucket(first, hash, &key) {
        return Some(entry);
    }
    find_in_bucket(second, hash, &key)
}

/// Reads the entries whose tag is the flow's: nearly always the right one alone.
///
/// One branch per position, though the position could be computed from the tags without any: a CPU that guesses the branch
/// asks memory for the entry while the tags are still on their way, which at a million flows saves a tenth of the time.
/// The engine fills buckets from their first entry, so the guess is good.
#[inline(always)]
fn find_in_bucket(index: u32, hash: u64, key: &FlowKey) -> Option<*mut FlowEntry> {
    let tags = *maps::FLOW_TAGS.get(index)?;
    let tag = tag(hash);
    let (low, high) = key.words();
    let mut position = 0;
    while position < BUCKET_ENTRIES {
        if (tags >> (16 * position)) as u16 == tag {
            let bucket = maps::FLOWS.get_ptr_mut(index)? as usize;
            let entry = bucket + position * size_of::<FlowEntry>();
            // SAFETY: the entry is within the bucket, and its key is its first 16 bytes.
            if unsafe { load::<u64>(entry, 0) == low && load::<u64>(entry, 8) == high } {
                return Some(entry as *mut FlowEntry);
            }
        }
        position += 1;
    }
    None
}

const _: () = assert!(BUCKET_ENTRIES == 4 && core::mem::offset_of!(flow::FlowEntry, key) == 0);
