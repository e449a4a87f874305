//! Address translation of routers in commands: create-, list- and remove-port-forward, and pools as arguments of routers.

use std::net::{IpAddr, Ipv4Addr};

use clap::Args;
use edgestack_client::Kind;
use serde_json::{Value, json};

use crate::command::Action;
use crate::error::CliError;
use crate::fields::Fields;
use crate::load_balancer::{parse_port, parse_ports, ports_text};
use crate::noun::{Column, Noun, Verb, World};
use crate::output::Table;
use crate::session::Session;
use crate::value::{list, text};

/// Arguments of create-port-forward.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name or id of the router
    pub router: String,
    /// tcp, udp or sctp
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp")]
    pub protocol: String,
    /// External port or range of ports
    #[arg(long, alias = "ports", value_name = "PORT[-PORT]", value_parser = parse_ports)]
    pub port: (u16, u16),
    /// The workload: the name of its port, or its address behind the router, and its own port where that is another
    #[arg(long, value_name = "PORT_NAME|IP[:PORT]")]
    pub to: String,
    /// External address, one of the router's pool; the router's own where left out
    #[arg(long, value_name = "IP")]
    pub external_ip: Option<Ipv4Addr>,
}

/// Arguments of list-port-forwards.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Name or id of the router
    pub router: String,
}

/// Arguments of remove-port-forward.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Name or id of the router
    pub router: String,
    /// The forwarded port: its id, or what it is for, like tcp:8080
    pub forward: String,
}

/// Forwarded ports in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::Router,
    word: "port-forward",
    plural: "port-forwards",
    aliases: &[],
    title: "Forwarded ports",
    columns: &[
        Column { title: "ROUTER", wide: false, text: |forward, _| text(forward, "/router") },
        Column { title: "EXTERNAL-IP", wide: false, text: |forward, _| text(forward, "/external_ip") },
        Column { title: "PROTO", wide: false, text: |forward, _| text(forward, "/protocol") },
        Column { title: "PORTS", wide: false, text: |forward, _| ports_text(forward) },
        Column { title: "TARGET-IP", wide: false, text: |forward, _| text(forward, "/target_ip") },
        Column { title: "TARGET-PORT", wide: false, text: |forward, _| text(forward, "/target_port") },
        Column { title: "ID", wide: true, text: |forward, _| text(forward, "/id") },
    ],
    needs: &[],
    address_field: None,
    summary: |_| String::new(),
    sections: |_, _| Vec::new(),
    verbs: &[
        Verb::action::<CreateArgs>("create", "Forward an external port of a router to a workload"),
        Verb::action::<ListArgs>("list", "List the ports that a router forwards").plural().or(&["ls"]),
        Verb::action::<RemoveArgs>("remove", "Forward a port no more").or(&["rm", "delete"]),
    ],
};

impl Action for CreateArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let (target, port) = match self.to.rsplit_once(':') {
            Some((target, port)) => (target, Some(parse_port(port).map_err(|error| wrong(&error))?)),
            None => (self.to.as_str(), None),
        };
        let target = if let Ok(address) = target.parse::<IpAddr>() {
            address.to_string()
        } else {
            let port: Value = session.client.get(Kind::Port, target).await?;
            text(&port, "/ip_address")
        };
        let forward = Fields::new()
            .set("external_ip", self.external_ip.map(|address| address.to_string()))
            .set("protocol", Some(self.protocol))
            .set("port_range_min", Some(self.port.0))
            .set("port_range_max", Some(self.port.1))
            .set("target_ip", Some(target))
            .set("target_port", port)
            .done();
        let reply = session.client.create_port_forward(&self.router, &forward).await?;
        if session.output.value(&reply)? {
            return Ok(());
        }
        let forward = forward_text(&reply["port_forward"]);
        session.output.confirm(&format!("router {} forwards {forward}", self.router))
    }
}

impl Action for ListArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let mut forwards = session.client.list_port_forwards(&self.router).await?;
        if session.output.is_table() {
            for forward in &mut forwards {
                forward["router"] = self.router.as_str().into();
            }
        }
        session.print_list(NOUN.columns, "port_forwards", &forwards, forwards.len(), &World::default())
    }
}

impl Action for RemoveArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        session.client.remove_port_forward(&self.router, &self.forward).await?;
        session.output.confirm(&format!("router {} forwards {} no more", self.router, self.forward))
    }
}

fn wrong(error: &str) -> CliError {
    CliError::usage(error.to_owned(), "write web, web:80 or 10.0.0.5:80".to_owned())
}

/// `tcp:8080 to 10.0.0.5:80`.
fn forward_text(forward: &Value) -> String {
    let external = text(forward, "/external_ip");
    let parts = [external, text(forward, "/protocol"), ports_text(forward)];
    let from: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let target = [text(forward, "/target_ip"), text(forward, "/target_port")].join(":");
    format!("{} to {}", from.join(":"), target.trim_end_matches(':'))
}

/// The forwarded ports of a router as a table.
pub(crate) fn table(router: &Value) -> Table {
    let mut table = Table::new(["EXTERNAL-IP", "PROTO", "PORTS", "TARGET-IP", "TARGET-PORT"]);
    for forward in list(router, "/port_forwards") {
        table.row([
            text(forward, "/external_ip"),
            text(forward, "/protocol"),
            ports_text(forward),
            text(forward, "/target_ip"),
            text(forward, "/target_port"),
        ]);
    }
    table
}

/// Everything that a pool may have.
pub(crate) const POOL_FIELDS: &[&str] = &[
    "addresses",
    "mapping",
    "filtering",
    "paired",
    "port_range_min",
    "port_range_max",
    "preserve_class",
    "preserve_parity",
    "randomize",
    "ports_per_workload",
    "port_block_size",
    "port_blocks_per_workload",
    "port_hold_seconds",
    "high_water_percent",
];

/// `203.0.113.5-203.0.113.9,203.0.113.20,mapping=endpoint_independent,ports=1000,block=512`; `none`.
pub(crate) fn parse_pool(text: &str) -> Result<Value, String> {
    if text == "none" {
        return Ok(Value::Null);
    }
    let mut pool = json!({});
    let mut addresses: Vec<&str> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((key, value)) = part.split_once('=') else {
            match part {
                "unpaired" => pool["paired"] = json!(false),
                "random" => pool["randomize"] = json!(true),
                "parity" => pool["preserve_parity"] = json!(true),
                "class" => pool["preserve_class"] = json!(true),
                address => addresses.push(address),
            }
            continue;
        };
        let number = || value.parse::<u32>().map_err(|_| format!("`{value}` is no number"));
        match key {
            "mapping" | "filtering" => pool[key] = json!(value),
            "ports" => pool["ports_per_workload"] = json!(number()?),
            "block" => pool["port_block_size"] = json!(number()?),
            "blocks" => pool["port_blocks_per_workload"] = json!(number()?),
            "hold" => pool["port_hold_seconds"] = json!(number()?),
            "high-water" => pool["high_water_percent"] = json!(number()?),
            "range" => {
                let (first, last) = parse_ports(value)?;
                pool["port_range_min"] = json!(first);
                pool["port_range_max"] = json!(last);
            }
            _ => {
                let keys = "mapping, filtering, range, ports, block, blocks, hold, high-water";
                return Err(format!("`{key}` is none of {keys}"));
            }
        }
    }
    if !addresses.is_empty() {
        pool["addresses"] = json!(addresses);
    }
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{forward_text, parse_pool};

    #[test]
    fn pools_are_written_short() {
        let pool =
            parse_pool("203.0.113.5-203.0.113.9,203.0.113.20,mapping=endpoint_independent,ports=1000,random");
        let wanted = json!({"addresses": ["203.0.113.5-203.0.113.9", "203.0.113.20"],
            "mapping": "endpoint_independent", "ports_per_workload": 1000, "randomize": true});
        assert_eq!(pool, Ok(wanted));
        assert_eq!(parse_pool("none"), Ok(json!(null)));
        for wrong in ["ports=many", "colour=red", "range=9-x"] {
            assert!(parse_pool(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn forwarded_ports_are_shown_short() {
        let forward = json!({"external_ip": "203.0.113.5", "protocol": "udp", "port_range_min": 5000,
            "port_range_max": 5009, "target_ip": "10.0.0.5"});
        assert_eq!(forward_text(&forward), "203.0.113.5:udp:5000-5009 to 10.0.0.5");
    }
}
