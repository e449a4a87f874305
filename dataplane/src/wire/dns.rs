//! The DNS's messages: what a client asks, answers of the gateway's own, and what an upstream server's answer holds
//! (RFC 1035, 2308, 6891).
//!
//! Names are kept as they are on the wire, in lower case and without compression. Not for the packet path: values are
//! allocated, bounded by the message that they come from.

use super::{read_u16, write_u16};

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

/// A name, as on the wire: labels with their lengths, lower case, the root's empty label last.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Vec<u8>);

impl Name {
    /// The name that a text with dots stands for; none where it cannot be one.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(text.len() + 2);
        for label in text.split('.').filter(|_| !text.is_empty()) {
            let length =
                u8::try_from(label.len()).ok().filter(|length| (1..=LABEL_LENGTH_MAX).contains(length))?;
            bytes.push(length);
            bytes.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        bytes.push(0);
        (bytes.len() <= NAME_LENGTH_MAX).then_some(Self(bytes))
    }

    /// The name at `position` of a message, and where what follows it starts.
    fn read(message: &[u8], position: usize) -> Option<(Self, usize)> {
        let mut bytes = Vec::new();
        let (mut at, mut after, mut pointers) = (position, None, 0);
        loop {
            let length = *message.get(at)?;
            match length {
                0 => break,
                1..=LABEL_LENGTH_MAX => {
                    let label = message.get(at..=at + usize::from(length))?;
                    bytes.push(length);
                    bytes.extend(label[1..].iter().map(u8::to_ascii_lowercase));
                    at += label.len();
                }
                0xc0.. => {
                    let target = usize::from(u16::from_be_bytes([length & 0x3f, *message.get(at + 1)?]));
                    after.get_or_insert(at + 2);
                    pointers += 1;
                    // Only to what was before: no circles.
                    if target >= at || pointers > POINTERS_MAX {
                        return None;
                    }
                    at = target;
                }
                _ => return None,
            }
            if bytes.len() >= NAME_LENGTH_MAX {
                return None;
            }
        }
        bytes.push(0);
        Some((Self(bytes), after.unwrap_or(at + 1)))
    }

    /// The name on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The labels, the root's not among them.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first()?;
            let (label, after) = after.split_at_checked(usize::from(*length)).filter(|_| *length > 0)?;
            rest = after;
            Some(label)
        })
    }

    /// Whether it is `zone` or below it.
    pub fn is_within(&self, zone: &Self) -> bool {
        let mut rest = &self.0[..];
        loop {
            if rest == zone.0 {
                return true;
            }
            match rest.split_first() {
                Some((length @ 1.., after)) => rest = &after[usize::from(*length)..],
                _ => return false,
            }
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let labels: Vec<_> = self.labels().map(|label| String::from_utf8_lossy(label).into_owned()).collect();
        write!(f, "{}.", labels.join("."))
    }
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

/// An upstream server's answer, ready to be kept and to be given to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The message, without what concerned only the two of us.
    message: Vec<u8>,
    /// Where the times to live are.
    ttls: Vec<usize>,
    question_length: usize,
    /// It does not hold everything: ask again by TCP.
    pub truncated: bool,
    /// Seconds that it may be kept; none where it may not.
    pub ttl: Option<u32>,
}

impl Reply {
    /// Reads a server's message; none when it is malformed, or no answer to this question under this id.
    pub fn parse(message: &[u8], query: &Query, id: u16) -> Option<Self> {
        if message.len() < HEADER_LENGTH || read_u16(message, 0) != id {
            return None;
        }
        let flags = read_u16(message, 2);
        let counts = [4, 6, 8, 10].map(|at| read_u16(message, at));
        if flags & FLAG_RESPONSE == 0 || flags & OPCODE_MASK != 0 || counts[0] != 1 {
            return None;
        }
        let (name, after) = Name::read(message, HEADER_LENGTH)?;
        let rest = message.get(after..after + 4)?;
        if name != query.name || read_u16(rest, 0) != query.kind || read_u16(rest, 2) != query.class {
            return None;
        }
        let mut reply = Self {
            message: message.to_vec(),
            ttls: Vec::new(),
            question_length: after + 4 - HEADER_LENGTH,
            truncated: flags & FLAG_TRUNCATED != 0,
            ttl: None,
        };
        reply.read_records(after + 4, [counts[1], counts[2], counts[3]])?;
        let code = flags & CODE_MASK;
        let is_lasting = code == ResponseCode::NoError as u16 || code == ResponseCode::NameError as u16;
        if !is_lasting || reply.truncated {
            reply.ttl = None;
        }
        // That signatures were checked is for the client to believe its own check.
        write_u16(
            &mut reply.message,
            2,
            (flags & !FLAG_AUTHENTIC & !FLAG_AUTHORITATIVE) | FLAG_RECURSION_AVAILABLE,
        );
        Some(reply)
    }

    /// Notes the times to live, and takes out what follows from the sender's own abilities on.
    fn read_records(&mut self, start: usize, counts: [u16; 3]) -> Option<()> {
        let mut position = start;
        let mut shortest: Option<u32> = None;
        let mut negative = None;
        let mut seen = 0;
        for (section, count) in counts.into_iter().enumerate() {
            for index in 0..count {
                seen += 1;
                if seen > RECORDS_MAX {
                    return None;
                }
                let record = RecordPlace::read(&self.message, position)?;
                if section == 2 && record.kind == TYPE_OPT {
                    self.message.truncate(position);
                    write_u16(&mut self.message, 10, index);
                    break;
                }
                // RFC 2181, section 8: the highest bit set means zero.
                let ttl = if record.ttl > i32::MAX as u32 { 0 } else { record.ttl };
                shortest = Some(shortest.map_or(ttl, |shortest| shortest.min(ttl)));
                if section == 1 && record.kind == TYPE_SOA {
                    let minimum =
                        self.message.get(record.end.checked_sub(4)?.max(record.data_at)..record.end)?;
                    let minimum = u32::from_be_bytes(minimum.try_into().ok()?);
                    negative = Some(ttl.min(minimum));
                }
                self.ttls.push(record.ttl_at);
                position = record.end;
            }
        }
        // RFC 2308, section 5: that there is nothing is kept as long as the zone says.
        self.ttl = if counts[0] == 0 { negative } else { shortest };
        Some(())
    }

    /// Bytes that it takes to keep it.
    pub fn size(&self) -> usize {
        self.message.len() + self.ttls.len() * size_of::<usize>()
    }

    /// The answer for a client, `age_seconds` after it came, of at most `length_max` bytes.
    pub fn answer(&self, query: &Query, age_seconds: u32, length_max: usize) -> Vec<u8> {
        let mut message = self.message.clone();
        for at in &self.ttls {
            let bytes = &mut message[*at..*at + 4];
            let ttl = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            bytes.copy_from_slice(&ttl.saturating_sub(age_seconds).to_be_bytes());
        }
        write_u16(&mut message, 0, query.id);
        let desired = if query.recursion_desired { FLAG_RECURSION_DESIRED } else { 0 };
        let flags = read_u16(&message, 2) & !(FLAG_RECURSION_DESIRED | FLAG_TRUNCATED);
        write_u16(&mut message, 2, flags | desired);
        if query.question.len() == self.question_length {
            // In the client's spelling, which it may compare.
            message[HEADER_LENGTH..HEADER_LENGTH + self.question_length].copy_from_slice(&query.question);
        }
        query.finish(message, length_max)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        BadQuery, CLASS_IN, HEADER_LENGTH, Name, Query, Record, Reply, ResponseCode, TYPE_A, TYPE_AAAA,
        TYPE_SOA,
    };
    use crate::wire::{read_u16, write_u16};

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    /// A client's question, with what it can do where `edns` says so.
    fn query(text: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
        for label in text.split('.') {
            message.push(label.len() as u8);
            message.extend(label.bytes());
        }
        message.push(0);
        message.extend([kind.to_be_bytes(), CLASS_IN.to_be_bytes()].concat());
        if let Some(length) = edns {
            message.extend([0, 0, 41]);
            message.extend(length.to_be_bytes());
            message.extend([0, 0, 0x80, 0, 0, 0]);
        }
        message
    }

    fn address(owner: &str, ttl: u32) -> Record {
        Record { name: name(owner), kind: TYPE_A, ttl, data: vec![10, 0, 0, 1] }
    }

    #[test]
    fn names() {
        assert_eq!(name("WWW.Example").as_bytes(), b"\x03www\x07example\0");
        assert_eq!(name("").as_bytes(), b"\0");
        assert_eq!(name("a.b").to_string(), "a.b.");
        assert!(name("a.b.c").is_within(&name("b.c")) && name("b.c").is_within(&name("b.c")));
        assert!(!name("ab.c").is_within(&name("b.c")) && !name("c").is_within(&name("b.c")));
        assert!(name("c").is_within(&name("")));
        for text in ["a..b", ".", &"a".repeat(64), &"a.".repeat(127)] {
            assert_eq!(Name::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn a_question_is_read_and_answered_in_its_spelling() {
        let message = query("Web.Example", TYPE_A, None);
        let query = Query::parse(&message).unwrap();
        assert_eq!((query.id, query.kind, query.class), (0x1234, TYPE_A, CLASS_IN));
        assert_eq!(query.name, name("web.example"));
        assert!(query.recursion_desired && !query.dnssec_ok);
        assert_eq!(query.answer_length_max(), 512);
        let answer = query.answer(ResponseCode::NoError, true, &[address("web.example", 5)], None, 512);
        assert_eq!(answer[..12], [0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(answer[12..29], message[12..29], "the question as it was asked");
        assert_eq!(answer[29..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 1]);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_said_so() {
        let query = Query::parse(&query("web.example", TYPE_A, Some(4096))).unwrap();
        assert_eq!(query.answer_length_max(), 1232);
        let answers = vec![address("web.example", 5); 100];
        let long = query.answer(ResponseCode::NoError, true, &answers, None, 1232);
        assert_eq!(read_u16(&long, 2) & 0x0200, 0x0200, "truncated");
        assert_eq!(long.len(), HEADER_LENGTH + 17 + 11);
        assert_eq!(long[4..12], [0, 1, 0, 0, 0, 0, 0, 1], "only the question, and what the server can do");
        let whole = query.answer(ResponseCode::NoError, true, &answers, None, 65_535);
        assert_eq!((read_u16(&whole, 2) & 0x0200, read_u16(&whole, 6)), (0, 100));
    }

    #[test]
    fn what_is_no_question_is_answered_or_not() {
        let good = query("a", TYPE_A, None);
        for length in 0..HEADER_LENGTH {
            assert_eq!(Query::parse(&good[..length]), Err(BadQuery::Silence));
        }
        for length in HEADER_LENGTH..good.len() {
            let Err(BadQuery::Answer(answer)) = Query::parse(&good[..length]) else {
                panic!("{length} bytes")
            };
            assert_eq!(answer[..4], [0x12, 0x34, 0x81, 1]);
        }
        let changed = |at: usize, value: u8| {
            let mut message = good.clone();
            message[at] = value;
            Query::parse(&message)
        };
        assert_eq!(changed(2, 0x81), Err(BadQuery::Silence), "an answer");
        assert!(matches!(changed(2, 0x29), Err(BadQuery::Answer(answer)) if answer[3] == 4), "an update");
        assert!(matches!(changed(5, 2), Err(BadQuery::Answer(answer)) if answer[3] == 1), "two questions");
        assert!(matches!(changed(12, 0xc0), Err(BadQuery::Answer(_))), "a pointer into the header");
        assert!(matches!(changed(12, 0x41), Err(BadQuery::Answer(_))), "a label of an unknown kind");
        let mut twice = query("a", TYPE_A, Some(1000));
        let opt = twice[19..].to_vec();
        twice.extend(opt);
        twice[11] = 2;
        assert!(matches!(Query::parse(&twice), Err(BadQuery::Answer(_))), "RFC 6891, section 6.1.1");
    }

    /// A server's answer to what it is asked.
    fn reply(asked: &[u8], code: ResponseCode, answers: &[Record], authority: Option<&Record>) -> Vec<u8> {
        Query::parse(asked).unwrap().answer(code, true, answers, authority, 65_535)
    }

    #[test]
    fn an_answer_is_kept_as_long_as_it_may_be() {
        let client = Query::parse(&query("Web.Example", TYPE_A, None)).unwrap();
        let asked = client.to_upstream(77);
        let answers = [address("web.example", 300), address("other.example", 60)];
        let message = reply(&asked, ResponseCode::NoError, &answers, None);
        let parsed = Reply::parse(&message, &client, 77).unwrap();
        assert_eq!((parsed.ttl, parsed.truncated), (Some(60), false));
        let answer = parsed.answer(&client, 50, 512);
        assert_eq!(read_u16(&answer, 0), 0x1234);
        assert_eq!(read_u16(&answer, 10), 0, "the client did not say what it can do");
        assert_eq!(answer[13..16], *b"Web", "in the client's spelling");
        assert_eq!(answer[29 + 6..29 + 10], 250_u32.to_be_bytes());
        let aware = Query::parse(&query("web.example", TYPE_A, Some(1232))).unwrap();
        assert_eq!(read_u16(&parsed.answer(&aware, 0, 1232), 10), 1);
        assert_eq!(
            read_u16(&parsed.answer(&client, 0, 40), 2) & 0x0200,
            0x0200,
            "cut to what the client takes"
        );
    }

    #[test]
    fn that_there_is_nothing_is_kept_as_the_zone_says() {
        let client = Query::parse(&query("no.example", TYPE_AAAA, None)).unwrap();
        let asked = client.to_upstream(1);
        let mut data = b"\0\0".to_vec();
        data.extend([0; 16]);
        data.extend(30_u32.to_be_bytes());
        let soa = Record { name: name("example"), kind: TYPE_SOA, ttl: 3600, data };
        let kept = |code, authority: Option<&Record>| {
            Reply::parse(&reply(&asked, code, &[], authority), &client, 1).unwrap().ttl
        };
        assert_eq!(kept(ResponseCode::NameError, Some(&soa)), Some(30));
        assert_eq!(kept(ResponseCode::NoError, Some(&soa)), Some(30));
        assert_eq!(kept(ResponseCode::NameError, None), None);
        assert_eq!(kept(ResponseCode::ServerFailure, Some(&soa)), None);
    }

    #[test]
    fn answers_to_other_questions_are_not_taken() {
        let client = Query::parse(&query("web.example", TYPE_A, None)).unwrap();
        let message =
            reply(&client.to_upstream(77), ResponseCode::NoError, &[address("web.example", 9)], None);
        assert!(Reply::parse(&message, &client, 77).is_some());
        assert!(Reply::parse(&message, &client, 78).is_none(), "another id");
        let other = Query::parse(&query("web.example", TYPE_AAAA, None)).unwrap();
        assert!(Reply::parse(&message, &other, 77).is_none());
        let other = Query::parse(&query("wob.example", TYPE_A, None)).unwrap();
        assert!(Reply::parse(&message, &other, 77).is_none());
        assert!(Reply::parse(&client.to_upstream(77), &client, 77).is_none(), "a question");
        for length in 0..message.len() {
            assert!(Reply::parse(&message[..length], &client, 77).is_none(), "{length} bytes");
        }
        let mut many = message.clone();
        write_u16(&mut many, 6, 9);
        assert!(Reply::parse(&many, &client, 77).is_none(), "more records than there are");
    }
}
