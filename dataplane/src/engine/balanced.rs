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
use crate::snapshot::load_balancer::{Health, LoadBalancer, Rule, TotalsKey};
use crate::snapshot::{Index, Snapshot};
use crate::tuple::Tuple;
use crate::wire::protocol_name;

/// What sessions of now have with load balancers.
#[derive(Default)]
struct Live {
    /// Sessions by the member's port, the address that clients know and the member's own.
    by_member: HashMap<(u16, IpAddr, IpAddr), u64>,
    /// Sessions and what they have carried so far, by rule.
    by_rule: HashMap<TotalsKey, (u64, Traffic)>,
}

impl Engine {
    /// Counts a connection that was opened, for its rule.
    pub(super) fn count_balanced(&self, session: &Session, first: &Tuple) {
        if session.kind & SESSION_LOAD_BALANCED != 0
            && let Some((_, rule)) = self.snapshot.load().balanced(first)
        {
            rule.totals.connections.add(1);
        }
    }

    /// Adds what a session that ends has carried to its rule.
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
        if let Some((_, rule)) = snapshot.balanced(&self.flows.tuples(index, session).original) {
            let traffic = of_clients(self, index, session);
            rule.totals.packets_in.add(traffic.packets_in);
            rule.totals.packets_out.add(traffic.packets_out);
            rule.totals.bytes_in.add(traffic.bytes_in);
            rule.totals.bytes_out.add(traffic.bytes_out);
            if let Some(count) = slow.count_of(index) {
                count.ended_balanced.entry(rule.totals.key()).or_default().add(traffic);
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
            views(&snapshot, &live, |rule| {
                count.ended_balanced.get(&rule.totals.key()).copied().unwrap_or_default()
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
        if let Some((_, rule)) = snapshot.balanced(&tuples.original) {
            let (sessions, carried) = live.by_rule.entry(rule.totals.key()).or_default();
            *sessions += 1;
            carried.add(of_clients(self, index, session));
        }
    }
}

/// The load balancers of a snapshot, with what was found of their sessions. Of each rule's totals a part was found as well.
fn views(snapshot: &Snapshot, live: &Live, found_too: impl Fn(&Rule) -> Traffic) -> Vec<LoadBalancerView> {
    let view = |(index, load_balancer): (usize, &LoadBalancer)| LoadBalancerView {
        id: load_balancer.id.clone(),
        name: load_balancer.name.clone(),
        network: snapshot.networks[load_balancer.network].name.clone(),
        vip: load_balancer.vip,
        rules: load_balancer
            .rules
            .iter()
            .map(|rule| rule_view(rule, live.by_rule.get(&rule.totals.key()), found_too(rule)))
            .collect(),
        members: member_views(snapshot, index, live),
    };
    snapshot.load_balancers.iter().enumerate().map(view).collect()
}

/// What a session has carried, seen from the load balancer: in from clients.
fn of_clients(engine: &Engine, index: u32, session: &Session) -> Traffic {
    traffic::of_flows(&engine.flows, index, session).reversed()
}

fn rule_view(rule: &Rule, live: Option<&(u64, Traffic)>, found_too: Traffic) -> BalancerRuleView {
    let (sessions, carried) = live.copied().unwrap_or_default();
    let ended = Traffic {
        packets_in: rule.totals.packets_in.get(),
        packets_out: rule.totals.packets_out.get(),
        bytes_in: rule.totals.bytes_in.get(),
        bytes_out: rule.totals.bytes_out.get(),
    };
    let mut total = ended.without(found_too);
    total.add(carried);
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

fn member_views(snapshot: &Snapshot, index: Index, live: &Live) -> Vec<MemberView> {
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
        }
    });
    members.collect()
}
