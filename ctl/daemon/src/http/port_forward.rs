//! Forwarded ports as a sub-resource of routers: ways to change the one object.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use edgestack_model::nat::{PORT_FORWARDS_MAX, PortForward};
use edgestack_model::{FieldError, Kind, RouterSpec};
use serde_json::{Map, json};

use super::body::{read_json, read_part};
use super::error::Failure;
use super::objects::run;
use super::parameters::Parameters;
use super::routes::Routes;
use super::write_call::WriteCall;
use super::{Api, PREFIX};
use crate::app::AppError;

/// Adds the paths.
pub(super) fn add(routes: Routes) -> Routes {
    let forwards = format!("{PREFIX}/routers/{{name}}/port_forwards");
    routes.read(&forwards, Kind::Router, list).act(&forwards, Kind::Router, create).delete_part(
        &format!("{forwards}/{{forward}}"),
        Kind::Router,
        remove,
    )
}

async fn list(api: Api, Path(name): Path<String>, parameters: Parameters) -> Result<Response, Failure> {
    parameters.finish()?;
    let router = run(&api, move |app| app.get::<RouterSpec>(&name)).await?.object;
    let forwards = router.spec.port_forwards;
    Ok(axum::Json(json!({ "port_forwards": forwards, "total": forwards.len() })).into_response())
}

/// Adds a forwarded port; one that says the same stays.
async fn create(
    call: WriteCall,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let body = read_json(&headers, body).await?;
    let forward = read_part(Kind::Router, &body, "port_forward", PortForward::read)?;
    let wanted = forward.clone();
    let changed = call.change(name, move |spec: &mut RouterSpec, _| {
        let own = spec.external.as_ref().and_then(|external| external.ip);
        if spec.port_forwards.iter().any(|known| known.equals(&wanted)) {
            return Ok(());
        }
        if spec.external.is_none() {
            let message = "ports are forwarded from the external network, and the router has none";
            let error = error("not_allowed", message.to_owned(), "set the router's `external` first");
            return Err(AppError::Invalid { kind: Kind::Router, errors: vec![error] });
        }
        let overlapped = spec.port_forwards.iter().find(|other| other.overlaps(&wanted, own));
        let count = spec.port_forwards.len();
        let in_the_way = match overlapped {
            Some(other) => {
                let message = format!("{wanted} overlaps {other}, which leads to {}", other.target_ip);
                Some(error("overlap", message, "remove the other first"))
            }
            None if count >= PORT_FORWARDS_MAX => {
                let message = format!("the router forwards {count} ports already");
                Some(error("too_many", message, "remove those that are no longer needed"))
            }
            None => None,
        };
        if let Some(error) = in_the_way {
            return Err(AppError::Conflict { kind: Kind::Router, errors: vec![error] });
        }
        spec.port_forwards.push(PortForward { id: String::new(), ..wanted.clone() });
        Ok(())
    });
    let changed = changed.await?;
    let known = &changed.value.object.spec.port_forwards;
    let forward = known.iter().find(|known| known.equals(&forward)).unwrap_or(&forward);
    let more = Map::from_iter([("port_forward".to_owned(), json!(forward))]);
    Ok(changed.answer_with(StatusCode::CREATED, more))
}

/// Removes by the id, or by what it is for, `tcp:8080`.
async fn remove(
    call: WriteCall,
    Path((name, reference)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let changed = call.change(name, move |spec: &mut RouterSpec, router| {
        let before = spec.port_forwards.len();
        spec.port_forwards.retain(|known| known.id != reference && known.to_string() != reference);
        if spec.port_forwards.len() == before {
            let message = format!("the router `{}` has no port forward `{reference}`", router.name);
            let hint = format!("`edgectl list-port-forwards {}` lists them", router.name);
            let errors = vec![FieldError { hint: Some(hint), ..error("not_found", message, "") }];
            return Err(AppError::NoSuchPart { kind: Kind::Router, errors });
        }
        Ok(())
    });
    Ok(changed.await?.answer(StatusCode::OK))
}

fn error(code: &str, message: String, hint: &str) -> FieldError {
    FieldError {
        pointer: "/port_forward".to_owned(),
        code: code.to_owned(),
        message,
        hint: Some(hint.to_owned()),
    }
}
