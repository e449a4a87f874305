//! `edgectl test-ping`: does one workload reach another one, and which rule, route, mapping or ARP step is in the way.
//!
//! Nothing is sent: the packet that is described goes through the dataplane's own decisions (`network-cli trace`). So
//! it says what the gateway does, not whether the workload answers.

use std::net::IpAddr;

use clap::Args;
use edgestack_client::Kind;
use edgestack_dataplane::inspect::{TraceReport, TraceRequest};
use serde_json::{Value, json};

use crate::command::Action;
use crate::error::{CliError, exit};
use crate::network_cli::with_rules_written_out;
use crate::output::{Table, print};
use crate::session::Session;
use crate::value::text;

/// Source port of the packet.
const SOURCE_PORT: u16 = 40_000;

/// Arguments of test-ping.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  edgectl test-ping web-1 db-1
  edgectl test-ping web-1 db-1 --port 5432/tcp
  edgectl test-ping web-1 8.8.8.8
Exit codes: 0 reached, 1 not. Nothing is sent: the dataplane says what it would do with the packet.")]
pub(crate) struct TestPingArgs {
    /// Port of the workload that sends
    #[arg(value_name = "PORT")]
    pub source: String,
    /// Port or floating IP that is to be reached, by name, or any address
    #[arg(value_name = "DESTINATION")]
    pub destination: String,
    /// Instead of a ping: a port like 80/tcp or 53/udp
    #[arg(long, value_name = "NUMBER/PROTOCOL", value_parser = parse_service)]
    pub port: Option<(u16, String)>,
    /// Length of the IP packet in bytes
    #[arg(long, value_name = "BYTES")]
    pub size: Option<u16>,
}

/// `80/tcp`; tcp where the protocol is left out.
fn parse_service(text: &str) -> Result<(u16, String), String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp") {
        return Err(format!("`{protocol}` is not tcp or udp"));
    }
    let port = port.parse().map_err(|_| format!("`{port}` is no port (1 to 65535)"))?;
    if port == 0 { Err("0 is no port (1 to 65535)".to_owned()) } else { Ok((port, protocol)) }
}

/// What is to be reached.
struct Destination {
    address: IpAddr,
    /// The port whose workload has it, where it is known.
    port: Option<String>,
}

impl Action for TestPingArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let destination = find(session, &self.destination).await?;
        let (destination_port, protocol) = self.port.clone().unwrap_or((0, "icmp".to_owned()));
        let request = TraceRequest {
            port: self.source.clone(),
            protocol,
            source: None,
            destination: destination.address,
            source_port: if destination_port == 0 { 1 } else { SOURCE_PORT },
            destination_port,
            tcp_flags: None,
            source_mac: None,
            destination_mac: None,
            ttl: None,
            length: self.size,
        };
        let mut report = session.client.trace(&request).await?;
        with_rules_written_out(session, &mut report).await;
        let verdict = Verdict::of(&self, &destination, &report);
        let body = json!({
            "source": self.source, "destination": destination.address, "reached": verdict.reached,
            "verdict": verdict.text, "stage": verdict.stage, "reason": report.reason, "advice": verdict.advice,
            "steps": report.steps,
        });
        if !session.output.value(&body)? {
            print(&shown(&report, &verdict, session.output.color))?;
        }
        if verdict.reached { Ok(()) } else { Err(CliError::Told(exit::GENERAL)) }
    }
}

/// An address as it is; else the port of that name; else the floating IP.
async fn find(session: &Session, name: &str) -> Result<Destination, CliError> {
    if let Ok(address) = name.parse() {
        return Ok(Destination { address, port: None });
    }
    let has_no_address = || CliError::NotFound(format!("`{name}` has no address yet"));
    match session.client.get::<Value>(Kind::Port, name).await {
        Ok(port) => {
            let address = text(&port, "/ip_address").parse().map_err(|_| has_no_address())?;
            return Ok(Destination { address, port: Some(text(&port, "/name")) });
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    match session.client.get::<Value>(Kind::FloatingIp, name).await {
        Ok(fip) => {
            let address = text(&fip, "/floating_ip").parse().map_err(|_| has_no_address())?;
            let port = Some(text(&fip, "/instance_name")).filter(|port| !port.is_empty());
            Ok(Destination { address, port })
        }
        Err(error) if error.is_not_found() => {
            Err(CliError::NotFound(format!("there is neither a port nor a floating IP `{name}`")))
        }
        Err(error) => Err(error.into()),
    }
}

/// What the trace comes to.
struct Verdict {
    reached: bool,
    text: String,
    stage: String,
    advice: Option<String>,
}

impl Verdict {
    fn of(args: &TestPingArgs, destination: &Destination, report: &TraceReport) -> Self {
        let last = report.steps.last();
        let stage = last.map(|step| step.stage.clone()).unwrap_or_default();
        let decision = last.map(|step| step.decision.clone()).unwrap_or_default();
        let (from, to) = (&args.source, &args.destination);
        let (reached, text, advice) = match report.verdict.as_str() {
            "forward" => {
                let way = report.out_port.clone().unwrap_or_default();
                match &destination.port {
                    Some(port) if *port != way => (
                        false,
                        format!("{from} does not reach {to}: the packet leaves by port {way}"),
                        Some("its address is somebody else's there, or behind a router".to_owned()),
                    ),
                    _ => (true, format!("{from} reaches {to} by port {way}"), None),
                }
            }
            "respond" => (true, format!("{from} is answered by the gateway itself"), None),
            "hold" => (
                false,
                format!("{from} does not reach {to} yet: {decision}"),
                Some("edgectl network-cli show neighbours".to_owned()),
            ),
            _ => {
                let reason = report.reason.clone().unwrap_or_default();
                let advice = advice(&reason, args);
                (
                    false,
                    format!("{from} does not reach {to}: {stage} drops it ({reason}): {decision}"),
                    advice,
                )
            }
        };
        Self { reached, text, stage, advice }
    }
}

/// What to do about a drop.
fn advice(reason: &str, args: &TestPingArgs) -> Option<String> {
    let rule = match &args.port {
        Some((port, protocol)) => format!("--protocol {protocol} --port {port}"),
        None => "--protocol icmp".to_owned(),
    };
    Some(match reason {
        "firewall_ingress" => format!("edgectl create-sgr GROUP --direction ingress {rule}"),
        "firewall_egress" => format!("edgectl create-sgr GROUP --direction egress {rule}"),
        "no_router" => "edgectl update-router ROUTER --add-net NETWORK".to_owned(),
        "no_route" => "edgectl show-router ROUTER: the other network must be connected to it".to_owned(),
        "no_snat" => "edgectl update-router ROUTER --snat, or edgectl create-fip".to_owned(),
        "no_mapping" => "edgectl create-fip, or open the connection from inside".to_owned(),
        "unknown_destination" => "edgectl list-ports: nobody has that address in the network".to_owned(),
        "neighbour_unresolved" => {
            "edgectl network-cli show neighbours: the next hop does not answer ARP".to_owned()
        }
        "port_down" => "edgectl list-ports: one of the ports is down, or has no interface".to_owned(),
        "packet_too_big" => "send less, or raise the MTU of the network".to_owned(),
        _ => return None,
    })
}

fn shown(report: &TraceReport, verdict: &Verdict, color: bool) -> String {
    let mut steps = Table::new(Vec::<String>::new());
    for step in &report.steps {
        steps.row([step.stage.clone(), step.decision.clone()]);
    }
    let (mark, code) = if verdict.reached { ("✓", "32;1") } else { ("✗", "31;1") };
    let mut line = format!("{mark} {}", verdict.text);
    if color {
        line = format!("\u{1b}[{code}m{line}\u{1b}[0m");
    }
    let advice = verdict.advice.as_ref().map(|advice| format!("  {advice}\n")).unwrap_or_default();
    [&steps.render(false, false), "\n", &line, "\n", &advice].concat()
}

#[cfg(test)]
mod tests {
    use edgestack_dataplane::inspect::{TraceReport, TraceStep};

    use super::{Destination, TestPingArgs, Verdict, parse_service};

    fn verdict(verdict: &str, reason: Option<&str>, out_port: Option<&str>, port: Option<&str>) -> Verdict {
        let args = TestPingArgs {
            source: "a".to_owned(),
            destination: "b".to_owned(),
            port: Some((80, "tcp".to_owned())),
            size: None,
        };
        let report = TraceReport {
            verdict: verdict.to_owned(),
            reason: reason.map(str::to_owned),
            out_port: out_port.map(str::to_owned),
            packet_out: None,
            steps: vec![TraceStep {
                stage: "firewall_ingress".to_owned(),
                decision: "no rule allows it".to_owned(),
            }],
        };
        let destination = Destination { address: "10.0.0.2".parse().unwrap(), port: port.map(str::to_owned) };
        Verdict::of(&args, &destination, &report)
    }

    #[test]
    fn a_verdict_names_what_is_in_the_way() {
        let reached = verdict("forward", None, Some("b"), Some("b"));
        assert!(reached.reached);
        assert_eq!(reached.text, "a reaches b by port b");
        let elsewhere = verdict("forward", None, Some("wan"), Some("b"));
        assert!(!elsewhere.reached && elsewhere.text.contains("leaves by port wan"));
        let dropped = verdict("drop", Some("firewall_ingress"), None, Some("b"));
        assert_eq!(
            dropped.text,
            "a does not reach b: firewall_ingress drops it (firewall_ingress): no rule allows it"
        );
        assert_eq!(
            dropped.advice.as_deref(),
            Some("edgectl create-sgr GROUP --direction ingress --protocol tcp --port 80")
        );
        let held = verdict("hold", None, None, None);
        assert!(!held.reached && held.advice.is_some());
    }

    #[test]
    fn services_have_a_port_and_a_protocol() {
        assert_eq!(parse_service("80/tcp"), Ok((80, "tcp".to_owned())));
        assert_eq!(parse_service("53/UDP"), Ok((53, "udp".to_owned())));
        assert_eq!(parse_service("22"), Ok((22, "tcp".to_owned())));
        for wrong in ["0", "x/tcp", "80/icmp", "70000"] {
            assert!(parse_service(wrong).is_err(), "{wrong}");
        }
    }
}
