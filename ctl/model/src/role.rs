//! Roles: what somebody may do, by a name. Which role may do what stands in the daemon's `access/table.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::reader::Refusal;
use crate::value;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Runs the hosts of the site: sees everything, changes what belongs to hosts.
    Operator,
    /// Runs the networks of the site, those of all projects among them.
    Netadmin,
    /// Runs one project, and says who else may.
    ProjectOwner,
    /// Works in one project.
    Member,
    /// Looks at one project.
    Viewer,
    /// Looks at everything, the audit log too, and changes nothing.
    Auditor,
}

impl Role {
    /// Every role, in the order of the table in docs/access.md.
    pub const ALL: [Self; 7] = [
        Self::Admin,
        Self::Operator,
        Self::Netadmin,
        Self::ProjectOwner,
        Self::Member,
        Self::Viewer,
        Self::Auditor,
    ];

    /// The words on the wire.
    pub const WORDS: [(&'static str, Self); 7] = [
        ("admin", Self::Admin),
        ("operator", Self::Operator),
        ("netadmin", Self::Netadmin),
        ("project-owner", Self::ProjectOwner),
        ("member", Self::Member),
        ("viewer", Self::Viewer),
        ("auditor", Self::Auditor),
    ];

    /// Whether the role holds for the whole site; the others hold in one project.
    pub const fn is_of_the_site(self) -> bool {
        matches!(self, Self::Admin | Self::Operator | Self::Netadmin | Self::Auditor)
    }

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        Self::WORDS[self as usize].0
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A role by its word.
pub(crate) fn read_role(value: &Value) -> Result<Role, Refusal> {
    value::word(value, &Role::WORDS)
}

#[cfg(test)]
mod tests {
    use super::Role;

    #[test]
    fn words_are_in_the_order_of_the_roles_and_those_of_serde() {
        for (index, role) in Role::ALL.into_iter().enumerate() {
            assert_eq!(Role::WORDS[index], (role.word(), role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.word());
        }
    }
}
