//! From configured load balancers to those that choose members.

use std::net::IpAddr;

use hashbrown::{HashMap, HashSet};

use super::Compiler;
use crate::config::{self, LoadBalancerMember, LoadBalancerRule};
use crate::engine::TICKS_PER_SECOND;
use crate::snapshot::load_balancer::{LoadBalancer, Member, Rule, Totals, has_ports};
use crate::snapshot::{Index, Owner, fingerprint};
use crate::tables::maglev::{Candidate, WEIGHT_MAX};
use crate::wire::{PROTOCOL_ICMP, PROTOCOL_ICMPV6};

/// Load balancers of one host: each has a table of 128 KiB by default.
const LOAD_BALANCERS_MAX: usize = 1024;
/// Rules of one load balancer, which are looked through one after the other.
const RULES_MAX: usize = 64;
/// Members of one load balancer.
const MEMBERS_MAX: usize = 1024;
/// Longest session affinity: a day.
const AFFINITY_SECONDS_MAX: u32 = 86_400;

type Problem = (&'static str, String);

impl Compiler<'_> {
    /// After ports, networks and routers, before floating IPs.
    pub(super) fn load_balancers(&mut self) {
        let count = self.config.load_balancers.len();
        if count > LOAD_BALANCERS_MAX {
            let message = format!("{count} are more than the {LOAD_BALANCERS_MAX} of one host");
            self.problem("load balancers".to_owned(), "load_balancers", message);
            return;
        }
        let before = self.before;
        let old = before.load_balancers.iter();
        let old: HashMap<&str, &LoadBalancer> = old.map(|old| (old.id.as_str(), old)).collect();
        for (index, config) in self.config.load_balancers.iter().enumerate() {
            let object = format!("load balancer {}", config.name);
            let old = old.get(config.id.as_str()).copied();
            let mut problems = Vec::new();
            let network = self.network_index.get(config.network.as_str()).copied();
            if network.is_none() {
                problems.push(("network", format!("there is no network `{}`", config.network)));
            }
            let mut compiled = LoadBalancer::new(
                config.id.clone(),
                config.name.clone(),
                network.unwrap_or_default(),
                config.vip,
            );
            if let Some(network) = network {
                compiled.router = self.vip(&object, config, (network, index), &mut problems);
                compiled.members = self.members(config, (network, compiled.router), old, &mut problems);
            }
            compiled.rules = rules(config, old, &mut problems);
            if config.affinity_seconds.is_some_and(|seconds| !(1..=AFFINITY_SECONDS_MAX).contains(&seconds)) {
                problems
                    .push(("affinity_seconds", format!("it is not between 1 and {AFFINITY_SECONDS_MAX}")));
            }
            compiled.affinity_ticks =
                config.affinity_seconds.map(|seconds| seconds.saturating_mul(TICKS_PER_SECOND));
            compiled.rejects = config.reject;
            compiled.up = config.admin_state_up;
            for (field, message) in problems {
                self.problem(object.clone(), field, message);
            }
            self.topology.load_balancers.push(compiled);
        }
    }

    /// Checks the virtual address and notes whose it is; the router that the members are behind.
    fn vip(
        &mut self,
        object: &str,
        config: &config::LoadBalancer,
        (network, index): (Index, Index),
        problems: &mut Vec<Problem>,
    ) -> Option<Index> {
        let vip = config.vip;
        let entry = &mut self.topology.networks[network];
        if !entry.contains(vip) {
            problems.push(("vip", format!("{vip} is in no subnet of network {}", entry.name)));
        }
        if !entry.external {
            let taken_by = if entry.is_gateway(vip) {
                Some("is the gateway")
            } else if entry.services.has_address(vip) {
                Some("is an address of the gateway's services")
            } else if entry.port_by_ip.contains_key(&vip) {
                Some("is a workload's")
            } else {
                entry.load_balancer_by_ip.insert(vip, index).map(|_| "is another load balancer's")
            };
            if let Some(taken_by) = taken_by {
                problems.push(("vip", format!("{vip} {taken_by} in network {}", entry.name)));
            }
            if config.router.is_some() {
                let message = "only a load balancer in an external network names its router".to_owned();
                problems.push(("router", message));
            }
            return entry.router;
        }
        self.own(object, "vip", network, (vip, Owner::LoadBalancer(index)));
        let Some(id) = &config.router else {
            let message =
                "a load balancer in an external network needs the router that its members are behind";
            problems.push(("router", message.to_owned()));
            return None;
        };
        let router = self.router_index.get(id.as_str()).copied();
        let leg = router.and_then(|router| self.topology.routers.get(router)?.leg_in(network));
        if leg.is_none() {
            problems.push(("router", format!("router `{id}` has no leg in the external network")));
            return None;
        }
        router
    }

    /// The members, which go on with the totals that they had in `old`. Those that nobody has the address of, or that are in no network of the router (any more), get no
    /// connections.
    fn members(
        &self,
        config: &config::LoadBalancer,
        (network, router): (Index, Option<Index>),
        old: Option<&LoadBalancer>,
        problems: &mut Vec<Problem>,
    ) -> Vec<Member> {
        if config.members.len() > MEMBERS_MAX {
            let message =
                format!("{} are more than the {MEMBERS_MAX} of one load balancer", config.members.len());
            problems.push(("members", message));
        }
        let port_at = |address: IpAddr| match router {
            Some(router) => self.topology.port_behind_router(router, address),
            None => self.topology.port_in_network(network, address),
        };
        let known: HashMap<&str, &Totals> = old
            .iter()
            .flat_map(|old| old.members.iter().map(|member| (member.name.as_str(), &member.totals)))
            .collect();
        let mut names = HashSet::new();
        let mut members = Vec::with_capacity(config.members.len());
        for member in &config.members {
            let LoadBalancerMember { address, port, weight, backup, admin_state_up } = *member;
            let name = member.name();
            let message = if address.is_ipv6() != config.vip.is_ipv6() {
                Some(format!("{name} and {} are not of one IP version", config.vip))
            } else if weight > WEIGHT_MAX {
                Some(format!("{name}: weight {weight} is more than {WEIGHT_MAX}"))
            } else if port == Some(0) {
                Some(format!("{name}: 0 is no port"))
            } else if !names.insert(name.clone()) {
                Some(format!("{name} is there twice"))
            } else {
                None
            };
            problems.extend(message.map(|message| ("members", message)));
            let weight = if admin_state_up { weight } else { 0 };
            members.push(Member {
                candidate: Candidate { id_hash: fingerprint::id_hash(&name), weight },
                totals: known.get(name.as_str()).copied().cloned().unwrap_or_default(),
                name,
                address,
                port,
                port_number: port_at(address).map(|port| port.number),
                backup,
            });
        }
        members
    }

    /// What flows of each port depend on in load balancers: by port number, the fingerprints of those that it is a member
    /// of. Who else is a member does not matter to flows.
    pub(super) fn member_fingerprints(&self) -> Vec<(u16, u64)> {
        let mut found = Vec::new();
        for (index, (config, compiled)) in
            self.config.load_balancers.iter().zip(&self.topology.load_balancers).enumerate()
        {
            let config::LoadBalancer {
                id,
                name: _,
                network,
                vip,
                router: _,
                rules,
                members: _,
                affinity_seconds: _,
                reject: _,
                admin_state_up,
            } = config.as_ref();
            let router = compiled.router.map(|router| &self.config.routers[router].id);
            let mut floating_ips: Vec<_> = self
                .config
                .floating_ips
                .iter()
                .zip(&self.topology.floating_ips)
                .filter(|(_, compiled)| compiled.load_balancer.is_some_and(|(of, _)| of == index))
                .map(|(floating_ip, _)| floating_ip)
                .collect();
            floating_ips.sort_unstable_by_key(|floating_ip| &floating_ip.id);
            let shared = fingerprint::of(&(id, network, vip, router, rules, admin_state_up, floating_ips));
            for (config, member) in config.members.iter().zip(&compiled.members) {
                let own = fingerprint::of(&(shared, config.address, config.port));
                found.extend(member.port_number.map(|port| (port, own)));
            }
        }
        found.sort_unstable();
        found
    }
}

/// The rules; they go on with the totals that they had in `old`.
fn rules(
    config: &config::LoadBalancer,
    old: Option<&LoadBalancer>,
    problems: &mut Vec<Problem>,
) -> Vec<Rule> {
    if config.rules.len() > RULES_MAX {
        let message = format!("{} are more than the {RULES_MAX} of one load balancer", config.rules.len());
        problems.push(("rules", message));
    }
    let mut rules: Vec<Rule> = Vec::with_capacity(config.rules.len());
    for (position, configured) in config.rules.iter().enumerate() {
        match rule(configured, config.vip.is_ipv6()) {
            Ok(mut rule) => {
                let known = old.and_then(|old| old.rules.iter().find(|known| known.id == rule.id));
                rule.totals = known.map(|known| known.totals.clone()).unwrap_or_default();
                let other = rules.iter().position(|other| overlap(other, &rule));
                if let Some(other) = other.filter(|_| position < RULES_MAX) {
                    let message = format!("{} and {} overlap", config.rules[other].id, configured.id);
                    problems.push(("rules", message));
                }
                rules.push(rule);
            }
            Err(message) => problems.push(("rules", format!("{}: {message}", configured.id))),
        }
    }
    for member in &config.members {
        let is_too_high = |rule: &Rule| match (rule.ports, member.port) {
            (Some((first, last)), Some(port)) => port.checked_add(last - first).is_none(),
            _ => false,
        };
        if rules.iter().any(is_too_high) {
            problems.push(("members", format!("{} has no port for the last of a range", member.name())));
        }
    }
    // What is for one protocol comes before what is for all.
    rules.sort_by_key(|rule| rule.protocol.is_none());
    rules
}

fn rule(rule: &LoadBalancerRule, is_ipv6: bool) -> Result<Rule, String> {
    let protocol = match rule.protocol {
        Some(PROTOCOL_ICMP | PROTOCOL_ICMPV6) => Some(if is_ipv6 { PROTOCOL_ICMPV6 } else { PROTOCOL_ICMP }),
        other => other,
    };
    let ports = match (rule.port_range_min, rule.port_range_max) {
        (None, None) if rule.target_port.is_some() => return Err("a target port needs ports".to_owned()),
        (None, None) => None,
        (Some(0), _) | (_, Some(0)) => return Err("0 is no port".to_owned()),
        (Some(first), last) => Some((first, last.unwrap_or(first))),
        (None, Some(_)) => return Err("port_range_max needs port_range_min".to_owned()),
    };
    if let Some((first, last)) = ports {
        if !protocol.is_some_and(has_ports) {
            return Err("only TCP, UDP and SCTP have ports".to_owned());
        }
        if first > last {
            return Err(format!("the range {first} to {last} is empty"));
        }
        let target = rule.target_port.unwrap_or(first);
        if target == 0 || target.checked_add(last - first).is_none() {
            return Err(format!("there are no target ports from {target} for {first} to {last}"));
        }
    }
    let (id, target_port) = (rule.id.clone(), rule.target_port);
    Ok(Rule { id, protocol, ports, target_port, totals: Totals::default() })
}

/// Whether a packet could be of two rules. A rule for everything gives way to others.
fn overlap(one: &Rule, other: &Rule) -> bool {
    let same_protocol = one.protocol == other.protocol;
    let same_ports = match (one.ports, other.ports) {
        (Some((first, last)), Some((other_first, other_last))) => first <= other_last && other_first <= last,
        _ => true,
    };
    same_protocol && same_ports
}
