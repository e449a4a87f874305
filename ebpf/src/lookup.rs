//! The flow of a packet, and whether tier 0 may still forward by it. The same for XDP and TC.

use edgestack_abi::flow::{self, BUCKET_ENTRIES, FAMILY_IPV6, REPLY, TIER0, VALID, bucket_indices, tag};
use edgestack_abi::maps::Control;
use edgestack_abi::port::{PORT_PUNT_ALL, PORT_UNRESOLVED, PORT_UP};
use edgestack_abi::{FlowEntry, FlowKey, PortEntry, SessionAddresses};

use crate::maps;
use crate::parse::{ADDRESSES_IPV6, Headers, SHORT_HEADERS_IPV6, load};

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
    /// The tunnel that the port is, 0 for none.
    pub out_tunnel: u16,
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
    (data, data_end): (usize, usize),
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
    if headers.family == FAMILY_IPV6 && !is_of_addresses(data, data_end, entry, flags) {
        return None;
    }
    if egress.flags & (PORT_UP | PORT_UNRESOLVED) != PORT_UP
        || (egress.flags | ingress.flags) & PORT_PUNT_ALL != 0
    {
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
        out_tunnel: egress.tunnel,
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

/// Whether the IPv6 addresses of the frame are the flow's, of which the key has only hashes.
#[inline(always)]
fn is_of_addresses(data: usize, data_end: usize, entry: *mut FlowEntry, flags: u16) -> bool {
    // The parser saw this much; the verifier wants to see it again.
    if data + SHORT_HEADERS_IPV6 > data_end {
        return false;
    }
    let Some(addresses) = addresses_of(entry) else {
        return false;
    };
    let received = addresses + if flags & REPLY == 0 { 0 } else { REPLY_ADDRESSES };
    // SAFETY: 32 bytes from there are within the record, and the frame has them too.
    unsafe {
        let mut difference = 0;
        difference |= load::<u64>(received, 0) ^ load::<u64>(data, ADDRESSES_IPV6);
        difference |= load::<u64>(received, 8) ^ load::<u64>(data, ADDRESSES_IPV6 + 8);
        difference |= load::<u64>(received, 16) ^ load::<u64>(data, ADDRESSES_IPV6 + 16);
        difference |= load::<u64>(received, 24) ^ load::<u64>(data, ADDRESSES_IPV6 + 24);
        difference == 0 && is_still_valid(entry)
    }
}

/// The new addresses of an IPv6 flow's packets: source, then destination, two words each.
#[inline(always)]
pub fn new_addresses(hit: &Hit) -> Option<[u64; 4]> {
    let addresses = addresses_of(hit.entry)?;
    // Those that the other direction comes with, turned round.
    let other = addresses + if hit.has(REPLY) { 0 } else { REPLY_ADDRESSES };
    // SAFETY: 32 bytes from there are within the record.
    let new = unsafe { [load(other, 16), load(other, 24), load(other, 0), load(other, 8)] };
    is_still_valid(hit.entry).then_some(new)
}

/// Where in a session's record the addresses of its replies begin.
const REPLY_ADDRESSES: usize = core::mem::offset_of!(SessionAddresses, reply_source);

#[inline(always)]
fn addresses_of(entry: *mut FlowEntry) -> Option<usize> {
    // SAFETY: the entry is in the flow table.
    let session = unsafe { (*entry).session };
    Some(maps::SESSION_ADDRESSES.get_ptr(session)? as usize)
}

/// Whether the entry still holds its flow: else its session's number may be another's by now.
#[inline(always)]
fn is_still_valid(entry: *mut FlowEntry) -> bool {
    // SAFETY: the entry is in the flow table.
    unsafe { (&raw const (*entry).verdict.flags).read_volatile() & VALID != 0 }
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
        family: headers.family,
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
