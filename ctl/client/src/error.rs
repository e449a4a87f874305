//! What can go wrong with a request, told so that the reader knows what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use edgestack_model::Problem;

use crate::SOCKET_GROUP;

/// Why a request had no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket.
    #[error("there is no socket at {}", socket.display())]
    SocketMissing {
        /// The path that was tried.
        socket: PathBuf,
    },
    /// There is a socket and nobody behind it.
    #[error("nothing listens at {}", socket.display())]
    NotRunning {
        /// The path that was tried.
        socket: PathBuf,
    },
    /// The socket may not be opened by this user.
    #[error("this user may not open {}", socket.display())]
    PermissionDenied {
        /// The path that was tried.
        socket: PathBuf,
    },
    /// The socket could not be connected for another reason.
    #[error("cannot connect to {}: {source}", socket.display())]
    Connect {
        /// The path that was tried.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon could not be reached by HTTPS, or is not the one that its certificate should be of.
    #[error("cannot connect to {url}: {source}")]
    Unreachable {
        /// The URL that was tried.
        url: String,
        /// What the system, or the check of the certificate, said.
        source: io::Error,
    },
    /// What the client was told about a remote daemon cannot be.
    #[error("{0}")]
    Remote(String),
    /// The connection broke, or what came back is no HTTP.
    #[error("{method} {path} got no answer: {source}")]
    Transport {
        /// Method of the request.
        method: String,
        /// Path of the request.
        path: String,
        /// What the HTTP library said.
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("{method} {path} got no answer within {} s", after.as_secs_f32())]
    Timeout {
        /// Method of the request.
        method: String,
        /// Path of the request.
        path: String,
        /// How long was waited.
        after: Duration,
    },
    /// The daemon refused the request and said why.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The daemon answered what this client does not understand.
    #[error("{method} {path} answered {status}, which is no answer of EdgeStack: {excerpt}")]
    Unexpected {
        /// Method of the request.
        method: String,
        /// Path of the request.
        path: String,
        /// Status of the answer.
        status: u16,
        /// Beginning of the body.
        excerpt: String,
    },
    /// The answer is JSON of another shape.
    #[error("the answer of {path} is not understood: {source}")]
    Decode {
        /// Path of the request.
        path: String,
        /// What was not as expected.
        source: serde_json::Error,
    },
    /// The answer is longer than a client takes.
    #[error("the answer to {path} is longer than {limit_bytes} bytes; ask for less with a limit or a filter")]
    TooLong {
        /// Path of the request.
        path: String,
        /// Most bytes that are taken.
        limit_bytes: usize,
    },
    /// The request cannot be written as JSON or as a path.
    #[error("the request cannot be written: {0}")]
    Request(String),
}

impl ClientError {
    /// Short name, as the `code` of a problem.
    pub fn code(&self) -> &str {
        match self {
            Self::SocketMissing { .. } => "socket_missing",
            Self::NotRunning { .. } => "daemon_not_running",
            Self::PermissionDenied { .. } => "permission_denied",
            Self::Connect { .. } | Self::Unreachable { .. } => "connect",
            Self::Remote(_) => "remote",
            Self::Transport { .. } => "connection_lost",
            Self::Timeout { .. } => "timeout",
            Self::Problem(problem) => &problem.code,
            Self::Unexpected { .. } | Self::Decode { .. } => "unexpected_answer",
            Self::TooLong { .. } => "answer_too_long",
            Self::Request(_) => "request",
        }
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::SocketMissing { .. } => Some(
                "start the daemon (systemctl start edgestackd), or name its socket with --socket".to_owned(),
            ),
            Self::NotRunning { .. } => Some(
                "the daemon has stopped and left its socket; start it (systemctl start edgestackd)"
                    .to_owned(),
            ),
            Self::PermissionDenied { .. } => Some(format!(
                "members of the group `{SOCKET_GROUP}` may: sudo usermod -aG {SOCKET_GROUP} $USER, then log in again"
            )),
            Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::InvalidData => Some(
                "the certificate of the daemon is not from the authority that is trusted: take tls/ca.pem of the \
                 daemon's state_dir as the authority"
                    .to_owned(),
            ),
            Self::Timeout { .. } => Some(
                "the daemon is overloaded or stuck; its log says more (journalctl -u edgestackd)".to_owned(),
            ),
            Self::Transport { .. } => Some("did the daemon restart? ask again".to_owned()),
            Self::Unexpected { .. } | Self::Decode { .. } => Some(
                "is the socket the one of edgestackd? compare the versions with `edgectl version`".to_owned(),
            ),
            _ => None,
        }
    }

    /// The daemon's answer, where it is one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// The object asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        self.problem().is_some_and(|problem| problem.status == 404)
    }
}

#[cfg(test)]
mod tests {
    use super::ClientError;

    #[test]
    fn a_refused_socket_names_the_group() {
        let error = ClientError::PermissionDenied { socket: "/run/x.sock".into() };
        assert!(error.to_string().contains("/run/x.sock"));
        assert!(error.hint().unwrap().contains("`edgestack`"));
    }
}
