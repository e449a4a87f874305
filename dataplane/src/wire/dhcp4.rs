//! DHCP for IPv4: what a client asks, and the server's answer as a frame (RFC 2131; options: RFC 2132, 3396, 6842).
//!
//! Nothing here allocates; a request borrows from its message, an answer is written into the caller's buffer.

use std::net::Ipv4Addr;

use super::headers::{Ip, Transport};
use super::udp::{self, Place};
use super::{ETHERNET_LENGTH, IPV4_LENGTH, read_ipv4, read_mac, read_u16};
use crate::address::MacAddress;

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

/// One option of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpOption {
    /// Its number.
    pub code: u8,
    /// Its value, of any length.
    pub data: Vec<u8>,
}

/// The server's answer to a request.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Offer, Ack or Nak.
    pub message: MessageType,
    /// What it answers.
    pub request: &'a Request<'a>,
    /// The client's address.
    pub client_ip: Ipv4Addr,
    /// The server.
    pub server: (Ipv4Addr, MacAddress),
    /// Seconds that the address may be used.
    pub lease_seconds: u32,
    /// The client's name; empty for none.
    pub host_name: &'a str,
    /// What holds for the whole network, most important first.
    pub options: &'a [DhcpOption],
    /// Largest IP packet of the network.
    pub mtu: u16,
}

impl Answer<'_> {
    /// Writes the whole frame into `frame`, which has [`FRAME_LENGTH_MAX`] bytes; its length.
    pub fn write(&self, frame: &mut [u8]) -> usize {
        let request = self.request;
        let packet_length = usize::from(request.packet_length_max.min(self.mtu));
        let length_max = (packet_length - HEADERS_LENGTH).min(MESSAGE_LENGTH_MAX);
        let message = &mut frame[FRAME_HEADERS_LENGTH..][..length_max];
        message.fill(0);
        message[..3].copy_from_slice(&[OP_REPLY, 1, 6]);
        message[4..8].copy_from_slice(&request.transaction);
        message[10] = if request.broadcast { FLAG_BROADCAST } else { 0 };
        message[28..34].copy_from_slice(&request.client_mac.0);
        message[COOKIE_START..OPTIONS_START].copy_from_slice(&COOKIE);
        if self.message != MessageType::Nak {
            message[12..16].copy_from_slice(&request.client_ip.octets());
            if request.message != MessageType::Inform {
                message[16..20].copy_from_slice(&self.client_ip.octets());
            }
        }
        let length = self.write_options(message).max(MESSAGE_LENGTH_MIN);
        let source =
            Place { mac_address: self.server.1, ip_address: self.server.0.into(), port: SERVER_PORT };
        udp::write_headers(frame, source, self.destination(), length)
    }

    /// Where the answer is sent (RFC 2131, section 4.1).
    fn destination(&self) -> Place {
        let request = self.request;
        let is_unicast = self.message != MessageType::Nak;
        let (mac_address, ip_address) = if is_unicast && !request.client_ip.is_unspecified() {
            (request.client_mac, request.client_ip)
        } else if is_unicast && !request.broadcast {
            (request.client_mac, self.client_ip)
        } else {
            (MacAddress::BROADCAST, Ipv4Addr::BROADCAST)
        };
        Place { mac_address, ip_address: ip_address.into(), port: CLIENT_PORT }
    }

    /// Writes all options that there is room for; the length of the message.
    fn write_options(&self, message: &mut [u8]) -> usize {
        let mut areas = Areas::new(message);
        areas.put(MESSAGE_TYPE, &[self.message as u8]);
        areas.put(SERVER_IDENTIFIER, &self.server.0.octets());
        if let Some(identifier) = self.request.client_identifier {
            areas.put(CLIENT_IDENTIFIER, identifier);
        }
        if self.message != MessageType::Nak {
            if self.request.message != MessageType::Inform {
                let lease = self.lease_seconds;
                areas.put(LEASE_TIME, &lease.to_be_bytes());
                areas.put(RENEWAL_TIME, &(lease / 2).to_be_bytes());
                areas.put(REBINDING_TIME, &(lease - lease / 8).to_be_bytes());
            }
            let wanted = |code: u8| self.request.parameters.contains(&code);
            for is_first in [true, false] {
                for option in self.options.iter().filter(|option| wanted(option.code) == is_first) {
                    areas.put(option.code, &option.data);
                }
                if !self.host_name.is_empty() && wanted(HOST_NAME) == is_first {
                    areas.put(HOST_NAME, self.host_name.as_bytes());
                }
            }
        }
        areas.finish()
    }
}

/// The places of a message that hold options: the field of that name, then `file`, then `sname`.
struct Areas<'a> {
    message: &'a mut [u8],
    /// Where the next option goes, and where there must be none any more.
    bounds: [(usize, usize); 3],
}

/// Room for the option that says which other fields hold options.
const OVERLOAD_LENGTH: usize = 3;

impl<'a> Areas<'a> {
    fn new(message: &'a mut [u8]) -> Self {
        // Each area ends with END.
        let end = message.len() - OVERLOAD_LENGTH - 1;
        Self { message, bounds: [(OPTIONS_START, end), (FILE.0, FILE.1 - 1), (SNAME.0, SNAME.1 - 1)] }
    }

    fn room((position, end): (usize, usize)) -> usize {
        (end - position).saturating_sub(2)
    }

    /// Writes an option: whole where it fits into one area, else in pieces (RFC 3396); leaves it out where there is no room.
    fn put(&mut self, code: u8, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        if let Ok(length) = u8::try_from(data.len())
            && let Some(area) = self.bounds.iter().position(|area| Self::room(*area) >= usize::from(length))
        {
            return self.put_piece(area, code, data);
        }
        let piece_max = usize::from(u8::MAX);
        let capacity = |area: (usize, usize)| {
            let bytes = area.1 - area.0;
            let whole = bytes / (piece_max + 2);
            whole * piece_max + (bytes % (piece_max + 2)).saturating_sub(2)
        };
        if self.bounds.iter().map(|area| capacity(*area)).sum::<usize>() < data.len() {
            return;
        }
        let mut rest = data;
        for area in 0..self.bounds.len() {
            while !rest.is_empty() && Self::room(self.bounds[area]) > 0 {
                let length = rest.len().min(piece_max).min(Self::room(self.bounds[area]));
                let (piece, after) = rest.split_at(length);
                self.put_piece(area, code, piece);
                rest = after;
            }
        }
    }

    fn put_piece(&mut self, area: usize, code: u8, data: &[u8]) {
        let position = &mut self.bounds[area].0;
        self.message[*position] = code;
        self.message[*position + 1] = data.len() as u8;
        self.message[*position + 2..][..data.len()].copy_from_slice(data);
        *position += 2 + data.len();
    }

    /// Ends the areas; the length of the message.
    fn finish(self) -> usize {
        let mut fields = 0;
        for (bit, start, (position, _)) in [(1, FILE.0, self.bounds[1]), (2, SNAME.0, self.bounds[2])] {
            if position > start {
                fields |= bit;
                self.message[position] = END;
            }
        }
        let mut position = self.bounds[0].0;
        if fields != 0 {
            self.message[position..][..OVERLOAD_LENGTH].copy_from_slice(&[OVERLOAD, 1, fields]);
            position += OVERLOAD_LENGTH;
        }
        self.message[position] = END;
        position + 1
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{Answer, DhcpOption, FRAME_LENGTH_MAX, MessageType, Request, is_answer};
    use crate::address::MacAddress;
    use crate::wire::headers::{self, Network};
    use crate::wire::{read_u16, udp};

    const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    /// A client's message with these options.
    fn message(options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 236];
        message[..3].copy_from_slice(&[1, 1, 6]);
        message[4..8].copy_from_slice(&[1, 2, 3, 4]);
        message[28..34].copy_from_slice(&CLIENT.0);
        [&message, &[99, 130, 83, 99][..], options, &[255]].concat()
    }

    fn answer<'a>(request: &'a Request<'a>, options: &'a [DhcpOption]) -> Answer<'a> {
        Answer {
            message: MessageType::Ack,
            request,
            client_ip: [10, 0, 0, 11].into(),
            server: ([10, 0, 0, 1].into(), MacAddress([2, 0, 0, 0, 1, 1])),
            lease_seconds: 86_400,
            host_name: "web",
            options,
            mtu: 1500,
        }
    }

    /// Destination and message of a frame.
    fn sent(answer: &Answer<'_>) -> ((MacAddress, Ipv4Addr), Vec<u8>) {
        let mut frame = [0xa5; FRAME_LENGTH_MAX];
        let length = answer.write(&mut frame);
        let parsed = headers::parse(&frame[..length]).unwrap();
        let Network::Ip(ip) = parsed.network else { panic!("it is IPv4") };
        assert!(is_answer(&ip));
        let payload = udp::payload(&frame[..length], &ip).unwrap().to_vec();
        ((parsed.ethernet_destination, ip.ipv4().unwrap().1), payload)
    }

    /// The options of a message as a client joins them (RFC 3396).
    fn options(message: &[u8]) -> Vec<(u8, Vec<u8>)> {
        fn collect(mut area: &[u8], joined: &mut Vec<(u8, Vec<u8>)>) {
            while let [code, rest @ ..] = area {
                match code {
                    0 => area = rest,
                    255 => return,
                    code => {
                        let data = &rest[1..][..usize::from(rest[0])];
                        area = &rest[1 + data.len()..];
                        match joined.iter_mut().find(|(other, _)| other == code) {
                            Some((_, whole)) => whole.extend(data),
                            None => joined.push((*code, data.to_vec())),
                        }
                    }
                }
            }
            panic!("an area has no end");
        }
        let mut joined = Vec::new();
        collect(&message[240..], &mut joined);
        let overload = joined.iter().find(|(code, _)| *code == 52).map_or(0, |(_, data)| data[0]);
        if overload & 1 != 0 {
            collect(&message[108..236], &mut joined);
        }
        if overload & 2 != 0 {
            collect(&message[44..108], &mut joined);
        }
        joined
    }

    #[test]
    fn a_request_is_read() {
        let bytes = message(&[
            0, 53, 1, 3, 50, 4, 10, 0, 0, 9, 54, 4, 10, 0, 0, 1, 57, 2, 5, 220, 55, 3, 121, 3, 6, 61, 2, 1,
            7, 99, 0,
        ]);
        let request = Request::parse(&bytes).unwrap();
        assert_eq!(request.message, MessageType::Request);
        assert_eq!(request.requested_ip, Some([10, 0, 0, 9].into()));
        assert_eq!(request.server, Some([10, 0, 0, 1].into()));
        assert_eq!(request.packet_length_max, 1500);
        assert_eq!(request.parameters, [121, 3, 6]);
        assert_eq!(request.client_identifier, Some(&[1, 7][..]));
        assert_eq!((request.client_mac, request.relayed, request.broadcast), (CLIENT, false, false));
    }

    #[test]
    fn options_in_other_fields_are_read() {
        let mut bytes = message(&[52, 1, 3]);
        bytes[108..112].copy_from_slice(&[53, 1, 1, 255]);
        bytes[44..51].copy_from_slice(&[50, 4, 10, 0, 0, 9, 255]);
        let request = Request::parse(&bytes).unwrap();
        assert_eq!(
            (request.message, request.requested_ip),
            (MessageType::Discover, Some([10, 0, 0, 9].into()))
        );
        bytes[242] = 1;
        assert_eq!(Request::parse(&bytes).unwrap().requested_ip, None);
    }

    #[test]
    fn what_is_malformed_is_not_read() {
        let good = message(&[53, 1, 1]);
        assert!(Request::parse(&good).is_some());
        for length in 0..243 {
            assert!(Request::parse(&good[..length]).is_none(), "{length} bytes");
        }
        for (at, value) in [(0, 2), (1, 6), (2, 16), (236, 0), (241, 2), (242, 9), (241, 250)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Request::parse(&bad).is_none(), "byte {at} is {value}");
        }
        let mut relayed = good.clone();
        relayed[27] = 1;
        assert!(Request::parse(&relayed).unwrap().relayed);
        assert!(Request::parse(&message(&[53, 1, 1, 82, 0])).unwrap().relayed);
    }

    #[test]
    fn the_answer_goes_where_the_client_can_take_it() {
        let mut bytes = message(&[53, 1, 3]);
        let own = (CLIENT, Ipv4Addr::new(10, 0, 0, 11));
        let all = (MacAddress::BROADCAST, Ipv4Addr::BROADCAST);
        assert_eq!(sent(&answer(&Request::parse(&bytes).unwrap(), &[])).0, own);
        bytes[10] = 0x80;
        assert_eq!(sent(&answer(&Request::parse(&bytes).unwrap(), &[])).0, all);
        bytes[12..16].copy_from_slice(&[10, 0, 0, 11]);
        let request = Request::parse(&bytes).unwrap();
        let ((destination, address), reply) = sent(&answer(&request, &[]));
        assert_eq!((destination, address), own, "a client that renews has its address");
        assert_eq!((&reply[12..16], &reply[16..20]), (&[10, 0, 0, 11][..], &[10, 0, 0, 11][..]));
        let nak = Answer { message: MessageType::Nak, ..answer(&request, &[]) };
        let (destination, reply) = sent(&nak);
        assert_eq!(destination, all);
        assert_eq!(reply[12..20], [0; 8]);
        assert_eq!(options(&reply), [(53, vec![6]), (54, vec![10, 0, 0, 1])]);
    }

    #[test]
    fn wanted_options_come_first_and_the_identifier_comes_back() {
        let bytes = message(&[53, 1, 1, 55, 2, 12, 6, 61, 3, 1, 2, 3]);
        let request = Request::parse(&bytes).unwrap();
        let network = [(1, vec![255; 4]), (6, vec![8; 12])].map(|(code, data)| DhcpOption { code, data });
        let (_, reply) = sent(&answer(&request, &network));
        assert_eq!(reply.len(), 300, "BOOTP's shortest message");
        let codes: Vec<u8> = options(&reply).iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, [53, 54, 61, 51, 58, 59, 6, 12, 1]);
        let inform = Request { message: MessageType::Inform, ..request };
        let (_, reply) = sent(&answer(&inform, &network));
        assert!(options(&reply).iter().all(|(code, _)| ![51, 58, 59].contains(code)), "no lease");
        assert_eq!(reply[16..20], [0; 4]);
    }

    #[test]
    fn long_options_are_split_and_fill_the_other_fields() {
        let bytes = message(&[53, 1, 1]);
        let request = Request::parse(&bytes).unwrap();
        let long = |length: usize| (0..length).map(|byte| byte as u8).collect::<Vec<u8>>();
        let network = [(121, long(290)), (6, long(64)), (119, long(60))];
        let network = network.map(|(code, data)| DhcpOption { code, data });
        let (_, reply) = sent(&answer(&request, &network));
        assert!(reply.len() <= 548, "what every client takes");
        let found = options(&reply);
        for option in &network {
            let whole = found.iter().find(|(code, _)| *code == option.code);
            assert_eq!(whole.map(|(_, data)| data), Some(&option.data), "option {}", option.code);
        }
        // A client that takes more needs no other fields; what fits nowhere is left out, and the rest is there.
        let roomy = Request { packet_length_max: 1500, ..request };
        let (_, reply) = sent(&answer(&roomy, &network));
        assert!(options(&reply).iter().all(|(code, _)| *code != 52));
        let huge = [(121, long(2000)), (6, long(4))].map(|(code, data)| DhcpOption { code, data });
        let found = options(&sent(&answer(&request, &huge)).1);
        assert!(found.iter().any(|(code, _)| *code == 6) && found.iter().all(|(code, _)| *code != 121));
    }

    #[test]
    fn every_amount_of_options_fits_or_is_left_out() {
        let bytes = message(&[53, 1, 1]);
        let request = Request::parse(&bytes).unwrap();
        for first in 0..600 {
            for second in [0, 1, 2, 61, 62, 63, 124, 125, 126, 255, 256] {
                let network = [(121, vec![1; first]), (6, vec![2; second])];
                let network = network.map(|(code, data)| DhcpOption { code, data });
                let (_, reply) = sent(&answer(&request, &network));
                assert!((300..=548).contains(&reply.len()));
                for (code, data) in options(&reply).iter().filter(|(code, _)| [121, 6].contains(code)) {
                    let whole = network.iter().find(|option| option.code == *code).unwrap();
                    assert_eq!(data, &whole.data, "{code} of {first} and {second}");
                }
                assert_eq!(read_u16(&reply, 10), 0);
            }
        }
    }
}
