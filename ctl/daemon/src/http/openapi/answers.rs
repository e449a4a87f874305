//! What requests are answered: the objects, and every error by its status.

use axum::http::Method;
use edgestack_model::{Kind, examples};
use serde_json::{Map, Value, json};

use super::special::{self, Special};
use super::{has_body, is_collection, is_manifest, kind_of, schema_name};
use crate::access::table::{Resource, Verb};
use crate::http::routes::Route;

/// The errors, by status: the name of the answer among the components, and what it means.
const ERRORS: [(u16, &str, &str); 14] = [
    (400, "Invalid", "Something is wrong with the request; `errors` names every field."),
    (401, "Unauthenticated", "The request does not say who asks."),
    (403, "Forbidden", "Who asks may not do this."),
    (404, "NotFound", "There is no such object, or it is another project's."),
    (405, "NotAllowed", "The method is not possible here."),
    (409, "Conflict", "Another object is in the way; `errors` or `users` name it."),
    (410, "Gone", "What was asked for is no longer kept."),
    (412, "Changed", "The object has another entity tag than `If-Match` says."),
    (413, "TooLarge", "The body is too large."),
    (415, "NotJson", "The body is not said to be JSON."),
    (422, "KeyReused", "The idempotency key was used for another request."),
    (429, "TooMany", "Too many requests; `Retry-After` says when to ask again."),
    (500, "Broken", "A bug; the daemon's log has more."),
    (503, "Unavailable", "A part of the daemon does not work now; `detail` says which."),
];

/// The schemas that answers share.
pub(super) fn schemas() -> Map<String, Value> {
    let text = || json!({ "type": "string" });
    let count = || json!({ "type": "integer", "minimum": 0 });
    let condition = json!({ "type": "object", "required": ["type", "status", "reason"], "properties": {
        "type": text(), "status": { "type": "string", "enum": ["True", "False", "Unknown"] }, "reason": text(),
        "message": text() } });
    let status = json!({ "type": "object", "required": ["phase"], "properties": {
        "phase": text(), "observed_generation": { "type": "integer", "minimum": 0 },
        "conditions": { "type": "array", "items": condition },
        "addresses": { "type": "object", "properties": { "used": count(), "total": count() },
            "description": "Of a network: how many addresses of its pool are given, and how many there are." },
        "hits": { "type": "integer", "minimum": 0,
            "description": "Of one security group rule that is shown: connections that it has allowed." },
        "traffic": { "type": "object", "properties": { "sessions": count(), "packets_out": count(),
                "packets_in": count(), "bytes_out": count(), "bytes_in": count() },
            "description": "Of one router or floating IP that is shown: what it has translated." } },
        "description": "What became of the object, and what it waits for." });
    let field = json!({ "type": "object", "required": ["pointer", "code", "message"], "properties": {
        "pointer": text(), "code": text(), "message": text(), "hint": text() } });
    let user = json!({ "type": "object", "properties": { "kind": text(), "id": text(), "name": text() } });
    let problem = json!({ "type": "object", "required": ["type", "title", "status", "detail", "code"],
        "properties": { "type": text(), "title": text(), "status": { "type": "integer" }, "detail": text(),
            "code": text(), "errors": { "type": "array", "items": field },
            "users": { "type": "array", "items": user } } });
    Map::from_iter([("Problem".to_owned(), problem), ("Status".to_owned(), status)])
}

/// The errors as components.
pub(super) fn errors() -> Map<String, Value> {
    let component = |(status, name, meaning): &(u16, &str, &str)| {
        let example = json!({ "type": "/problems/example", "title": name, "status": status, "detail": meaning,
            "code": "example" });
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        let content = json!({ "application/problem+json": { "schema": schema, "example": example } });
        ((*name).to_owned(), json!({ "description": meaning, "content": content }))
    };
    ERRORS.iter().map(component).collect()
}

/// What a request by this route may be answered.
pub(super) fn of(route: &Route, special: Option<&Special>) -> Value {
    let mut answers = Map::new();
    match (special, kind_of(route)) {
        (Some(special), _) => of_special(route, special, &mut answers),
        (None, Some(kind)) => of_kind(route, kind, &mut answers),
        (None, None) => {}
    }
    for (status, name, _) in ERRORS.iter().filter(|(status, _, _)| is_possible(route, *status)) {
        answers.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{name}") }));
    }
    Value::Object(answers)
}

fn is_possible(route: &Route, status: u16) -> bool {
    match status {
        409 => route.verb != Verb::Read,
        410 => route.resource == Resource::Events,
        412 => matches!(route.verb, Verb::Update | Verb::Delete),
        413 | 415 => has_body(route),
        422 => has_body(route) || route.verb == Verb::Delete,
        // Nodes are made by their hosts.
        405 => false,
        401 | 403 => !route.resource.is_public(),
        _ => true,
    }
}

fn of_special(route: &Route, special: &Special, answers: &mut Map<String, Value>) {
    let schema = if special.is_json() { json!({ "type": "object" }) } else { json!({ "type": "string" }) };
    let example = if special.is_json() { special::value(special.answer) } else { json!(special.answer) };
    let mut content = json!({ special.media_type: { "schema": schema, "example": example } });
    if route.resource == Resource::Events {
        let message = "event: created\nid: 42\ndata: {\"kind\": \"network\", \"name\": \"front\"}\n\n";
        content["text/event-stream"] = json!({ "schema": { "type": "string" }, "example": message });
    }
    let answer = json!({ "description": special.summary, "content": content });
    if special.status == 201 {
        let mut planned = answer.clone();
        planned["description"] = json!("What it would do, where only that was asked for");
        planned["content"][special.media_type]["example"]["dry_run"] = json!(true);
        planned["content"][special.media_type]["example"]["plan"] = json!({});
        answers.insert("200".to_owned(), planned);
    }
    answers.insert(special.status.to_string(), answer);
}

fn of_kind(route: &Route, kind: Kind, answers: &mut Map<String, Value>) {
    let object = json!({ "$ref": format!("#/components/schemas/{}", schema_name(kind)) });
    let example = examples::object(kind);
    let json_answer = |description: &str, schema: Value, example: Value| {
        json!({ "description": description,
            "content": { "application/json": { "schema": schema, "example": example } } })
    };
    if is_manifest(route) {
        let schema = json!({ "type": "object", "required": ["manifest"],
            "properties": { "manifest": { "type": "string" } } });
        let example = json!({ "manifest": format!("{}:\n  name: front\n", kind.singular()) });
        answers.insert("200".to_owned(), json_answer("The manifest, in YAML", schema, example));
        return;
    }
    if route.method == Method::GET && is_collection(route) {
        let schema = json!({ "type": "object", "required": [kind.plural(), "total", "revision"], "properties": {
            kind.plural(): { "type": "array", "items": object }, "total": { "type": "integer", "minimum": 0 },
            "continue": { "type": "string" }, "revision": { "type": "integer", "minimum": 0 } } });
        let example = json!({ kind.plural(): [example], "total": 1, "revision": 42 });
        answers.insert("200".to_owned(), json_answer("The objects", schema, example));
        return;
    }
    if route.method == Method::GET {
        let schema = json!({ "type": "object", "required": [kind.singular()],
            "properties": { kind.singular(): object } });
        let shown = json_answer("The object", schema, json!({ kind.singular(): example }));
        answers.insert("200".to_owned(), shown);
        answers.insert(
            "304".to_owned(),
            json!({ "description": "It is as `If-None-Match` says", "content": {} }),
        );
        return;
    }
    let mut done = json!({ "message": "OK", "id": example["id"], "name": example["name"] });
    let mut properties = json!({ "message": { "type": "string" }, "id": { "type": "string" },
        "name": { "type": "string" }, "dry_run": { "type": "boolean" }, "plan": { "type": "object" } });
    if route.verb != Verb::Delete {
        done[kind.singular()] = example;
        properties[kind.singular()] = object;
    }
    let schema = json!({ "type": "object", "required": ["message", "id", "name"], "properties": properties });
    if route.verb == Verb::Create {
        answers.insert("201".to_owned(), json_answer("It was made", schema.clone(), done.clone()));
    }
    let description = if route.verb == Verb::Create {
        "It was there already, just so, or is only planned"
    } else {
        "It is done"
    };
    answers.insert("200".to_owned(), json_answer(description, schema, done));
}
