//! Nodes in commands: list-nodes, show-node, cordon-node, uncordon-node and drain-node.

use clap::Args;
use edgestack_client::{Kind, Method, item_path};
use serde_json::{Value, json};

use crate::command::Action;
use crate::error::CliError;
use crate::noun::{Column, NoFilter, Noun, Section, Verb};
use crate::output::Table;
use crate::session::Session;
use crate::value::{age_since, list, name, text};

/// Arguments of cordon-node.
#[derive(Debug, Args)]
pub(crate) struct CordonArgs {
    /// Name or id of the node
    #[arg(value_name = "NODE")]
    pub node: String,
}

/// Arguments of uncordon-node.
#[derive(Debug, Args)]
pub(crate) struct UncordonArgs {
    /// Name or id of the node
    #[arg(value_name = "NODE")]
    pub node: String,
}

/// Arguments of drain-node.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Name or id of the node
    #[arg(value_name = "NODE")]
    pub node: String,
}

/// Nodes in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::Node,
    word: "node",
    plural: "nodes",
    aliases: &[],
    title: "Nodes",
    columns: &[
        Column { title: "NAME", wide: false, text: |node, _| name(node) },
        Column { title: "STATUS", wide: false, text: |node, _| text(node, "/state") },
        Column { title: "ROLES", wide: false, text: |node, _| text(node, "/node_role") },
        Column { title: "IP", wide: false, text: |node, _| text(node, "/data_ip") },
        Column { title: "VCPU", wide: false, text: |node, _| text(node, "/capacity/vcpus") },
        Column { title: "MEM", wide: false, text: memory },
        Column { title: "VERSION", wide: false, text: |node, _| text(node, "/info/agentVersion") },
        Column { title: "AGE", wide: false, text: |node, _| age_since(&text(node, "/created_at")) },
        Column { title: "KERNEL", wide: true, text: |node, _| text(node, "/info/kernelVersion") },
        Column { title: "OS", wide: true, text: |node, _| text(node, "/info/osImage") },
        Column { title: "FAST-PATH", wide: true, text: |node, _| text(node, "/fast_path/capable") },
        Column { title: "ID", wide: true, text: |node, _| text(node, "/id") },
    ],
    needs: &[],
    address_field: None,
    summary: |node| text(node, "/state"),
    sections: |node, _| {
        let mut table = Table::new(["INTERFACE", "MAC", "MTU", "UP"]);
        for interface in list(node, "/interfaces") {
            table.row(["/name", "/mac_address", "/mtu", "/up"].map(|at| text(interface, at)));
        }
        vec![Section { title: "Interfaces", replaces: Some("interfaces"), table }]
    },
    verbs: &[
        Verb::list::<NoFilter>("List nodes"),
        Verb::show("Show a node: its facts and what it waits for"),
        Verb::action::<CordonArgs>("cordon", "Place nothing more on a node"),
        Verb::action::<UncordonArgs>("uncordon", "Place things on a node again"),
        Verb::action::<DrainArgs>("drain", "Cordon a node and say what is to leave it"),
        Verb::remove("Forget nodes whose hosts are gone"),
    ],
};

fn memory(node: &Value, _: &crate::noun::World) -> String {
    node["capacity"]["memory_mib"].as_u64().map_or_else(String::new, |mib| format!("{}Gi", mib / 1024))
}

impl Action for CordonArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        act(session, &self.node, "cordon").await
    }
}

impl Action for UncordonArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        act(session, &self.node, "uncordon").await
    }
}

impl Action for DrainArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        act(session, &self.node, "drain").await
    }
}

async fn act(session: &Session, node: &str, action: &str) -> Result<(), CliError> {
    let path = format!("{}/action", item_path(Kind::Node, node));
    let reply = session.client.request(Method::PUT, &path, Some(&json!({ "action": action }))).await?.body;
    if session.output.value(&reply)? {
        return Ok(());
    }
    let plugged = list(&reply, "/plugged_ports");
    let rest = if plugged.is_empty() {
        String::new()
    } else {
        let names: Vec<&str> = plugged.iter().filter_map(Value::as_str).collect();
        format!("; still plugged in: {}", names.join(", "))
    };
    session.output.confirm(&format!("node {node}: {}{rest}", text(&reply, "/node/state")))
}
