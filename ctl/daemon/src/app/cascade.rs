//! The removal of an object together with those that use it: the users first, all in one transaction.

use std::sync::Arc;

use edgestack_model::{
    AddressGroupSpec, FieldError, FlavorSpec, FloatingIpSpec, KeypairSpec, Kind, LoadBalancerSpec,
    NetworkSpec, NodeSpec, PortSpec, RouterSpec, SecurityGroupRuleSpec, SecurityGroupSpec,
};

use super::error::AppError;
use super::record::{Entry, Record};
use super::{App, Noun, check_etag, write};
use crate::store::Preview;

/// Objects that one request removes.
const CASCADE_MAX: usize = 1000;

impl App {
    /// Removes an object and everything that uses it, or nothing. What is not of the `removable` kinds stands in the way.
    pub fn delete_with_users<S: Noun>(
        &self,
        reference: &str,
        if_match: Option<&str>,
        removable: &[Kind],
    ) -> Result<Record<S>, AppError> {
        self.attempt(|| {
            let entry = self.own_entry::<S>(reference)?;
            check_etag(&entry, if_match)?;
            let preview = Preview::new(Arc::clone(self.store()));
            let steps = self.over(Arc::clone(&preview) as _);
            remove(&steps, &entry, removable, &mut 0)?;
            self.commit(preview.transaction(), &entry.record)?;
            Ok(entry.record)
        })
    }
}

/// Removes an object after all of its users. References lead from kind to kind and never back, so this ends.
fn remove<S: Noun>(
    steps: &App,
    entry: &Entry<S>,
    removable: &[Kind],
    removed: &mut usize,
) -> Result<(), AppError> {
    for user in steps.users(entry)? {
        let kind = removable.iter().copied().find(|kind| kind.singular() == user.kind);
        match kind {
            Some(Kind::Network) => remove_user::<NetworkSpec>(steps, &user.id, removable, removed),
            Some(Kind::Port) => remove_user::<PortSpec>(steps, &user.id, removable, removed),
            Some(Kind::Router) => remove_user::<RouterSpec>(steps, &user.id, removable, removed),
            Some(Kind::FloatingIp) => remove_user::<FloatingIpSpec>(steps, &user.id, removable, removed),
            Some(Kind::LoadBalancer) => remove_user::<LoadBalancerSpec>(steps, &user.id, removable, removed),
            Some(Kind::SecurityGroup) => {
                remove_user::<SecurityGroupSpec>(steps, &user.id, removable, removed)
            }
            Some(Kind::SecurityGroupRule) => {
                remove_user::<SecurityGroupRuleSpec>(steps, &user.id, removable, removed)
            }
            Some(Kind::AddressGroup) => remove_user::<AddressGroupSpec>(steps, &user.id, removable, removed),
            Some(Kind::Flavor) => remove_user::<FlavorSpec>(steps, &user.id, removable, removed),
            Some(Kind::Keypair) => remove_user::<KeypairSpec>(steps, &user.id, removable, removed),
            Some(Kind::Node) => remove_user::<NodeSpec>(steps, &user.id, removable, removed),
            // Nobody uses these; or it is not the caller's to remove, and stays with what it uses.
            Some(Kind::Project | Kind::Token | Kind::RoleBinding) | None => Ok(()),
        }?;
    }
    *removed += 1;
    if *removed > CASCADE_MAX {
        let error = FieldError {
            pointer: "?cascade".to_owned(),
            code: "too_many".to_owned(),
            message: format!("more than {CASCADE_MAX} objects would go with it"),
            hint: Some("remove some of its users first".to_owned()),
        };
        return Err(AppError::Conflict { kind: S::KIND, errors: vec![error] });
    }
    steps.delete_now(entry)
}

fn remove_user<S: Noun>(
    steps: &App,
    id: &str,
    removable: &[Kind],
    removed: &mut usize,
) -> Result<(), AppError> {
    // It may have gone with another user, or be of another project: then what it uses is not removed either.
    match write::find::<S>(steps.store().as_ref(), steps.scope(), id)? {
        Some(entry) => remove(steps, &entry, removable, removed),
        None => Ok(()),
    }
}
