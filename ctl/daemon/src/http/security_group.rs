//! Paths of security groups: those that every kind has.

use axum::Router;
use edgestack_model::SecurityGroupSpec;

use super::{Api, objects};

/// The paths.
pub(super) fn routes() -> Router<Api> {
    objects::routes::<SecurityGroupSpec>()
}
