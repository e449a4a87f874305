//! DHCP: which answer a client gets, by the port that it asked through.
//!
//! An address belongs to a port, so a lease is a matter of configuration alone: nothing is kept, and a client is told no
//! when it wants to keep an address that is not its port's any more.

use edgestack_abi::DropReason;

use crate::pipeline::{Context, Decision, Response, Stage};
use crate::snapshot::services::Dhcp;
use crate::snapshot::{Port, Workload};
use crate::trace::Trace;
use crate::wire::dhcp4::{self, MessageType, Request};
use crate::wire::headers::Ip;
use crate::wire::udp;

/// What becomes of a packet of DHCP; none when it is of something else.
pub(super) fn run(
    context: &Context<'_>,
    ip: &Ip,
    frame: &[u8],
    port: &Port,
    trace: &mut Trace,
) -> Result<Option<Decision>, DropReason> {
    let Some(workload) = &port.workload else { return Ok(None) };
    if dhcp4::is_answer(ip) && workload.port_security {
        trace.step(Stage::Respond, || DropReason::DhcpServer.description().to_owned());
        return Err(DropReason::DhcpServer);
    }
    let Some(dhcp) = &context.snapshot.networks[port.network].services.dhcp else { return Ok(None) };
    let is_for_server =
        ip.ipv4().is_some_and(|(_, destination)| destination.is_broadcast() || destination == dhcp.server);
    if !dhcp4::is_request(ip) || !is_for_server {
        return Ok(None);
    }
    let request = udp::payload(frame, ip).and_then(Request::parse);
    let result =
        request.ok_or(DropReason::MalformedDhcp).and_then(|request| answer(&request, workload, dhcp));
    trace.step(Stage::Respond, || match result {
        Ok(Some(message)) => format!("answered: DHCP {} of {}", message.label(), workload.ip_address),
        Ok(None) => "DHCP: needs no answer".to_owned(),
        Err(reason) => reason.description().to_owned(),
    });
    let response = result?.map_or(Response::Silence, Response::Dhcp);
    Ok(Some(Decision::Respond(response)))
}

/// The answer to a request (RFC 2131, sections 4.3.1 to 4.3.5); none where none is due.
fn answer(
    request: &Request<'_>,
    workload: &Workload,
    dhcp: &Dhcp,
) -> Result<Option<MessageType>, DropReason> {
    if request.relayed {
        return Err(DropReason::MalformedDhcp);
    }
    if request.client_mac != workload.mac_address {
        return Err(DropReason::SpoofedMac);
    }
    let is_own = |address| address == workload.ip_address;
    let ack_if = |agreed| Ok(Some(if agreed { MessageType::Ack } else { MessageType::Nak }));
    match request.message {
        MessageType::Discover => Ok(Some(MessageType::Offer)),
        MessageType::Request => match (request.server, request.requested_ip) {
            // It took another server's offer.
            (Some(server), _) if server != dhcp.server => Ok(None),
            // It takes the offer, or has rebooted and remembers an address.
            (_, Some(wanted)) => ack_if(is_own(wanted)),
            // It renews.
            (_, None) if !request.client_ip.is_unspecified() => ack_if(is_own(request.client_ip)),
            (_, None) => Err(DropReason::MalformedDhcp),
        },
        MessageType::Inform if is_own(request.client_ip) => ack_if(true),
        MessageType::Decline | MessageType::Release => Ok(None),
        MessageType::Inform | MessageType::Offer | MessageType::Ack | MessageType::Nak => {
            Err(DropReason::MalformedDhcp)
        }
    }
}
