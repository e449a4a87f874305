//! Address translation in the dataplane's configuration: the pools of routers, and the ports that they forward.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::sync::Arc;

use edgestack_dataplane::config::{NatFiltering, NatMapping, NatPool, PortForward, SnatExemption};
use edgestack_model::nat::{self, Filtering, Mapping, SnatPool};
use edgestack_model::router::RouterExternal;
use edgestack_model::{PortSpec, RouterSpec};

use super::mirror::Mirror;
use super::network::{Names, any_cidr, id};
use crate::app::record::Record;

/// Ids of ports by the id of their network and their address.
type Places<'a> = HashMap<(String, Ipv4Addr), &'a str>;

/// Id in the dataplane of the pool of a router's leg in a network.
pub(super) fn pool_id(router: &Record<RouterSpec>, leg: &RouterExternal, network: &str) -> String {
    let is_default = router.spec.external.as_ref() == Some(leg);
    let id = &router.id;
    if is_default { format!("snat-{id}") } else { format!("snat-{id}-{network}") }
}

/// A destination that is not translated towards.
pub(super) fn exemption(exemption: &nat::SnatExemption) -> SnatExemption {
    SnatExemption {
        destination: any_cidr(exemption.destination.into()),
        protocol: exemption.protocol.number(),
        port_min: exemption.port_range_min,
        port_max: exemption.port_range_max,
    }
}

/// The pools and the forwarded ports of all routers. A port whose workload is not there is not forwarded yet.
pub(super) fn of_routers<'a>(
    mirror: &'a Mirror,
    names: &impl Deref<Target = Names<'a>>,
) -> (Vec<Arc<NatPool>>, Vec<Arc<PortForward>>) {
    let pools = mirror.routers.values().flat_map(|router| {
        router.spec.legs().filter_map(|(_, leg)| {
            let snat_pool = leg.snat_pool.as_ref()?;
            let id = pool_id(router, leg, &id(&names.networks, router, &leg.network)?);
            Some(Arc::new(pool(router, snat_pool, id, leg.ip?)))
        })
    });
    // Few sites forward ports: the ports are not indexed for nothing.
    let forwards = if mirror.routers.values().any(|router| !router.spec.port_forwards.is_empty()) {
        let places = places(mirror, names);
        let of_router = |router: &Arc<Record<RouterSpec>>| forwards(router, names, &places);
        mirror.routers.values().flat_map(of_router).map(Arc::new).collect()
    } else {
        Vec::new()
    };
    (pools.collect(), forwards)
}

fn places<'a>(mirror: &'a Mirror, names: &Names<'_>) -> Places<'a> {
    let place = |port: &'a Arc<Record<PortSpec>>| {
        let network = id(&names.networks, port, &port.spec.network)?;
        Some(((network, port.spec.ip_address?), port.id.as_str()))
    };
    mirror.ports.values().filter_map(place).collect()
}

fn forwards(router: &Record<RouterSpec>, names: &Names<'_>, places: &Places<'_>) -> Vec<PortForward> {
    let networks: Vec<String> =
        router.spec.internal.iter().filter_map(|network| id(&names.networks, router, network)).collect();
    let forward = |forward: &nat::PortForward| {
        let target = networks.iter().find_map(|network| places.get(&(network.clone(), forward.target_ip)))?;
        Some(PortForward {
            id: forward.id.clone(),
            router: router.id.clone(),
            external_ip: forward.external_ip,
            protocol: forward.protocol.number()?,
            port_min: forward.port_range_min,
            port_max: Some(forward.port_range_max),
            target: (*target).to_owned(),
            target_port: forward.target_port,
        })
    };
    router.spec.port_forwards.iter().filter_map(forward).collect()
}

fn pool(router: &Record<RouterSpec>, pool: &SnatPool, id: String, own: Ipv4Addr) -> NatPool {
    let addresses: Vec<Ipv4Addr> = pool.each_address().collect();
    NatPool {
        name: router.shown_name(),
        mapping: match pool.mapping {
            Mapping::EndpointDependent => NatMapping::EndpointDependent,
            Mapping::EndpointIndependent => NatMapping::EndpointIndependent,
        },
        filtering: match pool.filtering {
            Filtering::EndpointDependent => NatFiltering::EndpointDependent,
            Filtering::AddressDependent => NatFiltering::AddressDependent,
            Filtering::EndpointIndependent => NatFiltering::EndpointIndependent,
        },
        paired: pool.paired,
        port_min: pool.port_range_min,
        port_max: pool.port_range_max,
        preserve_class: pool.preserve_class,
        preserve_parity: pool.preserve_parity,
        randomize: pool.randomize,
        ports_per_workload: pool.ports_per_workload,
        port_block_size: pool.port_block_size,
        port_blocks_per_workload: pool.port_blocks_per_workload,
        port_hold_seconds: pool.port_hold_seconds,
        high_water_percent: pool.high_water_percent,
        ..NatPool::new(id, if addresses.is_empty() { vec![own] } else { addresses })
    }
}
