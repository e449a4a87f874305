//! What a verdict does to a packet of the stack, which may be segmented later and whose transport checksum may
//! be left to be computed later. The twin of `rewrite_xdp`.
//!
//! Only the transport checksum needs the stack's help: where it is still to be computed the field holds the sum of the
//! pseudo header, which follows the addresses but not the ports. `bpf_l4_csum_replace` knows. All other
//! fields are written straight into the packet, which the kernel makes writable before a program that does so.

use aya_ebpf::helpers::generated::bpf_l4_csum_replace;
use aya_ebpf::programs::TcContext;
use edgestack_abi::flow::{FAMILY_IPV6, TRANSLATE};

use crate::lookup::Hit;
use crate::parse::{self, Headers, SHORT_HEADERS};
use crate::{rewrite_ipv6, rewrite_xdp};

/// `BPF_F_PSEUDO_HDR`: the change is one of the pseudo header too.
const PSEUDO_HEADER: u64 = 1 << 4;
/// `BPF_F_MARK_MANGLED_0`: a checksum of zero means none and stays; one that comes out as zero becomes 0xffff.
const ZERO_IS_NONE: u64 = 1 << 5;

/// Whether TC can rewrite the packet. The checksum of a translated IPv6 packet it cannot keep right in every state that the
/// stack may have left it in: before Linux 6.16 the helper takes for granted that an IP header's checksum changes with the
/// addresses. The engine does it.
#[inline(always)]
pub fn is_possible(headers: &Headers, hit: &Hit) -> bool {
    headers.family != FAMILY_IPV6 || !hit.has(TRANSLATE)
}

/// Applies the verdict. False where the stack could not make the packet writable, which leaves it unusable.
#[inline(always)]
pub fn apply(context: &TcContext, headers: &Headers, hit: &Hit) -> bool {
    if headers.family == FAMILY_IPV6 {
        return rewrite_ipv6::apply(context.data(), context.data_end(), headers, hit);
    }
    // The helpers come first: they may move the packet, so all pointers are taken after them.
    if hit.has(TRANSLATE) && !checksum(context, headers, hit) {
        return false;
    }
    let (data, data_end) = (context.data(), context.data_end());
    // The parser saw this much; the verifier wants to see it again.
    if data + SHORT_HEADERS > data_end {
        return false;
    }
    // SAFETY: SHORT_HEADERS bytes are checked and cover all that is written here.
    unsafe {
        rewrite_xdp::network(data, hit);
        if hit.has(TRANSLATE) {
            rewrite_xdp::ports(data, headers, hit);
            if headers.protocol == parse::PROTOCOL_ICMP {
                rewrite_xdp::icmp_checksum(data, hit);
            }
        }
    }
    true
}

/// The transport checksum: the address delta through the pseudo header, then the port delta plain.
#[inline(always)]
fn checksum(context: &TcContext, headers: &Headers, hit: &Hit) -> bool {
    // SAFETY: the entry is in the flow table.
    let verdict = unsafe { &(*hit.entry).verdict };
    let (address_delta, port_delta) = (verdict.address_delta as u64, verdict.port_delta as u64);
    let (offset, address_flags, port_flags) = match headers.protocol {
        parse::PROTOCOL_TCP => (parse::TCP_CHECKSUM, PSEUDO_HEADER, 0),
        parse::PROTOCOL_UDP => (parse::UDP_CHECKSUM, PSEUDO_HEADER | ZERO_IS_NONE, ZERO_IS_NONE),
        // ICMP's is never left to be computed: it is written with the identifier.
        _ => return true,
    };
    (address_delta == 0 || replace(context, offset, address_delta, address_flags))
        && (port_delta == 0 || replace(context, offset, port_delta, port_flags))
}

/// Adds `delta` to the checksum at `offset`. A header field size of 0 in the flags says that the delta is a sum's.
#[inline(always)]
fn replace(context: &TcContext, offset: usize, delta: u64, flags: u64) -> bool {
    // SAFETY: the context is the program's own; the helper checks the offset.
    unsafe { bpf_l4_csum_replace(context.skb.skb, offset as u32, 0, delta, flags) == 0 }
}
