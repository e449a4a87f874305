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
use crate::load_balancer::whole;
use crate::nat::{self, POOL_FIELDS, parse_pool};
use crate::noun::{Column, Create, NoFilter, Noun, Section, Update, Verb, World};
use crate::session::Session;
use crate::value::{age_since, list, name, text};

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
    /// Workloads without a floating IP do not reach the external network
    #[arg(long)]
    pub no_snat: bool,
    /// Next hop upstream; the external network's gateway where left out
    #[arg(long, value_name = "IP[,MAC]", value_parser = parse_peer)]
    pub peer: Option<Value>,
    /// Static route (may be repeated)
    #[arg(long = "route", value_name = "CIDR,NEXTHOP|blackhole", value_parser = parse_static_route)]
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
    /// No external network
    #[arg(long, conflicts_with_all = ["external", "external_ip", "external_ipv6", "snat_pool"])]
    pub clear_external: bool,
    /// Static route to add, in place of one to the same destination (may be repeated)
    #[arg(long = "add-route", value_name = "CIDR,NEXTHOP|blackhole", value_parser = parse_static_route)]
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
        let title = "Forwarded ports";
        vec![Section { title, replaces: Some("port_forwards"), table: nat::table(router) }]
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
        Fields::new()
            .set("name", Some(self.name))
            .set("mac", self.mac.map(|mac| mac.to_string()))
            .set("enable_snat", self.no_snat.then_some(false))
            .set_list("internal", self.networks)
            .set(
                "external",
                self.external.map(|network| {
                    external(Some(network), self.external_ip, self.external_ipv6, self.snat_pool)
                }),
            )
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
            fields = fields.set("external", Some(Value::Null));
        }
        if !(self.add_networks.is_empty() && self.remove_networks.is_empty()) {
            let router: Value = session.client.get(Kind::Router, name).await?;
            let internal = list(&router, "/internal");
            let (add, remove) = (&self.add_networks, &self.remove_networks);
            let internal = session.changed_names(Kind::Network, internal, add, remove).await?;
            fields = fields.set("internal", Some(internal));
        }
        if !(self.add_routes.is_empty() && self.remove_routes.is_empty()) {
            let router: Value = session.client.get(Kind::Router, name).await?;
            let routes = changed_routes(list(&router, "/routes"), &self.add_routes, &self.remove_routes)?;
            fields = fields.set("routes", Some(routes));
        }
        let is_given = self.external.is_some()
            || self.external_ip.is_some()
            || self.external_ipv6.is_some()
            || self.snat_pool.is_some();
        let external =
            is_given.then(|| external(self.external, self.external_ip, self.external_ipv6, self.snat_pool));
        Ok(fields.set("external", external).done())
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

/// The routes with some more and some less.
fn changed_routes(routes: &[Value], add: &[Value], remove: &[String]) -> Result<Vec<Value>, CliError> {
    let mut routes = routes.to_vec();
    for destination in remove {
        let before = routes.len();
        routes.retain(|route| route["destination"] != **destination);
        if routes.len() == before {
            return Err(CliError::NotFound(format!("the router has no route to {destination}")));
        }
    }
    for route in add {
        routes.retain(|other| other["destination"] != route["destination"]);
        routes.push(route.clone());
    }
    Ok(routes)
}

/// `destination,nexthop` or `destination,blackhole`, as the API has it.
fn parse_static_route(text: &str) -> Result<Value, String> {
    match text.split_once(',') {
        Some((destination, "blackhole")) => {
            Ok(json!({ "destination": destination.trim(), "blackhole": true }))
        }
        _ => parse_route(text),
    }
}

fn parse_peer(text: &str) -> Result<Value, String> {
    parse_ip_and_mac(text, "ip", "mac")
}

/// A router's leg in an external network, as the API has it.
fn external(
    network: Option<String>,
    ip: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
    snat_pool: Option<Value>,
) -> Value {
    match network {
        Some(network) if ip.is_none() && ipv6.is_none() && snat_pool.is_none() => network.into(),
        network => Fields::new()
            .set("network", network)
            .set("ip", ip.map(|ip| ip.to_string()))
            .set("ipv6", ipv6.map(|ipv6| ipv6.to_string()))
            .set("snat_pool", snat_pool.map(|pool| whole(pool, POOL_FIELDS)))
            .done()
            .into(),
    }
}

/// The external network and the router's address there.
fn external_name(router: &Value) -> String {
    let (network, ip) = (text(router, "/external/network"), text(router, "/external/ip"));
    [network, ip].join(" ").trim().to_owned()
}
