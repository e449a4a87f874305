//! Paths of tokens: made, looked at and removed, never changed. The answer to the making has the secret, and no other.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgestack_model::TokenSpec;
use serde_json::json;

use super::body::read_json;
use super::error::Failure;
use super::objects::{self, draft, run};
use super::parameters::Parameters;
use super::routes::Routes;
use super::{Api, PREFIX};
use crate::access::{digest, new_secret};
use crate::app::Created;

/// The paths.
pub(super) fn routes() -> Routes {
    objects::routes_without_change::<TokenSpec, _>(create)
}

async fn create(
    api: Api,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    parameters.finish()?;
    let body = read_json(&headers, body).await?;
    let (created, secret) = run(&api, move |app| {
        let mut draft = draft::<TokenSpec>(&body)?;
        let secret = new_secret()?;
        draft.spec.digest = Some(digest(&secret));
        Ok((app.create(&draft)?, secret))
    })
    .await?;
    let (Created::New(shown) | Created::Existing(shown)) = created;
    let object = shown.object;
    let location = format!("{PREFIX}/tokens/{}", object.id);
    let body =
        json!({ "message": "OK", "id": object.id, "name": object.name, "secret": secret, "token": object });
    let mut response = (StatusCode::CREATED, axum::Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(location) = HeaderValue::from_str(&location) {
        headers.insert(header::LOCATION, location);
    }
    Ok(response)
}
