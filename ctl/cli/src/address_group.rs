//! Address groups in commands: create-, list-, show-, update- and remove-address-group.

use clap::Args;
use edgestack_client::Kind;
use serde_json::{Map, Value};

use crate::error::CliError;
use crate::fields::Fields;
use crate::noun::{Column, Create, NoFilter, Noun, Update, Verb};
use crate::session::Session;
use crate::value::{list, name, text};

/// Arguments of create-address-group.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the group
    pub name: String,
    /// Range or address (may be repeated)
    #[arg(long = "address", value_name = "CIDR", value_delimiter = ',')]
    pub addresses: Vec<String>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Arguments of update-address-group.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Range or address, in place of those that the group has (may be repeated)
    #[arg(long = "address", value_name = "CIDR", value_delimiter = ',')]
    pub addresses: Vec<String>,
    /// Range or address to add (may be repeated)
    #[arg(long = "add-address", value_name = "CIDR", value_delimiter = ',', conflicts_with = "addresses")]
    pub add: Vec<String>,
    /// Range or address to take away (may be repeated)
    #[arg(long = "remove-address", value_name = "CIDR", value_delimiter = ',', conflicts_with = "addresses")]
    pub remove: Vec<String>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Address groups in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::AddressGroup,
    word: "address-group",
    plural: "address-groups",
    aliases: &["ag"],
    title: "Address groups",
    columns: &[
        Column { title: "NAME", wide: false, text: |group, _| name(group) },
        Column {
            title: "ADDRESSES",
            wide: false,
            text: |group, _| list(group, "/addresses").len().to_string(),
        },
        Column {
            title: "USED-BY",
            wide: false,
            text: |group, world| {
                let rules = world.of(Kind::SecurityGroupRule).iter();
                rules.filter(|rule| rule["remote_address_group_id"] == group["id"]).count().to_string()
            },
        },
        Column { title: "DESCRIPTION", wide: false, text: |group, _| text(group, "/description") },
        Column { title: "STATUS", wide: true, text: |group, _| text(group, "/status/phase") },
        Column { title: "ID", wide: true, text: |group, _| text(group, "/id") },
    ],
    needs: &[Kind::SecurityGroupRule],
    address_field: None,
    summary: |group| format!("{} addresses", list(group, "/addresses").len()),
    sections: |_, _| Vec::new(),
    verbs: &[
        Verb::create::<CreateArgs>("Create an address group"),
        Verb::list::<NoFilter>("List address groups"),
        Verb::show("Show an address group"),
        Verb::update::<UpdateArgs>("Change an address group, and with it all rules that name it"),
        Verb::remove("Remove address groups"),
    ],
};

impl Create for CreateArgs {
    fn fields(self) -> Map<String, Value> {
        Fields::new()
            .set("name", Some(self.name))
            .set_list("addresses", self.addresses)
            .set("description", self.description)
            .done()
    }
}

impl Update for UpdateArgs {
    async fn fields(self, session: &Session, name: &str) -> Result<Map<String, Value>, CliError> {
        let fields = Fields::new().set("description", self.description);
        if self.add.is_empty() && self.remove.is_empty() {
            return Ok(fields.set_list("addresses", self.addresses).done());
        }
        let group: Value = session.client.get(Kind::AddressGroup, name).await?;
        let addresses = changed(list(&group, "/addresses"), &self.add, &self.remove)?;
        Ok(fields.set("addresses", Some(addresses)).done())
    }
}

/// The addresses with some more and some less; a single address is the range of it alone.
fn changed(addresses: &[Value], add: &[String], remove: &[String]) -> Result<Vec<Value>, CliError> {
    let range = |text: &str| match (text.contains('/'), text.contains(':')) {
        (true, _) => text.to_owned(),
        (false, true) => format!("{text}/128"),
        (false, false) => format!("{text}/32"),
    };
    let mut addresses = addresses.to_vec();
    for text in remove {
        let Some(place) = addresses.iter().position(|address| *address == range(text)) else {
            return Err(CliError::NotFound(format!("the group has no address `{text}`")));
        };
        addresses.remove(place);
    }
    for text in add.iter().map(|text| range(text)) {
        if !addresses.iter().any(|address| *address == text) {
            addresses.push(text.into());
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::changed;

    #[test]
    fn addresses_are_added_once_and_taken_away() {
        let text = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let before = [json!("10.0.0.0/8"), json!("fd00::1/128")];
        let after = changed(&before, &text(&["10.0.0.0/8", "192.0.2.1"]), &text(&["fd00::1"])).unwrap();
        assert_eq!(after, [json!("10.0.0.0/8"), json!("192.0.2.1/32")]);
        assert!(changed(&before, &[], &text(&["10.0.0.1"])).is_err());
    }
}
