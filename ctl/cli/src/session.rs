//! One run of the command: the client, the output, and the requests that all nouns share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use edgestack_client::{Client, Kind, List, ListQuery, PlannedWrite};
use serde_json::{Map, Value};

use crate::connection::ConnectionArgs;
use crate::describe;
use crate::error::CliError;
use crate::fields::{ListArgs, RemoveArgs, ShowArgs, WriteArgs};
use crate::noun::{Column, Filter, Noun, World, is_named};
use crate::output::{Output, Table, print};
use crate::plan;
use crate::value::{self, text};
use crate::wait::{Target, Until, wait};
use crate::watch;

/// One run of the command.
pub(crate) struct Session {
    /// The daemon.
    pub client: Arc<Client>,
    /// Where results go.
    pub output: Output,
    /// How long the user waits for an answer, or for an effect.
    pub patience: Duration,
    /// Which daemon the command line names, and who asks.
    pub given: ConnectionArgs,
    /// The file that `-o` names, for a command that writes one.
    pub file: Option<PathBuf>,
}

/// The column of `--show-labels`.
pub(crate) const LABELS: Column =
    Column { title: "LABELS", wide: false, text: |object, _| text(object, "/labels").replace(' ', ",") };

/// What a list command means.
pub(crate) struct Selection {
    /// The objects, in their order.
    pub objects: Vec<Value>,
    /// How many there would be without a limit.
    pub total: usize,
    /// What their columns look at.
    pub world: World,
}

impl Session {
    /// Lists the objects of a kind that `filter` keeps; with names, those alone, and each must exist.
    pub(crate) async fn list<F: Filter>(
        &self,
        noun: &Noun,
        args: &ListArgs,
        filter: &F,
    ) -> Result<(), CliError> {
        if args.watch {
            return watch::list(self, noun, args, filter).await;
        }
        let Selection { objects, total, world } = self.select(noun, args, filter).await?;
        let columns = noun.columns.iter().chain(args.show_labels.then_some(&LABELS));
        self.print_list(columns, noun.kind.plural(), &objects, total, &world)?;
        if objects.len() < total && self.output.is_table() {
            eprintln!("{} of {total}", objects.len());
        }
        Ok(())
    }

    /// What a list command means.
    pub(crate) async fn select<F: Filter>(
        &self,
        noun: &Noun,
        args: &ListArgs,
        filter: &F,
    ) -> Result<Selection, CliError> {
        let world = self.world(noun, F::NEEDS).await?;
        filter.checks(&world)?;
        // The daemon cuts the list where nothing is left out or put in order here.
        let is_whole = F::KEEPS_ALL && args.names.is_empty() && args.sort_by.is_none();
        let limit = args.limit.filter(|_| is_whole);
        let query = ListQuery { selector: args.selector.clone(), limit };
        let List { items: listed, total } = self.client.list_where::<Value>(noun.kind, &query).await?;
        let missing =
            args.names.iter().find(|name| !listed.iter().any(|object| is_named(object, noun, name)));
        if let Some(name) = missing {
            return Err(CliError::NotFound(format!("there is no {} `{name}`", noun.kind)));
        }
        let mut objects: Vec<Value> = listed
            .into_iter()
            .filter(|object| is_wanted(noun, &args.names, object) && filter.keeps(object, &world))
            .collect();
        if let Some(key) = &args.sort_by {
            sort(noun, key, &mut objects, &world)?;
        }
        let total = if is_whole { usize::try_from(total).unwrap_or(usize::MAX) } else { objects.len() };
        objects.truncate(args.limit.unwrap_or(usize::MAX));
        Ok(Selection { objects, total, world })
    }

    /// Prints objects as the user wants them: a table, the API's list under the name `plural`, names.
    pub(crate) fn print_list<'a>(
        &self,
        columns: impl IntoIterator<Item = &'a Column>,
        plural: &str,
        objects: &[Value],
        total: usize,
        world: &World,
    ) -> Result<(), CliError> {
        let output = &self.output;
        if output.is_names() {
            return print(&objects.iter().map(|object| value::name(object) + "\n").collect::<String>());
        }
        if !output.is_table() {
            return output.list(plural, objects, total);
        }
        let columns: Vec<&Column> =
            columns.into_iter().filter(|column| output.wide() || !column.wide).collect();
        let mut table = Table::new(columns.iter().map(|column| column.title));
        for object in objects {
            table.row(columns.iter().map(|column| (column.text)(object, world)));
        }
        output.table(&table)
    }

    /// Shows one object.
    pub(crate) async fn show(&self, noun: &Noun, args: &ShowArgs) -> Result<(), CliError> {
        if args.watch {
            return watch::show(self, noun, args).await;
        }
        let object: Value = self.client.get(noun.kind, &self.resolve(noun, &args.name).await?).await?;
        if !self.output.is_table() {
            return self.output.object(noun.kind, &object);
        }
        let world = self.world(noun, &[]).await?;
        print(&describe::object(&object, &(noun.sections)(&object, &world), self.output.color))
    }

    /// Creates an object and says so.
    pub(crate) async fn create(
        &self,
        noun: &Noun,
        fields: Map<String, Value>,
        args: &WriteArgs,
    ) -> Result<(), CliError> {
        let fields = args.add_labels(fields);
        if args.dry_run {
            return plan::show(self, noun.kind, &PlannedWrite::Create(&fields)).await;
        }
        let object: Value = self.client.create(noun.kind, &fields).await?;
        self.written(noun, "created", object, args).await
    }

    /// Says what was done, once it is in effect where the user waits for that.
    async fn written(
        &self,
        noun: &Noun,
        done: &str,
        mut object: Value,
        args: &WriteArgs,
    ) -> Result<(), CliError> {
        if args.wait {
            let reference = text(&object, "/id");
            let target = Target { kind: noun.kind, name: value::name(&object), reference };
            wait(self, std::slice::from_ref(&target), Until::InEffect, self.patience).await?;
            object = self.client.get(noun.kind, &target.reference).await?;
        }
        self.told(noun, done, &object)
    }

    /// Changes fields of an object and says so.
    pub(crate) async fn update(
        &self,
        noun: &Noun,
        name: &str,
        fields: Map<String, Value>,
        args: &WriteArgs,
    ) -> Result<(), CliError> {
        let fields = args.add_labels(fields);
        if fields.is_empty() {
            return Err(CliError::usage(
                format!("nothing to change in {} `{name}`", noun.kind),
                "name a field; --help lists them",
            ));
        }
        if args.dry_run {
            return plan::show(self, noun.kind, &PlannedWrite::Update(name, &fields)).await;
        }
        let object: Value = self.client.update(noun.kind, name, &fields).await?;
        self.written(noun, "updated", object, args).await
    }

    /// Says what was done with an object, in the form that the user asked for.
    pub(crate) fn told(&self, noun: &Noun, done: &str, object: &Value) -> Result<(), CliError> {
        if self.output.is_structured() || self.output.is_name() {
            return self.output.object(noun.kind, object);
        }
        let name = value::name(object);
        let summary = match (noun.summary)(object).trim() {
            "" => String::new(),
            summary => format!(": {summary}"),
        };
        self.output.confirm(&format!("{done} {} {name}{summary}", noun.kind))
    }

    /// Removes objects, going on where one cannot be.
    pub(crate) async fn remove(&self, noun: &Noun, args: &RemoveArgs) -> Result<(), CliError> {
        let kind = noun.kind;
        let mut failed = None;
        for name in &args.names {
            let reference = self.resolve(noun, name).await?;
            let result = match self.remove_one(kind, name, reference, args).await {
                Err(CliError::Client(error)) if args.if_exists && error.is_not_found() => Ok(()),
                result => result,
            };
            if let Err(error) = result {
                if args.names.len() == 1 || error.is_broken_pipe() {
                    return Err(error);
                }
                error.tell(&self.output.format);
                failed.get_or_insert(error.exit_code());
            }
        }
        failed.map_or(Ok(()), |code| Err(CliError::Told(code)))
    }

    async fn remove_one(
        &self,
        kind: Kind,
        name: &str,
        reference: String,
        args: &RemoveArgs,
    ) -> Result<(), CliError> {
        if args.dry_run {
            let write = if args.cascade {
                PlannedWrite::RemoveWithUsers(&reference)
            } else {
                PlannedWrite::Remove(&reference)
            };
            return plan::show(self, kind, &write).await;
        }
        if args.cascade {
            self.client.remove_with_users(kind, &reference).await?;
        } else {
            self.client.remove(kind, &reference).await?;
        }
        if args.wait {
            let target = Target { kind, reference, name: name.to_owned() };
            wait(self, &[target], Until::Gone, self.patience).await?;
        }
        self.output.confirm(&format!("removed {kind} {name}"))
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
}

/// An object is among those that the user named; all are where none was named.
pub(crate) fn is_wanted(noun: &Noun, names: &[String], object: &Value) -> bool {
    names.is_empty() || names.iter().any(|name| is_named(object, noun, name))
}

/// Sorts objects by a column's title or by a field (`mtu`, `.status.phase`).
fn sort(noun: &Noun, key: &str, objects: &mut [Value], world: &World) -> Result<(), CliError> {
    let column = noun.columns.iter().find(|column| column.title.eq_ignore_ascii_case(key));
    let pointer = format!("/{}", key.trim_start_matches('.').replace('.', "/"));
    if column.is_none()
        && !objects.is_empty()
        && objects.iter().all(|object| object.pointer(&pointer).is_none())
    {
        let titles: Vec<&str> = noun.columns.iter().map(|column| column.title).collect();
        return Err(CliError::usage(
            format!("`{key}` is neither a column nor a field of a {}", noun.kind),
            format!("columns: {}; fields: see -o json", titles.join(", ")),
        ));
    }
    objects.sort_by_cached_key(|object| {
        let text = match column {
            Some(column) => (column.text)(object, world),
            None => value::text(object, &pointer),
        };
        value::sort_key(&text)
    });
    Ok(())
}
