//! `make bench-peers`: EdgeStack beside nftables and plain XDP redirect, in turn, in one run.
//!
//! Prints a table and the goals, and writes the samples to `target/bench-peers.json`. benches/README.md says how to
//! read it. `--rounds N` (5) and `--seconds N` (2) bound the time of a run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use edgestack_benches::peers::gateway::Gateway;
use edgestack_benches::peers::report::{Goal, Report};
use edgestack_benches::peers::traffic::Traffic;
use edgestack_benches::peers::tuning::Tuning;
use edgestack_benches::peers::{BenchError, tcp};
use edgestack_tests::LabError;
use edgestack_tests::namespace::unique_prefix;

/// Flows of the measurements, with their names.
const FLOWS: [(u32, &str); 3] =
    [(1, "Mpps, 1 flow"), (10_000, "Mpps, 10,000 flows"), (1 << 20, "Mpps, 1,048,576 flows")];
const NEW_FLOWS: &str = "new flows, M/s";
const TCP: [(u32, &str); 2] = [(1, "Gb/s, 1 TCP stream"), (4, "Gb/s, 4 TCP streams")];
/// Seconds that a gateway may take to know all flows.
const CENSUS_ROUNDS: u32 = 150;
/// How long a stream of frames runs before it is measured.
const WARM: Duration = Duration::from_millis(300);

const GOALS: [Goal; 7] = [
    Goal { what: FLOWS[1].1, gateway: "tier0", peer: Some("nftables"), least: 2.8 },
    Goal { what: FLOWS[1].1, gateway: "tier0", peer: Some("redirect"), least: 0.7 },
    Goal { what: FLOWS[2].1, gateway: "tier0", peer: Some("nftables"), least: 2.5 },
    Goal { what: FLOWS[1].1, gateway: "engine", peer: None, least: 0.5 },
    Goal { what: NEW_FLOWS, gateway: "tier0", peer: None, least: 0.3 },
    Goal { what: TCP[0].1, gateway: "es-tcp", peer: Some("nft-tcp"), least: 1.0 },
    Goal { what: TCP[1].1, gateway: "es-tcp", peer: Some("nft-tcp"), least: 1.0 },
];

struct Settings {
    rounds: u32,
    seconds: u64,
}

fn main() -> ExitCode {
    let Some(settings) = settings(std::env::args().skip(1)) else {
        eprintln!("usage: edgestack-bench-peers [--rounds N] [--seconds N]");
        return ExitCode::from(2);
    };
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the bench could not go on: {error}");
            ExitCode::FAILURE
        }
    }
}

fn settings(mut arguments: impl Iterator<Item = String>) -> Option<Settings> {
    let mut settings = Settings { rounds: 5, seconds: 2 };
    while let Some(argument) = arguments.next() {
        let value = arguments.next()?.parse().ok().filter(|value| *value > 0)?;
        match argument.as_str() {
            "--rounds" => settings.rounds = value,
            "--seconds" => settings.seconds = u64::from(value),
            _ => return None,
        }
    }
    Some(settings)
}

fn run(settings: &Settings) -> Result<(), BenchError> {
    let prefix = unique_prefix();
    let mut report = Report::default();
    frames(settings, &prefix, &mut report)?;
    streams(settings, &prefix, &mut report)?;
    report.print(&GOALS);
    let path = PathBuf::from("target/bench-peers.json");
    let text = format!("{:#}\n", report.json(&GOALS));
    std::fs::write(&path, text).map_err(LabError::system(format!("write {}", path.display())))?;
    println!("\nall samples: {}", path.display());
    Ok(())
}

/// 60-byte UDP frames through every gateway in turn.
fn frames(settings: &Settings, prefix: &str, report: &mut Report) -> Result<(), BenchError> {
    let _tuning = Tuning::apply()?;
    let mut traffic = Traffic::load()?;
    let peers = [Gateway::plain(prefix, &mut traffic)?, Gateway::nftables(prefix, &mut traffic)?];
    for (flows, what) in FLOWS {
        let ours = [true, false].map(|fast_path| Gateway::edgestack(prefix, &mut traffic, fast_path, flows));
        let [tier0, engine] = ours;
        let ours = [tier0?, engine?];
        let gateways: Vec<&Gateway> = peers.iter().chain(&ours).collect();
        for gateway in &gateways {
            learn(gateway, flows, &mut traffic, report)?;
        }
        for _ in 0..settings.rounds {
            for gateway in &gateways {
                let measured = Duration::from_secs(settings.seconds);
                let sample = traffic.measure(&gateway.bed, gateway.mac(), flows, WARM, measured)?;
                println!(
                    "{what:<26} {:<10} {:.3} Mpps received, {:.3} sent",
                    gateway.name(),
                    sample.received / 1e6,
                    sample.sent / 1e6
                );
                report.add(what, gateway.name(), sample.received / 1e6);
            }
        }
    }
    Ok(())
}

/// Lets a gateway learn all flows, and sees to it that it carries every one, rightly translated.
fn learn(
    gateway: &Gateway,
    flows: u32,
    traffic: &mut Traffic,
    report: &mut Report,
) -> Result<(), BenchError> {
    let before = gateway.connections()?;
    let first_second = Duration::from_secs(1);
    traffic.measure(&gateway.bed, gateway.mac(), flows, Duration::ZERO, first_second)?;
    let learnt = gateway.connections()?.saturating_sub(before);
    let census = traffic.census(&gateway.bed, gateway.mac(), flows, CENSUS_ROUNDS)?;
    println!(
        "{:<10} {} of {flows} flows seen, {} packets broken, {learnt} learnt in the first second; {}",
        gateway.name(),
        census.flows,
        census.broken,
        gateway.drops()?
    );
    if flows == FLOWS[2].0 && learnt > 0 {
        report.add(NEW_FLOWS, gateway.name(), learnt as f64 / 1e6);
    }
    if census.flows < u64::from(flows) || census.broken > 0 {
        return Err(BenchError::Invalid(format!(
            "{} carried {} of {flows} flows, and broke {} packets: its rate would mean nothing",
            gateway.name(),
            census.flows,
            census.broken
        )));
    }
    Ok(())
}

/// Bulk TCP through the kernel's forwarding and through ours.
fn streams(settings: &Settings, prefix: &str, report: &mut Report) -> Result<(), BenchError> {
    let directory = std::env::temp_dir().join(format!("{prefix}-tcp"));
    std::fs::create_dir_all(&directory).map_err(LabError::system(format!("make {}", directory.display())))?;
    let gateways = [Gateway::nftables_tcp(prefix)?, Gateway::edgestack_tcp(prefix)?];
    for (streams, what) in TCP {
        for _ in 0..settings.rounds {
            for gateway in &gateways {
                let rate = tcp::measure(gateway, streams, settings.seconds, Path::new(&directory))?;
                println!("{what:<26} {:<10} {rate:.2} Gb/s", gateway.name());
                report.add(what, gateway.name(), rate);
            }
        }
    }
    std::fs::remove_dir_all(&directory)
        .map_err(LabError::system(format!("remove {}", directory.display())))?;
    Ok(())
}
