//! Paths of backups: begun as an operation, listed, fetched and removed. A backup is restored by `edgestackd restore`,
//! while the daemon does not run.

use std::io::Read as _;
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgestack_model::reader::Reader;
use edgestack_model::{FieldError, value};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::body::{BODY_BYTES_MAX, read_json};
use super::error::{Failure, chain};
use super::operations::accepted;
use super::parameters::Parameters;
use super::routes::Routes;
use super::{Api, PREFIX, chunks};
use crate::access::table::Resource;
use crate::backups::{Backups, BackupsError};

/// Bytes of a file that are read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Pieces of a file that wait for the client.
const CHUNKS_MAX: usize = 16;

/// The paths.
pub(super) fn routes() -> Routes {
    let all = format!("{PREFIX}/backups");
    let one = format!("{all}/{{name}}");
    Routes::default()
        .read(&all, Resource::Backups, list)
        .create(&all, Resource::Backups, begin)
        .read(&one, Resource::Backups, content)
        .delete(&one, Resource::Backups, remove)
}

impl From<BackupsError> for Failure {
    fn from(error: BackupsError) -> Self {
        let detail = chain(&error);
        match error {
            BackupsError::NotFound(_) => {
                Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such backup", detail)
            }
            BackupsError::Exists(_) => Self::new(
                StatusCode::CONFLICT,
                "already_exists",
                "The name is taken by another backup",
                detail,
            ),
            BackupsError::TooMany => Self::new(StatusCode::CONFLICT, "too_many", "Too many backups", detail),
            BackupsError::Io { .. } => {
                let title = "The directory of backups does not work";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "backups_unavailable", title, detail)
            }
            BackupsError::Operation(error) => error.into(),
        }
    }
}

async fn list(api: Api, parameters: Parameters) -> Result<Response, Failure> {
    parameters.finish()?;
    let backups = ask(&api, Backups::list).await?;
    Ok(axum::Json(json!({ "backups": backups, "total": backups.len() })).into_response())
}

/// Begins a backup: `{"backup": {"name": ...}}`, or an empty body for a name made of the time.
async fn begin(
    api: Api,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    parameters.finish()?;
    let bytes =
        to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| Failure::malformed(error.to_string()))?;
    let name = if bytes.is_empty() {
        format!("backup-{}", Timestamp::now().as_millisecond())
    } else {
        let body = read_json(&headers, Body::from(bytes)).await?;
        read_name(&body).map_err(|errors| {
            let title = "Fields of the request are wrong";
            let detail = "the backup was refused";
            Failure::new(StatusCode::BAD_REQUEST, "invalid", title, detail).with_errors(errors)
        })?
    };
    let operation = ask(&api, move |backups| backups.begin(&name)).await?;
    Ok(accepted(&operation))
}

fn read_name(body: &Value) -> Result<String, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut name = None;
    if let Some(mut outer) = Reader::new(body, String::new(), &mut errors) {
        name = outer.object("backup", |backup| backup.required("name", "`nightly`", value::name));
        if !outer.has("backup") {
            outer.required("backup", "{\"name\": \"nightly\"}", |_| Ok(()));
        }
        outer.finish();
    }
    name.filter(|_| errors.is_empty()).ok_or(errors)
}

async fn content(api: Api, Path(name): Path<String>, parameters: Parameters) -> Result<Response, Failure> {
    parameters.finish()?;
    let mut file = ask(&api, move |backups| backups.open(&name)).await?;
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; CHUNK_BYTES];
        // Cut off by an error, the file fails its own check.
        while let Ok(length @ 1..) = file.read(&mut buffer) {
            if sender.blocking_send(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                return;
            }
        }
    });
    // It has an end of its own.
    let mut response = chunks::body(receiver, std::future::pending()).into_response();
    let media_type = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}

async fn remove(api: Api, Path(name): Path<String>, parameters: Parameters) -> Result<Response, Failure> {
    parameters.finish()?;
    let removed = name.clone();
    ask(&api, move |backups| backups.delete(&name)).await?;
    Ok(axum::Json(json!({ "message": "OK", "name": removed })).into_response())
}

async fn ask<T: Send + 'static>(
    api: &Api,
    question: impl FnOnce(&Backups) -> Result<T, BackupsError> + Send + 'static,
) -> Result<T, Failure> {
    let backups = Arc::clone(&api.backups);
    // Within the runtime: an operation is begun from this thread.
    match tokio::task::spawn_blocking(move || question(&backups)).await {
        Ok(result) => result.map_err(Failure::from),
        Err(error) => Err(Failure::internal(error.to_string())),
    }
}
