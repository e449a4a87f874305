//! Statuses: what became of each object, computed from the mirror and from what the dataplane says of its ports.
//!
//! Every object says what it waits for. Written only here, and only where something changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use edgestack_dataplane::inspect::{LoadBalancerView, MemberView, PortView};
use edgestack_dataplane::snapshot::load_balancer::Health;
use edgestack_model::floating_ip::InstanceType;
use edgestack_model::network::NetworkType;
use edgestack_model::{Condition, ConditionStatus, Kind, LoadBalancerSpec, NetworkSpec, Phase, Spec, Status};

use super::mirror::Mirror;
use super::network::{Uplink, is_carried};
use super::{overlay, waits};
use crate::app::record::{Record, status_key};
use crate::health::Board;

/// What statuses are computed from, beside the objects.
#[derive(Debug)]
pub struct Situation<'a> {
    /// Uplinks of the daemon's configuration.
    pub uplinks: &'a [Uplink],
    /// What the dataplane says of its ports, by id; none while it is off.
    pub ports: Option<BTreeMap<String, PortView>>,
    /// What the dataplane says of its load balancers.
    pub load_balancers: Vec<LoadBalancerView>,
    /// What checks say of their members.
    pub board: &'a Board,
    /// What the dataplane refused, by kind and name of the object.
    pub refused: &'a [(String, String)],
    /// What stands in the way of an interface that a port asks for, by the id of the port.
    pub unplugged: &'a BTreeMap<String, String>,
    /// Nothing that is new is in effect because of it.
    pub blocked: bool,
}

/// The status of every object, by the key of the store.
pub fn compute(mirror: &Mirror, situation: &Situation<'_>) -> BTreeMap<String, Status> {
    let mut statuses = BTreeMap::new();
    // Labels are what the dataplane calls objects when it refuses them: some by name, some by what it knows instead.
    for network in mirror.networks.values() {
        let label = format!("network {}", network.shown_name());
        insert(&mut statuses, network, &label, network_condition(network, situation), situation);
        add(&mut statuses, network, waits::network(&network.spec));
    }
    for port in mirror.ports.values() {
        let label = format!("port {}", port.shown_name());
        insert(&mut statuses, port, &label, port_condition(port, mirror, situation), situation);
    }
    for router in mirror.routers.values() {
        let label = format!("router {}", router.shown_name());
        insert(&mut statuses, router, &label, router_condition(router, mirror, situation), situation);
        add(&mut statuses, router, port_forward_conditions(router, mirror));
    }
    for balancer in mirror.load_balancers.values() {
        let label = format!("load balancer {}", balancer.shown_name());
        let (finding, members) = load_balancer_condition(balancer, situation);
        insert(&mut statuses, balancer, &label, finding, situation);
        add(&mut statuses, balancer, members);
    }
    for floating_ip in mirror.floating_ips.values() {
        let address = floating_ip.spec.floating_ip.map_or_else(String::new, |address| address.to_string());
        let finding = floating_ip_condition(floating_ip, mirror, situation);
        insert(&mut statuses, floating_ip, &format!("floating IP {address}"), finding, situation);
    }
    for group in mirror.security_groups.values() {
        let label = format!("security group {}", group.shown_name());
        insert(&mut statuses, group, &label, realized(situation), situation);
    }
    for group in mirror.address_groups.values() {
        let label = format!("address group {}", group.shown_name());
        insert(&mut statuses, group, &label, realized(situation), situation);
    }
    for rule in mirror.rules.values() {
        let label = format!("security group rule {}", rule.id);
        insert(&mut statuses, rule, &label, rule_condition(rule, situation), situation);
    }
    statuses
}

/// A phase and the condition `Ready` that explains it.
struct Finding {
    phase: Phase,
    ready: bool,
    reason: &'static str,
    message: String,
}

impl Finding {
    fn active() -> Self {
        Self { phase: Phase::Active, ready: true, reason: "Realized", message: String::new() }
    }

    fn pending(reason: &'static str, message: impl Into<String>) -> Self {
        Self { phase: Phase::Pending, ready: false, reason, message: message.into() }
    }

    fn down(reason: &'static str, message: impl Into<String>) -> Self {
        Self { phase: Phase::Down, ready: false, reason, message: message.into() }
    }
}

fn insert<S: Spec>(
    statuses: &mut BTreeMap<String, Status>,
    record: &Record<S>,
    label: &str,
    finding: Finding,
    situation: &Situation<'_>,
) {
    let refusal = situation.refused.iter().find(|(object, _)| object == label);
    let finding = match refusal {
        Some((_, message)) => {
            Finding { phase: Phase::Error, ready: false, reason: "Refused", message: message.clone() }
        }
        None => finding,
    };
    let condition = Condition {
        kind: "Ready".to_owned(),
        status: if finding.ready { ConditionStatus::True } else { ConditionStatus::False },
        reason: finding.reason.to_owned(),
        message: finding.message,
    };
    let status =
        Status { phase: finding.phase, observed_generation: record.generation, conditions: vec![condition] };
    statuses.insert(status_key(S::KIND.plural(), &record.id), status);
}

/// Adds conditions to the status of an object.
fn add<S: Spec>(statuses: &mut BTreeMap<String, Status>, record: &Record<S>, conditions: Vec<Condition>) {
    if let Some(status) = statuses.get_mut(&status_key(S::KIND.plural(), &record.id)) {
        status.conditions.extend(conditions);
    }
}

/// What holds for every object before anything of its own does.
fn realized(situation: &Situation<'_>) -> Finding {
    if situation.ports.is_none() {
        return Finding::pending("DataplaneOff", "the dataplane does not run on this host");
    }
    match situation.refused.first().filter(|_| situation.blocked) {
        Some((object, message)) => Finding::pending(
            "ApplyRefused",
            format!("the dataplane keeps the configuration before, because of the {object}: {message}"),
        ),
        None => Finding::active(),
    }
}

fn network_condition(network: &Record<edgestack_model::NetworkSpec>, situation: &Situation<'_>) -> Finding {
    let spec = &network.spec;
    if !spec.external && spec.physnet_name.is_none() {
        return match realized(situation) {
            Finding { ready: true, .. } if spec.network_type == NetworkType::Vlan => Finding::pending(
                "NotCarriedBetweenHosts",
                "without physnet_name the network leaves by no uplink; workloads of this host reach each other",
            ),
            other => other,
        };
    }
    let physnet = spec.physnet_name.as_deref().unwrap_or_default();
    let Some(uplink) = situation.uplinks.iter().find(|uplink| uplink.physical_network == physnet) else {
        let message =
            format!("no [[uplink]] of the daemon's configuration has physical_network = \"{physnet}\"");
        return Finding::pending("NoUplink", message);
    };
    if !overlay::leaves_by(spec, uplink) {
        let message = format!(
            "what leaves by the uplink `{}` without a tag is the overlay's; a network of type VLAN can be beside it",
            uplink.name
        );
        return Finding::pending("UplinkInUse", message);
    }
    match situation.ports.as_ref().and_then(|ports| ports.get(&uplink.port_id(&network.id))) {
        Some(port) if port.state != "up" => Finding::pending("WaitingForUplink", port.reason.clone()),
        _ => realized(situation),
    }
}

fn port_condition(
    port: &Record<edgestack_model::PortSpec>,
    mirror: &Mirror,
    situation: &Situation<'_>,
) -> Finding {
    if !port.spec.admin_state_up {
        return Finding::down("AdminDown", "admin_state_up is false");
    }
    if let Some(host) = &port.spec.host {
        if is_on_physical_network(port, mirror) {
            return realized(situation);
        }
        let overlays = situation.uplinks.iter().filter_map(|uplink| uplink.overlay.as_ref());
        if !overlays.flat_map(|overlay| &overlay.tunnels.peers).any(|peer| peer.name == *host) {
            let message = format!("no [[overlay.peer]] of the daemon's configuration has name = \"{host}\"");
            return Finding::pending("NoPeer", message);
        }
        return realized(situation);
    }
    let Some(interface) = &port.spec.interface else {
        return Finding::pending(
            "NotPlugged",
            "neither `interface` nor `plug` is set: the port waits for one",
        );
    };
    if situation.uplinks.iter().any(|uplink| uplink.interface == *interface) {
        return Finding::pending(
            "InterfaceInUse",
            format!("the interface `{interface}` is an uplink of this host"),
        );
    }
    let Some(ports) = &situation.ports else { return realized(situation) };
    if let Some(reason) = situation.unplugged.get(&port.id) {
        return Finding::pending("NotPlugged", reason.clone());
    }
    match ports.get(&port.id) {
        Some(view) if view.state == "up" => realized(situation),
        Some(view) => {
            let message = if view.reason.is_empty() {
                format!("the interface `{interface}` is {}", view.state)
            } else {
                view.reason.clone()
            };
            Finding::pending("WaitingForInterface", message)
        }
        None => match realized(situation) {
            Finding { phase: Phase::Active, .. } => Finding::pending(
                "WaitingForInterface",
                format!("the interface `{interface}` is not attached yet"),
            ),
            other => other,
        },
    }
}

/// Whether the port's network is reached by a physical one, whatever host its workload is on.
fn is_on_physical_network(port: &Record<edgestack_model::PortSpec>, mirror: &Mirror) -> bool {
    let is_its = |network: &&Arc<Record<NetworkSpec>>| {
        network.name == port.spec.network && (network.project == port.project || network.project.is_none())
    };
    mirror.networks.values().find(is_its).is_some_and(|network| network.spec.physnet_name.is_some())
}

fn rule_condition(
    rule: &Record<edgestack_model::SecurityGroupRuleSpec>,
    situation: &Situation<'_>,
) -> Finding {
    if is_carried(rule) {
        return realized(situation);
    }
    let message = format!(
        "the ports of the protocol {} are not known in this version; a rule without ports allows it",
        rule.spec.protocol
    );
    Finding::pending("UnsupportedPorts", message)
}

/// The state of a load balancer, and a condition for each of its members.
fn load_balancer_condition(
    balancer: &Record<LoadBalancerSpec>,
    situation: &Situation<'_>,
) -> (Finding, Vec<Condition>) {
    let view = situation.load_balancers.iter().find(|view| view.id == balancer.id);
    let members = view.map_or(&[][..], |view| &view.members);
    let conditions = members.iter().map(|member| member_condition(&balancer.id, member, situation.board));
    let finding = match realized(situation) {
        Finding { ready: true, .. } if !balancer.spec.admin_state_up => {
            Finding::down("AdminDown", "admin_state_up is false")
        }
        Finding { ready: true, .. } if balancer.spec.rules.is_empty() => {
            Finding::pending("NoRules", "nothing is balanced: the load balancer has no rules")
        }
        Finding { ready: true, .. } if members.iter().all(|member| !member.takes) => {
            Finding::pending("NoMember", "no member takes connections")
        }
        other => other,
    };
    (finding, conditions.collect())
}

fn member_condition(load_balancer: &str, member: &MemberView, board: &Board) -> Condition {
    let state = board.state(load_balancer, &member.name);
    let (status, reason, message) = match (&member.port, state) {
        (None, _) => (ConditionStatus::False, "Absent", "no port has its address".to_owned()),
        (_, Some(state)) => {
            let message = format!("since {}: {}", state.since, state.reason);
            match state.health {
                Health::Healthy if member.weight == 0 => {
                    (ConditionStatus::True, "Draining", format!("it gets no new connections; well {message}"))
                }
                Health::Healthy => (ConditionStatus::True, "Healthy", message),
                Health::Unhealthy => (ConditionStatus::False, "Unhealthy", message),
                Health::Unchecked => (ConditionStatus::Unknown, "Unchecked", message),
            }
        }
        _ if member.weight == 0 => {
            (ConditionStatus::True, "Draining", "it gets no new connections".to_owned())
        }
        _ => (ConditionStatus::True, "NotChecked", String::new()),
    };
    Condition { kind: format!("Member {}", member.name), status, reason: reason.to_owned(), message }
}

fn router_condition(
    router: &Record<edgestack_model::RouterSpec>,
    mirror: &Mirror,
    situation: &Situation<'_>,
) -> Finding {
    let pool = format!("NAT pool {}", router.shown_name());
    let is_forward = |object: &str| {
        let id = object.strip_prefix("port forward ");
        id.is_some_and(|id| router.spec.port_forwards.iter().any(|forward| forward.id == id))
    };
    let refused = situation.refused.iter().find(|(object, _)| *object == pool || is_forward(object));
    if let Some((object, message)) = refused {
        let message = format!("{object}: {message}");
        return Finding { phase: Phase::Error, ready: false, reason: "Refused", message };
    }
    for (_, leg) in router.spec.legs() {
        let is_outside =
            |network: &&Arc<Record<NetworkSpec>>| network.spec.external && network.name == leg.network;
        let network = mirror.networks.values().find(is_outside);
        if let Some(Finding { ready: false, message, reason, .. }) =
            network.map(|network| network_condition(network, situation))
        {
            return Finding::pending(reason, format!("the external network `{}`: {message}", leg.network));
        }
    }
    realized(situation)
}

/// A condition for each forwarded port whose workload is not there.
fn port_forward_conditions(router: &Record<edgestack_model::RouterSpec>, mirror: &Mirror) -> Vec<Condition> {
    let spec = &router.spec;
    let is_there = |address| {
        mirror.ports.values().any(|port| {
            port.project == router.project
                && port.spec.ip_address == Some(address)
                && spec.internal.contains(&port.spec.network)
        })
    };
    let waiting = spec.port_forwards.iter().filter(|forward| !is_there(forward.target_ip));
    waiting
        .map(|forward| Condition {
            kind: format!("PortForward {forward}"),
            status: ConditionStatus::False,
            reason: "Absent".to_owned(),
            message: format!("no port has the address {}", forward.target_ip),
        })
        .collect()
}

fn floating_ip_condition(
    floating_ip: &Record<edgestack_model::FloatingIpSpec>,
    mirror: &Mirror,
    situation: &Situation<'_>,
) -> Finding {
    let Some(instance) = &floating_ip.spec.instance_name else {
        return Finding::down("NotAssociated", "it stands for no instance");
    };
    let is_balanced = floating_ip.spec.instance_type == Some(InstanceType::Lb);
    let (kind, finding) = if is_balanced {
        let found = of_project(&mirror.load_balancers, floating_ip, instance);
        (Kind::LoadBalancer, found.map(|balancer| load_balancer_condition(balancer, situation).0))
    } else {
        let found = of_project(&mirror.ports, floating_ip, instance);
        (Kind::Port, found.map(|port| port_condition(port, mirror, situation)))
    };
    match finding {
        Some(Finding { ready: false, message, reason, .. }) => {
            Finding::pending(reason, format!("the {kind} `{instance}`: {message}"))
        }
        _ => realized(situation),
    }
}

/// What `record` calls `name`.
fn of_project<'a, S: Spec, R: Spec>(
    records: &'a BTreeMap<String, Arc<Record<S>>>,
    record: &Record<R>,
    name: &str,
) -> Option<&'a Arc<Record<S>>> {
    records.values().find(|found| found.project == record.project && found.name == name)
}
