//! Rules of address groups: there are none but that a group which rules name stays.

use edgestack_model::AddressGroupSpec;

use super::Noun;
use super::error::AppError;
use super::write::Write;

impl Noun for AddressGroupSpec {
    fn resolve(&mut self, _previous: Option<&Self>, _write: &mut Write<'_>) -> Result<(), AppError> {
        Ok(())
    }
}
