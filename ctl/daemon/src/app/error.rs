//! Why a request was refused by the rules. `http/error.rs` maps each to a status, nothing else does.

use edgestack_model::{FieldError, Kind, Reference};

use crate::store::StoreError;

/// Users of an object that a message names.
const USERS_NAMED_MAX: usize = 10;

/// Why a request was refused; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The request is wrong in itself or against other objects.
    #[error("the {kind} was refused: {} field(s) are wrong", errors.len())]
    Invalid {
        /// The kind of the object.
        kind: Kind,
        /// Everything that is wrong.
        errors: Vec<FieldError>,
    },
    /// The request is well formed, but another object is in its way.
    #[error("the {kind} was refused: {}", .errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; "))]
    Conflict {
        /// The kind of the object.
        kind: Kind,
        /// Everything that is in the way.
        errors: Vec<FieldError>,
    },
    /// There is no such object.
    #[error("there is no {kind} `{reference}`")]
    NotFound {
        /// The kind that was looked for.
        kind: Kind,
        /// The name or id that was looked for.
        reference: String,
    },
    /// The router has no such peer router.
    #[error("the router `{router}` has no peer router {ip}")]
    NotFoundPeer {
        /// The router.
        router: String,
        /// The address that was looked for.
        ip: String,
    },
    /// The object has no such part.
    #[error("{}", .errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; "))]
    NoSuchPart {
        /// The kind of the object.
        kind: Kind,
        /// What was looked for.
        errors: Vec<FieldError>,
    },
    /// The name belongs to an object that differs from the one requested.
    #[error("there is a {kind} `{name}` already, and it differs in: {}", differences.join(", "))]
    Exists {
        /// The kind.
        kind: Kind,
        /// The name.
        name: String,
        /// The fields that differ.
        differences: Vec<String>,
    },
    /// The object is seen, but it is not the caller's to change.
    #[error("the {kind} `{name}` is for all projects, and not yours to change")]
    NotYours {
        /// The kind.
        kind: Kind,
        /// The object.
        name: String,
    },
    /// The project has as many objects as it may have.
    #[error("the project `{project}` has {used} of at most {limit} {}", kind.replace('_', " "))]
    QuotaExceeded {
        /// The project.
        project: String,
        /// The plural of the kind.
        kind: String,
        /// How many there are.
        used: u64,
        /// How many there may be.
        limit: u64,
    },
    /// Others need the object.
    #[error("the {kind} `{name}` is used by {}", list(users))]
    InUse {
        /// The kind.
        kind: Kind,
        /// The object that was to be deleted.
        name: String,
        /// Who uses it.
        users: Vec<Reference>,
    },
    /// The object may not be deleted at all.
    #[error("the {kind} `{name}` cannot be deleted: {reason}")]
    Protected {
        /// The kind.
        kind: Kind,
        /// The object.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// The object changed since the request's author read it.
    #[error("the {kind} `{name}` has changed: it is at {found}, not {wanted}")]
    Changed {
        /// The kind.
        kind: Kind,
        /// The object.
        name: String,
        /// The entity tag of the request.
        wanted: String,
        /// The entity tag of the object.
        found: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers for a secret")]
    NoRandomness,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored object could not be understood.
    #[error("the stored value of `{key}` cannot be read")]
    Corrupt {
        /// The key in the store.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Users for people, the first of them where there are many.
fn list(users: &[Reference]) -> String {
    let named = users.iter().take(USERS_NAMED_MAX).map(ToString::to_string);
    let more = users.len().saturating_sub(USERS_NAMED_MAX);
    let more = (more > 0).then(|| format!("{more} more"));
    named.chain(more).collect::<Vec<_>>().join(", ")
}
