//! What a change of configuration would do to established flows, told without applying it.
//!
//! Both configurations are compiled as an engine would compile them, and the fingerprints of their ports compared, which
//! is what raises epochs. Reads nothing of an engine and changes nothing.

use hashbrown::HashMap;

use super::overlay::numbered;
use super::{Port, Snapshot};
use crate::config::Config;
use crate::engine::ConfigError;

/// The ports whose flows a change of configuration concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Their flows are decided again by their next packets.
    pub decided_again: Vec<TouchedPort>,
    /// They are no more, and their flows end.
    pub ended: Vec<TouchedPort>,
}

/// A port of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TouchedPort {
    /// Its identifier.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// What would become of established flows if `after` took the place of `before`.
pub fn touched(before: &Config, after: &Config) -> Result<Touched, ConfigError> {
    if before == after {
        return Ok(Touched::default());
    }
    let mut numbers = HashMap::new();
    for id in numbered(before).chain(numbered(after)) {
        let next = numbers.len() as u16 + 1;
        numbers.entry(id).or_insert(next);
    }
    let old = Snapshot::compile(before, &numbers)?;
    let new = Snapshot::recompile(&old, after, || numbers)?;
    let mut touched = Touched::default();
    let told = |port: &Port| TouchedPort { id: port.id.clone(), name: port.name.clone() };
    for port in old.ports.iter().flatten().filter(|port| port.remote.is_none()) {
        match new.port(port.number) {
            Some(_) if new.fingerprint(port.number) == old.fingerprint(port.number) => {}
            Some(_) => touched.decided_again.push(told(port)),
            None => touched.ended.push(told(port)),
        }
    }
    Ok(touched)
}

#[cfg(test)]
mod tests {
    use super::{Touched, TouchedPort, touched};
    use crate::address::MacAddress;
    use crate::config::{Attach, Config, Network, Port, PortKind, SecurityGroup, Services, Workload};

    fn port(number: u8, group: &str) -> Port {
        Port {
            id: format!("id-{number}"),
            name: format!("p{number}"),
            network: "n".to_owned(),
            interface: None,
            kind: PortKind::Workload(Workload {
                security_groups: vec![group.to_owned()],
                ..Workload::new(MacAddress([2, 0, 0, 0, 0, number]), [10, 0, 0, number].into())
            }),
            attach: Attach::Auto,
            admin_state_up: true,
        }
    }

    fn config(ports: Vec<Port>) -> Config {
        let group = |id: &str| SecurityGroup {
            id: id.to_owned(),
            name: id.to_owned(),
            log_denied: false,
            rules: Vec::new(),
        };
        Config {
            networks: vec![
                Network {
                    id: "n".to_owned(),
                    name: "n".to_owned(),
                    cidr: "10.0.0.0/24".parse().unwrap(),
                    gateway_ip: None,
                    ipv6_cidr: None,
                    ipv6_gateway_ip: None,
                    mtu: 1500,
                    external: false,
                    segment: None,
                    services: Services::default(),
                }
                .into(),
            ],
            ports: ports.into_iter().map(Into::into).collect(),
            security_groups: vec![group("a").into(), group("b").into()],
            ..Config::default()
        }
    }

    #[test]
    fn only_ports_that_a_change_concerns_are_told() {
        let before = config(vec![port(2, "a"), port(3, "a"), port(4, "a")]);
        assert_eq!(touched(&before, &before), Ok(Touched::default()));
        // Another group for one, another gone, one more: only flows that there are can be concerned.
        let after = config(vec![port(2, "a"), port(3, "b"), port(5, "a")]);
        let port = |number| TouchedPort { id: format!("id-{number}"), name: format!("p{number}") };
        let wanted = Touched { decided_again: vec![port(3)], ended: vec![port(4)] };
        assert_eq!(touched(&before, &after), Ok(wanted));
        let mut wrong = after.clone();
        std::sync::Arc::make_mut(&mut wrong.networks[0]).mtu = 1;
        assert!(touched(&before, &wrong).is_err(), "what would be refused is refused");
    }
}
