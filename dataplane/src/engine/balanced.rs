//! Load balancers as they show themselves: who gets connections, and what has passed by each rule.
//!
//! Nothing is counted by packet: a connection's flows count anyway, in both tiers. While it lives they are looked at, and when it
//! ends they are added to the rule that it is under. Totals begin anew with every engine.

use std::net::IpAddr;

use edgestack_abi::Session;
use edgestack_abi::session::SESSION_LOAD_BALANCED;
use hashbrown::HashMap;

use super::traffic::{self, Traffic};
use super::{Engine, SlowPath};
use crate::inspect::{BalancerRuleView, LoadBalancerView, MemberView};
use crate::snapshot::load_balancer::{Health, LoadBalancer, Member, Rule, Totals, TotalsKey};
use crate::snapshot::{Index, Snapshot};
use crate::tuple::Tuples;
use crate::wire::protocol_name;

/// What sessions of now have with load balancers.
#[derive(Default)]
struct Live {
    /// Sessions by the member's port, the address that clients know and the member's own.
    by_member: HashMap<(u16, IpAddr, IpAddr), u64>,
    /// Sessions and what they have carried so far, by rule and by member.
    carried: HashMap<TotalsKey, (u64, Traffic)>,
}

impl Engine {
    /// Counts a connection that was opened, for its rule and its member.
    pub(super) fn count_balanced(&self, session: &Session, tuples: &Tuples) {
        if session.kind & SESSION_LOAD_BALANCED != 0 {
            for totals in totals_of(&self.snapshot.load(), tuples) {
                totals.connections.add(1);
            }
        }
    }

    /// Adds what a session that ends has carried to its rule and its member.
    pub(super) fn add_balanced(
        &self,
        slow: &mut SlowPath,
        snapshot: &Snapshot,
        index: u32,
        session: &Session,
    ) {
        if session.kind & SESSION_LOAD_BALANCED == 0 {
            return;
        }
        let traffic = of_clients(self, index, session);
        for totals in totals_of(snapshot, &self.flows.tuples(index, session)) {
            totals.packets_in.add(traffic.packets_in);
            totals.packets_out.add(traffic.packets_out);
            totals.bytes_in.add(traffic.bytes_in);
            totals.bytes_out.add(traffic.bytes_out);
            if let Some(count) = slow.count_of(index) {
                count.ended_balanced.entry(totals.key()).or_default().add(traffic);
            }
        }
    }

    /// The load balancers, their rules and their members, with the sessions that each has and what they have carried. All
    /// sessions are looked at; who asks often asks for [`Self::load_balancers_state`].
    pub fn load_balancers_view(&self) -> Vec<LoadBalancerView> {
        let snapshot = self.snapshot.load_full();
        if snapshot.load_balancers.is_empty() {
            return Vec::new();
        }
        let look = |live: &mut Live, index, session: &Session| self.look(&snapshot, live, index, session);
        self.count_sessions(Live::default(), look, |live, _, count| {
            views(&snapshot, &live, |totals| {
                count.ended_balanced.get(&totals.key()).copied().unwrap_or_default()
            })
        })
    }

    /// The same without their sessions and what these have carried.
    pub fn load_balancers_state(&self) -> Vec<LoadBalancerView> {
        views(&self.snapshot.load(), &Live::default(), |_| Traffic::default())
    }

    /// Adds a session to what is found of them.
    fn look(&self, snapshot: &Snapshot, live: &mut Live, index: u32, session: &Session) {
        if session.kind & SESSION_LOAD_BALANCED == 0 {
            return;
        }
        let tuples = self.flows.tuples(index, session);
        let key = (tuples.reply.in_port, tuples.original.destination, tuples.reply.source);
        *live.by_member.entry(key).or_default() += 1;
        for totals in totals_of(snapshot, &tuples) {
            let (sessions, carried) = live.carried.entry(totals.key()).or_default();
            *sessions += 1;
            carried.add(of_clients(self, index, session));
        }
    }
}

/// The totals that a balanced connection counts in: those of its rule and of its member.
fn totals_of<'a>(snapshot: &'a Snapshot, tuples: &Tuples) -> impl Iterator<Item = &'a Totals> {
    let served = snapshot.served(tuples).into_iter();
    served.flat_map(|(rule, member)| [Some(&rule.totals), member.map(|member| &member.totals)]).flatten()
}

/// The load balancers of a snapshot, with what was found of their sessions. Of all totals a part was found as well.
fn views(snapshot: &Snapshot, live: &Live, found_too: impl Fn(&Totals) -> Traffic) -> Vec<LoadBalancerView> {
    let carried = |totals: &Totals| {
        let (sessions, carried) = live.carried.get(&totals.key()).copied().unwrap_or_default();
        let mut total = ended(totals).without(found_too(totals));
        total.add(carried);
        (sessions, total)
    };
    let view = |(index, load_balancer): (usize, &LoadBalancer)| LoadBalancerView {
        id: load_balancer.id.clone(),
        name: load_balancer.name.clone(),
        network: snapshot.networks[load_balancer.network].name.clone(),
        vip: load_balancer.vip,
        rules: load_balancer.rules.iter().map(|rule| rule_view(rule, carried(&rule.totals))).collect(),
        members: member_views(snapshot, index, live, |member| carried(&member.totals).1),
    };
    snapshot.load_balancers.iter().enumerate().map(view).collect()
}

/// What a session has carried, seen from the load balancer: in from clients.
fn of_clients(engine: &Engine, index: u32, session: &Session) -> Traffic {
    traffic::of_flows(&engine.flows, index, session).reversed()
}

/// What connections had carried that have ended.
fn ended(totals: &Totals) -> Traffic {
    Traffic {
        packets_in: totals.packets_in.get(),
        packets_out: totals.packets_out.get(),
        bytes_in: totals.bytes_in.get(),
        bytes_out: totals.bytes_out.get(),
    }
}

fn rule_view(rule: &Rule, (sessions, total): (u64, Traffic)) -> BalancerRuleView {
    BalancerRuleView {
        id: rule.id.clone(),
        protocol: rule.protocol.map_or_else(|| "all".to_owned(), protocol_name),
        port_range_min: rule.ports.map(|(first, _)| first),
        port_range_max: rule.ports.map(|(_, last)| last),
        target_port: rule.target_port,
        sessions,
        connections: rule.totals.connections.get(),
        packets_in: total.packets_in,
        packets_out: total.packets_out,
        bytes_in: total.bytes_in,
        bytes_out: total.bytes_out,
    }
}

fn member_views(
    snapshot: &Snapshot,
    index: Index,
    live: &Live,
    carried: impl Fn(&Member) -> Traffic,
) -> Vec<MemberView> {
    let load_balancer = &snapshot.load_balancers[index];
    let selection = load_balancer.selection();
    let floating_ips = snapshot
        .floating_ips
        .iter()
        .filter(|floating_ip| floating_ip.load_balancer.is_some_and(|(stands_for, _)| stands_for == index));
    let addresses: Vec<IpAddr> =
        floating_ips.map(|floating_ip| floating_ip.address.into()).chain([load_balancer.vip]).collect();
    let members = load_balancer.members.iter().enumerate().map(|(position, member)| {
        let port = member.port_number.and_then(|number| snapshot.port(number));
        let network = port.map(|port| &snapshot.networks[port.network]);
        let gateway = network.and_then(|network| network.gateway(member.address.is_ipv6()));
        let count =
            |address: &IpAddr| live.by_member.get(&(member.port_number?, *address, member.address)).copied();
        let total = carried(member);
        MemberView {
            name: member.name.clone(),
            address: member.address,
            own_port: member.port,
            port: port.map(|port| port.id.clone()),
            gateway: gateway
                .filter(|gateway| network.is_some_and(|network| network.services.has_address(*gateway))),
            weight: member.candidate.weight,
            backup: member.backup,
            health: match selection.healths.get(position) {
                Some(Health::Healthy) => "healthy",
                Some(Health::Unhealthy) => "unhealthy",
                _ => "unchecked",
            }
            .to_owned(),
            takes: load_balancer.up && selection.has(position),
            sessions: addresses.iter().filter_map(count).sum(),
            connections: member.totals.connections.get(),
            packets_in: total.packets_in,
            packets_out: total.packets_out,
            bytes_in: total.bytes_in,
            bytes_out: total.bytes_out,
        }
    });
    members.collect()
}
