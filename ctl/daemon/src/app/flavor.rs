//! Rules of flavors: there are none between them and other objects, as long as no machine is made from one.

use edgestack_model::{FlavorSpec, Object};

use super::error::AppError;
use super::write::Write;
use super::{Noun, in_effect};
use crate::store::Store;

impl Noun for FlavorSpec {
    fn resolve(&mut self, _previous: Option<&Self>, _write: &mut Write<'_>) -> Result<(), AppError> {
        Ok(())
    }

    fn complete(objects: &mut [Object<Self>], _store: &dyn Store) -> Result<(), AppError> {
        in_effect(objects);
        Ok(())
    }
}
