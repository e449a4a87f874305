//! `network-cli trace`: what would happen to a packet, stage by stage; with `--live`, what does happen to those that pass.

use clap::Args;
use edgestack_client::Kind;
use edgestack_dataplane::address::MacAddress;
use edgestack_dataplane::inspect::{LiveTraceRequest, LiveTraceView, TraceReport, TraceRequest};
use serde_json::{Value, json};

use super::trace_text;
use crate::error::{CliError, exit};
use crate::output::{Table, print};
use crate::rule_text::RuleText;
use crate::session::Session;

/// Arguments of trace.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  edgectl network-cli trace web-1 'tcp 10.0.0.5:4000>10.0.0.9:80'
  edgectl network-cli trace web-1 'icmp 8.8.8.8' --ttl 1
  edgectl network-cli trace web-1 'sctp > 198.51.100.7:443'
  edgectl network-cli trace --live --port web-1 'tcp 10.0.0.9:80' --count 5
The source is the port's own where left out. With --expect the exit code says whether the verdict is the one expected.")]
pub(crate) struct TraceArgs {
    /// Port by which the packet comes in, and the packet: PROTOCOL [SOURCE[:PORT]>]DESTINATION[:PORT]. With --live only the
    /// latter, as a filter: the protocol alone, or with what addresses and ports are to be
    #[arg(value_name = "PORT PACKET", required_unless_present = "live", num_args = 1..)]
    pub words: Vec<String>,
    /// Trace packets that really pass, until --count of them have or a minute is over
    #[arg(long, conflicts_with_all = ["ttl", "tcp_flags", "length", "src_mac", "dst_mac", "expect"])]
    pub live: bool,
    /// With --live: only packets that come in by this port; where left out, some ports at a time are looked at
    #[arg(long = "port", value_name = "PORT", requires = "live")]
    pub in_port: Option<String>,
    /// With --live: end after so many packets [default: 10]
    #[arg(long, value_name = "NUMBER", requires = "live", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub count: Option<u64>,
    /// Time to live
    #[arg(long, value_name = "NUMBER")]
    pub ttl: Option<u8>,
    /// TCP flags, any of SAFRPU; S where left out
    #[arg(long, value_name = "FLAGS", value_parser = parse_flags)]
    pub tcp_flags: Option<String>,
    /// Length of the IP packet in bytes
    #[arg(long, value_name = "BYTES")]
    pub length: Option<u16>,
    /// Source MAC address; the port's own where left out
    #[arg(long, value_name = "MAC")]
    pub src_mac: Option<MacAddress>,
    /// Destination MAC address; where left out, the one that the workload would use
    #[arg(long, value_name = "MAC")]
    pub dst_mac: Option<MacAddress>,
    /// Fail unless the verdict is this one
    #[arg(long, value_name = "forward|drop|respond|hold")]
    pub expect: Option<String>,
}

/// Asks for a trace and prints it.
pub(crate) async fn run(session: &Session, args: TraceArgs) -> Result<(), CliError> {
    if args.live {
        return run_live(session, args).await;
    }
    let usage = |message| CliError::Usage { message, hint: None };
    let (port, packet) = args.words.split_first().ok_or_else(|| usage("the port is missing".to_owned()))?;
    let packet = trace_text::parse(&packet.join(" ")).map_err(usage)?;
    if args.tcp_flags.is_some() && packet.protocol != "tcp" {
        return Err(CliError::usage("--tcp-flags goes with tcp", "leave it out"));
    }
    let request = TraceRequest {
        port: port.clone(),
        protocol: packet.protocol,
        source: packet.source,
        destination: packet.destination,
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        tcp_flags: args.tcp_flags,
        source_mac: args.src_mac,
        destination_mac: args.dst_mac,
        ttl: args.ttl,
        length: args.length,
    };
    let mut report = session.client.trace(&request).await?;
    let output = &session.output;
    if !output.is_structured() {
        write_rules_out(session, &mut report).await;
    }
    if output.is_name() {
        print(&format!("{}\n", report.verdict))?;
    } else if !output.value(&json!(report))? {
        print(&text(described(&request), &report, output.color))?;
    }
    match args.expect {
        Some(expected) if expected != report.verdict => {
            eprintln!("error[unexpected_verdict]: the verdict is {}, not {expected}", report.verdict);
            Err(CliError::Told(exit::GENERAL))
        }
        _ => Ok(()),
    }
}

/// Prints what becomes of packets that pass, one by one.
async fn run_live(session: &Session, args: TraceArgs) -> Result<(), CliError> {
    let filter = trace_text::parse_filter(&args.words.join(" "))
        .map_err(|message| CliError::Usage { message, hint: None })?;
    let request = LiveTraceRequest { port: args.in_port, count: args.count, ..filter };
    let mut stream = session.client.live_trace(&request).await?;
    let mut pending = Vec::new();
    loop {
        let chunk = tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            chunk = stream.next() => chunk?,
        };
        let Some(chunk) = chunk else { return Ok(()) };
        pending.extend_from_slice(&chunk);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            print_live(session, &line).await?;
        }
    }
}

async fn print_live(session: &Session, line: &[u8]) -> Result<(), CliError> {
    let mut record: LiveTraceView = serde_json::from_slice(line).map_err(|error| CliError::Usage {
        message: format!("the daemon's answer cannot be read: {error}"),
        hint: Some("edgectl and edgestackd may be of different versions".to_owned()),
    })?;
    let output = &session.output;
    if output.is_name() {
        print(&format!("{}\n", record.report.verdict))
    } else if output.is_structured() {
        output.value(&json!(record)).map(|_| ())
    } else {
        write_rules_out(session, &mut record.report).await;
        let heading = format!("{} into port {}\n", record.packet, record.in_port);
        print(&text(heading, &record.report, output.color))
    }
}

/// Rules have ids for names; people know them by what they say. Without an answer the ids stay.
pub(crate) async fn write_rules_out(session: &Session, report: &mut TraceReport) {
    if !report.steps.iter().any(|step| step.decision.contains(" rule ")) {
        return;
    }
    let rules = session.client.list::<Value>(Kind::SecurityGroupRule).await.unwrap_or_default().items;
    let groups = session.client.list::<Value>(Kind::SecurityGroup).await.unwrap_or_default().items;
    for step in &mut report.steps {
        step.decision = with_rules_written_out(&step.decision, &rules, &groups);
    }
}

/// A decision in which `rule ID` is `rule 'ingress tcp 22'`.
fn with_rules_written_out(decision: &str, rules: &[Value], groups: &[Value]) -> String {
    let mut words: Vec<String> = decision.split(' ').map(str::to_owned).collect();
    for index in 1..words.len() {
        if words[index - 1] != "rule" {
            continue;
        }
        if let Some(rule) = rules.iter().find(|rule| rule["id"] == *words[index]) {
            let mut rule = rule.clone();
            if let Some(group) = groups.iter().find(|group| group["id"] == rule["remote_group_id"]) {
                rule["remote_group_id"] = group["name"].clone();
            }
            words[index] = format!("'{}'", RuleText::of(&rule));
        }
    }
    words.join(" ")
}

/// The packet, every stage with its decision, and the verdict last, where the eye is.
fn text(heading: String, report: &TraceReport, color: bool) -> String {
    let mut steps = Table::new(Vec::<String>::new());
    let width = report.steps.len().to_string().len();
    for (index, step) in report.steps.iter().enumerate() {
        steps.row([format!("{:>width$}", index + 1), step.stage.clone(), step.decision.clone()]);
    }
    let mut lines = vec![heading, steps.render(false, false), verdict(report, color)];
    lines.extend(report.packet_out.as_ref().map(|packet| format!("  leaves as {packet}")));
    lines.push(String::new());
    lines.join("\n")
}

fn described(request: &TraceRequest) -> String {
    let source = request.source.map_or_else(|| "(its address)".to_owned(), |address| address.to_string());
    match request.protocol.as_str() {
        "icmp" => format!("icmp echo {source} > {} into port {}\n", request.destination, request.port),
        protocol => format!(
            "{protocol} {source}:{} > {}:{} into port {}\n",
            request.source_port, request.destination, request.destination_port, request.port
        ),
    }
}

fn verdict(report: &TraceReport, color: bool) -> String {
    let (mark, code) = match report.verdict.as_str() {
        "forward" | "respond" => ("✓", "32;1"),
        "drop" => ("✗", "31;1"),
        _ => ("…", "33;1"),
    };
    let mut text = format!("{mark} {}", report.verdict.to_uppercase());
    if let Some(port) = &report.out_port {
        text.push_str(&[" to port ", port].concat());
    }
    if let Some(reason) = &report.reason {
        text.push_str(&[": ", reason].concat());
    }
    if color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text }
}

fn parse_flags(text: &str) -> Result<String, String> {
    let flags = text.to_ascii_uppercase();
    match flags.chars().find(|flag| !"SAFRPU".contains(*flag)) {
        Some(flag) => Err(format!("`{flag}` is no TCP flag; any of S A F R P U")),
        None if flags.is_empty() => Err("at least one of S A F R P U".to_owned()),
        None => Ok(flags),
    }
}

#[cfg(test)]
mod tests {
    use edgestack_dataplane::inspect::{TraceReport, TraceRequest, TraceStep};

    use serde_json::json;

    use super::{described, parse_flags, text, with_rules_written_out};

    #[test]
    fn a_trace_ends_with_its_verdict() {
        let request = TraceRequest {
            port: "web-1".into(),
            protocol: "tcp".into(),
            source: None,
            destination: "10.0.1.9".parse().unwrap(),
            source_port: 40_000,
            destination_port: 22,
            tcp_flags: None,
            source_mac: None,
            destination_mac: None,
            ttl: None,
            length: None,
        };
        let step = |stage: &str, decision: &str| TraceStep { stage: stage.into(), decision: decision.into() };
        let report = TraceReport {
            verdict: "drop".into(),
            reason: Some("security_group_ingress".into()),
            out_port: None,
            packet_out: None,
            steps: vec![
                step("admit", "source is the port's own"),
                step("firewall", "no rule of `db` allows it"),
            ],
        };
        assert_eq!(
            text(described(&request), &report, false),
            "tcp (its address):40000 > 10.0.1.9:22 into port web-1\n\n\
             1  admit     source is the port's own\n\
             2  firewall  no rule of `db` allows it\n\n\
             ✗ DROP: security_group_ingress\n"
        );
        let report = TraceReport {
            verdict: "forward".into(),
            reason: None,
            out_port: Some("db-1".into()),
            packet_out: Some("IP 10.0.0.5 > 10.0.1.9".into()),
            steps: Vec::new(),
        };
        let text = text(described(&request), &report, false);
        assert!(text.ends_with("✓ FORWARD to port db-1\n  leaves as IP 10.0.0.5 > 10.0.1.9\n"), "{text}");
    }

    #[test]
    fn rules_are_told_by_what_they_say() {
        let rule = json!({"id": "7", "direction": "ingress", "protocol": "tcp", "port_range_min": 22,
            "port_range_max": 22, "remote_group_id": "9"});
        let groups = [json!({"id": "9", "name": "web"})];
        let shown = |decision: &str| with_rules_written_out(decision, std::slice::from_ref(&rule), &groups);
        assert_eq!(
            shown("allowed by rule 7 of group db of port db-1"),
            "allowed by rule 'ingress tcp 22 from sg:web' of group db of port db-1"
        );
        assert_eq!(shown("no rule of group 7"), "no rule of group 7");
        assert_eq!(shown("by rule 8"), "by rule 8");
    }

    #[test]
    fn flags_are_letters() {
        assert_eq!(parse_flags("sa").as_deref(), Ok("SA"));
        assert!(parse_flags("SX").unwrap_err().contains("`X`"));
        assert!(parse_flags("").is_err());
    }
}
