//! JSON Schemas of the kinds, made from the documentation of their fields ([`crate::docs`]) and from what the readers
//! of requests demand. Null counts as left out everywhere, so every field may be null.

use serde_json::{Map, Value, json};

use crate::Kind;
use crate::any::read_any;
use crate::docs::{self, FieldDoc};

/// Fields that every object has beside those of its kind.
const SERVER_FIELDS: [&str; 7] =
    ["id", "project", "labels", "generation", "created_at", "updated_at", "status"];

/// Structs that are shown as a text where one field says all.
const SHORT_FORMS: [&str; 2] = ["Member", "RouterExternal"];

/// The schema of a kind's fields in a request to create an object.
pub fn request(kind: Kind) -> Value {
    let (about, fields) = docs::of(kind).unwrap_or_default();
    let mut properties = properties(&fields);
    let name = json!({ "type": ["string", "null"], "maxLength": 253, "description": "The object's name." });
    properties.entry("name").or_insert(name);
    let labels = json!({ "type": ["object", "null"], "additionalProperties": { "type": "string" },
        "description": "Words of the user's, to find the object again." });
    properties.entry("labels").or_insert(labels);
    json!({ "type": "object", "description": about, "required": required(kind), "properties": properties })
}

/// The schema of an object of a kind as the API shows it.
pub fn object(kind: Kind) -> Value {
    let (about, fields) = docs::of(kind).unwrap_or_default();
    let mut all = Map::from_iter([
        ("id".to_owned(), json!({ "type": "string", "format": "uuid" })),
        ("name".to_owned(), json!({ "type": "string" })),
        ("project".to_owned(), json!({ "type": "string" })),
        ("labels".to_owned(), json!({ "type": "object", "additionalProperties": { "type": "string" } })),
    ]);
    all.append(&mut properties(&fields));
    all.insert("generation".to_owned(), json!({ "type": "integer", "minimum": 1 }));
    for time in ["created_at", "updated_at"] {
        all.insert(time.to_owned(), json!({ "type": "string", "format": "date-time" }));
    }
    all.insert("status".to_owned(), json!({ "$ref": "#/components/schemas/Status" }));
    let required: Vec<&str> =
        SERVER_FIELDS.into_iter().filter(|field| *field != "project").chain(["name"]).collect();
    json!({ "type": "object", "description": about, "required": required, "properties": all })
}

/// The fields without which no object of the kind is made: those that the reader misses in an empty request.
fn required(kind: Kind) -> Vec<String> {
    let Err(errors) = read_any(kind, &json!({ kind.singular(): {} })) else { return Vec::new() };
    let prefix = format!("/{}/", kind.singular());
    let missing = errors.into_iter().filter(|error| error.code == "missing");
    let fields = missing.filter_map(|error| error.pointer.strip_prefix(&prefix).map(str::to_owned));
    fields.filter(|field| !field.contains('/')).collect()
}

fn properties(fields: &[FieldDoc]) -> Map<String, Value> {
    fields.iter().map(|field| (field.name.clone(), property(field))).collect()
}

fn property(field: &FieldDoc) -> Value {
    let item = field.type_name.strip_prefix("list of ");
    let mut schema = if item.is_some() {
        json!({ "type": ["array", "null"], "items": plain(field, item.unwrap_or_default()) })
    } else {
        or_null(plain(field, &field.type_name))
    };
    schema["description"] = Value::String(field.text.clone());
    schema
}

/// The schema of one value.
fn plain(field: &FieldDoc, type_name: &str) -> Value {
    if SHORT_FORMS.contains(&type_name) {
        return json!({});
    }
    if !field.fields.is_empty() {
        return json!({ "type": "object", "properties": properties(&field.fields) });
    }
    if !field.words.is_empty() {
        let words: Vec<&str> = field.words.iter().map(|(word, _)| word.as_str()).collect();
        return json!({ "type": "string", "enum": words });
    }
    match type_name {
        "text" | "id" | "IP address" | "address" | "IPv4 range" | "IPv6 range" | "IP range" => {
            json!({ "type": "string" })
        }
        "true or false" => json!({ "type": "boolean" }),
        "number" => json!({ "type": "integer", "minimum": 0 }),
        "time" => json!({ "type": "string", "format": "date-time" }),
        "IPv4 address" => json!({ "type": "string", "format": "ipv4" }),
        "IPv6 address" => json!({ "type": "string", "format": "ipv6" }),
        "MAC address" => json!({ "type": "string", "pattern": "^([0-9a-f]{2}:){5}[0-9a-f]{2}$" }),
        // Of more than one shape: its documentation says which.
        _ => json!({}),
    }
}

fn or_null(mut schema: Value) -> Value {
    if let Some(kind) = schema.get("type").cloned() {
        schema["type"] = json!([kind, "null"]);
    }
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
    schema
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{object, request};
    use crate::Kind;

    #[test]
    fn schemas_say_what_the_readers_demand() {
        let network = request(Kind::Network);
        assert_eq!(network["required"], json!(["name", "cidr"]));
        assert_eq!(network["properties"]["dns"]["type"], json!(["array", "null"]));
        let words = network["properties"]["type"]["enum"].as_array().unwrap();
        assert!(words.contains(&json!("VXLAN")) && words.contains(&json!(null)), "{words:?}");
        for kind in Kind::ALL {
            assert!(object(kind)["properties"].as_object().unwrap().len() > 8, "{kind}");
        }
    }
}
