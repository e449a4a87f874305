//! Who is at the other end of a connection: what the transport itself knows, before any token is looked at.

use std::net::SocketAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Letters of a user's name.
pub const USER_LETTERS_MAX: usize = 64;

/// The other end of a connection; every request carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this host, by the control socket.
    Local {
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// Somebody by the network.
    Remote {
        /// From where.
        address: SocketAddr,
        /// The user that its certificate is of, where it showed one that is trusted.
        user: Option<String>,
    },
}

/// The user that a certificate is of: its common name, else its first e-mail address or host name. None where that is
/// no name of a user.
pub fn user_of_certificate(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let common_name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let user =
        match common_name {
            Some(name) => name.to_owned(),
            None => parsed.subject_alternative_name().ok()??.value.general_names.iter().find_map(|name| {
                match name {
                    GeneralName::RFC822Name(name) | GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                }
            })?,
        };
    is_user(&user).then_some(user)
}

/// Whether a text can be the name of a user: letters, digits and `.@_-`, so that it never needs quoting.
pub fn is_user(text: &str) -> bool {
    (1..=USER_LETTERS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".@_-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::user_of_certificate;

    fn certificate(common_name: Option<&str>, mail: Option<&str>) -> Vec<u8> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        if let Some(name) = common_name {
            parameters.distinguished_name.push(DnType::CommonName, name);
        }
        if let Some(mail) = mail {
            parameters.subject_alt_names.push(SanType::Rfc822Name(mail.try_into().unwrap()));
        }
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_user_is_the_common_name_or_the_mail_address() {
        assert_eq!(user_of_certificate(&certificate(Some("alice"), Some("a@b.c"))).as_deref(), Some("alice"));
        assert_eq!(user_of_certificate(&certificate(None, Some("a@b.c"))).as_deref(), Some("a@b.c"));
        assert_eq!(user_of_certificate(&certificate(None, None)), None);
        for strange in ["two words", "a/b", "", "a:b", "új", &"x".repeat(65)] {
            assert_eq!(user_of_certificate(&certificate(Some(strange), None)), None, "{strange}");
        }
        assert_eq!(user_of_certificate(b"nothing"), None);
    }
}
