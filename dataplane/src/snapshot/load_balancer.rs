//! Load balancers, checked and indexed, with the choice of members that holds now.
//!
//! All but the choice is immutable like the rest of the snapshot. Members fall ill and recover more often than
//! configurations change, so the tables that spread connections are exchanged on their own ([`LoadBalancer::select`]), one
//! load balancer at a time, and carried over from snapshot to snapshot where nothing concerns them.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::{Index, Leg, Owner, Port, Snapshot, fingerprint};
use crate::address::MacAddress;
use crate::counters::Counter;
use crate::tables::maglev::{Candidate, MaglevTable};
use crate::tuple::{Tuple, Tuples};
use crate::wire::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP};

/// A load balancer.
#[derive(Debug)]
pub struct LoadBalancer {
    /// Identifier in the configuration.
    pub id: String,
    /// Hash of the identifier.
    pub id_hash: u64,
    /// Name for people.
    pub name: String,
    /// The network of the virtual address.
    pub network: Index,
    /// The virtual address.
    pub vip: IpAddr,
    /// The router that the members are behind; none: they are in a tenant network without one.
    pub router: Option<Index>,
    /// What is balanced.
    pub rules: Vec<Rule>,
    /// All members.
    pub members: Vec<Member>,
    /// How long a client keeps its member after its last new connection, in ticks.
    pub affinity_ticks: Option<u32>,
    /// Clients are told when nobody takes their connections.
    pub rejects: bool,
    /// Administratively up.
    pub up: bool,
    selection: ArcSwap<Selection>,
}

/// What is balanced.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Identifier in the configuration.
    pub id: String,
    /// IP protocol number; none is any.
    pub protocol: Option<u8>,
    /// First and last port, where ports matter.
    pub ports: Option<(u16, u16)>,
    /// The members' port for the first.
    pub target_port: Option<u16>,
    /// What it has balanced.
    pub totals: Totals,
}

/// What a rule has balanced, or a member was given. It has the same totals in one snapshot as in the next; they say nothing of
/// whether rules or members are equal.
#[derive(Clone, Debug, Default)]
pub struct Totals(Arc<Counted>);

/// Every connection that was opened, and what those carried that have ended. Written under the slow-path lock.
#[derive(Debug, Default)]
pub struct Counted {
    /// Connections.
    pub connections: Counter,
    /// Packets from clients.
    pub packets_in: Counter,
    /// Packets to clients.
    pub packets_out: Counter,
    /// Bytes of those from clients.
    pub bytes_in: Counter,
    /// Bytes of those to clients.
    pub bytes_out: Counter,
}

/// A member of a load balancer.
#[derive(Debug, PartialEq)]
pub struct Member {
    /// What it is known by.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// In place of the rules' target port.
    pub port: Option<u16>,
    /// Number of the workload's port; none while nobody has the address.
    pub port_number: Option<u16>,
    /// Only for when nobody else is there.
    pub backup: bool,
    /// Hash of `name`, and its share; 0 while it is to get no new connections.
    pub candidate: Candidate,
    /// What it was given.
    pub totals: Totals,
}

/// What checks have found out about a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Nothing yet, or nobody checks: it gets connections.
    #[default]
    Unchecked,
    /// It answers.
    Healthy,
    /// It does not: it gets no new connections.
    Unhealthy,
}

/// The members that get new connections now.
#[derive(Debug, Default)]
pub struct Selection {
    /// Of every member of the load balancer, in its order.
    pub healths: Vec<Health>,
    /// Positions of the members that the table knows.
    chosen: Vec<u16>,
    table: Option<Arc<MaglevTable>>,
}

/// The load balancer that a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressed {
    /// The load balancer.
    pub load_balancer: Index,
    /// The leg of the sender's own router, when that is another than the one that the members are behind: the packet goes through
    /// the external network, and leaves under that router's address.
    pub crosses: Option<Leg>,
}

/// What tells the totals of rules and members apart, for as long as somebody holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TotalsKey(usize);

impl Totals {
    /// The same in every snapshot that has the rule.
    pub fn key(&self) -> TotalsKey {
        TotalsKey(Arc::as_ptr(&self.0).addr())
    }
}

impl Deref for Totals {
    type Target = Counted;

    fn deref(&self) -> &Counted {
        &self.0
    }
}

impl PartialEq for Totals {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Of what is configured; whom a load balancer chooses now is a matter of health.
impl PartialEq for LoadBalancer {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            id,
            id_hash: _,
            name,
            network,
            vip,
            router,
            rules,
            members,
            affinity_ticks,
            rejects,
            up,
            selection: _,
        } = self;
        *id == other.id
            && *name == other.name
            && *network == other.network
            && *vip == other.vip
            && *router == other.router
            && *rules == other.rules
            && *members == other.members
            && *affinity_ticks == other.affinity_ticks
            && *rejects == other.rejects
            && *up == other.up
    }
}

impl LoadBalancer {
    /// One that chooses nobody yet.
    pub(super) fn new(id: String, name: String, network: Index, vip: IpAddr) -> Self {
        Self {
            id_hash: fingerprint::id_hash(&id),
            id,
            name,
            network,
            vip,
            router: None,
            rules: Vec::new(),
            members: Vec::new(),
            affinity_ticks: None,
            rejects: false,
            up: true,
            selection: ArcSwap::default(),
        }
    }

    /// The rule that balances a connection with this first packet.
    pub fn rule(&self, protocol: u8, destination_port: u16) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.is_for(protocol, u16::from_be(destination_port)))
    }

    /// Whether pings of the virtual address go to members; else the gateway answers them.
    pub fn balances_pings(&self) -> bool {
        self.rule(if self.vip.is_ipv6() { PROTOCOL_ICMPV6 } else { PROTOCOL_ICMP }, 0).is_some()
    }

    /// The members that get new connections now.
    pub fn selection(&self) -> Guard<Arc<Selection>> {
        self.selection.load()
    }

    /// Chooses members by their health; a table that would come out as one of `known` is that one.
    pub fn select(&self, healths: Vec<Health>, known: &[Arc<MaglevTable>], places: u32) {
        let is_chosen = |member: &Member, health: &Health, backup: bool| {
            let takes = member.port_number.is_some() && member.candidate.weight > 0;
            takes && member.backup == backup && *health != Health::Unhealthy
        };
        let chosen = |backup: bool| {
            let members = self.members.iter().zip(&healths).enumerate();
            let mut chosen: Vec<u16> = members
                .filter(|(_, (member, health))| is_chosen(member, health, backup))
                .map(|(position, _)| position as u16)
                .collect();
            // The order of configuration is no matter: hosts must come to the same table.
            chosen.sort_by_key(|position| self.members[usize::from(*position)].candidate);
            chosen
        };
        let mut positions = chosen(false);
        if positions.is_empty() {
            positions = chosen(true);
        }
        let candidates: Vec<Candidate> =
            positions.iter().map(|position| self.members[usize::from(*position)].candidate).collect();
        let same = known.iter().find(|table| table.is_of(&candidates, places)).cloned();
        let table = same.or_else(|| MaglevTable::new(candidates, places).map(Arc::new));
        self.selection.store(Arc::new(Selection { healths, chosen: positions, table }));
    }

    /// The position of the member with this name.
    pub fn member_named(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|member| member.name == name)
    }

    /// The member that a connection has already, with the port that it has there: an address of its reply.
    pub fn member_of(&self, rule: &Rule, tuple: &Tuple, address: IpAddr, port: u16) -> Option<usize> {
        self.members.iter().position(|member| {
            member.address == address && rule.target(member, tuple.destination_port) == port
        })
    }
}

impl Rule {
    fn is_for(&self, protocol: u8, port: u16) -> bool {
        self.protocol.is_none_or(|own| own == protocol)
            && self.ports.is_none_or(|(first, last)| has_ports(protocol) && (first..=last).contains(&port))
    }

    /// The port at a member, both in network byte order.
    pub fn target(&self, member: &Member, port: u16) -> u16 {
        let Some((first, _)) = self.ports else { return port };
        let target = member.port.or(self.target_port).unwrap_or(first);
        // Checked: the last of the range has a target too.
        target.wrapping_add(u16::from_be(port).wrapping_sub(first)).to_be()
    }
}

/// Whether a protocol has ports.
pub(super) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_SCTP)
}

impl Selection {
    /// The position of the member that a connection with this hash goes to.
    pub fn pick(&self, hash: u64) -> Option<usize> {
        let chosen = self.table.as_ref()?.member(hash);
        self.chosen.get(chosen).map(|position| usize::from(*position))
    }

    /// The table, to be used again.
    pub fn table(&self) -> &[Arc<MaglevTable>] {
        self.table.as_slice()
    }

    /// Whether the member at this position gets new connections.
    pub fn has(&self, position: usize) -> bool {
        self.chosen.iter().any(|chosen| usize::from(*chosen) == position)
    }
}

impl Snapshot {
    /// The load balancer that a packet which came in by `port` for these addresses is for.
    pub fn load_balancer_for(&self, port: &Port, mac: MacAddress, address: IpAddr) -> Option<Addressed> {
        if self.load_balancers.is_empty() {
            return None;
        }
        let here = |load_balancer| Some(Addressed { load_balancer, crosses: None });
        let Some(router) = self.router_at(port.network, mac) else {
            // A tenant network without a router.
            let is_ours = port.workload.is_some() && self.gateway_mac(port.network) == mac;
            return here(self.networks[port.network].load_balancer(address).filter(|_| is_ours)?);
        };
        let is_workload = port.workload.is_some();
        if (is_workload || address.is_ipv6())
            && let Some(found) = self.load_balancer_behind_router(router, address)
        {
            return here(found);
        }
        let (owner, leg) = if is_workload {
            self.owner_outside(router, address)?
        } else {
            (self.networks[port.network].owner(address)?, Leg { router, network: port.network })
        };
        let (load_balancer, through) = self.load_balancer_of(owner)?;
        Some(Addressed { load_balancer, crosses: (is_workload && through != router).then_some(leg) })
    }

    /// The load balancer of a balanced connection with this first packet, and the rule that it is under.
    pub fn balanced(&self, first: &Tuple) -> Option<(Index, &Rule)> {
        let (port, address) = (self.port(first.in_port)?, first.destination);
        let network = &self.networks[port.network];
        let index = if port.workload.is_some() {
            network.load_balancer(address).or_else(|| {
                let router = network.router?;
                let outside = || Some(self.load_balancer_of(self.owner_outside(router, address)?.0)?.0);
                self.load_balancer_behind_router(router, address).or_else(outside)
            })
        } else {
            let owned = network.owner(address).and_then(|owner| Some(self.load_balancer_of(owner)?.0));
            let routed =
                || network.routers().find_map(|router| self.load_balancer_behind_router(router, address));
            owned.or_else(routed)
        }?;
        let rule = self.load_balancers[index].rule(first.protocol, first.destination_port)?;
        Some((index, rule))
    }

    /// The rule that a balanced connection is under, and the member that it was given to.
    pub fn served(&self, tuples: &Tuples) -> Option<(&Rule, Option<&Member>)> {
        let (index, rule) = self.balanced(&tuples.original)?;
        let (load_balancer, reply) = (&self.load_balancers[index], &tuples.reply);
        let member = load_balancer.member_of(rule, &tuples.original, reply.source, reply.source_port);
        Some((rule, member.map(|position| &load_balancer.members[position])))
    }

    /// The load balancer that an address of an external network is of or stands for, and the router that its members are behind.
    fn load_balancer_of(&self, owner: Owner) -> Option<(Index, Index)> {
        match owner {
            Owner::LoadBalancer(index) => Some((index, self.load_balancers[index].router?)),
            Owner::FloatingIp(index) => self.floating_ips[index].load_balancer,
            Owner::Router(_) | Owner::Overlay => None,
        }
    }

    fn load_balancer_behind_router(&self, router: Index, address: IpAddr) -> Option<Index> {
        self.routers[router]
            .networks
            .iter()
            .find_map(|network| self.networks[*network].load_balancer(address))
    }

    /// Gives every load balancer its choice of members, as far as possible from what `before` knew.
    pub fn select_members(&self, before: &Snapshot, places: u32) {
        for load_balancer in &self.load_balancers {
            let old = before.load_balancers.iter().find(|old| old.id_hash == load_balancer.id_hash);
            let selection = old.map(|old| old.selection.load_full()).unwrap_or_default();
            let healths = load_balancer.members.iter().map(|member| {
                let position = old.and_then(|old| old.member_named(&member.name));
                position.and_then(|position| selection.healths.get(position)).copied().unwrap_or_default()
            });
            load_balancer.select(healths.collect(), selection.table.as_slice(), places);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Health, LoadBalancer, Member, Totals};
    use crate::snapshot::fingerprint::id_hash;
    use crate::tables::maglev::Candidate;

    const PLACES: u32 = 1021;

    fn load_balancer(members: &[(&str, bool)]) -> LoadBalancer {
        let mut load_balancer =
            LoadBalancer::new("lb".to_owned(), "lb".to_owned(), 0, "10.0.0.100".parse().unwrap());
        load_balancer.members = members
            .iter()
            .map(|(name, backup)| Member {
                name: (*name).to_owned(),
                address: name.parse().unwrap(),
                port: None,
                port_number: Some(1),
                backup: *backup,
                candidate: Candidate { id_hash: id_hash(name), weight: 1 },
                totals: Totals::default(),
            })
            .collect();
        load_balancer
    }

    /// Names of the members that get connections.
    fn chosen(load_balancer: &LoadBalancer, healths: &[Health]) -> Vec<String> {
        load_balancer.select(healths.to_vec(), &[], PLACES);
        let selection = load_balancer.selection();
        let mut names: Vec<String> = (0..10_000)
            .filter_map(|hash| selection.pick(hash))
            .map(|position| load_balancer.members[position].name.clone())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    #[test]
    fn members_that_are_ill_get_nothing_and_those_in_reserve_only_then() {
        use Health::{Healthy, Unchecked, Unhealthy};
        let load_balancer = load_balancer(&[("10.0.0.1", false), ("10.0.0.2", false), ("10.0.0.3", true)]);
        assert_eq!(chosen(&load_balancer, &[Unchecked; 3]), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(chosen(&load_balancer, &[Unhealthy, Healthy, Healthy]), ["10.0.0.2"]);
        assert_eq!(chosen(&load_balancer, &[Unhealthy, Unhealthy, Unchecked]), ["10.0.0.3"]);
        assert!(chosen(&load_balancer, &[Unhealthy; 3]).is_empty());
    }

    #[test]
    fn tables_do_not_hang_on_the_order_of_members_and_are_used_again() {
        let one = load_balancer(&[("10.0.0.1", false), ("10.0.0.2", false)]);
        let other = load_balancer(&[("10.0.0.2", false), ("10.0.0.1", false)]);
        one.select(vec![Health::Unchecked; 2], &[], PLACES);
        other.select(vec![Health::Unchecked; 2], one.selection().table(), PLACES);
        let (first, second) = (one.selection(), other.selection());
        assert!(Arc::ptr_eq(&first.table()[0], &second.table()[0]), "the table was made again");
        for hash in 0..2000 {
            let name = |load_balancer: &LoadBalancer, position: Option<usize>| {
                position.map(|position| load_balancer.members[position].name.clone())
            };
            assert_eq!(name(&one, first.pick(hash)), name(&other, second.pick(hash)));
        }
    }
}
