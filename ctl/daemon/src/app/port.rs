//! Rules of ports.

use std::net::Ipv6Addr;

use edgestack_model::address::MacAddress;
use edgestack_model::reader::Refusal;
use edgestack_model::security_group::DEFAULT_GROUP;
use edgestack_model::{NetworkSpec, PortSpec, SecurityGroupSpec};

use super::error::AppError;
use super::network::require_external;
use super::node::all_are_cordoned;
use super::record::{Entry, names_prefix, parse_owner};
use super::write::{Write, mac_key};
use super::{Noun, security_group};
use crate::reconcile::plug::process_start;

/// Ports of workloads on one host: what the dataplane's port table has beside the uplinks.
const PORTS_MAX: usize = edgestack_abi::maps::MAX_PORTS as usize - 1 - crate::config::UPLINKS_MAX;
/// Digits of a port's id in the name of the interface that is made for it.
const PLUGGED_DIGITS: usize = 12;
/// Addresses that are tried before a port goes without one of its own making.
const MAC_ATTEMPTS_MAX: u32 = 16;

impl Noun for PortSpec {
    fn resolve(&mut self, previous: Option<&Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        if previous.is_none() {
            refuse_too_many(write)?;
        }
        let network = write.refer::<NetworkSpec>("network", &self.network)?;
        if let Some(network) = &network {
            self.network.clone_from(&network.record.name);
            resolve_addresses(self, network, previous, write)?;
        }
        if let Some(previous) = previous {
            if self.network != previous.network {
                write.refuse_change("network", &previous.network);
            }
            if self.ip_address != previous.ip_address && !write.is_comparison() {
                keep_floating_ip(write)?;
            }
        }
        resolve_groups(self, write)?;
        if self.host != previous.and_then(|previous| previous.host.clone()) {
            write.require_host("host", "a workload on another host");
        }
        resolve_plug(self, previous, write);
        if self.interface.is_some() && previous.is_none_or(|previous| previous.interface != self.interface) {
            write.require_host("interface", "an interface of this host");
            if !write.is_comparison() {
                refuse_on_cordoned(write)?;
            }
        }
        if let Some(interface) = &self.interface {
            if write.is_reserved_interface(interface) {
                let message = format!("the interface `{interface}` is an uplink of this host");
                write.conflict(
                    "interface",
                    Refusal::new("interface_in_use", message, "name the workload's own"),
                );
            }
            if is_of_the_host(interface) {
                let message = format!("the interface `{interface}` is the host's or the gateway's own");
                write.refuse("interface", Refusal::new("reserved", message, "name the workload's own"));
            }
            let what = format!("the interface `{interface}`");
            write.claim(format!("claims/interfaces/{interface}"), "interface", "interface_in_use", what);
        }
        Ok(())
    }
}

/// The interface that is to be made has a name, and its process is the one that runs now.
fn resolve_plug(spec: &mut PortSpec, previous: Option<&PortSpec>, write: &mut Write<'_>) {
    let Some(plug) = &mut spec.plug else { return };
    let kept = previous.and_then(|previous| previous.plug.as_ref());
    plug.pid_started = match (plug.pid, kept) {
        (None, _) => None,
        (Some(pid), Some(kept)) if kept.pid == Some(pid) => kept.pid_started,
        (Some(pid), _) => {
            let started = process_start(pid);
            if started.is_none() {
                let message = format!("there is no process {pid} on this host");
                write.refuse("plug/pid", Refusal::new("not_found", message, "start the workload first"));
            }
            started
        }
    };
    if kept != Some(&*plug) {
        write.require_host("plug", "an interface of this host");
    }
    if spec.interface.is_none() {
        let kept = previous.and_then(|previous| previous.interface.clone());
        spec.interface = kept.or_else(|| Some(plugged_name(write.id())));
    }
}

/// Name of the interface that is made for a port: the last digits of its id, which no other port has.
fn plugged_name(id: &str) -> String {
    let digits = id.len().saturating_sub(PLUGGED_DIGITS);
    format!("esp{}", id.get(digits..).unwrap_or(id))
}

/// Whether an interface never is a workload's: loopback, and the trunks of the dataplane's instances
/// (`es-trunk0`, or `es`, eight hexadecimal digits and `-0` or `-1`).
fn is_of_the_host(interface: &str) -> bool {
    let trunk = |rest: &str| {
        let digits = rest.strip_suffix("-0").or_else(|| rest.strip_suffix("-1"));
        digits
            .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    matches!(interface, "lo" | "es-trunk0" | "es-trunk1") || interface.strip_prefix("es").is_some_and(trunk)
}

fn resolve_addresses(
    spec: &mut PortSpec,
    network: &Entry<NetworkSpec>,
    previous: Option<&PortSpec>,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    require_external(&network.record.spec, false, "network", &network.record.name, write);
    let kept = previous.filter(|previous| previous.network == spec.network);
    if spec.ip_address.is_none() {
        spec.ip_address = kept.and_then(|kept| kept.ip_address);
    }
    let refusal = spec.ip_address.and_then(|address| network.record.spec.refuse_host(address));
    match refusal {
        Some(refusal) => write.refuse("ip_address", refusal),
        None => spec.ip_address = write.claim_address(network, spec.ip_address, "ip_address")?,
    }
    if spec.mac_address.is_none() {
        spec.mac_address = kept.and_then(|kept| kept.mac_address);
    }
    let claim = |mac| mac_key(&network.record.id, mac);
    if spec.mac_address.is_none() {
        for attempt in 0..MAC_ATTEMPTS_MAX {
            let mac = MacAddress::generated(write.id(), attempt);
            if write.other_owner(&claim(mac))?.is_none() {
                spec.mac_address = Some(mac);
                break;
            }
        }
    }
    if let Some(mac) = spec.mac_address {
        let what = format!("the MAC address {mac} of the network `{}`", network.record.name);
        write.claim(claim(mac), "mac_address", "mac_in_use", what);
    } else {
        let refusal =
            Refusal::new("missing", "no free MAC address was found", "give the port a `mac_address`");
        write.refuse("mac_address", refusal);
    }
    resolve_ipv6_address(spec, network, kept, write)
}

/// A port has an IPv6 address where its network has an IPv6 subnet. One that is older than the subnet gets its address
/// when it is next changed.
fn resolve_ipv6_address(
    spec: &mut PortSpec,
    network: &Entry<NetworkSpec>,
    kept: Option<&PortSpec>,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    // An address that the host has made of its MAC address changes with that.
    let made = |spec: &PortSpec| own_address(&network.record.spec, spec.mac_address);
    let follows = |kept: &PortSpec| {
        kept.mac_address != spec.mac_address
            && kept.ipv6_address == spec.ipv6_address
            && made(kept).is_some_and(|made| kept.ipv6_address == Some(made))
    };
    if spec.ipv6_address.is_some() && kept.is_some_and(follows) {
        spec.ipv6_address = made(spec);
    }
    if spec.ipv6_address.is_none() {
        spec.ipv6_address = kept.and_then(|kept| kept.ipv6_address);
        // Asked for again, the object is as it was asked for.
        if spec.ipv6_address.is_none() && (write.is_comparison() || network.record.spec.ipv6_cidr.is_none()) {
            return Ok(());
        }
        if spec.ipv6_address.is_none() {
            spec.ipv6_address = made(spec);
        }
    }
    let refusal = spec.ipv6_address.and_then(|address| network.record.spec.refuse_host(address));
    match refusal {
        Some(refusal) => write.refuse("ipv6_address", refusal),
        None => {
            spec.ipv6_address = write.claim_ipv6_address(network, spec.ipv6_address, "ipv6_address")?;
        }
    }
    Ok(())
}

/// The address that a host makes of its MAC address, where it does.
fn own_address(network: &NetworkSpec, mac: Option<MacAddress>) -> Option<Ipv6Addr> {
    let subnet = network.ipv6_cidr.filter(|_| network.effective_ipv6_ra_mode().is_autonomous())?;
    Some(mac?.ipv6_address(subnet))
}

/// Names in place of ids; the `default` group, made where there is none, in place of nothing.
fn resolve_groups(spec: &mut PortSpec, write: &mut Write<'_>) -> Result<(), AppError> {
    let wanted = spec.security_groups.clone().unwrap_or_else(|| vec![DEFAULT_GROUP.to_owned()]);
    if spec.security_groups.is_none() && security_group::make_default(write)? {
        spec.security_groups = Some(wanted);
        return Ok(());
    }
    let mut names = Vec::with_capacity(wanted.len());
    for (index, reference) in wanted.iter().enumerate() {
        let field = format!("security_groups/{index}");
        let Some(group) = write.refer::<SecurityGroupSpec>(&field, reference)? else { continue };
        if names.contains(&group.record.name) {
            let message = format!("the group `{}` stands twice in the list", group.record.name);
            write.refuse(&field, Refusal::new("duplicate", message, "leave one out"));
        }
        names.push(group.record.name);
    }
    spec.security_groups = Some(names);
    Ok(())
}

/// Nothing more is plugged in where nothing more may be placed.
fn refuse_on_cordoned(write: &mut Write<'_>) -> Result<(), AppError> {
    if all_are_cordoned(write.store())? {
        let message = "nothing more may be placed on this node: it is cordoned";
        let hint = "uncordon the node first, or leave interface out";
        write.conflict("interface", Refusal::new("node_cordoned", message, hint));
    }
    Ok(())
}

/// A floating IP stands for the port's address: it cannot change under it.
fn keep_floating_ip(write: &mut Write<'_>) -> Result<(), AppError> {
    let owner = write.store().get(&format!("claims/floating-ports/{}", write.id()))?;
    if let Some((_, _, name)) = owner.as_ref().and_then(|owner| parse_owner(&owner.value)) {
        let message = format!("the floating ip {name} stands for the port's address");
        write.conflict("ip_address", Refusal::new("in_use", message, "disassociate it first"));
    }
    Ok(())
}

fn refuse_too_many(write: &mut Write<'_>) -> Result<(), AppError> {
    let count = write.store().list(&names_prefix::<PortSpec>())?.entries.len();
    if count >= PORTS_MAX {
        let message = format!("this host has {count} ports already");
        write.conflict("name", Refusal::new("too_many", message, format!("at most {PORTS_MAX}")));
    }
    Ok(())
}
