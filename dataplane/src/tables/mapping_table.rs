//! Endpoint-independent mappings: an external port that stands for one address and port inside (RFC 4787, REQ-1).
//!
//! A mapping lives as long as it has sessions, and rests after that: its external port is kept for the same inside
//! endpoint, while nobody outside gets in by it. It is part of the port allocator, and made anew from the sessions after
//! a restart.

use hashbrown::HashMap;

/// An inside endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Internal {
    /// The gateway's port that the workload is behind.
    pub in_port: u16,
    /// Its address, network byte order.
    pub address: u32,
    /// Its transport port or ICMP identifier, host byte order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// An external endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct External {
    /// The address, network byte order.
    pub address: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// The port or ICMP identifier, host byte order.
    pub port: u16,
}

/// What an external endpoint stands for.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// The inside endpoint.
    pub internal: Internal,
    /// When a packet was last heard of from inside; as of the last sweep.
    pub heard_ticks: u32,
    sessions: u32,
    /// Where it has no session: until when it rests.
    rests_until: Option<u32>,
}

/// The mappings.
#[derive(Debug, Default)]
pub struct MappingTable {
    mappings: HashMap<External, Mapping>,
    by_internal: HashMap<Internal, External>,
    /// Sessions by mapping and remote address.
    contacts: HashMap<(External, u32), u32>,
}

impl Mapping {
    /// A mapping with one session.
    pub(super) fn new(internal: Internal, heard_ticks: Option<u32>) -> Self {
        Self { internal, heard_ticks: heard_ticks.unwrap_or_default(), sessions: 1, rests_until: None }
    }

    fn hear(&mut self, heard_ticks: u32) {
        if heard_ticks.wrapping_sub(self.heard_ticks) as i32 > 0 {
            self.heard_ticks = heard_ticks;
        }
    }
}

impl MappingTable {
    /// Number of mappings, those that rest included.
    pub fn len(&self) -> usize {
        self.mappings.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }

    /// The external endpoint that an inside endpoint has.
    pub fn of(&self, internal: &Internal) -> Option<External> {
        self.by_internal.get(internal).copied()
    }

    /// What an external endpoint stands for now: a mapping that rests stands for nobody.
    pub fn at(&self, external: External) -> Option<&Mapping> {
        self.mappings.get(&external).filter(|mapping| mapping.sessions > 0)
    }

    /// Whether a mapping has a session with a remote address.
    pub fn knows(&self, external: External, remote: u32) -> bool {
        self.contacts.contains_key(&(external, remote))
    }

    /// Notes that a packet came from inside.
    pub fn hear(&mut self, external: External, heard_ticks: u32) {
        if let Some(mapping) = self.mappings.get_mut(&external) {
            mapping.hear(heard_ticks);
        }
    }

    /// One more session of a mapping; false when there is no such mapping.
    pub(super) fn join(
        &mut self,
        external: External,
        internal: &Internal,
        remote: u32,
        heard_ticks: Option<u32>,
    ) -> bool {
        let Some(mapping) = self.mappings.get_mut(&external).filter(|mapping| mapping.internal == *internal)
        else {
            return false;
        };
        mapping.sessions += 1;
        mapping.rests_until = None;
        if let Some(heard_ticks) = heard_ticks {
            mapping.hear(heard_ticks);
        }
        *self.contacts.entry((external, remote)).or_insert(0) += 1;
        true
    }

    pub(super) fn insert(&mut self, external: External, mapping: Mapping, remote: u32) {
        self.by_internal.insert(mapping.internal, external);
        self.mappings.insert(external, mapping);
        *self.contacts.entry((external, remote)).or_insert(0) += 1;
    }

    /// One session less; true when it was the last, and the mapping rests where `rests_until` says so.
    pub(super) fn leave(&mut self, external: External, remote: u32, rests_until: Option<u32>) -> bool {
        if let Some(count) = self.contacts.get_mut(&(external, remote)) {
            *count -= 1;
            if *count == 0 {
                self.contacts.remove(&(external, remote));
            }
        }
        let Some(mapping) = self.mappings.get_mut(&external) else { return false };
        mapping.sessions = mapping.sessions.saturating_sub(1);
        mapping.rests_until = rests_until.filter(|_| mapping.sessions == 0);
        mapping.sessions == 0
    }

    /// Whether a mapping rests until `due`, and was not used again.
    pub(super) fn has_rested(&self, external: External, due: u32) -> bool {
        self.mappings.get(&external).is_some_and(|mapping| mapping.rests_until == Some(due))
    }

    pub(super) fn remove(&mut self, external: External) {
        if let Some(mapping) = self.mappings.remove(&external)
            && self.by_internal.get(&mapping.internal) == Some(&external)
        {
            self.by_internal.remove(&mapping.internal);
        }
    }
}
