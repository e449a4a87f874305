//! Routers and their next hops: create-, list-, show-, update- and remove-router, create-, list- and
//! remove-peer-router.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::Args;
use edgestack_client::Kind;
use edgestack_dataplane::address::MacAddress;
use serde_json::{Map, Value, json};

use crate::command::Action;
use crate::error::CliError;
use crate::fields::{Fields, parse_ip_and_mac, parse_route};
use crate::load_balancer::{parse_ports, whole};
use crate::nat::{self, POOL_FIELDS, parse_pool};
use crate::noun::{Column, Create, NoFilter, Noun, Section, Update, Verb, World};
use crate::output::Table;
use crate::session::Session;
use crate::value::{age_since, list, name, text};

/// How an exemption from translation is written.
const EXEMPTION: &str = "CIDR[:PROTOCOL[:PORT[-PORT]]]";
/// How a leg in a further external network is written.
const LEG: &str = "NETWORK[,ip=IP][,ipv6=IP][,routed][,exempt=CIDR..]";

/// Arguments of create-router.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the router
    pub name: String,
    /// Network to connect (may be repeated)
    #[arg(long = "net", alias = "internal", value_name = "NETWORK", value_delimiter = ',')]
    pub networks: Vec<String>,
    /// External network
    #[arg(long, value_name = "NETWORK")]
    pub external: Option<String>,
    /// The router's address in the external network; the next free one where left out
    #[arg(long, value_name = "IP", requires = "external")]
    pub external_ip: Option<Ipv4Addr>,
    /// The router's IPv6 address there; the next free one where the network has IPv6
    #[arg(long, value_name = "IP", requires = "external")]
    pub external_ipv6: Option<Ipv6Addr>,
    /// Addresses that sources leave with, and how: ADDRESS[-ADDRESS][,...][,mapping=..][,filtering=..][,range=PORT-PORT]
    /// [,ports=N][,block=N][,blocks=N][,hold=S][,high-water=PERCENT][,unpaired][,random][,parity][,class]
    #[arg(long, value_name = "POOL", value_parser = parse_pool, requires = "external")]
    pub snat_pool: Option<Value>,
    /// By the external network workloads leave with addresses of their own, and are reached by these
    #[arg(long, requires = "external", conflicts_with_all = ["snat_pool", "exemptions"])]
    pub routed: bool,
    /// Destination towards which workloads keep their addresses (may be repeated)
    #[arg(long = "snat-exempt", value_name = EXEMPTION, value_parser = parse_exemption, requires = "external")]
    pub exemptions: Vec<Value>,
    /// Further external network, for what static routes lead there (may be repeated)
    #[arg(long = "further-external", value_name = LEG, value_parser = parse_leg, requires = "external")]
    pub further: Vec<Value>,
    /// Workloads without a floating IP do not reach the external network
    #[arg(long)]
    pub no_snat: bool,
    /// Next hop upstream; the external network's gateway where left out
    #[arg(long, value_name = "IP[,MAC]", value_parser = parse_peer)]
    pub peer: Option<Value>,
    /// Static route (may be repeated)
    #[arg(long = "route", value_name = "CIDR,NEXTHOP|blackhole|reject", value_parser = parse_static_route)]
    pub routes: Vec<Value>,
    /// MAC address of the router; made up where left out
    #[arg(long, value_name = "MAC")]
    pub mac: Option<MacAddress>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Arguments of update-router.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Network to connect (may be repeated)
    #[arg(long = "add-net", value_name = "NETWORK", value_delimiter = ',')]
    pub add_networks: Vec<String>,
    /// Network to disconnect (may be repeated)
    #[arg(long = "remove-net", value_name = "NETWORK", value_delimiter = ',')]
    pub remove_networks: Vec<String>,
    /// External network
    #[arg(long, value_name = "NETWORK")]
    pub external: Option<String>,
    /// The router's address in the external network
    #[arg(long, value_name = "IP")]
    pub external_ip: Option<Ipv4Addr>,
    /// The router's IPv6 address in the external network
    #[arg(long, value_name = "IP")]
    pub external_ipv6: Option<Ipv6Addr>,
    /// Addresses that sources leave with, and how, as for create-router; none: the router's address
    #[arg(long, value_name = "POOL|none", value_parser = parse_pool)]
    pub snat_pool: Option<Value>,
    /// By the external network workloads leave with addresses of their own, and are reached by these
    #[arg(long)]
    pub routed: bool,
    /// By the external network workloads leave with the router's address, or that of its pool
    #[arg(long, conflicts_with = "routed")]
    pub not_routed: bool,
    /// Destination towards which workloads keep their addresses, to add (may be repeated)
    #[arg(long = "add-snat-exempt", value_name = EXEMPTION, value_parser = parse_exemption)]
    pub add_exemptions: Vec<Value>,
    /// Destination towards which workloads keep their addresses no more (may be repeated)
    #[arg(long = "remove-snat-exempt", value_name = EXEMPTION, value_parser = parse_exemption)]
    pub remove_exemptions: Vec<Value>,
    /// Further external network to add, or to replace what there is of it (may be repeated)
    #[arg(long = "add-further-external", value_name = LEG, value_parser = parse_leg)]
    pub add_further: Vec<Value>,
    /// Further external network to leave (may be repeated)
    #[arg(long = "remove-further-external", value_name = "NETWORK")]
    pub remove_further: Vec<String>,
    /// No external network
    #[arg(long, conflicts_with_all = ["external", "external_ip", "external_ipv6", "snat_pool", "routed", "not_routed",
        "add_exemptions", "remove_exemptions", "add_further"])]
    pub clear_external: bool,
    /// Static route to add, in place of one to the same destination (may be repeated)
    #[arg(long = "add-route", value_name = "CIDR,NEXTHOP|blackhole|reject", value_parser = parse_static_route)]
    pub add_routes: Vec<Value>,
    /// Static route to take away (may be repeated)
    #[arg(long = "remove-route", value_name = "CIDR")]
    pub remove_routes: Vec<String>,
    /// Workloads without a floating IP reach the external network
    #[arg(long)]
    pub snat: bool,
    /// Workloads without a floating IP do not reach the external network
    #[arg(long, conflicts_with = "snat")]
    pub no_snat: bool,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Arguments of create-peer-router.
#[derive(Debug, Args)]
pub(crate) struct CreatePeerArgs {
    /// Name or id of the router
    pub router: String,
    /// Address of the next hop
    #[arg(long, value_name = "IP")]
    pub ip: Ipv4Addr,
    /// Its MAC address; found by ARP where left out
    #[arg(long, value_name = "MAC")]
    pub mac: Option<MacAddress>,
}

/// Arguments of list-peer-routers.
#[derive(Debug, Args)]
pub(crate) struct ListPeersArgs {
    /// Name or id of the router
    pub router: String,
}

/// Arguments of remove-peer-router.
#[derive(Debug, Args)]
pub(crate) struct RemovePeerArgs {
    /// Name or id of the router
    pub router: String,
    /// Address of the next hop; may be left out where the router has one
    #[arg(long, value_name = "IP")]
    pub ip: Option<Ipv4Addr>,
}

/// Routers in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::Router,
    word: "router",
    plural: "routers",
    aliases: &[],
    title: "Routers",
    columns: &[
        Column { title: "NAME", wide: false, text: |router, _| name(router) },
        Column { title: "SNAT", wide: false, text: |router, _| text(router, "/enable_snat") },
        Column { title: "INTERNAL", wide: false, text: |router, _| text(router, "/internal") },
        Column { title: "EXTERNAL", wide: false, text: |router, _| external_name(router) },
        Column { title: "PEER", wide: false, text: |router, _| text(router, "/peer_router/ip") },
        Column { title: "STATUS", wide: false, text: |router, _| text(router, "/status/phase") },
        Column { title: "MAC", wide: true, text: |router, _| text(router, "/mac") },
        Column { title: "AGE", wide: true, text: |router, _| age_since(&text(router, "/created_at")) },
        Column { title: "ID", wide: true, text: |router, _| text(router, "/id") },
    ],
    needs: &[],
    address_field: None,
    summary: external_name,
    sections: |router, _| {
        let legs = legs_table(router);
        vec![
            Section { title: "Further external networks", replaces: Some("further_externals"), table: legs },
            Section { title: "Forwarded ports", replaces: Some("port_forwards"), table: nat::table(router) },
        ]
    },
    verbs: &[
        Verb::create::<CreateArgs>("Create a router"),
        Verb::list::<NoFilter>("List routers"),
        Verb::show("Show a router"),
        Verb::update::<UpdateArgs>("Change a router"),
        Verb::remove("Remove routers"),
    ],
};

/// The next hops of routers in commands.
pub(crate) static PEER_NOUN: Noun = Noun {
    kind: Kind::Router,
    word: "peer-router",
    plural: "peer-routers",
    aliases: &[],
    title: "Next hops",
    columns: &[
        Column { title: "ROUTER", wide: false, text: |peer, _| text(peer, "/router") },
        Column { title: "PEER-IP", wide: false, text: |peer, _| text(peer, "/ip") },
        Column { title: "PEER-MAC", wide: false, text: |peer, _| text(peer, "/mac") },
        Column { title: "STATE", wide: false, text: |peer, _| text(peer, "/state") },
    ],
    needs: &[],
    address_field: None,
    summary: |_| String::new(),
    sections: |_, _| Vec::new(),
    verbs: &[
        Verb::action::<CreatePeerArgs>("create", "Give a router its next hop upstream"),
        Verb::action::<ListPeersArgs>("list", "List the next hops of a router").plural().or(&["ls"]),
        Verb::action::<RemovePeerArgs>(
            "remove",
            "Take the next hop from a router; the external network's gateway serves again",
        )
        .or(&["rm", "delete"]),
    ],
};

impl Create for CreateArgs {
    fn fields(self) -> Map<String, Value> {
        let external = External {
            network: self.external,
            ip: self.external_ip,
            ipv6: self.external_ipv6,
            snat_pool: self.snat_pool,
            routed: self.routed.then_some(true),
            exemptions: Some(self.exemptions).filter(|exemptions| !exemptions.is_empty()),
        };
        Fields::new()
            .set("name", Some(self.name))
            .set("mac", self.mac.map(|mac| mac.to_string()))
            .set("enable_snat", self.no_snat.then_some(false))
            .set_list("internal", self.networks)
            .set("external", external.short())
            .set_list("further_externals", self.further)
            .set("peer_router", self.peer)
            .set_list("routes", self.routes)
            .set("description", self.description)
            .done()
    }
}

impl Update for UpdateArgs {
    async fn fields(self, session: &Session, name: &str) -> Result<Map<String, Value>, CliError> {
        let mut fields = Fields::new()
            .set("enable_snat", (self.snat || self.no_snat).then_some(self.snat))
            .set("description", self.description);
        if self.clear_external {
            fields = fields.set("external", Some(Value::Null)).set("further_externals", Some(Value::Null));
        }
        let lists = [&self.add_networks, &self.remove_networks, &self.remove_routes, &self.remove_further];
        let values = [&self.add_routes, &self.add_exemptions, &self.remove_exemptions, &self.add_further];
        // Read only where a list is changed in part.
        let is_partial =
            lists.iter().any(|list| !list.is_empty()) || values.iter().any(|list| !list.is_empty());
        let router: Value =
            if is_partial { session.client.get(Kind::Router, name).await? } else { Value::Null };
        if !(self.add_networks.is_empty() && self.remove_networks.is_empty()) {
            let internal = list(&router, "/internal");
            let (add, remove) = (&self.add_networks, &self.remove_networks);
            let internal = session.changed_names(Kind::Network, internal, add, remove).await?;
            fields = fields.set("internal", Some(internal));
        }
        if !(self.add_routes.is_empty() && self.remove_routes.is_empty()) {
            let routes = changed(
                list(&router, "/routes"),
                "destination",
                "route to",
                &self.add_routes,
                &self.remove_routes,
            )?;
            fields = fields.set("routes", Some(routes));
        }
        if !(self.add_further.is_empty() && self.remove_further.is_empty()) {
            let (add, remove) = (&self.add_further, &self.remove_further);
            let further = list(&router, "/further_externals");
            let further = changed(further, "network", "further external network", add, remove)?;
            fields = fields.set("further_externals", Some(further));
        }
        let exemptions = (!(self.add_exemptions.is_empty() && self.remove_exemptions.is_empty()))
            .then(|| {
                let known = list(&router, "/external/snat_exemptions");
                changed_exemptions(known, &self.add_exemptions, &self.remove_exemptions)
            })
            .transpose()?;
        let external = External {
            network: self.external,
            ip: self.external_ip,
            ipv6: self.external_ipv6,
            snat_pool: self.snat_pool,
            routed: (self.routed || self.not_routed).then_some(self.routed),
            exemptions,
        };
        Ok(fields.set("external", external.short()).done())
    }
}

impl Action for CreatePeerArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let peer = Fields::new()
            .set("ip", Some(self.ip.to_string()))
            .set("mac", self.mac.map(|mac| mac.to_string()))
            .done();
        let reply = session.client.create_peer_router(&self.router, &peer).await?;
        if session.output.value(&reply)? {
            return Ok(());
        }
        session.output.confirm(&format!("created peer router {} of router {}", self.ip, self.router))
    }
}

impl Action for ListPeersArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let mut peers = session.client.list_peer_routers(&self.router).await?;
        if session.output.is_table() {
            for peer in &mut peers {
                peer["router"] = self.router.as_str().into();
            }
        }
        session.print_list(PEER_NOUN.columns, "peer_routers", &peers, peers.len(), &World::default())
    }
}

impl Action for RemovePeerArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let address = match self.ip {
            Some(ip) => ip.to_string(),
            None => only_peer(session, &self.router).await?,
        };
        session.client.remove_peer_router(&self.router, &address).await?;
        session.output.confirm(&format!("removed peer router {address} of router {}", self.router))
    }
}

/// The address of the one next hop that a router has.
async fn only_peer(session: &Session, router: &str) -> Result<String, CliError> {
    let peers = session.client.list_peer_routers(router).await?;
    match peers.as_slice() {
        [] => Err(CliError::NotFound(format!("router `{router}` has no peer router"))),
        [peer] => Ok(text(peer, "/ip")),
        peers => {
            let addresses: Vec<String> = peers.iter().map(|peer| text(peer, "/ip")).collect();
            Err(CliError::usage(
                format!("router `{router}` has several peer routers"),
                format!("name one with --ip: {}", addresses.join(", ")),
            ))
        }
    }
}

/// A list of objects that `key` tells apart, with some more and some less.
fn changed(
    known: &[Value],
    key: &str,
    what: &str,
    add: &[Value],
    remove: &[String],
) -> Result<Vec<Value>, CliError> {
    let mut known = known.to_vec();
    for name in remove {
        let before = known.len();
        known.retain(|one| one[key] != **name);
        if known.len() == before {
            return Err(CliError::NotFound(format!("the router has no {what} {name}")));
        }
    }
    for one in add {
        known.retain(|other| other[key] != one[key]);
        known.push(one.clone());
    }
    Ok(known)
}

/// The exemptions with some more and some less; all fields tell them apart.
fn changed_exemptions(known: &[Value], add: &[Value], remove: &[Value]) -> Result<Vec<Value>, CliError> {
    let mut known = known.to_vec();
    let same = |left: &Value, right: &Value| {
        let part = |value: &Value, key: &str| value[key].as_str().unwrap_or("all").to_owned();
        ["destination", "protocol"].iter().all(|key| part(left, key) == part(right, key))
            && ["port_range_min", "port_range_max"].iter().all(|key| left[*key] == right[*key])
    };
    for one in remove {
        let before = known.len();
        known.retain(|other| !same(one, other));
        if known.len() == before {
            let destination = text(one, "/destination");
            return Err(CliError::NotFound(format!("the router has no such exemption for {destination}")));
        }
    }
    let new: Vec<Value> =
        add.iter().filter(|one| !known.iter().any(|other| same(one, other))).cloned().collect();
    known.extend(new);
    Ok(known)
}

/// `destination,nexthop`, `destination,blackhole` or `destination,reject`, as the API has it.
fn parse_static_route(text: &str) -> Result<Value, String> {
    match text.split_once(',') {
        Some((destination, "blackhole")) => {
            Ok(json!({ "destination": destination.trim(), "blackhole": true }))
        }
        Some((destination, "reject")) => {
            Ok(json!({ "destination": destination.trim(), "blackhole": true, "reject": true }))
        }
        _ => parse_route(text),
    }
}

/// `198.51.100.0/24`, `198.51.100.0/24:icmp` or `198.51.100.0/24:udp:53-54`, as the API has it.
fn parse_exemption(text: &str) -> Result<Value, String> {
    let mut parts = text.splitn(3, ':').map(str::trim);
    let ports = |text: &str| parse_ports(text).map_err(|error| format!("{error} in `{EXEMPTION}`"));
    let mut exemption = Fields::new().set("destination", parts.next()).set("protocol", parts.next());
    if let Some((first, last)) = parts.next().map(ports).transpose()? {
        exemption = exemption.set("port_range_min", Some(first)).set("port_range_max", Some(last));
    }
    Ok(exemption.done().into())
}

/// `mpls,ip=192.0.2.2,routed`, as the API has it.
fn parse_leg(text: &str) -> Result<Value, String> {
    let mut parts = text.split(',').map(str::trim);
    let mut leg = Fields::new().set("network", parts.next().filter(|network| !network.is_empty()));
    let mut exemptions = Vec::new();
    for part in parts {
        leg = match part.split_once('=') {
            None if part == "routed" => leg.set("routed", Some(true)),
            Some((key @ ("ip" | "ipv6"), value)) => leg.set(key, Some(value)),
            Some(("exempt", value)) => {
                exemptions.push(parse_exemption(value)?);
                leg
            }
            _ => return Err(format!("`{part}` is none of ip=IP, ipv6=IP, routed, exempt={EXEMPTION}")),
        };
    }
    Ok(leg.set_list("snat_exemptions", exemptions).done().into())
}

fn parse_peer(text: &str) -> Result<Value, String> {
    parse_ip_and_mac(text, "ip", "mac")
}

/// What is said of a router's leg in its external network.
struct External {
    network: Option<String>,
    ip: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
    snat_pool: Option<Value>,
    routed: Option<bool>,
    exemptions: Option<Vec<Value>>,
}

impl External {
    /// As the API has it: the name alone where nothing else is said; none where nothing is.
    fn short(self) -> Option<Value> {
        let name = self.network.clone();
        let fields = Fields::new()
            .set("network", self.network)
            .set("ip", self.ip.map(|ip| ip.to_string()))
            .set("ipv6", self.ipv6.map(|ipv6| ipv6.to_string()))
            .set("snat_pool", self.snat_pool.map(|pool| whole(pool, POOL_FIELDS)))
            .set("routed", self.routed)
            .set("snat_exemptions", self.exemptions)
            .done();
        match name {
            Some(name) if fields.len() == 1 => Some(name.into()),
            _ => (!fields.is_empty()).then(|| fields.into()),
        }
    }
}

/// The external network and the router's address there.
fn external_name(router: &Value) -> String {
    let (network, ip) = (text(router, "/external/network"), text(router, "/external/ip"));
    [network, ip].join(" ").trim().to_owned()
}

/// The legs in further external networks as a table.
fn legs_table(router: &Value) -> Table {
    let mut table = Table::new(["NETWORK", "IP", "IPV6", "ROUTED", "EXEMPT"]);
    for leg in list(router, "/further_externals") {
        let exempt: Vec<String> =
            list(leg, "/snat_exemptions").iter().map(|exemption| text(exemption, "/destination")).collect();
        table.row([
            text(leg, "/network"),
            text(leg, "/ip"),
            text(leg, "/ipv6"),
            text(leg, "/routed"),
            exempt.join(","),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{changed, changed_exemptions, parse_exemption, parse_leg, parse_static_route};

    #[test]
    fn legs_and_routes_are_written_short() {
        let leg = parse_leg("mpls,ip=192.0.2.2,routed").unwrap();
        assert_eq!(leg, json!({"network": "mpls", "ip": "192.0.2.2", "routed": true}));
        let leg = parse_leg("mpls,exempt=10.0.0.0/8,exempt=198.51.100.0/24:udp:53").unwrap();
        let exemptions = json!([{"destination": "10.0.0.0/8"}, {"destination": "198.51.100.0/24",
            "protocol": "udp", "port_range_min": 53, "port_range_max": 53}]);
        assert_eq!(leg, json!({"network": "mpls", "snat_exemptions": exemptions}));
        for wrong in ["mpls,natted", "mpls,mac=02:00:00:00:00:01", "mpls,exempt=10.0.0.0/8:udp:x"] {
            assert!(parse_leg(wrong).is_err(), "{wrong}");
        }
        let route = json!({"destination": "10.9.0.0/16", "blackhole": true, "reject": true});
        assert_eq!(parse_static_route("10.9.0.0/16,reject"), Ok(route));
    }

    #[test]
    fn lists_are_changed_in_part() {
        let known = [json!({"network": "mpls", "ip": "192.0.2.2"}), json!({"network": "lab"})];
        let add = [json!({"network": "mpls", "routed": true})];
        let now = changed(&known, "network", "leg", &add, &["lab".to_owned()]).unwrap();
        assert_eq!(now, add);
        assert!(changed(&known, "network", "leg", &[], &["wan".to_owned()]).is_err());

        let known = [json!({"destination": "10.0.0.0/8", "protocol": "all"})];
        let some = |text: &str| vec![parse_exemption(text).unwrap()];
        assert_eq!(changed_exemptions(&known, &some("10.0.0.0/8"), &[]).unwrap(), known, "it is there");
        assert_eq!(
            changed_exemptions(&known, &[], &some("10.0.0.0/8")).unwrap(),
            Vec::<serde_json::Value>::new()
        );
        assert!(changed_exemptions(&known, &[], &some("10.0.0.0/8:tcp")).is_err());
    }
}
