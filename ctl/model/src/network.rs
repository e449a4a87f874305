//! Networks: a layer 2 domain with one IPv4 subnet; a tenant's own, or an external one behind an uplink.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::meta::{Kind, Object, Spec};
use crate::reader::{Reader, Refusal};
use crate::value;

/// Smallest IP packet size in bytes that a network may be limited to (RFC 791).
pub const MTU_BYTES_MIN: u64 = 576;
/// Largest: what the dataplane's trunk carries with its tag.
pub const MTU_BYTES_MAX: u64 = 3400;
/// The MTU where none is given.
pub const MTU_BYTES_DEFAULT: u16 = 1500;
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
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// The subnet.
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
    /// Name servers of its hosts.
    #[serde(default)]
    pub dns: Vec<Ipv4Addr>,
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

/// A range of addresses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpPool {
    /// First address.
    pub start: Ipv4Addr,
    /// Last address.
    pub end: Ipv4Addr,
}

impl IpPool {
    /// Whether `address` is in the pool.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.start..=self.end).contains(&address)
    }
}

/// A route that the hosts of a network learn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoute {
    /// Where to.
    pub destination: Ipv4Net,
    /// By which host of the network.
    pub nexthop: Ipv4Addr,
}

impl NetworkSpec {
    /// The gateway that holds: the one given, else the first address of the subnet.
    pub fn effective_gateway(&self) -> Ipv4Addr {
        self.gateway_ip.unwrap_or_else(|| Ipv4Addr::from_bits(self.cidr.network().to_bits() + 1))
    }

    /// The pool that holds: the one given, else every address of the subnet that a host may have.
    pub fn effective_pool(&self) -> IpPool {
        self.ip_pool.unwrap_or_else(|| IpPool {
            start: Ipv4Addr::from_bits(self.cidr.network().to_bits() + 1),
            end: Ipv4Addr::from_bits(self.cidr.broadcast().to_bits() - 1),
        })
    }

    /// Why a host of this network cannot have `address`, or None.
    pub fn refuse_host(&self, address: Ipv4Addr) -> Option<Refusal> {
        let cidr = self.cidr;
        if !cidr.contains(&address) {
            let hint = format!("an address of {cidr}");
            return Some(Refusal::new(
                "outside_cidr",
                format!("{address} is not in the network's {cidr}"),
                hint,
            ));
        }
        if address == cidr.network() || address == cidr.broadcast() {
            let message = format!("{address} is the first or last address of {cidr}, which no host can have");
            return Some(Refusal { code: "reserved_address", message, hint: None });
        }
        if address == self.effective_gateway() {
            let message = format!("{address} is the network's gateway");
            return Some(Refusal { code: "reserved_address", message, hint: None });
        }
        None
    }
}

impl Spec for NetworkSpec {
    const KIND: Kind = Kind::Network;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let network_type = read_type(reader);
        let external = reader.optional("external", value::boolean).unwrap_or(false);
        let segment_id = read_segment(reader, network_type);
        let physnet_name = read_physnet(reader, network_type, external);
        let mtu = reader.optional("mtu", |mtu| value::integer(mtu, MTU_BYTES_MIN, MTU_BYTES_MAX));
        let cidr = reader.required("cidr", "`10.0.0.0/24`", subnet);
        let gateway_ip = reader.optional("gateway_ip", value::ipv4);
        let ip_pool = reader.object("ip_pool", |pool| {
            let start = pool.required("start", "`10.0.0.10`", value::ipv4);
            let end = pool.required("end", "`10.0.0.200`", value::ipv4);
            Some(IpPool { start: start?, end: end? })
        });
        let default_route = reader.optional("default_route", value::boolean).unwrap_or(true);
        let dns = reader.list("dns", DNS_SERVERS_MAX, value::ipv4).unwrap_or_default();
        let host_routes = reader.objects("host_routes", HOST_ROUTES_MAX, read_host_route).unwrap_or_default();
        let description = reader.optional("description", value::description).unwrap_or_default();
        // Sent by EdgeStack's console for networks of its app store, which there are none of here.
        reader.optional("networktype_app", not_an_app_network);
        let spec = Self {
            network_type: network_type?,
            segment_id,
            physnet_name,
            mtu: mtu.map_or(MTU_BYTES_DEFAULT, |mtu| mtu as u16),
            cidr: cidr?,
            gateway_ip,
            default_route,
            external,
            ip_pool,
            dns,
            host_routes,
            description,
        };
        spec.check(reader);
        reader.is_clean().then_some(spec)
    }
}

impl NetworkSpec {
    /// Checks how the fields fit together.
    fn check(&self, reader: &mut Reader<'_>) {
        let cidr = self.cidr;
        let outside = |address: Ipv4Addr| {
            let edge = address == cidr.network() || address == cidr.broadcast();
            (edge || !cidr.contains(&address)).then(|| {
                let message = format!("{address} is no host address of {cidr}");
                let first = Ipv4Addr::from_bits(cidr.network().to_bits() + 1);
                Refusal::new("outside_cidr", message, format!("such as {first}"))
            })
        };
        if let Some(refusal) = self.gateway_ip.and_then(outside) {
            reader.refuse("gateway_ip", refusal);
        }
        if let Some(pool) = self.ip_pool {
            for (key, address) in [("ip_pool/start", pool.start), ("ip_pool/end", pool.end)] {
                if let Some(refusal) = outside(address) {
                    reader.refuse(key, refusal);
                }
            }
            if pool.start > pool.end {
                let message = format!("the pool ends at {} before it starts at {}", pool.end, pool.start);
                reader.refuse("ip_pool", Refusal::new("invalid_range", message, "swap start and end"));
            }
        }
        for (index, route) in self.host_routes.iter().enumerate() {
            if let Some(refusal) = outside(route.nexthop) {
                reader.refuse(&format!("host_routes/{index}/nexthop"), refusal);
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
        Some(NetworkType::Flat) | None => {}
        Some(_) if external => {
            let hint = "set type to FLAT";
            reader
                .refuse("external", Refusal::new("not_allowed", "only a FLAT network can be external", hint));
        }
        Some(_) => {}
    }
    if external && network_type == Some(NetworkType::Flat) && !reader.has("physnet_name") {
        let message = "an external network needs the physnet_name of the uplink that carries it";
        let hint = "the `physical_network` of an [[uplink]] in edgestackd.toml";
        reader.refuse("physnet_name", Refusal::new("missing", message, hint));
    }
    physnet
}

fn read_host_route(reader: &mut Reader<'_>) -> Option<HostRoute> {
    let destination = reader.required("destination", "`10.1.0.0/16`", value::cidr);
    let nexthop = reader.required("nexthop", "`10.0.0.254`", value::ipv4);
    Some(HostRoute { destination: destination?, nexthop: nexthop? })
}

fn subnet(value: &Value) -> Result<Ipv4Net, Refusal> {
    let cidr = value::cidr(value)?;
    if !(8..=30).contains(&cidr.prefix_len()) {
        let message = format!(
            "a network of /{} is too {}",
            cidr.prefix_len(),
            if cidr.prefix_len() < 8 { "large" } else { "small" }
        );
        return Err(Refusal::new("out_of_range", message, "from /8 to /30"));
    }
    let first = cidr.network();
    if first.is_multicast()
        || first.is_loopback()
        || first.is_unspecified()
        || first.is_broadcast()
        || first.octets()[0] >= 240
    {
        let message = format!("{cidr} is no range that hosts can have");
        return Err(Refusal::new("invalid_cidr", message, "such as `10.0.0.0/24`"));
    }
    Ok(cidr)
}

fn not_an_app_network(value: &Value) -> Result<(), Refusal> {
    if value::boolean(value)? {
        return Err(Refusal::new("unsupported", "there are no app networks here", "leave it out"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{NetworkSpec, NetworkType};
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
        assert_eq!((spec.mtu, spec.default_route, spec.external), (1500, true, false));
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
        for (change, pointer, code) in cases {
            let mut body = json!({"network": {"name": "a", "cidr": "10.0.0.0/24"}});
            body["network"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            assert_eq!(refusals::<NetworkSpec>(&body), [(pointer.to_owned(), code.to_owned())], "{body}");
        }
    }

    #[test]
    fn the_wrapper_is_asked_for() {
        let found = refusals::<NetworkSpec>(&json!({"name": "a"}));
        assert_eq!(found[0], (String::new(), "missing".to_owned()));
        assert_eq!(refusals::<NetworkSpec>(&json!([]))[0].1, "wrong_type");
    }
}
