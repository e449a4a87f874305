//! `network-cli show`: the dataplane's tables.

use std::time::Duration;

use clap::{Args, ValueEnum};
use edgestack_dataplane::inspect::{
    CountersView, DropView, FlowView, LoadBalancerView, NatView, NeighbourView, PortView, RuleHitsView,
};
use serde::Serialize;
use serde_json::json;

use super::clear::FilterArgs;
use crate::error::CliError;
use crate::output::{Table, print, to_yaml};
use crate::session::Session;
use crate::value::{age, bytes, count, percent};

/// Flows asked for unless the user says otherwise.
const FLOWS_DEFAULT: usize = 1000;

/// A table of the dataplane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableName {
    /// Ports, their state and their counters
    Ports,
    /// Connections, each direction apart
    #[value(alias = "conntrack")]
    Flows,
    /// Address translations
    Nat,
    /// Load balancers: their members, who gets connections, and how many each has
    #[value(alias = "lb", alias = "load-balancers")]
    Lbs,
    /// Rules of load balancers, and what each has balanced
    LbRules,
    /// Neighbours on external networks
    #[value(alias = "neighbors", alias = "arp")]
    Neighbours,
    /// Drops by reason
    Drops,
    /// Rules of security groups, and what each has allowed
    Rules,
    /// Counters of the whole dataplane
    Counters,
    /// The configuration that packets are decided by
    Snapshot,
}

/// Arguments of show.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Table
    #[arg(value_enum)]
    pub table: TableName,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Flows: at most this many
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<usize>,
    /// Drops and rules: also those that never happened
    #[arg(long)]
    pub all: bool,
    /// Show again every so many seconds, until Ctrl-C
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1")]
    pub watch: Option<f64>,
}

/// Shows a table, once or again and again.
pub(crate) async fn run(session: &Session, args: &ShowArgs) -> Result<(), CliError> {
    let Some(seconds) = args.watch else { return print(&text(session, args).await?) };
    let pause = Duration::try_from_secs_f64(seconds.max(0.1))
        .map_err(|_| CliError::usage(format!("{seconds} is no number of seconds"), "--watch 2"))?;
    loop {
        let text = text(session, args).await?;
        // On a terminal: clear it and start at the top.
        let clear = if session.output.color { "\u{1b}[2J\u{1b}[H" } else { "" };
        print(&[clear, &text].concat())?;
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn text(session: &Session, args: &ShowArgs) -> Result<String, CliError> {
    let client = &session.client;
    match args.table {
        TableName::Ports => {
            let wide = session.output.wide();
            let ports = client.ports().await?;
            list_text(session, "ports", &ports, |port| port.name.clone(), |ports| ports_table(ports, wide))
        }
        TableName::Flows => {
            let flows = flows(session, args).await?;
            list_text(session, "flows", &flows, |flow| flow.session.to_string(), flows_table)
        }
        TableName::Nat => {
            list_text(session, "nat", &client.nat().await?, |nat| nat.external_ip.to_string(), nat_table)
        }
        TableName::Lbs => {
            let balancers = client.load_balancers().await?;
            list_text(session, "load_balancers", &balancers, |one| one.name.clone(), load_balancers_table)
        }
        TableName::LbRules => {
            let balancers = client.load_balancers().await?;
            list_text(session, "load_balancers", &balancers, |one| one.name.clone(), balancer_rules_table)
        }
        TableName::Neighbours => {
            let neighbours = client.neighbours().await?;
            list_text(session, "neighbours", &neighbours, |one| one.ip_address.to_string(), neighbours_table)
        }
        TableName::Drops => {
            let mut drops = client.drops().await?;
            drops.retain(|drop| args.all || drop.packets > 0);
            drops.sort_by_key(|drop| std::cmp::Reverse(drop.packets));
            list_text(session, "drops", &drops, |drop| drop.reason.clone(), drops_table)
        }
        TableName::Rules => {
            let mut rules = client.rule_hits().await?;
            rules.retain(|rule| args.all || rule.hits > 0);
            rules.sort_by_key(|rule| std::cmp::Reverse(rule.hits));
            list_text(session, "rules", &rules, |rule| rule.id.clone(), rules_table)
        }
        TableName::Counters => {
            let counters = client.counters().await?;
            let body = json!({ "counters": counters });
            session.output.text(&body).unwrap_or_else(|| Ok(counters_text(&counters)))
        }
        TableName::Snapshot => {
            let body = json!({ "snapshot": client.snapshot().await? });
            session.output.text(&body).unwrap_or_else(|| to_yaml(&body))
        }
    }
}

fn list_text<T: Serialize>(
    session: &Session,
    key: &str,
    items: &[T],
    name: impl Fn(&T) -> String,
    table: impl Fn(&[T]) -> Table,
) -> Result<String, CliError> {
    let output = &session.output;
    if output.is_name() {
        return Ok(items.iter().map(|item| name(item) + "\n").collect());
    }
    output
        .list_text(&json!({ key: items }), key)
        .unwrap_or_else(|| Ok(table(items).render(!output.no_headers, output.color)))
}

async fn flows(session: &Session, args: &ShowArgs) -> Result<Vec<FlowView>, CliError> {
    let limit = args.limit.unwrap_or(FLOWS_DEFAULT);
    let mut flows = session.client.flows(&args.filter.filter()?, limit).await?;
    flows.truncate(limit);
    Ok(flows)
}

fn ports_table(ports: &[PortView], wide: bool) -> Table {
    let mut titles = vec![
        "PORT",
        "KIND",
        "NETWORK",
        "INTERFACE",
        "STATE",
        "ATTACHED",
        "RX",
        "TIER0",
        "TX",
        "DROPPED",
        "REASON",
    ];
    if wide {
        titles.extend(["NUMBER", "IP", "MAC", "MTU", "RX-BYTES", "TX-BYTES", "EPOCH"]);
    }
    let mut table = Table::new(titles);
    for port in ports {
        let counters = &port.counters;
        let received = counters.tier0_packets + counters.engine_packets;
        let mut row = vec![
            port.name.clone(),
            port.kind.clone(),
            port.network.clone(),
            port.interface.clone().unwrap_or_default(),
            port.state.clone(),
            port.attached.clone(),
            count(received),
            percent(counters.tier0_packets, received),
            count(counters.transmitted_packets),
            count(counters.dropped_packets),
            port.reason.clone(),
        ];
        if wide {
            row.extend([
                port.number.to_string(),
                port.ip_address.map(|address| address.to_string()).unwrap_or_default(),
                port.mac_address.map(|mac| mac.to_string()).unwrap_or_default(),
                port.mtu.to_string(),
                bytes(counters.tier0_bytes + counters.engine_bytes),
                bytes(counters.transmitted_bytes),
                port.epoch.to_string(),
            ]);
        }
        table.row(row);
    }
    table
}

fn flows_table(flows: &[FlowView]) -> Table {
    let mut table = Table::new([
        "SESSION",
        "DIR",
        "PROTO",
        "STATE",
        "IN",
        "SOURCE",
        "DESTINATION",
        "SENT AS",
        "OUT",
        "PACKETS",
        "TIER0",
        "BYTES",
        "IDLE",
    ]);
    for flow in flows {
        let sent_as: Vec<String> = [("from", &flow.translated_source), ("to", &flow.translated_destination)]
            .into_iter()
            .filter(|(_, end)| !end.is_empty())
            .map(|(word, end)| format!("{word} {}", shown_end(flow, end)))
            .collect();
        let carried = if flow.packets == 0 && flow.tier0 {
            "yes".to_owned()
        } else {
            percent(flow.tier0_packets, flow.packets)
        };
        table.row([
            flow.session.to_string(),
            flow.direction.clone(),
            flow.protocol.clone(),
            flow.state.clone(),
            flow.in_port.clone(),
            shown_end(flow, &flow.source),
            shown_end(flow, &flow.destination),
            sent_as.join(" "),
            flow.out_port.clone(),
            count(flow.packets),
            carried,
            bytes(flow.bytes),
            age(flow.idle_seconds),
        ]);
    }
    table
}

/// An end of a flow; of ICMP only one end has a number, the identifier.
fn shown_end(flow: &FlowView, end: &str) -> String {
    let end = if flow.protocol == "icmp" { end.strip_suffix(":0").unwrap_or(end) } else { end };
    end.to_owned()
}

fn nat_table(translations: &[NatView]) -> Table {
    let mut table = Table::new(["KIND", "ROUTER", "EXTERNAL", "INTERNAL", "SESSIONS", "PORTS", "OUT", "IN"]);
    for nat in translations {
        table.row([
            nat.kind.clone(),
            nat.router.clone(),
            nat.external_ip.to_string(),
            nat.internal_ip.map(|address| address.to_string()).unwrap_or_default(),
            count(nat.sessions),
            ports(nat),
            count(nat.packets_out),
            count(nat.packets_in),
        ]);
    }
    table
}

/// A line for each member.
fn load_balancers_table(balancers: &[LoadBalancerView]) -> Table {
    let mut table = Table::new([
        "LB",
        "NETWORK",
        "VIP",
        "MEMBER",
        "WEIGHT",
        "BACKUP",
        "HEALTH",
        "TAKES",
        "SESSIONS",
        "CONNECTIONS",
        "IN",
        "OUT",
        "IN-BYTES",
        "OUT-BYTES",
    ]);
    for balancer in balancers {
        for member in &balancer.members {
            table.row([
                balancer.name.clone(),
                balancer.network.clone(),
                balancer.vip.to_string(),
                member.name.clone(),
                member.weight.to_string(),
                member.backup.to_string(),
                if member.port.is_some() { member.health.clone() } else { "absent".to_owned() },
                member.takes.to_string(),
                count(member.sessions),
                count(member.connections),
                count(member.packets_in),
                count(member.packets_out),
                bytes(member.bytes_in),
                bytes(member.bytes_out),
            ]);
        }
    }
    table
}

/// A line for each rule.
fn balancer_rules_table(balancers: &[LoadBalancerView]) -> Table {
    let titles =
        ["LB", "VIP", "RULE", "TARGET", "CONNECTIONS", "SESSIONS", "IN", "OUT", "IN-BYTES", "OUT-BYTES"];
    let mut table = Table::new(titles);
    for balancer in balancers {
        for rule in &balancer.rules {
            let ports = match (rule.port_range_min, rule.port_range_max) {
                (Some(first), Some(last)) if first != last => format!(":{first}-{last}"),
                (Some(first), _) => format!(":{first}"),
                (None, _) => String::new(),
            };
            table.row([
                balancer.name.clone(),
                balancer.vip.to_string(),
                format!("{}{ports}", rule.protocol),
                rule.target_port.map(|port| port.to_string()).unwrap_or_default(),
                count(rule.connections),
                count(rule.sessions),
                count(rule.packets_in),
                count(rule.packets_out),
                bytes(rule.bytes_in),
                bytes(rule.bytes_out),
            ]);
        }
    }
    table
}

/// The share of an address's ports in use towards the remote endpoint that has most; `!` from its high-water mark on.
fn ports(nat: &NatView) -> String {
    if nat.ports_max == 0 {
        return String::new();
    }
    let mark = if nat.nearly_exhausted { "!" } else { "" };
    format!("{}/{}{mark}", nat.ports_used, nat.ports_max)
}

fn neighbours_table(neighbours: &[NeighbourView]) -> Table {
    let mut table = Table::new(["NETWORK", "IP", "MAC", "STATE", "AGE"]);
    for neighbour in neighbours {
        table.row([
            neighbour.network.clone(),
            neighbour.ip_address.to_string(),
            neighbour.mac_address.map(|mac| mac.to_string()).unwrap_or_default(),
            neighbour.state.clone(),
            age(neighbour.age_seconds),
        ]);
    }
    table
}

fn drops_table(drops: &[DropView]) -> Table {
    let mut table = Table::new(["REASON", "STAGE", "PACKETS", "MEANING"]);
    for drop in drops {
        table.row([&drop.reason, &drop.stage, &count(drop.packets), &drop.description].map(String::as_str));
    }
    table
}

fn rules_table(rules: &[RuleHitsView]) -> Table {
    let mut table = Table::new(["RULE", "SECURITY GROUP", "HITS"]);
    for rule in rules {
        table.row([&rule.id, &rule.security_group, &count(rule.hits)].map(String::as_str));
    }
    table
}

fn counters_text(counters: &CountersView) -> String {
    let all = counters.tier0_packets + counters.engine_packets;
    let of_all = |packets: u64| match percent(packets, all) {
        share if share.is_empty() => count(packets),
        share => format!("{} ({share})", count(packets)),
    };
    let mut table = Table::new(Vec::<String>::new());
    for (title, text) in [
        ("Packets by tier 0 (kernel)", of_all(counters.tier0_packets)),
        ("Packets by the engine", of_all(counters.engine_packets)),
        ("  by a known flow", count(counters.engine_hits)),
        ("  decided", count(counters.engine_decisions)),
        ("  answered", count(counters.engine_responses)),
        ("Dropped by both", of_all(counters.dropped_packets)),
        ("Sessions", format!("{} of at most {}", count(counters.sessions), count(counters.sessions_max))),
        ("  made", count(counters.sessions_created)),
        ("  timed out", count(counters.sessions_expired)),
        ("  evicted", count(counters.sessions_evicted)),
        ("  revoked by a change", count(counters.sessions_revoked)),
        ("Flows decided again", count(counters.revalidations)),
        ("Denied packets logged", count(counters.denials_logged)),
        ("  over the log's limit", count(counters.denials_suppressed)),
    ] {
        table.row([title.to_owned(), text]);
    }
    table.render(false, false)
}

#[cfg(test)]
mod tests {
    use edgestack_dataplane::inspect::{BalancerRuleView, FlowView, LoadBalancerView};

    use super::{balancer_rules_table, flows_table};

    fn flow() -> FlowView {
        FlowView {
            session: 7,
            direction: "original".into(),
            protocol: "tcp".into(),
            state: "established".into(),
            in_port: "web-1".into(),
            source: "10.0.0.5:4000".into(),
            destination: "198.51.100.9:80".into(),
            translated_source: "203.0.113.2:4000".into(),
            translated_destination: String::new(),
            out_port: "wan".into(),
            tier0: true,
            packets: 20_000,
            tier0_packets: 19_990,
            bytes: 3 << 20,
            idle_seconds: 0.1,
        }
    }

    #[test]
    fn a_flow_is_one_line() {
        assert_eq!(
            flows_table(&[flow()]).render(false, false),
            "7  original  tcp  established  web-1  10.0.0.5:4000  198.51.100.9:80  from 203.0.113.2:4000  wan  20.0k  \
             100.0%  3.00 MiB  0.1s\n"
        );
    }

    #[test]
    fn a_rule_of_a_load_balancer_is_one_line() {
        let rule = BalancerRuleView {
            id: "1".into(),
            protocol: "sctp".into(),
            port_range_min: Some(38_412),
            port_range_max: Some(38_413),
            target_port: Some(2905),
            sessions: 2,
            connections: 30,
            packets_in: 4000,
            packets_out: 0,
            bytes_in: 3 << 20,
            bytes_out: 0,
        };
        let balancer = LoadBalancerView {
            id: String::new(),
            name: "n2".into(),
            network: "core".into(),
            vip: [10, 0, 0, 100].into(),
            rules: vec![rule],
            members: Vec::new(),
        };
        let line = balancer_rules_table(&[balancer]).render(false, false);
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..6], ["n2", "10.0.0.100", "sctp:38412-38413", "2905", "30", "2"]);
        assert_eq!(words[6..8], ["4000", "0"]);
    }
}
