//! The DNS's messages: what a client asks, answers of the gateway's own, and what an upstream server's answer holds
//! (RFC 1035, 2308, 6891).
//!
//! Names are kept as they are on the wire, in lower case and without compression. Not for the packet path: values are
//! allocated, bounded by the message that they come from.

mod name;
mod reply;
#[cfg(test)]
mod tests;

use super::{read_u16, write_u16};

pub use name::Name;
pub use reply::Reply;

/// Length of the header of a message.
pub const HEADER_LENGTH: usize = 12;
/// The answer that every client takes by UDP, in bytes.
pub const UDP_LENGTH_MIN: usize = 512;
/// What is sent by UDP at most: it passes every path without fragments.
pub const UDP_LENGTH_MAX: usize = 1232;
/// Longest name on the wire.
const NAME_LENGTH_MAX: usize = 255;
const LABEL_LENGTH_MAX: u8 = 63;
/// Pointers that a compressed name may follow.
const POINTERS_MAX: usize = 64;
/// Records of one message that are looked at.
const RECORDS_MAX: usize = 512;
/// A name that points to the question's, which follows the header.
const QUESTION_POINTER: [u8; 2] = [0xc0, HEADER_LENGTH as u8];

/// An IPv4 address.
pub const TYPE_A: u16 = 1;
/// The start of a zone of authority.
pub const TYPE_SOA: u16 = 6;
/// A name for an address.
pub const TYPE_PTR: u16 = 12;
/// What a host is; says here that not everything is told at once (RFC 8482).
pub const TYPE_HINFO: u16 = 13;
/// An IPv6 address.
pub const TYPE_AAAA: u16 = 28;
/// Not a record: what the sender of a message can do.
pub const TYPE_OPT: u16 = 41;
/// A transfer of changes of a zone.
pub const TYPE_IXFR: u16 = 251;
/// A transfer of a zone.
pub const TYPE_AXFR: u16 = 252;
/// Every type.
pub const TYPE_ANY: u16 = 255;
/// The Internet.
pub const CLASS_IN: u16 = 1;

const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_AUTHORITATIVE: u16 = 0x0400;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;
const FLAG_RECURSION_AVAILABLE: u16 = 0x0080;
const FLAG_AUTHENTIC: u16 = 0x0020;
const FLAG_CHECKING_DISABLED: u16 = 0x0010;
const OPCODE_MASK: u16 = 0x7800;
const CODE_MASK: u16 = 0x000f;
const DNSSEC_OK: u32 = 0x8000;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ResponseCode {
    /// All is well, be there answers or none.
    NoError = 0,
    /// The question cannot be read.
    FormatError = 1,
    /// No answer could be had.
    ServerFailure = 2,
    /// There is no such name.
    NameError = 3,
    /// What is asked for is not done here.
    NotImplemented = 4,
    /// It is not done for this client.
    Refused = 5,
}

/// A client's question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Chosen by the client.
    pub id: u16,
    /// What it asks about.
    pub name: Name,
    /// The type of record.
    pub kind: u16,
    /// The class.
    pub class: u16,
    /// It wants the server to ask others.
    pub recursion_desired: bool,
    /// It checks signatures itself.
    pub checking_disabled: bool,
    /// Longest answer by UDP that it takes, where it says so.
    pub udp_length_max: Option<u16>,
    /// It wants signatures.
    pub dnssec_ok: bool,
    /// The question as it was written.
    question: Vec<u8>,
}

/// A message that no answer can be looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadQuery {
    /// It is not to be answered at all.
    Silence,
    /// This is the answer.
    Answer(Vec<u8>),
}

impl Query {
    /// Reads a client's message.
    pub fn parse(message: &[u8]) -> Result<Self, BadQuery> {
        if message.len() < HEADER_LENGTH {
            return Err(BadQuery::Silence);
        }
        let flags = read_u16(message, 2);
        if flags & FLAG_RESPONSE != 0 {
            return Err(BadQuery::Silence);
        }
        if flags & OPCODE_MASK != 0 {
            return Err(BadQuery::Answer(bare(message, ResponseCode::NotImplemented)));
        }
        Self::parse_question(message, flags)
            .ok_or_else(|| BadQuery::Answer(bare(message, ResponseCode::FormatError)))
    }

    fn parse_question(message: &[u8], flags: u16) -> Option<Self> {
        let [questions, answers, authority, additional] = [4, 6, 8, 10].map(|at| read_u16(message, at));
        if questions != 1 || answers != 0 || authority != 0 {
            return None;
        }
        let (name, after) = Name::read(message, HEADER_LENGTH)?;
        // There is nothing before a question that it could point to.
        let is_plain = after - HEADER_LENGTH == name.as_bytes().len();
        let question = message.get(HEADER_LENGTH..after + 4).filter(|_| is_plain)?.to_vec();
        let mut query = Self {
            id: read_u16(message, 0),
            name,
            kind: read_u16(message, after),
            class: read_u16(message, after + 2),
            recursion_desired: flags & FLAG_RECURSION_DESIRED != 0,
            checking_disabled: flags & FLAG_CHECKING_DISABLED != 0,
            udp_length_max: None,
            dnssec_ok: false,
            question,
        };
        let mut position = after + 4;
        for _ in 0..additional.min(RECORDS_MAX as u16) {
            let record = RecordPlace::read(message, position)?;
            position = record.end;
            if record.kind == TYPE_OPT {
                if query.udp_length_max.is_some() {
                    return None;
                }
                query.udp_length_max = Some(record.class.max(UDP_LENGTH_MIN as u16));
                query.dnssec_ok = record.ttl & DNSSEC_OK != 0;
            }
        }
        Some(query)
    }

    /// Longest answer by UDP.
    pub fn answer_length_max(&self) -> usize {
        usize::from(self.udp_length_max.unwrap_or(0)).clamp(UDP_LENGTH_MIN, UDP_LENGTH_MAX)
    }

    /// The same question for another server, under another id.
    pub fn to_upstream(&self, id: u16) -> Vec<u8> {
        let checking = if self.checking_disabled { FLAG_CHECKING_DISABLED } else { 0 };
        let mut message = header(id, FLAG_RECURSION_DESIRED | checking, [1, 0, 0, 1]);
        message.extend(self.name.as_bytes());
        message.extend(self.kind.to_be_bytes());
        message.extend(self.class.to_be_bytes());
        write_opt(&mut message, self.dnssec_ok);
        message
    }

    /// An answer of the gateway's own, of at most `length_max` bytes: what does not fit is left out and said so.
    pub fn answer(
        &self,
        code: ResponseCode,
        authoritative: bool,
        answers: &[Record],
        authority: Option<&Record>,
        length_max: usize,
    ) -> Vec<u8> {
        let flags = self.answer_flags(code) | if authoritative { FLAG_AUTHORITATIVE } else { 0 };
        let mut message =
            header(self.id, flags, [1, answers.len() as u16, u16::from(authority.is_some()), 0]);
        message.extend(&self.question);
        for record in answers.iter().chain(authority) {
            record.write(self, &mut message);
        }
        self.finish(message, length_max)
    }

    /// An answer that says only how it went.
    pub fn refusal(&self, code: ResponseCode) -> Vec<u8> {
        self.answer(code, false, &[], None, UDP_LENGTH_MIN)
    }

    fn answer_flags(&self, code: ResponseCode) -> u16 {
        let desired = if self.recursion_desired { FLAG_RECURSION_DESIRED } else { 0 };
        let checking = if self.checking_disabled { FLAG_CHECKING_DISABLED } else { 0 };
        FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | desired | checking | code as u16
    }

    /// Adds what the gateway can do, for a client that asked by it, and cuts the message where it is too long.
    fn finish(&self, mut message: Vec<u8>, length_max: usize) -> Vec<u8> {
        const OPT_LENGTH: usize = 11;
        let opt_length = if self.udp_length_max.is_some() { OPT_LENGTH } else { 0 };
        if message.len() + opt_length > length_max {
            message.truncate(HEADER_LENGTH + self.question.len());
            let flags = read_u16(&message, 2) | FLAG_TRUNCATED;
            write_u16(&mut message, 2, flags);
            message[6..HEADER_LENGTH].fill(0);
        }
        if self.udp_length_max.is_some() {
            write_opt(&mut message, self.dnssec_ok);
            let additional = read_u16(&message, 10) + 1;
            write_u16(&mut message, 10, additional);
        }
        message
    }
}

fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    [id, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect()
}

/// An answer to a message whose question could not be read.
fn bare(message: &[u8], code: ResponseCode) -> Vec<u8> {
    let asked = read_u16(message, 2) & (OPCODE_MASK | FLAG_RECURSION_DESIRED);
    header(read_u16(message, 0), FLAG_RESPONSE | asked | code as u16, [0; 4])
}

fn write_opt(message: &mut Vec<u8>, dnssec_ok: bool) {
    message.push(0);
    message.extend(TYPE_OPT.to_be_bytes());
    message.extend((UDP_LENGTH_MAX as u16).to_be_bytes());
    message.extend((if dnssec_ok { DNSSEC_OK } else { 0 }).to_be_bytes());
    message.extend([0, 0]);
}

/// A record that the gateway has itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub name: Name,
    /// Its type.
    pub kind: u16,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: Vec<u8>,
}

impl Record {
    fn write(&self, query: &Query, message: &mut Vec<u8>) {
        if self.name == query.name {
            message.extend(QUESTION_POINTER);
        } else {
            message.extend(self.name.as_bytes());
        }
        message.extend(self.kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message.extend(self.ttl.to_be_bytes());
        message.extend((self.data.len() as u16).to_be_bytes());
        message.extend(&self.data);
    }
}

/// Where a record of a message is, and what all records have.
#[derive(Clone, Copy, Debug)]
struct RecordPlace {
    kind: u16,
    class: u16,
    ttl: u32,
    ttl_at: usize,
    data_at: usize,
    end: usize,
}

impl RecordPlace {
    fn read(message: &[u8], position: usize) -> Option<Self> {
        let (_, at) = Name::read(message, position)?;
        let fixed = message.get(at..at + 10)?;
        let end = at + 10 + usize::from(read_u16(fixed, 8));
        (end <= message.len()).then_some(Self {
            kind: read_u16(fixed, 0),
            class: read_u16(fixed, 2),
            ttl: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ttl_at: at + 4,
            data_at: at + 10,
            end,
        })
    }
}
