//! Paths of routers: those that every kind has, and the peer router as a sub-resource.
//!
//! A router has one peer router. The paths are in the plural because EdgeStack's commands are.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use edgestack_model::reader::Reader;
use edgestack_model::router::PeerRouter;
use edgestack_model::{FieldError, Kind, RouterSpec};
use serde_json::{Map, Value, json};

use super::body::read_json;
use super::error::Failure;
use super::objects::{self, run};
use super::parameters::Parameters;
use super::port_forward;
use super::routes::Routes;
use super::write_call::WriteCall;
use super::{Api, PREFIX};
use crate::app::AppError;

/// The paths.
pub(super) fn routes() -> Routes {
    let peers = format!("{PREFIX}/routers/{{name}}/peer_routers");
    let routes = objects::routes::<RouterSpec>()
        .read(&peers, Kind::Router, list_peers)
        .act(&peers, Kind::Router, set_peer)
        .delete_part(&format!("{peers}/{{ip}}"), Kind::Router, remove_peer);
    port_forward::add(routes)
}

async fn list_peers(api: Api, Path(name): Path<String>, parameters: Parameters) -> Result<Response, Failure> {
    parameters.finish()?;
    let router = run(&api, move |app| app.get::<RouterSpec>(&name)).await?.object;
    let peers: Vec<PeerRouter> = router.spec.peer_router.into_iter().collect();
    Ok(axum::Json(json!({ "peer_routers": peers, "total": peers.len() })).into_response())
}

async fn set_peer(
    call: WriteCall,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let body = read_json(&headers, body).await?;
    let peer = read_peer(&body).map_err(|errors| AppError::Invalid { kind: Kind::Router, errors })?;
    let written = call.change(name, move |spec: &mut RouterSpec, _| {
        if let Some(existing) = spec.peer_router.as_ref().filter(|existing| **existing != peer) {
            let errors = vec![FieldError {
                pointer: "/peer_router/ip".to_owned(),
                code: "already_exists".to_owned(),
                message: format!("the router has the peer router {} already", existing.ip),
                hint: Some("remove it first".to_owned()),
            }];
            return Err(AppError::Conflict { kind: Kind::Router, errors });
        }
        if spec.external.is_none() {
            let errors = vec![FieldError {
                pointer: "/peer_router".to_owned(),
                code: "not_allowed".to_owned(),
                message: "a peer router is reached by the external network, and the router has none"
                    .to_owned(),
                hint: Some("set the router's `external` first".to_owned()),
            }];
            return Err(AppError::Invalid { kind: Kind::Router, errors });
        }
        spec.peer_router = Some(peer.clone());
        Ok(())
    });
    let written = written.await?;
    let peer = json!(written.value.object.spec.peer_router);
    Ok(written.answer_with(StatusCode::CREATED, Map::from_iter([("peer_router".to_owned(), peer)])))
}

async fn remove_peer(call: WriteCall, Path((name, ip)): Path<(String, String)>) -> Result<Response, Failure> {
    let written = call.change(name, move |spec: &mut RouterSpec, router| match spec.peer_router.take() {
        Some(peer) if peer.ip.to_string() == ip => Ok(()),
        _ => Err(AppError::NotFoundPeer { router: router.name.clone(), ip: ip.clone() }),
    });
    Ok(written.await?.answer(StatusCode::OK))
}

/// Reads `{"peer_router": {"ip": ..., "mac": ...}}`.
fn read_peer(body: &Value) -> Result<PeerRouter, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut peer = None;
    if let Some(mut outer) = Reader::new(body, String::new(), &mut errors) {
        if outer.has("peer_router") {
            peer = outer.object("peer_router", PeerRouter::read);
        } else {
            outer.required("peer_router", "{\"ip\": \"203.0.113.1\"}", |_| Ok(()));
        }
        outer.finish();
    }
    match peer {
        Some(peer) if errors.is_empty() => Ok(peer),
        _ => Err(errors),
    }
}
