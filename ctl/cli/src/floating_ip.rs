//! Floating IPs: create-, list-, show-, associate-, disassociate- and remove-fip.

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};
use edgestack_client::Kind;
use serde_json::{Map, Value, json};

use crate::error::CliError;
use crate::fields::{Fields, ListArgs, RemoveArgs, ShowArgs};
use crate::session::{Column, Noun, Session, World};
use crate::value::{age_since, name, text};

/// What may be done with a floating IP.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Take a floating IP from an external network
    Create(CreateArgs),
    /// List floating IPs
    #[command(alias = "ls")]
    List(ListFipsArgs),
    /// Show a floating IP
    Show(ShowArgs),
    /// Let a floating IP stand for the workload of a port
    Associate(AssociateArgs),
    /// Let a floating IP stand for nothing
    Disassociate(ShowArgs),
    /// Give floating IPs back
    #[command(alias = "rm", alias = "delete")]
    Remove(RemoveArgs),
}

/// Arguments of create-fip.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The address; the next free one where left out
    pub address: Option<Ipv4Addr>,
    /// External network
    #[arg(long = "net", alias = "network", value_name = "NETWORK")]
    pub network: String,
    /// Name; made up where left out
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Router by which the workload is reached; found where left out
    #[arg(long, value_name = "ROUTER")]
    pub router: Option<String>,
    /// Port of the workload that it stands for
    #[arg(long, alias = "vm", value_name = "PORT")]
    pub port: Option<String>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Arguments of list-fips.
#[derive(Debug, Args)]
pub(crate) struct ListFipsArgs {
    #[command(flatten)]
    pub list: ListArgs,
    /// Only those that stand for nothing
    #[arg(long)]
    pub unassociated: bool,
}

/// Arguments of associate-fip.
#[derive(Debug, Args)]
pub(crate) struct AssociateArgs {
    /// Name, address or id of the floating IP
    pub fip: String,
    /// Name or id of the workload's port
    pub port: String,
    /// Network of the port
    #[arg(long = "net", alias = "network", value_name = "NETWORK")]
    pub network: Option<String>,
    /// Address of the port
    #[arg(long, value_name = "IP")]
    pub fixed_ip: Option<Ipv4Addr>,
    /// Also where it stands for another workload now
    #[arg(long)]
    pub reassociate: bool,
}

pub(crate) const NOUN: Noun = Noun {
    kind: Kind::FloatingIp,
    columns: &[
        Column { title: "NAME", wide: false, text: |fip, _| name(fip) },
        Column { title: "ADDRESS", wide: false, text: |fip, _| text(fip, "/floating_ip") },
        Column { title: "NETWORK", wide: false, text: |fip, _| text(fip, "/network") },
        Column { title: "PORT", wide: false, text: |fip, _| text(fip, "/instance_name") },
        Column { title: "FIXED-IP", wide: false, text: |fip, _| text(fip, "/target_ip") },
        Column { title: "ROUTER", wide: false, text: |fip, _| text(fip, "/router") },
        Column { title: "STATUS", wide: false, text: |fip, _| text(fip, "/status/phase") },
        Column { title: "AGE", wide: true, text: |fip, _| age_since(&text(fip, "/created_at")) },
        Column { title: "ID", wide: true, text: |fip, _| text(fip, "/id") },
    ],
    needs: &[],
    summary,
    sections: |_, _| Vec::new(),
};

/// Does what the user asks of floating IPs.
pub(crate) async fn run(session: &Session, verb: Verb) -> Result<(), CliError> {
    match verb {
        Verb::Create(args) => session.create(&NOUN, args.fields()).await.map(|_| ()),
        Verb::List(args) => {
            let keep = |fip: &Value, _: &World| !args.unassociated || text(fip, "/instance_name").is_empty();
            session.list(&NOUN, &args.list.names, keep).await
        }
        Verb::Show(args) => session.show(&NOUN, &resolve(session, &args.name).await?).await,
        Verb::Associate(args) => associate(session, args).await,
        Verb::Disassociate(args) => disassociate(session, &args.name).await,
        Verb::Remove(args) => {
            let mut names = Vec::new();
            for fip in &args.names {
                names.push(resolve(session, fip).await?);
            }
            session.remove(Kind::FloatingIp, &names, args.if_exists).await
        }
    }
}

impl CreateArgs {
    fn fields(self) -> Map<String, Value> {
        Fields::new()
            .set("name", self.name)
            .set("network", Some(self.network))
            .set("floating_ip", self.address.map(|address| address.to_string()))
            .set("router", self.router)
            .set("instance_name", self.port)
            .set("description", self.description)
            .done()
    }
}

async fn associate(session: &Session, args: AssociateArgs) -> Result<(), CliError> {
    let fip: Value = session.client.get(Kind::FloatingIp, &resolve(session, &args.fip).await?).await?;
    let now = text(&fip, "/instance_name");
    if !now.is_empty() && now != args.port && !args.reassociate {
        return Err(CliError::Conflict {
            message: format!("floating ip `{}` stands for port `{now}`", args.fip),
            hint: Some("take it from there with --reassociate".to_owned()),
        });
    }
    let association = Fields::new()
        .set("id", Some(text(&fip, "/id")))
        .set("instance_type", Some("vm"))
        .set("instance_name", Some(args.port))
        .set("target_network", args.network)
        .set("target_ip", args.fixed_ip.map(|address| address.to_string()))
        .done();
    let fip: Value = session.client.replace(Kind::FloatingIp, &text(&fip, "/id"), &association).await?;
    session.told(&NOUN, "associated", &fip)
}

async fn disassociate(session: &Session, reference: &str) -> Result<(), CliError> {
    let fip: Value = session.client.get(Kind::FloatingIp, &resolve(session, reference).await?).await?;
    let id = text(&fip, "/id");
    let fip: Value = session.client.replace(Kind::FloatingIp, &id, &json!({ "id": id })).await?;
    session.told(&NOUN, "disassociated", &fip)
}

/// A floating IP may be named by its address too: the id of the one that has it, else the reference as it is.
async fn resolve(session: &Session, reference: &str) -> Result<String, CliError> {
    if reference.parse::<Ipv4Addr>().is_err() {
        return Ok(reference.to_owned());
    }
    let fips: Vec<Value> = session.client.list(Kind::FloatingIp).await?.items;
    let found = fips.iter().find(|fip| fip["floating_ip"] == reference);
    Ok(found.map_or_else(|| reference.to_owned(), |fip| text(fip, "/id")))
}

fn summary(fip: &Value) -> String {
    let (address, port) = (text(fip, "/floating_ip"), text(fip, "/instance_name"));
    if port.is_empty() { address } else { format!("{address} for {port} {}", text(fip, "/target_ip")) }
}
