//! Security groups: stateful lists of what is allowed.

use serde::{Deserialize, Serialize};

use crate::meta::{Kind, Object, Spec};
use crate::reader::Reader;
use crate::security_group_rule::{SecurityGroupRule, SecurityGroupRuleSpec};
use crate::value;

/// Rules of one group.
pub const RULES_MAX: usize = 1000;
/// Name of the group of ports that name none.
pub const DEFAULT_GROUP: &str = "default";

/// A security group as the API shows it.
pub type SecurityGroup = Object<SecurityGroupSpec>;

/// The fields of a security group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroupSpec {
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Its rules: shown in answers; in a request they replace all rules of the group, or leave them as they are
    /// where left out. Each rule is an object of its own too.
    #[serde(default)]
    pub rules: Vec<SecurityGroupRule>,
    /// The rules of a request.
    #[serde(skip)]
    pub wanted_rules: Option<Vec<SecurityGroupRuleSpec>>,
}

impl Spec for SecurityGroupSpec {
    const KIND: Kind = Kind::SecurityGroup;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let description = reader.optional("description", value::description).unwrap_or_default();
        let wanted_rules = reader.objects("rules", RULES_MAX, SecurityGroupRuleSpec::read_inline);
        let spec = Self { description, rules: Vec::new(), wanted_rules };
        reader.is_clean().then_some(spec)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::SecurityGroupSpec;
    use crate::meta::tests::{accepted, refusals};

    #[test]
    fn rules_may_stand_in_the_group() {
        let draft = accepted::<SecurityGroupSpec>(&json!({"security_group": {"name": "web", "rules": [
            {"direction": "ingress", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80},
        ]}}));
        assert_eq!(draft.spec.wanted_rules.unwrap().len(), 1);
        let draft = accepted::<SecurityGroupSpec>(&json!({"security_group": {"name": "web"}}));
        assert_eq!(draft.spec.wanted_rules, None);
    }

    #[test]
    fn a_wrong_rule_is_named_by_its_place() {
        let found = refusals::<SecurityGroupSpec>(&json!({"security_group": {"name": "web", "rules": [
            {"direction": "ingress"}, {"direction": "sideways"}, {"protocol": "tcp"},
        ]}}));
        let wanted = [
            ("/security_group/rules/1/direction", "invalid_value"),
            ("/security_group/rules/2/direction", "missing"),
        ];
        assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    }
}
