//! What the objects of a site file refer to. `apply` looks for all of it before its first write, so that a name that is
//! not there changes nothing.

use std::collections::{BTreeMap, HashSet};

use edgestack_client::{FieldError, Kind};
use edgestack_model::suggest;
use serde_json::Value;

use crate::error::CliError;
use crate::session::Session;
use crate::site::{SiteObject, field_error};
use crate::value::text;

/// The fields of a kind that refer to other objects by name or id: where they are, `*` for every element, and the kind.
const fn fields(kind: Kind) -> &'static [(&'static str, Kind)] {
    match kind {
        Kind::Port => &[("network", Kind::Network), ("security_groups/*", Kind::SecurityGroup)],
        Kind::Router => &[("internal/*", Kind::Network), ("external/network", Kind::Network)],
        Kind::FloatingIp => {
            &[("network", Kind::Network), ("instance_name", Kind::Port), ("router", Kind::Router)]
        }
        Kind::LoadBalancer => &[("network", Kind::Network), ("router", Kind::Router)],
        Kind::SecurityGroup => &[("rules/*/remote_group_id", Kind::SecurityGroup)],
        _ => &[],
    }
}

/// A reference of one object to another one.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    pointer: String,
    kind: Kind,
    name: String,
}

/// The references to what is neither in the file nor at the daemon.
pub(crate) async fn missing(session: &Session, objects: &[SiteObject]) -> Result<Vec<FieldError>, CliError> {
    let own: HashSet<(Kind, &str)> =
        objects.iter().map(|object| (object.kind, object.name.as_str())).collect();
    let mut outside: BTreeMap<Kind, Vec<(String, String)>> = BTreeMap::new();
    for object in objects {
        for reference in references(object) {
            if !own.contains(&(reference.kind, reference.name.as_str())) {
                let place = format!("{}{}", object.place, reference.pointer);
                outside.entry(reference.kind).or_default().push((place, reference.name));
            }
        }
    }
    let mut errors = Vec::new();
    for (kind, wanted) in outside {
        let there: Vec<Value> = session.client.list(kind).await?.items;
        let names: Vec<String> = there.iter().map(|object| text(object, "/name")).collect();
        let in_file = objects.iter().filter(|object| object.kind == kind).map(|object| object.name.as_str());
        let known: Vec<&str> = names.iter().map(String::as_str).chain(in_file).collect();
        for (place, name) in wanted {
            if !known.contains(&name.as_str()) && !there.iter().any(|object| object["id"] == *name) {
                let hint = suggest::nearest(&name, known.iter().copied())
                    .map(|other| format!("did you mean `{other}`?"));
                errors.push(field_error(place, format!("there is no {kind} `{name}`"), hint));
            }
        }
    }
    Ok(errors)
}

fn references(object: &SiteObject) -> Vec<Reference> {
    let root = Value::Object(object.fields.clone());
    let mut found = Vec::new();
    let is_balanced = text(&root, "/instance_type").eq_ignore_ascii_case("lb");
    for (path, kind) in fields(object.kind) {
        let steps: Vec<&str> = path.split('/').collect();
        let kind = if is_balanced && *kind == Kind::Port { Kind::LoadBalancer } else { *kind };
        collect(&root, &steps, String::new(), kind, &mut found);
    }
    found
}

fn collect(value: &Value, steps: &[&str], pointer: String, kind: Kind, found: &mut Vec<Reference>) {
    match (steps, value) {
        ([], Value::String(name)) if !name.is_empty() => {
            found.push(Reference { pointer, kind, name: name.clone() });
        }
        (["*", rest @ ..], Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, rest, format!("{pointer}/{index}"), kind, found);
            }
        }
        ([step, rest @ ..], Value::Object(fields)) => {
            if let Some(field) = fields.get(*step) {
                collect(field, rest, format!("{pointer}/{step}"), kind, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use edgestack_client::Kind;
    use serde_json::json;

    use super::references;
    use crate::site::SiteObject;

    #[test]
    fn references_are_found_with_their_places() {
        let found = |kind, fields: serde_json::Value| -> Vec<String> {
            let fields = fields.as_object().unwrap().clone();
            let object = SiteObject { place: String::new(), kind, name: "x".to_owned(), fields };
            let shown = |reference: &super::Reference| {
                format!("{} {} {}", reference.pointer, reference.kind, reference.name)
            };
            references(&object).iter().map(shown).collect()
        };
        assert_eq!(
            found(Kind::Port, json!({"network": "a", "security_groups": ["b", "c"]})),
            [
                "/network network a",
                "/security_groups/0 security group b",
                "/security_groups/1 security group c"
            ]
        );
        assert_eq!(
            found(Kind::Router, json!({"internal": [], "external": {"network": "wan", "ip": null}})),
            ["/external/network network wan"]
        );
        assert_eq!(
            found(
                Kind::SecurityGroup,
                json!({"rules": [{"direction": "egress"}, {"remote_group_id": "web"}]})
            ),
            ["/rules/1/remote_group_id security group web"]
        );
        assert!(found(Kind::FloatingIp, json!({"network": null, "instance_name": ""})).is_empty());
    }
}
