//! `edgectl doctor` and `edgectl version`: is the daemon there, does its dataplane carry what it should, and what
//! to do where not. Asks only; changes nothing.

use clap::Args;
use edgestack_client::ClientError;
use edgestack_dataplane::inspect::{CountersView, PortView};
use serde_json::{Value, json};

use crate::command::Action;
use crate::error::{CliError, exit};
use crate::output::print;
use crate::session::Session;
use crate::value::{count, percent, text};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What was found out, and what to do about it.
struct Finding {
    fine: bool,
    what: String,
    advice: Option<String>,
}

impl Finding {
    fn fine(what: impl Into<String>) -> Self {
        Self { fine: true, what: what.into(), advice: None }
    }

    fn wrong(what: impl Into<String>, advice: Option<String>) -> Self {
        Self { fine: false, what: what.into(), advice }
    }
}

/// Arguments of doctor.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {}

/// Arguments of version.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {}

impl Action for DoctorArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        check(session).await
    }
}

impl Action for VersionArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        version(session).await
    }
}

/// Prints the versions of both sides.
async fn version(session: &Session) -> Result<(), CliError> {
    let daemon = session.client.version().await;
    let answer = match &daemon {
        Ok(version) => serde_json::to_value(version).unwrap_or_default(),
        Err(_) => Value::Null,
    };
    if session.output.value(&json!({ "client": { "version": VERSION }, "daemon": answer }))? {
        return Ok(());
    }
    let daemon = match daemon {
        Ok(version) => version.version,
        Err(error) => format!("unknown: {error}"),
    };
    print(&format!("edgectl     {VERSION}\nedgestackd  {daemon}\n"))
}

/// Checks everything and prints what was found.
async fn check(session: &Session) -> Result<(), CliError> {
    let findings = findings(session).await;
    let fine = findings.iter().all(|finding| finding.fine);
    let output = &session.output;
    if output.is_structured() {
        let list: Vec<Value> = findings
            .iter()
            .map(|finding| json!({ "fine": finding.fine, "what": finding.what, "advice": finding.advice }))
            .collect();
        output.value(&json!({ "fine": fine, "findings": list }))?;
    } else {
        print(&lines(&findings, output.color))?;
    }
    if fine { Ok(()) } else { Err(CliError::Told(exit::GENERAL)) }
}

/// What was found, as text.
pub(crate) async fn report(session: &Session) -> String {
    lines(&findings(session).await, false)
}

fn lines(findings: &[Finding], color: bool) -> String {
    let mut lines = String::new();
    for finding in findings {
        lines.push_str(mark(finding.fine, color));
        lines.extend([" ", &finding.what, "\n"]);
        if let Some(advice) = &finding.advice {
            lines.extend(["    ", advice, "\n"]);
        }
    }
    lines
}

fn mark(fine: bool, color: bool) -> &'static str {
    match (fine, color) {
        (true, false) => "✓",
        (false, false) => "✗",
        (true, true) => "\u{1b}[32m✓\u{1b}[0m",
        (false, true) => "\u{1b}[31m✗\u{1b}[0m",
    }
}

async fn findings(session: &Session) -> Vec<Finding> {
    let client = &session.client;
    let socket = client.place();
    let version = match client.version().await {
        Ok(version) => version.version,
        Err(error) => return vec![wrong("the daemon does not answer", &error)],
    };
    let mut findings = vec![Finding::fine(format!("the daemon answers at {socket}"))];
    findings.push(if version == VERSION {
        Finding::fine(format!("edgectl and edgestackd are both {version}"))
    } else {
        Finding::wrong(
            format!("edgectl is {VERSION}, edgestackd is {version}"),
            Some("install the same version of both".to_owned()),
        )
    });
    findings.push(match client.text("/readyz").await {
        Ok(_) => Finding::fine("the daemon is ready"),
        Err(error) => wrong("the daemon is not ready", &error),
    });
    match client.ports().await {
        Ok(ports) => findings.extend(port_findings(&ports)),
        Err(error) => findings.push(wrong("the dataplane does not answer", &error)),
    }
    if let Ok(counters) = client.counters().await {
        findings.push(session_finding(&counters));
        findings.push(share_finding(&counters));
    }
    findings
}

fn wrong(what: &str, error: &ClientError) -> Finding {
    let advice = error.hint().or_else(|| {
        error
            .problem()
            .map(|problem| text(&serde_json::to_value(problem).unwrap_or_default(), "/errors/0/hint"))
    });
    Finding::wrong(format!("{what}: {error}"), advice.filter(|advice| !advice.is_empty()))
}

fn port_findings(ports: &[PortView]) -> Vec<Finding> {
    let up = ports.iter().filter(|port| port.state == "up").count();
    let mut findings = vec![Finding::fine(format!("{up} of {} ports of the dataplane are up", ports.len()))];
    for port in ports.iter().filter(|port| port.state != "up") {
        let advice = match &port.interface {
            Some(interface) => format!("ip link show {interface}"),
            None => format!("edgectl update-port {} --interface NAME", port.name),
        };
        let what = format!("port {} is {}: {}", port.name, port.state, port.reason);
        findings.push(Finding::wrong(what, Some(advice)));
    }
    findings
}

/// Tables that are nearly full lose sessions.
fn session_finding(counters: &CountersView) -> Finding {
    let (now, most) = (counters.sessions, counters.sessions_max);
    let what = format!("{} of at most {} sessions", count(now), count(most));
    if now * 10 > most * 9 {
        Finding::wrong(what, Some("raise the number of sessions in edgestackd's configuration".to_owned()))
    } else {
        Finding::fine(what)
    }
}

fn share_finding(counters: &CountersView) -> Finding {
    let all = counters.tier0_packets + counters.engine_packets;
    match percent(counters.tier0_packets, all).as_str() {
        "" => Finding::fine("no packet yet"),
        share => Finding::fine(format!("the kernel fast path carried {share} of {} packets", count(all))),
    }
}

#[cfg(test)]
mod tests {
    use edgestack_dataplane::inspect::CountersView;

    use super::{session_finding, share_finding};

    #[test]
    fn full_tables_are_found() {
        let counters = CountersView { sessions: 95, sessions_max: 100, ..CountersView::default() };
        assert!(!session_finding(&counters).fine);
        let counters = CountersView { sessions: 90, sessions_max: 100, ..CountersView::default() };
        assert!(session_finding(&counters).fine);
    }

    #[test]
    fn the_share_of_the_fast_path_is_told() {
        let counters = CountersView { tier0_packets: 3, engine_packets: 1, ..CountersView::default() };
        assert_eq!(share_finding(&counters).what, "the kernel fast path carried 75.0% of 4 packets");
        assert_eq!(share_finding(&CountersView::default()).what, "no packet yet");
    }
}
