//! `ping` from a namespace.

use crate::command::output;
use crate::error::LabError;
use crate::namespace::Namespace;

/// What `ping` reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingReport {
    /// Requests sent.
    pub sent: u32,
    /// Replies received.
    pub received: u32,
    /// The whole output, for messages.
    pub output: String,
}

impl PingReport {
    /// Every request was answered.
    pub fn all_answered(&self) -> bool {
        self.sent > 0 && self.received == self.sent
    }

    /// No request was answered.
    pub fn none_answered(&self) -> bool {
        self.sent > 0 && self.received == 0
    }
}

/// Sends `count` requests 20 ms apart to `target`, and waits a second for the last reply.
pub fn ping(from: &Namespace, target: &str, count: u32) -> Result<PingReport, LabError> {
    ping_with(from, target, count, "")
}

/// [`ping`] with further options of the program, such as `-t 1` or `-s 1400 -M do`.
pub fn ping_with(from: &Namespace, target: &str, count: u32, options: &str) -> Result<PingReport, LabError> {
    let line = format!("ping -n -c {count} -i 0.02 -W 1 {options} {target}");
    // Exit status 1 says that replies are missing, which the caller judges.
    let result = from.enter(|| output(&mut crate::command::words(&line)))??;
    let text =
        [result.stdout, result.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    parse(&text).ok_or(LabError::Unexpected { what: line, output: text })
}

fn parse(output: &str) -> Option<PingReport> {
    let summary = output.lines().find(|line| line.contains(" packets transmitted, "))?;
    let mut numbers = summary.split(", ").map(|part| part.split(' ').next());
    let sent = numbers.next()??.parse().ok()?;
    let received = numbers.next()??.parse().ok()?;
    Some(PingReport { sent, received, output: output.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_the_summary() {
        let report =
            parse("\n3 packets transmitted, 2 received, 33.3333% packet loss, time 40ms\n").expect("parsed");
        assert_eq!((report.sent, report.received), (3, 2));
        assert!(!report.all_answered() && !report.none_answered());
    }

    #[test]
    fn reads_a_summary_with_errors() {
        let text = "3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 40ms";
        assert!(parse(text).expect("parsed").none_answered());
        assert_eq!(parse("ping: connect: Network is unreachable"), None);
    }
}
