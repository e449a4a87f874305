//! Objects whose kind is only known when the program runs, such as those of a site file.

use serde_json::{Map, Value, json};

use crate::project::DEFAULT_PROJECT;
use crate::{
    AddressGroupSpec, FieldError, FlavorSpec, FloatingIpSpec, KeypairSpec, Kind, LoadBalancerSpec,
    NetworkSpec, NodeSpec, PortSpec, ProjectSpec, RoleBindingSpec, RouterSpec, SecurityGroupRuleSpec,
    SecurityGroupSpec, Spec, Status, TokenSpec, read_draft,
};

/// Reads a wrapped body of any kind: its labels and fields as the API would show them, or everything that is wrong with
/// it.
pub fn read_any(kind: Kind, body: &Value) -> Result<Value, Vec<FieldError>> {
    match kind {
        Kind::Network => read::<NetworkSpec>(body),
        Kind::Port => read::<PortSpec>(body),
        Kind::Router => read::<RouterSpec>(body),
        Kind::FloatingIp => read::<FloatingIpSpec>(body),
        Kind::LoadBalancer => read::<LoadBalancerSpec>(body),
        Kind::SecurityGroup => read::<SecurityGroupSpec>(body),
        Kind::SecurityGroupRule => read::<SecurityGroupRuleSpec>(body),
        Kind::Project => read::<ProjectSpec>(body),
        Kind::Token => read::<TokenSpec>(body),
        Kind::RoleBinding => read::<RoleBindingSpec>(body),
        Kind::AddressGroup => read::<AddressGroupSpec>(body),
        Kind::Flavor => read::<FlavorSpec>(body),
        Kind::Keypair => read::<KeypairSpec>(body),
        Kind::Node => read::<NodeSpec>(body),
    }
}

/// The object that a wrapped body of any kind asks for, as the API would show it right after its creation.
pub fn show_any(kind: Kind, body: &Value, id: &str, created_at: &str) -> Result<Value, Vec<FieldError>> {
    let fields = read_any(kind, body)?;
    let name = body[kind.singular()].get("name").cloned().unwrap_or_else(|| json!(id));
    let mut object = json!({ "id": id, "name": name });
    if kind.is_of_projects() {
        object["project"] = json!(DEFAULT_PROJECT);
    }
    object["labels"] = json!({});
    let more = json!({ "generation": 1, "created_at": created_at, "updated_at": created_at,
        "status": Status::default() });
    for (key, value) in [fields, more].into_iter().filter_map(into_fields).flatten() {
        object[key] = value;
    }
    Ok(object)
}

fn into_fields(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

fn read<S: Spec>(body: &Value) -> Result<Value, Vec<FieldError>> {
    let draft = read_draft::<S>(body)?;
    // The objects of the API are plain data; what cannot be written as JSON is not among them.
    let mut fields = serde_json::to_value(draft.spec).unwrap_or_default();
    if !draft.labels.is_empty() {
        fields["labels"] = serde_json::to_value(draft.labels).unwrap_or_default();
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::read_any;
    use crate::Kind;

    #[test]
    fn spellings_of_one_value_are_one() {
        let read = |body| read_any(Kind::Network, &body).unwrap();
        let one = read(json!({"network": {"name": "a", "cidr": "10.0.0.0/24", "type": "vxlan"}}));
        let other = read(json!({"network": {"name": "a", "cidr": "10.0.0.0/24", "type": "VXLAN"}}));
        assert_eq!(one, other);
        let errors = read_any(Kind::Port, &json!({"port": {"name": "a"}})).unwrap_err();
        assert_eq!(errors[0].pointer, "/port/network");
    }
}
