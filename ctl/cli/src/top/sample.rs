//! What `top` shows: counters of two moments, and the rates between them. A counter that went back (the tables are new)
//! has no rate.

use std::collections::HashMap;
use std::time::Instant;

use edgestack_dataplane::inspect::{CountersView, DropView, FlowFilter, FlowView, PortView};

use crate::error::CliError;
use crate::session::Session;

/// Flows that are looked at.
const FLOWS_MAX: usize = 2000;

/// Counters of one moment.
pub(super) struct Sample {
    at: Instant,
    ports: Vec<PortView>,
    flows: Vec<FlowView>,
    drops: Vec<DropView>,
    counters: CountersView,
}

impl Sample {
    /// Asks the daemon.
    pub(super) async fn take(session: &Session) -> Result<Self, CliError> {
        let client = &session.client;
        let ports = client.ports().await?;
        let flows = client.flows(&FlowFilter::default(), FLOWS_MAX).await?;
        let (drops, counters) = (client.drops().await?, client.counters().await?);
        Ok(Self { at: Instant::now(), ports, flows, drops, counters })
    }
}

/// What happened between two moments.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    pub ports: Vec<PortRate>,
    pub flows: Vec<FlowRate>,
    pub drops: Vec<DropRate>,
    /// Packets a second, of all that the host received.
    pub packets: f64,
    /// Share of them that tier 0 forwarded, in percent.
    pub tier0_percent: Option<f64>,
    /// Drops a second.
    pub dropped: f64,
    pub sessions: u64,
    pub sessions_max: u64,
}

/// A port; everything a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PortRate {
    pub name: String,
    pub state: String,
    pub received: f64,
    pub received_bits: f64,
    pub sent: f64,
    pub sent_bits: f64,
    pub dropped: f64,
    pub tier0_percent: Option<f64>,
}

/// A direction of a connection; everything a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FlowRate {
    pub protocol: String,
    pub in_port: String,
    pub source: String,
    pub destination: String,
    pub out_port: String,
    pub packets: f64,
    pub bits: f64,
}

/// Drops of one reason.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct DropRate {
    pub reason: String,
    pub stage: String,
    pub rate: f64,
    pub packets: u64,
}

impl View {
    /// What happened between two samples; the same sample twice is a view without rates.
    pub(super) fn between(before: &Sample, after: &Sample) -> Self {
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let old_ports: HashMap<&str, &PortView> =
            before.ports.iter().map(|port| (port.id.as_str(), port)).collect();
        let old_flows: HashMap<(u32, &str, &str), &FlowView> =
            before.flows.iter().map(|flow| (flow_key(flow), flow)).collect();
        let old_drops: HashMap<&str, u64> =
            before.drops.iter().map(|drop| (drop.reason.as_str(), drop.packets)).collect();
        let (old, new) = (&before.counters, &after.counters);
        let (tier0, engine) = (
            rate(old.tier0_packets, new.tier0_packets, seconds),
            rate(old.engine_packets, new.engine_packets, seconds),
        );
        Self {
            ports: after
                .ports
                .iter()
                .map(|port| port_rate(old_ports.get(port.id.as_str()), port, seconds))
                .collect(),
            flows: after
                .flows
                .iter()
                .map(|flow| flow_rate(old_flows.get(&flow_key(flow)), flow, seconds))
                .collect(),
            drops: after
                .drops
                .iter()
                .filter(|drop| drop.packets > 0)
                .map(|drop| DropRate {
                    reason: drop.reason.clone(),
                    stage: drop.stage.clone(),
                    rate: rate(
                        old_drops.get(drop.reason.as_str()).copied().unwrap_or(0),
                        drop.packets,
                        seconds,
                    ),
                    packets: drop.packets,
                })
                .collect(),
            packets: tier0 + engine,
            tier0_percent: share(tier0, tier0 + engine),
            dropped: rate(old.dropped_packets, new.dropped_packets, seconds),
            sessions: new.sessions,
            sessions_max: new.sessions_max,
        }
    }
}

/// Sessions are used again for other connections, so their ends belong to the key.
fn flow_key(flow: &FlowView) -> (u32, &str, &str) {
    (flow.session, &flow.source, &flow.destination)
}

fn port_rate(before: Option<&&PortView>, port: &PortView, seconds: f64) -> PortRate {
    let new = &port.counters;
    let old = before.map_or(port.counters, |before| before.counters);
    let (tier0, engine) = (
        rate(old.tier0_packets, new.tier0_packets, seconds),
        rate(old.engine_packets, new.engine_packets, seconds),
    );
    PortRate {
        name: port.name.clone(),
        state: port.state.clone(),
        received: tier0 + engine,
        received_bits: 8.0
            * (rate(old.tier0_bytes, new.tier0_bytes, seconds)
                + rate(old.engine_bytes, new.engine_bytes, seconds)),
        sent: rate(old.transmitted_packets, new.transmitted_packets, seconds),
        sent_bits: 8.0 * rate(old.transmitted_bytes, new.transmitted_bytes, seconds),
        dropped: rate(old.dropped_packets, new.dropped_packets, seconds),
        tier0_percent: share(tier0, tier0 + engine),
    }
}

fn flow_rate(before: Option<&&FlowView>, flow: &FlowView, seconds: f64) -> FlowRate {
    let (packets, bytes) = before.map_or((flow.packets, flow.bytes), |before| (before.packets, before.bytes));
    FlowRate {
        protocol: flow.protocol.clone(),
        in_port: flow.in_port.clone(),
        source: flow.source.clone(),
        destination: flow.destination.clone(),
        out_port: flow.out_port.clone(),
        packets: rate(packets, flow.packets, seconds),
        bits: 8.0 * rate(bytes, flow.bytes, seconds),
    }
}

fn rate(before: u64, after: u64, seconds: f64) -> f64 {
    if seconds <= 0.0 { 0.0 } else { after.saturating_sub(before) as f64 / seconds }
}

fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part * 100.0 / whole)
}

#[cfg(test)]
mod tests {
    use super::{rate, share};

    #[test]
    fn counters_that_went_back_have_no_rate() {
        assert!((rate(100, 300, 2.0) - 100.0).abs() < 1e-9);
        assert!(rate(300, 100, 2.0).abs() < 1e-9);
        assert!(rate(0, 100, 0.0).abs() < 1e-9);
        assert_eq!(share(0.0, 0.0), None);
        assert_eq!(share(1.0, 4.0), Some(25.0));
    }
}
