//! A copy of all objects, kept current by events, so that a change costs no reading of the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use edgestack_model::{
    AddressGroupSpec, FloatingIpSpec, LoadBalancerSpec, NetworkSpec, PortSpec, RouterSpec,
    SecurityGroupRuleSpec, SecurityGroupSpec, Spec,
};

use crate::app::record::{OBJECTS, Record, STATUSES};
use crate::store::{Event, Listing};

/// The kinds that are mirrored.
const PLURALS: [&str; 8] = [
    "networks",
    "ports",
    "routers",
    "floating_ips",
    "lbs",
    "security_groups",
    "security_group_rules",
    "address_groups",
];

/// All objects, by id within their kind.
#[derive(Debug, Default)]
pub struct Mirror {
    /// Networks.
    pub networks: BTreeMap<String, Arc<Record<NetworkSpec>>>,
    /// Ports.
    pub ports: BTreeMap<String, Arc<Record<PortSpec>>>,
    /// Routers.
    pub routers: BTreeMap<String, Arc<Record<RouterSpec>>>,
    /// Floating IPs.
    pub floating_ips: BTreeMap<String, Arc<Record<FloatingIpSpec>>>,
    /// Load balancers.
    pub load_balancers: BTreeMap<String, Arc<Record<LoadBalancerSpec>>>,
    /// Security groups.
    pub security_groups: BTreeMap<String, Arc<Record<SecurityGroupSpec>>>,
    /// Rules of security groups.
    pub rules: BTreeMap<String, Arc<Record<SecurityGroupRuleSpec>>>,
    /// Address groups.
    pub address_groups: BTreeMap<String, Arc<Record<AddressGroupSpec>>>,
    names: NameVersions,
    places: u64,
}

/// Raised whenever a name of a kind comes, goes, or becomes another object's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameVersions {
    /// Of networks.
    pub networks: u64,
    /// Of ports.
    pub ports: u64,
    /// Of routers.
    pub routers: u64,
    /// Of load balancers.
    pub load_balancers: u64,
    /// Of security groups.
    pub security_groups: u64,
}

impl Mirror {
    /// A mirror of a listing of [`OBJECTS`].
    pub fn new(listing: &Listing) -> Self {
        let mut mirror = Self::default();
        mirror.replace(listing);
        mirror
    }

    /// Takes over a listing of [`OBJECTS`] in place of all that was there.
    pub fn replace(&mut self, listing: &Listing) {
        let NameVersions { networks, ports, routers, load_balancers, security_groups } = self.names;
        let places = self.places;
        *self = Self::default();
        for entry in &listing.entries {
            self.set(&entry.key, Some(&entry.value));
        }
        // What was there before is not compared: names may mean other objects now.
        self.names.networks += networks + 1;
        self.names.ports += ports + 1;
        self.names.routers += routers + 1;
        self.names.load_balancers += load_balancers + 1;
        self.names.security_groups += security_groups + 1;
        self.places += places + 1;
    }

    /// The versions of the names.
    pub fn names(&self) -> NameVersions {
        self.names
    }

    /// Raised with every change of a network, port or router.
    pub fn places(&self) -> u64 {
        self.places
    }

    /// Takes over a change.
    pub fn update(&mut self, event: &Event) {
        self.set(&event.key, event.value.as_deref());
    }

    /// Whether a status is of a kind that is mirrored here; other reconcilers look after the statuses of theirs.
    pub fn is_of_this_reconciler(status_key: &str) -> bool {
        let plural = status_key.strip_prefix(STATUSES).and_then(|key| key.split_once('/'));
        plural.is_some_and(|(plural, _)| PLURALS.contains(&plural))
    }

    fn set(&mut self, key: &str, value: Option<&[u8]>) {
        let Some((plural, id)) = key.strip_prefix(OBJECTS).and_then(|key| key.split_once('/')) else {
            return;
        };
        self.places += u64::from(matches!(plural, "networks" | "ports" | "routers"));
        match plural {
            "networks" => self.names.networks += put(&mut self.networks, id, value),
            "ports" => self.names.ports += put(&mut self.ports, id, value),
            "routers" => self.names.routers += put(&mut self.routers, id, value),
            "lbs" => self.names.load_balancers += put(&mut self.load_balancers, id, value),
            "floating_ips" => _ = put(&mut self.floating_ips, id, value),
            "security_groups" => self.names.security_groups += put(&mut self.security_groups, id, value),
            "security_group_rules" => _ = put(&mut self.rules, id, value),
            "address_groups" => _ = put(&mut self.address_groups, id, value),
            _ => {} // Of a kind that another reconciler serves.
        }
    }
}

/// Takes over a record; 1 when a name came, went or changed.
fn put<S: Spec>(records: &mut BTreeMap<String, Arc<Record<S>>>, id: &str, value: Option<&[u8]>) -> u64 {
    let (before, after) = match value.map(serde_json::from_slice::<Record<S>>) {
        Some(Ok(record)) => {
            let meant = meant_by(&record);
            (records.insert(id.to_owned(), Arc::new(record)), Some(meant))
        }
        Some(Err(error)) => {
            // Only a damaged file or a foreign writer gets here; the API says the same when the object is read.
            tracing::error!(kind = S::KIND.singular(), id, %error, "a stored object cannot be read; it is left out");
            (records.remove(id), None)
        }
        None => (records.remove(id), None),
    };
    u64::from(before.map(|record| meant_by(&record)) != after)
}

/// What an object is meant by: its name in its project, and whether other projects mean it too.
fn meant_by<S: Spec>(record: &Record<S>) -> (String, Option<String>, bool) {
    (record.name.clone(), record.project.clone(), record.spec.is_shared())
}
