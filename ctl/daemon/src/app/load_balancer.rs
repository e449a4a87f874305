//! Rules of load balancers.

use std::net::IpAddr;

use edgestack_model::load_balancer::Rule;
use edgestack_model::reader::Refusal;
use edgestack_model::{FieldError, Kind, LoadBalancerSpec, NetworkSpec, RouterSpec, Spec};
use ipnet::IpNet;
use serde_json::Value;
use uuid::Uuid;

use super::Noun;
use super::error::AppError;
use super::record::{Entry, object_prefix, parse_owner};
use super::write::Write;

impl Noun for LoadBalancerSpec {
    fn resolve(&mut self, previous: Option<&Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        identify(&mut self.rules, previous.map_or(&[], |previous| &previous.rules));
        let Some(network) = write.refer::<NetworkSpec>("network", &self.network)? else { return Ok(()) };
        self.network.clone_from(&network.record.name);
        resolve_address(self, &network, previous, write)?;
        if let Some(previous) = previous {
            if self.network != previous.network {
                write.refuse_change("network", &previous.network);
            }
            if self.virtual_ip != previous.virtual_ip && !write.is_comparison() {
                keep_floating_ip(write)?;
            }
        }
        let router = resolve_router(self, &network, previous, write)?;
        check_members(self, &network, router.as_ref(), write)
    }

    fn only_settable(fields: &mut serde_json::Map<String, Value>) {
        let Some(Value::Array(rules)) = fields.get_mut("rules") else { return };
        for rule in rules.iter_mut().filter_map(Value::as_object_mut) {
            rule.remove("id");
        }
    }
}

/// Rules keep their identifiers while they say the same, wherever they stand.
fn identify(rules: &mut [Rule], previous: &[Rule]) {
    for rule in rules {
        let known = previous.iter().find(|known| known.equals(rule));
        // One that is changed keeps what it is called by in the request, if it was called so.
        let named = previous.iter().find(|known| known.id == rule.id);
        rule.id = known.or(named).map_or_else(|| Uuid::now_v7().to_string(), |known| known.id.clone());
    }
}

fn resolve_address(
    spec: &mut LoadBalancerSpec,
    network: &Entry<NetworkSpec>,
    previous: Option<&LoadBalancerSpec>,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    let kept = previous.and_then(|previous| previous.virtual_ip);
    let wanted = spec.virtual_ip.or(kept);
    if let Some(refusal) = wanted.and_then(|address| network.record.spec.refuse_host(address)) {
        write.refuse("virtual_ip", refusal);
        return Ok(());
    }
    // Members say which version is meant where no address does.
    let of_members = spec.members.first().is_some_and(|member| member.address.is_ipv6());
    spec.virtual_ip = match wanted {
        Some(IpAddr::V6(address)) => {
            write.claim_ipv6_address(network, Some(address), "virtual_ip")?.map(IpAddr::V6)
        }
        Some(IpAddr::V4(address)) => {
            write.claim_address(network, Some(address), "virtual_ip")?.map(IpAddr::V4)
        }
        None if of_members && network.record.spec.ipv6_cidr.is_some() => {
            write.claim_ipv6_address(network, None, "virtual_ip")?.map(IpAddr::V6)
        }
        None => write.claim_address(network, None, "virtual_ip")?.map(IpAddr::V4),
    };
    Ok(())
}

/// A floating IP stands for the virtual address: it cannot change under it.
fn keep_floating_ip(write: &mut Write<'_>) -> Result<(), AppError> {
    let owner = write.store().get(&floating_claim(write.id()))?;
    if let Some((_, _, name)) = owner.as_ref().and_then(|owner| parse_owner(&owner.value)) {
        let message = format!("the floating ip {name} stands for the virtual address");
        write.conflict("virtual_ip", Refusal::new("in_use", message, "disassociate it first"));
    }
    Ok(())
}

/// What a floating IP claims that stands for a load balancer.
pub(super) fn floating_claim(id: &str) -> String {
    format!("claims/floating-lbs/{id}")
}

/// The router that the members are behind: that of the tenant network, or the one that is named for an external address.
fn resolve_router(
    spec: &mut LoadBalancerSpec,
    network: &Entry<NetworkSpec>,
    previous: Option<&LoadBalancerSpec>,
    write: &mut Write<'_>,
) -> Result<Option<Entry<RouterSpec>>, AppError> {
    if !network.record.spec.external {
        if spec.router.take().is_some() {
            let message = format!("`{}` is a tenant network, whose router is its own", network.record.name);
            write.refuse("router", Refusal::new("not_allowed", message, "leave router out"));
        }
        return router_of(&network.record.id, write);
    }
    if spec.router.is_none() {
        spec.router = previous.and_then(|previous| previous.router.clone());
    }
    let reference = match spec.router.clone() {
        Some(reference) => Some(reference),
        None => only_router(spec, write)?,
    };
    let Some(reference) = reference else { return Ok(None) };
    let Some(router) = write.refer::<RouterSpec>("router", &reference)? else { return Ok(None) };
    if router.record.spec.leg_in(&spec.network).is_none() {
        let message = format!("the router `{}` does not lead to `{}`", router.record.name, spec.network);
        write.refuse("router", Refusal::new("mismatch", message, "name one that does"));
    }
    spec.router = Some(router.record.name.clone());
    Ok(Some(router))
}

/// The one router of the project that leads to the load balancer's external network.
fn only_router(spec: &LoadBalancerSpec, write: &mut Write<'_>) -> Result<Option<String>, AppError> {
    let project = write.scope().project_of::<RouterSpec>();
    let mut joined = Vec::new();
    for stored in write.store().list(&object_prefix::<RouterSpec>())?.entries {
        let router = Entry::<RouterSpec>::decode(&stored)?.record;
        if router.project.as_deref() == project && router.spec.leg_in(&spec.network).is_some() {
            joined.push(router.id);
        }
    }
    let message = match joined.as_slice() {
        [router] => return Ok(Some(router.clone())),
        [] => format!("no router leads to `{}`", spec.network),
        _ => format!("several routers lead to `{}`", spec.network),
    };
    let hint = "name the router that the members are behind";
    write.refuse("router", Refusal::new("no_router", message, hint));
    Ok(None)
}

/// The router that connects a tenant network.
fn router_of(network_id: &str, write: &mut Write<'_>) -> Result<Option<Entry<RouterSpec>>, AppError> {
    let owner = write.store().get(&format!("claims/routed-networks/{network_id}"))?;
    match owner.as_ref().and_then(|owner| parse_owner(&owner.value)) {
        Some((_, id, _)) => write.find::<RouterSpec>(id),
        None => Ok(None),
    }
}

/// Members are in the load balancer's network or in one of its router's, whether somebody has the address or not.
fn check_members(
    spec: &LoadBalancerSpec,
    network: &Entry<NetworkSpec>,
    router: Option<&Entry<RouterSpec>>,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    let mut ranges: Vec<IpNet> = Vec::new();
    let subnets = |spec: &NetworkSpec| [Some(IpNet::V4(spec.cidr)), spec.ipv6_cidr.map(IpNet::V6)];
    if !network.record.spec.external {
        ranges.extend(subnets(&network.record.spec).into_iter().flatten());
    }
    for name in router.iter().flat_map(|router| &router.record.spec.internal) {
        if let Some(inside) = write.find::<NetworkSpec>(name)? {
            ranges.extend(subnets(&inside.record.spec).into_iter().flatten());
        }
    }
    for (index, member) in spec.members.iter().enumerate() {
        let field = format!("members/{index}");
        let is_inside = ranges.iter().any(|range| range.contains(&member.address));
        let is_other = |address: IpAddr| address.is_ipv6() != member.address.is_ipv6();
        if let Some(address) = spec.virtual_ip.filter(|address| is_other(*address)) {
            let message = format!("{} and {address} are not of one IP version", member.address);
            let hint = "make a load balancer for each version";
            write.refuse(&field, Refusal::new("mismatch", message, hint));
        } else if Some(member.address) == spec.virtual_ip {
            let message = format!("{} is the virtual address itself", member.address);
            write.refuse(&field, Refusal::new("address_in_use", message, "the address of a workload"));
        } else if !is_inside {
            let message = format!("{} is in no network of the load balancer", member.address);
            let hint = match router {
                Some(router) => format!("an address behind the router `{}`", router.record.name),
                None => format!("an address of `{}`, or connect that to a router", network.record.name),
            };
            write.refuse(&field, Refusal::new("outside_network", message, hint));
        }
        let is_too_high = |rule: &Rule| match (member.port, rule.port_range_min, rule.port_range_max) {
            (Some(port), Some(first), Some(last)) => port.checked_add(last - first).is_none(),
            _ => false,
        };
        if let Some(rule) = spec.rules.iter().find(|rule| is_too_high(rule)) {
            let message = format!("{} has not enough ports for the rule {rule}", member.name());
            write.refuse(&field, Refusal::new("invalid_range", message, "a lower port"));
        }
    }
    Ok(())
}

/// There is no such part of a load balancer, or of any where none is named.
pub fn no_such_part(kind: &str, reference: &str, name: Option<&str>) -> AppError {
    let (whose, hint) = match name {
        Some(name) => (format!("the load balancer `{name}`"), format!("`edgectl show-lb {name}` lists them")),
        None => ("no load balancer".to_owned(), "`edgectl list-lbrs` lists them".to_owned()),
    };
    let has = if name.is_some() { "has no" } else { "has a" };
    let errors = vec![FieldError {
        pointer: format!("/{}/{kind}", LoadBalancerSpec::KIND.singular()),
        code: "not_found".to_owned(),
        message: format!("{whose} {has} {} `{reference}`", kind.trim_end_matches('s')),
        hint: Some(hint),
    }];
    AppError::NoSuchPart { kind: Kind::LoadBalancer, errors }
}
