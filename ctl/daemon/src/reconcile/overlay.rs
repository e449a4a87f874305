//! The overlay in the dataplane's configuration: the network that carries it, its uplink, and what networks and ports say of
//! other hosts. Made of the daemon's configuration and of objects; called by the network reconciler, and for plans.

use std::sync::Arc;

use edgestack_dataplane::address::Cidr;
use edgestack_dataplane::config::{self, Attach, Config, Network, Port, PortKind, Segment};
use edgestack_model::NetworkSpec;
use edgestack_model::network::NetworkType;

use super::mirror::Mirror;
use super::network::Uplink;

/// Id of the network that carries the overlay where no external network does, and its name in counters and traces.
const NETWORK: &str = "underlay";

/// What an uplink carries between hosts, from the daemon's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// The dataplane's part of it.
    pub tunnels: config::Overlay,
    /// The IPv4 subnet of the underlay; the one of IPv6 alone has an empty one.
    pub cidr: Cidr,
    /// The next hop out of it.
    pub gateway: Option<std::net::Ipv4Addr>,
    /// The IPv6 subnet of the underlay.
    pub ipv6_cidr: Option<Cidr>,
    /// The next hop out of it.
    pub ipv6_gateway: Option<std::net::Ipv6Addr>,
    /// Largest IP packet of the underlay.
    pub mtu: u16,
    /// Largest IP packet of a tenant network that fits into every tunnel.
    pub tenant_mtu: u16,
}

impl Overlay {
    /// The overlay of a daemon's configuration.
    pub fn new(overlay: &crate::config::Overlay) -> Self {
        let empty = Cidr::containing(std::net::Ipv4Addr::UNSPECIFIED, 32);
        let ipv4 = overlay.address.as_ref().map(|own| *own.get_ref());
        let ipv6 = overlay.ipv6_address.as_ref().map(|own| *own.get_ref());
        Self {
            tunnels: overlay.tunnels(),
            cidr: ipv4.map_or(empty, |own| Cidr::containing(own.addr(), own.prefix_len())),
            gateway: overlay.gateway.as_ref().map(|gateway| *gateway.get_ref()),
            ipv6_cidr: ipv6.map(|own| Cidr::containing(own.addr(), own.prefix_len())),
            ipv6_gateway: overlay.ipv6_gateway.as_ref().map(|gateway| *gateway.get_ref()),
            mtu: *overlay.mtu.get_ref(),
            tenant_mtu: overlay.tenant_mtu(),
        }
    }
}

/// How a network's frames travel between hosts.
pub fn segment(spec: &NetworkSpec) -> Option<Segment> {
    let vni = spec.segment_id?;
    match spec.network_type {
        NetworkType::Vxlan => Some(Segment::Vxlan { vni }),
        NetworkType::Geneve => Some(Segment::Geneve { vni }),
        NetworkType::Vlan | NetworkType::Flat => None,
    }
}

/// Largest IP packet of a network: what it says, and of those between hosts no more than fits into every tunnel.
pub fn mtu(spec: &NetworkSpec, uplinks: &[Uplink]) -> u16 {
    let overlay = uplinks.iter().find_map(|uplink| uplink.overlay.as_ref());
    match (segment(spec), overlay) {
        (Some(_), Some(overlay)) => spec.mtu.min(overlay.tenant_mtu),
        _ => spec.mtu,
    }
}

/// Adds the overlay, and the network that carries it where no external network has its uplink.
pub fn add(config: &mut Config, mirror: &Mirror, uplinks: &[Uplink]) {
    let Some((uplink, overlay)) = uplinks.iter().find_map(|uplink| Some((uplink, uplink.overlay.as_ref()?)))
    else {
        return;
    };
    let physnet = Some(uplink.physical_network.as_str());
    let shared = mirror
        .networks
        .values()
        .find(|network| network.spec.external && network.spec.physnet_name.as_deref() == physnet);
    let network = shared.map_or_else(|| NETWORK.to_owned(), |network| network.id.clone());
    if shared.is_none() {
        config.networks.push(Arc::new(Network {
            gateway_ip: overlay.gateway,
            ipv6_cidr: overlay.ipv6_cidr,
            ipv6_gateway_ip: overlay.ipv6_gateway,
            mtu: overlay.mtu,
            external: true,
            ..Network::new(NETWORK, overlay.cidr)
        }));
        config.ports.push(Arc::new(Port {
            id: uplink.port_id(NETWORK),
            name: uplink.name.clone(),
            network: network.clone(),
            interface: Some(uplink.interface.clone()),
            kind: PortKind::Uplink,
            attach: match uplink.attach {
                edgestack_model::port::Attach::Auto => Attach::Auto,
                edgestack_model::port::Attach::Xdp => Attach::Xdp,
                edgestack_model::port::Attach::Tc => Attach::Tc,
            },
            admin_state_up: true,
        }));
    }
    config.overlay = Some(Arc::new(config::Overlay { network, ..overlay.tunnels.clone() }));
}
