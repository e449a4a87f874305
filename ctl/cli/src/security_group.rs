//! Security groups: create-sg, list-sgs, show-sg, update-sg and remove-sg.

use clap::{Args, Subcommand};
use edgestack_client::Kind;
use serde_json::{Map, Value};

use crate::error::CliError;
use crate::fields::{Fields, ListArgs, RemoveArgs, ShowArgs};
use crate::rule_text::RuleText;
use crate::security_group_rule;
use crate::session::{Column, Noun, Section, Session, World};
use crate::value::{list, name, text};

/// What may be done with a security group.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create a security group
    Create(CreateArgs),
    /// List security groups
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show a security group and its rules
    Show(ShowArgs),
    /// Change a security group
    Update(UpdateArgs),
    /// Remove security groups
    #[command(alias = "rm", alias = "delete")]
    Remove(RemoveArgs),
}

/// Arguments of create-sg.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the group
    pub name: String,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Arguments of update-sg.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Name or id of the group
    pub group: String,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What create and update have in common.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Rule, like 'ingress tcp 22 from 0.0.0.0/0' (may be repeated; an update replaces all rules)
    #[arg(long = "rule", value_name = "RULE", value_parser = parse_rule)]
    pub rules: Vec<Value>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

const NOUN: Noun = Noun {
    kind: Kind::SecurityGroup,
    columns: &[
        Column { title: "NAME", wide: false, text: |group, _| name(group) },
        Column { title: "RULES", wide: false, text: |group, _| list(group, "/rules").len().to_string() },
        Column { title: "USED-BY", wide: false, text: |group, world| users(group, world).to_string() },
        Column { title: "DESCRIPTION", wide: false, text: |group, _| text(group, "/description") },
        Column { title: "STATUS", wide: true, text: |group, _| text(group, "/status/phase") },
        Column { title: "ID", wide: true, text: |group, _| text(group, "/id") },
    ],
    needs: &[Kind::Port, Kind::SecurityGroup],
    summary: |group| format!("{} rules", list(group, "/rules").len()),
    sections: |group, world| {
        let table = security_group_rule::table(list(group, "/rules"), world);
        vec![Section { title: "Rules", replaces: Some("rules"), table }]
    },
};

/// Does what the user asks of security groups.
pub(crate) async fn run(session: &Session, verb: Verb) -> Result<(), CliError> {
    match verb {
        Verb::Create(args) => {
            let fields = args.common.fields(Fields::new().set("name", Some(args.name)));
            session.create(&NOUN, fields).await.map(|_| ())
        }
        Verb::List(args) => session.list(&NOUN, &args.names, |_, _| true).await,
        Verb::Show(args) => session.show(&NOUN, &args.name).await,
        Verb::Update(args) => session.update(&NOUN, &args.group, args.common.fields(Fields::new())).await,
        Verb::Remove(args) => session.remove(Kind::SecurityGroup, &args.names, args.if_exists).await,
    }
}

impl CommonArgs {
    fn fields(self, fields: Fields) -> Map<String, Value> {
        fields.set("description", self.description).set_list("rules", self.rules).done()
    }
}

fn parse_rule(text: &str) -> Result<Value, String> {
    RuleText::parse(text)?.fields()
}

/// Number of ports in the group.
fn users(group: &Value, world: &World) -> usize {
    let ports = world.of(Kind::Port).iter();
    ports.filter(|port| list(port, "/security_groups").contains(&group["name"])).count()
}
