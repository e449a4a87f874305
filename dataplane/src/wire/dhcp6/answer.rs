//! The server's answers, as frames.

use std::net::Ipv6Addr;

use super::{
    ADDRESS, ADDRESS_LENGTH, ASSOCIATION_HEADER_LENGTH, Association, AssociationKind, CLIENT_ID, CLIENT_PORT,
    INFORMATION_REFRESH_TIME, MESSAGE_HEADER_LENGTH, MessageType, OPTION_HEADER_LENGTH, PREFERENCE,
    RAPID_COMMIT, Request, SERVER_ID, SERVER_PORT, STATUS, TEMPORARY_HEADER_LENGTH,
};
use crate::address::MacAddress;
use crate::wire::udp::{self, Place, UDP_LENGTH};
use crate::wire::{ETHERNET_LENGTH, IPV6_LENGTH};

const HEADERS_LENGTH: usize = ETHERNET_LENGTH + IPV6_LENGTH + UDP_LENGTH;
/// Longest frame that an answer takes: its packet passes every link (RFC 8200, section 5).
pub const FRAME_LENGTH_MAX: usize = ETHERNET_LENGTH + 1280;
/// Times after which what an Information-request was told is asked for again (RFC 8415, section 7.6).
const REFRESH_SECONDS_MIN: u32 = 600;
/// The client need not wait for other servers.
const PREFERENCE_MAX: u8 = 255;

/// Why a client gets less than it asked for (RFC 8415, section 21.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Status {
    /// It does not.
    Success = 0,
    /// There are no addresses.
    NoAddresses = 2,
    /// The server knows nothing of what it speaks of.
    NoBinding = 3,
    /// Its addresses do not fit here.
    NotOnLink = 4,
    /// It asked the server alone, and must ask all.
    UseMulticast = 5,
    /// There are no prefixes.
    NoPrefixes = 6,
}

/// What a client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is told what it would get.
    Offer,
    /// It gets it, or keeps it.
    Lease,
    /// It is told all but addresses.
    Information,
    /// What it says of its addresses is noted: it gives them back, or others have them.
    Noted,
    /// Nothing but this.
    Only(Status),
}

impl Verdict {
    /// What kind of message tells it.
    pub fn message(self) -> MessageType {
        if self == Self::Offer { MessageType::Advertise } else { MessageType::Reply }
    }
}

/// One option of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dhcp6Option {
    /// Its number.
    pub code: u16,
    /// Its value.
    pub data: Vec<u8>,
}

/// The server's answer to a request.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// What the client is told.
    pub verdict: Verdict,
    /// What it answers.
    pub request: &'a Request<'a>,
    /// Where the request came from.
    pub client: (Ipv6Addr, MacAddress),
    /// The client's address; none: it gets none.
    pub client_ip: Option<Ipv6Addr>,
    /// The server.
    pub server: (Ipv6Addr, MacAddress),
    /// What the server calls itself.
    pub server_id: &'a [u8],
    /// Seconds that the address may be used.
    pub lease_seconds: u32,
    /// What holds for the whole network, most important first.
    pub options: &'a [Dhcp6Option],
}

impl Answer<'_> {
    /// Writes the whole frame into `frame`, which has [`FRAME_LENGTH_MAX`] bytes; its length.
    pub fn write(&self, frame: &mut [u8]) -> usize {
        let [high, middle, low] = self.request.transaction;
        let message = &mut frame[HEADERS_LENGTH..FRAME_LENGTH_MAX];
        message[..MESSAGE_HEADER_LENGTH].copy_from_slice(&[self.verdict.message() as u8, high, middle, low]);
        let mut writer = Writer { bytes: message, length: MESSAGE_HEADER_LENGTH };
        self.write_options(&mut writer);
        let length = writer.length;
        let source =
            Place { mac_address: self.server.1, ip_address: self.server.0.into(), port: SERVER_PORT };
        let destination =
            Place { mac_address: self.client.1, ip_address: self.client.0.into(), port: CLIENT_PORT };
        udp::write_headers(frame, source, destination, length)
    }

    fn write_options(&self, writer: &mut Writer<'_>) {
        let request = self.request;
        writer.put(SERVER_ID, &[self.server_id]);
        if let Some(client_id) = request.client_id {
            writer.put(CLIENT_ID, &[client_id]);
        }
        match self.verdict {
            Verdict::Offer => writer.put(PREFERENCE, &[&[PREFERENCE_MAX]]),
            Verdict::Lease if request.message == MessageType::Solicit => writer.put(RAPID_COMMIT, &[]),
            Verdict::Noted => writer.put(STATUS, &[&status(Status::Success)]),
            Verdict::Only(reason) => return writer.put(STATUS, &[&status(reason)]),
            Verdict::Lease | Verdict::Information => {}
        }
        let mut is_first = true;
        for association in request.associations() {
            if self.verdict == Verdict::Noted {
                self.write_noted(writer, &association);
            } else {
                self.write_association(writer, &association, is_first);
            }
            is_first &= association.kind != AssociationKind::NonTemporary;
        }
        if self.verdict == Verdict::Noted {
            return;
        }
        for option in self.options.iter().filter(|option| request.wants(option.code)) {
            writer.put(option.code, &[&option.data]);
        }
        if self.verdict == Verdict::Information && request.wants(INFORMATION_REFRESH_TIME) {
            let seconds = self.lease_seconds.max(REFRESH_SECONDS_MIN);
            writer.put(INFORMATION_REFRESH_TIME, &[&seconds.to_be_bytes()]);
        }
    }

    /// An association with the workload's address in it, if it is the first for addresses, else with the reason why there is
    /// none. What a client wants to keep that is not the workload's may not be used any more.
    fn write_association(&self, writer: &mut Writer<'_>, association: &Association<'_>, is_first: bool) {
        let is_kept = matches!(self.request.message, MessageType::Renew | MessageType::Rebind);
        let address =
            self.client_ip.filter(|_| is_first && association.kind == AssociationKind::NonTemporary);
        let lease = self.lease_seconds;
        writer.association(association, address.map_or((0, 0), |_| (lease / 2, lease / 5 * 4)), |writer| {
            if let Some(address) = address {
                writer.address(address, lease);
            }
            if is_kept && association.kind == AssociationKind::NonTemporary {
                for other in association.addresses().filter(|other| Some(*other) != address) {
                    writer.address(other, 0);
                }
            }
            if address.is_none() {
                let reason = match association.kind {
                    _ if is_kept => Status::NoBinding,
                    AssociationKind::Prefix => Status::NoPrefixes,
                    AssociationKind::NonTemporary | AssociationKind::Temporary => Status::NoAddresses,
                };
                writer.put(STATUS, &[&status(reason)]);
            }
        });
    }

    /// An association that is not the workload's, which is all that is to be said (RFC 8415, section 18.3.7).
    fn write_noted(&self, writer: &mut Writer<'_>, association: &Association<'_>) {
        let is_known = association.kind == AssociationKind::NonTemporary
            && association.addresses().all(|address| Some(address) == self.client_ip);
        if !is_known {
            writer.association(association, (0, 0), |writer| {
                writer.put(STATUS, &[&status(Status::NoBinding)]);
            });
        }
    }
}

fn status(status: Status) -> [u8; 2] {
    (status as u16).to_be_bytes()
}

/// Where options are written. What there is no room for is left out.
struct Writer<'a> {
    bytes: &'a mut [u8],
    length: usize,
}

impl Writer<'_> {
    fn put(&mut self, code: u16, parts: &[&[u8]]) {
        let data_length: usize = parts.iter().map(|part| part.len()).sum();
        let end = self.length + OPTION_HEADER_LENGTH + data_length;
        let Some(option) = self.bytes.get_mut(self.length..end) else { return };
        let (head, mut rest) = option.split_at_mut(OPTION_HEADER_LENGTH);
        head[..2].copy_from_slice(&code.to_be_bytes());
        head[2..].copy_from_slice(&(data_length as u16).to_be_bytes());
        for part in parts {
            let (place, after) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = after;
        }
        self.length = end;
    }

    fn address(&mut self, address: Ipv6Addr, lease_seconds: u32) {
        let lifetime = lease_seconds.to_be_bytes();
        const { assert!(ADDRESS_LENGTH == 16 + 4 + 4) };
        self.put(ADDRESS, &[&address.octets(), &lifetime, &lifetime]);
    }

    /// An association with what `inner` writes, whole or not at all. `times`: after how many seconds it is renewed, from the
    /// server and from any.
    fn association(
        &mut self,
        association: &Association<'_>,
        times: (u32, u32),
        inner: impl FnOnce(&mut Writer<'_>),
    ) {
        let start = self.length;
        let [first, second] = [times.0, times.1].map(u32::to_be_bytes);
        match association.kind {
            AssociationKind::Temporary => self.put(association.kind as u16, &[&association.id]),
            _ => self.put(association.kind as u16, &[&association.id, &first, &second]),
        }
        let header_length = match association.kind {
            AssociationKind::Temporary => TEMPORARY_HEADER_LENGTH,
            _ => ASSOCIATION_HEADER_LENGTH,
        };
        let inner_start = start + OPTION_HEADER_LENGTH + header_length;
        if self.length != inner_start {
            return;
        }
        inner(self);
        if self.length == inner_start {
            // There was no room for what it is about.
            self.length = start;
            return;
        }
        let data_length = (self.length - start - OPTION_HEADER_LENGTH) as u16;
        self.bytes[start + 2..start + OPTION_HEADER_LENGTH].copy_from_slice(&data_length.to_be_bytes());
    }
}
