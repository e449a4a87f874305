//! What a write would do, without doing it: objects, addresses, and which ports' flows would be decided again.
//!
//! Made from the differences that the write left in a [`Preview`]. The dataplane is asked by compiling both
//! configurations, as applying would; nothing of it changes. Ports of other projects, and what is wrong with them, are
//! only told to those who run the site.

use std::collections::BTreeMap;

use edgestack_dataplane::engine::ConfigError;
use edgestack_dataplane::snapshot::plan::{Touched, TouchedPort, touched};
use edgestack_model::plan::{AddressChange, ChangedObject, FieldChange, FlowPlan, Plan};
use edgestack_model::{Kind, Reference};
use serde_json::{Map, Value};

use crate::app::addresses::parse_address_key;
use crate::app::record::{OBJECTS, reference};
use crate::app::{AppError, Scope};
use crate::reconcile::built::Built;
use crate::reconcile::mirror::Mirror;
use crate::reconcile::network::{Uplink, build};
use crate::reconcile::services::ServiceSettings;
use crate::store::{Difference, Preview, Store, StoreError};

/// Fields of a record that follow from the others.
const OF_THE_SERVER: [&str; 6] = ["id", "name", "generation", "created_at", "updated_at", "keys"];

/// What is said where the reason is not for the caller.
const FOR_THE_SITE: &str =
    "the dataplane refuses something of the whole configuration; ask those who run the site";

/// What the write that left `preview` would do on a host with `uplinks`, as far as `scope` may hear of it.
pub fn plan(preview: &Preview, uplinks: &[Uplink], scope: &Scope) -> Result<Plan, AppError> {
    let mut plan = Plan::default();
    for difference in preview.differences()? {
        if let Some(key) = difference.key.strip_prefix(OBJECTS) {
            add_object(&mut plan, key, &difference);
        } else {
            plan.addresses.extend(address(&difference, preview)?);
        }
    }
    if !(plan.created.is_empty() && plan.changed.is_empty() && plan.deleted.is_empty()) {
        plan.flows = flows(preview, uplinks, scope)?;
    }
    Ok(plan)
}

fn add_object(plan: &mut Plan, key: &str, difference: &Difference) {
    let Some((plural, id)) = key.split_once('/') else { return };
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.plural() == plural) else { return };
    let fields = |value: &Option<Vec<u8>>| -> Option<Map<String, Value>> {
        serde_json::from_slice(value.as_deref()?).ok()
    };
    let (before, after) = (fields(&difference.before), fields(&difference.after));
    let name = after.as_ref().or(before.as_ref()).and_then(|fields| fields.get("name")?.as_str());
    let object = Reference {
        kind: kind.singular().to_owned(),
        id: id.to_owned(),
        name: name.unwrap_or(id).to_owned(),
    };
    match (before, after) {
        (None, Some(_)) => plan.created.push(object),
        (Some(_), None) => plan.deleted.push(object),
        (Some(before), Some(after)) => {
            let fields = changed_fields(&flat(before), &flat(after));
            // A group is written anew with each of its rules, which are listed themselves.
            if !fields.is_empty() {
                plan.changed.push(ChangedObject { object, fields });
            }
        }
        (None, None) => {}
    }
}

/// The fields of a record as the API shows them: those of the kind beside those of every object.
fn flat(mut record: Map<String, Value>) -> BTreeMap<String, Value> {
    let spec = record.remove("spec");
    let mut fields: BTreeMap<String, Value> =
        record.into_iter().filter(|(key, _)| !OF_THE_SERVER.contains(&key.as_str())).collect();
    if let Some(Value::Object(spec)) = spec {
        fields.extend(spec);
    }
    fields
}

fn changed_fields(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Vec<FieldChange> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let value = |fields: &BTreeMap<String, Value>, name| fields.get(name).cloned().unwrap_or_default();
    names
        .into_iter()
        .map(|name| FieldChange { field: name.clone(), from: value(before, name), to: value(after, name) })
        .filter(|change| change.from != change.to)
        .collect()
}

/// An address that changes hands, where the key is the claim on one.
fn address(difference: &Difference, preview: &Preview) -> Result<Option<AddressChange>, StoreError> {
    let Some((network_id, address)) = parse_address_key(&difference.key) else { return Ok(None) };
    let key = format!("{OBJECTS}networks/{network_id}");
    let network = match preview.get(&key)? {
        Some(network) => Some(network),
        None => preview.below().get(&key)?,
    };
    let fields = network.and_then(|network| serde_json::from_slice::<Value>(&network.value).ok());
    let name = fields.as_ref().and_then(|fields| fields["name"].as_str()).unwrap_or(network_id);
    let from = difference.before.as_deref().and_then(reference);
    let to = difference.after.as_deref().and_then(reference);
    Ok(Some(AddressChange { network: name.to_owned(), address, from, to }))
}

fn flows(preview: &Preview, uplinks: &[Uplink], scope: &Scope) -> Result<FlowPlan, StoreError> {
    let mirror = |store: &dyn Store| -> Result<_, StoreError> { Ok(Mirror::new(&store.list(OBJECTS)?)) };
    let (old, new) = (mirror(preview.below().as_ref())?, mirror(preview)?);
    // What workloads are served is the same before and after.
    let config = |mirror| build(mirror, uplinks, &ServiceSettings::default(), &mut Built::default());
    let project_of = |id: &str| old.ports.get(id).and_then(|port| port.project.as_deref());
    Ok(told(touched(&config(&old), &config(&new)), project_of, scope))
}

/// What of the dataplane's answer is for the caller. A port of no project is an uplink.
fn told<'a>(
    touched: Result<Touched, ConfigError>,
    project_of: impl Fn(&str) -> Option<&'a str>,
    scope: &Scope,
) -> FlowPlan {
    let runs_the_site = scope.may_name_the_host();
    let names = |ports: Vec<TouchedPort>| {
        let is_told = |port: &TouchedPort| {
            runs_the_site || project_of(&port.id).is_some_and(|project| scope.may_hear_of(project))
        };
        ports.into_iter().filter(is_told).map(|port| port.name).collect()
    };
    match touched {
        Ok(Touched { decided_again, ended }) => {
            FlowPlan { decided_again: names(decided_again), ended: names(ended), unknown: String::new() }
        }
        Err(error) if runs_the_site => FlowPlan { unknown: error.to_string(), ..FlowPlan::default() },
        Err(_) => FlowPlan { unknown: FOR_THE_SITE.to_owned(), ..FlowPlan::default() },
    }
}

#[cfg(test)]
mod tests {
    use edgestack_dataplane::engine::{ConfigError, ConfigProblem};
    use edgestack_dataplane::snapshot::plan::{Touched, TouchedPort};
    use edgestack_model::plan::FlowPlan;

    use super::{FOR_THE_SITE, told};
    use crate::app::{Reach, Scope};

    #[test]
    fn what_is_of_other_projects_is_for_those_who_run_the_site() {
        let port = |id: &str, name: &str| TouchedPort { id: id.to_owned(), name: name.to_owned() };
        let decided_again = vec![port("1", "blue/web"), port("2", "red/secret"), port("u", "wan")];
        let touched = Touched { decided_again, ended: vec![port("2", "red/secret")] };
        let project_of = |id: &str| match id {
            "1" => Some("blue"),
            "2" => Some("red"),
            _ => None,
        };
        let member = Scope::new("blue", Reach::one("blue"), false);
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let shown = told(Ok(touched.clone()), project_of, &member);
        assert_eq!((shown.decided_again, shown.ended), (owned(&["blue/web"]), Vec::new()));
        let site = Scope::new("blue", Reach::one("blue"), true);
        let shown = told(Ok(touched), project_of, &site);
        assert_eq!(shown.decided_again, owned(&["blue/web", "red/secret", "wan"]));
        assert_eq!(shown.ended, owned(&["red/secret"]));

        let problem = ConfigProblem {
            object: "router red/secret".to_owned(),
            field: "mac_address".to_owned(),
            message: "it is another's".to_owned(),
        };
        let refused = || Err(ConfigError { problems: vec![problem.clone()] });
        let wanted = FlowPlan { unknown: FOR_THE_SITE.to_owned(), ..FlowPlan::default() };
        assert_eq!(told(refused(), project_of, &member), wanted);
        assert!(told(refused(), project_of, &site).unknown.contains("red/secret"));
    }
}
