//! Rules of security groups: one thing that is allowed, seen from the workload.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::meta::{Id, Kind, Object, Spec};
use crate::reader::{Reader, Refusal};
use crate::{icmp, value};

/// A rule as the API shows it.
pub type SecurityGroupRule = Object<SecurityGroupRuleSpec>;

/// The fields of a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroupRuleSpec {
    /// Id of the group; its name is accepted too.
    pub security_group_id: Id,
    /// Whose packets it allows to open a connection.
    pub direction: Direction,
    /// `all`, `tcp`, `udp`, `icmp`, `sctp`, or the number of another IP protocol.
    pub protocol: Protocol,
    /// Smallest destination port, or the ICMP type by number or name; any where left out.
    #[serde(default)]
    pub port_range_min: Option<u16>,
    /// Largest destination port, or the ICMP code by number or name; any where left out.
    #[serde(default)]
    pub port_range_max: Option<u16>,
    /// `IPv4`, `IPv6` or `all`; where left out that of the prefix or protocol, `IPv4` where neither tells.
    pub ethernet_type: EthernetType,
    /// Addresses of the other side; any where left out.
    #[serde(default)]
    pub remote_ip_prefix: Option<IpNet>,
    /// Id of the group that the other side is in; its name is accepted too.
    #[serde(default)]
    pub remote_group_id: Option<Id>,
    /// Id of the address group that the other side is in; its name is accepted too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_address_group_id: Option<Id>,
    /// Free text.
    #[serde(default)]
    pub description: String,
}

/// Direction of a rule, seen from the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the workload.
    Ingress,
    /// From the workload.
    Egress,
}

/// Frames that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EthernetType {
    /// IPv4 packets.
    #[serde(rename = "IPv4")]
    Ipv4,
    /// IPv6 packets.
    #[serde(rename = "IPv6")]
    Ipv6,
    /// Packets of both versions of IP.
    #[serde(rename = "all")]
    All,
}

/// An IP protocol, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Protocol {
    /// Every protocol.
    All,
    /// The protocol with this number.
    Number(u8),
}

/// Names of protocols, the one that is shown first.
const PROTOCOLS: [(&str, u8); 24] = [
    ("tcp", 6),
    ("udp", 17),
    ("icmp", 1),
    ("icmpv6", 58),
    ("ipv6-icmp", 58),
    ("icmp6", 58),
    ("sctp", 132),
    ("dccp", 33),
    ("udplite", 136),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipip", 4),
    ("ipencap", 4),
    ("ipv6-encap", 41),
    ("etherip", 97),
    ("l2tp", 115),
    ("igmp", 2),
    ("egp", 8),
    ("rsvp", 46),
    ("ospf", 89),
    ("pim", 103),
    ("pgm", 113),
    ("vrrp", 112),
];

impl Protocol {
    /// Transmission Control Protocol.
    pub const TCP: Self = Self::Number(6);
    /// User Datagram Protocol.
    pub const UDP: Self = Self::Number(17);
    /// Internet Control Message Protocol.
    pub const ICMP: Self = Self::Number(1);
    /// Internet Control Message Protocol of IPv6.
    pub const ICMPV6: Self = Self::Number(58);
    /// Stream Control Transmission Protocol.
    pub const SCTP: Self = Self::Number(132);

    /// The number, none for all.
    pub const fn number(self) -> Option<u8> {
        match self {
            Self::All => None,
            Self::Number(number) => Some(number),
        }
    }

    fn has_ports(self) -> bool {
        // DCCP and UDP-Lite have theirs at the same place.
        matches!(self, Self::TCP | Self::UDP | Self::SCTP | Self::Number(33 | 136))
    }

    fn has_types(self) -> bool {
        matches!(self, Self::ICMP | Self::ICMPV6)
    }

    /// A name in any case or a number; `0` is what EdgeStack calls `any`.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if matches!(text.as_str(), "all" | "any" | "0" | "") {
            return Some(Self::All);
        }
        let named = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
        named.or_else(|| text.parse().ok()).map(Self::Number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Number(number) => match PROTOCOLS.iter().find(|(_, known)| known == number) {
                Some((name, _)) => f.write_str(name),
                None => write!(f, "{number}"),
            },
        }
    }
}

impl TryFrom<String> for Protocol {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is no IP protocol"))
    }
}

impl From<Protocol> for String {
    fn from(protocol: Protocol) -> Self {
        protocol.to_string()
    }
}

impl SecurityGroupRuleSpec {
    /// What the rule allows, for finding its duplicates: equal texts allow the same.
    pub fn identity(&self) -> String {
        let bound = |port: Option<u16>| port.map_or_else(|| "-".to_owned(), |port| port.to_string());
        let remote = match (&self.remote_group_id, &self.remote_address_group_id, self.remote_ip_prefix) {
            (Some(group), _, _) => format!("group:{group}"),
            (None, Some(addresses), _) => format!("addresses:{addresses}"),
            (None, None, Some(prefix)) if prefix.prefix_len() > 0 => prefix.to_string(),
            (None, None, _) => "any".to_owned(),
        };
        let direction = match self.direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        let (minimum, maximum) = (bound(self.port_range_min), bound(self.port_range_max));
        let version = match self.ethernet_type {
            EthernetType::Ipv4 => "",
            EthernetType::Ipv6 => ":ipv6",
            EthernetType::All => ":all",
        };
        format!("{direction}:{}:{minimum}:{maximum}:{remote}{version}", self.protocol)
    }

    /// Reads a rule that stands in its group, so that the group need not be named.
    pub fn read_inline(reader: &mut Reader<'_>) -> Option<Self> {
        reader.ignore(&[
            "id",
            "name",
            "project",
            "labels",
            "security_group_id",
            "generation",
            "created_at",
            "updated_at",
            "status",
        ]);
        Self::read_rule(reader, Some(String::new()))
    }

    fn read_rule(reader: &mut Reader<'_>, security_group_id: Option<Id>) -> Option<Self> {
        let direction = reader.required("direction", "`ingress`", |direction| {
            value::word(direction, &[("ingress", Direction::Ingress), ("egress", Direction::Egress)])
        });
        let protocol = read_protocol(reader);
        let ports = protocol.map_or((None, None), |protocol| read_ports(reader, protocol));
        reader.ignore(&["port_range_min", "port_range_max"]);
        let remote_ip_prefix = reader.optional("remote_ip_prefix", read_prefix).flatten();
        let ethernet_type = read_ethernet_type(reader, protocol, remote_ip_prefix);
        let remote_group_id = reader.optional("remote_group_id", read_group).flatten();
        let remote_address_group_id = reader.optional("remote_address_group_id", read_group).flatten();
        let remotes = [
            ("remote_ip_prefix", remote_ip_prefix.is_some_and(|prefix| prefix.prefix_len() > 0)),
            ("remote_group_id", remote_group_id.is_some()),
            ("remote_address_group_id", remote_address_group_id.is_some()),
        ];
        let mut given = remotes.into_iter().filter(|(_, given)| *given);
        if let (Some((first, _)), Some(_)) = (given.next(), given.next()) {
            let message = "a rule names a remote prefix, a remote group or a remote address group";
            reader.refuse(first, Refusal::new("not_allowed", message, "leave all but one out"));
        }
        let description = reader.optional("description", value::description).unwrap_or_default();
        let spec = Self {
            security_group_id: security_group_id?,
            direction: direction?,
            protocol: protocol?,
            port_range_min: ports.0,
            port_range_max: ports.1,
            ethernet_type,
            remote_ip_prefix,
            remote_group_id,
            remote_address_group_id,
            description,
        };
        reader.is_clean().then_some(spec)
    }
}

impl Spec for SecurityGroupRuleSpec {
    const KIND: Kind = Kind::SecurityGroupRule;
    const NAME_REQUIRED: bool = false;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let group =
            reader.required("security_group_id", "the id or name of a security group", value::reference);
        Self::read_rule(reader, group)
    }
}

fn read_protocol(reader: &mut Reader<'_>) -> Option<Protocol> {
    if !reader.has("protocol") {
        reader.ignore(&["protocol"]);
        return Some(Protocol::All);
    }
    reader.optional("protocol", |protocol| {
        let text = match protocol {
            Value::Number(number) => number.to_string(),
            _ => value::text(protocol)?,
        };
        Protocol::parse(&text).ok_or_else(|| {
            let hint = "tcp, udp, icmp, icmpv6, sctp, all, or a number from 1 to 255";
            Refusal::new("invalid_value", format!("`{text}` is no IP protocol"), hint)
        })
    })
}

/// Ports for protocols that have them, type and code for ICMP, nothing for the rest.
fn read_ports(reader: &mut Reader<'_>, protocol: Protocol) -> (Option<u16>, Option<u16>) {
    let ipv6 = protocol == Protocol::ICMPV6;
    let maximum = if protocol.has_types() { 255 } else { 65_535 };
    let mut bound = |key: &'static str, named: &dyn Fn(&str) -> Option<u8>| {
        let number = reader.optional(key, |port| match port {
            Value::String(text) if text.trim().is_empty() => Ok(None),
            Value::String(text) if protocol.has_types() && named(text).is_some() => {
                Ok(named(text).map(u16::from))
            }
            _ => value::integer(port, 0, maximum).map(|port| Some(port as u16)),
        });
        number.flatten()
    };
    let low = bound("port_range_min", &|name| icmp::type_number(name, ipv6));
    let kind = low.and_then(|kind| u8::try_from(kind).ok());
    let high = bound("port_range_max", &|name| icmp::code_number(name, kind?, ipv6));
    if !protocol.has_ports() && !protocol.has_types() && (low.is_some() || high.is_some()) {
        let key = if low.is_some() { "port_range_min" } else { "port_range_max" };
        let message = format!("the protocol `{protocol}` has no ports");
        reader.refuse(
            key,
            Refusal::new(
                "not_allowed",
                message,
                "name tcp, udp, sctp, icmp or icmpv6, or leave the ports out",
            ),
        );
        return (None, None);
    }
    match (low, high) {
        (Some(_), None) if protocol.has_ports() && !reader.has("port_range_max") => {
            let refusal =
                Refusal::new("missing", "a port range has two ends", "repeat port_range_min for one port");
            reader.refuse("port_range_max", refusal);
        }
        (None, Some(_)) if !reader.has("port_range_min") => {
            let what = if protocol.has_types() {
                "an ICMP code needs its type"
            } else {
                "a port range has two ends"
            };
            reader.refuse("port_range_min", Refusal::new("missing", what, "set port_range_min"));
        }
        (Some(low), Some(high)) if protocol.has_ports() && low > high => {
            let message = format!("the range ends at {high} before it starts at {low}");
            reader.refuse("port_range_max", Refusal::new("invalid_range", message, "swap the two ends"));
        }
        _ => {}
    }
    (low, high)
}

/// The version of IP that the rule is for: the one given, which must fit the rest, else the one that the rest is of.
fn read_ethernet_type(
    reader: &mut Reader<'_>,
    protocol: Option<Protocol>,
    remote: Option<IpNet>,
) -> EthernetType {
    const WORDS: [(&str, EthernetType); 3] =
        [("IPv4", EthernetType::Ipv4), ("IPv6", EthernetType::Ipv6), ("all", EthernetType::All)];
    let given = reader.optional("ethernet_type", |value| value::word(value, &WORDS));
    let of_protocol = match protocol {
        Some(Protocol::ICMP) => Some(EthernetType::Ipv4),
        Some(Protocol::ICMPV6) => Some(EthernetType::Ipv6),
        _ => None,
    };
    let of_remote = remote.map(|remote| match remote {
        IpNet::V4(_) => EthernetType::Ipv4,
        IpNet::V6(_) => EthernetType::Ipv6,
    });
    if let (Some(protocol), Some(remote)) = (of_protocol, of_remote)
        && protocol != remote
    {
        let message = "the protocol and the remote prefix are of different versions of IP";
        let hint = "icmp goes with IPv4 ranges, icmpv6 with IPv6 ranges";
        reader.refuse("remote_ip_prefix", Refusal::new("mismatch", message, hint));
        return given.unwrap_or(EthernetType::Ipv4);
    }
    let fits = of_protocol.or(of_remote);
    if let (Some(given), Some(fits)) = (given, fits)
        && given != fits
        && given != EthernetType::All
    {
        let what = if of_protocol.is_some() { "protocol" } else { "remote prefix" };
        let message = format!("the rule's {what} is of the other version of IP");
        let hint = "leave ethernet_type out";
        reader.refuse("ethernet_type", Refusal::new("mismatch", message, hint));
    }
    given.or(fits).unwrap_or(EthernetType::Ipv4)
}

/// A reference; EdgeStack's console sends an empty text for none.
fn read_group(value: &Value) -> Result<Option<Id>, Refusal> {
    match value.as_str() {
        Some("") => Ok(None),
        _ => value::reference(value).map(Some),
    }
}

fn read_prefix(value: &Value) -> Result<Option<IpNet>, Refusal> {
    match value.as_str() {
        Some(text) if matches!(text.to_ascii_lowercase().as_str(), "" | "all" | "any") => Ok(None),
        _ => value::cidr_or_address(value).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{EthernetType, Protocol, SecurityGroupRuleSpec};
    use crate::meta::tests::{accepted, refusals};

    fn body(change: &Value) -> Value {
        let mut body = json!({"security_group_rule": {"security_group_id": "web", "direction": "ingress"}});
        body["security_group_rule"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    }

    fn read(change: &Value) -> SecurityGroupRuleSpec {
        accepted::<SecurityGroupRuleSpec>(&body(change)).spec
    }

    #[test]
    fn protocols_are_read_by_name_number_and_in_any_case() {
        for (given, protocol) in [
            (json!("TCP"), Protocol::TCP),
            (json!("6"), Protocol::TCP),
            (json!(17), Protocol::UDP),
            (json!("Icmp"), Protocol::ICMP),
            (json!("132"), Protocol::SCTP),
            (json!("any"), Protocol::All),
            (json!("0"), Protocol::All),
            (json!("ALL"), Protocol::All),
            (json!("47"), Protocol::Number(47)),
            (json!("IPIP"), Protocol::Number(4)),
            (json!(58), Protocol::ICMPV6),
            (json!(null), Protocol::All),
        ] {
            assert_eq!(read(&json!({"protocol": given})).protocol, protocol, "{given}");
        }
        assert_eq!(Protocol::Number(200).to_string(), "200");
        assert_eq!(Protocol::Number(47).to_string(), "gre");
    }

    #[test]
    fn the_body_of_edgestacks_console_is_read() {
        let spec = read(
            &json!({"direction": "EGRESS", "protocol": "tcp", "port_range_min": "80", "port_range_max": 90,
            "ethernet_type": "IPv4", "remote_ip_prefix": "all"}),
        );
        assert_eq!(
            (spec.port_range_min, spec.port_range_max, spec.remote_ip_prefix),
            (Some(80), Some(90), None)
        );
        let spec = read(&json!({"remote_ip_prefix": "10.0.0.5"}));
        assert_eq!(spec.remote_ip_prefix.unwrap().to_string(), "10.0.0.5/32");
        let spec = read(&json!({"remote_group_id": "web", "remote_ip_prefix": "0.0.0.0/0"}));
        assert_eq!(spec.remote_group_id.as_deref(), Some("web"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cases = [
            (json!({"port_range_min": 1, "port_range_max": 2}), "port_range_min", "not_allowed"),
            (json!({"protocol": "gre", "port_range_max": 2}), "port_range_max", "not_allowed"),
            (json!({"protocol": "tcp", "port_range_min": 1}), "port_range_max", "missing"),
            (json!({"protocol": "tcp", "port_range_max": 1}), "port_range_min", "missing"),
            (
                json!({"protocol": "tcp", "port_range_min": 9, "port_range_max": 8}),
                "port_range_max",
                "invalid_range",
            ),
            (
                json!({"protocol": "tcp", "port_range_min": 1, "port_range_max": 65_536}),
                "port_range_max",
                "out_of_range",
            ),
            (json!({"protocol": "icmp", "port_range_min": 256}), "port_range_min", "out_of_range"),
            (json!({"protocol": "icmp", "port_range_max": 0}), "port_range_min", "missing"),
            (json!({"protocol": "http"}), "protocol", "invalid_value"),
            (json!({"protocol": 256}), "protocol", "invalid_value"),
            (json!({"direction": "both"}), "direction", "invalid_value"),
            (json!({"ethernet_type": "IPv5"}), "ethernet_type", "invalid_value"),
            (json!({"ethernet_type": "IPv6", "remote_ip_prefix": "10.0.0.0/8"}), "ethernet_type", "mismatch"),
            (json!({"ethernet_type": "IPv6", "protocol": "icmp"}), "ethernet_type", "mismatch"),
            (json!({"ethernet_type": "ipv4", "protocol": "icmpv6"}), "ethernet_type", "mismatch"),
            (json!({"protocol": "icmpv6", "remote_ip_prefix": "10.0.0.0/8"}), "remote_ip_prefix", "mismatch"),
            (json!({"protocol": "icmp", "remote_ip_prefix": "fd00::/8"}), "remote_ip_prefix", "mismatch"),
            (json!({"remote_ip_prefix": "10.0.0.1/8"}), "remote_ip_prefix", "invalid_cidr"),
            (
                json!({"remote_group_id": "a", "remote_ip_prefix": "10.0.0.0/8"}),
                "remote_ip_prefix",
                "not_allowed",
            ),
            (
                json!({"remote_group_id": "a", "remote_address_group_id": "b"}),
                "remote_group_id",
                "not_allowed",
            ),
            (json!({"protocol": "icmp", "port_range_min": "packet-too-big"}), "port_range_min", "wrong_type"),
            (
                json!({"protocol": "tcp", "port_range_min": "ping", "port_range_max": 9}),
                "port_range_min",
                "wrong_type",
            ),
            (json!({"priority": 5}), "priority", "unknown_field"),
        ];
        for (change, key, code) in cases {
            let found = refusals::<SecurityGroupRuleSpec>(&body(&change));
            assert_eq!(found, [(format!("/security_group_rule/{key}"), code.to_owned())], "{change}");
        }
    }

    #[test]
    fn icmp_types_and_codes_may_be_named() {
        let ports = |change: &Value| {
            let spec = read(change);
            (spec.port_range_min, spec.port_range_max)
        };
        assert_eq!(ports(&json!({"protocol": "icmp", "port_range_min": "echo-request"})), (Some(8), None));
        let code = json!({"protocol": "icmp", "port_range_min": 3, "port_range_max": "port-unreachable"});
        assert_eq!(ports(&code), (Some(3), Some(3)));
        let ipv6 = json!({"protocol": "icmpv6", "port_range_min": "packet-too-big", "port_range_max": "0"});
        assert_eq!(ports(&ipv6), (Some(2), Some(0)));
    }

    #[test]
    fn the_version_of_ip_follows_from_the_rest() {
        for (change, wanted) in [
            (json!({}), EthernetType::Ipv4),
            (json!({"remote_ip_prefix": "fd00::/8"}), EthernetType::Ipv6),
            (json!({"protocol": "ipv6-icmp", "port_range_min": 128}), EthernetType::Ipv6),
            (json!({"ethernet_type": "ALL", "protocol": "icmp"}), EthernetType::All),
            (json!({"ethernet_type": "ipv6"}), EthernetType::Ipv6),
        ] {
            assert_eq!(read(&change).ethernet_type, wanted, "{change}");
        }
        let version = |word: &str| read(&json!({"ethernet_type": word})).identity();
        assert!(version("IPv4") != version("IPv6") && version("IPv6") != version("all"));
    }

    #[test]
    fn equal_meanings_have_equal_identities() {
        let any = read(&json!({"remote_ip_prefix": "0.0.0.0/0"}));
        assert_eq!(any.identity(), read(&json!({"remote_ip_prefix": "all", "description": "x"})).identity());
        assert_ne!(any.identity(), read(&json!({"protocol": "tcp"})).identity());
        assert_ne!(any.identity(), read(&json!({"direction": "egress"})).identity());
    }
}
