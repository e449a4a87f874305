//! The paths that every kind of object has: list, create, read, replace, change, delete, manifest.
//!
//! Each handler takes the request apart, calls the rules on a thread that may block, and maps the answer. What a kind
//! has beside these is in the file of its name.

use axum::body::Body;
use axum::extract::Path;
use axum::handler::Handler;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgestack_model::{Kind, Object, read_draft};
use serde_json::{Map, Value, json};

use super::body::{merge, read_json};
use super::error::Failure;
use super::measured;
use super::parameters::Parameters;
use super::routes::Routes;
use super::write_call::{WriteCall, Written, answer_dry};
use super::{Api, PREFIX, Server};
use crate::app::list::Page;
use crate::app::{App, AppError, Created, Noun};

/// The paths of the kind `S`.
pub(super) fn routes<S: Noun>() -> Routes {
    let one = format!("{PREFIX}/{}/{{name}}", S::KIND.plural());
    routes_without_put::<S>().replace(&one, S::KIND, replace::<S>)
}

/// The paths of the kind `S`, whose PUT is special.
pub(super) fn routes_without_put<S: Noun>() -> Routes {
    let collection = format!("{PREFIX}/{}", S::KIND.plural());
    routes_of_one::<S>().create(&collection, S::KIND, create::<S>)
}

/// The paths of the kind `S`, whose POST is special.
pub(super) fn routes_with_create<S: Noun, T: 'static>(create: impl Handler<T, Server>) -> Routes {
    let collection = format!("{PREFIX}/{}", S::KIND.plural());
    let one = format!("{collection}/{{name}}");
    routes_of_one::<S>().create(&collection, S::KIND, create).replace(&one, S::KIND, replace::<S>)
}

/// The paths of the kind `S`, which requests do not make.
pub(super) fn routes_without_create<S: Noun>() -> Routes {
    let one = format!("{PREFIX}/{}/{{name}}", S::KIND.plural());
    routes_of_one::<S>().replace(&one, S::KIND, replace::<S>)
}

/// The paths of the kind `S` without POST and PUT.
fn routes_of_one<S: Noun>() -> Routes {
    let collection = format!("{PREFIX}/{}", S::KIND.plural());
    let one = format!("{collection}/{{name}}");
    Routes::default()
        .read(&collection, S::KIND, list::<S>)
        .read(&one, S::KIND, show::<S>)
        .change(&one, S::KIND, change::<S>)
        .delete(&one, S::KIND, delete::<S>)
        .read(&format!("{one}/manifest"), S::KIND, manifest::<S>)
}

/// The paths of a kind whose objects are made by `create` and never changed.
pub(super) fn routes_without_change<S: Noun, T: 'static>(create: impl Handler<T, Server>) -> Routes {
    let collection = format!("{PREFIX}/{}", S::KIND.plural());
    let one = format!("{collection}/{{name}}");
    Routes::default()
        .read(&collection, S::KIND, list::<S>)
        .create(&collection, S::KIND, create)
        .read(&one, S::KIND, show::<S>)
        .delete(&one, S::KIND, delete::<S>)
        .read(&format!("{one}/manifest"), S::KIND, manifest::<S>)
}

/// Runs rules on a thread that may block.
pub(super) async fn run<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce(&App) -> Result<T, AppError> + Send + 'static,
) -> Result<T, Failure> {
    let app = api.app.clone();
    match tokio::task::spawn_blocking(move || work(&app)).await {
        Ok(result) => result.map_err(Failure::from),
        Err(error) => {
            tracing::error!(%error, "a request failed in the middle");
            Err(Failure::internal("the request failed in the middle; the daemon's log says why"))
        }
    }
}

async fn list<S: Noun>(api: Api, parameters: Parameters) -> Result<Response, Failure> {
    let query = parameters.list_query()?;
    // Written where it may take long: a list can be megabytes.
    run(&api, move |app| app.list::<S>(&query).map(|page| answer_list(S::KIND, &page))).await
}

/// A part of a list under the plural of its kind. The objects are JSON already and only put together.
fn answer_list(kind: Kind, page: &Page) -> Response {
    let Page { objects, total, next, revision } = page;
    let (start, length) =
        (format!("{{\"{}\":[", kind.plural()), objects.iter().map(|object| object.len() + 1));
    let next = next.as_ref().map_or_else(String::new, |next| format!(",\"continue\":\"{next}\""));
    let end = format!("],\"total\":{total}{next},\"revision\":{revision}}}");
    let mut text = String::with_capacity(start.len() + length.sum::<usize>() + end.len());
    text.push_str(&start);
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(object);
    }
    text.push_str(&end);
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn create<S: Noun>(call: WriteCall, headers: HeaderMap, body: Body) -> Result<Response, Failure> {
    let body = read_json(&headers, body).await?;
    let Written { value: created, plan } = call
        .run(move |app| {
            let draft = draft::<S>(&body)?;
            app.create(&draft)
        })
        .await?;
    Ok(match created {
        Created::New(value) => Written { value, plan }.answer(StatusCode::CREATED),
        Created::Existing(value) => Written { value, plan }.answer(StatusCode::OK),
    })
}

async fn show<S: Noun>(
    api: Api,
    Path(name): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    parameters.finish()?;
    let gateway = api.gateway.clone();
    let (shown, measured) = run(&api, move |app| {
        let shown = app.get::<S>(&name)?;
        let measured = measured::of(app, &gateway, S::KIND, &shown.object.id);
        Ok((shown, measured))
    })
    .await?;
    let mut body = json!({ S::KIND.singular(): shown.object });
    if let Some((field, value)) = measured {
        body[S::KIND.singular()]["status"][field] = value;
    }
    let mut response = axum::Json(body).into_response();
    tag(&mut response, &shown.etag);
    let unchanged =
        headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == shown.etag.as_bytes());
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
    }
    Ok(response)
}

async fn replace<S: Noun>(
    call: WriteCall,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let if_match = call.if_match.clone();
    let body = read_json(&headers, body).await?;
    let written = call.run(move |app| {
        let draft = draft::<S>(&body)?;
        app.replace(&name, &draft, if_match.as_deref())
    });
    Ok(written.await?.answer(StatusCode::OK))
}

async fn change<S: Noun>(
    call: WriteCall,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let if_match = call.if_match.clone();
    let patch = read_json(&headers, body).await?;
    if !patch.is_object() {
        return Err(Failure::malformed("a merge patch is a JSON object"));
    }
    let written = call.run(move |app| {
        app.update(&name, if_match.as_deref(), |previous: &Object<S>| {
            let mut body = json!({ S::KIND.singular(): fields(previous) });
            merge(&mut body, &patch);
            draft(&body)
        })
    });
    Ok(written.await?.answer(StatusCode::OK))
}

async fn delete<S: Noun>(call: WriteCall, Path(name): Path<String>) -> Result<Response, Failure> {
    let (if_match, cascade, removable) = (call.if_match.clone(), call.cascade, call.removable.clone());
    let written = call.run(move |app| {
        if cascade {
            app.delete_with_users::<S>(&name, if_match.as_deref(), &removable)
        } else {
            app.delete::<S>(&name, if_match.as_deref())
        }
    });
    let Written { value: record, plan } = written.await?;
    let body = Map::from_iter([
        ("message".to_owned(), json!("OK")),
        ("id".to_owned(), json!(record.id)),
        ("name".to_owned(), json!(record.name)),
    ]);
    Ok(answer_dry(body, plan))
}

async fn manifest<S: Noun>(
    api: Api,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, Failure> {
    parameters.finish()?;
    let shown = run(&api, move |app| app.get::<S>(&name)).await?;
    let manifest = serde_saphyr::to_string(&json!({ S::KIND.singular(): fields(&shown.object) }))
        .map_err(|error| Failure::internal(format!("the manifest cannot be written: {error}")))?;
    let mut response = axum::Json(json!({ "manifest": manifest })).into_response();
    tag(&mut response, &shown.etag);
    Ok(response)
}

/// Reads a wrapped body, or says everything that is wrong with it.
pub(super) fn draft<S: Noun>(body: &Value) -> Result<edgestack_model::Draft<S>, AppError> {
    read_draft(body).map_err(|errors| AppError::Invalid { kind: S::KIND, errors })
}

/// The fields of an object that a request may set: what a manifest holds and a merge patch changes.
pub(super) fn fields<S: Noun>(object: &Object<S>) -> Map<String, Value> {
    let mut fields = Map::new();
    if object.name != object.id {
        fields.insert("name".to_owned(), Value::String(object.name.clone()));
    }
    if !object.labels.is_empty() {
        fields.insert("labels".to_owned(), json!(object.labels));
    }
    if let Ok(Value::Object(spec)) = serde_json::to_value(&object.spec) {
        fields.extend(spec.into_iter().filter(|(_, value)| !value.is_null()));
    }
    S::only_settable(&mut fields);
    fields
}

/// Adds the entity tag to an answer.
pub(super) fn tag(response: &mut Response, etag: &str) {
    if let Ok(etag) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
}
