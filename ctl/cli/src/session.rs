//! One run of the command: the client, the output, and what all nouns do alike (list, show, create, update,
//! remove). What differs between nouns is in their [`Noun`].

use std::collections::BTreeMap;
use std::sync::Arc;

use edgestack_client::{Client, Kind};
use serde_json::{Map, Value, json};

use crate::describe;
use crate::error::CliError;
use crate::output::{Format, Output, Table, print};
use crate::value;

/// One run of the command.
pub(crate) struct Session {
    /// The daemon.
    pub client: Arc<Client>,
    /// Where results go.
    pub output: Output,
}

/// What is particular to a kind of object.
pub(crate) struct Noun {
    /// The kind.
    pub kind: Kind,
    /// Columns of the list.
    pub columns: &'static [Column],
    /// Kinds whose objects the columns and sections look at.
    pub needs: &'static [Kind],
    /// What is said of an object that was created, behind its name.
    pub summary: fn(&Value) -> String,
    /// Tables shown below the fields of one object, with the fields that they replace.
    pub sections: fn(&Value, &World) -> Vec<Section>,
}

/// A column of a list.
pub(crate) struct Column {
    /// Title.
    pub title: &'static str,
    /// Shown with `-o wide` only.
    pub wide: bool,
    /// The cell of an object.
    pub text: fn(&Value, &World) -> String,
}

/// A table below the fields of an object.
pub(crate) struct Section {
    /// Title.
    pub title: &'static str,
    /// The field that it stands for.
    pub replaces: Option<&'static str>,
    /// The table.
    pub table: Table,
}

/// Other objects that a table looks at.
#[derive(Default)]
pub(crate) struct World {
    objects: BTreeMap<Kind, Vec<Value>>,
}

impl World {
    /// The objects of a kind, none when they were not asked for.
    pub(crate) fn of(&self, kind: Kind) -> &[Value] {
        self.objects.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// The name of the object whose id this is; the id where that is not known.
    pub(crate) fn name(&self, kind: Kind, id: &str) -> String {
        self.of(kind).iter().find(|object| object["id"] == id).map_or_else(|| id.to_owned(), value::name)
    }
}

impl Session {
    /// Lists the objects of a kind that `keep` keeps; with `names`, those alone, and each must exist.
    pub(crate) async fn list(
        &self,
        noun: &Noun,
        names: &[String],
        keep: impl Fn(&Value, &World) -> bool,
    ) -> Result<(), CliError> {
        let world = self.world(noun).await?;
        let listed: Vec<Value> = self.client.list(noun.kind).await?.items;
        if let Some(name) = names.iter().find(|name| !listed.iter().any(|object| is_named(object, name))) {
            return Err(CliError::NotFound(format!("there is no {} `{name}`", noun.kind)));
        }
        let objects: Vec<Value> = listed
            .into_iter()
            .filter(|object| names.is_empty() || names.iter().any(|name| is_named(object, name)))
            .filter(|object| keep(object, &world))
            .collect();
        self.print_list(noun, &objects, &world)
    }

    fn print_list(&self, noun: &Noun, objects: &[Value], world: &World) -> Result<(), CliError> {
        let output = self.output;
        if output.format == Format::Name || output.quiet {
            return print(&objects.iter().map(|object| value::name(object) + "\n").collect::<String>());
        }
        if matches!(output.format, Format::Json | Format::Yaml) {
            let total = objects.len();
            let body = json!({ noun.kind.plural(): objects, "total": total });
            return output.value(&body).map(|_| ());
        }
        let columns: Vec<&Column> =
            noun.columns.iter().filter(|column| output.wide() || !column.wide).collect();
        let mut table = Table::new(columns.iter().map(|column| column.title));
        for object in objects {
            table.row(columns.iter().map(|column| (column.text)(object, world)));
        }
        output.table(&table)
    }

    /// Shows one object.
    pub(crate) async fn show(&self, noun: &Noun, name: &str) -> Result<(), CliError> {
        let object: Value = self.client.get(noun.kind, name).await?;
        let output = self.output;
        if output.value(&json!({ noun.kind.singular(): object }))? {
            return Ok(());
        }
        if output.format == Format::Name {
            return print(&(value::name(&object) + "\n"));
        }
        let world = self.world(noun).await?;
        print(&describe::object(&object, &(noun.sections)(&object, &world), output.color))
    }

    /// Creates an object and says so.
    pub(crate) async fn create(&self, noun: &Noun, fields: Map<String, Value>) -> Result<Value, CliError> {
        let object: Value = self.client.create(noun.kind, &fields).await?;
        self.told(noun, "created", &object)?;
        Ok(object)
    }

    /// Changes fields of an object and says so.
    pub(crate) async fn update(
        &self,
        noun: &Noun,
        name: &str,
        fields: Map<String, Value>,
    ) -> Result<(), CliError> {
        if fields.is_empty() {
            return Err(CliError::usage(
                format!("nothing to change in {} `{name}`", noun.kind),
                "name a field; --help lists them",
            ));
        }
        let object: Value = self.client.update(noun.kind, name, &fields).await?;
        self.told(noun, "updated", &object)
    }

    /// Says what was done with an object, in the form that the user asked for.
    pub(crate) fn told(&self, noun: &Noun, done: &str, object: &Value) -> Result<(), CliError> {
        if self.output.value(&json!({ noun.kind.singular(): object }))? {
            return Ok(());
        }
        let name = value::name(object);
        if self.output.format == Format::Name {
            return print(&format!("{name}\n"));
        }
        let summary = (noun.summary)(object);
        let summary = if summary.is_empty() { summary } else { format!(": {summary}") };
        self.output.confirm(&format!("{done} {} {name}{summary}", noun.kind))
    }

    /// Removes objects, going on where one cannot be.
    pub(crate) async fn remove(&self, kind: Kind, names: &[String], if_exists: bool) -> Result<(), CliError> {
        let mut failed = None;
        for name in names {
            let result = match self.client.remove(kind, name).await {
                Ok(()) => self.output.confirm(&format!("removed {kind} {name}")),
                Err(error) if if_exists && error.is_not_found() => Ok(()),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = result {
                if names.len() == 1 || error.is_broken_pipe() {
                    return Err(error);
                }
                error.tell(self.output.format);
                failed.get_or_insert(error.exit_code());
            }
        }
        failed.map_or(Ok(()), |code| Err(CliError::Told(code)))
    }

    /// A list of names with some objects added and some taken away, each given by name or id.
    pub(crate) async fn changed_names(
        &self,
        kind: Kind,
        names: &[Value],
        add: &[String],
        remove: &[String],
    ) -> Result<Vec<Value>, CliError> {
        let mut changed = names.to_vec();
        for reference in remove {
            let name = self.name_of(kind, reference).await?;
            let count = changed.len();
            changed.retain(|known| *known != name);
            if changed.len() == count {
                return Err(CliError::NotFound(format!(
                    "{kind} `{reference}` is not one of those named there"
                )));
            }
        }
        for reference in add {
            let name = self.name_of(kind, reference).await?;
            if !changed.iter().any(|known| *known == name) {
                changed.push(name.into());
            }
        }
        Ok(changed)
    }

    /// The name of what a reference refers to. Ids begin with a digit, names with a letter.
    async fn name_of(&self, kind: Kind, reference: &str) -> Result<String, CliError> {
        if reference.starts_with(|first: char| first.is_ascii_digit()) {
            let object: Value = self.client.get(kind, reference).await?;
            return Ok(value::name(&object));
        }
        Ok(reference.to_owned())
    }

    /// Loads what the tables of a noun look at.
    async fn world(&self, noun: &Noun) -> Result<World, CliError> {
        let mut world = World::default();
        if matches!(self.output.format, Format::Table | Format::Wide) && !self.output.quiet {
            for kind in noun.needs {
                world.objects.insert(*kind, self.client.list(*kind).await?.items);
            }
        }
        Ok(world)
    }
}

fn is_named(object: &Value, name: &str) -> bool {
    ["name", "id", "floating_ip"].iter().any(|key| object[*key] == name)
}
