//! The description of the API (OpenAPI 3.1), made from what the daemon itself goes by: the list of routes, the model's
//! documentation and what its readers demand. Served at `/openapi.json`, for people at `/reference`, and kept in
//! `docs/openapi.json`, which a test compares.

mod answers;
mod page;
mod query;
mod special;

use std::sync::LazyLock;

use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use edgestack_model::{Kind, examples, schema};
use serde_json::{Map, Value, json};

use super::PREFIX;
use super::routes::{Route, Routes};
use crate::access::table::{Resource, Verb};
use special::Special;

/// The page for people fetches nothing and runs nothing.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| document(super::routes().list()));
static TEXT: LazyLock<String> = LazyLock::new(|| DOCUMENT.to_string());
static PAGE: LazyLock<String> = LazyLock::new(|| page::render(&DOCUMENT));

/// The paths.
pub(super) fn routes() -> Routes {
    Routes::default().read("/openapi.json", Resource::Reference, description).read(
        "/reference",
        Resource::Reference,
        reference,
    )
}

async fn description() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], TEXT.as_str()).into_response()
}

async fn reference() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY)),
    ];
    (headers, PAGE.as_str()).into_response()
}

/// The description of an API with these routes.
fn document(routes: &[Route]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let methods = paths.entry(route.path.clone()).or_insert_with(|| json!({}));
        methods[route.method.as_str().to_lowercase()] = operation(route);
    }
    let mut tags: Vec<String> = routes.iter().map(|route| route.resource.to_string()).collect();
    let mut seen = std::collections::BTreeSet::new();
    tags.retain(|tag| seen.insert(tag.clone()));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "EdgeStack MM3",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "The API of edgestackd. Bodies are wrapped in the singular of their kind, lists in the \
                plural. `{name}` in a path is a name or an id. Errors are application/problem+json and name every \
                field that is wrong.",
        },
        "servers": [{ "url": "/", "description": "The control socket (HTTP) or the API's listener (HTTPS)" }],
        "security": [{ "bearer": [] }, { "certificate": [] }, {}],
        "tags": tags.into_iter().map(|tag| json!({ "name": tag })).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "A token of `POST /tokens`." },
                "certificate": { "type": "mutualTLS",
                    "description": "A client's certificate; its common name is the user. On the control socket, \
                        the user is who the kernel says is at the other end." },
            },
            "schemas": schemas(),
            "responses": answers::errors(),
        },
    })
}

fn operation(route: &Route) -> Value {
    let special = special::of(route);
    let mut operation = json!({
        "operationId": operation_id(route),
        "tags": [route.resource.to_string()],
        "summary": special.map_or_else(|| summary(route), |special| special.summary.to_owned()),
        "parameters": parameters(route),
    });
    if let Some(body) = body(route, special) {
        operation["requestBody"] = body;
    }
    if route.resource.is_public() {
        operation["security"] = json!([{}]);
    }
    operation["responses"] = answers::of(route, special);
    operation
}

/// The kind whose objects the route is about, where it is one of the routes that every kind has.
fn kind_of(route: &Route) -> Option<Kind> {
    match route.resource {
        Resource::Object(kind) => Some(kind),
        _ => None,
    }
}

/// Whether the path is that of all objects of its kind.
fn is_collection(route: &Route) -> bool {
    kind_of(route).is_some_and(|kind| route.path == format!("{PREFIX}/{}", kind.plural()))
}

fn is_manifest(route: &Route) -> bool {
    route.path.ends_with("/manifest")
}

fn has_body(route: &Route) -> bool {
    matches!(route.method, Method::POST | Method::PUT | Method::PATCH)
}

fn summary(route: &Route) -> String {
    let Some(kind) = kind_of(route) else { return String::new() };
    match route.method {
        Method::GET if is_collection(route) => format!("List {}", kind.plural().replace('_', " ")),
        Method::GET if is_manifest(route) => {
            format!("Show the manifest of one {kind}, as a site file has it")
        }
        Method::GET => format!("Show one {kind}"),
        Method::POST => format!("Create one {kind}, or find that it is there just so"),
        Method::PUT => format!("Replace all fields of one {kind}"),
        Method::PATCH => format!("Change some fields of one {kind} (JSON merge patch)"),
        _ => format!("Remove one {kind}"),
    }
}

/// `get /edgetron/resources/kubevirt/networks/{name}` as `get_networks_name`.
fn operation_id(route: &Route) -> String {
    let path = route.path.strip_prefix(PREFIX).unwrap_or(&route.path);
    let words = path.split(['/', '.']).filter(|word| !word.is_empty());
    let words = words.map(|word| word.trim_matches(['{', '}'])).collect::<Vec<_>>().join("_");
    format!("{}_{words}", route.method.as_str().to_lowercase())
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut parameters = Vec::new();
    for name in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let (description, example) = match name {
            "ip" => ("An address.", "203.0.113.1"),
            "project" => ("Name of a project.", "blue"),
            _ => ("A name or an id.", "front"),
        };
        parameters.push(json!({ "name": name, "in": "path", "required": true, "description": description,
            "schema": { "type": "string", "minLength": 1 }, "example": example }));
    }
    let mut query = |name: &str, kind: Value, description: &str| {
        parameters.push(json!({ "name": name, "in": "query", "schema": kind, "description": description }));
    };
    let text = || json!({ "type": "string" });
    if route.resource.is_of_projects() && route.resource != Resource::Quotas {
        query("project", text(), "The project; `all` where only looked at.");
    }
    if route.method == Method::GET && is_collection(route) {
        let number = || json!({ "type": "integer", "minimum": 1, "maximum": 10_000 });
        query("limit", number(), "Most objects of this part.");
        query("page", number(), "Which part; needs `limit`.");
        query("continue", text(), "Token of the part before.");
        query("sort_by", text(), "A field, such as `name` or `status.phase`.");
        query("ascending", json!({ "type": "boolean" }), "False: the largest first.");
        query("label_selector", text(), "Conditions on labels, such as `tier=web,!old`.");
    }
    let is_of_a_kind = kind_of(route).is_some_and(|kind| kind != Kind::Token || route.verb != Verb::Create);
    if is_of_a_kind && route.verb != Verb::Read {
        query(
            "dry_run",
            json!({ "type": "boolean" }),
            "True: nothing is done; the answer says what would be.",
        );
    }
    if route.verb == Verb::Delete && kind_of(route).is_some() {
        query("cascade", json!({ "type": "boolean" }), "True: what uses the object is removed, too.");
    }
    if kind_of(route).is_some() && matches!(route.verb, Verb::Update | Verb::Delete) {
        parameters.push(json!({ "name": "If-Match", "in": "header", "schema": { "type": "string" },
            "description": "The entity tag that the object must have, from the answer that showed it." }));
    }
    if route.method == Method::POST && kind_of(route).is_some() {
        parameters.push(json!({ "name": "Idempotency-Key", "in": "header", "schema": { "type": "string" },
            "description": "A key of the client's choice: sent again with it, the request gets the same answer." }));
    }
    parameters.extend(query::of(route));
    parameters
}

fn body(route: &Route, special: Option<&Special>) -> Option<Value> {
    if !has_body(route) {
        return None;
    }
    if let Some(special) = special {
        let example = special::value(special.body);
        return Some(json!({ "required": true,
            "content": { "application/json": { "schema": { "type": "object" }, "example": example } } }));
    }
    let kind = kind_of(route)?;
    let (schema, example) = if route.method == Method::PATCH {
        let fields = json!({ kind.singular(): { "type": "object" } });
        let patch = json!({ kind.singular(): { "labels": { "tier": "web" } } });
        (json!({ "type": "object", "properties": fields }), patch)
    } else {
        let reference = json!({ "$ref": format!("#/components/schemas/{}Request", schema_name(kind)) });
        let wrapped = json!({ "type": "object", "required": [kind.singular()],
            "properties": { kind.singular(): reference } });
        (wrapped, examples::request(kind))
    };
    Some(
        json!({ "required": true, "content": { "application/json": { "schema": schema, "example": example } } }),
    )
}

/// Name of a kind among the schemas: `FloatingIp`.
fn schema_name(kind: Kind) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    kind.singular().split('_').map(word).collect()
}

fn schemas() -> Map<String, Value> {
    let mut schemas = answers::schemas();
    for kind in Kind::ALL {
        schemas.insert(schema_name(kind), schema::object(kind));
        schemas.insert(format!("{}Request", schema_name(kind)), schema::request(kind));
    }
    schemas
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde_json::Value;

    use super::{DOCUMENT, PAGE, kind_of, special};

    /// `UPDATE_DOCS=1 cargo test -p edgestackd` writes it anew.
    #[test]
    fn the_document_in_the_tree_is_this_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let text = format!("{:#}\n", *DOCUMENT);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, text).unwrap();
            return;
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(kept == text, "docs/openapi.json: write it anew by UPDATE_DOCS=1 cargo test -p edgestackd");
    }

    #[test]
    fn every_route_is_described_with_examples_of_its_bodies() {
        let routes = crate::http::routes();
        let mut ids = BTreeSet::new();
        for route in routes.list() {
            let method = route.method.as_str().to_lowercase();
            let operation = &DOCUMENT["paths"][&route.path][&method];
            let what = format!("{method} {}", route.path);
            assert!(ids.insert(operation["operationId"].to_string()), "{what}: its id is another's");
            assert_ne!(operation["summary"], "", "{what}: say in special.rs what it does");
            assert!(kind_of(route).is_some() || special::of(route).is_some(), "{what}");
            let body = &operation["requestBody"]["content"]["application/json"];
            assert!(body.is_null() || body["example"].is_object(), "{what}: no example of its body");
            let answers = operation["responses"].as_object().unwrap();
            assert!(answers.keys().any(|status| status.starts_with('2')), "{what}");
            for (status, answer) in answers.iter().filter(|(status, _)| status.starts_with('2')) {
                for (media_type, content) in answer["content"].as_object().unwrap() {
                    assert!(content.get("example").is_some(), "{what} {status} {media_type}: no example");
                }
            }
        }
        for special in special::ALL {
            let known = routes.list().iter().any(|route| special.is_of(route));
            assert!(known, "special.rs: {} {} is no route", special.method, special.path);
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value) {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(DOCUMENT.pointer(pointer).is_some(), "{reference}");
            }
            match value {
                Value::Object(fields) => fields.values().for_each(check),
                Value::Array(items) => items.iter().for_each(check),
                _ => {}
            }
        }
        check(&DOCUMENT);
    }

    #[test]
    fn the_page_shows_every_operation_and_asks_nobody_else() {
        assert!(PAGE.contains("/edgetron/resources/kubevirt/networks") && PAGE.contains("get_networks_name"));
        assert!(!PAGE.contains("http://") && !PAGE.contains("https://") && !PAGE.contains("<script"));
    }
}
