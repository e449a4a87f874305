//! A session: the two directions of a connection and what only the engine knows of it.
//!
//! Sessions live in an array of their own beside the flow table, in the same kind of memory, so that a new
//! daemon finds connections, translations and TCP states as the old one left them. The kernel programs never
//! read them.

use crate::flow::FlowKey;

/// The session is in use. Written last when a session is made, cleared first when it is freed.
pub const SESSION_VALID: u8 = 1;

/// The session's source is translated to a port of a router's external address or of a virtual address, which the
/// allocator holds.
pub const SESSION_SNAT: u8 = 1 << 0;
/// A floating IP took part in the translation.
pub const SESSION_FLOATING_IP: u8 = 1 << 1;
/// A load balancer chose the destination.
pub const SESSION_LOAD_BALANCED: u8 = 1 << 2;
/// With [`SESSION_SNAT`]: the port stands for one address and port inside, towards every destination.
pub const SESSION_INDEPENDENT: u8 = 1 << 3;
/// The session was opened from outside, or from another workload, to an endpoint-independent mapping.
pub const SESSION_INBOUND: u8 = 1 << 4;
/// The session was opened to a forwarded port.
pub const SESSION_PORT_FORWARD: u8 = 1 << 5;

/// 64 bytes, one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Session {
    /// The key of the first packet, as received.
    pub original: FlowKey,
    /// The key of the replies, as received.
    pub reply: FlowKey,
    /// Position of the original direction's entry: bucket * 4 + entry.
    pub original_entry: u32,
    /// Position of the reply direction's entry: bucket * 4 + entry.
    pub reply_entry: u32,
    /// When the session was made, in ticks.
    pub created_ticks: u32,
    /// [`SESSION_VALID`] or 0.
    pub valid: u8,
    /// State of the connection; the engine's `ConnectionState` as a number.
    pub state: u8,
    /// [`SESSION_SNAT`] and the other bits of how it is translated.
    pub kind: u8,
    /// Always 0.
    pub zero: u8,
    /// TCP: which sides have sent FIN or RST; the engine's `connection` module names the bits.
    pub fin_seen: u32,
    /// IPv4 address of the next hop of the original direction, network byte order; of IPv6 a hash of it. 0 where the next
    /// hop is a workload.
    pub next_hop: u32,
    /// SCTP: the verification tags of packets of the original direction and of replies; 0 where they are not known.
    pub verification_tags: [u32; 2],
}

/// The IPv6 addresses of a session, by its number: 64 bytes, one cache line. Of an IPv4 session it says nothing.
///
/// Each is the sixteen bytes of the packet as two native words. Written before the session's entries are valid. The number of a
/// session that ends is given out again at once, so a reader copies the record and then looks whether the entry that
/// led to it is still valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct SessionAddresses {
    /// Source of the first packet, as received: what replies are sent to.
    pub original_source: [u64; 2],
    /// Destination of the first packet, as received: what replies are sent from.
    pub original_destination: [u64; 2],
    /// Source of the replies, as received: what packets of the first direction are sent to.
    pub reply_source: [u64; 2],
    /// Destination of the replies, as received: what packets of the first direction are sent from.
    pub reply_destination: [u64; 2],
}

impl SessionAddresses {
    /// Source and destination of a direction's packets as received.
    #[inline(always)]
    pub const fn received(&self, is_reply: bool) -> [[u64; 2]; 2] {
        if is_reply {
            [self.reply_source, self.reply_destination]
        } else {
            [self.original_source, self.original_destination]
        }
    }

    /// Source and destination that a direction's packets are sent on with.
    #[inline(always)]
    pub const fn sent(&self, is_reply: bool) -> [[u64; 2]; 2] {
        if is_reply {
            [self.original_destination, self.original_source]
        } else {
            [self.reply_destination, self.reply_source]
        }
    }
}

const _: () = assert!(size_of::<Session>() == 64 && size_of::<SessionAddresses>() == 64);
