//! `network-cli capture`: the packets of a port into a pcap file.
//!
//! Only whole records are written, so that the file is well formed whenever the capture ends: after so many
//! packets, with Ctrl-C, or because the daemon went away.

use std::fs::File;
use std::io::{self, IsTerminal, Write};

use clap::Args;
use edgestack_client::CaptureQuery;

use crate::error::CliError;
use crate::session::Session;

/// Length of a pcap file's header.
const FILE_HEADER_BYTES: usize = 24;
/// Length of a record's header.
const RECORD_HEADER_BYTES: usize = 16;
/// Longest record that makes sense; more means that the stream is no pcap file.
const RECORD_BYTES_MAX: usize = 256 * 1024;

/// Arguments of capture.
#[derive(Debug, Args)]
#[command(after_help = "\
Watch it live:  edgectl network-cli capture web-1 -w - | tcpdump -nr -")]
pub(crate) struct CaptureArgs {
    /// Port whose packets are wanted
    pub port: String,
    /// File to write; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub write: String,
    /// End after so many packets
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// Captures until the count is reached, Ctrl-C, or the daemon ends it.
pub(crate) async fn run(session: &Session, args: &CaptureArgs) -> Result<(), CliError> {
    let to_stdout = args.write == "-";
    if to_stdout && io::stdout().is_terminal() {
        return Err(CliError::usage("a pcap file is not for a terminal", "pipe it on, like | tcpdump -nr -"));
    }
    // Asked first, so that a wrong port leaves no empty file.
    let query = CaptureQuery { port: args.port.clone(), limit_packets: args.count };
    let mut stream = session.client.capture(&query).await?;
    let file_error = |source| {
        if to_stdout { CliError::Output(source) } else { CliError::File { path: args.write.clone(), source } }
    };
    let mut sink: Box<dyn Write> = if to_stdout {
        Box::new(io::stdout())
    } else {
        Box::new(File::create(&args.write).map_err(file_error)?)
    };
    if !session.output.quiet {
        eprintln!("capturing on {}; Ctrl-C ends it", args.port);
    }
    let mut records = Records::default();
    let result = loop {
        let chunk = tokio::select! {
            _ = tokio::signal::ctrl_c() => break Ok(()),
            chunk = stream.next() => match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break Ok(()),
                Err(error) => break Err(CliError::from(error)),
            },
        };
        let whole = records.push(&chunk)?;
        sink.write_all(&whole).and_then(|()| sink.flush()).map_err(file_error)?;
        if args.count.is_some_and(|count| records.packets >= count) {
            break Ok(());
        }
    };
    if !session.output.quiet {
        let plural = if records.packets == 1 { "" } else { "s" };
        let place = if to_stdout { String::new() } else { format!(" in {}", args.write) };
        eprintln!("{} packet{plural}{place}", records.packets);
    }
    result
}

/// Cuts a pcap stream into whole records.
#[derive(Debug, Default)]
struct Records {
    header_seen: bool,
    pending: Vec<u8>,
    packets: u64,
}

impl Records {
    /// Takes the next bytes of the stream and returns those that are whole now.
    fn push(&mut self, chunk: &[u8]) -> Result<Vec<u8>, CliError> {
        self.pending.extend_from_slice(chunk);
        let mut whole = 0;
        if !self.header_seen {
            if self.pending.len() < FILE_HEADER_BYTES {
                return Ok(Vec::new());
            }
            self.header_seen = true;
            whole = FILE_HEADER_BYTES;
        }
        while let Some(length) = record_length(&self.pending[whole..]) {
            if length > RECORD_BYTES_MAX {
                let source = io::Error::new(io::ErrorKind::InvalidData, "the daemon sent no pcap file");
                return Err(CliError::File { path: "capture".to_owned(), source });
            }
            if self.pending.len() - whole < length {
                break;
            }
            whole += length;
            self.packets += 1;
        }
        Ok(self.pending.drain(..whole).collect())
    }
}

/// Length of the record that begins here, header and all; none while its header is not whole. The daemon writes
/// pcap files in little-endian order.
fn record_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(..RECORD_HEADER_BYTES)?.get(8..12)?;
    Some(RECORD_HEADER_BYTES + u32::from_le_bytes(length.try_into().ok()?) as usize)
}

#[cfg(test)]
mod tests {
    use super::Records;

    /// A pcap file with packets of these lengths.
    fn file(lengths: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1];
        bytes.resize(24, 0);
        for length in lengths {
            bytes.extend([0; 8]);
            bytes.extend(length.to_le_bytes());
            bytes.extend(length.to_le_bytes());
            bytes.extend(std::iter::repeat_n(0x55, *length as usize));
        }
        bytes
    }

    #[test]
    fn only_whole_records_come_out_however_the_stream_is_cut() {
        let bytes = file(&[60, 0, 1500]);
        for size in [1, 7, 16, 24, 100, bytes.len()] {
            let mut records = Records::default();
            let mut written = Vec::new();
            for chunk in bytes.chunks(size) {
                written.extend(records.push(chunk).unwrap());
                assert!([0, 24, 100, 116, bytes.len()].contains(&written.len()), "{} bytes", written.len());
            }
            assert_eq!(written, bytes);
            assert_eq!(records.packets, 3);
        }
    }

    #[test]
    fn what_is_no_pcap_file_is_refused() {
        let mut records = Records::default();
        assert!(records.push(&[0xff; 64]).is_err());
    }
}
