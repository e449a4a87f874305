//! Paths of quotas: how much a project has and may have.

use axum::body::Body;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use edgestack_model::{Kind, Limits};
use serde_json::{Map, Value, json};

use super::body::read_json;
use super::error::Failure;
use super::objects::run;
use super::parameters::Parameters;
use super::routes::Routes;
use super::{Api, PREFIX};
use crate::access::table::Resource;
use crate::app::usage::Counts;
use crate::app::{App, AppError};

/// The paths. The guard takes the project from them.
pub(super) fn routes() -> Routes {
    let path = format!("{PREFIX}/quotas/{{project}}");
    Routes::default().read(&path, Resource::Quotas, show).replace(&path, Resource::Quotas, replace)
}

async fn show(api: Api, Path(project): Path<String>, parameters: Parameters) -> Result<Response, Failure> {
    parameters.finish()?;
    let quota = run(&api, move |app| quota(app, &project)).await?;
    Ok(axum::Json(json!({ "quota": quota })).into_response())
}

async fn replace(
    api: Api,
    Path(project): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    parameters.finish()?;
    let body = read_json(&headers, body).await?;
    let quota = run(&api, move |app| {
        let limits =
            Limits::read(&body).map_err(|errors| AppError::Invalid { kind: Kind::Project, errors })?;
        app.set_limits(&project, &limits)?;
        quota(app, &project)
    })
    .await?;
    Ok(axum::Json(json!({ "message": "OK", "quota": quota })).into_response())
}

/// What is used and what the limit is, by kind.
fn quota(app: &App, project: &str) -> Result<Map<String, Value>, AppError> {
    let (counts, limits): (Counts, Limits) = app.usage(project)?;
    let mut quota = Map::new();
    quota.insert("project".to_owned(), project.into());
    for (kind, limit) in limits.all() {
        let used = counts.get(kind).copied().unwrap_or_default();
        quota.insert(kind.to_owned(), json!({ "limit": limit, "used": used }));
    }
    Ok(quota)
}
