//! Paths of security groups: those that every kind has.

use edgestack_model::SecurityGroupSpec;

use super::objects;
use super::routes::Routes;

/// The paths.
pub(super) fn routes() -> Routes {
    objects::routes::<SecurityGroupSpec>()
}
