//! The path of the audit log.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use edgestack_model::value;
use serde_json::json;

use super::error::Failure;
use super::parameters::Parameters;
use super::routes::Routes;
use super::{PREFIX, Server};
use crate::access::audit::PAGE_LINES_MAX;
use crate::access::table::Resource;

/// Lines of an answer where the request does not say.
const PAGE_LINES_DEFAULT: u64 = 100;

/// The paths.
pub(super) fn routes() -> Routes {
    Routes::default().read(&format!("{PREFIX}/audit"), Resource::Audit, read)
}

/// The newest lines, or those before the line `continue`.
async fn read(State(server): State<Server>, mut parameters: Parameters) -> Result<Response, Failure> {
    let limit = parameters.optional(&["limit"], |limit| value::integer(limit, 1, PAGE_LINES_MAX as u64));
    let before = parameters.optional(&["continue"], |before| value::integer(before, 1, u64::MAX));
    parameters.finish()?;
    let limit = limit.unwrap_or(PAGE_LINES_DEFAULT) as usize;
    let access = Arc::clone(&server.access);
    let lines = tokio::task::spawn_blocking(move || access.audit.read(before, limit)).await;
    let lines = lines.map_err(|error| Failure::internal(error.to_string()))?;
    let lines = lines.map_err(|error| Failure::audit_unavailable(error.to_string()))?;
    let next = lines.last().filter(|line| lines.len() == limit && line.seq > 1).map(|line| line.seq);
    let mut body = json!({ "audit": lines, "total": lines.len() });
    if let Some(next) = next {
        body["continue"] = next.to_string().into();
    }
    Ok(axum::Json(body).into_response())
}
