//! A port that replays a pcap file and records what is sent to it.
//!
//! Packets that do not fit in a frame are counted and left out. A damaged file ends the replay there; the error
//! is kept for whoever asks. Never used for real traffic.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::Path;

use super::memory::PACKET_LENGTH_MAX;
use super::pcap_file::{PcapError, PcapReader, PcapRecord, PcapWriter};
use crate::packet::{FramePool, Packet};

/// Replays one file and writes another; either may be missing.
#[derive(Debug, Default)]
pub struct PcapPort {
    reader: Option<PcapReader<BufReader<File>>>,
    writer: Option<PcapWriter<BufWriter<File>>>,
    error: Option<PcapError>,
    /// Time of the packet received last; what is sent is stamped with it, so that a replay is repeatable.
    timestamp_ns: u64,
    oversized_packets: u64,
}

impl PcapPort {
    /// Opens the file to replay and makes the one to write.
    pub fn open(input: Option<&Path>, output: Option<&Path>) -> Result<Self, PcapError> {
        let open = |path| PcapReader::new(BufReader::new(File::open(path)?));
        let create = |path| -> io::Result<_> { PcapWriter::new(BufWriter::new(File::create(path)?)) };
        Ok(Self {
            reader: input.map(open).transpose()?,
            writer: output.map(create).transpose()?,
            ..Self::default()
        })
    }

    /// Nothing is left to replay.
    pub fn is_finished(&self) -> bool {
        self.reader.is_none()
    }

    /// Why the replay or the recording ended early, if it did.
    pub fn error(&self) -> Option<&PcapError> {
        self.error.as_ref()
    }

    /// Packets left out because no frame holds them.
    pub fn oversized_packets(&self) -> u64 {
        self.oversized_packets
    }

    pub(super) fn receive(
        &mut self,
        pool: &mut FramePool,
        in_port: u16,
        batch: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        let before = batch.len();
        while batch.len() - before < max {
            let Some(reader) = &mut self.reader else { break };
            let Some(mut packet) = pool.allocate(in_port) else { break };
            match reader.next_record() {
                Ok(Some(record)) if record.bytes.len() <= PACKET_LENGTH_MAX => {
                    self.timestamp_ns = record.timestamp_ns;
                    pool.write(&mut packet, record.bytes);
                    batch.push(packet);
                    continue;
                }
                Ok(Some(_)) => self.oversized_packets += 1,
                Ok(None) => self.reader = None,
                Err(error) => {
                    self.reader = None;
                    self.error = Some(error);
                }
            }
            pool.free(packet);
        }
        batch.len() - before
    }

    pub(super) fn transmit(&mut self, pool: &mut FramePool, packet: Packet) -> Result<(), Packet> {
        let Some(writer) = &mut self.writer else { return Err(packet) };
        let bytes = pool.data(&packet);
        let original_length = bytes.len() as u32;
        let record = PcapRecord { timestamp_ns: self.timestamp_ns, original_length, bytes };
        if let Err(error) = writer.write_record(record) {
            self.writer = None;
            self.error = Some(error.into());
            return Err(packet);
        }
        pool.free(packet);
        Ok(())
    }

    pub(super) fn flush(&mut self) {
        if let Some(Err(error)) = self.writer.as_mut().map(PcapWriter::flush) {
            self.writer = None;
            self.error = Some(error.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PcapPort;
    use crate::io::Port;
    use crate::io::pcap_file::{PcapRecord, PcapWriter, RECORD_LENGTH_MAX};
    use crate::packet::FramePool;

    #[test]
    fn replays_one_file_into_another() {
        let directory = std::env::temp_dir().join(format!("edgestack-pcap-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (input, output) = (directory.join("in.pcap"), directory.join("out.pcap"));
        let mut file = Vec::new();
        let mut writer = PcapWriter::new(&mut file).unwrap();
        let long = vec![9; RECORD_LENGTH_MAX];
        for (second, bytes) in [(1, [1u8; 60].as_slice()), (2, &long), (3, &[3; 60])] {
            let timestamp_ns = second * 1_000_000_000;
            writer.write_record(PcapRecord { timestamp_ns, original_length: 60, bytes }).unwrap();
        }
        std::fs::write(&input, &file).unwrap();

        let mut pool = FramePool::new(4).unwrap();
        let mut port = Port::Pcap(Box::new(PcapPort::open(Some(&input), Some(&output)).unwrap()));
        let mut batch = Vec::new();
        assert_eq!(port.receive(&mut pool, 1, &mut batch, 32), 2, "the oversized packet is left out");
        for packet in batch.drain(..) {
            port.transmit(&mut pool, packet).unwrap();
        }
        port.flush();
        assert_eq!(pool.available(), pool.capacity());
        let Port::Pcap(port) = port else { unreachable!() };
        assert!(port.is_finished() && port.error().is_none());
        assert_eq!(port.oversized_packets(), 1);
        assert_eq!(std::fs::read(&output).unwrap().len(), 24 + 2 * (16 + 60));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
