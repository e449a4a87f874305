//! Before a request is handled: who is asking, whether they may, how often; and after a write, a line in the audit log.
//!
//! One layer over all routes. A handler gets at the rules only by [`super::Api`], which is made from what is decided here,
//! so that none can be reached without.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use edgestack_model::project::{ALL_PROJECTS, DEFAULT_PROJECT, SYSTEM_PROJECT};
use edgestack_model::value;
use uuid::Uuid;

use super::Server;
use super::error::{Code, Failure};
use super::routes::{Route, Routes};
use crate::access::Unknown;
use crate::access::audit::Attempt;
use crate::access::caller::{Caller, Denied};
use crate::access::identity::Peer;
use crate::access::rate::Buckets;
use crate::access::standing::Standing;
use crate::access::table::{Resource, Verb};
use crate::app::Scope;

/// The header that names the project of a request, in place of the parameter `project`.
const PROJECT: HeaderName = HeaderName::from_static("x-project");
/// The header that names a request in answers and in the audit log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What was decided of a request: who is asking, and what it may reach.
#[derive(Clone)]
pub(super) struct Granted {
    /// Who.
    pub(super) caller: Arc<Caller>,
    /// What.
    pub(super) scope: Scope,
    /// By what they are known; none where everybody may.
    standing: Option<Standing>,
}

impl Granted {
    /// For a listener that only serves what harms nobody.
    pub(super) fn to_everybody() -> Self {
        let caller = Arc::new(Caller::new("everybody".to_owned(), Vec::new()));
        Self { caller, scope: Scope::default(), standing: None }
    }

    /// Waits until the caller may no longer hear an answer that goes on.
    pub(super) async fn lost(self) {
        match self.standing {
            Some(standing) => standing.lost().await,
            None => std::future::pending().await,
        }
    }
}

/// The routes by their paths.
#[derive(Debug, Default)]
pub(super) struct Table(HashMap<String, Vec<Route>>);

impl Table {
    /// Of a list of routes.
    pub(super) fn new(routes: &Routes) -> Self {
        let mut table: HashMap<String, Vec<Route>> = HashMap::new();
        for route in routes.list() {
            table.entry(route.path.clone()).or_default().push(route.clone());
        }
        Self(table)
    }

    /// The route that a request has matched.
    fn of(&self, request: &Request) -> Option<&Route> {
        let path = request.extensions().get::<MatchedPath>()?;
        // The answer to HEAD is that to GET without its body.
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        self.0.get(path.as_str())?.iter().find(|route| route.method == *method)
    }
}

/// The layer.
pub(super) async fn guard(State(server): State<Server>, mut request: Request, next: Next) -> Response {
    // What matches no route is answered so by the router, whoever asks.
    let Some(route) = server.table.of(&request).cloned() else { return next.run(request).await };
    if route.resource.is_public() {
        return next.run(request).await;
    }
    let request_id = Uuid::now_v7().to_string();
    let peer = request.extensions().get::<Peer>().cloned();
    let mut attempt = Attempt {
        request_id: request_id.clone(),
        who: "unknown".to_owned(),
        from: peer.as_ref().map_or_else(String::new, Peer::describe),
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        project: String::new(),
        action: format!("{} {}", route.verb.word(), route.resource),
        status: 0,
        code: String::new(),
    };
    let decided = match peer {
        Some(peer) => decide(&server, &route, peer, &mut request, &mut attempt).await,
        None => Err(Failure::unauthenticated(Unknown::Nobody.to_string())),
    };
    let is_granted = decided.is_ok();
    if let Ok(granted) = &decided {
        granted.scope.project().clone_into(&mut attempt.project);
    }
    let run = async move {
        match decided {
            Ok(granted) => {
                request.extensions_mut().insert(granted);
                next.run(request).await
            }
            Err(failure) => failure.into_response(),
        }
    };
    if route.verb == Verb::Read {
        return with_id(run.await, &request_id);
    }
    if is_granted && let Err(failure) = audit_works(&server).await {
        return failure.into_response();
    }
    // A client that goes away, or waits no longer, does not take the line of what it did with it.
    let response = match tokio::spawn(run_noted(server, run, attempt)).await {
        Ok(response) => response,
        Err(error) => Failure::internal(error.to_string()).into_response(),
    };
    with_id(response, &request_id)
}

/// Carries out a write, or its refusal, and notes what came of it.
async fn run_noted(
    server: Server,
    run: impl Future<Output = Response> + Send + 'static,
    mut attempt: Attempt,
) -> Response {
    let response = run.await;
    if response.status() != StatusCode::TOO_MANY_REQUESTS {
        attempt.status = response.status().as_u16();
        attempt.code = response.extensions().get::<Code>().map_or_else(String::new, |code| code.0.clone());
        note(&server, attempt).await;
    }
    response
}

/// Who is asking, and what they may reach.
async fn decide(
    server: &Server,
    route: &Route,
    peer: Peer,
    request: &mut Request,
    attempt: &mut Attempt,
) -> Result<Granted, Failure> {
    let wanted = wanted_project(route, request)?;
    let authorization = bearer(request.headers())?;
    let address = peer.key();
    let access = Arc::clone(&server.access);
    let known_by = (peer.clone(), authorization.clone());
    let identified =
        tokio::task::spawn_blocking(move || access.identify(&peer, authorization.as_deref())).await;
    let identified = identified.map_err(|error| Failure::internal(error.to_string()))?;
    let caller = match identified {
        Ok(caller) => caller,
        Err(Unknown::App(error)) => return Err(error.into()),
        Err(unknown) => {
            // Whoever guesses is slowed down by address, before the audit log fills with it.
            limit(&server.access.strangers, &address)?;
            return Err(Failure::unauthenticated(unknown.to_string()));
        }
    };
    caller.name.clone_into(&mut attempt.who);
    if !caller.is_local_admin {
        limit(&server.access.buckets, &caller.name)?;
    }
    let scope = caller.authorise(route.resource, route.verb, wanted.as_deref())?;
    if route.resource.is_of_projects() && !project_exists(server, scope.project()).await? {
        return Err(Denied::NoSuchProject { project: scope.project().to_owned() }.into());
    }
    let (caller, (peer, authorization)) = (Arc::new(caller), known_by);
    let standing = Standing::new(Arc::clone(&server.access), peer, authorization, Arc::clone(&caller));
    Ok(Granted { caller, scope, standing: Some(standing) })
}

/// The project that a request names, taken out of its query.
fn wanted_project(route: &Route, request: &mut Request) -> Result<Option<String>, Failure> {
    let mut named = Vec::new();
    // What passes is the host's, in which a project is one of the things to look for.
    if route.resource != Resource::Traffic {
        let (rest, in_query) = take_project(request.uri());
        if let Some(uri) = rest {
            *request.uri_mut() = uri;
        }
        named = in_query;
    }
    if let Some(header) = request.headers().get(&PROJECT) {
        named.push(header.to_str().unwrap_or("?").to_owned());
    }
    if route.resource == Resource::Quotas {
        // Their path is the project.
        let segment = request.uri().path().rsplit('/').next().unwrap_or_default();
        named = vec![segment.to_owned()];
    }
    named.dedup();
    if named.len() > 1 {
        return Err(Failure::malformed("the request names several projects; name one"));
    }
    let Some(project) = named.pop() else { return Ok(None) };
    let is_word = [ALL_PROJECTS, SYSTEM_PROJECT].contains(&project.as_str());
    if is_word || value::name(&serde_json::Value::String(project.clone())).is_ok() {
        return Ok(Some(project));
    }
    Err(Denied::NoSuchProject { project }.into())
}

/// The values of the parameter `project`, and the URI without it, where it has one.
fn take_project(uri: &Uri) -> (Option<Uri>, Vec<String>) {
    let Some(query) = uri.query() else { return (None, Vec::new()) };
    let (named, others): (Vec<&str>, Vec<&str>) =
        query.split('&').partition(|pair| pair.split('=').next() == Some("project"));
    if named.is_empty() {
        return (None, Vec::new());
    }
    let values = named.iter().map(|pair| pair.split_once('=').map_or("", |(_, value)| value).to_owned());
    let text = if others.is_empty() {
        uri.path().to_owned()
    } else {
        format!("{}?{}", uri.path(), others.join("&"))
    };
    (text.parse().ok(), values.collect())
}

fn bearer(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Failure> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Failure::unauthenticated(Unknown::Malformed.to_string()));
    }
    Ok(first.map(|value| value.as_bytes().to_vec()))
}

fn limit(buckets: &Buckets, key: &str) -> Result<(), Failure> {
    buckets.take(key, Instant::now()).map_err(Failure::too_often)
}

async fn project_exists(server: &Server, project: &str) -> Result<bool, Failure> {
    if [DEFAULT_PROJECT, SYSTEM_PROJECT].contains(&project) {
        return Ok(true);
    }
    let (app, project) = (server.api.app.clone(), project.to_owned());
    let found = tokio::task::spawn_blocking(move || app.has_project(&project)).await;
    found.map_err(|error| Failure::internal(error.to_string()))?.map_err(Failure::from)
}

/// Refuses writes that could not be noted.
async fn audit_works(server: &Server) -> Result<(), Failure> {
    let access = Arc::clone(&server.access);
    let works = tokio::task::spawn_blocking(move || access.audit.works()).await;
    match works {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::audit_unavailable(error.to_string())),
        Err(error) => Err(Failure::internal(error.to_string())),
    }
}

async fn note(server: &Server, attempt: Attempt) {
    let access = Arc::clone(&server.access);
    match tokio::task::spawn_blocking(move || access.audit.append(&attempt)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(%error, "the audit log cannot be written; further writes are refused");
        }
        Err(error) => tracing::error!(%error, "the audit log failed"),
    }
}

fn with_id(mut response: Response, request_id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Forbidden { detail } => Self::forbidden(detail),
            Denied::NoSuchProject { project } => {
                let detail = format!("there is no project `{project}`");
                Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such object", detail)
            }
            Denied::ProjectNeeded { projects } => Self::malformed(format!(
                "several projects are yours ({}): name one, ?project=NAME",
                projects.join(", ")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;

    use super::take_project;

    #[test]
    fn the_project_is_taken_out_of_the_query() {
        let taken = |uri: &str| {
            let uri: Uri = uri.parse().unwrap();
            let (rest, named) = take_project(&uri);
            (rest.unwrap_or(uri).to_string(), named.join(","))
        };
        let owned = |rest: &str, named: &str| (rest.to_owned(), named.to_owned());
        assert_eq!(taken("/p?project=blue"), owned("/p", "blue"));
        assert_eq!(taken("/p?limit=5&project=blue&a=b"), owned("/p?limit=5&a=b", "blue"));
        assert_eq!(taken("/p?projects=blue"), owned("/p?projects=blue", ""));
        assert_eq!(taken("/p?project=a&project=b"), owned("/p", "a,b"));
        assert_eq!(taken("/p"), owned("/p", ""));
    }
}
