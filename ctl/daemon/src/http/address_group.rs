//! Paths of address groups: those that every kind has.

use edgestack_model::AddressGroupSpec;

use super::objects;
use super::routes::Routes;

/// The paths.
pub(super) fn routes() -> Routes {
    objects::routes::<AddressGroupSpec>()
}
