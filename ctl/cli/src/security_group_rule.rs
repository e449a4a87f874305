//! Security group rules: create-sgr, list-sgrs and remove-sgr.

use clap::{Args, Subcommand, ValueEnum};
use edgestack_client::Kind;
use serde_json::{Map, Value};

use crate::error::CliError;
use crate::fields::{Fields, ListArgs, ShowArgs};
use crate::output::Table;
use crate::rule_text::{RuleText, parse_port_range, parse_protocol, shown_ports};
use crate::session::{Column, Noun, Session, World};
use crate::value::text;

/// What may be done with a rule.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Add a rule to a security group
    Create(CreateArgs),
    /// List rules
    #[command(alias = "ls")]
    List(ListRulesArgs),
    /// Show a rule
    Show(ShowArgs),
    /// Remove rules
    #[command(alias = "rm", alias = "delete")]
    Remove(RemoveRulesArgs),
}

/// Direction of a rule, seen from the workload.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Direction {
    /// To the workload
    Ingress,
    /// From the workload
    Egress,
}

/// Arguments of create-sgr.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name or id of the security group
    pub group: String,
    /// Seen from the workload
    #[arg(long, value_enum)]
    pub direction: Direction,
    /// tcp, udp, icmp, sctp, a protocol number, or all
    #[arg(long, value_name = "PROTOCOL", value_parser = parse_protocol, default_value = "all")]
    pub protocol: String,
    /// Destination port or range of ports
    #[arg(long, alias = "ports", value_name = "PORT[-PORT]", value_parser = parse_port_range)]
    pub port: Option<(u16, u16)>,
    /// ICMP type
    #[arg(long, value_name = "TYPE", conflicts_with = "port")]
    pub icmp_type: Option<u8>,
    /// ICMP code
    #[arg(long, value_name = "CODE", requires = "icmp_type")]
    pub icmp_code: Option<u8>,
    /// Addresses of the other side; everybody where left out
    #[arg(long, value_name = "CIDR")]
    pub remote_ip: Option<String>,
    /// Security group of the other side
    #[arg(long, value_name = "GROUP", conflicts_with = "remote_ip")]
    pub remote_sg: Option<String>,
    /// Kind of packets
    #[arg(long, value_name = "IPv4|all")]
    pub ether: Option<String>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Arguments of list-sgrs.
#[derive(Debug, Args)]
pub(crate) struct ListRulesArgs {
    #[command(flatten)]
    pub list: ListArgs,
    /// Only the rules of this security group
    #[arg(long, value_name = "GROUP")]
    pub sg: Option<String>,
}

/// Arguments of remove-sgr.
#[derive(Debug, Args)]
pub(crate) struct RemoveRulesArgs {
    /// Ids of rules; with --match, the security group
    #[arg(value_name = "RULE-ID", required = true)]
    pub names: Vec<String>,
    /// Remove the rules of the security group that this describes, like 'tcp 22'
    #[arg(long = "match", value_name = "RULE")]
    pub matching: Option<String>,
    /// What does not exist is no error
    #[arg(long)]
    pub if_exists: bool,
}

const NOUN: Noun = Noun {
    kind: Kind::SecurityGroupRule,
    columns: &[
        Column { title: "ID", wide: false, text: |rule, _| text(rule, "/id") },
        Column {
            title: "GROUP",
            wide: false,
            text: |rule, world| world.name(Kind::SecurityGroup, &text(rule, "/security_group_id")),
        },
        Column { title: "DIR", wide: false, text: |rule, _| text(rule, "/direction") },
        Column { title: "ETHER", wide: false, text: |rule, _| text(rule, "/ethernet_type") },
        Column { title: "PROTO", wide: false, text: |rule, _| text(rule, "/protocol") },
        Column { title: "PORTS", wide: false, text: |rule, _| shown_ports(rule) },
        Column { title: "REMOTE", wide: false, text: remote },
        Column { title: "DESCRIPTION", wide: true, text: |rule, _| text(rule, "/description") },
    ],
    needs: &[Kind::SecurityGroup],
    summary: |rule| {
        [text(rule, "/direction"), text(rule, "/protocol"), shown_ports(rule)].join(" ").trim().to_owned()
    },
    sections: |_, _| Vec::new(),
};

/// Does what the user asks of rules.
pub(crate) async fn run(session: &Session, verb: Verb) -> Result<(), CliError> {
    match verb {
        Verb::Create(args) => session.create(&NOUN, args.fields()).await.map(|_| ()),
        Verb::List(args) => {
            let group = match &args.sg {
                Some(name) => {
                    Some(session.client.get::<Value>(Kind::SecurityGroup, name).await?["id"].take())
                }
                None => None,
            };
            let keep =
                |rule: &Value, _: &World| group.as_ref().is_none_or(|id| rule["security_group_id"] == *id);
            session.list(&NOUN, &args.list.names, keep).await
        }
        Verb::Show(args) => session.show(&NOUN, &args.name).await,
        Verb::Remove(args) => remove(session, args).await,
    }
}

/// The rules of a group as a table.
pub(crate) fn table(rules: &[Value], world: &World) -> Table {
    let columns: Vec<&Column> =
        NOUN.columns.iter().filter(|column| !column.wide && column.title != "GROUP").collect();
    let mut table = Table::new(columns.iter().map(|column| column.title));
    for rule in rules {
        table.row(columns.iter().map(|column| (column.text)(rule, world)));
    }
    table
}

impl CreateArgs {
    fn fields(self) -> Map<String, Value> {
        let direction = match self.direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        let (first, last) = self.port.unzip();
        Fields::new()
            .set("security_group_id", Some(self.group))
            .set("direction", Some(direction))
            .set("protocol", Some(self.protocol))
            .set("port_range_min", first.or(self.icmp_type.map(u16::from)))
            .set("port_range_max", last.or(self.icmp_code.map(u16::from)))
            .set("ethernet_type", self.ether)
            .set("remote_ip_prefix", self.remote_ip)
            .set("remote_group_id", self.remote_sg)
            .set("description", self.description)
            .done()
    }
}

async fn remove(session: &Session, args: RemoveRulesArgs) -> Result<(), CliError> {
    let Some(matching) = &args.matching else {
        return session.remove(Kind::SecurityGroupRule, &args.names, args.if_exists).await;
    };
    let [group] = args.names.as_slice() else {
        return Err(CliError::usage(
            "--match goes with one security group",
            "remove-sgr GROUP --match 'tcp 22'",
        ));
    };
    let wanted = RuleText::parse(matching).map_err(|message| CliError::Usage { message, hint: None })?;
    let groups: Vec<Value> = session.client.list(Kind::SecurityGroup).await?.items;
    let group_name = |id: &str| {
        groups.iter().find(|group| group["id"] == id).map(|group| text(group, "/name")).unwrap_or_default()
    };
    let object: Value = session.client.get(Kind::SecurityGroup, group).await?;
    let rules: Vec<Value> = session.client.list(Kind::SecurityGroupRule).await?.items;
    let ids: Vec<String> = rules
        .iter()
        .filter(|rule| rule["security_group_id"] == object["id"] && wanted.matches(rule, group_name))
        .map(|rule| text(rule, "/id"))
        .collect();
    if ids.is_empty() && !args.if_exists {
        return Err(CliError::NotFound(format!("security group `{group}` has no rule `{matching}`")));
    }
    session.remove(Kind::SecurityGroupRule, &ids, args.if_exists).await
}

/// The other side of a rule.
fn remote(rule: &Value, world: &World) -> String {
    match (text(rule, "/remote_group_id"), text(rule, "/remote_ip_prefix")) {
        (group, _) if !group.is_empty() => format!("sg:{}", world.name(Kind::SecurityGroup, &group)),
        (_, prefix) if !prefix.is_empty() => prefix,
        _ => "any".to_owned(),
    }
}
