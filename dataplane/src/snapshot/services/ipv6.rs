//! What the gateway tells workloads of IPv6, checked, with its options ready to be sent.

use std::net::Ipv6Addr;

use super::{
    LEASE_SECONDS_MAX, LEASE_SECONDS_MIN, ROUTES_MAX, SEARCH_MAX, SERVERS_MAX, encoded, is_domain, own_mac,
};
use crate::address::MacAddress;
use crate::config;
use crate::snapshot::fingerprint;
use crate::wire::dhcp6;
use crate::wire::dhcp6::answer::Dhcp6Option;
use crate::wire::router_discovery::{self, OPTIONS_LENGTH_MAX};

/// Seconds between advertisements that nobody has asked for (RFC 4861, section 6.2.1).
const INTERVAL_SECONDS_MIN: u16 = 4;
const INTERVAL_SECONDS_MAX: u16 = 1800;
/// What is advertised holds for so many intervals, so that a lost advertisement harms nobody.
const LIFETIME_INTERVALS: u16 = 3;
/// Longest lifetime of a default router.
const LIFETIME_SECONDS_MAX: u16 = 9000;
/// How long addresses that hosts make of the prefix may be used, and be used for new connections.
const PREFIX_VALID_SECONDS: u32 = 86_400;
const PREFIX_PREFERRED_SECONDS: u32 = 14_400;
/// The prefix that hosts make addresses in has this length (RFC 4862, section 5.5.3).
const AUTONOMOUS_PREFIX: u8 = 64;
/// A DHCP unique identifier of a link-layer address, on Ethernet (RFC 8415, section 11.4).
const DUID_LINK_LAYER: [u8; 4] = [0, 3, 0, 1];
/// Length of the identifiers that servers go by.
pub const SERVER_ID_LENGTH: usize = 10;
/// The address of a server among the options of time servers (RFC 5908, section 4.1).
const NTP_SERVER_ADDRESS: [u8; 4] = [0, 1, 0, 16];

/// Router advertisements of a network.
#[derive(Debug, PartialEq)]
pub struct Advertisement {
    /// Addresses are given by DHCPv6.
    pub managed: bool,
    /// All else is told by DHCPv6.
    pub other: bool,
    /// How long the gateway is a default router, where there is a router; 0: it is none.
    pub lifetime_seconds: u16,
    /// Longest time between two that nobody asked for.
    pub interval_seconds: u16,
    /// The options.
    pub options: Vec<u8>,
    /// Hash of all this: hosts are told again when it changes.
    pub fingerprint: u64,
}

/// DHCPv6 of a network.
#[derive(Debug, PartialEq)]
pub struct Dhcp6 {
    /// Workloads get their addresses.
    pub addresses: bool,
    /// How long an address may be used.
    pub lease_seconds: u32,
    /// What the server calls itself.
    pub server_id: [u8; SERVER_ID_LENGTH],
    /// What holds for all workloads.
    pub options: Vec<Dhcp6Option>,
}

/// What is wrong, by field.
type Problems = Vec<(&'static str, String)>;

pub(super) fn advertisement(network: &config::Network, problems: &mut Problems) -> Option<Advertisement> {
    let advertised = network.services.advertisements.as_ref()?;
    let config::Advertisements {
        autonomous,
        managed,
        other,
        default_route,
        routes,
        dns_servers,
        search,
        interval_seconds,
    } = advertised;
    let before = problems.len();
    if !(INTERVAL_SECONDS_MIN..=INTERVAL_SECONDS_MAX).contains(interval_seconds) {
        let message = format!(
            "{interval_seconds} is not from {INTERVAL_SECONDS_MIN} to {INTERVAL_SECONDS_MAX} seconds"
        );
        problems.push(("services.advertisements.interval_seconds", message));
    }
    if routes.len() > ROUTES_MAX {
        let message = format!("{} are more than {ROUTES_MAX}", routes.len());
        problems.push(("services.advertisements.routes", message));
    }
    for route in routes.iter().filter(|route| !route.is_ipv6()) {
        problems.push(("services.advertisements.routes", format!("{route} is not of IPv6")));
    }
    check_lists(
        ["services.advertisements.dns_servers", "services.advertisements.search"],
        dns_servers.len(),
        search,
        problems,
    );
    let Some(prefix) = network.ipv6_cidr else {
        problems.push(("services.advertisements", "needs the network's `ipv6_cidr`".to_owned()));
        return None;
    };
    if *autonomous && prefix.prefix() != AUTONOMOUS_PREFIX {
        let message = format!("hosts make addresses in a /{AUTONOMOUS_PREFIX} only, and this is {prefix}");
        problems.push(("services.advertisements.autonomous", message));
    }
    if problems.len() > before {
        return None;
    }
    let holds_seconds = (interval_seconds * LIFETIME_INTERVALS).min(LIFETIME_SECONDS_MAX);
    let mut options = router_discovery::Options::default();
    options.prefix(prefix, *autonomous, PREFIX_VALID_SECONDS, PREFIX_PREFERRED_SECONDS);
    options.mtu(network.mtu);
    options.dns_servers(dns_servers, holds_seconds);
    options.dns_search(&names(search), holds_seconds);
    for route in routes {
        options.route(*route, holds_seconds);
    }
    let options = options.into_bytes();
    if options.len() > OPTIONS_LENGTH_MAX {
        let message = format!(
            "takes {} bytes, and a packet has room for {OPTIONS_LENGTH_MAX}; tell less",
            options.len()
        );
        problems.push(("services.advertisements", message));
        return None;
    }
    Some(Advertisement {
        managed: *managed,
        other: *other,
        lifetime_seconds: if *default_route { holds_seconds } else { 0 },
        interval_seconds: *interval_seconds,
        options,
        fingerprint: fingerprint::of(&(advertised, prefix, network.mtu)),
    })
}

pub(super) fn dhcp6(network: &config::Network, problems: &mut Problems) -> Option<Dhcp6> {
    let config::Dhcp6 { addresses, lease_seconds, dns_servers, ntp_servers, search } =
        network.services.dhcp6.as_ref()?;
    let before = problems.len();
    if network.ipv6_cidr.is_none() {
        problems.push(("services.dhcp6", "needs the network's `ipv6_cidr`".to_owned()));
    }
    if !(LEASE_SECONDS_MIN..=LEASE_SECONDS_MAX).contains(lease_seconds) {
        let message =
            format!("{lease_seconds} is not from {LEASE_SECONDS_MIN} to {LEASE_SECONDS_MAX} seconds");
        problems.push(("services.dhcp6.lease_seconds", message));
    }
    if ntp_servers.len() > SERVERS_MAX {
        let message = format!("{} are more than {SERVERS_MAX}", ntp_servers.len());
        problems.push(("services.dhcp6.ntp_servers", message));
    }
    check_lists(["services.dhcp6.dns_servers", "services.dhcp6.search"], dns_servers.len(), search, problems);
    if problems.len() > before {
        return None;
    }
    let ntp = ntp_servers.iter().flat_map(|server| NTP_SERVER_ADDRESS.into_iter().chain(server.octets()));
    let options = [
        (dhcp6::DNS_SERVERS, dns_servers.iter().flat_map(Ipv6Addr::octets).collect()),
        (dhcp6::DOMAIN_SEARCH, names(search)),
        (dhcp6::NTP_SERVERS, ntp.collect::<Vec<u8>>()),
    ];
    let options = options.into_iter().filter(|(_, data)| !data.is_empty());
    Some(Dhcp6 {
        addresses: *addresses,
        lease_seconds: *lease_seconds,
        server_id: server_id(own_mac(&network.id)),
        options: options.map(|(code, data)| Dhcp6Option { code, data }).collect(),
    })
}

/// Checks servers and domains of [`SERVERS_MAX`] and [`SEARCH_MAX`], by their fields.
fn check_lists(fields: [&'static str; 2], servers: usize, search: &[String], problems: &mut Problems) {
    for (field, count, maximum) in [(fields[0], servers, SERVERS_MAX), (fields[1], search.len(), SEARCH_MAX)]
    {
        if count > maximum {
            problems.push((field, format!("{count} are more than {maximum}")));
        }
    }
    for name in search.iter().filter(|name| !is_domain(name)) {
        problems.push((fields[1], format!("`{name}` is no domain name such as `a.example`")));
    }
}

fn names(names: &[String]) -> Vec<u8> {
    names.iter().flat_map(|name| encoded(name)).collect()
}

/// The same whatever router serves the network, so that clients know their server again.
fn server_id(mac: MacAddress) -> [u8; SERVER_ID_LENGTH] {
    let mut id = [0; SERVER_ID_LENGTH];
    id[..4].copy_from_slice(&DUID_LINK_LAYER);
    id[4..].copy_from_slice(&mac.0);
    id
}

#[cfg(test)]
mod tests {
    use super::super::compile;
    use crate::config::{Advertisements, Dhcp6, Network, Services};

    fn network() -> Network {
        let dns_servers = vec!["2001:db8:a::1".parse().unwrap(), "2001:db8::53".parse().unwrap()];
        let search = vec!["a.example".to_owned(), "b".to_owned()];
        Network {
            ipv6_cidr: Some("2001:db8:a::/64".parse().unwrap()),
            mtu: 1450,
            services: Services {
                advertisements: Some(Advertisements {
                    managed: true,
                    dns_servers: dns_servers.clone(),
                    search: search.clone(),
                    ..Advertisements::default()
                }),
                dhcp6: Some(Dhcp6 {
                    addresses: true,
                    lease_seconds: 3600,
                    dns_servers,
                    ntp_servers: vec!["2001:db8::123".parse().unwrap()],
                    search,
                }),
                ..Services::default()
            },
            ..Network::new("network", "10.0.0.0/25".parse().unwrap())
        }
    }

    #[test]
    fn what_is_told_is_ready_to_be_sent() {
        let services = compile(&network()).unwrap();
        let advertisement = services.advertisement.unwrap();
        assert_eq!((advertisement.managed, advertisement.lifetime_seconds), (true, 1800));
        assert_eq!(advertisement.options.len(), 32 + 8 + 40 + 24);
        let dhcp6 = services.dhcp6.unwrap();
        assert_eq!(dhcp6.server_id[..4], [0, 3, 0, 1]);
        let lengths: Vec<_> = dhcp6.options.iter().map(|option| (option.code, option.data.len())).collect();
        assert_eq!(lengths, [(23, 32), (24, 14), (56, 20)]);
        let mut other = network();
        other.services.advertisements.as_mut().unwrap().default_route = false;
        let other = compile(&other).unwrap().advertisement.unwrap();
        assert_eq!(other.lifetime_seconds, 0);
        assert_ne!(other.fingerprint, advertisement.fingerprint);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let fields = |change: fn(&mut Network)| {
            let mut network = network();
            change(&mut network);
            compile(&network).unwrap_err().into_iter().map(|(field, _)| field).collect::<Vec<_>>()
        };
        let both = ["services.advertisements", "services.dhcp6"];
        assert_eq!(fields(|network| network.ipv6_cidr = None), both);
        assert_eq!(
            fields(|network| {
                network.ipv6_cidr = Some("2001:db8:a::/80".parse().unwrap());
                network.services.advertisements.as_mut().unwrap().autonomous = true;
            }),
            ["services.advertisements.autonomous"]
        );
        assert_eq!(
            fields(|network| {
                let advertised = network.services.advertisements.as_mut().unwrap();
                advertised.interval_seconds = 3;
                advertised.routes = vec!["10.0.0.0/8".parse().unwrap()];
                advertised.dns_servers = vec!["::1".parse().unwrap(); 17];
                advertised.search[0] = "a..b".to_owned();
            }),
            [
                "services.advertisements.interval_seconds",
                "services.advertisements.routes",
                "services.advertisements.dns_servers",
                "services.advertisements.search"
            ]
        );
        assert_eq!(
            fields(|network| {
                let dhcp6 = network.services.dhcp6.as_mut().unwrap();
                dhcp6.lease_seconds = 59;
                dhcp6.ntp_servers = vec!["::1".parse().unwrap(); 17];
            }),
            ["services.dhcp6.lease_seconds", "services.dhcp6.ntp_servers"]
        );
        assert_eq!(
            fields(|network| {
                let advertised = network.services.advertisements.as_mut().unwrap();
                advertised.search = vec![["a"; 120].join("."); 8];
            }),
            ["services.advertisements"],
            "more than a packet holds"
        );
    }
}
