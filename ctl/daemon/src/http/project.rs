//! Paths of projects: those that every kind has.

use edgestack_model::ProjectSpec;

use super::objects;
use super::routes::Routes;

/// The paths.
pub(super) fn routes() -> Routes {
    objects::routes::<ProjectSpec>()
}
