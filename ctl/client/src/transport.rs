//! Requests over the Unix socket or HTTPS: connect, send, read the answer whole or as it comes.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use edgestack_model::Problem;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, HeaderName, HeaderValue, IF_MATCH};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::error::ClientError;
use crate::remote::{Connector, Remote};

pub use hyper::Method;

/// How long a request may take unless [`Client::with_timeout`] says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is read into memory.
const BODY_BYTES_MAX: usize = 64 << 20;
/// How much of a strange answer is quoted.
const EXCERPT_CHARS_MAX: usize = 200;

/// The header that names the project of a request.
const PROJECT: HeaderName = HeaderName::from_static("x-project");

type Observer = Box<dyn Fn(&Sent<'_>) + Send + Sync>;

/// A request that is about to be sent. Who asks is no part of it.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, with its query.
    pub path: &'a str,
    /// The body, where there is one.
    pub body: Option<&'a Value>,
    /// The project that it works in, where one is named.
    pub project: Option<&'a str>,
    /// The entity tag that the object must still have, where that is asked for.
    pub if_match: Option<&'a str>,
}

/// A client of one daemon.
pub struct Client {
    place: Place,
    token: Option<HeaderValue>,
    project: Option<HeaderValue>,
    timeout: Duration,
    observer: Option<Observer>,
}

/// Where the daemon is.
enum Place {
    /// On this host, at its control socket.
    Socket(PathBuf),
    /// Anywhere, by HTTPS.
    Remote(Box<Connector>),
}

/// An answer read whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// HTTP status, always a success.
    pub status: u16,
    /// The body, `null` where there is none.
    pub body: Value,
    /// The entity tag of the object that it shows, where there is one.
    pub etag: Option<String>,
}

impl Client {
    /// A client of the daemon that listens at `socket`. Connects with the first request.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self::at(Place::Socket(socket.into()))
    }

    /// A client of a daemon that is reached by HTTPS. Reads the files that `remote` names; connects with the first
    /// request.
    pub fn remote(remote: &Remote) -> Result<Self, ClientError> {
        Ok(Self::at(Place::Remote(Box::new(Connector::new(remote)?))))
    }

    fn at(place: Place) -> Self {
        Self { place, token: None, project: None, timeout: DEFAULT_TIMEOUT, observer: None }
    }

    /// Says with every request who is asking. On the control socket, too, the token then counts instead of the user.
    pub fn with_token(mut self, token: &str) -> Result<Self, ClientError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| ClientError::Request("the token has letters that no token has".to_owned()))?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(self)
    }

    /// Works in this project; `all` lists the objects of every project.
    pub fn with_project(mut self, project: &str) -> Result<Self, ClientError> {
        let value = HeaderValue::from_str(project)
            .map_err(|_| ClientError::Request(format!("`{project}` is no name of a project")))?;
        self.project = Some(value);
        Ok(self)
    }

    /// Waits this long for an answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Calls `observer` with every request before it is sent.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Fn(&Sent<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Where the daemon is: the path of its socket, or its URL.
    pub fn place(&self) -> String {
        match &self.place {
            Place::Socket(socket) => socket.display().to_string(),
            Place::Remote(connector) => connector.url.clone(),
        }
    }

    /// Sends a request and reads the answer, which is JSON or empty. A refusal is an error.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, ClientError> {
        self.request_where(method, path, body, None).await
    }

    /// The same, done only where the object still has the entity tag `if_match`, if one is given.
    pub async fn request_where(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Reply, ClientError> {
        let work = async {
            let response = self.send(&method, path, body, if_match).await?;
            let (status, etag) = (response.status().as_u16(), response.headers().get(ETAG).cloned());
            Ok((status, etag, collect_success(&method, path, response).await?))
        };
        let (status, etag, bytes) = self.timed(&method, path, work).await?;
        let etag = etag.and_then(|etag| etag.to_str().ok().map(str::to_owned));
        if bytes.is_empty() {
            return Ok(Reply { status, body: Value::Null, etag });
        }
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok(Reply { status, body, etag }),
            Err(_) => Err(unexpected(&method, path, status, &bytes)),
        }
    }

    /// Fetches text that is no JSON, such as the metrics.
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let method = Method::GET;
        let work = async {
            let response = self.send(&method, path, None, None).await?;
            collect_success(&method, path, response).await
        };
        let bytes = self.timed(&method, path, work).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sends a GET and hands out the body as it comes, for as long as it comes.
    pub async fn stream(&self, path: &str) -> Result<BodyStream, ClientError> {
        let method = Method::GET;
        let response = self.timed(&method, path, self.send(&method, path, None, None)).await?;
        if response.status().is_success() {
            return Ok(BodyStream { path: path.to_owned(), body: response.into_body() });
        }
        let status = response.status().as_u16();
        let bytes = self.timed(&method, path, collect(&method, path, response.into_body())).await?;
        Err(refusal(&method, path, status, &bytes))
    }

    async fn timed<T>(
        &self,
        method: &Method,
        path: &str,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| {
            Err(ClientError::Timeout {
                method: method.to_string(),
                path: path.to_owned(),
                after: self.timeout,
            })
        })
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Response<Incoming>, ClientError> {
        if let Some(observer) = &self.observer {
            let project = self.project.as_ref().and_then(|project| project.to_str().ok());
            observer(&Sent { method, path, body, project, if_match });
        }
        let host = match &self.place {
            Place::Socket(_) => "localhost",
            Place::Remote(connector) => &connector.authority,
        };
        let mut builder = Request::builder().method(method).uri(path).header(HOST, host);
        for (name, value) in [(AUTHORIZATION, &self.token), (PROJECT, &self.project)] {
            if let Some(value) = value {
                builder = builder.header(name, value);
            }
        }
        if let Some(etag) = if_match {
            builder = builder.header(IF_MATCH, etag);
        }
        let mut bytes = Bytes::new();
        if let Some(body) = body {
            builder = builder.header(CONTENT_TYPE, "application/json");
            bytes = serde_json::to_vec(body).map_err(|error| ClientError::Request(error.to_string()))?.into();
        }
        let request =
            builder.body(Full::new(bytes)).map_err(|error| ClientError::Request(error.to_string()))?;
        let sent = match &self.place {
            Place::Socket(socket) => {
                let stream =
                    UnixStream::connect(socket).await.map_err(|source| connect_error(socket, source))?;
                send_over(stream, request).await
            }
            Place::Remote(connector) => send_over(connector.connect().await?, request).await,
        };
        sent.map_err(|source| transport(method, path, source))
    }
}

/// Sends a request over a connection of its own.
async fn send_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // The task ends with the connection, which ends with the answer; its error comes out of the request too.
    tokio::spawn(connection);
    sender.send_request(request).await
}

fn connect_error(socket: &std::path::Path, source: io::Error) -> ClientError {
    let socket = socket.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => ClientError::SocketMissing { socket },
        io::ErrorKind::ConnectionRefused => ClientError::NotRunning { socket },
        io::ErrorKind::PermissionDenied => ClientError::PermissionDenied { socket },
        _ => ClientError::Connect { socket, source },
    }
}

/// A body that is read as it comes.
pub struct BodyStream {
    path: String,
    body: Incoming,
}

impl BodyStream {
    /// The next piece, or none at the end. Dropping the stream closes the connection.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|source| transport(&Method::GET, &self.path, source))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// The body of an answer that is a success; the refusal that another is.
async fn collect_success(
    method: &Method,
    path: &str,
    response: Response<Incoming>,
) -> Result<Vec<u8>, ClientError> {
    let status = response.status();
    let bytes = collect(method, path, response.into_body()).await?;
    if status.is_success() { Ok(bytes) } else { Err(refusal(method, path, status.as_u16(), &bytes)) }
}

async fn collect(method: &Method, path: &str, mut body: Incoming) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| transport(method, path, source))?;
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > BODY_BYTES_MAX {
            return Err(ClientError::TooLong { path: path.to_owned(), limit_bytes: BODY_BYTES_MAX });
        }
    }
    Ok(bytes)
}

fn transport(method: &Method, path: &str, source: hyper::Error) -> ClientError {
    ClientError::Transport { method: method.to_string(), path: path.to_owned(), source }
}

/// The error that an answer without success is.
fn refusal(method: &Method, path: &str, status: u16, bytes: &[u8]) -> ClientError {
    match serde_json::from_slice::<Problem>(bytes) {
        Ok(problem) => ClientError::Problem(Box::new(problem)),
        Err(_) => unexpected(method, path, status, bytes),
    }
}

fn unexpected(method: &Method, path: &str, status: u16, bytes: &[u8]) -> ClientError {
    let text = String::from_utf8_lossy(bytes);
    let excerpt = match text.trim() {
        "" => "an empty body".to_owned(),
        text => format!("`{}`", text.chars().take(EXCERPT_CHARS_MAX).collect::<String>().escape_debug()),
    };
    ClientError::Unexpected { method: method.to_string(), path: path.to_owned(), status, excerpt }
}

/// A text as one segment of a path or one value of a query: all but unreserved characters are escaped.
pub fn encode_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
    }
    // A path of dots alone would mean another path.
    if encoded == "." || encoded == ".." { encoded.replace('.', "%2E") } else { encoded }
}

fn hex_digit(value: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(value)])
}
