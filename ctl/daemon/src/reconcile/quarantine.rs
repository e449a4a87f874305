//! What to do with a configuration that the dataplane refuses: bring all of it into effect but the refused objects.
//!
//! The rules of `app/` should let nothing through that the dataplane refuses. Where one does get through, it must not
//! keep every later change of all others from taking effect: a refused object stays as it was in effect, or out.

use std::sync::Arc;

use edgestack_dataplane::config::{
    AddressGroup, Config, FloatingIp, LoadBalancer, NatPool, Network, Port, PortForward, Router,
};
use edgestack_dataplane::engine::{ApplyReport, ConfigError};

/// Times that a configuration is tried with less: an object that is out takes out those that refer to it.
const ROUNDS_MAX: usize = 8;

/// What became of a configuration.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What is in effect, where anything new is.
    pub(super) effective: Option<Config>,
    /// The report of what is in effect; the last error where nothing could be.
    pub(super) result: Result<ApplyReport, ConfigError>,
    /// Refused objects, as the dataplane calls them, each with the reason.
    pub(super) refused: Vec<(String, String)>,
}

/// Applies `config`, with what is refused replaced by what it was in `before`, or left out.
pub(super) fn apply(
    config: &Config,
    before: Option<&Config>,
    apply: impl Fn(&Config) -> Result<ApplyReport, ConfigError>,
) -> Outcome {
    let mut refused: Vec<(String, String)> = Vec::new();
    let mut candidate = config.clone();
    for _ in 0..ROUNDS_MAX {
        let error = match apply(&candidate) {
            Ok(report) => return Outcome { effective: Some(candidate), result: Ok(report), refused },
            Err(error) => error,
        };
        for problem in &error.problems {
            refused.push((problem.object.clone(), format!("{}: {}", problem.field, problem.message)));
        }
        let reduced = without(&candidate, before, &error);
        if reduced == candidate {
            return Outcome { effective: None, result: Err(error), refused };
        }
        candidate = reduced;
    }
    let result = apply(&candidate);
    Outcome { effective: result.is_ok().then_some(candidate), result, refused }
}

/// `config` with the objects that `error` names replaced by those of `before`, or left out.
fn without(config: &Config, before: Option<&Config>, error: &ConfigError) -> Config {
    let is_refused = |label: &str| error.problems.iter().any(|problem| problem.object == label);
    let none = Config::default();
    let before = before.unwrap_or(&none);
    let network = |network: &Network| (network.id.clone(), format!("network {}", network.name));
    let port = |port: &Port| (port.id.clone(), format!("port {}", port.name));
    let router = |router: &Router| (router.id.clone(), format!("router {}", router.name));
    let floating_ip =
        |floating: &FloatingIp| (floating.id.clone(), format!("floating IP {}", floating.floating_ip));
    let load_balancer =
        |balancer: &LoadBalancer| (balancer.id.clone(), format!("load balancer {}", balancer.name));
    let nat_pool = |pool: &NatPool| (pool.id.clone(), format!("NAT pool {}", pool.name));
    let port_forward = |forward: &PortForward| (forward.id.clone(), format!("port forward {}", forward.id));
    let address_group = |group: &AddressGroup| (group.id.clone(), format!("address group {}", group.name));
    let mut reduced = Config {
        networks: keep(&config.networks, &before.networks, network, is_refused),
        ports: keep(&config.ports, &before.ports, port, is_refused),
        routers: keep(&config.routers, &before.routers, router, is_refused),
        floating_ips: keep(&config.floating_ips, &before.floating_ips, floating_ip, is_refused),
        load_balancers: keep(&config.load_balancers, &before.load_balancers, load_balancer, is_refused),
        security_groups: config.security_groups.clone(),
        address_groups: keep(&config.address_groups, &before.address_groups, address_group, is_refused),
        nat_pools: keep(&config.nat_pools, &before.nat_pools, nat_pool, is_refused),
        port_forwards: keep(&config.port_forwards, &before.port_forwards, port_forward, is_refused),
        // It is the host's own configuration: what is wrong with it is wrong with everything that names it.
        overlay: config.overlay.clone().filter(|overlay| {
            let peers = overlay.peers.iter().map(|peer| format!("peer {}", peer.name));
            !is_refused("overlay") && !peers.into_iter().any(|peer| is_refused(&peer))
        }),
    };
    for group in &mut reduced.security_groups {
        Arc::make_mut(group).rules.retain(|rule| !is_refused(&format!("security group rule {}", rule.id)));
    }
    reduced
}

fn keep<T: PartialEq>(
    objects: &[Arc<T>],
    before: &[Arc<T>],
    identify: impl Fn(&T) -> (String, String),
    is_refused: impl Fn(&str) -> bool,
) -> Vec<Arc<T>> {
    let kept = objects.iter().filter_map(|object| {
        let (id, label) = identify(object);
        if !is_refused(&label) {
            return Some(object.clone());
        }
        before.iter().find(|other| identify(other).0 == id && *other != object).cloned()
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;

    use edgestack_dataplane::config::{Config, Network};
    use edgestack_dataplane::engine::{ApplyReport, ConfigError};
    use edgestack_dataplane::snapshot::Snapshot;

    use super::apply;

    fn network(name: &str, mtu: u16) -> Network {
        Network { mtu, ..Network::new(name, "10.0.0.0/24".parse().unwrap()) }
    }

    fn config(networks: &[Network]) -> Config {
        Config { networks: networks.iter().cloned().map(Arc::new).collect(), ..Config::default() }
    }

    /// What is in effect after `wanted`, with `before` in effect, and what was refused.
    fn effect(wanted: &Config, before: Option<&Config>) -> (Option<Config>, Vec<String>) {
        let effective = RefCell::new(None);
        let dataplane = |config: &Config| -> Result<ApplyReport, ConfigError> {
            Snapshot::compile(config, &config.ports.iter().map(|port| (port.id.clone(), 1)).collect())?;
            *effective.borrow_mut() = Some(config.clone());
            Ok(ApplyReport::default())
        };
        let outcome = apply(wanted, before, dataplane);
        (effective.into_inner(), outcome.refused.into_iter().map(|(object, _)| object).collect())
    }

    #[test]
    fn what_is_right_takes_effect_beside_what_is_refused() {
        let wanted = config(&[network("a", 1), network("b", 1500)]);
        let (effective, refused) = effect(&wanted, None);
        assert_eq!(effective, Some(config(&[network("b", 1500)])));
        assert_eq!(refused, ["network a"]);
    }

    #[test]
    fn a_refused_object_stays_as_it_was() {
        let before = config(&[network("a", 1400)]);
        let wanted = config(&[network("a", 1), network("b", 1500)]);
        let (effective, refused) = effect(&wanted, Some(&before));
        assert_eq!(effective, Some(config(&[network("a", 1400), network("b", 1500)])));
        assert_eq!(refused, ["network a"]);
    }

    #[test]
    fn what_names_no_object_is_refused_whole() {
        let twice = config(&[network("a", 1500), network("a", 1500)]);
        let refusing = |_: &Config| {
            let problem = edgestack_dataplane::engine::ConfigProblem {
                object: "everything".to_owned(),
                field: "size".to_owned(),
                message: "is too large".to_owned(),
            };
            Err(ConfigError { problems: vec![problem] })
        };
        assert!(apply(&twice, None, refusing).result.is_err());
    }
}
