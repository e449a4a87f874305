//! A caller: who is asking, which roles they have, and what these let a request reach.

use std::collections::BTreeSet;

use edgestack_model::Role;
use edgestack_model::project::{ALL_PROJECTS, DEFAULT_PROJECT, SYSTEM_PROJECT};
use jiff::Timestamp;

use super::table::{Resource, Verb, allows};
use crate::app::{Reach, Scope};

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Name for the audit log and the rate limit: `uid:0`, `token:default/ci`, `user:alice`.
    pub name: String,
    /// Whether it is somebody of this host who could do everything anyway.
    pub is_local_admin: bool,
    grants: Vec<Grant>,
    /// When the token or the certificate ends by which the caller is known.
    expires_at: Option<Timestamp>,
}

/// A role, and where it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// The project that it holds in; none for the whole site.
    pub project: Option<String>,
}

/// Why a request may not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No role of the caller allows it.
    Forbidden {
        /// What would be needed.
        detail: String,
    },
    /// There is no such project, as far as the caller is concerned.
    NoSuchProject {
        /// The name that was asked for.
        project: String,
    },
    /// The caller has roles in several projects and names none.
    ProjectNeeded {
        /// The projects.
        projects: Vec<String>,
    },
}

impl Grant {
    /// A role as it stands in an object of `project`: those in `system` hold for the whole site.
    pub fn stored(role: Role, project: Option<&str>) -> Option<Self> {
        match project {
            Some(SYSTEM_PROJECT) => role.is_of_the_site().then_some(Self { role, project: None }),
            Some(project) => {
                (!role.is_of_the_site()).then(|| Self { role, project: Some(project.to_owned()) })
            }
            None => None,
        }
    }

    fn covers(&self, project: &str) -> bool {
        self.project.as_deref().is_none_or(|covered| covered == project)
    }
}

impl Caller {
    /// Somebody with some roles.
    pub fn new(name: String, grants: Vec<Grant>) -> Self {
        Self { name, is_local_admin: false, grants, expires_at: None }
    }

    /// Somebody of this host who may do everything.
    pub fn local_admin(uid: u32) -> Self {
        let grants = vec![Grant { role: Role::Admin, project: None }];
        Self { name: format!("uid:{uid}"), is_local_admin: true, grants, expires_at: None }
    }

    /// The same, known until then.
    #[must_use]
    pub fn until(self, end: Timestamp) -> Self {
        Self { expires_at: Some(end), ..self }
    }

    /// Until when the caller is known, where that has an end.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// The project whose tenant the caller is; none of who runs the site.
    pub fn tenant_of(&self) -> Option<&str> {
        let mut projects = self.grants.iter().map(|grant| grant.project.as_deref());
        projects.next().flatten().filter(|_| projects.all(|project| project.is_some()))
    }

    /// What the roles are, for people.
    pub fn describe_grants(&self) -> String {
        let grants = self.grants.iter().map(|grant| match &grant.project {
            Some(project) => format!("{} in {project}", grant.role),
            None => grant.role.to_string(),
        });
        grants.collect::<Vec<_>>().join(", ")
    }

    /// What a request may reach that does `verb` with `resource` in the project `wanted`, if it may at all.
    pub fn authorise(&self, resource: Resource, verb: Verb, wanted: Option<&str>) -> Result<Scope, Denied> {
        let allowing: Vec<&Grant> =
            self.grants.iter().filter(|grant| allows(grant.role, resource, verb)).collect();
        let forbidden = || {
            let roles = if self.grants.is_empty() { "no role".to_owned() } else { self.describe_grants() };
            let detail = format!("{} ({roles}) may not {} {resource}", self.name, verb.word());
            Err(Denied::Forbidden { detail })
        };
        let runs_hosts = |grant: &Grant| {
            grant.project.is_none() && matches!(grant.role, Role::Admin | Role::Operator | Role::Netadmin)
        };
        let host = allowing.iter().any(|grant| runs_hosts(grant));
        if !resource.is_of_projects() {
            return match allowing.as_slice() {
                [] => forbidden(),
                _ => Ok(Scope::new(DEFAULT_PROJECT, reach(&allowing), host)),
            };
        }
        // Where none is named, the events are of all projects.
        let wanted = wanted.or((resource == Resource::Events).then_some(ALL_PROJECTS));
        let project = match wanted {
            Some(ALL_PROJECTS) if verb == Verb::Read => {
                return if allowing.is_empty() {
                    forbidden()
                } else {
                    let home = self.home().unwrap_or_else(|_| DEFAULT_PROJECT.to_owned());
                    Ok(Scope::new(&home, reach(&allowing), host))
                };
            }
            Some(ALL_PROJECTS) => {
                let detail = "a change is made in one project: name it".to_owned();
                return Err(Denied::Forbidden { detail });
            }
            Some(project) => project.to_owned(),
            None => self.home()?,
        };
        let in_system = matches!(resource, Resource::Quotas | Resource::Events) || resource.is_about_access();
        let known = self.grants.iter().any(|grant| grant.covers(&project));
        if !known || project == SYSTEM_PROJECT && !in_system {
            return if self.grants.is_empty() { forbidden() } else { Err(Denied::NoSuchProject { project }) };
        }
        if allowing.iter().any(|grant| grant.covers(&project)) {
            return Ok(Scope::new(&project, Reach::one(&project), host));
        }
        forbidden()
    }

    /// The project of requests that name none.
    fn home(&self) -> Result<String, Denied> {
        let projects: BTreeSet<&str> =
            self.grants.iter().filter_map(|grant| grant.project.as_deref()).collect();
        let everywhere = self.grants.iter().any(|grant| grant.project.is_none());
        match projects.first() {
            _ if everywhere || projects.contains(DEFAULT_PROJECT) => Ok(DEFAULT_PROJECT.to_owned()),
            Some(project) if projects.len() == 1 => Ok((*project).to_owned()),
            Some(_) => {
                Err(Denied::ProjectNeeded { projects: projects.into_iter().map(str::to_owned).collect() })
            }
            None => Ok(DEFAULT_PROJECT.to_owned()),
        }
    }
}

/// The projects that some grants hold in.
fn reach(grants: &[&Grant]) -> Reach {
    let projects: Option<BTreeSet<String>> = grants.iter().map(|grant| grant.project.clone()).collect();
    projects.map_or(Reach::All, Reach::Projects)
}

#[cfg(test)]
mod tests {
    use edgestack_model::{Kind, Role};

    use super::{Caller, Denied, Grant};
    use crate::access::table::{Resource, Verb};

    fn caller(grants: &[(Role, Option<&str>)]) -> Caller {
        let grants = grants
            .iter()
            .map(|(role, project)| Grant { role: *role, project: project.map(str::to_owned) })
            .collect();
        Caller::new("somebody".to_owned(), grants)
    }

    const NETWORKS: Resource = Resource::Object(Kind::Network);

    #[test]
    fn a_member_works_in_the_own_project_and_knows_of_no_other() {
        let member = caller(&[(Role::Member, Some("blue"))]);
        let scope = member.authorise(NETWORKS, Verb::Create, None).unwrap();
        assert_eq!((scope.project(), scope.may_name_the_host()), ("blue", false));
        assert!(scope.may_hear_of("blue") && !scope.may_hear_of("red"));
        for unknown in ["red", "default", "system", "nothing"] {
            let denied = member.authorise(NETWORKS, Verb::Read, Some(unknown)).unwrap_err();
            assert_eq!(denied, Denied::NoSuchProject { project: unknown.to_owned() });
        }
        let all = member.authorise(NETWORKS, Verb::Read, Some("all")).unwrap();
        assert!(all.may_hear_of("blue") && !all.may_hear_of("red"));
        assert!(matches!(
            member.authorise(NETWORKS, Verb::Create, Some("all")),
            Err(Denied::Forbidden { .. })
        ));
        assert!(matches!(
            member.authorise(Resource::Traffic, Verb::Read, None),
            Err(Denied::Forbidden { .. })
        ));
    }

    #[test]
    fn a_role_counts_only_where_it_holds() {
        let both = caller(&[(Role::Viewer, Some("blue")), (Role::Member, Some("red"))]);
        assert_eq!(both.authorise(NETWORKS, Verb::Create, Some("red")).unwrap().project(), "red");
        assert!(matches!(
            both.authorise(NETWORKS, Verb::Create, Some("blue")),
            Err(Denied::Forbidden { .. })
        ));
        let needed = both.authorise(NETWORKS, Verb::Read, None).unwrap_err();
        assert_eq!(needed, Denied::ProjectNeeded { projects: vec!["blue".to_owned(), "red".to_owned()] });
        let all = both.authorise(NETWORKS, Verb::Read, Some("all")).unwrap();
        assert!(all.may_hear_of("blue") && all.may_hear_of("red") && !all.may_hear_of("default"));
    }

    #[test]
    fn events_are_of_all_own_projects_where_none_is_named() {
        let both = caller(&[(Role::Viewer, Some("blue")), (Role::Member, Some("red"))]);
        let told = both.authorise(Resource::Events, Verb::Read, None).unwrap();
        assert!(told.may_hear_of("blue") && told.may_hear_of("red") && !told.may_hear_of("green"));
        assert!(!told.sees_the_site());
        let one = both.authorise(Resource::Events, Verb::Read, Some("red")).unwrap();
        assert!(!one.may_hear_of("blue") && one.may_hear_of("red"));
        assert!(both.authorise(Resource::Events, Verb::Read, Some("green")).is_err());
        let operator = caller(&[(Role::Operator, None)]);
        assert!(operator.authorise(Resource::Events, Verb::Read, None).unwrap().sees_the_site());
        assert_eq!((both.tenant_of(), operator.tenant_of()), (Some("blue"), None));
    }

    #[test]
    fn who_has_no_role_may_nothing() {
        let nobody = caller(&[]);
        for resource in Resource::all().filter(|resource| !resource.is_public()) {
            for verb in Verb::ALL {
                for project in [None, Some("default"), Some("all"), Some("system")] {
                    assert!(
                        nobody.authorise(resource, verb, project).is_err(),
                        "{resource} {verb:?} {project:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_admin_gives_roles_of_the_site_in_system_and_nothing_else_is_there() {
        let admin = Caller::local_admin(0);
        assert!(admin.authorise(Kind::Token.into(), Verb::Create, Some("system")).is_ok());
        let denied = admin.authorise(NETWORKS, Verb::Create, Some("system")).unwrap_err();
        assert_eq!(denied, Denied::NoSuchProject { project: "system".to_owned() });
        assert_eq!(Grant::stored(Role::Admin, Some("blue")), None, "a role of the site is none in a project");
        assert_eq!(Grant::stored(Role::Member, Some("system")), None);
    }
}
