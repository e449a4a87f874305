//! The TC programs: they keep segmentation and checksum offload, so one run may forward 64 KB of a TCP stream.

use aya_ebpf::bindings::{__sk_buff, TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::helpers::generated::{
    bpf_clone_redirect, bpf_redirect, bpf_skb_adjust_room, bpf_skb_pull_data, bpf_skb_vlan_pop,
    bpf_skb_vlan_push,
};
use aya_ebpf::programs::TcContext;
use edgestack_abi::flow::FAMILY_IPV6;
use edgestack_abi::maps::Control;
use edgestack_abi::port::{PORT_PUNT_ALL, PORT_UNDERLAY, PORT_UP, PORT_UPLINK, PORT_VLANS};
use edgestack_abi::punt::TRUNK_TAG_ETHER_TYPE;
use edgestack_abi::tunnel::{KIND_VLAN, VLAN_IDENTIFIER, VLAN_TAG};
use edgestack_abi::{DropReason, FlowEntry, FlowVerdict, PortEntry};

use crate::counters::{self, Amount};
use crate::lookup::{self, Hit};
use crate::parse::{
    self, ETHER_TYPE, ETHER_TYPE_ARP, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHERNET_LENGTH, Headers,
    NEXT_HEADER, PROTOCOL_ICMPV6, SHORT_HEADERS, TCP_HEADERS_IPV6, load, store,
};
use crate::tunnel::{self, OUTER_IPV4, OUTER_IPV6};
use crate::xdp::{is_group, is_own_mac};
use crate::{maps, rewrite_tc};

/// Of `bpf_skb_adjust_room` (include/uapi/linux/bpf.h): room behind the Ethernet header.
const ADJUST_ROOM_MAC: u32 = 1;
/// The size of segments stays: the flow's MTU has room for the outer headers.
const FIXED_GSO: u64 = 1 << 0;
const ENCAP_IPV4: u64 = 1 << 1;
const ENCAP_IPV6: u64 = 1 << 2;
const ENCAP_UDP: u64 = 1 << 4;
const ENCAP_ETHERNET: u64 = 1 << 6;
const ENCAP_LENGTH_SHIFT: u32 = 56;
const DECAP_IPV4: u64 = 1 << 7;
const DECAP_IPV6: u64 = 1 << 8;
/// Longest packet that outer headers fit around, before the stack cuts it: lengths are of 16 bits.
const WRAPPED_MAX: u32 = 65_535 - OUTER_IPV6 as u32;

/// A packet that arrived on a port.
#[inline(always)]
pub fn port(context: &TcContext) -> i32 {
    let packet = context.skb.skb;
    // SAFETY: the context is the program's own. At ingress the packet's interface is the one it arrived on.
    let in_port = maps::port_number(unsafe { (*packet).ifindex });
    let (Some(control), Some(ingress)) = (maps::control(), maps::port(in_port)) else {
        return TC_ACT_SHOT;
    };
    // Attached before the port was told, or after it was taken away: nobody knows whose packets these are.
    if in_port == 0 {
        counters::dropped(0, DropReason::UnknownPort, 1);
        return TC_ACT_SHOT;
    }
    // A packet with a VLAN tag, which the stack keeps beside it, did not come by this port, but maybe by one of its VLANs.
    // SAFETY: the context is the program's own.
    if control.tier0_enabled != 0 && unsafe { (*packet).vlan_present } == 0 {
        make_headers_readable(context);
        let (data, data_end) = (context.data(), context.data_end());
        if let Some(headers) = parse::parse(data, data_end, context.len(), control.hash_seed)
            && let Some(hit) = lookup::decide(
                control,
                ingress,
                in_port,
                (data, data_end),
                &headers,
                segment_length(packet, &headers),
            )
            && rewrite_tc::is_possible(&headers, &hit)
            && (hit.out_tunnel == 0 || context.len() <= WRAPPED_MAX)
        {
            return forward::<true>(context, control, in_port, &headers, &hit);
        }
        if ingress.flags & (PORT_UNDERLAY | PORT_PUNT_ALL) == PORT_UNDERLAY
            && let Some(action) = carried(context, control, in_port)
        {
            return action;
        }
    }
    // SAFETY: the context is the program's own.
    if control.tier0_enabled != 0
        && unsafe { (*packet).vlan_present } != 0
        && ingress.flags & (PORT_VLANS | PORT_PUNT_ALL) == PORT_VLANS
        && let Some(action) = tagged(context, control, in_port)
    {
        return action;
    }
    miss(context, control, ingress, in_port)
}

/// Forwards a packet with a VLAN tag, which the stack keeps beside it, without the tag; None leaves it to the engine, unchanged.
#[inline(always)]
fn tagged(context: &TcContext, control: &Control, under_port: u16) -> Option<i32> {
    let packet = context.skb.skb;
    // SAFETY: the context is the program's own.
    let identifier = unsafe { (*packet).vlan_tci } as u16 & VLAN_IDENTIFIER;
    let in_port = tunnel::vlan(under_port, identifier, control)?;
    let ingress = maps::port(in_port)?;
    make_headers_readable(context);
    let (data, data_end) = (context.data(), context.data_end());
    let headers = parse::parse(data, data_end, context.len(), control.hash_seed)?;
    let segment = segment_length(packet, &headers);
    let hit = lookup::decide(control, ingress, in_port, (data, data_end), &headers, segment)?;
    if !rewrite_tc::is_possible(&headers, &hit) || hit.out_tunnel != 0 {
        return None;
    }
    let amount = amount(packet, headers.header_length);
    // SAFETY: a plain helper call on the program's own context.
    if unsafe { bpf_skb_vlan_pop(packet) } != 0 {
        return None;
    }
    counters::carried_in(under_port, amount);
    Some(forward::<false>(context, control, in_port, &headers, &hit))
}

/// Takes the outer headers off a packet that came by a tunnel and forwards it; None leaves it to the engine, unchanged.
#[inline(always)]
fn carried(context: &TcContext, control: &Control, under_port: u16) -> Option<i32> {
    make_readable(context, (OUTER_IPV6 + TCP_HEADERS_IPV6) as u32);
    let (data, data_end, length) = (context.data(), context.data_end(), context.len());
    let (in_port, outer_length) = tunnel::find(data, data_end, length, under_port, control)?;
    let ingress = maps::port(in_port)?;
    if outer_length == OUTER_IPV6 {
        carried_at::<OUTER_IPV6>(context, control, ingress, under_port, in_port)
    } else {
        carried_at::<OUTER_IPV4>(context, control, ingress, under_port, in_port)
    }
}

/// As [`carried`], with the frame inside `AT` bytes in, which must be a constant for the verifier.
#[inline(always)]
fn carried_at<const AT: usize>(
    context: &TcContext,
    control: &Control,
    ingress: &PortEntry,
    under_port: u16,
    in_port: u16,
) -> Option<i32> {
    let packet = context.skb.skb;
    let (data, data_end, length) =
        (context.data() + AT, context.data_end(), context.len().wrapping_sub(AT as u32));
    // Nothing merges such packets on the way in, so none stands for several.
    // SAFETY: the context is the program's own.
    if unsafe { (*packet).gso_size } != 0 {
        return None;
    }
    let headers = parse::parse(data, data_end, length, control.hash_seed)?;
    let hit = lookup::decide(control, ingress, in_port, (data, data_end), &headers, headers.total_length)?;
    if !rewrite_tc::is_possible(&headers, &hit) || hit.out_tunnel != 0 {
        return None;
    }
    // What is taken away stands behind the first Ethernet header, which stays for the frame inside.
    let flags = if headers.family == FAMILY_IPV6 { DECAP_IPV6 } else { DECAP_IPV4 };
    // SAFETY: plain helper calls on the program's own context.
    if unsafe { bpf_skb_adjust_room(packet, -(AT as i32), ADJUST_ROOM_MAC, flags) } != 0 {
        return None;
    }
    counters::carried_in(under_port, Amount { packets: 1, bytes: length as u64 + AT as u64 });
    let (data, data_end) = (context.data(), context.data_end());
    if data + ETHERNET_LENGTH > data_end {
        counters::dropped(in_port, DropReason::FramesExhausted, 1);
        return Some(TC_ACT_SHOT);
    }
    // The addresses of the frame inside are those that the flow is for.
    let expected = hit.entry as usize
        + core::mem::offset_of!(FlowEntry, verdict)
        + core::mem::offset_of!(FlowVerdict, match_ethernet_destination);
    let ether_type = if headers.family == FAMILY_IPV6 { ETHER_TYPE_IPV6 } else { ETHER_TYPE_IPV4 };
    // SAFETY: 14 bytes of the packet were checked; twelve bytes from there are both addresses of the verdict.
    unsafe {
        store::<u64>(data, 0, load(expected, 0));
        store::<u32>(data, 8, load(expected, 8));
        store::<u16>(data, ETHER_TYPE, ether_type.to_be());
    }
    Some(forward::<false>(context, control, in_port, &headers, &hit))
}

/// Puts outer headers around a rewritten packet; the interface that it leaves by. None where there is no room for them.
#[inline(always)]
fn encapsulate(context: &TcContext, headers: &Headers, hit: &Hit, amount: Amount) -> Option<u32> {
    let entry = maps::TUNNELS.get(hit.out_tunnel as u32)?;
    let under = maps::port(entry.under_port)?;
    let (data, data_end, length) = (context.data(), context.data_end(), context.len());
    if entry.kind == KIND_VLAN {
        counters::carried_out(entry.under_port, amount);
        // SAFETY: a plain helper call on the program's own context.
        let pushed = unsafe { bpf_skb_vlan_push(context.skb.skb, VLAN_TAG.to_be(), entry.identifier as u16) };
        return (pushed == 0).then_some(under.interface_index);
    }
    let flow = tunnel::flow(data, data_end, headers)?;
    if data + ETHERNET_LENGTH > data_end {
        return None;
    }
    // The room comes behind the Ethernet header, which is then the outer one.
    // SAFETY: 14 bytes were checked.
    let (first, second, third) =
        unsafe { (load::<u64>(data, 0), load::<u32>(data, 8), load::<u16>(data, 12)) };
    let inner = if entry.family == FAMILY_IPV6 {
        make_room::<OUTER_IPV6>(context, ENCAP_IPV6)?
    } else {
        make_room::<OUTER_IPV4>(context, ENCAP_IPV4)?
    };
    let (data, data_end) = (context.data(), context.data_end());
    if !tunnel::write(data, data_end, entry, length, flow) {
        return None;
    }
    // SAFETY: the bytes are checked where they are written.
    unsafe {
        if inner == OUTER_IPV6 {
            if data + OUTER_IPV6 + ETHERNET_LENGTH > data_end {
                return None;
            }
            store(data, OUTER_IPV6, first);
            store(data, OUTER_IPV6 + 8, second);
            store(data, OUTER_IPV6 + 12, third);
        } else {
            if data + OUTER_IPV4 + ETHERNET_LENGTH > data_end {
                return None;
            }
            store(data, OUTER_IPV4, first);
            store(data, OUTER_IPV4 + 8, second);
            store(data, OUTER_IPV4 + 12, third);
        }
    }
    let bytes = amount.bytes + amount.packets * inner as u64;
    counters::carried_out(entry.under_port, Amount { packets: amount.packets, bytes });
    Some(under.interface_index)
}

/// Makes room for outer headers of this length, and lets the stack know that they are a tunnel's, so that it cuts what is
/// still to be cut inside them.
#[inline(always)]
fn make_room<const LENGTH: usize>(context: &TcContext, network: u64) -> Option<usize> {
    let flags =
        FIXED_GSO | network | ENCAP_UDP | ENCAP_ETHERNET | (ETHERNET_LENGTH as u64) << ENCAP_LENGTH_SHIFT;
    // SAFETY: a plain helper call on the program's own context.
    let result = unsafe { bpf_skb_adjust_room(context.skb.skb, LENGTH as i32, ADJUST_ROOM_MAC, flags) };
    (result == 0).then_some(LENGTH)
}

/// The headers are in the packet's first piece but for rare drivers; then the stack is asked to put them there.
#[inline(always)]
fn make_headers_readable(context: &TcContext) {
    make_readable(context, TCP_HEADERS_IPV6 as u32);
}

#[inline(always)]
fn make_readable(context: &TcContext, most: u32) {
    let length = context.len();
    let wanted = if length < most { length } else { most };
    if ((context.data_end() - context.data()) as u32) < wanted {
        // SAFETY: the context is the program's own. Failing leaves the packet to be refused by the parser.
        unsafe { bpf_skb_pull_data(context.skb.skb, wanted) };
    }
}

/// The length of the IP packet, or of the largest that it will be cut into.
#[inline(always)]
fn segment_length(packet: *mut __sk_buff, headers: &Headers) -> u32 {
    // SAFETY: the context is the program's own.
    match unsafe { (*packet).gso_size } {
        0 => headers.total_length,
        payload => headers.header_length - ETHERNET_LENGTH as u32 + payload,
    }
}

/// How many packets this one stands for, and the bytes they have together.
#[inline(always)]
fn amount(packet: *mut __sk_buff, header_length: u32) -> Amount {
    // SAFETY: the context is the program's own.
    let (length, segments, payload) = unsafe { ((*packet).len, (*packet).gso_segs, (*packet).gso_size) };
    if payload == 0 {
        return Amount { packets: 1, bytes: length as u64 };
    }
    // A guest's packet comes without the number, which the stack counts later.
    let segments = if segments != 0 {
        segments
    } else {
        length.wrapping_sub(header_length).wrapping_add(payload - 1) / payload
    };
    let repeated = (segments as u64).saturating_sub(1) * header_length as u64;
    Amount { packets: segments as u64, bytes: length as u64 + repeated }
}

/// A hit. What has come by a tunnel never leaves by one, so its copy of this does without.
#[inline(always)]
fn forward<const MAY_WRAP: bool>(
    context: &TcContext,
    control: &Control,
    in_port: u16,
    headers: &Headers,
    hit: &Hit,
) -> i32 {
    let amount = amount(context.skb.skb, headers.header_length);
    if !rewrite_tc::apply(context, headers, hit) {
        counters::dropped(in_port, DropReason::FramesExhausted, amount.packets);
        return TC_ACT_SHOT;
    }
    let mut interface_index = hit.out_interface_index;
    if MAY_WRAP && hit.out_tunnel != 0 {
        let Some(under) = encapsulate(context, headers, hit, amount) else {
            counters::dropped(in_port, DropReason::FramesExhausted, amount.packets);
            return TC_ACT_SHOT;
        };
        interface_index = under;
    }
    counters::forwarded(control, hit.entry, in_port, hit.out_port, amount);
    // SAFETY: a plain helper call.
    unsafe { bpf_redirect(interface_index, 0) as i32 }
}

/// A miss: to the engine through the trunk. On an uplink the host keeps what is addressed to it, and what is
/// addressed to all, of which the engine gets a copy of what asks for addresses.
#[inline(always)]
fn miss(context: &TcContext, control: &Control, ingress: &PortEntry, in_port: u16) -> i32 {
    let (data, data_end) = (context.data(), context.data_end());
    let packets = amount(context.skb.skb, parse::TRANSPORT as u32).packets;
    if ingress.flags & PORT_UPLINK != 0 && data + ETHERNET_LENGTH <= data_end {
        if is_own_mac(ingress, data) {
            counters::left_to_host(in_port, packets);
            return TC_ACT_OK;
        }
        if is_group(data) {
            if asks_for_addresses(data, data_end) {
                copy_to_engine(context, control, in_port);
            }
            counters::left_to_host(in_port, packets);
            return TC_ACT_OK;
        }
    }
    if control.trunk_interface_index == 0 || !tag(context, in_port) {
        counters::dropped(in_port, DropReason::EngineAbsent, packets);
        return TC_ACT_SHOT;
    }
    counters::punted(in_port, packets);
    // SAFETY: a plain helper call.
    unsafe { bpf_redirect(control.trunk_interface_index, 0) as i32 }
}

/// ARP, or the ICMPv6 of neighbour discovery. The caller has checked the Ethernet header.
#[inline(always)]
fn asks_for_addresses(data: usize, data_end: usize) -> bool {
    // SAFETY: the Ethernet header was checked; what lies beyond is read behind a check of its own.
    unsafe {
        match u16::from_be(parse::load(data, ETHER_TYPE)) {
            ETHER_TYPE_ARP => true,
            ETHER_TYPE_IPV6 => {
                data + SHORT_HEADERS <= data_end && parse::load::<u8>(data, NEXT_HEADER) == PROTOCOL_ICMPV6
            }
            _ => false,
        }
    }
}

/// Marks the packet with its ingress port.
#[inline(always)]
fn tag(context: &TcContext, in_port: u16) -> bool {
    // SAFETY: the context is the program's own.
    unsafe { bpf_skb_vlan_push(context.skb.skb, TRUNK_TAG_ETHER_TYPE.to_be(), in_port) == 0 }
}

/// Sends a copy to the engine and leaves the packet as it was.
#[inline(always)]
fn copy_to_engine(context: &TcContext, control: &Control, in_port: u16) {
    if control.trunk_interface_index == 0 || !tag(context, in_port) {
        counters::dropped(in_port, DropReason::EngineAbsent, 1);
        return;
    }
    // SAFETY: plain helper calls on the program's own context.
    unsafe {
        if bpf_clone_redirect(context.skb.skb, control.trunk_interface_index, 0) == 0 {
            counters::punted(in_port, 1);
        } else {
            counters::dropped(in_port, DropReason::EngineAbsent, 1);
        }
        bpf_skb_vlan_pop(context.skb.skb);
    }
}

/// A packet that the engine sent, arriving at the kernel's end of the trunk: out of the port that its tag names.
#[inline(always)]
pub fn trunk(context: &TcContext) -> i32 {
    let packet = context.skb.skb;
    // SAFETY: the context is the program's own.
    let (tagged, tag) = unsafe { ((*packet).vlan_present, (*packet).vlan_tci) };
    // Not from the engine: the host's own noise on a new interface.
    if tagged == 0 {
        return TC_ACT_SHOT;
    }
    let out_port = tag as u16;
    let Some(egress) = maps::port(out_port) else {
        return TC_ACT_SHOT;
    };
    if egress.flags & PORT_UP == 0 || egress.interface_index == 0 {
        counters::dropped(0, DropReason::PortDown, 1);
        return TC_ACT_SHOT;
    }
    // SAFETY: plain helper calls on the program's own context.
    unsafe {
        if bpf_skb_vlan_pop(packet) != 0 {
            counters::dropped(0, DropReason::FramesExhausted, 1);
            return TC_ACT_SHOT;
        }
        bpf_redirect(egress.interface_index, 0) as i32
    }
}
