//! DHCPv6: what a client asks (RFC 8415; options: RFC 3646, RFC 5908). The server's answers are in [`answer`].
//!
//! Nothing here allocates; a request borrows from its message, an answer is written into the caller's buffer.

pub mod answer;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};

use super::headers::{Ip, Transport};
use super::{read_ipv6, read_u16};

/// UDP port of servers.
pub const SERVER_PORT: u16 = 547;
/// UDP port of clients.
pub const CLIENT_PORT: u16 = 546;
/// `ff02::1:2`: all servers of the link.
pub const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

const MESSAGE_HEADER_LENGTH: usize = 4;
const OPTION_HEADER_LENGTH: usize = 4;
/// Shortest and longest name of a client or server: a type and up to 128 bytes (RFC 8415, section 11.1).
const DUID_LENGTH_MIN: usize = 3;
const DUID_LENGTH_MAX: usize = 130;
/// Length of the fields in front of an association's options.
const ASSOCIATION_HEADER_LENGTH: usize = 12;
const TEMPORARY_HEADER_LENGTH: usize = 4;
const ADDRESS_LENGTH: usize = 24;

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const NON_TEMPORARY: u16 = 3;
const TEMPORARY: u16 = 4;
const ADDRESS: u16 = 5;
const REQUESTED_OPTIONS: u16 = 6;
const PREFERENCE: u16 = 7;
const STATUS: u16 = 13;
const RAPID_COMMIT: u16 = 14;
/// Name servers (RFC 3646).
pub const DNS_SERVERS: u16 = 23;
/// Domains that are searched (RFC 3646).
pub const DOMAIN_SEARCH: u16 = 24;
const PREFIX_DELEGATION: u16 = 25;
/// How long what an Information-request was told holds.
pub const INFORMATION_REFRESH_TIME: u16 = 32;
/// Time servers (RFC 5908).
pub const NTP_SERVERS: u16 = 56;

/// What kind of message it is, of those that clients and servers exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageType {
    /// A client looks for servers.
    Solicit = 1,
    /// A server offers addresses.
    Advertise = 2,
    /// A client takes an offer.
    Request = 3,
    /// A client asks whether its addresses fit where it is now.
    Confirm = 4,
    /// A client wants its server to let it keep its addresses.
    Renew = 5,
    /// It wants any server to.
    Rebind = 6,
    /// The server answers.
    Reply = 7,
    /// A client gives its addresses back.
    Release = 8,
    /// A client says that other hosts have its addresses.
    Decline = 9,
    /// A client wants no address, but all else.
    InformationRequest = 11,
}

impl MessageType {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Solicit,
            2 => Self::Advertise,
            3 => Self::Request,
            4 => Self::Confirm,
            5 => Self::Renew,
            6 => Self::Rebind,
            7 => Self::Reply,
            8 => Self::Release,
            9 => Self::Decline,
            11 => Self::InformationRequest,
            _ => return None,
        })
    }

    /// The name in traces.
    pub fn label(self) -> &'static str {
        match self {
            Self::Solicit => "SOLICIT",
            Self::Advertise => "ADVERTISE",
            Self::Request => "REQUEST",
            Self::Confirm => "CONFIRM",
            Self::Renew => "RENEW",
            Self::Rebind => "REBIND",
            Self::Reply => "REPLY",
            Self::Release => "RELEASE",
            Self::Decline => "DECLINE",
            Self::InformationRequest => "INFORMATION-REQUEST",
        }
    }
}

/// A client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What it wants.
    pub message: MessageType,
    /// Chosen by the client; the answer has the same.
    pub transaction: [u8; 3],
    /// What it calls itself.
    pub client_id: Option<&'a [u8]>,
    /// The server that it means.
    pub server_id: Option<&'a [u8]>,
    /// It takes a Reply in place of an Advertise.
    pub rapid_commit: bool,
    /// Numbers of the options that it wants to know, two bytes each; none: it does not say.
    requested: Option<&'a [u8]>,
    /// All options, whole.
    options: &'a [u8],
}

/// What a client wants addresses for: one of its interfaces, mostly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Association<'a> {
    /// What it wants: addresses, temporary ones, or a prefix.
    pub kind: AssociationKind,
    /// Chosen by the client.
    pub id: [u8; 4],
    options: &'a [u8],
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum AssociationKind {
    /// Addresses.
    NonTemporary = NON_TEMPORARY,
    /// Temporary addresses.
    Temporary = TEMPORARY,
    /// A prefix.
    Prefix = PREFIX_DELEGATION,
}

/// Whether a packet goes to a DHCPv6 server.
pub fn is_request(ip: &Ip) -> bool {
    matches!((ip.source, ip.transport), (IpAddr::V6(_), Transport::Udp { destination_port: SERVER_PORT, .. }))
}

/// Whether a packet goes from a DHCPv6 server to a client.
pub fn is_answer(ip: &Ip) -> bool {
    let transport = Transport::Udp { source_port: SERVER_PORT, destination_port: CLIENT_PORT };
    ip.source.is_ipv6() && ip.transport == transport
}

impl<'a> Request<'a> {
    /// Reads a client's message; none when it is malformed, a server's or a relay's, or lacks or has what RFC 8415, section 16
    /// has it discarded for.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let (head, options) = message.split_first_chunk::<MESSAGE_HEADER_LENGTH>()?;
        let [kind, transaction @ ..] = *head;
        let mut request = Self {
            message: MessageType::from_number(kind)?,
            transaction,
            client_id: None,
            server_id: None,
            rapid_commit: false,
            requested: None,
            options,
        };
        let mut has_association = false;
        let mut rest = options;
        while !rest.is_empty() {
            let (code, data);
            (code, data, rest) = split_option(rest)?;
            match code {
                CLIENT_ID => set_once(&mut request.client_id, duid(data)?)?,
                SERVER_ID => set_once(&mut request.server_id, duid(data)?)?,
                REQUESTED_OPTIONS if data.len().is_multiple_of(2) => {
                    set_once(&mut request.requested, data)?;
                }
                REQUESTED_OPTIONS => return None,
                RAPID_COMMIT => request.rapid_commit = true,
                NON_TEMPORARY | TEMPORARY | PREFIX_DELEGATION => {
                    Association::read(code, data)?.check()?;
                    has_association = true;
                }
                _ => {}
            }
        }
        request.is_allowed(has_association).then_some(request)
    }

    /// Whether the message has what it must have, and nothing that it must not have.
    fn is_allowed(&self, has_association: bool) -> bool {
        let (client, server) = (self.client_id.is_some(), self.server_id.is_some());
        match self.message {
            MessageType::Solicit | MessageType::Confirm | MessageType::Rebind => client && !server,
            MessageType::Request | MessageType::Renew | MessageType::Release | MessageType::Decline => {
                client && server
            }
            MessageType::InformationRequest => !has_association,
            MessageType::Advertise | MessageType::Reply => false,
        }
    }

    /// What the client wants addresses for.
    pub fn associations(&self) -> impl Iterator<Item = Association<'a>> + use<'a> {
        options(self.options).filter_map(|(code, data)| Association::read(code, data))
    }

    /// Whether the client wants to know an option, or does not say what it wants to know.
    pub fn wants(&self, code: u16) -> bool {
        self.requested.is_none_or(|codes| codes.as_chunks::<2>().0.contains(&code.to_be_bytes()))
    }
}

impl<'a> Association<'a> {
    /// Reads an option that is one.
    fn read(code: u16, data: &'a [u8]) -> Option<Self> {
        let (kind, length) = match code {
            NON_TEMPORARY => (AssociationKind::NonTemporary, ASSOCIATION_HEADER_LENGTH),
            TEMPORARY => (AssociationKind::Temporary, TEMPORARY_HEADER_LENGTH),
            PREFIX_DELEGATION => (AssociationKind::Prefix, ASSOCIATION_HEADER_LENGTH),
            _ => return None,
        };
        let (head, options) = data.split_at_checked(length)?;
        Some(Self { kind, id: *head.first_chunk()?, options })
    }

    /// None where its options are malformed.
    fn check(&self) -> Option<()> {
        let mut rest = self.options;
        while !rest.is_empty() {
            let (code, data);
            (code, data, rest) = split_option(rest)?;
            if code == ADDRESS && data.len() < ADDRESS_LENGTH {
                return None;
            }
        }
        Some(())
    }

    /// The addresses that the client has, or would like.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv6Addr> + use<'a> {
        options(self.options)
            .filter(|(code, data)| *code == ADDRESS && data.len() >= ADDRESS_LENGTH)
            .map(|(_, data)| read_ipv6(data, 0))
    }
}

/// The options of a message or of an option, as far as they are whole.
fn options(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (code, data, after) = split_option(rest)?;
        rest = after;
        Some((code, data))
    })
}

/// The first option: its number, its value, and what follows it.
fn split_option(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(OPTION_HEADER_LENGTH)?;
    let (data, rest) = rest.split_at_checked(usize::from(read_u16(head, 2)))?;
    Some((read_u16(head, 0), data, rest))
}

fn duid(data: &[u8]) -> Option<&[u8]> {
    (DUID_LENGTH_MIN..=DUID_LENGTH_MAX).contains(&data.len()).then_some(data)
}

/// None where it is set already: the option stands twice.
fn set_once<'a>(place: &mut Option<&'a [u8]>, data: &'a [u8]) -> Option<()> {
    place.replace(data).is_none().then_some(())
}
