//! DHCPv6: which answer a client gets, by the port that it asked through.
//!
//! As of DHCP, an address belongs to a port, so nothing is kept, and every client of a port is given the same address.

use std::net::IpAddr;

use edgestack_abi::DropReason;

use crate::pipeline::{Context, Decision, Response, Stage};
use crate::snapshot::services::ipv6::Dhcp6;
use crate::snapshot::{Port, Workload};
use crate::trace::Trace;
use crate::wire::dhcp6::answer::{Status, Verdict};
use crate::wire::dhcp6::{self, ALL_SERVERS, MessageType, Request};
use crate::wire::headers::Ip;
use crate::wire::udp;

/// What becomes of a packet of DHCPv6; none when it is of something else.
pub(super) fn run(
    context: &Context<'_>,
    ip: &Ip,
    frame: &[u8],
    port: &Port,
    trace: &mut Trace,
) -> Result<Option<Decision>, DropReason> {
    let Some(workload) = &port.workload else { return Ok(None) };
    if dhcp6::is_answer(ip) && workload.port_security {
        trace.step(Stage::Respond, || DropReason::DhcpServer.description().to_owned());
        return Err(DropReason::DhcpServer);
    }
    let network = &context.snapshot.networks[port.network];
    let Some(dhcp) = &network.services.dhcp6 else { return Ok(None) };
    let is_to_all = ip.destination == IpAddr::from(ALL_SERVERS);
    let is_for_server = is_to_all
        || network.is_gateway(ip.destination)
        || context.snapshot.is_gateway_link_local(port.network, ip.destination);
    if !dhcp6::is_request(ip) || !is_for_server {
        return Ok(None);
    }
    let request = udp::payload(frame, ip).and_then(Request::parse);
    let result = request
        .ok_or(DropReason::MalformedDhcp)
        .map(|request| (request.message, answer(&request, is_to_all, workload, dhcp)));
    trace.step(Stage::Respond, || match result {
        Ok((asked, Some(verdict))) => {
            format!("answered: DHCPv6 {} to {}", verdict.message().label(), asked.label())
        }
        Ok((asked, None)) => format!("DHCPv6 {}: needs no answer", asked.label()),
        Err(reason) => reason.description().to_owned(),
    });
    let (_, verdict) = result?;
    Ok(Some(Decision::Respond(verdict.map_or(Response::Silence, Response::Dhcp6))))
}

/// The answer to a request (RFC 8415, section 18.3); none where none is due.
fn answer(request: &Request<'_>, is_to_all: bool, workload: &Workload, dhcp: &Dhcp6) -> Option<Verdict> {
    if request.server_id.is_some_and(|server| server != dhcp.server_id) {
        // It means another server.
        return None;
    }
    let own_address = workload.ipv6_address.filter(|_| dhcp.addresses);
    match request.message {
        // Section 18.4: the client was not told that it may ask the server alone.
        MessageType::Request | MessageType::Renew | MessageType::Release | MessageType::Decline
            if !is_to_all =>
        {
            Some(Verdict::Only(Status::UseMulticast))
        }
        _ if !is_to_all => None,
        MessageType::Solicit if request.rapid_commit && own_address.is_some() => Some(Verdict::Lease),
        MessageType::Solicit => Some(Verdict::Offer),
        MessageType::Request | MessageType::Renew | MessageType::Rebind => Some(Verdict::Lease),
        MessageType::Confirm => {
            let mut addresses = request.associations().flat_map(|association| association.addresses());
            let first = addresses.next()?;
            let fit = [first].into_iter().chain(addresses).all(|address| Some(address) == own_address);
            Some(Verdict::Only(if fit { Status::Success } else { Status::NotOnLink }))
        }
        MessageType::Release | MessageType::Decline => Some(Verdict::Noted),
        MessageType::InformationRequest => Some(Verdict::Information),
        MessageType::Advertise | MessageType::Reply => None,
    }
}
