//! Security group rules as people write them: `ingress tcp 22 from 0.0.0.0/0`, `egress`, `ingress icmp`,
//! `ingress tcp 8000-8100 from web`. Reads and prints them; used by create-sg, remove-sgr and site files.

use edgestack_model::icmp;
use edgestack_model::security_group_rule::Protocol;
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::value::text;

/// How a rule is written, for messages.
pub(crate) const FORM: &str =
    "DIRECTION [PROTOCOL [PORTS]] [from|to REMOTE], like `ingress tcp 22 from 0.0.0.0/0` or `egress`";

/// A rule as it is written; what is left out is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleText {
    /// `ingress` or `egress`.
    pub direction: Option<String>,
    /// Name or number of the protocol.
    pub protocol: Option<String>,
    /// First and last port; ICMP type and code.
    pub ports: Option<(u16, Option<u16>)>,
    /// A range of addresses or a security group.
    pub remote: Option<Remote>,
}

/// The other side of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    /// Addresses.
    Prefix(IpNet),
    /// Members of a security group.
    Group(String),
    /// Addresses of an address group.
    Addresses(String),
}

impl RuleText {
    /// Reads a rule. The direction may be left out, for searching.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rule = Self::default();
        let mut words = text.split_whitespace().peekable();
        if let Some(word @ ("ingress" | "egress")) = words.peek().copied() {
            rule.direction = Some(word.to_owned());
            words.next();
        }
        if let Some(word) = words.next_if(|word| !is_joint(word)) {
            rule.protocol = Some(parse_protocol(word)?);
        }
        if let Some(word) = words.next_if(|word| !is_joint(word)) {
            rule.ports = Some(parse_ports(word, rule.protocol.as_deref())?);
        }
        if let Some(joint) = words.next() {
            if !is_joint(joint) {
                return Err(format!("`{joint}` is too much; write {FORM}"));
            }
            let remote = words.next().ok_or_else(|| format!("`{joint}` whom? write {FORM}"))?;
            rule.remote = parse_remote(remote)?;
        }
        match words.next() {
            Some(word) => Err(format!("`{word}` is too much; write {FORM}")),
            None => Ok(rule),
        }
    }

    /// A rule of the API as it would be written. Groups are named as the rule names them.
    pub(crate) fn of(rule: &Value) -> String {
        let direction = text(rule, "/direction");
        let mut words = vec![direction.clone()];
        let ports = shown_ports(rule);
        let protocol = text(rule, "/protocol");
        if protocol != "all" && !protocol.is_empty() {
            words.push(protocol);
            words.extend((!ports.is_empty()).then_some(ports));
        }
        let (group, prefix) = (text(rule, "/remote_group_id"), text(rule, "/remote_ip_prefix"));
        let joint = if direction == "egress" { "to" } else { "from" };
        if !group.is_empty() {
            words.extend([joint.to_owned(), format!("sg:{group}")]);
        } else if !text(rule, "/remote_address_group_id").is_empty() {
            words.extend([joint.to_owned(), format!("ag:{}", text(rule, "/remote_address_group_id"))]);
        } else if !prefix.is_empty() && prefix != "0.0.0.0/0" {
            words.extend([joint.to_owned(), prefix]);
        } else if text(rule, "/ethernet_type") == "IPv6" {
            words.extend([joint.to_owned(), "::/0".to_owned()]);
        }
        words.join(" ")
    }

    /// The fields of the rule in a request.
    pub(crate) fn fields(&self) -> Result<Value, String> {
        let direction =
            self.direction.as_ref().ok_or_else(|| format!("the direction is missing; write {FORM}"))?;
        let mut fields = json!({ "direction": direction });
        fields["protocol"] = self.protocol.as_deref().unwrap_or("all").into();
        if let Some((first, last)) = self.ports {
            fields["port_range_min"] = first.into();
            fields["port_range_max"] = last.into();
        }
        match &self.remote {
            Some(Remote::Prefix(prefix)) => fields["remote_ip_prefix"] = prefix.to_string().into(),
            Some(Remote::Group(group)) => fields["remote_group_id"] = group.as_str().into(),
            Some(Remote::Addresses(group)) => fields["remote_address_group_id"] = group.as_str().into(),
            None => {}
        }
        Ok(fields)
    }

    /// Whether a rule of the API is one that this text describes. `group_name` gives the name of a group's id.
    pub(crate) fn matches(&self, rule: &Value, group_name: impl Fn(&str) -> String) -> bool {
        let is = |pointer: &str, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| text(rule, pointer) == *wanted)
        };
        let ports = self.ports.is_none_or(|(first, last)| {
            rule["port_range_min"] == first && rule["port_range_max"].as_u64() == last.map(u64::from)
        });
        let remote = match &self.remote {
            None => true,
            Some(Remote::Prefix(prefix)) => text(rule, "/remote_ip_prefix") == prefix.to_string(),
            Some(Remote::Group(group)) => {
                let id = text(rule, "/remote_group_id");
                id == *group || group_name(&id) == *group
            }
            Some(Remote::Addresses(group)) => {
                let id = text(rule, "/remote_address_group_id");
                id == *group || group_name(&id) == *group
            }
        };
        is("/direction", &self.direction) && is("/protocol", &self.protocol) && ports && remote
    }
}

fn is_joint(word: &str) -> bool {
    matches!(word, "from" | "to")
}

/// The protocol by the name that the API shows.
pub(crate) fn parse_protocol(text: &str) -> Result<String, String> {
    Protocol::try_from(text.to_owned()).map(|protocol| protocol.to_string())
}

/// `22`, `8000-8100`, and for ICMP `TYPE` or `TYPE/CODE` by number or name.
fn parse_ports(text: &str, protocol: Option<&str>) -> Result<(u16, Option<u16>), String> {
    if let Some(protocol @ ("icmp" | "icmpv6")) = protocol {
        let ipv6 = protocol == "icmpv6";
        let (kind, code) = text.split_once('/').map_or((text, None), |(kind, code)| (kind, Some(code)));
        let number = |text: &str, named: Option<u8>| {
            let number = named.map_or_else(|| text.parse::<u8>(), Ok);
            number
                .map(u16::from)
                .map_err(|_| format!("`{text}` is no ICMP type or code (0 to 255, or a name)"))
        };
        let kind = number(kind, icmp::type_number(kind, ipv6))?;
        let code = code.map(|code| number(code, icmp::code_number(code, kind as u8, ipv6))).transpose()?;
        return Ok((kind, code));
    }
    let (first, last) = parse_port_range(text)?;
    Ok((first, Some(last)))
}

/// `80` or `8000-8100`.
pub(crate) fn parse_port_range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        text.trim().parse::<u16>().map_err(|_| format!("`{text}` is no port; write 80 or 8000-8100"))
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err(format!("{first} is behind {last}")) } else { Ok((first, last)) }
}

/// A range, an address, a group with or without `sg:`; none for everybody.
fn parse_remote(text: &str) -> Result<Option<Remote>, String> {
    if matches!(text, "any" | "all") {
        return Ok(None);
    }
    if let Some(group) = text.strip_prefix("ag:") {
        return Ok(Some(Remote::Addresses(group.to_owned())));
    }
    if let Some(group) = text.strip_prefix("sg:") {
        return Ok(Some(Remote::Group(group.to_owned())));
    }
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(Some(Remote::Prefix(address.into())));
    }
    if text.contains(['/', '.', ':']) {
        let prefix: IpNet = text
            .parse()
            .map_err(|_| format!("`{text}` is neither a range of addresses nor a security group"))?;
        return Ok(Some(Remote::Prefix(prefix)));
    }
    Ok(Some(Remote::Group(text.to_owned())))
}

/// The ports of a rule of the API: `22`, `8000-8100`, `8/0`, nothing for any.
pub(crate) fn shown_ports(rule: &Value) -> String {
    let (first, last) = (text(rule, "/port_range_min"), text(rule, "/port_range_max"));
    if matches!(text(rule, "/protocol").as_str(), "icmp" | "icmpv6") {
        return if last.is_empty() { first } else { format!("{first}/{last}") };
    }
    if first == last || last.is_empty() { first } else { format!("{first}-{last}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{RuleText, parse_port_range, shown_ports};

    #[test]
    fn rules_have_the_fields_of_the_api() {
        let cases = [
            ("egress", json!({"direction": "egress", "protocol": "all"})),
            (
                "ingress tcp 22 from 0.0.0.0/0",
                json!({"direction": "ingress", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22,
                       "remote_ip_prefix": "0.0.0.0/0"}),
            ),
            (
                "ingress tcp 8000-8100 from web",
                json!({"direction": "ingress", "protocol": "tcp", "port_range_min": 8000, "port_range_max": 8100,
                       "remote_group_id": "web"}),
            ),
            (
                "ingress icmp 8 from sg:web",
                json!({"direction": "ingress", "protocol": "icmp", "port_range_min": 8, "port_range_max": null,
                       "remote_group_id": "web"}),
            ),
            (
                "egress UDP to 10.0.0.7",
                json!({"direction": "egress", "protocol": "udp", "remote_ip_prefix": "10.0.0.7/32"}),
            ),
            (
                "ingress icmpv6 packet-too-big from ag:office",
                json!({"direction": "ingress", "protocol": "icmpv6", "port_range_min": 2, "port_range_max": null,
                       "remote_address_group_id": "office"}),
            ),
            (
                "ingress icmp destination-unreachable/port-unreachable",
                json!({"direction": "ingress", "protocol": "icmp", "port_range_min": 3, "port_range_max": 3}),
            ),
            ("ingress 47 from any", json!({"direction": "ingress", "protocol": "gre"})),
            (
                "ingress from 10.0.0.0/8",
                json!({"direction": "ingress", "protocol": "all", "remote_ip_prefix": "10.0.0.0/8"}),
            ),
        ];
        for (text, fields) in cases {
            assert_eq!(RuleText::parse(text).and_then(|rule| rule.fields()).unwrap(), fields, "{text}");
        }
    }

    #[test]
    fn rules_are_shown_as_they_are_written() {
        for text in [
            "egress",
            "egress udp to 10.0.0.7/32",
            "ingress tcp 8000-8100 from sg:web",
            "ingress icmp 8/0 from 10.0.0.0/8",
            "ingress gre",
            "ingress tcp 22 from ag:office",
            "ingress icmpv6 128 from fd00::/8",
        ] {
            let fields = RuleText::parse(text).and_then(|rule| rule.fields()).unwrap();
            assert_eq!(RuleText::of(&fields), text);
        }
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_named() {
        for (text, part) in [
            ("", "direction is missing"),
            ("tcp 22", "direction is missing"),
            ("ingress tpc 22", "`tpc`"),
            ("ingress tcp ssh", "`ssh` is no port"),
            ("ingress tcp 22-21", "22 is behind 21"),
            ("ingress tcp 70000", "`70000`"),
            ("ingress tcp 22 10.0.0.0/8", "`10.0.0.0/8` is too much"),
            ("ingress tcp 22 from", "whom"),
            ("ingress tcp 22 from 10.0.0/8", "`10.0.0/8`"),
            ("ingress tcp 22 from web now", "`now`"),
            ("ingress icmp 300", "`300`"),
        ] {
            let error = RuleText::parse(text).and_then(|rule| rule.fields()).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_partial_text_finds_rules() {
        let rule = json!({"direction": "ingress", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22,
                          "remote_group_id": "7"});
        let matches = |text: &str| RuleText::parse(text).unwrap().matches(&rule, |_| "web".to_owned());
        assert!(matches("tcp 22") && matches("ingress") && matches("tcp from web") && matches("from sg:7"));
        assert!(!matches("egress") && !matches("tcp 23") && !matches("udp") && !matches("from 0.0.0.0/0"));
    }

    #[test]
    fn ports_are_ranges() {
        assert_eq!(parse_port_range("80"), Ok((80, 80)));
        assert_eq!(parse_port_range("1-65535"), Ok((1, 65535)));
        assert!(parse_port_range("-5").is_err());
        assert_eq!(shown_ports(&json!({"protocol": "tcp", "port_range_min": 1, "port_range_max": 5})), "1-5");
        assert_eq!(
            shown_ports(&json!({"protocol": "icmp", "port_range_min": 8, "port_range_max": null})),
            "8"
        );
        assert_eq!(shown_ports(&json!({"protocol": "all"})), "");
    }
}
