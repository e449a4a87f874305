//! `--dry-run`: what a write would do, as the daemon plans it.

use edgestack_client::{Kind, PlannedWrite};
use edgestack_model::Plan;
use edgestack_model::plan::Reference;
use serde_json::json;

use crate::error::CliError;
use crate::output::print;
use crate::session::Session;
use crate::value::scalar;

/// Asks for the plan of a write and prints it.
pub(crate) async fn show(session: &Session, kind: Kind, write: &PlannedWrite<'_>) -> Result<(), CliError> {
    let plan = session.client.plan(kind, write).await?;
    if session.output.value(&json!({ "dry_run": true, "plan": plan }))? {
        return Ok(());
    }
    print(&lines(&plan))
}

fn lines(plan: &Plan) -> String {
    let mut lines = Vec::new();
    lines.extend(plan.created.iter().map(|object| format!("would create {object}")));
    for change in &plan.changed {
        lines.push(format!("would change {}", change.object));
        let shown =
            |value| Some(scalar(value)).filter(|text| !text.is_empty()).unwrap_or("nothing".to_owned());
        lines.extend(
            change
                .fields
                .iter()
                .map(|field| format!("  {}: {} -> {}", field.field, shown(&field.from), shown(&field.to))),
        );
    }
    lines.extend(plan.deleted.iter().map(|object| format!("would remove {object}")));
    let who = |object: &Option<Reference>| object.as_ref().map_or("nobody".to_owned(), ToString::to_string);
    lines.extend(plan.addresses.iter().map(|change| {
        let (from, to) = (who(&change.from), who(&change.to));
        format!("address {} of {}: {from} -> {to}", change.address, change.network)
    }));
    let flows = &plan.flows;
    for (ports, what) in [(&flows.decided_again, "decided again"), (&flows.ended, "ended")] {
        if !ports.is_empty() {
            lines.push(format!("flows {what}, of ports: {}", ports.join(", ")));
        }
    }
    if !flows.unknown.is_empty() {
        lines.push(format!("flows: {}", flows.unknown));
    }
    if lines.is_empty() {
        lines.push("nothing would change".to_owned());
    }
    let lines: Vec<String> = lines.into_iter().map(|line| format!("(dry run) {line}\n")).collect();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use edgestack_model::Plan;
    use serde_json::json;

    use super::lines;

    #[test]
    fn a_plan_is_told_line_by_line() {
        let port = json!({"kind": "port", "id": "1", "name": "web-1"});
        let plan = json!({
            "created": [], "deleted": [port],
            "changed": [{"kind": "router", "id": "2", "name": "edge", "fields": [
                {"field": "enable_snat", "from": true, "to": null}]}],
            "addresses": [{"network": "blue", "address": "10.0.0.2", "from": port, "to": null}],
            "flows": {"decided_again": ["a", "b"], "ended": ["web-1"]}});
        let plan: Plan = serde_json::from_value(plan).unwrap();
        assert_eq!(
            lines(&plan),
            "(dry run) would change router edge\n\
             (dry run)   enable_snat: yes -> nothing\n\
             (dry run) would remove port web-1\n\
             (dry run) address 10.0.0.2 of blue: port web-1 -> nobody\n\
             (dry run) flows decided again, of ports: a, b\n\
             (dry run) flows ended, of ports: web-1\n"
        );
        assert_eq!(lines(&Plan::default()), "(dry run) nothing would change\n");
    }
}
