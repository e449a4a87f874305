//! Paths of events: a list of the last ones, and a stream (server-sent events) that can be resumed.
//!
//! The id of a message is a revision of the store, on the last event of that revision only: who was cut off in the
//! middle of a revision gets all of it again. A stream that cannot go on where its reader stands says so with the event
//! `compacted`: list the objects, then go on from here. A reader hears of the objects that it may read, of its own projects
//! alone where it does not run the site; a stream ends with the token or the roles by which it was asked for.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgestack_model::event::{Change, Event};
use edgestack_model::project::ALL_PROJECTS;
use edgestack_model::reader::Refusal;
use edgestack_model::{Kind, value};
use serde_json::json;
use tokio::sync::mpsc;

use super::error::Failure;
use super::guard::Granted;
use super::parameters::Parameters;
use super::routes::Routes;
use super::{Api, PREFIX, chunks};
use crate::access::table::{Resource, Verb};
use crate::app::Scope;
use crate::events::{EVENTS_MAX, Feed, SUBSCRIBERS_MAX, Subscription};

/// Media type of a stream of events.
const EVENT_STREAM: &str = "text/event-stream";
/// Where a reader of a stream stands.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Events in one answer where the request does not say.
const LIMIT_DEFAULT: u64 = 100;
/// A stream on which nothing happens says that it lives this often.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Messages that wait for a reader.
const MESSAGES_MAX: usize = 16;
/// How long a reader waits before it connects again.
const RECONNECT_MS: u64 = 2000;

/// The paths.
pub(super) fn routes() -> Routes {
    Routes::default().read(&format!("{PREFIX}/events"), Resource::Events, events)
}

/// Which events are asked for.
#[derive(Clone, Debug)]
struct Filter {
    /// The projects that were asked for.
    projects: Scope,
    /// Kinds whose objects the reader may see, and where.
    readable: Vec<(&'static str, Scope)>,
    kind: Option<Kind>,
    id: Option<String>,
    name: Option<String>,
    change: Option<Change>,
}

impl Filter {
    fn read(granted: &Granted, parameters: &mut Parameters) -> Self {
        let readable = |kind: Kind| {
            let scope = granted.caller.authorise(kind.into(), Verb::Read, Some(ALL_PROJECTS)).ok()?;
            Some((kind.singular(), scope))
        };
        let kind = |value: &serde_json::Value| {
            let word = value.as_str().unwrap_or_default();
            let known = Kind::ALL.into_iter().find(|kind| [kind.singular(), kind.plural()].contains(&word));
            known.ok_or_else(|| {
                let kinds = Kind::ALL.map(Kind::singular).join(", ");
                Refusal::new(
                    "invalid_value",
                    format!("`{word}` is no kind of object"),
                    format!("one of {kinds}"),
                )
            })
        };
        Self {
            projects: granted.scope.clone(),
            readable: Kind::ALL.into_iter().filter_map(readable).collect(),
            kind: parameters.optional(&["kind"], kind),
            id: parameters.text(&["id"]),
            name: parameters.text(&["name"]),
            change: parameters.optional(&["type"], |word| value::word(word, &Change::WORDS)),
        }
    }

    fn fits(&self, event: &Event) -> bool {
        let is_seen = |scope: &Scope| match &event.project {
            Some(project) => scope.may_hear_of(project),
            None => scope.sees_the_site(),
        };
        is_seen(&self.projects)
            && self.readable.iter().any(|(kind, scope)| *kind == event.kind && is_seen(scope))
            && self.kind.is_none_or(|kind| event.kind == kind.singular())
            && self.id.as_ref().is_none_or(|id| event.id == *id)
            && self.name.as_ref().is_none_or(|name| event.name == *name)
            && self.change.is_none_or(|change| event.change == change)
    }
}

async fn events(
    api: Api,
    Extension(granted): Extension<Granted>,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_stream = parameters.flag("watch") || accepts.contains(EVENT_STREAM);
    let filter = Filter::read(&granted, &mut parameters);
    let mut since = parameters.optional(&["since"], |since| value::integer(since, 0, u64::MAX));
    if is_stream {
        parameters.finish()?;
        if let Some(id) = headers.get(LAST_EVENT_ID) {
            let id = id.to_str().ok().and_then(|id| id.trim().parse().ok());
            let wrong = || Failure::malformed("the header Last-Event-ID is no revision: send the last `id`");
            since = Some(id.ok_or_else(wrong)?);
        }
        return stream(&api.events, granted, filter, since);
    }
    let limit = parameters.optional(&["limit"], |limit| value::integer(limit, 1, EVENTS_MAX as u64));
    parameters.finish()?;
    let (seen, oldest) = api.events.bounds();
    let (_, mut events) = api.events.after(since.unwrap_or(oldest)).map_err(|error| {
        let title = "The events are no longer kept";
        Failure::new(StatusCode::GONE, "compacted", title, format!("{error}; list the objects instead"))
    })?;
    events.retain(|event| filter.fits(event));
    let total = events.len();
    // The newest, the oldest of them first.
    let events = events.split_off(total.saturating_sub(limit.unwrap_or(LIMIT_DEFAULT) as usize));
    let events: Vec<&Event> = events.iter().map(AsRef::as_ref).collect();
    let body = json!({ "events": events, "total": total, "revision": seen, "oldest_revision": oldest });
    Ok(axum::Json(body).into_response())
}

fn stream(
    feed: &Arc<Feed>,
    granted: Granted,
    filter: Filter,
    since: Option<u64>,
) -> Result<Response, Failure> {
    let Some(subscription) = feed.subscribe(granted.caller.tenant_of()) else {
        let detail = format!("{SUBSCRIBERS_MAX} readers wait for events already; try again later");
        let title = "Too many readers of events";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_subscribers", title, detail));
    };
    let revision = since.unwrap_or_else(|| feed.bounds().0);
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    tokio::spawn(send(Arc::clone(feed), subscription, filter, revision, sender));
    let mut response = chunks::body(receiver, granted.lost()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// Sends events until the reader goes away or the daemon stops.
async fn send(
    feed: Arc<Feed>,
    mut subscription: Subscription,
    filter: Filter,
    mut revision: u64,
    sender: mpsc::Sender<Bytes>,
) {
    let mut message = format!("retry: {RECONNECT_MS}\n\n");
    loop {
        match feed.after(revision) {
            Ok((seen, events)) => {
                let events: Vec<Arc<Event>> = events.into_iter().filter(|event| filter.fits(event)).collect();
                for (index, event) in events.iter().enumerate() {
                    let is_last = events.get(index + 1).is_none_or(|next| next.revision != event.revision);
                    message.push_str(&text(event, is_last));
                    if sender.send(Bytes::from(std::mem::take(&mut message))).await.is_err() {
                        return;
                    }
                }
                revision = seen;
            }
            Err(error) => {
                revision = feed.bounds().0;
                let data = json!({ "status": 410, "code": "compacted", "detail": error.to_string(),
                    "oldest_revision": error.oldest, "revision": revision });
                let _ = write!(message, "event: compacted\nid: {revision}\ndata: {data}\n\n");
            }
        }
        if !message.is_empty() && sender.send(Bytes::from(std::mem::take(&mut message))).await.is_err() {
            return;
        }
        tokio::select! {
            goes_on = subscription.changed(revision) => if !goes_on { return },
            // A message without data tells a reader nothing but where it stands.
            () = tokio::time::sleep(KEEP_ALIVE) => message = format!(": alive\nid: {revision}\n\n"),
            () = sender.closed() => return,
        }
    }
}

/// An event as a message of the stream.
fn text(event: &Event, is_last_of_revision: bool) -> String {
    let id = if is_last_of_revision { format!("id: {}\n", event.revision) } else { String::new() };
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("event: {}\n{id}data: {data}\n\n", event.change.word())
}
