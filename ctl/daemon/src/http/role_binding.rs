//! Paths of role bindings: those that every kind has.

use edgestack_model::RoleBindingSpec;

use super::objects;
use super::routes::Routes;

/// The paths.
pub(super) fn routes() -> Routes {
    objects::routes::<RoleBindingSpec>()
}
