//! Role bindings: what a user, known by a client certificate, may do in a project.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::meta::{Kind, Object, Spec};
use crate::reader::{Reader, Refusal};
use crate::role::{Role, read_role};
use crate::value;

/// Letters of a user's name.
pub const USER_LETTERS_MAX: usize = 64;

/// A role binding as the API shows it.
pub type RoleBinding = Object<RoleBindingSpec>;

/// The fields of a role binding. It holds in the project that it belongs to; in `system`, for the whole site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleBindingSpec {
    /// The user: the common name of the client's certificate.
    pub user: String,
    /// What the user may do.
    pub role: Role,
    /// Free text.
    #[serde(default)]
    pub description: String,
}

impl Spec for RoleBindingSpec {
    const KIND: Kind = Kind::RoleBinding;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let user = reader.required("user", "`alice`", read_user);
        let role = reader.required("role", "`member`", read_role);
        let description = reader.optional("description", value::description).unwrap_or_default();
        let spec = Self { user: user?, role: role?, description };
        reader.is_clean().then_some(spec)
    }
}

/// Whether a text can be the name of a user: letters, digits and `.@_-`, so that it never needs quoting.
pub fn is_user(text: &str) -> bool {
    (1..=USER_LETTERS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".@_-".contains(&byte))
}

fn read_user(value: &Value) -> Result<String, Refusal> {
    let text = value::text(value)?;
    if is_user(&text) {
        return Ok(text);
    }
    let hint = format!("1 to {USER_LETTERS_MAX} of letters, digits and `.@_-`");
    Err(Refusal::new("invalid_user", format!("`{text}` is no name of a user"), hint))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::RoleBindingSpec;
    use crate::meta::tests::{accepted, refusals};

    #[test]
    fn users_are_names_of_certificates() {
        let body = json!({"role_binding": {"name": "alice", "user": "alice@example.net", "role": "viewer"}});
        assert_eq!(accepted::<RoleBindingSpec>(&body).spec.user, "alice@example.net");
        let found = refusals::<RoleBindingSpec>(&json!({"role_binding": {"name": "a", "user": "a/b"}}));
        let wanted = [("/role_binding/user", "invalid_user"), ("/role_binding/role", "missing")];
        assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    }
}
