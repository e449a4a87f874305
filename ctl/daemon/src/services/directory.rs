//! Who is who in the tenants' networks: names and addresses for DNS, made anew from the mirror when something has changed.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use edgestack_dataplane::wire::dns::Name;
use edgestack_model::Spec as _;
use ipnet::IpNet;

use crate::reconcile::mirror::Mirror;

/// In place of a project: the name is shared by all.
const SHARED: &str = "";

/// What DNS answers by.
#[derive(Debug, Default)]
pub struct Directory {
    /// The domain that all names are below; none where it is no name.
    pub domain: Option<Name>,
    networks: HashMap<String, Network>,
    spaces: Vec<Space>,
}

/// A network.
#[derive(Debug)]
pub struct Network {
    /// Its own domain.
    pub domain: Option<Name>,
    /// Name servers that questions of its workloads are asked of; those of the daemon where empty.
    pub dns: Vec<IpAddr>,
    space: usize,
}

/// The networks of one address space: those of a router, or one alone.
#[derive(Debug, Default)]
pub struct Space {
    addresses: HashMap<Name, Vec<IpAddr>>,
    names: HashMap<IpAddr, Name>,
    /// Names that are there because others are below them.
    domains: HashSet<Name>,
    subnets: Vec<IpNet>,
}

impl Directory {
    /// The directory of all objects, below `domain`.
    pub fn new(mirror: &Mirror, domain: &str) -> Self {
        let mut directory = Self { domain: Name::from_text(domain), ..Self::default() };
        let ids = network_ids(mirror);
        let find = |project: Option<&str>, name: &str| {
            let own = ids.get(&(project.unwrap_or(SHARED), name));
            own.or_else(|| ids.get(&(SHARED, name))).copied()
        };
        let mut space_by_network: HashMap<&str, usize> = HashMap::new();
        for router in mirror.routers.values() {
            for network in &router.spec.internal {
                if let Some(id) = find(router.project.as_deref(), network) {
                    space_by_network.insert(id, directory.spaces.len());
                }
            }
            directory.spaces.push(Space::default());
        }
        for network in mirror.networks.values().filter(|network| !network.spec.external) {
            let space = *space_by_network.entry(&network.id).or_insert_with(|| {
                directory.spaces.push(Space::default());
                directory.spaces.len() - 1
            });
            let own_domain = Name::from_text(&network_domain(&network.name, domain));
            let entry = &mut directory.spaces[space];
            entry.subnets.push(network.spec.cidr.into());
            entry.subnets.extend(network.spec.ipv6_cidr.map(IpNet::from));
            entry.domains.extend(own_domain.iter().chain(&directory.domain).cloned());
            let network_entry = Network { domain: own_domain, dns: network.spec.dns.clone(), space };
            directory.networks.insert(network.id.clone(), network_entry);
        }
        for port in mirror.ports.values() {
            let network = find(port.project.as_deref(), &port.spec.network);
            let Some(network) = network.and_then(|id| directory.networks.get(id)) else { continue };
            let addresses =
                [port.spec.ip_address.map(IpAddr::from), port.spec.ipv6_address.map(IpAddr::from)];
            let text = format!("{}.{}", port.name, network_domain(&port.spec.network, domain));
            if let Some(name) = Name::from_text(&text) {
                let space = &mut directory.spaces[network.space];
                for address in addresses.into_iter().flatten() {
                    space.addresses.entry(name.clone()).or_default().push(address);
                    space.names.insert(address, name.clone());
                }
            }
        }
        directory
    }

    /// The network of this id.
    pub fn network(&self, id: &str) -> Option<&Network> {
        self.networks.get(id)
    }

    /// The address space of a network.
    pub fn space(&self, network: &Network) -> Option<&Space> {
        self.spaces.get(network.space)
    }
}

impl Space {
    /// The addresses of a workload; none when there is no such name.
    pub fn addresses(&self, name: &Name) -> Option<&[IpAddr]> {
        self.addresses.get(name).map(Vec::as_slice)
    }

    /// Whether other names are below this one.
    pub fn is_domain(&self, name: &Name) -> bool {
        self.domains.contains(name)
    }

    /// The name of an address.
    pub fn name(&self, address: IpAddr) -> Option<&Name> {
        self.names.get(&address)
    }

    /// Whether an address is of one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(&address))
    }
}

/// Networks' ids by project and name.
fn network_ids(mirror: &Mirror) -> HashMap<(&str, &str), &str> {
    let mut ids = HashMap::new();
    for network in mirror.networks.values() {
        ids.insert(
            (network.project.as_deref().unwrap_or(SHARED), network.name.as_str()),
            network.id.as_str(),
        );
        if network.spec.is_shared() {
            ids.insert((SHARED, network.name.as_str()), network.id.as_str());
        }
    }
    ids
}

/// The domain of a network's workloads.
pub fn network_domain(network: &str, domain: &str) -> String {
    if domain.is_empty() { network.to_owned() } else { format!("{network}.{domain}") }
}
