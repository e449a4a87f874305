//! Paths of floating IPs: those that every kind has. PUT also associates and disassociates, as in EdgeStack: a body
//! with `instance_name` associates, one without disassociates, and what such a body leaves out of the address itself
//! stays as it is.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use edgestack_model::{FloatingIpSpec, Kind};
use serde_json::{Value, json};

use super::PREFIX;
use super::body::read_json;
use super::error::Failure;
use super::objects::{self, draft};
use super::routes::Routes;
use super::write_call::WriteCall;

/// The paths.
pub(super) fn routes() -> Routes {
    let associate = format!("{PREFIX}/floating_ips/{{name}}");
    objects::routes_without_put::<FloatingIpSpec>().replace(&associate, Kind::FloatingIp, replace)
}

async fn replace(
    call: WriteCall,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let if_match = call.if_match.clone();
    let body = read_json(&headers, body).await?;
    let written = call.run(move |app| {
        app.update::<FloatingIpSpec>(&name, if_match.as_deref(), |previous| {
            let mut body = body.clone();
            let kept = [
                ("network", json!(previous.spec.network)),
                ("floating_ip", json!(previous.spec.floating_ip)),
                ("description", json!(previous.spec.description)),
                ("labels", json!(previous.labels)),
            ];
            if let Some(Value::Object(fields)) = body.get_mut("floating_ip") {
                for (key, value) in kept {
                    fields.entry(key).or_insert(value);
                }
            }
            draft(&body)
        })
    });
    Ok(written.await?.answer(StatusCode::OK))
}
