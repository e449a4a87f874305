//! What a write would do: the answer to a request with `?dry_run=true`, and how users of an object are named.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An object, named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    /// Its kind, in the singular.
    pub kind: String,
    /// Its identifier.
    pub id: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.replace('_', " "), self.name)
    }
}

/// What a write would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Objects that would come, in their order.
    pub created: Vec<Reference>,
    /// Objects that would change.
    pub changed: Vec<ChangedObject>,
    /// Objects that would go, in their order.
    pub deleted: Vec<Reference>,
    /// Addresses that would be taken or given back.
    pub addresses: Vec<AddressChange>,
    /// What would become of established flows.
    pub flows: FlowPlan,
}

/// An object that would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangedObject {
    /// Which.
    #[serde(flatten)]
    pub object: Reference,
    /// Its fields that would change.
    pub fields: Vec<FieldChange>,
}

/// A field that would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its name.
    pub field: String,
    /// What it is; null where there is nothing.
    pub from: Value,
    /// What it would be.
    pub to: Value,
}

/// An address that would change hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressChange {
    /// Name of the network.
    pub network: String,
    /// The address.
    pub address: IpAddr,
    /// Who has it now.
    pub from: Option<Reference>,
    /// Who would have it.
    pub to: Option<Reference>,
}

/// What would become of established flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowPlan {
    /// Names of ports whose flows would be decided again by their next packets.
    pub decided_again: Vec<String>,
    /// Names of ports whose flows would end.
    pub ended: Vec<String>,
    /// Why the dataplane would not take the change, or why nothing can be said; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unknown: String,
}
