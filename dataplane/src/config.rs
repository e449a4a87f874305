//! What the dataplane is told to do: ports, networks, routers, floating IPs and security groups.
//!
//! A [`Config`] is whole: it describes everything that should hold, not a change. The daemon's reconciler builds
//! one from the stored objects, the conformance cases read one from a file, and `Snapshot::compile` checks it
//! and turns it into the tables that packets are decided by. Nothing here touches a packet.
//!
//! Objects refer to each other by [`Id`]; names are only for people (traces, counters, messages). Each is shared: an
//! object that is the same allocation as in the configuration before is known to be unchanged without a look.

mod nat;
mod overlay;
mod route;
mod services;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::address::{Cidr, MacAddress};

pub use nat::{NatFiltering, NatMapping, NatPool, PortForward};
pub use overlay::{Overlay, Peer, Segment};
pub use route::{SnatExemption, StaticRoute};
pub use services::{Advertisements, Dhcp, Dhcp6, Endpoint, HostRoute, Services};

/// Identifier of an object: any text, unique among the objects of its kind. The daemon uses UUIDs.
pub type Id = String;

/// The whole desired state of one host's dataplane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Networks of the tenants and external networks.
    pub networks: Vec<Arc<Network>>,
    /// Where packets enter and leave.
    pub ports: Vec<Arc<Port>>,
    /// Routers of the tenants.
    pub routers: Vec<Arc<Router>>,
    /// External addresses mapped one to one to addresses of tenants.
    pub floating_ips: Vec<Arc<FloatingIp>>,
    /// Addresses that stand for several workloads.
    pub load_balancers: Vec<Arc<LoadBalancer>>,
    /// Groups of firewall rules.
    pub security_groups: Vec<Arc<SecurityGroup>>,
    /// Sets of addresses that rules name.
    pub address_groups: Vec<Arc<AddressGroup>>,
    /// External addresses that sources leave with.
    pub nat_pools: Vec<Arc<NatPool>>,
    /// External ports that stand for workloads'.
    pub port_forwards: Vec<Arc<PortForward>>,
    /// What carries tenant networks between hosts.
    pub overlay: Option<Arc<Overlay>>,
}

/// A layer 2 network with one IPv4 subnet, and one of IPv6 where it has `ipv6_cidr`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Unique identifier.
    pub id: Id,
    /// Name for people.
    pub name: String,
    /// The IPv4 subnet, host bits zero.
    pub cidr: Cidr,
    /// Address of the gateway: served by the router for a tenant network, the upstream router's for an
    /// external one.
    #[serde(default)]
    pub gateway_ip: Option<Ipv4Addr>,
    /// The IPv6 subnet.
    #[serde(default)]
    pub ipv6_cidr: Option<Cidr>,
    /// Address of the gateway in the IPv6 subnet, as `gateway_ip`. Hosts reach it by its link-local address too.
    #[serde(default)]
    pub ipv6_gateway_ip: Option<Ipv6Addr>,
    /// Largest IP packet in bytes.
    #[serde(default = "default_mtu")]
    pub mtu: u16,
    /// The network is outside: reached by uplinks, its hosts found by ARP and neighbour discovery.
    #[serde(default)]
    pub external: bool,
    /// How its frames are told from those of other networks on their way; none: it needs no telling.
    #[serde(default)]
    pub segment: Option<Segment>,
    /// What the gateway serves the workloads of a tenant network.
    #[serde(default)]
    pub services: Services,
}

impl Network {
    /// A tenant's network with this subnet, named by its id, and the defaults for all else.
    pub fn new(id: impl Into<Id>, cidr: Cidr) -> Self {
        let id = id.into();
        Self {
            name: id.clone(),
            id,
            cidr,
            gateway_ip: None,
            ipv6_cidr: None,
            ipv6_gateway_ip: None,
            mtu: default_mtu(),
            external: false,
            segment: None,
            services: Services::default(),
        }
    }
}

/// A port of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Unique identifier.
    pub id: Id,
    /// Name for people.
    pub name: String,
    /// The network that the port belongs to.
    pub network: Id,
    /// Name of the host's interface; none while nothing is plugged in.
    #[serde(default)]
    pub interface: Option<String>,
    /// What is behind the port.
    pub kind: PortKind,
    /// How tier 0 is attached to the interface.
    #[serde(default)]
    pub attach: Attach,
    /// False: the port passes nothing.
    #[serde(default = "default_true")]
    pub admin_state_up: bool,
}

/// What is behind a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "type", rename_all = "snake_case")]
pub enum PortKind {
    /// A workload of a tenant.
    Workload(Workload),
    /// The way to an external network, or the one by which a tenant network is joined to a physical one.
    Uplink,
}

/// A VM, container or process of a tenant, with one MAC address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The workload's MAC address.
    pub mac_address: MacAddress,
    /// The workload's IP address.
    pub ip_address: Ipv4Addr,
    /// The workload's IPv6 address, in a network with an IPv6 subnet.
    #[serde(default)]
    pub ipv6_address: Option<Ipv6Addr>,
    /// Security groups, by id. None means that only ARP, and ping of the gateway, pass.
    #[serde(default)]
    pub security_groups: Vec<Id>,
    /// Further source addresses that the workload may use.
    #[serde(default)]
    pub allowed_address_pairs: Vec<AddressPair>,
    /// False turns anti-spoofing and security groups off.
    #[serde(default = "default_true")]
    pub port_security: bool,
    /// The other host that the workload runs on; none: this one. It is one of the overlay's peers, or any where the network is
    /// joined to a physical one.
    #[serde(default)]
    pub peer: Option<Id>,
}

impl Workload {
    /// A workload with these addresses, and the defaults for all else.
    pub fn new(mac_address: MacAddress, ip_address: Ipv4Addr) -> Self {
        Self {
            mac_address,
            ip_address,
            ipv6_address: None,
            security_groups: Vec::new(),
            allowed_address_pairs: Vec::new(),
            port_security: true,
            peer: None,
        }
    }
}

/// A further address of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressPair {
    /// Address or range.
    pub ip_address: Cidr,
    /// MAC address, the port's own where left out.
    #[serde(default)]
    pub mac_address: Option<MacAddress>,
}

/// How tier 0 is attached to a port's interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attach {
    /// XDP and TC for uplinks, TC for workloads.
    #[default]
    Auto,
    /// XDP: most packets per second. The interface must take redirected frames (on a veth: GRO on at the peer).
    Xdp,
    /// TC only: keeps segmentation offload.
    Tc,
}

/// A tenant's router.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Unique identifier.
    pub id: Id,
    /// Name for people.
    pub name: String,
    /// The router's own MAC address, on all its networks.
    pub mac_address: MacAddress,
    /// Tenant networks that it connects. A network belongs to one router at most.
    #[serde(default)]
    pub networks: Vec<Id>,
    /// The way out, and the default route.
    #[serde(default)]
    pub external: Option<RouterExternal>,
    /// Legs in further external networks. Their hosts are reached directly, others by static routes.
    #[serde(default)]
    pub further_externals: Vec<RouterExternal>,
    /// Routes beside those to its networks and the default route.
    #[serde(default)]
    pub routes: Vec<StaticRoute>,
}

impl Router {
    /// A router with this MAC address between these networks, named by its id, and without a way out.
    pub fn new(id: impl Into<Id>, mac_address: MacAddress, networks: Vec<Id>) -> Self {
        let id = id.into();
        Self {
            name: id.clone(),
            id,
            mac_address,
            networks,
            external: None,
            further_externals: Vec::new(),
            routes: Vec::new(),
        }
    }

    /// All legs outside, that of the default route first.
    pub fn legs(&self) -> impl Iterator<Item = &RouterExternal> {
        self.external.iter().chain(&self.further_externals)
    }
}

/// A router's leg in an external network.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterExternal {
    /// The external network.
    pub network: Id,
    /// The router's address there.
    pub ip_address: Ipv4Addr,
    /// Sources without a floating IP leave with `ip_address`; false: they do not leave, or by `routed`.
    #[serde(default = "default_true")]
    pub enable_snat: bool,
    /// With `enable_snat` off: sources leave with addresses of their own, and outside reaches them by these, as with IPv6.
    /// Outside must have routes to the tenant's networks by `ip_address`.
    #[serde(default)]
    pub routed: bool,
    /// Towards these destinations sources keep their own addresses, whatever `enable_snat` says.
    #[serde(default)]
    pub snat_exemptions: Vec<SnatExemption>,
    /// The pool whose addresses sources leave with in place of `ip_address`. It serves one router.
    #[serde(default)]
    pub snat_pool: Option<Id>,
    /// Next hop of the default route; the network's gateway where left out.
    #[serde(default)]
    pub peer_ip: Option<Ipv4Addr>,
    /// MAC address of the next hop; found by ARP where left out.
    #[serde(default)]
    pub peer_mac: Option<MacAddress>,
    /// The router's IPv6 address there. IPv6 is routed, never translated: outside must have routes to the tenant's
    /// networks by this address.
    #[serde(default)]
    pub ipv6_address: Option<Ipv6Addr>,
    /// Next hop of the IPv6 default route; the network's IPv6 gateway where left out.
    #[serde(default)]
    pub ipv6_peer_ip: Option<Ipv6Addr>,
}

impl RouterExternal {
    /// A leg with this address that translates sources, and the defaults for all else.
    pub fn new(network: impl Into<Id>, ip_address: Ipv4Addr) -> Self {
        Self {
            network: network.into(),
            ip_address,
            enable_snat: true,
            routed: false,
            snat_exemptions: Vec::new(),
            snat_pool: None,
            peer_ip: None,
            peer_mac: None,
            ipv6_address: None,
            ipv6_peer_ip: None,
        }
    }
}

/// An external address that stands for one workload, for all ports and both directions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FloatingIp {
    /// Unique identifier.
    pub id: Id,
    /// The external address.
    pub floating_ip: Ipv4Addr,
    /// The external network that it belongs to.
    pub network: Id,
    /// The workload port and the router by which it is reached; none while not associated.
    #[serde(default)]
    pub target: Option<FloatingIpTarget>,
    /// In place of a workload: the load balancer that it stands for.
    #[serde(default)]
    pub load_balancer: Option<FloatingIpLoadBalancer>,
}

impl FloatingIp {
    /// A floating IP that stands for nobody yet.
    pub fn new(id: impl Into<Id>, network: impl Into<Id>, floating_ip: Ipv4Addr) -> Self {
        Self { id: id.into(), floating_ip, network: network.into(), target: None, load_balancer: None }
    }
}

/// What a floating IP stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FloatingIpTarget {
    /// The workload's port.
    pub port: Id,
    /// The router that connects the port's network to the external one.
    pub router: Id,
}

/// The load balancer that a floating IP stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FloatingIpLoadBalancer {
    /// The load balancer, whose virtual address is in a tenant network.
    pub load_balancer: Id,
    /// The router that connects that network to the external one.
    pub router: Id,
}

/// A virtual address whose connections are spread over members.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancer {
    /// Unique identifier.
    pub id: Id,
    /// Name for people.
    pub name: String,
    /// The network of the virtual address: a tenant's or an external one.
    pub network: Id,
    /// The virtual address.
    pub vip: IpAddr,
    /// The router that the members are behind and that answers for the address, when the network is external.
    #[serde(default)]
    pub router: Option<Id>,
    /// What is balanced; of other packets a ping is answered and nothing else.
    #[serde(default)]
    pub rules: Vec<LoadBalancerRule>,
    /// Who gets the connections.
    #[serde(default)]
    pub members: Vec<LoadBalancerMember>,
    /// New connections of a client go where its last one went, for so long after that; none: each goes its own way.
    #[serde(default)]
    pub affinity_seconds: Option<u32>,
    /// Clients are told by RST or ICMP when no member takes new connections; false: they hear nothing.
    #[serde(default)]
    pub reject: bool,
    /// False: no new connections.
    #[serde(default = "default_true")]
    pub admin_state_up: bool,
}

/// What a load balancer balances.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancerRule {
    /// Unique identifier.
    pub id: Id,
    /// IP protocol number; none is any. ICMP is the version's own.
    #[serde(default)]
    pub protocol: Option<u8>,
    /// Smallest port; none is any.
    #[serde(default)]
    pub port_range_min: Option<u16>,
    /// Largest port.
    #[serde(default)]
    pub port_range_max: Option<u16>,
    /// The members' port for `port_range_min`, those of the others follow; the same where left out.
    #[serde(default)]
    pub target_port: Option<u16>,
}

/// A member of a load balancer, known by its address and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancerMember {
    /// Its address. It need not exist yet.
    pub address: IpAddr,
    /// In place of the rules' target port.
    #[serde(default)]
    pub port: Option<u16>,
    /// Its share of connections; 0: it keeps those that it has and gets no more.
    #[serde(default = "default_weight")]
    pub weight: u16,
    /// It gets connections only while no other member does.
    #[serde(default)]
    pub backup: bool,
    /// False: as weight 0.
    #[serde(default = "default_true")]
    pub admin_state_up: bool,
}

impl LoadBalancerMember {
    /// A member at this address, and the defaults for all else.
    pub fn new(address: IpAddr) -> Self {
        Self { address, port: None, weight: default_weight(), backup: false, admin_state_up: true }
    }

    /// What it is known by: its address, with its port where it has one of its own.
    pub fn name(&self) -> String {
        match self.port {
            Some(port) => std::net::SocketAddr::new(self.address, port).to_string(),
            None => self.address.to_string(),
        }
    }
}

/// A stateful list of what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityGroup {
    /// Unique identifier.
    pub id: Id,
    /// Name for people.
    pub name: String,
    /// What is denied at a member is logged, within the engine's limit.
    #[serde(default)]
    pub log_denied: bool,
    /// The rules, in no order: one match allows.
    #[serde(default)]
    pub rules: Vec<SecurityGroupRule>,
}

/// One thing that is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityGroupRule {
    /// Unique identifier.
    pub id: Id,
    /// Seen from the workload.
    pub direction: Direction,
    /// The version of IP; none is both.
    #[serde(default)]
    pub ethertype: Option<Ethertype>,
    /// IP protocol number; none is any.
    #[serde(default)]
    pub protocol: Option<u8>,
    /// Smallest destination port (TCP, UDP, SCTP, UDP-Lite) or the ICMP type; none is any.
    #[serde(default)]
    pub port_range_min: Option<u16>,
    /// Largest destination port, or the ICMP code; none is any.
    #[serde(default)]
    pub port_range_max: Option<u16>,
    /// The other side; any where left out.
    #[serde(default)]
    pub remote: Remote,
}

impl SecurityGroupRule {
    /// A rule that allows everything of a direction.
    pub fn new(id: impl Into<Id>, direction: Direction) -> Self {
        Self {
            id: id.into(),
            direction,
            ethertype: None,
            protocol: None,
            port_range_min: None,
            port_range_max: None,
            remote: Remote::Any,
        }
    }
}

/// A set of addresses, named by rules. Its members change without the rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressGroup {
    /// Unique identifier.
    pub id: Id,
    /// Name for people.
    pub name: String,
    /// The members, in no order.
    #[serde(default)]
    pub addresses: Vec<Cidr>,
}

/// The version of IP that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ethertype {
    /// Version 4.
    #[serde(rename = "IPv4")]
    Ipv4,
    /// Version 6.
    #[serde(rename = "IPv6")]
    Ipv6,
}

/// Direction of a rule, seen from the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the workload.
    Ingress,
    /// From the workload.
    Egress,
}

/// The other side of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "type", rename_all = "snake_case")]
pub enum Remote {
    /// Everybody.
    #[default]
    Any,
    /// Addresses in a range.
    Cidr {
        /// The range.
        cidr: Cidr,
    },
    /// Workloads in a group, of the same router or network.
    Group {
        /// The group.
        group: Id,
    },
    /// Addresses in an address group.
    AddressGroup {
        /// The address group.
        address_group: Id,
    },
}

fn default_mtu() -> u16 {
    1500
}

fn default_weight() -> u16 {
    1
}

fn default_true() -> bool {
    true
}
