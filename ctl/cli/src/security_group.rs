//! Security groups: create-sg, list-sgs, show-sg, update-sg and remove-sg.

use clap::Args;
use edgestack_client::Kind;
use serde_json::{Map, Value};

use crate::error::CliError;
use crate::fields::Fields;
use crate::noun::{Column, Create, NoFilter, Noun, Section, Update, Verb, World};
use crate::rule_text::RuleText;
use crate::security_group_rule;
use crate::session::Session;
use crate::value::{list, name, text};

/// Arguments of create-sg.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the group
    pub name: String,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Arguments of update-sg, and what create has in common with it.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Rule, like 'ingress tcp 22 from 0.0.0.0/0' (may be repeated; an update replaces all rules)
    #[arg(long = "rule", value_name = "RULE", value_parser = parse_rule)]
    pub rules: Vec<Value>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Security groups in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::SecurityGroup,
    word: "sg",
    plural: "sgs",
    aliases: &["security-group"],
    title: "Security groups",
    columns: &[
        Column { title: "NAME", wide: false, text: |group, _| name(group) },
        Column { title: "RULES", wide: false, text: |group, _| list(group, "/rules").len().to_string() },
        Column { title: "USED-BY", wide: false, text: |group, world| users(group, world).to_string() },
        Column { title: "DESCRIPTION", wide: false, text: |group, _| text(group, "/description") },
        Column { title: "STATUS", wide: true, text: |group, _| text(group, "/status/phase") },
        Column { title: "ID", wide: true, text: |group, _| text(group, "/id") },
    ],
    needs: &[Kind::Port, Kind::SecurityGroup, Kind::AddressGroup],
    address_field: None,
    summary: |group| format!("{} rules", list(group, "/rules").len()),
    sections: |group, world| {
        let table = security_group_rule::table(list(group, "/rules"), world);
        vec![Section { title: "Rules", replaces: Some("rules"), table }]
    },
    verbs: &[
        Verb::create::<CreateArgs>("Create a security group"),
        Verb::list::<NoFilter>("List security groups"),
        Verb::show("Show a security group and its rules"),
        Verb::update::<CommonArgs>("Change a security group"),
        Verb::remove("Remove security groups"),
    ],
};

impl Create for CreateArgs {
    fn fields(self) -> Map<String, Value> {
        self.common.fill(Fields::new().set("name", Some(self.name)))
    }
}

impl Update for CommonArgs {
    async fn fields(self, _: &Session, _: &str) -> Result<Map<String, Value>, CliError> {
        Ok(self.fill(Fields::new()))
    }
}

impl CommonArgs {
    fn fill(self, fields: Fields) -> Map<String, Value> {
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
