//! Source ports (and ICMP identifiers) of the router's external addresses.
//!
//! Mapping is endpoint-dependent: a port may be used once towards each remote endpoint, so that one address carries
//! 64,512 connections to *each* destination (RFC 7857, section 3 permits the overlap). What is free is known exactly:
//! a port is refused only when all are taken, after no random tries.
//!
//! A caller looks for a port with [`PortAllocator::find`] and takes it with [`PortAllocator::take`] when the
//! connection is made, so that a refused or merely traced packet costs none.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

/// Smallest port that is given out (RFC 4787, REQ-3: the well-known ports are a class of their own).
pub const PORT_MIN: u16 = 1024;
/// Number of ports per external address, protocol and remote endpoint.
pub const PORTS: usize = u16::MAX as usize - PORT_MIN as usize + 1;

/// Up to this many ports a list is smaller and quicker than the bitmap of 8 KiB.
const LIST_MAX: usize = 64;
const BITMAP_WORDS: usize = PORTS / 64;

/// Within what a port is unique: all in network byte order, as in the reply's flow key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// External address that the ports belong to.
    pub external: u32,
    /// Remote address.
    pub remote: u32,
    /// Remote port; 0 for ICMP.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// The ports in use towards one endpoint.
#[derive(Clone, Debug)]
enum Used {
    List(Vec<u16>),
    Bitmap { words: Box<[u64; BITMAP_WORDS]>, count: usize },
}

/// The ports in use.
#[derive(Debug, Default)]
pub struct PortAllocator {
    used: HashMap<Endpoint, Used>,
}

impl PortAllocator {
    /// Ports in use towards all endpoints together.
    pub fn used(&self) -> usize {
        self.used.values().map(Used::len).sum()
    }

    /// A free port towards `endpoint`: `preferred` where it is free and may be given out, else the first free one
    /// from a place that `random` chooses on. None when all are in use.
    pub fn find(&self, endpoint: &Endpoint, preferred: u16, random: u32) -> Option<u16> {
        let Some(used) = self.used.get(endpoint) else {
            return Some(if preferred >= PORT_MIN { preferred } else { port_at(random as usize % PORTS) });
        };
        if preferred >= PORT_MIN && !used.contains(preferred) {
            return Some(preferred);
        }
        used.free_from(random as usize % PORTS)
    }

    /// Marks a port as used. False when it was in use already or may not be given out.
    pub fn take(&mut self, endpoint: Endpoint, port: u16) -> bool {
        port >= PORT_MIN && self.used.entry(endpoint).or_insert_with(|| Used::List(Vec::new())).insert(port)
    }

    /// Marks a port as free again. False when it was free.
    pub fn release(&mut self, endpoint: Endpoint, port: u16) -> bool {
        let Entry::Occupied(mut entry) = self.used.entry(endpoint) else { return false };
        let released = entry.get_mut().remove(port);
        if entry.get().len() == 0 {
            entry.remove();
        }
        released
    }
}

fn port_at(position: usize) -> u16 {
    PORT_MIN + position as u16
}

/// The ports whose bits are set.
fn ports_of(words: &[u64; BITMAP_WORDS]) -> Vec<u16> {
    (0..PORTS).filter(|position| words[position / 64] & (1 << (position % 64)) != 0).map(port_at).collect()
}

fn bit_of(port: u16) -> (usize, u64) {
    let position = usize::from(port - PORT_MIN);
    (position / 64, 1 << (position % 64))
}

impl Used {
    fn len(&self) -> usize {
        match self {
            Self::List(ports) => ports.len(),
            Self::Bitmap { count, .. } => *count,
        }
    }

    fn contains(&self, port: u16) -> bool {
        match self {
            Self::List(ports) => ports.contains(&port),
            Self::Bitmap { words, .. } => {
                let (word, bit) = bit_of(port);
                words[word] & bit != 0
            }
        }
    }

    fn insert(&mut self, port: u16) -> bool {
        if self.contains(port) {
            return false;
        }
        if let Self::List(ports) = self {
            if ports.len() < LIST_MAX {
                ports.push(port);
                return true;
            }
            let mut words = Box::new([0; BITMAP_WORDS]);
            for port in &*ports {
                let (word, bit) = bit_of(*port);
                words[word] |= bit;
            }
            *self = Self::Bitmap { words, count: ports.len() };
        }
        if let Self::Bitmap { words, count } = self {
            let (word, bit) = bit_of(port);
            words[word] |= bit;
            *count += 1;
        }
        true
    }

    fn remove(&mut self, port: u16) -> bool {
        if port < PORT_MIN {
            return false;
        }
        match self {
            Self::List(ports) => {
                let Some(position) = ports.iter().position(|used| *used == port) else { return false };
                ports.swap_remove(position);
                true
            }
            Self::Bitmap { words, count } => {
                let (word, bit) = bit_of(port);
                let was_used = words[word] & bit != 0;
                words[word] &= !bit;
                *count -= usize::from(was_used);
                if *count <= LIST_MAX / 2 {
                    *self = Self::List(ports_of(words));
                }
                was_used
            }
        }
    }

    /// The first free port at or after position `start`, going round once.
    fn free_from(&self, start: usize) -> Option<u16> {
        match self {
            // A list is shorter than the ports tried, so one of them is free.
            Self::List(ports) => (0..=ports.len())
                .map(|step| port_at((start + step) % PORTS))
                .find(|port| !ports.contains(port)),
            Self::Bitmap { words, .. } => {
                let first = start / 64;
                let below_start = (1_u64 << (start % 64)) - 1;
                let used = |index: usize| words[index % BITMAP_WORDS];
                let free_bit = |word: u64| word.trailing_ones() as usize;
                let place = |index: usize, word: u64| port_at(index % BITMAP_WORDS * 64 + free_bit(word));
                let head = used(first) | below_start;
                if head != u64::MAX {
                    return Some(place(first, head));
                }
                // The start's own word comes round again last, for what lies below the start.
                (first + 1..=first + BITMAP_WORDS)
                    .find(|index| used(*index) != u64::MAX)
                    .map(|index| place(index, used(index)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, PORT_MIN, PORTS, PortAllocator};

    const ENDPOINT: Endpoint = Endpoint { external: 1, remote: 2, remote_port: 3, protocol: 6 };

    #[test]
    fn the_preferred_port_is_kept_while_it_is_free() {
        let mut allocator = PortAllocator::default();
        assert_eq!(allocator.find(&ENDPOINT, 5000, 0), Some(5000));
        assert!(allocator.take(ENDPOINT, 5000));
        assert!(!allocator.take(ENDPOINT, 5000), "a port is taken once");
        assert_eq!(allocator.find(&ENDPOINT, 5000, 7), Some(PORT_MIN + 7));
        assert_eq!(
            allocator.find(&Endpoint { remote: 9, ..ENDPOINT }, 5000, 0),
            Some(5000),
            "another destination"
        );
        assert!(allocator.release(ENDPOINT, 5000));
        assert_eq!(allocator.used(), 0);
        assert_ne!(allocator.find(&ENDPOINT, 80, 0), Some(80), "well-known ports are not given out");
    }

    #[test]
    fn every_port_is_given_out_before_one_is_refused() {
        let mut allocator = PortAllocator::default();
        for number in 0..PORTS {
            let port = allocator.find(&ENDPOINT, 2000, number as u32 * 31).expect("not yet full");
            assert!(allocator.take(ENDPOINT, port), "{port} was given out twice");
        }
        assert_eq!(allocator.find(&ENDPOINT, 2000, 0), None);
        assert!(allocator.release(ENDPOINT, 40_000));
        assert_eq!(allocator.find(&ENDPOINT, 2000, 12_345), Some(40_000));
    }
}
