//! Networks: a layer 2 domain with one IPv4 subnet and, if wanted, one IPv6 subnet; a tenant's own, or an external one
//! behind an uplink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::meta::{Kind, Object, Spec};
use crate::reader::{Reader, Refusal};
pub use crate::subnet::{IpPool, Ipv6Pool, Ipv6RaMode, Pool, RESERVATIONS_MAX, Reservation};
use crate::{subnet, value};

/// Smallest IP packet size in bytes that a network may be limited to (RFC 791).
pub const MTU_BYTES_MIN: u64 = 576;
/// Smallest for a network with IPv6 (RFC 8200).
pub const MTU_BYTES_IPV6_MIN: u16 = 1280;
/// Largest: what the dataplane's trunk carries with its tag.
pub const MTU_BYTES_MAX: u64 = 3400;
/// DNS servers of one network.
pub const DNS_SERVERS_MAX: usize = 4;
/// Routes announced to the hosts of one network.
pub const HOST_ROUTES_MAX: usize = 64;

/// A network as the API shows it.
pub type Network = Object<NetworkSpec>;

/// The fields of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// How its frames travel between hosts.
    #[serde(rename = "type")]
    pub network_type: NetworkType,
    /// VXLAN or Geneve network identifier, or VLAN tag; chosen by the server for tunnels where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_id: Option<u32>,
    /// The physical network that carries it: FLAT and VLAN only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physnet_name: Option<String>,
    /// Largest IP packet in bytes; where left out 1500, less for tunnels by what they add.
    pub mtu: u16,
    /// The IPv4 subnet.
    pub cidr: Ipv4Net,
    /// The gateway of its hosts; the first address of the subnet where left out.
    #[serde(default)]
    pub gateway_ip: Option<Ipv4Addr>,
    /// Hosts use the gateway for everything that is not local.
    pub default_route: bool,
    /// It is outside: reached by an uplink, its hosts found by ARP.
    pub external: bool,
    /// Where addresses are given out from; the whole subnet where left out.
    #[serde(default)]
    pub ip_pool: Option<IpPool>,
    /// Addresses that are given to nobody, whether the pool holds them or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reservations: Vec<Reservation>,
    /// The IPv6 subnet; none where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_cidr: Option<Ipv6Net>,
    /// The gateway of its hosts for IPv6; the first address of the subnet where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_gateway_ip: Option<Ipv6Addr>,
    /// Where IPv6 addresses are given out from; the whole subnet where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_ip_pool: Option<Ipv6Pool>,
    /// How its hosts get their IPv6 addresses and settings; stateful where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_ra_mode: Option<Ipv6RaMode>,
    /// Name servers of its hosts.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// Further routes of its hosts.
    #[serde(default)]
    pub host_routes: Vec<HostRoute>,
    /// Free text.
    #[serde(default)]
    pub description: String,
}

/// How the frames of a network travel between hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum NetworkType {
    /// In VXLAN tunnels.
    Vxlan,
    /// In Geneve tunnels.
    Geneve,
    /// With a VLAN tag on a physical network.
    Vlan,
    /// As they are on a physical network.
    Flat,
}

impl NetworkType {
    /// The MTU of a network of this type that names none: what an underlay of 1500 bytes leaves inside of a tunnel,
    /// whose outer Ethernet, IPv4, UDP and VXLAN or Geneve headers are 50 bytes.
    pub const fn mtu_default(self) -> u16 {
        match self {
            Self::Vxlan | Self::Geneve => 1450,
            Self::Vlan | Self::Flat => 1500,
        }
    }
}

/// A route that the hosts of a network learn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoute {
    /// Where to.
    pub destination: IpNet,
    /// By which host of the network.
    pub nexthop: IpAddr,
}

impl NetworkSpec {
    /// The gateway that holds: the one given, else the first address of the subnet.
    pub fn effective_gateway(&self) -> Ipv4Addr {
        self.gateway_ip.unwrap_or_else(|| subnet::first_host(self.cidr))
    }

    /// The pool that holds: the one given, else every address of the subnet that a host may have.
    pub fn effective_pool(&self) -> IpPool {
        self.ip_pool.unwrap_or_else(|| subnet::hosts(self.cidr))
    }

    /// The gateway that holds for IPv6, none without an IPv6 subnet.
    pub fn effective_ipv6_gateway(&self) -> Option<Ipv6Addr> {
        let cidr = self.ipv6_cidr?;
        Some(self.ipv6_gateway_ip.unwrap_or_else(|| subnet::first_ipv6_host(cidr)))
    }

    /// The pool that holds for IPv6, none without an IPv6 subnet.
    pub fn effective_ipv6_pool(&self) -> Option<Ipv6Pool> {
        let cidr = self.ipv6_cidr?;
        Some(self.ipv6_ip_pool.unwrap_or_else(|| subnet::ipv6_hosts(cidr)))
    }

    /// How the hosts of a tenant network get their IPv6 addresses and settings; none without an IPv6 subnet.
    pub fn effective_ipv6_ra_mode(&self) -> Ipv6RaMode {
        let is_told = self.ipv6_cidr.is_some() && !self.external;
        if is_told { self.ipv6_ra_mode.unwrap_or(Ipv6RaMode::Stateful) } else { Ipv6RaMode::None }
    }

    /// Why a host of this network cannot have `address`, or None.
    pub fn refuse_host(&self, address: impl Into<IpAddr>) -> Option<Refusal> {
        let address = address.into();
        let (cidr, edge, gateway) = match address {
            IpAddr::V4(address) => {
                let edge = address == self.cidr.network() || address == self.cidr.broadcast();
                (IpNet::V4(self.cidr), edge, address == self.effective_gateway())
            }
            IpAddr::V6(address) => {
                let Some(cidr) = self.ipv6_cidr else {
                    let message = format!("{address} is IPv6, and the network has no IPv6 subnet");
                    return Some(Refusal::new("outside_cidr", message, "set the network's ipv6_cidr first"));
                };
                let gateway = self.effective_ipv6_gateway() == Some(address);
                (IpNet::V6(cidr), address == cidr.network(), gateway)
            }
        };
        let reserved = |message| Some(Refusal { code: "reserved_address", message, hint: None });
        if !cidr.contains(&address) {
            let message = format!("{address} is not in the network's {cidr}");
            return Some(Refusal::new("outside_cidr", message, format!("an address of {cidr}")));
        }
        if edge {
            return reserved(format!(
                "{address} is the first or last address of {cidr}, which no host can have"
            ));
        }
        if gateway {
            return reserved(format!("{address} is the network's gateway"));
        }
        match self.reservations.iter().find(|reservation| reservation.contains(address)) {
            Some(range) => reserved(format!("{address} is in the network's reservation {range}")),
            None => None,
        }
    }
}

impl Spec for NetworkSpec {
    const KIND: Kind = Kind::Network;
    const MAY_BE_SHARED: bool = true;

    /// Every project reaches the outside by the external networks.
    fn is_shared(&self) -> bool {
        self.external
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let network_type = read_type(reader);
        let external = reader.optional("external", value::boolean).unwrap_or(false);
        let segment_id = read_segment(reader, network_type);
        let physnet_name = read_physnet(reader, network_type, external);
        let mtu = reader.optional("mtu", |mtu| value::integer(mtu, MTU_BYTES_MIN, MTU_BYTES_MAX));
        let cidr = reader.required("cidr", "`10.0.0.0/24`", subnet::ipv4_subnet);
        let gateway_ip = reader.optional("gateway_ip", value::ipv4);
        let examples = ["`10.0.0.10`", "`10.0.0.200`"];
        let ip_pool = reader.object("ip_pool", |pool| IpPool::read(pool, examples, value::ipv4));
        let reservations =
            reader.objects("reservations", RESERVATIONS_MAX, Reservation::read).unwrap_or_default();
        let ipv6_cidr = reader.optional("ipv6_cidr", subnet::ipv6_subnet);
        let ipv6_gateway_ip = reader.optional("ipv6_gateway_ip", value::ipv6);
        let examples = ["`fd00::10`", "`fd00::ffff`"];
        let ipv6_ip_pool = reader.object("ipv6_ip_pool", |pool| Ipv6Pool::read(pool, examples, value::ipv6));
        let ipv6_ra_mode = reader.optional("ipv6_ra_mode", |mode| value::word(mode, &Ipv6RaMode::WORDS));
        let default_route = reader.optional("default_route", value::boolean).unwrap_or(true);
        let dns = reader.list("dns", DNS_SERVERS_MAX, value::ip).unwrap_or_default();
        let host_routes = reader.objects("host_routes", HOST_ROUTES_MAX, read_host_route).unwrap_or_default();
        let description = reader.optional("description", value::description).unwrap_or_default();
        // Sent by EdgeStack's console for networks of its app store, which there are none of here.
        reader.optional("networktype_app", not_an_app_network);
        let network_type = network_type?;
        let spec = Self {
            network_type,
            segment_id,
            physnet_name,
            mtu: mtu.map_or(network_type.mtu_default(), |mtu| mtu as u16),
            cidr: cidr?,
            gateway_ip,
            default_route,
            external,
            ip_pool,
            reservations,
            ipv6_cidr,
            ipv6_gateway_ip,
            ipv6_ip_pool,
            ipv6_ra_mode,
            dns,
            host_routes,
            description,
        };
        spec.check(reader);
        spec.check_ipv6(reader);
        spec.check_lists(reader);
        reader.is_clean().then_some(spec)
    }
}

impl NetworkSpec {
    /// Checks how the fields of the IPv4 subnet fit together.
    fn check(&self, reader: &mut Reader<'_>) {
        let outside = |address| subnet::refuse_outside(self.cidr, address);
        if let Some(refusal) = self.gateway_ip.and_then(outside) {
            reader.refuse("gateway_ip", refusal);
        }
        if let Some(pool) = self.ip_pool {
            pool.check("ip_pool", reader, outside);
        }
    }

    /// Checks how the fields of the IPv6 subnet fit together.
    fn check_ipv6(&self, reader: &mut Reader<'_>) {
        let Some(cidr) = self.ipv6_cidr else {
            if reader.has("ipv6_cidr") {
                return; // Refused, and said so.
            }
            for key in ["ipv6_gateway_ip", "ipv6_ip_pool", "ipv6_ra_mode"] {
                if reader.has(key) {
                    let message = format!("`{key}` is of an IPv6 subnet, and the network has none");
                    reader
                        .refuse(key, Refusal::new("not_allowed", message, "set ipv6_cidr, or leave it out"));
                }
            }
            return;
        };
        let outside = |address| subnet::refuse_ipv6_outside(cidr, address);
        // The router upstream may be known by its link-local address alone.
        let gateway =
            self.ipv6_gateway_ip.filter(|gateway| !(self.external && gateway.is_unicast_link_local()));
        if let Some(refusal) = gateway.and_then(outside) {
            reader.refuse("ipv6_gateway_ip", refusal);
        }
        if let Some(pool) = self.ipv6_ip_pool {
            pool.check("ipv6_ip_pool", reader, outside);
        }
        self.check_ipv6_ra_mode(cidr, reader);
        if self.mtu < MTU_BYTES_IPV6_MIN {
            let message =
                format!("a network with IPv6 carries packets of {MTU_BYTES_IPV6_MIN} bytes at least");
            let hint = format!("from {MTU_BYTES_IPV6_MIN} to {MTU_BYTES_MAX}");
            reader.refuse("mtu", Refusal::new("out_of_range", message, hint));
        }
    }

    fn check_ipv6_ra_mode(&self, cidr: Ipv6Net, reader: &mut Reader<'_>) {
        if self.external && self.ipv6_ra_mode.is_some_and(|mode| mode != Ipv6RaMode::None) {
            let message = "the hosts of an external network listen to its own routers";
            reader.refuse("ipv6_ra_mode", Refusal::new("not_allowed", message, "leave it out"));
        } else if self.ipv6_ra_mode.is_some_and(Ipv6RaMode::is_autonomous)
            && cidr.prefix_len() != subnet::AUTONOMOUS_PREFIX_BITS
        {
            let bits = subnet::AUTONOMOUS_PREFIX_BITS;
            let message = format!("hosts make addresses of their own in a /{bits} only, and this is {cidr}");
            let hint = format!("make ipv6_cidr a /{bits}, or leave this out for addresses by DHCPv6");
            reader.refuse("ipv6_ra_mode", Refusal::new("mismatch", message, hint));
        }
    }

    /// Checks the lists against the subnets, and their entries against each other.
    fn check_lists(&self, reader: &mut Reader<'_>) {
        for (index, range) in self.reservations.iter().enumerate() {
            let key = format!("reservations/{index}");
            let same_family = range.start.is_ipv4() == range.end.is_ipv4();
            if !same_family || range.start > range.end {
                let message = format!("{range} is no range");
                reader
                    .refuse(&key, Refusal::new("invalid_range", message, "the smaller address is the start"));
                continue;
            }
            for (end, address) in [("start", range.start), ("end", range.end)] {
                if let Some(refusal) = self.refuse_no_host(address) {
                    reader.refuse(&format!("{key}/{end}"), refusal);
                }
            }
            let earlier = self.reservations[..index].iter();
            if let Some(other) =
                earlier.clone().find(|other| range.start <= other.end && other.start <= range.end)
            {
                let message = format!("{range} overlaps {other}");
                reader.refuse(&key, Refusal::new("duplicate", message, "join the two"));
            }
        }
        for (index, server) in self.dns.iter().enumerate() {
            if is_of_the_host(*server) {
                let message =
                    format!("{server} is no name server's: it would be asked on the gateway itself");
                let hint = "an address that the gateway reaches in its network";
                reader.refuse(&format!("dns/{index}"), Refusal::new("not_allowed", message, hint));
            }
            if self.dns[..index].contains(server) {
                let message = format!("{server} stands twice in the list");
                reader.refuse(&format!("dns/{index}"), Refusal::new("duplicate", message, "leave one out"));
            }
        }
        for (index, route) in self.host_routes.iter().enumerate() {
            let key = format!("host_routes/{index}/nexthop");
            if route.destination.network().is_ipv4() != route.nexthop.is_ipv4() {
                let message = format!("{} is not reached by {}", route.destination, route.nexthop);
                let hint = "destination and nexthop are both IPv4 or both IPv6";
                reader.refuse(&key, Refusal::new("mismatch", message, hint));
            } else if let Some(refusal) = self.refuse_no_host(route.nexthop) {
                reader.refuse(&key, refusal);
            }
            if self.host_routes[..index].iter().any(|other| other.destination == route.destination) {
                let message = format!("there is a route to {} already", route.destination);
                let key = format!("host_routes/{index}/destination");
                reader.refuse(&key, Refusal::new("duplicate", message, "leave one out"));
            }
        }
    }

    /// Why an address is none of a host of either subnet, or None.
    fn refuse_no_host(&self, address: IpAddr) -> Option<Refusal> {
        match (address, self.ipv6_cidr) {
            (IpAddr::V4(address), _) => subnet::refuse_outside(self.cidr, address),
            (IpAddr::V6(address), Some(cidr)) => subnet::refuse_ipv6_outside(cidr, address),
            (IpAddr::V6(address), None) => {
                let message = format!("{address} is IPv6, and the network has no IPv6 subnet");
                Some(Refusal::new("outside_cidr", message, "set ipv6_cidr too"))
            }
        }
    }
}

const TYPES: [(&str, NetworkType); 4] = [
    ("VXLAN", NetworkType::Vxlan),
    ("GENEVE", NetworkType::Geneve),
    ("VLAN", NetworkType::Vlan),
    ("FLAT", NetworkType::Flat),
];

fn read_type(reader: &mut Reader<'_>) -> Option<NetworkType> {
    if !reader.has("type") {
        reader.ignore(&["type"]);
        return Some(NetworkType::Vxlan);
    }
    reader.optional("type", |value| value::word(value, &TYPES))
}

fn read_segment(reader: &mut Reader<'_>, network_type: Option<NetworkType>) -> Option<u32> {
    let maximum = match network_type {
        Some(NetworkType::Vlan) => 4094,
        _ => (1 << 24) - 1,
    };
    let segment = reader.optional("segment_id", |segment| match segment {
        Value::String(text) if text.trim().is_empty() => Ok(None),
        _ => value::integer(segment, 1, maximum).map(|segment| Some(segment as u32)),
    });
    let segment = segment.flatten();
    if network_type == Some(NetworkType::Flat) && segment.is_some() {
        let refusal = Refusal::new("not_allowed", "a FLAT network has no segment_id", "leave it out");
        reader.refuse("segment_id", refusal);
    }
    if network_type == Some(NetworkType::Vlan) && !reader.has("segment_id") {
        let refusal = Refusal::new("missing", "a VLAN network needs its tag as segment_id", "from 1 to 4094");
        reader.refuse("segment_id", refusal);
    }
    segment
}

fn read_physnet(
    reader: &mut Reader<'_>,
    network_type: Option<NetworkType>,
    external: bool,
) -> Option<String> {
    let physnet = reader.optional("physnet_name", value::reference);
    match network_type {
        Some(NetworkType::Vxlan | NetworkType::Geneve) if physnet.is_some() => {
            let hint = "leave it out, or use the type FLAT or VLAN";
            let refusal = Refusal::new("not_allowed", "a tunnel network has no physnet_name", hint);
            reader.refuse("physnet_name", refusal);
        }
        Some(NetworkType::Vxlan | NetworkType::Geneve) if external => {
            let message = "only a FLAT or VLAN network can be external";
            reader.refuse("external", Refusal::new("not_allowed", message, "set type to FLAT or VLAN"));
        }
        Some(_) | None => {}
    }
    let is_physical = matches!(network_type, Some(NetworkType::Flat | NetworkType::Vlan));
    if external && is_physical && !reader.has("physnet_name") {
        let message = "an external network needs the physnet_name of the uplink that carries it";
        let hint = "the `physical_network` of an [[uplink]] in edgestackd.toml";
        reader.refuse("physnet_name", Refusal::new("missing", message, hint));
    }
    physnet
}

fn read_host_route(reader: &mut Reader<'_>) -> Option<HostRoute> {
    let destination = reader.required("destination", "`10.1.0.0/16`", value::any_cidr);
    let nexthop = reader.required("nexthop", "`10.0.0.254`", value::ip);
    Some(HostRoute { destination: destination?, nexthop: nexthop? })
}

fn not_an_app_network(value: &Value) -> Result<(), Refusal> {
    if value::boolean(value)? {
        return Err(Refusal::new("unsupported", "there are no app networks here", "leave it out"));
    }
    Ok(())
}

/// Whether an address is one that means the host where it is used, or everybody: name servers are asked from the gateway's
/// host, which must not be talked into asking itself.
fn is_of_the_host(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    address.is_loopback() || address.is_unspecified() || address.is_multicast() || is_link_local
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Ipv6RaMode, NetworkSpec, NetworkType};
    use crate::meta::tests::{accepted, refusals};

    #[test]
    fn the_body_of_edgestacks_console_is_read() {
        let draft = accepted::<NetworkSpec>(&json!({"network": {
            "name": "tenant", "type": "vxlan", "segment_id": "100", "mtu": 1450, "cidr": "10.0.0.0/24",
            "gateway_ip": "10.0.0.1", "default_route": true, "external": false, "networktype_app": false,
            "ip_pool": {"start": "10.0.0.10", "end": "10.0.0.200"}, "dns": ["8.8.8.8"],
            "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.254"}], "description": "x"
        }}));
        assert_eq!(draft.name.as_deref(), Some("tenant"));
        assert_eq!(draft.spec.network_type, NetworkType::Vxlan);
        assert_eq!(draft.spec.segment_id, Some(100));
    }

    #[test]
    fn little_is_required_and_the_rest_has_defaults() {
        let spec = accepted::<NetworkSpec>(&json!({"network": {"name": "a", "cidr": "10.0.0.0/24"}})).spec;
        assert_eq!(spec.effective_gateway().to_string(), "10.0.0.1");
        let pool = spec.effective_pool();
        assert_eq!((pool.start.to_string(), pool.end.to_string()), ("10.0.0.1".into(), "10.0.0.254".into()));
        assert_eq!((spec.mtu, spec.default_route, spec.external), (1450, true, false));
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let found = refusals::<NetworkSpec>(&json!({"network": {
            "name": "Wrong Name", "type": "GRE", "segment_id": 16_777_216, "mtu": 100, "cidr": "10.0.0.5/24",
            "gateway_ip": "10.0.0", "ip_pool": {"start": "x"}, "dns": "8.8.8.8", "gatewayIp": "10.0.0.1"
        }}));
        let wanted = [
            ("/network/name", "invalid_name"),
            ("/network/type", "invalid_value"),
            ("/network/segment_id", "out_of_range"),
            ("/network/mtu", "out_of_range"),
            ("/network/cidr", "invalid_cidr"),
            ("/network/gateway_ip", "invalid_address"),
            ("/network/ip_pool/start", "invalid_address"),
            ("/network/ip_pool/end", "missing"),
            ("/network/dns", "wrong_type"),
            ("/network/gatewayIp", "unknown_field"),
        ];
        assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    }

    fn refuse_each(cases: &[(Value, &str, &str)]) {
        for (change, pointer, code) in cases {
            let mut body = json!({"network": {"name": "a", "cidr": "10.0.0.0/24"}});
            body["network"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let wanted = [((*pointer).to_owned(), (*code).to_owned())];
            assert_eq!(refusals::<NetworkSpec>(&body), wanted, "{body}");
        }
    }

    #[test]
    fn fields_must_fit_together() {
        let cases = [
            (json!({"gateway_ip": "10.0.1.1"}), "/network/gateway_ip", "outside_cidr"),
            (json!({"gateway_ip": "10.0.0.255"}), "/network/gateway_ip", "outside_cidr"),
            (
                json!({"ip_pool": {"start": "10.0.0.9", "end": "10.0.1.9"}}),
                "/network/ip_pool/end",
                "outside_cidr",
            ),
            (
                json!({"ip_pool": {"start": "10.0.0.9", "end": "10.0.0.3"}}),
                "/network/ip_pool",
                "invalid_range",
            ),
            (json!({"type": "FLAT", "segment_id": 5}), "/network/segment_id", "not_allowed"),
            (json!({"type": "VLAN"}), "/network/segment_id", "missing"),
            (json!({"type": "VLAN", "segment_id": 4095}), "/network/segment_id", "out_of_range"),
            (json!({"external": true}), "/network/external", "not_allowed"),
            (json!({"type": "FLAT", "external": true}), "/network/physnet_name", "missing"),
            (json!({"type": "VLAN", "segment_id": 10, "external": true}), "/network/physnet_name", "missing"),
            (json!({"type": "VLAN", "segment_id": 0}), "/network/segment_id", "out_of_range"),
            (json!({"physnet_name": "wan"}), "/network/physnet_name", "not_allowed"),
            (json!({"cidr": "10.0.0.0/31"}), "/network/cidr", "out_of_range"),
            (json!({"cidr": "224.0.0.0/24"}), "/network/cidr", "invalid_cidr"),
            (json!({"cidr": "fd00::/64"}), "/network/cidr", "unsupported"),
            (
                json!({"host_routes": [{"destination": "0.0.0.0/0", "nexthop": "1.1.1.1"}]}),
                "/network/host_routes/0/nexthop",
                "outside_cidr",
            ),
        ];
        refuse_each(&cases);
    }

    #[test]
    fn lists_and_ipv6_fields_must_fit_together() {
        let cases = [
            (
                json!({"host_routes": [{"destination": "fd01::/64", "nexthop": "10.0.0.9"}]}),
                "/network/host_routes/0/nexthop",
                "mismatch",
            ),
            (
                json!({"host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"},
                    {"destination": "10.9.0.0/16", "nexthop": "10.0.0.8"}]}),
                "/network/host_routes/1/destination",
                "duplicate",
            ),
            (json!({"dns": ["9.9.9.9", "9.9.9.9"]}), "/network/dns/1", "duplicate"),
            (json!({"dns": ["127.0.0.53"]}), "/network/dns/0", "not_allowed"),
            (json!({"dns": ["9.9.9.9", "::ffff:127.0.0.1"]}), "/network/dns/1", "not_allowed"),
            (json!({"dns": ["169.254.169.254"]}), "/network/dns/0", "not_allowed"),
            (
                json!({"reservations": [{"start": "10.0.0.9", "end": "10.0.1.1"}]}),
                "/network/reservations/0/end",
                "outside_cidr",
            ),
            (
                json!({"reservations": [{"start": "10.0.0.9", "end": "10.0.0.3"}]}),
                "/network/reservations/0",
                "invalid_range",
            ),
            (
                json!({"reservations": [{"start": "10.0.0.3", "end": "10.0.0.9"}, {"start": "10.0.0.9"}]}),
                "/network/reservations/1",
                "duplicate",
            ),
            (json!({"ipv6_gateway_ip": "fd00::1"}), "/network/ipv6_gateway_ip", "not_allowed"),
            (json!({"ipv6_cidr": "10.0.0.0/24"}), "/network/ipv6_cidr", "invalid_cidr"),
            (json!({"ipv6_ra_mode": "slaac"}), "/network/ipv6_ra_mode", "not_allowed"),
            (
                json!({"ipv6_cidr": "fd00::/64", "ipv6_ra_mode": "dhcp"}),
                "/network/ipv6_ra_mode",
                "invalid_value",
            ),
            (
                json!({"ipv6_cidr": "fd00::/80", "ipv6_ra_mode": "stateless"}),
                "/network/ipv6_ra_mode",
                "mismatch",
            ),
            (
                json!({"ipv6_cidr": "fd00::/64", "ipv6_ra_mode": "slaac", "type": "FLAT", "external": true,
                    "physnet_name": "wan"}),
                "/network/ipv6_ra_mode",
                "not_allowed",
            ),
            (
                json!({"ipv6_cidr": "fd00::/64", "ipv6_gateway_ip": "fe80::1"}),
                "/network/ipv6_gateway_ip",
                "outside_cidr",
            ),
            (
                json!({"ipv6_cidr": "fd00::/64", "ipv6_ip_pool": {"start": "fd00::9", "end": "fd00::3"}}),
                "/network/ipv6_ip_pool",
                "invalid_range",
            ),
            (json!({"ipv6_cidr": "fd00::/64", "mtu": 1279}), "/network/mtu", "out_of_range"),
        ];
        refuse_each(&cases);
    }

    #[test]
    fn an_ipv6_subnet_has_defaults_too() {
        let spec = |change: Value| {
            let mut body =
                json!({"network": {"name": "a", "cidr": "10.0.0.0/24", "ipv6_cidr": "fd00:0:0:1::/64"}});
            body["network"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            accepted::<NetworkSpec>(&body).spec
        };
        let plain = spec(json!({}));
        assert_eq!(plain.effective_ipv6_gateway().unwrap().to_string(), "fd00:0:0:1::1");
        let pool = plain.effective_ipv6_pool().unwrap();
        assert_eq!(pool.to_string(), "fd00:0:0:1::1 to fd00::1:ffff:ffff:ffff:ffff");
        assert_eq!(plain.effective_ipv6_ra_mode(), Ipv6RaMode::Stateful);
        assert_eq!(spec(json!({"ipv6_ra_mode": "slaac"})).effective_ipv6_ra_mode(), Ipv6RaMode::Slaac);
        let code = |spec: &NetworkSpec, address: &str| {
            spec.refuse_host(address.parse::<std::net::IpAddr>().unwrap()).map(|refusal| refusal.code)
        };
        let kept = spec(json!({"reservations": [{"start": "fd00:0:0:1::10", "end": "fd00:0:0:1::1f"}],
            "dns": ["9.9.9.9", "2620:fe::fe"],
            "host_routes": [{"destination": "fd01::/64", "nexthop": "fd00:0:0:1::9"}]}));
        assert_eq!(code(&kept, "fd00:0:0:1::10"), Some("reserved_address"));
        assert_eq!(code(&kept, "fd00:0:0:1::1"), Some("reserved_address"), "the gateway");
        assert_eq!(code(&kept, "fd00:0:0:2::1"), Some("outside_cidr"));
        assert_eq!(code(&kept, "fd00:0:0:1::20"), None);
        let outside =
            json!({"type": "FLAT", "external": true, "physnet_name": "wan", "ipv6_gateway_ip": "fe80::1"});
        assert_eq!(spec(outside).effective_ipv6_gateway().unwrap().to_string(), "fe80::1");
    }

    #[test]
    fn tunnels_leave_room_for_their_headers() {
        for (network_type, mtu) in [("VXLAN", 1450), ("GENEVE", 1450), ("FLAT", 1500)] {
            let body = json!({"network": {"name": "a", "cidr": "10.0.0.0/24", "type": network_type}});
            assert_eq!(accepted::<NetworkSpec>(&body).spec.mtu, mtu, "{network_type}");
        }
    }

    #[test]
    fn the_wrapper_is_asked_for() {
        let found = refusals::<NetworkSpec>(&json!({"name": "a"}));
        assert_eq!(found[0], (String::new(), "missing".to_owned()));
        assert_eq!(refusals::<NetworkSpec>(&json!([]))[0].1, "wrong_type");
    }
}
