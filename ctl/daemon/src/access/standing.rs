//! The right to go on hearing an answer that has no end of its own (events, captures): it is lost with the token or the
//! roles that gave it, or when the certificate ends.
//!
//! The rules for every request are `http/guard.rs`'s; this asks again while an answer goes on. A stream whose caller got
//! other roles ends too: asked for anew, it is what the new ones allow.

use std::sync::Arc;
use std::time::Duration;

use edgestack_model::Kind;
use jiff::Timestamp;

use super::Access;
use super::caller::Caller;
use super::identity::Peer;
use crate::app::record::OBJECTS;
use crate::store::Watch;

/// How often it is asked again where nothing is known to have changed: the clock may have been set.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Who asked, and by what they were known.
#[derive(Clone)]
pub struct Standing {
    access: Arc<Access>,
    peer: Peer,
    authorization: Option<Vec<u8>>,
    caller: Arc<Caller>,
}

impl Standing {
    /// That of `caller`, who was known by these two.
    pub fn new(access: Arc<Access>, peer: Peer, authorization: Option<Vec<u8>>, caller: Arc<Caller>) -> Self {
        Self { access, peer, authorization, caller }
    }

    /// Waits until the caller is no longer who they were when they asked.
    pub async fn lost(self) {
        loop {
            // From before the question, so that nothing between it and the wait is missed.
            let (mut tokens, mut bindings) = (self.watch(Kind::Token), self.watch(Kind::RoleBinding));
            if !self.holds().await {
                return;
            }
            tokio::select! {
                _ = tokens.next() => {}
                _ = bindings.next() => {}
                () = tokio::time::sleep(self.rest()) => {}
            }
        }
    }

    fn watch(&self, kind: Kind) -> Watch {
        let store = &self.access.store;
        store.watch(&format!("{OBJECTS}{}/", kind.plural()), store.revision())
    }

    async fn holds(&self) -> bool {
        let asked = self.clone();
        let identified = tokio::task::spawn_blocking(move || {
            asked.access.identify(&asked.peer, asked.authorization.as_deref())
        });
        // Where it cannot be told, there is no right.
        matches!(identified.await, Ok(Ok(caller)) if caller == *self.caller)
    }

    /// How long until it is asked again.
    fn rest(&self) -> Duration {
        let left = self.caller.expires_at().map(|end| end.duration_since(Timestamp::now()));
        left.map_or(LOOK_EVERY, |left| Duration::try_from(left).unwrap_or_default().min(LOOK_EVERY))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use edgestack_model::{RoleBindingSpec, read_draft};
    use jiff::Timestamp;
    use serde_json::json;

    use super::{LOOK_EVERY, Standing};
    use crate::access::audit::AuditLog;
    use crate::access::identity::{Certified, Peer};
    use crate::access::rate::Buckets;
    use crate::access::{Access, Unknown};
    use crate::app::App;
    use crate::store::{MemoryStore, Store};

    fn access(store: &Arc<dyn Store>) -> Arc<Access> {
        let directory = tempfile::tempdir().unwrap();
        let audit = AuditLog::open(directory.path(), 1 << 20, 2).unwrap();
        Arc::new(Access::new(Arc::clone(store), Vec::new(), Buckets::new(100, 100), audit))
    }

    fn peer(user: &str, expires_at: Timestamp) -> Peer {
        let certified = Certified { user: user.to_owned(), expires_at };
        Peer::Remote { address: "192.0.2.1:1".parse().unwrap(), certified: Some(certified) }
    }

    #[tokio::test]
    async fn it_is_lost_with_the_certificate() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let access = access(&store);
        let peer = peer("one", Timestamp::now() + Duration::from_secs(2));
        let caller = Arc::new(access.identify(&peer, None).unwrap());
        let lost = Standing::new(Arc::clone(&access), peer.clone(), None, caller).lost();
        tokio::time::timeout(LOOK_EVERY / 2, lost).await.unwrap();
        let error = access.identify(&peer, None).unwrap_err();
        assert!(matches!(error, Unknown::Certificate), "{error}: the connection may be there still");
    }

    #[tokio::test]
    async fn it_is_lost_with_a_role_and_not_before() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let app = App::new(Arc::clone(&store), Vec::new());
        for name in ["one", "other"] {
            let body = json!({"role_binding": {"name": name, "user": name, "role": "viewer"}});
            app.create(&read_draft::<RoleBindingSpec>(&body).unwrap()).unwrap();
        }
        let (access, peer) = (access(&store), peer("one", Timestamp::MAX));
        let caller = Arc::new(access.identify(&peer, None).unwrap());
        let mut lost = Box::pin(Standing::new(access, peer, None, caller).lost());
        app.delete::<RoleBindingSpec>("other", None).unwrap();
        let early = tokio::time::timeout(Duration::from_millis(300), &mut lost).await;
        assert!(early.is_err(), "another's role is no matter");
        app.delete::<RoleBindingSpec>("one", None).unwrap();
        tokio::time::timeout(Duration::from_secs(30), lost).await.unwrap();
    }
}
