//! Compares the frames that left with those that a case expects.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::case::OneOrMany;
use crate::notation::names::Names;
use crate::notation::print::{differences, print};
use crate::notation::{self, build::build};

/// Frames by the id of the port that they left by, in order.
pub(crate) type Frames = BTreeMap<String, Vec<Vec<u8>>>;

/// Says how `observed` differs from `expected`; an empty text when it does not.
pub(crate) fn compare(
    expected: &BTreeMap<String, OneOrMany>,
    observed: &Frames,
    names: &Names,
) -> Result<String, notation::NotationError> {
    let mut report = String::new();
    let nothing = Vec::new();
    for (written, texts) in expected {
        // `port?`: the packets may leave or not, but no others.
        let port = written.trim_end_matches('?');
        let frames = observed.get(port).unwrap_or(&nothing);
        for (index, text) in texts.texts().iter().enumerate() {
            let Some(frame) = frames.get(index) else {
                if port == written {
                    let _ = writeln!(report, "  {port}: missing  {text}");
                }
                continue;
            };
            let wanted = build(&notation::parse(text)?, names, Some(frame))?;
            if &wanted != frame {
                report_difference(&mut report, port, &wanted, frame, names);
            }
        }
        for frame in frames.iter().skip(texts.texts().len()) {
            let _ = writeln!(report, "  {port}: too many {}", print(frame, names));
        }
    }
    for (port, frames) in observed.iter().filter(|(port, _)| !is_expected(expected, port)) {
        for frame in frames {
            let _ = writeln!(report, "  {port}: too many {}", print(frame, names));
        }
    }
    Ok(report)
}

fn is_expected(expected: &BTreeMap<String, OneOrMany>, port: &str) -> bool {
    expected.keys().any(|written| written.trim_end_matches('?') == port)
}

fn report_difference(report: &mut String, port: &str, wanted: &[u8], frame: &[u8], names: &Names) {
    let _ = writeln!(report, "  {port}: expected {}", print(wanted, names));
    let _ = writeln!(report, "  {port}: got      {}", print(frame, names));
    let lines = differences(wanted, frame, names);
    for line in &lines {
        let _ = writeln!(report, "      {line}");
    }
    if lines.is_empty() {
        let at = wanted.iter().zip(frame).position(|(left, right)| left != right);
        let at = at.unwrap_or(wanted.len().min(frame.len()));
        let _ =
            writeln!(report, "      bytes differ from {at} on; {} and {} long", wanted.len(), frame.len());
    }
}
