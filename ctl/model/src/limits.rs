//! Quotas: how many objects of each kind a project may have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::FieldError;
use crate::meta::Kind;
use crate::reader::{Reader, Refusal};
use crate::value;

/// Largest limit; who wants none takes this.
pub const LIMIT_MAX: u64 = 1_000_000;

/// Limits by the plural of the kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Limits(pub BTreeMap<String, u64>);

impl Limits {
    /// How many objects of a kind there may be.
    pub fn of(&self, plural: &str) -> u64 {
        let standard = || {
            let kind = Kind::ALL.into_iter().find(|kind| kind.plural() == plural);
            kind.map_or(LIMIT_MAX, standard)
        };
        self.0.get(plural).copied().unwrap_or_else(standard)
    }

    /// These limits, with those of `others` for the kinds that have none here.
    #[must_use]
    pub fn over(self, others: &Self) -> Self {
        let mut limits = others.0.clone();
        limits.extend(self.0);
        Self(limits)
    }

    /// The limits of every kind that has one.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Kind::ALL
            .into_iter()
            .filter(|kind| kind.is_of_projects())
            .map(|kind| (kind.plural(), self.of(kind.plural())))
    }

    /// Reads `{"quota": {"ports": 10, ...}}`; a kind that is left out has the limit of the configuration.
    pub fn read(body: &Value) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut limits = BTreeMap::new();
        if let Some(mut outer) = Reader::new(body, String::new(), &mut errors) {
            if outer.has("quota") {
                outer.object("quota", |reader| {
                    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_of_projects()) {
                        // What GET shows may be sent back: a limit beside what is used.
                        let limit = reader.optional(kind.plural(), |value| {
                            let limit =
                                value.as_object().and_then(|fields| fields.get("limit")).unwrap_or(value);
                            value::integer(limit, 0, LIMIT_MAX)
                        });
                        limits.extend(limit.map(|limit| (kind.plural().to_owned(), limit)));
                    }
                    reader.ignore(&["project"]);
                    Some(())
                });
            } else {
                outer.ignore(&["quota"]);
                let hint = "such as {\"quota\": {\"ports\": 10}}";
                outer.refuse("", Refusal::new("missing", "the body has no `quota`", hint));
            }
            outer.finish();
        }
        if errors.is_empty() { Ok(Self(limits)) } else { Err(errors) }
    }
}

/// The limit where neither the project nor the configuration has one: enough for a tenant of an edge site, and little
/// enough that none takes the whole host.
const fn standard(kind: Kind) -> u64 {
    match kind {
        Kind::Network | Kind::SecurityGroup => 100,
        Kind::Router => 20,
        Kind::FloatingIp | Kind::LoadBalancer | Kind::Token | Kind::RoleBinding => 50,
        Kind::SecurityGroupRule => 2000,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Limits;

    #[test]
    fn limits_are_read_strictly() {
        let limits =
            Limits::read(&json!({"quota": {"ports": 3, "networks": {"limit": 2, "used": 1}}})).unwrap();
        assert_eq!((limits.of("ports"), limits.of("networks"), limits.of("routers")), (3, 2, 20));
        for (body, pointer) in [
            (json!({"quota": {"prts": 1}}), "/quota/prts"),
            (json!({"quota": {"ports": -1}}), "/quota/ports"),
            (json!({"ports": 1}), ""),
            (json!({"quota": {"projects": 1}}), "/quota/projects"),
        ] {
            assert_eq!(Limits::read(&body).unwrap_err()[0].pointer, pointer, "{body}");
        }
    }

    #[test]
    fn a_project_s_own_limits_go_before_those_of_the_configuration() {
        let configured = Limits([("ports".to_owned(), 7), ("routers".to_owned(), 8)].into());
        let own = Limits([("ports".to_owned(), 1)].into());
        let limits = own.over(&configured);
        assert_eq!((limits.of("ports"), limits.of("routers")), (1, 8));
    }
}
