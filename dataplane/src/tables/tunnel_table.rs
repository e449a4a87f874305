//! The tunnels: what both tiers wrap packets in, and know them by when they come in.
//!
//! Lives in shared memory, by the protocol of `edgestack_abi::tunnel`. Written under the slow-path lock only; the packet
//! path reads.

use edgestack_abi::TunnelEntry;
use edgestack_abi::tunnel::{BUCKET_TUNNELS, INDEX_BUCKETS};

use super::region::Region;

/// The tunnels over their regions.
#[derive(Debug)]
pub struct TunnelTable {
    tunnels: Region<TunnelEntry>,
    index: Region<u64>,
    seed: u64,
}

impl TunnelTable {
    /// The table in `tunnels`, found by `index`. `seed` is the flow table's.
    pub fn new(tunnels: Region<TunnelEntry>, index: Region<u64>, seed: u64) -> Self {
        Self { tunnels, index, seed }
    }

    /// The record of this number.
    #[inline]
    pub fn entry(&self, number: u16) -> TunnelEntry {
        self.tunnels.read(usize::from(number))
    }

    /// The number of a port's tunnel: the one that it has, else the lowest that is free. None when all are in use.
    pub fn number_for(&self, port: u16, present: u16) -> Option<u16> {
        if present != 0 && self.entry(present).port == port {
            return Some(present);
        }
        (1..self.tunnels.len() as u16).find(|number| self.entry(*number).port == 0)
    }

    /// Writes a record. Its port has no packets while it is written.
    pub fn write(&self, number: u16, entry: TunnelEntry) {
        let before = self.entry(number);
        if before == entry {
            return;
        }
        self.unlist(number, &before);
        self.tunnels.write(usize::from(number), entry);
        if entry.port != 0 {
            self.list(number, &entry);
        }
    }

    /// Frees a record.
    pub fn clear(&self, number: u16) {
        self.write(number, TunnelEntry::default());
    }

    /// A full bucket leaves the tunnel to the engine, which does not look here.
    fn list(&self, number: u16, entry: &TunnelEntry) {
        let bucket = self.bucket_of(entry);
        let word = self.index.read(bucket);
        let free = (0..BUCKET_TUNNELS).find(|place| (word >> (16 * place)) as u16 == 0);
        if let Some(place) = free {
            self.index.write(bucket, word | u64::from(number) << (16 * place));
        }
    }

    fn unlist(&self, number: u16, entry: &TunnelEntry) {
        let bucket = self.bucket_of(entry);
        let word = self.index.read(bucket);
        let place = (0..BUCKET_TUNNELS).find(|place| (word >> (16 * place)) as u16 == number);
        if let Some(place) = place {
            self.index.write(bucket, word & !(0xffff << (16 * place)));
        }
    }

    fn bucket_of(&self, entry: &TunnelEntry) -> usize {
        (entry.bucket(self.seed) & (INDEX_BUCKETS - 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use edgestack_abi::TunnelEntry;
    use edgestack_abi::tunnel::{INDEX_BUCKETS, MAX_TUNNELS};

    use super::TunnelTable;
    use crate::tables::region::Region;

    #[test]
    fn records_are_found_by_what_frames_come_with_until_they_are_freed() {
        let tunnels = Region::anonymous(MAX_TUNNELS as usize).unwrap();
        let index = Region::anonymous(INDEX_BUCKETS as usize).unwrap();
        let table = TunnelTable::new(tunnels, index, 7);
        let entry = |port: u16| TunnelEntry { port, kind: 1, identifier: 9, ..TunnelEntry::default() };
        let listed = |port: u16| {
            let word = table.index.read(entry(port).bucket(7) as usize);
            (0..4).filter(|place| (word >> (16 * place)) as u16 == port).count()
        };
        // All of one bucket: the fifth finds no room.
        for number in 1..=5 {
            assert_eq!(table.number_for(number, 0), Some(number));
            table.write(number, entry(number));
            table.write(number, entry(number));
            assert_eq!(listed(number), usize::from(number < 5), "{number}");
        }
        assert_eq!(table.number_for(3, 3), Some(3));
        assert_eq!(table.number_for(3, 2), Some(6), "number 2 is another port's");
        table.clear(3);
        assert_eq!(listed(3), 0);
        assert_eq!((listed(2), listed(4), table.entry(3)), (1, 1, TunnelEntry::default()));
        assert_eq!(table.number_for(9, 0), Some(3));
    }
}
