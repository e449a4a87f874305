//! Networks in commands: create-, list-, show-, update- and remove-network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::{Args, ValueEnum};
use edgestack_client::Kind;
use serde_json::{Map, Value};

use crate::error::CliError;
use crate::fields::{Fields, parse_pool, parse_reservation, parse_route};
use crate::noun::{Column, Create, NoFilter, Noun, Section, Update, Verb, World};
use crate::output::Table;
use crate::session::Session;
use crate::value::{list, name, text};

/// How a network is carried.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum NetworkType {
    /// Tunnelled between hosts with VXLAN
    Vxlan,
    /// Tunnelled between hosts with Geneve
    Geneve,
    /// A VLAN of a physical network
    Vlan,
    /// A physical network itself
    Flat,
}

/// How workloads get their IPv6 addresses and settings.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Ipv6RaMode {
    /// By DHCPv6, announced by router advertisements
    Stateful,
    /// Addresses of their own making, all else by DHCPv6
    Stateless,
    /// Addresses of their own making, all else by router advertisements
    Slaac,
    /// Not from the gateway
    None,
}

/// Arguments of create-network.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the network
    pub name: String,
    /// Subnet, like 10.0.0.0/24
    #[arg(long, value_name = "CIDR")]
    pub cidr: String,
    /// How the network is carried
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub network_type: Option<NetworkType>,
    /// VLAN id or tunnel key
    #[arg(long, visible_alias = "vlan-id", value_name = "NUMBER")]
    pub segment_id: Option<u32>,
    /// Physical network of a flat or VLAN network, as the daemon's uplinks name it
    #[arg(long, value_name = "NAME")]
    pub physnet: Option<String>,
    /// The network is outside: routers reach it by an uplink
    #[arg(long)]
    pub external: bool,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Arguments of update-network, and what create has in common with it.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Address of the gateway
    #[arg(long, value_name = "IP")]
    pub gateway: Option<Ipv4Addr>,
    /// Addresses that may be handed out
    #[arg(long, value_name = "START-END", value_parser = parse_pool)]
    pub pool: Option<Value>,
    /// Addresses that are given to nobody (may be repeated)
    #[arg(long, value_name = "START-END", value_parser = parse_reservation)]
    pub reserve: Vec<Value>,
    /// IPv6 subnet, like fd00:0:0:1::/64
    #[arg(long, value_name = "CIDR")]
    pub ipv6: Option<String>,
    /// IPv6 address of the gateway
    #[arg(long, value_name = "IP")]
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// IPv6 addresses that may be handed out
    #[arg(long, value_name = "START-END", value_parser = parse_pool)]
    pub ipv6_pool: Option<Value>,
    /// How workloads get their IPv6 addresses and settings; stateful where left out
    #[arg(long, value_enum, value_name = "MODE")]
    pub ipv6_ra_mode: Option<Ipv6RaMode>,
    /// Name server (may be repeated)
    #[arg(long, value_name = "IP")]
    pub dns: Vec<IpAddr>,
    /// Route told to workloads (may be repeated)
    #[arg(long, value_name = "CIDR,NEXTHOP", value_parser = parse_route)]
    pub route: Vec<Value>,
    /// Largest IP packet in bytes
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<u16>,
    /// Workloads get no default route
    #[arg(long)]
    pub no_default_route: bool,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Networks in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::Network,
    word: "network",
    plural: "networks",
    aliases: &[],
    title: "Networks",
    columns: &[
        Column { title: "NAME", wide: false, text: |network, _| name(network) },
        Column { title: "TYPE", wide: false, text: |network, _| text(network, "/type") },
        Column { title: "SEGMENT", wide: false, text: |network, _| text(network, "/segment_id") },
        Column { title: "CIDR", wide: false, text: |network, _| text(network, "/cidr") },
        Column { title: "GATEWAY", wide: false, text: |network, _| text(network, "/gateway_ip") },
        Column { title: "MTU", wide: false, text: |network, _| text(network, "/mtu") },
        Column { title: "ROUTER", wide: false, text: router_names },
        Column { title: "USED/TOTAL", wide: false, text: address_usage },
        Column { title: "STATUS", wide: false, text: |network, _| text(network, "/status/phase") },
        Column {
            title: "PORTS",
            wide: true,
            text: |network, world| ports(network, world).count().to_string(),
        },
        Column { title: "EXTERNAL", wide: true, text: |network, _| text(network, "/external") },
        Column { title: "PHYSNET", wide: true, text: |network, _| text(network, "/physnet_name") },
        Column { title: "IPV6-CIDR", wide: true, text: |network, _| text(network, "/ipv6_cidr") },
        Column { title: "IPV6-RA-MODE", wide: true, text: |network, _| text(network, "/ipv6_ra_mode") },
        Column { title: "DNS", wide: true, text: |network, _| text(network, "/dns") },
        Column { title: "ID", wide: true, text: |network, _| text(network, "/id") },
    ],
    needs: &[Kind::Port, Kind::Router],
    address_field: None,
    summary: |network| text(network, "/cidr"),
    sections: |network, world| {
        let mut table = Table::new(["IP", "MAC", "PORT", "STATUS"]);
        for port in ports(network, world) {
            table.row(["/ip_address", "/mac_address", "/name", "/status/phase"].map(|at| text(port, at)));
        }
        vec![Section { title: "Addresses", replaces: None, table }]
    },
    verbs: &[
        Verb::create::<CreateArgs>("Create a network"),
        Verb::list::<NoFilter>("List networks"),
        Verb::show("Show a network and its addresses"),
        Verb::update::<CommonArgs>("Change a network"),
        Verb::remove("Remove networks"),
    ],
};

impl Ipv6RaMode {
    /// The word of the API.
    fn word(self) -> &'static str {
        match self {
            Self::Stateful => "stateful",
            Self::Stateless => "stateless",
            Self::Slaac => "slaac",
            Self::None => "none",
        }
    }
}

impl Create for CreateArgs {
    fn fields(self) -> Map<String, Value> {
        let network_type = match (self.network_type, &self.physnet) {
            (Some(NetworkType::Vxlan), _) => Some("VXLAN"),
            (Some(NetworkType::Geneve), _) => Some("GENEVE"),
            (Some(NetworkType::Vlan), _) => Some("VLAN"),
            // A network that is outside, or on a physical network, is that network itself unless told otherwise.
            (Some(NetworkType::Flat), _) | (None, Some(_)) => Some("FLAT"),
            (None, None) => self.external.then_some("FLAT"),
        };
        let fields = Fields::new()
            .set("name", Some(self.name))
            .set("type", network_type)
            .set("cidr", Some(self.cidr))
            .set("segment_id", self.segment_id)
            .set("physnet_name", self.physnet)
            .set("external", self.external.then_some(true));
        self.common.fill(fields)
    }
}

impl Update for CommonArgs {
    async fn fields(self, _: &Session, _: &str) -> Result<Map<String, Value>, CliError> {
        Ok(self.fill(Fields::new()))
    }
}

impl CommonArgs {
    fn fill(self, fields: Fields) -> Map<String, Value> {
        fields
            .set("gateway_ip", self.gateway.map(|address| address.to_string()))
            .set("ip_pool", self.pool)
            .set_list("reservations", self.reserve)
            .set("ipv6_cidr", self.ipv6)
            .set("ipv6_gateway_ip", self.ipv6_gateway.map(|gateway| gateway.to_string()))
            .set("ipv6_ip_pool", self.ipv6_pool)
            .set("ipv6_ra_mode", self.ipv6_ra_mode.map(Ipv6RaMode::word))
            .set_list("dns", self.dns.iter().map(IpAddr::to_string).collect())
            .set_list("host_routes", self.route)
            .set("mtu", self.mtu)
            .set("default_route", self.no_default_route.then_some(false))
            .set("description", self.description)
            .done()
    }
}

fn ports<'a>(network: &'a Value, world: &'a World) -> impl Iterator<Item = &'a Value> {
    world.of(Kind::Port).iter().filter(|port| port["network"] == network["name"])
}

/// How many addresses of the pool are given, and how many there are: `12/253`.
fn address_usage(network: &Value, _: &World) -> String {
    let [used, total] = ["/status/addresses/used", "/status/addresses/total"].map(|at| text(network, at));
    if total.is_empty() { String::new() } else { format!("{used}/{total}") }
}

/// The routers that connect a network, from inside or from outside.
fn router_names(network: &Value, world: &World) -> String {
    let joins = |router: &&Value| {
        router["external"]["network"] == network["name"]
            || list(router, "/internal").contains(&network["name"])
    };
    world.of(Kind::Router).iter().filter(joins).map(name).collect::<Vec<_>>().join(",")
}
