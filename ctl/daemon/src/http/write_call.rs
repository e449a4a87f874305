//! What every write has besides its body: an entity tag that it demands, `?dry_run=true`, an idempotency key; a removal
//! also `?cascade=true`.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgestack_model::{Draft, Kind, Object, Plan};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::error::Failure;
use super::guard::Granted;
use super::objects::{run, tag};
use super::parameters::Parameters;
use super::{Api, PREFIX, Server};
use crate::access::table::Verb;
use crate::app::idempotency::Mark;
use crate::app::{App, AppError, Noun, Shown};

/// A write that is asked for.
pub(super) struct WriteCall {
    api: Api,
    /// The entity tag that the object must have.
    pub(super) if_match: Option<String>,
    /// Users of the object go with it.
    pub(super) cascade: bool,
    /// Kinds that the caller may remove where it works.
    pub(super) removable: Vec<Kind>,
    dry_run: bool,
    plans: Arc<Semaphore>,
}

/// What became of a write.
pub(super) struct Written<T> {
    /// What the rules returned.
    pub(super) value: T,
    /// What the write would do, where it was only asked about.
    pub(super) plan: Option<Plan>,
}

impl FromRequestParts<Server> for WriteCall {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Self::Rejection> {
        let mut api = Api::from_request_parts(parts, server).await?;
        let Ok(mut parameters) = Parameters::from_request_parts(parts, server).await;
        let dry_run = parameters.flag("dry_run");
        let cascade = parts.method == Method::DELETE && parameters.flag("cascade");
        parameters.finish()?;
        let if_match = if_match(&parts.headers)?;
        if let Some(mark) = parts.extensions.get::<Mark>() {
            api.app = api.app.marked(mark.clone());
        }
        let plans = Arc::clone(&server.plans);
        Ok(Self { api, if_match, cascade, removable: removable(parts), dry_run, plans })
    }
}

/// The kinds that the caller may remove: the route only asked about one of them.
fn removable(parts: &Parts) -> Vec<Kind> {
    let Some(Granted { caller, scope, .. }) = parts.extensions.get() else { return Vec::new() };
    let may_remove =
        |kind: &Kind| caller.authorise((*kind).into(), Verb::Delete, Some(scope.project())).is_ok();
    Kind::ALL.into_iter().filter(may_remove).collect()
}

/// The entity tag that a write demands.
fn if_match(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let tag = headers.get(header::IF_MATCH).map(HeaderValue::to_str).transpose();
    Ok(tag.map_err(|_| Failure::malformed("the header If-Match is no text"))?.map(str::to_owned))
}

impl WriteCall {
    /// Runs the rules, or finds out what they would do.
    pub(super) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&App) -> Result<T, AppError> + Send + 'static,
    ) -> Result<Written<T>, Failure> {
        if !self.dry_run {
            let value = run(&self.api, work).await?;
            return Ok(Written { value, plan: None });
        }
        let uplinks = Arc::clone(&self.api.uplinks);
        let place = self.plans.acquire_owned().await;
        let place = place.map_err(|error| Failure::internal(error.to_string()))?;
        run(&self.api, move |app| {
            let (app, preview) = app.preview();
            let value = work(&app)?;
            let plan = crate::plan::plan(&preview, &uplinks, app.scope())?;
            drop(place);
            Ok(Written { value, plan: Some(plan) })
        })
        .await
    }
}

impl WriteCall {
    /// Changes a part of an object: `change` says what its fields become.
    pub(super) async fn change<S: Noun>(
        self,
        name: String,
        change: impl Fn(&mut S, &Object<S>) -> Result<(), AppError> + Send + 'static,
    ) -> Result<Written<Shown<S>>, Failure> {
        let if_match = self.if_match.clone();
        self.run(move |app| {
            app.update(&name, if_match.as_deref(), |object: &Object<S>| {
                let mut spec = object.spec.clone();
                change(&mut spec, object)?;
                Ok(Draft { id: None, name: None, project: None, labels: object.labels.clone(), spec })
            })
        })
        .await
    }
}

impl<S: Noun> Written<Shown<S>> {
    /// The answer to a create or an update, with more fields than the object.
    pub(super) fn answer_with(self, status: StatusCode, more: Map<String, Value>) -> Response {
        let Object { id, name, .. } = &self.value.object;
        let mut body = Map::new();
        body.insert("message".to_owned(), json!("OK"));
        body.insert("id".to_owned(), json!(id));
        body.insert("name".to_owned(), json!(name));
        body.extend(more);
        body.insert(S::KIND.singular().to_owned(), json!(self.value.object));
        if self.plan.is_some() {
            return answer_dry(body, self.plan);
        }
        let location = format!("{PREFIX}/{}/{id}", S::KIND.plural());
        let mut response = (status, axum::Json(body)).into_response();
        tag(&mut response, &self.value.etag);
        if let (StatusCode::CREATED, Ok(location)) = (status, HeaderValue::from_str(&location)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }

    /// The answer to a create or an update.
    pub(super) fn answer(self, status: StatusCode) -> Response {
        self.answer_with(status, Map::new())
    }
}

/// An answer to a write, with its plan where it was only asked about.
pub(super) fn answer_dry(mut body: Map<String, Value>, plan: Option<Plan>) -> Response {
    if let Some(plan) = plan {
        body.insert("dry_run".to_owned(), json!(true));
        body.insert("plan".to_owned(), json!(plan));
    }
    axum::Json(body).into_response()
}
