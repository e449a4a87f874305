//! What was made of stored objects, kept, so that a change makes anew only what it concerns.
//!
//! An object of the dataplane's configuration is made of its record and of the ids that the names in it stand for. While
//! both are as they were, the same allocation is handed out again, and the dataplane sees at a glance that nothing
//! changed. What is made anew and comes out equal stays the old allocation, too.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use edgestack_dataplane::config::{
    AddressGroup, FloatingIp, LoadBalancer, Network, Port, Router, SecurityGroup,
};
use edgestack_model::{
    AddressGroupSpec, FloatingIpSpec, LoadBalancerSpec, NetworkSpec, PortSpec, RouterSpec,
    SecurityGroupRuleSpec, SecurityGroupSpec, Spec,
};

use super::mirror::NameVersions;
use crate::app::record::Record;

/// Everything that was made, by kind.
#[derive(Debug, Default)]
pub struct Built {
    /// Of networks.
    pub(super) networks: Kind<NetworkSpec, Network>,
    /// Of ports.
    pub(super) ports: Kind<PortSpec, Port>,
    /// Of routers.
    pub(super) routers: Kind<RouterSpec, Router>,
    /// Of floating IPs.
    pub(super) floating_ips: Kind<FloatingIpSpec, FloatingIp>,
    /// Of load balancers.
    pub(super) load_balancers: Kind<LoadBalancerSpec, LoadBalancer>,
    /// Of security groups, with their rules.
    pub(super) security_groups: Groups,
    /// Of address groups.
    pub(super) address_groups: Kind<AddressGroupSpec, AddressGroup>,
    /// The names that it was made with.
    pub(super) names: NameVersions,
}

/// What was made of the records of a kind, in order of their ids.
#[derive(Debug)]
pub(super) struct Kind<S: Spec, T>(Vec<Made<S, T>>);

/// What was made of a record; none: nothing can be.
#[derive(Debug)]
struct Made<S: Spec, T> {
    record: Arc<Record<S>>,
    object: Option<Arc<T>>,
}

/// What was made of security groups, in order of their ids.
#[derive(Debug, Default)]
pub(super) struct Groups(Vec<Group>);

#[derive(Debug)]
struct Group {
    record: Arc<Record<SecurityGroupSpec>>,
    rules: Vec<Arc<Record<SecurityGroupRuleSpec>>>,
    object: Arc<SecurityGroup>,
}

impl<S: Spec, T> Default for Kind<S, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S: Spec, T: PartialEq> Kind<S, T> {
    /// The objects for `records`: those kept whose records are the same, where `names` are too, and else what `make` makes.
    pub(super) fn bring_up_to_date(
        &mut self,
        records: &BTreeMap<String, Arc<Record<S>>>,
        are_names_same: bool,
        make: impl Fn(&Record<S>) -> Option<T>,
    ) -> Vec<Arc<T>> {
        let mut before = std::mem::take(&mut self.0).into_iter().peekable();
        self.0.reserve(records.len());
        for record in records.values() {
            while before.next_if(|old| old.record.id < record.id).is_some() {}
            let object = match before.next_if(|old| old.record.id == record.id) {
                Some(old) if are_names_same && Arc::ptr_eq(&old.record, record) => old.object,
                old => make(record).map(|new| shared(old.and_then(|old| old.object), new)),
            };
            self.0.push(Made { record: Arc::clone(record), object });
        }
        self.0.iter().filter_map(|made| made.object.clone()).collect()
    }
}

impl Groups {
    /// The groups for `records` with those of `rules` that `is_carried`, as [`Kind::bring_up_to_date`].
    pub(super) fn bring_up_to_date(
        &mut self,
        records: &BTreeMap<String, Arc<Record<SecurityGroupSpec>>>,
        rules: &BTreeMap<String, Arc<Record<SecurityGroupRuleSpec>>>,
        is_carried: impl Fn(&Record<SecurityGroupRuleSpec>) -> bool,
        make: impl Fn(&Record<SecurityGroupSpec>, &[Arc<Record<SecurityGroupRuleSpec>>]) -> SecurityGroup,
    ) -> Vec<Arc<SecurityGroup>> {
        let mut by_group: HashMap<&str, Vec<Arc<Record<SecurityGroupRuleSpec>>>> = HashMap::new();
        for rule in rules.values().filter(|rule| is_carried(rule)) {
            by_group.entry(rule.spec.security_group_id.as_str()).or_default().push(Arc::clone(rule));
        }
        let mut before = std::mem::take(&mut self.0).into_iter().peekable();
        for record in records.values() {
            while before.next_if(|old| old.record.id < record.id).is_some() {}
            let old = before.next_if(|old| old.record.id == record.id);
            let rules = by_group.remove(record.id.as_str()).unwrap_or_default();
            let is_same = |old: &Group| {
                Arc::ptr_eq(&old.record, record)
                    && old.rules.len() == rules.len()
                    && old.rules.iter().zip(&rules).all(|(one, other)| Arc::ptr_eq(one, other))
            };
            let object = match old {
                Some(old) if is_same(&old) => old.object,
                old => shared(old.map(|old| old.object), make(record, &rules)),
            };
            self.0.push(Group { record: Arc::clone(record), rules, object });
        }
        self.0.iter().map(|group| Arc::clone(&group.object)).collect()
    }
}

/// `old` where `new` is equal to it.
fn shared<T: PartialEq>(old: Option<Arc<T>>, new: T) -> Arc<T> {
    match old {
        Some(old) if *old == new => old,
        _ => Arc::new(new),
    }
}
