//! The legs and the routes of routers: checked and indexed.

use std::net::IpAddr;

use super::{Compiler, Index, Owner, ipv4_of, ipv6_of};
use crate::address::Cidr;
use crate::config::{self, SnatExemption, StaticRoute};
use crate::snapshot::External;
use crate::snapshot::route_table::{Hop, RouteTable};

/// Legs of one router.
const LEGS_MAX: usize = 16;
/// Static routes of one router.
const ROUTES_MAX: usize = 256;
/// Destinations of one leg that are exempt from translation, which are looked through one after the other.
const EXEMPTIONS_MAX: usize = 64;

impl Compiler<'_> {
    /// The legs of a router, that of the default route first. Their networks do not overlap: the address says which leg.
    pub(super) fn legs(&mut self, object: &str, router: &config::Router, index: Index) -> Vec<External> {
        if router.external.is_none() && !router.further_externals.is_empty() {
            let message = "a router with one leg has it in `external`".to_owned();
            self.problem(object.to_owned(), "further_externals", message);
        }
        if router.further_externals.len() >= LEGS_MAX {
            let message = format!("a router has {LEGS_MAX} legs at most");
            self.problem(object.to_owned(), "further_externals", message);
            return Vec::new();
        }
        let mut legs: Vec<External> = Vec::new();
        for (position, external) in router.legs().enumerate() {
            let at = match position.checked_sub(1) {
                Some(further) => format!("further_externals[{further}]"),
                None => "external".to_owned(),
            };
            let network = self.network_index.get(external.network.as_str()).copied();
            let other = legs.iter().map(|leg| leg.network).find(|other| {
                let subnets = |network: Index| &self.topology.networks[network].subnets;
                network.is_some_and(|network| {
                    network == *other
                        || subnets(network)
                            .iter()
                            .any(|own| subnets(*other).iter().any(|subnet| own.cidr.overlaps(subnet.cidr)))
                })
            });
            if let Some(other) = other {
                let name = &self.topology.networks[other].name;
                let message = format!("it is, or overlaps, network {name}, in which the router has a leg");
                self.problem(object.to_owned(), &format!("{at}.network"), message);
                continue;
            }
            legs.extend(self.leg(object, &at, external, (router, index)));
        }
        legs
    }

    fn leg(
        &mut self,
        object: &str,
        at: &str,
        external: &config::RouterExternal,
        (router, index): (&config::Router, Index),
    ) -> Option<External> {
        let field = |name: &str| format!("{at}.{name}");
        let Some(network) = self.network_index.get(external.network.as_str()).copied() else {
            let message = format!("there is no network `{}`", external.network);
            self.problem(object.to_owned(), &field("network"), message);
            return None;
        };
        let entry = &self.topology.networks[network];
        if !entry.external {
            let message = format!("network {} is not external", entry.name);
            self.problem(object.to_owned(), &field("network"), message);
            return None;
        }
        let gateways = [false, true].map(|is_ipv6| entry.gateway(is_ipv6));
        let ipv6_peer_ip = external.ipv6_peer_ip.filter(|peer| !peer.is_unicast_link_local());
        let addresses: [(&str, Option<IpAddr>); 4] = [
            ("ip_address", Some(external.ip_address.into())),
            ("peer_ip", external.peer_ip.map(IpAddr::from)),
            ("ipv6_address", external.ipv6_address.map(IpAddr::from)),
            ("ipv6_peer_ip", ipv6_peer_ip.map(IpAddr::from)),
        ];
        for (name, address) in addresses {
            let entry = &self.topology.networks[network];
            if let Some(address) = address.filter(|address| !entry.contains(*address)) {
                let message = format!("{address} is in no subnet of the external network {}", entry.name);
                self.problem(object.to_owned(), &field(name), message);
            }
        }
        self.own(object, &field("ip_address"), network, (external.ip_address.into(), Owner::Router(index)));
        if let Some(address) = external.ipv6_address {
            self.own(object, &field("ipv6_address"), network, (address.into(), Owner::Router(index)));
        }
        if external.peer_ip == Some(external.ip_address) {
            let message = "it is the router's own address".to_owned();
            self.problem(object.to_owned(), &field("peer_ip"), message);
        }
        if external.routed && external.enable_snat {
            let message = "it needs enable_snat to be false".to_owned();
            self.problem(object.to_owned(), &field("routed"), message);
        }
        self.exemptions(object, &field("snat_exemptions"), &external.snat_exemptions);
        let by_mac = &mut self.topology.networks[network].router_by_mac;
        if by_mac.insert(router.mac_address, index).is_some() {
            let message = format!("{} is used by two routers of one external network", router.mac_address);
            self.problem(object.to_owned(), "mac_address", message);
        }
        let pool = self.pool((object, &field("snat_pool")), external, network, index);
        Some(External {
            network,
            ip_address: external.ip_address,
            enable_snat: external.enable_snat,
            routed: external.routed,
            snat_exemptions: external.snat_exemptions.clone(),
            pool,
            peer_ip: external.peer_ip.or(ipv4_of(gateways[0])),
            peer_mac: external.peer_mac,
            ipv6_address: external.ipv6_address,
            ipv6_peer_ip: external.ipv6_peer_ip.or(ipv6_of(gateways[1])),
        })
    }

    fn exemptions(&mut self, object: &str, field: &str, exemptions: &[SnatExemption]) {
        let mut problem = |message: String| self.problem(object.to_owned(), field, message);
        if exemptions.len() > EXEMPTIONS_MAX {
            problem(format!("{} are more than {EXEMPTIONS_MAX}", exemptions.len()));
        }
        for exemption in exemptions {
            let SnatExemption { destination, port_min, port_max, .. } = exemption;
            if destination.is_ipv6() {
                problem(format!("{destination} is IPv6, which is never translated"));
            }
            if port_max.is_some_and(|max| port_min.is_none_or(|min| min > max)) {
                problem(format!("{destination}: port_min is missing or above port_max"));
            }
        }
    }

    /// The routes of a router: its networks, the static ones, and the default route where no static one takes its place.
    pub(super) fn routes(
        &mut self,
        object: &str,
        router: &config::Router,
        (networks, legs): (&[Index], &[External]),
    ) -> RouteTable {
        let mut table = RouteTable::default();
        let inside = networks.iter().map(|network| (*network, Hop::Network(*network)));
        let outside = legs.iter().map(|external| (external.network, Hop::Outside(external.network)));
        for (network, hop) in inside.chain(outside) {
            for subnet in &self.topology.networks[network].subnets {
                table.insert(subnet.cidr, hop);
            }
        }
        if router.routes.len() > ROUTES_MAX {
            let message = format!("{} are more than the {ROUTES_MAX} of one router", router.routes.len());
            self.problem(object.to_owned(), "routes", message);
        }
        for route in router.routes.iter().take(ROUTES_MAX) {
            let result = self.hop(route, networks, legs).and_then(|hop| {
                let is_new = table.insert(route.destination, hop);
                is_new
                    .then_some(())
                    .ok_or_else(|| "there is a route, or a network, of this destination".to_owned())
            });
            if let Err(message) = result {
                self.problem(object.to_owned(), "routes", format!("{}: {message}", route.destination));
            }
        }
        if let Some(external) = legs.first() {
            for is_ipv6 in [false, true] {
                let Some(address) = external.peer(is_ipv6) else { continue };
                let unspecified: IpAddr = if is_ipv6 { [0_u8; 16].into() } else { [0_u8; 4].into() };
                let hop = Hop::ByNeighbour { network: external.network, address };
                table.insert(Cidr::containing(unspecified, 0), hop);
            }
        }
        table
    }

    /// Where a static route leads: its next hop is a host of one of the router's networks.
    fn hop(&self, route: &StaticRoute, networks: &[Index], legs: &[External]) -> Result<Hop, String> {
        let Some(address) = route.next_hop else { return Ok(Hop::BlackHole { is_told: route.reject }) };
        if route.reject {
            return Err("it has a next hop, so it rejects nothing".to_owned());
        }
        if address.is_ipv6() != route.destination.is_ipv6() {
            return Err(format!("{address} is of the other version of IP"));
        }
        let names = &self.topology.networks;
        if let Some(network) = networks.iter().copied().find(|network| names[*network].contains(address)) {
            if names[network].is_gateway(address) {
                return Err(format!("{address} is the router's own address"));
            }
            return Ok(Hop::ByWorkload { network, address });
        }
        let external = legs
            .iter()
            .find(|external| names[external.network].contains(address))
            .ok_or_else(|| format!("{address} is in none of the router's networks"))?;
        match external.address(address.is_ipv6()) {
            Some(own) if own == address => Err(format!("{address} is the router's own address")),
            Some(_) => Ok(Hop::ByNeighbour { network: external.network, address }),
            None => {
                Err(format!("the router has no IPv6 address in network {}", names[external.network].name))
            }
        }
    }

    /// Nobody of this gateway is the next hop of one of its routers: packets do not come back by the uplink.
    pub(super) fn next_hops(&mut self) {
        let mut problems = Vec::new();
        for router in &self.topology.routers {
            let object = || format!("router {}", router.name);
            let is_own =
                |network: Index, address: IpAddr| self.topology.networks[network].owner(address).is_some();
            let what = "is the address of a router or floating IP of this gateway";
            for external in &router.legs {
                for (field, is_ipv6) in [("external.peer_ip", false), ("external.ipv6_peer_ip", true)] {
                    if let Some(peer) = external.peer(is_ipv6).filter(|peer| is_own(external.network, *peer))
                    {
                        problems.push((object(), field, format!("{peer} {what}")));
                    }
                }
            }
            // The default route's was looked at above.
            let is_peer = |address: IpAddr| {
                router.legs.first().and_then(|first| first.peer(address.is_ipv6())) == Some(address)
            };
            for found in router.routes.iter() {
                if let Hop::ByNeighbour { network, address } = found.hop
                    && is_own(network, address)
                    && !is_peer(address)
                {
                    problems.push((object(), "routes", format!("{}: {address} {what}", found.destination)));
                }
            }
        }
        for (object, field, message) in problems {
            self.problem(object, field, message);
        }
    }
}
