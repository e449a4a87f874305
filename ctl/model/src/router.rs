//! Routers: connect the networks of a tenant to each other and to external networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::MacAddress;
use crate::meta::{Kind, Object, Spec};
use crate::nat::{PORT_FORWARDS_MAX, PortForward, SNAT_EXEMPTIONS_MAX, SnatExemption, SnatPool};
use crate::port::refuse_repeated;
use crate::reader::{Reader, Refusal};
use crate::value;

/// Networks of one router.
pub const INTERNAL_NETWORKS_MAX: usize = 256;

/// External networks of one router beside the one of its default route.
pub const FURTHER_EXTERNALS_MAX: usize = 15;

/// Static routes of one router.
pub const ROUTES_MAX: usize = 256;

/// A router as the API shows it.
pub type Router = Object<RouterSpec>;

/// The fields of a router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouterSpec {
    /// The router's own MAC address on all its networks; made by the server where left out.
    #[serde(default)]
    pub mac: Option<MacAddress>,
    /// Hosts without a floating IP leave with the router's external address.
    pub enable_snat: bool,
    /// Names of the networks that it connects; ids are accepted too.
    #[serde(default)]
    pub internal: Vec<String>,
    /// The way out, and the default route.
    #[serde(default)]
    pub external: Option<RouterExternal>,
    /// Legs in further external networks. Their hosts are reached directly, others by `routes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_externals: Vec<RouterExternal>,
    /// The upstream router; the external network's gateway where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_router: Option<PeerRouter>,
    /// Where else packets go than to its own networks and out. The longest prefix decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<StaticRoute>,
    /// External ports that stand for ports of workloads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port_forwards: Vec<PortForward>,
    /// Free text.
    #[serde(default)]
    pub description: String,
}

/// A router's leg in an external network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterExternal {
    /// Name of the external network; an id is accepted too.
    pub network: String,
    /// The router's address there; the lowest free one of the network's pool where left out.
    #[serde(default)]
    pub ip: Option<Ipv4Addr>,
    /// The router's IPv6 address there, where the network has IPv6; the lowest free one of its pool where left out. IPv6 is
    /// routed without translation: outside must send what is for the internal networks to this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// With which addresses and ports sources leave; with the router's address and any port where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snat_pool: Option<SnatPool>,
    /// By this leg sources leave with addresses of their own, whatever `enable_snat` says, and are reached by these: outside must
    /// send what is for the internal networks to `ip`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub routed: bool,
    /// Towards these destinations sources keep their own addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snat_exemptions: Vec<SnatExemption>,
}

impl RouterExternal {
    /// A leg in a network, with the defaults for all else.
    pub fn new(network: String) -> Self {
        Self { network, ip: None, ipv6: None, snat_pool: None, routed: false, snat_exemptions: Vec::new() }
    }
}

impl RouterSpec {
    /// Its legs in external networks, that of the default route first, each with its field.
    pub fn legs(&self) -> impl Iterator<Item = (String, &RouterExternal)> {
        let further = self.further_externals.iter().enumerate();
        let further = further.map(|(index, leg)| (format!("further_externals/{index}"), leg));
        self.external.iter().map(|leg| ("external".to_owned(), leg)).chain(further)
    }

    /// Its leg in the external network of this name.
    pub fn leg_in(&self, network: &str) -> Option<&RouterExternal> {
        self.external.iter().chain(&self.further_externals).find(|leg| leg.network == network)
    }
}

/// A static route: by a host of one of the router's networks, or nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticRoute {
    /// Where to.
    pub destination: IpNet,
    /// By which host; none where packets are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nexthop: Option<IpAddr>,
    /// Packets are dropped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blackhole: bool,
    /// Of a black hole: senders are told by ICMP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reject: bool,
}

impl StaticRoute {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let destination = reader.required("destination", "`10.9.0.0/16`", value::any_cidr);
        let blackhole = reader.optional("blackhole", value::boolean).unwrap_or(false);
        let reject = reader.optional("reject", value::boolean).unwrap_or(false);
        let nexthop = reader.optional("nexthop", value::ip);
        if reject && !blackhole {
            let message = "only what goes nowhere is rejected";
            let hint = "set blackhole to true, or leave reject out";
            reader.refuse("reject", Refusal::new("not_allowed", message, hint));
        }
        if blackhole && nexthop.is_some() {
            let message = "packets to a black hole have no next hop";
            reader.refuse("nexthop", Refusal::new("not_allowed", message, "leave nexthop or blackhole out"));
        }
        if !blackhole && !reader.has("nexthop") {
            let hint = "such as `10.0.0.254`, or set blackhole to true";
            reader.refuse("nexthop", Refusal::new("missing", "a route needs its next hop", hint));
        }
        let destination = destination?;
        if let Some(nexthop) = nexthop
            && nexthop.is_ipv4() != destination.network().is_ipv4()
        {
            let message = format!("{destination} is not reached by {nexthop}");
            let hint = "destination and nexthop are both IPv4 or both IPv6";
            reader.refuse("nexthop", Refusal::new("mismatch", message, hint));
        }
        Some(Self { destination, nexthop, blackhole, reject })
    }
}

/// An upstream router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRouter {
    /// Its address in the external network.
    pub ip: Ipv4Addr,
    /// Its MAC address; found by ARP where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
}

impl PeerRouter {
    /// Reads the fields of a peer router.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let ip = reader.required("ip", "`203.0.113.1`", value::ipv4);
        let mac = reader.optional("mac", value::mac);
        Some(Self { ip: ip?, mac })
    }
}

impl Spec for RouterSpec {
    const KIND: Kind = Kind::Router;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mac = reader.optional("mac", value::mac);
        let enable_snat = reader.optional("enable_snat", value::boolean).unwrap_or(true);
        let internal = reader.list("internal", INTERNAL_NETWORKS_MAX, value::reference).unwrap_or_default();
        refuse_repeated(reader, "internal", &internal);
        let external = read_external(reader);
        let further_externals = reader.objects("further_externals", FURTHER_EXTERNALS_MAX, read_leg);
        let further_externals = further_externals.unwrap_or_default();
        if !further_externals.is_empty() && !reader.has("external") {
            let hint = "name the one of the default route in `external`";
            let refusal = Refusal::new("not_allowed", "a router with one leg has it in `external`", hint);
            reader.refuse("further_externals", refusal);
        }
        let peer_router = reader.object("peer_router", PeerRouter::read);
        if peer_router.is_some() && !reader.has("external") {
            let hint = "set `external`, or leave `peer_router` out";
            let refusal =
                Refusal::new("not_allowed", "a peer router is reached by the external network", hint);
            reader.refuse("peer_router", refusal);
        }
        let routes = reader.objects("routes", ROUTES_MAX, StaticRoute::read).unwrap_or_default();
        for (index, route) in routes.iter().enumerate() {
            if routes[..index].iter().any(|other| other.destination == route.destination) {
                let message = format!("there is a route to {} already", route.destination);
                let refusal = Refusal::new("duplicate", message, "leave one out");
                reader.refuse(&format!("routes/{index}/destination"), refusal);
            }
        }
        let port_forwards =
            reader.objects("port_forwards", PORT_FORWARDS_MAX, PortForward::read).unwrap_or_default();
        if !port_forwards.is_empty() && !reader.has("external") {
            let hint = "set `external`, or leave `port_forwards` out";
            let refusal = Refusal::new("not_allowed", "ports are forwarded from the external network", hint);
            reader.refuse("port_forwards", refusal);
        }
        let description = reader.optional("description", value::description).unwrap_or_default();
        let spec = Self {
            mac,
            enable_snat,
            internal,
            external,
            further_externals,
            peer_router,
            routes,
            port_forwards,
            description,
        };
        reader.is_clean().then_some(spec)
    }
}

/// `external` is an object, a list of one such object (as EdgeStack's controller writes it), the name or id of a
/// network (as its console does), or an empty text or list for none.
fn read_external(reader: &mut Reader<'_>) -> Option<RouterExternal> {
    match reader.raw("external")? {
        Value::String(text) if text.is_empty() => None,
        Value::String(_) => {
            let network = reader.optional("external", value::reference)?;
            Some(RouterExternal::new(network))
        }
        Value::Array(_) => reader.objects("external", 1, read_leg)?.pop(),
        _ => reader.object("external", read_leg),
    }
}

fn read_leg(reader: &mut Reader<'_>) -> Option<RouterExternal> {
    let network = reader.required("network", "the name of an external network", value::reference);
    let ip = reader.optional("ip", value::ipv4);
    let ipv6 = reader.optional("ipv6", value::ipv6);
    let snat_pool = reader.object("snat_pool", |reader| Some(SnatPool::read(reader)));
    let routed = reader.optional("routed", value::boolean).unwrap_or(false);
    let snat_exemptions = reader.objects("snat_exemptions", SNAT_EXEMPTIONS_MAX, SnatExemption::read);
    let snat_exemptions = snat_exemptions.unwrap_or_default();
    for (field, is_given) in
        [("snat_pool", snat_pool.is_some()), ("snat_exemptions", !snat_exemptions.is_empty())]
    {
        if routed && is_given {
            let message = "by a leg that is routed nothing is translated";
            let hint = format!("leave routed or {field} out");
            reader.refuse(field, Refusal::new("not_allowed", message, hint));
        }
    }
    Some(RouterExternal { network: network?, ip, ipv6, snat_pool, routed, snat_exemptions })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::RouterSpec;
    use crate::meta::tests::{accepted, refusals};

    fn external(value: &Value) -> Option<(String, Option<String>)> {
        let body = json!({"router": {"name": "r", "external": value}});
        let leg = accepted::<RouterSpec>(&body).spec.external?;
        Some((leg.network, leg.ip.map(|ip| ip.to_string())))
    }

    #[test]
    fn every_spelling_of_external_is_read() {
        let with_ip = Some(("wan".to_owned(), Some("203.0.113.5".to_owned())));
        assert_eq!(external(&json!({"network": "wan", "ip": "203.0.113.5"})), with_ip);
        assert_eq!(external(&json!([{"network": "wan", "ip": "203.0.113.5"}])), with_ip);
        assert_eq!(external(&json!("wan")), Some(("wan".to_owned(), None)));
        for none in [json!(""), json!(null), json!([])] {
            assert_eq!(external(&none), None, "{none}");
        }
    }

    #[test]
    fn a_route_has_a_next_hop_or_none() {
        let read = |routes: Value| json!({"router": {"name": "r", "routes": routes}});
        let routes = json!([{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"},
            {"destination": "10.9.1.0/24", "blackhole": true}, {"destination": "fd09::/48", "nexthop": "fd00::9"}]);
        let spec = accepted::<RouterSpec>(&read(routes.clone())).spec;
        assert_eq!(serde_json::to_value(&spec.routes).unwrap(), routes, "as it was written");
        let found = refusals::<RouterSpec>(&read(json!([
            {"destination": "10.9.0.0/16"}, {"destination": "10.8.0.0/16", "nexthop": "10.0.0.9", "blackhole": true},
            {"destination": "10.8.0.0/16", "blackhole": true}, {"destination": "10.7.0.1/16", "nexthop": "fd00::1"},
            {"destination": "10.6.0.0/16", "nexthop": "fd00::1"}
        ])));
        let wanted = [
            ("/router/routes/0/nexthop", "missing"),
            ("/router/routes/1/nexthop", "not_allowed"),
            ("/router/routes/3/destination", "invalid_cidr"),
            ("/router/routes/4/nexthop", "mismatch"),
            ("/router/routes/2/destination", "duplicate"),
        ];
        assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    }

    #[test]
    fn legs_say_what_is_translated() {
        let read = |router: &Value| {
            let mut body = json!({"router": {"name": "r"}});
            body["router"].as_object_mut().unwrap().extend(router.as_object().unwrap().clone());
            body
        };
        let legs = json!({"external": {"network": "wan", "ip": null, "snat_exemptions": [
            {"destination": "198.51.100.0/24", "protocol": "udp", "port_range_min": 53, "port_range_max": 53},
            {"destination": "100.64.0.0/10", "protocol": "all"}]},
            "further_externals": [{"network": "mpls", "ip": "192.0.2.2", "routed": true}],
            "routes": [{"destination": "10.9.0.0/16", "blackhole": true, "reject": true}]});
        let spec = accepted::<RouterSpec>(&read(&legs)).spec;
        let shown = serde_json::to_value(&spec).unwrap();
        for field in ["external", "further_externals", "routes"] {
            assert_eq!(shown[field], legs[field], "as it was written");
        }
        let found = refusals::<RouterSpec>(&read(&json!({
            "external": {"network": "wan", "routed": true, "snat_pool": {}, "snat_exemptions": [
                {"destination": "10.0.0.1/8"}, {"destination": "10.0.0.0/8", "port_range_min": 1},
                {"destination": "10.0.0.0/8", "protocol": "tcp", "port_range_min": 9, "port_range_max": 8},
                {"destination": "fd00::/8"}]},
            "further_externals": [{"ip": "x", "routed": "yes"}],
            "routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9", "reject": true}]
        })));
        let wanted = [
            ("/router/external/snat_exemptions/0/destination", "invalid_cidr"),
            ("/router/external/snat_exemptions/1/port_range_min", "not_allowed"),
            ("/router/external/snat_exemptions/2/port_range_max", "invalid_range"),
            ("/router/external/snat_exemptions/3/destination", "unsupported"),
            ("/router/external/snat_pool", "not_allowed"),
            ("/router/external/snat_exemptions", "not_allowed"),
            ("/router/further_externals/0/network", "missing"),
            ("/router/further_externals/0/ip", "invalid_address"),
            ("/router/further_externals/0/routed", "wrong_type"),
            ("/router/routes/0/reject", "not_allowed"),
        ];
        assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
        let alone = refusals::<RouterSpec>(&read(&json!({"further_externals": [{"network": "mpls"}]})));
        assert_eq!(alone, [("/router/further_externals".to_owned(), "not_allowed".to_owned())]);
    }

    #[test]
    fn wrong_fields_are_named() {
        let found = refusals::<RouterSpec>(&json!({"router": {
            "name": "r", "mac": "zz", "internal": ["a", "b", "a"], "external": {"ip": "x"}, "enableSnat": true
        }}));
        let wanted = [
            ("/router/mac", "invalid_mac"),
            ("/router/internal/2", "duplicate"),
            ("/router/external/network", "missing"),
            ("/router/external/ip", "invalid_address"),
            ("/router/enableSnat", "unknown_field"),
        ];
        assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
        let found =
            refusals::<RouterSpec>(&json!({"router": {"name": "r", "peer_router": {"ip": "1.1.1.1"}}}));
        assert_eq!(found, [("/router/peer_router".to_owned(), "not_allowed".to_owned())]);
    }
}
