//! Encapsulate: can the tunnel that the packet leaves by be sent through?
//!
//! Packets for a workload on another host leave by a tunnel, wrapped when they are sent. The next hop towards the other host
//! must be known for that; the first packet waits until it is.
//!
//! Drops: `NeighbourUnresolved`.

use edgestack_abi::port::PORT_UNRESOLVED;
use edgestack_abi::tunnel::KIND_GENEVE;
use edgestack_abi::{DropReason, FlowVerdict};

use crate::pipeline::{Context, Stage, Stop};
use crate::trace::Trace;

/// Whether a packet can leave by its verdict's port, as far as that is a tunnel.
pub fn run(context: &Context<'_>, verdict: &FlowVerdict, trace: &mut Trace) -> Result<(), Stop> {
    let snapshot = context.snapshot;
    let Some(tunnel) = snapshot.tunnel(verdict.out_port) else { return Ok(()) };
    let (flags, _) = context.ports.flags_and_mtu(verdict.out_port);
    let next_hop = snapshot.next_hop_of(tunnel);
    let result = match next_hop {
        Some((neighbour, asker)) if flags & PORT_UNRESOLVED != 0 => {
            if context.neighbours.has_failed(neighbour) {
                Err(Stop::Drop(DropReason::NeighbourUnresolved))
            } else {
                Err(Stop::Hold(neighbour, asker))
            }
        }
        _ => Ok(()),
    };
    trace.step(Stage::Encapsulate, || {
        let kind = if tunnel.kind == KIND_GENEVE { "Geneve" } else { "VXLAN" };
        match &result {
            Ok(()) => {
                format!("to host {} at {} in {kind} {}", tunnel.peer_name, tunnel.remote, tunnel.identifier)
            }
            Err(_) => {
                format!("next hop {} towards host {} is not resolved", tunnel.next_hop, tunnel.peer_name)
            }
        }
    });
    result
}
