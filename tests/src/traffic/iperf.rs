//! `iperf3` between two namespaces.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::command::{Process, words};
use crate::error::LabError;
use crate::namespace::Namespace;
use crate::traffic::udp;
use crate::wait;

/// The port that the server listens on.
pub const IPERF_PORT: u16 = 5201;
/// Rate of a [`Stream`].
pub const STREAM_BITRATE: &str = "8M";
/// How long beyond the measured time a client may take.
const GRACE: Duration = Duration::from_secs(20);

/// What the client reported.
#[derive(Clone, Debug, PartialEq)]
pub struct IperfReport {
    /// Bits per second that the receiver got.
    pub bits_per_second: f64,
    /// TCP segments sent again; 0 for UDP.
    pub retransmits: u64,
    /// UDP datagrams lost; 0 for TCP.
    pub lost: u64,
    /// UDP datagrams sent; 0 for TCP.
    pub datagrams: u64,
    /// Bits per second of every second of the run, in order.
    pub intervals: Vec<f64>,
}

impl IperfReport {
    /// Gigabits per second.
    pub fn gigabits_per_second(&self) -> f64 {
        self.bits_per_second / 1e9
    }
}

/// Starts a server on `address` of `namespace` and waits until it listens. The address matters to UDP: from a socket of
/// all addresses the kernel would answer with whichever is nearest to the client.
pub fn server(namespace: &Namespace, address: &str, directory: &Path) -> Result<Process, LabError> {
    let log = directory.join(format!("iperf3-server-{}.log", namespace.name()));
    // What a server before this one said must not be taken for this one's word.
    if log.exists() {
        std::fs::remove_file(&log).map_err(LabError::system(format!("remove {}", log.display())))?;
    }
    let line = format!("iperf3 --server --forceflush --bind {address} --port {IPERF_PORT}");
    let server = namespace.enter(|| Process::start(&mut words(&line), &log))??;
    wait::until("iperf3 to listen", Duration::from_secs(5), || server.log().contains("Server listening"))?;
    Ok(server)
}

/// A client that runs in the background.
#[derive(Debug)]
pub struct IperfClient {
    process: Process,
    seconds: u64,
}

/// Starts a client from `namespace` to `target` for `seconds`, with further options such as `--parallel 4`,
/// `--reverse` or `--udp --bitrate 10M`.
pub fn start(
    namespace: &Namespace,
    target: &str,
    seconds: u64,
    options: &str,
    directory: &Path,
) -> Result<IperfClient, LabError> {
    let log = directory.join(format!("iperf3-client-{}.json", namespace.name()));
    // The log of an earlier client would be in front of this one's.
    let _ = std::fs::remove_file(&log);
    let line = format!(
        "iperf3 --client {target} --port {IPERF_PORT} --time {seconds} --connect-timeout 3000 --json {options}"
    );
    let process = namespace.enter(|| Process::start(&mut words(&line), &log))??;
    Ok(IperfClient { process, seconds })
}

impl IperfClient {
    /// Waits for the end and reads the report.
    pub fn finish(mut self) -> Result<IperfReport, LabError> {
        let output = self.process.finish(Duration::from_secs(self.seconds) + GRACE)?;
        parse(&output).ok_or(LabError::Unexpected { what: "iperf3".to_owned(), output })
    }
}

/// A UDP stream that is judged by what it loses, while something else happens.
#[derive(Debug)]
pub struct Stream {
    client: IperfClient,
    receiver: Namespace,
    overflows: u64,
}

/// What became of a [`Stream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams lost on the way: those that the receiver's own socket had no room for are not among them.
    pub lost: u64,
    /// Datagrams that the receiver's own socket had no room for.
    pub overflows: u64,
}

impl Stream {
    /// Starts a stream of [`STREAM_BITRATE`] from `sender` to `target`, an address of `receiver`, where a server runs.
    pub fn start(
        sender: &Namespace,
        receiver: &Namespace,
        target: &str,
        seconds: u64,
        directory: &Path,
    ) -> Result<Self, LabError> {
        let overflows = udp::receive_buffer_errors(receiver)?;
        let options = format!("--udp --bitrate {STREAM_BITRATE}");
        let client = start(sender, target, seconds, &options, directory)?;
        Ok(Self { client, receiver: Namespace::existing(receiver.name()), overflows })
    }

    /// Waits for the end.
    pub fn finish(self) -> Result<StreamReport, LabError> {
        let report = self.client.finish()?;
        let overflows = udp::receive_buffer_errors(&self.receiver)? - self.overflows;
        Ok(StreamReport { sent: report.datagrams, lost: report.lost.saturating_sub(overflows), overflows })
    }
}

impl StreamReport {
    /// Something was sent, and nothing of it lost.
    pub fn is_whole(&self) -> bool {
        self.sent > 0 && self.lost == 0
    }
}

impl std::fmt::Display for StreamReport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} of {} datagrams lost", self.lost, self.sent)?;
        if self.overflows > 0 {
            write!(formatter, " ({} more by the receiver's full socket)", self.overflows)?;
        }
        Ok(())
    }
}

/// Runs a client to its end.
pub fn run(
    namespace: &Namespace,
    target: &str,
    seconds: u64,
    options: &str,
    directory: &Path,
) -> Result<IperfReport, LabError> {
    start(namespace, target, seconds, options, directory)?.finish()
}

fn parse(output: &str) -> Option<IperfReport> {
    let report: Value = serde_json::from_str(output).ok()?;
    let end = report.get("end")?;
    let intervals = report.get("intervals")?.as_array()?;
    let intervals =
        intervals.iter().filter_map(|interval| interval["sum"]["bits_per_second"].as_f64()).collect();
    let whole = |value: &Value| value.as_u64().unwrap_or(0);
    if let Some(udp) = end.get("sum").filter(|sum| sum.get("lost_packets").is_some()) {
        let lost_percent = udp["lost_percent"].as_f64()?;
        return Some(IperfReport {
            bits_per_second: udp["bits_per_second"].as_f64()? * (100.0 - lost_percent) / 100.0,
            retransmits: 0,
            lost: whole(&udp["lost_packets"]),
            datagrams: whole(&udp["packets"]),
            intervals,
        });
    }
    Some(IperfReport {
        bits_per_second: end["sum_received"]["bits_per_second"].as_f64()?,
        retransmits: whole(&end["sum_sent"]["retransmits"]),
        lost: 0,
        datagrams: 0,
        intervals,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_tcp() {
        let text = r#"{"intervals":[{"sum":{"bits_per_second":2.0}}],
            "end":{"sum_sent":{"retransmits":3},"sum_received":{"bits_per_second":4e9}}}"#;
        let report = parse(text).expect("parsed");
        assert_eq!(report.retransmits, 3);
        assert!((report.gigabits_per_second() - 4.0).abs() < 1e-9);
        assert_eq!(report.intervals, [2.0]);
    }

    #[test]
    fn reads_udp_with_loss() {
        let text = r#"{"intervals":[],"end":{"sum":{"bits_per_second":1000.0,"lost_packets":1,"packets":4,
            "lost_percent":25.0}}}"#;
        let report = parse(text).expect("parsed");
        assert_eq!((report.lost, report.datagrams), (1, 4));
        assert!((report.bits_per_second - 750.0).abs() < 1e-9);
    }

    #[test]
    fn an_error_is_not_a_report() {
        assert_eq!(parse(r#"{"error":"unable to connect"}"#), None);
    }
}
