//! What a verdict does to an IPv6 packet, written straight into it: for XDP, and for what TC may do to one.

use edgestack_abi::checksum::{fold, update, update_nonzero};
use edgestack_abi::flow::{DECREMENT_TTL, REWRITE_ETHERNET, TRANSLATE};

use crate::lookup::{self, Hit};
use crate::parse::{self, Headers, SHORT_HEADERS_IPV6, TCP_HEADERS_IPV6, TRANSPORT_IPV6, load, store};
use crate::rewrite_xdp;

/// Applies the verdict to the frame at `data`. False where the flow ended meanwhile, or what the parser saw is not
/// there; then nothing was changed.
#[inline(always)]
pub fn apply(data: usize, data_end: usize, headers: &Headers, hit: &Hit) -> bool {
    // The parser saw this much; the verifier wants to see it again.
    if data + SHORT_HEADERS_IPV6 > data_end {
        return false;
    }
    if hit.has(TRANSLATE) {
        let Some(addresses) = lookup::new_addresses(hit) else {
            return false;
        };
        // SAFETY: the headers up to the first eight bytes of the transport header were checked.
        if !unsafe { translate(data, data_end, headers, hit, addresses) } {
            return false;
        }
    }
    // SAFETY: as above.
    unsafe {
        if hit.has(REWRITE_ETHERNET) {
            rewrite_xdp::ethernet(data, hit);
        }
        if hit.has(DECREMENT_TTL) {
            store::<u8>(data, parse::HOP_LIMIT, load::<u8>(data, parse::HOP_LIMIT) - 1);
        }
    }
    true
}

/// Addresses, ports and the transport checksum; the IPv6 header has none of its own.
///
/// # Safety
/// SHORT_HEADERS_IPV6 bytes must have been checked.
#[inline(always)]
unsafe fn translate(data: usize, data_end: usize, headers: &Headers, hit: &Hit, addresses: [u64; 4]) -> bool {
    // SAFETY: the caller's promise; the checksum of TCP lies beyond it and is behind its own check.
    unsafe {
        let verdict = &(*hit.entry).verdict;
        let delta = fold(verdict.address_delta as u32 + verdict.port_delta as u32);
        match headers.protocol {
            parse::PROTOCOL_TCP => {
                if data + TCP_HEADERS_IPV6 > data_end {
                    return false;
                }
                ports(data, hit);
                let checksum = load::<u16>(data, TRANSPORT_IPV6 + 16);
                store(data, TRANSPORT_IPV6 + 16, update(checksum, delta));
            }
            parse::PROTOCOL_UDP => {
                ports(data, hit);
                let checksum = load::<u16>(data, TRANSPORT_IPV6 + 6);
                if checksum != 0 {
                    store(data, TRANSPORT_IPV6 + 6, update_nonzero(checksum, delta));
                }
            }
            _ => {
                let identifier =
                    if headers.echo_request { verdict.source_port } else { verdict.destination_port };
                store::<u16>(data, TRANSPORT_IPV6 + 4, identifier);
                let checksum = load::<u16>(data, TRANSPORT_IPV6 + 2);
                store(data, TRANSPORT_IPV6 + 2, update_nonzero(checksum, delta));
            }
        }
        store(data, parse::ADDRESSES_IPV6, addresses[0]);
        store(data, parse::ADDRESSES_IPV6 + 8, addresses[1]);
        store(data, parse::ADDRESSES_IPV6 + 16, addresses[2]);
        store(data, parse::ADDRESSES_IPV6 + 24, addresses[3]);
    }
    true
}

/// # Safety
/// SHORT_HEADERS_IPV6 bytes must have been checked.
#[inline(always)]
unsafe fn ports(data: usize, hit: &Hit) {
    // SAFETY: the caller's promise.
    unsafe {
        let verdict = &(*hit.entry).verdict;
        store::<u16>(data, TRANSPORT_IPV6, verdict.source_port);
        store::<u16>(data, TRANSPORT_IPV6 + 2, verdict.destination_port);
    }
}
