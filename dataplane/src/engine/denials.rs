//! Packets that security groups denied, kept for the log: a few in a second, so that a flood of them costs no more than
//! counting. The slow path notes them under its lock; the control thread takes them away and writes them down.

use std::collections::VecDeque;

use edgestack_abi::DropReason;

use super::{Engine, RateWindow, SlowPath};
use crate::config::Direction;
use crate::inspect::DenialView;
use crate::pipeline::Stage;
use crate::snapshot::Snapshot;
use crate::tuple::Tuple;
use crate::wire::headers::{self, Network};

/// Denials that wait to be written down.
const DENIALS_MAX: usize = 256;
/// Denials at one port that are kept in a second, so that one does not take the place of all others.
const DENIALS_PER_PORT_PER_SECOND: u32 = 2;

/// Denials for the log.
#[derive(Debug)]
pub(super) struct Denials {
    waiting: VecDeque<Denial>,
    all: RateWindow,
    by_port: Vec<RateWindow>,
    logged: u64,
    suppressed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Denial {
    port: u16,
    direction: Direction,
    tuple: Tuple,
}

impl Denials {
    pub(super) fn new(ports: u16) -> Self {
        Self {
            waiting: VecDeque::with_capacity(DENIALS_MAX),
            all: RateWindow::default(),
            by_port: vec![RateWindow::default(); usize::from(ports)],
            logged: 0,
            suppressed: 0,
        }
    }

    /// Denials that were kept for the log, and those that were only counted.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.logged, self.suppressed)
    }
}

impl Engine {
    /// Notes that the groups of a port denied a packet at a stage, where that is to be logged.
    pub(super) fn note_denial(
        &self,
        slow: &mut SlowPath,
        snapshot: &Snapshot,
        (port, stage): (u16, Stage),
        frame: &[u8],
        in_port: u16,
    ) {
        let groups = snapshot.port(port).and_then(|port| port.workload.as_ref());
        let mut groups = groups.iter().flat_map(|workload| &workload.security_groups);
        if !self.settings.log_denied && !groups.any(|group| snapshot.security_groups[*group].log_denied) {
            return;
        }
        let now_ticks = self.control.now_ticks();
        let denials = &mut slow.denials;
        let of_port = denials.by_port.get_mut(usize::from(port));
        // A limit of 0 would be none.
        let limit = self.settings.denied_logs_per_second;
        let is_admitted = limit > 0
            && denials.waiting.len() < DENIALS_MAX
            && of_port.is_some_and(|window| window.admit(now_ticks, DENIALS_PER_PORT_PER_SECOND))
            && denials.all.admit(now_ticks, limit);
        let tuple = match headers::parse(frame).map(|headers| headers.network) {
            Ok(Network::Ip(ip)) if is_admitted => ip.tuple(in_port),
            _ => None,
        };
        let Some(tuple) = tuple else {
            denials.suppressed += 1;
            return;
        };
        let direction = if stage == Stage::FirewallEgress { Direction::Egress } else { Direction::Ingress };
        denials.waiting.push_back(Denial { port, direction, tuple });
        denials.logged += 1;
    }

    /// Takes away the denials that wait for the log.
    pub fn take_denials(&self) -> Vec<DenialView> {
        let waiting: Vec<Denial> = self.slow().denials.waiting.drain(..).collect();
        let snapshot = self.snapshot.load();
        waiting.iter().map(|denial| view(&snapshot, denial)).collect()
    }
}

fn view(snapshot: &Snapshot, denial: &Denial) -> DenialView {
    let port = snapshot.port(denial.port);
    let groups = port.and_then(|port| port.workload.as_ref());
    let groups = groups.iter().flat_map(|workload| &workload.security_groups);
    let names: Vec<&str> = groups.map(|group| snapshot.security_groups[*group].name.as_str()).collect();
    let (direction, reason) = match denial.direction {
        Direction::Egress => ("egress", DropReason::FirewallEgress),
        Direction::Ingress => ("ingress", DropReason::FirewallIngress),
    };
    DenialView {
        port: port.map_or_else(|| denial.port.to_string(), |port| port.name.clone()),
        security_groups: names.join(","),
        direction,
        reason: reason.label(),
        protocol: denial.tuple.protocol,
        source: denial.tuple.source,
        source_port: u16::from_be(denial.tuple.source_port),
        destination: denial.tuple.destination,
        destination_port: u16::from_be(denial.tuple.destination_port),
    }
}
