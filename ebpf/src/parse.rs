//! What tier 0 may forward at all, and the flow key of it. The same for XDP and TC.
//!
//! Every refusal here means "the engine decides", never a drop, so a check may be stricter than the engine's but
//! must not be laxer: what passes is forwarded if its flow is known. All offsets are constants, because only
//! Ethernet + IPv4 without options, or IPv6 without extension headers, passes; the verifier then needs two bounds checks
//! for each.

use edgestack_abi::checksum::fold;
use edgestack_abi::flow::{FAMILY_IPV6, address_hash};

/// Length of the Ethernet header.
pub const ETHERNET_LENGTH: usize = 14;
/// Length of the IPv4 header without options.
pub const IPV4_LENGTH: usize = 20;
/// Where the transport header starts.
pub const TRANSPORT: usize = ETHERNET_LENGTH + IPV4_LENGTH;
/// Ethernet, IPv4 and the shortest transport headers (UDP, ICMP): 42 bytes.
pub const SHORT_HEADERS: usize = TRANSPORT + 8;

/// Length of the IPv6 header without extension headers.
pub const IPV6_LENGTH: usize = 40;
/// Where the transport header starts in IPv6.
pub const TRANSPORT_IPV6: usize = ETHERNET_LENGTH + IPV6_LENGTH;
/// Ethernet, IPv6 and the shortest transport headers: 62 bytes.
pub const SHORT_HEADERS_IPV6: usize = TRANSPORT_IPV6 + 8;
/// Ethernet, IPv6 and TCP without options: 74 bytes, the longest headers that are read.
pub const TCP_HEADERS_IPV6: usize = TRANSPORT_IPV6 + 20;

/// Offsets from the start of the frame.
pub const ETHER_TYPE: usize = 12;
pub const TIME_TO_LIVE: usize = 22;
pub const IPV4_CHECKSUM: usize = 24;
pub const ADDRESSES: usize = 26;
pub const PORTS: usize = TRANSPORT;
pub const UDP_CHECKSUM: usize = TRANSPORT + 6;
pub const TCP_CHECKSUM: usize = TRANSPORT + 16;
pub const ICMP_CHECKSUM: usize = TRANSPORT + 2;
pub const ICMP_IDENTIFIER: usize = TRANSPORT + 4;
pub const TOTAL_LENGTH: usize = 16;
pub const FRAGMENT: usize = 20;
pub const PROTOCOL: usize = 23;
/// From the start of the transport header.
const TCP_OFFSET_AND_FLAGS: usize = 12;
const UDP_LENGTH: usize = 4;

pub const PROTOCOL_ICMP: u8 = 1;
pub const PROTOCOL_TCP: u8 = 6;
pub const PROTOCOL_UDP: u8 = 17;

pub const HOP_LIMIT: usize = 21;
pub const ADDRESSES_IPV6: usize = 22;
pub const NEXT_HEADER: usize = 20;
pub const PAYLOAD_LENGTH: usize = 18;

pub const PROTOCOL_ICMPV6: u8 = 58;

pub const ETHER_TYPE_IPV4: u16 = 0x0800;
pub const ETHER_TYPE_IPV6: u16 = 0x86dd;
pub const ETHER_TYPE_ARP: u16 = 0x0806;
/// Type and code of an echo request and an echo reply, as one big-endian word.
const ECHO_REQUEST: u16 = 0x0800;
const ECHO_REPLY: u16 = 0x0000;
const ECHO_REQUEST_IPV6: u16 = 0x8000;
const ECHO_REPLY_IPV6: u16 = 0x8100;
/// More fragments, and the fragment's offset.
pub const FRAGMENT_BITS: u16 = 0x3fff;
const TCP_FIN_SYN_RST: u16 = 0b00_0111;
const TCP_ACK: u16 = 0b01_0000;

/// A packet that tier 0 may forward.
#[derive(Clone, Copy)]
pub struct Headers {
    /// Source and destination address, or of IPv6 their hashes, as the first word of the flow key.
    pub addresses: u64,
    /// Source and destination port, as the low half of the flow key's second word.
    pub ports: u32,
    /// [`PROTOCOL_TCP`], [`PROTOCOL_UDP`], [`PROTOCOL_ICMP`] or [`PROTOCOL_ICMPV6`].
    pub protocol: u8,
    /// Family of the flow key: 0 or [`FAMILY_IPV6`].
    pub family: u8,
    /// ICMP, ICMPv6: an echo request, not a reply.
    pub echo_request: bool,
    /// Length of the IP packet.
    pub total_length: u32,
    /// Ethernet, IP and transport header with its options: what every segment repeats.
    pub header_length: u32,
}

/// Reads a value at a constant offset.
///
/// # Safety
/// `offset + size_of::<T>()` must lie within the checked part of the packet. The verifier proves it again.
#[inline(always)]
pub unsafe fn load<T: Copy>(data: usize, offset: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { ((data + offset) as *const T).read_unaligned() }
}

/// Writes a value at a constant offset.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub unsafe fn store<T: Copy>(data: usize, offset: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { ((data + offset) as *mut T).write_unaligned(value) }
}

/// Reads a big-endian number at a constant offset.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub unsafe fn load_be16(data: usize, offset: usize) -> u16 {
    // SAFETY: the caller's promise.
    u16::from_be(unsafe { load(data, offset) })
}

/// Parses the frame at `data`, of which the bytes before `data_end` can be read and which is `length` bytes long.
/// `seed` is the flow table's. None: the engine decides.
#[inline(always)]
pub fn parse(data: usize, data_end: usize, length: u32, seed: u64) -> Option<Headers> {
    // A frame shorter than the shortest headers is malformed or not IP.
    if data + SHORT_HEADERS > data_end {
        return None;
    }
    // SAFETY: SHORT_HEADERS bytes were checked.
    match unsafe { load_be16(data, ETHER_TYPE) } {
        ETHER_TYPE_IPV4 => parse_ipv4(data, data_end, length),
        ETHER_TYPE_IPV6 => parse_ipv6(data, data_end, length, seed),
        _ => None,
    }
}

#[inline(always)]
fn parse_ipv4(data: usize, data_end: usize, length: u32) -> Option<Headers> {
    // SAFETY: SHORT_HEADERS bytes were checked; the reads of TCP beyond them are behind their own check.
    unsafe {
        // Version 4 with a header of five words: options go to the engine.
        if load::<u8>(data, ETHERNET_LENGTH) != 0x45 {
            return None;
        }
        // Neither a first nor a later fragment.
        if load_be16(data, FRAGMENT) & FRAGMENT_BITS != 0 {
            return None;
        }
        // A time to live that would end here: the engine answers.
        if load::<u8>(data, TIME_TO_LIVE) <= 1 {
            return None;
        }
        // The IP packet is all there (padding may follow it).
        let total_length = load_be16(data, TOTAL_LENGTH) as u32;
        if total_length + ETHERNET_LENGTH as u32 > length {
            return None;
        }
        // An intact header: five words and a sum of all ones. Its update is incremental, so it must be right before.
        if !header_sum_is_right(data) {
            return None;
        }
        let protocol = load::<u8>(data, PROTOCOL);
        let transport_length = total_length.wrapping_sub(IPV4_LENGTH as u32);
        let (ports, echo_request, transport_header) = match protocol {
            PROTOCOL_TCP => (load::<u32>(data, PORTS), false, tcp::<TRANSPORT>(data, data_end)?),
            PROTOCOL_UDP => (load::<u32>(data, PORTS), false, udp::<TRANSPORT>(data, transport_length)?),
            PROTOCOL_ICMP => {
                let (identifier, request) = icmp::<TRANSPORT>(data, ECHO_REQUEST, ECHO_REPLY)?;
                (identifier, request, 8)
            }
            _ => return None,
        };
        // The transport header is within the IP packet; also refuses a total length below the IP header's.
        if total_length < IPV4_LENGTH as u32 + transport_header {
            return None;
        }
        Some(Headers {
            addresses: load(data, ADDRESSES),
            ports,
            protocol,
            family: 0,
            echo_request,
            total_length,
            header_length: TRANSPORT as u32 + transport_header,
        })
    }
}

#[inline(always)]
fn parse_ipv6(data: usize, data_end: usize, length: u32, seed: u64) -> Option<Headers> {
    if data + SHORT_HEADERS_IPV6 > data_end {
        return None;
    }
    // SAFETY: SHORT_HEADERS_IPV6 bytes were checked; the reads of TCP beyond them are behind their own check.
    unsafe {
        if load::<u8>(data, ETHERNET_LENGTH) >> 4 != 6 || load::<u8>(data, HOP_LIMIT) <= 1 {
            return None;
        }
        // The IP packet is all there (padding may follow it).
        let payload_length = load_be16(data, PAYLOAD_LENGTH) as u32;
        if payload_length + TRANSPORT_IPV6 as u32 > length {
            return None;
        }
        // Fragments have an extension header, and these go to the engine.
        let protocol = load::<u8>(data, NEXT_HEADER);
        let ports = load::<u32>(data, TRANSPORT_IPV6);
        let (ports, echo_request, transport_header) = match protocol {
            PROTOCOL_TCP => (ports, false, tcp::<TRANSPORT_IPV6>(data, data_end)?),
            PROTOCOL_UDP => (ports, false, udp::<TRANSPORT_IPV6>(data, payload_length)?),
            PROTOCOL_ICMPV6 => {
                let (identifier, request) = icmp::<TRANSPORT_IPV6>(data, ECHO_REQUEST_IPV6, ECHO_REPLY_IPV6)?;
                (identifier, request, 8)
            }
            _ => return None,
        };
        if payload_length < transport_header {
            return None;
        }
        let word = |at: usize| load::<u64>(data, ADDRESSES_IPV6 + at);
        let source = address_hash(word(0), word(8), seed);
        let destination = address_hash(word(16), word(24), seed);
        Some(Headers {
            addresses: source as u64 | (destination as u64) << 32,
            ports,
            protocol,
            family: FAMILY_IPV6,
            echo_request,
            total_length: payload_length + IPV6_LENGTH as u32,
            header_length: TRANSPORT_IPV6 as u32 + transport_header,
        })
    }
}

/// Whether the IPv4 header without options has a right checksum.
///
/// # Safety
/// SHORT_HEADERS bytes must have been checked.
#[inline(always)]
pub unsafe fn header_sum_is_right(data: usize) -> bool {
    let mut sum = 0u64;
    // SAFETY: the caller's promise.
    unsafe {
        sum += load::<u32>(data, ETHERNET_LENGTH) as u64;
        sum += load::<u32>(data, ETHERNET_LENGTH + 4) as u64;
        sum += load::<u32>(data, ETHERNET_LENGTH + 8) as u64;
        sum += load::<u32>(data, ETHERNET_LENGTH + 12) as u64;
        sum += load::<u32>(data, ETHERNET_LENGTH + 16) as u64;
    }
    // 35 bits to 33, to 17, to 16.
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) as u32 + (sum & 0xffff) as u32;
    fold(sum) == 0xffff
}

/// The length of a TCP header that opens and closes nothing. SYN, FIN and RST change the connection's state, which
/// the engine keeps; a segment without ACK belongs to no established connection.
///
/// # Safety
/// Eight bytes from `AT`, where the header starts, must have been checked.
#[inline(always)]
unsafe fn tcp<const AT: usize>(data: usize, data_end: usize) -> Option<u32> {
    if data + AT + 20 > data_end {
        return None;
    }
    // SAFETY: checked above.
    let word = unsafe { load_be16(data, AT + TCP_OFFSET_AND_FLAGS) };
    let header_length = ((word >> 12) * 4) as u32;
    if word & (TCP_FIN_SYN_RST | TCP_ACK) != TCP_ACK || header_length < 20 {
        return None;
    }
    Some(header_length)
}

/// The length of a UDP header whose length field is possible.
///
/// # Safety
/// Eight bytes from `AT`, where the header starts, must have been checked.
#[inline(always)]
unsafe fn udp<const AT: usize>(data: usize, transport_length: u32) -> Option<u32> {
    // SAFETY: the caller's promise.
    let length = unsafe { load_be16(data, AT + UDP_LENGTH) } as u32;
    if length < 8 || length > transport_length {
        return None;
    }
    Some(8)
}

/// The identifier of an echo request or reply where the flow key wants it: the source port of a request, the
/// destination port of a reply. Errors and other types go to the engine.
///
/// # Safety
/// Eight bytes from `AT`, where the message starts, must have been checked.
#[inline(always)]
unsafe fn icmp<const AT: usize>(data: usize, echo_request: u16, echo_reply: u16) -> Option<(u32, bool)> {
    // SAFETY: the caller's promise.
    let (kind, identifier) = unsafe { (load_be16(data, AT), load::<u16>(data, AT + 4) as u32) };
    match kind {
        kind if kind == echo_request => Some((identifier, true)),
        kind if kind == echo_reply => Some((identifier << 16, false)),
        _ => None,
    }
}

const _: () = assert!(cfg!(target_endian = "little"), "the key's ports are put together for little endian");
