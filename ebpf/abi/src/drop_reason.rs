//! Why a packet ended here: one closed list for kernel and user space.
//!
//! A drop is a value, not an error: it is a counter, a label in traces and metrics, and a field of the API.

/// Declares the enum together with its label and description, so that the three cannot drift apart.
macro_rules! drop_reasons {
    ($($(#[$attribute:meta])* $variant:ident = $value:literal, $label:literal, $description:literal;)*) => {
        /// The reason of a drop. The discriminant indexes the counters of [`crate::maps::DROPS`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason { $(#[doc = $description] $(#[$attribute])* $variant = $value,)* }

        impl DropReason {
            /// Every reason, in the order of its discriminant.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)*];
            /// The number of reasons, which is the length of every table of drop counters.
            pub const COUNT: usize = Self::ALL.len();

            /// The label in metrics, traces and the API: lower case words joined by underscores.
            pub const fn label(self) -> &'static str {
                match self { $(DropReason::$variant => $label,)* }
            }

            /// One sentence for people.
            pub const fn description(self) -> &'static str {
                match self { $(DropReason::$variant => $description,)* }
            }
        }
    };
}

drop_reasons! {
    MalformedEthernet = 0, "malformed_ethernet", "The frame is shorter than an Ethernet header.";
    MalformedArp = 1, "malformed_arp", "The ARP packet is truncated or not Ethernet over IPv4.";
    MalformedIpv4 = 2, "malformed_ipv4", "The IPv4 header is truncated, its lengths disagree, or its checksum is wrong.";
    MalformedTransport = 3, "malformed_transport", "The TCP, UDP, ICMP or neighbour discovery header is truncated, its lengths or flags are impossible, or the ICMP checksum is wrong.";
    UnknownEtherType = 4, "unknown_ether_type", "The EtherType is none that the gateway forwards.";
    MalformedIpv6 = 5, "malformed_ipv6", "The IPv6 header or an extension header is truncated, or their lengths disagree.";
    Fragment = 6, "fragment", "A part of a datagram whose first part did not come in time, was dropped, or found no room.";
    UnknownProtocol = 7, "unknown_protocol", "The IP protocol is none that connections are tracked for.";
    UnknownPort = 8, "unknown_port", "The packet came from an interface that no port is configured for.";
    PortDown = 9, "port_down", "The port, or the port that the packet would leave by, is administratively down or has no interface.";
    SpoofedMac = 10, "spoofed_mac", "The source MAC address is not the port's own.";
    SpoofedIp = 11, "spoofed_ip", "The source IP address is neither the port's own nor an allowed pair.";
    InvalidSource = 12, "invalid_source", "The source address is multicast, broadcast, loopback or unspecified.";
    NotOurMac = 13, "not_our_mac", "The destination MAC address belongs to nobody on this network.";
    Multicast = 14, "multicast", "Multicast and broadcast are not flooded.";
    NoRoute = 15, "no_route", "The router has no route to the destination.";
    NoRouter = 16, "no_router", "The packet was sent to a gateway that no router serves.";
    UnknownDestination = 17, "unknown_destination", "No port of the network has the destination address.";
    NoListener = 18, "no_listener", "The packet was addressed to the gateway itself, which does not serve it.";
    TtlExceeded = 19, "ttl_exceeded", "The time to live ended; the sender was told.";
    PacketTooBig = 20, "packet_too_big", "The packet is larger than the MTU of its way out and must not be fragmented.";
    FirewallEgress = 21, "firewall_egress", "No rule of the sender's security groups allows it.";
    FirewallIngress = 22, "firewall_ingress", "No rule of the receiver's security groups allows it.";
    InvalidConnectionState = 23, "invalid_connection_state", "A TCP segment that opens no connection and belongs to none, or contradicts the state of its connection.";
    RelatedUnknown = 24, "related_unknown", "An ICMP error about a packet of no known connection.";
    NatPortsExhausted = 25, "nat_ports_exhausted", "The router's external address has no free port towards this destination.";
    NoSnat = 26, "no_snat", "The router neither translates nor has a floating IP for this source.";
    NoMapping = 27, "no_mapping", "A packet from outside to a translated address that no connection or floating IP maps.";
    NeighbourUnresolved = 28, "neighbour_unresolved", "The next hop did not answer ARP or neighbour solicitation.";
    FlowTableFull = 29, "flow_table_full", "The flow table is full of flows worth more than this one.";
    NewFlowRate = 30, "new_flow_rate", "The port opens flows faster than it may.";
    EngineAbsent = 31, "engine_absent", "The packet needed the engine while none was running.";
    TransmitFull = 32, "transmit_full", "The transmit ring of the port was full.";
    FramesExhausted = 33, "frames_exhausted", "No free frame was left to build or hold a packet.";
    IcmpRate = 34, "icmp_rate", "An ICMP message that the gateway would have sent exceeded its rate.";
    ReceiveFull = 35, "receive_full", "The engine was too busy to take the packet: its receive ring was full or had no frame.";
    MalformedDhcp = 36, "malformed_dhcp", "The DHCP message is malformed, came by a relay, or says what a client may not say.";
    DhcpServer = 37, "dhcp_server", "Only the gateway answers DHCP; a workload may not.";
    ServiceRate = 38, "service_rate", "The port asks the gateway's own services faster than it may.";
    ServiceBusy = 39, "service_busy", "The gateway's own services had no room for the packet, or do not run.";
    FragmentOverlap = 40, "fragment_overlap", "A part of a datagram that overlaps with another, repeats it, or contradicts its end.";
    NoMember = 41, "no_member", "The load balancer has no member that takes new connections.";
    MalformedTunnel = 42, "malformed_tunnel", "The headers of a VXLAN or Geneve frame are truncated, fragmented, contradict each other, or have a wrong UDP checksum.";
    TunnelOption = 43, "tunnel_option", "The Geneve frame has a critical option that the gateway does not know.";
    UnknownPeer = 44, "unknown_peer", "The VXLAN or Geneve frame came from an address that is no peer's.";
    UnknownNetwork = 45, "unknown_network", "The VXLAN or Geneve frame is of a network that the gateway does not share with its sender, or the VLAN is no network's.";
    BlackHole = 46, "black_hole", "A static route of the router leads nowhere.";
}

#[cfg(test)]
mod tests {
    use super::DropReason;

    #[test]
    fn discriminants_index_the_counters() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{}", reason.label());
        }
    }
}
