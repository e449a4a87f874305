//! The flow table against a map: nothing that was inserted is lost, nothing that was removed is found.

use std::collections::HashMap;

use edgestack_abi::flow::{BUCKET_ENTRIES, QUARANTINE_TICKS, VALID, bucket_indices};
use edgestack_abi::{FlowKey, FlowVerdict};
use edgestack_dataplane::tables::flow_table::{EntryIndex, FlowTable};
use edgestack_dataplane::tables::region::Region;
use proptest::prelude::*;

/// Buckets of the table: few, so that they fill.
const BUCKETS: usize = 4;
/// Flows that the operations choose from: more than the table has entries.
const FLOWS: u32 = 40;
/// Seed of the table's hash.
const SEED: u64 = 0x0123_4567_89ab_cdef;

#[derive(Clone, Debug)]
enum Operation {
    Insert(u32),
    Remove(u32),
    SetEpoch(u32, u32),
    Count(u32),
    Advance(u32),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (0..FLOWS).prop_map(Operation::Insert),
        3 => (0..FLOWS).prop_map(Operation::Remove),
        1 => (0..FLOWS, any::<u32>()).prop_map(|(flow, epoch)| Operation::SetEpoch(flow, epoch)),
        1 => (0..FLOWS).prop_map(Operation::Count),
        2 => (0..=QUARANTINE_TICKS).prop_map(Operation::Advance),
    ]
}

fn key(flow: u32) -> FlowKey {
    FlowKey {
        source: flow.wrapping_mul(0x9e37_79b9),
        source_port: flow as u16,
        in_port: (flow % 3) as u16 + 1,
        protocol: 17,
        ..FlowKey::default()
    }
}

/// What the table should hold of a flow.
#[derive(Clone, Copy, Debug)]
struct Flow {
    index: EntryIndex,
    epoch: u32,
    packets: u64,
}

struct Run {
    table: FlowTable,
    model: HashMap<u32, Flow>,
    freed_at: HashMap<EntryIndex, u32>,
    now_ticks: u32,
}

impl Run {
    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Insert(flow) => self.insert(flow),
            Operation::Remove(flow) => {
                if let Some(Flow { index, .. }) = self.model.remove(&flow) {
                    self.table.remove(index, self.now_ticks);
                    self.freed_at.insert(index, self.now_ticks);
                }
            }
            Operation::SetEpoch(flow, epoch) => {
                if let Some(flow) = self.model.get_mut(&flow) {
                    self.table.set_epoch(flow.index, epoch);
                    flow.epoch = epoch;
                }
            }
            Operation::Count(flow) => {
                if let Some(flow) = self.model.get_mut(&flow) {
                    self.table.count(flow.index, 60, self.now_ticks);
                    flow.packets += 1;
                }
            }
            Operation::Advance(ticks) => self.now_ticks = self.now_ticks.wrapping_add(ticks),
        }
    }

    fn insert(&mut self, flow: u32) {
        if self.model.contains_key(&flow) {
            return;
        }
        let verdict = FlowVerdict { out_port: flow as u16, epoch: 1, ..FlowVerdict::default() };
        match self.table.insert(&key(flow), &verdict, flow, self.now_ticks) {
            Ok(index) => {
                assert!(self.model.values().all(|other| other.index != index), "a flow was overwritten");
                assert!(self.is_rested(index), "an entry was used again too soon");
                self.model.insert(flow, Flow { index, epoch: 1, packets: 0 });
            }
            Err(occupants) => {
                let (first, second) = bucket_indices(key(flow).hash(SEED), BUCKETS as u32 - 1);
                for bucket in [first, second] {
                    for entry in 0..BUCKET_ENTRIES as u32 {
                        let index = bucket * BUCKET_ENTRIES as u32 + entry;
                        assert!(occupants.contains(&index), "an occupant is not named");
                        let used = self.model.values().any(|other| other.index == index);
                        assert!(used || !self.is_rested(index), "refused although entry {index} was free");
                    }
                }
            }
        }
    }

    fn is_rested(&self, index: EntryIndex) -> bool {
        self.freed_at.get(&index).is_none_or(|freed| self.now_ticks.wrapping_sub(*freed) >= QUARANTINE_TICKS)
    }

    fn check(&self) {
        for flow in 0..FLOWS {
            let key = key(flow);
            let found = self.table.lookup(&key, self.table.hash(&key));
            match (self.model.get(&flow), found) {
                (None, None) => {}
                (Some(expected), Some(found)) => {
                    let entry = self.table.entry(found.index);
                    assert_eq!(found.index, expected.index);
                    assert_eq!((found.verdict.out_port, found.verdict.epoch), (flow as u16, expected.epoch));
                    assert_eq!((entry.session, entry.packets()), (flow, expected.packets));
                    assert_ne!(found.verdict.flags & VALID, 0);
                }
                (expected, found) => panic!("flow {flow}: expected {expected:?}, found {found:?}"),
            }
        }
        assert_eq!(self.table.iter().count(), self.model.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn agrees_with_a_map(
        operations in prop::collection::vec(operation(), 1..200),
        start_ticks in prop_oneof![Just(0_u32), Just(u32::MAX - 2), any::<u32>()],
    ) {
        let table = FlowTable::new(Region::anonymous(BUCKETS).unwrap(), Region::anonymous(BUCKETS).unwrap(), Region::anonymous(1).unwrap(), SEED);
        let mut run =
            Run { table, model: HashMap::new(), freed_at: HashMap::new(), now_ticks: start_ticks };
        for operation in &operations {
            run.apply(operation);
            run.check();
        }
    }
}
