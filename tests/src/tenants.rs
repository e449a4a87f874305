//! The standard site: two tenants with the same addresses, behind routers of their own to one external network.
//!
//! ```text
//!  red-web1 10.0.1.11 (floating IP 198.51.100.101)   red-front 10.0.1.0/24 \
//!  red-web2 10.0.1.12                                                       red-router 198.51.100.11 \
//!  red-db   10.0.2.21                                red-back  10.0.2.0/24 /                          internet
//!  blue-web1 10.0.1.11 (floating IP 198.51.100.102)  blue-front 10.0.1.0/24 \                        / 198.51.100.0/24
//!  blue-web2 10.0.1.12                                                       blue-router 198.51.100.12
//!  blue-db   10.0.2.22                               blue-back 10.0.2.0/24 /
//! ```
//!
//! Web servers take HTTP and ping from everybody, databases take port 5432 from web servers and ping from their
//! tenant. Used by the demo and the end-to-end tests; everything is created through `edgectl`.

use crate::error::LabError;
use crate::site::{PHYSICAL_NETWORK, Site, UPSTREAM_IP, Workload};

/// The tenants.
pub const TENANTS: [Tenant; 2] = [
    Tenant {
        name: "red",
        external_ip: "198.51.100.11",
        floating_ip: "198.51.100.101",
        workloads: [
            workload("red-web1", "02:00:00:0a:01:11", "10.0.1.11/24", "10.0.1.1"),
            workload("red-web2", "02:00:00:0a:01:12", "10.0.1.12/24", "10.0.1.1"),
            workload("red-db", "02:00:00:0a:02:21", "10.0.2.21/24", "10.0.2.1"),
        ],
    },
    Tenant {
        name: "blue",
        external_ip: "198.51.100.12",
        floating_ip: "198.51.100.102",
        workloads: [
            workload("blue-web1", "02:00:00:0b:01:11", "10.0.1.11/24", "10.0.1.1"),
            workload("blue-web2", "02:00:00:0b:01:12", "10.0.1.12/24", "10.0.1.1"),
            workload("blue-db", "02:00:00:0b:02:22", "10.0.2.22/24", "10.0.2.1"),
        ],
    },
];

/// A tenant of the standard site.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Name, in front of the names of all that is the tenant's.
    pub name: &'static str,
    /// The router's address in the external network.
    pub external_ip: &'static str,
    /// The floating IP of the first web server.
    pub floating_ip: &'static str,
    /// Two web servers and a database.
    pub workloads: [Workload; 3],
}

const fn workload(
    name: &'static str,
    mac_address: &'static str,
    address: &'static str,
    gateway: &'static str,
) -> Workload {
    Workload { name, mac_address, address, gateway }
}

/// How tier 0 is attached to the ports of the standard site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// XDP everywhere: workloads fill in checksums themselves.
    Xdp,
    /// TC everywhere.
    Tc,
    /// What the daemon chooses: XDP for the uplink, TC for workloads.
    Auto,
}

impl Attach {
    /// As `edgectl` and the configuration write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
            Self::Auto => "auto",
        }
    }
}

/// Builds the namespaces of the standard site, without a daemon.
pub fn plug_in(site: &mut Site, attach: Attach) -> Result<(), LabError> {
    site.connect_internet()?;
    for workload in TENANTS.iter().flat_map(|tenant| &tenant.workloads) {
        site.plug(workload, attach == Attach::Xdp)?;
    }
    Ok(())
}

/// The commands of `edgectl` that create the objects of the standard site, in order.
pub fn commands(attach: Attach) -> Vec<String> {
    let mut commands = vec![format!(
        "create-network internet --type flat --physnet {PHYSICAL_NETWORK} --external --cidr 198.51.100.0/24 \
         --gateway {UPSTREAM_IP}"
    )];
    for tenant in &TENANTS {
        let name = tenant.name;
        commands.extend([
            format!("create-network {name}-front --cidr 10.0.1.0/24 --mtu 1500"),
            format!("create-network {name}-back --cidr 10.0.2.0/24 --mtu 1500"),
            format!(
                "create-router {name}-router --net {name}-front --net {name}-back --external internet \
                 --external-ip {}",
                tenant.external_ip
            ),
            format!("create-sg {name}-web --rule egress --rule 'ingress tcp 80' --rule 'ingress icmp'"),
            format!("create-sgr {name}-web --direction ingress --protocol tcp --port 5201"),
            format!("create-sgr {name}-web --direction ingress --protocol udp --port 5201"),
            format!(
                "create-sg {name}-db --rule egress --rule 'ingress tcp 5432 from {name}-web' \
                 --rule 'ingress icmp from {name}-web'"
            ),
        ]);
        for (workload, network, group) in tenant.places() {
            let Workload { name: port, mac_address, .. } = workload;
            commands.push(format!(
                "create-port {port} --net {name}-{network} --mac {mac_address} --ip {ip} --sg {name}-{group} \
                 --interface {port} --attach {attach}",
                ip = workload.ip(),
                attach = attach.word()
            ));
        }
        commands.push(format!("create-fip {} --net internet --port {name}-web1", tenant.floating_ip));
    }
    commands
}

impl Tenant {
    /// Each workload with the second part of its network's and its security group's name.
    fn places(&self) -> [(&Workload, &'static str, &'static str); 3] {
        let [web1, web2, db] = &self.workloads;
        [(web1, "front", "web"), (web2, "front", "web"), (db, "back", "db")]
    }
}

impl Workload {
    /// The address without its prefix length.
    pub fn ip(&self) -> &'static str {
        self.address.split('/').next().unwrap_or(self.address)
    }
}

/// The whole standard site: namespaces, daemon, objects, and every port up.
pub fn start(attach: Attach, fast_path: bool) -> Result<Site, LabError> {
    let mut site = Site::unique()?;
    plug_in(&mut site, attach)?;
    let mut settings = site.daemon_settings(attach.word());
    settings.fast_path = fast_path;
    site.start_daemon(settings)?;
    let edgectl = site.edgectl();
    for command in commands(attach) {
        edgectl.run(&command)?;
    }
    wait_for_ports(&site)?;
    Ok(site)
}

/// Waits until the dataplane has every port of the standard site up.
pub fn wait_for_ports(site: &Site) -> Result<(), LabError> {
    let wanted = 1 + TENANTS.iter().map(|tenant| tenant.workloads.len()).sum::<usize>();
    let edgectl = site.edgectl();
    crate::wait::value("all ports to be up", std::time::Duration::from_secs(10), || {
        let ports = edgectl.json("network-cli show ports").map_err(|error| error.to_string())?;
        let states = ports["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        let up = states.iter().filter(|port| port["state"] == "up").count();
        if up == wanted { Ok(()) } else { Err(format!("{up} of {wanted} ports are up: {ports}")) }
    })
}
