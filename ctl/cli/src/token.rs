//! Tokens in commands: create-, list-, show- and remove-token. The secret is printed once, when the token is made.

use clap::Args;
use edgestack_client::{Kind, Method, collection_path};
use serde_json::json;

use crate::command::Action;
use crate::error::CliError;
use crate::fields::Fields;
use crate::noun::{Column, NoFilter, Noun, Verb};
use crate::output::print;
use crate::role_binding::parse_role;
use crate::session::Session;
use crate::value::{age_since, name, text};

/// Arguments of create-token.
#[derive(Debug, Args)]
#[command(after_help = "\
Example, whose file `edgectl config set-context --token-file` takes:
  edgectl create-token ci --role member -p blue -q > token")]
pub(crate) struct CreateArgs {
    /// Name of the token
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What its bearer may do, in the project (-p)
    #[arg(long, value_name = "ROLE", value_parser = parse_role)]
    pub role: String,
    /// When it ends, like 2030-01-31T00:00:00Z; in 90 days where left out
    #[arg(long, value_name = "TIME")]
    pub expires_at: Option<String>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Tokens in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::Token,
    word: "token",
    plural: "tokens",
    aliases: &[],
    title: "Tokens",
    columns: &[
        Column { title: "NAME", wide: false, text: |token, _| name(token) },
        Column { title: "ROLE", wide: false, text: |token, _| text(token, "/role") },
        Column { title: "PROJECT", wide: false, text: |token, _| text(token, "/project") },
        Column { title: "EXPIRES", wide: false, text: |token, _| text(token, "/expires_at") },
        Column { title: "LAST-USED", wide: false, text: |token, _| text(token, "/last_used_at") },
        Column { title: "AGE", wide: true, text: |token, _| age_since(&text(token, "/created_at")) },
        Column { title: "ID", wide: true, text: |token, _| text(token, "/id") },
    ],
    needs: &[],
    address_field: None,
    summary: |token| text(token, "/role"),
    sections: |_, _| Vec::new(),
    verbs: &[
        Verb::action::<CreateArgs>("create", "Make a token; its secret is printed, once"),
        Verb::list::<NoFilter>("List tokens"),
        Verb::show("Show a token, without its secret"),
        Verb::remove("Remove tokens: they are worth nothing from then on"),
    ],
};

impl Action for CreateArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let fields = Fields::new()
            .set("name", Some(self.name))
            .set("role", Some(self.role))
            .set("expires_at", self.expires_at)
            .set("description", self.description)
            .done();
        let body = json!({ Kind::Token.singular(): fields });
        let answer =
            session.client.request(Method::POST, &collection_path(Kind::Token), Some(&body)).await?.body;
        if session.output.value(&answer)? {
            return Ok(());
        }
        if !session.output.quiet {
            eprintln!("created token {}; its secret is shown this once:", text(&answer, "/name"));
        }
        print(&format!("{}\n", text(&answer, "/secret")))
    }
}
