//! The state of a connection: what its packets have shown so far. Sans-I/O, called by the connection stage.
//!
//! TCP follows figure 1 of RFC 7857, cut down to what a gateway must tell apart:
//!
//! ```text
//!              SYN              SYN (either side)      ACK             FIN           FIN of both
//!   (none) ----------> SynSent -------------------> SynReceived ----> Established -> Closing ----> Closed
//!                         |                             |                 |             |             |
//!                         +----------------------- RST from either side --+-------------+----> Closed |
//!                                                                     SYN of a new connection <-------+
//! ```
//!
//! SCTP goes through the same states by its chunks ([`sctp`]). Other protocols have no states: their connections live by their
//! packets.
//!
//! Of TCP, only segments with SYN, FIN or RST, and all segments before the handshake is complete, are looked at here;
//! everything else is forwarded by the flow table alone.

pub mod sctp;

use crate::engine::Timeouts;
use crate::wire::{
    PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_UDP_LITE, TCP_ACK,
    TCP_FIN, TCP_RST, TCP_SYN,
};

/// State of a connection. The number is kept in the session record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ConnectionState {
    /// TCP: reset, or closed by both sides. SCTP: aborted or shut down.
    Closed = 0,
    /// TCP: a SYN was seen from the opening side. SCTP: an INIT.
    SynSent = 1,
    /// TCP: the other side answered with SYN. SCTP: with INIT ACK.
    SynReceived = 2,
    /// ICMP query.
    Icmp = 3,
    /// UDP, and every protocol that the gateway knows nothing of but its number.
    Udp = 4,
    /// TCP: one side has sent FIN. SCTP: SHUTDOWN.
    Closing = 5,
    /// TCP, SCTP: the handshake is complete.
    Established = 6,
}

/// What a TCP segment does to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It goes on in this state.
    To(ConnectionState),
    /// The segment opens a new connection with the addresses of a closed one.
    Reopen,
    /// The segment contradicts the state.
    Invalid,
}

/// What a session remembers of FINs and RSTs, in `Session::fin_seen`: FIN from the side that opened the connection.
pub const FIN_ORIGINAL: u32 = 1;
/// FIN from the other side.
pub const FIN_REPLY: u32 = 2;
/// RST from the side that opened the connection.
pub const RST_ORIGINAL: u32 = 4;
/// RST from the other side.
pub const RST_REPLY: u32 = 8;

/// A TCP segment, as far as it matters to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its flags.
    pub flags: u8,
    /// It carries data.
    pub has_data: bool,
    /// It comes from the side that did not open the connection.
    pub is_reply: bool,
}

impl ConnectionState {
    /// Every state, by its number.
    const ALL: [Self; 7] = [
        Self::Closed,
        Self::SynSent,
        Self::SynReceived,
        Self::Icmp,
        Self::Udp,
        Self::Closing,
        Self::Established,
    ];

    /// Every label.
    pub const LABELS: [&'static str; 10] = [
        "closed",
        "syn_sent",
        "syn_received",
        "init_sent",
        "init_received",
        "icmp",
        "udp",
        "other",
        "closing",
        "established",
    ];

    /// The state of a session record. Numbers that are none count as closed.
    pub fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Closed)
    }

    /// The state of a connection of this protocol that its first packet opens.
    pub fn first(protocol: u8) -> Self {
        match protocol {
            PROTOCOL_TCP | PROTOCOL_SCTP => Self::SynSent,
            PROTOCOL_ICMP | PROTOCOL_ICMPV6 => Self::Icmp,
            _ => Self::Udp,
        }
    }

    /// The name in views and traces.
    pub fn label(self, protocol: u8) -> &'static str {
        match self {
            Self::SynSent if protocol == PROTOCOL_SCTP => "init_sent",
            Self::SynReceived if protocol == PROTOCOL_SCTP => "init_received",
            Self::Udp if !matches!(protocol, PROTOCOL_UDP | PROTOCOL_UDP_LITE) => "other",
            Self::Closed => "closed",
            Self::SynSent => "syn_sent",
            Self::SynReceived => "syn_received",
            Self::Icmp => "icmp",
            Self::Udp => "udp",
            Self::Closing => "closing",
            Self::Established => "established",
        }
    }

    /// Tier 0 may forward the flow's segments without SYN, FIN and RST.
    pub fn is_tier0(self) -> bool {
        !matches!(self, Self::SynSent | Self::SynReceived)
    }

    /// Idle time in seconds after which the session ends.
    pub fn timeout_seconds(self, protocol: u8, timeouts: &Timeouts) -> u32 {
        match self {
            Self::SynSent | Self::SynReceived if protocol == PROTOCOL_SCTP => timeouts.sctp_half_open_seconds,
            Self::Established if protocol == PROTOCOL_SCTP => timeouts.sctp_established_seconds,
            Self::Closing | Self::Closed if protocol == PROTOCOL_SCTP => timeouts.sctp_closing_seconds,
            Self::Udp if !matches!(protocol, PROTOCOL_UDP | PROTOCOL_UDP_LITE) => timeouts.other_seconds,
            Self::SynSent | Self::SynReceived => timeouts.tcp_half_open_seconds,
            Self::Established => timeouts.tcp_established_seconds,
            Self::Closing | Self::Closed => timeouts.tcp_closing_seconds,
            Self::Udp => timeouts.udp_seconds,
            Self::Icmp => timeouts.icmp_seconds,
        }
    }

    /// The session may be ended early when the table fills up. The order of the states is that of their worth.
    pub fn gives_way(self) -> bool {
        self <= Self::Udp
    }
}

/// What a TCP segment does to a connection in `state`. `ends` notes FINs and RSTs.
///
/// The gateway does not follow sequence numbers, so it cannot tell a forged FIN or RST from a real one. It forwards it, since
/// the receiver can tell, and gives the connection less time; when the side that seemed to have ended goes on sending
/// data the connection is what it was (RFC 7857, section 2.2).
pub fn advance(state: ConnectionState, segment: Segment, ends: &mut u32) -> Transition {
    use ConnectionState::{Closed, SynReceived, SynSent};
    let Segment { flags, has_data, is_reply } = segment;
    let has = |flag: u8| flags & flag != 0;
    let (fin, rst) = if is_reply { (FIN_REPLY, RST_REPLY) } else { (FIN_ORIGINAL, RST_ORIGINAL) };
    if has(TCP_SYN) {
        return match state {
            Closed if !is_reply && !has(TCP_ACK) => Transition::Reopen,
            SynSent if is_reply => Transition::To(SynReceived), // With ACK, or without: RFC 9293, simultaneous open.
            SynReceived => Transition::To(state),
            // The other side may not open a connection of its own by this one: its SYN would be asked of no rule.
            _ if is_reply && !has(TCP_ACK) => Transition::Invalid,
            // A retransmission; in an established connection it draws a challenge ACK (RFC 5961, section 4).
            _ => Transition::To(state),
        };
    }
    if state == SynSent && !has(TCP_RST) {
        // The opener cannot acknowledge what was never sent to it; the other side may answer a stale SYN (RFC 5961).
        return if is_reply { Transition::To(SynSent) } else { Transition::Invalid };
    }
    if has(TCP_RST) {
        *ends |= rst;
    } else if has(TCP_FIN) {
        *ends |= fin;
    } else if has_data {
        *ends &= !(fin | rst);
    }
    Transition::To(state_after(*ends))
}

/// The state of a connection whose handshake is over, by how it has ended.
fn state_after(ends: u32) -> ConnectionState {
    let is_reset = ends & (RST_ORIGINAL | RST_REPLY) != 0;
    match ends & (FIN_ORIGINAL | FIN_REPLY) {
        _ if is_reset => ConnectionState::Closed,
        0 => ConnectionState::Established,
        fins if fins == FIN_ORIGINAL | FIN_REPLY => ConnectionState::Closed,
        _ => ConnectionState::Closing,
    }
}

/// Which directions of a TCP connection tier 0 may forward: the original and the reply direction. A side that seems to
/// have ended is watched by the engine.
pub fn tier0_directions(state: ConnectionState, ends: u32) -> (bool, bool) {
    let is_reset = ends & (RST_ORIGINAL | RST_REPLY) != 0;
    let may = state.is_tier0() && !is_reset;
    (may && ends & FIN_ORIGINAL == 0, may && ends & FIN_REPLY == 0)
}

#[cfg(test)]
mod tests {
    use super::{ConnectionState, Segment, Transition, advance};
    use crate::wire::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};

    const DATA: u8 = 0x08 | TCP_ACK;

    /// Runs segments (flags, is_reply) through a connection that a SYN has opened; what each did. PSH marks data.
    fn run(segments: &[(u8, bool)]) -> Vec<Transition> {
        let (mut state, mut ends) = (ConnectionState::SynSent, 0);
        segments
            .iter()
            .map(|(flags, is_reply)| {
                let segment = Segment { flags: *flags, has_data: *flags == DATA, is_reply: *is_reply };
                let transition = advance(state, segment, &mut ends);
                if let Transition::To(next) = transition {
                    state = next;
                }
                transition
            })
            .collect()
    }

    const OPEN: [(u8, bool); 2] = [(TCP_SYN | TCP_ACK, true), (TCP_ACK, false)];

    #[test]
    fn a_connection_opens_and_closes() {
        use ConnectionState::{Closed, Closing, Established, SynReceived};
        let rest = [
            (TCP_FIN | TCP_ACK, false),
            (TCP_ACK, true),
            (TCP_FIN | TCP_ACK, true),
            (TCP_ACK, false),
            (TCP_SYN, false),
        ];
        let to = Transition::To;
        let expected = [to(SynReceived), to(Established), to(Closing), to(Closing), to(Closed), to(Closed)];
        let transitions = run(&[OPEN.as_slice(), &rest].concat());
        assert_eq!(transitions[..6], expected);
        assert_eq!(transitions[6], Transition::Reopen);
    }

    #[test]
    fn both_sides_may_open_at_once() {
        let transitions = run(&[(TCP_SYN, true), (TCP_SYN | TCP_ACK, false), (TCP_ACK, true)]);
        assert_eq!(transitions.last(), Some(&Transition::To(ConnectionState::Established)));
    }

    #[test]
    fn the_opener_cannot_skip_the_handshake_but_a_reset_ends_it() {
        assert_eq!(run(&[(TCP_ACK, false)]), [Transition::Invalid]);
        assert_eq!(run(&[(TCP_RST | TCP_ACK, true)]), [Transition::To(ConnectionState::Closed)]);
    }

    #[test]
    fn a_forged_end_is_taken_back_by_the_side_that_goes_on() {
        for end in [TCP_RST, TCP_FIN | TCP_ACK] {
            let transitions =
                run(&[OPEN.as_slice(), &[(end, true), (TCP_ACK, false), (DATA, true)]].concat());
            assert_ne!(
                transitions[3],
                Transition::To(ConnectionState::Established),
                "the other side takes nothing back"
            );
            assert_eq!(transitions[4], Transition::To(ConnectionState::Established));
        }
    }

    #[test]
    fn the_other_side_opens_nothing_by_an_open_connection() {
        assert_eq!(run(&[OPEN.as_slice(), &[(TCP_SYN, true)]].concat())[2], Transition::Invalid);
        assert_eq!(
            run(&[OPEN.as_slice(), &[(TCP_RST, false), (TCP_SYN, true)]].concat())[3],
            Transition::Invalid
        );
    }

    #[test]
    fn numbers_and_states_agree() {
        for state in ConnectionState::ALL {
            assert_eq!(ConnectionState::from_number(state as u8), state);
        }
    }
}
