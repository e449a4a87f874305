//! What all nouns do alike: list, show, create, update and remove. A noun's file holds the rest: its words, its
//! columns, and for each verb the arguments and the body that they make.
//!
//! [`Verb`] hides the types of the arguments, so that `args.rs` makes all commands, in both spellings, from one
//! table, and help, completion and manual pages come from there.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use clap::{ArgMatches, Args, Command};
use edgestack_client::Kind;
use serde_json::{Map, Value};

use crate::command::{Action, Outcome, read};
use crate::error::CliError;
use crate::fields::{ListArgs, RemoveArgs, ShowArgs, WriteArgs};
use crate::output::Table;
use crate::session::Session;
use crate::value::{self, text};

/// What is particular to a kind of object.
pub(crate) struct Noun {
    /// The kind.
    pub kind: Kind,
    /// Its word in commands: `sg` of `show-sg` and `edgectl sg show`.
    pub word: &'static str,
    /// The word for several: `sgs` of `list-sgs`.
    pub plural: &'static str,
    /// Other words for it, noun first only.
    pub aliases: &'static [&'static str],
    /// What it is, for people: `Security groups`.
    pub title: &'static str,
    /// Columns of the list.
    pub columns: &'static [Column],
    /// Kinds whose objects the columns and sections look at.
    pub needs: &'static [Kind],
    /// A field with an address by which an object may be named too.
    pub address_field: Option<&'static str>,
    /// What is said of an object that was created, behind its name.
    pub summary: fn(&Value) -> String,
    /// Tables shown below the fields of one object, with the fields that they replace.
    pub sections: fn(&Value, &World) -> Vec<Section>,
    /// What may be done with it.
    pub verbs: &'static [Verb],
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

/// A command of a noun.
pub(crate) struct Verb {
    /// Its word: `create`.
    pub name: &'static str,
    /// Other words for it, noun first only.
    pub aliases: &'static [&'static str],
    /// What it does, in a line.
    pub about: &'static str,
    /// Spelled with the noun's plural: `list-sgs`.
    pub is_plural: bool,
    arguments: fn(&'static Noun, Command) -> Command,
    run: for<'a> fn(&'a Session, &'static Noun, &'a ArgMatches) -> Outcome<'a>,
}

/// Arguments of a create command.
pub(crate) trait Create: Args {
    /// The fields of the object.
    fn fields(self) -> Map<String, Value>;
}

/// Arguments of an update command, behind the name of the object.
pub(crate) trait Update: Args {
    /// The fields that change. Some can only be told from the object as it is.
    async fn fields(self, session: &Session, name: &str) -> Result<Map<String, Value>, CliError>;
}

/// Arguments that narrow a list.
pub(crate) trait Filter: Args {
    /// Kinds whose objects the filter looks at.
    const NEEDS: &'static [Kind] = &[];
    /// No object is left out.
    const KEEPS_ALL: bool = false;

    /// Whether an object stays in the list.
    fn keeps(&self, object: &Value, world: &World) -> bool;

    /// What the filter names must exist.
    fn checks(&self, _: &World) -> Result<(), CliError> {
        Ok(())
    }
}

/// No arguments but those that every list has.
#[derive(Debug, Args)]
pub(crate) struct NoFilter {}

impl Filter for NoFilter {
    const KEEPS_ALL: bool = true;

    fn keeps(&self, _: &Value, _: &World) -> bool {
        true
    }
}

impl Noun {
    /// A command as Fig 5 of the white paper spells it: `list-networks`.
    pub(crate) fn spelled(&self, verb: &Verb) -> String {
        let word = if verb.is_plural { self.plural } else { self.word };
        format!("{}-{word}", verb.name)
    }

    /// Name of an object's argument in the help: `NETWORK`.
    pub(crate) fn value_name(&self) -> String {
        self.word.to_uppercase()
    }
}

impl Verb {
    /// `create`.
    pub(crate) const fn create<A: Create>(about: &'static str) -> Self {
        let arguments = |_: &Noun, command| WriteArgs::augment_args(A::augment_args(command));
        Self::new("create", about, arguments, |session, noun, matches| {
            Box::pin(async move {
                let fields = read::<A>(matches)?.fields();
                session.create(noun, fields, &read(matches)?).await
            })
        })
    }

    /// `list`.
    pub(crate) const fn list<F: Filter>(about: &'static str) -> Self {
        let arguments = |noun: &Noun, command| named(noun, ListArgs::augment_args(F::augment_args(command)));
        let verb = Self::new("list", about, arguments, |session, noun, matches| {
            Box::pin(async move {
                let filter: F = read(matches)?;
                let list: ListArgs = read(matches)?;
                session.list(noun, &list, &filter).await
            })
        });
        Self { is_plural: true, aliases: &["ls"], ..verb }
    }

    /// `show`.
    pub(crate) const fn show(about: &'static str) -> Self {
        let arguments = |noun: &Noun, command| named(noun, ShowArgs::augment_args(command));
        Self::new("show", about, arguments, |session, noun, matches| {
            Box::pin(async move { session.show(noun, &read::<ShowArgs>(matches)?).await })
        })
    }

    /// `update`.
    pub(crate) const fn update<A: Update>(about: &'static str) -> Self {
        let arguments = |noun: &Noun, command| {
            named(noun, WriteArgs::augment_args(A::augment_args(NameArgs::augment_args(command))))
        };
        Self::new("update", about, arguments, |session, noun, matches| {
            Box::pin(async move {
                let name = session.resolve(noun, &read::<NameArgs>(matches)?.name).await?;
                let fields = read::<A>(matches)?.fields(session, &name).await?;
                session.update(noun, &name, fields, &read(matches)?).await
            })
        })
    }

    /// `remove`.
    pub(crate) const fn remove(about: &'static str) -> Self {
        let arguments = |noun: &Noun, command| named(noun, RemoveArgs::augment_args(command));
        let verb = Self::new("remove", about, arguments, |session, noun, matches| {
            Box::pin(async move { session.remove(noun, &read::<RemoveArgs>(matches)?).await })
        });
        Self { aliases: &["rm", "delete"], ..verb }
    }

    /// Anything else.
    pub(crate) const fn action<A: Action>(name: &'static str, about: &'static str) -> Self {
        Self::new(
            name,
            about,
            |_, command| A::augment_args(command),
            |session, _, matches| Box::pin(async move { read::<A>(matches)?.run(session).await }),
        )
    }

    /// The same, spelled with the noun's plural.
    pub(crate) const fn plural(self) -> Self {
        Self { is_plural: true, ..self }
    }

    /// The same with other words for it.
    pub(crate) const fn or(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    const fn new(
        name: &'static str,
        about: &'static str,
        arguments: fn(&'static Noun, Command) -> Command,
        run: for<'a> fn(&'a Session, &'static Noun, &'a ArgMatches) -> Outcome<'a>,
    ) -> Self {
        Self { name, aliases: &[], about, is_plural: false, arguments, run }
    }

    /// The command under the name `name`.
    pub(crate) fn command(&self, noun: &'static Noun, name: String) -> Command {
        // The arguments come first: the docs of their type are not those of the command.
        (self.arguments)(noun, Command::new(name)).about(self.about).long_about(None)
    }

    /// Does it.
    pub(crate) fn run<'a>(
        &self,
        session: &'a Session,
        noun: &'static Noun,
        matches: &'a ArgMatches,
    ) -> Outcome<'a> {
        (self.run)(session, noun, matches)
    }
}

/// The object of an update.
#[derive(Debug, Args)]
struct NameArgs {
    /// Name or id
    name: String,
}

/// Names the arguments that stand for objects of a noun after it.
fn named(noun: &Noun, mut command: Command) -> Command {
    for id in ["name", "names"] {
        let has = command.get_arguments().any(|argument| argument.get_id() == id && argument.is_positional());
        if has {
            command = command.mut_arg(id, |argument| argument.value_name(noun.value_name()));
        }
    }
    command
}

/// Other objects that a table looks at.
#[derive(Default)]
pub(crate) struct World {
    objects: BTreeMap<Kind, Vec<Value>>,
}

impl World {
    /// Puts the objects of a kind in.
    pub(crate) fn insert(&mut self, kind: Kind, objects: Vec<Value>) {
        self.objects.insert(kind, objects);
    }

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
    /// What the API calls the object that `reference` means: an address is looked up where the noun has them.
    pub(crate) async fn resolve(&self, noun: &Noun, reference: &str) -> Result<String, CliError> {
        let Some(field) = noun.address_field.filter(|_| reference.parse::<Ipv4Addr>().is_ok()) else {
            return Ok(reference.to_owned());
        };
        let objects: Vec<Value> = self.client.list(noun.kind).await?.items;
        let found = objects.iter().find(|object| object[field] == reference);
        Ok(found.map_or_else(|| reference.to_owned(), |object| text(object, "/id")))
    }

    /// Loads what the tables of a noun, and `also`, look at.
    pub(crate) async fn world(&self, noun: &Noun, also: &[Kind]) -> Result<World, CliError> {
        let for_tables = if self.output.is_table() { noun.needs } else { &[] };
        let mut world = World::default();
        for kind in for_tables.iter().chain(also) {
            if world.of(*kind).is_empty() {
                world.insert(*kind, self.client.list(*kind).await?.items);
            }
        }
        Ok(world)
    }
}

/// An object goes by its name, its id and, where it has one, its address.
pub(crate) fn is_named(object: &Value, noun: &Noun, name: &str) -> bool {
    ["name", "id"].into_iter().chain(noun.address_field).any(|key| object[key] == name)
}
