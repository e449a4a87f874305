//! Nanoseconds per packet of the whole engine, in memory: packets of known flows, and first packets of new ones.
//!
//! Every packet is SNATed, its sender in a security group of four rules. Batches of 32; the frames are made ready
//! outside of the measured time, and the flows come in random order. What is measured is CPU time of the thread, so
//! that a busy machine adds cache misses only.

mod support;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{Gateway, ROUND, Random};

/// Flows that a new gateway takes before the next new one is made, in the bench of new flows.
const NEW_FLOWS_MAX: u32 = 500_000;

fn hit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipeline/hit");
    group.throughput(Throughput::Elements(1)).sample_size(20).measurement_time(Duration::from_secs(4));
    for flows in [1_000_u32, 65_536, 1_000_000] {
        let mut gateway = Gateway::new(flows);
        let refused = gateway.open(flows);
        if refused > 0 {
            eprintln!("pipeline/hit/{flows}: {refused} flows were refused and are decided on every packet");
        }
        let mut random = Random(1);
        group.bench_function(flows.to_string(), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut elapsed = Duration::ZERO;
                let mut done = 0;
                while done < iterations {
                    let count = ROUND.min((iterations - done) as usize);
                    let packets = gateway.prepare((0..count).map(|_| random.number() % u64::from(flows)));
                    elapsed += gateway.process(packets).0;
                    done += count as u64;
                }
                elapsed
            });
        });
    }
    group.finish();
}

fn miss(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipeline/miss");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(4));
    group.bench_function("new_flow_with_snat", |bencher| {
        let (mut gateway, mut next) = (Gateway::new(NEW_FLOWS_MAX), 0);
        bencher.iter_custom(|iterations| {
            let mut elapsed = Duration::ZERO;
            let mut done = 0;
            while done < iterations {
                let count = (ROUND as u64).min(iterations - done).min(u64::from(NEW_FLOWS_MAX) - next);
                let packets = gateway.prepare(next..next + count);
                elapsed += gateway.process(packets).0;
                (done, next) = (done + count, next + count);
                if next == u64::from(NEW_FLOWS_MAX) {
                    (gateway, next) = (Gateway::new(NEW_FLOWS_MAX), 0);
                }
            }
            elapsed
        });
    });
    group.finish();
}

criterion_group!(benches, hit, miss);
criterion_main!(benches);
