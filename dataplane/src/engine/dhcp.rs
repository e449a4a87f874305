//! Answers of DHCP, of both versions, made of the requests.

use edgestack_abi::DropReason;

use super::commit::Hands;
use crate::address::MacAddress;
use crate::packet::Packet;
use crate::pipeline::Stage;
use crate::snapshot::services;
use crate::wire::dhcp4::{self, MessageType};
use crate::wire::dhcp6::answer::Verdict;
use crate::wire::{dhcp6, read_mac, udp};

/// Requests by DHCP that one port is answered in a second.
const DHCP_PER_SECOND_AND_PORT: u32 = 20;

impl Hands<'_> {
    /// Makes a DHCP request into its answer.
    pub(super) fn dhcp(&mut self, packet: Packet, message: MessageType) {
        if !self.may_ask(packet.in_port) {
            return self.discard(packet, Stage::Respond, DropReason::ServiceRate);
        }
        let snapshot = self.engine.snapshot.load();
        let frame = self.pool.data(&packet);
        let mut buffer = [0; dhcp4::FRAME_LENGTH_MAX];
        let written = self.ip(&packet).and_then(|ip| {
            let port = snapshot.port(packet.in_port)?;
            let network = &snapshot.networks[port.network];
            let (workload, dhcp) = (port.workload.as_ref()?, network.services.dhcp.as_ref()?);
            let request = dhcp4::Request::parse(udp::payload(frame, &ip)?)?;
            // What is before a slash is the project.
            let host_name = port.name.rsplit('/').next().unwrap_or_default();
            let answer = dhcp4::Answer {
                message,
                request: &request,
                client_ip: workload.ip_address,
                server: (dhcp.server, snapshot.gateway_mac(port.network)),
                lease_seconds: dhcp.lease_seconds,
                host_name: Some(host_name).filter(|name| services::is_domain(name)).unwrap_or_default(),
                options: &dhcp.options,
                mtu: network.mtu,
            };
            Some(answer.write(&mut buffer))
        });
        self.answer(packet, written.map(|length| &buffer[..length]));
    }

    /// As [`Self::dhcp`], of DHCPv6.
    pub(super) fn dhcp6(&mut self, packet: Packet, verdict: Verdict) {
        if !self.may_ask(packet.in_port) {
            return self.discard(packet, Stage::Respond, DropReason::ServiceRate);
        }
        let snapshot = self.engine.snapshot.load();
        let frame = self.pool.data(&packet);
        let mut buffer = [0; dhcp6::answer::FRAME_LENGTH_MAX];
        let written = self.ip(&packet).and_then(|ip| {
            let port = snapshot.port(packet.in_port)?;
            let dhcp = snapshot.networks[port.network].services.dhcp6.as_ref()?;
            let request = dhcp6::Request::parse(udp::payload(frame, &ip)?)?;
            let std::net::IpAddr::V6(client) = ip.source else { return None };
            let answer = dhcp6::answer::Answer {
                verdict,
                request: &request,
                client: (client, MacAddress(read_mac(frame, 6))),
                client_ip: port.workload.as_ref()?.ipv6_address.filter(|_| dhcp.addresses),
                server: (snapshot.gateway_link_local(port.network), snapshot.gateway_mac(port.network)),
                server_id: &dhcp.server_id,
                lease_seconds: dhcp.lease_seconds,
                options: &dhcp.options,
            };
            Some(answer.write(&mut buffer))
        });
        self.answer(packet, written.map(|length| &buffer[..length]));
    }

    fn may_ask(&mut self, port: u16) -> bool {
        let rate = self.slow.service_rates.get_mut(usize::from(port));
        rate.is_none_or(|rate| rate.dhcp.admit(self.now_ticks, DHCP_PER_SECOND_AND_PORT))
    }

    /// Sends an answer in the frame of what it answers.
    fn answer(&mut self, mut packet: Packet, answer: Option<&[u8]>) {
        let Some(bytes) = answer else {
            return self.discard(packet, Stage::Respond, DropReason::MalformedDhcp);
        };
        self.pool.write(&mut packet, bytes);
        self.worker.counters.responses.add(1);
        self.send(packet.in_port, packet);
    }
}
