//! The state of an SCTP association, by the chunks of its packets. It goes through the states that a TCP connection has.
//!
//! ```text
//!              INIT             INIT ACK            answer after that     SHUTDOWN      SHUTDOWN COMPLETE, ABORT
//!   (none) ----------> SynSent ---------> SynReceived ----> Established ----> Closing ----> Closed
//! ```
//!
//! Who ends an association must know its verification tag; a packet with another tag is forwarded, since the receiver can tell, and
//! changes nothing. The tags are those that INIT and INIT ACK have announced, and, where an endpoint has restarted (RFC
//! 9260, section 5.2), those of its new handshake's end.

use super::{ConnectionState, Transition};
use crate::wire::sctp::Chunks;

/// The verification tags of an association: that of packets of the side that opened it, and that of answers. 0 is not known.
pub type Tags = [u32; 2];

/// A packet, as far as it matters to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What its chunks say.
    pub chunks: Chunks,
    /// Its tag.
    pub tag: u32,
    /// It comes from the side that did not open the association.
    pub is_reply: bool,
}

/// What a packet does to an association in `state` with these tags.
pub fn advance(state: ConnectionState, packet: Packet, tags: &mut Tags) -> Transition {
    use ConnectionState::{Closed, Closing, Established, SynReceived, SynSent};
    let Packet { chunks, tag, is_reply } = packet;
    let (own, other) = (usize::from(is_reply), usize::from(!is_reply));
    if chunks.init {
        return match state {
            Closed if !is_reply => Transition::Reopen,
            // Repeated, or both open at once.
            SynSent | SynReceived => {
                tags[other] = chunks.initiate_tag;
                Transition::To(state)
            }
            // The other side may not open an association of its own by this one: it would be asked of no rule.
            _ if is_reply => Transition::Invalid,
            _ => Transition::To(state),
        };
    }
    let is_verified = tags[own] == 0
        || tag == tags[own]
        || (chunks.is_reflected && (tag == tags[other] || tags[other] == 0));
    if chunks.end && is_verified {
        return Transition::To(Closed);
    }
    match state {
        SynSent if is_reply && chunks.init_ack => {
            tags[other] = chunks.initiate_tag;
            Transition::To(SynReceived)
        }
        // Nothing else follows an INIT.
        SynSent => Transition::Invalid,
        SynReceived if is_reply && !chunks.init_ack => Transition::To(Established),
        Established | Closing if chunks.cookie_echo || chunks.cookie_ack => {
            tags[own] = tag;
            Transition::To(Established)
        }
        Established if chunks.shutdown && is_verified => Transition::To(Closing),
        _ => Transition::To(state),
    }
}

#[cfg(test)]
mod tests {
    use super::{Packet, advance};
    use crate::connection::{ConnectionState, Transition};
    use crate::wire::sctp::Chunks;

    const NONE: Chunks = Chunks {
        init: false,
        init_ack: false,
        cookie_echo: false,
        cookie_ack: false,
        shutdown: false,
        end: false,
        is_reflected: false,
        initiate_tag: 0,
    };

    fn packet(chunks: Chunks, tag: u32, is_reply: bool) -> Packet {
        Packet { chunks, tag, is_reply }
    }

    /// An association whose INIT announced tag 1, after these packets.
    fn run(packets: &[Packet]) -> (ConnectionState, Vec<Transition>) {
        let (mut state, mut tags) = (ConnectionState::SynSent, [0, 1]);
        let transitions = packets
            .iter()
            .map(|packet| {
                let transition = advance(state, *packet, &mut tags);
                if let Transition::To(next) = transition {
                    state = next;
                }
                transition
            })
            .collect();
        (state, transitions)
    }

    fn open() -> Vec<Packet> {
        vec![
            packet(Chunks { init_ack: true, initiate_tag: 2, ..NONE }, 1, true),
            packet(Chunks { cookie_echo: true, ..NONE }, 2, false),
            packet(Chunks { cookie_ack: true, ..NONE }, 1, true),
        ]
    }

    #[test]
    fn an_association_opens_and_closes() {
        let mut packets = open();
        assert_eq!(run(&packets[..2]).0, ConnectionState::SynReceived);
        assert_eq!(run(&packets).0, ConnectionState::Established);
        packets.push(packet(NONE, 2, false));
        packets.push(packet(Chunks { shutdown: true, ..NONE }, 2, false));
        assert_eq!(run(&packets).0, ConnectionState::Closing);
        packets.push(packet(Chunks { end: true, ..NONE }, 2, false));
        assert_eq!(run(&packets).0, ConnectionState::Closed);
        packets.push(packet(Chunks { init: true, initiate_tag: 3, ..NONE }, 0, false));
        assert_eq!(run(&packets).1.last(), Some(&Transition::Reopen));
    }

    #[test]
    fn who_does_not_know_the_tag_ends_nothing() {
        let end = Chunks { end: true, ..NONE };
        let reflected = Chunks { is_reflected: true, ..end };
        let after = |last: Packet| run(&[open(), vec![last]].concat()).0;
        assert_eq!(after(packet(end, 7, true)), ConnectionState::Established);
        assert_eq!(after(packet(Chunks { shutdown: true, ..NONE }, 7, true)), ConnectionState::Established);
        assert_eq!(after(packet(end, 1, true)), ConnectionState::Closed);
        assert_eq!(after(packet(reflected, 2, true)), ConnectionState::Closed, "the tag that it was sent");
        assert_eq!(after(packet(end, 2, true)), ConnectionState::Established, "only where it says so");
    }

    #[test]
    fn nothing_but_an_answer_follows_an_init() {
        assert_eq!(run(&[packet(NONE, 1, false)]).1, [Transition::Invalid]);
        assert_eq!(run(&[packet(NONE, 1, true)]).1, [Transition::Invalid]);
        let refused = run(&[packet(Chunks { end: true, ..NONE }, 1, true)]);
        assert_eq!(refused.0, ConnectionState::Closed);
        let both = [packet(Chunks { init: true, initiate_tag: 2, ..NONE }, 0, true)];
        assert_eq!(run(&both).1, [Transition::To(ConnectionState::SynSent)]);
    }

    #[test]
    fn an_endpoint_may_restart_and_the_other_side_opens_nothing() {
        let init = packet(Chunks { init: true, initiate_tag: 11, ..NONE }, 0, false);
        let again = [
            packet(Chunks { init_ack: true, initiate_tag: 12, ..NONE }, 11, true),
            packet(Chunks { cookie_echo: true, ..NONE }, 12, false),
            packet(Chunks { cookie_ack: true, ..NONE }, 11, true),
            packet(Chunks { end: true, ..NONE }, 11, true),
        ];
        let packets = [open(), vec![init], again.to_vec()].concat();
        assert_eq!(run(&packets[..packets.len() - 1]).0, ConnectionState::Established);
        assert_eq!(run(&packets).0, ConnectionState::Closed, "by the new tag");
        let from_there = packet(Chunks { init: true, initiate_tag: 3, ..NONE }, 0, true);
        assert_eq!(run(&[open(), vec![from_there]].concat()).1.last(), Some(&Transition::Invalid));
    }
}
