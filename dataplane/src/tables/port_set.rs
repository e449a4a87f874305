//! A set of port numbers: small as a list, exact and quick to search as a bitmap.

/// Up to this many ports a list is smaller and quicker than the bitmap of 8 KiB.
const LIST_MAX: usize = 64;
const WORDS: usize = 65_536 / 64;

/// A set of port numbers.
#[derive(Clone, Debug)]
pub struct PortSet(Ports);

#[derive(Clone, Debug)]
enum Ports {
    List(Vec<u16>),
    Bitmap { words: Box<[u64; WORDS]>, count: usize },
}

/// What a free port must be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Smallest.
    pub min: u16,
    /// Largest.
    pub max: u16,
    /// Its lowest bit, where that matters.
    pub parity: Option<u16>,
    /// Where the search starts; it goes round once.
    pub start: u16,
}

impl PartialEq for PortSet {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && match (&self.0, &other.0) {
                (Ports::List(ports), _) => ports.iter().all(|port| other.contains(*port)),
                (_, Ports::List(ports)) => ports.iter().all(|port| self.contains(*port)),
                (Ports::Bitmap { words: one, .. }, Ports::Bitmap { words: another, .. }) => one == another,
            }
    }
}

impl Default for PortSet {
    fn default() -> Self {
        Self(Ports::List(Vec::new()))
    }
}

impl PortSet {
    /// Number of ports.
    pub fn len(&self) -> usize {
        match &self.0 {
            Ports::List(ports) => ports.len(),
            Ports::Bitmap { count, .. } => *count,
        }
    }

    /// Whether no port is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a port is in it.
    pub fn contains(&self, port: u16) -> bool {
        match &self.0 {
            Ports::List(ports) => ports.contains(&port),
            Ports::Bitmap { words, .. } => words[usize::from(port / 64)] & bit(port) != 0,
        }
    }

    /// Adds a port; false when it was there.
    pub fn insert(&mut self, port: u16) -> bool {
        if self.contains(port) {
            return false;
        }
        if let Ports::List(ports) = &mut self.0 {
            if ports.len() < LIST_MAX {
                ports.push(port);
                return true;
            }
            let mut words = Box::new([0; WORDS]);
            for port in &*ports {
                words[usize::from(port / 64)] |= bit(*port);
            }
            self.0 = Ports::Bitmap { words, count: ports.len() };
        }
        if let Ports::Bitmap { words, count } = &mut self.0 {
            words[usize::from(port / 64)] |= bit(port);
            *count += 1;
        }
        true
    }

    /// Removes a port; false when it was not there.
    pub fn remove(&mut self, port: u16) -> bool {
        match &mut self.0 {
            Ports::List(ports) => {
                let Some(position) = ports.iter().position(|used| *used == port) else { return false };
                ports.swap_remove(position);
                true
            }
            Ports::Bitmap { words, count } => {
                let was_used = words[usize::from(port / 64)] & bit(port) != 0;
                words[usize::from(port / 64)] &= !bit(port);
                *count -= usize::from(was_used);
                if *count <= LIST_MAX / 2 {
                    self.0 = Ports::List((0..=u16::MAX).filter(|port| is_set(words, *port)).collect());
                }
                was_used
            }
        }
    }

    /// The ports 64 * `index` and following that are in it, as bits.
    fn word(&self, index: u16) -> u64 {
        match &self.0 {
            Ports::List(ports) => {
                ports.iter().filter(|port| **port / 64 == index).fold(0, |word, port| word | bit(*port))
            }
            Ports::Bitmap { words, .. } => words[usize::from(index)],
        }
    }
}

fn bit(port: u16) -> u64 {
    1 << (port % 64)
}

fn is_set(words: &[u64; WORDS], port: u16) -> bool {
    words[usize::from(port / 64)] & bit(port) != 0
}

/// The first port from `wanted.start` on that is in none of the sets. A word of 64 ports a step, so that the last free
/// port is found as surely as the first.
pub fn first_free(sets: &[&PortSet], wanted: &Wanted) -> Option<u16> {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let Wanted { min, max, parity, start } = *wanted;
    let start = if (min..=max).contains(&start) { start } else { min };
    let (first, last) = (min / 64, max / 64);
    let refused = match parity {
        None => 0,
        Some(0) => !EVEN,
        Some(_) => EVEN,
    };
    let used = |index: u16| {
        let below = if index == first { bit(min) - 1 } else { 0 };
        let above = if index == last { !(u64::MAX >> (63 - max % 64)) } else { 0 };
        sets.iter().fold(refused | below | above, |word, set| word | set.word(index))
    };
    let place = |index: u16, word: u64| index * 64 + word.trailing_ones() as u16;
    let head = used(start / 64) | (bit(start) - 1);
    if head != u64::MAX {
        return Some(place(start / 64, head));
    }
    // The start's own word comes round again last, for what lies below the start.
    (start / 64 + 1..=last)
        .chain(first..=start / 64)
        .map(|index| (index, used(index)))
        .find(|(_, word)| *word != u64::MAX)
        .map(|(index, word)| place(index, word))
}

#[cfg(test)]
mod tests {
    use super::{PortSet, Wanted, first_free};

    const ALL: Wanted = Wanted { min: 1024, max: u16::MAX, parity: None, start: 40_000 };

    #[test]
    fn every_port_of_a_range_is_found_before_none_is() {
        for wanted in [
            ALL,
            Wanted { min: 1, max: 1023, parity: Some(1), start: 77 },
            Wanted { min: 1030, max: 1040, parity: None, start: 1038 },
        ] {
            let mut set = PortSet::default();
            let mut found = 0;
            while let Some(port) = first_free(&[&set], &wanted) {
                assert!((wanted.min..=wanted.max).contains(&port), "{port} of {wanted:?}");
                assert!(wanted.parity.is_none_or(|parity| port % 2 == parity));
                assert!(set.insert(port), "{port} was found twice");
                found += 1;
            }
            let step = if wanted.parity.is_some() { 2 } else { 1 };
            assert_eq!(found, usize::from(wanted.max - wanted.min) / step + 1);
        }
    }

    #[test]
    fn the_search_goes_round_and_keeps_clear_of_every_set() {
        let (mut one, mut other) = (PortSet::default(), PortSet::default());
        for port in 1024..=u16::MAX {
            match port {
                1025 | 2000 => {}
                port if port % 3 == 0 => assert!(one.insert(port)),
                port => assert!(other.insert(port)),
            }
        }
        assert_eq!(first_free(&[&one, &other], &ALL), Some(1025));
        assert!(one.insert(1025));
        assert_eq!(first_free(&[&one, &other], &ALL), Some(2000));
        assert!(other.insert(2000));
        assert_eq!(first_free(&[&one, &other], &ALL), None);
        assert!(other.remove(65_000));
        assert_eq!(first_free(&[&one, &other], &ALL), Some(65_000));
    }

    #[test]
    fn a_set_shrinks_to_a_list_and_keeps_its_ports() {
        let mut set = PortSet::default();
        for port in 0..200 {
            assert!(set.insert(port * 300));
        }
        for port in 20..200 {
            assert!(set.remove(port * 300));
            assert!(!set.remove(port * 300));
        }
        assert_eq!(set.len(), 20);
        assert!((0..20).all(|port| set.contains(port * 300)));
    }
}
