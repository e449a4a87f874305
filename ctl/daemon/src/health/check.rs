//! One check of one member: a connection, a page, a datagram or a ping. Says what it found, in a sentence.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use edgestack_dataplane::virtual_stack::{Answer, Probe, StackHandle};
use edgestack_model::health_check::{CheckKind, HealthCheck};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::Target;
use crate::services::stream::Connection;

/// The first line of an answer must fit.
const STATUS_LINE_BYTES_MAX: usize = 512;

/// Asks members.
#[derive(Clone)]
pub(super) struct Checker {
    stack: StackHandle,
    tls: TlsConnector,
}

impl Checker {
    /// One that asks on the virtual stacks.
    pub(super) fn new(stack: StackHandle) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self { stack, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Asks a member.
    pub(super) async fn run(&self, target: &Target, check: &HealthCheck) -> Result<String, String> {
        let limit = Duration::from_secs(check.timeout_seconds.into());
        if check.kind == CheckKind::Udp {
            return self.datagram(target, check, limit).await;
        }
        match tokio::time::timeout(limit, self.ask(target, check)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer from {} within {} s", target.shown(), limit.as_secs())),
        }
    }

    async fn ask(&self, target: &Target, check: &HealthCheck) -> Result<String, String> {
        if check.kind == CheckKind::Icmp {
            return self.ping(target).await;
        }
        let remote = target.remote;
        let stream =
            self.stack.connect(&target.port, target.local, remote).map_err(|error| error.to_string())?;
        poll_fn(|context| stream.poll_connected(context))
            .await
            .map_err(|error| format!("no connection to {remote}: {error}"))?;
        let mut connection = Connection(Arc::new(stream));
        match check.kind {
            CheckKind::Http => page(&mut connection, target, check).await,
            CheckKind::Https => {
                let name = server_name(target, check);
                let connecting = self.tls.connect(name, connection).await;
                let mut connection =
                    connecting.map_err(|error| format!("no TLS handshake with {remote}: {error}"))?;
                page(&mut connection, target, check).await
            }
            CheckKind::Tcp | CheckKind::Udp | CheckKind::Icmp => Ok(format!("{remote} takes connections")),
        }
    }

    async fn ping(&self, target: &Target) -> Result<String, String> {
        let address = target.remote.ip();
        let probe =
            self.stack.ping(&target.port, target.local, address).map_err(|error| error.to_string())?;
        match answer(&probe).await {
            Answer::Reply(_) => Ok(format!("{address} answers pings")),
            Answer::Unreachable => Err(format!("{address} is unreachable")),
        }
    }

    /// Sends a datagram. Where nothing says that it must be answered, silence is well of a host that answers pings.
    async fn datagram(
        &self,
        target: &Target,
        check: &HealthCheck,
        limit: Duration,
    ) -> Result<String, String> {
        let remote = target.remote;
        let payload = check.send.as_deref().unwrap_or_default().as_bytes();
        let probe =
            self.stack.ask(&target.port, target.local, remote, payload).map_err(|error| error.to_string())?;
        let silent = format!("no answer from {remote} within {} s", limit.as_secs());
        // A refusal comes at once; a host's silence needs no waiting for to the end.
        let half = if check.send.is_some() { limit } else { limit / 2 };
        match tokio::time::timeout(half, answer(&probe)).await {
            Ok(Answer::Reply(_)) => Ok(format!("{remote} answers datagrams")),
            Ok(Answer::Unreachable) => Err(format!("nobody takes datagrams at {remote}")),
            Err(_) if check.send.is_some() => Err(silent),
            Err(_) => match tokio::time::timeout(limit.saturating_sub(half), self.ping(target)).await {
                Ok(pinged) => pinged.map(|pinged| format!("{pinged}, and refuses no datagrams")),
                Err(_) => Err(silent),
            },
        }
    }
}

async fn answer(probe: &Probe) -> Answer {
    poll_fn(|context| probe.poll_answer(context)).await
}

/// The name that a TLS client asks for: the host of the check, where it is one.
fn server_name(target: &Target, check: &HealthCheck) -> ServerName<'static> {
    let host = check.host.as_deref().and_then(|host| ServerName::try_from(bare(host).to_owned()).ok());
    host.unwrap_or_else(|| ServerName::from(target.remote.ip()))
}

/// A host without the port behind it, and an IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    let (host, end) = host.strip_prefix('[').map_or((host, ':'), |inside| (inside, ']'));
    host.split(end).next().unwrap_or(host)
}

/// What a request without a host of its own names: the member's address and port, that of IPv6 in brackets (RFC 9112,
/// section 3.2).
fn host(target: &Target, check: &HealthCheck) -> String {
    check.host.clone().unwrap_or_else(|| target.remote.to_string())
}

/// Fetches a page and looks at its status code.
async fn page(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: &Target,
    check: &HealthCheck,
) -> Result<String, String> {
    let path = check.path.as_deref().unwrap_or("/");
    let host = host(target, check);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: edgestack-health-check\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    let broken = |error: std::io::Error| format!("the connection to {} broke: {error}", target.remote);
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < STATUS_LINE_BYTES_MAX {
        let mut buffer = [0; STATUS_LINE_BYTES_MAX];
        let read = stream.read(&mut buffer).await.map_err(broken)?;
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    let code = status_code(&answer).ok_or_else(|| format!("the answer of {} is no HTTP", target.remote))?;
    if check.expects(code) {
        Ok(format!("{} answers {path} with {code}", target.remote))
    } else {
        Err(format!("{} answers {path} with {code}", target.remote))
    }
}

/// The status code of an answer.
fn status_code(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let is_http = words.next()?.starts_with("HTTP/1.");
    let code: u16 = words.next()?.parse().ok()?;
    (is_http && (100..600).contains(&code)).then_some(code)
}

/// Whether a member answers is asked, not who it is: its certificate is for the clients.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use edgestack_model::health_check::{CheckKind, HealthCheck};
    use rustls::pki_types::ServerName;

    use super::{Target, host, server_name, status_code};

    fn check(host: Option<&str>) -> HealthCheck {
        HealthCheck {
            kind: CheckKind::Https,
            port: None,
            send: None,
            path: None,
            host: host.map(str::to_owned),
            expected_codes: None,
            interval_seconds: 1,
            timeout_seconds: 1,
            healthy_threshold: 1,
            unhealthy_threshold: 1,
        }
    }

    #[test]
    fn hosts_are_named_as_http_and_tls_want_them() {
        let remote: SocketAddr = "[fd00::11]:443".parse().unwrap();
        let target = Target { port: "p".to_owned(), local: "fd00::1".parse().unwrap(), remote };
        let address = |text: &str| ServerName::from(text.parse::<std::net::IpAddr>().unwrap());
        let name = |text: &'static str| ServerName::try_from(text).unwrap();
        for (asked, in_request, in_handshake) in [
            (None, "[fd00::11]:443", address("fd00::11")),
            (Some("[fd00::9]:8443"), "[fd00::9]:8443", address("fd00::9")),
            (Some("[fd00::9]"), "[fd00::9]", address("fd00::9")),
            (Some("10.0.0.9:8443"), "10.0.0.9:8443", address("10.0.0.9")),
            (Some("www.example.com:8443"), "www.example.com:8443", name("www.example.com")),
            (Some("www.example.com"), "www.example.com", name("www.example.com")),
        ] {
            let check = check(asked);
            assert_eq!(host(&target, &check), in_request);
            assert_eq!(server_name(&target, &check), in_handshake, "{asked:?}");
        }
    }

    #[test]
    fn status_lines_are_read_and_others_refused() {
        assert_eq!(status_code(b"HTTP/1.1 200 OK\r\nServer: x\r\n"), Some(200));
        assert_eq!(status_code(b"HTTP/1.0 503\r\n"), Some(503));
        for wrong in [&b""[..], b"SSH-2.0-x\r\n", b"HTTP/1.1 OK\r\n", b"HTTP/1.1 9999 x\r\n", b"\xff\xfe\n"] {
            assert_eq!(status_code(wrong), None, "{wrong:?}");
        }
    }
}
