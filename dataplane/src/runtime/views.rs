//! What a dataplane tells of itself: what the engine knows, what tier 0 and the workers count, and how ports stand, put
//! together. Made on request; the packet path goes on meanwhile.

use edgestack_abi::{DropReason, PortCounters};
use hashbrown::HashMap;

use super::Dataplane;
use super::plugger::Plugger;
use crate::config::{Port, PortKind};
use crate::engine::{FlowFilterError, TraceError};
use crate::inspect::{
    CountersView, DropView, FlowFilter, FlowView, LoadBalancerView, NatView, NeighbourView, PortView,
    RuleHitsView, TraceReport, TraceRequest,
};
use crate::snapshot::load_balancer::Health;

/// Stage of drops in the kernel.
const STAGE_TIER0: &str = "tier0";
/// Stage of drops between a worker and its sockets.
const STAGE_WORKER: &str = "worker";

impl Dataplane {
    /// The ports with their state and counters, in the order of the configuration.
    pub fn ports(&self) -> Vec<PortView> {
        let state = self.shared.state();
        let Some(config) = &state.config else { return Vec::new() };
        let names: HashMap<&str, &str> =
            config.networks.iter().map(|network| (network.id.as_str(), network.name.as_str())).collect();
        config.ports.iter().map(|port| self.port_view(&names, port, &state.plugger)).collect()
    }

    fn port_view(&self, network_names: &HashMap<&str, &str>, port: &Port, plugger: &Plugger) -> PortView {
        let engine = &self.shared.engine;
        let number = engine.port_number(&port.id).unwrap_or_default();
        let entry = engine.port_entry(number);
        let parent = engine.vlan_parent_id(number);
        let status = plugger.status(parent.as_ref().unwrap_or(&port.id));
        let (kind, mac_address, ip_address) = match &port.kind {
            PortKind::Workload(workload) => {
                ("workload", Some(workload.mac_address), Some(workload.ip_address))
            }
            PortKind::Uplink => ("uplink", None, None),
        };
        let mut counters = engine.port_counters_view(number);
        let tier0 = tier0_counters(plugger, number);
        counters.tier0_packets = tier0.forwarded_packets;
        counters.tier0_bytes = tier0.forwarded_bytes;
        counters.transmitted_packets += tier0.transmitted_packets;
        counters.transmitted_bytes += tier0.transmitted_bytes;
        counters.dropped_packets += tier0.dropped_packets;
        let host = match &port.kind {
            PortKind::Workload(workload) => workload.peer.as_ref(),
            PortKind::Uplink => None,
        };
        let (state, reason) = match host {
            _ if !port.admin_state_up => ("down", "administratively down".to_owned()),
            Some(host) => ("remote", format!("on host {host}")),
            None => (status.state, status.reason),
        };
        PortView {
            number,
            id: port.id.clone(),
            name: port.name.clone(),
            kind: kind.to_owned(),
            network: network_names
                .get(port.network.as_str())
                .map_or_else(|| port.network.clone(), |name| (*name).to_owned()),
            interface: port.interface.clone(),
            state: state.to_owned(),
            reason,
            attached: status.attached.to_owned(),
            mtu: entry.mtu,
            mac_address,
            ip_address,
            epoch: entry.epoch,
            counters,
        }
    }

    /// The flows of at most `limit` sessions that a filter means.
    pub fn flows(&self, filter: &FlowFilter, limit: usize) -> Result<Vec<FlowView>, FlowFilterError> {
        self.shared.engine.flows_view(filter, limit)
    }

    /// Ends the connections that a filter means; how many that were.
    pub fn clear_flows(&self, filter: &FlowFilter) -> Result<u64, FlowFilterError> {
        self.shared.engine.clear_flows(filter)
    }

    /// The translations.
    pub fn nat(&self) -> Vec<NatView> {
        self.shared.engine.nat_view()
    }

    /// The load balancers and their members.
    pub fn load_balancers(&self) -> Vec<LoadBalancerView> {
        self.shared.engine.load_balancers_view()
    }

    /// The load balancers and their members, without their sessions and what these have carried: for who asks often.
    pub fn load_balancers_state(&self) -> Vec<LoadBalancerView> {
        self.shared.engine.load_balancers_state()
    }

    /// Tells which members of load balancers answer, by the load balancer's id and the member's name.
    pub fn set_health(&self, found: &[(String, String, Health)]) {
        self.shared.engine.set_health(found);
    }

    /// The neighbours of external networks.
    pub fn neighbours(&self) -> Vec<NeighbourView> {
        self.shared.engine.neighbours_view()
    }

    /// Drops by reason and stage, those that happened: in tier 0, in the workers, in the engine.
    pub fn drops(&self) -> Vec<DropView> {
        let state = self.shared.state();
        let tier0 = tier0_drops(&state.plugger);
        let kernel =
            DropReason::ALL.iter().zip(tier0).map(|(reason, packets)| (*reason, STAGE_TIER0, packets));
        let workers = DropReason::ALL.iter().map(|reason| {
            let packets = state.plugger.workers.iter().map(|worker| worker.statistics().drops(*reason));
            (*reason, STAGE_WORKER, packets.sum::<u64>())
        });
        let mut views: Vec<DropView> = kernel
            .chain(workers)
            .filter(|(_, _, packets)| *packets > 0)
            .map(|(reason, stage, packets)| DropView {
                reason: reason.label().to_owned(),
                description: reason.description().to_owned(),
                stage: stage.to_owned(),
                packets,
            })
            .collect();
        views.extend(self.shared.engine.drops_view());
        views
    }

    /// What the rules of security groups have allowed so far.
    pub fn rule_hits(&self) -> Vec<RuleHitsView> {
        self.shared.engine.rule_hits_view()
    }

    /// The counters of the whole.
    pub fn counters(&self) -> CountersView {
        let mut view = self.shared.engine.counters_view();
        view.dropped_packets = self.drops().iter().map(|drop| drop.packets).sum();
        let state = self.shared.state();
        let ports = state.config.iter().flat_map(|config| &config.ports);
        view.tier0_packets = ports
            .filter_map(|port| self.shared.engine.port_number(&port.id))
            .map(|number| tier0_counters(&state.plugger, number).forwarded_packets)
            .sum();
        view
    }

    /// Takes a described packet through the pipeline without sending it.
    pub fn trace(&self, request: &TraceRequest) -> Result<TraceReport, TraceError> {
        self.shared.engine.trace(request)
    }

    /// Free frames and all frames of each worker, as of its last tick.
    pub fn frames(&self) -> Vec<(u64, u64)> {
        self.shared.state().plugger.workers.iter().map(|worker| worker.statistics().frames()).collect()
    }
}

/// What tier 0 counted of a port; nothing where the kernel does not say.
fn tier0_counters(plugger: &Plugger, number: u16) -> PortCounters {
    plugger.fast_path.port_counters(number).unwrap_or_else(|error| {
        tracing::warn!(port = number, %error, "tier 0's counters cannot be read");
        PortCounters::default()
    })
}

fn tier0_drops(plugger: &Plugger) -> [u64; DropReason::COUNT] {
    plugger.fast_path.drops().unwrap_or_else(|error| {
        tracing::warn!(%error, "tier 0's drops cannot be read");
        [0; DropReason::COUNT]
    })
}
