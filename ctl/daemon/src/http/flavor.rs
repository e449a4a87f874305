//! Paths of flavors: those that every kind has.

use edgestack_model::FlavorSpec;

use super::objects;
use super::routes::Routes;

/// The paths.
pub(super) fn routes() -> Routes {
    objects::routes::<FlavorSpec>()
}
