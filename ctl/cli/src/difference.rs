//! What a PATCH would change in an object, field by field. `apply` shows it, and leaves alone what would stay as it is.
//!
//! Both sides are read by the model, so that spellings of one value (`vxlan` and `VXLAN`) are no difference.

use edgestack_client::Kind;
use edgestack_model::{
    FloatingIpSpec, NetworkSpec, PortSpec, RouterSpec, SecurityGroupSpec, Spec, read_draft,
};
use serde_json::{Map, Value, json};

use crate::rule_text::RuleText;
use crate::value::scalar;

/// A field that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its name.
    pub field: String,
    /// What it is, empty for nothing.
    pub from: String,
    /// What it becomes, empty for nothing.
    pub to: String,
}

/// What changes in `object` when `fields` are laid over it. What the model cannot read counts as changed whole: the
/// daemon will say more.
pub(crate) fn changes(kind: Kind, object: &Value, fields: &Map<String, Value>) -> Vec<Change> {
    let merged = merged(object, &Value::Object(fields.clone()));
    let read = |object: &Value| -> Option<Value> {
        let body = json!({ kind.singular(): object });
        match kind {
            Kind::Network => spec::<NetworkSpec>(&body),
            Kind::Port => spec::<PortSpec>(&body),
            Kind::Router => spec::<RouterSpec>(&body),
            Kind::FloatingIp => spec::<FloatingIpSpec>(&body),
            Kind::SecurityGroup => group(&body),
            Kind::SecurityGroupRule => None,
        }
    };
    let (Some(Value::Object(from)), Some(Value::Object(to))) = (read(object), read(&merged)) else {
        return vec![Change { field: "everything".to_owned(), from: String::new(), to: String::new() }];
    };
    let removed = from.keys().filter(|key| !to.contains_key(*key));
    removed
        .chain(to.keys())
        .filter(|key| from.get(*key) != to.get(*key))
        .map(|key| {
            let (before, after) = (from.get(key), to.get(key));
            let is_rules = kind == Kind::SecurityGroup && key == "rules";
            let (from, to) = if is_rules {
                (without(before, after), without(after, before))
            } else {
                (before.map(scalar).unwrap_or_default(), after.map(scalar).unwrap_or_default())
            };
            Change { field: key.clone(), from, to }
        })
        .collect()
}

/// The entries of one list that another one does not have.
fn without(list: Option<&Value>, other: Option<&Value>) -> String {
    let entries = |list: Option<&Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
    let other = entries(other);
    let own: Vec<String> = entries(list).iter().filter(|entry| !other.contains(entry)).map(scalar).collect();
    own.join(", ")
}

fn spec<S: Spec>(body: &Value) -> Option<Value> {
    let draft = read_draft::<S>(body).ok()?;
    let mut fields = serde_json::to_value(draft.spec).ok()?;
    // Nothing and left out are the same.
    fields.as_object_mut()?.retain(|_, field| !field.is_null());
    Some(fields)
}

/// A group's rules are a set: neither their order nor their ids matter.
fn group(body: &Value) -> Option<Value> {
    let draft = read_draft::<SecurityGroupSpec>(body).ok()?;
    let mut rules: Vec<String> = Vec::new();
    for rule in draft.spec.wanted_rules.unwrap_or_default() {
        let text = RuleText::of(&serde_json::to_value(&rule).ok()?);
        rules.push([text, rule.description].join(" ").trim_end().to_owned());
    }
    rules.sort();
    Some(json!({ "description": draft.spec.description, "rules": rules }))
}

/// `fields` laid over `object` as a PATCH lays them (RFC 7396).
fn merged(object: &Value, fields: &Value) -> Value {
    let Value::Object(fields) = fields else { return fields.clone() };
    let mut result = object.as_object().cloned().unwrap_or_default();
    for (key, field) in fields {
        if field.is_null() {
            result.remove(key);
        } else {
            let merged = merged(result.get(key).unwrap_or(&Value::Null), field);
            result.insert(key.clone(), merged);
        }
    }
    Value::Object(result)
}

#[cfg(test)]
mod tests {
    use edgestack_client::Kind;
    use serde_json::{Value, json};

    use super::{changes, merged};

    /// The changes as `field: from > to`.
    fn shown(kind: Kind, object: &Value, fields: &Value) -> Vec<String> {
        let changes = changes(kind, object, fields.as_object().unwrap());
        changes.iter().map(|change| format!("{}: {} > {}", change.field, change.from, change.to)).collect()
    }

    #[test]
    fn what_holds_already_is_no_change() {
        let network = json!({"id": "1", "name": "blue", "type": "VXLAN", "segment_id": 7, "mtu": 1500,
            "cidr": "10.0.0.0/24", "gateway_ip": null, "default_route": true, "external": false, "dns": [],
            "generation": 1, "description": ""});
        let shown = |fields| shown(Kind::Network, &network, &fields);
        assert_eq!(shown(json!({"name": "blue", "type": "vxlan", "cidr": "10.0.0.0/24"})), [""; 0]);
        assert_eq!(
            shown(json!({"mtu": 1400, "gateway_ip": "10.0.0.9", "dns": ["9.9.9.9", "8.8.8.8"]})),
            ["mtu: 1500 > 1400", "gateway_ip:  > 10.0.0.9", "dns:  > 9.9.9.9,8.8.8.8"]
        );
        assert_eq!(shown(json!({"segment_id": null})), ["segment_id: 7 > "]);
        assert_eq!(shown(json!({"mtu": "many"})), ["everything:  > "]);
    }

    #[test]
    fn rules_are_a_set() {
        let group = json!({"name": "web", "description": "", "rules": [
            {"id": "1", "security_group_id": "9", "direction": "ingress", "protocol": "tcp", "port_range_min": 80,
             "port_range_max": 80, "ethernet_type": "IPv4", "remote_ip_prefix": null, "remote_group_id": null},
            {"id": "2", "security_group_id": "9", "direction": "egress", "protocol": "all"}]});
        let shown = |rules| shown(Kind::SecurityGroup, &group, &json!({ "rules": rules }));
        let same = json!([{"direction": "egress"},
            {"direction": "ingress", "protocol": "TCP", "port_range_min": 80, "port_range_max": 80}]);
        assert_eq!(shown(same), [""; 0]);
        assert_eq!(shown(json!([{"direction": "egress"}])), ["rules: ingress tcp 80 > "]);
    }

    #[test]
    fn fields_are_laid_over_an_object() {
        let object = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1]});
        let fields = json!({"a": null, "b": {"c": 4}, "e": [2], "f": {"g": null}});
        assert_eq!(merged(&object, &fields), json!({"b": {"c": 4, "d": 3}, "e": [2], "f": {}}));
    }
}
