//! The HTTPS listener: TLS 1.3, the certificate that it shows, the certificates of clients that it trusts.
//!
//! A client's certificate is optional here; whether somebody without one may do anything is decided by `access/`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::access::authority::{Authority, AuthorityError};
use crate::access::identity::{Peer, certified};
use crate::config::Config;

/// How often the certificate is looked after: made anew before its end, or read anew where the files have changed.
const REFRESH_EVERY: Duration = Duration::from_hours(1);
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the HTTPS listener needs to greet a client.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
}

impl Tls {
    /// Reads or makes what the configuration says.
    pub fn open(config: &Config) -> Result<Self, AuthorityError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let shown = Arc::new(Shown::open(config, &provider)?);
        let authority = config.api.client_ca.clone().or_else(|| shown.own_authority());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong(config.state_dir.clone(), error))?;
        let builder = match authority {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(&path)? {
                    roots.add(certificate).map_err(|error| wrong(path.clone(), error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| wrong(path, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Shown>::clone(&shown);
        let mut server = builder.with_cert_resolver(resolver);
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(server)), shown })
    }

    /// Greets a client; None where it does not speak TLS well, or not soon enough.
    pub(super) async fn greet(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Option<(TlsStream<TcpStream>, Peer)> {
        // Answers are small, and waited for.
        let _ = stream.set_nodelay(true);
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "a handshake failed");
                return None;
            }
            Err(_) => {
                tracing::debug!(%address, "a handshake took too long");
                return None;
            }
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certified = certificate.and_then(|certificate| certified(certificate));
        Some((stream, Peer::Remote { address, certified }))
    }

    /// Keeps the certificate good until `stop` says so.
    pub async fn look_after(self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(REFRESH_EVERY) => {}
            }
            let shown = Arc::clone(&self.shown);
            match tokio::task::spawn_blocking(move || shown.refresh(SystemTime::now())).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "the certificate cannot be renewed; the one before stays");
                }
                Err(error) => tracing::error!(%error, "looking after the certificate failed"),
            }
        }
    }
}

/// The certificate that clients are shown.
#[derive(Debug)]
struct Shown {
    source: Source,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<CertifiedKey>,
}

/// Where it is from.
#[derive(Debug)]
enum Source {
    /// The daemon's own authority.
    Own { authority: Box<Authority>, names: Vec<String> },
    /// Files that somebody else keeps.
    Files { certificate: PathBuf, key: PathBuf },
}

impl Shown {
    fn open(config: &Config, provider: &Arc<CryptoProvider>) -> Result<Self, AuthorityError> {
        let source = match (&config.api.certificate, &config.api.key) {
            (Some(certificate), Some(key)) => {
                Source::Files { certificate: certificate.get_ref().clone(), key: key.get_ref().clone() }
            }
            _ => Source::Own {
                authority: Box::new(Authority::open(&config.tls_directory())?),
                names: names(config),
            },
        };
        let current = ArcSwap::from_pointee(source.load(provider, SystemTime::now())?);
        Ok(Self { source, provider: Arc::clone(provider), current })
    }

    fn refresh(&self, now: SystemTime) -> Result<(), AuthorityError> {
        self.current.store(Arc::new(self.source.load(&self.provider, now)?));
        Ok(())
    }

    fn own_authority(&self) -> Option<PathBuf> {
        match &self.source {
            Source::Own { authority, .. } => Some(authority.certificate_path()),
            Source::Files { .. } => None,
        }
    }
}

impl Source {
    fn load(&self, provider: &CryptoProvider, now: SystemTime) -> Result<CertifiedKey, AuthorityError> {
        let (certificate, key) = match self {
            Self::Own { authority, names } => authority.server(names, now)?,
            Self::Files { certificate, key } => (certificate.clone(), key.clone()),
        };
        let private = PrivateKeyDer::from_pem_file(&key).map_err(|error| wrong(key, error))?;
        CertifiedKey::from_der(certificates(&certificate)?, private, provider)
            .map_err(|error| wrong(certificate, error))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// The names that the daemon's own certificate is for: those of the configuration, and those that always are right.
fn names(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = config.api.names.iter().map(|name| name.get_ref().clone()).collect();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    names.push(host.trim().to_owned());
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    let listening: Option<IpAddr> = config.api.listen.map(|address| address.ip());
    names.extend(listening.filter(|address| !address.is_unspecified()).map(|address| address.to_string()));
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    names
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| wrong(path.clone(), error))?;
    if certificates.is_empty() {
        return Err(wrong(path.clone(), "it has no certificate in PEM"));
    }
    Ok(certificates)
}

fn wrong(path: PathBuf, reason: impl std::fmt::Display) -> AuthorityError {
    AuthorityError::Unusable { path, reason: reason.to_string() }
}
