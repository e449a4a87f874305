//! Admit: may this port send this?
//!
//! A workload sends only from the addresses that are configured for it, in Ethernet, IP, ARP and neighbour discovery; an uplink never brings
//! packets from addresses that are the gateway's own or belong behind it; one that joins a tenant network to a physical one brings
//! packets for workloads of this host. Packets to addresses that nobody forwards to end here too.
//!
//! What DHCP clients of both versions send before they know their address is let in for the gateway to answer.
//!
//! Drops: `UnknownPort`, `PortDown`, `SpoofedMac`, `SpoofedIp`, `InvalidSource`, `NotOurMac`, `Multicast`, `NoRoute`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgestack_abi::DropReason;

use crate::address::MacAddress;
use crate::pipeline::{Context, Stage, Subject};
use crate::snapshot::{Owner, Port, Workload};
use crate::trace::Trace;
use crate::wire::headers::{Headers, Ip, Network};
use crate::wire::neighbour::Neighbour;
use crate::wire::router_discovery::Solicitation;
use crate::wire::{dhcp4, dhcp6};

/// The port, when it may send this.
pub fn run<'a>(
    context: &Context<'a>,
    headers: &Headers,
    in_port: u16,
    trace: &mut Trace,
) -> Result<&'a Port, DropReason> {
    let result = check(context, headers, in_port);
    trace.step(Stage::Admit, || match &result {
        Ok(port) => format!("port {} may send from {}", port.name, headers.ethernet_source),
        Err(reason) => reason.description().to_owned(),
    });
    result
}

fn check<'a>(context: &Context<'a>, headers: &Headers, in_port: u16) -> Result<&'a Port, DropReason> {
    let port = context.snapshot.port(in_port).ok_or(DropReason::UnknownPort)?;
    if !port.up {
        return Err(DropReason::PortDown);
    }
    let mac = headers.ethernet_source;
    if mac.is_multicast() || mac.is_zero() {
        return Err(DropReason::SpoofedMac);
    }
    match (&headers.network, &port.workload) {
        // These are answered where they are asked, and never sent to another host.
        (Network::Arp(_) | Network::Neighbour(_) | Network::RouterSolicitation(_), None)
            if port.tunnel.is_some() =>
        {
            return Err(DropReason::Multicast);
        }
        (Network::Arp(arp), Some(workload)) => {
            let is_probe = arp.sender_ip.is_unspecified();
            let sender = if is_probe { workload.ip_address } else { arp.sender_ip };
            check_workload(workload, mac, sender.into())?;
            if workload.port_security && arp.sender_mac != mac {
                return Err(DropReason::SpoofedMac);
            }
        }
        (Network::Neighbour(neighbour), Some(workload)) => check_neighbour(workload, mac, neighbour)?,
        (Network::RouterSolicitation(asked), Some(workload)) => check_solicitation(workload, mac, asked)?,
        (Network::Arp(_) | Network::Neighbour(_) | Network::RouterSolicitation(_), None) => {}
        (Network::Ip(ip), Some(workload)) if is_for_dhcp(context, port, ip) => {
            let source = if ip.source.is_unspecified() { workload.ip_address.into() } else { ip.source };
            check_workload(workload, mac, source)?;
        }
        (Network::Ip(ip), Some(workload)) if is_for_dhcp6(context, port, ip) => {
            check_source(ip.source)?;
            if is_link_local(ip.source) {
                check_mac(workload, mac)?;
            } else {
                check_workload(workload, mac, ip.source)?;
            }
        }
        (Network::Ip(ip), _) => {
            check_source(ip.source)?;
            check_destination(ip.destination)?;
            let addresses = (ip.source, ip.destination);
            check_ip(context, port, (headers.ethernet_destination, mac), addresses)?;
        }
    }
    Ok(port)
}

/// Whether a packet is a DHCP client's that the gateway answers: broadcast, or from a client without an address.
fn is_for_dhcp(context: &Context<'_>, port: &Port, ip: &Ip) -> bool {
    dhcp4::is_request(ip)
        && ip
            .ipv4()
            .is_some_and(|(source, destination)| destination.is_broadcast() || source.is_unspecified())
        && context.snapshot.networks[port.network].services.dhcp.is_some()
}

/// Whether a packet is a DHCPv6 client's to all servers, of which the gateway is the only one.
fn is_for_dhcp6(context: &Context<'_>, port: &Port, ip: &Ip) -> bool {
    dhcp6::is_request(ip)
        && ip.destination == IpAddr::from(dhcp6::ALL_SERVERS)
        && context.snapshot.networks[port.network].services.dhcp6.is_some()
}

/// Repeats the check for a session that is decided again.
pub fn check_addresses(
    context: &Context<'_>,
    subject: &Subject<'_>,
    trace: &mut Trace,
) -> Result<(), DropReason> {
    let addresses = (subject.tuple.source, subject.tuple.destination);
    let result = if subject.port.up {
        check_ip(context, subject.port, (subject.ethernet_destination, subject.ethernet_source), addresses)
    } else {
        Err(DropReason::PortDown)
    };
    trace.step(Stage::Admit, || match result {
        Ok(()) => "deciding the connection again: its first packet may still be sent".to_owned(),
        Err(reason) => format!("deciding the connection again: {}", reason.description()),
    });
    result
}

/// Neighbour discovery: a workload speaks of its own addresses, and of link-local ones, which it makes up itself.
fn check_neighbour(workload: &Workload, mac: MacAddress, neighbour: &Neighbour) -> Result<(), DropReason> {
    if workload.port_security && neighbour.mac_address.is_some_and(|told| told != mac) {
        return Err(DropReason::SpoofedMac);
    }
    // A solicitation is from an address, or probes for one; an advertisement tells of one.
    let speaks_of = match neighbour.solicitation {
        true if neighbour.source.is_unspecified() => return check_mac(workload, mac),
        true => neighbour.source,
        false => neighbour.target,
    };
    if speaks_of.is_unicast_link_local() {
        return check_mac(workload, mac);
    }
    check_workload(workload, mac, speaks_of.into())
}

/// Router discovery: a workload asks from its own address, a link-local one, or none.
fn check_solicitation(workload: &Workload, mac: MacAddress, asked: &Solicitation) -> Result<(), DropReason> {
    if workload.port_security && asked.mac_address.is_some_and(|told| told != mac) {
        return Err(DropReason::SpoofedMac);
    }
    if asked.source.is_unspecified() || asked.source.is_unicast_link_local() {
        return check_mac(workload, mac);
    }
    check_workload(workload, mac, asked.source.into())
}

fn check_mac(workload: &Workload, mac: MacAddress) -> Result<(), DropReason> {
    let may = !workload.port_security || workload.may_use_mac(mac);
    if may { Ok(()) } else { Err(DropReason::SpoofedMac) }
}

fn check_source(source: IpAddr) -> Result<(), DropReason> {
    let is_broadcast = source == IpAddr::V4(Ipv4Addr::BROADCAST);
    let is_invalid = source.is_multicast() || is_broadcast || source.is_loopback() || source.is_unspecified();
    if is_invalid { Err(DropReason::InvalidSource) } else { Ok(()) }
}

/// RFC 1812, section 5.3.7: none of these is forwarded to.
fn check_destination(destination: IpAddr) -> Result<(), DropReason> {
    if destination.is_multicast() || destination == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(DropReason::Multicast);
    }
    if destination.is_loopback() || destination.is_unspecified() { Err(DropReason::NoRoute) } else { Ok(()) }
}

fn check_ip(
    context: &Context<'_>,
    port: &Port,
    (destination_mac, source_mac): (MacAddress, MacAddress),
    (source, destination): (IpAddr, IpAddr),
) -> Result<(), DropReason> {
    if destination_mac.is_multicast() {
        return Err(DropReason::Multicast);
    }
    if port.tunnel.is_some() {
        return check_carried(context, port, (destination_mac, source_mac), source);
    }
    if let Some(workload) = &port.workload {
        // RFC 4291, section 2.5.6: link-local addresses stay on the link.
        if is_link_local(source) && is_link_local(destination) {
            return check_mac(workload, source_mac);
        }
        return check_workload(workload, source_mac, source);
    }
    let snapshot = context.snapshot;
    if snapshot.is_joint(port) {
        return check_joined(context, port, (destination_mac, source_mac), source);
    }
    let Some(router) = snapshot.router_at(port.network, destination_mac) else {
        let is_tunnel_end = snapshot.networks[port.network].owner(destination) == Some(Owner::Overlay)
            && snapshot.mac_of(Owner::Overlay) == Some(destination_mac);
        return if is_tunnel_end { Ok(()) } else { Err(DropReason::NotOurMac) };
    };
    // From outside nobody has an address of the gateway's, or one of the networks behind the router: rules that name
    // inside addresses must not match an outside sender.
    let is_inside = snapshot.is_behind_router(router, source);
    let is_own = snapshot.networks[port.network].owner(source).is_some();
    if is_inside || is_own { Err(DropReason::SpoofedIp) } else { Ok(()) }
}

/// What another host sends is for a workload here, or an answer to the router that its connection was routed by; and it is from a
/// workload there, or was routed or translated there.
fn check_carried(
    context: &Context<'_>,
    port: &Port,
    (destination_mac, source_mac): (MacAddress, MacAddress),
    source: IpAddr,
) -> Result<(), DropReason> {
    let snapshot = context.snapshot;
    let network = &snapshot.networks[port.network];
    let gateway = snapshot.gateway_mac(port.network);
    let receiver = network.port_by_mac(destination_mac).and_then(|number| snapshot.port(number));
    if !receiver.is_some_and(Port::is_here) && destination_mac != gateway {
        return Err(DropReason::NotOurMac);
    }
    let sender = snapshot.sender(port, source_mac, source).and_then(|sender| sender.workload.as_ref());
    if source_mac == gateway {
        // An address of the networks is one of the other host's workloads, or stands for one.
        let is_inside = match network.router {
            Some(router) => snapshot.is_behind_router(router, source),
            None => network.contains(source),
        };
        let is_possible = sender.is_some() || !is_inside || network.load_balancer(source).is_some();
        return if is_possible { Ok(()) } else { Err(DropReason::SpoofedIp) };
    }
    check_workload(sender.ok_or(DropReason::SpoofedMac)?, source_mac, source)
}

/// What comes from a physical network that a tenant's is joined to is for a workload here, and neither from one nor from the
/// gateway or behind it. Who is known to be on another host has the addresses that are known.
fn check_joined(
    context: &Context<'_>,
    port: &Port,
    (destination_mac, source_mac): (MacAddress, MacAddress),
    source: IpAddr,
) -> Result<(), DropReason> {
    let snapshot = context.snapshot;
    let network = &snapshot.networks[port.network];
    let by_mac = |mac| network.port_by_mac(mac).and_then(|number| snapshot.port(number));
    if !by_mac(destination_mac).is_some_and(Port::is_here) {
        return Err(DropReason::NotOurMac);
    }
    let sender = by_mac(source_mac);
    if source_mac == snapshot.gateway_mac(port.network) || sender.is_some_and(Port::is_here) {
        return Err(DropReason::SpoofedMac);
    }
    if let Some(workload) = sender.and_then(|sender| sender.workload.as_ref()) {
        check_workload(workload, source_mac, source)?;
    }
    let is_anothers = snapshot.port_in_network(port.network, source).is_some_and(|owner| {
        let is_free = owner
            .workload
            .as_ref()
            .is_some_and(|workload| !workload.port_security || workload.may_use_mac(source_mac));
        owner.is_here() || !is_free
    });
    let is_gateways = network.is_gateway(source)
        || network.services.has_address(source)
        || network.load_balancer(source).is_some();
    let is_elsewhere = !network.contains(source)
        && network.router.is_some_and(|router| snapshot.is_behind_router(router, source));
    if is_anothers || is_gateways || is_elsewhere { Err(DropReason::SpoofedIp) } else { Ok(()) }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if Ipv6Addr::is_unicast_link_local(&address))
}

fn check_workload(workload: &Workload, mac: MacAddress, ip: IpAddr) -> Result<(), DropReason> {
    if !workload.port_security || workload.may_use(mac, ip) {
        return Ok(());
    }
    Err(if workload.may_use_mac(mac) { DropReason::SpoofedIp } else { DropReason::SpoofedMac })
}
