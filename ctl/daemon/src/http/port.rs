//! Paths of ports: those that every kind has.

use axum::Router;
use edgestack_model::PortSpec;

use super::{Api, objects};

/// The paths.
pub(super) fn routes() -> Router<Api> {
    objects::routes::<PortSpec>()
}
