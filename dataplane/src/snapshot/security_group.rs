//! Security groups: stateful lists of what is allowed.
//!
//! Asked only about the first packet of a connection, and again when a change of configuration concerns it. A remote
//! group is a question about the other side's port, answered by one probe, and never expanded into pairs.

use std::net::IpAddr;
use std::sync::Arc;

use super::address_set::number;
use super::rule_index::{Query, RuleIndex};
use super::{Index, Port, Snapshot};
use crate::config::Direction;
use crate::counters::Counter;

/// A security group.
#[derive(Debug, PartialEq)]
pub struct SecurityGroup {
    /// Identifier in the configuration.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// What is denied at its members is logged.
    pub log_denied: bool,
    /// Rules for packets to the workload.
    pub ingress: RuleSet,
    /// Rules for packets from the workload.
    pub egress: RuleSet,
    /// The address groups that rules name, each once.
    pub(super) address_groups: Vec<Index>,
    /// Hash of the rules.
    pub(super) fingerprint: u64,
}

/// Rules for one direction.
#[derive(Debug, Default, PartialEq)]
pub struct RuleSet {
    /// The rules.
    pub rules: Vec<Rule>,
    ipv4: RuleIndex,
    ipv6: RuleIndex,
}

/// A rule.
#[derive(Debug, PartialEq)]
pub struct Rule {
    /// Identifier in the configuration.
    pub id: String,
    /// Whether it is for IPv6 or for IPv4; none is both.
    pub is_ipv6: Option<bool>,
    /// IP protocol number; none is any.
    pub protocol: Option<u8>,
    /// First and last destination port; of ICMP type and code, see [`icmp_selector`].
    pub selectors: (u16, u16),
    /// The other side.
    pub remote: Remote,
    /// How often it has allowed something.
    pub hits: Hits,
}

/// How often a rule has allowed something: connections, each once when it is opened and once when it is decided again.
/// A rule has the same count in one snapshot as in the next; it says nothing of whether they are equal.
#[derive(Clone, Debug, Default)]
pub struct Hits(Arc<Counter>);

impl Hits {
    /// The count.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

impl PartialEq for Hits {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The other side of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// Everybody.
    Any,
    /// Addresses of the rule's version, as numbers.
    Range {
        /// The first.
        first: u128,
        /// The last.
        last: u128,
    },
    /// Workloads in a group.
    Group(Index),
    /// Addresses in an address group.
    AddressGroup(Index),
}

/// What a rule is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Seen from the workload whose groups are asked.
    pub direction: Direction,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; of ICMP type and code, see [`icmp_selector`].
    pub selector: u16,
    /// Address of the other side.
    pub remote_address: IpAddr,
    /// The other side's port, where it is a workload of the same address space.
    pub remote_port: Option<&'a Port>,
}

/// Where a rule stands in its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleReference {
    group: u32,
    direction: Direction,
    position: u32,
}

/// The rule that allowed something.
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'a> {
    /// Where it stands.
    pub reference: RuleReference,
    /// Its group.
    pub group: &'a SecurityGroup,
    /// The rule.
    pub rule: &'a Rule,
}

/// What stands for the destination port in a packet of ICMP. All codes of a type are neighbours.
pub const fn icmp_selector(kind: u8, code: u8) -> u16 {
    u16::from_be_bytes([kind, code])
}

impl RuleSet {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        let index = |is_ipv6| RuleIndex::new(&rules, |rule| rule.is_ipv6.is_none_or(|own| own == is_ipv6));
        Self { ipv4: index(false), ipv6: index(true), rules }
    }
}

impl SecurityGroup {
    /// The rules for a direction.
    pub fn rules(&self, direction: Direction) -> &RuleSet {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

impl Snapshot {
    /// A rule of the groups that allows what is asked; none: it is denied.
    pub fn allows(&self, groups: &[Index], question: &Question<'_>) -> Option<Allowed<'_>> {
        let remote = question.remote_port.and_then(|port| port.workload.as_ref());
        let query = Query {
            protocol: question.protocol,
            selector: question.selector,
            is_ipv6: question.remote_address.is_ipv6(),
            address: number(question.remote_address),
            groups: remote.map_or(&[], |workload| &workload.security_groups),
            address_sets: &self.address_sets,
        };
        groups.iter().find_map(|index| {
            let group = &self.security_groups[*index];
            let set = group.rules(question.direction);
            let rules = if query.is_ipv6 { &set.ipv6 } else { &set.ipv4 };
            let position = rules.find(&query)?;
            let reference = RuleReference { group: *index as u32, direction: question.direction, position };
            Some(Allowed { reference, group, rule: &set.rules[position as usize] })
        })
    }

    /// Counts that a rule has allowed something, under the slow-path lock.
    pub fn count_hit(&self, rule: RuleReference) {
        let set = self.security_groups[rule.group as usize].rules(rule.direction);
        set.rules[rule.position as usize].hits.0.add(1);
    }
}
