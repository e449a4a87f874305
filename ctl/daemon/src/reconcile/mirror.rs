//! A copy of all objects, kept current by events, so that a change costs no reading of the store.

use std::collections::BTreeMap;

use edgestack_model::{
    FloatingIpSpec, NetworkSpec, PortSpec, RouterSpec, SecurityGroupRuleSpec, SecurityGroupSpec, Spec,
};

use crate::app::record::{OBJECTS, Record, STATUSES};
use crate::store::{Event, Listing};

/// The kinds that are mirrored.
const PLURALS: [&str; 6] =
    ["networks", "ports", "routers", "floating_ips", "security_groups", "security_group_rules"];

/// All objects, by id within their kind.
#[derive(Debug, Default)]
pub struct Mirror {
    /// Networks.
    pub networks: BTreeMap<String, Record<NetworkSpec>>,
    /// Ports.
    pub ports: BTreeMap<String, Record<PortSpec>>,
    /// Routers.
    pub routers: BTreeMap<String, Record<RouterSpec>>,
    /// Floating IPs.
    pub floating_ips: BTreeMap<String, Record<FloatingIpSpec>>,
    /// Security groups.
    pub security_groups: BTreeMap<String, Record<SecurityGroupSpec>>,
    /// Rules of security groups.
    pub rules: BTreeMap<String, Record<SecurityGroupRuleSpec>>,
}

impl Mirror {
    /// A mirror of a listing of [`OBJECTS`].
    pub fn new(listing: &Listing) -> Self {
        let mut mirror = Self::default();
        for entry in &listing.entries {
            mirror.set(&entry.key, Some(&entry.value));
        }
        mirror
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
        match plural {
            "networks" => put(&mut self.networks, id, value),
            "ports" => put(&mut self.ports, id, value),
            "routers" => put(&mut self.routers, id, value),
            "floating_ips" => put(&mut self.floating_ips, id, value),
            "security_groups" => put(&mut self.security_groups, id, value),
            "security_group_rules" => put(&mut self.rules, id, value),
            _ => {} // Of a kind that another reconciler serves.
        }
    }
}

fn put<S: Spec>(records: &mut BTreeMap<String, Record<S>>, id: &str, value: Option<&[u8]>) {
    match value.map(serde_json::from_slice) {
        Some(Ok(record)) => {
            records.insert(id.to_owned(), record);
        }
        Some(Err(error)) => {
            // Only a damaged file or a foreign writer gets here; the API says the same when the object is read.
            tracing::error!(kind = S::KIND.singular(), id, %error, "a stored object cannot be read; it is left out");
            records.remove(id);
        }
        None => {
            records.remove(id);
        }
    }
}
