//! Paths of operations: what takes longer than a request, its progress, and how it is given up.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgestack_model::operation::Operation;
use edgestack_model::value;
use serde_json::json;

use super::error::Failure;
use super::parameters::Parameters;
use super::routes::Routes;
use super::{Api, PREFIX};
use crate::access::table::Resource;
use crate::operations::{OperationError, Operations};

/// How long a request may wait for the end of an operation: less than any request may take.
pub(super) const WAIT_SECONDS_MAX: u64 = 25;

/// The paths.
pub(super) fn routes() -> Routes {
    let one = format!("{PREFIX}/operations/{{name}}");
    Routes::default()
        .read(&format!("{PREFIX}/operations"), Resource::Operations, list)
        .read(&one, Resource::Operations, show)
        .delete(&one, Resource::Operations, cancel)
}

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        let detail = error.to_string();
        match error {
            OperationError::TooMany => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", "Too many operations", detail)
            }
            OperationError::NotFound(_) => {
                Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such operation", detail)
            }
            OperationError::Ended(_) => {
                Self::new(StatusCode::CONFLICT, "ended", "The operation has ended", detail)
            }
            OperationError::Store(error) => Self::from_store(&error),
        }
    }
}

async fn list(api: Api, parameters: Parameters) -> Result<Response, Failure> {
    parameters.finish()?;
    let operations = ask(&api, |operations| operations.list().map_err(OperationError::from)).await?;
    Ok(axum::Json(json!({ "operations": operations, "total": operations.len() })).into_response())
}

async fn show(api: Api, Path(id): Path<String>, mut parameters: Parameters) -> Result<Response, Failure> {
    let wait = parameters.optional(&["wait"], |wait| value::integer(wait, 0, WAIT_SECONDS_MAX));
    parameters.finish()?;
    if let Some(seconds) = wait {
        // Over, or not over yet: the answer says which.
        let _ = tokio::time::timeout(Duration::from_secs(seconds), api.operations.ended(&id)).await;
    }
    let operation = ask(&api, move |operations| operations.get(&id)).await?;
    Ok(axum::Json(json!({ "operation": operation })).into_response())
}

async fn cancel(api: Api, Path(id): Path<String>, parameters: Parameters) -> Result<Response, Failure> {
    parameters.finish()?;
    let operation = ask(&api, move |operations| operations.cancel(&id)).await?;
    Ok(axum::Json(json!({ "message": "OK", "id": operation.id, "operation": operation })).into_response())
}

async fn ask<T: Send + 'static>(
    api: &Api,
    question: impl FnOnce(&Operations) -> Result<T, OperationError> + Send + 'static,
) -> Result<T, Failure> {
    let operations = Arc::clone(&api.operations);
    match tokio::task::spawn_blocking(move || question(&operations)).await {
        Ok(result) => result.map_err(Failure::from),
        Err(error) => Err(Failure::internal(error.to_string())),
    }
}

/// The answer to a request that began an operation.
pub(super) fn accepted(operation: &Operation) -> Response {
    let body = json!({ "message": "OK", "id": operation.id, "operation": operation });
    let mut response = (StatusCode::ACCEPTED, axum::Json(body)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("{PREFIX}/operations/{}", operation.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
