//! Paths of ports: those that every kind has.

use edgestack_model::PortSpec;

use super::objects;
use super::routes::Routes;

/// The paths.
pub(super) fn routes() -> Routes {
    objects::routes::<PortSpec>()
}
