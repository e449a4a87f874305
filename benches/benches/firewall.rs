//! Nanoseconds to find the rule that allows a packet, or that none does, in a port's security group of 1, 100 and
//! 10,000 rules. Each rule has its own port or range of ports and its own remote: ranges of addresses, and groups. What
//! is measured is CPU time of the thread.

mod support;

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use edgestack_dataplane::address::Cidr;
use edgestack_dataplane::config::{Config, Direction, Remote, SecurityGroup, SecurityGroupRule};
use edgestack_dataplane::snapshot::Snapshot;
use edgestack_dataplane::snapshot::security_group::Question;
use support::cpu_time;

const TCP: u8 = 6;
/// Questions that take turns.
const QUESTIONS: u32 = 256;

/// Rule number `number`: every fourth names a group, every third a range of ports.
fn rule(number: u32) -> SecurityGroupRule {
    let port = (number * 6 % 60_000) as u16;
    let remote = if number % 4 == 3 {
        Remote::Group { group: "other".to_owned() }
    } else {
        Remote::Cidr { cidr: Cidr::containing(Ipv4Addr::from_bits(0x0a00_0000 + (number << 8)), 24) }
    };
    SecurityGroupRule {
        protocol: Some(TCP),
        port_range_min: Some(port),
        port_range_max: Some(if number.is_multiple_of(3) { port + 500 } else { port }),
        remote,
        ..SecurityGroupRule::new(number.to_string(), Direction::Ingress)
    }
}

fn group(id: &str, rules: Vec<SecurityGroupRule>) -> Arc<SecurityGroup> {
    Arc::new(SecurityGroup { id: id.to_owned(), name: id.to_owned(), log_denied: false, rules })
}

fn lookup(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("firewall");
    for rules in [1, 100, 10_000] {
        let config = Config {
            security_groups: vec![group("own", (0..rules).map(rule).collect()), group("other", Vec::new())],
            ..Config::default()
        };
        let snapshot =
            Snapshot::compile(&config, &std::iter::empty().collect()).expect("a sound configuration");
        let question = |turn: u32, host: u32| {
            // The first of each four names addresses.
            let number = turn * 4 % rules;
            Question {
                direction: Direction::Ingress,
                protocol: TCP,
                selector: (number * 6 % 60_000) as u16,
                remote_address: Ipv4Addr::from_bits(host + (number << 8)).into(),
                remote_port: None,
            }
        };
        for (name, host, is_allowed) in [("allowed", 0x0a00_0005, true), ("denied", 0x0b00_0005, false)] {
            let questions: Vec<_> = (0..QUESTIONS).map(|turn| question(turn, host)).collect();
            assert!(questions.iter().all(|question| snapshot.allows(&[0], question).is_some() == is_allowed));
            let mut turn = 0;
            bench.bench_function(format!("{name}/{rules}"), |bencher| {
                bencher.iter_custom(|iterations| {
                    let start = cpu_time();
                    for _ in 0..iterations {
                        turn = (turn + 1) % QUESTIONS as usize;
                        black_box(snapshot.allows(&[0], black_box(&questions[turn])));
                    }
                    cpu_time().saturating_sub(start)
                });
            });
        }
    }
    bench.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
