//! Paths of networks: those that every kind has.

use axum::Router;
use edgestack_model::NetworkSpec;

use super::{Api, objects};

/// The paths.
pub(super) fn routes() -> Router<Api> {
    objects::routes::<NetworkSpec>()
}
