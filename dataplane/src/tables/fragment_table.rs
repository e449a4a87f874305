//! Datagrams that come in parts: what was decided about the first part, which alone has a transport header, and
//! which parts were forwarded.
//!
//! Nothing is put together here: every part is forwarded by itself, with its datagram's verdict. Parts that come before the
//! first wait in their worker. The table is bounded by [`DATAGRAMS_MAX`] and, for each port, [`DATAGRAMS_PER_PORT_MAX`];
//! beyond that the oldest gives way, of the port that has most: the parts of a datagram come together, so it is most likely
//! through. Sans-I/O; only called under the engine's slow-path lock.

use std::collections::VecDeque;
use std::net::IpAddr;

use edgestack_abi::FlowKey;
use hashbrown::HashMap;

use crate::wire::headers::{Fragment, Ip};

/// Most datagrams of all ports together.
pub const DATAGRAMS_MAX: usize = 4096;
/// Most datagrams of one ingress port.
pub const DATAGRAMS_PER_PORT_MAX: usize = 256;
/// Most parts of a datagram: 64 KiB in parts for the smallest MTU of IPv6, and some that are smaller.
pub const PARTS_MAX: usize = 128;
/// How long the parts of a datagram may take, in ticks (RFC 1122, section 3.3.2: 60 to 120 s for who puts them together;
/// the gateway, which holds nothing for them, is content with less).
const DATAGRAM_TICKS: u32 = 300;

/// What all parts of a datagram have in common (RFC 791; RFC 8200, section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DatagramKey {
    /// The port that it comes in by.
    pub port: u16,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Identification.
    pub identification: u32,
    /// IP protocol number; 0 for IPv6, where parts need not agree on it.
    pub protocol: u8,
}

impl DatagramKey {
    /// The datagram of a part that came in by `port`.
    pub fn of(port: u16, ip: &Ip, fragment: &Fragment) -> Self {
        let protocol = if ip.source.is_ipv6() { 0 } else { ip.protocol };
        let identification = fragment.identification;
        Self { port, source: ip.source, destination: ip.destination, identification, protocol }
    }
}

/// What is known of a part's datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its first part has not come.
    Unknown,
    /// It is forwarded by this flow.
    Forwarded(Forwarded),
    /// It is dropped: its first part was, or its parts contradict each other.
    Refused,
    /// The part is there already, or overlaps with one that is (RFC 5722; RFC 3128 for what it is used for).
    Overlaps,
}

/// By what a datagram is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The flow's key.
    pub key: FlowKey,
    /// The session that it is a direction of.
    pub session: u32,
    /// Which direction.
    pub is_reply: bool,
}

#[derive(Debug)]
struct Datagram {
    since_ticks: u32,
    forwarded: Option<Forwarded>,
    /// First byte and the byte behind the last of every part that was forwarded, in order.
    parts: Vec<(u32, u32)>,
    /// Length of the whole, once its last part has come.
    end: Option<u32>,
}

/// The datagrams.
#[derive(Debug, Default)]
pub struct FragmentTable {
    datagrams: HashMap<DatagramKey, Datagram>,
    /// Those of each ingress port, the oldest first.
    by_port: HashMap<u16, VecDeque<DatagramKey>>,
}

impl FragmentTable {
    /// Datagrams whose first part has come.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// What is known of the datagram of a part.
    pub fn standing(&self, key: &DatagramKey, part: &Fragment) -> Standing {
        let Some(datagram) = self.datagrams.get(key) else { return Standing::Unknown };
        match datagram.forwarded {
            None => Standing::Refused,
            Some(_) if !datagram.has_room_for(part) => Standing::Overlaps,
            Some(forwarded) => Standing::Forwarded(forwarded),
        }
    }

    /// Whether the first part of a datagram has come, whatever became of it.
    pub fn is_known(&self, key: &DatagramKey) -> bool {
        self.datagrams.contains_key(key)
    }

    /// Notes what became of the first part of a datagram; none: it was dropped. The oldest gives way where there is no room.
    pub fn decide(&mut self, key: DatagramKey, forwarded: Option<Forwarded>, now_ticks: u32) {
        if self.is_known(&key) {
            return;
        }
        self.make_room(key.port);
        self.by_port.entry(key.port).or_default().push_back(key);
        let datagram = Datagram { since_ticks: now_ticks, forwarded, parts: Vec::new(), end: None };
        self.datagrams.insert(key, datagram);
    }

    /// Makes room for one more datagram of a port.
    fn make_room(&mut self, port: u16) {
        let is_full = |keys: &VecDeque<DatagramKey>| keys.len() >= DATAGRAMS_PER_PORT_MAX;
        let gives_way = if self.by_port.get(&port).is_some_and(is_full) {
            Some(port)
        } else if self.datagrams.len() >= DATAGRAMS_MAX {
            self.by_port.iter().max_by_key(|(_, keys)| keys.len()).map(|(port, _)| *port)
        } else {
            None
        };
        let Some(keys) = gives_way.and_then(|port| self.by_port.get_mut(&port)) else { return };
        if let Some(oldest) = keys.pop_front() {
            self.datagrams.remove(&oldest);
        }
    }

    /// Notes that a part was forwarded.
    pub fn note(&mut self, key: &DatagramKey, part: &Fragment) {
        let Some(datagram) = self.datagrams.get_mut(key) else { return };
        let range = (part.offset, part.offset + part.length);
        let place = datagram.parts.partition_point(|known| *known < range);
        datagram.parts.insert(place, range);
        if !part.more {
            datagram.end = Some(range.1);
        }
    }

    /// Ends a datagram whose parts contradict each other: those that are still to come are dropped.
    pub fn refuse(&mut self, key: &DatagramKey) {
        if let Some(datagram) = self.datagrams.get_mut(key) {
            datagram.forwarded = None;
            datagram.parts = Vec::new();
        }
    }

    /// Forgets the datagrams that have had their time.
    pub fn expire(&mut self, now_ticks: u32) {
        let datagrams = &mut self.datagrams;
        let is_over = |datagram: &Datagram| now_ticks.wrapping_sub(datagram.since_ticks) >= DATAGRAM_TICKS;
        self.by_port.retain(|_, keys| {
            while let Some(oldest) = keys.front()
                && datagrams.get(oldest).is_none_or(is_over)
            {
                datagrams.remove(oldest);
                keys.pop_front();
            }
            !keys.is_empty()
        });
    }
}

impl Datagram {
    /// Whether a part fits among those that were forwarded.
    fn has_room_for(&self, part: &Fragment) -> bool {
        let (first, end) = (part.offset, part.offset + part.length);
        let is_apart = self.parts.iter().all(|(other, other_end)| end <= *other || first >= *other_end);
        let is_within = match (self.end, part.more) {
            (Some(known), true) => end <= known,
            (Some(_), false) => false, // A second end.
            (None, true) => true,
            (None, false) => self.parts.last().is_none_or(|(_, last)| *last <= first),
        };
        is_apart && is_within && self.parts.len() < PARTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use edgestack_abi::FlowKey;

    use super::{
        DATAGRAM_TICKS, DATAGRAMS_MAX, DATAGRAMS_PER_PORT_MAX, DatagramKey, Forwarded, FragmentTable,
        Standing,
    };
    use crate::wire::headers::Fragment;

    fn key(identification: u32) -> DatagramKey {
        let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        DatagramKey { port: 1, source, destination, identification, protocol: 17 }
    }

    fn forwarded() -> Forwarded {
        Forwarded { key: FlowKey::default(), session: 1, is_reply: false }
    }

    fn part(offset: u32, length: u32, more: bool) -> Fragment {
        Fragment { identification: 1, offset, length, more }
    }

    #[test]
    fn parts_follow_their_first_in_any_order_and_never_overlap() {
        let mut table = FragmentTable::default();
        assert_eq!(table.standing(&key(1), &part(8, 8, true)), Standing::Unknown);
        table.decide(key(1), Some(forwarded()), 0);
        table.note(&key(1), &part(0, 8, true));
        for fits in [part(16, 8, false), part(8, 8, true)] {
            assert_eq!(table.standing(&key(1), &fits), Standing::Forwarded(forwarded()));
            table.note(&key(1), &fits);
        }
        for overlaps in [part(8, 8, true), part(0, 16, true), part(16, 16, true), part(24, 8, true)] {
            assert_eq!(table.standing(&key(1), &overlaps), Standing::Overlaps, "{overlaps:?}");
        }
        table.refuse(&key(1));
        assert_eq!(table.standing(&key(1), &part(32, 8, true)), Standing::Refused);
    }

    #[test]
    fn an_end_before_what_is_there_is_no_end() {
        let mut table = FragmentTable::default();
        table.decide(key(1), Some(forwarded()), 0);
        table.note(&key(1), &part(64, 8, true));
        assert_eq!(table.standing(&key(1), &part(8, 8, false)), Standing::Overlaps);
        assert_eq!(table.standing(&key(1), &part(72, 8, false)), Standing::Forwarded(forwarded()));
    }

    #[test]
    fn the_oldest_of_a_port_gives_way_and_time_ends_all() {
        let mut table = FragmentTable::default();
        let last = DATAGRAMS_PER_PORT_MAX as u32 + 9;
        for identification in 0..=last {
            table.decide(key(identification), Some(forwarded()), 5);
        }
        assert_eq!(table.len(), DATAGRAMS_PER_PORT_MAX);
        assert!(table.is_known(&key(last)) && table.is_known(&key(10)), "a busy port goes on");
        assert!(!table.is_known(&key(9)));
        table.expire(4 + DATAGRAM_TICKS);
        assert_eq!(table.len(), DATAGRAMS_PER_PORT_MAX);
        table.expire(5 + DATAGRAM_TICKS);
        assert!(table.is_empty() && table.by_port.is_empty());
    }

    #[test]
    fn who_has_most_gives_way_when_the_table_is_full() {
        let mut table = FragmentTable::default();
        let of = |port: u16, identification: u32| DatagramKey { port, ..key(identification) };
        table.decide(of(1000, 0), None, 0);
        for port in 0..=(DATAGRAMS_MAX / DATAGRAMS_PER_PORT_MAX) as u16 {
            for identification in 0..DATAGRAMS_PER_PORT_MAX as u32 {
                table.decide(of(port, identification), None, 0);
            }
        }
        assert_eq!(table.len(), DATAGRAMS_MAX);
        assert!(table.is_known(&of(1000, 0)), "who has one keeps it");
        table.decide(of(1001, 0), None, 0);
        assert!(table.is_known(&of(1001, 0)), "and another gets one");
        assert_eq!(table.len(), DATAGRAMS_MAX);
        table.expire(DATAGRAM_TICKS);
        assert!(table.is_empty() && table.by_port.is_empty());
    }
}
