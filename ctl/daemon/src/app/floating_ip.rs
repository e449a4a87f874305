//! Rules of floating IPs.

use std::net::IpAddr;

use edgestack_model::floating_ip::InstanceType;
use edgestack_model::reader::Refusal;
use edgestack_model::{FloatingIpSpec, LoadBalancerSpec, NetworkSpec, PortSpec, RouterSpec};

use serde_json::Value;

use super::Noun;
use super::error::AppError;
use super::load_balancer::floating_claim;
use super::network::require_external;
use super::record::{Entry, parse_owner};
use super::write::{Write, find};

impl Noun for FloatingIpSpec {
    fn resolve(&mut self, previous: Option<&Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        let network = write.refer::<NetworkSpec>("network", &self.network)?;
        if let Some(network) = &network {
            self.network.clone_from(&network.record.name);
            require_external(&network.record.spec, true, "network", &network.record.name, write);
            resolve_address(self, network, previous, write)?;
        }
        if let Some(previous) = previous {
            if self.network != previous.network {
                write.refuse_change("network", &previous.network);
            }
            if self.floating_ip != previous.floating_ip {
                let kept = previous.floating_ip.map_or_else(String::new, |address| address.to_string());
                write.refuse_change("floating_ip", &kept);
            }
        }
        match self.instance_name.clone() {
            Some(instance) if self.instance_type == Some(InstanceType::Lb) => {
                associate_balanced(self, &instance, write)?;
            }
            Some(instance) => associate(self, &instance, write)?,
            None => self.router = None,
        }
        Ok(())
    }

    fn only_settable(fields: &mut serde_json::Map<String, Value>) {
        // Found from `instance_name`: those of a former instance must not be held against another.
        for key in ["router", "target_network", "target_ip"] {
            fields.remove(key);
        }
        // What is meant where it is left out.
        if fields.get("instance_type").and_then(Value::as_str) == Some("vm") {
            fields.remove("instance_type");
        }
    }

    fn default_name(&self, id: &str) -> String {
        self.floating_ip
            .map_or_else(|| id.to_owned(), |address| format!("fip-{}", address.to_string().replace('.', "-")))
    }
}

fn resolve_address(
    spec: &mut FloatingIpSpec,
    network: &Entry<NetworkSpec>,
    previous: Option<&FloatingIpSpec>,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    let kept = previous.and_then(|previous| previous.floating_ip);
    if spec.floating_ip.is_none() {
        spec.floating_ip = kept;
    }
    let outer = &network.record.spec;
    // The address that it has stays right when the pool shrinks.
    if let Some(address) = spec.floating_ip.filter(|_| spec.floating_ip != kept) {
        let pool = outer.effective_pool();
        let outside = || {
            let message = format!("{address} is not in the pool {pool}");
            Refusal::new("outside_pool", message, "leave it out for the lowest free address")
        };
        let refusal = outer.refuse_host(address).or_else(|| (!pool.contains(address)).then(outside));
        if let Some(refusal) = refusal {
            write.refuse("floating_ip", refusal);
            return Ok(());
        }
    }
    spec.floating_ip = write.claim_address(network, spec.floating_ip, "floating_ip")?;
    Ok(())
}

/// Finds the port, its address and the router by which it is reached; what the request says of them must agree.
fn associate(spec: &mut FloatingIpSpec, instance: &str, write: &mut Write<'_>) -> Result<(), AppError> {
    let Some(port) = write.refer::<PortSpec>("instance_name", instance)? else { return Ok(()) };
    spec.instance_name = Some(port.record.name.clone());
    let network_name = port.record.spec.network.clone();
    let fixed_ip = port.record.spec.ip_address;
    let Some(network) = write.find::<NetworkSpec>(&network_name)? else { return Ok(()) };
    if let Some(given) = &spec.target_network
        && *given != network_name
        && *given != network.record.id
    {
        let message = format!("the port `{}` is in the network `{network_name}`", port.record.name);
        write.refuse("target_network", Refusal::new("mismatch", message, "leave target_network out"));
    }
    if let (Some(given), Some(fixed_ip)) = (spec.target_ip, fixed_ip)
        && given != fixed_ip
    {
        let message = format!("the port `{}` has the address {fixed_ip}", port.record.name);
        write.refuse("target_ip", Refusal::new("mismatch", message, "leave target_ip out"));
    }
    let what = format!(
        "{} of the port `{}`",
        fixed_ip.map_or_else(String::new, |ip| ip.to_string()),
        port.record.name
    );
    write.claim(
        format!("claims/floating-ports/{}", port.record.id),
        "instance_name",
        "already_associated",
        what,
    );
    spec.target_network = Some(network_name);
    spec.target_ip = fixed_ip;
    find_router(spec, &network, write)
}

/// The same for a load balancer and its virtual address.
fn associate_balanced(
    spec: &mut FloatingIpSpec,
    instance: &str,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    let Some(balancer) = write.refer::<LoadBalancerSpec>("instance_name", instance)? else { return Ok(()) };
    let name = &balancer.record.name;
    spec.instance_name = Some(name.clone());
    let network_name = balancer.record.spec.network.clone();
    let Some(network) = write.find::<NetworkSpec>(&network_name)? else { return Ok(()) };
    let Some(IpAddr::V4(address)) = balancer.record.spec.virtual_ip else {
        let message = format!("the load balancer `{name}` has no IPv4 address");
        let hint = "a virtual IPv6 address is reached from outside as it is";
        write.refuse("instance_name", Refusal::new("not_allowed", message, hint));
        return Ok(());
    };
    if network.record.spec.external {
        let message = format!("the load balancer `{name}` has the external address {address} already");
        let hint = "use that, or make the load balancer in a tenant network";
        write.refuse("instance_name", Refusal::new("not_allowed", message, hint));
        return Ok(());
    }
    if spec.target_network.as_ref().is_some_and(|given| *given != network_name && *given != network.record.id)
    {
        let message = format!("the load balancer `{name}` is in the network `{network_name}`");
        write.refuse("target_network", Refusal::new("mismatch", message, "leave target_network out"));
    }
    if spec.target_ip.is_some_and(|given| given != address) {
        let message = format!("the load balancer `{name}` has the virtual address {address}");
        write.refuse("target_ip", Refusal::new("mismatch", message, "leave target_ip out"));
    }
    let what = format!("{address} of the load balancer `{name}`");
    write.claim(floating_claim(&balancer.record.id), "instance_name", "already_associated", what);
    spec.target_network = Some(network_name);
    spec.target_ip = Some(address);
    find_router(spec, &network, write)
}

fn find_router(
    spec: &mut FloatingIpSpec,
    network: &Entry<NetworkSpec>,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    let owner = write.store().get(&format!("claims/routed-networks/{}", network.record.id))?;
    let id = owner.as_ref().and_then(|owner| parse_owner(&owner.value)).map(|(_, id, _)| id.to_owned());
    let router = match id {
        Some(id) => write.refer::<RouterSpec>("router", &id)?,
        None => None,
    };
    let joins = router.filter(|router| router.record.spec.leg_in(&spec.network).is_some());
    let Some(router) = joins else {
        let message = format!("no router joins the network `{}` to `{}`", network.record.name, spec.network);
        let hint = format!(
            "add `{}` to the `internal` of a router whose `external` is `{}`",
            network.record.name, spec.network
        );
        write.refuse("instance_name", Refusal::new("no_router", message, hint));
        return Ok(());
    };
    if let Some(given) = &spec.router
        && find::<RouterSpec>(write.store(), write.scope(), given)?
            .is_none_or(|given| given.record.id != router.record.id)
    {
        let message = format!("the router of the instance's network is `{}`", router.record.name);
        write.refuse("router", Refusal::new("mismatch", message, "leave router out"));
    }
    spec.router = Some(router.record.name);
    Ok(())
}
