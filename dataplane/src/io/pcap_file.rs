//! The classic pcap file format: reading and writing.
//!
//! Reads both byte orders and both resolutions (micro- and nanoseconds); writes little-endian microseconds,
//! which every tool reads. A file is untrusted: whatever it holds, reading returns an error and never allocates
//! more than [`RECORD_LENGTH_MAX`] at a time. Used by the pcap port and by whoever saves a capture.

use std::io::{self, Read, Write};

/// Longest record that is read, in bytes; what tcpdump uses.
pub const RECORD_LENGTH_MAX: usize = 262_144;
/// Length of the file's header in bytes.
pub const FILE_HEADER_LENGTH: usize = 24;
/// Length of a record's header in bytes.
pub const RECORD_HEADER_LENGTH: usize = 16;

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const LINK_TYPE_ETHERNET: u32 = 1;

/// Why a file was refused.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// The first four bytes are none of the four magic numbers.
    #[error("not a pcap file: it begins with {0:#010x} (pcapng files must be converted: `editcap -F pcap`)")]
    Magic(u32),
    /// The packets are not Ethernet frames.
    #[error("the packets have link type {0}, only Ethernet (1) can be read")]
    LinkType(u32),
    /// A record claims to be longer than any may be.
    #[error("record {record} is {length} bytes long, the most is {RECORD_LENGTH_MAX}: the file is damaged")]
    RecordLength {
        /// Number of the record, from 1.
        record: u64,
        /// What it claims.
        length: u32,
    },
    /// The file ends within a record.
    #[error("the file ends within record {0}")]
    Truncated(u64),
    /// Reading or writing failed.
    #[error("pcap file: {0}")]
    Io(#[from] io::Error),
}

/// Reads packets one after the other.
#[derive(Debug)]
pub struct PcapReader<R> {
    input: R,
    swapped: bool,
    nanoseconds_per_unit: u64,
    records: u64,
    buffer: Vec<u8>,
}

/// A packet of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcapRecord<'a> {
    /// When it was captured, since the epoch.
    pub timestamp_ns: u64,
    /// Its length on the wire; larger than `bytes` when it was cut short.
    pub original_length: u32,
    /// Its bytes, from the Ethernet header on.
    pub bytes: &'a [u8],
}

impl<R: Read> PcapReader<R> {
    /// Reads the file's header.
    pub fn new(mut input: R) -> Result<Self, PcapError> {
        let mut header = [0; FILE_HEADER_LENGTH];
        input.read_exact(&mut header)?;
        let magic = word(&header, 0, false);
        let (swapped, nanoseconds_per_unit) = match (magic, magic.swap_bytes()) {
            (MAGIC_MICROSECONDS, _) => (false, 1000),
            (MAGIC_NANOSECONDS, _) => (false, 1),
            (_, MAGIC_MICROSECONDS) => (true, 1000),
            (_, MAGIC_NANOSECONDS) => (true, 1),
            _ => return Err(PcapError::Magic(magic)),
        };
        // The upper bits tell about checksums at the frame's end, which Ethernet captures do not have.
        let link_type = word(&header, 20, swapped) & 0xffff;
        if link_type != LINK_TYPE_ETHERNET {
            return Err(PcapError::LinkType(link_type));
        }
        Ok(Self { input, swapped, nanoseconds_per_unit, records: 0, buffer: Vec::new() })
    }

    /// The next packet, or none at the end of the file.
    pub fn next_record(&mut self) -> Result<Option<PcapRecord<'_>>, PcapError> {
        let mut header = [0; RECORD_HEADER_LENGTH];
        match read_fully(&mut self.input, &mut header)? {
            0 => return Ok(None),
            RECORD_HEADER_LENGTH => self.records += 1,
            _ => return Err(PcapError::Truncated(self.records + 1)),
        }
        let length = word(&header, 8, self.swapped);
        if length as usize > RECORD_LENGTH_MAX {
            return Err(PcapError::RecordLength { record: self.records, length });
        }
        self.buffer.resize(length as usize, 0);
        if read_fully(&mut self.input, &mut self.buffer)? != self.buffer.len() {
            return Err(PcapError::Truncated(self.records));
        }
        let seconds = u64::from(word(&header, 0, self.swapped));
        let fraction = u64::from(word(&header, 4, self.swapped));
        Ok(Some(PcapRecord {
            timestamp_ns: seconds * 1_000_000_000 + fraction * self.nanoseconds_per_unit,
            original_length: word(&header, 12, self.swapped),
            bytes: &self.buffer,
        }))
    }
}

/// Reads until the buffer is full or the input ends; returns how much.
fn read_fully(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match input.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn word(bytes: &[u8], offset: usize, swapped: bool) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[offset..offset + 4]);
    if swapped { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

/// The header of a file whose packets are cut at `snap_length` bytes.
pub fn file_header(snap_length: u32) -> [u8; FILE_HEADER_LENGTH] {
    let mut header = [0; FILE_HEADER_LENGTH];
    header[..4].copy_from_slice(&MAGIC_MICROSECONDS.to_le_bytes());
    header[4..6].copy_from_slice(&2u16.to_le_bytes());
    header[6..8].copy_from_slice(&4u16.to_le_bytes());
    header[16..20].copy_from_slice(&snap_length.to_le_bytes());
    header[20..].copy_from_slice(&LINK_TYPE_ETHERNET.to_le_bytes());
    header
}

/// The header of a packet of which `captured_length` bytes follow.
pub fn record_header(
    timestamp_ns: u64,
    captured_length: u32,
    original_length: u32,
) -> [u8; RECORD_HEADER_LENGTH] {
    let mut header = [0; RECORD_HEADER_LENGTH];
    let seconds = (timestamp_ns / 1_000_000_000) as u32;
    let microseconds = (timestamp_ns % 1_000_000_000 / 1000) as u32;
    header[..4].copy_from_slice(&seconds.to_le_bytes());
    header[4..8].copy_from_slice(&microseconds.to_le_bytes());
    header[8..12].copy_from_slice(&captured_length.to_le_bytes());
    header[12..].copy_from_slice(&original_length.to_le_bytes());
    header
}

/// Writes packets one after the other.
#[derive(Debug)]
pub struct PcapWriter<W> {
    output: W,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file's header.
    pub fn new(mut output: W) -> io::Result<Self> {
        output.write_all(&file_header(RECORD_LENGTH_MAX as u32))?;
        Ok(Self { output })
    }

    /// Writes a packet.
    pub fn write_record(&mut self, record: PcapRecord<'_>) -> io::Result<()> {
        let captured_length = record.bytes.len() as u32;
        self.output.write_all(&record_header(
            record.timestamp_ns,
            captured_length,
            record.original_length,
        ))?;
        self.output.write_all(record.bytes)
    }

    /// Hands all that is buffered to the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        MAGIC_NANOSECONDS, PcapError, PcapReader, PcapRecord, PcapWriter, RECORD_LENGTH_MAX, file_header,
        record_header,
    };

    const RECORD: PcapRecord<'static> =
        PcapRecord { timestamp_ns: 1_700_000_000_123_456_000, original_length: 1500, bytes: &[1, 2, 3] };

    fn file() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = PcapWriter::new(&mut bytes).unwrap();
        writer.write_record(RECORD).unwrap();
        writer.write_record(PcapRecord { bytes: &[], ..RECORD }).unwrap();
        bytes
    }

    /// The same file as the other byte order writes it.
    fn swapped(bytes: &[u8]) -> Vec<u8> {
        let mut swapped = bytes.to_vec();
        let words = [0, 8, 12, 16, 20, 24, 28, 32, 36].into_iter().chain([43, 47, 51, 55]);
        words.for_each(|start: usize| swapped[start..start + 4].reverse());
        swapped
    }

    #[test]
    fn reads_what_it_writes_in_both_byte_orders() {
        for bytes in [file(), swapped(&file())] {
            let mut reader = PcapReader::new(bytes.as_slice()).unwrap();
            assert_eq!(reader.next_record().unwrap(), Some(RECORD));
            assert_eq!(reader.next_record().unwrap().unwrap().bytes, []);
            assert_eq!(reader.next_record().unwrap(), None);
        }
    }

    #[test]
    fn reads_nanoseconds() {
        let mut bytes = file();
        bytes[..4].copy_from_slice(&MAGIC_NANOSECONDS.to_le_bytes());
        let mut reader = PcapReader::new(bytes.as_slice()).unwrap();
        let timestamp_ns = reader.next_record().unwrap().unwrap().timestamp_ns;
        assert_eq!(timestamp_ns, 1_700_000_000_000_123_456);
    }

    #[test]
    fn refuses_what_is_no_pcap_file() {
        assert!(matches!(PcapReader::new(&[0u8; 24][..]), Err(PcapError::Magic(0))));
        assert!(matches!(PcapReader::new(&[0u8; 3][..]), Err(PcapError::Io(_))));
        let mut other_link = file();
        other_link[20] = 101;
        assert!(matches!(PcapReader::new(other_link.as_slice()), Err(PcapError::LinkType(101))));
    }

    #[test]
    fn refuses_hostile_records() {
        let mut bytes = file_header(64).to_vec();
        bytes.extend(record_header(0, u32::MAX, 1));
        let mut reader = PcapReader::new(bytes.as_slice()).unwrap();
        assert!(matches!(reader.next_record(), Err(PcapError::RecordLength { record: 1, length: u32::MAX })));

        let whole = file();
        for length in 25..whole.len() {
            let mut reader = PcapReader::new(&whole[..length]).unwrap();
            let mut error = None;
            for _ in 0..2 {
                error = error.or(reader.next_record().err());
            }
            let complete = length == 24 + 16 + 3;
            assert_eq!(matches!(error, Some(PcapError::Truncated(_))), !complete, "{length} bytes");
        }

        let mut largest = file_header(64).to_vec();
        largest.extend(record_header(0, RECORD_LENGTH_MAX as u32, 1));
        largest.extend(vec![0; RECORD_LENGTH_MAX]);
        let mut reader = PcapReader::new(largest.as_slice()).unwrap();
        assert_eq!(reader.next_record().unwrap().unwrap().bytes.len(), RECORD_LENGTH_MAX);
    }
}
