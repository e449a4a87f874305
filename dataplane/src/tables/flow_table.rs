//! The flow table: both directions of every connection, found by one hash lookup.
//!
//! Layout and shared-memory protocol are those of `edgestack_abi::flow`. Lookups take no lock and may run in any
//! number of workers and in the kernel at once; everything that changes an entry is called under the engine's
//! slow-path lock. The table never decides what a flow may do, and it is bounded: [`FlowTable::insert`] says when
//! a flow's two buckets are full, and the caller decides what gives way.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use edgestack_abi::flow::{
    BUCKET_ENTRIES, QUARANTINE_TICKS, REPLY, TIER0, VALID, bucket_indices, matching_tags, tag,
};
use edgestack_abi::{FlowBucket, FlowEntry, FlowKey, FlowVerdict, Session, SessionAddresses};

use super::region::Region;
use crate::tuple::{Tuple, Tuples};

/// Position of an entry: bucket * 4 + entry in the bucket.
pub type EntryIndex = u32;

/// Candidates for a flow's place: the entries of its two buckets.
const CANDIDATES: usize = 2 * BUCKET_ENTRIES;
/// Free entries of its first bucket with which a flow does not look at the second. With 3, a table whose entries are
/// a quarter full refuses no flow, and one that is half full about one in 50,000.
const ROOM_TO_SPARE: u32 = 3;
/// The flow table over its regions.
#[derive(Debug)]
pub struct FlowTable {
    buckets: Region<FlowBucket>,
    tags: Region<u64>,
    addresses: Region<SessionAddresses>,
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

/// The positions in a bucket that [`matching_tags`] found.
#[inline]
fn positions(mut matches: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let position = (matches != 0).then(|| matches.trailing_zeros() / 16)?;
        matches &= matches - 1;
        Some(position)
    })
}

impl FlowTable {
    /// The table in `buckets` with their `tags`; the number of both is the same power of two. `addresses` are those of the
    /// sessions, by number.
    pub fn new(
        buckets: Region<FlowBucket>,
        tags: Region<u64>,
        addresses: Region<SessionAddresses>,
        seed: u64,
    ) -> Self {
        assert!(buckets.len().is_power_of_two(), "the number of buckets is a power of two");
        assert_eq!(buckets.len(), tags.len(), "every bucket has its tags");
        let mask = buckets.len() as u32 - 1;
        Self { buckets, tags, addresses, mask, seed }
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

    /// The secret seed of the table's hashes.
    #[inline]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Every entry that holds a flow, with its position.
    pub fn iter(&self) -> impl Iterator<Item = (EntryIndex, FlowEntry)> + '_ {
        (0..self.capacity()).filter(|index| self.is_valid(*index)).map(|index| (index, self.entry(index)))
    }

    /// Finds the valid entry of a key.
    #[inline]
    pub fn lookup(&self, key: &FlowKey, hash: u64) -> Option<Found> {
        let (first, second) = bucket_indices(hash, self.mask);
        for bucket in [first, second] {
            for position in positions(matching_tags(self.tags_of(bucket), tag(hash))) {
                let index = bucket * BUCKET_ENTRIES as u32 + position;
                if let Some(verdict) = self.verdict_of(index, key) {
                    return Some(Found { index, verdict });
                }
            }
        }
        None
    }

    /// Finds the valid entry of a direction of a connection: by its key, and of IPv6 by the addresses that the key has only
    /// hashes of.
    pub fn find(&self, tuple: &Tuple) -> Option<Found> {
        let key = tuple.key(self.seed);
        let found = self.lookup(&key, self.hash(&key))?;
        let is_reply = found.verdict.flags & REPLY != 0;
        let is_found = match tuple.addresses() {
            Some(addresses) => addresses == self.addresses(self.session(found.index)).received(is_reply),
            None => true,
        };
        is_found.then_some(found)
    }

    /// The IPv6 addresses of the session of this number, whatever it is now.
    #[inline]
    pub fn addresses(&self, session: u32) -> SessionAddresses {
        self.addresses.read(session as usize)
    }

    /// Both directions of a session.
    pub fn tuples(&self, index: u32, session: &Session) -> Tuples {
        Tuples::of_session(&session.original, &session.reply, &self.addresses(index))
    }

    /// Writes the addresses of a session that is about to be made: before its flows are valid.
    pub fn set_addresses(&self, session: u32, tuples: &Tuples) {
        if let Some(addresses) = tuples.addresses() {
            self.addresses.write(session as usize, addresses);
        }
    }

    /// Asks the CPU for the tags of a flow's first bucket, to be used by [`Self::prefetch_entry`].
    #[inline]
    pub fn prefetch_tags(&self, hash: u64) {
        prefetch(self.tags.pointer((hash as u32 & self.mask) as usize));
    }

    /// Asks the CPU for the entry that the tags point to, to be used by [`Self::lookup`]; of a flow that has none, for the
    /// place that [`Self::insert`] will likely give it.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        let (first, second) = bucket_indices(hash, self.mask);
        let tags = self.tags_of(first);
        let (mut bucket, mut found) = (first, matching_tags(tags, tag(hash)));
        if found == 0 {
            (bucket, found) = (second, matching_tags(self.tags_of(second), tag(hash)));
        }
        if found == 0 {
            (bucket, found) = (first, matching_tags(tags, 0));
        }
        if found != 0 {
            self.prefetch_lines(bucket * BUCKET_ENTRIES as u32 + found.trailing_zeros() / 16);
        }
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
        let hash = self.hash(key);
        let (first, second) = bucket_indices(hash, self.mask);
        let empty = |bucket: u32| matching_tags(self.tags_of(bucket), 0);
        let (in_first, in_second) = (empty(first), empty(second));
        // The first bucket is looked at first, so it takes the flow while it has room to spare; then the emptier one,
        // which keeps both from filling up at loads far above one half.
        let room = in_first.count_ones();
        let takes_first = room >= ROOM_TO_SPARE || room >= in_second.count_ones();
        let order = if takes_first {
            [(first, in_first), (second, in_second)]
        } else {
            [(second, in_second), (first, in_first)]
        };
        let places = order.into_iter().flat_map(|(bucket, empty)| {
            positions(empty).map(move |position| bucket * BUCKET_ENTRIES as u32 + position)
        });
        for index in places {
            if self.has_rested(index, now_ticks) {
                self.write(index, key, verdict, session, now_ticks);
                self.set_tag(index, tag(hash));
                return Ok(index);
            }
        }
        Err(std::array::from_fn(|candidate| {
            let bucket = if candidate < BUCKET_ENTRIES { first } else { second };
            bucket * BUCKET_ENTRIES as u32 + (candidate % BUCKET_ENTRIES) as u32
        }))
    }

    /// Takes an entry out of use; it rests before it is written again.
    pub fn remove(&self, index: EntryIndex, now_ticks: u32) {
        self.set_tag(index, 0);
        self.set_last_seen_ticks(index, now_ticks);
        self.flags(index).store(0, Ordering::Release);
    }

    /// Carries the counters of an entry over to the one that replaces it.
    pub fn carry_counters(&self, from: EntryIndex, to: EntryIndex) {
        let old = self.entry(from);
        self.update(to, |entry| {
            entry.engine_packets = old.engine_packets;
            entry.bytes = old.bytes;
            entry.tier0_packets = old.tier0_packets;
        });
    }

    /// Makes the tags say what the entries hold, whatever a crash left in them.
    pub fn restore_tags(&self) {
        for index in 0..self.capacity() {
            let tag = if self.is_valid(index) { tag(self.hash(&self.entry(index).key)) } else { 0 };
            self.set_tag(index, tag);
        }
    }

    fn tags_of(&self, bucket: u32) -> u64 {
        self.tags.read(bucket as usize)
    }

    fn set_tag(&self, index: EntryIndex, tag: u16) {
        let (bucket, shift) = (index / BUCKET_ENTRIES as u32, 16 * (index % BUCKET_ENTRIES as u32));
        let others = self.tags_of(bucket) & !(0xffff << shift);
        self.tags.write(bucket as usize, others | u64::from(tag) << shift);
    }

    /// Whether an entry holds a flow.
    #[inline]
    pub fn is_valid(&self, index: EntryIndex) -> bool {
        self.flags(index).load(Ordering::Acquire) & VALID != 0
    }

    /// Whether a flow may be written to an entry that holds none: it was never used, or its last use is over.
    fn has_rested(&self, index: EntryIndex, now_ticks: u32) -> bool {
        !self.is_valid(index)
            && (self.key(index).words() == (0, 0)
                || now_ticks.wrapping_sub(self.last_seen_ticks(index)) >= QUARANTINE_TICKS)
    }
}

/// Asks the CPU to load the cache line at `address`.
#[inline]
#[expect(unsafe_code, reason = "the instruction has no safe form")]
fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch accesses nothing, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch(address.cast::<i8>(), std::arch::x86_64::_MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[expect(unsafe_code, reason = "the table is memory shared with the kernel and other workers")]
mod shared {
    use super::{
        AtomicU16, AtomicU32, BUCKET_ENTRIES, EntryIndex, FlowEntry, FlowKey, FlowTable, FlowVerdict,
        Ordering, VALID, prefetch,
    };

    impl FlowTable {
        #[inline]
        fn pointer(&self, index: EntryIndex) -> *mut FlowEntry {
            let bucket = self.buckets.pointer(index as usize / BUCKET_ENTRIES);
            // SAFETY: the bucket is within the region and the remainder within the bucket.
            unsafe { (&raw mut (*bucket).entries).cast::<FlowEntry>().add(index as usize % BUCKET_ENTRIES) }
        }

        #[inline]
        pub(super) fn flags(&self, index: EntryIndex) -> &AtomicU16 {
            // SAFETY: the field is aligned, lives as long as the region, and is only accessed atomically here.
            unsafe { AtomicU16::from_ptr(&raw mut (*self.pointer(index)).verdict.flags) }
        }

        #[inline]
        fn last_seen(&self, index: EntryIndex) -> &AtomicU32 {
            // SAFETY: as for `flags`.
            unsafe { AtomicU32::from_ptr(&raw mut (*self.pointer(index)).last_seen_ticks) }
        }

        /// Asks the CPU for both cache lines of an entry.
        #[inline]
        pub(super) fn prefetch_lines(&self, index: EntryIndex) {
            let entry = self.pointer(index).cast::<u8>();
            prefetch(entry);
            prefetch(entry.wrapping_add(64));
        }

        #[inline]
        pub(super) fn key(&self, index: EntryIndex) -> FlowKey {
            // SAFETY: the pointer is that of an entry, and every bit pattern is a key. That of a valid entry does not change.
            unsafe { (&raw const (*self.pointer(index)).key).read() }
        }

        /// The verdict of an entry, when it is valid and its key is `key`.
        #[inline]
        pub(super) fn verdict_of(&self, index: EntryIndex, key: &FlowKey) -> Option<FlowVerdict> {
            if self.key(index).words() != key.words()
                || self.flags(index).load(Ordering::Acquire) & VALID == 0
            {
                return None;
            }
            // SAFETY: the pointer is that of an entry. The verdict of a valid entry does not change but for single aligned
            // words, and one that is freed meanwhile rests before it is overwritten. Not volatile, so that the caller's
            // use decides which fields are loaded.
            Some(unsafe { (&raw const (*self.pointer(index)).verdict).read() })
        }

        /// A copy of an entry, whatever it holds.
        #[inline]
        pub fn entry(&self, index: EntryIndex) -> FlowEntry {
            // SAFETY: the pointer is that of an entry, and every bit pattern is one.
            unsafe { self.pointer(index).read_volatile() }
        }

        /// Number of the session that an entry belongs to.
        #[inline]
        pub fn session(&self, index: EntryIndex) -> u32 {
            // SAFETY: the pointer is that of an entry.
            unsafe { (&raw const (*self.pointer(index)).session).read_volatile() }
        }

        /// When a packet of the flow was last forwarded.
        pub fn last_seen_ticks(&self, index: EntryIndex) -> u32 {
            self.last_seen(index).load(Ordering::Relaxed)
        }

        pub(super) fn set_last_seen_ticks(&self, index: EntryIndex, now_ticks: u32) {
            self.last_seen(index).store(now_ticks, Ordering::Relaxed);
        }

        /// Changes the counters of an entry.
        pub(super) fn update(&self, index: EntryIndex, change: impl FnOnce(&mut FlowEntry)) {
            let mut entry = self.entry(index);
            change(&mut entry);
            let pointer = self.pointer(index);
            // SAFETY: the pointer is that of an entry; only counters are written, for which a lost update is accepted.
            unsafe {
                (&raw mut (*pointer).engine_packets).write_volatile(entry.engine_packets);
                (&raw mut (*pointer).bytes).write_volatile(entry.bytes);
                (&raw mut (*pointer).tier0_packets).write_volatile(entry.tier0_packets);
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
                let packets = &raw mut (*pointer).engine_packets;
                packets.write_volatile(packets.read_volatile().wrapping_add(1));
                let total = &raw mut (*pointer).bytes;
                total.write_volatile(total.read_volatile().wrapping_add(bytes));
                (&raw mut (*pointer).last_seen_ticks).write_volatile(now_ticks);
            }
        }

        /// Says that the verdict of an entry holds under a new epoch.
        pub fn set_epoch(&self, index: EntryIndex, epoch: u32) {
            // SAFETY: the field is aligned, lives as long as the region, and is a word that both sides access whole.
            unsafe { AtomicU32::from_ptr(&raw mut (*self.pointer(index)).verdict.epoch) }
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

    fn table(buckets: usize) -> FlowTable {
        let addresses = Region::anonymous(1).unwrap();
        FlowTable::new(Region::anonymous(buckets).unwrap(), Region::anonymous(buckets).unwrap(), addresses, 7)
    }

    fn key(number: u32) -> FlowKey {
        FlowKey { source: number, destination: !number, in_port: 1, protocol: 17, ..FlowKey::default() }
    }

    #[test]
    fn what_is_inserted_is_found_until_it_is_removed() {
        let table = table(64);
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
        let table = table(1);
        for n in 0..4 {
            table.insert(&key(n), &FlowVerdict::default(), n, 0).unwrap();
        }
        let occupants = table.insert(&key(9), &FlowVerdict::default(), 9, 0).unwrap_err();
        assert!(occupants.iter().all(|index| *index < 4));
    }

    #[test]
    fn a_freed_entry_rests_before_it_is_used_again() {
        let table = table(1);
        for n in 0..4 {
            table.insert(&key(n), &FlowVerdict::default(), n, 100).unwrap();
        }
        let freed = table.lookup(&key(2), table.hash(&key(2))).unwrap().index;
        table.remove(freed, 100);
        assert!(table.insert(&key(9), &FlowVerdict::default(), 9, 100 + QUARANTINE_TICKS - 1).is_err());
        assert_eq!(table.insert(&key(9), &FlowVerdict::default(), 9, 100 + QUARANTINE_TICKS), Ok(freed));
    }
}
