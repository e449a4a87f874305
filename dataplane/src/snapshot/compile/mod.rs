//! From configuration to snapshot: every check, then every index.
//!
//! All problems are found and told at once, and a configuration with any is refused whole.

mod load_balancers;
mod nat;
mod overlay;
mod routes;
mod security_groups;

use std::net::IpAddr;
use std::sync::Arc;

use edgestack_abi::maps::MAX_PORTS;
use hashbrown::{HashMap, HashSet};

use edgestack_abi::punt::TRUNK_TAG_LENGTH;

use super::address_set::AddressSet;
use super::overlay::tunnelled;
use super::security_group::SecurityGroup;
use super::{
    FloatingIp, Index, Network, Owner, Port, Router, Snapshot, Subnet, Topology, Workload, fingerprint,
    services,
};
use crate::config::{self, Config, PortKind};
use crate::engine::{ConfigError, ConfigProblem};
use crate::fastpath::TRUNK_MTU;

/// Smallest MTU of a network (RFC 791: every host takes 576 bytes).
const MTU_MIN: u16 = 576;
/// Smallest MTU of a network with IPv6 (RFC 8200, section 5).
const MTU_MIN_IPV6: u16 = 1280;
/// Largest MTU of a network: what passes the trunk with its tag, so that every packet can reach the engine.
const MTU_MAX: u16 = 3400;
const _: () = assert!(MTU_MAX as u32 + TRUNK_TAG_LENGTH as u32 <= TRUNK_MTU);

impl Snapshot {
    /// Checks and indexes a configuration. `port_numbers` has a number for every port of it.
    pub fn compile(config: &Config, port_numbers: &HashMap<String, u16>) -> Result<Self, ConfigError> {
        Self::recompile(&Self::default(), config, || port_numbers.clone())
    }

    /// As [`Self::compile`], and shares with `before`, which was accepted, whatever has not changed. `number_ports` is
    /// asked only when something about ports may have.
    pub fn recompile(
        before: &Self,
        config: &Config,
        number_ports: impl FnOnce() -> HashMap<String, u16>,
    ) -> Result<Self, ConfigError> {
        let mut compiler = Compiler::new(config, before);
        compiler.address_groups();
        compiler.security_groups();
        let topology = if compiler.keeps_topology() {
            Arc::clone(&before.topology)
        } else {
            Arc::new(compiler.topology(&number_ports()))
        };
        let Compiler { problems, security_groups, address_sets, .. } = compiler;
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        let fingerprints = fingerprints(&topology, &security_groups, &address_sets);
        Ok(Self { config: config.clone(), topology, security_groups, address_sets, fingerprints })
    }
}

struct Compiler<'a> {
    config: &'a Config,
    before: &'a Snapshot,
    /// The groups are those of before, in the same order, so that their positions mean the same.
    keeps_group_ids: bool,
    keeps_address_group_ids: bool,
    problems: Vec<ConfigProblem>,
    topology: Topology,
    security_groups: Vec<Arc<SecurityGroup>>,
    address_sets: Vec<Arc<AddressSet>>,
    network_index: HashMap<&'a str, Index>,
    router_index: HashMap<&'a str, Index>,
    load_balancer_index: HashMap<&'a str, Index>,
    group_index: HashMap<&'a str, Index>,
    address_group_index: HashMap<&'a str, Index>,
    remote_workloads: usize,
}

fn index_by_id<'a>(ids: impl Iterator<Item = &'a String>) -> HashMap<&'a str, Index> {
    ids.enumerate().map(|(index, id)| (id.as_str(), index)).collect()
}

fn ipv4_of(address: Option<IpAddr>) -> Option<std::net::Ipv4Addr> {
    match address? {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn ipv6_of(address: Option<IpAddr>) -> Option<std::net::Ipv6Addr> {
    match address? {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}

impl<'a> Compiler<'a> {
    fn new(config: &'a Config, before: &'a Snapshot) -> Self {
        let old = &before.config;
        let mut compiler = Self {
            config,
            before,
            keeps_group_ids: are_equal(&old.security_groups, &config.security_groups, |group| &group.id),
            keeps_address_group_ids: are_equal(&old.address_groups, &config.address_groups, |group| {
                &group.id
            }),
            problems: Vec::new(),
            topology: Topology::default(),
            security_groups: Vec::with_capacity(config.security_groups.len()),
            address_sets: Vec::with_capacity(config.address_groups.len()),
            network_index: HashMap::new(),
            router_index: HashMap::new(),
            load_balancer_index: HashMap::new(),
            group_index: index_by_id(config.security_groups.iter().map(|group| &group.id)),
            address_group_index: index_by_id(config.address_groups.iter().map(|group| &group.id)),
            remote_workloads: 0,
        };
        compiler.unique("security group", config.security_groups.iter().map(|group| &group.id));
        compiler.unique("address group", config.address_groups.iter().map(|group| &group.id));
        compiler
    }

    /// Whether ports, networks and all that connects them are as before. What is added to the configuration must be
    /// looked at here.
    fn keeps_topology(&self) -> bool {
        let Config {
            networks,
            ports,
            routers,
            floating_ips,
            load_balancers,
            nat_pools,
            port_forwards,
            overlay,
            security_groups: _,
            address_groups: _,
        } = self.config;
        let old = &self.before.config;
        // Without ports there is nothing to keep, and before the first configuration nothing has been checked.
        !old.ports.is_empty()
            && self.keeps_group_ids
            && old.networks == *networks
            && old.ports == *ports
            && old.routers == *routers
            && old.floating_ips == *floating_ips
            && old.load_balancers == *load_balancers
            && old.nat_pools == *nat_pools
            && old.port_forwards == *port_forwards
            && old.overlay == *overlay
    }

    fn topology(&mut self, port_numbers: &HashMap<String, u16>) -> Topology {
        let config = self.config;
        self.network_index = index_by_id(config.networks.iter().map(|network| &network.id));
        self.router_index = index_by_id(config.routers.iter().map(|router| &router.id));
        self.load_balancer_index = index_by_id(config.load_balancers.iter().map(|balancer| &balancer.id));
        self.unique("network", config.networks.iter().map(|network| &network.id));
        self.unique("port", config.ports.iter().map(|port| &port.id));
        self.unique("router", config.routers.iter().map(|router| &router.id));
        self.unique("floating IP", config.floating_ips.iter().map(|floating_ip| &floating_ip.id));
        self.unique("load balancer", config.load_balancers.iter().map(|balancer| &balancer.id));
        self.unique("NAT pool", config.nat_pools.iter().map(|pool| &pool.id));
        self.unique("port forward", config.port_forwards.iter().map(|forward| &forward.id));
        self.networks();
        self.segments();
        self.ports(port_numbers);
        self.nat_pools();
        self.vlans();
        self.routers();
        self.overlay();
        self.load_balancers();
        self.floating_ips();
        self.port_forwards();
        self.next_hops();
        self.router_macs();
        if self.problems.is_empty() {
            self.fingerprint_ports();
        }
        std::mem::take(&mut self.topology)
    }

    fn problem(&mut self, object: String, field: &str, message: String) {
        self.problems.push(ConfigProblem { object, field: field.to_owned(), message });
    }

    fn unique(&mut self, kind: &str, ids: impl Iterator<Item = &'a String>) {
        let mut seen = HashSet::new();
        for id in ids {
            if !seen.insert(id) {
                self.problem(
                    format!("{kind} {id}"),
                    "id",
                    "is used twice; give every object its own".to_owned(),
                );
            }
        }
    }

    fn networks(&mut self) {
        for network in &self.config.networks {
            let object = format!("network {}", network.name);
            let subnets = self.subnets(&object, network);
            let mtu_min = if network.ipv6_cidr.is_some() { MTU_MIN_IPV6 } else { MTU_MIN };
            if !(mtu_min..=MTU_MAX).contains(&network.mtu) {
                self.problem(
                    object.clone(),
                    "mtu",
                    format!("{} is not between {mtu_min} and {MTU_MAX}", network.mtu),
                );
            }
            let services = services::compile(network).unwrap_or_else(|problems| {
                for (field, message) in problems {
                    self.problem(object.clone(), field, message);
                }
                services::Services::default()
            });
            self.topology.networks.push(Network {
                id: network.id.clone(),
                name: network.name.clone(),
                subnets,
                mtu: network.mtu,
                external: network.external,
                router: None,
                uplink: None,
                services,
                port_by_ip: HashMap::new(),
                load_balancer_by_ip: HashMap::new(),
                port_by_mac: HashMap::new(),
                owners: HashMap::new(),
                forwards: super::nat::Forwards::default(),
                router_by_mac: HashMap::new(),
            });
        }
    }

    fn subnets(&mut self, object: &str, network: &config::Network) -> Vec<Subnet> {
        let mut subnets = Vec::with_capacity(2);
        let ipv4 = ("cidr", "gateway_ip", false, Some(network.cidr), network.gateway_ip.map(IpAddr::from));
        let ipv6_gateway_ip = network.ipv6_gateway_ip.map(IpAddr::from);
        let ipv6 = ("ipv6_cidr", "ipv6_gateway_ip", true, network.ipv6_cidr, ipv6_gateway_ip);
        for (cidr_field, gateway_field, is_ipv6, cidr, gateway_ip) in [ipv4, ipv6] {
            let Some(cidr) = cidr else {
                if let Some(gateway) = gateway_ip {
                    let message = format!("{gateway} needs {cidr_field} too");
                    self.problem(object.to_owned(), gateway_field, message);
                }
                continue;
            };
            if cidr.is_ipv6() != is_ipv6 {
                let message = format!("{cidr} is not of IPv{}", if is_ipv6 { 6 } else { 4 });
                self.problem(object.to_owned(), cidr_field, message);
            }
            // The upstream router may go by its link-local address alone.
            let is_link_local = network.external
                && matches!(gateway_ip, Some(IpAddr::V6(gateway)) if gateway.is_unicast_link_local());
            if let Some(gateway) = gateway_ip.filter(|gateway| !cidr.contains(*gateway) && !is_link_local) {
                self.problem(object.to_owned(), gateway_field, format!("{gateway} is not in {cidr}"));
            }
            subnets.push(Subnet { cidr, gateway_ip });
        }
        subnets
    }

    fn ports(&mut self, port_numbers: &HashMap<String, u16>) {
        if self.config.ports.len() >= MAX_PORTS as usize {
            let message =
                format!("{} ports are more than the {} of one host", self.config.ports.len(), MAX_PORTS - 1);
            self.problem("ports".to_owned(), "ports", message);
            return;
        }
        let carriers = self.carriers(port_numbers);
        for port in &self.config.ports {
            let object = format!("port {}", port.name);
            let Some(network) = self.network_index.get(port.network.as_str()).copied() else {
                self.problem(object, "network", format!("there is no network `{}`", port.network));
                continue;
            };
            let peer = match &port.kind {
                PortKind::Workload(workload) => workload.peer.as_deref(),
                PortKind::Uplink => None,
            };
            let (number, remote) = match peer {
                Some(peer) => match self.remote(&object, peer, network, &carriers) {
                    Some((number, remote)) => (number, Some(remote)),
                    None => continue,
                },
                None => (port_numbers.get(&port.id).copied().unwrap_or_default(), None),
            };
            if number == 0 || self.topology.port(number).is_some() {
                let message =
                    "there is no free port number; remove ports first and add these after".to_owned();
                self.problem(object, "id", message);
                continue;
            }
            let workload = match &port.kind {
                PortKind::Uplink => {
                    self.uplink(&object, network, number);
                    None
                }
                PortKind::Workload(workload) => Some(self.workload(&object, workload, network, number)),
            };
            self.insert_port(Port {
                number,
                id: port.id.clone(),
                name: port.name.clone(),
                network,
                up: port.admin_state_up,
                workload,
                remote,
                tunnel: None,
                settings_fingerprint: 0,
            });
        }
    }

    fn insert_port(&mut self, port: Port) {
        let number = usize::from(port.number);
        let slots = &mut self.topology.ports;
        slots.resize_with(slots.len().max(number + 1), || None);
        self.topology.port_numbers.insert(port.id.clone(), port.number);
        if port.remote.is_none() {
            self.topology.ports_end = self.topology.ports_end.max(port.number + 1);
        }
        slots[number] = Some(port);
    }

    fn uplink(&mut self, object: &str, network: Index, number: u16) {
        let entry = &mut self.topology.networks[network];
        if tunnelled(self.config.networks[network].segment).is_some() {
            let message = format!("network {} leaves by tunnels, so it has no uplink", entry.name);
            self.problem(object.to_owned(), "network", message);
        } else if entry.uplink.replace(number).is_some() {
            let message = format!("network {} has an uplink already", entry.name);
            self.problem(object.to_owned(), "network", message);
        }
    }

    fn workload(
        &mut self,
        object: &str,
        workload: &config::Workload,
        network: Index,
        number: u16,
    ) -> Workload {
        let config::Workload {
            mac_address,
            ip_address,
            ipv6_address,
            security_groups,
            allowed_address_pairs,
            port_security,
            peer: _,
        } = workload;
        let groups = self.group_references(object, security_groups);
        let entry = &mut self.topology.networks[network];
        let mut problems: Vec<(&str, String)> = Vec::new();
        if entry.external {
            problems.push((
                "network",
                format!("network {} is external; workloads belong in tenant networks", entry.name),
            ));
        }
        let addresses = [
            ("ip_address", Some(IpAddr::from(*ip_address))),
            ("ipv6_address", ipv6_address.map(IpAddr::from)),
        ];
        for (field, address) in addresses {
            let Some(address) = address else { continue };
            if !entry.contains(address) {
                problems.push((field, format!("{address} is in no subnet of network {}", entry.name)));
            }
            if entry.is_gateway(address) {
                problems.push((field, format!("{address} is the gateway of network {}", entry.name)));
            }
            if entry.port_by_ip.insert(address, number).is_some() {
                problems.push((field, format!("{address} is used twice in network {}", entry.name)));
            }
            // An IPv6 gateway whose address is taken is told above.
            if entry.services.has_address(address) && !(address.is_ipv6() && entry.is_gateway(address)) {
                problems.push((field, format!("the gateway serves network {} at {address}", entry.name)));
            }
        }
        if mac_address.is_multicast() || mac_address.is_zero() {
            problems.push(("mac_address", format!("{mac_address} is no address of one host")));
        }
        if entry.port_by_mac.insert(*mac_address, number).is_some() {
            problems.push(("mac_address", format!("{mac_address} is used twice in network {}", entry.name)));
        }
        for (field, message) in problems {
            self.problem(object.to_owned(), field, message);
        }
        Workload {
            mac_address: *mac_address,
            ip_address: *ip_address,
            ipv6_address: *ipv6_address,
            security_groups: groups,
            allowed_address_pairs: allowed_address_pairs
                .iter()
                .map(|pair| (pair.ip_address, pair.mac_address.unwrap_or(*mac_address)))
                .collect(),
            port_security: *port_security,
            floating_ip: None,
        }
    }

    fn group_references(&mut self, object: &str, groups: &[String]) -> Vec<Index> {
        let mut indices = Vec::with_capacity(groups.len());
        for group in groups {
            match self.group_index.get(group.as_str()) {
                Some(index) => indices.push(*index),
                None => {
                    self.problem(
                        object.to_owned(),
                        "security_groups",
                        format!("there is no security group `{group}`"),
                    );
                }
            }
        }
        indices
    }

    fn routers(&mut self) {
        for (index, router) in self.config.routers.iter().enumerate() {
            let object = format!("router {}", router.name);
            if router.mac_address.is_multicast() || router.mac_address.is_zero() {
                let message = format!("{} is no address of one host", router.mac_address);
                self.problem(object.clone(), "mac_address", message);
            }
            let networks = self.router_networks(&object, router, index);
            let legs = self.legs(&object, router, index);
            let routes = self.routes(&object, router, (&networks, &legs));
            self.topology.routers.push(Router {
                name: router.name.clone(),
                mac_address: router.mac_address,
                networks,
                legs,
                routes,
            });
        }
    }

    fn router_networks(&mut self, object: &str, router: &config::Router, index: Index) -> Vec<Index> {
        let mut networks: Vec<Index> = Vec::new();
        for id in &router.networks {
            let Some(network) = self.network_index.get(id.as_str()).copied() else {
                self.problem(object.to_owned(), "networks", format!("there is no network `{id}`"));
                continue;
            };
            let entry = &self.topology.networks[network];
            let (name, subnets) = (entry.name.clone(), entry.subnets.clone());
            let message = if entry.external {
                Some(format!("network {name} is external; connect it by `external`"))
            } else if entry.router.is_some() {
                Some(format!("network {name} belongs to another router or is listed twice"))
            } else {
                let others = networks.iter().map(|other| &self.topology.networks[*other]);
                others
                    .flat_map(|other| other.subnets.iter().map(move |subnet| (other, subnet.cidr)))
                    .find_map(|(other, cidr)| {
                        let own = subnets.iter().find(|subnet| subnet.cidr.overlaps(cidr))?.cidr;
                        Some(format!("{own} of network {name} overlaps {cidr} of network {}", other.name))
                    })
            };
            if let Some(message) = message {
                self.problem(object.to_owned(), "networks", message);
            } else {
                self.topology.networks[network].router = Some(index);
                networks.push(network);
            }
        }
        networks
    }

    /// Notes who has an external address; each has one owner.
    fn own(&mut self, object: &str, field: &str, network: Index, (address, owner): (IpAddr, Owner)) {
        let entry = &mut self.topology.networks[network];
        let is_gateway = entry.is_gateway(address);
        let is_taken = entry.owners.insert(address, owner).is_some();
        if is_taken || is_gateway {
            let by = if is_gateway {
                "the upstream gateway"
            } else {
                "another router, floating IP, load balancer or the overlay"
            };
            self.problem(object.to_owned(), field, format!("{address} is used by {by}"));
        }
    }

    fn floating_ips(&mut self) {
        for (index, floating_ip) in self.config.floating_ips.iter().enumerate() {
            let object = format!("floating IP {}", floating_ip.floating_ip);
            let Some(network) = self.network_index.get(floating_ip.network.as_str()).copied() else {
                self.problem(object, "network", format!("there is no network `{}`", floating_ip.network));
                continue;
            };
            let entry = &self.topology.networks[network];
            let (external, name) = (entry.external, entry.name.clone());
            let is_inside = entry.contains(floating_ip.floating_ip.into());
            if !external {
                self.problem(object.clone(), "network", format!("network {name} is not external"));
            }
            if !is_inside {
                self.problem(object.clone(), "floating_ip", format!("it is in no subnet of network {name}"));
            }
            let owned = (floating_ip.floating_ip.into(), Owner::FloatingIp(index));
            self.own(&object, "floating_ip", network, owned);
            let target =
                floating_ip.target.as_ref().and_then(|target| self.target(&object, target, network, index));
            let load_balancer = floating_ip
                .load_balancer
                .as_ref()
                .and_then(|target| self.balanced_target(&object, target, network));
            if floating_ip.target.is_some() && floating_ip.load_balancer.is_some() {
                let message =
                    "a floating IP stands for a workload or a load balancer, not for both".to_owned();
                self.problem(object, "load_balancer", message);
            }
            let address = floating_ip.floating_ip;
            self.topology.floating_ips.push(FloatingIp { address, network, target, load_balancer });
        }
    }

    fn target(
        &mut self,
        object: &str,
        target: &config::FloatingIpTarget,
        network: Index,
        index: Index,
    ) -> Option<(u16, Index)> {
        let Some(router) = self.router_index.get(target.router.as_str()).copied() else {
            self.problem(
                object.to_owned(),
                "target.router",
                format!("there is no router `{}`", target.router),
            );
            return None;
        };
        let Some(number) = self.topology.port_number(&target.port) else {
            self.problem(object.to_owned(), "target.port", format!("there is no port `{}`", target.port));
            return None;
        };
        if self.topology.routers.get(router).and_then(|router| router.leg_in(network)).is_none() {
            let message = "the router has no leg in the floating IP's network".to_owned();
            self.problem(object.to_owned(), "target.router", message);
        }
        let port = self.topology.ports[usize::from(number)].as_mut()?;
        let on_router = self.topology.networks[port.network].router == Some(router);
        let is_first = match &mut port.workload {
            Some(workload) => workload.floating_ip.replace(index).is_none(),
            None => false,
        };
        if !on_router {
            self.problem(
                object.to_owned(),
                "target.port",
                "its network is not one of the router's".to_owned(),
            );
        } else if !is_first {
            self.problem(
                object.to_owned(),
                "target.port",
                "it has a floating IP already, or is an uplink".to_owned(),
            );
        }
        Some((number, router))
    }

    fn balanced_target(
        &mut self,
        object: &str,
        target: &config::FloatingIpLoadBalancer,
        network: Index,
    ) -> Option<(Index, Index)> {
        let router = self.router_index.get(target.router.as_str()).copied();
        let leg = router.and_then(|router| self.topology.routers.get(router)?.leg_in(network));
        if leg.is_none() {
            let message = format!("router `{}` has no leg in the floating IP's network", target.router);
            self.problem(object.to_owned(), "load_balancer.router", message);
            return None;
        }
        let balancer = self.load_balancer_index.get(target.load_balancer.as_str()).copied();
        let compiled = balancer.and_then(|balancer| self.topology.load_balancers.get(balancer));
        let message = match compiled {
            None => Some(format!("there is no load balancer `{}`", target.load_balancer)),
            Some(balancer) if self.topology.networks[balancer.network].external => {
                Some(format!("{} is an external address already", balancer.vip))
            }
            Some(balancer) if balancer.router != router => {
                Some(format!("load balancer {} is not behind the router", balancer.name))
            }
            Some(balancer) if balancer.vip.is_ipv6() => {
                Some(format!("load balancer {} has an IPv6 address", balancer.name))
            }
            Some(_) => None,
        };
        if let Some(message) = message {
            self.problem(object.to_owned(), "load_balancer", message);
            return None;
        }
        balancer.zip(router)
    }

    /// No workload has the MAC address of its router.
    fn router_macs(&mut self) {
        let mut problems = Vec::new();
        for router in &self.topology.routers {
            let object = || format!("router {}", router.name);
            for network in &router.networks {
                let network = &self.topology.networks[*network];
                if network.port_by_mac(router.mac_address).is_some() {
                    let message =
                        format!("{} is a workload's on network {}", router.mac_address, network.name);
                    problems.push((object(), "mac_address", message));
                }
            }
        }
        for (object, field, message) in problems {
            self.problem(object, field, message);
        }
    }

    fn fingerprint_ports(&mut self) {
        let config = self.config;
        let networks: Vec<u64> =
            config.networks.iter().map(|network| fingerprint::of_network(network)).collect();
        let routers: Vec<u64> = config
            .routers
            .iter()
            .zip(&self.topology.routers)
            .map(|(router, compiled)| {
                let outside = compiled.legs.iter().map(|external| &external.network);
                let touched = compiled.networks.iter().chain(outside).map(|network| networks[*network]);
                let translation = nat::fingerprint_of(config, router, compiled);
                let touched: Vec<u64> = touched.chain([translation]).collect();
                fingerprint::of_router(router, &touched)
            })
            .collect();
        let of_members = self.member_fingerprints();
        let mut remote = Vec::new();
        for port in &config.ports {
            let number = self.topology.port_numbers[&port.id];
            let Some(compiled) = &mut self.topology.ports[usize::from(number)] else { continue };
            let mut related = vec![networks[compiled.network]];
            related.extend(self.topology.networks[compiled.network].router.map(|router| routers[router]));
            if let Some(workload) = &compiled.workload {
                related
                    .extend(workload.floating_ip.map(|index| fingerprint::of(&config.floating_ips[index])));
            }
            let first = of_members.partition_point(|(port, _)| *port < number);
            let own = of_members[first..].iter().take_while(|(port, _)| *port == number);
            related.extend(own.map(|(_, fingerprint)| *fingerprint));
            compiled.settings_fingerprint = fingerprint::of_port(port, &related);
            remote
                .extend(compiled.remote.map(|host| (host, compiled.network, compiled.settings_fingerprint)));
        }
        self.joint_fingerprints(&remote);
        self.tunnel_fingerprints(&networks, &routers, &remote);
    }
}

/// Whether two lists have equal keys in the same order.
fn are_equal<T>(one: &[Arc<T>], other: &[Arc<T>], key: impl Fn(&T) -> &config::Id) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other) || key(one) == key(other))
}

/// By port number: the hash of all that its flows depend on, the rules of its groups and the address groups that they
/// name included.
fn fingerprints(
    topology: &Topology,
    security_groups: &[Arc<SecurityGroup>],
    address_sets: &[Arc<AddressSet>],
) -> Vec<u64> {
    let groups: Vec<u64> = security_groups
        .iter()
        .map(|group| {
            let named = group.address_groups.iter().map(|index| address_sets[*index].fingerprint);
            fingerprint::joined(group.fingerprint, named)
        })
        .collect();
    let of_port = |port: &Option<Port>| {
        let Some(port) = port else { return 0 };
        let of = port.workload.iter().flat_map(|workload| &workload.security_groups);
        fingerprint::joined(port.settings_fingerprint, of.map(|group| groups[*group]))
    };
    topology.ports.iter().map(of_port).collect()
}
