//! What an upstream server's answer holds, and the answers for clients that it makes (RFC 2308).

use super::{
    CODE_MASK, FLAG_AUTHENTIC, FLAG_AUTHORITATIVE, FLAG_RECURSION_AVAILABLE, FLAG_RECURSION_DESIRED,
    FLAG_RESPONSE, FLAG_TRUNCATED, HEADER_LENGTH, Name, OPCODE_MASK, Query, RECORDS_MAX, RecordPlace,
    ResponseCode, TYPE_OPT, TYPE_SOA,
};
use crate::wire::{read_u16, write_u16};

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
