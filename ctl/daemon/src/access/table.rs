//! The table of permissions: which role may do what with what. Whatever does not stand here is denied.
//!
//! Roles of the site hold in every project, the others in the one that they are given for. Every route names its
//! [`Resource`] and its [`Verb`] where it is declared ([`crate::http::routes::Routes`]), so there is none without.

use std::fmt;

use edgestack_model::{Kind, Role};

/// What a route is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Objects of a kind.
    Object(Kind),
    /// What passes through the dataplane: flows, counters, traces, captures. Packets of all tenants are seen there.
    Traffic,
    /// Numbers about the daemon and the dataplane.
    Metrics,
    /// What the daemon says of itself to whoever is somebody.
    Version,
    /// Whether the daemon is well: for everybody, so that load balancers may ask.
    Health,
}

/// What is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Looks, and changes nothing.
    Read,
    /// Makes a new one.
    Create,
    /// Changes one.
    Update,
    /// Removes one.
    Delete,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 4] = [Self::Read, Self::Create, Self::Update, Self::Delete];

    /// The letter in the table.
    const fn letter(self) -> char {
        match self {
            Self::Read => 'r',
            Self::Create => 'c',
            Self::Update => 'u',
            Self::Delete => 'd',
        }
    }
}

impl From<Kind> for Resource {
    fn from(kind: Kind) -> Self {
        Self::Object(kind)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object(kind) => kind.plural(),
            Self::Traffic => "traffic",
            Self::Metrics => "metrics",
            Self::Version => "version",
            Self::Health => "health",
        })
    }
}

impl Resource {
    /// Every resource.
    pub fn all() -> impl Iterator<Item = Self> {
        let others = [Self::Traffic, Self::Metrics, Self::Version, Self::Health];
        Kind::ALL.into_iter().map(Self::Object).chain(others)
    }

    /// What each role may do: `r`ead, `c`reate, `u`pdate, `d`elete.
    #[rustfmt::skip]
    #[expect(clippy::match_same_arms, reason = "it is a table: one row for each resource")]
    const fn row(self) -> [&'static str; Role::ALL.len()] {
        use Kind::{FloatingIp, Network, Port, Router, SecurityGroup, SecurityGroupRule};
        match self {
            //                                    admin   operator netadmin owner  member  viewer  auditor
            Self::Object(Network)             => ["rcud", "r",     "rcud", "rcud", "rcud", "r",    "r"],
            Self::Object(Port)                => ["rcud", "rcud",  "rcud", "rcud", "rcud", "r",    "r"],
            Self::Object(Router)              => ["rcud", "r",     "rcud", "rcud", "rcud", "r",    "r"],
            Self::Object(FloatingIp)          => ["rcud", "r",     "rcud", "rcud", "rcud", "r",    "r"],
            Self::Object(SecurityGroup)       => ["rcud", "r",     "rcud", "rcud", "rcud", "r",    "r"],
            Self::Object(SecurityGroupRule)   => ["rcud", "r",     "rcud", "rcud", "rcud", "r",    "r"],
            Self::Traffic                     => ["r",    "r",     "r",    "",     "",     "",     "" ],
            Self::Metrics                     => ["r",    "r",     "r",    "",     "",     "",     "r"],
            Self::Version                     => ["r",    "r",     "r",    "r",    "r",    "r",    "r"],
            Self::Health                      => ["r",    "r",     "r",    "r",    "r",    "r",    "r"],
        }
    }

    /// Whether everybody may, without saying who they are.
    pub const fn is_public(self) -> bool {
        matches!(self, Self::Health)
    }
}

/// Whether a role may do something, where it holds.
pub fn allows(role: Role, resource: Resource, verb: Verb) -> bool {
    resource.row()[role as usize].contains(verb.letter())
}

#[cfg(test)]
mod tests {
    use edgestack_model::{Kind, Role};

    use super::{Resource, Verb, allows};

    #[test]
    fn the_admin_may_do_everything_and_others_what_stands_there() {
        for kind in Kind::ALL {
            for verb in Verb::ALL {
                assert!(allows(Role::Admin, kind.into(), verb), "{kind} {verb:?}");
                assert!(verb == Verb::Read || !allows(Role::Viewer, kind.into(), verb), "{kind} {verb:?}");
                assert!(verb == Verb::Read || !allows(Role::Auditor, kind.into(), verb), "{kind} {verb:?}");
            }
        }
        assert!(!allows(Role::ProjectOwner, Resource::Traffic, Verb::Read));
    }

    #[test]
    fn rows_are_written_in_order_and_in_known_letters() {
        for resource in Resource::all() {
            for letters in resource.row() {
                let ordered: String =
                    Verb::ALL.map(Verb::letter).iter().filter(|letter| letters.contains(**letter)).collect();
                assert_eq!(ordered, letters, "{resource}");
            }
        }
    }
}
