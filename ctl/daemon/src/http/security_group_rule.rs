//! Paths of rules of security groups: those that every kind has.

use edgestack_model::SecurityGroupRuleSpec;

use super::objects;
use super::routes::Routes;

/// The paths.
pub(super) fn routes() -> Routes {
    objects::routes::<SecurityGroupRuleSpec>()
}
