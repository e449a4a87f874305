//! Rules of projects: the `default` group that comes with each, and what must be gone before one goes.

use edgestack_model::project::DEFAULT_PROJECT;
use edgestack_model::security_group::DEFAULT_GROUP;
use edgestack_model::{Kind, ProjectSpec, Reference, SecurityGroupSpec, Spec};

use super::error::AppError;
use super::record::{Entry, Record, object_key};
use super::usage::{counts, limits_key, usage_key};
use super::write::{Write, find};
use super::{Complete, Noun, Scope, in_effect, security_group, security_group_rule};

impl Noun for ProjectSpec {
    fn resolve(&mut self, _previous: Option<&Self>, _write: &mut Write<'_>) -> Result<(), AppError> {
        Ok(())
    }

    const COMPLETE: Option<Complete<Self>> = Some(|objects, _| {
        in_effect(objects);
        Ok(())
    });

    fn after_put(record: &Record<Self>, _wanted: &Self, write: &mut Write<'_>) -> Result<(), AppError> {
        let is_new = write.store().get(&object_key::<Self>(&record.id))?.is_none();
        // That of the default project comes with the first port that needs it, as it did before there were projects.
        if is_new && record.name != DEFAULT_PROJECT {
            security_group::add_default(&record.name, write.transaction())?;
        }
        Ok(())
    }

    fn before_delete(entry: &Entry<Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        let project = entry.record.name.as_str();
        if project == DEFAULT_PROJECT {
            let reason = "it is the project of requests that name none";
            return Err(AppError::Protected { kind: Self::KIND, name: project.to_owned(), reason });
        }
        let (mut counts, revision) = counts(write.store(), project)?;
        let group = find::<SecurityGroupSpec>(write.store(), &Scope::of_project(project), DEFAULT_GROUP)?;
        let mut go_with_it = vec![(SecurityGroupSpec::KIND, 1)];
        if let Some(group) = &group {
            let rules = security_group_rule::of_group(write.store(), &group.record.id)?;
            go_with_it.push((Kind::SecurityGroupRule, rules.len() as u64));
            security_group::remove_with_rules(group, &rules, write);
        }
        for (kind, count) in go_with_it {
            if let Some(counted) = counts.get_mut(kind.plural()) {
                *counted = counted.saturating_sub(count);
            }
        }
        counts.retain(|_, count| *count > 0);
        if !counts.is_empty() {
            let users = counts.into_iter().map(|(kind, count)| Reference {
                id: String::new(),
                name: format!("({count})"),
                kind,
            });
            let name = project.to_owned();
            return Err(AppError::InUse { kind: Self::KIND, name, users: users.collect() });
        }
        let transaction = write.transaction();
        transaction
            .require(usage_key(project), revision)
            .delete(usage_key(project))
            .delete(limits_key(project));
        Ok(())
    }
}
