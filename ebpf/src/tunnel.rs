//! Outer headers of tunnels: found around a frame that came in, and written in front of one that leaves. The same for XDP and
//! TC; only how room is made differs.
//!
//! As everywhere in tier 0 a refusal means "the engine decides": options, outer checksums, congestion on the way and whatever
//! else is rare go there.

use edgestack_abi::TunnelEntry;
use edgestack_abi::checksum::fold;
use edgestack_abi::flow::FAMILY_IPV6;
use edgestack_abi::maps::Control;
use edgestack_abi::tunnel::{
    self, BUCKET_TUNNELS, GENEVE_FLAGS, GENEVE_PORT, INDEX_BUCKETS, KIND_GENEVE, KIND_VLAN, KIND_VXLAN,
    OUTER_TTL, VXLAN_FLAGS, VXLAN_PORT,
};

use crate::maps;
use crate::parse::{
    self, ADDRESSES, ADDRESSES_IPV6, ETHER_TYPE, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHERNET_LENGTH, FRAGMENT,
    FRAGMENT_BITS, Headers, IPV4_LENGTH, IPV6_LENGTH, NEXT_HEADER, PAYLOAD_LENGTH, PORTS, PROTOCOL,
    PROTOCOL_TCP, PROTOCOL_UDP, SHORT_HEADERS_IPV6, TOTAL_LENGTH, TRANSPORT, TRANSPORT_IPV6, load, load_be16,
    store,
};

/// Length of Ethernet, IPv4, UDP and tunnel header in front of the frame inside.
pub const OUTER_IPV4: usize = TRANSPORT + 16;
/// The same with IPv6.
pub const OUTER_IPV6: usize = TRANSPORT_IPV6 + 16;
/// From the start of the UDP header.
const DESTINATION_PORT: usize = 2;
const DATAGRAM_LENGTH: usize = 4;
const CHECKSUM: usize = 6;
const HEADER: usize = 8;
const IDENTIFIER: usize = 12;
/// Congestion experienced (RFC 3168); the engine tells the frame inside.
const CONGESTION: u8 = 0b11;
/// Flag of a VXLAN header: the identifier is valid.
const VXLAN_VALID: u8 = 0x08;
/// Second byte of the IP header: type of service, or the end of the traffic class.
const SERVICE: usize = ETHERNET_LENGTH + 1;

/// What outer headers tell of the frame inside: the hash of its flow as a source port, and its congestion bits.
#[derive(Clone, Copy)]
pub struct Flow {
    pub port: u16,
    pub congestion: u8,
}

/// The port of the tunnel that the frame came in by on `in_port`, and the length of its outer headers. None: it is no tunnel's,
/// or for the engine.
#[inline(always)]
pub fn find(
    data: usize,
    data_end: usize,
    length: u32,
    in_port: u16,
    control: &Control,
) -> Option<(u16, usize)> {
    if data + OUTER_IPV4 + ETHERNET_LENGTH > data_end {
        return None;
    }
    // SAFETY: so many bytes were checked.
    match unsafe { load_be16(data, ETHER_TYPE) } {
        ETHER_TYPE_IPV4 => Some((find_ipv4(data, length, in_port, control)?, OUTER_IPV4)),
        ETHER_TYPE_IPV6 => Some((find_ipv6(data, data_end, length, in_port, control)?, OUTER_IPV6)),
        _ => None,
    }
}

#[inline(always)]
fn find_ipv4(data: usize, length: u32, in_port: u16, control: &Control) -> Option<u16> {
    // SAFETY: the caller has checked all outer headers.
    unsafe {
        let is_plain = load::<u8>(data, ETHERNET_LENGTH) == 0x45
            && load::<u8>(data, PROTOCOL) == PROTOCOL_UDP
            && load_be16(data, FRAGMENT) & FRAGMENT_BITS == 0
            && load::<u8>(data, SERVICE) & CONGESTION != CONGESTION;
        if !is_plain {
            return None;
        }
        let total_length = load_be16(data, TOTAL_LENGTH) as u32;
        if total_length + ETHERNET_LENGTH as u32 > length || !parse::header_sum_is_right(data) {
            return None;
        }
        let payload_length = total_length.wrapping_sub(IPV4_LENGTH as u32);
        let (kind, identifier) = header::<TRANSPORT>(data, payload_length)?;
        let remote = [load::<u32>(data, ADDRESSES) as u64, 0];
        let local = [load::<u32>(data, ADDRESSES + 4) as u64, 0];
        listed(data, in_port, (kind, identifier), [local, remote], control)
    }
}

#[inline(always)]
fn find_ipv6(data: usize, data_end: usize, length: u32, in_port: u16, control: &Control) -> Option<u16> {
    if data + OUTER_IPV6 + ETHERNET_LENGTH > data_end {
        return None;
    }
    // SAFETY: so many bytes were checked.
    unsafe {
        let is_plain = load::<u8>(data, ETHERNET_LENGTH) >> 4 == 6
            && load::<u8>(data, NEXT_HEADER) == PROTOCOL_UDP
            && load::<u8>(data, SERVICE) >> 4 & CONGESTION != CONGESTION;
        let payload_length = load_be16(data, PAYLOAD_LENGTH) as u32;
        if !is_plain || payload_length + TRANSPORT_IPV6 as u32 > length {
            return None;
        }
        let (kind, identifier) = header::<TRANSPORT_IPV6>(data, payload_length)?;
        let word = |at: usize| load::<u64>(data, ADDRESSES_IPV6 + at);
        let (remote, local) = ([word(0), word(8)], [word(16), word(24)]);
        listed(data, in_port, (kind, identifier), [local, remote], control)
    }
}

/// Kind and network identifier, of a datagram without checksum and a header without options.
///
/// # Safety
/// UDP and tunnel header from `AT` on must have been checked.
#[inline(always)]
unsafe fn header<const AT: usize>(data: usize, payload_length: u32) -> Option<(u8, u32)> {
    // SAFETY: the caller's promise.
    unsafe {
        let datagram_length = load_be16(data, AT + DATAGRAM_LENGTH) as u32;
        if datagram_length < 16 || datagram_length > payload_length || load::<u16>(data, AT + CHECKSUM) != 0 {
            return None;
        }
        let identifier = u32::from_be(load(data, AT + IDENTIFIER)) >> 8;
        match load_be16(data, AT + DESTINATION_PORT) {
            VXLAN_PORT if load::<u8>(data, AT + HEADER) & VXLAN_VALID != 0 => Some((KIND_VXLAN, identifier)),
            GENEVE_PORT if u32::from_be(load(data, AT + HEADER)) == GENEVE_FLAGS => {
                Some((KIND_GENEVE, identifier))
            }
            _ => None,
        }
    }
}

/// The port of the tunnel with all of this, in the index.
///
/// # Safety
/// The Ethernet header must have been checked.
#[inline(always)]
unsafe fn listed(
    data: usize,
    in_port: u16,
    (kind, identifier): (u8, u32),
    [local, remote]: [[u64; 2]; 2],
    control: &Control,
) -> Option<u16> {
    let bucket = tunnel::bucket(kind, identifier, remote, control.hash_seed);
    find_in_bucket(bucket, |entry| {
        let own = (&raw const entry.ethernet_source) as usize;
        // SAFETY: the caller's promise; the address in the record has six bytes.
        let is_addressed = unsafe {
            load::<u32>(data, 0) == load::<u32>(own, 0) && load::<u16>(data, 4) == load::<u16>(own, 4)
        };
        entry.identifier == identifier
            && entry.kind == kind
            && entry.under_port == in_port
            && entry.remote[0] == remote[0]
            && entry.remote[1] == remote[1]
            && entry.local[0] == local[0]
            && entry.local[1] == local[1]
            && is_addressed
    })
}

/// The port of a VLAN of `in_port`.
#[inline(always)]
pub fn vlan(in_port: u16, identifier: u16, control: &Control) -> Option<u16> {
    let identifier = identifier as u32;
    let bucket = tunnel::bucket(KIND_VLAN, identifier, [in_port as u64, 0], control.hash_seed);
    find_in_bucket(bucket, |entry| {
        entry.kind == KIND_VLAN && entry.identifier == identifier && entry.under_port == in_port
    })
}

/// The port of the record that is meant, of those in a bucket of the index.
#[inline(always)]
fn find_in_bucket(bucket: u32, is_meant: impl Fn(&TunnelEntry) -> bool) -> Option<u16> {
    let numbers = *maps::TUNNEL_INDEX.get(bucket & (INDEX_BUCKETS - 1))?;
    let mut place = 0;
    while place < BUCKET_TUNNELS {
        let number = (numbers >> (16 * place)) as u16;
        place += 1;
        if number == 0 {
            continue;
        }
        let entry = maps::TUNNELS.get(number as u32)?;
        if is_meant(entry) {
            return Some(entry.port);
        }
    }
    None
}

/// What the outer headers tell of the frame at `data`, as it leaves.
#[inline(always)]
pub fn flow(data: usize, data_end: usize, headers: &Headers) -> Option<Flow> {
    let has_ports = headers.protocol == PROTOCOL_TCP || headers.protocol == PROTOCOL_UDP;
    if headers.family == FAMILY_IPV6 {
        if data + SHORT_HEADERS_IPV6 > data_end {
            return None;
        }
        // SAFETY: checked above.
        unsafe {
            let word = |at: usize| load::<u64>(data, ADDRESSES_IPV6 + at);
            let ports = if has_ports { load::<u32>(data, TRANSPORT_IPV6) } else { 0 };
            let port = tunnel::source_port([word(0), word(8), word(16), word(24)], ports);
            return Some(Flow { port, congestion: load::<u8>(data, SERVICE) >> 4 & CONGESTION });
        }
    }
    if data + parse::SHORT_HEADERS > data_end {
        return None;
    }
    // SAFETY: checked above.
    unsafe {
        let ports = if has_ports { load::<u32>(data, PORTS) } else { 0 };
        let port = tunnel::source_port([load(data, ADDRESSES), 0, 0, 0], ports);
        Some(Flow { port, congestion: load::<u8>(data, SERVICE) & CONGESTION })
    }
}

/// Writes the outer headers of `entry` at `data`, around `inner_length` bytes. False where they do not fit.
#[inline(always)]
pub fn write(data: usize, data_end: usize, entry: &TunnelEntry, inner_length: u32, flow: Flow) -> bool {
    if data + OUTER_IPV4 > data_end {
        return false;
    }
    let addresses = (&raw const entry.ethernet_destination) as usize;
    let datagram_length = inner_length + 16;
    // SAFETY: checked above; twelve bytes from there are both MAC addresses of the record.
    unsafe {
        store::<u64>(data, 0, load(addresses, 0));
        store::<u32>(data, 8, load(addresses, 8));
        if entry.family == FAMILY_IPV6 {
            if data + OUTER_IPV6 > data_end {
                return false;
            }
            store::<u16>(data, ETHER_TYPE, ETHER_TYPE_IPV6.to_be());
            let word = 0x6000_0000 | (flow.congestion as u32) << 20 | flow.port as u32;
            store::<u32>(data, ETHERNET_LENGTH, word.to_be());
            store::<u16>(data, PAYLOAD_LENGTH, (datagram_length as u16).to_be());
            store::<u16>(data, NEXT_HEADER, u16::from_ne_bytes([PROTOCOL_UDP, OUTER_TTL]));
            store::<u64>(data, ADDRESSES_IPV6, entry.local[0]);
            store::<u64>(data, ADDRESSES_IPV6 + 8, entry.local[1]);
            store::<u64>(data, ADDRESSES_IPV6 + 16, entry.remote[0]);
            store::<u64>(data, ADDRESSES_IPV6 + 24, entry.remote[1]);
            datagram::<TRANSPORT_IPV6>(data, entry, datagram_length, flow);
            return true;
        }
        store::<u16>(data, ETHER_TYPE, ETHER_TYPE_IPV4.to_be());
        let length = ((datagram_length + IPV4_LENGTH as u32) as u16).to_be_bytes();
        // Version and length, type of service, total length; identification 0, not to be fragmented.
        let first = u32::from_ne_bytes([0x45, flow.congestion, length[0], length[1]]);
        let second = u32::from_ne_bytes([0, 0, 0x40, 0]);
        let third = u32::from_ne_bytes([OUTER_TTL, PROTOCOL_UDP, 0, 0]);
        let (local, remote) = (entry.local[0] as u32, entry.remote[0] as u32);
        let sum = first as u64 + second as u64 + third as u64 + local as u64 + remote as u64;
        let sum = (sum >> 32) + (sum & 0xffff_ffff);
        let sum = (sum >> 16) as u32 + (sum & 0xffff) as u32;
        let checksum = !fold(sum);
        store::<u32>(data, ETHERNET_LENGTH, first);
        store::<u32>(data, ETHERNET_LENGTH + 4, second);
        store::<u32>(data, ETHERNET_LENGTH + 8, third);
        store::<u16>(data, parse::IPV4_CHECKSUM, checksum);
        store::<u32>(data, ADDRESSES, local);
        store::<u32>(data, ADDRESSES + 4, remote);
        datagram::<TRANSPORT>(data, entry, datagram_length, flow);
    }
    true
}

/// # Safety
/// UDP and tunnel header from `AT` on must have been checked.
#[inline(always)]
unsafe fn datagram<const AT: usize>(data: usize, entry: &TunnelEntry, length: u32, flow: Flow) {
    let (port, flags) =
        if entry.kind == KIND_GENEVE { (GENEVE_PORT, GENEVE_FLAGS) } else { (VXLAN_PORT, VXLAN_FLAGS) };
    // SAFETY: the caller's promise.
    unsafe {
        store::<u16>(data, AT, flow.port.to_be());
        store::<u16>(data, AT + DESTINATION_PORT, port.to_be());
        // No checksum: what is inside has its own.
        store::<u32>(data, AT + DATAGRAM_LENGTH, (length << 16).to_be());
        store::<u32>(data, AT + HEADER, flags.to_be());
        store::<u32>(data, AT + IDENTIFIER, (entry.identifier << 8).to_be());
    }
}

const _: () = assert!(
    OUTER_IPV4 == 50
        && OUTER_IPV6 == 70
        && core::mem::offset_of!(TunnelEntry, ethernet_source)
            == core::mem::offset_of!(TunnelEntry, ethernet_destination) + 6
        && IPV6_LENGTH == 40
);
