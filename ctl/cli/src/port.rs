//! Ports: create-, list-, show-, update- and remove-port.

use std::net::Ipv4Addr;

use clap::{ArgAction, Args, Subcommand, ValueEnum};
use edgestack_client::Kind;
use edgestack_dataplane::address::MacAddress;
use serde_json::{Map, Value};

use crate::error::CliError;
use crate::fields::{Fields, ListArgs, RemoveArgs, ShowArgs, parse_ip_and_mac};
use crate::session::{Column, Noun, Session, World};
use crate::value::{age_since, list, name, text};

/// What may be done with a port.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create a port: a place in a network into which a workload is plugged
    Create(CreateArgs),
    /// List ports
    #[command(alias = "ls")]
    List(ListPortsArgs),
    /// Show a port
    Show(ShowArgs),
    /// Change a port
    Update(UpdateArgs),
    /// Remove ports
    #[command(alias = "rm", alias = "delete")]
    Remove(RemoveArgs),
}

/// How the kernel's fast path is attached.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Attach {
    /// The daemon's choice
    Auto,
    /// XDP: most packets per second
    Xdp,
    /// TC: keeps segmentation offload
    Tc,
}

/// Arguments of create-port.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the port
    pub name: String,
    /// Network of the port
    #[arg(long = "net", alias = "network", value_name = "NETWORK")]
    pub network: String,
    /// MAC address; made up where left out
    #[arg(long, value_name = "MAC")]
    pub mac: Option<MacAddress>,
    /// IP address; the next free one where left out
    #[arg(long, value_name = "IP")]
    pub ip: Option<Ipv4Addr>,
    /// Security group (may be repeated); `default` where left out
    #[arg(long = "sg", value_name = "GROUP", value_delimiter = ',')]
    pub groups: Vec<String>,
    /// No security group: only ARP, and ping of the gateway, pass
    #[arg(long, conflicts_with = "groups")]
    pub no_sg: bool,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Arguments of update-port.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Name or id of the port
    pub port: String,
    /// The interface is taken out
    #[arg(long, conflicts_with = "interface")]
    pub clear_interface: bool,
    /// Security groups, in place of those that the port has (may be repeated)
    #[arg(long = "sg", value_name = "GROUP", value_delimiter = ',')]
    pub groups: Vec<String>,
    /// No security group
    #[arg(long, conflicts_with_all = ["groups", "add_groups", "remove_groups"])]
    pub no_sg: bool,
    /// Security group to add (may be repeated)
    #[arg(long = "add-sg", value_name = "GROUP", value_delimiter = ',', conflicts_with = "groups")]
    pub add_groups: Vec<String>,
    /// Security group to take away (may be repeated)
    #[arg(long = "remove-sg", value_name = "GROUP", value_delimiter = ',', conflicts_with = "groups")]
    pub remove_groups: Vec<String>,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What create and update have in common.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Interface of this host that the workload is behind
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// How the kernel's fast path is attached to the interface
    #[arg(long, value_enum, value_name = "HOW")]
    pub attach: Option<Attach>,
    /// Further source address that the workload may use (may be repeated)
    #[arg(long = "pair", value_name = "CIDR[,MAC]", value_parser = parse_pair)]
    pub pairs: Vec<Value>,
    /// False: neither anti-spoofing nor security groups
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    pub port_security: Option<bool>,
    /// False: the port passes nothing
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    pub admin_up: Option<bool>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Arguments of list-ports.
#[derive(Debug, Args)]
pub(crate) struct ListPortsArgs {
    #[command(flatten)]
    pub list: ListArgs,
    /// Only the ports of this network
    #[arg(long = "net", alias = "network", value_name = "NETWORK")]
    pub network: Option<String>,
}

pub(crate) const NOUN: Noun = Noun {
    kind: Kind::Port,
    columns: &[
        Column { title: "NAME", wide: false, text: |port, _| name(port) },
        Column { title: "NETWORK", wide: false, text: |port, _| text(port, "/network") },
        Column { title: "IP", wide: false, text: |port, _| text(port, "/ip_address") },
        Column { title: "MAC", wide: false, text: |port, _| text(port, "/mac_address") },
        Column { title: "INTERFACE", wide: false, text: |port, _| text(port, "/interface") },
        Column { title: "GROUPS", wide: false, text: |port, _| text(port, "/security_groups") },
        Column { title: "STATUS", wide: false, text: |port, _| text(port, "/status/phase") },
        Column { title: "ATTACH", wide: true, text: |port, _| text(port, "/attach") },
        Column { title: "ADMIN", wide: true, text: |port, _| text(port, "/admin_state_up") },
        Column { title: "SECURITY", wide: true, text: |port, _| text(port, "/port_security") },
        Column { title: "AGE", wide: true, text: |port, _| age_since(&text(port, "/created_at")) },
        Column { title: "ID", wide: true, text: |port, _| text(port, "/id") },
    ],
    needs: &[],
    summary: |port| [text(port, "/ip_address"), text(port, "/mac_address")].join(" "),
    sections: |_, _| Vec::new(),
};

/// Does what the user asks of ports.
pub(crate) async fn run(session: &Session, verb: Verb) -> Result<(), CliError> {
    match verb {
        Verb::Create(args) => session.create(&NOUN, args.fields()).await.map(|_| ()),
        Verb::List(args) => {
            let keep = |port: &Value, _: &World| {
                args.network.as_ref().is_none_or(|network| port["network"] == **network)
            };
            session.list(&NOUN, &args.list.names, keep).await
        }
        Verb::Show(args) => session.show(&NOUN, &args.name).await,
        Verb::Update(args) => update(session, args).await,
        Verb::Remove(args) => session.remove(Kind::Port, &args.names, args.if_exists).await,
    }
}

impl CreateArgs {
    fn fields(self) -> Map<String, Value> {
        let fields = Fields::new()
            .set("name", Some(self.name))
            .set("network", Some(self.network))
            .set("mac_address", self.mac.map(|mac| mac.to_string()))
            .set("ip_address", self.ip.map(|ip| ip.to_string()))
            .set("security_groups", self.no_sg.then(Vec::<Value>::new))
            .set_list("security_groups", self.groups);
        self.common.fields(fields).done()
    }
}

impl CommonArgs {
    fn fields(self, fields: Fields) -> Fields {
        let attach = self.attach.map(|attach| match attach {
            Attach::Auto => "auto",
            Attach::Xdp => "xdp",
            Attach::Tc => "tc",
        });
        fields
            .set("interface", self.interface)
            .set("attach", attach)
            .set_list("allowed_address_pairs", self.pairs)
            .set("port_security", self.port_security)
            .set("admin_state_up", self.admin_up)
            .set("description", self.description)
    }
}

async fn update(session: &Session, args: UpdateArgs) -> Result<(), CliError> {
    let mut fields = Fields::new();
    if args.clear_interface {
        fields = fields.set("interface", Some(Value::Null));
    }
    if args.no_sg {
        fields = fields.set("security_groups", Some(Vec::<Value>::new()));
    } else if args.add_groups.is_empty() && args.remove_groups.is_empty() {
        fields = fields.set_list("security_groups", args.groups);
    } else {
        let port: Value = session.client.get(Kind::Port, &args.port).await?;
        let groups = list(&port, "/security_groups");
        let groups =
            session.changed_names(Kind::SecurityGroup, groups, &args.add_groups, &args.remove_groups).await?;
        fields = fields.set("security_groups", Some(groups));
    }
    session.update(&NOUN, &args.port, args.common.fields(fields).done()).await
}

fn parse_pair(text: &str) -> Result<Value, String> {
    parse_ip_and_mac(text, "ip_address", "mac_address")
}
