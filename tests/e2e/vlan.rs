//! External networks in VLANs of one uplink, beside one without a tag: workloads of equal addresses behind routers to each.
//!
//! ```text
//!  wl-a, wl-b [eth0] ---- [NAME] host [uplink0] ==== switch ---- VLAN 10 lan-10 198.51.100.1
//!  wl-c                       edgestackd                    ---- VLAN 20 lan-20 198.51.100.1
//!                                                           ---- no tag  lan-0  192.0.2.1
//! ```

use std::time::Duration;

use edgestack_tests::daemon::Uplink;
use edgestack_tests::namespace::{Namespace, unique_prefix};
use edgestack_tests::site::{PHYSICAL_NETWORK, Site, UPLINK, Workload};
use edgestack_tests::traffic::http::{HttpServer, fetch};
use edgestack_tests::traffic::iperf;
use edgestack_tests::traffic::ping::{ping, ping_with};
use edgestack_tests::vlan_switch::VlanSwitch;
use edgestack_tests::{LabError, inspect, wait};

const WORKLOADS: [Workload; 3] = [
    Workload { name: "wl-a", mac_address: "02:00:00:00:0a:01", address: "10.1.0.11/24", gateway: "10.1.0.1" },
    Workload { name: "wl-b", mac_address: "02:00:00:00:0b:01", address: "10.1.0.11/24", gateway: "10.1.0.1" },
    Workload { name: "wl-c", mac_address: "02:00:00:00:0c:01", address: "10.1.0.11/24", gateway: "10.1.0.1" },
];

/// What is outside: the network, its VLAN, its upstream router, and the address of the tenant's router there.
const OUTSIDE: [(&str, Option<u16>, &str, &str); 3] = [
    ("lan-10", Some(10), "198.51.100.1", "198.51.100.10"),
    ("lan-20", Some(20), "198.51.100.1", "198.51.100.10"),
    ("lan-0", None, "192.0.2.1", "192.0.2.10"),
];

/// A site whose uplink leads to a switch; what is outside is removed after it.
struct Lab {
    site: Site,
    switch: VlanSwitch,
    outside: Vec<Namespace>,
}

#[test]
fn networks_of_one_uplink_are_apart_by_auto() -> Result<(), LabError> {
    networks_of_one_uplink_are_apart("auto")
}

#[test]
fn networks_of_one_uplink_are_apart_by_xdp() -> Result<(), LabError> {
    networks_of_one_uplink_are_apart("xdp")
}

#[test]
fn networks_of_one_uplink_are_apart_by_tc() -> Result<(), LabError> {
    networks_of_one_uplink_are_apart("tc")
}

fn networks_of_one_uplink_are_apart(attach: &str) -> Result<(), LabError> {
    let mut lab = Lab::start(attach, true)?;
    // VLANs first: nothing without a tag is configured yet.
    lab.create(0, attach)?;
    lab.create(1, attach)?;
    lab.all_reach(&[0, 1])?;
    lab.create(2, attach)?;
    lab.all_reach(&[0, 1, 2])?;
    lab.carries_whole_packets()?;
    lab.stays_in_the_kernel()?;
    assert_eq!(lab.switch.strays(), 0, "frames in VLANs that nobody has");

    // The daemon goes and comes back; what it served is served again.
    lab.site.daemon().stop()?;
    lab.site.daemon().launch()?;
    lab.all_reach(&[0, 1, 2])?;
    lab.is_reached_at_floating_ip()?;
    lab.refuses_what_is_taken();
    Ok(())
}

#[test]
fn without_the_fast_path() -> Result<(), LabError> {
    let lab = Lab::start("auto", false)?;
    for position in 0..3 {
        lab.create(position, "auto")?;
    }
    lab.all_reach(&[0, 1, 2])?;
    lab.is_reached_at_floating_ip()?;
    lab.carries_whole_packets()
}

impl Lab {
    fn start(attach: &str, fast_path: bool) -> Result<Self, LabError> {
        let mut site = Site::unique()?;
        for workload in &WORKLOADS {
            site.plug(workload, attach == "xdp")?;
        }
        let prefix = unique_prefix();
        let mut outside = Vec::new();
        for (name, ..) in &OUTSIDE {
            outside.push(Namespace::create(&format!("{prefix}-{name}"))?);
        }
        let access: Vec<_> = outside.iter().zip(&OUTSIDE).map(|(lan, (_, vlan, ..))| (lan, *vlan)).collect();
        let switch = VlanSwitch::start(site.host(), UPLINK, &access)?;
        for (lan, (_, _, address, _)) in outside.iter().zip(&OUTSIDE) {
            lan.run(&format!("ip address add {address}/24 dev eth0"))?;
        }
        let mut settings = site.daemon_settings(attach);
        settings.fast_path = fast_path;
        settings.uplinks.push(Uplink {
            interface: UPLINK.to_owned(),
            physical_network: PHYSICAL_NETWORK.to_owned(),
            attach: attach.to_owned(),
        });
        site.start_daemon(settings)?;
        Ok(Self { site, switch, outside })
    }

    /// A tenant with the workload and the outside at `position`.
    fn create(&self, position: usize, attach: &str) -> Result<(), LabError> {
        let (outside, vlan, upstream, router_ip) = OUTSIDE[position];
        let Workload { name, mac_address, .. } = WORKLOADS[position];
        let carried =
            vlan.map_or_else(|| "--type flat".to_owned(), |vlan| format!("--type vlan --vlan-id {vlan}"));
        let subnet = upstream.trim_end_matches(".1");
        let attach = if attach == "xdp" { "xdp" } else { "auto" };
        for command in [
            format!(
                "create-network {outside} {carried} --physnet {PHYSICAL_NETWORK} --external \
                 --cidr {subnet}.0/24 --gateway {upstream}"
            ),
            format!("create-network net-{name} --cidr 10.1.0.0/24 --mtu 1500"),
            format!("create-router r-{name} --net net-{name} --external {outside} --external-ip {router_ip}"),
            format!("create-sg sg-{name} --rule egress --rule ingress"),
            format!(
                "create-port {name} --net net-{name} --mac {mac_address} --ip 10.1.0.11 --sg sg-{name} \
                 --interface {name} --attach {attach}"
            ),
        ] {
            self.site.edgectl().run(&command)?;
        }
        let edgectl = self.site.edgectl();
        wait::value("the network and the port to be active", Duration::from_secs(20), || {
            for object in [format!("show-network {outside}"), format!("show-port {name}")] {
                let shown = edgectl.json(&object).map_err(|error| error.to_string())?;
                if !shown.to_string().contains("\"phase\":\"Active\"") {
                    return Err(shown.to_string());
                }
            }
            Ok(())
        })
    }

    /// Each workload reaches the server of its own network, under the address of its router there.
    fn all_reach(&self, positions: &[usize]) -> Result<(), LabError> {
        for position in positions {
            let (name, _, upstream, router_ip) = OUTSIDE[*position];
            let workload = self.site.member(WORKLOADS[*position].name);
            let _server = HttpServer::start(&self.outside[*position], name, 80)?;
            let page = wait::value("the outside to be reached", Duration::from_secs(20), || {
                fetch(workload, upstream)
                    .map_err(|error| error.to_string())?
                    .ok_or_else(|| "silence".to_owned())
            })?;
            assert!(page.starts_with(&format!("{name} sees {router_ip}:")), "{page}");
            let report = ping(workload, upstream, 5)?;
            assert!(report.all_answered(), "{name}: {}", report.output);
        }
        Ok(())
    }

    /// A floating IP of a VLAN is found by ARP in it, and in no other.
    fn is_reached_at_floating_ip(&self) -> Result<(), LabError> {
        self.site.edgectl().run("create-fip 198.51.100.50 --net lan-10 --port wl-a")?;
        wait::value("the floating IP to answer", Duration::from_secs(20), || {
            let report = ping(&self.outside[0], "198.51.100.50", 1).map_err(|error| error.to_string())?;
            if report.all_answered() { Ok(()) } else { Err(report.output) }
        })?;
        let report = ping(&self.outside[0], "198.51.100.50", 5)?;
        assert!(report.all_answered(), "{}", report.output);
        let report = ping(&self.outside[1], "198.51.100.50", 1)?;
        assert!(report.none_answered(), "VLAN 20 has no such address: {}", report.output);
        Ok(())
    }

    /// The tag takes nothing of the MTU.
    fn carries_whole_packets(&self) -> Result<(), LabError> {
        for (workload, (_, _, upstream, _)) in WORKLOADS.iter().zip(&OUTSIDE) {
            let report = ping_with(self.site.member(workload.name), upstream, 3, "-M do -s 1472")?;
            assert!(report.all_answered(), "{}: {}", workload.name, report.output);
        }
        Ok(())
    }

    /// After its start the engine sees no packet of a stream by a VLAN, in either direction.
    fn stays_in_the_kernel(&self) -> Result<(), LabError> {
        let directory = self.site.directory();
        for (position, target) in [(0, "198.51.100.1"), (1, "198.51.100.1")] {
            let _server = iperf::server(&self.outside[position], target, directory)?;
            let workload = self.site.member(WORKLOADS[position].name);
            let report = iperf::run(workload, target, 3, "", directory)?;
            assert!(report.bits_per_second > 1e5, "{report:?}");
            let flows = inspect::flows(&self.site.edgectl(), &format!("{target}:5201"))?;
            let data = flows.iter().filter(|flow| flow.packets > 100);
            let mut directions = Vec::new();
            for flow in data {
                let by_engine = flow.packets - flow.tier0_packets;
                assert!(by_engine * 10 < flow.packets, "{flow:#?}");
                directions.push(flow.direction.as_str());
            }
            assert!(directions.contains(&"original") && directions.contains(&"reply"), "{flows:#?}");
        }
        Ok(())
    }

    /// A VLAN is one network's; an identifier is one that there is; what is external says by which uplink.
    fn refuses_what_is_taken(&self) {
        let edgectl = self.site.edgectl();
        let common = "--external --cidr 192.0.2.128/25";
        for (arguments, told) in [
            (
                format!("--type vlan --vlan-id 10 --physnet {PHYSICAL_NETWORK}"),
                "VLAN 10 of the physical network `physnet1` is taken by the network lan-10",
            ),
            (format!("--type vlan --vlan-id 4095 --physnet {PHYSICAL_NETWORK}"), "4094"),
            ("--type vlan --vlan-id 11".to_owned(), "physnet_name"),
            ("--type vxlan".to_owned(), "only a FLAT or VLAN network can be external"),
        ] {
            let answer = edgectl.run(&format!("create-network another {arguments} {common}"));
            let error = answer.expect_err("it is refused").to_string();
            assert!(error.contains(told), "{arguments}: {error}");
        }
    }
}
