//! What the dataplane tells about itself: the records behind `edgectl network-cli` and the inspection API.
//!
//! Plain data with names in place of numbers; made on request by the control thread, never on the packet path.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::address::MacAddress;

/// A port and its counters since the daemon's tables were made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortView {
    /// Number in the port table.
    pub number: u16,
    /// Identifier in the configuration.
    pub id: String,
    /// Name in the configuration.
    pub name: String,
    /// `workload` or `uplink`.
    pub kind: String,
    /// Name of its network.
    pub network: String,
    /// Interface it is plugged into.
    pub interface: Option<String>,
    /// `up`, `down`, or `waiting`: why the port carries nothing is in `reason`.
    pub state: String,
    /// Empty while up.
    pub reason: String,
    /// `xdp`, `xdp+tc`, `tc` or `none`.
    pub attached: String,
    /// Largest IP packet.
    pub mtu: u16,
    /// MAC address of a workload.
    pub mac_address: Option<MacAddress>,
    /// IP address of a workload.
    pub ip_address: Option<Ipv4Addr>,
    /// The port's epoch.
    pub epoch: u32,
    /// Traffic.
    pub counters: PortCountersView,
}

/// Counters of one port: tier 0 and the engine apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortCountersView {
    /// Packets received and forwarded by tier 0.
    pub tier0_packets: u64,
    /// Bytes of those.
    pub tier0_bytes: u64,
    /// Packets received by the engine.
    pub engine_packets: u64,
    /// Bytes of those.
    pub engine_bytes: u64,
    /// Packets sent, by both.
    pub transmitted_packets: u64,
    /// Bytes of those.
    pub transmitted_bytes: u64,
    /// Packets received and dropped, by both.
    pub dropped_packets: u64,
}

/// Which connections are meant: those that all of what is given holds for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowFilter {
    /// Name or number of the IP protocol.
    pub protocol: Option<String>,
    /// An address of any side, as received or as translated.
    pub address: Option<IpAddr>,
    /// A transport port, or ICMP identifier, of any side, as received or as translated.
    pub transport_port: Option<u16>,
    /// State of the connection.
    pub state: Option<String>,
    /// Name or id of a port of the gateway, on any side.
    pub port: Option<String>,
    /// Project of a workload, on any side.
    pub project: Option<String>,
}

/// One direction of a connection, as the table holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowView {
    /// Number of the session.
    pub session: u32,
    /// `original` or `reply`.
    pub direction: String,
    /// `tcp`, `udp`, `icmp`.
    pub protocol: String,
    /// State of the connection.
    pub state: String,
    /// Name of the ingress port.
    pub in_port: String,
    /// As received: `address:port`.
    pub source: String,
    /// As received: `address:port`.
    pub destination: String,
    /// As sent, empty where not translated.
    pub translated_source: String,
    /// As sent, empty where not translated.
    pub translated_destination: String,
    /// Name of the egress port.
    pub out_port: String,
    /// Tier 0 forwards it.
    pub tier0: bool,
    /// Packets, and of these the ones that tier 0 forwarded.
    pub packets: u64,
    /// Of `packets`, those that tier 0 forwarded.
    pub tier0_packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Seconds since the last packet.
    pub idle_seconds: f64,
}

/// A translation in use or configured, and what it has carried since the engine started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatView {
    /// `snat` or `floating_ip`.
    pub kind: String,
    /// Identifier of the floating IP, of the pool that the address is of, or of the router whose own it is.
    #[serde(default)]
    pub id: String,
    /// Identifier of the router.
    #[serde(default)]
    pub router_id: String,
    /// Name of the router.
    pub router: String,
    /// External address.
    pub external_ip: Ipv4Addr,
    /// Address behind it, for a floating IP.
    pub internal_ip: Option<Ipv4Addr>,
    /// Sessions that use it.
    pub sessions: u64,
    /// Packets to the outside, of sessions that have ended too.
    pub packets_out: u64,
    /// Packets from outside.
    pub packets_in: u64,
    /// Bytes of the packets to the outside.
    #[serde(default)]
    pub bytes_out: u64,
    /// Bytes of those from outside.
    #[serde(default)]
    pub bytes_in: u64,
    /// Of an address that sources leave with: ports in use towards the remote endpoint that has most.
    #[serde(default)]
    pub ports_used: u64,
    /// Ports that may be in use towards one.
    #[serde(default)]
    pub ports_max: u64,
    /// From so many on they are nearly exhausted.
    #[serde(default)]
    pub ports_high_water: u64,
    /// They are.
    #[serde(default)]
    pub nearly_exhausted: bool,
}

/// A load balancer with its members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerView {
    /// Identifier in the configuration.
    pub id: String,
    /// Name.
    pub name: String,
    /// Name of its network.
    pub network: String,
    /// The virtual address.
    pub vip: IpAddr,
    /// The rules.
    #[serde(default)]
    pub rules: Vec<BalancerRuleView>,
    /// The members.
    pub members: Vec<MemberView>,
}

/// A rule of a load balancer, and what it has balanced since the engine started, of connections that have ended too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerRuleView {
    /// Identifier in the configuration.
    pub id: String,
    /// Name or number of the protocol, or `all`.
    pub protocol: String,
    /// First port, where ports matter.
    pub port_range_min: Option<u16>,
    /// Last port.
    pub port_range_max: Option<u16>,
    /// The members' port for the first, where it is another.
    pub target_port: Option<u16>,
    /// Sessions now.
    pub sessions: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes of those from clients.
    pub bytes_in: u64,
    /// Bytes of those to clients.
    pub bytes_out: u64,
}

/// A member of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// What it is known by: its address, with its port where it has one of its own.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// The port that it listens at, where that is its own.
    pub own_port: Option<u16>,
    /// Identifier of the workload's port; none while nobody has the address.
    pub port: Option<String>,
    /// The gateway's address in the member's network, which it is asked from.
    pub gateway: Option<IpAddr>,
    /// Its share of new connections.
    pub weight: u16,
    /// Only for when no other member takes connections.
    pub backup: bool,
    /// `healthy`, `unhealthy` or `unchecked`.
    pub health: String,
    /// It gets new connections now.
    pub takes: bool,
    /// Sessions with it.
    pub sessions: u64,
    /// Connections that it was given by the rules that are there.
    pub connections: u64,
    /// Packets of those from clients.
    pub packets_in: u64,
    /// Packets of those to clients.
    pub packets_out: u64,
    /// Bytes of those from clients.
    pub bytes_in: u64,
    /// Bytes of those to clients.
    pub bytes_out: u64,
}

/// A neighbour of an external network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighbourView {
    /// Name of the network.
    pub network: String,
    /// Its address.
    pub ip_address: IpAddr,
    /// MAC address, once known.
    pub mac_address: Option<MacAddress>,
    /// `reachable`, `resolving`, `failed` or `static`.
    pub state: String,
    /// Seconds since it was last heard of.
    pub age_seconds: f64,
}

/// Drops by reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropView {
    /// Label of the reason.
    pub reason: String,
    /// One sentence.
    pub description: String,
    /// Name of the stage that decided it; `tier0` for the kernel.
    pub stage: String,
    /// Packets.
    pub packets: u64,
}

/// Counters of the whole dataplane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CountersView {
    /// Packets forwarded by tier 0.
    pub tier0_packets: u64,
    /// Packets received by the engine.
    pub engine_packets: u64,
    /// Packets that the engine forwarded by a known flow.
    pub engine_hits: u64,
    /// Packets that the engine decided.
    pub engine_decisions: u64,
    /// Packets that the engine answered itself (ARP, ping, ICMP errors).
    pub engine_responses: u64,
    /// Packets dropped, by both.
    pub dropped_packets: u64,
    /// Sessions now.
    pub sessions: u64,
    /// Most sessions that there may be.
    pub sessions_max: u64,
    /// Sessions made since the tables were.
    pub sessions_created: u64,
    /// Sessions that ended by their timeout.
    pub sessions_expired: u64,
    /// Sessions that gave way to others.
    pub sessions_evicted: u64,
    /// Sessions that a change of configuration ended.
    pub sessions_revoked: u64,
    /// Times that the used ports of an external address have come to the high-water mark of its pool.
    #[serde(default)]
    pub nat_high_waters: u64,
    /// Packets of flows decided again after a change of configuration.
    pub revalidations: u64,
    /// Denied packets that were kept for the log.
    #[serde(default)]
    pub denials_logged: u64,
    /// Denied packets that were to be logged, and only counted.
    #[serde(default)]
    pub denials_suppressed: u64,
}

/// How often a rule of a security group has allowed a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleHitsView {
    /// The group's id.
    pub security_group_id: String,
    /// The group's name.
    pub security_group: String,
    /// The rule's id.
    pub id: String,
    /// Connections, each once when it is opened and once when it is decided again.
    pub hits: u64,
}

/// A packet that security groups denied, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenialView {
    /// Name of the port whose groups deny it.
    pub port: String,
    /// Names of its groups, joined by commas.
    pub security_groups: String,
    /// `ingress` or `egress`, seen from the port.
    pub direction: &'static str,
    /// The drop reason.
    pub reason: &'static str,
    /// IP protocol number.
    pub protocol: u8,
    /// Source address as received.
    pub source: IpAddr,
    /// Source port or ICMP identifier.
    pub source_port: u16,
    /// Destination address as received.
    pub destination: IpAddr,
    /// Destination port.
    pub destination_port: u16,
}

/// A described packet, to be traced through the pipeline without being sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// Name or id of the ingress port.
    pub port: String,
    /// Name or number of the protocol. Of SCTP it is an INIT.
    pub protocol: String,
    /// Source address; the port's own where left out.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port or ICMP identifier.
    #[serde(default)]
    pub source_port: u16,
    /// Destination port.
    #[serde(default)]
    pub destination_port: u16,
    /// TCP flags: any of `SAFRPU`; `S` where left out.
    #[serde(default)]
    pub tcp_flags: Option<String>,
    /// Source MAC address; the port's own where left out.
    #[serde(default)]
    pub source_mac: Option<MacAddress>,
    /// Destination MAC address; where left out the one that the workload would use: the destination's own on
    /// the same network, the gateway's else.
    #[serde(default)]
    pub destination_mac: Option<MacAddress>,
    /// Time to live; 64 where left out.
    #[serde(default)]
    pub ttl: Option<u8>,
    /// Length of the IP packet in bytes; the shortest that the protocol allows where left out.
    #[serde(default)]
    pub length: Option<u16>,
}

/// Which packets that pass are to be traced. Everything left out is anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveTraceRequest {
    /// Name or id of the port that they come in by.
    #[serde(default)]
    pub port: Option<String>,
    /// Name or number of the protocol; `icmp` is that of both versions.
    #[serde(default)]
    pub protocol: Option<String>,
    /// Source address as received.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// Destination address as received.
    #[serde(default)]
    pub destination: Option<IpAddr>,
    /// Source port.
    #[serde(default)]
    pub source_port: Option<u16>,
    /// Destination port.
    #[serde(default)]
    pub destination_port: Option<u16>,
    /// Number of packets after which it ends; 10 where left out.
    #[serde(default)]
    pub count: Option<u64>,
}

/// What became of a packet that passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveTraceView {
    /// Name of the port that it came in by.
    pub in_port: String,
    /// The packet as received, like tcpdump prints it.
    pub packet: String,
    /// Records that were lost so far because the reader was slow.
    pub lost_packets: u64,
    /// How it was decided on.
    pub report: TraceReport,
}

/// What would happen to a described packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceReport {
    /// `forward`, `drop`, `respond` or `hold` (waiting for ARP).
    pub verdict: String,
    /// Label of the drop reason, for `drop`.
    pub reason: Option<String>,
    /// Name of the egress port, for `forward`.
    pub out_port: Option<String>,
    /// The packet as it would leave, like tcpdump prints it.
    pub packet_out: Option<String>,
    /// Every stage that it went through, in order.
    pub steps: Vec<TraceStep>,
}

/// One stage of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// Name of the stage.
    pub stage: String,
    /// What it decided, naming the rule, route or mapping.
    pub decision: String,
}
