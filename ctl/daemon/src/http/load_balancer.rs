//! Paths of load balancers: those that every kind has, with rules and members as sub-resources, and rules as EdgeStack's
//! clients know them, under a path of their own. All of them change the one object.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use edgestack_model::load_balancer::{MEMBERS_MAX, Member, RULES_MAX, Rule};
use edgestack_model::{FieldError, Kind, LoadBalancer, LoadBalancerSpec, Object, value};
use serde_json::{Map, Value, json};

use super::body::{read_json, read_part};
use super::error::Failure;
use super::objects::{self, run};
use super::parameters::Parameters;
use super::routes::Routes;
use super::write_call::WriteCall;
use super::{Api, PREFIX};
use crate::app::load_balancer::no_such_part;
use crate::app::{App, AppError};

/// The paths.
pub(super) fn routes() -> Routes {
    let (kind, one) = (Kind::LoadBalancer, format!("{PREFIX}/lbs/{{name}}"));
    let of_all = format!("{PREFIX}/lb_rules");
    objects::routes::<LoadBalancerSpec>()
        .read(&format!("{one}/rules"), kind, list_rules)
        .act(&format!("{one}/rules"), kind, add_rule)
        .delete_part(&format!("{one}/rules/{{rule}}"), kind, remove_rule)
        .read(&format!("{one}/members"), kind, list_members)
        .act(&format!("{one}/members"), kind, add_member)
        .delete_part(&format!("{one}/members/{{member}}"), kind, remove_member)
        .read(&of_all, kind, list_all_rules)
        .act(&of_all, kind, add_rule_by_body)
        .read(&format!("{of_all}/{{rule}}"), kind, show_rule)
        .delete_part(&format!("{of_all}/{{rule}}"), kind, remove_rule_by_id)
}

async fn list_rules(api: Api, Path(name): Path<String>, parameters: Parameters) -> Result<Response, Failure> {
    parameters.finish()?;
    let object = run(&api, move |app| app.get::<LoadBalancerSpec>(&name)).await?.object;
    let rules: Vec<Value> = object.spec.rules.iter().map(|rule| shown(rule, &object)).collect();
    Ok(axum::Json(json!({ "lb_rules": rules, "total": rules.len() })).into_response())
}

async fn list_members(
    api: Api,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, Failure> {
    parameters.finish()?;
    let object = run(&api, move |app| app.get::<LoadBalancerSpec>(&name)).await?.object;
    let members = object.spec.members;
    Ok(axum::Json(json!({ "members": members, "total": members.len() })).into_response())
}

async fn list_all_rules(api: Api, parameters: Parameters) -> Result<Response, Failure> {
    parameters.finish()?;
    let objects = run(&api, all).await?;
    let rules: Vec<Value> = objects
        .iter()
        .flat_map(|object| object.spec.rules.iter().map(move |rule| shown(rule, object)))
        .collect();
    Ok(axum::Json(json!({ "lb_rules": rules, "total": rules.len() })).into_response())
}

async fn show_rule(api: Api, Path(rule): Path<String>, parameters: Parameters) -> Result<Response, Failure> {
    parameters.finish()?;
    let (object, rule) = find_rule(&api, rule).await?;
    Ok(axum::Json(json!({ "lb_rule": shown(&rule, &object) })).into_response())
}

async fn add_rule(
    call: WriteCall,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let body = read_json(&headers, body).await?;
    let (rule, _) = read_rule(&body, false)?;
    put_rule(call, name, rule).await
}

async fn add_rule_by_body(call: WriteCall, headers: HeaderMap, body: Body) -> Result<Response, Failure> {
    let body = read_json(&headers, body).await?;
    let (rule, name) = read_rule(&body, true)?;
    put_rule(call, name, rule).await
}

/// Adds a rule; one that says the same stays.
async fn put_rule(call: WriteCall, name: String, rule: Rule) -> Result<Response, Failure> {
    let wanted = rule.clone();
    let changed = call.change(name, move |spec: &mut LoadBalancerSpec, _| {
        if spec.rules.iter().any(|known| known.equals(&wanted)) {
            return Ok(());
        }
        if let Some(other) = spec.rules.iter().find(|other| other.overlaps(&wanted)) {
            let message = format!("{wanted} overlaps {other}");
            return Err(conflict("port_range_min", "overlap", message, "remove the other rule first"));
        }
        if spec.rules.len() >= RULES_MAX {
            let message = format!("the load balancer has {} rules already", spec.rules.len());
            return Err(conflict("", "too_many", message, "remove rules that are no longer needed"));
        }
        spec.rules.push(wanted.clone());
        Ok(())
    });
    let changed = changed.await?;
    let object = &changed.value.object;
    let known = object.spec.rules.iter().find(|known| known.equals(&rule)).unwrap_or(&rule);
    // The answer is about the rule, as EdgeStack's clients know it.
    let more = [("id", json!(known.id)), ("name", json!(known.id)), ("lb_rule", shown(known, object))];
    let more = Map::from_iter(more.map(|(key, value)| (key.to_owned(), value)));
    Ok(changed.answer_with(StatusCode::CREATED, more))
}

async fn remove_rule(
    call: WriteCall,
    Path((name, rule)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let changed = call.change(name, move |spec: &mut LoadBalancerSpec, object| {
        let before = spec.rules.len();
        // By what it is for, `tcp:80`, as well as by its id.
        let short = |known: &Rule| Rule { target_port: None, ..known.clone() }.to_string();
        spec.rules.retain(|known| known.id != rule && known.to_string() != rule && short(known) != rule);
        if spec.rules.len() == before {
            return Err(no_such_part("rules", &rule, Some(&object.name)));
        }
        Ok(())
    });
    Ok(changed.await?.answer(StatusCode::OK))
}

async fn remove_rule_by_id(api: Api, call: WriteCall, Path(rule): Path<String>) -> Result<Response, Failure> {
    let (object, rule) = find_rule(&api, rule).await?;
    remove_rule(call, Path((object.id, rule.id))).await
}

async fn find_rule(api: &Api, reference: String) -> Result<(LoadBalancer, Rule), Failure> {
    run(api, move |app| {
        let objects = all(app)?;
        let found = objects.into_iter().find_map(|object| {
            let rule = object.spec.rules.iter().find(|rule| rule.id == reference)?.clone();
            Some((object, rule))
        });
        found.ok_or_else(|| no_such_part("rules", &reference, None))
    })
    .await
}

/// Adds a member; one that is there already gets the settings of the request.
async fn add_member(
    call: WriteCall,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let body = read_json(&headers, body).await?;
    let member = read_member(&body)?;
    let changed = call.change(name, move |spec: &mut LoadBalancerSpec, _| {
        let count = spec.members.len();
        match spec.members.iter_mut().find(|known| known.name() == member.name()) {
            Some(known) => *known = member.clone(),
            None if count >= MEMBERS_MAX => {
                let message = format!("the load balancer has {count} members already");
                return Err(conflict("", "too_many", message, "remove members that are gone"));
            }
            None => spec.members.push(member.clone()),
        }
        Ok(())
    });
    Ok(changed.await?.answer(StatusCode::CREATED))
}

async fn remove_member(
    call: WriteCall,
    Path((name, member)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let changed = call.change(name, move |spec: &mut LoadBalancerSpec, object| {
        let before = spec.members.len();
        spec.members.retain(|known| known.name() != member);
        if spec.members.len() == before {
            return Err(no_such_part("members", &member, Some(&object.name)));
        }
        Ok(())
    });
    Ok(changed.await?.answer(StatusCode::OK))
}

/// The load balancers that are seen.
fn all(app: &App) -> Result<Vec<LoadBalancer>, AppError> {
    app.all::<LoadBalancerSpec>()
}

fn conflict(field: &str, code: &str, message: String, hint: &str) -> AppError {
    let pointer = if field.is_empty() { "/lb_rule".to_owned() } else { format!("/lb_rule/{field}") };
    let error = FieldError { pointer, code: code.to_owned(), message, hint: Some(hint.to_owned()) };
    AppError::Conflict { kind: Kind::LoadBalancer, errors: vec![error] }
}

/// A rule as EdgeStack shows it: with the load balancer that it is of.
fn shown(rule: &Rule, object: &Object<LoadBalancerSpec>) -> Value {
    let mut value = json!(rule);
    value["lb_id"] = json!(object.id);
    value["lb_name"] = json!(object.name);
    value
}

/// Reads `{"lb_rule": {"protocol": ..., ...}}`, with `lb_id` where the path does not say it; the rule and that.
fn read_rule(body: &Value, by_body: bool) -> Result<(Rule, String), AppError> {
    let mut name = None;
    let rule = read_part(Kind::LoadBalancer, body, "lb_rule", |reader| {
        name = if by_body {
            reader.required("lb_id", "the name or id of a load balancer", value::reference)
        } else {
            Some(String::new())
        };
        Rule::read(reader)
    })?;
    Ok((Rule { id: String::new(), ..rule }, name.unwrap_or_default()))
}

/// Reads `{"member": "10.0.0.5"}` or `{"member": {"address": ..., ...}}`.
fn read_member(body: &Value) -> Result<Member, AppError> {
    if let Some(member) = body.get("member").filter(|member| member.is_string()) {
        let invalid = |refusal: edgestack_model::reader::Refusal| {
            let error = FieldError {
                pointer: "/member".to_owned(),
                code: refusal.code.to_owned(),
                message: refusal.message,
                hint: refusal.hint,
            };
            AppError::Invalid { kind: Kind::LoadBalancer, errors: vec![error] }
        };
        return Member::read(member).map_err(invalid);
    }
    read_part(Kind::LoadBalancer, body, "member", Member::read_fields)
}
