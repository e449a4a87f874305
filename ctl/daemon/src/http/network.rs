//! Paths of networks: those that every kind has.

use edgestack_model::NetworkSpec;

use super::objects;
use super::routes::Routes;

/// The paths.
pub(super) fn routes() -> Routes {
    objects::routes::<NetworkSpec>()
}
