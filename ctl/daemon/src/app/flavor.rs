//! Rules of flavors: there are none between them and other objects, as long as no machine is made from one.

use edgestack_model::FlavorSpec;

use super::error::AppError;
use super::write::Write;
use super::{Complete, Noun, in_effect};

impl Noun for FlavorSpec {
    fn resolve(&mut self, _previous: Option<&Self>, _write: &mut Write<'_>) -> Result<(), AppError> {
        Ok(())
    }

    const COMPLETE: Option<Complete<Self>> = Some(|objects, _| {
        in_effect(objects);
        Ok(())
    });
}
