//! Who is at the other end of a connection: what the transport itself knows, before any token is looked at.

use std::net::{IpAddr, SocketAddr};

use edgestack_model::role_binding::is_user;
use jiff::Timestamp;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Members of this group may do everything on this host.
pub const ADMIN_GROUP: &str = "edgestack";

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
        /// What its certificate says, where it showed one that is trusted.
        certified: Option<Certified>,
    },
}

/// What a client's certificate says of who shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// The user.
    pub user: String,
    /// When the certificate ends; connections live on.
    pub expires_at: Timestamp,
}

impl Peer {
    /// The other end for the audit log.
    pub fn describe(&self) -> String {
        match self {
            Self::Local { uid, .. } => format!("local uid {uid}"),
            Self::Remote { address, .. } => address.to_string(),
        }
    }

    /// What is limited where nobody knows who it is: the address, of IPv6 the network of a site.
    pub fn key(&self) -> String {
        match self {
            Self::Local { uid, .. } => format!("uid:{uid}"),
            Self::Remote { address, .. } => match address.ip().to_canonical() {
                IpAddr::V4(address) => format!("address:{address}"),
                IpAddr::V6(address) => format!("address:{:x}", address.to_bits() >> 64),
            },
        }
    }
}

/// The user that a certificate is of: its common name, else its first e-mail address or host name. None where that is
/// no name of a user.
pub fn certified(certificate: &[u8]) -> Option<Certified> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    // It is good to the end of its last second.
    let end = parsed.validity().not_after.timestamp().checked_add(1)?;
    let expires_at = Timestamp::from_second(end).unwrap_or(Timestamp::MAX);
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
    is_user(&user).then_some(Certified { user, expires_at })
}

/// Whether a user of this host may do everything: root, the daemon's own user, and members of [`ADMIN_GROUP`]. Groups
/// are those of /etc/group; a process that only has the group by other means is not one of them.
pub fn is_local_admin(uid: u32, gid: u32) -> bool {
    if uid == 0 || uid == rustix::process::geteuid().as_raw() {
        return true;
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    is_member(&groups, &users, uid, gid)
}

fn is_member(groups: &str, users: &str, uid: u32, gid: u32) -> bool {
    let Some(group) = groups.lines().find(|line| line.split(':').next() == Some(ADMIN_GROUP)) else {
        return false;
    };
    let mut fields = group.split(':').skip(2);
    let id = fields.next().and_then(|id| id.parse().ok());
    let members: Vec<&str> = fields.next().unwrap_or_default().split(',').collect();
    let is_user = |line: &&str| line.split(':').nth(2).and_then(|id| id.parse().ok()) == Some(uid);
    let name = users.lines().find(is_user).and_then(|line| line.split(':').next());
    id == Some(gid) || name.is_some_and(|name| !name.is_empty() && members.contains(&name))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::{certified, is_member};

    #[test]
    fn members_of_the_group_are_found_by_either_file() {
        let groups = "root:x:0:\nedgestack:x:990:ann,bob\nother:x:991:eve\n";
        let users = "root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\neve:x:1001:1001::/:/bin/sh\n";
        assert!(is_member(groups, users, 1000, 1000), "named in the group");
        assert!(is_member(groups, users, 1002, 990), "with it as the first group");
        assert!(!is_member(groups, users, 1001, 1001) && !is_member("", users, 1000, 990));
        assert!(!is_member("edgestack:x:990:\n", "", 1000, 1000), "nobody is a member of an empty group");
    }

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

    fn user_of(certificate: &[u8]) -> Option<String> {
        certified(certificate).map(|certified| certified.user)
    }

    #[test]
    fn the_user_is_the_common_name_or_the_mail_address() {
        assert_eq!(user_of(&certificate(Some("alice"), Some("a@b.c"))).as_deref(), Some("alice"));
        assert_eq!(user_of(&certificate(None, Some("a@b.c"))).as_deref(), Some("a@b.c"));
        assert_eq!(user_of(&certificate(None, None)), None);
        for strange in ["two words", "a/b", "", "a:b", "új", &"x".repeat(65)] {
            assert_eq!(user_of(&certificate(Some(strange), None)), None, "{strange}");
        }
        assert_eq!(user_of(b"nothing"), None);
    }

    #[test]
    fn it_is_good_through_its_last_second() {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "alice");
        parameters.not_after = rcgen::date_time_ymd(2031, 5, 6);
        let signed = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let expected = "2031-05-06T00:00:01Z".parse().unwrap();
        assert_eq!(certified(signed.der()).unwrap().expires_at, expected);
    }
}
