//! The gateways under test: plain XDP redirect, nftables, EdgeStack with its fast path, and its engine alone.

use std::time::Duration;

use edgestack_tests::daemon::{Daemon, DaemonSettings, Uplink};
use edgestack_tests::{inspect, wait};

use super::bed::{Bed, EXTERNAL_ADDRESS, SINK_ADDRESS, SOURCE_ADDRESS, SOURCE_MAC};
use super::layout::DESTINATION_PORT;
use super::traffic::{Traffic, parse_mac};
use super::{BenchError, nftables};

/// MAC address of EdgeStack's router.
const ROUTER_MAC: &str = "02:00:00:00:00:fe";
/// Entries of the flow table that a host has by default.
const ENTRIES_MIN: u32 = 524_288;

/// Room for `flows` connections, the table a quarter full; no limit of new ones; and none ends while it is measured.
fn dataplane(flows: u32) -> String {
    let entries = (flows * 8).next_power_of_two().max(ENTRIES_MIN);
    format!(
        "new_flows_per_second_per_port = 0\nflow_table_entries = {entries}\nsessions = {}\nworker_cpus = [1]\n\n\
         [dataplane.timeouts]\nudp_seconds = 3600",
        entries / 4
    )
}

/// A gateway in its bed.
#[derive(Debug)]
pub struct Gateway {
    /// The bed.
    pub bed: Bed,
    daemon: Option<Daemon>,
    mac: [u8; 6],
}

impl Gateway {
    /// The limit: every frame is redirected as it is.
    pub fn plain(prefix: &str, traffic: &mut Traffic) -> Result<Self, BenchError> {
        let bed = Bed::create(prefix, "redirect", true)?;
        traffic.attach_sink(&bed)?;
        traffic.attach_redirect(&bed)?;
        Self::without_daemon(bed)
    }

    /// The kernel with nftables: masquerade and a stateful filter.
    pub fn nftables(prefix: &str, traffic: &mut Traffic) -> Result<Self, BenchError> {
        let bed = Bed::create(prefix, "nftables", true)?;
        traffic.attach_sink(&bed)?;
        nftables::configure(&bed)?;
        Self::without_daemon(bed)
    }

    /// EdgeStack with XDP at both ends: SNAT, security groups, route. Without `fast_path` its engine alone.
    pub fn edgestack(
        prefix: &str,
        traffic: &mut Traffic,
        fast_path: bool,
        flows: u32,
    ) -> Result<Self, BenchError> {
        let bed = Bed::create(prefix, if fast_path { "tier0" } else { "engine" }, true)?;
        traffic.attach_sink(&bed)?;
        Self::with_daemon(prefix, bed, ("xdp", fast_path), flows)
    }

    /// The kernel with nftables, for TCP between stacks.
    pub fn nftables_tcp(prefix: &str) -> Result<Self, BenchError> {
        let bed = Bed::create(prefix, "nft-tcp", false)?;
        nftables::configure(&bed)?;
        Self::without_daemon(bed)
    }

    /// EdgeStack with TC at both ends, for TCP between stacks.
    pub fn edgestack_tcp(prefix: &str) -> Result<Self, BenchError> {
        let bed = Bed::create(prefix, "es-tcp", false)?;
        Self::with_daemon(prefix, bed, ("tc", true), 1)
    }

    fn without_daemon(bed: Bed) -> Result<Self, BenchError> {
        let output = bed.gateway.run(&format!("ip -o link show {}", bed.inside()))?;
        let mac = output.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next());
        let mac = parse_mac(mac.unwrap_or_default())?;
        Ok(Self { bed, daemon: None, mac })
    }

    fn with_daemon(
        prefix: &str,
        bed: Bed,
        (attach, fast_path): (&str, bool),
        flows: u32,
    ) -> Result<Self, BenchError> {
        let instance = format!("{prefix}-{}", bed.name);
        let mut settings = DaemonSettings::new(std::env::temp_dir().join(&instance), &instance);
        settings.fast_path = fast_path;
        settings.dataplane = dataplane(flows);
        settings.uplinks.push(Uplink {
            interface: bed.outside(),
            physical_network: "outside".to_owned(),
            attach: attach.to_owned(),
        });
        let daemon = Daemon::start(&bed.gateway, settings)?;
        let edgectl = daemon.edgectl();
        for command in [
            format!(
                "create-network outside --type flat --physnet outside --external --cidr 198.51.100.0/24 \
                 --gateway {SINK_ADDRESS}"
            ),
            "create-network inside --cidr 10.1.0.0/16 --mtu 1500".to_owned(),
            format!(
                "create-router router --net inside --external outside --external-ip {EXTERNAL_ADDRESS} \
                 --mac {ROUTER_MAC}"
            ),
            format!(
                "create-sg hosts --rule 'egress udp {DESTINATION_PORT}' --rule 'egress tcp 5201' --rule 'egress icmp'"
            ),
            format!(
                "create-port source --net inside --mac {SOURCE_MAC} --ip {SOURCE_ADDRESS} --sg hosts --interface {} \
                 --attach {attach} --pair 10.1.1.0/24",
                bed.inside()
            ),
        ] {
            edgectl.run(&command)?;
        }
        wait::value("the gateway's ports to be up", Duration::from_secs(10), || {
            let ports = inspect::ports(&edgectl).map_err(|error| error.to_string())?;
            let up = ports.iter().filter(|port| port.state == "up").count();
            if up == 2 { Ok(()) } else { Err(format!("{ports:#?}")) }
        })?;
        Ok(Self { bed, daemon: Some(daemon), mac: parse_mac(ROUTER_MAC)? })
    }

    /// Name in the tables.
    pub fn name(&self) -> &str {
        &self.bed.name
    }

    /// The MAC address that hosts send to.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Connections that it keeps; 0 for the plain redirect, which keeps none.
    pub fn connections(&self) -> Result<u64, BenchError> {
        match &self.daemon {
            Some(daemon) => Ok(inspect::counters(&daemon.edgectl())?.sessions),
            None if self.bed.name == "redirect" => Ok(0),
            None => nftables::connections(&self.bed),
        }
    }

    /// Why it dropped packets, for the log; empty where it does not say.
    pub fn drops(&self) -> Result<String, BenchError> {
        let Some(daemon) = &self.daemon else { return Ok(String::new()) };
        let drops = inspect::drops(&daemon.edgectl())?;
        Ok(drops
            .iter()
            .map(|drop| format!("{} {}", drop.reason, drop.packets))
            .collect::<Vec<_>>()
            .join(", "))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            let directory = daemon.settings().directory.clone();
            drop(daemon);
            // What is left lies in the system's directory for such things.
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}
