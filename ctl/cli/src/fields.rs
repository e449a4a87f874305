//! Building the fields of a request from arguments, and the arguments that several nouns share.

use std::net::IpAddr;

use clap::Args;
use edgestack_model::Selector;
use serde_json::{Map, Value, json};

/// Fields of a request; what the user left out is not in it, so that the daemon's defaults hold.
#[derive(Debug, Default)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// No fields.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Sets a field where there is a value.
    #[must_use]
    pub(crate) fn set(mut self, key: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value.into());
        }
        self
    }

    /// Sets a field to a list unless the list is empty.
    #[must_use]
    pub(crate) fn set_list<T: Into<Value>>(self, key: &str, values: Vec<T>) -> Self {
        let list: Vec<Value> = values.into_iter().map(Into::into).collect();
        let value = (!list.is_empty()).then_some(list);
        self.set(key, value)
    }

    /// The fields.
    pub(crate) fn done(self) -> Map<String, Value> {
        self.0
    }
}

/// Arguments of a list command.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListArgs {
    /// Only these
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Only those with these labels, like tier=web,stage!=test
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = parse_selector)]
    pub selector: Option<String>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", value_parser = parse_limit)]
    pub limit: Option<usize>,
    /// A column with the labels
    #[arg(long)]
    pub show_labels: bool,
    /// Order by a column or by a field, like mtu or .status.phase
    #[arg(long, value_name = "COLUMN|FIELD")]
    pub sort_by: Option<String>,
    /// Go on and show what happens, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
}

/// Arguments of a show command.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Name or id
    pub name: String,
    /// Show it again whenever it changes, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
}

/// Arguments of every create and update command.
#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    /// Label to set; KEY- takes one away (may be repeated)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, Option<String>)>,
    /// Say what would be done, and what it would touch, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Wait until it is in effect, at most --timeout
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
}

impl WriteArgs {
    /// The fields of a request, with the labels among them.
    pub(crate) fn add_labels(&self, mut fields: Map<String, Value>) -> Map<String, Value> {
        if !self.labels.is_empty() {
            let labels: Map<String, Value> =
                self.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
            fields.insert("labels".to_owned(), labels.into());
        }
        fields
    }
}

/// Arguments of a remove command.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Names or ids
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// What does not exist is no error
    #[arg(long)]
    pub if_exists: bool,
    /// Remove also everything that uses them
    #[arg(long)]
    pub cascade: bool,
    /// Say what would be removed, and what it would touch, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Wait until they are gone, at most --timeout
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
}

/// `key=value` of a label; `key-` takes it away.
fn parse_label(text: &str) -> Result<(String, Option<String>), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), Some(value.to_owned()))),
        None => match text.strip_suffix('-') {
            Some(key) => Ok((key.to_owned(), None)),
            None => Err("write KEY=VALUE, or KEY- to take it away".to_owned()),
        },
    }
}

/// A label selector, as the API has it.
pub(crate) fn parse_selector(text: &str) -> Result<String, String> {
    Selector::parse(text).map(|_| text.to_owned()).map_err(|refusal| refusal.message)
}

fn parse_limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number from 1 on".to_owned()),
        Ok(limit) => Ok(limit),
    }
}

/// Splits `first<separator>rest` in two.
fn halves<'a>(text: &'a str, separator: char, form: &str) -> Result<(&'a str, &'a str), String> {
    text.split_once(separator).ok_or_else(|| format!("write it as {form}"))
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is no IP address"))
}

/// `start-end` of an address pool, as the API has it.
pub(crate) fn parse_pool(text: &str) -> Result<Value, String> {
    let (start, end) = halves(text, '-', "START-END, like 10.0.0.10-10.0.0.99")?;
    let (start, end) = (address(start)?, address(end)?);
    if start > end {
        return Err(format!("{start} is behind {end}"));
    }
    Ok(json!({ "start": start, "end": end }))
}

/// `start-end` or one address that is reserved, as the API has it.
pub(crate) fn parse_reservation(text: &str) -> Result<Value, String> {
    if text.contains('-') { parse_pool(text) } else { Ok(json!({ "start": address(text)? })) }
}

/// `destination,nexthop` of a route, as the API has it.
pub(crate) fn parse_route(text: &str) -> Result<Value, String> {
    let (destination, nexthop) = halves(text, ',', "CIDR,NEXTHOP, like 10.9.0.0/16,10.0.0.7")?;
    Ok(json!({ "destination": destination.trim(), "nexthop": address(nexthop)? }))
}

/// `ip[,mac]` of an address pair or a peer router, as the API has it under the name `key`.
pub(crate) fn parse_ip_and_mac(text: &str, ip_key: &str, mac_key: &str) -> Result<Value, String> {
    let (ip, mac) = match text.split_once(',') {
        Some((ip, mac)) => (ip.trim(), Some(mac.trim())),
        None => (text.trim(), None),
    };
    let plain = ip.split_once('/').map_or(ip, |(address, _)| address);
    address(plain)?;
    let mut pair = json!({ ip_key: ip });
    if let Some(mac) = mac {
        let mac: edgestack_dataplane::address::MacAddress =
            mac.parse().map_err(|error: edgestack_dataplane::address::AddressError| error.to_string())?;
        pair[mac_key] = mac.to_string().into();
    }
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Fields, parse_ip_and_mac, parse_pool, parse_reservation, parse_route};

    #[test]
    fn what_is_left_out_is_not_sent() {
        let fields =
            Fields::new().set("a", Some(1)).set("b", None::<i32>).set_list("c", Vec::<String>::new());
        assert_eq!(serde_json::Value::Object(fields.done()), json!({ "a": 1 }));
    }

    #[test]
    fn compound_arguments_have_the_form_of_the_api() {
        assert_eq!(
            parse_pool("10.0.0.10-10.0.0.99").unwrap(),
            json!({"start": "10.0.0.10", "end": "10.0.0.99"})
        );
        assert!(parse_pool("10.0.0.99-10.0.0.10").unwrap_err().contains("behind"));
        assert!(parse_pool("10.0.0.99").unwrap_err().contains("START-END"));
        assert_eq!(parse_reservation("fd00::9").unwrap(), json!({"start": "fd00::9"}));
        assert_eq!(
            parse_reservation("fd00::8-fd00::9").unwrap(),
            json!({"start": "fd00::8", "end": "fd00::9"})
        );
        assert!(parse_reservation("ten").unwrap_err().contains("no IP address"));
        assert_eq!(
            parse_route("10.9.0.0/16,10.0.0.7").unwrap(),
            json!({"destination": "10.9.0.0/16", "nexthop": "10.0.0.7"})
        );
        assert_eq!(
            parse_ip_and_mac("10.0.0.0/24,02:00:00:00:00:01", "ip_address", "mac_address").unwrap(),
            json!({"ip_address": "10.0.0.0/24", "mac_address": "02:00:00:00:00:01"})
        );
        assert_eq!(parse_ip_and_mac("203.0.113.1", "ip", "mac").unwrap(), json!({"ip": "203.0.113.1"}));
        assert!(parse_ip_and_mac("203.0.113.1,02:00", "ip", "mac").unwrap_err().contains("MAC"));
    }
}
