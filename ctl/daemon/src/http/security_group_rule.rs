//! Paths of rules of security groups: those that every kind has.

use axum::Router;
use edgestack_model::SecurityGroupRuleSpec;

use super::{Api, objects};

/// The paths.
pub(super) fn routes() -> Router<Api> {
    objects::routes::<SecurityGroupRuleSpec>()
}
