//! What every object has: identity, generation, times and status, and how a request for one is read.

use std::fmt;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::FieldError;
use crate::labels::{self, Labels};
use crate::reader::{Reader, Refusal};
use crate::value;

/// Identifier of an object: a UUID, so it starts with a digit while names start with a letter.
pub type Id = String;

/// Fields that the server writes: accepted in a request, so that what GET returned can be PUT back, and ignored.
const SERVER_FIELDS: [&str; 4] = ["generation", "created_at", "updated_at", "status"];

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A layer 2 network with one subnet.
    Network,
    /// Where a workload is plugged in.
    Port,
    /// Connects networks to each other and to the outside.
    Router,
    /// An external address for one workload.
    FloatingIp,
    /// A virtual address whose connections are spread over members.
    LoadBalancer,
    /// A list of what is allowed.
    SecurityGroup,
    /// One entry of such a list.
    SecurityGroupRule,
    /// A tenant.
    Project,
    /// A secret that stands for a role.
    Token,
    /// What a user may do in a project.
    RoleBinding,
    /// A list of addresses that entries of such lists name.
    AddressGroup,
    /// A size of machines.
    Flavor,
    /// A public SSH key.
    Keypair,
    /// A host of the site.
    Node,
}

impl Kind {
    /// Every kind, the ones that others refer to first.
    pub const ALL: [Self; 14] = [
        Self::Project,
        Self::Network,
        Self::AddressGroup,
        Self::SecurityGroup,
        Self::SecurityGroupRule,
        Self::Port,
        Self::Router,
        Self::LoadBalancer,
        Self::FloatingIp,
        Self::Token,
        Self::RoleBinding,
        Self::Flavor,
        Self::Keypair,
        Self::Node,
    ];

    /// The word that wraps one object in a body.
    pub const fn singular(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Port => "port",
            Self::Router => "router",
            Self::FloatingIp => "floating_ip",
            Self::LoadBalancer => "lb",
            Self::SecurityGroup => "security_group",
            Self::SecurityGroupRule => "security_group_rule",
            Self::Project => "project",
            Self::Token => "token",
            Self::RoleBinding => "role_binding",
            Self::AddressGroup => "address_group",
            Self::Flavor => "flavor",
            Self::Keypair => "keypair",
            Self::Node => "node",
        }
    }

    /// The word in paths and around lists.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Network => "networks",
            Self::Port => "ports",
            Self::Router => "routers",
            Self::FloatingIp => "floating_ips",
            Self::LoadBalancer => "lbs",
            Self::SecurityGroup => "security_groups",
            Self::SecurityGroupRule => "security_group_rules",
            Self::AddressGroup => "address_groups",
            Self::Flavor => "flavors",
            Self::Keypair => "keypairs",
            Self::Node => "nodes",
            Self::Project => "projects",
            Self::Token => "tokens",
            Self::RoleBinding => "role_bindings",
        }
    }

    /// Whether objects of the kind belong to a project; the others are the site's.
    pub const fn is_of_projects(self) -> bool {
        match self {
            Self::Project | Self::Flavor | Self::Node => false,
            Self::Network
            | Self::Port
            | Self::Router
            | Self::FloatingIp
            | Self::LoadBalancer
            | Self::SecurityGroup
            | Self::SecurityGroupRule
            | Self::AddressGroup
            | Self::Keypair
            | Self::Token
            | Self::RoleBinding => true,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoadBalancer => f.write_str("load balancer"),
            _ => f.write_str(&self.singular().replace('_', " ")),
        }
    }
}

/// The fields of one kind that a request sets.
pub trait Spec:
    Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The kind.
    const KIND: Kind;
    /// False where the server makes up a name when none is given.
    const NAME_REQUIRED: bool = true;

    /// True where some objects of the kind are for all projects to use: their names are then nobody else's.
    const MAY_BE_SHARED: bool = false;

    /// Whether all projects may use the object.
    fn is_shared(&self) -> bool {
        false
    }

    /// Reads the fields. None where one of them, or how they fit together, was refused.
    fn read(reader: &mut Reader<'_>) -> Option<Self>;
}

/// An object as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Object<S: Spec> {
    /// Identifier given by the server, never reused.
    pub id: Id,
    /// Name given by the user, unique among the objects of the kind in the project, never changed.
    pub name: String,
    /// The project that it belongs to; none where it is the site's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Words of the user's, to find it again. A change of them changes the entity tag, not the generation.
    #[serde(default)]
    pub labels: Labels,
    /// The fields of the kind.
    #[serde(flatten)]
    pub spec: S,
    /// Raised by one with every change of the fields of the kind.
    pub generation: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its fields were last changed.
    pub updated_at: Timestamp,
    /// What became of it; written by reconcilers only.
    #[serde(default)]
    pub status: Status,
}

/// What became of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The state in one word.
    pub phase: Phase,
    /// The generation that this status speaks of; 0 before any reconciler saw the object.
    #[serde(default)]
    pub observed_generation: u64,
    /// The state in detail: what holds, and what is waited for.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// The state of an object in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Accepted, not in effect yet; a condition says what it waits for.
    #[default]
    Pending,
    /// In effect.
    Active,
    /// In effect, and switched off or not associated by its own settings.
    Down,
    /// Not in effect; a condition says why.
    Error,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "Pending",
            Self::Active => "Active",
            Self::Down => "Down",
            Self::Error => "Error",
        })
    }
}

/// One aspect of an object's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The aspect, such as `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one word for programs.
    pub reason: String,
    /// Why, in a sentence for people.
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody can say.
    Unknown,
}

/// A request for an object: what its body says.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft<S> {
    /// The id in the body, where one was given; never used to choose an id.
    pub id: Option<Id>,
    /// The name in the body.
    pub name: Option<String>,
    /// The project in the body; never used to choose one.
    pub project: Option<String>,
    /// The labels in the body.
    pub labels: Labels,
    /// The fields.
    pub spec: S,
}

/// Reads a wrapped body such as `{"network": {...}}` and reports everything that is wrong with it.
pub fn read_draft<S: Spec>(body: &Value) -> Result<Draft<S>, Vec<FieldError>> {
    let mut errors = Vec::new();
    let wrapper = S::KIND.singular();
    let mut draft = None;
    if let Some(mut outer) = Reader::new(body, String::new(), &mut errors) {
        if outer.has(wrapper) {
            draft = outer.object(wrapper, read_fields::<S>);
        } else {
            outer.ignore(&[wrapper]);
            let hint = format!("wrap the object: {{\"{wrapper}\": {{ … }}}}");
            outer.refuse("", Refusal::new("missing", format!("the body has no `{wrapper}`"), hint));
        }
        outer.finish();
    }
    match draft {
        Some(draft) if errors.is_empty() => Ok(draft),
        _ => Err(errors),
    }
}

fn read_fields<S: Spec>(reader: &mut Reader<'_>) -> Option<Draft<S>> {
    reader.ignore(&SERVER_FIELDS);
    let id = reader.optional("id", value::text);
    let name = if S::NAME_REQUIRED {
        reader.required("name", "`web`", value::name)
    } else if reader.raw("name").and_then(Value::as_str) == id.as_deref() {
        id.clone() // What GET shows for an object whose name was made up from its id.
    } else {
        reader.optional("name", value::name)
    };
    let project = if S::KIND.is_of_projects() { reader.optional("project", value::name) } else { None };
    let labels = labels::read(reader);
    let spec = S::read(reader)?;
    Some(Draft { id, name, project, labels, spec })
}

/// The names of the fields that an object of the kind has on the wire, as far as requests may have them.
pub fn field_names<S: Spec>() -> Vec<&'static str> {
    let (nothing, mut errors) = (Value::Object(serde_json::Map::new()), Vec::new());
    let mut names = vec!["id", "name", "labels"];
    if let Some(mut reader) = Reader::new(&nothing, String::new(), &mut errors) {
        // What is missing is of no interest here; what was asked for is.
        let _refused = S::read(&mut reader);
        names.extend(reader.known());
    }
    if S::KIND.is_of_projects() {
        names.push("project");
    }
    names.extend(SERVER_FIELDS);
    names
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::{Draft, Spec, read_draft};

    /// The pointers and codes of everything that is wrong with `body`.
    pub(crate) fn refusals<S: Spec>(body: &Value) -> Vec<(String, String)> {
        match read_draft::<S>(body) {
            Ok(draft) => panic!("{body} was read as {draft:?}"),
            Err(errors) => errors.into_iter().map(|error| (error.pointer, error.code)).collect(),
        }
    }

    /// The fields of `body`, which must be right.
    pub(crate) fn accepted<S: Spec>(body: &Value) -> Draft<S> {
        match read_draft::<S>(body) {
            Ok(draft) => draft,
            Err(errors) => panic!("{body} was refused: {errors:?}"),
        }
    }
}
