//! What the gateway serves a network's workloads itself, checked, with the options of DHCP ready to be sent.

pub mod ipv6;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::fingerprint;
use crate::address::{Cidr, MacAddress};
use crate::config;
use crate::wire::dhcp4::{self, DhcpOption};
use crate::wire::{PROTOCOL_TCP, PROTOCOL_UDP};

/// Endpoints of one network.
const ENDPOINTS_MAX: usize = 16;
/// Servers of one kind that workloads are told.
const SERVERS_MAX: usize = 16;
/// Routes that workloads are told.
const ROUTES_MAX: usize = 64;
/// Domains that are searched.
const SEARCH_MAX: usize = 8;
/// Shortest lease: clients that renew more often would only load the network.
const LEASE_SECONDS_MIN: u32 = 60;
/// Longest: what is more means that it never ends.
const LEASE_SECONDS_MAX: u32 = u32::MAX - 1;
const DOMAIN_LETTERS_MAX: usize = 253;
const LABEL_LETTERS_MAX: usize = 63;

/// The services of a network.
#[derive(Debug, Default, PartialEq)]
pub struct Services {
    /// The gateway's address as a server.
    pub address: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6_address: Option<Ipv6Addr>,
    /// Its MAC address there while no router serves the network.
    pub mac_address: MacAddress,
    /// DHCP.
    pub dhcp: Option<Dhcp>,
    /// Router advertisements.
    pub advertisement: Option<ipv6::Advertisement>,
    /// DHCPv6.
    pub dhcp6: Option<ipv6::Dhcp6>,
    /// Where servers are reached: address, IP protocol, port.
    pub endpoints: Vec<(IpAddr, u8, u16)>,
}

/// DHCP of a network.
#[derive(Debug, PartialEq)]
pub struct Dhcp {
    /// The server's address.
    pub server: Ipv4Addr,
    /// How long an address may be used.
    pub lease_seconds: u32,
    /// What holds for all workloads.
    pub options: Vec<DhcpOption>,
}

impl Services {
    /// Whether the gateway has this address towards the network's workloads because of a service. Where it serves anything
    /// it has its own addresses of both versions, and asks workloads from them.
    pub fn has_address(&self, address: IpAddr) -> bool {
        let is_own = match address {
            IpAddr::V4(address) => self.address == Some(address),
            IpAddr::V6(address) => self.ipv6_address == Some(address),
        };
        let serves = self.dhcp.is_some() || !self.endpoints.is_empty() || self.is_told_ipv6();
        (is_own && serves) || self.endpoints.iter().any(|(endpoint, ..)| *endpoint == address)
    }

    /// Whether workloads are told something of IPv6.
    pub fn is_told_ipv6(&self) -> bool {
        self.advertisement.is_some() || self.dhcp6.is_some()
    }

    /// Whether a server is reached there.
    pub fn has_endpoint(&self, address: IpAddr, protocol: u8, port: u16) -> bool {
        self.endpoints.contains(&(address, protocol, port))
    }
}

/// Checks the services of a network; what is wrong, by field.
pub(super) fn compile(network: &config::Network) -> Result<Services, Vec<(&'static str, String)>> {
    let config::Services { address, dhcp, advertisements: _, dhcp6: _, endpoints } = &network.services;
    let mut problems = Vec::new();
    if network.external && network.services != config::Services::default() {
        problems.push(("services", "an external network has hosts of its own; leave them out".to_owned()));
    }
    if let Some(address) = address
        && !network.cidr.contains(*address)
    {
        problems.push(("services.address", format!("{address} is not in {}", network.cidr)));
    }
    let address = address.or(network.gateway_ip);
    if endpoints.len() > ENDPOINTS_MAX {
        problems.push(("services.endpoints", format!("{} are more than {ENDPOINTS_MAX}", endpoints.len())));
    }
    for endpoint in endpoints {
        let is_host = !endpoint.address.is_multicast()
            && endpoint.address != IpAddr::from(Ipv4Addr::BROADCAST)
            && !endpoint.address.is_unspecified()
            && !endpoint.address.is_loopback();
        if !is_host {
            problems.push(("services.endpoints", format!("{} is no address of a host", endpoint.address)));
        }
        if !matches!(endpoint.protocol, PROTOCOL_TCP | PROTOCOL_UDP) || endpoint.port == 0 {
            let message = format!(
                "protocol {} port {}: TCP (6) or UDP (17) and a port",
                endpoint.protocol, endpoint.port
            );
            problems.push(("services.endpoints", message));
        }
    }
    let compiled = dhcp.as_ref().and_then(|dhcp| self::dhcp(network, address, dhcp, &mut problems));
    let advertisement = ipv6::advertisement(network, &mut problems);
    let dhcp6 = ipv6::dhcp6(network, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Services {
        address,
        ipv6_address: network.ipv6_gateway_ip,
        mac_address: own_mac(&network.id),
        dhcp: compiled,
        advertisement,
        dhcp6,
        endpoints: endpoints
            .iter()
            .map(|endpoint| (endpoint.address, endpoint.protocol, endpoint.port))
            .collect(),
    })
}

/// A MAC address of the gateway's own for a network, the same in every process.
fn own_mac(network_id: &str) -> MacAddress {
    let mut mac = [0x02; 6];
    mac[1..].copy_from_slice(&fingerprint::id_hash(network_id).to_be_bytes()[3..]);
    MacAddress(mac)
}

fn dhcp(
    network: &config::Network,
    server: Option<Ipv4Addr>,
    dhcp: &config::Dhcp,
    problems: &mut Vec<(&'static str, String)>,
) -> Option<Dhcp> {
    let config::Dhcp { lease_seconds, default_route: _, routes, dns_servers, ntp_servers, domain, search } =
        dhcp;
    if server.is_none() {
        let message = "needs the network's `gateway_ip` or a `services.address`".to_owned();
        problems.push(("services.dhcp", message));
    }
    if !(LEASE_SECONDS_MIN..=LEASE_SECONDS_MAX).contains(lease_seconds) {
        let message =
            format!("{lease_seconds} is not from {LEASE_SECONDS_MIN} to {LEASE_SECONDS_MAX} seconds");
        problems.push(("services.dhcp.lease_seconds", message));
    }
    for (field, count, maximum) in [
        ("services.dhcp.dns_servers", dns_servers.len(), SERVERS_MAX),
        ("services.dhcp.ntp_servers", ntp_servers.len(), SERVERS_MAX),
        ("services.dhcp.routes", routes.len(), ROUTES_MAX),
        ("services.dhcp.search", search.len(), SEARCH_MAX),
    ] {
        if count > maximum {
            problems.push((field, format!("{count} are more than {maximum}")));
        }
    }
    for route in routes.iter().filter(|route| !network.cidr.contains(route.next_hop)) {
        let message = format!("next hop {} is not in {}", route.next_hop, network.cidr);
        problems.push(("services.dhcp.routes", message));
    }
    for name in domain.iter().chain(search).filter(|name| !is_domain(name)) {
        problems.push(("services.dhcp.domain", format!("`{name}` is no domain name such as `a.example`")));
    }
    let server = server.filter(|_| problems.is_empty())?;
    Some(Dhcp { server, lease_seconds: *lease_seconds, options: options(network, server, dhcp) })
}

/// Whether a text is a name of the DNS that a host may have.
pub fn is_domain(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_LETTERS_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= DOMAIN_LETTERS_MAX && name.split('.').all(is_label)
}

/// The options that all workloads of the network are sent, most important first.
fn options(network: &config::Network, server: Ipv4Addr, dhcp: &config::Dhcp) -> Vec<DhcpOption> {
    let gateway = network.gateway_ip.filter(|_| dhcp.default_route);
    let addresses = |addresses: &[Ipv4Addr]| addresses.iter().flat_map(Ipv4Addr::octets).collect::<Vec<u8>>();
    let IpAddr::V4(broadcast) = network.cidr.last() else { return Vec::new() };
    let mask = u32::MAX.checked_shl(32 - u32::from(network.cidr.prefix())).unwrap_or_default();
    [
        (dhcp4::SUBNET_MASK, mask.to_be_bytes().to_vec()),
        (dhcp4::ROUTERS, addresses(gateway.as_slice())),
        (dhcp4::CLASSLESS_ROUTES, routes(network, server, gateway, &dhcp.routes)),
        (dhcp4::DNS_SERVERS, addresses(&dhcp.dns_servers)),
        (dhcp4::INTERFACE_MTU, network.mtu.to_be_bytes().to_vec()),
        (dhcp4::BROADCAST_ADDRESS, broadcast.octets().to_vec()),
        (dhcp4::DOMAIN_NAME, dhcp.domain.clone().unwrap_or_default().into_bytes()),
        (dhcp4::DOMAIN_SEARCH, dhcp.search.iter().flat_map(|name| encoded(name)).collect()),
        (dhcp4::NTP_SERVERS, addresses(&dhcp.ntp_servers)),
    ]
    .into_iter()
    .filter(|(_, data)| !data.is_empty())
    .map(|(code, data)| DhcpOption { code, data })
    .collect()
}

/// Option 121. Clients that know it do not look at the option of routers (RFC 3442), so the default route is in it, and
/// so are the ways to services outside of the network.
fn routes(
    network: &config::Network,
    server: Ipv4Addr,
    gateway: Option<Ipv4Addr>,
    configured: &[config::HostRoute],
) -> Vec<u8> {
    let mut data = Vec::new();
    let mut told: Vec<Cidr> = Vec::new();
    let mut route = |destination: Cidr, next_hop: Ipv4Addr| {
        if !told.contains(&destination) {
            told.push(destination);
            let IpAddr::V4(address) = destination.address() else { return };
            let bytes = usize::from(destination.prefix()).div_ceil(8);
            data.push(destination.prefix());
            data.extend(&address.octets()[..bytes]);
            data.extend(next_hop.octets());
        }
    };
    for configured in configured {
        route(configured.destination, configured.next_hop);
    }
    for endpoint in &network.services.endpoints {
        if endpoint.address.is_ipv4() && !network.cidr.contains(endpoint.address) {
            route(Cidr::containing(endpoint.address, 32), server);
        }
    }
    if let Some(gateway) = gateway {
        route(Cidr::containing(Ipv4Addr::UNSPECIFIED, 0), gateway);
    }
    data
}

/// A name as the DNS writes it.
fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| std::iter::once(label.len() as u8).chain(label.bytes()));
    labels.chain([0]).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{compile, is_domain};
    use crate::config::{Advertisements, Dhcp, Endpoint, HostRoute, Network, Services};
    use crate::wire::dhcp4;

    fn network() -> Network {
        Network {
            gateway_ip: Some([10, 0, 0, 1].into()),
            mtu: 1450,
            services: Services {
                dhcp: Some(Dhcp {
                    lease_seconds: 3600,
                    default_route: true,
                    routes: vec![HostRoute {
                        destination: "10.9.0.0/16".parse().unwrap(),
                        next_hop: [10, 0, 0, 9].into(),
                    }],
                    dns_servers: vec![[10, 0, 0, 1].into(), [8, 8, 8, 8].into(), [9, 9, 9, 9].into()],
                    ntp_servers: Vec::new(),
                    domain: Some("a.example".to_owned()),
                    search: vec!["a.example".to_owned(), "b".to_owned()],
                }),
                endpoints: vec![Endpoint { address: [169, 254, 169, 254].into(), protocol: 6, port: 80 }],
                ..Services::default()
            },
            ..Network::new("network", "10.0.0.0/25".parse().unwrap())
        }
    }

    #[test]
    fn classless_routes_hold_the_default_route_and_the_way_to_services() {
        let services = compile(&network()).unwrap();
        let dhcp = services.dhcp.as_ref().unwrap();
        let option =
            |code| dhcp.options.iter().find(|option| option.code == code).map(|option| &option.data[..]);
        let routes =
            [&[16, 10, 9, 10, 0, 0, 9][..], &[32, 169, 254, 169, 254, 10, 0, 0, 1], &[0, 10, 0, 0, 1]];
        assert_eq!(option(dhcp4::CLASSLESS_ROUTES), Some(&routes.concat()[..]));
        assert_eq!(option(dhcp4::SUBNET_MASK), Some(&[255, 255, 255, 128][..]));
        assert_eq!(option(dhcp4::BROADCAST_ADDRESS), Some(&[10, 0, 0, 127][..]));
        assert_eq!(option(dhcp4::DNS_SERVERS).map(<[u8]>::len), Some(12), "every name server");
        assert_eq!(option(dhcp4::DOMAIN_SEARCH), Some(&b"\x01a\x07example\0\x01b\0"[..]));
        assert_eq!(option(dhcp4::NTP_SERVERS), None);
        assert!(
            services.has_address([169, 254, 169, 254].into()) && services.has_address([10, 0, 0, 1].into())
        );
    }

    #[test]
    fn the_gateway_has_its_addresses_of_both_versions_where_it_serves_anything() {
        let gateways = ["10.0.0.1", "fd00::1"].map(|address| address.parse::<IpAddr>().unwrap());
        let has = |change: fn(&mut Network)| {
            let mut network = Network {
                ipv6_cidr: Some("fd00::/64".parse().unwrap()),
                ipv6_gateway_ip: Some("fd00::1".parse().unwrap()),
                ..network()
            };
            change(&mut network);
            let services = compile(&network).unwrap();
            assert!(!services.has_address("fd00::2".parse().unwrap()));
            gateways.map(|address| services.has_address(address))
        };
        assert_eq!(has(|_| ()), [true, true]);
        assert_eq!(has(|network| network.services.endpoints.clear()), [true, true], "DHCP");
        assert_eq!(has(|network| network.services.dhcp = None), [true, true], "a server elsewhere");
        assert_eq!(has(|network| network.services = Services::default()), [false, false], "nothing");
        assert_eq!(has(|network| network.ipv6_gateway_ip = None), [true, false]);
        let advertises = |network: &mut Network| {
            network.services =
                Services { advertisements: Some(Advertisements::default()), ..Services::default() };
        };
        assert_eq!(has(advertises), [true, true], "advertisements");
    }

    #[test]
    fn without_a_default_route_none_is_told() {
        let mut network = network();
        network.services.dhcp.as_mut().unwrap().default_route = false;
        let services = compile(&network).unwrap();
        let dhcp = services.dhcp.unwrap();
        assert!(dhcp.options.iter().all(|option| option.code != dhcp4::ROUTERS));
        let routes = dhcp.options.iter().find(|option| option.code == dhcp4::CLASSLESS_ROUTES).unwrap();
        assert_eq!(routes.data.len(), 7 + 9);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let fields = |change: fn(&mut Network)| {
            let mut network = network();
            change(&mut network);
            compile(&network).unwrap_err().into_iter().map(|(field, _)| field).collect::<Vec<_>>()
        };
        assert_eq!(fields(|network| network.external = true), ["services"]);
        assert_eq!(fields(|network| network.gateway_ip = None), ["services.dhcp"]);
        assert_eq!(
            fields(|network| network.services.address = Some([10, 1, 0, 1].into())),
            ["services.address"]
        );
        assert_eq!(fields(|network| network.services.endpoints[0].protocol = 1), ["services.endpoints"]);
        assert_eq!(fields(|network| network.services.endpoints[0].port = 0), ["services.endpoints"]);
        assert_eq!(
            fields(|network| network.services.endpoints[0].address = [127, 0, 0, 1].into()),
            ["services.endpoints"]
        );
        assert_eq!(
            fields(|network| {
                let dhcp = network.services.dhcp.as_mut().unwrap();
                dhcp.lease_seconds = 59;
                dhcp.routes[0].next_hop = [10, 0, 0, 128].into();
                dhcp.dns_servers = vec![[8, 8, 8, 8].into(); 17];
                dhcp.search[0] = "a..b".to_owned();
            }),
            [
                "services.dhcp.lease_seconds",
                "services.dhcp.dns_servers",
                "services.dhcp.routes",
                "services.dhcp.domain"
            ]
        );
    }

    #[test]
    fn domain_names() {
        for name in ["a", "a.example", "x-1.y_z", &"a".repeat(63)] {
            assert!(is_domain(name), "{name}");
        }
        for name in ["", ".", "a.", "-a", "a-.b", "a b", &"a".repeat(64), &"a.".repeat(127)] {
            assert!(!is_domain(name), "{name}");
        }
    }
}
