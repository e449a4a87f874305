//! Projects in commands: create-, list-, show-, update- and remove-project.

use clap::Args;
use edgestack_client::Kind;
use serde_json::{Map, Value};

use crate::error::CliError;
use crate::fields::Fields;
use crate::noun::{Column, Create, NoFilter, Noun, Update, Verb};
use crate::session::Session;
use crate::value::{age_since, name, text};

/// Arguments of create-project.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the project
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Arguments of update-project, and what create has in common with it.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Projects in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::Project,
    word: "project",
    plural: "projects",
    aliases: &[],
    title: "Projects",
    columns: &[
        Column { title: "NAME", wide: false, text: |project, _| name(project) },
        Column { title: "DESCRIPTION", wide: false, text: |project, _| text(project, "/description") },
        Column { title: "AGE", wide: false, text: |project, _| age_since(&text(project, "/created_at")) },
        Column { title: "ID", wide: true, text: |project, _| text(project, "/id") },
    ],
    needs: &[],
    address_field: None,
    summary: |project| text(project, "/description"),
    sections: |_, _| Vec::new(),
    verbs: &[
        Verb::create::<CreateArgs>("Create a project: a tenant of the site"),
        Verb::list::<NoFilter>("List projects"),
        Verb::show("Show a project"),
        Verb::update::<CommonArgs>("Change a project"),
        Verb::remove("Remove projects"),
    ],
};

impl Create for CreateArgs {
    fn fields(self) -> Map<String, Value> {
        Fields::new().set("name", Some(self.name)).set("description", self.common.description).done()
    }
}

impl Update for CommonArgs {
    async fn fields(self, _: &Session, _: &str) -> Result<Map<String, Value>, CliError> {
        Ok(Fields::new().set("description", self.description).done())
    }
}
