//! Rules of keypairs: a key never changes, and private keys never get here.

use edgestack_model::KeypairSpec;
use edgestack_model::reader::Refusal;
use serde_json::{Map, Value};

use super::error::AppError;
use super::write::Write;
use super::{Complete, Noun, in_effect};

impl Noun for KeypairSpec {
    fn resolve(&mut self, previous: Option<&Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        if self.generate.is_some() {
            let message = "a key is made with its keypair only";
            write.refuse("generate", Refusal::new("not_allowed", message, "create another keypair"));
            return Ok(());
        }
        if let Some(previous) = previous
            && self.fingerprint != previous.fingerprint
        {
            write.refuse_change("public_key", &previous.fingerprint);
        }
        Ok(())
    }

    fn only_settable(fields: &mut Map<String, Value>) {
        // They follow from the public key.
        for key in ["type", "fingerprint", "comment"] {
            fields.remove(key);
        }
    }

    const COMPLETE: Option<Complete<Self>> = Some(|objects, _| {
        in_effect(objects);
        Ok(())
    });
}
