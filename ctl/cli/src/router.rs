//! Routers and their next hops: create-, list-, show-, update- and remove-router, create-, list- and
//! remove-peer-router.

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};
use edgestack_client::Kind;
use edgestack_dataplane::address::MacAddress;
use serde_json::{Map, Value, json};

use crate::error::CliError;
use crate::fields::{Fields, ListArgs, RemoveArgs, ShowArgs, parse_ip_and_mac};
use crate::output::{Format, Table, print};
use crate::session::{Column, Noun, Session};
use crate::value::{age_since, list, name, text};

/// What may be done with a router.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create a router
    Create(CreateArgs),
    /// List routers
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show a router
    Show(ShowArgs),
    /// Change a router
    Update(UpdateArgs),
    /// Remove routers
    #[command(alias = "rm", alias = "delete")]
    Remove(RemoveArgs),
}

/// What may be done with a router's next hop.
#[derive(Debug, Subcommand)]
pub(crate) enum PeerVerb {
    /// Give a router its next hop upstream
    Create(CreatePeerArgs),
    /// List the next hops of a router
    #[command(alias = "ls")]
    List(ListPeersArgs),
    /// Take the next hop from a router; the external network's gateway serves again
    #[command(alias = "rm", alias = "delete")]
    Remove(RemovePeerArgs),
}

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
    /// Workloads without a floating IP do not reach the external network
    #[arg(long)]
    pub no_snat: bool,
    /// Next hop upstream; the external network's gateway where left out
    #[arg(long, value_name = "IP[,MAC]", value_parser = parse_peer)]
    pub peer: Option<Value>,
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
    /// Name or id of the router
    pub router: String,
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
    /// No external network
    #[arg(long, conflicts_with_all = ["external", "external_ip"])]
    pub clear_external: bool,
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

pub(crate) const NOUN: Noun = Noun {
    kind: Kind::Router,
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
    summary: external_name,
    sections: |_, _| Vec::new(),
};

/// Does what the user asks of routers.
pub(crate) async fn run(session: &Session, verb: Verb) -> Result<(), CliError> {
    match verb {
        Verb::Create(args) => session.create(&NOUN, args.fields()).await.map(|_| ()),
        Verb::List(args) => session.list(&NOUN, &args.names, |_, _| true).await,
        Verb::Show(args) => session.show(&NOUN, &args.name).await,
        Verb::Update(args) => update(session, args).await,
        Verb::Remove(args) => session.remove(Kind::Router, &args.names, args.if_exists).await,
    }
}

/// Does what the user asks of a router's next hop.
pub(crate) async fn run_peer(session: &Session, verb: PeerVerb) -> Result<(), CliError> {
    match verb {
        PeerVerb::Create(args) => create_peer(session, args).await,
        PeerVerb::List(args) => list_peers(session, &args.router).await,
        PeerVerb::Remove(args) => remove_peer(session, args).await,
    }
}

impl CreateArgs {
    fn fields(self) -> Map<String, Value> {
        Fields::new()
            .set("name", Some(self.name))
            .set("mac", self.mac.map(|mac| mac.to_string()))
            .set("enable_snat", self.no_snat.then_some(false))
            .set_list("internal", self.networks)
            .set("external", self.external.map(|network| external(network, self.external_ip)))
            .set("peer_router", self.peer)
            .set("description", self.description)
            .done()
    }
}

async fn update(session: &Session, args: UpdateArgs) -> Result<(), CliError> {
    let mut fields = Fields::new()
        .set("enable_snat", (args.snat || args.no_snat).then_some(args.snat))
        .set("description", args.description);
    if args.clear_external {
        fields = fields.set("external", Some(Value::Null));
    }
    let changes_networks = !(args.add_networks.is_empty() && args.remove_networks.is_empty());
    if changes_networks {
        let router: Value = session.client.get(Kind::Router, &args.router).await?;
        let internal = list(&router, "/internal");
        let internal =
            session.changed_names(Kind::Network, internal, &args.add_networks, &args.remove_networks).await?;
        fields = fields.set("internal", Some(internal));
    }
    let external = match (args.external, args.external_ip) {
        (Some(network), ip) => Some(external(network, ip)),
        (None, Some(ip)) => Some(json!({ "ip": ip })),
        (None, None) => None,
    };
    session.update(&NOUN, &args.router, fields.set("external", external).done()).await
}

async fn create_peer(session: &Session, args: CreatePeerArgs) -> Result<(), CliError> {
    let peer = Fields::new()
        .set("ip", Some(args.ip.to_string()))
        .set("mac", args.mac.map(|mac| mac.to_string()))
        .done();
    let reply = session.client.create_peer_router(&args.router, &peer).await?;
    if session.output.value(&reply)? {
        return Ok(());
    }
    session.output.confirm(&format!("created peer router {} of router {}", args.ip, args.router))
}

async fn list_peers(session: &Session, router: &str) -> Result<(), CliError> {
    let peers = session.client.list_peer_routers(router).await?;
    let output = session.output;
    if output.format == Format::Name {
        return print(&peers.iter().map(|peer| text(peer, "/ip") + "\n").collect::<String>());
    }
    if output.value(&json!({ "peer_routers": peers }))? {
        return Ok(());
    }
    let mut table = Table::new(["ROUTER", "PEER-IP", "PEER-MAC", "STATE"]);
    for peer in &peers {
        table.row([router.to_owned(), text(peer, "/ip"), text(peer, "/mac"), text(peer, "/state")]);
    }
    output.table(&table)
}

async fn remove_peer(session: &Session, args: RemovePeerArgs) -> Result<(), CliError> {
    let address = if let Some(ip) = args.ip {
        ip.to_string()
    } else {
        let peers = session.client.list_peer_routers(&args.router).await?;
        match peers.as_slice() {
            [] => return Err(CliError::NotFound(format!("router `{}` has no peer router", args.router))),
            [peer] => text(peer, "/ip"),
            peers => {
                let addresses: Vec<String> = peers.iter().map(|peer| text(peer, "/ip")).collect();
                return Err(CliError::usage(
                    format!("router `{}` has several peer routers", args.router),
                    format!("name one with --ip: {}", addresses.join(", ")),
                ));
            }
        }
    };
    session.client.remove_peer_router(&args.router, &address).await?;
    session.output.confirm(&format!("removed peer router {address} of router {}", args.router))
}

fn parse_peer(text: &str) -> Result<Value, String> {
    parse_ip_and_mac(text, "ip", "mac")
}

/// A router's leg in an external network, as the API has it.
fn external(network: String, ip: Option<Ipv4Addr>) -> Value {
    match ip {
        Some(ip) => json!({ "network": network, "ip": ip }),
        None => network.into(),
    }
}

/// The external network and the router's address there.
fn external_name(router: &Value) -> String {
    let (network, ip) = (text(router, "/external/network"), text(router, "/external/ip"));
    [network, ip].join(" ").trim().to_owned()
}
