//! Bodies that several tests send.

use serde_json::{Value, json};

use crate::support::Daemon;

/// A tenant network.
pub(crate) fn network(name: &str, cidr: &str) -> Value {
    json!({"network": {"name": name, "cidr": cidr}})
}

/// The external network behind the uplink of the test's daemon.
pub(crate) fn external() -> Value {
    json!({"network": {
        "name": "wan", "type": "FLAT", "external": true, "physnet_name": "internet", "cidr": "203.0.113.0/24",
        "ip_pool": {"start": "203.0.113.10", "end": "203.0.113.12"}
    }})
}

/// A port.
pub(crate) fn port(name: &str, network: &str) -> Value {
    json!({"port": {"name": name, "network": network}})
}

/// A daemon with the networks `tenant` and `wan`, the router `r1` between them, and the port `web`.
pub(crate) fn site() -> Daemon {
    let daemon = Daemon::start();
    daemon.create("networks", &network("tenant", "10.0.0.0/24"));
    daemon.create("networks", &external());
    daemon.create("routers", &json!({"router": {"name": "r1", "internal": ["tenant"], "external": "wan"}}));
    daemon.create("ports", &port("web", "tenant"));
    daemon
}
