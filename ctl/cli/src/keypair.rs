//! Keypairs in commands: create-, list-, show- and remove-keypair.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use edgestack_client::{Kind, Method, collection_path};
use serde_json::{Value, json};

use crate::command::Action;
use crate::error::CliError;
use crate::fields::Fields;
use crate::noun::{Column, NoFilter, Noun, Verb};
use crate::session::Session;
use crate::value::{age_since, name, text};

/// Arguments of create-keypair.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the keypair
    pub name: String,
    /// The public key, or @FILE with it
    #[arg(long, value_name = "KEY|@FILE", required_unless_present = "generate")]
    pub public_key: Option<String>,
    /// The daemon makes the key; the private one is told once, into --out
    #[arg(long, conflicts_with = "public_key", requires = "out")]
    pub generate: bool,
    /// Kind of the key that is made
    #[arg(
        long = "type",
        value_name = "ed25519|ecdsa-p256",
        default_value = "ed25519",
        requires = "generate"
    )]
    pub key_type: String,
    /// New file for the private key, which only its owner can read
    #[arg(long, value_name = "FILE", requires = "generate")]
    pub out: Option<PathBuf>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Keypairs in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::Keypair,
    word: "keypair",
    plural: "keypairs",
    aliases: &[],
    title: "Keypairs",
    columns: &[
        Column { title: "NAME", wide: false, text: |keypair, _| name(keypair) },
        Column { title: "TYPE", wide: false, text: |keypair, _| text(keypair, "/type") },
        Column { title: "FINGERPRINT", wide: false, text: |keypair, _| text(keypair, "/fingerprint") },
        Column { title: "COMMENT", wide: false, text: |keypair, _| text(keypair, "/comment") },
        Column { title: "AGE", wide: false, text: |keypair, _| age_since(&text(keypair, "/created_at")) },
        Column { title: "ID", wide: true, text: |keypair, _| text(keypair, "/id") },
    ],
    needs: &[],
    address_field: None,
    summary: |keypair| text(keypair, "/fingerprint"),
    sections: |_, _| Vec::new(),
    verbs: &[
        Verb::action::<CreateArgs>("create", "Import a public key, or have a key made"),
        Verb::list::<NoFilter>("List keypairs"),
        Verb::show("Show a keypair"),
        Verb::remove("Remove keypairs; machines keep the keys that they have"),
    ],
};

impl Action for CreateArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let fields = Fields::new()
            .set("name", Some(self.name.as_str()))
            .set("description", self.description)
            .set("generate", self.generate.then_some(self.key_type.as_str()));
        let key = self.public_key.as_deref().map(read_public_key).transpose()?;
        let body = json!({ "keypair": fields.set("public_key", key).done() });
        let path = collection_path(Kind::Keypair);
        let Some(out) = self.out else {
            let reply = session.client.request(Method::POST, &path, Some(&body)).await?.body;
            return tell(session, &reply);
        };
        // Before there is a key, so that there is none that cannot be kept.
        let mut file = create_private(&out)?;
        let written = match session.client.request(Method::POST, &path, Some(&body)).await {
            Ok(mut reply) => {
                let key = reply.body["private_key"].take();
                if let Some(fields) = reply.body.as_object_mut() {
                    fields.remove("private_key");
                }
                let key = key.as_str().unwrap_or_default();
                file.write_all(key.as_bytes())
                    .and_then(|()| file.sync_all())
                    .map_err(|error| unwritable(&out, &error))?;
                tell(session, &reply.body)
            }
            Err(error) => Err(error.into()),
        };
        if written.is_err() {
            let _ = std::fs::remove_file(&out);
        }
        written
    }
}

fn tell(session: &Session, reply: &Value) -> Result<(), CliError> {
    let keypair = &reply["keypair"];
    if session.output.value(keypair)? {
        return Ok(());
    }
    session.output.confirm(&format!("created keypair {} {}", name(keypair), text(keypair, "/fingerprint")))
}

/// A key as it is, or the content of the file behind `@`.
fn read_public_key(text: &str) -> Result<String, CliError> {
    let Some(path) = text.strip_prefix('@') else { return Ok(text.to_owned()) };
    let path = match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    };
    std::fs::read_to_string(&path).map_err(|error| {
        CliError::usage(format!("cannot read {}: {error}", path.display()), "name a .pub file")
    })
}

fn create_private(path: &Path) -> Result<File, CliError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::usage(format!("cannot write {}: {error}", path.display()), "name a file that does not exist")
}
