//! Load balancers and their rules: create-, list-, show-, update- and remove-lb, create-, list- and remove-lbr.

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use edgestack_client::Kind;
use serde_json::{Map, Value, json};

use crate::command::Action;
use crate::error::CliError;
use crate::fields::Fields;
use crate::noun::{Column, Create, NoFilter, Noun, Section, Update, Verb, World};
use crate::output::Table;
use crate::session::Session;
use crate::value::{age_since, list, name, text};

/// Arguments of create-lb.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the load balancer
    pub name: String,
    /// Network of the virtual address, a tenant's or an external one
    #[arg(long = "net", alias = "network", value_name = "NETWORK")]
    pub network: String,
    /// The virtual address; the next free one where left out
    #[arg(long, value_name = "IP")]
    pub vip: Option<IpAddr>,
    /// In an external network: the router that the members are behind; found where there is one
    #[arg(long, value_name = "ROUTER")]
    pub router: Option<String>,
    /// Member, like 10.0.0.5, 10.0.0.5:8080, 10.0.0.5,weight=2 or 10.0.0.5,backup (may be repeated)
    #[arg(long = "member", value_name = "IP[:PORT][,weight=N][,backup]", value_parser = parse_member)]
    pub members: Vec<Value>,
    /// Rule, like tcp:80, tcp:80:8080, udp:8000-8100, icmp or all (may be repeated)
    #[arg(long = "rule", value_name = "PROTOCOL[:PORT[-PORT][:TARGET]]", value_parser = parse_rule)]
    pub rules: Vec<Value>,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Arguments of create-lb and update-lb.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// A client's connections go to one member, for so many seconds after its last; 0: each on its own
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10800")]
    pub affinity: Option<u32>,
    /// How members are checked, like tcp, tcp:22, icmp, udp:53 or https:8443/healthz,interval=5,timeout=3,up=2,down=3,codes=200
    #[arg(long, value_name = "tcp|http|https|udp|icmp[:PORT][/PATH][,...]", value_parser = parse_health)]
    pub health: Option<Value>,
    /// What clients hear when no member takes connections
    #[arg(long, value_name = "drop|reject")]
    pub on_no_member: Option<String>,
    /// No new connections
    #[arg(long)]
    pub down: bool,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Arguments of update-lb.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The virtual address
    #[arg(long, value_name = "IP")]
    pub vip: Option<IpAddr>,
    /// Member to add, or to change (may be repeated)
    #[arg(long, value_name = "IP[:PORT][,weight=N][,backup]", value_parser = parse_member)]
    pub add_member: Vec<Value>,
    /// Member to take out; its connections end (may be repeated)
    #[arg(long, value_name = "IP[:PORT]")]
    pub remove_member: Vec<String>,
    /// Member that keeps its connections and gets no new ones (may be repeated)
    #[arg(long, value_name = "IP[:PORT]")]
    pub drain_member: Vec<String>,
    /// A member's share of new connections (may be repeated)
    #[arg(long, value_name = "IP[:PORT]=WEIGHT", value_parser = parse_weight)]
    pub weight: Vec<(String, u16)>,
    /// New connections again
    #[arg(long, conflicts_with = "down")]
    pub up: bool,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Arguments of create-lbr.
#[derive(Debug, Args)]
pub(crate) struct CreateRuleArgs {
    /// Name or id of the load balancer
    pub lb: String,
    /// tcp, udp, sctp, icmp or all
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: String,
    /// Port or range of ports
    #[arg(long, alias = "ports", value_name = "PORT[-PORT]", value_parser = parse_ports)]
    pub port: Option<(u16, u16)>,
    /// The members' port for the first; those of the others follow
    #[arg(long, value_name = "PORT", requires = "port")]
    pub target_port: Option<u16>,
}

/// Arguments of list-lbrs.
#[derive(Debug, Args)]
pub(crate) struct ListRulesArgs {
    /// Only those of this load balancer
    pub lb: Option<String>,
}

/// Arguments of remove-lbr.
#[derive(Debug, Args)]
pub(crate) struct RemoveRuleArgs {
    /// Name or id of the load balancer
    pub lb: String,
    /// The rule: its id, or what it is for, like tcp:80
    pub rule: String,
}

/// Load balancers in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::LoadBalancer,
    word: "lb",
    plural: "lbs",
    aliases: &["load-balancer"],
    title: "Load balancers",
    columns: &[
        Column { title: "NAME", wide: false, text: |lb, _| name(lb) },
        Column { title: "VIP", wide: false, text: |lb, _| text(lb, "/virtual_ip") },
        Column { title: "NETWORK", wide: false, text: |lb, _| text(lb, "/network") },
        Column { title: "RULES", wide: false, text: |lb, _| rules_text(lb) },
        Column { title: "MEMBERS", wide: false, text: |lb, _| members_text(lb) },
        Column { title: "STATUS", wide: false, text: |lb, _| text(lb, "/status/phase") },
        Column { title: "ROUTER", wide: true, text: |lb, _| text(lb, "/router") },
        Column { title: "AFFINITY", wide: true, text: |lb, _| text(lb, "/affinity_seconds") },
        Column { title: "AGE", wide: true, text: |lb, _| age_since(&text(lb, "/created_at")) },
        Column { title: "ID", wide: true, text: |lb, _| text(lb, "/id") },
    ],
    needs: &[],
    address_field: Some("virtual_ip"),
    summary: |lb| [text(lb, "/virtual_ip"), rules_text(lb)].join(" ").trim().to_owned(),
    sections,
    verbs: &[
        Verb::create::<CreateArgs>("Create a load balancer"),
        Verb::list::<NoFilter>("List load balancers"),
        Verb::show("Show a load balancer with its rules and members"),
        Verb::update::<UpdateArgs>("Change a load balancer: its members, their weights, who is drained"),
        Verb::remove("Remove load balancers"),
    ],
};

/// Their rules in commands.
pub(crate) static RULE_NOUN: Noun = Noun {
    kind: Kind::LoadBalancer,
    word: "lbr",
    plural: "lbrs",
    aliases: &["lb-rule"],
    title: "What they balance",
    columns: &[
        Column { title: "LB", wide: false, text: |rule, _| text(rule, "/lb_name") },
        Column { title: "RULE", wide: false, text: |rule, _| text(rule, "/id") },
        Column { title: "PROTO", wide: false, text: |rule, _| text(rule, "/protocol") },
        Column { title: "PORTS", wide: false, text: |rule, _| ports_text(rule) },
        Column { title: "TARGET", wide: false, text: |rule, _| text(rule, "/target_port") },
    ],
    needs: &[],
    address_field: None,
    summary: rule_text,
    sections: |_, _| Vec::new(),
    verbs: &[
        Verb::action::<CreateRuleArgs>("create", "Add a rule to a load balancer"),
        Verb::action::<ListRulesArgs>("list", "List rules of load balancers").plural().or(&["ls"]),
        Verb::action::<RemoveRuleArgs>("remove", "Remove a rule from a load balancer").or(&["rm", "delete"]),
    ],
};

/// Everything that a check may have.
const HEALTH_FIELDS: &[&str] = &[
    "port",
    "send",
    "path",
    "host",
    "expected_codes",
    "interval_seconds",
    "timeout_seconds",
    "healthy_threshold",
    "unhealthy_threshold",
];

/// An object that takes the place of the one before: an update would keep what is not named.
pub(crate) fn whole(mut object: Value, fields: &[&str]) -> Value {
    if let Some(given) = object.as_object_mut() {
        for field in fields {
            given.entry(*field).or_insert(Value::Null);
        }
    }
    object
}

impl CommonArgs {
    fn add(self, fields: Fields) -> Fields {
        fields
            .set("affinity_seconds", self.affinity)
            .set("health_check", self.health.map(|health| whole(health, HEALTH_FIELDS)))
            .set("on_no_member", self.on_no_member)
            .set("admin_state_up", self.down.then_some(false))
            .set("description", self.description)
    }
}

impl Create for CreateArgs {
    fn fields(self) -> Map<String, Value> {
        let fields = Fields::new()
            .set("name", Some(self.name))
            .set("network", Some(self.network))
            .set("virtual_ip", self.vip.map(|address| address.to_string()))
            .set("router", self.router)
            .set_list("members", self.members)
            .set_list("rules", self.rules);
        self.common.add(fields).done()
    }
}

impl Update for UpdateArgs {
    async fn fields(self, session: &Session, name: &str) -> Result<Map<String, Value>, CliError> {
        let mut fields = Fields::new()
            .set("virtual_ip", self.vip.map(|address| address.to_string()))
            .set("admin_state_up", self.up.then_some(true));
        let changes = !(self.add_member.is_empty()
            && self.remove_member.is_empty()
            && self.drain_member.is_empty()
            && self.weight.is_empty());
        if changes {
            let load_balancer: Value = session.client.get(Kind::LoadBalancer, name).await?;
            let mut members: Vec<Value> = list(&load_balancer, "/members").iter().map(in_full).collect();
            for member in &self.add_member {
                let member = in_full(member);
                match members.iter_mut().find(|known| member_name(known) == member_name(&member)) {
                    Some(known) => *known = member,
                    None => members.push(member),
                }
            }
            let drained = self.drain_member.iter().map(|member| (member.clone(), 0));
            for (reference, weight) in self.weight.iter().cloned().chain(drained) {
                let known = members.iter_mut().find(|known| member_name(known) == reference);
                known.ok_or_else(|| no_member(name, &reference))?["weight"] = json!(weight);
            }
            for reference in &self.remove_member {
                let before = members.len();
                members.retain(|known| member_name(known) != *reference);
                if members.len() == before {
                    return Err(no_member(name, reference));
                }
            }
            fields = fields.set("members", Some(members));
        }
        Ok(self.common.add(fields).done())
    }
}

impl Action for CreateRuleArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let reference = session.resolve(&NOUN, &self.lb).await?;
        let (first, last) = self.port.unzip();
        let rule = Fields::new()
            .set("protocol", Some(self.protocol))
            .set("port_range_min", first)
            .set("port_range_max", last)
            .set("target_port", self.target_port)
            .done();
        let reply = session.client.create_lb_rule(&reference, &rule).await?;
        if session.output.value(&reply)? {
            return Ok(());
        }
        let rule = rule_text(&reply["lb_rule"]);
        session.output.confirm(&format!("created rule {rule} of load balancer {}", self.lb))
    }
}

impl Action for ListRulesArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let reference = match &self.lb {
            Some(lb) => Some(session.resolve(&NOUN, lb).await?),
            None => None,
        };
        let rules = session.client.list_lb_rules(reference.as_deref()).await?;
        session.print_list(RULE_NOUN.columns, "lb_rules", &rules, rules.len(), &World::default())
    }
}

impl Action for RemoveRuleArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let reference = session.resolve(&NOUN, &self.lb).await?;
        session.client.remove_lb_rule(&reference, &self.rule).await?;
        session.output.confirm(&format!("removed rule {} of load balancer {}", self.rule, self.lb))
    }
}

fn no_member(name: &str, reference: &str) -> CliError {
    CliError::NotFound(format!("load balancer `{name}` has no member `{reference}`"))
}

/// A member with all its fields; the API shows an address alone where nothing else is set.
fn in_full(member: &Value) -> Value {
    let mut full = json!({ "weight": 1, "backup": false, "admin_state_up": true });
    match member {
        Value::Object(fields) => {
            for (key, value) in fields {
                full[key] = value.clone();
            }
        }
        address => full["address"] = address.clone(),
    }
    full
}

/// What a member is known by.
fn member_name(member: &Value) -> String {
    let member = in_full(member);
    let address = text(&member, "/address");
    match (member["port"].as_u64(), address.parse::<IpAddr>()) {
        (Some(port), Ok(address)) => SocketAddr::new(address, port as u16).to_string(),
        _ => address,
    }
}

fn sections(load_balancer: &Value, _: &World) -> Vec<Section> {
    let mut rules = Table::new(["RULE", "PROTO", "PORTS", "TARGET"]);
    for rule in list(load_balancer, "/rules") {
        rules.row([text(rule, "/id"), text(rule, "/protocol"), ports_text(rule), text(rule, "/target_port")]);
    }
    let mut members = Table::new(["MEMBER", "WEIGHT", "BACKUP", "UP", "HEALTH", "REASON"]);
    for member in list(load_balancer, "/members") {
        let full = in_full(member);
        let kind = format!("Member {}", member_name(member));
        let conditions = list(load_balancer, "/status/conditions");
        let none = Value::Null;
        let condition = conditions.iter().find(|condition| condition["type"] == *kind).unwrap_or(&none);
        members.row([
            member_name(member),
            text(&full, "/weight"),
            text(&full, "/backup"),
            text(&full, "/admin_state_up"),
            text(condition, "/reason"),
            text(condition, "/message"),
        ]);
    }
    vec![
        Section { title: "Rules", replaces: Some("rules"), table: rules },
        Section { title: "Members", replaces: Some("members"), table: members },
    ]
}

/// Members that are there and well, of all: `2/3`.
fn members_text(load_balancer: &Value) -> String {
    let conditions = list(load_balancer, "/status/conditions").iter();
    let well = conditions
        .filter(|condition| text(condition, "/type").starts_with("Member ") && condition["status"] == "True");
    format!("{}/{}", well.count(), list(load_balancer, "/members").len())
}

fn rules_text(load_balancer: &Value) -> String {
    list(load_balancer, "/rules").iter().map(rule_text).collect::<Vec<_>>().join(",")
}

/// `tcp:80`, `tcp:80:8080`, `udp:8000-8100`, `icmp`.
fn rule_text(rule: &Value) -> String {
    let parts = [text(rule, "/protocol"), ports_text(rule), text(rule, "/target_port")];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(":")
}

pub(crate) fn ports_text(rule: &Value) -> String {
    let (first, last) = (text(rule, "/port_range_min"), text(rule, "/port_range_max"));
    if last.is_empty() || first == last { first } else { format!("{first}-{last}") }
}

/// `10.0.0.5`, `10.0.0.5:8080,weight=2`, `10.0.0.5,backup`.
fn parse_member(member: &str) -> Result<Value, String> {
    let mut parts = member.split(',');
    let address = parts.next().unwrap_or_default().trim();
    let mut fields = match (address.parse::<SocketAddr>(), address.parse::<IpAddr>()) {
        (Ok(socket), _) => json!({ "address": socket.ip(), "port": socket.port() }),
        (_, Ok(address)) => json!({ "address": address }),
        _ => return Err(format!("`{address}` is no address; write 10.0.0.5 or 10.0.0.5:8080")),
    };
    for part in parts {
        match part.trim().split_once('=').unwrap_or((part.trim(), "")) {
            ("weight", weight) => {
                let weight: u16 = weight.parse().map_err(|_| format!("`{weight}` is no weight: 0 to 256"))?;
                fields["weight"] = json!(weight);
            }
            ("backup", "") => fields["backup"] = json!(true),
            (other, _) => return Err(format!("`{other}` is neither weight=N nor backup")),
        }
    }
    Ok(fields)
}

/// `tcp:80`, `tcp:80:8080`, `udp:8000-8100`, `icmp`, `all`.
fn parse_rule(rule: &str) -> Result<Value, String> {
    let mut parts = rule.split(':');
    let mut fields = json!({ "protocol": parts.next().unwrap_or_default() });
    if let Some(ports) = parts.next() {
        let (first, last) = parse_ports(ports)?;
        fields["port_range_min"] = json!(first);
        fields["port_range_max"] = json!(last);
    }
    if let Some(target) = parts.next() {
        fields["target_port"] = json!(parse_port(target)?);
    }
    match parts.next() {
        Some(_) => Err(format!("`{rule}` has too many parts; write tcp:80 or tcp:80:8080")),
        None => Ok(fields),
    }
}

/// `tcp`, `tcp:22`, `http:8080/healthz,interval=5,timeout=3,up=2,down=3,codes=200-299,host=example.com`; `none`.
fn parse_health(text: &str) -> Result<Value, String> {
    if text == "none" {
        return Ok(Value::Null);
    }
    let mut parts = text.split(',');
    let asked = parts.next().unwrap_or_default();
    let (asked, path) = asked.find('/').map_or((asked, ""), |at| asked.split_at(at));
    let (kind, port) = asked.split_once(':').unwrap_or((asked, ""));
    let mut fields = json!({ "type": kind });
    if !port.is_empty() {
        fields["port"] = json!(parse_port(port)?);
    }
    if !path.is_empty() {
        fields["path"] = json!(path);
    }
    for part in parts {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is no KEY=VALUE"))?;
        let number = || {
            let digits = value.strip_suffix('s').unwrap_or(value);
            digits.parse::<u32>().map_err(|_| format!("`{value}` is no number"))
        };
        let (field, value) = match key {
            "interval" => ("interval_seconds", json!(number()?)),
            "timeout" => ("timeout_seconds", json!(number()?)),
            "up" => ("healthy_threshold", json!(number()?)),
            "down" => ("unhealthy_threshold", json!(number()?)),
            "codes" => ("expected_codes", json!(value)),
            "host" => ("host", json!(value)),
            "send" => ("send", json!(value)),
            _ => return Err(format!("`{key}` is none of interval, timeout, up, down, codes, host, send")),
        };
        fields[field] = value;
    }
    Ok(fields)
}

pub(crate) fn parse_ports(ports: &str) -> Result<(u16, u16), String> {
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    Ok((parse_port(first)?, parse_port(last)?))
}

pub(crate) fn parse_port(port: &str) -> Result<u16, String> {
    port.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("`{port}` is no port: 1 to 65535"))
}

fn parse_weight(text: &str) -> Result<(String, u16), String> {
    let (member, weight) = text.split_once('=').ok_or("write MEMBER=WEIGHT, like 10.0.0.5=2")?;
    let weight = weight.parse().map_err(|_| format!("`{weight}` is no weight: 0 to 256"))?;
    Ok((member.to_owned(), weight))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{HEALTH_FIELDS, member_name, parse_health, parse_member, parse_rule, rule_text, whole};

    #[test]
    fn members_are_written_short() {
        assert_eq!(parse_member("10.0.0.5"), Ok(json!({ "address": "10.0.0.5" })));
        let member = parse_member("10.0.0.5:8080,weight=2,backup").unwrap();
        assert_eq!(member, json!({ "address": "10.0.0.5", "port": 8080, "weight": 2, "backup": true }));
        assert_eq!(member_name(&member), "10.0.0.5:8080");
        assert_eq!(member_name(&json!("10.0.0.5")), "10.0.0.5");
        for wrong in ["web", "10.0.0.5,weight=x", "10.0.0.5,standby"] {
            assert!(parse_member(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn checks_are_written_short() {
        let check = parse_health("http:8080/healthz,interval=5s,down=2,codes=200").unwrap();
        let wanted = json!({ "type": "http", "port": 8080, "path": "/healthz", "interval_seconds": 5,
            "unhealthy_threshold": 2, "expected_codes": "200" });
        assert_eq!(check, wanted);
        assert_eq!(parse_health("tcp"), Ok(json!({ "type": "tcp" })));
        assert_eq!(parse_health("none"), Ok(json!(null)));
        for wrong in ["tcp:x", "tcp,interval", "tcp,pause=5"] {
            assert!(parse_health(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_check_takes_the_place_of_the_one_before() {
        let check = whole(parse_health("icmp,interval=1").unwrap(), HEALTH_FIELDS);
        assert_eq!((&check["interval_seconds"], check.get("path")), (&json!(1), Some(&json!(null))));
        assert_eq!(whole(parse_health("none").unwrap(), HEALTH_FIELDS), json!(null));
    }

    #[test]
    fn rules_are_written_short_and_shown_alike() {
        for rule in ["tcp:80", "tcp:80:8080", "udp:8000-8100", "udp:8000-8100:9000", "icmp", "all"] {
            assert_eq!(rule_text(&parse_rule(rule).unwrap()), rule);
        }
        for wrong in ["tcp:0", "tcp:80:81:82", "tcp:80-"] {
            assert!(parse_rule(wrong).is_err(), "{wrong}");
        }
    }
}
