//! What a PATCH would change in an object, field by field. `apply` shows it, and leaves alone what would stay as it is.
//!
//! Both sides are read by the model, so that spellings of one value (`vxlan` and `VXLAN`) are no difference.

use edgestack_client::Kind;
use edgestack_model::{SecurityGroupSpec, read_any, read_draft};
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

/// The fields of an object before and after.
pub(crate) struct Sides {
    /// As they are; none where there is no object, or the model cannot read it.
    pub from: Option<Map<String, Value>>,
    /// As they become.
    pub to: Option<Map<String, Value>>,
}

/// What changes in `object` when `fields` are laid over it. What the model cannot read counts as changed whole: the
/// daemon will say more.
pub(crate) fn changes(kind: Kind, object: &Value, fields: &Map<String, Value>) -> Vec<Change> {
    let Sides { from: Some(from), to: Some(to) } = sides(kind, object, fields) else {
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

/// The fields of `object` as they are, and with `fields` laid over them, as the model reads them. None where it cannot.
pub(crate) fn sides(kind: Kind, object: &Value, fields: &Map<String, Value>) -> Sides {
    let merged = merged(object, &Value::Object(fields.clone()));
    Sides { from: read(kind, object), to: read(kind, &merged) }
}

/// The fields of an object as the model reads them. Nothing and left out are the same.
pub(crate) fn read(kind: Kind, object: &Value) -> Option<Map<String, Value>> {
    let body = json!({ kind.singular(): object });
    let mut fields = match kind {
        Kind::SecurityGroup => group(&body)?,
        _ => read_any(kind, &body).ok()?,
    };
    fields.as_object_mut()?.retain(|_, field| !field.is_null());
    fields.as_object().cloned()
}

/// The entries of one list that another one does not have.
fn without(list: Option<&Value>, other: Option<&Value>) -> String {
    let entries = |list: Option<&Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
    let other = entries(other);
    let own: Vec<String> = entries(list).iter().filter(|entry| !other.contains(entry)).map(scalar).collect();
    own.join(", ")
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
    let labels = (!draft.labels.is_empty()).then_some(draft.labels);
    Some(json!({ "description": draft.spec.description, "rules": rules, "labels": labels }))
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
