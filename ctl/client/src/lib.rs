//! Client of the EdgeStack API, over its control socket or HTTPS.
//!
//! [`Client`] speaks HTTP/1.1 over the daemon's Unix socket or over TLS 1.3 ([`Remote`]): one connection for each
//! request, so that it keeps no state that a restarted daemon could make stale. It sends and returns the objects of the API; it never
//! validates them (the daemon does, and says every error at once) and never retries. `edgectl` is its main user.

mod error;
mod inspect;
mod objects;
mod remote;
mod transport;

pub use edgestack_model::{FieldError, Kind, Problem};
pub use error::ClientError;
pub use inspect::CaptureQuery;
pub use objects::{List, ListQuery, Manifest, PlannedWrite, Version, collection_path, item_path};
pub use remote::{DEFAULT_PORT, Remote};
pub use transport::{BodyStream, Client, Method, Reply, Sent, encode_segment};

/// Where the daemon listens unless its configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/edgestack/edgestackd.sock";

/// The group whose members may use the socket.
pub const SOCKET_GROUP: &str = "edgestack";
