//! One object for people: a line for each field, then its tables, then what its conditions say.

use serde_json::Value;

use crate::noun::Section;
use crate::output::Table;
use crate::value::{age_since, list, scalar, text};

/// The object as text.
pub(crate) fn object(object: &Value, sections: &[Section], color: bool) -> String {
    let mut table = Table::new(Vec::<String>::new());
    let mut fields: Vec<(&String, &Value)> = object.as_object().into_iter().flatten().collect();
    // Stable: what is of one rank keeps the order of the daemon.
    fields.sort_by_key(|(key, _)| rank(key));
    for (key, value) in fields {
        let replaced = sections.iter().any(|section| section.replaces == Some(key));
        if key != "status" && !replaced {
            for (index, line) in lines(key, value).into_iter().enumerate() {
                table.row([if index == 0 { format!("{}:", label(key)) } else { " ".to_owned() }, line]);
            }
        }
    }
    let phase = text(object, "/status/phase");
    if !phase.is_empty() {
        table.row(["Status:".to_owned(), phase]);
    }
    // What is counted: hits, traffic, addresses.
    for (key, value) in object["status"].as_object().into_iter().flatten() {
        if !["phase", "observed_generation", "conditions"].contains(&key.as_str()) {
            table.row([format!("{}:", label(key)), inline(value)]);
        }
    }
    let mut text = table.render(false, color);
    for section in sections {
        text.push_str(&["\n", section.title, ":\n"].concat());
        text.push_str(&section.table.render(true, color));
    }
    text.push_str(&conditions(object, color));
    text
}

/// The conditions that an object's status has, as a table with its title.
fn conditions(object: &Value, color: bool) -> String {
    let conditions = list(object, "/status/conditions");
    if conditions.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["CONDITION", "STATUS", "REASON", "MESSAGE"]);
    for condition in conditions {
        table.row(["/type", "/status", "/reason", "/message"].map(|pointer| text(condition, pointer)));
    }
    ["\nConditions:\n", &table.render(true, color)].concat()
}

/// Where a field stands: who it is first, when it changed last.
fn rank(key: &str) -> usize {
    const LAST: [&str; 4] = ["description", "generation", "created_at", "updated_at"];
    match key {
        "name" => 0,
        "id" => 1,
        _ => LAST.iter().position(|last| *last == key).map_or(2, |position| 3 + position),
    }
}

/// The lines of a field: one, but for a list of objects, which has one for each.
fn lines(key: &str, value: &Value) -> Vec<String> {
    match value {
        Value::String(time) if key.ends_with("_at") => {
            let age = age_since(time);
            vec![if age.is_empty() { time.clone() } else { format!("{time} ({age} ago)") }]
        }
        Value::Array(items) if items.iter().any(Value::is_object) => items.iter().map(inline).collect(),
        _ => vec![inline(value)],
    }
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(inline).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields.map(|(key, value)| format!("{key} {}", inline(value))).collect::<Vec<_>>().join(", ")
        }
        _ => scalar(value),
    }
}

/// `gateway_ip` as a label: `Gateway IP`.
fn label(key: &str) -> String {
    let words = key.split('_').enumerate().map(|(index, word)| match word {
        "ip" | "id" | "mac" | "mtu" | "cidr" | "dns" | "snat" => word.to_uppercase(),
        _ if index == 0 => {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_uppercase().collect::<String>() + letters.as_str())
                .unwrap_or_default()
        }
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn an_object_is_its_fields_its_status_and_its_conditions() {
        let router = json!({
            "created_at": "never", "id": "r1", "name": "edge", "enable_snat": true, "internal": ["blue", "green"],
            "external": {"network": "public", "ip": "203.0.113.2"}, "peer_router": null,
            "routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.7"}, {"destination": "10.8.0.0/16"}],
            "status": {"phase": "Waiting", "observed_generation": 3, "traffic": {"sessions": 2, "bytes_in": 7}, "conditions": [
                {"type": "Ready", "status": "False", "reason": "NoUplink", "message": "no uplink has physical network `wan`"}
            ]}
        });
        assert_eq!(
            super::object(&router, &[], false),
            "Name:         edge\n\
             ID:           r1\n\
             Enable SNAT:  yes\n\
             Internal:     blue, green\n\
             External:     network public, ip 203.0.113.2\n\
             Peer router:  -\n\
             Routes:       destination 10.9.0.0/16, nexthop 10.0.0.7\n              \
             destination 10.8.0.0/16\n\
             Created at:   never\n\
             Status:       Waiting\n\
             Traffic:      sessions 2, bytes_in 7\n\
             \n\
             Conditions:\n\
             CONDITION  STATUS  REASON    MESSAGE\n\
             Ready      False   NoUplink  no uplink has physical network `wan`\n"
        );
    }
}
