//! What may stand in the queries of routes that not every kind has.

use edgestack_dataplane::live_trace::LIVE_TRACE_PACKETS_MAX;
use edgestack_model::Kind;
use edgestack_model::event::Change;
use serde_json::{Value, json};

use crate::access::audit::PAGE_LINES_MAX;
use crate::events::EVENTS_MAX;
use crate::http::PREFIX;
use crate::http::dataplane::FLOWS_LIMIT_MAX;
use crate::http::network::AVAILABLE_MAX;
use crate::http::operations::WAIT_SECONDS_MAX;
use crate::http::routes::Route;

/// The parameters of a route.
pub(super) fn of(route: &Route) -> Vec<Value> {
    let path = route.path.strip_prefix(PREFIX).unwrap_or(&route.path);
    match (route.method.as_str(), path) {
        ("GET", "/networks/available_ips") => {
            vec![optional("limit", &number(1, AVAILABLE_MAX), "Most addresses of one network.")]
        }
        ("GET", "/operations/{name}") => {
            vec![optional("wait", &number(0, WAIT_SECONDS_MAX), "Seconds to wait for its end at most.")]
        }
        ("GET", "/audit") => vec![
            optional("limit", &number(1, PAGE_LINES_MAX as u64), "Most lines of this part."),
            optional("continue", &number(1, u64::MAX), "From the part before: only older lines."),
        ],
        ("GET", "/events") => events(),
        ("GET", "/edgetron/network/flows") => {
            let limit = optional("limit", &number(0, FLOWS_LIMIT_MAX as u64), "Most connections shown.");
            flows().into_iter().chain([limit]).collect()
        }
        ("DELETE", "/edgetron/network/flows") => {
            let all = optional("all", &flag(), "True, and nothing else given: every connection is meant.");
            flows().into_iter().chain([all]).collect()
        }
        ("GET", "/edgetron/network/capture") => {
            let mut port = port();
            port["required"] = json!(true);
            vec![port, optional("limit", &number(0, u64::MAX), "Packets after which it ends.")]
        }
        ("GET", "/edgetron/network/trace/live") => vec![
            port(),
            protocol(),
            optional("source", &address(), "Source address as received."),
            optional("destination", &address(), "Destination address as received."),
            optional("source_port", &number(0, u16::MAX.into()), "Source port."),
            optional("destination_port", &number(0, u16::MAX.into()), "Destination port."),
            optional("count", &number(1, LIVE_TRACE_PACKETS_MAX), "Packets after which it ends."),
        ],
        _ => Vec::new(),
    }
}

fn events() -> Vec<Value> {
    let kinds = json!({ "type": "string", "enum": Kind::ALL.map(Kind::singular) });
    let changes = json!({ "type": "string", "enum": Change::WORDS.map(|(word, _)| word) });
    vec![
        optional("since", &number(0, u64::MAX), "Only what came after this revision."),
        optional("limit", &number(1, EVENTS_MAX as u64), "Most events of a list: the newest."),
        optional("kind", &kinds, "Only events of this kind of object."),
        optional("id", &text(), "Only those of the object with this id."),
        optional("name", &text(), "Only those of objects of this name."),
        optional("type", &changes, "Only this change."),
    ]
}

/// Which flows are meant.
fn flows() -> [Value; 6] {
    [
        protocol(),
        optional("address", &address(), "An address of any side, as received or as translated."),
        optional("transport_port", &number(0, u16::MAX.into()), "A port or ICMP identifier of any side."),
        optional("state", &text(), "State of the connection, such as `established`."),
        port(),
        optional("project", &text(), "Project of a workload, on any side."),
    ]
}

fn port() -> Value {
    optional("port", &text(), "Name or id of a port of the gateway.")
}

fn protocol() -> Value {
    optional("protocol", &text(), "Name or number of the IP protocol.")
}

fn optional(name: &str, schema: &Value, description: &str) -> Value {
    json!({ "name": name, "in": "query", "schema": schema, "description": description })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn flag() -> Value {
    json!({ "type": "boolean" })
}

fn address() -> Value {
    json!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
}

fn number(least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}
