//! Rules of routers.

use std::net::{IpAddr, Ipv4Addr};

use edgestack_model::address::MacAddress;
use edgestack_model::nat::{PortForward, SnatPool};
use edgestack_model::reader::Refusal;
use edgestack_model::router::RouterExternal;
use edgestack_model::{FloatingIpSpec, LoadBalancerSpec, NetworkSpec, RouterSpec, Spec as _};
use ipnet::IpNet;
use serde_json::Value;
use uuid::Uuid;

use super::Noun;
use super::addresses::{address_key, peer_key};
use super::error::AppError;
use super::network::require_external;
use super::record::{Entry, object_key, parse_owner, uses_prefix};
use super::write::{Write, mac_key};

impl Noun for RouterSpec {
    fn resolve(&mut self, previous: Option<&Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        require_host(self, previous, write);
        if self.mac.is_none() {
            let kept = previous.and_then(|previous| previous.mac);
            self.mac = Some(kept.unwrap_or_else(|| MacAddress::generated(write.id(), 0)));
        }
        let networks = resolve_internal(self, write)?;
        let legs = resolve_legs(self, previous, write)?;
        let outside: Vec<&Entry<NetworkSpec>> = legs.iter().map(|(_, network)| network).collect();
        claim_mac(self, networks.iter().map(|(_, network)| network).chain(outside.iter().copied()), write);
        refuse_overlaps(&networks, &legs, write);
        let default = legs.first().filter(|(field, _)| field == "external").map(|(_, network)| network);
        check_peer(self, default, write)?;
        check_routes(self, &networks, &outside, write);
        identify(&mut self.port_forwards, previous.map_or(&[], |previous| &previous.port_forwards));
        check_port_forwards(self, &networks, write);
        if let Some(previous) = previous
            && !write.is_comparison()
        {
            keep_floating_ips(self, previous, write)?;
        }
        Ok(())
    }

    fn only_settable(fields: &mut serde_json::Map<String, Value>) {
        let Some(Value::Array(forwards)) = fields.get_mut("port_forwards") else { return };
        for forward in forwards.iter_mut().filter_map(Value::as_object_mut) {
            forward.remove("id");
        }
    }
}

/// What other machines of the external network would notice is for those who run the site.
fn require_host(spec: &RouterSpec, previous: Option<&RouterSpec>, write: &mut Write<'_>) {
    let (mac, peer) = previous.map_or((None, None), |previous| (previous.mac, previous.peer_router.as_ref()));
    if spec.mac.is_some() && spec.mac != mac {
        write.require_host("mac", "the choice of a router's MAC address");
    }
    if spec.peer_router.is_some() && spec.peer_router.as_ref() != peer {
        write.require_host("peer_router", "an upstream router");
    }
}

fn resolve_internal(
    spec: &mut RouterSpec,
    write: &mut Write<'_>,
) -> Result<Vec<(usize, Entry<NetworkSpec>)>, AppError> {
    let mut networks: Vec<(usize, Entry<NetworkSpec>)> = Vec::with_capacity(spec.internal.len());
    for (index, reference) in spec.internal.iter_mut().enumerate() {
        let field = format!("internal/{index}");
        let Some(network) = write.refer::<NetworkSpec>(&field, reference)? else { continue };
        let name = network.record.name.clone();
        require_external(&network.record.spec, false, &field, &name, write);
        if networks.iter().any(|(_, other)| other.record.id == network.record.id) {
            let message = format!("the network `{name}` stands twice in the list");
            write.refuse(&field, Refusal::new("duplicate", message, "leave one out"));
        }
        let key = format!("claims/routed-networks/{}", network.record.id);
        write.claim(key, &field, "network_in_use", format!("the network `{name}`"));
        *reference = name;
        networks.push((index, network));
    }
    Ok(networks)
}

/// The networks of the router's legs, each with the leg's field.
fn resolve_legs(
    spec: &mut RouterSpec,
    previous: Option<&RouterSpec>,
    write: &mut Write<'_>,
) -> Result<Vec<(String, Entry<NetworkSpec>)>, AppError> {
    let mut legs: Vec<(String, Entry<NetworkSpec>)> = Vec::new();
    let fields: Vec<String> = spec.legs().map(|(field, _)| field).collect();
    for (field, leg) in fields.into_iter().zip(spec.external.iter_mut().chain(&mut spec.further_externals)) {
        let Some(network) = resolve_leg(leg, &field, previous, write)? else { continue };
        if legs.iter().any(|(_, other)| other.record.id == network.record.id) {
            let message = format!("the router has a leg in the network `{}` already", network.record.name);
            write.refuse(&format!("{field}/network"), Refusal::new("duplicate", message, "leave one out"));
        }
        legs.push((field, network));
    }
    Ok(legs)
}

fn resolve_leg(
    leg: &mut RouterExternal,
    field: &str,
    previous: Option<&RouterSpec>,
    write: &mut Write<'_>,
) -> Result<Option<Entry<NetworkSpec>>, AppError> {
    let at = |name: &str| format!("{field}/{name}");
    let Some(network) = write.refer::<NetworkSpec>(&at("network"), &leg.network)? else {
        return Ok(None);
    };
    leg.network.clone_from(&network.record.name);
    require_external(&network.record.spec, true, &at("network"), &network.record.name, write);
    let kept = previous.and_then(|previous| previous.leg_in(&leg.network));
    if leg.routed && !kept.is_some_and(|kept| kept.routed) {
        write.require_host(&at("routed"), "access without translation");
    }
    let exempt = kept.map_or(&[][..], |kept| &kept.snat_exemptions);
    if !leg.snat_exemptions.is_empty() && leg.snat_exemptions != exempt {
        write.require_host(&at("snat_exemptions"), "what is not translated");
    }
    let kept_ipv6 = kept.and_then(|kept| kept.ipv6);
    leg.ipv6 = leg.ipv6.or(kept_ipv6);
    let kept_pool: Vec<Ipv4Addr> =
        kept.and_then(|kept| kept.snat_pool.as_ref()).into_iter().flat_map(SnatPool::each_address).collect();
    let kept = kept.and_then(|kept| kept.ip);
    if leg.ip.is_none() {
        leg.ip = kept;
    }
    let pool = network.record.spec.effective_pool();
    if leg.ip.is_some_and(|address| Some(address) != kept && !pool.contains(address)) {
        write.require_host(&at("ip"), "an address outside of the network's pool");
    }
    let refusal = leg.ip.and_then(|address| network.record.spec.refuse_host(address));
    match refusal {
        Some(refusal) => write.refuse(&at("ip"), refusal),
        None => leg.ip = write.claim_address(&network, leg.ip, &at("ip"))?,
    }
    claim_pool((leg, field), &kept_pool, &network, write)?;
    if network.record.spec.ipv6_cidr.is_some() || leg.ipv6.is_some() {
        let pool = network.record.spec.effective_ipv6_pool();
        let is_outside = |address| pool.is_none_or(|pool| !pool.contains(address));
        if leg.ipv6.is_some_and(|address| Some(address) != kept_ipv6 && is_outside(address)) {
            write.require_host(&at("ipv6"), "an address outside of the network's pool");
        }
        let refusal = leg.ipv6.and_then(|address| network.record.spec.refuse_host(address));
        match refusal {
            Some(refusal) => write.refuse(&at("ipv6"), refusal),
            None => leg.ipv6 = write.claim_ipv6_address(&network, leg.ipv6, &at("ipv6"))?,
        }
    }
    Ok(Some(network))
}

/// A route's next hop is a host of one of the router's networks, and its destination none of these networks.
fn check_routes(
    spec: &RouterSpec,
    networks: &[(usize, Entry<NetworkSpec>)],
    outside: &[&Entry<NetworkSpec>],
    write: &mut Write<'_>,
) {
    let connected: Vec<&Entry<NetworkSpec>> =
        networks.iter().map(|(_, network)| network).chain(outside.iter().copied()).collect();
    for (index, route) in spec.routes.iter().enumerate() {
        let subnets = |network: &&Entry<NetworkSpec>| {
            let spec = &network.record.spec;
            [Some(IpNet::V4(spec.cidr)), spec.ipv6_cidr.map(IpNet::V6)]
        };
        let own = connected.iter().find(|network| subnets(network).contains(&Some(route.destination)));
        if let Some(network) = own {
            let message = format!("{} is the network `{}` itself", route.destination, network.record.name);
            let refusal = Refusal::new("connected", message, "leave the route out");
            write.refuse(&format!("routes/{index}/destination"), refusal);
        }
        let Some(nexthop) = route.nexthop else { continue };
        let field = format!("routes/{index}/nexthop");
        let network = connected
            .iter()
            .find(|network| subnets(network).iter().flatten().any(|subnet| subnet.contains(&nexthop)));
        let Some(network) = network else {
            let message = format!("{nexthop} is in none of the router's networks");
            let hint = "a host of a network in `internal`, or of an external network of the router";
            write.refuse(&field, Refusal::new("nexthop_unreachable", message, hint));
            continue;
        };
        let is_own = |own: Option<IpAddr>| own == Some(nexthop);
        if spec.legs().any(|(_, leg)| is_own(leg.ip.map(IpAddr::V4)) || is_own(leg.ipv6.map(IpAddr::V6))) {
            let message = format!("{nexthop} is the router's own address");
            write.refuse(&field, Refusal { code: "nexthop_unreachable", message, hint: None });
        } else if !network.record.spec.external
            && let Some(refusal) = network.record.spec.refuse_host(nexthop).filter(|_| {
                // A machine that the gateway knows nothing of may well be a next hop.
                !network.record.spec.reservations.iter().any(|range| range.contains(nexthop))
            })
        {
            write.refuse(&field, refusal);
        }
    }
}

/// Every address of a pool is the router's alone. More than the one that every router has are for the site to give.
fn claim_pool(
    (leg, field): (&RouterExternal, &str),
    kept: &[Ipv4Addr],
    network: &Entry<NetworkSpec>,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    let Some(pool) = &leg.snat_pool else { return Ok(()) };
    for (index, range) in pool.addresses.iter().enumerate() {
        let field = format!("{field}/snat_pool/addresses/{index}");
        for address in (range.first.to_bits()..=range.last.to_bits()).map(Ipv4Addr::from_bits) {
            if Some(address) == leg.ip {
                continue;
            }
            if !kept.contains(&address) {
                write.require_host(&field, "an address beside the router's own");
            }
            if let Some(refusal) = network.record.spec.refuse_host(address) {
                write.refuse(&field, refusal);
                break;
            }
            write.claim_address(network, Some(address), &field)?;
        }
    }
    Ok(())
}

/// Forwarded ports keep their identifiers while they say the same, wherever they stand.
fn identify(forwards: &mut [PortForward], previous: &[PortForward]) {
    for forward in forwards {
        let known = previous.iter().find(|known| known.equals(forward));
        // One that is changed keeps what it is called by in the request, if it was called so.
        let named = previous.iter().find(|known| known.id == forward.id);
        forward.id = known.or(named).map_or_else(|| Uuid::now_v7().to_string(), |known| known.id.clone());
    }
}

/// Forwarded ports are of the router's addresses, and lead behind it.
fn check_port_forwards(spec: &RouterSpec, networks: &[(usize, Entry<NetworkSpec>)], write: &mut Write<'_>) {
    let own = spec.external.as_ref().and_then(|external| external.ip);
    for (index, forward) in spec.port_forwards.iter().enumerate() {
        let field = format!("port_forwards/{index}");
        let is_other = |address: &Ipv4Addr| {
            !spec.legs().any(|(_, leg)| {
                leg.ip == Some(*address) || leg.snat_pool.as_ref().is_some_and(|pool| pool.has(*address))
            })
        };
        if let Some(address) = forward.external_ip.filter(is_other) {
            let message = format!("{address} is neither the router's address nor of its pool");
            let hint = "leave it out for the router's address in `external`";
            write.refuse(&format!("{field}/external_ip"), Refusal::new("mismatch", message, hint));
        }
        let is_behind = networks.iter().any(|(_, network)| {
            let spec = &network.record.spec;
            spec.cidr.contains(&forward.target_ip) && spec.gateway_ip != Some(forward.target_ip)
        });
        if !is_behind {
            let message = format!("{} is no workload's address behind the router", forward.target_ip);
            let hint = "an address of one of its internal networks";
            write.refuse(&format!("{field}/target_ip"), Refusal::new("outside_network", message, hint));
        }
        let earlier = &spec.port_forwards[..index];
        if let Some(other) = earlier.iter().find(|other| other.overlaps(forward, own)) {
            let message = format!("{forward} overlaps {other}");
            let hint = "every external port leads to one workload";
            write.refuse(&field, Refusal::new("overlap", message, hint));
        }
    }
}

/// The peer is a machine of its own: its address is nobody else's, and is noted so that nobody else is given it.
fn check_peer(
    spec: &RouterSpec,
    external: Option<&Entry<NetworkSpec>>,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    let (Some(peer), Some(network)) = (&spec.peer_router, external) else { return Ok(()) };
    let cidr = network.record.spec.cidr;
    if !cidr.contains(&peer.ip) || peer.ip == cidr.network() || peer.ip == cidr.broadcast() {
        let message = format!("{} is no host address of the external network's {cidr}", peer.ip);
        write
            .refuse("peer_router/ip", Refusal::new("outside_cidr", message, format!("an address of {cidr}")));
    }
    let network_id = &network.record.id;
    if spec.external.as_ref().is_some_and(|external| external.ip == Some(peer.ip)) {
        let message = format!("{} is the router's own address", peer.ip);
        write.refuse("peer_router/ip", Refusal { code: "address_in_use", message, hint: None });
    } else if let Some(owner) = write.other_owner(&address_key(network_id, peer.ip.into()))? {
        let message = format!("{} is the address of the {owner}", peer.ip);
        let hint = "give the address of the next hop, which this gateway does not have itself";
        write.conflict("peer_router/ip", Refusal::new("address_in_use", message, hint));
    }
    let key = peer_key(network_id, peer.ip, write.id());
    write.claim(key, "peer_router/ip", "address_in_use", "the peer router's address");
    Ok(())
}

/// Floating IPs are reached through this router: what they need cannot be taken away under them.
fn keep_floating_ips(
    spec: &RouterSpec,
    previous: &RouterSpec,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    let lost: Vec<&String> =
        previous.internal.iter().filter(|network| !spec.internal.contains(network)).collect();
    let left = |network: &str| spec.leg_in(network).is_none().then(|| previous.leg_in(network)).flatten();
    if lost.is_empty() && previous.legs().all(|(_, leg)| left(&leg.network).is_none()) {
        return Ok(());
    }
    // The field of the leg that the network is left by.
    let leg_field = |network: &str| {
        let leg = left(network)?;
        let is_default = previous.external.as_ref() == Some(leg);
        Some(if is_default { "external" } else { "further_externals" })
    };
    let users = write.store().list(&uses_prefix::<RouterSpec>(write.id()))?;
    for user in users.entries {
        let Some((plural, id, name)) = parse_owner(&user.value) else { continue };
        if plural == LoadBalancerSpec::KIND.plural() {
            let Some(stored) = write.store().get(&object_key::<LoadBalancerSpec>(id))? else { continue };
            let network = Entry::<LoadBalancerSpec>::decode(&stored)?.record.spec.network;
            if let Some(field) = leg_field(&network) {
                let message = format!("the load balancer {name} is reached through this router");
                write.conflict(field, Refusal::new("in_use", message, "remove it first"));
            }
            continue;
        }
        let Some(stored) = write.store().get(&object_key::<FloatingIpSpec>(id))? else { continue };
        let spec = Entry::<FloatingIpSpec>::decode(&stored)?.record.spec;
        let through = spec.target_network.as_ref().filter(|network| lost.contains(network));
        let Some(field) = through.map(|_| "internal").or_else(|| leg_field(&spec.network)) else { continue };
        let message = format!("the floating ip {name} is reached through this router");
        write.conflict(field, Refusal::new("in_use", message, "disassociate it first"));
    }
    Ok(())
}

/// The router's MAC address is its own on every network that it is in.
fn claim_mac<'a>(
    spec: &RouterSpec,
    networks: impl Iterator<Item = &'a Entry<NetworkSpec>>,
    write: &mut Write<'_>,
) {
    let Some(mac) = spec.mac else { return };
    for network in networks {
        let what = format!("the MAC address {mac} of the network `{}`", network.record.name);
        write.claim(mac_key(&network.record.id, mac), "mac", "mac_in_use", what);
    }
}

/// A router tells its networks apart by their addresses.
fn refuse_overlaps(
    networks: &[(usize, Entry<NetworkSpec>)],
    legs: &[(String, Entry<NetworkSpec>)],
    write: &mut Write<'_>,
) {
    let mut seen: Vec<&Entry<NetworkSpec>> = Vec::new();
    let outside = legs.iter().map(|(field, network)| (format!("{field}/network"), network));
    let inside = networks.iter().map(|(index, network)| (format!("internal/{index}"), network));
    for (field, network) in outside.chain(inside) {
        for other in &seen {
            let (ours, theirs) = (&network.record.spec, &other.record.spec);
            if other.record.id != network.record.id
                && let Some((ours, theirs)) = overlap(ours, theirs)
            {
                let message = format!(
                    "{ours} of the network `{}` overlaps {theirs} of the network `{}`",
                    network.record.name, other.record.name
                );
                let hint = "networks of one router must not overlap";
                write.refuse(&field, Refusal::new("overlapping_cidr", message, hint));
            }
        }
        seen.push(network);
    }
}

/// Subnets of two networks that overlap.
fn overlap(ours: &NetworkSpec, theirs: &NetworkSpec) -> Option<(IpNet, IpNet)> {
    let subnets = |network: &NetworkSpec| {
        [Some(IpNet::V4(network.cidr)), network.ipv6_cidr.map(IpNet::V6)].into_iter().flatten()
    };
    subnets(ours).find_map(|ours| {
        let overlaps = |theirs: &IpNet| ours.contains(theirs) || theirs.contains(&ours);
        subnets(theirs).find(overlaps).map(|theirs| (ours, theirs))
    })
}
