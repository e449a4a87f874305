//! Ports: create-, list-, show-, update- and remove-port.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::{ArgAction, Args, ValueEnum};
use edgestack_client::Kind;
use edgestack_dataplane::address::MacAddress;
use serde_json::{Map, Value, json};

use crate::error::CliError;
use crate::fields::{Fields, parse_ip_and_mac};
use crate::noun::{Column, Create, Filter, Noun, Update, Verb, World};
use crate::session::Session;
use crate::value::{age_since, list, name, text};

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
    /// The interface is taken out, and removed where the daemon has made it
    #[arg(long, conflicts_with_all = ["interface", "plug"])]
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
    /// IPv6 address; the next free one where the network has an IPv6 subnet
    #[arg(long, value_name = "IP")]
    pub ipv6: Option<Ipv6Addr>,
    /// Interface of this host that the workload is behind
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Other host that the workload is on: a peer of this one's overlay, any in a network of type vlan or flat
    #[arg(long, value_name = "NAME", conflicts_with = "interface")]
    pub host: Option<String>,
    /// Interface that the daemon makes for the workload: a tap, or a veth pair into a network namespace
    #[arg(long, value_name = "tap|veth:NAMESPACE|veth:pid=PID", value_parser = parse_plug)]
    pub plug: Option<Value>,
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
    /// File whose text the metadata service tells the workload as user data
    #[arg(long, value_name = "FILE", value_parser = read_file)]
    pub user_data: Option<String>,
    /// Fact that the metadata service tells the workload (may be repeated)
    #[arg(long = "metadata", value_name = "NAME=VALUE", value_parser = parse_fact)]
    pub facts: Vec<(String, String)>,
    /// File with a public key that may log in to the workload (may be repeated)
    #[arg(long = "ssh-key", value_name = "FILE", value_parser = read_file)]
    pub ssh_keys: Vec<String>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Arguments of list-ports.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only the ports of this network
    #[arg(long = "net", alias = "network", value_name = "NETWORK")]
    pub network: Option<String>,
}

/// Ports in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::Port,
    word: "port",
    plural: "ports",
    aliases: &[],
    title: "Ports",
    columns: &[
        Column { title: "NAME", wide: false, text: |port, _| name(port) },
        Column { title: "NETWORK", wide: false, text: |port, _| text(port, "/network") },
        Column { title: "IP", wide: false, text: |port, _| text(port, "/ip_address") },
        Column { title: "MAC", wide: false, text: |port, _| text(port, "/mac_address") },
        Column { title: "INTERFACE", wide: false, text: |port, _| text(port, "/interface") },
        Column { title: "GROUPS", wide: false, text: |port, _| text(port, "/security_groups") },
        Column { title: "STATUS", wide: false, text: |port, _| text(port, "/status/phase") },
        Column { title: "IPV6", wide: true, text: |port, _| text(port, "/ipv6_address") },
        Column { title: "HOST", wide: true, text: |port, _| text(port, "/host") },
        Column { title: "PLUG", wide: true, text: |port, _| text(port, "/plug/type") },
        Column { title: "ATTACH", wide: true, text: |port, _| text(port, "/attach") },
        Column { title: "ADMIN", wide: true, text: |port, _| text(port, "/admin_state_up") },
        Column { title: "SECURITY", wide: true, text: |port, _| text(port, "/port_security") },
        Column { title: "AGE", wide: true, text: |port, _| age_since(&text(port, "/created_at")) },
        Column { title: "ID", wide: true, text: |port, _| text(port, "/id") },
    ],
    needs: &[],
    address_field: None,
    summary: |port| [text(port, "/ip_address"), text(port, "/mac_address")].join(" "),
    sections: |_, _| Vec::new(),
    verbs: &[
        Verb::create::<CreateArgs>("Create a port: a place in a network into which a workload is plugged"),
        Verb::list::<FilterArgs>("List ports"),
        Verb::show("Show a port"),
        Verb::update::<UpdateArgs>("Change a port"),
        Verb::remove("Remove ports"),
    ],
};

impl Filter for FilterArgs {
    fn keeps(&self, port: &Value, _: &World) -> bool {
        self.network.as_ref().is_none_or(|network| port["network"] == **network)
    }
}

impl Create for CreateArgs {
    fn fields(self) -> Map<String, Value> {
        let fields = Fields::new()
            .set("name", Some(self.name))
            .set("network", Some(self.network))
            .set("mac_address", self.mac.map(|mac| mac.to_string()))
            .set("ip_address", self.ip.map(|ip| ip.to_string()))
            .set("security_groups", self.no_sg.then(Vec::<Value>::new))
            .set_list("security_groups", self.groups);
        self.common.fill(fields).done()
    }
}

impl CommonArgs {
    fn fill(self, fields: Fields) -> Fields {
        let attach = self.attach.map(|attach| match attach {
            Attach::Auto => "auto",
            Attach::Xdp => "xdp",
            Attach::Tc => "tc",
        });
        let facts: Map<String, Value> =
            self.facts.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
        let facts = (!facts.is_empty()).then_some(facts);
        fields
            .set("ipv6_address", self.ipv6.map(|ipv6| ipv6.to_string()))
            .set("host", self.host)
            .set("interface", self.interface)
            .set("plug", self.plug)
            .set("attach", attach)
            .set_list("allowed_address_pairs", self.pairs)
            .set("port_security", self.port_security)
            .set("admin_state_up", self.admin_up)
            .set("user_data", self.user_data)
            .set("metadata", facts)
            .set_list("ssh_keys", self.ssh_keys)
            .set("description", self.description)
    }
}

impl Update for UpdateArgs {
    async fn fields(self, session: &Session, name: &str) -> Result<Map<String, Value>, CliError> {
        let mut fields = Fields::new();
        if self.clear_interface {
            fields = fields.set("interface", Some(Value::Null)).set("plug", Some(Value::Null));
        }
        if self.no_sg {
            fields = fields.set("security_groups", Some(Vec::<Value>::new()));
        } else if self.add_groups.is_empty() && self.remove_groups.is_empty() {
            fields = fields.set_list("security_groups", self.groups);
        } else {
            let port: Value = session.client.get(Kind::Port, name).await?;
            let groups = list(&port, "/security_groups");
            let (add, remove) = (&self.add_groups, &self.remove_groups);
            let groups = session.changed_names(Kind::SecurityGroup, groups, add, remove).await?;
            fields = fields.set("security_groups", Some(groups));
        }
        Ok(self.common.fill(fields).done())
    }
}

fn read_file(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// Reads `tap`, `veth:NAMESPACE` and `veth:pid=PID`; behind a veth's place, `,INTERFACE` is the name of the far end.
fn parse_plug(text: &str) -> Result<Value, String> {
    if text == "tap" {
        return Ok(json!({ "type": "tap" }));
    }
    let place = text.strip_prefix("veth:").ok_or("is `tap`, `veth:NAMESPACE` or `veth:pid=PID`")?;
    let (place, guest) = place.split_once(',').map_or((place, None), |(place, guest)| (place, Some(guest)));
    let mut plug = match place.strip_prefix("pid=") {
        Some(pid) => {
            let pid: u32 = pid.parse().map_err(|_| format!("`{pid}` is no id of a process"))?;
            json!({ "type": "veth", "pid": pid })
        }
        None => json!({ "type": "veth", "namespace": place }),
    };
    if let Some(guest) = guest {
        plug["guest_interface"] = json!(guest);
    }
    Ok(plug)
}

fn parse_fact(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_pair(text: &str) -> Result<Value, String> {
    parse_ip_and_mac(text, "ip_address", "mac_address")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse_plug;

    #[test]
    fn plugs_are_read_from_one_word() {
        assert_eq!(parse_plug("tap"), Ok(json!({"type": "tap"})));
        assert_eq!(parse_plug("veth:blue"), Ok(json!({"type": "veth", "namespace": "blue"})));
        let wanted = json!({"type": "veth", "pid": 7, "guest_interface": "net0"});
        assert_eq!(parse_plug("veth:pid=7,net0"), Ok(wanted));
        for wrong in ["bridge", "veth", "veth:pid=x"] {
            assert!(parse_plug(wrong).is_err(), "{wrong}");
        }
    }
}
