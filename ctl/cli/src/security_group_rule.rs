//! Security group rules: create-sgr, list-sgrs and remove-sgr.

use clap::{Args, ValueEnum};
use edgestack_client::Kind;
use serde_json::{Map, Value};

use crate::command::Action;
use crate::error::CliError;
use crate::fields::{Fields, RemoveArgs};
use crate::noun::{Column, Create, Filter, Noun, Verb, World};
use crate::output::Table;
use crate::rule_text::{RuleText, parse_port_range, parse_protocol, shown_ports};
use crate::session::Session;
use crate::value::text;

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
    /// ICMP type by number or name, like echo-request
    #[arg(long, value_name = "TYPE", conflicts_with = "port")]
    pub icmp_type: Option<String>,
    /// ICMP code by number or name, like port-unreachable
    #[arg(long, value_name = "CODE", requires = "icmp_type")]
    pub icmp_code: Option<String>,
    /// Addresses of the other side; everybody where left out
    #[arg(long, value_name = "CIDR")]
    pub remote_ip: Option<String>,
    /// Security group of the other side
    #[arg(long, value_name = "GROUP", conflicts_with = "remote_ip")]
    pub remote_sg: Option<String>,
    /// Address group of the other side
    #[arg(long, value_name = "GROUP", conflicts_with_all = ["remote_ip", "remote_sg"])]
    pub remote_address_group: Option<String>,
    /// Version of IP; that of the rest where left out
    #[arg(long, value_name = "IPv4|IPv6|all")]
    pub ether: Option<String>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Arguments of list-sgrs.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only the rules of this security group
    #[arg(long, value_name = "GROUP")]
    pub sg: Option<String>,
}

/// Arguments of remove-sgr.
#[derive(Debug, Args)]
pub(crate) struct RemoveRulesArgs {
    #[command(flatten)]
    pub remove: RemoveArgs,
    /// Remove the rules of the security group that this describes, like 'tcp 22'
    #[arg(long = "match", value_name = "RULE")]
    pub matching: Option<String>,
}

/// Rules in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::SecurityGroupRule,
    word: "sgr",
    plural: "sgrs",
    aliases: &["security-group-rule"],
    title: "Their rules",
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
    needs: &[Kind::SecurityGroup, Kind::AddressGroup],
    address_field: None,
    summary: |rule| {
        [text(rule, "/direction"), text(rule, "/protocol"), shown_ports(rule)].join(" ").trim().to_owned()
    },
    sections: |_, _| Vec::new(),
    verbs: &[
        Verb::create::<CreateArgs>("Add a rule to a security group"),
        Verb::list::<FilterArgs>("List rules"),
        Verb::show("Show a rule"),
        Verb::action::<RemoveRulesArgs>(
            "remove",
            "Remove rules: by id, or those of a group that --match describes",
        )
        .or(&["rm", "delete"]),
    ],
};

impl Filter for FilterArgs {
    const NEEDS: &'static [Kind] = &[Kind::SecurityGroup];

    fn checks(&self, world: &World) -> Result<(), CliError> {
        match &self.sg {
            Some(name) if group_of(name, world).is_none() => {
                Err(CliError::NotFound(format!("there is no security group `{name}`")))
            }
            _ => Ok(()),
        }
    }

    fn keeps(&self, rule: &Value, world: &World) -> bool {
        let group = self.sg.as_ref().and_then(|name| group_of(name, world));
        group.is_none_or(|group| group["id"] == rule["security_group_id"])
    }
}

/// The group of a name or an id.
fn group_of<'a>(name: &str, world: &'a World) -> Option<&'a Value> {
    world.of(Kind::SecurityGroup).iter().find(|group| group["name"] == name || group["id"] == name)
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

impl Create for CreateArgs {
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
            .set("port_range_min", first.map(Value::from).or(self.icmp_type.map(Value::from)))
            .set("port_range_max", last.map(Value::from).or(self.icmp_code.map(Value::from)))
            .set("ethernet_type", self.ether)
            .set("remote_ip_prefix", self.remote_ip)
            .set("remote_address_group_id", self.remote_address_group)
            .set("remote_group_id", self.remote_sg)
            .set("description", self.description)
            .done()
    }
}

impl Action for RemoveRulesArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let Some(matching) = &self.matching else { return session.remove(&NOUN, &self.remove).await };
        let names = matching_rules(session, matching, &self.remove).await?;
        session.remove(&NOUN, &RemoveArgs { names, ..self.remove }).await
    }
}

/// The ids of the rules that `matching` describes.
async fn matching_rules(
    session: &Session,
    matching: &str,
    args: &RemoveArgs,
) -> Result<Vec<String>, CliError> {
    let [group] = args.names.as_slice() else {
        return Err(CliError::usage(
            "--match goes with one security group",
            "remove-sgr GROUP --match 'tcp 22'",
        ));
    };
    let wanted = RuleText::parse(matching).map_err(|message| CliError::Usage { message, hint: None })?;
    let groups: Vec<Value> = session.client.list(Kind::SecurityGroup).await?.items;
    // A text that names addresses means one of the other kind; ids tell them apart.
    let address_groups: Vec<Value> = session.client.list(Kind::AddressGroup).await?.items;
    let group_name = |id: &str| {
        groups
            .iter()
            .chain(&address_groups)
            .find(|group| group["id"] == id)
            .map(|group| text(group, "/name"))
            .unwrap_or_default()
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
    Ok(ids)
}

/// The other side of a rule.
fn remote(rule: &Value, world: &World) -> String {
    match (text(rule, "/remote_group_id"), text(rule, "/remote_ip_prefix")) {
        (group, _) if !group.is_empty() => format!("sg:{}", world.name(Kind::SecurityGroup, &group)),
        _ if !text(rule, "/remote_address_group_id").is_empty() => {
            let group = text(rule, "/remote_address_group_id");
            format!("ag:{}", world.name(Kind::AddressGroup, &group))
        }
        (_, prefix) if !prefix.is_empty() => prefix,
        _ => "any".to_owned(),
    }
}
