//! Security groups: stateful lists of what is allowed.
//!
//! Asked only about the first packet of a connection, and again when a change of configuration concerns it. A remote
//! group is a question about the other side's port, answered by one probe, and never expanded into pairs.

use std::net::Ipv4Addr;

use super::{Index, Port, Snapshot};
use crate::address::Cidr;
use crate::config::Direction;
use crate::wire::PROTOCOL_ICMP;

/// A security group.
#[derive(Debug)]
pub struct SecurityGroup {
    /// Name for people.
    pub name: String,
    /// Rules for packets to the workload.
    pub ingress: Vec<Rule>,
    /// Rules for packets from the workload.
    pub egress: Vec<Rule>,
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Identifier in the configuration.
    pub id: String,
    /// IP protocol number; none is any.
    pub protocol: Option<u8>,
    /// Destination ports, or of ICMP the types; none is any.
    pub ports: Option<(u16, u16)>,
    /// ICMP code; none is any.
    pub code: Option<u8>,
    /// The other side.
    pub remote: Remote,
}

/// The other side of a rule.
#[derive(Debug)]
pub enum Remote {
    /// Everybody.
    Any,
    /// Addresses in a range.
    Cidr(Cidr),
    /// Workloads in a group.
    Group(Index),
}

/// What a rule is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Seen from the workload whose groups are asked.
    pub direction: Direction,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; of ICMP the type.
    pub destination_port: u16,
    /// Address of the other side.
    pub remote_address: Ipv4Addr,
    /// The other side's port, where it is a workload of the same address space.
    pub remote_port: Option<&'a Port>,
}

/// The rule that allowed something.
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'a> {
    /// Its group.
    pub group: &'a SecurityGroup,
    /// The rule.
    pub rule: &'a Rule,
}

impl Snapshot {
    /// The first rule of the groups that allows what is asked; none: it is denied.
    pub fn allows(&self, groups: &[Index], question: &Question<'_>) -> Option<Allowed<'_>> {
        groups.iter().map(|index| &self.security_groups[*index]).find_map(|group| {
            let rules = match question.direction {
                Direction::Ingress => &group.ingress,
                Direction::Egress => &group.egress,
            };
            rules.iter().find(|rule| rule.matches(question)).map(|rule| Allowed { group, rule })
        })
    }
}

impl Rule {
    fn matches(&self, question: &Question<'_>) -> bool {
        if self.protocol.is_some_and(|protocol| protocol != question.protocol) {
            return false;
        }
        if self.ports.is_some_and(|(min, max)| !(min..=max).contains(&question.destination_port)) {
            return false;
        }
        // Queries have code 0, and only queries open a flow.
        if question.protocol == PROTOCOL_ICMP && self.code.is_some_and(|code| code != 0) {
            return false;
        }
        match self.remote {
            Remote::Any => true,
            Remote::Cidr(cidr) => cidr.contains(question.remote_address),
            Remote::Group(group) => question
                .remote_port
                .and_then(|port| port.workload.as_ref())
                .is_some_and(|workload| workload.security_groups.contains(&group)),
        }
    }
}
