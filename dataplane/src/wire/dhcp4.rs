//! DHCP for IPv4: what a client asks, and the server's answer as a frame (RFC 2131; options: RFC 2132, 3396, 6842).
//!
//! Nothing here allocates; a request borrows from its message, an answer is written into the caller's buffer.

mod answer;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use super::headers::{Ip, Transport};
use super::udp;
use super::{ETHERNET_LENGTH, IPV4_LENGTH, read_ipv4, read_mac, read_u16};
use crate::address::MacAddress;

pub use answer::{Answer, DhcpOption};

/// UDP port of servers.
pub const SERVER_PORT: u16 = 67;
/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;
/// Longest frame that an answer takes.
pub const FRAME_LENGTH_MAX: usize = FRAME_HEADERS_LENGTH + MESSAGE_LENGTH_MAX;

/// Longest message that is sent, whatever a client takes.
const MESSAGE_LENGTH_MAX: usize = 1472;
/// The IP packet that every client takes (RFC 2131, section 2), in bytes.
const PACKET_LENGTH_MIN: u16 = 576;
/// Shortest message that is sent: clients of BOOTP's age refuse shorter ones.
const MESSAGE_LENGTH_MIN: usize = 300;
const HEADERS_LENGTH: usize = IPV4_LENGTH + udp::UDP_LENGTH;
const FRAME_HEADERS_LENGTH: usize = ETHERNET_LENGTH + HEADERS_LENGTH;

const OP_REQUEST: u8 = 1;
const OP_REPLY: u8 = 2;
const FLAG_BROADCAST: u8 = 0x80;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const COOKIE_START: usize = 236;
const OPTIONS_START: usize = 240;
/// The fields `file` and `sname`, which hold more options where the client says so (option 52).
const FILE: (usize, usize) = (108, 236);
const SNAME: (usize, usize) = (44, 108);

const PAD: u8 = 0;
/// Subnet mask.
pub const SUBNET_MASK: u8 = 1;
/// Routers.
pub const ROUTERS: u8 = 3;
/// Name servers.
pub const DNS_SERVERS: u8 = 6;
/// The client's name.
pub const HOST_NAME: u8 = 12;
/// Its domain.
pub const DOMAIN_NAME: u8 = 15;
/// MTU of its interface.
pub const INTERFACE_MTU: u8 = 26;
/// Broadcast address of its network.
pub const BROADCAST_ADDRESS: u8 = 28;
/// NTP servers.
pub const NTP_SERVERS: u8 = 42;
/// The address that the client wants.
pub const REQUESTED_ADDRESS: u8 = 50;
/// Seconds that the address may be used.
pub const LEASE_TIME: u8 = 51;
const OVERLOAD: u8 = 52;
/// What kind of message it is.
pub const MESSAGE_TYPE: u8 = 53;
/// The server's address.
pub const SERVER_IDENTIFIER: u8 = 54;
const PARAMETERS: u8 = 55;
const MESSAGE_LENGTH: u8 = 57;
const RENEWAL_TIME: u8 = 58;
const REBINDING_TIME: u8 = 59;
const CLIENT_IDENTIFIER: u8 = 61;
const RELAY_INFORMATION: u8 = 82;
/// Domains that are searched (RFC 3397).
pub const DOMAIN_SEARCH: u8 = 119;
/// Routes (RFC 3442).
pub const CLASSLESS_ROUTES: u8 = 121;
const END: u8 = 255;

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageType {
    /// A client looks for servers.
    Discover = 1,
    /// A server offers an address.
    Offer = 2,
    /// A client takes an offer, or wants to keep an address.
    Request = 3,
    /// A client says that another host has its address.
    Decline = 4,
    /// The server agrees.
    Ack = 5,
    /// The server does not.
    Nak = 6,
    /// A client gives its address back.
    Release = 7,
    /// A client that has an address asks for the rest.
    Inform = 8,
}

impl MessageType {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            _ => return None,
        })
    }

    /// The name in traces.
    pub fn label(self) -> &'static str {
        match self {
            Self::Discover => "DISCOVER",
            Self::Offer => "OFFER",
            Self::Request => "REQUEST",
            Self::Decline => "DECLINE",
            Self::Ack => "ACK",
            Self::Nak => "NAK",
            Self::Release => "RELEASE",
            Self::Inform => "INFORM",
        }
    }
}

/// A client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What it wants.
    pub message: MessageType,
    /// Chosen by the client; the answer has the same.
    pub transaction: [u8; 4],
    /// The client cannot take packets to an address that it does not have yet.
    pub broadcast: bool,
    /// The address that it has and uses; unspecified where none.
    pub client_ip: Ipv4Addr,
    /// Its MAC address.
    pub client_mac: MacAddress,
    /// It came by a relay, or says so.
    pub relayed: bool,
    /// The address that it wants.
    pub requested_ip: Option<Ipv4Addr>,
    /// The server that it means.
    pub server: Option<Ipv4Addr>,
    /// Longest IP packet that it takes.
    pub packet_length_max: u16,
    /// Options that it wants to know, by number, the most wanted first.
    pub parameters: &'a [u8],
    /// What it calls itself.
    pub client_identifier: Option<&'a [u8]>,
}

/// Whether a packet goes from a DHCP client to a server.
pub fn is_request(ip: &Ip) -> bool {
    matches!(ip.transport, Transport::Udp { source_port: CLIENT_PORT, destination_port: SERVER_PORT })
}

/// Whether a packet goes from a DHCP server to a client.
pub fn is_answer(ip: &Ip) -> bool {
    matches!(ip.transport, Transport::Udp { source_port: SERVER_PORT, destination_port: CLIENT_PORT })
}

impl<'a> Request<'a> {
    /// Reads a client's message; none when it is malformed, of BOOTP, or a server's.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let is_client = message.len() >= OPTIONS_START
            && message[..3] == [OP_REQUEST, 1, 6]
            && message[COOKIE_START..OPTIONS_START] == COOKIE;
        if !is_client {
            return None;
        }
        let mut request = Self {
            message: MessageType::Discover,
            transaction: [message[4], message[5], message[6], message[7]],
            broadcast: message[10] & FLAG_BROADCAST != 0,
            client_ip: read_ipv4(message, 12),
            client_mac: MacAddress(read_mac(message, 28)),
            relayed: message[24..28] != [0; 4],
            requested_ip: None,
            server: None,
            packet_length_max: PACKET_LENGTH_MIN,
            parameters: &[],
            client_identifier: None,
        };
        let mut kind = None;
        let mut overload = 0;
        request.read_options(&message[OPTIONS_START..], &mut kind, &mut overload)?;
        for (bit, (start, end)) in [(1, FILE), (2, SNAME)] {
            if overload & bit != 0 {
                request.read_options(&message[start..end], &mut kind, &mut 0)?;
            }
        }
        request.message = kind?;
        Some(request)
    }

    fn read_options(
        &mut self,
        mut rest: &'a [u8],
        kind: &mut Option<MessageType>,
        overload: &mut u8,
    ) -> Option<()> {
        loop {
            let (code, after) = match rest {
                [] | [END, ..] => return Some(()),
                [PAD, after @ ..] => {
                    rest = after;
                    continue;
                }
                [code, after @ ..] => (*code, after),
            };
            let (length, after) = after.split_first()?;
            let (data, after) = after.split_at_checked(usize::from(*length))?;
            rest = after;
            match (code, data) {
                (MESSAGE_TYPE, [number]) => *kind = Some(MessageType::from_number(*number)?),
                (OVERLOAD, [fields @ 1..=3]) => *overload = *fields,
                (REQUESTED_ADDRESS, [a, b, c, d]) => self.requested_ip = Some(Ipv4Addr::new(*a, *b, *c, *d)),
                (SERVER_IDENTIFIER, [a, b, c, d]) => self.server = Some(Ipv4Addr::new(*a, *b, *c, *d)),
                (MESSAGE_LENGTH, [_, _]) => {
                    self.packet_length_max = read_u16(data, 0).max(PACKET_LENGTH_MIN);
                }
                (PARAMETERS, _) => self.parameters = data,
                (CLIENT_IDENTIFIER, [_, _, ..]) => self.client_identifier = Some(data),
                (RELAY_INFORMATION, _) => self.relayed = true,
                (
                    MESSAGE_TYPE | OVERLOAD | REQUESTED_ADDRESS | SERVER_IDENTIFIER | MESSAGE_LENGTH
                    | CLIENT_IDENTIFIER,
                    _,
                ) => return None,
                _ => {}
            }
        }
    }
}
