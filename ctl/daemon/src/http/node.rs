//! Paths of nodes: those that every kind has but making one, which hosts do themselves, and what is done with them.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use edgestack_model::node::NodeAction;
use edgestack_model::reader::Reader;
use edgestack_model::{FieldError, Kind, NodeSpec, value};
use serde_json::{Map, Value, json};

use super::PREFIX;
use super::body::read_json;
use super::error::Failure;
use super::objects;
use super::routes::Routes;
use super::write_call::{WriteCall, Written};
use crate::app::AppError;

/// The paths.
pub(super) fn routes() -> Routes {
    let action_path = format!("{PREFIX}/nodes/{{name}}/action");
    objects::routes_without_create::<NodeSpec>().replace(&action_path, Kind::Node, action)
}

async fn action(
    call: WriteCall,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let if_match = call.if_match.clone();
    let body = read_json(&headers, body).await?;
    let action = read_action(&body).map_err(|errors| AppError::Invalid { kind: Kind::Node, errors })?;
    let written = call.run(move |app| app.act_on_node(&name, action, if_match.as_deref())).await?;
    let Written { value: (value, plugged), plan } = written;
    let mut more = Map::new();
    if action == NodeAction::Drain {
        more.insert("plugged_ports".to_owned(), json!(plugged));
    }
    Ok(Written { value, plan }.answer_with(StatusCode::OK, more))
}

/// Reads `{"action": "cordon"}`.
fn read_action(body: &Value) -> Result<NodeAction, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut action = None;
    if let Some(mut reader) = Reader::new(body, String::new(), &mut errors) {
        action = reader.required("action", "`cordon`", |action| value::word(action, &NodeAction::WORDS));
        reader.finish();
    }
    match action {
        Some(action) if errors.is_empty() => Ok(action),
        _ => Err(errors),
    }
}
