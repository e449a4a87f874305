//! What a refusal looks like over HTTP: the one place where errors become statuses and problem documents.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgestack_model::{FieldError, Problem};

use crate::app::AppError;
use crate::store::StoreError;

/// Media type of problem documents (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Users of an object that an answer lists.
const USERS_SHOWN_MAX: usize = 100;

/// An answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The document.
    pub problem: Box<Problem>,
    /// Seconds after which the request may be repeated, where that is known.
    retry_after: Option<u64>,
}

/// The code of a problem, kept with the answer for those who note it.
#[derive(Clone, Debug)]
pub(super) struct Code(pub(super) String);

impl Failure {
    /// A failure of the kind `code`.
    pub fn new(status: StatusCode, code: &str, title: &str, detail: impl Into<String>) -> Self {
        let problem = Problem {
            kind: format!("/problems/{}", code.replace('_', "-")),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            errors: Vec::new(),
            users: Vec::new(),
        };
        Self { problem: Box::new(problem), retry_after: None }
    }

    /// Adds the fields that are wrong.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.problem.errors = errors;
        self
    }

    /// A body or query that could not be read.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request could not be read", detail)
    }

    /// Nobody knows who is asking.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        let title = "The request does not say who is asking";
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", title, detail)
    }

    /// The caller is known, and may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "That is not permitted", detail)
    }

    /// The caller asks more often than allowed.
    pub fn too_often(wait: Duration) -> Self {
        let title = "Too many requests";
        let detail = format!("requests come faster than allowed; go on in {:.1} seconds", wait.as_secs_f32());
        let mut failure = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", title, detail);
        failure.retry_after = Some(wait.as_secs() + 1);
        failure
    }

    /// The change could not be noted, so it is not made.
    pub fn audit_unavailable(detail: impl Into<String>) -> Self {
        let title = "The audit log cannot be written";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", title, detail)
    }

    /// The dataplane is needed and does not run.
    pub fn dataplane_off(detail: impl Into<String>) -> Self {
        let title = "The dataplane does not run";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "dataplane_off", title, detail)
    }

    /// Something that should not happen.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The daemon failed", detail)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let retry_after = self.retry_after.or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(1));
        let mut response = (status, body).into_response();
        response.extensions_mut().insert(Code(self.problem.code));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        let detail = error.to_string();
        let conflict = |code, title| Self::new(StatusCode::CONFLICT, code, title, detail.clone());
        match error {
            AppError::Invalid { errors, .. } => {
                let title = "Fields of the request are wrong";
                Self::new(StatusCode::BAD_REQUEST, "invalid", title, detail).with_errors(errors)
            }
            AppError::Conflict { errors, .. } => {
                conflict("conflict", "Another object is in the way").with_errors(errors)
            }
            AppError::NotFound { .. } | AppError::NotFoundPeer { .. } => {
                Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such object", detail)
            }
            AppError::NoSuchPart { errors, .. } => {
                let title = "The object has no such part";
                Self::new(StatusCode::NOT_FOUND, "not_found", title, detail).with_errors(errors)
            }
            AppError::Exists { kind, differences, .. } => {
                let title = "The name is taken by an object that differs";
                let errors = differences.into_iter().map(|field| FieldError {
                    pointer: format!("/{}/{field}", kind.singular()),
                    code: "differs".to_owned(),
                    message: format!("the existing object has another `{field}`"),
                    hint: Some("change the existing object with PUT or PATCH".to_owned()),
                });
                let errors = errors.collect();
                conflict("already_exists", title).with_errors(errors)
            }
            AppError::InUse { mut users, .. } => {
                let errors = users.iter().take(USERS_SHOWN_MAX).map(|user| FieldError {
                    pointer: String::new(),
                    code: "used_by".to_owned(),
                    message: user.to_string(),
                    hint: None,
                });
                let errors = errors.collect();
                let mut failure = conflict("in_use", "The object is in use").with_errors(errors);
                users.truncate(USERS_SHOWN_MAX);
                failure.problem.users = users;
                failure
            }
            AppError::NotYours { .. } => Self::forbidden(detail),
            AppError::QuotaExceeded { .. } => {
                let title = "The project has as many as it may have";
                Self::new(StatusCode::FORBIDDEN, "quota_exceeded", title, detail)
            }
            AppError::NoRandomness => Self::internal(detail),
            AppError::Protected { .. } => conflict("protected", "The object is protected"),
            AppError::Changed { .. } => {
                let title = "The object has changed meanwhile";
                Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", title, detail)
            }
            AppError::Store(error) => Self::from_store(&error),
            AppError::Corrupt { .. } => {
                tracing::error!(error = %chain(&error), "a stored object cannot be read");
                Self::internal(detail)
            }
        }
    }
}

impl Failure {
    pub(super) fn from_store(error: &StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::TooLarge { .. } => {
                let title = "The change is too large";
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", title, detail)
            }
            StoreError::Conflict { .. } => {
                let title = "Others change the same objects";
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "busy",
                    title,
                    "too many writes at once; try again",
                )
            }
            StoreError::InUse { .. }
            | StoreError::Exists { .. }
            | StoreError::NewerSchema { .. }
            | StoreError::Migration { .. }
            | StoreError::Backend { .. } => {
                tracing::error!(error = %chain(error), "the store failed");
                let title = "The store does not work";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", title, detail)
            }
        }
    }
}

/// An error with all its causes, for the log.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
