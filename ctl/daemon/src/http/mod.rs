//! The REST API: extract, call, map. One file per noun, like everywhere.
//!
//! Nothing here decides anything about objects: the rules are in `app/`, the traffic is in the dataplane. The same
//! router serves the control socket; the metrics listener has only what `service.rs` offers without secrets.

mod body;
mod dataplane;
pub mod error;
mod floating_ip;
mod network;
mod objects;
mod port;
mod router;
mod security_group;
mod security_group_rule;
pub mod server;
pub mod service;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::reconcile::Progress;
use error::Failure;

/// Prefix of the paths of objects.
pub const PREFIX: &str = "/edgetron/resources/kubevirt";
/// Prefix of the paths that look into the dataplane.
pub const NETWORK_PREFIX: &str = "/edgetron/network";
/// How long an answer may take until its first byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What every handler can reach.
#[derive(Clone)]
pub struct Api {
    /// The rules.
    pub app: App,
    /// The dataplane.
    pub gateway: Arc<Gateway>,
    /// How far desired state is in effect.
    pub progress: Arc<Progress>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// The whole API.
pub fn router(api: Api) -> Router {
    Router::new()
        .merge(network::routes())
        .merge(port::routes())
        .merge(router::routes())
        .merge(floating_ip::routes())
        .merge(security_group::routes())
        .merge(security_group_rule::routes())
        .merge(dataplane::routes())
        .merge(service::routes())
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(no_such_path)
        .layer(middleware::from_fn_with_state(api.clone(), observe))
        .with_state(api)
}

/// Counts and times a request, and ends it when it takes too long.
async fn observe(State(api): State<Api>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let response = if let Ok(response) = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        response
    } else {
        let detail = format!(
            "no answer within {} seconds; a change may still be made, so look before it is repeated",
            REQUEST_TIMEOUT.as_secs()
        );
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "The request took too long", detail)
            .into_response()
    };
    let status = response.status().as_u16();
    let elapsed = started.elapsed();
    tracing::debug!(%method, %path, status, elapsed_us = elapsed.as_micros() as u64, "request");
    api.metrics.count_request(method_label(&method), &path, status, elapsed);
    response
}

/// The label of a method: HTTP lets clients invent more of them, and each label is kept for good.
fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

async fn no_such_path(request: Request) -> Failure {
    let detail = format!("there is nothing at {}", request.uri().path());
    Failure::new(StatusCode::NOT_FOUND, "no_such_path", "There is no such path", detail)
}

async fn method_not_allowed(request: Request) -> Failure {
    let detail = format!("{} is not possible at {}", request.method(), request.uri().path());
    let title = "The method is not possible here";
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", title, detail)
}
