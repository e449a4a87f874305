//! `--watch`: what there is, and then everything that happens to it, until Ctrl-C.
//!
//! It looks again every second and compares; a daemon that is away meanwhile is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::describe;
use crate::error::CliError;
use crate::fields::{ListArgs, ShowArgs};
use crate::noun::{Column, Filter, Noun, World};
use crate::output::{Format, Table, print, to_yaml};
use crate::session::{LABELS, Selection, Session, is_wanted};
use crate::value::{self, text};

/// How often it looks again.
const STEP: Duration = Duration::from_secs(1);

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Listed,
    Created,
    Changed,
    Removed,
}

impl Event {
    fn word(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// Watches a list.
pub(crate) async fn list<F: Filter>(
    session: &Session,
    noun: &Noun,
    args: &ListArgs,
    filter: &F,
) -> Result<(), CliError> {
    let Selection { objects, world, .. } = session.select(noun, args, filter).await?;
    let mut known = BTreeMap::new();
    let mut rows = Rows { session, noun, labels: args.show_labels, widths: Vec::new(), is_first: true };
    let mut events: Vec<(Event, Value)> = Vec::new();
    for object in objects {
        known.insert(text(&object, "/id"), object.clone());
        events.push((Event::Listed, object));
    }
    rows.print(&events, &world)?;
    // A name that is gone is an event from here on, and no error.
    let all = ListArgs { names: Vec::new(), ..args.clone() };
    let mut lost = false;
    while pause().await {
        let Selection { mut objects, world, .. } = match session.select(noun, &all, filter).await {
            Ok(found) => found,
            Err(error) if error.is_lost() => {
                tell_once(&error, &mut lost, session);
                continue;
            }
            Err(error) => return Err(error),
        };
        lost = false;
        objects.retain(|object| is_wanted(noun, &args.names, object));
        let events = events_between(&mut known, objects);
        rows.print(&events, &world)?;
    }
    Ok(())
}

/// Watches one object, until it is removed.
pub(crate) async fn show(session: &Session, noun: &Noun, args: &ShowArgs) -> Result<(), CliError> {
    let reference = session.resolve(noun, &args.name).await?;
    let mut last = Value::Null;
    let mut lost = false;
    loop {
        match session.client.get::<Value>(noun.kind, &reference).await.map_err(CliError::from) {
            Ok(object) if object == last => {}
            Ok(object) => {
                let world = session.world(noun, &[]).await?;
                show_again(session, noun, &object, &world, last.is_null())?;
                last = object;
                lost = false;
            }
            Err(error) if error.is_lost() && !last.is_null() => tell_once(&error, &mut lost, session),
            Err(error) => return Err(error),
        }
        if !pause().await {
            return Ok(());
        }
    }
}

fn show_again(
    session: &Session,
    noun: &Noun,
    object: &Value,
    world: &World,
    is_first: bool,
) -> Result<(), CliError> {
    let output = &session.output;
    if !output.is_table() {
        if output.format == Format::Yaml {
            print("---\n")?;
        }
        return output.object(noun.kind, object);
    }
    let text = describe::object(object, &(noun.sections)(object, world), output.color);
    // On a terminal: clear it and start at the top.
    let before = match (output.color, is_first) {
        (true, _) => "\u{1b}[2J\u{1b}[H",
        (false, true) => "",
        (false, false) => "\n",
    };
    print(&[before, &text].concat())
}

fn tell_once(error: &CliError, lost: &mut bool, session: &Session) {
    if !*lost {
        error.tell(&session.output.format);
        eprintln!("waiting for the daemon");
    }
    *lost = true;
}

/// Waits for the next look; false when the user wants no more.
async fn pause() -> bool {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => false,
        () = tokio::time::sleep(STEP) => true,
    }
}

/// What happened since `known`, which becomes what there is now.
fn events_between(known: &mut BTreeMap<String, Value>, objects: Vec<Value>) -> Vec<(Event, Value)> {
    let mut before = std::mem::take(known);
    let mut events = Vec::new();
    for object in objects {
        let id = text(&object, "/id");
        match before.remove(&id) {
            Some(old) if old == object => {}
            Some(_) => events.push((Event::Changed, object.clone())),
            None => events.push((Event::Created, object.clone())),
        }
        known.insert(id, object);
    }
    events.extend(before.into_values().map(|object| (Event::Removed, object)));
    events
}

/// Prints events one below the other; columns keep their width, or grow.
struct Rows<'a> {
    session: &'a Session,
    noun: &'a Noun,
    labels: bool,
    widths: Vec<u16>,
    is_first: bool,
}

impl Rows<'_> {
    fn print(&mut self, events: &[(Event, Value)], world: &World) -> Result<(), CliError> {
        let output = &self.session.output;
        if output.is_table() {
            return self.print_table(events, world);
        }
        let headers = std::mem::take(&mut self.is_first);
        if let Format::CustomColumns(columns) = &output.format {
            let objects: Vec<Value> = events.iter().map(|(_, object)| object.clone()).collect();
            return print(&output.columns(columns, &objects, headers && !output.no_headers));
        }
        for (event, object) in events {
            let body = json!({ "event": event.word(), self.noun.kind.singular(): object });
            match &output.format {
                Format::Json => print(&format!("{body}\n"))?,
                Format::Yaml => print(&["---\n", &to_yaml(&body)?].concat())?,
                Format::JsonPath(_) => output.object(self.noun.kind, object)?,
                _ => print(&format!("{}\n", value::name(object)))?,
            }
        }
        Ok(())
    }

    fn print_table(&mut self, events: &[(Event, Value)], world: &World) -> Result<(), CliError> {
        let output = &self.session.output;
        let columns: Vec<&Column> = self
            .noun
            .columns
            .iter()
            .filter(|column| output.wide() || !column.wide)
            .chain(self.labels.then_some(&LABELS))
            .collect();
        let titles = std::iter::once("EVENT").chain(columns.iter().map(|column| column.title));
        let mut table = Table::new(titles);
        for (event, object) in events {
            let cells = columns.iter().map(|column| (column.text)(object, world));
            table.row(std::iter::once(event.word().to_owned()).chain(cells));
        }
        let headers = std::mem::take(&mut self.is_first) && !output.no_headers;
        self.widths = table.widths(&self.widths);
        print(&table.with_widths(&self.widths).render(headers, output.color))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::{Event, events_between};

    #[test]
    fn what_happened_is_what_differs() {
        let object = |id: &str, mtu: u32| json!({"id": id, "mtu": mtu});
        let mut known = BTreeMap::new();
        let words = |events: Vec<(Event, serde_json::Value)>| -> Vec<String> {
            let shown =
                |(event, object): (Event, serde_json::Value)| format!("{} {}", event.word(), object["id"]);
            events.into_iter().map(shown).collect()
        };
        let first = events_between(&mut known, vec![object("a", 1), object("b", 1)]);
        assert_eq!(words(first), ["created \"a\"", "created \"b\""]);
        assert!(events_between(&mut known, vec![object("b", 1), object("a", 1)]).is_empty());
        let second = events_between(&mut known, vec![object("a", 2), object("c", 1)]);
        assert_eq!(words(second), ["changed \"a\"", "created \"c\"", "removed \"b\""]);
    }
}
