//! The daemon put together: store, rules, dataplane, reconciler, listeners; and taken apart in the reverse order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use edgestack_dataplane::runtime::StartError;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::access::Access;
use crate::access::audit::{AuditError, AuditLog};
use crate::access::authority::AuthorityError;
use crate::access::rate::Buckets;
use crate::app::{App, AppError};
use crate::backups::Backups;
use crate::config::Config;
use crate::events::Feed;
use crate::gateway::Gateway;
use crate::health::{Board, Monitor};
use crate::http::server::{ControlSocket, ListenError, serve_tcp, serve_tls};
use crate::http::tls::Tls;
use crate::http::{self, Api, Server};
use crate::metrics::Metrics;
use crate::operations::Operations;
use crate::reconcile::Progress;
use crate::reconcile::network::{Reconciler, Uplink};
use crate::reconcile::node::NodeAgent;
use crate::reconcile::overlay::Overlay;
use crate::reconcile::plug::Plugger;
use crate::reconcile::services::ServiceSettings;
use crate::services;
use crate::services::directory::Directory;
use crate::store::{RedbStore, Store, StoreError};

/// How often the audit log is brought to the disk.
const SYNC_AUDIT_EVERY: Duration = Duration::from_secs(1);

/// Why the daemon could not start, or ended. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A directory cannot be made.
    #[error("cannot make the directory {}; set `{field}` to one that can be written", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The field of the configuration.
        field: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A socket cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is no certificate for the HTTPS listener.
    #[error("the HTTPS listener has no certificate")]
    Certificate(#[from] AuthorityError),
    /// What is always in the store cannot be made.
    #[error(transparent)]
    Prepare(#[from] AppError),
    /// The audit log cannot be opened.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The dataplane cannot be started.
    #[error("the dataplane cannot be started; `enabled = false` in [dataplane] runs the API without it")]
    Dataplane(#[from] StartError),
    /// The reconciler failed: a fault of this program.
    #[error("what brings desired state into effect has failed; established flows go on")]
    Reconciler(#[from] tokio::task::JoinError),
}

/// Starts everything, runs until `stop` says so, and ends everything. Pinned programs go on forwarding.
pub async fn run(config: Config, stop: watch::Receiver<bool>) -> Result<(), DaemonError> {
    make_directory(&config.state_dir, "state_dir")?;
    make_directory(&config.run_dir, "run_dir")?;
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&config.store_path())?);
    let socket = ControlSocket::bind(&config.socket_path(), !config.api.local_users.is_empty())?;
    let metrics_listener = listen(config.metrics.listen, "listen at the `metrics.listen` address").await?;
    let api_listener = listen(config.api.listen, "listen at the `api.listen` address").await?;
    let tls = api_listener.is_some().then(|| Tls::open(&config)).transpose()?;
    let gateway = Arc::new(Gateway::start(&config)?);
    let uplinks = uplinks(&config);
    let progress = Arc::new(Progress::default());
    let reserved = uplinks.iter().map(|uplink| uplink.interface.clone()).collect();
    let app = App::new(Arc::clone(&store), reserved).with_limits(config.limits());
    app.prepare()?;
    let access = Arc::new(access(&config, &store)?);
    // From before the API listens, so that no change is missed.
    let (events, changes) = Feed::new(Arc::clone(&store), stop.clone())?;
    tokio::spawn(Arc::clone(&events).run(changes));
    let operations = Arc::new(Operations::new(Arc::clone(&store))?);
    let api = Api {
        app,
        gateway: Arc::clone(&gateway),
        progress: Arc::clone(&progress),
        uplinks: uplinks.clone().into(),
        backups: Arc::new(Backups::new(&config.state_dir, Arc::clone(&store), Arc::clone(&operations))),
        operations,
        events: Arc::clone(&events),
        metrics: Arc::new(Metrics::new(Arc::clone(&gateway), Arc::clone(&store), Arc::clone(&progress))),
    };
    let node = NodeAgent::new(api.app.clone(), Arc::clone(&gateway), config.clone(), uplinks.clone());
    let node = tokio::spawn(node.run(stop.clone()));
    let (directory, known) = watch::channel(Arc::default());
    let workloads_serving = serve_workloads(&api, &config, known, &stop);
    let board = Arc::new(Board::default());
    let monitoring = tokio::spawn(Monitor::new(&store, &gateway, &board).run(stop.clone()));
    let reconciler = Reconciler::new(store, gateway, progress, uplinks, board)
        .serving(ServiceSettings::new(&config), directory)
        .plugging(Plugger::new(config.dataplane.instance.get_ref()));
    let mut reconciling = tokio::spawn(reconciler.run(stop.clone()));
    let metrics_serving = metrics_listener.map(|listener| serve_metrics(listener, &api, &access, &stop));
    let router = http::router(Server::new(api, Arc::clone(&access)));
    let syncing = tokio::spawn(sync_audit(Arc::clone(&access), stop.clone()));
    let https_serving = api_listener.zip(tls).map(|(listener, tls)| {
        tokio::spawn(tls.clone().look_after(stop.clone()));
        tokio::spawn(serve_tls(listener, tls, router.clone(), stop.clone()))
    });
    let https = config.api.listen.map_or_else(|| "off".to_owned(), |address| address.to_string());
    tracing::info!(socket = %config.socket_path().display(), https, "edgestackd is listening");
    let serving = socket.serve(router, stop);
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => reconciling.await?,
        // Without it every change would be accepted and none take effect.
        ended = &mut reconciling => {
            ended?;
            serving.await;
        }
    }
    end([
        ("a listener", metrics_serving),
        ("a listener", https_serving),
        ("the audit log", Some(syncing)),
        ("the node", Some(node)),
        ("serving workloads", workloads_serving),
        ("health checks", Some(monitoring)),
    ])
    .await;
    tracing::info!("edgestackd has stopped; established flows go on in the kernel");
    Ok(())
}

/// Waits for the end of what runs beside the API.
async fn end<const COUNT: usize>(tasks: [(&str, Option<JoinHandle<()>>); COUNT]) {
    for (what, task) in tasks {
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "{what} failed");
        }
    }
}

/// Serves what monitoring asks for, without saying who asks.
fn serve_metrics(
    listener: TcpListener,
    api: &Api,
    access: &Arc<Access>,
    stop: &watch::Receiver<bool>,
) -> JoinHandle<()> {
    let router = http::service::router(Server::new(api.clone(), Arc::clone(access)));
    tokio::spawn(serve_tcp(listener, router, stop.clone()))
}

/// Serves workloads, where the dataplane runs.
fn serve_workloads(
    api: &Api,
    config: &Config,
    known: watch::Receiver<Arc<Directory>>,
    stop: &watch::Receiver<bool>,
) -> Option<JoinHandle<()>> {
    let (metadata, dns) = (config.metadata.clone(), config.dns.clone());
    let stack = api.gateway.stack()?;
    Some(tokio::spawn(services::serve(stack, api.app.clone(), known, metadata, dns, stop.clone())))
}

/// Who may do what, by the configuration.
fn access(config: &Config, store: &Arc<dyn Store>) -> Result<Access, AuditError> {
    let audit = &config.audit;
    let file_bytes_max = u64::from(*audit.file_mib.get_ref()) << 20;
    let log = AuditLog::open(&config.audit_directory(), file_bytes_max, *audit.files.get_ref() as usize)?;
    let buckets =
        Buckets::new(*config.api.requests_per_second.get_ref(), *config.api.requests_burst.get_ref());
    Ok(Access::new(Arc::clone(store), config.api.local_users.clone(), buckets, log))
}

/// Brings the audit log to the disk every second, and at the end.
async fn sync_audit(access: Arc<Access>, mut stop: watch::Receiver<bool>) {
    let mut stopping = false;
    while !stopping {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => stopping = true,
            () = tokio::time::sleep(SYNC_AUDIT_EVERY) => {}
        }
        let access = Arc::clone(&access);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || access.audit.sync()).await {
            tracing::error!(%error, "the audit log cannot be brought to the disk");
        }
    }
}

/// Opens a TCP listener, where there is to be one.
async fn listen(
    address: Option<SocketAddr>,
    action: &'static str,
) -> Result<Option<TcpListener>, ListenError> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    listener.map(Some).map_err(|source| ListenError::System { action, place: address.to_string(), source })
}

/// The uplinks of a configuration.
pub fn uplinks(config: &Config) -> Vec<Uplink> {
    let uplink = |uplink: &crate::config::Uplink| Uplink {
        name: uplink.name.get_ref().clone(),
        interface: uplink.interface.get_ref().clone(),
        physical_network: uplink.physical_network.get_ref().clone(),
        attach: uplink.attach,
        overlay: config
            .overlay
            .as_ref()
            .filter(|overlay| overlay.uplink.get_ref() == uplink.name.get_ref())
            .map(Overlay::new),
    };
    config.uplink.iter().map(uplink).collect()
}

fn make_directory(path: &std::path::Path, field: &'static str) -> Result<(), DaemonError> {
    std::fs::create_dir_all(path).map_err(|source| DaemonError::Directory {
        path: path.to_owned(),
        field,
        source,
    })
}
