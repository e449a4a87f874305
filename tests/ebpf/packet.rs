//! Packets written by hand, with checksums computed the plain way: nothing of the code under test is used.

/// Where the headers and their fields are in the frames made here.
pub(crate) const TIME_TO_LIVE: usize = 22;
pub(crate) const IPV4_CHECKSUM: usize = 24;
pub(crate) const TRANSPORT: usize = 34;

/// A transport header.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    /// With these flags.
    Tcp { flags: u8 },
    /// With a checksum, or without.
    Udp { checksum: bool },
    /// Type; the identifier is the source port.
    Icmp { kind: u8 },
}

pub(crate) const TCP_FIN: u8 = 0x01;
pub(crate) const TCP_SYN: u8 = 0x02;
pub(crate) const TCP_RST: u8 = 0x04;
pub(crate) const TCP_PSH: u8 = 0x08;
pub(crate) const TCP_ACK: u8 = 0x10;

/// What a packet says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) ethernet_source: [u8; 6],
    pub(crate) ethernet_destination: [u8; 6],
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) time_to_live: u8,
    pub(crate) transport: Transport,
    pub(crate) payload_length: usize,
}

impl Frame {
    /// The packet as bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut frame = [self.ethernet_destination, self.ethernet_source].concat();
        frame.extend([0x08, 0x00]);
        let transport = self.transport_bytes();
        let total_length = (20 + transport.len()) as u16;
        let protocol = match self.transport {
            Transport::Tcp { .. } => 6,
            Transport::Udp { .. } => 17,
            Transport::Icmp { .. } => 1,
        };
        let mut header = vec![0x45, 0];
        header.extend(total_length.to_be_bytes());
        header.extend([0x12, 0x34, 0x40, 0, self.time_to_live, protocol, 0, 0]);
        header.extend(self.source);
        header.extend(self.destination);
        let checksum = !sum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend(header);
        frame.extend(transport);
        frame
    }

    fn transport_bytes(&self) -> Vec<u8> {
        let payload: Vec<u8> = (0..self.payload_length).map(|index| index as u8).collect();
        let [source, destination] = [self.source_port.to_be_bytes(), self.destination_port.to_be_bytes()];
        let (mut bytes, checksum_offset, protocol) = match self.transport {
            Transport::Tcp { flags } => {
                let rest = [0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
                ([&source[..], &destination, &rest].concat(), 16, Some(6u8))
            }
            Transport::Udp { .. } => {
                let length = (8 + self.payload_length as u16).to_be_bytes();
                ([&source[..], &destination, &length, &[0, 0]].concat(), 6, Some(17))
            }
            Transport::Icmp { kind } => ([&[kind, 0, 0, 0][..], &source, &[0, 7]].concat(), 2, None),
        };
        bytes.extend(payload);
        if matches!(self.transport, Transport::Udp { checksum: false }) {
            return bytes;
        }
        let mut covered = Vec::new();
        if let Some(protocol) = protocol {
            covered.extend(self.source);
            covered.extend(self.destination);
            covered.extend([0, protocol]);
            covered.extend((bytes.len() as u16).to_be_bytes());
        }
        covered.extend(&bytes);
        let mut checksum = !sum(&covered);
        if protocol == Some(17) && checksum == 0 {
            checksum = 0xffff;
        }
        bytes[checksum_offset..checksum_offset + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

/// The ones' complement sum of big-endian words.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for word in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Writes the IPv4 header's checksum anew, after a test changed the header.
pub(crate) fn fix_ipv4_checksum(frame: &mut [u8]) {
    frame[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].fill(0);
    let checksum = !sum(&frame[14..34]);
    frame[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
}
