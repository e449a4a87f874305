//! The contract between the kernel programs (tier 0) and the user-space engine (tier 1).
//!
//! Everything that both sides read or write is declared here and nowhere else: the flow table's layout, the
//! port table, the counters, the names and sizes of the maps, the drop reasons, and the two pieces of
//! arithmetic (flow hash, checksum update) whose results must be equal on both sides.
//!
//! The crate is `no_std`, has no dependency in the kernel build, and never does I/O. The kernel programs in
//! `ebpf/src` and the `tables`, `fastpath` and `pipeline` modules of the dataplane use it.
//!
//! Every record is `#[repr(C)]` with its size asserted at compile time. A change of any layout must raise
//! [`maps::ABI_VERSION`]: maps are pinned under a directory of that name, so a daemon never adopts a table
//! that it would misread.
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "the kernel's verifier accepts these only as part of their callers"
)]

pub mod checksum;
pub mod counters;
pub mod drop_reason;
pub mod flow;
pub mod maps;
pub mod port;
pub mod punt;
pub mod session;
pub mod tunnel;

pub use counters::PortCounters;
pub use drop_reason::DropReason;
pub use flow::{FlowBucket, FlowEntry, FlowKey, FlowVerdict};
pub use port::PortEntry;
pub use session::{Session, SessionAddresses};
pub use tunnel::TunnelEntry;
