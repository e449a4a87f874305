//! The REST API: extract, call, map. One file per noun, like everywhere.
//!
//! Nothing here decides anything about objects: the rules are in `app/`, the traffic is in the dataplane. The same
//! router serves the control socket; the metrics listener has only what `service.rs` offers without secrets.

mod address_group;
mod audit;
mod backups;
mod body;
mod chunks;
mod dataplane;
pub mod error;
mod events;
mod flavor;
mod floating_ip;
mod guard;
mod idempotency;
mod keypair;
mod load_balancer;
mod measured;
mod network;
mod node;
mod objects;
mod openapi;
mod operations;
mod parameters;
mod port;
mod port_forward;
mod project;
mod quota;
mod role_binding;
mod router;
pub mod routes;
mod security_group;
mod security_group_rule;
pub mod server;
pub mod service;
pub mod tls;
mod token;
mod write_call;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use crate::access::Access;
use crate::app::App;
use crate::backups::Backups;
use crate::events::Feed;
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::operations::Operations;
use crate::reconcile::Progress;
use crate::reconcile::network::Uplink;
use error::Failure;
use guard::{Granted, Table, guard};
use idempotency::Keys;
use routes::Routes;

/// Prefix of the paths of objects.
pub const PREFIX: &str = "/edgetron/resources/kubevirt";
/// Prefix of the paths that look into the dataplane.
pub const NETWORK_PREFIX: &str = "/edgetron/network";
/// How long an answer may take until its first byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Plans of dry runs that are made at the same time; others wait.
const PLANS_MAX: usize = 2;

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
    /// What happened to objects.
    pub events: Arc<Feed>,
    /// What takes longer than a request.
    pub operations: Arc<Operations>,
    /// Backups of the store.
    pub backups: Arc<Backups>,
    /// Interfaces to the outside.
    pub uplinks: Arc<[Uplink]>,
}

/// What all requests share. Handlers take [`Api`], which is made from it for each request.
#[derive(Clone)]
pub struct Server {
    api: Api,
    /// Keys of requests that can be sent again.
    keys: Arc<Keys>,
    access: Arc<Access>,
    table: Arc<Table>,
    /// Places for plans of dry runs, each of which compiles the whole configuration twice.
    plans: Arc<Semaphore>,
}

impl Server {
    /// A server of `api`, for whom `access` says.
    pub fn new(api: Api, access: Arc<Access>) -> Self {
        let (table, plans) = (Arc::new(Table::new(&routes())), Arc::new(Semaphore::new(PLANS_MAX)));
        Self { api, keys: Arc::default(), access, table, plans }
    }
}

impl FromRequestParts<Server> for Api {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Self::Rejection> {
        let Some(Granted { scope, .. }) = parts.extensions.get() else {
            return Err(Failure::internal("the request was not looked at by the guard"));
        };
        Ok(Self { app: server.api.app.within(scope.clone()), ..server.api.clone() })
    }
}

/// Every route of the API.
pub fn routes() -> Routes {
    Routes::default()
        .merge(network::routes())
        .merge(port::routes())
        .merge(router::routes())
        .merge(floating_ip::routes())
        .merge(load_balancer::routes())
        .merge(security_group::routes())
        .merge(security_group_rule::routes())
        .merge(events::routes())
        .merge(operations::routes())
        .merge(backups::routes())
        .merge(address_group::routes())
        .merge(flavor::routes())
        .merge(keypair::routes())
        .merge(node::routes())
        .merge(dataplane::routes())
        .merge(project::routes())
        .merge(token::routes())
        .merge(role_binding::routes())
        .merge(quota::routes())
        .merge(audit::routes())
        .merge(service::routes())
        .merge(openapi::routes())
}

/// The whole API.
pub fn router(server: Server) -> Router {
    routes()
        .into_router()
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(no_such_path)
        .layer(middleware::from_fn_with_state(server.clone(), idempotency::answer_once))
        .layer(middleware::from_fn_with_state(server.clone(), guard))
        .layer(middleware::from_fn_with_state(server.clone(), observe))
        .with_state(server)
}

/// Counts and times a request, and ends it when it takes too long.
async fn observe(State(server): State<Server>, request: Request, next: Next) -> Response {
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
    server.api.metrics.count_request(method_label(&method), &path, status, elapsed);
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
