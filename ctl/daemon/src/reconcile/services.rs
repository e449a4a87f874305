//! What the gateway serves the workloads of a tenant network: DHCP, DNS at the gateway's address, metadata.

use std::net::{IpAddr, Ipv4Addr};

use edgestack_dataplane::config::{Dhcp, Endpoint, HostRoute, Services};
use edgestack_dataplane::wire::{PROTOCOL_TCP, PROTOCOL_UDP};
use edgestack_model::NetworkSpec;

use super::network::{ipv4, ipv4_address};
use crate::app::record::Record;
use crate::config::Config;
use crate::services::directory::network_domain;
use crate::services::{DNS_PORT, METADATA_IP, METADATA_PORT};

/// What all networks are served, from the daemon's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// How long an address may be used.
    pub lease_seconds: u32,
    /// Time servers.
    pub ntp_servers: Vec<Ipv4Addr>,
    /// The domain of all workloads, where there is DNS.
    pub domain: Option<String>,
    /// There is a metadata service.
    pub metadata: bool,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self::new(&Config::default())
    }
}

impl ServiceSettings {
    /// The settings of a configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            lease_seconds: *config.dhcp.lease_seconds.get_ref(),
            ntp_servers: config.dhcp.ntp_servers.get_ref().clone(),
            domain: config.dns.enabled.then(|| config.dns.domain.get_ref().clone()),
            metadata: config.metadata.enabled,
        }
    }
}

/// The services of a tenant network.
pub(super) fn of_network(record: &Record<NetworkSpec>, settings: &ServiceSettings) -> Services {
    let spec = &record.spec;
    let gateway = spec.gateway_ip.filter(|_| settings.domain.is_some());
    let own_dns: Vec<Ipv4Addr> = spec.dns.iter().filter_map(|server| ipv4_address(*server)).collect();
    let domain = settings.domain.as_ref().map(|domain| network_domain(&record.name, domain));
    let search = domain.iter().chain(&settings.domain).filter(|domain| !domain.is_empty()).cloned();
    let route = |route: &edgestack_model::network::HostRoute| {
        let next_hop = ipv4_address(route.nexthop)?;
        Some(HostRoute { destination: ipv4(route.destination)?, next_hop })
    };
    let dhcp = Dhcp {
        lease_seconds: settings.lease_seconds,
        default_route: spec.default_route,
        routes: spec.host_routes.iter().filter_map(route).collect(),
        // Servers that the network names come first; the gateway asks them too.
        dns_servers: if own_dns.is_empty() { gateway.into_iter().collect() } else { own_dns },
        ntp_servers: settings.ntp_servers.clone(),
        search: search.collect(),
        domain,
    };
    let dns = gateway.into_iter().flat_map(|gateway| {
        [PROTOCOL_UDP, PROTOCOL_TCP].map(|protocol| endpoint(gateway, protocol, DNS_PORT))
    });
    let metadata = settings.metadata.then(|| endpoint(METADATA_IP, PROTOCOL_TCP, METADATA_PORT));
    let endpoints = dns.chain(metadata).collect();
    Services { dhcp: Some(dhcp), endpoints, ..Services::default() }
}

fn endpoint(address: Ipv4Addr, protocol: u8, port: u16) -> Endpoint {
    Endpoint { address: IpAddr::V4(address), protocol, port }
}
