//! Places in the map of sockets: each port with XDP has a row of them, one for each queue.
//!
//! A new process uses the half of the map that its predecessor did not: until it has told tier 0 of its own
//! sockets, tier 0 still looks at the old places, and must find them empty rather than another port's.

use edgestack_abi::maps::MAX_SOCKETS;

/// Places in use.
#[derive(Debug)]
pub(super) struct SocketIndices {
    first: u32,
    used: Vec<bool>,
}

impl SocketIndices {
    /// No place is in use. `predecessor` is a place that the process before used.
    pub(super) fn new(predecessor: u32) -> Self {
        let half = MAX_SOCKETS / 2;
        let first = if predecessor < half { half } else { 0 };
        Self { first, used: vec![false; half as usize] }
    }

    /// Takes a row of places and returns the first; none when no row is free.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        let count = count as usize;
        let start = (0..(self.used.len() + 1).checked_sub(count)?)
            .find(|start| self.used[*start..start + count].iter().all(|used| !used))?;
        self.used[start..start + count].fill(true);
        Some(self.first + start as u32)
    }

    /// Gives a row back.
    pub(super) fn release(&mut self, index: u32, count: u32) {
        let start = (index - self.first) as usize;
        self.used[start..start + count as usize].fill(false);
    }
}

#[cfg(test)]
mod tests {
    use super::SocketIndices;

    #[test]
    fn rows_are_whole_and_used_again() {
        let mut indices = SocketIndices::new(700);
        assert_eq!(indices.take(2), Some(0));
        assert_eq!(indices.take(4), Some(2));
        assert_eq!(indices.take(1), Some(6));
        indices.release(2, 4);
        assert_eq!(indices.take(5), Some(7));
        assert_eq!(indices.take(3), Some(2));
        assert_eq!(indices.take(500), Some(12));
        assert_eq!((indices.take(1), indices.take(1), indices.take(513)), (Some(5), None, None));
    }

    #[test]
    fn a_successor_uses_the_other_half() {
        assert_eq!(SocketIndices::new(0).take(1), Some(512));
        assert_eq!(SocketIndices::new(512).take(1), Some(0));
    }
}
