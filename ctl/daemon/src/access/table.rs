//! The table of permissions: which role may do what with what. Whatever does not stand here is denied.
//!
//! Roles of the site hold in every project, the others in the one that they are given for. Every route names its
//! [`Resource`] and its [`Verb`] where it is declared ([`crate::http::routes::Routes`]), so there is none without.
//! `docs/access.md` shows this table; a test keeps it the same.

use std::fmt::{self, Write as _};

use edgestack_model::{Kind, Role};

/// What a route is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Objects of a kind.
    Object(Kind),
    /// How much a project may have.
    Quotas,
    /// Who wrote what.
    Audit,
    /// What happened to objects that the caller may see.
    Events,
    /// What takes longer than a request.
    Operations,
    /// Copies of everything that is stored.
    Backups,
    /// What passes through the dataplane: flows, counters, traces, captures. Packets of all tenants are seen there.
    Traffic,
    /// Numbers about the daemon and the dataplane.
    Metrics,
    /// What the daemon says of itself, and of the caller.
    Version,
    /// What the API is: for everybody, it is no secret.
    Reference,
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

    /// The word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

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
            Self::Quotas => "quotas",
            Self::Audit => "audit",
            Self::Events => "events",
            Self::Operations => "operations",
            Self::Backups => "backups",
            Self::Traffic => "traffic",
            Self::Metrics => "metrics",
            Self::Version => "version",
            Self::Reference => "reference",
            Self::Health => "health",
        })
    }
}

impl Resource {
    /// Every resource.
    pub fn all() -> impl Iterator<Item = Self> {
        let others = [
            Self::Quotas,
            Self::Audit,
            Self::Events,
            Self::Operations,
            Self::Backups,
            Self::Traffic,
            Self::Metrics,
            Self::Version,
            Self::Reference,
            Self::Health,
        ];
        Kind::ALL.into_iter().map(Self::Object).chain(others)
    }

    /// What each role may do: `r`ead, `c`reate, `u`pdate, `d`elete.
    #[rustfmt::skip]
    #[expect(clippy::match_same_arms, reason = "it is a table: one row for each resource")]
    const fn row(self) -> [&'static str; Role::ALL.len()] {
        use Kind::{
            AddressGroup, Flavor, FloatingIp, Keypair, LoadBalancer, Network, Node, Port, Project, RoleBinding, Router,
            SecurityGroup, SecurityGroupRule, Token,
        };
        match self {
            //                                    admin   operator netadmin owner   member  viewer  auditor
            Self::Object(Network)             => ["rcud", "r",     "rcud", "rcud", "rcud", "r",    "r"],
            Self::Object(Port)                => ["rcud", "rcud",  "rcud", "rcud", "rcud", "r",    "r"],
            Self::Object(Router)              => ["rcud", "r",     "rcud", "rcud", "rcud", "r",    "r"],
            Self::Object(FloatingIp)          => ["rcud", "r",     "rcud", "rcud", "rcud", "r",    "r"],
            Self::Object(LoadBalancer)        => ["rcud", "r",     "rcud", "rcud", "rcud", "r",    "r"],
            Self::Object(SecurityGroup)       => ["rcud", "r",     "rcud", "rcud", "rcud", "r",    "r"],
            Self::Object(SecurityGroupRule)   => ["rcud", "r",     "rcud", "rcud", "rcud", "r",    "r"],
            Self::Object(AddressGroup)        => ["rcud", "r",     "rcud", "rcud", "rcud", "r",    "r"],
            Self::Object(Flavor)              => ["rcud", "rcud",  "r",    "r",    "r",    "r",    "r"],
            Self::Object(Keypair)             => ["rcud", "r",     "r",    "rcud", "rcud", "r",    "r"],
            Self::Object(Node)                => ["rcud", "rud",   "r",    "",     "",     "",     "r"],
            Self::Object(Project)             => ["rcud", "r",     "r",    "ru",   "r",    "r",    "r"],
            Self::Object(Token)               => ["rcud", "",      "",     "rcud", "",     "",     "r"],
            Self::Object(RoleBinding)         => ["rcud", "",      "",     "rcud", "",     "",     "r"],
            Self::Quotas                      => ["ru",   "r",     "r",    "r",    "r",    "r",    "r"],
            Self::Audit                       => ["r",    "",      "",     "",     "",     "",     "r"],
            Self::Events                      => ["r",    "r",     "r",    "r",    "r",    "r",    "r"],
            Self::Operations                  => ["rd",   "rd",    "",     "",     "",     "",     "r"],
            Self::Backups                     => ["rcd",  "",      "",     "",     "",     "",     "" ],
            Self::Traffic                     => ["rd",   "rd",    "rd",   "",     "",     "",     "" ],
            Self::Metrics                     => ["r",    "r",     "r",    "",     "",     "",     "r"],
            Self::Version                     => ["r",    "r",     "r",    "r",    "r",    "r",    "r"],
            Self::Reference                   => ["r",    "r",     "r",    "r",    "r",    "r",    "r"],
            Self::Health                      => ["r",    "r",     "r",    "r",    "r",    "r",    "r"],
        }
    }

    /// Whether it belongs to a project; the rest is the site's.
    pub const fn is_of_projects(self) -> bool {
        match self {
            Self::Object(kind) => kind.is_of_projects(),
            Self::Quotas | Self::Events => true,
            _ => false,
        }
    }

    /// Whether it is about who may do what, and so found in the project `system` too.
    pub const fn is_about_access(self) -> bool {
        matches!(self, Self::Object(Kind::Token | Kind::RoleBinding))
    }

    /// Whether everybody may, without saying who they are.
    pub const fn is_public(self) -> bool {
        matches!(self, Self::Health | Self::Reference)
    }
}

/// Whether a role may do something, where it holds.
pub fn allows(role: Role, resource: Resource, verb: Verb) -> bool {
    resource.row()[role as usize].contains(verb.letter())
}

/// The table for people, in Markdown.
pub fn markdown() -> String {
    let mut text = String::from("| |");
    for role in Role::ALL {
        let _ = write!(text, " {role} |");
    }
    text.push_str("\n| --- |");
    text.push_str(&" --- |".repeat(Role::ALL.len()));
    for resource in Resource::all() {
        let _ = write!(text, "\n| {resource} |");
        for role in Role::ALL {
            let verbs = Verb::ALL.into_iter().filter(|verb| allows(role, resource, *verb));
            let words: Vec<&str> = verbs.map(Verb::word).collect();
            let cell = if words.len() == Verb::ALL.len() { "all".to_owned() } else { words.join(", ") };
            let _ = write!(text, " {cell} |");
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use edgestack_model::{Kind, Role};

    use super::{Resource, Verb, allows, markdown};

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

    /// `UPDATE_DOCS=1 cargo test -p edgestackd` writes the table into the document.
    #[test]
    fn the_document_shows_this_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/access.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (begin, end) = ("<!-- table of permissions -->\n", "<!-- end of the table -->");
        let (before, rest) = text.split_once(begin).unwrap();
        let (shown, after) = rest.split_once(end).unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, format!("{before}{begin}{}{end}{after}", markdown())).unwrap();
            return;
        }
        assert_eq!(shown, markdown(), "write it anew: UPDATE_DOCS=1 cargo test -p edgestackd the_document");
    }
}
