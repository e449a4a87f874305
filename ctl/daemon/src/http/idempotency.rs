//! The header `Idempotency-Key`: a write that is sent again with its key is answered again and not done again.
//!
//! The answer of a successful write is kept for a day, as long as there is room; the same key with another request is
//! refused. A write that was refused changed nothing, so its key stays free for another attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{self, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Server;
use super::body::BODY_BYTES_MAX;
use super::error::Failure;
use super::guard::Granted;
use crate::app::idempotency::{Answer, KEPT, Kept, Mark};
use crate::hexadecimal;
use crate::store::{Store, StoreError, Transaction, VALUE_BYTES_MAX};

/// The header.
const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Set in answers that are given again.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Letters of a key.
const KEY_LETTERS_MAX: usize = 255;
/// How long an answer is kept.
const KEEP: Duration = Duration::from_hours(24);
/// Answers that are kept; the oldest gives way.
const KEPT_MAX: usize = 10_000;
/// Bytes of all answers that are kept; the oldest gives way.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Answers that give way to one; others follow with the next.
const GIVE_WAY_MAX: usize = 1000;
/// Headers that belong to an answer.
const KEPT_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::ETAG, header::LOCATION];

/// The keys that are in use.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Keys of requests that are being worked on.
    busy: Mutex<BTreeSet<String>>,
    /// What is kept; none before the store was read. Held while the store writes, so never by those who may not block.
    kept: Mutex<Option<Index>>,
}

/// What is kept, the oldest first, with the bytes of each and of all.
#[derive(Debug, Default)]
struct Index {
    all: BTreeMap<(Timestamp, String), usize>,
    bytes: usize,
}

/// Ends the work on a key when it is dropped, however the request ends.
struct Busy {
    keys: Arc<Keys>,
    key: String,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.keys.busy().remove(&self.key);
    }
}

impl Keys {
    fn busy(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, key: &str) -> Option<Busy> {
        let is_free = self.busy().insert(key.to_owned());
        is_free.then(|| Busy { keys: Arc::clone(self), key: key.to_owned() })
    }

    /// Keeps what became of a request, and gives up what is old or too much.
    fn keep(&self, store: &dyn Store, key: &str, kept: &Kept) -> Result<(), StoreError> {
        let value = serde_json::to_vec(kept).unwrap_or_default();
        if value.len() > VALUE_BYTES_MAX {
            return Ok(());
        }
        let mut index = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match &mut *index {
            Some(index) => index,
            none => none.insert(read_all(store)?),
        };
        let mut transaction = Transaction::default();
        index.add(kept.at, key.to_owned(), value.len());
        for key in index.give_way(kept.at) {
            transaction.delete(key);
        }
        transaction.put(key, value);
        store.commit(&transaction).map(|_| ())
    }
}

impl Index {
    fn add(&mut self, at: Timestamp, key: String, bytes: usize) {
        let replaced = self.all.insert((at, key), bytes);
        self.bytes = self.bytes + bytes - replaced.unwrap_or_default();
    }

    /// Forgets what is old or too much, and returns its keys.
    fn give_way(&mut self, now: Timestamp) -> Vec<String> {
        let mut keys = Vec::new();
        while let Some((at, _)) = self.all.keys().next().filter(|_| keys.len() < GIVE_WAY_MAX) {
            let fits = self.bytes <= KEPT_BYTES_MAX && self.all.len() <= KEPT_MAX;
            if fits && !is_over(*at, now) {
                break;
            }
            let Some(((_, key), bytes)) = self.all.pop_first() else { break };
            self.bytes -= bytes;
            keys.push(key);
        }
        keys
    }
}

fn read_all(store: &dyn Store) -> Result<Index, StoreError> {
    let mut index = Index::default();
    for stored in store.list(KEPT)?.entries {
        let at = serde_json::from_slice::<Kept>(&stored.value).map_or(Timestamp::MIN, |kept| kept.at);
        index.add(at, stored.key, stored.value.len());
    }
    Ok(index)
}

fn is_over(at: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(at)).is_ok_and(|age| age > KEEP)
}

/// Answers a write that was done already, and keeps the answer of one that is done now.
pub(super) async fn answer_once(
    extract::State(server): extract::State<Server>,
    request: Request,
    next: Next,
) -> Response {
    let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    if !request.headers().contains_key(HEADER) || !writes.contains(request.method()) {
        return next.run(request).await;
    }
    match once(&server, request, next).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn once(server: &Server, request: Request, next: Next) -> Result<Response, Failure> {
    let key = storage_key(&request)?;
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        let detail = format!("a request with an Idempotency-Key has at most {BODY_BYTES_MAX} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is too large", detail)
    })?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let request = digest(&[parts.method.as_str().as_bytes(), target.as_bytes(), &body]);
    let Some(busy) = server.keys.take(&key) else {
        let detail = "a request with this Idempotency-Key is being worked on; ask again in a moment";
        let title = "The same request is under way";
        return Err(Failure::new(StatusCode::CONFLICT, "in_progress", title, detail));
    };
    let now = Timestamp::now();
    if let Some(kept) = find(server, &key).await?.filter(|kept| !is_over(kept.at, now)) {
        return replay(&kept, &request);
    }
    parts.extensions.insert(Mark { key: key.clone(), request: request.clone(), at: now });
    // A client that goes away takes its request with it, but not what must be kept of it.
    let (server, dry_run) = (server.clone(), is_dry_run(target));
    let work = tokio::spawn(async move {
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        let is_secret =
            response.headers().get(header::CACHE_CONTROL).is_some_and(|value| value == "no-store");
        let done = if response.status().is_success() && !dry_run && !is_secret {
            keep(&server, key, request, now, response).await
        } else {
            Ok(response)
        };
        drop(busy);
        done
    });
    work.await.map_err(|error| Failure::internal(format!("the request failed in the middle: {error}")))?
}

fn is_dry_run(target: &str) -> bool {
    target.split_once('?').is_some_and(|(_, query)| query.split('&').any(|pair| pair == "dry_run=true"))
}

/// The key in the store: users' own keys are not for listings and logs.
fn storage_key(request: &Request) -> Result<String, Failure> {
    let headers: &HeaderMap = request.headers();
    let refuse = |detail: String| {
        let title = "The Idempotency-Key is wrong";
        Failure::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", title, detail)
    };
    let mut keys = headers.get_all(HEADER).iter();
    let key = keys.next().and_then(|key| key.to_str().ok()).unwrap_or_default();
    if keys.next().is_some() {
        return Err(refuse("the header Idempotency-Key is there twice".to_owned()));
    }
    if key.is_empty() || key.len() > KEY_LETTERS_MAX {
        let detail = format!("the header Idempotency-Key has 1 to {KEY_LETTERS_MAX} letters, such as a UUID");
        return Err(refuse(detail));
    }
    // A key is its caller's own, in each project: nobody is answered what another was.
    let granted = request.extensions().get::<Granted>();
    let (caller, project) =
        granted.map_or(("", ""), |granted| (&granted.caller.name, granted.scope.project()));
    Ok(format!("{KEPT}{}", digest(&[caller.as_bytes(), project.as_bytes(), key.as_bytes()])))
}

/// A digest of parts that cannot be mistaken for one another.
fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hexadecimal(&hash.finalize())
}

async fn find(server: &Server, key: &str) -> Result<Option<Kept>, Failure> {
    let (store, key) = (Arc::clone(server.api.app.store()), key.to_owned());
    let stored = blocking(move || store.get(&key)).await?;
    // What cannot be read is as good as not there.
    Ok(stored.and_then(|stored| serde_json::from_slice(&stored.value).ok()))
}

/// The answer that was given, if the request is the same.
fn replay(kept: &Kept, request: &str) -> Result<Response, Failure> {
    if kept.request != request {
        let title = "The Idempotency-Key was used for another request";
        let detail =
            "method, path or body differ from those of the first request with this key; take another key";
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch", title, detail));
    }
    let mut response = if let Some(answer) = &kept.answer {
        let status = StatusCode::from_u16(answer.status).unwrap_or_default();
        let mut response = (status, answer.body.clone()).into_response();
        for (name, value) in &answer.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    } else {
        // The daemon ended between the change and its answer: that it was made is known, and of what.
        let (id, name) = kept.object.clone().unwrap_or_default();
        axum::Json(json!({ "message": "OK", "id": id, "name": name })).into_response()
    };
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// Keeps the answer of a write, and returns it.
async fn keep(
    server: &Server,
    key: String,
    request: String,
    at: Timestamp,
    response: Response,
) -> Result<Response, Failure> {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(|error| Failure::internal(error.to_string()))?;
    if let Ok(text) = std::str::from_utf8(&body) {
        let header = |name: &HeaderName| {
            let value = parts.headers.get(name)?.to_str().ok()?;
            Some((name.to_string(), value.to_owned()))
        };
        let headers = KEPT_HEADERS.iter().filter_map(header).collect();
        let answer = Some(Answer { status: parts.status.as_u16(), headers, body: text.to_owned() });
        let kept = Kept { request, at, object: None, answer };
        let (store, keys) = (Arc::clone(server.api.app.store()), Arc::clone(&server.keys));
        // The change is made: that its answer could not be kept is no reason to refuse it.
        if let Err(failure) = blocking(move || keys.keep(store.as_ref(), &key, &kept)).await {
            tracing::warn!(
                detail = failure.problem.detail,
                "the answer of a request with a key was not kept"
            );
        }
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| Failure::from_store(&error)),
        Err(error) => Err(Failure::internal(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::StatusCode;
    use jiff::Timestamp;

    use super::{KEEP, KEPT_MAX, Keys, replay};
    use crate::app::idempotency::{Answer, KEPT, Kept};
    use crate::store::{MemoryStore, Store};

    fn kept(at: Timestamp, answer: Option<Answer>) -> Kept {
        let object = Some(("1".to_owned(), "web".to_owned()));
        Kept { request: "r".to_owned(), at, object, answer }
    }

    #[test]
    fn a_change_whose_answer_was_lost_is_known_all_the_same() {
        let response = replay(&kept(Timestamp::now(), None), "r").unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["idempotency-replayed"], "true");
        let mismatch = replay(&kept(Timestamp::now(), None), "other").unwrap_err();
        assert_eq!((mismatch.problem.status, mismatch.problem.code.as_str()), (422, "idempotency_mismatch"));
    }

    #[test]
    fn what_is_old_or_too_much_gives_way() {
        let store = MemoryStore::default();
        let keys = Keys::default();
        let now = Timestamp::now();
        let keep = |name: &str, at: Timestamp, body: String| {
            let answer = Answer { status: 200, headers: Vec::new(), body };
            keys.keep(&store, &format!("{KEPT}{name}"), &kept(at, Some(answer))).unwrap();
        };
        let left = || store.list(KEPT).unwrap().entries.len();
        keep("old", now - KEEP - Duration::from_secs(1), String::new());
        assert_eq!(left(), 1);
        keep("new", now, String::new());
        assert_eq!(left(), 1, "the old one is gone");
        assert!(store.get(&format!("{KEPT}new")).unwrap().is_some());
        for number in 0..KEPT_MAX {
            keep(&number.to_string(), now + Duration::from_millis(1 + number as u64), String::new());
        }
        assert_eq!(left(), KEPT_MAX);
        assert!(store.get(&format!("{KEPT}new")).unwrap().is_none(), "the oldest gave way");
        // By bytes: 80 answers of nearly a mebibyte, of which fewer than 64 fit beside what was kept before.
        for number in 0..80 {
            let at = now + Duration::from_secs(60 + number);
            keep(&format!("large-{number}"), at, "x".repeat((1 << 20) - 1000));
        }
        assert!((60..=64).contains(&left()), "{}", left());
    }
}
