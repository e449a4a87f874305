//! What the fields of objects mean, read from the documentation in the model's own source, so that it is said once.
//!
//! It understands the style of this crate: `///` lines, then attributes, then `pub name: Type,`. A test reads every kind.

use crate::Kind;

/// The sources, by kind; a struct that one file uses may stand in another.
const SOURCES: &[(Kind, &str)] = &[
    (Kind::Network, include_str!("network.rs")),
    (Kind::Port, include_str!("port.rs")),
    (Kind::Router, include_str!("router.rs")),
    (Kind::FloatingIp, include_str!("floating_ip.rs")),
    (Kind::LoadBalancer, include_str!("load_balancer.rs")),
    (Kind::SecurityGroup, include_str!("security_group.rs")),
    (Kind::SecurityGroupRule, include_str!("security_group_rule.rs")),
    (Kind::AddressGroup, include_str!("address_group.rs")),
    (Kind::Flavor, include_str!("flavor.rs")),
    (Kind::Keypair, include_str!("keypair.rs")),
    (Kind::Node, include_str!("node.rs")),
    (Kind::Project, include_str!("project.rs")),
    (Kind::Token, include_str!("token.rs")),
    (Kind::RoleBinding, include_str!("role_binding.rs")),
];
/// Sources of structs that several kinds share.
const SHARED: &[&str] = &[
    include_str!("subnet.rs"),
    include_str!("role.rs"),
    include_str!("health_check.rs"),
    include_str!("nat.rs"),
    include_str!("plug.rs"),
];
/// Deepest nesting of structs.
const DEPTH_MAX: usize = 4;
/// Types that are not the model's, for people.
const TYPE_NAMES: [(&str, &str); 17] = [
    ("String", "text"),
    ("bool", "true or false"),
    ("Ipv4Addr", "IPv4 address"),
    ("Ipv6Addr", "IPv6 address"),
    ("IpAddr", "IP address"),
    ("Ipv4Net", "IPv4 range"),
    ("Ipv6Net", "IPv6 range"),
    ("IpNet", "IP range"),
    ("MacAddress", "MAC address"),
    ("A", "address"),
    ("Timestamp", "time"),
    ("Id", "id"),
    ("u8", "number"),
    ("u16", "number"),
    ("u32", "number"),
    ("u64", "number"),
    ("i64", "number"),
];

/// A field of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDoc {
    /// Its name on the wire.
    pub name: String,
    /// Its type, for people: `list of HostRoute`.
    pub type_name: String,
    /// What it is.
    pub text: String,
    /// The fields below it, where its type is a struct of the model.
    pub fields: Vec<Self>,
    /// The words that it may be, where its type is an enum of the model, each with what it means.
    pub words: Vec<(String, String)>,
}

/// What an object of a kind is, and its fields.
pub fn of(kind: Kind) -> Option<(String, Vec<FieldDoc>)> {
    let source = SOURCES.iter().find(|(other, _)| *other == kind)?.1;
    // The first paragraph.
    let about = source.lines().map_while(|line| line.strip_prefix("//! ")).collect::<Vec<_>>().join(" ");
    let name = match kind {
        Kind::LoadBalancer => "LoadBalancerSpec".to_owned(),
        _ => camel(kind.singular()) + "Spec",
    };
    Some((about, fields_of(&name, 0)))
}

/// What was read in front of a field or a variant.
#[derive(Default)]
struct Before {
    text: Vec<&'static str>,
    rename: Option<String>,
    is_hidden: bool,
    is_flat: bool,
}

impl Before {
    /// Takes a line of documentation or an attribute; false for anything else.
    fn take(&mut self, line: &'static str) -> bool {
        if let Some(doc) = line.strip_prefix("///") {
            self.text.push(doc.trim());
        } else if line.starts_with("#[") {
            let renamed = line.split_once("rename = ").and_then(|(_, rest)| rest.split('"').nth(1));
            self.rename = self.rename.take().or_else(|| renamed.map(str::to_owned));
            self.is_flat |= line.contains("serde(flatten");
            self.is_hidden |= line.contains("serde(skip)") || line.contains("serde(skip,");
        } else {
            return false;
        }
        true
    }
}

fn fields_of(name: &str, depth: usize) -> Vec<FieldDoc> {
    let Some((_, body)) = item("struct", name).filter(|_| depth < DEPTH_MAX) else { return Vec::new() };
    let mut fields = Vec::new();
    let mut before = Before::default();
    for line in body.lines().map(str::trim) {
        if before.take(line) {
            continue;
        }
        let Before { text, rename, is_hidden, is_flat } = std::mem::take(&mut before);
        let Some((field, type_text)) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(": "))
        else {
            continue;
        };
        if !is_hidden {
            let type_text = type_text.trim_end_matches(',');
            // `Option<Vec<HostRoute>>` is about `HostRoute`.
            let inner = type_text.rsplit('<').next().unwrap_or(type_text).trim_end_matches('>');
            if is_flat {
                fields.extend(fields_of(inner, depth));
                continue;
            }
            fields.push(FieldDoc {
                name: rename.unwrap_or_else(|| field.to_owned()),
                type_name: shown_type(type_text),
                text: text.join(" "),
                fields: fields_of(inner, depth + 1),
                words: words_of(inner),
            });
        }
    }
    fields
}

fn words_of(name: &str) -> Vec<(String, String)> {
    let Some((attributes, body)) = item("enum", name) else { return Vec::new() };
    let mut words = Vec::new();
    let mut before = Before::default();
    for line in body.lines().map(str::trim) {
        if before.take(line) {
            continue;
        }
        let Before { text, rename, .. } = std::mem::take(&mut before);
        // A variant with fields is no word.
        let variant = line.strip_suffix(',').filter(|word| word.chars().all(char::is_alphanumeric));
        let Some(variant) = variant else { continue };
        let word = rename.unwrap_or_else(|| {
            if attributes.contains("UPPERCASE") {
                variant.to_uppercase()
            } else if attributes.contains("lowercase") || attributes.contains("snake_case") {
                variant.to_lowercase()
            } else {
                variant.to_owned()
            }
        });
        words.push((word, text.join(" ")));
    }
    words
}

/// What stands in front of a struct or an enum, and between its braces; that of the other type where it is another name
/// for one.
fn item(keyword: &str, name: &str) -> Option<(&'static str, &'static str)> {
    let sources = || SOURCES.iter().map(|(_, source)| *source).chain(SHARED.iter().copied());
    let alias = format!("pub type {name} = ");
    let other = sources().find_map(|source| source.split_once(&alias)).map(|(_, rest)| rest);
    let name = other.and_then(|rest| rest.split(['<', ';']).next()).unwrap_or(name);
    let heads = [format!("pub {keyword} {name} {{\n"), format!("pub {keyword} {name}<A> {{\n")];
    let (before, rest) =
        sources().find_map(|source| heads.iter().find_map(|head| source.split_once(head.as_str())))?;
    let attributes = before.rsplit_once("\n\n").map_or(before, |(_, attributes)| attributes);
    rest.split_once("\n}").map(|(body, _)| (attributes, body))
}

fn shown_type(type_text: &str) -> String {
    if let Some(inner) = type_text.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>')) {
        return shown_type(inner);
    }
    if let Some(inner) = type_text.strip_prefix("Vec<").and_then(|rest| rest.strip_suffix('>')) {
        return format!("list of {}", shown_type(inner));
    }
    let known = TYPE_NAMES.iter().find(|(name, _)| *name == type_text);
    known.map_or(type_text, |(_, shown)| shown).to_owned()
}

/// `floating_ip` as `FloatingIp`.
fn camel(words: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    words.split('_').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::Kind;

    #[test]
    fn every_kind_is_explained() {
        for kind in Kind::ALL {
            let (about, fields) = of(kind).unwrap_or_else(|| panic!("{kind}: add its source to docs.rs"));
            assert!(about.contains(": "), "{kind}: {about}");
            assert!(!fields.is_empty(), "{kind} has no fields");
            for field in fields {
                assert!(!field.text.is_empty(), "{kind}.{} is not explained", field.name);
            }
        }
    }

    #[test]
    fn names_types_and_words_are_those_of_the_wire() {
        let (_, fields) = of(Kind::Network).unwrap();
        let field = |name: &str| fields.iter().find(|field| field.name == name).unwrap();
        let words: Vec<&str> = field("type").words.iter().map(|(word, _)| word.as_str()).collect();
        assert!(words.contains(&"VXLAN") && words.contains(&"FLAT"), "{words:?}");
        assert_eq!(field("host_routes").type_name, "list of HostRoute");
        let below: Vec<&str> = field("host_routes").fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(below, ["destination", "nexthop"]);
        assert!(field("dns").type_name.starts_with("list of IP"));
        let (_, fields) = of(Kind::Node).unwrap();
        assert!(
            fields.iter().any(|field| field.name == "hostname"),
            "what a host tells is shown beside the rest"
        );
    }
}
