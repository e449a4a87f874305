//! Hosts of external and physical networks and their MAC addresses, found by ARP and neighbour discovery.
//!
//! Sans-I/O: time comes in as ticks, requests to send go out as [`Probe`]s. Workloads are never in here: their
//! addresses are known from the configuration. Bounded by [`NEIGHBOURS_MAX`]. Read before working on this: RFC 1122,
//! section 2.3.2.1 (stale entries are found out and rates are limited).

use std::net::IpAddr;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::address::MacAddress;

/// Most neighbours of all external networks together.
pub const NEIGHBOURS_MAX: usize = 4096;
/// Neighbours of one router, or of all workloads of one uplink, that have not answered; no more of them are looked for at a time, so that who sends to addresses
/// that nobody has does not take the places of all others (RFC 6583, section 6).
pub const UNANSWERED_PER_ROUTER_MAX: usize = 512;
/// Time between requests for an address that has not answered, in ticks.
pub const RETRY_TICKS: u32 = 10;
/// Requests without an answer after which a neighbour counts as failed.
pub const ATTEMPTS_MAX: u32 = 3;
/// Age at which a known address is asked for again, in ticks.
const REFRESH_TICKS: u32 = 300;
/// A neighbour that has moved to another MAC address moves again no sooner than this.
const MOVE_PAUSE_TICKS: u32 = 10;
/// How long a failed neighbour is not asked for again, in ticks.
const FAILED_TICKS: u32 = 50;

/// A neighbour: an address behind an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NeighbourKey {
    /// Number of the uplink.
    pub port: u16,
    /// Its address.
    pub ip_address: IpAddr,
}

/// Whose address a request is sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The router's external address, or the workload's.
    pub ip_address: IpAddr,
    /// The router's or workload's MAC address.
    pub mac_address: MacAddress,
    /// It is a workload, whose network is joined to a physical one.
    pub is_workload: bool,
}

/// An ARP request or neighbour solicitation to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Who is asked for.
    pub neighbour: NeighbourKey,
    /// Who asks.
    pub asker: Asker,
    /// The last known MAC address, to ask directly.
    pub known_mac: Option<MacAddress>,
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its MAC address, once it answered. Kept while it is asked again.
    pub mac_address: Option<MacAddress>,
    /// When it was last heard of, in ticks.
    pub heard_ticks: u32,
    /// Requests since it was last heard of.
    pub attempts: u32,
    /// The MAC address that it had when it fell silent, which flows may still send to.
    former_mac: Option<MacAddress>,
    /// When it last moved to another MAC address.
    moved_ticks: Option<u32>,
    next_probe_ticks: u32,
    asker: Asker,
}

/// What a packet taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Nothing was asked about this address.
    Ignored,
    /// The address is confirmed.
    Same,
    /// The address is known now.
    New,
    /// The address moved to another MAC address: flows that use the old one must be decided again.
    Moved,
}

/// What time has brought.
#[derive(Debug, Default)]
pub struct Due {
    /// Requests to be sent.
    pub probes: Vec<Probe>,
    /// A neighbour has failed.
    pub has_failed: bool,
    /// The uplinks of those that flows send to: these flows must be decided again.
    pub silent_ports: Vec<u16>,
}

/// Who is answerable for a request: a router by its address, the workloads of an uplink together.
type Account = (u16, Option<IpAddr>);

fn account(key: &NeighbourKey, asker: &Asker) -> Account {
    if asker.is_workload { (key.port, None) } else { (0, Some(asker.ip_address)) }
}

/// The neighbours.
#[derive(Debug, Default)]
pub struct NeighbourTable {
    neighbours: HashMap<NeighbourKey, Neighbour>,
    /// Those without a MAC address by who asks for them: at the last tick, and what came since.
    unanswered: HashMap<Account, usize>,
}

impl Neighbour {
    /// `reachable`, `resolving` or `failed`.
    pub fn state(&self) -> &'static str {
        match self.mac_address {
            Some(_) => "reachable",
            None if self.attempts >= ATTEMPTS_MAX => "failed",
            None => "resolving",
        }
    }
}

impl NeighbourTable {
    /// The MAC address of a neighbour, where it is known.
    pub fn mac_address(&self, key: NeighbourKey) -> Option<MacAddress> {
        self.neighbours.get(&key)?.mac_address
    }

    /// Whether a neighbour did not answer lately.
    pub fn has_failed(&self, key: NeighbourKey) -> bool {
        self.neighbours.get(&key).is_some_and(|neighbour| neighbour.state() == "failed")
    }

    /// Whether a neighbour may still answer for the first time.
    pub fn is_awaited(&self, key: NeighbourKey) -> bool {
        self.neighbours.get(&key).is_some_and(|neighbour| neighbour.state() == "resolving")
    }

    /// Starts to look for a neighbour, which flows send to at `assumed` meanwhile. Returns the request to send now, if one
    /// is due.
    pub fn resolve(
        &mut self,
        key: NeighbourKey,
        asker: Asker,
        assumed: Option<MacAddress>,
        now_ticks: u32,
    ) -> Option<Probe> {
        let is_full = self.neighbours.len() >= NEIGHBOURS_MAX;
        let unanswered = self.unanswered.entry(account(&key, &asker)).or_default();
        match self.neighbours.entry(key) {
            Entry::Occupied(_) => None,
            Entry::Vacant(_) if is_full || *unanswered >= UNANSWERED_PER_ROUTER_MAX => None,
            Entry::Vacant(entry) => {
                *unanswered += 1;
                entry.insert(Neighbour {
                    mac_address: None,
                    heard_ticks: now_ticks,
                    attempts: 1,
                    former_mac: assumed,
                    moved_ticks: None,
                    next_probe_ticks: now_ticks.wrapping_add(RETRY_TICKS),
                    asker,
                });
                Some(Probe { neighbour: key, asker, known_mac: None })
            }
        }
    }

    /// Takes over a neighbour that flows of an engine before send to, as if it had been heard of just now.
    pub fn adopt(&mut self, key: NeighbourKey, asker: Asker, mac: MacAddress, now_ticks: u32) {
        if self.neighbours.len() >= NEIGHBOURS_MAX {
            return;
        }
        self.neighbours.entry(key).or_insert(Neighbour {
            mac_address: Some(mac),
            heard_ticks: now_ticks,
            attempts: 0,
            former_mac: None,
            moved_ticks: None,
            next_probe_ticks: now_ticks.wrapping_add(REFRESH_TICKS),
            asker,
        });
    }

    /// Asks again for everybody behind an uplink, which may lead elsewhere now.
    pub fn doubt(&mut self, port: u16, now_ticks: u32) {
        for (_, neighbour) in self.neighbours.iter_mut().filter(|(key, _)| key.port == port) {
            neighbour.attempts = 0;
            neighbour.next_probe_ticks = now_ticks;
        }
    }

    /// Takes in that `mac` has the address, from an ARP request or reply.
    pub fn learn(&mut self, key: NeighbourKey, mac: MacAddress, now_ticks: u32) -> Learned {
        let Some(neighbour) = self.neighbours.get_mut(&key) else { return Learned::Ignored };
        let is_fickle =
            neighbour.moved_ticks.is_some_and(|moved| now_ticks.wrapping_sub(moved) < MOVE_PAUSE_TICKS);
        let before = neighbour.mac_address.or(neighbour.former_mac);
        if is_fickle && before.is_some_and(|old| old != mac) {
            // Each move has all flows of the uplink decided again, so nobody may move all the time.
            return Learned::Ignored;
        }
        let was_known = neighbour.mac_address.replace(mac).is_some();
        neighbour.former_mac = None;
        neighbour.heard_ticks = now_ticks;
        neighbour.attempts = 0;
        neighbour.next_probe_ticks = now_ticks.wrapping_add(REFRESH_TICKS);
        match before {
            Some(old) if old == mac && was_known => Learned::Same,
            Some(old) if old != mac => {
                neighbour.moved_ticks = Some(now_ticks);
                Learned::Moved
            }
            _ => Learned::New,
        }
    }

    /// What is due. Neighbours that stay silent lose their address, and are forgotten after a while.
    pub fn due(&mut self, now_ticks: u32) -> Due {
        let mut due = Due::default();
        self.unanswered.clear();
        self.neighbours.retain(|key, neighbour| {
            if neighbour.mac_address.is_none() {
                *self.unanswered.entry(account(key, &neighbour.asker)).or_default() += 1;
            }
            if (now_ticks.wrapping_sub(neighbour.next_probe_ticks) as i32) < 0 {
                return true;
            }
            if neighbour.attempts >= ATTEMPTS_MAX {
                // Silence: what was known is dropped at once, the rest after a pause in which nobody asks again.
                neighbour.next_probe_ticks = now_ticks.wrapping_add(FAILED_TICKS);
                return neighbour.attempts == ATTEMPTS_MAX && {
                    neighbour.attempts += 1;
                    neighbour.former_mac = neighbour.mac_address.take().or(neighbour.former_mac);
                    if neighbour.former_mac.is_some() && !due.silent_ports.contains(&key.port) {
                        due.silent_ports.push(key.port);
                    }
                    due.has_failed = true;
                    true
                };
            }
            neighbour.attempts += 1;
            neighbour.next_probe_ticks = now_ticks.wrapping_add(RETRY_TICKS);
            let (neighbour, asker, known_mac) = (*key, neighbour.asker, neighbour.mac_address);
            due.probes.push(Probe { neighbour, asker, known_mac });
            true
        });
        due
    }

    /// Forgets the neighbours that `keep` does not want.
    pub fn retain(&mut self, keep: impl Fn(&NeighbourKey, &Asker) -> bool) {
        self.neighbours.retain(|key, neighbour| keep(key, &neighbour.asker));
    }

    /// Every neighbour.
    pub fn iter(&self) -> impl Iterator<Item = (&NeighbourKey, &Neighbour)> {
        self.neighbours.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::{
        ATTEMPTS_MAX, Asker, Learned, NEIGHBOURS_MAX, NeighbourKey, NeighbourTable, RETRY_TICKS,
        UNANSWERED_PER_ROUTER_MAX,
    };
    use crate::address::MacAddress;

    const KEY: NeighbourKey = NeighbourKey { port: 1, ip_address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)) };
    const ASKER: Asker = Asker {
        ip_address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)),
        mac_address: MacAddress([2, 0, 0, 0, 0, 9]),
        is_workload: false,
    };

    #[test]
    fn an_address_is_asked_for_until_it_answers() {
        let mut table = NeighbourTable::default();
        assert!(table.resolve(KEY, ASKER, None, 0).is_some());
        assert!(table.resolve(KEY, ASKER, None, 1).is_none(), "one request at a time");
        assert!(table.due(RETRY_TICKS - 1).probes.is_empty());
        assert_eq!(table.due(RETRY_TICKS).probes.len(), 1);
        let mac = MacAddress([2, 0, 0, 0, 0, 1]);
        assert_eq!(table.learn(KEY, mac, 15), Learned::New);
        assert_eq!(table.mac_address(KEY), Some(mac));
        assert_eq!(table.learn(KEY, MacAddress([2, 0, 0, 0, 0, 2]), 16), Learned::Moved);
        assert_eq!(table.learn(KEY, mac, 17), Learned::Ignored, "it moves once in a while only");
        assert_eq!(table.learn(NeighbourKey { port: 2, ..KEY }, mac, 16), Learned::Ignored);
    }

    #[test]
    fn who_asks_for_nobody_leaves_places_for_others() {
        let mut table = NeighbourTable::default();
        let key = |number: u32| NeighbourKey { ip_address: Ipv4Addr::from_bits(number).into(), ..KEY };
        for number in 0..2 * NEIGHBOURS_MAX as u32 {
            table.resolve(key(number), ASKER, None, 0);
        }
        assert_eq!(table.iter().count(), UNANSWERED_PER_ROUTER_MAX);
        let other = Asker { ip_address: Ipv4Addr::new(192, 0, 2, 8).into(), ..ASKER };
        let asked = NeighbourKey { port: 2, ..KEY };
        assert!(table.resolve(asked, other, None, 0).is_some() && table.is_awaited(asked));
        // An answer makes room, at the next tick.
        table.learn(key(0), MacAddress([2, 0, 0, 0, 0, 1]), 1);
        table.due(1);
        assert!(table.resolve(key(1 << 20), ASKER, None, 1).is_some());
        assert!(table.resolve(key(1 << 21), ASKER, None, 1).is_none());
    }

    #[test]
    fn the_workloads_of_an_uplink_count_together() {
        let mut table = NeighbourTable::default();
        let ask = |table: &mut NeighbourTable, port: u16, number: u32| {
            let ip_address = Ipv4Addr::from_bits(number).into();
            let asker = Asker { ip_address, is_workload: true, ..ASKER };
            table.resolve(NeighbourKey { port, ip_address }, asker, None, 0).is_some()
        };
        let asked = (0..2 * NEIGHBOURS_MAX as u32).filter(|number| ask(&mut table, 3, *number)).count();
        assert_eq!(asked, UNANSWERED_PER_ROUTER_MAX);
        assert!(ask(&mut table, 4, 1) && table.resolve(KEY, ASKER, None, 0).is_some());
    }

    #[test]
    fn a_silent_neighbour_fails_and_may_be_tried_again() {
        let mut table = NeighbourTable::default();
        table.resolve(KEY, ASKER, None, 0);
        let mut now = 0;
        let mut sent = 1;
        while !table.has_failed(KEY) {
            now += RETRY_TICKS;
            let due = table.due(now);
            sent += due.probes.len() as u32;
            assert!(due.silent_ports.is_empty(), "no flow sends to a neighbour that never answered");
            assert!(now < 100, "it fails in the end");
        }
        assert_eq!(sent, ATTEMPTS_MAX);
        table.due(now + RETRY_TICKS);
        assert!(table.resolve(KEY, ASKER, None, now + 11).is_none(), "not at once");
        table.due(now + 200);
        assert!(table.resolve(KEY, ASKER, None, now + 201).is_some());
    }

    #[test]
    fn flows_are_decided_again_when_a_neighbour_falls_silent_and_when_it_comes_back_elsewhere() {
        let mut table = NeighbourTable::default();
        let (old, new) = (MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2]));
        table.resolve(KEY, ASKER, None, 0);
        table.learn(KEY, old, 1);
        let silent = (2..400).find(|now| !table.due(*now).silent_ports.is_empty());
        assert!(
            silent.is_some_and(|now| now > super::REFRESH_TICKS),
            "at once after its last chance: {silent:?}"
        );
        assert!(table.has_failed(KEY));
        assert!((400..460).all(|now| table.due(now).silent_ports.is_empty()), "once");
        assert!(table.resolve(KEY, ASKER, Some(old), 460).is_some(), "it was forgotten");
        assert_eq!(table.learn(KEY, new, 461), Learned::Moved, "flows still send to where it was");
    }
}
