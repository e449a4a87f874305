//! Site files: the objects of a site as YAML or JSON documents, in the form that the API and `-o yaml` have.
//!
//! A document holds one object (`network: {...}`) or lists of them (`networks: [...]`), of one kind or of several.
//! Reading checks every object against the model, so that a file with a mistake changes nothing. A rule of a
//! security group may be written as text (`ingress tcp 22 from 0.0.0.0/0`).

use std::collections::{HashMap, HashSet};

use edgestack_client::{ClientError, FieldError, Kind, Problem};
use edgestack_model::read_any;
use serde_json::{Map, Value, json};

use crate::error::CliError;
use crate::rule_text::RuleText;
use crate::value;

/// Fields that the daemon writes: in the output of `-o yaml`, and not the user's to set.
const SERVER_FIELDS: [&str; 5] = ["id", "generation", "created_at", "updated_at", "status"];

/// An object of a site.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SiteObject {
    /// Where it stands, for messages.
    pub place: String,
    /// Its kind.
    pub kind: Kind,
    /// By what it is found: its name, or the address of a floating IP without one.
    pub name: String,
    /// Its fields, without those that the daemon writes.
    pub fields: Map<String, Value>,
}

/// Reads the files of a site, each with the name that it has in messages, as if they were one.
pub(crate) fn parse(files: &[(String, String)]) -> Result<Vec<SiteObject>, CliError> {
    let mut reader = SiteReader::default();
    for (origin, text) in files {
        let place = if files.len() > 1 { format!("{origin}, ") } else { String::new() };
        for (index, document) in documents(text, origin)?.into_iter().enumerate() {
            reader.document(&format!("{place}document {}", index + 1), document);
        }
    }
    let origin = files.iter().map(|(origin, _)| origin.as_str()).collect::<Vec<_>>().join(", ");
    reader.name_groups();
    reader.refuse_repeated();
    if !reader.errors.is_empty() {
        return Err(invalid(&origin, reader.errors));
    }
    // Stable: objects of one kind keep their order.
    reader.objects.sort_by_key(|object| order(object.kind));
    Ok(reader.objects)
}

/// Place of a kind where what refers to another comes after it.
fn order(kind: Kind) -> usize {
    Kind::ALL.iter().position(|other| *other == kind).unwrap_or(Kind::ALL.len())
}

fn documents(text: &str, origin: &str) -> Result<Vec<Value>, CliError> {
    let is_json = text.trim_start().starts_with(['{', '[']);
    let documents = if is_json {
        let stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        stream.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())
    } else {
        serde_saphyr::from_multiple::<Value>(text).map_err(|error| error.to_string())
    };
    documents.map_err(|message| CliError::Usage { message: format!("{origin}: {message}"), hint: None })
}

/// A problem document for mistakes that are found on this side, so that they are told like the daemon's.
pub(crate) fn invalid(origin: &str, errors: Vec<FieldError>) -> CliError {
    let plural = if errors.len() == 1 { "" } else { "s" };
    let detail = format!("{origin}: {} mistake{plural}", errors.len());
    CliError::Client(ClientError::Problem(Box::new(Problem {
        kind: "about:blank".to_owned(),
        title: "The site file has mistakes".to_owned(),
        status: 422,
        detail,
        code: "invalid_site".to_owned(),
        errors,
        users: Vec::new(),
    })))
}

#[derive(Default)]
struct SiteReader {
    objects: Vec<SiteObject>,
    /// Names of the file's security groups by their ids.
    group_names: HashMap<String, String>,
    errors: Vec<FieldError>,
}

impl SiteReader {
    fn document(&mut self, place: &str, document: Value) {
        match document {
            Value::Null => {}
            Value::Object(entries) => {
                for (key, value) in entries {
                    self.entry(place, &key, value);
                }
            }
            other => self.refuse(
                place,
                format!("a document is `kind: {{...}}` or `kinds: [...]`, not {other}"),
                Some(format!("one of {}", keys())),
            ),
        }
    }

    fn entry(&mut self, place: &str, key: &str, value: Value) {
        match (Kind::ALL.into_iter().find(|kind| kind.singular() == key || kind.plural() == key), value) {
            // `-o yaml` of a list has it.
            (None, Value::Number(_)) if key == "total" => {}
            (None, _) => {
                self.refuse(
                    place,
                    format!("`{key}` is no kind of object"),
                    Some(format!("one of {}", keys())),
                );
            }
            (Some(Kind::SecurityGroupRule), _) => self.refuse(
                place,
                "rules stand in their group here".to_owned(),
                Some("security_group: {name: web, rules: ['ingress tcp 80']}".to_owned()),
            ),
            (Some(Kind::Token), _) => self.refuse(
                place,
                "a token is shown once, to who makes it; it cannot be described by a file".to_owned(),
                None,
            ),
            (Some(kind), Value::Array(items)) if key == kind.plural() => {
                for (index, item) in items.into_iter().enumerate() {
                    self.object(&format!("{place}, {key}/{index}"), kind, item);
                }
            }
            (Some(kind), item @ Value::Object(_)) if key == kind.singular() => self.object(place, kind, item),
            (Some(kind), _) => {
                let form = if key == kind.plural() { "a list of objects" } else { "an object" };
                self.refuse(place, format!("`{key}` must be {form}"), None);
            }
        }
    }

    fn object(&mut self, place: &str, kind: Kind, item: Value) {
        let Value::Object(mut fields) = item else {
            return self.refuse(place, format!("a {kind} must be an object, not {item}"), None);
        };
        if kind == Kind::SecurityGroup
            && let (Some(Value::String(id)), Some(Value::String(name))) =
                (fields.get("id"), fields.get("name"))
        {
            self.group_names.insert(id.clone(), name.clone());
        }
        for field in SERVER_FIELDS {
            fields.remove(field);
        }
        let place = format!("{place}, {kind} `{}`", value::name(&Value::Object(fields.clone())));
        if kind == Kind::SecurityGroup {
            self.read_rules(&place, &mut fields);
        }
        if kind == Kind::Router {
            normalise_external(&mut fields);
        }
        let errors = read_any(kind, &json!({ kind.singular(): &fields })).err().unwrap_or_default();
        self.errors.extend(errors.into_iter().map(|mut error| {
            error.pointer = format!("{place}{}", error.pointer);
            error
        }));
        let name = value::name(&Value::Object(fields.clone()));
        if name.is_empty() && kind == Kind::FloatingIp {
            let hint = Some("without one it would be another one each time".to_owned());
            return self.refuse(
                &place,
                "a floating IP of a site needs a name or an address".to_owned(),
                hint,
            );
        }
        self.objects.push(SiteObject { place, kind, name, fields });
    }

    /// Rules that are written as text get their fields.
    fn read_rules(&mut self, place: &str, fields: &mut Map<String, Value>) {
        let Some(Value::Array(rules)) = fields.get_mut("rules") else { return };
        for (index, rule) in rules.iter_mut().enumerate() {
            let Value::String(text) = rule else { continue };
            match RuleText::parse(text).and_then(|rule| rule.fields()) {
                Ok(read) => *rule = read,
                Err(message) => {
                    self.refuse(&format!("{place}/rules/{index}"), message, None);
                    // Something well formed, so that the mistake is told once.
                    *rule = json!({ "direction": "egress" });
                }
            }
        }
    }

    /// In the output of `-o yaml` rules name groups by ids, which are others when the groups are made again.
    fn name_groups(&mut self) {
        for object in &mut self.objects {
            let Some(Value::Array(rules)) = object.fields.get_mut("rules") else { continue };
            for group in rules.iter_mut().filter_map(|rule| rule.get_mut("remote_group_id")) {
                if let Some(name) = group.as_str().and_then(|id| self.group_names.get(id)) {
                    *group = name.as_str().into();
                }
            }
        }
    }

    fn refuse_repeated(&mut self) {
        let mut seen = HashSet::new();
        for object in self.objects.iter().filter(|object| !object.name.is_empty()) {
            if !seen.insert((object.kind, &object.name)) {
                let message = format!("{} `{}` stands twice in the file", object.kind, object.name);
                self.errors.push(field_error(String::new(), message, Some("leave one out".to_owned())));
            }
        }
    }

    fn refuse(&mut self, place: &str, message: String, hint: Option<String>) {
        self.errors.push(field_error(place.to_owned(), message, hint));
    }
}

pub(crate) fn field_error(pointer: String, message: String, hint: Option<String>) -> FieldError {
    FieldError { pointer, code: "invalid_site".to_owned(), message, hint }
}

/// The kinds that have a place in a site, the ones that others refer to first. Who may do what is not part of it.
pub(crate) fn kinds() -> impl DoubleEndedIterator<Item = Kind> {
    let apart = |kind: &Kind| matches!(kind, Kind::SecurityGroupRule | Kind::Token | Kind::RoleBinding);
    Kind::ALL.into_iter().filter(move |kind| !apart(kind))
}

fn keys() -> String {
    kinds().map(Kind::plural).collect::<Vec<_>>().join(", ")
}

/// `external: wan` becomes `external: {network: wan}`, so that an address which the daemon chose stays.
fn normalise_external(fields: &mut Map<String, Value>) {
    if let Some(external) = fields.get_mut("external") {
        match external {
            Value::String(network) if network.is_empty() => *external = Value::Null,
            Value::String(network) => *external = json!({ "network": network }),
            Value::Array(legs) => *external = legs.first().cloned().unwrap_or_default(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use edgestack_client::ClientError;
    use serde_json::json;

    use super::parse;
    use crate::error::CliError;

    const SITE: &str = "\
router:
  name: edge
  internal: [blue]
  external: wan
---
networks:
- {name: blue, cidr: 10.0.0.0/24}
- name: wan
  type: flat
  cidr: 203.0.113.0/24
  physnet_name: wan
  external: true
total: 2
---
# Rules in both forms.
security_group:
  id: '0199'
  name: web
  rules: ['ingress tcp 80', {direction: ingress, remote_group_id: '0199'}]
---
port: {name: web-1, network: blue, mac_address: 02:00:00:00:00:01, security_groups: [web]}
";

    fn mistakes(text: &str) -> Vec<String> {
        match parse_one(text, "site.yaml") {
            Err(CliError::Client(ClientError::Problem(problem))) => problem
                .errors
                .into_iter()
                .map(|error| format!("{}: {}", error.pointer, error.message))
                .collect(),
            Err(error) => vec![error.to_string()],
            Ok(objects) => panic!("{objects:?}"),
        }
    }

    fn parse_one(text: &str, origin: &str) -> Result<Vec<super::SiteObject>, CliError> {
        parse(&[(origin.to_owned(), text.to_owned())])
    }

    #[test]
    fn objects_come_in_the_order_of_their_references() {
        let objects = parse_one(SITE, "site.yaml").unwrap();
        let names: Vec<String> =
            objects.iter().map(|object| format!("{} {}", object.kind, object.name)).collect();
        assert_eq!(names, ["network blue", "network wan", "security group web", "port web-1", "router edge"]);
        assert_eq!(objects[2].fields["rules"][0]["port_range_min"], 80);
        assert_eq!(objects[2].fields.get("id"), None);
        assert_eq!(objects[2].fields["rules"][1]["remote_group_id"], "web");
        assert_eq!(objects[4].fields["external"], json!({"network": "wan"}));
    }

    #[test]
    fn the_example_is_a_site() {
        let text = include_str!("../../../config/examples/site.yaml");
        assert_eq!(parse_one(text, "config/examples/site.yaml").map(|objects| objects.len()).unwrap(), 10);
    }

    #[test]
    fn json_is_read_too() {
        let text = r#"{"network": {"name": "a", "cidr": "10.0.0.0/24"}} {"networks": [{"name": "b", "cidr": "10.1.0.0/24"}]}"#;
        assert_eq!(parse_one(text, "-").unwrap().len(), 2);
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let yaml = "network: {name: c, cidr: 10.2.0.0/24}";
        assert_eq!(parse(&[file("a.json", text), file("b.yaml", yaml)]).unwrap().len(), 3);
        let wrong = parse(&[file("a.json", text), file("b.yaml", "vms: []")]).unwrap_err();
        assert!(format!("{wrong:?}").contains("b.yaml, document 1"), "{wrong:?}");
        assert!(parse_one("{\"network\": ", "-").unwrap_err().to_string().starts_with("-: "));
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let found = mistakes(
            "network: {name: blue, cidr: 10.0.0.1/24, gatewayip: 10.0.0.1}\n---\n\
             vms: []\n---\n\
             security_groups: [{name: web, rules: ['ingress tcp eighty']}]\n---\n\
             floating_ip: {network: wan}\n---\n\
             port: []\n---\n\
             router: {name: r}\n---\nrouter: {name: r}\n",
        );
        for (found, part) in found.iter().zip([
            "document 1, network `blue`/network/cidr: ",
            "document 1, network `blue`/network/gatewayip: ",
            "document 2: `vms` is no kind of object",
            "document 3, security_groups/0, security group `web`/rules/0: `eighty`",
            "document 4, floating ip ``: a floating IP of a site needs a name",
            "document 5: `port` must be an object",
            ": router `r` stands twice",
        ]) {
            assert!(found.starts_with(part), "{found} does not start with {part}");
        }
        assert_eq!(found.len(), 7, "{found:#?}");
        assert!(mistakes("a: [")[0].starts_with("site.yaml: "));
    }
}
