//! `apply -f` and `delete -f`: make a site as its file says, or take away what the file says.
//!
//! `apply` compares each object with what there is and creates or changes it, in the order of their references;
//! what the file leaves out stays as it is. Done twice, the second time changes nothing.

use clap::Args;
use edgestack_client::{Kind, ListQuery};
use edgestack_model::security_group::DEFAULT_GROUP;
use serde_json::{Map, Value, json};

use crate::command::Action;
use crate::confirm::confirm;
use crate::difference::{Change, changes};
use crate::error::CliError;
use crate::fields::parse_selector;
use crate::references;
use crate::session::Session;
use crate::site::{self, SiteObject};
use crate::site_files::{self, FileArgs};
use crate::value::{self, text};
use crate::wait::{Target, Until, wait};

/// Arguments of apply.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub files: FileArgs,
    /// Say what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove what the selector selects and the files do not have; asks before
    #[arg(long, requires = "selector")]
    pub prune: bool,
    /// Labels of what --prune may remove, like site=north
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = parse_selector, requires = "prune")]
    pub selector: Option<String>,
    /// Answer every question with yes
    #[arg(short, long)]
    pub yes: bool,
    /// Wait until everything in the file is in effect, at most --timeout
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
}

/// Arguments of delete.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub files: FileArgs,
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
    results: Vec<Done>,
}

/// What was done with an object.
struct Done {
    outcome: Outcome,
    kind: Kind,
    name: String,
    changes: Vec<Change>,
}

impl Report<'_> {
    fn add(&mut self, object: &SiteObject, outcome: Outcome, changes: Vec<Change>) -> Result<(), CliError> {
        if !self.is_structured() {
            let would = if self.dry_run { "(dry run) " } else { "" };
            let mut lines = vec![format!("{would}{} {} {}", outcome.word(), object.kind, object.name)];
            let shown = |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
            lines.extend(changes.iter().map(|change| {
                format!("  {}: {} -> {}", change.field, shown(&change.from), shown(&change.to))
            }));
            self.session.output.confirm(&lines.join("\n"))?;
        }
        self.results.push(Done { outcome, kind: object.kind, name: object.name.clone(), changes });
        Ok(())
    }

    fn end(self) -> Result<(), CliError> {
        if self.is_structured() {
            let results: Vec<Value> = self.results.iter().map(Done::to_json).collect();
            let body = json!({ "dry_run": self.dry_run, "results": results });
            return self.session.output.value(&body).map(|_| ());
        }
        let counts: Vec<String> = Outcome::ALL
            .iter()
            .map(|outcome| (outcome, self.results.iter().filter(|done| done.outcome == *outcome).count()))
            .filter(|(_, count)| *count > 0)
            .map(|(outcome, count)| format!("{count} {}", outcome.word()))
            .collect();
        let counts = if counts.is_empty() { "nothing in the file".to_owned() } else { counts.join(", ") };
        self.session.output.confirm(&counts)
    }

    fn is_structured(&self) -> bool {
        self.session.output.is_structured()
    }
}

impl Done {
    fn to_json(&self) -> Value {
        let changes = self.changes.iter();
        let changes: Vec<Value> = changes
            .map(|change| json!({ "field": change.field, "from": change.from, "to": change.to }))
            .collect();
        json!({ "kind": self.kind.singular(), "name": self.name, "result": self.outcome.word(), "changes": changes })
    }
}

impl Action for ApplyArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        apply(session, &self).await
    }
}

impl Action for DeleteArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        delete(session, &self).await
    }
}

/// Makes a site as the files say.
async fn apply(session: &Session, args: &ApplyArgs) -> Result<(), CliError> {
    let objects = site_files::read(&args.files)?;
    let errors = references::missing(session, &objects).await?;
    if !errors.is_empty() {
        return Err(site::invalid(&args.files.file.join(", "), errors));
    }
    let surplus = surplus(session, args, &objects).await?;
    let mut report = Report { session, dry_run: args.dry_run, results: Vec::new() };
    // A rule may name any group of the file, so all groups come before any rules.
    if !args.dry_run && objects.iter().any(names_groups) {
        for group in objects.iter().filter(|object| object.kind == Kind::SecurityGroup) {
            ensure_without_rules(session, group, &mut report).await?;
        }
    }
    for object in &objects {
        let (outcome, changes) = ensure(session, object, args.dry_run).await?;
        let same = |done: &Done| done.kind == object.kind && done.name == object.name;
        if !report.results.iter().any(same) {
            report.add(object, outcome, changes)?;
        }
    }
    for object in &surplus {
        if !args.dry_run {
            session.client.remove(object.kind, &object.place).await?;
        }
        report.add(object, Outcome::Removed, Vec::new())?;
    }
    report.end()?;
    if !args.wait {
        return Ok(());
    }
    let mut targets = Vec::new();
    for object in &objects {
        let found = find(session, object).await?;
        targets.extend(found.map(|found| Target {
            kind: object.kind,
            reference: text(&found, "/id"),
            name: object.name.clone(),
        }));
    }
    wait(session, &targets, Until::InEffect, session.patience).await
}

/// What `--prune` removes, what refers to others first, once the user agreed. The place of an object is its id here.
async fn surplus(
    session: &Session,
    args: &ApplyArgs,
    objects: &[SiteObject],
) -> Result<Vec<SiteObject>, CliError> {
    let Some(selector) = args.selector.clone().filter(|_| args.prune) else { return Ok(Vec::new()) };
    let query = ListQuery { selector: Some(selector), limit: None };
    let mut surplus = Vec::new();
    for kind in site::kinds().rev() {
        for found in session.client.list_where::<Value>(kind, &query).await?.items {
            let is_wanted = |object: &SiteObject| object.kind == kind && is_called(object, &found);
            let is_default = kind == Kind::SecurityGroup && found["name"] == DEFAULT_GROUP;
            if !is_default && !objects.iter().any(is_wanted) {
                let (name, place) = (value::name(&found), text(&found, "/id"));
                surplus.push(SiteObject { place, kind, name, fields: Map::new() });
            }
        }
    }
    if !surplus.is_empty() && !args.dry_run {
        let names: Vec<String> =
            surplus.iter().map(|object| format!("{} {}", object.kind, object.name)).collect();
        confirm(args.yes, &format!("remove {}?", names.join(", ")))?;
    }
    Ok(surplus)
}

/// An object of the file is this one of the daemon's.
fn is_called(object: &SiteObject, found: &Value) -> bool {
    found["name"] == *object.name || (object.kind == Kind::FloatingIp && found["floating_ip"] == *object.name)
}

/// Takes away what the files say, what refers to others first.
async fn delete(session: &Session, args: &DeleteArgs) -> Result<(), CliError> {
    let objects = site_files::read(&args.files)?;
    let mut report = Report { session, dry_run: false, results: Vec::new() };
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
        report.add(object, outcome, Vec::new())?;
    }
    report.end()
}

/// A group of whose rules one names a group.
fn names_groups(object: &SiteObject) -> bool {
    let rules = object.fields.get("rules").and_then(Value::as_array);
    object.kind == Kind::SecurityGroup
        && rules.is_some_and(|rules| rules.iter().any(|rule| !rule["remote_group_id"].is_null()))
}

/// Creates a group without its rules unless it is there.
async fn ensure_without_rules(
    session: &Session,
    group: &SiteObject,
    report: &mut Report<'_>,
) -> Result<(), CliError> {
    if find(session, group).await?.is_some() {
        return Ok(());
    }
    let mut fields = group.fields.clone();
    fields.remove("rules");
    session.client.create::<Value>(group.kind, &fields).await?;
    report.add(group, Outcome::Created, Vec::new())
}

/// Creates or changes one object.
async fn ensure(
    session: &Session,
    object: &SiteObject,
    dry_run: bool,
) -> Result<(Outcome, Vec<Change>), CliError> {
    let Some(found) = find(session, object).await? else {
        if !dry_run {
            session.client.create::<Value>(object.kind, &object.fields).await?;
        }
        return Ok((Outcome::Created, Vec::new()));
    };
    let fields = settled(session, object, &found).await?;
    let mut changes = changes(object.kind, &found, &fields);
    if changes.is_empty() {
        return Ok((Outcome::Unchanged, changes));
    }
    if !dry_run {
        session.client.update::<Value>(object.kind, &text(&found, "/id"), &fields).await?;
    }
    // What follows from a field of the file, such as the target of a floating IP, is not worth a line.
    changes.retain(|change| object.fields.contains_key(&change.field));
    Ok((Outcome::Updated, changes))
}

/// The fields of an object of the file as they are sent for the object that there is.
pub(crate) async fn settled(
    session: &Session,
    object: &SiteObject,
    found: &Value,
) -> Result<Map<String, Value>, CliError> {
    let mut fields = object.fields.clone();
    match object.kind {
        Kind::SecurityGroup => name_groups_by_id(session, &mut fields).await?,
        Kind::Router => forget_address_elsewhere(found, &mut fields),
        Kind::FloatingIp => forget_former_target(found, &mut fields),
        _ => {}
    }
    Ok(fields)
}

/// The object that there is. A floating IP without a name is found by its address.
pub(crate) async fn find(session: &Session, object: &SiteObject) -> Result<Option<Value>, CliError> {
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

/// A floating IP that stands for another workload, or for none, forgets the former one.
fn forget_former_target(found: &Value, fields: &mut Map<String, Value>) {
    if fields.get("instance_name").is_some_and(|instance| *instance != found["instance_name"]) {
        for key in ["router", "instance_type", "target_network", "target_ip"] {
            fields.entry(key).or_insert(Value::Null);
        }
    }
}
