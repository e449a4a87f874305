//! The metadata service at 169.254.169.254 and fd00:ec2::254: what a workload may know of itself, by the port that it asks through.
//!
//! Three dialects of one thing: EC2's (with session tokens, IMDSv2), OpenStack's, and files for cloud-init's NoCloud. Requests
//! that were forwarded (`X-Forwarded-For`) are refused and answers to requests for tokens live for one hop, so that a
//! proxy in a workload that can be talked into fetching anything does not fetch this.

mod ec2;
mod instance;
mod nocloud;
mod openstack;
#[cfg(test)]
mod tests;
mod token;
mod tree;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use edgestack_dataplane::virtual_stack::{StackHandle, TcpStream};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, watch};

use super::METADATA_PORT;
use super::stream::{Connection, accept};
use crate::app::{App, AppError};
use instance::Instance;
use token::{TTL_SECONDS_MAX, Tokens};
use tree::Found;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take to send the head of a request, and to leave a connection idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest head of a request, in bytes.
const HEAD_LENGTH_MAX: usize = 8 * 1024;
/// Time to live of packets, and of those with a token.
const HOP_LIMIT: u8 = 64;
const HOP_LIMIT_OF_TOKENS: u8 = 1;

const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const FORWARDED_HEADER: &str = "x-forwarded-for";

/// What all connections share.
struct Service {
    app: App,
    tokens: Tokens,
    /// EC2's dialect is spoken without tokens too.
    imdsv1: bool,
}

/// A connection's part of it.
#[derive(Clone)]
struct Session {
    service: Arc<Service>,
    port: Arc<str>,
    network: Arc<str>,
    /// None in tests.
    stream: Option<Arc<TcpStream>>,
}

/// Serves until `stop` says so.
pub async fn serve(stack: StackHandle, app: App, imdsv1: bool, mut stop: watch::Receiver<bool>) {
    let service = Arc::new(Service { app, tokens: Tokens::default(), imdsv1 });
    let listener = stack.listen(METADATA_PORT);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            stream = accept(&listener) => Arc::new(stream),
        };
        // One too many is closed at once.
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else { continue };
        let session = Session {
            service: Arc::clone(&service),
            port: Arc::clone(&stream.caller().port),
            network: Arc::clone(&stream.caller().network),
            stream: Some(Arc::clone(&stream)),
        };
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(HEAD_LENGTH_MAX)
                .serve_connection(
                    TokioIo::new(Connection(stream)),
                    TowerToHyperService::new(router(session)),
                );
            match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a connection for metadata ended early"),
                Err(_) => tracing::debug!("a connection for metadata lasted too long"),
            }
            drop(permit);
        });
    }
}

fn router(session: Session) -> Router {
    Router::new().fallback(answer).with_state(session)
}

/// Answers a request.
async fn answer(State(session): State<Session>, request: Request) -> Response<Body> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let headers = request.headers();
    let is_token = path == "/latest/api/token";
    if let Some(stream) = &session.stream {
        stream.set_hop_limit(if is_token { HOP_LIMIT_OF_TOKENS } else { HOP_LIMIT });
    }
    if headers.contains_key(FORWARDED_HEADER) {
        return say(StatusCode::FORBIDDEN, "requests that were forwarded are refused\n");
    }
    if is_token {
        return session.token(&method, headers);
    }
    if method != Method::GET && method != Method::HEAD {
        return not_allowed("GET, HEAD");
    }
    let is_of_ec2 = !path.starts_with("/openstack") && !path.starts_with("/nocloud");
    if is_of_ec2 && !session.has_token(headers) {
        return say(StatusCode::UNAUTHORIZED, "ask for a token first: PUT /latest/api/token\n");
    }
    let found = tokio::task::spawn_blocking(move || session.find(&path)).await;
    match found {
        Ok(Ok(Some(Found { text, content_type }))) => {
            let mut response = Response::new(Body::from(text));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            response
        }
        Ok(Ok(None)) => say(StatusCode::NOT_FOUND, "there is nothing here\n"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "metadata could not be read");
            say(StatusCode::INTERNAL_SERVER_ERROR, "try again\n")
        }
        Err(error) => {
            tracing::error!(%error, "an answer for metadata failed");
            say(StatusCode::INTERNAL_SERVER_ERROR, "try again\n")
        }
    }
}

impl Session {
    /// A token for the port (`PUT /latest/api/token`).
    fn token(&self, method: &Method, headers: &HeaderMap) -> Response<Body> {
        if method != Method::PUT {
            return not_allowed("PUT");
        }
        let ttl = headers.get(TOKEN_TTL_HEADER).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
        let Some(ttl) = ttl.filter(|ttl| (1..=TTL_SECONDS_MAX).contains(ttl)) else {
            let message = format!("{TOKEN_TTL_HEADER} must be from 1 to {TTL_SECONDS_MAX}\n");
            return say(StatusCode::BAD_REQUEST, message);
        };
        match self.service.tokens.issue(&self.port, ttl, Instant::now()) {
            Ok(token) => {
                let mut response = say(StatusCode::OK, token);
                response.headers_mut().insert(TOKEN_TTL_HEADER, HeaderValue::from(ttl));
                response
            }
            Err(error) => {
                tracing::error!(%error, "no random bytes for a token");
                say(StatusCode::INTERNAL_SERVER_ERROR, "try again\n")
            }
        }
    }

    /// Whether a request has a good token, or needs none.
    fn has_token(&self, headers: &HeaderMap) -> bool {
        match headers.get(TOKEN_HEADER) {
            Some(token) => self.service.tokens.is_good(&self.port, token.as_bytes(), Instant::now()),
            None => self.service.imdsv1,
        }
    }

    /// What is at a path.
    fn find(&self, path: &str) -> Result<Option<Found>, AppError> {
        let Some(instance) = Instance::read(&self.service.app, &self.port, &self.network)? else {
            return Ok(None);
        };
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        Ok(match parts.split_first() {
            Some((&"openstack", rest)) => openstack::tree(&instance).find(rest),
            Some((&"nocloud", rest)) => nocloud::tree(&instance).find(rest),
            _ => ec2::tree(&instance).find(&parts),
        })
    }
}

fn say(status: StatusCode, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = say(StatusCode::METHOD_NOT_ALLOWED, "");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}
