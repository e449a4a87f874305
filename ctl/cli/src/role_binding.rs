//! Role bindings in commands: create-, list-, show- and remove-role-binding.

use clap::Args;
use edgestack_client::Kind;
use edgestack_model::Role;
use serde_json::{Map, Value};

use crate::fields::Fields;
use crate::noun::{Column, Create, NoFilter, Noun, Verb};
use crate::value::{age_since, name, text};

/// Arguments of create-role-binding.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the binding
    #[arg(value_name = "NAME")]
    pub name: String,
    /// User: the common name of the client's certificate
    #[arg(long, value_name = "USER")]
    pub user: String,
    /// What the user may do, in the project (-p)
    #[arg(long, value_name = "ROLE", value_parser = parse_role)]
    pub role: String,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Role bindings in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::RoleBinding,
    word: "role-binding",
    plural: "role-bindings",
    aliases: &[],
    title: "Roles of users",
    columns: &[
        Column { title: "NAME", wide: false, text: |binding, _| name(binding) },
        Column { title: "USER", wide: false, text: |binding, _| text(binding, "/user") },
        Column { title: "ROLE", wide: false, text: |binding, _| text(binding, "/role") },
        Column { title: "PROJECT", wide: false, text: |binding, _| text(binding, "/project") },
        Column { title: "AGE", wide: true, text: |binding, _| age_since(&text(binding, "/created_at")) },
        Column { title: "ID", wide: true, text: |binding, _| text(binding, "/id") },
    ],
    needs: &[],
    address_field: None,
    summary: |binding| [text(binding, "/user"), text(binding, "/role")].join(" is "),
    sections: |_, _| Vec::new(),
    verbs: &[
        Verb::create::<CreateArgs>("Give a user a role in a project"),
        Verb::list::<NoFilter>("List the roles of users"),
        Verb::show("Show the role of a user"),
        Verb::remove("Take roles from users"),
    ],
};

impl Create for CreateArgs {
    fn fields(self) -> Map<String, Value> {
        Fields::new()
            .set("name", Some(self.name))
            .set("user", Some(self.user))
            .set("role", Some(self.role))
            .set("description", self.description)
            .done()
    }
}

/// A role, as the API has it.
pub(crate) fn parse_role(text: &str) -> Result<String, String> {
    let words: Vec<String> = Role::ALL
        .iter()
        .filter_map(|role| serde_json::to_value(role).ok()?.as_str().map(str::to_owned))
        .collect();
    if words.iter().any(|word| word == text) {
        Ok(text.to_owned())
    } else {
        Err(format!("one of {}", words.join(", ")))
    }
}
