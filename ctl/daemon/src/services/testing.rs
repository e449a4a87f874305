//! Objects for the tests of the servers: two tenants with equal addresses.

use std::sync::Arc;

use edgestack_model::{FloatingIpSpec, NetworkSpec, PortSpec, RouterSpec};
use serde_json::{Value, json};

use crate::app::record::OBJECTS;
use crate::app::{App, Created, Noun};
use crate::reconcile::mirror::Mirror;
use crate::store::MemoryStore;

pub(super) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me";

#[expect(clippy::needless_pass_by_value, reason = "bodies are written at the call")]
fn create<S: Noun>(app: &App, body: Value) -> String {
    let draft = edgestack_model::read_draft::<S>(&body).unwrap_or_else(|errors| panic!("{body}: {errors:?}"));
    match app.create(&draft) {
        Ok(Created::New(shown) | Created::Existing(shown)) => shown.object.id,
        Err(error) => panic!("{body}: {error}"),
    }
}

/// `red` has two networks behind a router, `blue` one with the same addresses.
pub(super) fn site() -> App {
    let app = App::new(Arc::new(MemoryStore::default()), Vec::new());
    let external = json!({"network": {"name": "wan", "type": "FLAT", "external": true, "physnet_name": "internet",
        "cidr": "203.0.113.0/24"}});
    create::<NetworkSpec>(&app, external);
    for (name, cidr) in [("front", "10.0.1.0/24"), ("back", "10.0.2.0/24"), ("blue", "10.0.1.0/24")] {
        create::<NetworkSpec>(
            &app,
            json!({"network": {"name": name, "cidr": cidr, "mtu": 1400, "dns": ["9.9.9.9"]}}),
        );
    }
    let router = json!({"router": {"name": "r", "internal": ["front", "back"], "external": "wan"}});
    create::<RouterSpec>(&app, router);
    create::<PortSpec>(
        &app,
        json!({"port": {"name": "web", "network": "front", "ip_address": "10.0.1.11",
        "mac_address": "02:00:00:00:01:11", "user_data": "#!/bin/sh\n", "metadata": {"role": "web"}, "ssh_keys": [KEY]}}),
    );
    create::<PortSpec>(&app, json!({"port": {"name": "db", "network": "back", "ip_address": "10.0.2.21"}}));
    create::<PortSpec>(
        &app,
        json!({"port": {"name": "other", "network": "blue", "ip_address": "10.0.1.11"}}),
    );
    let floating_ip =
        json!({"floating_ip": {"network": "wan", "instance_name": "web", "floating_ip": "203.0.113.50"}});
    create::<FloatingIpSpec>(&app, floating_ip);
    app
}

/// The id of an object.
pub(super) fn id<S: Noun>(app: &App, name: &str) -> String {
    app.get::<S>(name).unwrap().object.id
}

pub(super) fn mirror(app: &App) -> Mirror {
    Mirror::new(&app.store().list(OBJECTS).unwrap())
}
