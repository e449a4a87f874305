//! Random traffic, time and changes of configuration through an engine alone and through one behind the kernel
//! programs: whatever leaves must be the same to the byte, packet by packet, and so must drops and flows be.
//!
//! `differential.yaml` says what it starts from and what changes. Runs as a test; how far, says
//! [`PACKETS_VARIABLE`]. A difference names the seed and the packet, which happen again in the next run.

mod changes;
mod random;
mod segment;
mod traffic;
mod tunnel;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use changes::Changes;
use random::Random;
use traffic::Traffic;

use edgestack_dataplane::engine::EngineSettings;

use crate::compare::Frames;
use crate::mode::Mode;
use crate::site::Site;

/// Names the number of packets of a run, for more than the tests take.
pub(crate) const PACKETS_VARIABLE: &str = "EDGESTACK_DIFFERENTIAL_PACKETS";
/// Packets of a run of the tests.
const PACKETS: u64 = 30_000;
/// Packets that a pair of gateways lives for; then new ones take their place, with another seed.
const ROUND_PACKETS: u64 = 250_000;
/// Packets between two comparisons of drops and flows.
const CHECK_PACKETS: u64 = 5_000;
/// One event in so many is a change of configuration.
const CHANGE_EVERY: u64 = 2_000;
/// One event in so many lets time pass.
const ADVANCE_EVERY: u64 = 200;
/// Times that pass at once, in milliseconds: a tick, a retransmission, the timeouts of echoes, of UDP and longer.
const ADVANCE_MS: [u64; 12] = [250, 250, 250, 250, 250, 250, 1_000, 1_000, 1_000, 5_000, 61_000, 310_000];
/// Of the packets sent, the share that tier 0 must forward at least for a run to mean something: one in so many.
const TIER0_SHARE_MIN: u64 = 5;

/// What a run saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    /// Packets sent to both.
    pub(crate) packets: u64,
    /// Packets that left both, alike.
    pub(crate) left: u64,
    /// Packets that tier 0 forwarded.
    pub(crate) tier0: u64,
    /// Changes of configuration.
    pub(crate) changes: u64,
    /// Drops by the label of their reason.
    pub(crate) drops: BTreeMap<String, u64>,
}

/// Sends the packets of a run through both gateways; an error is a report for people.
pub(crate) fn run(root: &Path, mode: Mode) -> Result<Summary, String> {
    let packets = match std::env::var(PACKETS_VARIABLE) {
        Ok(text) => text.parse().map_err(|error| format!("{PACKETS_VARIABLE}={text}: {error}"))?,
        Err(_) => PACKETS,
    };
    let mut summary = Summary::default();
    let mut seed = 1;
    while summary.packets < packets {
        let last = (summary.packets + ROUND_PACKETS).min(packets);
        round(root, mode, seed, last, &mut summary).map_err(|problem| format!("seed {seed}: {problem}"))?;
        seed += 1;
    }
    if summary.tier0 < packets / TIER0_SHARE_MIN {
        return Err(format!("tier 0 forwarded too little for this to mean anything: {summary:?}"));
    }
    Ok(summary)
}

fn round(root: &Path, mode: Mode, seed: u64, last: u64, summary: &mut Summary) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut changes = Changes::load(root).map_err(|error| error.to_string())?;
    let mut pair = Pair {
        alone: Site::new(Mode::Engine, EngineSettings::default())?,
        behind: Site::new(mode, EngineSettings::default())?,
    };
    pair.apply(&changes)?;
    let mut traffic = Traffic::new(changes.config(), changes.hosts());
    while summary.packets < last {
        if random.one_in(CHANGE_EVERY) {
            changes.change(&mut random)?;
            pair.apply(&changes)?;
            summary.changes += 1;
        } else if random.one_in(ADVANCE_EVERY) {
            let milliseconds = *random.choose(&ADVANCE_MS);
            for (port, frame) in pair.advance(milliseconds)? {
                traffic.arrived(&port, &frame, &mut random);
            }
        }
        let (port, frame) = traffic.next(&mut random);
        // The workload has moved to the other host meanwhile.
        if !pair.alone.has_port(&port) {
            continue;
        }
        summary.packets += 1;
        let left = pair
            .send(&port, &frame)
            .map_err(|problem| format!("packet {} by {port}: {frame:02x?}\n{problem}", summary.packets))?;
        summary.left += left.len() as u64;
        for (port, frame) in left {
            traffic.arrived(&port, &frame, &mut random);
        }
        if summary.packets.is_multiple_of(CHECK_PACKETS) {
            pair.check().map_err(|problem| format!("after packet {}: {problem}", summary.packets))?;
        }
    }
    pair.check()?;
    summary.tier0 += pair.behind.tier0_hits().unwrap_or_default();
    for (reason, packets) in pair.alone.drops() {
        *summary.drops.entry(reason).or_default() += packets;
    }
    pair.alone.finish()?;
    pair.behind.finish()
}

/// The two gateways.
struct Pair {
    alone: Site,
    behind: Site,
}

impl Pair {
    fn apply(&mut self, changes: &Changes) -> Result<(), String> {
        self.alone.apply(changes.config())?;
        self.behind.apply(changes.config())
    }

    fn advance(&mut self, milliseconds: u64) -> Result<Vec<(String, Vec<u8>)>, String> {
        let (mut alone, mut behind) = (self.alone.advance(milliseconds)?, self.behind.advance(milliseconds)?);
        // What is announced and asked for in one tick has no order.
        alone.values_mut().chain(behind.values_mut()).for_each(|frames| frames.sort());
        same(alone, &behind)
    }

    fn send(&mut self, port: &str, frame: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
        let frames = [frame.to_vec()];
        let alone = self.alone.send(port, &frames)?;
        let behind = self.behind.send(port, &frames)?;
        same(alone, &behind)
    }

    /// Holds drops, what load balancers have balanced, and flows of the two against each other.
    fn check(&self) -> Result<(), String> {
        let (alone, behind) = (self.alone.drops(), self.behind.drops());
        if alone != behind {
            return Err(format!("drops differ: alone {alone:?}, behind tier 0 {behind:?}"));
        }
        let (alone, behind) = (self.alone.load_balancers(), self.behind.load_balancers());
        if alone != behind {
            return Err(format!("what is balanced differs: alone {alone:#?}, behind tier 0 {behind:#?}"));
        }
        let (alone, behind) = (self.alone.flows(), self.behind.flows());
        if alone.len() != behind.len() {
            return Err(format!("{} flows alone, {} behind tier 0", alone.len(), behind.len()));
        }
        match alone.iter().zip(&behind).find(|(alone, behind)| alone != behind) {
            Some((alone, behind)) => Err(format!("a flow differs:\nalone {alone:#?}\nbehind {behind:#?}")),
            None => Ok(()),
        }
    }
}

/// The frames that left both, when they are the same.
fn same(alone: Frames, behind: &Frames) -> Result<Vec<(String, Vec<u8>)>, String> {
    if alone == *behind {
        return Ok(alone
            .into_iter()
            .flat_map(|(port, frames)| frames.into_iter().map(move |frame| (port.clone(), frame)))
            .collect());
    }
    let mut report = String::new();
    for (name, frames) in [("alone", &alone), ("behind tier 0", behind)] {
        for (port, frame) in
            frames.iter().flat_map(|(port, frames)| frames.iter().map(move |frame| (port, frame)))
        {
            let _ = writeln!(report, "{name}, left by {port}: {frame:02x?}");
        }
    }
    Err(format!("what left differs:\n{report}"))
}
