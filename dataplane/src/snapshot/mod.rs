//! The configuration as the packet path reads it: checked, numbered and indexed.
//!
//! A [`Snapshot`] is immutable. The engine compiles one from a `Config`, publishes it whole, and raises the epochs of
//! the ports that it changed; a worker loads the current one once per batch. Lookups here take names out of the
//! packet (addresses, MACs) and give objects back; what follows from them is for the stages to say.

mod address_set;
mod compile;
mod fingerprint;
pub mod load_balancer;
pub mod nat;
pub mod overlay;
pub mod plan;
pub mod route_table;
mod rule_index;
pub mod security_group;
pub mod services;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::address::{Cidr, MacAddress};
use crate::config::{Config, SnatExemption};
use crate::wire::neighbour::link_local;
use address_set::AddressSet;
use load_balancer::LoadBalancer;
use nat::{Forwards, Pool};
use overlay::{Overlay, Remote, Vlan};
use route_table::RouteTable;
use security_group::SecurityGroup;
use services::Services;

pub use fingerprint::id_hash;
pub use rule_index::ADDRESS_GROUPS_MAX;

/// Everything that packets are decided by: who is where, and what is allowed between them.
///
/// The one is large and the other changes often, so a snapshot shares the [`Topology`], and every group, with the one
/// before where nothing of it has changed. It is read as if it were part of the snapshot.
#[derive(Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The configuration that this was compiled from.
    pub config: Config,
    topology: Arc<Topology>,
    /// The security groups.
    pub security_groups: Vec<Arc<SecurityGroup>>,
    /// What the address groups hold.
    address_sets: Vec<Arc<AddressSet>>,
    /// By port number: the hash of all configuration that concerns its flows.
    fingerprints: Vec<u64>,
}

/// Ports, networks and what connects them.
#[derive(Debug, Default, PartialEq)]
pub struct Topology {
    /// Ports by number; 0 is none.
    ports: Vec<Option<Port>>,
    /// One past the highest number of a port of this host; those of workloads on other hosts are far above.
    ports_end: u16,
    port_numbers: HashMap<String, u16>,
    /// The networks.
    pub networks: Vec<Network>,
    /// The routers.
    pub routers: Vec<Router>,
    /// The floating IPs.
    pub floating_ips: Vec<FloatingIp>,
    /// The load balancers.
    pub load_balancers: Vec<LoadBalancer>,
    /// What carries tenant networks between hosts.
    pub overlay: Option<Overlay>,
    /// Uplinks that are VLANs of others, in order of these and of their identifiers.
    pub vlans: Vec<Vlan>,
    /// The port below of each of them, by its own.
    pub vlan_parents: HashMap<u16, u16>,
}

impl Deref for Snapshot {
    type Target = Topology;

    fn deref(&self) -> &Topology {
        &self.topology
    }
}

/// Position of a network, router, floating IP, load balancer or group in its list of the snapshot.
pub type Index = usize;

/// A port.
#[derive(Debug, PartialEq)]
pub struct Port {
    /// Number, as in flow keys.
    pub number: u16,
    /// Identifier in the configuration.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Its network.
    pub network: Index,
    /// Administratively up.
    pub up: bool,
    /// What is behind it; none: an uplink or a tunnel.
    pub workload: Option<Workload>,
    /// The other host that the workload is on; none: this one.
    pub remote: Option<Remote>,
    /// The tunnel that the port is, by its position in the overlay's list.
    pub tunnel: Option<Index>,
    /// Hash of all configuration that concerns its flows, but for the rules of its groups.
    settings_fingerprint: u64,
}

/// What is behind a workload port.
#[derive(Debug, PartialEq)]
pub struct Workload {
    /// Its MAC address.
    pub mac_address: MacAddress,
    /// Its IP address.
    pub ip_address: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6_address: Option<Ipv6Addr>,
    /// Its security groups.
    pub security_groups: Vec<Index>,
    /// Further addresses that it may use.
    pub allowed_address_pairs: Vec<(Cidr, MacAddress)>,
    /// Anti-spoofing and security groups apply.
    pub port_security: bool,
    /// The floating IP that stands for it.
    pub floating_ip: Option<Index>,
}

/// A network.
#[derive(Debug, PartialEq)]
pub struct Network {
    /// Identifier in the configuration.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Its subnets: one of IPv4, and one of IPv6 at most.
    pub subnets: Vec<Subnet>,
    /// Largest IP packet.
    pub mtu: u16,
    /// Outside.
    pub external: bool,
    /// The tenant's router that serves it.
    pub router: Option<Index>,
    /// The port that leads to it, of an external network, or that joins a tenant's to a physical one.
    pub uplink: Option<u16>,
    /// What the gateway serves its workloads itself.
    pub services: Services,
    port_by_ip: HashMap<IpAddr, u16>,
    /// Of a tenant network: load balancers by their virtual addresses.
    load_balancer_by_ip: HashMap<IpAddr, Index>,
    port_by_mac: HashMap<MacAddress, u16>,
    /// Of an external network: addresses that the gateway answers for.
    owners: HashMap<IpAddr, Owner>,
    /// Of an external network: ports that stand for workloads'.
    pub forwards: Forwards,
    /// Of an external network: the routers that have a leg in it.
    router_by_mac: HashMap<MacAddress, Index>,
}

/// A subnet of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its range.
    pub cidr: Cidr,
    /// Its gateway's address.
    pub gateway_ip: Option<IpAddr>,
}

/// Who has an address of an external network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A router, for itself and its translated sources.
    Router(Index),
    /// A floating IP.
    FloatingIp(Index),
    /// A load balancer, for its virtual address.
    LoadBalancer(Index),
    /// The overlay, as the end of tunnels.
    Overlay,
}

/// A router.
#[derive(Debug, PartialEq)]
pub struct Router {
    /// Name for people.
    pub name: String,
    /// Its MAC address on all its networks.
    pub mac_address: MacAddress,
    /// The tenant networks that it connects.
    pub networks: Vec<Index>,
    /// Its legs outside, that of the default route first.
    pub legs: Vec<External>,
    /// Where it sends what is not for itself.
    pub routes: RouteTable,
}

/// Names a router's leg in an external network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The router.
    pub router: Index,
    /// The external network.
    pub network: Index,
}

/// A router's leg in an external network.
#[derive(Debug, PartialEq)]
pub struct External {
    /// The external network.
    pub network: Index,
    /// The router's address there.
    pub ip_address: Ipv4Addr,
    /// Sources are translated to an address of the pool.
    pub enable_snat: bool,
    /// Sources that are not translated leave, and are reached from outside.
    pub routed: bool,
    /// Towards these destinations nothing is translated.
    pub snat_exemptions: Vec<SnatExemption>,
    /// The addresses that they leave with.
    pub pool: Pool,
    /// Next hop of the default route, where this is the first leg.
    pub peer_ip: Option<Ipv4Addr>,
    /// Its MAC address, where it is configured.
    pub peer_mac: Option<MacAddress>,
    /// The router's IPv6 address there.
    pub ipv6_address: Option<Ipv6Addr>,
    /// Next hop of the IPv6 default route.
    pub ipv6_peer_ip: Option<Ipv6Addr>,
}

/// A floating IP.
#[derive(Debug, PartialEq)]
pub struct FloatingIp {
    /// The external address.
    pub address: Ipv4Addr,
    /// Its external network.
    pub network: Index,
    /// Port and router of the workload that it stands for.
    pub target: Option<(u16, Index)>,
    /// The load balancer that it stands for, and the router by which.
    pub load_balancer: Option<(Index, Index)>,
}

impl Snapshot {
    /// Hash of all configuration that concerns a port's flows.
    pub fn fingerprint(&self, number: u16) -> u64 {
        self.fingerprints.get(usize::from(number)).copied().unwrap_or_default()
    }

    /// Whether the two differ in what is allowed only.
    pub fn shares_topology(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.topology, &other.topology)
    }
}

impl Topology {
    /// The port of this number.
    pub fn port(&self, number: u16) -> Option<&Port> {
        self.ports.get(usize::from(number))?.as_ref()
    }

    /// The number of the port with this id.
    pub fn port_number(&self, id: &str) -> Option<u16> {
        self.port_numbers.get(id).copied()
    }

    /// All ports.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter().flatten()
    }

    /// One past the highest number of a port of this host.
    pub fn ports_end(&self) -> u16 {
        self.ports_end
    }

    /// The port of a router's network that has this address.
    pub fn port_behind_router(&self, router: Index, address: IpAddr) -> Option<&Port> {
        self.routers[router].networks.iter().find_map(|network| self.port_in_network(*network, address))
    }

    /// The port of a network that has this address.
    pub fn port_in_network(&self, network: Index, address: IpAddr) -> Option<&Port> {
        self.port(*self.networks[network].port_by_ip.get(&address)?)
    }

    /// The workload with this address in the address space that `network` belongs to: its router's, else its own.
    pub fn port_in_address_space(&self, network: Index, address: IpAddr) -> Option<&Port> {
        match self.networks[network].router {
            Some(router) => self.port_behind_router(router, address),
            None => self.port_in_network(network, address),
        }
    }

    /// Whether a port joins a tenant network to a physical one.
    pub fn is_joint(&self, port: &Port) -> bool {
        self.networks[port.network].joint() == Some(port.number)
    }

    /// Whether only its own network's frames reach a workload: it is on another host, and no tunnel leads there.
    pub fn is_beyond_joint(&self, port: &Port) -> bool {
        let joint = self.networks[port.network].joint();
        port.remote.is_some_and(|remote| Some(remote.carrier) == joint)
    }

    /// The router that serves the tenant network or, of an external network, has a leg in it with this MAC address.
    pub fn router_at(&self, network: Index, mac: MacAddress) -> Option<Index> {
        let network = &self.networks[network];
        if network.external {
            return network.router_by_mac.get(&mac).copied();
        }
        network.router.filter(|router| self.routers[*router].mac_address == mac)
    }

    /// The MAC address by which workloads of a tenant network reach the gateway and its services.
    pub fn gateway_mac(&self, network: Index) -> MacAddress {
        let network = &self.networks[network];
        network.router.map_or(network.services.mac_address, |router| self.routers[router].mac_address)
    }

    /// The gateway's link-local IPv6 address in a tenant network.
    pub fn gateway_link_local(&self, network: Index) -> Ipv6Addr {
        link_local(self.gateway_mac(network))
    }

    /// Whether an address is the gateway's link-local one in a tenant network that it serves by IPv6.
    pub fn is_gateway_link_local(&self, network: Index, address: IpAddr) -> bool {
        self.networks[network].services.is_told_ipv6() && self.gateway_link_local(network) == address
    }

    /// A router's leg.
    pub fn leg(&self, leg: Leg) -> Option<&External> {
        self.routers[leg.router].leg_in(leg.network)
    }

    /// Whether a router has this address on one of its legs.
    pub fn is_router_address(&self, router: Index, address: IpAddr) -> bool {
        let router = &self.routers[router];
        router.legs.iter().any(|external| external.has(address))
            || router.networks.iter().any(|network| self.networks[*network].is_gateway(address))
            || router.link_local() == address
    }

    /// Whether an address is in one of the networks behind a router, or behind one of their workloads.
    pub fn is_behind_router(&self, router: Index, address: IpAddr) -> bool {
        self.routers[router].routes.leads_inside(address)
    }

    /// Who has an address of an external network that a router has a leg in, and the leg.
    pub fn owner_outside(&self, router: Index, address: IpAddr) -> Option<(Owner, Leg)> {
        self.routers[router].legs.iter().find_map(|external| {
            let owner = self.networks[external.network].owner(address)?;
            Some((owner, Leg { router, network: external.network }))
        })
    }

    /// The router that answers for an address of an external network; none for a floating IP that stands for nobody.
    pub fn router_of(&self, owner: Owner) -> Option<Index> {
        match owner {
            Owner::Router(router) => Some(router),
            Owner::FloatingIp(index) => {
                let floating_ip = &self.floating_ips[index];
                let of_target = floating_ip.target.map(|(_, router)| router);
                of_target.or(floating_ip.load_balancer.map(|(_, router)| router))
            }
            Owner::LoadBalancer(index) => self.load_balancers[index].router,
            Owner::Overlay => None,
        }
    }

    /// The MAC address that answers for an address of an external network.
    pub fn mac_of(&self, owner: Owner) -> Option<MacAddress> {
        match owner {
            Owner::Overlay => self.overlay.as_ref().map(|overlay| overlay.mac_address),
            _ => self.router_of(owner).map(|router| self.routers[router].mac_address),
        }
    }

    /// The floating IP of a workload, where it is reached by this leg.
    pub fn floating_ip_of(&self, workload: &Workload, leg: Leg) -> Option<&FloatingIp> {
        let floating_ip = &self.floating_ips[workload.floating_ip?];
        let is_there = floating_ip.network == leg.network
            && floating_ip.target.is_some_and(|(_, through)| through == leg.router);
        is_there.then_some(floating_ip)
    }
}

impl Router {
    /// Its leg in an external network.
    pub fn leg_in(&self, network: Index) -> Option<&External> {
        self.legs.iter().find(|external| external.network == network)
    }

    /// Its link-local IPv6 address on all its networks.
    pub fn link_local(&self) -> Ipv6Addr {
        link_local(self.mac_address)
    }
}

impl External {
    /// Whether sources keep their own addresses towards a destination.
    pub fn keeps_source(&self, protocol: u8, address: IpAddr, port: u16) -> bool {
        let is_exempt = self.snat_exemptions.iter().any(|exemption| exemption.holds(protocol, address, port));
        is_exempt || (self.routed && !self.enable_snat)
    }

    /// The router's address of a version.
    pub fn address(&self, is_ipv6: bool) -> Option<IpAddr> {
        if is_ipv6 { self.ipv6_address.map(IpAddr::from) } else { Some(self.ip_address.into()) }
    }

    /// The next hop of the default route of a version.
    pub fn peer(&self, is_ipv6: bool) -> Option<IpAddr> {
        if is_ipv6 { self.ipv6_peer_ip.map(IpAddr::from) } else { self.peer_ip.map(IpAddr::from) }
    }

    /// Whether the router has this address there.
    pub fn has(&self, address: IpAddr) -> bool {
        self.address(address.is_ipv6()) == Some(address)
    }
}

impl Network {
    /// Whether an address is in one of the subnets.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| subnet.cidr.contains(address))
    }

    /// The gateway's address of a version.
    pub fn gateway(&self, is_ipv6: bool) -> Option<IpAddr> {
        self.subnets.iter().find(|subnet| subnet.cidr.is_ipv6() == is_ipv6)?.gateway_ip
    }

    /// Whether an address is the broadcast address of the IPv4 subnet.
    pub fn is_broadcast(&self, address: IpAddr) -> bool {
        let mut subnets =
            self.subnets.iter().filter(|subnet| !subnet.cidr.is_ipv6() && subnet.cidr.prefix() < 31);
        subnets.any(|subnet| subnet.cidr.last() == address)
    }

    /// Whether an address is the gateway's.
    pub fn is_gateway(&self, address: IpAddr) -> bool {
        self.gateway(address.is_ipv6()) == Some(address)
    }

    /// The port that joins a tenant network to a physical one.
    pub fn joint(&self) -> Option<u16> {
        self.uplink.filter(|_| !self.external)
    }

    /// The numbers of the ports with addresses in it, by these.
    pub fn ports_by_ip(&self) -> impl Iterator<Item = (IpAddr, u16)> + '_ {
        self.port_by_ip.iter().map(|(address, port)| (*address, *port))
    }

    /// The number of the port with this MAC address.
    pub fn port_by_mac(&self, mac: MacAddress) -> Option<u16> {
        self.port_by_mac.get(&mac).copied()
    }

    /// The load balancer with this virtual address in the tenant network.
    pub fn load_balancer(&self, address: IpAddr) -> Option<Index> {
        self.load_balancer_by_ip.get(&address).copied()
    }

    /// Who answers for an address of an external network.
    pub fn owner(&self, address: IpAddr) -> Option<Owner> {
        self.owners.get(&address).copied()
    }

    /// Of an external network: the routers that have a leg in it.
    pub fn routers(&self) -> impl Iterator<Item = Index> + '_ {
        self.router_by_mac.values().copied()
    }

    /// Every address of an external network that the gateway answers for.
    pub fn owned_addresses(&self) -> impl Iterator<Item = (IpAddr, Owner)> + '_ {
        self.owners.iter().map(|(address, owner)| (*address, *owner))
    }
}

impl Workload {
    /// The workload's address of a version.
    pub fn address(&self, is_ipv6: bool) -> Option<IpAddr> {
        if is_ipv6 { self.ipv6_address.map(IpAddr::from) } else { Some(self.ip_address.into()) }
    }

    /// Whether an address is the workload's own.
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address == self.ip_address,
            IpAddr::V6(address) => self.ipv6_address == Some(address),
        }
    }

    /// Whether the workload may send from these addresses.
    pub fn may_use(&self, mac: MacAddress, ip: IpAddr) -> bool {
        (mac == self.mac_address && self.has(ip))
            || self
                .allowed_address_pairs
                .iter()
                .any(|(range, pair_mac)| *pair_mac == mac && range.contains(ip))
    }

    /// Whether the workload may send from this MAC address.
    pub fn may_use_mac(&self, mac: MacAddress) -> bool {
        mac == self.mac_address || self.allowed_address_pairs.iter().any(|(_, pair_mac)| *pair_mac == mac)
    }
}
