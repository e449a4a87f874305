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
//! Only segments with SYN, FIN or RST, and all segments before the handshake is complete, are looked at here;
//! everything else is forwarded by the flow table alone.

use crate::engine::Timeouts;
use crate::wire::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};

/// State of a connection. The number is kept in the session record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ConnectionState {
    /// TCP: reset, or closed by both sides.
    Closed = 0,
    /// TCP: a SYN was seen from the opening side.
    SynSent = 1,
    /// TCP: the other side answered with SYN.
    SynReceived = 2,
    /// ICMP query.
    Icmp = 3,
    /// UDP.
    Udp = 4,
    /// TCP: one side has sent FIN.
    Closing = 5,
    /// TCP: the handshake is complete.
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

/// FIN seen from the side that opened the connection.
pub const FIN_ORIGINAL: u32 = 1;
/// FIN seen from the other side.
pub const FIN_REPLY: u32 = 2;

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

    /// The state of a session record. Numbers that are none count as closed.
    pub fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Closed)
    }

    /// The name in views and traces.
    pub fn label(self) -> &'static str {
        match self {
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
    pub fn timeout_seconds(self, timeouts: &Timeouts) -> u32 {
        match self {
            Self::SynSent | Self::SynReceived => timeouts.tcp_half_open_seconds,
            Self::Established => timeouts.tcp_established_seconds,
            Self::Closing | Self::Closed => timeouts.tcp_closing_seconds,
            Self::Udp => timeouts.udp_seconds,
            Self::Icmp => timeouts.icmp_seconds,
        }
    }

    /// The session may be ended early when the table fills up. The order of the states is that of their worth.
    pub fn may_be_evicted(self) -> bool {
        self <= Self::Icmp
    }
}

/// What a TCP segment with `flags` does to a connection in `state`. `is_reply`: it comes from the side that did not
/// open the connection. `fin_seen` notes FINs.
pub fn advance(state: ConnectionState, flags: u8, is_reply: bool, fin_seen: &mut u32) -> Transition {
    use ConnectionState::{Closed, Closing, Established, SynReceived, SynSent};
    let has = |flag: u8| flags & flag != 0;
    if has(TCP_SYN) {
        return match state {
            Closed if !is_reply && !has(TCP_ACK) => Transition::Reopen,
            SynSent if is_reply => Transition::To(SynReceived), // With ACK, or without: RFC 9293, simultaneous open.
            // A retransmission; in an established connection it draws a challenge ACK (RFC 5961, section 4).
            _ => Transition::To(state),
        };
    }
    if has(TCP_RST) {
        return Transition::To(Closed);
    }
    if has(TCP_FIN) {
        *fin_seen |= if is_reply { FIN_REPLY } else { FIN_ORIGINAL };
    }
    match state {
        // The opener cannot acknowledge what was never sent to it; the other side may answer a stale SYN (RFC 5961).
        SynSent if is_reply => Transition::To(SynSent),
        SynSent => Transition::Invalid,
        SynReceived | Established | Closing => Transition::To(match *fin_seen {
            0 => Established,
            fins if fins == FIN_ORIGINAL | FIN_REPLY => Closed,
            _ => Closing,
        }),
        other => Transition::To(other),
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectionState, Transition, advance};
    use crate::wire::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};

    /// Runs segments (flags, is_reply) through a connection that a SYN has opened; the state after each.
    fn run(segments: &[(u8, bool)]) -> Vec<Transition> {
        let (mut state, mut fins) = (ConnectionState::SynSent, 0);
        segments
            .iter()
            .map(|(flags, is_reply)| {
                let transition = advance(state, *flags, *is_reply, &mut fins);
                if let Transition::To(next) = transition {
                    state = next;
                }
                transition
            })
            .collect()
    }

    #[test]
    fn a_connection_opens_and_closes() {
        use ConnectionState::{Closed, Closing, Established, SynReceived};
        let transitions = run(&[
            (TCP_SYN | TCP_ACK, true),
            (TCP_ACK, false),
            (TCP_FIN | TCP_ACK, false),
            (TCP_ACK, true),
            (TCP_FIN | TCP_ACK, true),
            (TCP_ACK, false),
            (TCP_SYN, false),
        ]);
        let to = Transition::To;
        assert_eq!(
            transitions,
            [
                to(SynReceived),
                to(Established),
                to(Closing),
                to(Closing),
                to(Closed),
                to(Closed),
                Transition::Reopen
            ]
        );
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
    fn numbers_and_states_agree() {
        for state in ConnectionState::ALL {
            assert_eq!(ConnectionState::from_number(state as u8), state);
        }
    }
}
