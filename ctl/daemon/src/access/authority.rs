//! Certificates: the daemon's own authority, the certificate that it shows, and those that it makes for clients.
//!
//! Where the configuration names no certificate the daemon is its own authority. Everything is in `tls/` of the
//! state directory: `ca.pem` is copied to clients, `ca-key.pem` stays. The server's certificate is short-lived and made
//! anew long before it ends, without a restart. Called by `http/tls.rs` and by `edgestackd issue-certificate`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// How long the authority lasts.
const AUTHORITY_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);
/// How long the server's certificate lasts.
const SERVER_LIFETIME: Duration = Duration::from_hours(90 * 24);
/// How long before its end it is made anew.
const RENEW_BEFORE: Duration = Duration::from_hours(30 * 24);
/// How long before now certificates begin, for clients whose clocks are behind.
const BACKDATE: Duration = Duration::from_hours(1);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// What is in a file is no certificate or key.
    #[error("{} cannot be used: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A certificate cannot be made.
    #[error("the certificate cannot be made")]
    Make(#[from] rcgen::Error),
}

/// The daemon's own authority.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, both in PEM.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Issued {
    /// Writes `NAME.pem` and `NAME-key.pem` into a directory.
    pub fn write(&self, directory: &Path, name: &str) -> Result<(PathBuf, PathBuf), AuthorityError> {
        let (certificate, key) =
            (directory.join(format!("{name}.pem")), directory.join(format!("{name}-key.pem")));
        write(&key, &self.key, 0o600)?;
        write(&certificate, &self.certificate, 0o644)?;
        Ok((certificate, key))
    }
}

impl Authority {
    /// Opens the authority in `directory`, which is made where there is none.
    pub fn open(directory: &Path) -> Result<Self, AuthorityError> {
        let (certificate, key) = (directory.join("ca.pem"), directory.join("ca-key.pem"));
        if !certificate.exists() && !key.exists() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(directory)
                .map_err(failed("make the directory", directory))?;
            make_authority(&certificate, &key)?;
            tracing::info!(certificate = %certificate.display(), "made an authority for certificates; clients trust it by this file");
        }
        let pair = KeyPair::from_pem(&read(&key)?).map_err(unusable(&key))?;
        let issuer = Issuer::from_ca_cert_pem(&read(&certificate)?, pair).map_err(unusable(&certificate))?;
        Ok(Self { directory: directory.to_owned(), issuer })
    }

    /// The certificate of the authority.
    pub fn certificate_path(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The server's certificate and key: those of the last time while they are good for `names` long enough, else new
    /// ones. Returns the paths.
    pub fn server(&self, names: &[String], now: SystemTime) -> Result<(PathBuf, PathBuf), AuthorityError> {
        let (certificate, key) = (self.directory.join("server.pem"), self.directory.join("server-key.pem"));
        let listed = self.directory.join("server.names");
        let wanted = names.join("\n");
        let same = fs::read_to_string(&listed).is_ok_and(|found| found == wanted);
        if same && key.exists() && ends_after(&certificate, now + RENEW_BEFORE) {
            return Ok((certificate, key));
        }
        let mut parameters = CertificateParams::new(names.to_vec())?;
        parameters.distinguished_name.push(DnType::CommonName, "edgestackd");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issued = self.issue(parameters, SERVER_LIFETIME, now)?;
        // Without the list a half-written pair is made anew.
        let _ = fs::remove_file(&listed);
        write(&key, &issued.key, 0o600)?;
        write(&certificate, &issued.certificate, 0o644)?;
        write(&listed, &wanted, 0o644)?;
        tracing::info!(names = wanted.replace('\n', " "), "made a certificate for the HTTPS listener");
        Ok((certificate, key))
    }

    /// A certificate by which a client is the user `user`.
    pub fn client(&self, user: &str, lifetime: Duration, now: SystemTime) -> Result<Issued, AuthorityError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, user);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(parameters, lifetime, now)
    }

    fn issue(
        &self,
        mut parameters: CertificateParams,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Issued, AuthorityError> {
        parameters.not_before = (now - BACKDATE).into();
        parameters.not_after = (now + lifetime).into();
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn make_authority(certificate: &Path, key: &Path) -> Result<(), AuthorityError> {
    let mut parameters = CertificateParams::default();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    parameters.distinguished_name.push(DnType::CommonName, format!("EdgeStack authority of {}", host.trim()));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = SystemTime::now();
    parameters.not_before = (now - BACKDATE).into();
    parameters.not_after = (now + AUTHORITY_LIFETIME).into();
    let pair = KeyPair::generate()?;
    let signed = parameters.self_signed(&pair)?;
    write(key, &pair.serialize_pem(), 0o600)?;
    write(certificate, &signed.pem(), 0o644)
}

/// Whether the certificate in a file is good beyond `moment`.
fn ends_after(path: &Path, moment: SystemTime) -> bool {
    let Ok(certificate) = CertificateDer::from_pem_file(path) else { return false };
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(&certificate) else { return false };
    let seconds = moment.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    u64::try_from(parsed.validity().not_after.timestamp()).is_ok_and(|end| end > seconds)
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(failed("read", path))
}

/// Writes a file whole or not at all, with these permissions from its first moment on.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    let unfinished = path.with_extension("pem.new");
    let _ = fs::remove_file(&unfinished);
    let written = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished);
    let written = written.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&unfinished, path)).map_err(failed("write", path))
}

fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> AuthorityError + use<'a> {
    move |source| AuthorityError::File { action, path: path.to_owned(), source }
}

fn unusable(path: &Path) -> impl FnOnce(rcgen::Error) -> AuthorityError {
    move |error| AuthorityError::Unusable { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, SystemTime};

    use super::{Authority, RENEW_BEFORE, SERVER_LIFETIME};

    #[test]
    fn certificates_are_kept_and_made_anew_before_they_end_or_when_names_change() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("tls");
        let now = SystemTime::now();
        let names = vec!["edge1".to_owned(), "192.0.2.1".to_owned()];
        let (certificate, key) = Authority::open(&place).unwrap().server(&names, now).unwrap();
        let first = fs::read_to_string(&certificate).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(place.join("ca-key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
        let again = |names: &[String], now| {
            Authority::open(&place).unwrap().server(names, now).unwrap();
            fs::read_to_string(&certificate).unwrap()
        };
        assert_eq!(again(&names, now + Duration::from_mins(1)), first, "a restart keeps it");
        let late = now + SERVER_LIFETIME - RENEW_BEFORE + Duration::from_mins(1);
        let renewed = again(&names, late);
        assert_ne!(renewed, first, "thirty days before its end there is another");
        assert_ne!(again(&names[..1], late), renewed, "other names are another certificate");
    }

    #[test]
    fn a_key_that_is_none_is_named() {
        let directory = tempfile::tempdir().unwrap();
        Authority::open(directory.path()).unwrap();
        fs::write(directory.path().join("ca-key.pem"), "nothing").unwrap();
        let error = Authority::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("ca-key.pem"), "{error}");
    }
}
