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
        let external = resolve_external(self, previous, write)?;
        claim_mac(self, networks.iter().map(|(_, network)| network).chain(&external), write);
        refuse_overlaps(&networks, external.as_ref(), write);
        check_peer(self, external.as_ref(), write)?;
        check_routes(self, &networks, external.as_ref(), write);
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

fn resolve_external(
    spec: &mut RouterSpec,
    previous: Option<&RouterSpec>,
    write: &mut Write<'_>,
) -> Result<Option<Entry<NetworkSpec>>, AppError> {
    let Some(external) = &mut spec.external else { return Ok(None) };
    let Some(network) = write.refer::<NetworkSpec>("external/network", &external.network)? else {
        return Ok(None);
    };
    external.network.clone_from(&network.record.name);
    require_external(&network.record.spec, true, "external/network", &network.record.name, write);
    let kept = previous.and_then(|previous| previous.external.as_ref());
    let kept = kept.filter(|kept| kept.network == external.network);
    let kept_ipv6 = kept.and_then(|kept| kept.ipv6);
    external.ipv6 = external.ipv6.or(kept_ipv6);
    let kept_pool: Vec<Ipv4Addr> =
        kept.and_then(|kept| kept.snat_pool.as_ref()).into_iter().flat_map(SnatPool::each_address).collect();
    let kept = kept.and_then(|kept| kept.ip);
    if external.ip.is_none() {
        external.ip = kept;
    }
    let pool = network.record.spec.effective_pool();
    if external.ip.is_some_and(|address| Some(address) != kept && !pool.contains(address)) {
        write.require_host("external/ip", "an address outside of the network's pool");
    }
    let refusal = external.ip.and_then(|address| network.record.spec.refuse_host(address));
    match refusal {
        Some(refusal) => write.refuse("external/ip", refusal),
        None => external.ip = write.claim_address(&network, external.ip, "external/ip")?,
    }
    claim_pool(external, &kept_pool, &network, write)?;
    if network.record.spec.ipv6_cidr.is_some() || external.ipv6.is_some() {
        let pool = network.record.spec.effective_ipv6_pool();
        let is_outside = |address| pool.is_none_or(|pool| !pool.contains(address));
        if external.ipv6.is_some_and(|address| Some(address) != kept_ipv6 && is_outside(address)) {
            write.require_host("external/ipv6", "an address outside of the network's pool");
        }
        let refusal = external.ipv6.and_then(|address| network.record.spec.refuse_host(address));
        match refusal {
            Some(refusal) => write.refuse("external/ipv6", refusal),
            None => external.ipv6 = write.claim_ipv6_address(&network, external.ipv6, "external/ipv6")?,
        }
    }
    Ok(Some(network))
}

/// A route's next hop is a host of one of the router's networks, and its destination none of these networks.
fn check_routes(
    spec: &RouterSpec,
    networks: &[(usize, Entry<NetworkSpec>)],
    external: Option<&Entry<NetworkSpec>>,
    write: &mut Write<'_>,
) {
    let connected: Vec<&Entry<NetworkSpec>> =
        networks.iter().map(|(_, network)| network).chain(external).collect();
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
            let hint = "a host of a network in `internal`, or of the external network";
            write.refuse(&field, Refusal::new("nexthop_unreachable", message, hint));
            continue;
        };
        let is_own = |own: Option<IpAddr>| own == Some(nexthop);
        let leg = spec.external.as_ref();
        if is_own(leg.and_then(|leg| leg.ip).map(IpAddr::V4))
            || is_own(leg.and_then(|leg| leg.ipv6).map(IpAddr::V6))
        {
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
    external: &RouterExternal,
    kept: &[Ipv4Addr],
    network: &Entry<NetworkSpec>,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    let Some(pool) = &external.snat_pool else { return Ok(()) };
    for (index, range) in pool.addresses.iter().enumerate() {
        let field = format!("external/snat_pool/addresses/{index}");
        for address in (range.first.to_bits()..=range.last.to_bits()).map(Ipv4Addr::from_bits) {
            if Some(address) == external.ip {
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
    let external = spec.external.as_ref();
    let own = external.and_then(|external| external.ip);
    let pool = external.and_then(|external| external.snat_pool.as_ref());
    for (index, forward) in spec.port_forwards.iter().enumerate() {
        let field = format!("port_forwards/{index}");
        let is_other =
            |address: &Ipv4Addr| Some(*address) != own && pool.is_none_or(|pool| !pool.has(*address));
        if let Some(address) = forward.external_ip.filter(is_other) {
            let message = format!("{address} is neither the router's address nor of its pool");
            let hint = "leave it out for the router's address";
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
    let external = |spec: &RouterSpec| spec.external.as_ref().map(|external| external.network.clone());
    let moved = external(previous) != external(spec);
    if lost.is_empty() && !moved {
        return Ok(());
    }
    let users = write.store().list(&uses_prefix::<RouterSpec>(write.id()))?;
    for user in users.entries {
        let Some((plural, id, name)) = parse_owner(&user.value) else { continue };
        if plural == LoadBalancerSpec::KIND.plural() && moved {
            let message = format!("the load balancer {name} is reached through this router");
            write.conflict("external", Refusal::new("in_use", message, "remove it first"));
        }
        let Some(stored) = write.store().get(&object_key::<FloatingIpSpec>(id))? else { continue };
        let spec = Entry::<FloatingIpSpec>::decode(&stored)?.record.spec;
        let through = spec.target_network.as_ref().filter(|network| lost.contains(network));
        let field = match through {
            Some(_) => "internal",
            None if moved => "external",
            None => continue,
        };
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
    external: Option<&Entry<NetworkSpec>>,
    write: &mut Write<'_>,
) {
    for (position, (index, network)) in networks.iter().enumerate() {
        let earlier = networks[..position].iter().map(|(_, other)| other);
        for other in earlier.chain(external) {
            let (ours, theirs) = (network.record.spec.cidr, other.record.spec.cidr);
            if other.record.id != network.record.id && (ours.contains(&theirs) || theirs.contains(&ours)) {
                let message = format!(
                    "{ours} of the network `{}` overlaps {theirs} of the network `{}`",
                    network.record.name, other.record.name
                );
                let hint = "networks of one router must not overlap";
                write.refuse(&format!("internal/{index}"), Refusal::new("overlapping_cidr", message, hint));
            }
        }
    }
}
