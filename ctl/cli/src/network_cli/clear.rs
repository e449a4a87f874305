//! `network-cli clear`: ends connections, in both tiers at once. And the words that name connections, which `show flows` takes too.

use std::net::{IpAddr, SocketAddr};

use clap::{Args, ValueEnum};
use edgestack_dataplane::inspect::FlowFilter;
use serde_json::json;

use crate::confirm::confirm;
use crate::error::CliError;
use crate::output::print;
use crate::session::Session;

/// What can be cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClearName {
    /// Connections
    #[value(alias = "conntrack")]
    Flows,
}

/// Arguments of clear.
#[derive(Debug, Args)]
pub(crate) struct ClearArgs {
    /// Table
    #[arg(value_enum)]
    pub table: ClearName,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// All connections, where nothing else is named
    #[arg(long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Which connections are meant: those that all of it holds for.
#[derive(Debug, Default, Args)]
pub(crate) struct FilterArgs {
    /// Flows: only those in or out of this port
    #[arg(long, value_name = "NAME")]
    pub port: Option<String>,
    /// Flows: only this protocol, by name or number
    #[arg(long, value_name = "tcp|udp|icmp|sctp|gre|NUMBER")]
    pub protocol: Option<String>,
    /// Flows: only those with this address on any side
    #[arg(long, value_name = "IP[:PORT]")]
    pub address: Option<String>,
    /// Flows: only those with this TCP, UDP or SCTP port on any side
    #[arg(long, value_name = "NUMBER")]
    pub transport_port: Option<u16>,
    /// Flows: only those in this state
    #[arg(long, value_name = "established|closing|...")]
    pub state: Option<String>,
    /// Flows: only those of workloads of this project
    #[arg(long, value_name = "NAME")]
    pub of_project: Option<String>,
}

impl FilterArgs {
    /// The filter.
    pub(crate) fn filter(&self) -> Result<FlowFilter, CliError> {
        let Self { port, protocol, address, transport_port, state, of_project } = self;
        let (address, port_of_address) = match address {
            Some(text) => endpoint(text)?,
            None => (None, None),
        };
        if transport_port.is_some() && port_of_address.is_some() {
            let hint = "leave the port out of --address";
            return Err(CliError::usage("--transport-port and --address both name a port".to_owned(), hint));
        }
        Ok(FlowFilter {
            protocol: protocol.clone(),
            address,
            transport_port: transport_port.or(port_of_address),
            state: state.clone(),
            port: port.clone(),
            project: of_project.clone(),
        })
    }
}

fn endpoint(text: &str) -> Result<(Option<IpAddr>, Option<u16>), CliError> {
    if let Ok(address) = text.parse() {
        return Ok((Some(address), None));
    }
    let endpoint: SocketAddr = text.parse().map_err(|_| {
        CliError::usage(format!("{text} is no address"), "--address 10.0.0.5 or 10.0.0.5:443")
    })?;
    Ok((Some(endpoint.ip()), Some(endpoint.port())))
}

/// Ends the connections that are named.
pub(crate) async fn run(session: &Session, args: &ClearArgs) -> Result<(), CliError> {
    let ClearName::Flows = args.table;
    let filter = args.filter.filter()?;
    let is_everything = filter == FlowFilter::default();
    if is_everything != args.all {
        let message = "name what to end, or --all alone".to_owned();
        return Err(CliError::usage(message, "clear flows --address 10.0.0.5, or clear flows --all"));
    }
    if is_everything {
        confirm(args.yes, "End all connections of this host?")?;
    }
    let ended = session.client.clear_flows(&filter).await?;
    let body = json!({ "connections": ended });
    let text = session.output.text(&body).unwrap_or_else(|| {
        let connections = if ended == 1 { "connection" } else { "connections" };
        Ok(format!("ended {ended} {connections}\n"))
    });
    print(&text?)
}

#[cfg(test)]
mod tests {
    use super::FilterArgs;

    #[test]
    fn an_address_may_have_a_port() {
        let filter = |address: &str, transport_port| {
            let address = Some(address.to_owned());
            FilterArgs { address, transport_port, ..FilterArgs::default() }.filter()
        };
        let found = filter("10.0.0.5:443", None).unwrap();
        assert_eq!((found.address, found.transport_port), ("10.0.0.5".parse().ok(), Some(443)));
        let found = filter("[fd00::1]:53", None).unwrap();
        assert_eq!((found.address, found.transport_port), ("fd00::1".parse().ok(), Some(53)));
        assert_eq!(filter("fd00::1", Some(7)).unwrap().transport_port, Some(7));
        assert!(filter("10.0.0.5:443", Some(7)).is_err());
        assert!(filter("nobody", None).is_err());
    }
}
