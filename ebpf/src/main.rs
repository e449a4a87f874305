//! Tier 0: the kernel programs of EdgeStack.
//!
//! They forward packets of flows that the engine has decided, and hand every other packet to the engine. They
//! decide nothing themselves, keep no state but counters and the time a flow was last seen, and never read a clock.
//!
//! | program              | where                              | hit                    | miss                |
//! | -------------------- | ---------------------------------- | ---------------------- | ------------------- |
//! | `edgestack_xdp_port` | uplinks, workloads with XDP        | rewrite, redirect      | AF_XDP socket       |
//! | `edgestack_tc_port`  | every port, ingress                | rewrite, redirect      | trunk, tagged       |
//! | `edgestack_tc_trunk` | the kernel's end of the trunk      | untag, send by the port|                     |
//! | `edgestack_xdp_trunk`| the engine's end of the trunk      | AF_XDP socket          |                     |
//!
//! A packet's way: `parse` (what tier 0 may forward at all), `lookup` (the flow, and whether it still holds),
//! `rewrite_xdp` or `rewrite_tc`, `tunnel` (between hosts), `counters`, redirect. The entry points here are the whole control flow.
#![no_std]
#![no_main]

mod counters;
mod lookup;
mod maps;
mod parse;
mod rewrite_ipv6;
mod rewrite_tc;
mod rewrite_xdp;
mod tc;
mod tunnel;
mod xdp;

use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};

/// See [`edgestack_abi::maps::PROGRAM_XDP_PORT`].
#[xdp]
pub fn edgestack_xdp_port(context: XdpContext) -> u32 {
    xdp::port(&context)
}

/// See [`edgestack_abi::maps::PROGRAM_XDP_TRUNK`].
#[xdp]
pub fn edgestack_xdp_trunk(context: XdpContext) -> u32 {
    xdp::trunk(&context)
}

/// See [`edgestack_abi::maps::PROGRAM_TC_PORT`].
#[classifier]
pub fn edgestack_tc_port(context: TcContext) -> i32 {
    tc::port(&context)
}

/// See [`edgestack_abi::maps::PROGRAM_TC_TRUNK`].
#[classifier]
pub fn edgestack_tc_trunk(context: TcContext) -> i32 {
    tc::trunk(&context)
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
