//! `make bench-peers`: EdgeStack beside nftables and plain XDP redirect, in turn, in one run.

use edgestack_benches::peers::{
    BenchError,
    bed::Bed,
    nftables,
    traffic::{Traffic, parse_mac},
    tuning::Tuning,
};
use edgestack_tests::namespace::unique_prefix;
use std::time::Duration;

fn mac(bed: &Bed) -> Result<[u8; 6], BenchError> {
    let output = bed.gateway.run(&format!("ip -o link show {}", bed.inside()))?;
    parse_mac(output.split("link/ether ").nth(1).unwrap_or_default().split(' ').next().unwrap_or_default())
}

fn main() -> Result<(), BenchError> {
    let prefix = unique_prefix();
    let _tuning = Tuning::apply()?;
    let mut traffic = Traffic::load()?;
    let nft = Bed::create(&prefix, "nft")?;
    let plain = Bed::create(&prefix, "xdp")?;
    nftables::configure(&nft)?;
    for bed in [&nft, &plain] {
        traffic.attach_sink(bed)?;
    }
    traffic.attach_redirect(&plain)?;
    for flows in [1, 10_000, 1 << 20] {
        for bed in [&nft, &plain] {
            let mac = mac(bed)?;
            let census = traffic.census(bed, mac, flows, Duration::from_secs(6))?;
            println!("{} {flows} {census:?} conntrack {}", bed.name, nftables::connections(&nft)?);
        }
        for _ in 0..3 {
            for bed in [&nft, &plain] {
                let mac = mac(bed)?;
                let sample =
                    traffic.measure(bed, mac, flows, Duration::from_millis(300), Duration::from_secs(2))?;
                println!("{} {flows} {sample:?}", bed.name);
            }
        }
    }
    Ok(())
}
