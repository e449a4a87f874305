//! Load balancers: a virtual address whose connections are spread over members.
//!
//! A load balancer is one object with its rules and members in it, so that a change of them is one change. The paths of
//! rules and members are ways to make it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::health_check::HealthCheck;
use crate::meta::{Id, Kind, Object, Spec};
use crate::reader::{Reader, Refusal};
use crate::value;

/// Rules of one load balancer.
pub const RULES_MAX: usize = 64;
/// Members of one load balancer.
pub const MEMBERS_MAX: usize = 1024;
/// Largest weight of a member.
pub const WEIGHT_MAX: u16 = 256;
/// Session affinity where it is asked for without a time.
pub const AFFINITY_SECONDS_DEFAULT: u32 = 10_800;
/// Longest session affinity.
const AFFINITY_SECONDS_MAX: u32 = 86_400;

/// A load balancer as the API shows it.
pub type LoadBalancer = Object<LoadBalancerSpec>;

/// The fields of a load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancerSpec {
    /// Name of the network of the virtual address, a tenant's or an external one; an id is accepted too.
    pub network: String,
    /// The virtual address; the lowest free one of the network's pool where left out.
    #[serde(default)]
    pub virtual_ip: Option<IpAddr>,
    /// In an external network: name of the router that the members are behind; found by the server where only one can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
    /// What is balanced.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Who gets the connections.
    #[serde(default)]
    pub members: Vec<Member>,
    /// Seconds for which a client's connections go to one member, after its last new one; none: each on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity_seconds: Option<u32>,
    /// How members are checked; they are not where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// What clients hear when no member takes connections.
    #[serde(default)]
    pub on_no_member: OnNoMember,
    /// False: no new connections.
    pub admin_state_up: bool,
    /// Free text.
    #[serde(default)]
    pub description: String,
}

/// What is balanced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Identifier given by the server.
    #[serde(default)]
    pub id: Id,
    /// Protocol.
    pub protocol: Protocol,
    /// First port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_range_min: Option<u16>,
    /// Last port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_range_max: Option<u16>,
    /// The members' port for the first; those of the others follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<u16>,
}

/// A protocol that can be balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// Pings.
    Icmp,
    /// What no other rule is for.
    All,
}

/// Somebody who gets connections: on the wire an address alone where nothing else is set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "MemberOnTheWire")]
pub struct Member {
    /// Its address.
    pub address: IpAddr,
    /// The port that it listens at, in place of the rules' target port.
    pub port: Option<u16>,
    /// Its share of connections; 0: none that are new.
    pub weight: u16,
    /// It gets connections only while no other member does.
    pub backup: bool,
    /// False: none that are new.
    pub admin_state_up: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum MemberOnTheWire {
    Address(IpAddr),
    Fields(MemberFields),
}

#[derive(Serialize, Deserialize)]
struct MemberFields {
    address: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    weight: u16,
    backup: bool,
    admin_state_up: bool,
}

/// What clients hear when no member takes connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNoMember {
    /// Nothing.
    #[default]
    Drop,
    /// A RST, or an ICMP error.
    Reject,
}

impl OnNoMember {
    /// The words on the wire.
    pub const WORDS: [(&'static str, Self); 2] = [("drop", Self::Drop), ("reject", Self::Reject)];
}

impl Protocol {
    /// The words on the wire.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("tcp", Self::Tcp),
        ("udp", Self::Udp),
        ("sctp", Self::Sctp),
        ("icmp", Self::Icmp),
        ("all", Self::All),
    ];

    /// The IP protocol number; none for all.
    pub const fn number(self) -> Option<u8> {
        match self {
            Self::Tcp => Some(6),
            Self::Udp => Some(17),
            Self::Sctp => Some(132),
            Self::Icmp => Some(1),
            Self::All => None,
        }
    }

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
            Self::All => "all",
        }
    }

    pub(crate) const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Sctp)
    }
}

impl Member {
    /// A member at this address, and the defaults for all else.
    pub const fn new(address: IpAddr) -> Self {
        Self { address, port: None, weight: 1, backup: false, admin_state_up: true }
    }

    /// What it is known by: its address, with its port where it has one of its own.
    pub fn name(&self) -> String {
        self.port
            .map_or_else(|| self.address.to_string(), |port| SocketAddr::new(self.address, port).to_string())
    }

    /// Reads a member: an address, an address with a port, or an object.
    pub fn read(value: &Value) -> Result<Self, Refusal> {
        let Some(text) = value.as_str() else {
            return Err(Refusal::new(
                "invalid_type",
                format!("a member is a text or an object, not {}", value::type_name(value)),
                "`10.0.0.5`, `10.0.0.5:8080` or `{\"address\": \"10.0.0.5\", \"weight\": 2}`",
            ));
        };
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(Self { port: Some(socket.port()), ..Self::new(socket.ip()) });
        }
        value::ip(value).map(Self::new)
    }

    /// Reads the fields of a member.
    pub fn read_fields(reader: &mut Reader<'_>) -> Option<Self> {
        let address = reader.required("address", "`10.0.0.5`", value::ip);
        let port = reader.optional("port", port);
        let weight = reader.optional("weight", |weight| value::integer(weight, 0, WEIGHT_MAX.into()));
        let backup = reader.optional("backup", value::boolean).unwrap_or(false);
        let admin_state_up = reader.optional("admin_state_up", value::boolean).unwrap_or(true);
        let weight = weight.unwrap_or(1) as u16;
        Some(Self { address: address?, port, weight, backup, admin_state_up })
    }
}

impl fmt::Display for Rule {
    /// As on the command line: `tcp:80`, `tcp:80:8080`, `udp:8000-8100`, `icmp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.protocol.word())?;
        match (self.port_range_min, self.port_range_max) {
            (Some(first), Some(last)) if last != first => write!(f, ":{first}-{last}")?,
            (Some(first), _) => write!(f, ":{first}")?,
            (None, _) => {}
        }
        self.target_port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Rule {
    /// Whether it says the same as another, whatever their identifiers are.
    pub fn equals(&self, other: &Self) -> bool {
        Self { id: Id::new(), ..self.clone() } == Self { id: Id::new(), ..other.clone() }
    }

    /// Whether a packet could be of both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let ports = |rule: &Self| Some((rule.port_range_min?, rule.port_range_max?));
        self.protocol == other.protocol
            && match (ports(self), ports(other)) {
                (Some((first, last)), Some((from, to))) => first <= to && from <= last,
                _ => true,
            }
    }

    /// Reads the fields of a rule.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let id = reader.optional("id", value::text).unwrap_or_default();
        let protocol = reader.required("protocol", "`tcp`", |word| value::word(word, &Protocol::WORDS));
        let first = reader.optional("port_range_min", empty_or_port).flatten();
        let last = reader.optional("port_range_max", empty_or_port).flatten();
        let target_port = reader.optional("target_port", port);
        let protocol = protocol?;
        let (first, last) = (first.or(last), last.or(first));
        let wrong = if !protocol.has_ports() && (first.is_some() || target_port.is_some()) {
            let message = format!("{} has no ports", protocol.word());
            Some(("port_range_min", Refusal::new("not_allowed", message, "leave ports out")))
        } else if protocol.has_ports() && first.is_none() {
            let message = format!("a rule for {} needs ports", protocol.word());
            Some(("port_range_min", Refusal::new("missing", message, "`80`, or `all` as the protocol")))
        } else if first > last {
            let message = "the last port is below the first".to_owned();
            Some(("port_range_max", Refusal::new("invalid_range", message, "exchange the two")))
        } else {
            let width = last.unwrap_or(0) - first.unwrap_or(0);
            let message = format!("there are no {} ports from there", u32::from(width) + 1);
            let is_too_high = target_port.is_some_and(|port| port.checked_add(width).is_none());
            is_too_high.then(|| ("target_port", Refusal::new("invalid_range", message, "a lower one")))
        };
        if let Some((field, refusal)) = wrong {
            reader.refuse(field, refusal);
            return None;
        }
        Some(Self { id, protocol, port_range_min: first, port_range_max: last, target_port })
    }
}

impl Spec for LoadBalancerSpec {
    const KIND: Kind = Kind::LoadBalancer;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let network = reader.required("network", "the name of a network", value::reference);
        let virtual_ip = reader.optional("virtual_ip", value::ip);
        let router = reader.optional("router", value::reference);
        let rules = reader.objects("rules", RULES_MAX, Rule::read).unwrap_or_default();
        refuse_overlaps(reader, &rules);
        let members = read_members(reader);
        let affinity_seconds = reader
            .optional("affinity_seconds", |seconds| value::integer(seconds, 0, AFFINITY_SECONDS_MAX.into()));
        let health_check = reader.object("health_check", HealthCheck::read);
        let on_no_member = reader.optional("on_no_member", |word| value::word(word, &OnNoMember::WORDS));
        let admin_state_up = reader.optional("admin_state_up", value::boolean).unwrap_or(true);
        let description = reader.optional("description", value::description).unwrap_or_default();
        let spec = Self {
            network: network?,
            virtual_ip,
            router,
            rules,
            members,
            affinity_seconds: affinity_seconds.map(|seconds| seconds as u32).filter(|seconds| *seconds > 0),
            health_check,
            on_no_member: on_no_member.unwrap_or_default(),
            admin_state_up,
            description,
        };
        reader.is_clean().then_some(spec)
    }
}

/// Members are texts or objects, in any mixture.
fn read_members(reader: &mut Reader<'_>) -> Vec<Member> {
    let members = reader.texts_or_objects("members", MEMBERS_MAX, Member::read, Member::read_fields);
    let members = members.unwrap_or_default();
    for (index, member) in members.iter().enumerate() {
        if members[..index].iter().any(|other| other.name() == member.name()) {
            let message = format!("{} stands twice in the list", member.name());
            reader.refuse(&format!("members/{index}"), Refusal::new("duplicate", message, "leave one out"));
        }
        if member.address.is_ipv4() != members[0].address.is_ipv4() {
            let message = "the members are not of one IP version".to_owned();
            let hint = "make a load balancer for each version";
            reader.refuse(&format!("members/{index}"), Refusal::new("mismatch", message, hint));
        }
    }
    members
}

fn refuse_overlaps(reader: &mut Reader<'_>, rules: &[Rule]) {
    for (index, rule) in rules.iter().enumerate() {
        if let Some(other) = rules[..index].iter().find(|other| other.overlaps(rule)) {
            let message = format!("{rule} overlaps {other}");
            let hint = "every port of a protocol belongs to one rule";
            reader.refuse(&format!("rules/{index}"), Refusal::new("overlap", message, hint));
        }
    }
}

/// A port number.
pub fn port(value: &Value) -> Result<u16, Refusal> {
    value::integer(value, 1, u16::MAX.into()).map(|port| port as u16)
}

/// EdgeStack's console sends an empty text for none.
fn empty_or_port(value: &Value) -> Result<Option<u16>, Refusal> {
    if value.as_str() == Some("") { Ok(None) } else { port(value).map(Some) }
}

impl From<MemberOnTheWire> for Member {
    fn from(member: MemberOnTheWire) -> Self {
        match member {
            MemberOnTheWire::Address(address) => Self::new(address),
            MemberOnTheWire::Fields(MemberFields { address, port, weight, backup, admin_state_up }) => {
                Self { address, port, weight, backup, admin_state_up }
            }
        }
    }
}

impl From<&Member> for MemberFields {
    fn from(member: &Member) -> Self {
        let Member { address, port, weight, backup, admin_state_up } = *member;
        Self { address, port, weight, backup, admin_state_up }
    }
}

impl Serialize for Member {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::new(self.address) {
            return self.address.serialize(serializer);
        }
        MemberFields::from(self).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{LoadBalancerSpec, OnNoMember};
    use crate::meta::tests::{accepted, refusals};

    fn read(more: &Value) -> LoadBalancerSpec {
        let mut body = json!({"lb": {"name": "web", "network": "tenant"}});
        for (key, value) in more.as_object().unwrap() {
            body["lb"][key] = value.clone();
        }
        accepted::<LoadBalancerSpec>(&body).spec
    }

    #[test]
    fn the_body_of_edgestacks_console_is_read_and_shown_alike() {
        let spec = read(&json!({"members": ["10.0.0.5", "10.0.0.6"], "description": ""}));
        assert_eq!(spec.virtual_ip, None);
        assert_eq!(serde_json::to_value(&spec).unwrap()["members"], json!(["10.0.0.5", "10.0.0.6"]));
    }

    #[test]
    fn members_are_texts_and_objects() {
        let spec = read(&json!({"members": [
            "10.0.0.5:8080", {"address": "10.0.0.6", "weight": 0, "backup": true}, "10.0.0.7"
        ]}));
        let names: Vec<String> = spec.members.iter().map(super::Member::name).collect();
        assert_eq!(names, ["10.0.0.5:8080", "10.0.0.6", "10.0.0.7"]);
        assert_eq!((spec.members[1].weight, spec.members[1].backup), (0, true));
        let again: LoadBalancerSpec = serde_json::from_value(serde_json::to_value(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
    }

    #[test]
    fn rules_are_read() {
        let spec = read(&json!({"on_no_member": "reject", "rules": [
            {"protocol": "TCP", "port_range_min": "80", "port_range_max": "80", "target_port": 8080},
            {"protocol": "udp", "port_range_min": 8000, "port_range_max": 8100},
            {"protocol": "icmp", "port_range_min": "", "port_range_max": ""},
        ]}));
        let rules: Vec<String> = spec.rules.iter().map(ToString::to_string).collect();
        assert_eq!(rules, ["tcp:80:8080", "udp:8000-8100", "icmp"]);
        assert_eq!(spec.on_no_member, OnNoMember::Reject);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (more, pointer, code) in [
            (json!({"members": ["10.0.0.5", "10.0.0.5"]}), "/members/1", "duplicate"),
            (json!({"members": ["10.0.0.5", "fd00::5"]}), "/members/1", "mismatch"),
            (
                json!({"members": [{"address": "10.0.0.5", "weight": 257}]}),
                "/members/0/weight",
                "out_of_range",
            ),
            (json!({"members": ["web"]}), "/members/0", "invalid_address"),
            (json!({"rules": [{"protocol": "tcp"}]}), "/rules/0/port_range_min", "missing"),
            (
                json!({"rules": [{"protocol": "icmp", "port_range_min": 1}]}),
                "/rules/0/port_range_min",
                "not_allowed",
            ),
            (
                json!({"rules": [{"protocol": "tcp", "port_range_min": 90, "port_range_max": 80}]}),
                "/rules/0/port_range_max",
                "invalid_range",
            ),
            (
                json!({"rules": [{"protocol": "tcp", "port_range_min": 1, "port_range_max": 9, "target_port": 65530}]}),
                "/rules/0/target_port",
                "invalid_range",
            ),
            (
                json!({"rules": [
                    {"protocol": "tcp", "port_range_min": 80, "port_range_max": 90},
                    {"protocol": "tcp", "port_range_min": 85},
                ]}),
                "/rules/1",
                "overlap",
            ),
        ] {
            let mut body = json!({"lb": {"name": "web", "network": "tenant"}});
            for (key, value) in more.as_object().unwrap() {
                body["lb"][key] = value.clone();
            }
            let found = refusals::<LoadBalancerSpec>(&body);
            assert_eq!(found, [(format!("/lb{pointer}"), code.to_owned())], "{more}");
        }
    }
}
