//! What a verdict does to a frame, written straight into the packet. Its twin for TC is `rewrite_tc`.
//!
//! The result is byte for byte what the engine makes of the packet: same order of fields, same arithmetic
//! ([`edgestack_abi::checksum`]).

use edgestack_abi::checksum::{fold, update, update_nonzero};
use edgestack_abi::flow::{DECREMENT_TTL, FAMILY_IPV6, REWRITE_ETHERNET, TRANSLATE};
use edgestack_abi::{FlowEntry, FlowVerdict};

use crate::lookup::Hit;
use crate::parse::{self, Headers, load, store};
use crate::rewrite_ipv6;

/// The change of the IPv4 header's sum when the time to live, first byte of its word, goes down by one.
const TIME_TO_LIVE_DELTA: u16 = !u16::from_ne_bytes([1, 0]);

/// Applies the verdict to the frame at `data`, which `headers` was parsed from and which must be writable. False where the
/// flow ended meanwhile, or what the parser saw is not there; then nothing was changed.
#[inline(always)]
pub fn apply(data: usize, data_end: usize, headers: &Headers, hit: &Hit) -> bool {
    if headers.family == FAMILY_IPV6 {
        return rewrite_ipv6::apply(data, data_end, headers, hit);
    }
    // SAFETY: `parse` checked the headers, and the entry is in the flow table.
    unsafe {
        network(data, hit);
        if hit.has(TRANSLATE) {
            transport(data, headers, hit);
        }
    }
    true
}

/// The MAC addresses.
///
/// # Safety
/// The Ethernet header must have been checked.
#[inline(always)]
pub unsafe fn ethernet(data: usize, hit: &Hit) {
    let addresses = hit.entry as usize
        + core::mem::offset_of!(FlowEntry, verdict)
        + core::mem::offset_of!(FlowVerdict, ethernet_destination);
    // SAFETY: the caller's promise; twelve bytes from there are both addresses of the verdict.
    unsafe {
        store::<u64>(data, 0, load(addresses, 0));
        store::<u32>(data, 8, load(addresses, 8));
    }
}

/// Ethernet and IPv4: the part that XDP and TC do alike, since the IPv4 checksum is never left to hardware.
///
/// # Safety
/// As for [`apply`].
#[inline(always)]
pub unsafe fn network(data: usize, hit: &Hit) {
    let verdict = hit.entry as usize + core::mem::offset_of!(FlowEntry, verdict);
    // SAFETY: the caller's promise; the offsets are fields of the verdict.
    unsafe {
        if hit.has(REWRITE_ETHERNET) {
            ethernet(data, hit);
        }
        let mut delta = 0;
        if hit.has(DECREMENT_TTL) {
            store::<u8>(data, parse::TIME_TO_LIVE, load::<u8>(data, parse::TIME_TO_LIVE) - 1);
            delta = TIME_TO_LIVE_DELTA as u32;
        }
        if hit.has(TRANSLATE) {
            store::<u64>(data, parse::ADDRESSES, load(verdict, core::mem::offset_of!(FlowVerdict, source)));
            delta += (*hit.entry).verdict.address_delta as u32;
        }
        let checksum = load::<u16>(data, parse::IPV4_CHECKSUM);
        store::<u16>(data, parse::IPV4_CHECKSUM, update(checksum, fold(delta)));
    }
}

/// Ports or identifier, without the checksum: shared with TC as well.
///
/// # Safety
/// As for [`apply`]; `parse` accepted the protocol, so its header is there.
#[inline(always)]
pub unsafe fn ports(data: usize, headers: &Headers, hit: &Hit) {
    // SAFETY: the caller's promise.
    unsafe {
        let verdict = &(*hit.entry).verdict;
        if headers.protocol == parse::PROTOCOL_ICMP {
            let identifier =
                if headers.echo_request { verdict.source_port } else { verdict.destination_port };
            store::<u16>(data, parse::ICMP_IDENTIFIER, identifier);
        } else {
            let both = hit.entry as usize
                + core::mem::offset_of!(FlowEntry, verdict)
                + core::mem::offset_of!(FlowVerdict, source_port);
            store::<u32>(data, parse::PORTS, load(both, 0));
        }
    }
}

/// # Safety
/// As for [`apply`].
#[inline(always)]
unsafe fn transport(data: usize, headers: &Headers, hit: &Hit) {
    // SAFETY: the caller's promise.
    unsafe {
        ports(data, headers, hit);
        let verdict = &(*hit.entry).verdict;
        let delta = fold(verdict.address_delta as u32 + verdict.port_delta as u32);
        match headers.protocol {
            parse::PROTOCOL_TCP => {
                let checksum = load::<u16>(data, parse::TCP_CHECKSUM);
                store(data, parse::TCP_CHECKSUM, update(checksum, delta));
            }
            parse::PROTOCOL_UDP => {
                // Zero means none and stays (RFC 768).
                let checksum = load::<u16>(data, parse::UDP_CHECKSUM);
                if checksum != 0 {
                    store(data, parse::UDP_CHECKSUM, update_nonzero(checksum, delta));
                }
            }
            _ => icmp_checksum(data, hit),
        }
    }
}

/// The checksum of an echo. ICMP has no pseudo header: the addresses are not in its sum. The stack never leaves it to be
/// computed later, so TC writes it as XDP does.
///
/// # Safety
/// As for [`apply`], and the packet is an echo.
#[inline(always)]
pub unsafe fn icmp_checksum(data: usize, hit: &Hit) {
    // SAFETY: the caller's promise.
    unsafe {
        let checksum = load::<u16>(data, parse::ICMP_CHECKSUM);
        store(data, parse::ICMP_CHECKSUM, update_nonzero(checksum, (*hit.entry).verdict.port_delta));
    }
}
