//! The XDP programs: fastest for packets, but a frame loses what the stack knew of it (checksum, segmentation).

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT};
use aya_ebpf::helpers::generated::{bpf_redirect_map, bpf_xdp_adjust_head};
use aya_ebpf::programs::XdpContext;
use edgestack_abi::flow::FAMILY_IPV6;
use edgestack_abi::maps::Control;
use edgestack_abi::port::{PORT_PUNT_ALL, PORT_UNDERLAY, PORT_UPLINK, PORT_VLANS, PORT_XDP_TRANSMIT};
use edgestack_abi::tunnel::{KIND_VLAN, VLAN_IDENTIFIER, VLAN_TAG, VLAN_TAG_LENGTH};
use edgestack_abi::{DropReason, PortEntry};

use crate::counters::{self, Amount};
use crate::lookup::{self, Hit};
use crate::parse::{self, ETHERNET_LENGTH, Headers, load, store};
use crate::tunnel::{self, OUTER_IPV4, OUTER_IPV6};
use crate::{maps, rewrite_xdp};

/// A frame that arrived on a port.
#[inline(always)]
pub fn port(context: &XdpContext) -> u32 {
    // SAFETY: the context is the program's own.
    let (interface_index, queue) = unsafe { ((*context.ctx).ingress_ifindex, (*context.ctx).rx_queue_index) };
    let in_port = maps::port_number(interface_index);
    let (Some(control), Some(ingress)) = (maps::control(), maps::port(in_port)) else {
        return XDP_DROP;
    };
    // Attached before the port was told, or after it was taken away: nobody knows whose frames these are.
    if in_port == 0 {
        counters::dropped(0, DropReason::UnknownPort, 1);
        return XDP_DROP;
    }
    if control.tier0_enabled != 0 {
        if let Some(action) = known::<true>(context, control, ingress, in_port) {
            return action;
        }
        if ingress.flags & (PORT_VLANS | PORT_PUNT_ALL) == PORT_VLANS
            && let Some(action) = tagged(context, control, in_port)
        {
            return action;
        }
        if ingress.flags & (PORT_UNDERLAY | PORT_PUNT_ALL) == PORT_UNDERLAY
            && let Some(action) = carried(context, control, in_port)
        {
            return action;
        }
    }
    miss(ingress, in_port, queue, context.data(), context.data_end())
}

/// Forwards a frame of a known flow; None leaves it to the engine, unchanged.
#[inline(always)]
fn known<const MAY_WRAP: bool>(
    context: &XdpContext,
    control: &Control,
    ingress: &PortEntry,
    in_port: u16,
) -> Option<u32> {
    let (data, data_end) = (context.data(), context.data_end());
    let length = (data_end - data) as u32;
    let headers = parse::parse(data, data_end, length, control.hash_seed)?;
    let hit = lookup::decide(control, ingress, in_port, (data, data_end), &headers, headers.total_length)?;
    // Where the way out is not for XDP, the TC program of this interface forwards: the stack may by then have merged the
    // frame with others, which makes that worth while.
    if hit.out_flags & PORT_XDP_TRANSMIT == 0 {
        return Some(XDP_PASS);
    }
    // What has come by a tunnel never leaves by one.
    if !MAY_WRAP && hit.out_tunnel != 0 {
        return None;
    }
    if !rewrite_xdp::apply(data, data_end, &headers, &hit) {
        return None;
    }
    if MAY_WRAP && hit.out_tunnel != 0 {
        return Some(encapsulate(context, control, in_port, &headers, &hit));
    }
    Some(forward(control, in_port, length, &hit))
}

/// Takes the VLAN tag off a frame and forwards it; where that cannot be, it is as it was.
#[inline(always)]
fn tagged(context: &XdpContext, control: &Control, under_port: u16) -> Option<u32> {
    let (data, data_end) = (context.data(), context.data_end());
    if data + ETHERNET_LENGTH + VLAN_TAG_LENGTH > data_end {
        return None;
    }
    let length = (data_end - data) as u32;
    // SAFETY: so many bytes were checked.
    let (first, second, tag) = unsafe { (load::<u64>(data, 0), load::<u32>(data, 8), load::<u32>(data, 12)) };
    let [high, low, ..] = tag.to_ne_bytes();
    if u16::from_be_bytes([high, low]) != VLAN_TAG {
        return None;
    }
    let [_, _, high, low] = tag.to_ne_bytes();
    let in_port = tunnel::vlan(under_port, u16::from_be_bytes([high, low]) & VLAN_IDENTIFIER, control)?;
    let ingress = maps::port(in_port)?;
    if !shift(context, VLAN_TAG_LENGTH as i32, (first, second)) {
        return None;
    }
    let action = known::<false>(context, control, ingress, in_port);
    if let Some(action) = action
        && action != XDP_PASS
    {
        counters::carried_in(under_port, Amount { packets: 1, bytes: length as u64 });
        return Some(action);
    }
    if shift(context, -(VLAN_TAG_LENGTH as i32), (first, second)) && write_tag(context, tag) {
        return action;
    }
    counters::dropped(under_port, DropReason::FramesExhausted, 1);
    Some(XDP_DROP)
}

/// Moves the start of the frame, and the MAC addresses with it.
#[inline(always)]
fn shift(context: &XdpContext, by: i32, (first, second): (u64, u32)) -> bool {
    // SAFETY: a plain helper call on the program's own context.
    if unsafe { bpf_xdp_adjust_head(context.ctx, by) } != 0 {
        return false;
    }
    let (data, data_end) = (context.data(), context.data_end());
    if data + ETHERNET_LENGTH > data_end {
        return false;
    }
    // SAFETY: so many bytes were checked.
    unsafe {
        store(data, 0, first);
        store(data, 8, second);
    }
    true
}

#[inline(always)]
fn write_tag(context: &XdpContext, tag: u32) -> bool {
    let (data, data_end) = (context.data(), context.data_end());
    if data + ETHERNET_LENGTH + VLAN_TAG_LENGTH > data_end {
        return false;
    }
    // SAFETY: so many bytes were checked.
    unsafe { store(data, 12, tag) };
    true
}

/// Puts a VLAN tag into the frame.
#[inline(always)]
fn push_tag(context: &XdpContext, identifier: u32) -> bool {
    let (data, data_end) = (context.data(), context.data_end());
    if data + ETHERNET_LENGTH > data_end {
        return false;
    }
    // SAFETY: so many bytes were checked.
    let addresses = unsafe { (load::<u64>(data, 0), load::<u32>(data, 8)) };
    let tag = ((VLAN_TAG as u32) << 16 | identifier).to_be();
    shift(context, -(VLAN_TAG_LENGTH as i32), addresses) && write_tag(context, tag)
}

/// Takes the outer headers off a frame that came by a tunnel and forwards it; where that cannot be, it is as it was.
#[inline(always)]
fn carried(context: &XdpContext, control: &Control, under_port: u16) -> Option<u32> {
    let (data, data_end) = (context.data(), context.data_end());
    let length = (data_end - data) as u32;
    let (in_port, outer_length) = tunnel::find(data, data_end, length, under_port, control)?;
    let ingress = maps::port(in_port)?;
    // SAFETY: a plain helper call on the program's own context.
    if unsafe { bpf_xdp_adjust_head(context.ctx, outer_length as i32) } != 0 {
        return None;
    }
    let action = known::<false>(context, control, ingress, in_port);
    if let Some(action) = action
        && action != XDP_PASS
    {
        counters::carried_in(under_port, Amount { packets: 1, bytes: length as u64 });
        return Some(action);
    }
    // Nothing was written to the frame or in front of it, so going back finds the outer headers again.
    // SAFETY: as above.
    if unsafe { bpf_xdp_adjust_head(context.ctx, -(outer_length as i32)) } != 0 {
        counters::dropped(under_port, DropReason::FramesExhausted, 1);
        return Some(XDP_DROP);
    }
    action
}

/// A hit, rewritten, that leaves by a tunnel: outer headers in front of it.
#[inline(always)]
fn encapsulate(context: &XdpContext, control: &Control, in_port: u16, headers: &Headers, hit: &Hit) -> u32 {
    let (data, data_end) = (context.data(), context.data_end());
    let length = (data_end - data) as u32;
    let (Some(flow), Some(entry)) =
        (tunnel::flow(data, data_end, headers), maps::TUNNELS.get(hit.out_tunnel as u32))
    else {
        return XDP_DROP;
    };
    if entry.kind == KIND_VLAN {
        if !push_tag(context, entry.identifier) {
            counters::dropped(in_port, DropReason::FramesExhausted, 1);
            return XDP_DROP;
        }
        let bytes = length as u64 + VLAN_TAG_LENGTH as u64;
        counters::carried_out(entry.under_port, Amount { packets: 1, bytes });
        count(control, in_port, length, hit);
        return redirect(in_port, entry.under_port);
    }
    let outer_length = if entry.family == FAMILY_IPV6 { OUTER_IPV6 } else { OUTER_IPV4 };
    // SAFETY: a plain helper call on the program's own context.
    let has_room = unsafe { bpf_xdp_adjust_head(context.ctx, -(outer_length as i32)) } == 0;
    if !has_room || !tunnel::write(context.data(), context.data_end(), entry, length, flow) {
        counters::dropped(in_port, DropReason::FramesExhausted, 1);
        return XDP_DROP;
    }
    counters::carried_out(
        entry.under_port,
        Amount { packets: 1, bytes: length as u64 + outer_length as u64 },
    );
    count(control, in_port, length, hit);
    redirect(in_port, entry.under_port)
}

/// A hit, rewritten: sends the frame out of its port.
#[inline(always)]
fn forward(control: &Control, in_port: u16, length: u32, hit: &Hit) -> u32 {
    count(control, in_port, length, hit);
    redirect(in_port, hit.out_port)
}

#[inline(always)]
fn count(control: &Control, in_port: u16, length: u32, hit: &Hit) {
    counters::forwarded(
        control,
        hit.entry,
        in_port,
        hit.out_port,
        Amount { packets: 1, bytes: length as u64 },
    );
}

#[inline(always)]
fn redirect(in_port: u16, out_port: u16) -> u32 {
    // SAFETY: the map is a device map; the flags are the verdict where the port has no device.
    let action = unsafe {
        bpf_redirect_map((&raw const maps::DEVICES).cast_mut().cast(), out_port as u64, XDP_DROP as u64)
    } as u32;
    if action != XDP_REDIRECT {
        counters::dropped(in_port, DropReason::PortDown, 1);
    }
    action
}

/// A miss: to the engine's socket of this port and queue. On an uplink, what is addressed to the host itself or to
/// all goes on to the stack, where the TC program takes the engine's share.
#[inline(always)]
fn miss(ingress: &PortEntry, in_port: u16, queue: u32, data: usize, data_end: usize) -> u32 {
    if ingress.flags & PORT_UPLINK != 0 && data + ETHERNET_LENGTH <= data_end && is_for_host(ingress, data) {
        return XDP_PASS;
    }
    let action = redirect_to_socket(ingress.first_socket + queue);
    if action == XDP_REDIRECT {
        counters::punted(in_port, 1);
    } else {
        counters::dropped(in_port, DropReason::EngineAbsent, 1);
    }
    action
}

/// The frame is for the interface's own MAC address, or for a group.
#[inline(always)]
pub fn is_for_host(ingress: &PortEntry, data: usize) -> bool {
    is_group(data) || is_own_mac(ingress, data)
}

/// The frame is multicast or broadcast. The caller has checked the Ethernet header.
#[inline(always)]
pub fn is_group(data: usize) -> bool {
    // SAFETY: the Ethernet header was checked.
    unsafe { load::<u8>(data, 0) & 1 != 0 }
}

/// The frame is for the interface's own MAC address. The caller has checked the Ethernet header.
#[inline(always)]
pub fn is_own_mac(ingress: &PortEntry, data: usize) -> bool {
    let own = (&raw const ingress.interface_mac) as usize;
    // SAFETY: the Ethernet header was checked; the address in the port's entry has six bytes.
    unsafe { load::<u32>(data, 0) == load::<u32>(own, 0) && load::<u16>(data, 4) == load::<u16>(own, 4) }
}

/// A frame that arrived at the engine's end of the trunk, with the tag of its port.
#[inline(always)]
pub fn trunk(context: &XdpContext) -> u32 {
    // SAFETY: the context is the program's own.
    let queue = unsafe { (*context.ctx).rx_queue_index };
    let Some(control) = maps::control() else {
        return XDP_DROP;
    };
    let action = redirect_to_socket(control.trunk_first_socket + queue);
    if action != XDP_REDIRECT {
        counters::dropped(0, DropReason::EngineAbsent, 1);
    }
    action
}

/// The map drops a socket that was closed by itself, so a frame for an engine that died ends as `XDP_DROP`.
#[inline(always)]
fn redirect_to_socket(index: u32) -> u32 {
    // SAFETY: the map is a map of sockets; the flags are the verdict where there is none at the index.
    unsafe {
        bpf_redirect_map((&raw const maps::SOCKETS).cast_mut().cast(), index as u64, XDP_DROP as u64) as u32
    }
}
