//! A small site for a runtime: two workloads of one tenant behind a router, a server outside, and their configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use edgestack_dataplane::config::{
    Attach, Config, Direction, Network, Port, PortKind, Router, RouterExternal, SecurityGroup,
    SecurityGroupRule, Workload,
};
use edgestack_dataplane::fastpath::FastPathSettings;
use edgestack_dataplane::runtime::{Dataplane, DataplaneSettings};
use edgestack_tests::link::{Plug, connect};
use edgestack_tests::namespace::{Namespace, unique_prefix};
use edgestack_tests::{LabError, wait};

use crate::patch::object_path;

/// Namespaces: the host, two workloads, the outside.
pub(crate) struct Site {
    pub(crate) host: Namespace,
    pub(crate) one: Namespace,
    pub(crate) two: Namespace,
    pub(crate) outside: Namespace,
    pub(crate) settings: DataplaneSettings,
    directory: PathBuf,
}

pub(crate) const ONE: Plug<'static> = Plug {
    interface: "one",
    mac_address: Some("02:00:00:00:01:01"),
    address: Some("10.0.0.11/24"),
    gateway: Some("10.0.0.1"),
    mtu: 1500,
    checksums: true,
};
pub(crate) const TWO: Plug<'static> = Plug {
    interface: "two",
    mac_address: Some("02:00:00:00:01:02"),
    address: Some("10.0.0.12/24"),
    gateway: Some("10.0.0.1"),
    mtu: 1500,
    checksums: true,
};
pub(crate) const OUTSIDE: Plug<'static> = Plug {
    interface: "uplink",
    mac_address: Some("02:00:00:00:02:01"),
    address: Some("198.51.100.1/24"),
    gateway: None,
    mtu: 1500,
    checksums: true,
};

impl Site {
    pub(crate) fn new() -> Result<Self, LabError> {
        let prefix = unique_prefix();
        let make = |name: &str| Namespace::create(&format!("{prefix}-{name}"));
        let (host, one, two, outside) = (make("host")?, make("one")?, make("two")?, make("out")?);
        for (far, plug) in [(&one, &ONE), (&two, &TWO), (&outside, &OUTSIDE)] {
            connect(&host, far, plug)?;
        }
        for (namespace, interface) in [(&one, "eth0"), (&two, "eth0"), (&outside, "eth0")]
            .into_iter()
            .chain([&ONE, &TWO, &OUTSIDE].map(|plug| (&host, plug.interface)))
        {
            wait_until_used(namespace, interface)?;
        }
        let directory = std::env::temp_dir().join(&prefix);
        let fast_path = FastPathSettings {
            object_path: Some(object_path()),
            instance: prefix,
            ..FastPathSettings::default()
        };
        let settings =
            DataplaneSettings { fast_path, run_directory: directory.clone(), ..DataplaneSettings::default() };
        Ok(Self { host, one, two, outside, settings, directory })
    }

    /// Starts a dataplane in the host's namespace.
    pub(crate) fn start(&self) -> Dataplane {
        self.host.enter(|| Dataplane::start(&self.settings)).expect("enter").expect("start the dataplane")
    }

    /// Starts one and gives it the configuration.
    pub(crate) fn start_with(&self, config: &Config) -> Dataplane {
        let dataplane = self.start();
        dataplane.apply(config).expect("apply the configuration");
        dataplane
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Err(error) = self.host.enter(|| Dataplane::unpin(&self.settings)).expect("enter") {
            eprintln!("unpin: {error}");
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A kernel takes up to a second to use an interface that has just been connected, and loses what is sent before.
fn wait_until_used(namespace: &Namespace, interface: &str) -> Result<(), LabError> {
    wait::value(&format!("{interface} to be used"), Duration::from_secs(5), || {
        let line =
            namespace.run(&format!("ip -o link show {interface}")).map_err(|error| error.to_string())?;
        if line.contains("state UP") { Ok(()) } else { Err(line) }
    })
}

/// The site's configuration, its ports attached as told.
pub(crate) fn config(attach: Attach) -> Config {
    let network = |id: &str, cidr: &str, external| Network {
        gateway_ip: Some(if external { [198, 51, 100, 1] } else { [10, 0, 0, 1] }.into()),
        external,
        ..Network::new(id, cidr.parse().expect("a range"))
    };
    let port = |plug: &Plug<'_>, network: &str, kind| Port {
        id: format!("port-{}", plug.interface),
        name: plug.interface.to_owned(),
        network: network.to_owned(),
        interface: Some(plug.interface.to_owned()),
        kind,
        attach,
        admin_state_up: true,
    };
    let workload = |plug: &Plug<'_>, last: u8| {
        let mac_address = plug.mac_address.expect("an address").parse().expect("an address");
        PortKind::Workload(Workload {
            security_groups: vec!["all".to_owned()],
            ..Workload::new(mac_address, [10, 0, 0, last].into())
        })
    };
    Config {
        networks: [network("tenant", "10.0.0.0/24", false), network("external", "198.51.100.0/24", true)]
            .map(Arc::new)
            .into(),
        ports: [
            port(&ONE, "tenant", workload(&ONE, 11)),
            port(&TWO, "tenant", workload(&TWO, 12)),
            port(&OUTSIDE, "external", PortKind::Uplink),
        ]
        .map(Arc::new)
        .into(),
        routers: vec![Arc::new(Router {
            external: Some(RouterExternal::new("external", [198, 51, 100, 2].into())),
            ..Router::new(
                "router",
                "02:00:00:00:00:01".parse().expect("an address"),
                vec!["tenant".to_owned()],
            )
        })],
        floating_ips: Vec::new(),
        security_groups: vec![Arc::new(SecurityGroup {
            id: "all".to_owned(),
            name: "all".to_owned(),
            log_denied: false,
            rules: vec![
                SecurityGroupRule::new("in", Direction::Ingress),
                SecurityGroupRule::new("out", Direction::Egress),
            ],
        })],
        ..Config::default()
    }
}
