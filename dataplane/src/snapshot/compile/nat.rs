//! Pools of external addresses, and forwarded ports: checked and indexed.

use hashbrown::HashMap;

use super::{Compiler, Index, Owner};
use crate::config::{self, NatMapping};
use crate::engine::TICKS_PER_SECOND;
use crate::snapshot::nat::{Forward, Pool};
use crate::snapshot::{Router, fingerprint};
use crate::tables::port_allocator::PortPolicy;
use crate::wire::{PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP, network_address};

/// Most addresses of a pool.
const POOL_ADDRESSES_MAX: usize = 256;
/// Longest time that a released port may rest.
const PORT_HOLD_SECONDS_MAX: u32 = 3600;
/// What an independent mapping's port rests where nothing is said (RFC 6888, REQ-8).
const PORT_HOLD_SECONDS: u32 = 120;

impl Compiler<'_> {
    /// The pool that a router's sources leave with; its addresses are the router's from now on.
    pub(super) fn pool(
        &mut self,
        (object, field): (&str, &str),
        external: &config::RouterExternal,
        network: Index,
        router: Index,
    ) -> Pool {
        let Some(id) = &external.snat_pool else {
            return compiled(&config::NatPool::new("", vec![external.ip_address]), object);
        };
        let config = self.config;
        let Some(pool) = config.nat_pools.iter().find(|pool| &pool.id == id) else {
            self.problem(object.to_owned(), field, format!("there is no NAT pool `{id}`"));
            return Pool::default();
        };
        let others = config.routers.iter().flat_map(|router| router.legs());
        if others.filter(|other| other.snat_pool.as_ref() == Some(id)).count() > 1 {
            let message = format!("NAT pool {} is used by another router or leg too", pool.name);
            self.problem(object.to_owned(), field, message);
        }
        let name = format!("NAT pool {}", pool.name);
        for address in &pool.addresses {
            if !self.topology.networks[network].contains((*address).into()) {
                let message = format!("{address} is in no subnet of router's external network");
                self.problem(name.clone(), "addresses", message);
            }
            if *address != external.ip_address {
                self.own(&name, "addresses", network, ((*address).into(), Owner::Router(router)));
            }
        }
        compiled(pool, &pool.name)
    }

    /// Checks what hangs on no router.
    pub(super) fn nat_pools(&mut self) {
        for pool in &self.config.nat_pools {
            let object = format!("NAT pool {}", pool.name);
            let mut problems: Vec<(&str, String)> = Vec::new();
            let count = pool.addresses.len();
            if !(1..=POOL_ADDRESSES_MAX).contains(&count) {
                problems.push(("addresses", format!("{count} addresses are not 1 to {POOL_ADDRESSES_MAX}")));
            }
            if pool.port_min == 0 || pool.port_min > pool.port_max {
                problems.push(("port_min", format!("{} is not 1 to port_max", pool.port_min)));
            }
            if pool.preserve_class && pool.port_max < 1024 {
                problems.push(("port_max", "with preserve_class it is 1024 at least".to_owned()));
            }
            if pool.port_block_size != 0 && !(8..=16_384).contains(&pool.port_block_size) {
                problems.push(("port_block_size", format!("{} is not 8 to 16384", pool.port_block_size)));
            }
            if pool.port_block_size != 0 && pool.port_blocks_per_workload == 0 {
                problems.push(("port_blocks_per_workload", "a workload needs one block at least".to_owned()));
            }
            if let Some(seconds) = pool.port_hold_seconds.filter(|seconds| *seconds > PORT_HOLD_SECONDS_MAX) {
                let message = format!("{seconds} is more than {PORT_HOLD_SECONDS_MAX}");
                problems.push(("port_hold_seconds", message));
            }
            if !(1..=100).contains(&pool.high_water_percent) {
                problems.push(("high_water_percent", format!("{} is not 1 to 100", pool.high_water_percent)));
            }
            for (field, message) in problems {
                self.problem(object.clone(), field, message);
            }
        }
    }

    /// Ports are forwarded to workloads behind the router whose address it is, and never given to its sources.
    pub(super) fn port_forwards(&mut self) {
        for forward in &self.config.port_forwards {
            let object = format!("port forward {}", forward.id);
            if let Err((field, message)) = self.port_forward(forward) {
                self.problem(object, field, message);
            }
        }
    }

    fn port_forward(&mut self, forward: &config::PortForward) -> Result<(), (&'static str, String)> {
        let index = self.router_index.get(forward.router.as_str()).copied();
        let router = index
            .and_then(|index| self.topology.routers.get(index))
            .ok_or_else(|| ("router", format!("there is no router `{}`", forward.router)))?;
        let first = router
            .legs
            .first()
            .ok_or_else(|| ("router", format!("router {} has no leg outside", router.name)))?;
        let address = forward.external_ip.unwrap_or(first.ip_address);
        let is_own = |network: &Index| {
            self.topology.networks[*network].owner(address.into()) == index.map(Owner::Router)
        };
        let network = router.legs.iter().map(|external| external.network).find(is_own).ok_or_else(|| {
            let message =
                format!("{address} is neither the address of router {} nor of its pool", router.name);
            ("external_ip", message)
        })?;
        if ![PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_SCTP].contains(&forward.protocol) {
            let message = format!("{} is none of 6 (TCP), 17 (UDP) and 132 (SCTP)", forward.protocol);
            return Err(("protocol", message));
        }
        let (min, max) = (forward.port_min, forward.port_max.unwrap_or(forward.port_min));
        if min == 0 || min > max {
            return Err(("port_min", format!("{min} to {max} is no range of ports")));
        }
        let target = forward.target_port.unwrap_or(min);
        if target == 0 || target.checked_add(max - min).is_none() {
            return Err(("target_port", format!("{target} and following are no ports")));
        }
        let number = self.topology.port_number(&forward.target);
        let port = number
            .and_then(|number| self.topology.port(number))
            .filter(|port| port.workload.is_some())
            .ok_or_else(|| ("target", format!("there is no workload port `{}`", forward.target)))?;
        if self.topology.networks[port.network].router != index {
            return Err(("target", format!("{} is not behind router {}", port.name, router.name)));
        }
        let compiled = Forward { min, max, port: port.number, target };
        if !self.topology.networks[network].forwards.insert(address, forward.protocol, compiled) {
            return Err(("port_min", format!("{min} to {max} of {address} overlaps another port forward")));
        }
        let legs = index.map(|index| &mut self.topology.routers[index].legs);
        let leg = legs.and_then(|legs| legs.iter_mut().find(|external| external.network == network));
        if let Some(external) = leg {
            let key = (network_address(address), forward.protocol);
            let reserved = external.pool.policy.reserved.entry(key).or_default();
            (min..=max).for_each(|port| {
                reserved.insert(port);
            });
        }
        Ok(())
    }
}

fn compiled(pool: &config::NatPool, name: &str) -> Pool {
    let is_independent = pool.mapping == NatMapping::EndpointIndependent;
    let hold_seconds = pool.port_hold_seconds.unwrap_or(if is_independent { PORT_HOLD_SECONDS } else { 0 });
    let ports = u32::from(pool.port_max.saturating_sub(pool.port_min)) + 1;
    Pool {
        name: name.to_owned(),
        addresses: pool.addresses.clone(),
        filtering: pool.filtering,
        policy: PortPolicy {
            addresses: pool.addresses.iter().map(|address| network_address(*address)).collect(),
            is_independent,
            is_paired: pool.paired,
            min: pool.port_min,
            max: pool.port_max,
            preserves_class: pool.preserve_class,
            preserves_parity: pool.preserve_parity,
            is_random: pool.randomize,
            ports_per_workload: pool.ports_per_workload,
            block_size: pool.port_block_size,
            blocks_per_workload: pool.port_blocks_per_workload,
            hold_ticks: hold_seconds.saturating_mul(TICKS_PER_SECOND),
            high_water_ports: (ports * u32::from(pool.high_water_percent)).div_ceil(100),
            reserved: HashMap::new(),
        },
    }
}

/// What flows depend on in the translation of a router: its pools, and what is forwarded by it.
pub(super) fn fingerprint_of(config: &config::Config, router: &config::Router, compiled: &Router) -> u64 {
    let pools: Vec<_> = router
        .legs()
        .filter_map(|external| external.snat_pool.as_ref())
        .map(|id| config.nat_pools.iter().find(|pool| &pool.id == id))
        .collect();
    let forwards: Vec<_> = config
        .port_forwards
        .iter()
        .filter(|forward| forward.router == router.id && !compiled.legs.is_empty())
        .collect();
    fingerprint::of(&(pools, forwards))
}
