//! The TC programs: they keep segmentation and checksum offload, so one run may forward 64 KB of a TCP stream.

use aya_ebpf::bindings::{__sk_buff, TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::helpers::generated::{
    bpf_clone_redirect, bpf_redirect, bpf_skb_pull_data, bpf_skb_vlan_pop, bpf_skb_vlan_push,
};
use aya_ebpf::programs::TcContext;
use edgestack_abi::maps::Control;
use edgestack_abi::port::{PORT_UP, PORT_UPLINK};
use edgestack_abi::punt::TRUNK_TAG_ETHER_TYPE;
use edgestack_abi::{DropReason, PortEntry};

use crate::counters::{self, Amount};
use crate::lookup::{self, Hit};
use crate::parse::{
    self, ETHER_TYPE, ETHER_TYPE_ARP, ETHER_TYPE_IPV6, ETHERNET_LENGTH, Headers, NEXT_HEADER, PROTOCOL_ICMPV6,
    SHORT_HEADERS, TCP_HEADERS_IPV6,
};
use crate::xdp::{is_group, is_own_mac};
use crate::{maps, rewrite_tc};

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
    // A packet with a VLAN tag, which the stack keeps beside it, is none that tier 0 knows.
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
        {
            return forward(context, control, in_port, &headers, &hit);
        }
    }
    miss(context, control, ingress, in_port)
}

/// The headers are in the packet's first piece but for rare drivers; then the stack is asked to put them there.
#[inline(always)]
fn make_headers_readable(context: &TcContext) {
    let length = context.len();
    let wanted = if length < TCP_HEADERS_IPV6 as u32 { length } else { TCP_HEADERS_IPV6 as u32 };
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

/// A hit.
#[inline(always)]
fn forward(context: &TcContext, control: &Control, in_port: u16, headers: &Headers, hit: &Hit) -> i32 {
    let amount = amount(context.skb.skb, headers.header_length);
    if !rewrite_tc::apply(context, headers, hit) {
        counters::dropped(in_port, DropReason::FramesExhausted, amount.packets);
        return TC_ACT_SHOT;
    }
    counters::forwarded(control, hit.entry, in_port, hit.out_port, amount);
    // SAFETY: a plain helper call.
    unsafe { bpf_redirect(hit.out_interface_index, 0) as i32 }
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
