//! The port allocator against a map of sets: unique, within range, never a reserved port, refusing only what is truly full,
//! and with endpoint-independent mapping one port for one inside endpoint.

use std::collections::{BTreeMap, BTreeSet};

use edgestack_dataplane::tables::mapping_table::Internal;
use edgestack_dataplane::tables::port_allocator::{Allocation, PortAllocator, PortPolicy, Request};
use edgestack_dataplane::tables::port_set::PortSet;
use proptest::prelude::*;

/// Remote endpoints and workloads that the operations choose from: few, so that they meet.
const REMOTES: u8 = 3;
const WORKLOADS: u16 = 3;
const EXTERNAL: u32 = 1;
const PROTOCOL: u8 = 17;

#[derive(Clone, Debug)]
enum Operation {
    /// A connection finds a port and takes it.
    Open { workload: u16, port: u16, remote: u8, random: u32 },
    /// One of those that are open ends.
    Close { position: usize },
}

fn operation() -> impl Strategy<Value = Operation> {
    let port = prop_oneof![Just(1), Just(1023), Just(1024), Just(u16::MAX), any::<u16>(), 2000..2010_u16];
    prop_oneof![
        3 => (1..=WORKLOADS, port, 0..REMOTES, any::<u32>())
            .prop_map(|(workload, port, remote, random)| Operation::Open { workload, port, remote, random }),
        2 => any::<usize>().prop_map(|position| Operation::Close { position }),
    ]
}

/// A policy over a narrow range, so that it fills up.
fn policy() -> impl Strategy<Value = PortPolicy> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let reserved = prop::collection::btree_set(2000..2040_u16, 0..5);
    (flags, 2000..2030_u16, 1..80_u16, reserved).prop_map(
        |((independent, parity, random), min, length, reserved)| {
            let mut ports = PortSet::default();
            for port in reserved {
                ports.insert(port);
            }
            PortPolicy {
                addresses: vec![EXTERNAL],
                is_independent: independent,
                is_paired: true,
                min,
                max: min + length,
                preserves_parity: parity,
                is_random: random,
                reserved: [((EXTERNAL, PROTOCOL), ports)].into_iter().collect(),
                ..PortPolicy::default()
            }
        },
    )
}

fn check(policy: &PortPolicy, operations: &[Operation]) {
    let mut allocator = PortAllocator::default();
    let mut open: Vec<Allocation> = Vec::new();
    for operation in operations {
        match *operation {
            Operation::Open { workload, port, remote, random } => {
                let internal = Internal { in_port: workload, address: 10, port, protocol: PROTOCOL };
                let remote = u32::from(remote) + 2;
                let request = Request { internal, remote, remote_port: 53, random };
                // A second connection of one tuple is not a new one.
                if open.iter().any(|held| held.internal == internal && held.remote == remote) {
                    continue;
                }
                let found = allocator.find(policy, &request);
                let reserved = &policy.reserved[&(EXTERNAL, PROTOCOL)];
                let taken: BTreeSet<u16> = open
                    .iter()
                    .filter(|held| policy.is_independent || held.remote == remote)
                    .map(|held| held.port)
                    .collect();
                let own = open.iter().find(|held| held.internal == internal).map(|held| held.port);
                let free: BTreeSet<u16> = (policy.min..=policy.max)
                    .filter(|port| !taken.contains(port) && !reserved.contains(*port))
                    .collect();
                match (found, own.filter(|_| policy.is_independent)) {
                    (Some(found), Some(own)) => assert_eq!(found.port, own, "one mapping, one port"),
                    (None, Some(_)) => panic!("a mapping was refused"),
                    (Some(found), None) => {
                        assert!(free.contains(&found.port), "{} is not free", found.port);
                        if !policy.is_random && free.contains(&port) {
                            assert_eq!(found.port, port, "its own port was free");
                        }
                        if policy.preserves_parity && free.iter().any(|free| free % 2 == port % 2) {
                            assert_eq!(found.port % 2, port % 2);
                        }
                    }
                    (None, None) => assert!(free.is_empty(), "refused while {free:?} were free"),
                }
                if let Some(found) = found {
                    assert!(allocator.take(&found, Some(0)), "found and not taken");
                    open.push(found);
                }
            }
            Operation::Close { position } if !open.is_empty() => {
                let held = open.swap_remove(position % open.len());
                allocator.release(&held, 0, 0);
            }
            Operation::Close { .. } => {}
        }
        let mut used: BTreeMap<u32, BTreeSet<u16>> = BTreeMap::new();
        for held in &open {
            let remote = if policy.is_independent { 0 } else { held.remote };
            used.entry(remote).or_default().insert(held.port);
        }
        assert_eq!(allocator.used(), used.values().map(BTreeSet::len).sum::<usize>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn agrees_with_a_set(policy in policy(), operations in prop::collection::vec(operation(), 1..300)) {
        check(&policy, &operations);
    }
}
