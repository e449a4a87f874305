//! Admit: may this port send this?
//!
//! A workload sends only from the addresses that are configured for it, in Ethernet, IP and ARP; an uplink never brings
//! packets from addresses that are the gateway's own or belong behind it. Packets to addresses that nobody forwards to end here too.
//!
//! What DHCP clients send before they know their address is let in for the gateway to answer.
//!
//! Drops: `UnknownPort`, `PortDown`, `SpoofedMac`, `SpoofedIp`, `InvalidSource`, `NotOurMac`, `Multicast`, `NoRoute`.

use std::net::Ipv4Addr;

use edgestack_abi::DropReason;

use crate::address::MacAddress;
use crate::pipeline::{Context, Stage, Subject};
use crate::snapshot::{Port, Workload};
use crate::trace::Trace;
use crate::wire::dhcp4;
use crate::wire::headers::{Headers, Ipv4, Network};
use crate::wire::host_address;

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
        (Network::Arp(arp), Some(workload)) => {
            let is_probe = arp.sender_ip.is_unspecified();
            check_workload(workload, mac, if is_probe { workload.ip_address } else { arp.sender_ip })?;
            if workload.port_security && arp.sender_mac != mac {
                return Err(DropReason::SpoofedMac);
            }
        }
        (Network::Arp(_), None) => {}
        (Network::Ipv4(ip), Some(workload)) if is_for_dhcp(context, port, ip) => {
            let source = if ip.source.is_unspecified() { workload.ip_address } else { ip.source };
            check_workload(workload, mac, source)?;
        }
        (Network::Ipv4(ip), _) => {
            check_source(ip.source)?;
            check_destination(ip.destination)?;
            check_ip(context, port, (headers.ethernet_destination, mac), ip.source)?;
        }
    }
    Ok(port)
}

/// Whether a packet is a DHCP client's that the gateway answers: broadcast, or from a client without an address.
fn is_for_dhcp(context: &Context<'_>, port: &Port, ip: &Ipv4) -> bool {
    dhcp4::is_request(ip)
        && (ip.destination.is_broadcast() || ip.source.is_unspecified())
        && context.snapshot.networks[port.network].services.dhcp.is_some()
}

/// Repeats the check for a session that is decided again.
pub fn check_addresses(
    context: &Context<'_>,
    subject: &Subject<'_>,
    trace: &mut Trace,
) -> Result<(), DropReason> {
    let source = host_address(subject.key.source);
    let result = if subject.port.up {
        check_ip(context, subject.port, (subject.ethernet_destination, subject.ethernet_source), source)
    } else {
        Err(DropReason::PortDown)
    };
    trace.step(Stage::Admit, || match result {
        Ok(()) => "deciding the connection again: its first packet may still be sent".to_owned(),
        Err(reason) => format!("deciding the connection again: {}", reason.description()),
    });
    result
}

fn check_source(source: Ipv4Addr) -> Result<(), DropReason> {
    let is_invalid =
        source.is_multicast() || source.is_broadcast() || source.is_loopback() || source.is_unspecified();
    if is_invalid { Err(DropReason::InvalidSource) } else { Ok(()) }
}

/// RFC 1812, section 5.3.7: none of these is forwarded to.
fn check_destination(destination: Ipv4Addr) -> Result<(), DropReason> {
    if destination.is_multicast() || destination.is_broadcast() {
        return Err(DropReason::Multicast);
    }
    if destination.is_loopback() || destination.is_unspecified() { Err(DropReason::NoRoute) } else { Ok(()) }
}

fn check_ip(
    context: &Context<'_>,
    port: &Port,
    (destination_mac, source_mac): (MacAddress, MacAddress),
    source: Ipv4Addr,
) -> Result<(), DropReason> {
    if destination_mac.is_multicast() {
        return Err(DropReason::Multicast);
    }
    if let Some(workload) = &port.workload {
        return check_workload(workload, source_mac, source);
    }
    let snapshot = context.snapshot;
    let router = snapshot.router_at(port.network, destination_mac).ok_or(DropReason::NotOurMac)?;
    // From outside nobody has an address of the gateway's, or one of the networks behind the router: rules that name
    // inside addresses must not match an outside sender.
    let is_inside = snapshot.routers[router]
        .networks
        .iter()
        .any(|network| snapshot.networks[*network].cidr.contains(source));
    let is_own = snapshot.networks[port.network].owner(source).is_some();
    if is_inside || is_own { Err(DropReason::SpoofedIp) } else { Ok(()) }
}

fn check_workload(workload: &Workload, mac: MacAddress, ip: Ipv4Addr) -> Result<(), DropReason> {
    if !workload.port_security || workload.may_use(mac, ip) {
        return Ok(());
    }
    Err(if workload.may_use_mac(mac) { DropReason::SpoofedIp } else { DropReason::SpoofedMac })
}
