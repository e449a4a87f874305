//! Maglev's tables: shares follow weights, a change moves little, and nothing hangs on chance.

use edgestack_dataplane::tables::maglev::{Candidate, MaglevTable};
use proptest::collection::btree_set;
use proptest::prelude::*;

/// Places of the tables here: enough that shares are fine, few enough that many cases run.
const PLACES: u32 = 8209;

fn candidates(most: usize, heaviest: u16) -> impl Strategy<Value = Vec<Candidate>> {
    btree_set(any::<u64>(), 2..most).prop_flat_map(move |hashes| {
        let weights = prop::collection::vec(1..=heaviest, hashes.len());
        (Just(hashes), weights).prop_map(|(hashes, weights)| {
            hashes.into_iter().zip(weights).map(|(id_hash, weight)| Candidate { id_hash, weight }).collect()
        })
    })
}

fn table(candidates: &[Candidate]) -> MaglevTable {
    MaglevTable::new(candidates.to_vec(), PLACES).expect("weights are above 0")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The last turn may end before a member's places: nobody is off by more than one turn.
    #[test]
    fn shares_follow_weights(candidates in candidates(40, 16)) {
        let total: u32 = candidates.iter().map(|candidate| u32::from(candidate.weight)).sum();
        for (candidate, share) in candidates.iter().zip(table(&candidates).shares()) {
            let weight = u32::from(candidate.weight);
            let turns = PLACES / total;
            prop_assert!((turns * weight..=(turns + 1) * weight).contains(&share), "{share} of weight {weight} in {total}");
        }
    }

    /// When a member goes, its places must move; of the others' at most a few percent may.
    #[test]
    fn a_member_that_goes_moves_little(candidates in candidates(24, 4), gone in any::<prop::sample::Index>()) {
        let gone = gone.index(candidates.len());
        let mut left = candidates.clone();
        left.remove(gone);
        let (before, after) = (table(&candidates), table(&left));
        let moved = (0..u64::from(PLACES)).filter(|place| {
            let old = before.member(*place);
            old != gone && candidates[old].id_hash != left[after.member(*place)].id_hash
        });
        let moved = moved.count() as u32;
        prop_assert!(moved <= PLACES / 10, "{moved} of {PLACES} places moved without need");
    }

    /// A member that comes takes its share and little else changes hands.
    #[test]
    fn a_member_without_weight_changes_nothing(candidates in candidates(24, 4), id_hash in any::<u64>()) {
        let mut more = candidates.clone();
        more.push(Candidate { id_hash, weight: 0 });
        let (without, with) = (table(&candidates), table(&more));
        prop_assert!((0..u64::from(PLACES)).all(|place| without.member(place) == with.member(place)));
    }

    #[test]
    fn equal_members_make_equal_tables(candidates in candidates(24, 256)) {
        prop_assert_eq!(table(&candidates), table(&candidates));
        prop_assert!(table(&candidates).is_of(&candidates, PLACES));
    }
}
