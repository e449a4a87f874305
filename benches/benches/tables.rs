//! Nanoseconds of the parts: reading a flow key, parsing a frame whole, looking up a flow among few and many.

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use edgestack_abi::{FlowKey, FlowVerdict};
use edgestack_dataplane::packet::BATCH_SIZE;
use edgestack_dataplane::tables::flow_table::FlowTable;
use edgestack_dataplane::tables::region::Region;
use edgestack_dataplane::wire::headers;
use support::Random;

fn parse(criterion: &mut Criterion) {
    let frame = support::frame(12_345);
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    group.bench_function("flow_key", |bencher| bencher.iter(|| headers::fast_key(black_box(&frame), 1, 7)));
    group.bench_function("whole", |bencher| bencher.iter(|| headers::parse(black_box(&frame))));
    group.finish();
}

fn key(flow: u64) -> FlowKey {
    FlowKey {
        source: flow as u32 & 0xffff,
        destination: 0x0101_0101,
        source_port: (flow >> 16) as u16,
        destination_port: 53,
        in_port: 7,
        protocol: 17,
        family: 0,
    }
}

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lookup");
    group.measurement_time(Duration::from_secs(3)).sample_size(20);
    for flows in [1_000_u64, 65_536, 1_000_000] {
        // Half full.
        let buckets = (flows / 2).next_power_of_two() as usize;
        let table = FlowTable::new(
            Region::anonymous(buckets).expect("memory"),
            Region::anonymous(buckets).expect("memory"),
            Region::anonymous(1).expect("memory"),
            0x5eed,
        );
        for flow in 0..flows {
            let _ = table.insert(&key(flow), &FlowVerdict::default(), flow as u32, 1);
        }
        let mut random = Random(2);
        let keys: Vec<FlowKey> = (0..1 << 16).map(|_| key(random.number() % flows)).collect();
        group.throughput(Throughput::Elements(BATCH_SIZE as u64));
        let mut batches = keys.chunks_exact(BATCH_SIZE).cycle();
        group.bench_function(format!("{flows}/batch"), |bencher| {
            bencher.iter(|| {
                let batch = batches.next().expect("endless");
                let hashes: [u64; BATCH_SIZE] = std::array::from_fn(|index| table.hash(&batch[index]));
                for hash in &hashes {
                    table.prefetch_tags(*hash);
                }
                for hash in &hashes {
                    table.prefetch_entry(*hash);
                }
                batch.iter().zip(hashes).filter(|(key, hash)| table.lookup(key, *hash).is_some()).count()
            });
        });
        group.throughput(Throughput::Elements(1));
        let mut single = keys.iter().cycle();
        group.bench_function(format!("{flows}/single"), |bencher| {
            bencher.iter(|| {
                let key = single.next().expect("endless");
                table.lookup(key, table.hash(key))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parse, lookup);
criterion_main!(benches);
