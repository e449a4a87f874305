//! The rules of one group and direction, arranged so that finding one that matches does not go through all of them.
//!
//! Rules only allow, so any one that matches will do, and the widest of several is kept. They are divided by protocol;
//! within one, the destination ports are cut where some rule begins or ends, and a tree over the pieces holds each rule
//! at the few nodes that make up its range. A question walks from its piece to the root, 17 nodes at most, and
//! asks each about the other side: anybody, one search among disjoint ranges of addresses, one for each group that the
//! other side is in, and one for each set of addresses that rules name, of which [`ADDRESS_GROUPS_MAX`] bounds the number.
//!
//! A rule stands at no more than 30 nodes: memory grows with the rules, and never with members of groups.

use std::sync::Arc;

use super::Index;
use super::address_set::AddressSet;
use super::security_group::{Remote, Rule};

/// Address groups that the rules of one security group may name.
pub const ADDRESS_GROUPS_MAX: usize = 64;

/// Marks a node of the tree where no rule stands.
const NOBODY: u32 = u32::MAX;

/// Rules arranged for lookup; they are named by their positions in the list that they were made from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RuleIndex {
    /// Rules for one protocol each, in its order; rules for any protocol come first.
    classes: Vec<(Option<u8>, Class)>,
}

/// What is asked of an index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a> {
    /// IP protocol number.
    pub(super) protocol: u8,
    /// Destination port; of ICMP the type, then the code.
    pub(super) selector: u16,
    /// Whether it is of IPv6, as all that the index holds.
    pub(super) is_ipv6: bool,
    /// The other side's address.
    pub(super) address: u128,
    /// The groups that the other side is in.
    pub(super) groups: &'a [Index],
    /// All sets of addresses.
    pub(super) address_sets: &'a [Arc<AddressSet>],
}

/// The rules for one protocol.
#[derive(Debug, Default, PartialEq, Eq)]
struct Class {
    /// Where each piece of the ports begins; the first begins at 0.
    starts: Vec<u16>,
    /// Positions in `nodes`, of a tree with its root at 1 and the pieces as leaves from `starts.len()` on.
    tree: Vec<u32>,
    nodes: Vec<Remotes>,
}

/// Whom the rules at one node allow.
#[derive(Debug, Default, PartialEq, Eq)]
struct Remotes {
    /// The rule for everybody, beside which no other is needed.
    anybody: Option<u32>,
    /// Disjoint ranges of addresses, in order.
    ranges: Vec<AddressRange>,
    /// Groups, in order.
    groups: Vec<(Index, u32)>,
    /// Sets of addresses.
    address_sets: Vec<(Index, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AddressRange {
    first: u128,
    last: u128,
    rule: u32,
}

impl RuleIndex {
    /// An index of the rules that `is_wanted`.
    pub(super) fn new(rules: &[Rule], is_wanted: impl Fn(&Rule) -> bool) -> Self {
        let mut by_protocol: Vec<(Option<u8>, u32)> = (0..)
            .zip(rules)
            .filter(|(_, rule)| is_wanted(rule))
            .map(|(position, rule)| (rule.protocol, position))
            .collect();
        by_protocol.sort_unstable();
        let classes = by_protocol
            .chunk_by(|one, next| one.0 == next.0)
            .map(|chunk| (chunk[0].0, Class::new(rules, chunk.iter().map(|(_, position)| *position))));
        Self { classes: classes.collect() }
    }

    /// Position of a rule that matches.
    pub(super) fn find(&self, query: &Query<'_>) -> Option<u32> {
        [None, Some(query.protocol)].iter().find_map(|protocol| {
            let place = self.classes.binary_search_by_key(protocol, |(protocol, _)| *protocol).ok()?;
            self.classes[place].1.find(query)
        })
    }
}

impl Class {
    fn new(rules: &[Rule], positions: impl Iterator<Item = u32> + Clone) -> Self {
        let mut starts = vec![0];
        for position in positions.clone() {
            let (first, last) = rules[position as usize].selectors;
            starts.push(first);
            starts.extend(last.checked_add(1));
        }
        starts.sort_unstable();
        starts.dedup();
        let mut class = Self { tree: vec![NOBODY; 2 * starts.len()], nodes: Vec::new(), starts };
        for position in positions {
            class.place(position, &rules[position as usize]);
        }
        for node in &mut class.nodes {
            node.finish();
        }
        class
    }

    /// Puts a rule at the nodes that make up its ports.
    fn place(&mut self, position: u32, rule: &Rule) {
        let (first, last) = rule.selectors;
        let mut left = self.leaf(first);
        let mut right = self.leaf(last) + 1;
        while left < right {
            if left % 2 == 1 {
                self.node(left).add(position, rule.remote);
                left += 1;
            }
            if right % 2 == 1 {
                right -= 1;
                self.node(right).add(position, rule.remote);
            }
            left /= 2;
            right /= 2;
        }
    }

    fn node(&mut self, place: usize) -> &mut Remotes {
        if self.tree[place] == NOBODY {
            self.tree[place] = self.nodes.len() as u32;
            self.nodes.push(Remotes::default());
        }
        &mut self.nodes[self.tree[place] as usize]
    }

    /// The place in the tree of the piece that holds a port.
    fn leaf(&self, selector: u16) -> usize {
        self.starts.len() + self.starts.partition_point(|start| *start <= selector) - 1
    }

    fn find(&self, query: &Query<'_>) -> Option<u32> {
        let mut place = self.leaf(query.selector);
        while place > 0 {
            let node = self.tree[place];
            if node != NOBODY
                && let Some(rule) = self.nodes[node as usize].find(query)
            {
                return Some(rule);
            }
            place /= 2;
        }
        None
    }
}

impl Remotes {
    fn add(&mut self, rule: u32, remote: Remote) {
        match remote {
            Remote::Any => self.anybody = self.anybody.or(Some(rule)),
            Remote::Range { first, last } => self.ranges.push(AddressRange { first, last, rule }),
            Remote::Group(group) => self.groups.push((group, rule)),
            Remote::AddressGroup(set) => self.address_sets.push((set, rule)),
        }
    }

    /// Takes out what is never asked, and puts the rest in order.
    fn finish(&mut self) {
        if self.anybody.is_some() {
            *self = Self { anybody: self.anybody, ..Self::default() };
        }
        // Ranges of prefixes lie within each other or apart: only the outermost are kept.
        self.ranges.sort_by_key(|range| (range.first, u128::MAX - range.last, range.rule));
        let mut end = None;
        self.ranges.retain(|range| {
            let is_outermost = end.is_none_or(|end| range.last > end);
            if is_outermost {
                end = Some(range.last);
            }
            is_outermost
        });
        for list in [&mut self.groups, &mut self.address_sets] {
            list.sort_unstable();
            list.dedup_by_key(|(index, _)| *index);
            list.shrink_to_fit();
        }
        self.ranges.shrink_to_fit();
    }

    fn find(&self, query: &Query<'_>) -> Option<u32> {
        if self.anybody.is_some() {
            return self.anybody;
        }
        let after = self.ranges.partition_point(|range| range.first <= query.address);
        if let Some(range) = after.checked_sub(1).map(|place| &self.ranges[place])
            && query.address <= range.last
        {
            return Some(range.rule);
        }
        let member = query.groups.iter().find_map(|group| {
            let place = self.groups.binary_search_by_key(group, |(group, _)| *group).ok()?;
            Some(self.groups[place].1)
        });
        member.or_else(|| {
            let holds =
                |(set, _): &&(Index, u32)| query.address_sets[*set].contains(query.is_ipv6, query.address);
            self.address_sets.iter().find(holds).map(|(_, rule)| *rule)
        })
    }
}
