//! The lab's kernel programs: a traffic source, a sink and a plain redirect, all XDP.
//!
//! `make bench-peers` measures gateways with them, because user space is too slow to find their limits. No part of the
//! product; see `layout` for what is shared with user space.
#![no_std]
#![no_main]

#[expect(dead_code, reason = "the names are for the bench, which compiles the same file")]
mod layout;

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, DevMap, PerCpuArray};
use aya_ebpf::programs::XdpContext;
use layout::{CENSUS_WORDS, DESTINATION_PORT, DESTINATIONS, FRAME_LENGTH, Sink, Source};

#[map]
static SOURCE: Array<Source> = Array::with_max_entries(1, 0);
#[map]
static CENSUS_ENABLED: Array<u32> = Array::with_max_entries(1, 0);
#[map]
static CENSUS: Array<u64> = Array::with_max_entries(CENSUS_WORDS, 0);
#[map]
static SINK: PerCpuArray<Sink> = PerCpuArray::with_max_entries(1, 0);
#[map]
static REDIRECT: DevMap = DevMap::with_max_entries(1, 0);

type Frame = [u8; FRAME_LENGTH];

const ETHERNET: usize = 14;
const IP_TOTAL_LENGTH: u16 = (FRAME_LENGTH - ETHERNET) as u16;
const UDP_LENGTH: u16 = IP_TOTAL_LENGTH - 20;
const PROTOCOL_UDP: u8 = 17;
const TTL: u8 = 64;

/// Makes the next frame and sends it. Frames are used again by the kernel, as they came back from the sink,
/// so every byte of the headers is written.
#[xdp]
pub fn lab_source(context: XdpContext) -> u32 {
    let (Some(frame), Some(source)) = (frame(context), SOURCE.get_ptr_mut(0)) else { return XDP_ABORTED };
    // SAFETY: the map has one record, and the source runs on one CPU at a time.
    let source = unsafe { &mut *source };
    let number = source.next;
    source.next = if number + 1 < source.flows { number + 1 } else { 0 };
    let (host, destination, port) = layout::flow(number);
    let from = source.first_host + host;
    let to = source.first_destination + destination;

    frame[..12].copy_from_slice(&source.ethernet);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let addresses = words(from) + words(to);
    let constant = 0x4500 + u32::from(IP_TOTAL_LENGTH) + u32::from(TTL) * 256 + u32::from(PROTOCOL_UDP);
    frame[14..18].copy_from_slice(&[0x45, 0, (IP_TOTAL_LENGTH >> 8) as u8, IP_TOTAL_LENGTH as u8]);
    frame[18..24].copy_from_slice(&[0, 0, 0, 0, TTL, PROTOCOL_UDP]);
    frame[24..26].copy_from_slice(&checksum(addresses + constant).to_be_bytes());
    frame[26..30].copy_from_slice(&from.to_be_bytes());
    frame[30..34].copy_from_slice(&to.to_be_bytes());

    let pseudo = addresses + u32::from(PROTOCOL_UDP) + u32::from(UDP_LENGTH);
    let header = u32::from(port) + u32::from(DESTINATION_PORT) + u32::from(UDP_LENGTH);
    frame[34..36].copy_from_slice(&port.to_be_bytes());
    frame[36..38].copy_from_slice(&DESTINATION_PORT.to_be_bytes());
    frame[38..40].copy_from_slice(&UDP_LENGTH.to_be_bytes());
    frame[40..42].copy_from_slice(&checksum(pseudo + header).to_be_bytes());
    XDP_TX
}

/// Counts and drops UDP; the rest (ARP) is the stack's.
#[xdp]
pub fn lab_sink(context: XdpContext) -> u32 {
    let Some(frame) = frame(context) else { return XDP_PASS };
    if !is_udp(frame) {
        return XDP_PASS;
    }
    let Some(sink) = SINK.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: the record is this CPU's own.
    let sink = unsafe { &mut *sink };
    sink.packets += 1;
    if CENSUS_ENABLED.get(0).is_some_and(|enabled| *enabled != 0) {
        take_census(frame, sink);
    }
    XDP_DROP
}

/// Sends UDP on as it is: what XDP on a veth carries when nothing is done to a packet.
#[xdp]
pub fn lab_redirect(context: XdpContext) -> u32 {
    match frame(context) {
        Some(frame) if is_udp(frame) => REDIRECT.redirect(0, 0).unwrap_or(XDP_ABORTED),
        _ => XDP_PASS,
    }
}

fn take_census(frame: &Frame, sink: &mut Sink) {
    let port = u32::from(u16::from_be_bytes([frame[34], frame[35]]));
    let destination = u32::from(frame[33]) % DESTINATIONS;
    let bit = destination * 65_536 + port;
    if let Some(word) = CENSUS.get_ptr_mut(bit / 64) {
        // SAFETY: in bounds by the lookup; packets of one port arrive on one CPU at a time.
        unsafe { *word |= 1 << (bit % 64) };
    }
    let mut header = 0;
    let mut transport = u32::from(PROTOCOL_UDP) + u32::from(UDP_LENGTH);
    for index in 0..10 {
        header += word(frame, ETHERNET + 2 * index);
    }
    for index in 0..(FRAME_LENGTH - 26) / 2 {
        transport += word(frame, 26 + 2 * index);
    }
    // A UDP checksum of 0 says that there is none.
    let has_checksum = frame[40] != 0 || frame[41] != 0;
    if checksum(header) != 0 || (has_checksum && checksum(transport) != 0) {
        sink.broken += 1;
    }
}

#[inline(always)]
fn word(frame: &Frame, offset: usize) -> u32 {
    u32::from(frame[offset]) << 8 | u32::from(frame[offset + 1])
}

/// The frame, where it is as long as ours. It outlives the program; the context is taken so that there is one
/// reference to it.
#[inline(always)]
fn frame(context: XdpContext) -> Option<&'static mut Frame> {
    let (start, end) = (context.data(), context.data_end());
    if start + FRAME_LENGTH > end {
        return None;
    }
    // SAFETY: the packet's bytes were just checked to be there, and no other reference to them exists.
    Some(unsafe { &mut *(start as *mut Frame) })
}

#[inline(always)]
fn is_udp(frame: &Frame) -> bool {
    frame[12] == 0x08 && frame[13] == 0x00 && frame[23] == PROTOCOL_UDP
}

/// The sum of an address's two 16-bit words.
#[inline(always)]
fn words(address: u32) -> u32 {
    (address >> 16) + (address & 0xffff)
}

/// The internet checksum of what was summed up.
#[inline(always)]
fn checksum(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    !(sum as u16)
}

/// No code here panics; the compiler wants to know where it would go.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel's interface wants a licence. No helper used here is restricted to the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 11] = *b"Apache-2.0\0";
