//! What the dataplane says about itself, read through `edgectl network-cli show ... -o json`.

use edgestack_dataplane::inspect::{CountersView, DropView, FlowView, LoadBalancerView, PortView};
use serde::de::DeserializeOwned;

use crate::edgectl::Edgectl;
use crate::error::LabError;

/// Counters of the whole dataplane.
pub fn counters(edgectl: &Edgectl) -> Result<CountersView, LabError> {
    table(edgectl, "counters", "")
}

/// Flows with `address` (`IP` or `IP:PORT`) on any side.
pub fn flows(edgectl: &Edgectl, address: &str) -> Result<Vec<FlowView>, LabError> {
    table(edgectl, "flows", &format!("--address {address}"))
}

/// Checks that all packets of a stream between two looks at its flows were forwarded by tier 0; `what` tells streams apart.
pub fn assert_tier0_alone(early: &[FlowView], late: &[FlowView], what: &str) {
    let mut packets = 0;
    for flow in late {
        let same = |other: &&FlowView| other.session == flow.session && other.direction == flow.direction;
        let Some(before) = early.iter().find(same) else { continue };
        packets += flow.packets - before.packets;
        let by_engine = |flow: &FlowView| flow.packets - flow.tier0_packets;
        assert_eq!(by_engine(flow), by_engine(before), "{what}: {before:#?} {flow:#?}");
    }
    assert!(packets > 100, "{what}: {packets} packets between the looks");
}

/// Load balancers, their rules and their members.
pub fn load_balancers(edgectl: &Edgectl) -> Result<Vec<LoadBalancerView>, LabError> {
    read(edgectl, "network-cli show lb-rules", "load_balancers")
}

/// All ports.
pub fn ports(edgectl: &Edgectl) -> Result<Vec<PortView>, LabError> {
    table(edgectl, "ports", "")
}

/// Reasons of drops that happened.
pub fn drops(edgectl: &Edgectl) -> Result<Vec<DropView>, LabError> {
    table(edgectl, "drops", "")
}

/// Packets dropped for the reason with this label.
pub fn dropped(edgectl: &Edgectl, reason: &str) -> Result<u64, LabError> {
    Ok(drops(edgectl)?.iter().filter(|drop| drop.reason == reason).map(|drop| drop.packets).sum())
}

fn table<T: DeserializeOwned>(edgectl: &Edgectl, name: &str, options: &str) -> Result<T, LabError> {
    read(edgectl, &format!("network-cli show {name} {options}"), name)
}

fn read<T: DeserializeOwned>(edgectl: &Edgectl, command: &str, key: &str) -> Result<T, LabError> {
    let mut body = edgectl.json(command)?;
    serde_json::from_value(body[key].take()).map_err(|error| LabError::Unexpected {
        what: command.to_owned(),
        output: format!("{body}\n{error}"),
    })
}
