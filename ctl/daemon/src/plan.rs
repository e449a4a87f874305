//! What a write would do, without doing it: objects, addresses, and which ports' flows would be decided again.
//!
//! Made from the differences that the write left in a [`Preview`]. The dataplane is asked by compiling both
//! configurations, as applying would; nothing of it changes.

use std::collections::BTreeMap;

use edgestack_dataplane::snapshot::plan::{Touched, touched};
use edgestack_model::plan::{AddressChange, ChangedObject, FieldChange, FlowPlan, Plan};
use edgestack_model::{Kind, Reference};
use serde_json::{Map, Value};

use crate::app::AppError;
use crate::app::addresses::parse_address_key;
use crate::app::record::{OBJECTS, reference};
use crate::reconcile::built::Built;
use crate::reconcile::mirror::Mirror;
use crate::reconcile::network::{Uplink, build};
use crate::reconcile::services::ServiceSettings;
use crate::store::{Difference, Preview, Store, StoreError};

/// Fields of a record that follow from the others.
const OF_THE_SERVER: [&str; 6] = ["id", "name", "generation", "created_at", "updated_at", "keys"];

/// What the write that left `preview` would do on a host with `uplinks`.
pub fn plan(preview: &Preview, uplinks: &[Uplink]) -> Result<Plan, AppError> {
    let mut plan = Plan::default();
    for difference in preview.differences()? {
        if let Some(key) = difference.key.strip_prefix(OBJECTS) {
            add_object(&mut plan, key, &difference);
        } else {
            plan.addresses.extend(address(&difference, preview)?);
        }
    }
    if !(plan.created.is_empty() && plan.changed.is_empty() && plan.deleted.is_empty()) {
        plan.flows = flows(preview, uplinks)?;
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

fn flows(preview: &Preview, uplinks: &[Uplink]) -> Result<FlowPlan, StoreError> {
    let config = |store: &dyn Store| -> Result<_, StoreError> {
        // What workloads are served is the same before and after.
        Ok(build(
            &Mirror::new(&store.list(OBJECTS)?),
            uplinks,
            &ServiceSettings::default(),
            &mut Built::default(),
        ))
    };
    let (before, after) = (config(preview.below().as_ref())?, config(preview)?);
    Ok(match touched(&before, &after) {
        Ok(Touched { decided_again, ended }) => FlowPlan { decided_again, ended, unknown: String::new() },
        Err(error) => FlowPlan { unknown: error.to_string(), ..FlowPlan::default() },
    })
}
