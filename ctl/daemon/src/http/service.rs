//! Paths about the daemon itself: version, health, metrics.

use axum::Extension;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::error::Failure;
use super::guard::Granted;
use super::routes::Routes;
use super::{Api, Server};
use crate::access::table::Resource;

/// Media type of Prometheus' text format.
const METRICS_TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The router of the metrics listener: what is here, for everybody who can reach its address.
pub fn router(server: Server) -> Router {
    routes().into_router().layer(Extension(Granted::to_everybody())).with_state(server)
}

/// The paths.
pub(super) fn routes() -> Routes {
    Routes::default()
        .read("/version", Resource::Version, version)
        .read("/whoami", Resource::Version, whoami)
        .read("/healthz", Resource::Health, health)
        .read("/readyz", Resource::Health, ready)
        .read("/metrics", Resource::Metrics, metrics)
}

async fn version(api: Api) -> Response {
    let body = json!({
        "name": "edgestackd",
        "version": env!("CARGO_PKG_VERSION"),
        "abi_version": edgestack_abi::maps::ABI_VERSION,
        "schema_version": crate::store::SCHEMA_VERSION,
        "dataplane": api.gateway.state(),
    });
    axum::Json(body).into_response()
}

/// Who the caller is, and which roles they have.
async fn whoami(Extension(granted): Extension<Granted>) -> Response {
    let Granted { caller, scope, .. } = granted;
    let body = json!({ "name": caller.name, "roles": caller.describe_grants(), "project": scope.project() });
    axum::Json(body).into_response()
}

async fn health() -> Response {
    axum::Json(json!({ "status": "ok" })).into_response()
}

/// Ready: everything that was stored when the daemon started is in effect.
async fn ready(State(server): State<Server>) -> Result<Response, Failure> {
    match server.api.progress.not_ready() {
        None => Ok(axum::Json(json!({ "status": "ready" })).into_response()),
        Some(reason) => {
            let title = "The daemon is not ready";
            Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", title, reason))
        }
    }
}

async fn metrics(api: Api) -> Result<Response, Failure> {
    let text = tokio::task::spawn_blocking(move || api.metrics.render()).await;
    let text = text.map_err(|error| Failure::internal(error.to_string()))?;
    let text = text.map_err(|error| Failure::internal(format!("the metrics cannot be written: {error}")))?;
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(METRICS_TEXT));
    Ok(response)
}
