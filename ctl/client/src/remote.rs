//! A daemon that is reached by HTTPS: its URL, whom it is trusted by, and who the client says it is.
//!
//! TLS 1.3 only. Nothing switches the check of the daemon's certificate off: the daemon's own authority is one file
//! (`tls/ca.pem` in its `state_dir`) that is copied to clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::ClientError;

/// Port of the API where a URL names none.
pub const DEFAULT_PORT: u16 = 8443;
/// The authorities that this host trusts, where no other is named.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// How long connecting and the handshake may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How a daemon is reached by HTTPS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// `https://HOST[:PORT]`.
    pub url: String,
    /// File of the authority that the daemon's certificate is from; those that the host trusts where left out.
    pub authority: Option<PathBuf>,
    /// Files of the client's certificate and of its key, for a daemon that knows users by certificates.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// A remote daemon, ready to be connected to.
pub(crate) struct Connector {
    /// The URL, for messages.
    pub(crate) url: String,
    /// Host and port, for the header `Host`.
    pub(crate) authority: String,
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl Connector {
    /// Reads the files and checks the URL.
    pub(crate) fn new(remote: &Remote) -> Result<Self, ClientError> {
        let (host, port) = split(&remote.url)?;
        let name = ServerName::try_from(host.clone())
            .map_err(|_| wrong(format!("`{host}` in `{}` is no host name or address", remote.url)))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong(error.to_string()))?
            .with_root_certificates(authorities(remote.authority.as_deref())?);
        let mut config = match &remote.certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|error| wrong(format!("{}: {error}", certificate.display())))?,
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        Ok(Self {
            url: format!("https://{shown}:{port}"),
            authority: format!("{shown}:{port}"),
            host,
            port,
            name,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Connects, and checks whom.
    pub(crate) async fn connect(&self) -> Result<TlsStream<TcpStream>, ClientError> {
        let connect = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            // Requests are small and answered one by one.
            stream.set_nodelay(true)?;
            self.tls.connect(self.name.clone(), stream).await
        };
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect).await;
        let connected = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        connected.map_err(|source| ClientError::Unreachable { url: self.url.clone(), source })
    }
}

fn wrong(message: String) -> ClientError {
    ClientError::Remote(message)
}

/// Host and port of a URL.
fn split(url: &str) -> Result<(String, u16), ClientError> {
    let refused =
        |why: &str| wrong(format!("`{url}` {why}; write it like https://edge1.example.net:{DEFAULT_PORT}"));
    let rest = url.strip_prefix("https://").ok_or_else(|| refused("is no https URL"))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@']) {
        return Err(refused("has more than a host and a port"));
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port =
        port.map_or(Ok(DEFAULT_PORT), |port| port.parse().map_err(|_| refused("has no port that can be")))?;
    if host.is_empty() {
        return Err(refused("names no host"));
    }
    Ok((host.to_owned(), port))
}

fn authorities(path: Option<&Path>) -> Result<RootCertStore, ClientError> {
    let path = path.unwrap_or(Path::new(SYSTEM_AUTHORITIES));
    let mut store = RootCertStore::empty();
    // A system's bundle may have certificates that are not understood here; a file of one may not.
    let (added, _) = store.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(wrong(format!("{} has no certificate of an authority", path.display())));
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    if certificates.is_empty() {
        return Err(wrong(format!("{} has no certificate in PEM", path.display())));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ClientError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| wrong(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_PORT, split};

    #[test]
    fn urls_are_a_host_and_perhaps_a_port() {
        assert_eq!(split("https://edge1").unwrap(), ("edge1".to_owned(), DEFAULT_PORT));
        assert_eq!(split("https://edge1:9/").unwrap(), ("edge1".to_owned(), 9));
        assert_eq!(split("https://[fd00::1]:9").unwrap(), ("fd00::1".to_owned(), 9));
        assert_eq!(split("https://[fd00::1]").unwrap(), ("fd00::1".to_owned(), DEFAULT_PORT));
        for wrong in
            ["edge1", "http://edge1", "https://", "https://edge1:x", "https://u@edge1", "https://edge1/api"]
        {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}
