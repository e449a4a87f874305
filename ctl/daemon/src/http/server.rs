//! Listeners: the control socket, HTTPS, and the TCP listener for metrics.
//!
//! Each connection is a task; connections, handshakes, headers and idle times have limits. A stop lets requests that are
//! under way end, within a limit too. Every request carries the [`Peer`] that its connection is from.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::tls::Tls;
use crate::access::identity::{ADMIN_GROUP, Peer};

/// Connections of one listener at a time.
const CONNECTIONS_MAX: usize = 512;
/// Connections from one address, or of one user of this host, at a time, so that nobody takes the places of all others.
const CONNECTIONS_PER_PEER_MAX: usize = 64;
/// How long a client may take to send the head of a request, and to leave a connection idle.
const HEADER_TIMEOUT: Duration = Duration::from_mins(1);
/// The same for a client by the network.
const REMOTE_HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long requests under way may take to end when the daemon stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept: out of descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Members of this group may use the control socket.
const SOCKET_GROUP: &str = ADMIN_GROUP;
/// Permissions of the control socket.
const SOCKET_MODE: u32 = 0o660;
/// The same where users beside the administrators may use it.
const SOCKET_MODE_FOR_EVERYBODY: u32 = 0o666;

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another daemon answers there.
    #[error("another edgestackd answers at {}; stop it, or set another `socket`", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket stands in the way.
    #[error("{} exists and is no socket; move it away, or set another `socket`", path.display())]
    NoSocket {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {place}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Where.
        place: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// The control socket, bound; removed when dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl ControlSocket {
    /// Binds the socket at `path`. A socket that nobody answers at is replaced.
    /// `for_everybody` lets every user of this host connect; who they are decides what they may.
    pub fn bind(path: &Path, for_everybody: bool) -> Result<Self, ListenError> {
        let failed = |action| {
            let place = path.display().to_string();
            move |source| ListenError::System { action, place, source }
        };
        remove_stale(path)?;
        // Without permissions for others from its first moment on, whatever the daemon was started with.
        let umask = rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(umask);
        let listener = bound.map_err(failed("listen at"))?;
        let mode = if for_everybody { SOCKET_MODE_FOR_EVERYBODY } else { SOCKET_MODE };
        let socket = Self { listener, path: path.to_owned() };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(failed("set the permissions of"))?;
        if let Some(group) = group_id(SOCKET_GROUP) {
            // Who is neither root nor a member cannot give it away; the socket is good for its owner all the same.
            if let Err(error) = std::os::unix::fs::chown(path, None, Some(group)) {
                tracing::warn!(%error, group = SOCKET_GROUP, "the socket keeps its group: only its owner can use it");
            }
        } else {
            tracing::info!(
                "this host has no group `{SOCKET_GROUP}`: the socket is for its owner alone (groupadd --system {SOCKET_GROUP})"
            );
        }
        Ok(socket)
    }

    /// Serves `router` until `stop` says so.
    pub async fn serve(self, router: Router, stop: watch::Receiver<bool>) {
        let connections = Connections::new(router, stop);
        let peers = Peers::default();
        loop {
            let Some(permit) = connections.slot().await else { break };
            let mut stop = connections.stop.clone();
            let accepted = tokio::select! {
                () = stopped(&mut stop) => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let Ok(credentials) = stream.peer_cred() else { continue };
                    let peer = Peer::Local { uid: credentials.uid(), gid: credentials.gid() };
                    // Those who run the host need no place among the others.
                    let runs_the_host = [0, rustix::process::geteuid().as_raw()].contains(&credentials.uid());
                    let place = if runs_the_host { None } else { peers.enter(&peer) };
                    if place.is_some() || runs_the_host {
                        connections.spawn(std::future::ready(Some((stream, peer))), (permit, place));
                    }
                }
                Err(error) => pause(&error).await,
            }
        }
        connections.finish().await;
    }
}

/// Serves `router` by HTTPS at a TCP address until `stop` says so.
pub async fn serve_tls(listener: TcpListener, tls: Tls, router: Router, stop: watch::Receiver<bool>) {
    let connections = Connections { header_timeout: REMOTE_HEADER_TIMEOUT, ..Connections::new(router, stop) };
    let peers = Peers::default();
    loop {
        let Some(permit) = connections.slot().await else { break };
        let mut stop = connections.stop.clone();
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(place) = peers.enter(&Peer::Remote { address, certified: None }) else { continue };
                let tls = tls.clone();
                connections.spawn(async move { tls.greet(stream, address).await }, (permit, place));
            }
            Err(error) => pause(&error).await,
        }
    }
    connections.finish().await;
}

/// How many connections there are from each address or user.
#[derive(Clone, Debug, Default)]
struct Peers(Arc<Mutex<HashMap<String, usize>>>);

/// A connection that is counted; dropping it counts it out.
struct Place {
    peers: Peers,
    key: String,
}

impl Peers {
    /// A place for one more connection of a peer; None where there are too many.
    fn enter(&self, peer: &Peer) -> Option<Place> {
        let key = peer.key();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key.clone()).or_default();
        if *count >= CONNECTIONS_PER_PEER_MAX {
            tracing::debug!(key, "too many connections of one peer");
            return None;
        }
        *count += 1;
        Some(Place { peers: self.clone(), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// Serves `router` at a TCP address until `stop` says so.
pub async fn serve_tcp(listener: TcpListener, router: Router, stop: watch::Receiver<bool>) {
    let connections = Connections::new(router, stop);
    let peers = Peers::default();
    loop {
        let Some(permit) = connections.slot().await else { break };
        let mut stop = connections.stop.clone();
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let peer = Peer::Remote { address, certified: None };
                let Some(place) = peers.enter(&peer) else { continue };
                connections.spawn(std::future::ready(Some((stream, peer))), (permit, place));
            }
            Err(error) => pause(&error).await,
        }
    }
    connections.finish().await;
}

/// The connections of one listener.
struct Connections {
    router: Router,
    slots: Arc<Semaphore>,
    header_timeout: Duration,
    stop: watch::Receiver<bool>,
}

impl Connections {
    fn new(router: Router, stop: watch::Receiver<bool>) -> Self {
        Self {
            router,
            slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            header_timeout: HEADER_TIMEOUT,
            stop,
        }
    }

    /// Waits for a place for one more connection; None when it is time to stop.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = stopped(&mut stop) => None,
            permit = Arc::clone(&self.slots).acquire_owned() => permit.ok(),
        }
    }

    /// Serves a connection, once it is `established`; its `places` are free again when it ends.
    fn spawn<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        established: impl Future<Output = Option<(S, Peer)>> + Send + 'static,
        places: impl Send + 'static,
    ) {
        let inner = TowerToHyperService::new(self.router.clone());
        let (mut stop, header_timeout) = (self.stop.clone(), self.header_timeout);
        tokio::spawn(async move {
            let Some((stream, peer)) = established.await else { return drop(places) };
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer.clone());
                inner.call(request)
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(header_timeout)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopped(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(places);
        });
    }

    /// Waits for the connections to end.
    async fn finish(self) {
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        if tokio::time::timeout(STOP_TIMEOUT, self.slots.acquire_many(all)).await.is_err() {
            tracing::warn!("requests were still under way when the daemon stopped");
        }
    }
}

/// Waits until it is time to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that nobody is left to say so, which is as good.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Removes a socket that is left over from a daemon that did not end in order.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |action| {
        let place = path.display().to_string();
        move |source| ListenError::System { action, place, source }
    };
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NoSocket { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(ListenError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed("remove the stale socket"))
        }
        Err(error) => Err(failed("connect to")(error)),
    }
}

/// The id of a group of this machine.
fn group_id(name: &str) -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::{CONNECTIONS_PER_PEER_MAX, ControlSocket, ListenError, Peer, Peers};

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the file of a dead listener stays");
        let socket = ControlSocket::bind(&path, false).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(ControlSocket::bind(&path, false), Err(ListenError::InUse { .. })));
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn one_peer_cannot_take_all_places() {
        let remote = |address: &str| Peer::Remote { address: address.parse().unwrap(), certified: None };
        let local = |uid| Peer::Local { uid, gid: 100 };
        for (one, same, other) in [
            (remote("192.0.2.1:1"), remote("[::ffff:192.0.2.1]:2"), remote("192.0.2.2:1")),
            // Who has one IPv6 address has the others of its network.
            (remote("[2001:db8::1]:1"), remote("[2001:db8::2]:1"), remote("[2001:db8:0:1::1]:1")),
            (local(1000), Peer::Local { uid: 1000, gid: 7 }, local(1001)),
        ] {
            let peers = Peers::default();
            let mut places: Vec<_> =
                (0..CONNECTIONS_PER_PEER_MAX).map(|_| peers.enter(&one).unwrap()).collect();
            assert!(peers.enter(&one).is_none());
            assert!(peers.enter(&same).is_none(), "the same peer");
            assert!(peers.enter(&other).is_some());
            places.pop();
            assert!(peers.enter(&one).is_some());
            drop(places);
            assert!(peers.0.lock().unwrap().is_empty(), "nothing is kept of those who went");
        }
    }

    #[tokio::test]
    async fn other_files_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(ControlSocket::bind(&path, false), Err(ListenError::NoSocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
