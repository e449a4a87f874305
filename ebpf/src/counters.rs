//! Counting: per CPU for ports and drops; in the flow's entry, without a lock, for flows.

use edgestack_abi::maps::Control;
use edgestack_abi::{DropReason, FlowEntry};

use crate::maps::{DROPS, PORT_COUNTERS};

/// What one run of a program forwards: one packet, or a segmented one that stands for several.
#[derive(Clone, Copy)]
pub struct Amount {
    pub packets: u64,
    pub bytes: u64,
}

/// A packet of the flow was forwarded from `in_port` to `out_port`.
///
/// The additions to the entry are plain: cores that forward the same flow at once may lose increments, which the
/// table's protocol accepts. The time is written only when it changes, so that flows that several cores
/// forward do not bounce the line for it.
#[inline(always)]
pub fn forwarded(control: &Control, entry: *mut FlowEntry, in_port: u16, out_port: u16, amount: Amount) {
    // SAFETY: the entry is in the flow table's memory, which outlives the program; races are as documented.
    unsafe {
        (*entry).bytes += amount.bytes;
        (*entry).tier0_packets += amount.packets;
        if (*entry).last_seen_ticks != control.now_ticks {
            (*entry).last_seen_ticks = control.now_ticks;
        }
    }
    if let Some(counters) = PORT_COUNTERS.get_ptr_mut(in_port as u32) {
        // SAFETY: this CPU's own record; programs of one CPU do not interrupt each other.
        unsafe {
            (*counters).forwarded_packets += amount.packets;
            (*counters).forwarded_bytes += amount.bytes;
        }
    }
    if let Some(counters) = PORT_COUNTERS.get_ptr_mut(out_port as u32) {
        // SAFETY: as above.
        unsafe {
            (*counters).transmitted_packets += amount.packets;
            (*counters).transmitted_bytes += amount.bytes;
        }
    }
}

/// A packet that came in by a tunnel came in by this port below it.
#[inline(always)]
pub fn carried_in(under_port: u16, amount: Amount) {
    if let Some(counters) = PORT_COUNTERS.get_ptr_mut(under_port as u32) {
        // SAFETY: as in `forwarded`.
        unsafe {
            (*counters).forwarded_packets += amount.packets;
            (*counters).forwarded_bytes += amount.bytes;
        }
    }
}

/// A packet that leaves by a tunnel leaves by this port below it.
#[inline(always)]
pub fn carried_out(under_port: u16, amount: Amount) {
    if let Some(counters) = PORT_COUNTERS.get_ptr_mut(under_port as u32) {
        // SAFETY: as in `forwarded`.
        unsafe {
            (*counters).transmitted_packets += amount.packets;
            (*counters).transmitted_bytes += amount.bytes;
        }
    }
}

/// A packet of `in_port` went to the engine.
#[inline(always)]
pub fn punted(in_port: u16, packets: u64) {
    if let Some(counters) = PORT_COUNTERS.get_ptr_mut(in_port as u32) {
        // SAFETY: as in `forwarded`.
        unsafe { (*counters).punted_packets += packets };
    }
}

/// A packet of `in_port` was left to the host's stack.
#[inline(always)]
pub fn left_to_host(in_port: u16, packets: u64) {
    if let Some(counters) = PORT_COUNTERS.get_ptr_mut(in_port as u32) {
        // SAFETY: as in `forwarded`.
        unsafe { (*counters).host_packets += packets };
    }
}

/// A packet of `in_port` (0 where unknown) ended here.
#[inline(always)]
pub fn dropped(in_port: u16, reason: DropReason, packets: u64) {
    if let Some(drops) = DROPS.get_ptr_mut(reason as u32) {
        // SAFETY: as in `forwarded`.
        unsafe { *drops += packets };
    }
    if let Some(counters) = PORT_COUNTERS.get_ptr_mut(in_port as u32) {
        // SAFETY: as in `forwarded`.
        unsafe { (*counters).dropped_packets += packets };
    }
}
