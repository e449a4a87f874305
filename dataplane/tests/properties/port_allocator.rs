//! The port allocator against a map of sets: unique, within range, refusing only what is truly full.

use std::collections::{BTreeSet, HashMap};

use edgestack_dataplane::tables::port_allocator::{Endpoint, PORT_MIN, PORTS, PortAllocator};
use proptest::prelude::*;

/// Remote endpoints that the operations choose from: few, so that they meet.
const ENDPOINTS: u8 = 3;

#[derive(Clone, Debug)]
enum Operation {
    /// Finds a port and takes it.
    Allocate { endpoint: u8, preferred: u16, random: u32 },
    /// Takes a certain port, found or not.
    Take { endpoint: u8, port: u16 },
    /// Releases a certain port, used or not.
    Release { endpoint: u8, port: u16 },
    /// Releases one of those in use.
    ReleaseUsed { endpoint: u8, position: usize },
}

fn endpoint(number: u8) -> Endpoint {
    Endpoint { external: 1, remote: u32::from(number), remote_port: 53, protocol: 17 }
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), Just(PORT_MIN - 1), Just(PORT_MIN), Just(u16::MAX), any::<u16>(), 2000..2010_u16]
}

fn operation() -> impl Strategy<Value = Operation> {
    let number = 0..ENDPOINTS;
    prop_oneof![
        4 => (number.clone(), port(), any::<u32>())
            .prop_map(|(endpoint, preferred, random)| Operation::Allocate { endpoint, preferred, random }),
        1 => (number.clone(), port()).prop_map(|(endpoint, port)| Operation::Take { endpoint, port }),
        1 => (number.clone(), port()).prop_map(|(endpoint, port)| Operation::Release { endpoint, port }),
        2 => (number, any::<usize>())
            .prop_map(|(endpoint, position)| Operation::ReleaseUsed { endpoint, position }),
    ]
}

/// Ports in use by remote endpoint.
type Model = HashMap<u8, BTreeSet<u16>>;

fn apply(allocator: &mut PortAllocator, model: &mut Model, operation: &Operation) {
    match *operation {
        Operation::Allocate { endpoint: number, preferred, random } => {
            let used = model.entry(number).or_default();
            match allocator.find(&endpoint(number), preferred, random) {
                None => assert_eq!(used.len(), PORTS, "refused while a port was free"),
                Some(port) => {
                    assert!(port >= PORT_MIN, "{port} is out of range");
                    if preferred >= PORT_MIN && !used.contains(&preferred) {
                        assert_eq!(port, preferred, "the preferred port was free");
                    }
                    assert!(used.insert(port), "{port} is in use");
                    assert!(allocator.take(endpoint(number), port), "{port} was found and not taken");
                }
            }
        }
        Operation::Take { endpoint: number, port } => {
            let free = port >= PORT_MIN && model.entry(number).or_default().insert(port);
            assert_eq!(allocator.take(endpoint(number), port), free);
        }
        Operation::Release { endpoint: number, port } => {
            let used = model.entry(number).or_default().remove(&port);
            assert_eq!(allocator.release(endpoint(number), port), used);
        }
        Operation::ReleaseUsed { endpoint: number, position } => {
            let used = model.entry(number).or_default();
            let Some(port) = used.iter().nth(position % used.len().max(1)).copied() else { return };
            used.remove(&port);
            assert!(allocator.release(endpoint(number), port));
        }
    }
    assert_eq!(allocator.used(), model.values().map(BTreeSet::len).sum::<usize>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn agrees_with_a_set(operations in prop::collection::vec(operation(), 1..300)) {
        let (mut allocator, mut model) = (PortAllocator::default(), Model::new());
        for operation in &operations {
            apply(&mut allocator, &mut model, operation);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn agrees_with_a_set_when_nearly_full(
        holes in prop::collection::btree_set(PORT_MIN.., 0..6),
        operations in prop::collection::vec(operation(), 1..100),
    ) {
        let (mut allocator, mut model) = (PortAllocator::default(), Model::new());
        for port in (PORT_MIN..=u16::MAX).filter(|port| !holes.contains(port)) {
            assert!(allocator.take(endpoint(0), port));
            model.entry(0).or_default().insert(port);
        }
        for operation in &operations {
            apply(&mut allocator, &mut model, operation);
        }
    }
}
