//! Who may do what: who is asking, what their roles allow, how often, and what is noted of it.
//!
//! [`Access::identify`] turns what a connection and a request say into a [`Caller`]; [`Caller::authorise`] turns what
//! the table of permissions says of them into the [`crate::app::Scope`] that the rules work in. `http/guard.rs` calls both before
//! anything else is done with a request. Nothing here knows what requests do.

pub mod audit;
pub mod authority;
pub mod caller;
pub mod identity;
pub mod rate;
pub mod standing;
pub mod table;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};

use crate::app::AppError;
use crate::app::token::{bindings_of, note_use, token_of};
use crate::config::LocalUser;
use crate::hexadecimal;
use crate::store::Store;
use audit::AuditLog;
use caller::{Caller, Grant};
use identity::{Certified, Peer};
use rate::Buckets;

/// What a token starts with, so that people and scanners know one when they see it.
const TOKEN_PREFIX: &str = "edgs_";
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// How long after a use of a token the next one is noted.
const NOTE_USE_EVERY: SignedDuration = SignedDuration::from_mins(10);

/// What tells callers apart, and what is kept of them.
pub struct Access {
    store: Arc<dyn Store>,
    local_users: Vec<LocalUser>,
    /// When uses of tokens were last noted, by id.
    noted: Mutex<HashMap<String, Timestamp>>,
    /// Requests of callers.
    pub buckets: Buckets,
    /// Requests of addresses that say nothing of themselves that holds: however many they are, callers keep theirs.
    pub strangers: Buckets,
    /// The audit log.
    pub audit: AuditLog,
}

/// Why nobody knows who is asking.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// Nothing was said.
    #[error("send a token (Authorization: Bearer ...), or show a client certificate that is trusted here")]
    Nobody,
    /// The header is there, and is none that is understood.
    #[error("the header Authorization is not `Bearer` and a token")]
    Malformed,
    /// The token is none, or is no longer one.
    #[error("the token is not known here, was removed, or has expired")]
    Token,
    /// The certificate has ended since the connection was made.
    #[error("the client certificate has expired: connect with another one")]
    Certificate,
    /// The store could not be read.
    #[error(transparent)]
    App(#[from] AppError),
}

impl Access {
    /// Knows the tokens and bindings in `store`, and the users of this host that the configuration names.
    pub fn new(
        store: Arc<dyn Store>,
        local_users: Vec<LocalUser>,
        buckets: Buckets,
        audit: AuditLog,
    ) -> Self {
        let strangers = buckets.of_others();
        Self { store, local_users, noted: Mutex::default(), buckets, strangers, audit }
    }

    /// Who is asking: the bearer of a token where one is sent, else whoever the connection is from. May block.
    pub fn identify(&self, peer: &Peer, authorization: Option<&[u8]>) -> Result<Caller, Unknown> {
        if let Some(header) = authorization {
            return self.bearer(header);
        }
        match peer {
            Peer::Local { uid, gid } => Ok(self.local(*uid, *gid)),
            Peer::Remote { certified: Some(Certified { user, expires_at }), .. } => {
                // It was good when the connection was made, which may be long ago.
                if *expires_at <= Timestamp::now() {
                    return Err(Unknown::Certificate);
                }
                let bindings = bindings_of(self.store.as_ref(), user)?;
                let grants = bindings.iter().filter_map(|entry| {
                    Grant::stored(entry.record.spec.role, entry.record.project.as_deref())
                });
                Ok(Caller::new(format!("user:{user}"), grants.collect()).until(*expires_at))
            }
            Peer::Remote { certified: None, .. } => Err(Unknown::Nobody),
        }
    }

    fn local(&self, uid: u32, gid: u32) -> Caller {
        if identity::is_local_admin(uid, gid) {
            return Caller::local_admin(uid);
        }
        let users = self.local_users.iter().filter(|user| user.uid == uid);
        let grants = users.filter_map(|user| Grant::stored(user.role, Some(user.project())));
        Caller::new(format!("uid:{uid}"), grants.collect())
    }

    fn bearer(&self, header: &[u8]) -> Result<Caller, Unknown> {
        let text = std::str::from_utf8(header).map_err(|_| Unknown::Malformed)?;
        let (scheme, secret) = text.split_once(' ').ok_or(Unknown::Malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Unknown::Malformed);
        }
        let token = token_of(self.store.as_ref(), &digest(secret.trim()))?.ok_or(Unknown::Token)?;
        let now = Timestamp::now();
        let end = token.record.spec.expires_at.filter(|end| *end > now).ok_or(Unknown::Token)?;
        let project = token.record.project.as_deref();
        let grants = Grant::stored(token.record.spec.role, project).into_iter().collect();
        let name = format!("token:{}/{}", project.unwrap_or_default(), token.record.name);
        if self.is_to_be_noted(&token.record.id, now)
            && let Err(error) = note_use(self.store.as_ref(), &token, now)
        {
            tracing::debug!(%error, "the use of a token could not be noted");
        }
        Ok(Caller::new(name, grants).until(end))
    }

    fn is_to_be_noted(&self, id: &str, now: Timestamp) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.get(id).is_some_and(|last| now.duration_since(*last) < NOTE_USE_EVERY) {
            return false;
        }
        noted.retain(|_, last| now.duration_since(*last) < NOTE_USE_EVERY);
        noted.insert(id.to_owned(), now);
        true
    }
}

/// A new secret for a token.
pub fn new_secret() -> Result<String, AppError> {
    let mut bytes = [0; TOKEN_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| AppError::NoRandomness)?;
    Ok(format!("{TOKEN_PREFIX}{}", hexadecimal(&bytes)))
}

/// What is kept of a secret. It is random and long, so that a plain digest gives nothing away.
pub fn digest(secret: &str) -> String {
    hexadecimal(&Sha256::digest(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{digest, new_secret};

    #[test]
    fn secrets_are_long_and_never_the_same() {
        let (one, two) = (new_secret().unwrap(), new_secret().unwrap());
        assert_eq!(one.len(), "edgs_".len() + 64);
        assert_ne!(one, two);
        assert_eq!(digest(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
