//! Rules of networks.

use std::net::IpAddr;
use std::sync::Arc;

use edgestack_model::network::NetworkType;
use edgestack_model::reader::Refusal;
use edgestack_model::{Kind, NetworkSpec, Object};

use super::addresses::{Allocation, address_key, allocations};
use super::error::AppError;
use super::listed::with_status;
use super::write::Write;
use super::{CompleteListed, Noun, Scope};

/// The field of a network's status that says how much of its pool is given.
pub const ADDRESSES: &str = "addresses";

/// Largest identifier of a tunnel network.
const SEGMENT_MAX: u32 = (1 << 24) - 1;

impl Noun for NetworkSpec {
    fn resolve(&mut self, previous: Option<&Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        self.gateway_ip = Some(self.effective_gateway());
        self.ip_pool = Some(self.effective_pool());
        self.ipv6_gateway_ip = self.effective_ipv6_gateway();
        self.ipv6_ip_pool = self.effective_ipv6_pool();
        match previous {
            None => require_host(self, write),
            Some(previous) if previous.physnet_name != self.physnet_name => {
                write.require_host("physnet_name", "a physical network");
            }
            Some(_) => {}
        }
        choose_segment(self, previous, write)?;
        if let (NetworkType::Flat, Some(physnet)) = (self.network_type, &self.physnet_name) {
            let what = format!("the physical network `{physnet}`, which carries one FLAT network");
            write.claim(format!("claims/physnets/{physnet}"), "physnet_name", "physnet_in_use", what);
        }
        if let Some(previous) = previous {
            refuse_immutable(self, previous, write);
            if !write.is_comparison() {
                keep_what_is_used(self, previous, write)?;
            }
        }
        let gateways = [
            ("gateway_ip", self.gateway_ip.map(IpAddr::V4)),
            ("ipv6_gateway_ip", self.ipv6_gateway_ip.map(IpAddr::V6)),
        ];
        for (field, gateway) in gateways {
            if let Some(gateway) = gateway {
                let what = format!("the gateway address {gateway}");
                write.claim(address_key(write.id(), gateway), field, "address_in_use", what);
            }
        }
        Ok(())
    }

    const LISTED: Option<CompleteListed> = Some(|networks, app| {
        let objects: Vec<Object<Self>> = networks.iter().map(|it| it.parse()).collect::<Result<_, _>>()?;
        let pools = objects.iter().map(|network| (network.id.as_str(), &network.spec));
        let usages = app.claims.usages(app.store.as_ref(), pools)?;
        let shown = networks.iter().zip(usages).map(|(network, usage)| {
            with_status(&network.text, ADDRESSES, &usage).unwrap_or_else(|| Arc::clone(&network.text))
        });
        Ok(shown.collect())
    });
}

/// Refuses changes of what addresses that are given out depend on.
fn keep_what_is_used(
    spec: &NetworkSpec,
    previous: &NetworkSpec,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    let ipv6_changed = previous.ipv6_cidr.is_some() && spec.ipv6_cidr != previous.ipv6_cidr;
    if spec.reservations == previous.reservations
        && !ipv6_changed
        && spec.physnet_name == previous.physnet_name
    {
        return Ok(());
    }
    let allocations = allocations(write.store(), write.id())?;
    let mut used = allocations.iter().filter(|allocation| allocation.purpose() != "gateway");
    for (index, range) in spec.reservations.iter().enumerate() {
        if previous.reservations.contains(range) {
            continue;
        }
        // A peer router is a machine outside, which may well be in a range that is kept for such.
        let taken = used.clone().find(|it| !it.peer && range.contains(it.address));
        if let Some(taken) = taken {
            let message =
                format!("{} of the range {range} belongs to {}", taken.address, owner(taken, write.scope()));
            let refusal =
                Refusal::new("address_in_use", message, "leave it out of the range, or free it first");
            write.conflict(&format!("reservations/{index}"), refusal);
        }
    }
    if ipv6_changed && let Some(user) = used.clone().find(|allocation| allocation.address.is_ipv6()) {
        let message = format!("{} belongs to {}", user.address, owner(user, write.scope()));
        write.conflict("ipv6_cidr", Refusal::new("in_use", message, "free the subnet's addresses first"));
    }
    if spec.physnet_name != previous.physnet_name
        && let Some(user) = used.next()
    {
        let message = format!("{} has an address of the network", owner(user, write.scope()));
        write.conflict("physnet_name", Refusal::new("in_use", message, "remove what uses the network first"));
    }
    Ok(())
}

/// Whose an address is, for people. Who may not hear of them learns no name.
fn owner(allocation: &Allocation, scope: &Scope) -> String {
    if !allocation.project.is_empty() && !scope.may_hear_of(&allocation.project) {
        return "an object of another project".to_owned();
    }
    format!("the {} {}", allocation.purpose().replace('_', " "), allocation.name)
}

/// What is outside, or on a physical network, is the site's.
fn require_host(spec: &NetworkSpec, write: &mut Write<'_>) {
    if spec.external {
        write.require_host("external", "an external network");
    }
    if matches!(spec.network_type, NetworkType::Flat | NetworkType::Vlan) {
        write.require_host("type", "a network on a physical one");
    }
    if spec.segment_id.is_some() {
        write.require_host("segment_id", "the choice of a segment");
    }
}

/// Takes the lowest free identifier where a tunnel network names none, and claims the one it has.
fn choose_segment(
    spec: &mut NetworkSpec,
    previous: Option<&NetworkSpec>,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    let prefix = match spec.network_type {
        NetworkType::Flat => return Ok(()),
        NetworkType::Vlan => format!("claims/vlans/{}/", spec.physnet_name.as_deref().unwrap_or("-")),
        NetworkType::Vxlan => "claims/vxlans/".to_owned(),
        NetworkType::Geneve => "claims/geneves/".to_owned(),
    };
    if spec.segment_id.is_none() {
        spec.segment_id = previous.and_then(|previous| previous.segment_id);
    }
    let segment = if let Some(segment) = spec.segment_id {
        segment
    } else {
        let mut candidate = 1;
        for taken in write.store().list(&prefix)?.entries {
            if taken.key.ends_with(&format!("{candidate:08x}")) {
                candidate += 1;
            }
        }
        if candidate > SEGMENT_MAX {
            let message = "every identifier of this network type is taken";
            write.conflict(
                "segment_id",
                Refusal { code: "exhausted", message: message.to_owned(), hint: None },
            );
            return Ok(());
        }
        candidate
    };
    spec.segment_id = Some(segment);
    let what = match &spec.physnet_name {
        Some(physnet) => format!("VLAN {segment} of the physical network `{physnet}`"),
        None => format!("the segment_id {segment}"),
    };
    write.claim(format!("{prefix}{segment:08x}"), "segment_id", "segment_in_use", what);
    Ok(())
}

fn refuse_immutable(spec: &NetworkSpec, previous: &NetworkSpec, write: &mut Write<'_>) {
    let NetworkSpec { network_type, segment_id, cidr, external, .. } = previous;
    if spec.network_type != *network_type {
        write.refuse_change("type", &format!("{network_type:?}").to_uppercase());
    }
    if spec.segment_id != *segment_id {
        let kept = segment_id.map_or_else(|| "none".to_owned(), |segment| segment.to_string());
        write.refuse_change("segment_id", &kept);
    }
    if spec.cidr != *cidr {
        write.refuse_change("cidr", &cidr.to_string());
    }
    if spec.external != *external {
        write.refuse_change("external", &external.to_string());
    }
}

/// Refuses a network that is of the other sort than the field wants.
pub(super) fn require_external(
    network: &NetworkSpec,
    wanted: bool,
    field: &str,
    name: &str,
    write: &mut Write<'_>,
) {
    if network.external == wanted {
        return;
    }
    let (is, needs) = if wanted { ("internal", "an external") } else { ("external", "an internal") };
    let message = format!("the {} `{name}` is {is}", Kind::Network);
    write.refuse(field, Refusal::new("wrong_network", message, format!("name {needs} network")));
}
