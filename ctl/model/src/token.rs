//! Tokens: secrets that stand for a role, for programs. The secret is shown once, when the token is made; only a digest
//! of it is kept.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::meta::{Kind, Object, Spec};
use crate::reader::{Reader, Refusal};
use crate::role::{Role, read_role};
use crate::value;

/// How long a token is good where its request does not say.
pub const LIFETIME_DEFAULT: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How long it may be good at most.
pub const LIFETIME_MAX: SignedDuration = SignedDuration::from_hours(366 * 24);

/// A token as the API shows it.
pub type Token = Object<TokenSpec>;

/// The fields of a token. It holds in the project that it belongs to; in `system`, for the whole site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenSpec {
    /// What its bearer may do.
    pub role: Role,
    /// When it ends; in 90 days where left out.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, give or take ten minutes; none where never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Digest of the secret of a token that is being made; neither stored here nor shown.
    #[serde(skip)]
    pub digest: Option<String>,
}

impl Spec for TokenSpec {
    const KIND: Kind = Kind::Token;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let role = reader.required("role", "`member`", read_role);
        let expires_at = reader.optional("expires_at", read_time);
        reader.ignore(&["last_used_at"]);
        let description = reader.optional("description", value::description).unwrap_or_default();
        let spec = Self { role: role?, expires_at, last_used_at: None, description, digest: None };
        reader.is_clean().then_some(spec)
    }
}

fn read_time(value: &Value) -> Result<Timestamp, Refusal> {
    let text = value::text(value)?;
    text.parse().map_err(|_| {
        Refusal::new("invalid_time", format!("`{text}` is no time"), "write it like `2027-01-31T12:00:00Z`")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::TokenSpec;
    use crate::meta::tests::{accepted, refusals};
    use crate::role::Role;

    #[test]
    fn a_token_is_a_role_for_a_time() {
        let body = json!({"token": {"name": "ci", "role": "member", "expires_at": "2027-01-31T12:00:00Z"}});
        let spec = accepted::<TokenSpec>(&body).spec;
        assert_eq!(spec.role, Role::Member);
        assert_eq!(spec.expires_at.unwrap().to_string(), "2027-01-31T12:00:00Z");
        let found = refusals::<TokenSpec>(
            &json!({"token": {"name": "ci", "role": "root", "expires_at": "soon", "digest": "x"}}),
        );
        let wanted = [
            ("/token/role", "invalid_value"),
            ("/token/expires_at", "invalid_time"),
            ("/token/digest", "unknown_field"),
        ];
        assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    }
}
