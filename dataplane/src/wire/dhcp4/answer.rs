//! The server's answers, as frames.

use std::net::Ipv4Addr;

use super::{
    CLIENT_IDENTIFIER, CLIENT_PORT, COOKIE, COOKIE_START, END, FILE, FLAG_BROADCAST, FRAME_HEADERS_LENGTH,
    HEADERS_LENGTH, HOST_NAME, LEASE_TIME, MESSAGE_LENGTH_MAX, MESSAGE_LENGTH_MIN, MESSAGE_TYPE, MessageType,
    OP_REPLY, OPTIONS_START, OVERLOAD, REBINDING_TIME, RENEWAL_TIME, Request, SERVER_IDENTIFIER, SERVER_PORT,
    SNAME,
};
use crate::address::MacAddress;
use crate::wire::udp::{self, Place};

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
