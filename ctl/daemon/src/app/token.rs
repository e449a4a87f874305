//! Rules of tokens and role bindings: where which role may be given, and how the bearer of a token is found.

use edgestack_model::project::SYSTEM_PROJECT;
use edgestack_model::reader::Refusal;
use edgestack_model::token::{LIFETIME_DEFAULT, LIFETIME_MAX};
use edgestack_model::{Role, RoleBindingSpec, TokenSpec};
use jiff::Timestamp;
use serde_json::Value;

use super::error::AppError;
use super::record::{Entry, parse_owner};
use super::write::Write;
use super::{Complete, Noun, Scope, in_effect, write};
use crate::store::{Store, Transaction};

impl Noun for TokenSpec {
    fn resolve(&mut self, previous: Option<&Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        check_role(self.role, write);
        let now = Timestamp::now();
        let end = self.expires_at.or(previous.and_then(|previous| previous.expires_at));
        let end = end.unwrap_or(now + LIFETIME_DEFAULT);
        if !write.is_comparison() && !(now..=now + LIFETIME_MAX).contains(&end) {
            let message = format!("a token cannot end at {end}");
            let hint = format!("after now and before {}", now + LIFETIME_MAX);
            write.refuse("expires_at", Refusal::new("out_of_range", message, hint));
        }
        self.expires_at = Some(end);
        self.last_used_at = None;
        if let Some(digest) = self.digest.take() {
            write.claim(token_key(&digest), "", "in_use", "the secret");
        }
        Ok(())
    }

    fn more_differences(_: &Entry<Self>, _: &Self, _: &dyn Store) -> Result<Vec<String>, AppError> {
        // Its secret cannot be shown again, so no other token is as good.
        Ok(vec!["secret".to_owned()])
    }

    fn before_delete(entry: &Entry<Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        let key = last_use_key(&entry.record.id);
        write.transaction().delete(key);
        Ok(())
    }

    fn only_settable(fields: &mut serde_json::Map<String, Value>) {
        fields.remove("last_used_at");
    }

    const COMPLETE: Option<Complete<Self>> = Some(|objects, app| {
        in_effect(objects);
        for object in objects {
            let stored = app.store.get(&last_use_key(&object.id))?;
            let text = stored.and_then(|stored| String::from_utf8(stored.value).ok());
            object.spec.last_used_at = text.and_then(|text| text.parse().ok());
        }
        Ok(())
    });
}

impl Noun for RoleBindingSpec {
    fn resolve(&mut self, _previous: Option<&Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        check_role(self.role, write);
        let key = format!("{}{}", bindings_prefix(&self.user), write.id());
        write.claim(key, "user", "in_use", "the binding");
        Ok(())
    }

    const COMPLETE: Option<Complete<Self>> = Some(|objects, _| {
        in_effect(objects);
        Ok(())
    });
}

/// Roles of the site are given in `system`, the others in a project.
fn check_role(role: Role, write: &mut Write<'_>) {
    let is_system = write.scope().project() == SYSTEM_PROJECT;
    if role.is_of_the_site() == is_system {
        return;
    }
    let (message, hint) = if is_system {
        (format!("the role {role} is given in a project"), "name the project: ?project=NAME".to_owned())
    } else {
        let message = format!("the role {role} holds for the whole site");
        (message, format!("give it in the project `{SYSTEM_PROJECT}`: ?project={SYSTEM_PROJECT}"))
    };
    write.refuse("role", Refusal::new("wrong_project", message, hint));
}

/// The token whose secret has this digest, with its project.
pub fn token_of(store: &dyn Store, digest: &str) -> Result<Option<Entry<TokenSpec>>, AppError> {
    let Some(owner) = store.get(&token_key(digest))? else { return Ok(None) };
    let Some((_, id, _)) = parse_owner(&owner.value) else { return Ok(None) };
    write::find(store, &Scope::default(), id)
}

/// The bindings of a user, in all projects.
pub fn bindings_of(store: &dyn Store, user: &str) -> Result<Vec<Entry<RoleBindingSpec>>, AppError> {
    let mut bindings = Vec::new();
    for owner in store.list(&bindings_prefix(user))?.entries {
        if let Some((_, id, _)) = parse_owner(&owner.value) {
            bindings.extend(write::find(store, &Scope::default(), id)?);
        }
    }
    Ok(bindings)
}

/// Notes that a token was used, unless it is gone meanwhile.
pub fn note_use(store: &dyn Store, token: &Entry<TokenSpec>, now: Timestamp) -> Result<(), AppError> {
    let id = &token.record.id;
    let mut transaction = Transaction::default();
    transaction
        .require(super::object_key::<TokenSpec>(id), token.revision)
        .put(last_use_key(id), now.to_string());
    store.commit(&transaction)?;
    Ok(())
}

fn token_key(digest: &str) -> String {
    format!("claims/tokens/{digest}")
}

fn bindings_prefix(user: &str) -> String {
    format!("claims/bindings/{user}/")
}

fn last_use_key(id: &str) -> String {
    format!("last-uses/{id}")
}
