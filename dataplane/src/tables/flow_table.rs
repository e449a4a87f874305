//! The flow table: both directions of every connection, found by one hash lookup.
//!
//! Layout and shared-memory protocol are those of `edgestack_abi::flow`. Lookups take no lock and may run in any
//! number of workers and in the kernel at once; everything that changes an entry is called under the engine's
//! slow-path lock. The table never decides what a flow may do, and it is bounded: [`FlowTable::insert`] says when
//! a flow's two buckets are full, and the caller decides what gives way.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use edgestack_abi::flow::{BUCKET_ENTRIES, QUARANTINE_TICKS, TIER0, VALID, bucket_indices, preferred_entry};
use edgestack_abi::{FlowBucket, FlowEntry, FlowKey, FlowVerdict};

use super::region::Region;

/// Position of an entry: bucket * 4 + entry in the bucket.
pub type EntryIndex = u32;

/// Candidates for a flow's place: the entries of its two buckets.
const CANDIDATES: usize = 2 * BUCKET_ENTRIES;

/// Free entries of its first bucket with which a flow does not look at the second.
const ROOM_TO_SPARE: usize = 2;

/// The flow table over its region.
#[derive(Debug)]
pub struct FlowTable {
    buckets: Region<FlowBucket>,
    mask: u32,
    seed: u64,
}

/// An entry that a lookup found valid.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Where it is.
    pub index: EntryIndex,
    /// Its verdict, as it was at the lookup.
    pub verdict: FlowVerdict,
}

impl FlowTable {
    /// The table in `buckets`, whose number is a power of two.
    pub fn new(buckets: Region<FlowBucket>, seed: u64) -> Self {
        assert!(buckets.len().is_power_of_two(), "the number of buckets is a power of two");
        let mask = buckets.len() as u32 - 1;
        Self { buckets, mask, seed }
    }

    /// Number of entries, used or not.
    pub fn capacity(&self) -> u32 {
        (self.mask + 1) * BUCKET_ENTRIES as u32
    }

    /// The hash of a key in this table.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        key.hash(self.seed)
    }

    /// Every entry that holds a flow, with its position.
    pub fn iter(&self) -> impl Iterator<Item = (EntryIndex, FlowEntry)> + '_ {
        (0..self.capacity()).filter_map(|index| {
            let entry = self.entry(index);
            (entry.verdict.flags & VALID != 0).then_some((index, entry))
        })
    }

    /// The entries that a flow with this hash may be in, the preferred one first.
    fn candidates(&self, hash: u64) -> [EntryIndex; CANDIDATES] {
        let (first, second) = bucket_indices(hash, self.mask);
        let preferred = preferred_entry(hash);
        std::array::from_fn(|position| {
            let bucket = if position < BUCKET_ENTRIES { first } else { second };
            bucket * BUCKET_ENTRIES as u32 + ((preferred + position) % BUCKET_ENTRIES) as u32
        })
    }

    /// Finds a place for a flow and writes it. The entry is not valid before all of it is written.
    ///
    /// When no place is free, nothing is changed and the positions of the flows that occupy its places are
    /// returned.
    pub fn insert(
        &self,
        key: &FlowKey,
        verdict: &FlowVerdict,
        session: u32,
        now_ticks: u32,
    ) -> Result<EntryIndex, [EntryIndex; CANDIDATES]> {
        let candidates = self.candidates(self.hash(key));
        let (first, second) = candidates.split_at(BUCKET_ENTRIES);
        let free = |bucket: &[EntryIndex]| {
            bucket
                .iter()
                .rev()
                .filter(|index| self.is_free(**index, now_ticks))
                .fold((0, None), |(count, _), index| (count + 1, Some(*index)))
        };
        let ((first_count, first_free), (second_count, second_free)) = (free(first), free(second));
        // The first bucket is looked at first, so it takes the flow while it has room to spare; then the emptier one,
        // which keeps both from filling up at loads far above one half.
        let is_first = first_count >= ROOM_TO_SPARE || first_count >= second_count;
        let place = if is_first { first_free } else { second_free };
        let Some(index) = place else { return Err(candidates) };
        self.write(index, key, verdict, session, now_ticks);
        Ok(index)
    }

    /// Carries the counters of an entry over to the one that replaces it.
    pub fn carry_counters(&self, from: EntryIndex, to: EntryIndex) {
        let old = self.entry(from);
        self.update(to, |entry| {
            entry.packets = old.packets;
            entry.bytes = old.bytes;
            entry.tier0_packets = old.tier0_packets;
        });
    }
}

#[expect(unsafe_code, reason = "the table is memory shared with the kernel and other workers")]
mod shared {
    use super::{
        AtomicU16, AtomicU32, BUCKET_ENTRIES, EntryIndex, FlowEntry, FlowKey, FlowTable, FlowVerdict, Found,
        Ordering, QUARANTINE_TICKS, VALID, bucket_indices, preferred_entry,
    };

    impl FlowTable {
        #[inline]
        fn pointer(&self, index: EntryIndex) -> *mut FlowEntry {
            let bucket = self.buckets.pointer(index as usize / BUCKET_ENTRIES);
            // SAFETY: the bucket is within the region and the remainder within the bucket.
            unsafe { (&raw mut (*bucket).entries).cast::<FlowEntry>().add(index as usize % BUCKET_ENTRIES) }
        }

        #[inline]
        fn flags(&self, index: EntryIndex) -> &AtomicU16 {
            // SAFETY: the field is aligned, lives as long as the region, and is only accessed atomically here.
            unsafe { AtomicU16::from_ptr(&raw mut (*self.pointer(index)).verdict.flags) }
        }

        #[inline]
        fn atomic_u32(&self, index: EntryIndex, field: fn(*mut FlowEntry) -> *mut u32) -> &AtomicU32 {
            // SAFETY: as for `flags`.
            unsafe { AtomicU32::from_ptr(field(self.pointer(index))) }
        }

        /// Asks the CPU to load the entry that a flow with this hash is most likely in.
        #[inline]
        pub fn prefetch(&self, hash: u64) {
            let (bucket, _) = bucket_indices(hash, self.mask);
            let entry = self.pointer(bucket * BUCKET_ENTRIES as u32 + preferred_entry(hash) as u32);
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a prefetch accesses nothing; the address is that of an entry and its second line.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch(entry.cast::<i8>(), _MM_HINT_T0);
                _mm_prefetch(entry.cast::<i8>().add(64), _MM_HINT_T0);
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = entry;
        }

        /// Finds the valid entry of a key.
        #[inline]
        pub fn lookup(&self, key: &FlowKey, hash: u64) -> Option<Found> {
            let (first, second) = bucket_indices(hash, self.mask);
            let preferred = preferred_entry(hash);
            let wanted = key.words();
            for bucket in [first, second] {
                for position in 0..BUCKET_ENTRIES {
                    let entry = (preferred + position) % BUCKET_ENTRIES;
                    let index = bucket * BUCKET_ENTRIES as u32 + entry as u32;
                    let pointer = self.pointer(index);
                    // SAFETY: the pointer is that of an entry; the key of a valid entry does not change, and one
                    // that is not valid is dismissed below.
                    if unsafe { (&raw const (*pointer).key).read_volatile() }.words() != wanted {
                        continue;
                    }
                    if self.flags(index).load(Ordering::Acquire) & VALID == 0 {
                        continue;
                    }
                    // SAFETY: as above; a verdict that is freed meanwhile rests before it is overwritten.
                    let verdict = unsafe { (&raw const (*pointer).verdict).read_volatile() };
                    return Some(Found { index, verdict });
                }
            }
            None
        }

        /// Whether a flow may be written to an entry: one that was never used, or has rested after its use.
        pub(super) fn is_free(&self, index: EntryIndex, now_ticks: u32) -> bool {
            if self.flags(index).load(Ordering::Acquire) & VALID != 0 {
                return false;
            }
            // SAFETY: the pointer is that of an entry; only its key is read.
            let key = unsafe { (&raw const (*self.pointer(index)).key).read_volatile() };
            key.words() == (0, 0) || now_ticks.wrapping_sub(self.last_seen_ticks(index)) >= QUARANTINE_TICKS
        }

        /// A copy of an entry, whatever it holds.
        #[inline]
        pub fn entry(&self, index: EntryIndex) -> FlowEntry {
            // SAFETY: the pointer is that of an entry, and every bit pattern is one.
            unsafe { self.pointer(index).read_volatile() }
        }

        /// When a packet of the flow was last forwarded.
        pub fn last_seen_ticks(&self, index: EntryIndex) -> u32 {
            self.atomic_u32(index, |entry| {
                // SAFETY: only the field's address is computed.
                unsafe { &raw mut (*entry).last_seen_ticks }
            })
            .load(Ordering::Relaxed)
        }

        /// Changes the fields of an entry that are not part of its key and verdict.
        pub(super) fn update(&self, index: EntryIndex, change: impl FnOnce(&mut FlowEntry)) {
            let mut entry = self.entry(index);
            change(&mut entry);
            let pointer = self.pointer(index);
            // SAFETY: the pointer is that of an entry; only counters are written, for which a lost update is accepted.
            unsafe {
                (&raw mut (*pointer).packets).write_volatile(entry.packets);
                (&raw mut (*pointer).bytes).write_volatile(entry.bytes);
                (&raw mut (*pointer).tier0_packets).write_volatile(entry.tier0_packets);
                (&raw mut (*pointer).last_seen_ticks).write_volatile(entry.last_seen_ticks);
            }
        }

        pub(super) fn write(
            &self,
            index: EntryIndex,
            key: &FlowKey,
            verdict: &FlowVerdict,
            session: u32,
            now_ticks: u32,
        ) {
            let flags = verdict.flags | VALID;
            let verdict = FlowVerdict { flags: 0, ..*verdict };
            let entry =
                FlowEntry { key: *key, verdict, last_seen_ticks: now_ticks, session, ..FlowEntry::default() };
            // SAFETY: the pointer is that of an entry that is free, so that no reader takes it for a flow until the
            // release store below.
            unsafe { self.pointer(index).write_volatile(entry) };
            self.flags(index).store(flags, Ordering::Release);
        }

        /// Counts a packet of `bytes` bytes and notes the time.
        #[inline]
        pub fn count(&self, index: EntryIndex, bytes: u64, now_ticks: u32) {
            let pointer = self.pointer(index);
            // SAFETY: the pointer is that of an entry; a lost increment against another core is accepted.
            unsafe {
                let packets = &raw mut (*pointer).packets;
                packets.write_volatile(packets.read_volatile() + 1);
                let total = &raw mut (*pointer).bytes;
                total.write_volatile(total.read_volatile() + bytes);
                (&raw mut (*pointer).last_seen_ticks).write_volatile(now_ticks);
            }
        }

        /// Takes an entry out of use; it rests before it is written again.
        pub fn remove(&self, index: EntryIndex, now_ticks: u32) {
            self.atomic_u32(index, |entry| {
                // SAFETY: only the field's address is computed.
                unsafe { &raw mut (*entry).last_seen_ticks }
            })
            .store(now_ticks, Ordering::Relaxed);
            self.flags(index).store(0, Ordering::Release);
        }

        /// Says that the verdict of an entry holds under a new epoch.
        pub fn set_epoch(&self, index: EntryIndex, epoch: u32) {
            self.atomic_u32(index, |entry| {
                // SAFETY: only the field's address is computed.
                unsafe { &raw mut (*entry).verdict.epoch }
            })
            .store(epoch, Ordering::Release);
        }

        /// Sets or clears flags of a valid entry.
        pub fn set_flags(&self, index: EntryIndex, set: u16, clear: u16) {
            let flags = self.flags(index);
            flags.store((flags.load(Ordering::Relaxed) & !clear) | set, Ordering::Release);
        }
    }
}

/// Whether tier 0 forwards the flow of this verdict.
pub fn is_tier0(verdict: &FlowVerdict) -> bool {
    verdict.flags & (VALID | TIER0) == VALID | TIER0
}

#[cfg(test)]
mod tests {
    use edgestack_abi::flow::QUARANTINE_TICKS;
    use edgestack_abi::{FlowKey, FlowVerdict};

    use super::FlowTable;
    use crate::tables::region::Region;

    fn key(number: u32) -> FlowKey {
        FlowKey { source: number, destination: !number, in_port: 1, protocol: 17, ..FlowKey::default() }
    }

    #[test]
    fn what_is_inserted_is_found_until_it_is_removed() {
        let table = FlowTable::new(Region::anonymous(64).unwrap(), 7);
        let verdict = FlowVerdict { out_port: 3, ..FlowVerdict::default() };
        let places: Vec<_> = (0..100).map(|n| table.insert(&key(n), &verdict, n, 10).unwrap()).collect();
        for n in 0..100 {
            let found = table.lookup(&key(n), table.hash(&key(n))).expect("inserted");
            assert_eq!((found.index, found.verdict.out_port), (places[n as usize], 3));
        }
        assert_eq!(table.iter().count(), 100);
        table.remove(places[5], 11);
        assert!(table.lookup(&key(5), table.hash(&key(5))).is_none());
        assert_eq!(table.iter().count(), 99);
    }

    #[test]
    fn a_full_pair_of_buckets_refuses_and_names_its_flows() {
        let table = FlowTable::new(Region::anonymous(1).unwrap(), 7);
        for n in 0..4 {
            table.insert(&key(n), &FlowVerdict::default(), n, 0).unwrap();
        }
        let occupants = table.insert(&key(9), &FlowVerdict::default(), 9, 0).unwrap_err();
        assert!(occupants.iter().all(|index| *index < 4));
    }

    #[test]
    fn a_freed_entry_rests_before_it_is_used_again() {
        let table = FlowTable::new(Region::anonymous(1).unwrap(), 7);
        for n in 0..4 {
            table.insert(&key(n), &FlowVerdict::default(), n, 100).unwrap();
        }
        let freed = table.lookup(&key(2), table.hash(&key(2))).unwrap().index;
        table.remove(freed, 100);
        assert!(table.insert(&key(9), &FlowVerdict::default(), 9, 100 + QUARANTINE_TICKS - 1).is_err());
        assert_eq!(table.insert(&key(9), &FlowVerdict::default(), 9, 100 + QUARANTINE_TICKS), Ok(freed));
    }
}
