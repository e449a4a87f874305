//! What the gateway serves the workloads of a tenant network: DHCP of both versions, router advertisements, DNS at the
//! gateway's addresses, metadata.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgestack_dataplane::address::Cidr;
use edgestack_dataplane::config::{Advertisements, Dhcp, Dhcp6, Endpoint, HostRoute, Services};
use edgestack_dataplane::wire::{PROTOCOL_TCP, PROTOCOL_UDP};
use edgestack_model::NetworkSpec;
use edgestack_model::network::Ipv6RaMode;

use super::network::{any_cidr, ipv4, ipv4_address, ipv6_address};
use crate::app::record::Record;
use crate::config::Config;
use crate::services::directory::network_domain;
use crate::services::{DNS_PORT, METADATA_IP, METADATA_IPV6, METADATA_PORT};

/// What all networks are served, from the daemon's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// How long an address may be used.
    pub lease_seconds: u32,
    /// Time servers, of both versions.
    pub ntp_servers: Vec<IpAddr>,
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
    let search: Vec<String> =
        domain.iter().chain(&settings.domain).filter(|domain| !domain.is_empty()).cloned().collect();
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
        ntp_servers: settings.ntp_servers.iter().filter_map(|server| ipv4_address(*server)).collect(),
        search: search.clone(),
        domain,
    };
    let ipv6_gateway = spec.effective_ipv6_gateway().filter(|_| settings.domain.is_some());
    let gateways = gateway.map(IpAddr::V4).into_iter().chain(ipv6_gateway.map(IpAddr::V6));
    let dns = gateways.flat_map(|gateway| {
        [PROTOCOL_UDP, PROTOCOL_TCP].map(|protocol| Endpoint { address: gateway, protocol, port: DNS_PORT })
    });
    let ipv6_metadata = spec.ipv6_cidr.map(|_| IpAddr::V6(METADATA_IPV6));
    let metadata = [IpAddr::V4(METADATA_IP)].into_iter().chain(ipv6_metadata);
    let metadata = metadata.filter(|_| settings.metadata).map(|address| Endpoint {
        address,
        protocol: PROTOCOL_TCP,
        port: METADATA_PORT,
    });
    let mode = spec.effective_ipv6_ra_mode();
    let told = Told::new(spec, settings, ipv6_gateway, search);
    Services {
        address: None,
        dhcp: Some(dhcp),
        endpoints: dns.chain(metadata).collect(),
        advertisements: told.advertisements(mode),
        dhcp6: told.dhcp6(mode),
    }
}

/// What hosts are told of IPv6, by advertisements, DHCPv6, or both.
struct Told<'a> {
    spec: &'a NetworkSpec,
    settings: &'a ServiceSettings,
    dns_servers: Vec<Ipv6Addr>,
    search: Vec<String>,
}

impl<'a> Told<'a> {
    fn new(
        spec: &'a NetworkSpec,
        settings: &'a ServiceSettings,
        gateway: Option<Ipv6Addr>,
        search: Vec<String>,
    ) -> Self {
        let own_dns: Vec<Ipv6Addr> = spec.dns.iter().filter_map(|server| ipv6_address(*server)).collect();
        // As of IPv4: servers that the network names, else the gateway.
        let dns_servers = if own_dns.is_empty() { gateway.into_iter().collect() } else { own_dns };
        Self { spec, settings, dns_servers, search }
    }

    fn advertisements(&self, mode: Ipv6RaMode) -> Option<Advertisements> {
        let spec = self.spec;
        let gateway = spec.effective_ipv6_gateway().map(IpAddr::V6);
        let by_gateway = spec.host_routes.iter().filter(|route| Some(route.nexthop) == gateway);
        let metadata = self.settings.metadata.then(|| Cidr::containing(METADATA_IPV6, 128));
        (mode != Ipv6RaMode::None).then(|| Advertisements {
            autonomous: mode.is_autonomous(),
            managed: mode == Ipv6RaMode::Stateful,
            other: mode != Ipv6RaMode::Slaac,
            default_route: spec.default_route,
            routes: by_gateway.map(|route| any_cidr(route.destination)).chain(metadata).collect(),
            dns_servers: self.dns_servers.clone(),
            search: self.search.clone(),
            ..Advertisements::default()
        })
    }

    fn dhcp6(&self, mode: Ipv6RaMode) -> Option<Dhcp6> {
        let servers = self.settings.ntp_servers.iter();
        matches!(mode, Ipv6RaMode::Stateful | Ipv6RaMode::Stateless).then(|| Dhcp6 {
            addresses: mode == Ipv6RaMode::Stateful,
            lease_seconds: self.settings.lease_seconds,
            dns_servers: self.dns_servers.clone(),
            ntp_servers: servers.filter_map(|server| ipv6_address(*server)).collect(),
            search: self.search.clone(),
        })
    }
}
