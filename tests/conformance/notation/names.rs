//! Short names for addresses: ports, routers, gateways, floating IPs and hosts of the outside.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use edgestack_dataplane::address::MacAddress;
use edgestack_dataplane::config::{Config, PortKind};

use super::NotationError;
use crate::case::Host;

/// What the names of a case stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    macs: BTreeMap<String, MacAddress>,
    addresses: BTreeMap<String, Ipv4Addr>,
    ipv6_addresses: BTreeMap<String, Ipv6Addr>,
    variables: RefCell<BTreeMap<String, u64>>,
}

impl Names {
    /// Names of the objects of a configuration, by id, and of the hosts around it. Variables that `before` has
    /// bound are kept.
    pub(crate) fn of(config: &Config, hosts: &[Host], before: Self) -> Self {
        let mut names = Self { variables: before.variables, ..Self::default() };
        names.add_ipv6("zero", Some(Ipv6Addr::UNSPECIFIED));
        names.macs.insert("broadcast".to_owned(), MacAddress::BROADCAST);
        names.macs.insert("zero".to_owned(), MacAddress::default());
        for host in hosts {
            names.macs.insert(host.name.clone(), host.mac_address);
            names.addresses.insert(host.name.clone(), host.ip_address);
            names.add_ipv6(&host.name, host.ipv6_address);
        }
        for port in &config.ports {
            if let PortKind::Workload(workload) = &port.kind {
                names.macs.insert(port.id.clone(), workload.mac_address);
                names.addresses.insert(port.id.clone(), workload.ip_address);
                names.add_ipv6(&port.id, workload.ipv6_address);
            }
        }
        for network in &config.networks {
            if let Some(gateway) = network.gateway_ip {
                names.addresses.insert(format!("{}.gateway", network.id), gateway);
            }
        }
        for network in &config.networks {
            names.add_ipv6(&format!("{}.gateway", network.id), network.ipv6_gateway_ip);
        }
        for router in &config.routers {
            names.macs.insert(router.id.clone(), router.mac_address);
            if let Some(external) = &router.external {
                names.addresses.insert(router.id.clone(), external.ip_address);
                names.add_ipv6(&router.id, external.ipv6_address);
            }
        }
        if let Some(overlay) = &config.overlay {
            names.macs.insert("vtep".to_owned(), overlay.mac_address);
            names.addresses.extend(overlay.ip_address.map(|address| ("vtep".to_owned(), address)));
            names.add_ipv6("vtep", overlay.ipv6_address);
        }
        for floating_ip in &config.floating_ips {
            names.addresses.insert(floating_ip.id.clone(), floating_ip.floating_ip);
        }
        for load_balancer in &config.load_balancers {
            if let std::net::IpAddr::V4(vip) = load_balancer.vip {
                names.addresses.insert(load_balancer.id.clone(), vip);
            }
        }
        names
    }

    fn add_ipv6(&mut self, name: &str, address: Option<Ipv6Addr>) {
        if let Some(address) = address {
            self.ipv6_addresses.insert(name.to_owned(), address);
        }
    }

    /// An IPv6 address, written out or by name.
    pub(crate) fn ipv6(&self, text: &str) -> Result<Ipv6Addr, NotationError> {
        if let Some(address) = self.ipv6_addresses.get(text) {
            return Ok(*address);
        }
        text.parse().map_err(|_| NotationError::new(text, "is neither an IPv6 address nor the name of one"))
    }

    /// A MAC address, written out or by name.
    pub(crate) fn mac(&self, text: &str) -> Result<[u8; 6], NotationError> {
        if let Some(mac) = self.macs.get(text) {
            return Ok(mac.0);
        }
        let mac: Result<MacAddress, _> = text.parse();
        mac.map(|mac| mac.0)
            .map_err(|_| NotationError::new(text, "is neither a MAC address nor the name of one"))
    }

    /// An IPv4 address, written out or by name.
    pub(crate) fn ip(&self, text: &str) -> Result<Ipv4Addr, NotationError> {
        if let Some(address) = self.addresses.get(text) {
            return Ok(*address);
        }
        text.parse().map_err(|_| NotationError::new(text, "is neither an IPv4 address nor the name of one"))
    }

    /// The value of a variable; where it has none yet, `observed` becomes its value.
    pub(crate) fn variable(&self, name: &str, observed: Option<u64>) -> Result<u64, NotationError> {
        let mut variables = self.variables.borrow_mut();
        if let (false, Some(value)) = (variables.contains_key(name), observed) {
            variables.insert(name.to_owned(), value);
        }
        variables.get(name).copied().ok_or_else(|| NotationError::new(name, "has no value yet"))
    }

    /// The name of a MAC address, or the address.
    pub(crate) fn mac_name(&self, mac: [u8; 6]) -> String {
        match self.macs.iter().find(|(_, candidate)| candidate.0 == mac) {
            Some((name, _)) => name.clone(),
            None => MacAddress(mac).to_string(),
        }
    }
}
