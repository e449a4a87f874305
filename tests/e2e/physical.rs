//! Tenant networks on a physical one: a VLAN that two hosts and a machine share, and beside it one without a tag.
//!
//! ```text
//!  wl-a, wl-f ---- west [uplink0] ==== switch ==== [uplink0] east ---- wl-b
//!                                      |    \---- no tag  box   10.3.0.200
//!                                      \--------- VLAN 30 press 10.1.0.200
//! ```
//!
//! `west` is told of wl-b; `east` is told of nobody, and asks.

use std::time::Duration;

use edgestack_tests::daemon::Uplink;
use edgestack_tests::namespace::{Namespace, unique_prefix};
use edgestack_tests::site::{PHYSICAL_NETWORK, Site, UPLINK, Workload};
use edgestack_tests::traffic::http::{HttpServer, fetch};
use edgestack_tests::traffic::iperf;
use edgestack_tests::traffic::ping::{ping, ping_with};
use edgestack_tests::vlan_switch::VlanSwitch;
use edgestack_tests::{LabError, inspect, wait};

const A: Workload =
    Workload { name: "wl-a", mac_address: "02:00:00:00:0a:01", address: "10.1.0.11/24", gateway: "10.1.0.1" };
const B: Workload =
    Workload { name: "wl-b", mac_address: "02:00:00:00:0b:01", address: "10.1.0.12/24", gateway: "10.1.0.1" };
const F: Workload =
    Workload { name: "wl-f", mac_address: "02:00:00:00:0f:01", address: "10.3.0.11/24", gateway: "10.3.0.1" };

/// Two hosts and what they share.
struct Lab {
    west: Site,
    east: Site,
    switch: VlanSwitch,
    press: Namespace,
    tray: Namespace,
}

#[test]
fn hosts_and_machines_share_a_vlan_by_auto() -> Result<(), LabError> {
    hosts_and_machines_share_a_vlan("auto", true)
}

#[test]
fn hosts_and_machines_share_a_vlan_by_tc() -> Result<(), LabError> {
    hosts_and_machines_share_a_vlan("tc", true)
}

#[test]
fn hosts_and_machines_share_a_vlan_by_xdp() -> Result<(), LabError> {
    hosts_and_machines_share_a_vlan("xdp", true)
}

#[test]
fn hosts_and_machines_share_a_vlan_without_the_fast_path() -> Result<(), LabError> {
    hosts_and_machines_share_a_vlan("auto", false)
}

fn hosts_and_machines_share_a_vlan(attach: &str, fast_path: bool) -> Result<(), LabError> {
    let mut lab = Lab::start(attach, fast_path)?;
    lab.create(attach)?;
    lab.all_reach()?;
    lab.carries_whole_packets()?;
    if fast_path {
        lab.stays_in_the_kernel()?;
    }
    assert_eq!(lab.switch.strays(), 0, "frames in VLANs that nobody has");
    lab.refuses_what_is_taken();

    // The daemon goes and comes back; what it carried is carried again.
    lab.east.daemon().stop()?;
    lab.east.daemon().launch()?;
    lab.all_reach()
}

impl Lab {
    fn start(attach: &str, fast_path: bool) -> Result<Self, LabError> {
        let (mut west, mut east) = (Site::unique()?, Site::unique()?);
        let is_xdp = attach == "xdp";
        west.plug(&A, is_xdp)?;
        west.plug(&F, is_xdp)?;
        east.plug(&B, is_xdp)?;
        let prefix = unique_prefix();
        let press = Namespace::create(&format!("{prefix}-press"))?;
        let tray = Namespace::create(&format!("{prefix}-box"))?;
        let access = [(&press, Some(30)), (&tray, None)];
        let switch = VlanSwitch::between(&[west.host(), east.host()], UPLINK, &access)?;
        press.run("ip address add 10.1.0.200/24 dev eth0")?;
        tray.run("ip address add 10.3.0.200/24 dev eth0")?;
        tray.run("ip route add 10.1.0.0/24 dev eth0")?;
        for site in [&mut west, &mut east] {
            let mut settings = site.daemon_settings(attach);
            settings.fast_path = fast_path;
            settings.uplinks.push(Uplink {
                interface: UPLINK.to_owned(),
                physical_network: PHYSICAL_NETWORK.to_owned(),
                attach: attach.to_owned(),
            });
            site.start_daemon(settings)?;
        }
        Ok(Self { west, east, switch, press, tray })
    }

    fn create(&self, attach: &str) -> Result<(), LabError> {
        let attach = if attach == "xdp" { "xdp" } else { "auto" };
        let own = |workload: &Workload, network: &str| {
            let Workload { name, mac_address, .. } = workload;
            let ip = workload.ip();
            format!(
                "create-port {name} --net {network} --mac {mac_address} --ip {ip} --sg open --interface {name} \
                 --attach {attach}"
            )
        };
        let told = format!(
            "create-port wl-b --net mill --mac {} --ip {} --sg open --host east",
            B.mac_address,
            B.ip()
        );
        for (site, ports) in
            [(&self.west, vec![own(&A, "mill"), own(&F, "yard"), told]), (&self.east, vec![own(&B, "mill")])]
        {
            let edgectl = site.edgectl();
            let on = format!("--physnet {PHYSICAL_NETWORK} --cidr");
            edgectl.run(&format!("create-network mill --type vlan --vlan-id 30 {on} 10.1.0.0/24"))?;
            edgectl.run(&format!("create-network yard --type flat {on} 10.3.0.0/24"))?;
            edgectl.run("create-sg open --rule egress --rule ingress")?;
            let mut objects = vec!["show-network mill".to_owned(), "show-network yard".to_owned()];
            for port in &ports {
                edgectl.run(port)?;
                objects.extend(port.split(' ').nth(1).map(|name| format!("show-port {name}")));
            }
            wait::value("networks and ports to be active", Duration::from_secs(30), || {
                for object in &objects {
                    let shown = edgectl.json(object).map_err(|error| error.to_string())?;
                    if !shown.to_string().contains("\"phase\":\"Active\"") {
                        return Err(shown.to_string());
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Everybody reaches everybody of their network, by pings and by TCP, under addresses of their own.
    fn all_reach(&self) -> Result<(), LabError> {
        let (a, b) = (self.west.member("wl-a"), self.east.member("wl-b"));
        for (name, from, to, source, target) in [
            ("a to press", a, &self.press, "10.1.0.11", "10.1.0.200"),
            ("press to a", &self.press, a, "10.1.0.200", "10.1.0.11"),
            ("a to b", a, b, "10.1.0.11", "10.1.0.12"),
            ("b to a", b, a, "10.1.0.12", "10.1.0.11"),
            ("press to b", &self.press, b, "10.1.0.200", "10.1.0.12"),
            ("f to box", self.west.member("wl-f"), &self.tray, "10.3.0.11", "10.3.0.200"),
            ("box to f", &self.tray, self.west.member("wl-f"), "10.3.0.200", "10.3.0.11"),
        ] {
            let _server = HttpServer::start(to, "it", 80)?;
            let page = wait::value(name, Duration::from_secs(30), || {
                fetch(from, target).map_err(|error| error.to_string())?.ok_or_else(|| "silence".to_owned())
            })?;
            assert!(page.starts_with(&format!("it sees {source}:")), "{name}: {page}");
            let report = ping(from, target, 5)?;
            assert!(report.all_answered(), "{name}: {}", report.output);
        }
        let report = ping(&self.press, "10.1.0.1", 1)?;
        assert!(report.none_answered(), "the gateway is each host's own: {}", report.output);
        let report = ping(&self.tray, "10.1.0.11", 1)?;
        assert!(report.none_answered(), "networks are apart: {}", report.output);
        Ok(())
    }

    /// The tag takes nothing of the MTU.
    fn carries_whole_packets(&self) -> Result<(), LabError> {
        for target in ["10.1.0.200", "10.1.0.12"] {
            let report = ping_with(self.west.member("wl-a"), target, 3, "-M do -s 1472")?;
            assert!(report.all_answered(), "{target}: {}", report.output);
        }
        Ok(())
    }

    /// Once a stream between the hosts is under way no engine sees a packet of it, in either direction.
    fn stays_in_the_kernel(&self) -> Result<(), LabError> {
        let target = "10.1.0.12";
        let _server = iperf::server(self.east.member("wl-b"), target, self.east.directory())?;
        let client = iperf::start(self.west.member("wl-a"), target, 6, "", self.west.directory())?;
        let flows = |site: &Site| inspect::flows(&site.edgectl(), &format!("{target}:5201"));
        let is_under_way = |site: &Site| {
            wait::value("the stream to be under way", Duration::from_secs(10), || {
                let flows = flows(site).map_err(|error| error.to_string())?;
                let busy = flows.iter().filter(|flow| flow.tier0_packets > 200).count();
                if busy == 2 { Ok(flows) } else { Err(format!("{flows:#?}")) }
            })
        };
        let early = [is_under_way(&self.west)?, is_under_way(&self.east)?];
        std::thread::sleep(Duration::from_secs(1));
        let late = [flows(&self.west)?, flows(&self.east)?];
        let report = client.finish()?;
        assert!(report.bits_per_second > 1e5, "{report:?}");
        for (early, late) in early.iter().zip(&late) {
            inspect::assert_tier0_alone(early, late, target);
        }
        Ok(())
    }

    /// A VLAN, and what has no tag, is one network's, whoever's.
    fn refuses_what_is_taken(&self) {
        let on = format!("--physnet {PHYSICAL_NETWORK} --cidr 10.9.0.0/24");
        for (arguments, told) in [
            (
                format!("--type vlan --vlan-id 30 {on}"),
                "VLAN 30 of the physical network `physnet1` is taken by the network mill",
            ),
            (format!("--type vlan --vlan-id 30 --external {on}"), "is taken by the network mill"),
            (format!("--type flat {on}"), "carries one FLAT network"),
        ] {
            let answer = self.west.edgectl().run(&format!("create-network another {arguments}"));
            let error = answer.expect_err("it is refused").to_string();
            assert!(error.contains(told), "{arguments}: {error}");
        }
    }
}
