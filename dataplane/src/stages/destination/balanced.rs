//! Which member of a load balancer a connection goes to.
//!
//! One that a connection has is kept: through changes of weight, drain and other members, until the member is gone. A new
//! connection goes where the client went before (session affinity), else by Maglev's table of the members that take
//! connections. The client's address is left as it is, also when it is in the member's own network: its answers pass the
//! gateway anyway. Only where they would not come back (a member that is its own client), or could be taken for those of
//! another connection, does the connection come from the virtual address.

use edgestack_abi::DropReason;
use edgestack_abi::session::SESSION_LOAD_BALANCED;

use super::{Destination, Way};
use crate::pipeline::{Context, Stop, Subject};
use crate::snapshot::load_balancer::{Addressed, Health, LoadBalancer, Rule};
use crate::tables::affinity_table::{Choice, Client};
use crate::tables::maglev::connection_hash;
use crate::tuple::Tuple;
use crate::wire::{PROTOCOL_SCTP, PROTOCOL_TCP};

/// What is settled about a balanced connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balanced {
    /// Who it is addressed to.
    pub addressed: Addressed,
    /// Position of the member.
    pub member: usize,
    /// Number of the member's port.
    pub port: u16,
    /// Client and member are in one network: it is handed on there as the client sent it.
    pub is_adjacent: bool,
    /// It comes from the virtual address.
    pub is_masked: bool,
    /// What is to be remembered of the choice.
    pub affinity: Option<(Client, Choice)>,
}

pub(super) fn find(
    context: &Context<'_>,
    subject: &Subject<'_>,
    addressed: Addressed,
) -> Result<Destination, Stop> {
    let snapshot = context.snapshot;
    let load_balancer = &snapshot.load_balancers[addressed.load_balancer];
    let tuple = &subject.tuple;
    let rule = load_balancer
        .rule(tuple.protocol, tuple.destination_port)
        .ok_or(Stop::Drop(DropReason::NoListener))?;
    let is_taken_on = load_balancer.up || subject.keep.is_some();
    let position = if is_taken_on { choose(context, subject, load_balancer, rule) } else { None };
    let chosen = position.map(|position| (position, &load_balancer.members[position]));
    let Some((position, member, number)) =
        chosen.and_then(|(position, member)| Some((position, member, member.port_number?)))
    else {
        let reason = DropReason::NoMember;
        return Err(if load_balancer.rejects { Stop::Refuse(reason) } else { Stop::Drop(reason) });
    };
    let port = rule.target(member, tuple.destination_port);
    let is_adjacent = snapshot
        .port(number)
        .is_some_and(|port| subject.port.workload.is_some() && port.network == subject.port.network);
    let is_own = number == subject.port.number;
    let is_masked = addressed.crosses.is_none()
        && match subject.keep {
            Some(keep) => keep.reply.destination == load_balancer.vip,
            None => is_own || is_taken(context, tuple, (member.address, port, number)),
        };
    let affinity = load_balancer.affinity_ticks.map(|ticks| {
        let client = Client { load_balancer: load_balancer.id_hash, address: tuple.source };
        (client, Choice { member: member.candidate.id_hash, ticks })
    });
    let balanced = Balanced { addressed, member: position, port: number, is_adjacent, is_masked, affinity };
    let way = Way::Balanced(balanced);
    Ok(Destination { address: member.address, port, kind: SESSION_LOAD_BALANCED, inbound: None, way })
}

/// The position of the member that the connection has, else of the one that it is to have.
fn choose(
    context: &Context<'_>,
    subject: &Subject<'_>,
    load_balancer: &LoadBalancer,
    rule: &Rule,
) -> Option<usize> {
    let tuple = &subject.tuple;
    let selection = load_balancer.selection();
    if let Some(keep) = subject.keep {
        let position = load_balancer.member_of(rule, tuple, keep.reply.source, keep.reply.source_port)?;
        // TCP and SCTP know themselves whether their member still answers; others would go nowhere for ever.
        let knows = matches!(tuple.protocol, PROTOCOL_TCP | PROTOCOL_SCTP);
        let is_ill = selection.healths.get(position) == Some(&Health::Unhealthy);
        return (knows || !is_ill).then_some(position);
    }
    let by_client = load_balancer.affinity_ticks.is_some();
    if by_client {
        let client = Client { load_balancer: load_balancer.id_hash, address: tuple.source };
        let before = context.affinities.member(&client, context.now_ticks).and_then(|id_hash| {
            load_balancer.members.iter().position(|member| member.candidate.id_hash == id_hash)
        });
        if before.is_some_and(|position| selection.has(position)) {
            return before;
        }
    }
    selection.pick(connection_hash(tuple, by_client))
}

/// Whether the member's answers would look like those of another connection: of the same client by another virtual
/// address or port, or past the load balancer.
fn is_taken(
    context: &Context<'_>,
    tuple: &Tuple,
    (address, port, in_port): (std::net::IpAddr, u16, u16),
) -> bool {
    let answers = Tuple {
        source: address,
        destination: tuple.source,
        source_port: port,
        destination_port: tuple.source_port,
        in_port,
        protocol: tuple.protocol,
    };
    context.flows.find(&answers).is_some()
}
