//! What objects have carried or allowed so far, and what is taken of them: read when one is shown, in no status of the store,
//! and part of no revision.

use edgestack_model::Kind;
use serde_json::{Value, json};

use crate::app::App;
use crate::app::network::ADDRESSES;
use crate::gateway::Gateway;

/// The field of a shown object's status and its value; none where the kind has none, or nobody knows.
pub(super) fn of(app: &App, gateway: &Gateway, kind: Kind, id: &str) -> Option<(&'static str, Value)> {
    match kind {
        Kind::Network => Some((ADDRESSES, json!(app.address_usage(id).ok()??))),
        Kind::SecurityGroupRule => {
            let rules = gateway.rule_hits().ok()?;
            let rule = rules.iter().find(|rule| rule.id == id)?;
            Some(("hits", json!(rule.hits)))
        }
        Kind::FloatingIp | Kind::Router => {
            let translations = gateway.nat().ok()?;
            let mut own = translations.iter().filter(|nat| match kind {
                Kind::Router => nat.router_id == id && nat.kind == "snat",
                _ => nat.id == id,
            });
            let mut total = own.next()?.clone();
            for nat in own {
                total.sessions += nat.sessions;
                total.packets_out += nat.packets_out;
                total.packets_in += nat.packets_in;
                total.bytes_out += nat.bytes_out;
                total.bytes_in += nat.bytes_in;
            }
            let traffic = json!({
                "sessions": total.sessions,
                "packets_out": total.packets_out,
                "packets_in": total.packets_in,
                "bytes_out": total.bytes_out,
                "bytes_in": total.bytes_in,
            });
            Some(("traffic", traffic))
        }
        _ => None,
    }
}
