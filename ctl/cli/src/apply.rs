//! `apply -f` and `delete -f`: make a site as its file says, or take away what the file says.
//!
//! `apply` compares each object with what there is and creates or changes it, in the order of their references;
//! what the file leaves out stays as it is. Done twice, the second time changes nothing.

use std::io::Read;

use clap::Args;
use edgestack_client::Kind;
use edgestack_model::security_group::DEFAULT_GROUP;
use serde_json::{Map, Value, json};

use crate::error::CliError;
use crate::session::Session;
use crate::site::{self, SiteObject};
use crate::value::{list, text};

/// Largest site file.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Arguments of apply.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Site file, YAML or JSON; - for standard input
    #[arg(short, long, value_name = "FILE", required = true)]
    pub file: Vec<String>,
    /// Say what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of delete.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Site file, YAML or JSON; - for standard input
    #[arg(short, long, value_name = "FILE", required = true)]
    pub file: Vec<String>,
}

/// What became of an object of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Created,
    Updated,
    Unchanged,
    Removed,
    Absent,
    Kept,
}

impl Outcome {
    const ALL: [Self; 6] =
        [Self::Created, Self::Updated, Self::Unchanged, Self::Removed, Self::Absent, Self::Kept];

    fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Removed => "removed",
            Self::Absent => "absent",
            Self::Kept => "kept",
        }
    }
}

/// What was done so far; told at the end, and as it goes.
struct Report<'a> {
    session: &'a Session,
    dry_run: bool,
    outcomes: Vec<(Outcome, Kind, String)>,
}

impl Report<'_> {
    fn add(&mut self, outcome: Outcome, object: &SiteObject) -> Result<(), CliError> {
        self.outcomes.push((outcome, object.kind, object.name.clone()));
        if self.is_structured() {
            return Ok(());
        }
        let would = if self.dry_run { "(dry run) " } else { "" };
        self.session.output.confirm(&format!("{would}{} {} {}", outcome.word(), object.kind, object.name))
    }

    fn end(self) -> Result<(), CliError> {
        if self.is_structured() {
            let results = self.outcomes.iter().map(
                |(outcome, kind, name)| json!({ "kind": kind.singular(), "name": name, "result": outcome.word() }),
            );
            let body = json!({ "dry_run": self.dry_run, "results": results.collect::<Vec<_>>() });
            return self.session.output.value(&body).map(|_| ());
        }
        let counts: Vec<String> = Outcome::ALL
            .iter()
            .map(|outcome| (outcome, self.outcomes.iter().filter(|(other, ..)| other == outcome).count()))
            .filter(|(_, count)| *count > 0)
            .map(|(outcome, count)| format!("{count} {}", outcome.word()))
            .collect();
        let counts = if counts.is_empty() { "nothing in the file".to_owned() } else { counts.join(", ") };
        self.session.output.confirm(&counts)
    }

    fn is_structured(&self) -> bool {
        use crate::output::Format;
        matches!(self.session.output.format, Format::Json | Format::Yaml)
    }
}

/// Makes a site as the files say.
pub(crate) async fn apply(session: &Session, args: &ApplyArgs) -> Result<(), CliError> {
    let objects = read(&args.file)?;
    let mut report = Report { session, dry_run: args.dry_run, outcomes: Vec::new() };
    let mut groups_with_rules = Vec::new();
    for object in &objects {
        if object.kind == Kind::SecurityGroup && object.fields.contains_key("rules") {
            // Rules name other groups of the file, so all groups come first.
            ensure_group(session, object, args.dry_run).await?;
            groups_with_rules.push(object);
            continue;
        }
        for group in groups_with_rules.drain(..) {
            let outcome = ensure(session, group, args.dry_run).await?;
            report.add(outcome, group)?;
        }
        let outcome = ensure(session, object, args.dry_run).await?;
        report.add(outcome, object)?;
    }
    for group in groups_with_rules {
        let outcome = ensure(session, group, args.dry_run).await?;
        report.add(outcome, group)?;
    }
    report.end()
}

/// Takes away what the files say, what refers to others first.
pub(crate) async fn delete(session: &Session, args: &DeleteArgs) -> Result<(), CliError> {
    let objects = read(&args.file)?;
    let mut report = Report { session, dry_run: false, outcomes: Vec::new() };
    for object in objects.iter().rev() {
        let outcome = if object.kind == Kind::SecurityGroup && object.name == DEFAULT_GROUP {
            Outcome::Kept
        } else {
            match find(session, object).await? {
                Some(found) => {
                    session.client.remove(object.kind, &text(&found, "/id")).await?;
                    Outcome::Removed
                }
                None => Outcome::Absent,
            }
        };
        report.add(outcome, object)?;
    }
    report.end()
}

fn read(files: &[String]) -> Result<Vec<SiteObject>, CliError> {
    let mut text = String::new();
    for file in files {
        let is_stdin = file == "-";
        let path = if is_stdin { "standard input" } else { file };
        let file_error = |source| CliError::File { path: path.to_owned(), source };
        let mut reader: Box<dyn Read> = if is_stdin {
            Box::new(std::io::stdin())
        } else {
            Box::new(std::fs::File::open(file).map_err(file_error)?)
        };
        if !text.is_empty() {
            text.push_str("\n---\n");
        }
        reader.by_ref().take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(file_error)?;
    }
    site::parse(&text, &files.join(", "))
}

/// Creates a group without rules unless it is there.
async fn ensure_group(session: &Session, group: &SiteObject, dry_run: bool) -> Result<(), CliError> {
    let names_groups = list(&group.fields["rules"], "").iter().any(|rule| !rule["remote_group_id"].is_null());
    if dry_run || !names_groups || find(session, group).await?.is_some() {
        return Ok(());
    }
    let fields: Map<String, Value> = group
        .fields
        .iter()
        .filter(|(key, _)| *key != "rules")
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    session.client.create::<Value>(group.kind, &fields).await?;
    Ok(())
}

/// Creates or changes one object.
async fn ensure(session: &Session, object: &SiteObject, dry_run: bool) -> Result<Outcome, CliError> {
    let Some(found) = find(session, object).await? else {
        if !dry_run {
            session.client.create::<Value>(object.kind, &object.fields).await?;
        }
        return Ok(Outcome::Created);
    };
    let mut fields = object.fields.clone();
    if object.kind == Kind::SecurityGroup {
        name_groups_by_id(session, &mut fields).await?;
    }
    if object.kind == Kind::Router {
        forget_address_elsewhere(&found, &mut fields);
    }
    if site::changes_nothing(object.kind, &found, &Value::Object(fields.clone())) {
        return Ok(Outcome::Unchanged);
    }
    if !dry_run {
        session.client.update::<Value>(object.kind, &text(&found, "/id"), &fields).await?;
    }
    Ok(Outcome::Updated)
}

/// The object that there is. A floating IP without a name is found by its address.
async fn find(session: &Session, object: &SiteObject) -> Result<Option<Value>, CliError> {
    if object.kind == Kind::FloatingIp && !object.fields.contains_key("name") {
        let fips: Vec<Value> = session.client.list(Kind::FloatingIp).await?.items;
        return Ok(fips.into_iter().find(|fip| fip["floating_ip"] == *object.name));
    }
    match session.client.get(object.kind, &object.name).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Rules of the API name groups by id; the file names them by name.
async fn name_groups_by_id(session: &Session, fields: &mut Map<String, Value>) -> Result<(), CliError> {
    let Some(Value::Array(rules)) = fields.get_mut("rules") else { return Ok(()) };
    let groups: Vec<Value> = session.client.list(Kind::SecurityGroup).await?.items;
    for rule in rules {
        if let Some(group) = groups.iter().find(|group| rule["remote_group_id"] == group["name"]) {
            rule["remote_group_id"] = group["id"].clone();
        }
    }
    Ok(())
}

/// A router that moves to another external network gets another address there.
fn forget_address_elsewhere(found: &Value, fields: &mut Map<String, Value>) {
    if let Some(Value::Object(external)) = fields.get_mut("external")
        && external.get("network") != Some(&found["external"]["network"])
    {
        external.entry("ip").or_insert(Value::Null);
    }
}
