//! What the log says of ports that came up or began to wait: a line for each while they are few, one line for all of them where
//! they are many, as at the start of a host with thousands of ports.
//!
//! Called by the plugger whenever it has looked at all ports.

/// Ports that have a line each.
const LINES_MAX: usize = 8;
/// Ports that are named where there is one line for all.
const NAMED_MAX: usize = 4;

/// A port that came up, or why it waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change<'a> {
    pub(super) port: &'a str,
    /// Empty where it came up.
    pub(super) waiting: &'a str,
    pub(super) interface: Option<&'a str>,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Up(&'a Change<'a>),
    ManyUp { ports: usize, first: String },
    Waiting(&'a Change<'a>),
    ManyWaiting { ports: usize, first: String },
}

/// Tells of the ports that changed in one look.
pub(super) fn tell(changes: &[Change<'_>]) {
    for line in lines(changes) {
        match line {
            Line::Up(change) => {
                tracing::info!(port = change.port, interface = change.interface, "the port is up");
            }
            Line::ManyUp { ports, first } => tracing::info!(ports, first, "ports are up"),
            Line::Waiting(change) => {
                tracing::warn!(port = change.port, reason = change.waiting, "the port is waiting");
            }
            Line::ManyWaiting { ports, first } => tracing::warn!(ports, first, "ports are waiting"),
        }
    }
}

fn lines<'a>(changes: &'a [Change<'a>]) -> Vec<Line<'a>> {
    let (up, waiting): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.waiting.is_empty());
    let mut lines = Vec::new();
    if up.len() > LINES_MAX {
        let first = named(up.iter().map(|change| change.port.to_owned()));
        lines.push(Line::ManyUp { ports: up.len(), first });
    } else {
        lines.extend(up.into_iter().map(Line::Up));
    }
    if waiting.len() > LINES_MAX {
        let first = named(waiting.iter().map(|change| format!("{} ({})", change.port, change.waiting)));
        lines.push(Line::ManyWaiting { ports: waiting.len(), first });
    } else {
        lines.extend(waiting.into_iter().map(Line::Waiting));
    }
    lines
}

/// The first ones, and how many more there are.
fn named(mut ports: impl ExactSizeIterator<Item = String>) -> String {
    let mut first: Vec<String> = ports.by_ref().take(NAMED_MAX).collect();
    if ports.len() > 0 {
        first.push(format!("{} more", ports.len()));
    }
    first.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Change, LINES_MAX, Line, lines};

    #[test]
    fn few_ports_have_a_line_each_and_many_have_one() {
        let names: Vec<String> = (0..10_000).map(|number| format!("p{number}")).collect();
        let changes = |count: usize, waiting: &'static str| -> Vec<Change<'_>> {
            names[..count].iter().map(|port| Change { port, waiting, interface: Some("veth0") }).collect()
        };
        let few = changes(LINES_MAX, "down");
        assert!(lines(&few).into_iter().eq(few.iter().map(Line::Waiting)));
        let first = "p0 (down), p1 (down), p2 (down), p3 (down), 9996 more".to_owned();
        assert_eq!(lines(&changes(10_000, "down")), [Line::ManyWaiting { ports: 10_000, first }]);
        let mut both = changes(LINES_MAX + 1, "");
        both.extend(changes(1, "down"));
        let first = "p0, p1, p2, p3, 5 more".to_owned();
        let many = Line::ManyUp { ports: LINES_MAX + 1, first };
        assert_eq!(lines(&both), [many, Line::Waiting(&both[LINES_MAX + 1])]);
        assert!(lines(&[]).is_empty());
    }
}
