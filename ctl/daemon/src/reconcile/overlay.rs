//! Uplinks in the dataplane's configuration, and the overlay that one of them carries: external networks and tenants' of types FLAT
//! and VLAN, with and without VLAN tags, and what networks and ports say of other hosts. Made of the daemon's configuration and of objects; called by the
//! network reconciler, and for plans.

use std::sync::Arc;

use edgestack_dataplane::address::Cidr;
use edgestack_dataplane::config::{self, Config, Network, Port, PortKind, Segment};
use edgestack_model::NetworkSpec;
use edgestack_model::network::{MTU_BYTES_MAX, NetworkType};

use super::mirror::Mirror;
use super::network::{Uplink, attach};

/// Id of the network that carries the overlay where no external network does, and its name in counters and traces.
const UNDERLAY: &str = "underlay";

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
        let ipv4 = overlay.address.as_ref().map(|own| *own.get_ref());
        let ipv6 = overlay.ipv6_address.as_ref().map(|own| *own.get_ref());
        Self {
            tunnels: overlay.tunnels(),
            cidr: ipv4.map_or_else(empty_subnet, |own| Cidr::containing(own.addr(), own.prefix_len())),
            gateway: overlay.gateway.as_ref().map(|gateway| *gateway.get_ref()),
            ipv6_cidr: ipv6.map(|own| Cidr::containing(own.addr(), own.prefix_len())),
            ipv6_gateway: overlay.ipv6_gateway.as_ref().map(|gateway| *gateway.get_ref()),
            mtu: *overlay.mtu.get_ref(),
            tenant_mtu: overlay.tenant_mtu(),
        }
    }
}

/// How a network's frames travel between hosts, and in which VLAN those of one on a physical network leave.
pub fn segment(spec: &NetworkSpec) -> Option<Segment> {
    let vni = spec.segment_id?;
    match spec.network_type {
        NetworkType::Vxlan => Some(Segment::Vxlan { vni }),
        NetworkType::Geneve => Some(Segment::Geneve { vni }),
        NetworkType::Vlan => Some(Segment::Vlan { vlan_id: vni as u16 }),
        NetworkType::Flat => None,
    }
}

/// Largest IP packet of a network: what it says, and of those between hosts no more than fits into every tunnel.
pub fn mtu(spec: &NetworkSpec, uplinks: &[Uplink]) -> u16 {
    let overlay = uplinks.iter().find_map(|uplink| uplink.overlay.as_ref());
    match (segment(spec), overlay) {
        (Some(Segment::Vxlan { .. } | Segment::Geneve { .. }), Some(overlay)) => {
            spec.mtu.min(overlay.tenant_mtu)
        }
        _ => spec.mtu,
    }
}

/// Whether a network leaves by an uplink: it is on its physical network. What leaves without a tag beside tunnels is theirs, and no
/// tenant's.
pub fn leaves_by(spec: &NetworkSpec, uplink: &Uplink) -> bool {
    let is_there = spec.physnet_name.as_ref() == Some(&uplink.physical_network);
    is_there && !(uplink.overlay.is_some() && is_untagged_tenant(spec))
}

/// Whether a network is a tenant's that has all of a physical network that is without a tag.
pub fn is_untagged_tenant(spec: &NetworkSpec) -> bool {
    !spec.external && spec.network_type == NetworkType::Flat
}

/// Adds the uplinks of networks on physical ones and the overlay. What leaves without a VLAN tag has a network of its own where no
/// other is that.
pub fn add(config: &mut Config, mirror: &Mirror, uplinks: &[Uplink]) {
    for uplink in uplinks {
        let mut untagged = None;
        let mut has_vlans = false;
        for network in mirror.networks.values().filter(|network| leaves_by(&network.spec, uplink)) {
            let name = if let Some(Segment::Vlan { vlan_id }) = segment(&network.spec) {
                has_vlans = true;
                format!("{}.{vlan_id}", uplink.name)
            } else {
                untagged = Some(network.id.clone());
                uplink.name.clone()
            };
            config.ports.push(port(uplink, name, &network.id));
        }
        if uplink.overlay.is_none() && !has_vlans {
            continue;
        }
        let network = untagged.unwrap_or_else(|| {
            let network = untagged_network(uplink);
            config.ports.push(port(uplink, uplink.name.clone(), &network.id));
            let id = network.id.clone();
            config.networks.push(Arc::new(network));
            id
        });
        if let Some(overlay) = &uplink.overlay {
            config.overlay = Some(Arc::new(config::Overlay { network, ..overlay.tunnels.clone() }));
        }
    }
}

/// The port of an uplink for one of its networks.
fn port(uplink: &Uplink, name: String, network_id: &str) -> Arc<Port> {
    Arc::new(Port {
        id: uplink.port_id(network_id),
        name,
        network: network_id.to_owned(),
        interface: Some(uplink.interface.clone()),
        kind: PortKind::Uplink,
        attach: attach(uplink.attach),
        admin_state_up: true,
    })
}

/// What is outside of an uplink without a VLAN tag where no network of the site is: the underlay, or nothing.
fn untagged_network(uplink: &Uplink) -> Network {
    let empty = || Network {
        name: format!("untagged {}", uplink.name),
        mtu: MTU_BYTES_MAX as u16,
        external: true,
        ..Network::new(format!("untagged-{}", uplink.name), empty_subnet())
    };
    uplink.overlay.as_ref().map_or_else(empty, |overlay| Network {
        gateway_ip: overlay.gateway,
        ipv6_cidr: overlay.ipv6_cidr,
        ipv6_gateway_ip: overlay.ipv6_gateway,
        mtu: overlay.mtu,
        external: true,
        ..Network::new(UNDERLAY, overlay.cidr)
    })
}

/// The subnet of what has no addresses.
fn empty_subnet() -> Cidr {
    Cidr::containing(std::net::Ipv4Addr::UNSPECIFIED, 32)
}
