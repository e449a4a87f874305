//! Floating IPs: create-, list-, show-, associate-, disassociate- and remove-fip.

use std::net::Ipv4Addr;

use clap::Args;
use edgestack_client::Kind;
use serde_json::{Map, Value, json};

use crate::command::Action;
use crate::error::CliError;
use crate::fields::Fields;
use crate::noun::{Column, Create, Filter, Noun, Verb, World};
use crate::session::Session;
use crate::value::{age_since, name, text};

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
    /// Load balancer that it stands for
    #[arg(long, value_name = "LB", conflicts_with = "port")]
    pub lb: Option<String>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Arguments of list-fips.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
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
    #[arg(required_unless_present = "lb")]
    pub port: Option<String>,
    /// A load balancer in place of a workload
    #[arg(long, value_name = "LB", conflicts_with = "port")]
    pub lb: Option<String>,
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

/// Arguments of disassociate-fip.
#[derive(Debug, Args)]
pub(crate) struct DisassociateArgs {
    /// Name, address or id of the floating IP
    #[arg(value_name = "FIP")]
    pub fip: String,
}

/// Floating IPs in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::FloatingIp,
    word: "fip",
    plural: "fips",
    aliases: &["floating-ip"],
    title: "Floating IPs",
    columns: &[
        Column { title: "NAME", wide: false, text: |fip, _| name(fip) },
        Column { title: "ADDRESS", wide: false, text: |fip, _| text(fip, "/floating_ip") },
        Column { title: "NETWORK", wide: false, text: |fip, _| text(fip, "/network") },
        Column { title: "FOR", wide: false, text: |fip, _| text(fip, "/instance_name") },
        Column { title: "FIXED-IP", wide: false, text: |fip, _| text(fip, "/target_ip") },
        Column { title: "ROUTER", wide: false, text: |fip, _| text(fip, "/router") },
        Column { title: "STATUS", wide: false, text: |fip, _| text(fip, "/status/phase") },
        Column { title: "AGE", wide: true, text: |fip, _| age_since(&text(fip, "/created_at")) },
        Column { title: "ID", wide: true, text: |fip, _| text(fip, "/id") },
    ],
    needs: &[],
    address_field: Some("floating_ip"),
    summary,
    sections: |_, _| Vec::new(),
    verbs: &[
        Verb::create::<CreateArgs>("Take a floating IP from an external network"),
        Verb::list::<FilterArgs>("List floating IPs"),
        Verb::show("Show a floating IP"),
        Verb::action::<AssociateArgs>("associate", "Let a floating IP stand for the workload of a port"),
        Verb::action::<DisassociateArgs>("disassociate", "Let a floating IP stand for nothing"),
        Verb::remove("Give floating IPs back"),
    ],
};

impl Filter for FilterArgs {
    fn keeps(&self, fip: &Value, _: &World) -> bool {
        !self.unassociated || text(fip, "/instance_name").is_empty()
    }
}

impl Create for CreateArgs {
    fn fields(self) -> Map<String, Value> {
        Fields::new()
            .set("name", self.name)
            .set("network", Some(self.network))
            .set("floating_ip", self.address.map(|address| address.to_string()))
            .set("router", self.router)
            .set("instance_type", self.lb.is_some().then_some("lb"))
            .set("instance_name", self.lb.or(self.port))
            .set("description", self.description)
            .done()
    }
}

impl Action for AssociateArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let reference = session.resolve(&NOUN, &self.fip).await?;
        let fip: Value = session.client.get(Kind::FloatingIp, &reference).await?;
        let now = text(&fip, "/instance_name");
        let kind = if self.lb.is_some() { "lb" } else { "vm" };
        let instance = self.lb.or(self.port).unwrap_or_default();
        let is_same = now == instance && text(&fip, "/instance_type") == kind;
        if !now.is_empty() && !is_same && !self.reassociate {
            return Err(CliError::Conflict {
                message: format!("floating ip `{}` stands for `{now}`", self.fip),
                hint: Some("take it from there with --reassociate".to_owned()),
            });
        }
        let association = Fields::new()
            .set("id", Some(text(&fip, "/id")))
            .set("instance_type", Some(kind))
            .set("instance_name", Some(instance))
            .set("target_network", self.network)
            .set("target_ip", self.fixed_ip.map(|address| address.to_string()))
            .done();
        let fip: Value = session.client.replace(Kind::FloatingIp, &text(&fip, "/id"), &association).await?;
        session.told(&NOUN, "associated", &fip)
    }
}

impl Action for DisassociateArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let reference = session.resolve(&NOUN, &self.fip).await?;
        let fip: Value = session.client.get(Kind::FloatingIp, &reference).await?;
        let id = text(&fip, "/id");
        let fip: Value = session.client.replace(Kind::FloatingIp, &id, &json!({ "id": id })).await?;
        session.told(&NOUN, "disassociated", &fip)
    }
}

fn summary(fip: &Value) -> String {
    let (address, port) = (text(fip, "/floating_ip"), text(fip, "/instance_name"));
    if port.is_empty() { address } else { format!("{address} for {port} {}", text(fip, "/target_ip")) }
}
