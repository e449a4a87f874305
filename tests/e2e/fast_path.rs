//! Established flows stay in the kernel, and user space sees nothing of them.

use std::time::Duration;

use edgestack_dataplane::inspect::FlowView;
use edgestack_tests::site::{INTERNET, SERVER_IP, Site};
use edgestack_tests::tenants::{self, Attach};
use edgestack_tests::traffic::iperf;
use edgestack_tests::{LabError, inspect, wait};

/// Packets after which a stream is well under way.
const UNDER_WAY_PACKETS: u64 = 1000;

#[test]
fn established_flows_never_reach_user_space_over_xdp() -> Result<(), LabError> {
    stays_in_the_kernel(Attach::Xdp)
}

#[test]
fn established_flows_never_reach_user_space_over_tc() -> Result<(), LabError> {
    stays_in_the_kernel(Attach::Tc)
}

#[test]
fn established_flows_never_reach_user_space_over_both() -> Result<(), LabError> {
    stays_in_the_kernel(Attach::Auto)
}

fn stays_in_the_kernel(attach: Attach) -> Result<(), LabError> {
    let site = tenants::start(attach, true)?;
    let _outside = iperf::server(site.member(INTERNET), SERVER_IP, site.directory())?;
    let _inside = iperf::server(site.member("red-web1"), "10.0.1.11", site.directory())?;
    for (target, options) in
        [(SERVER_IP, ""), (SERVER_IP, "--reverse"), (SERVER_IP, "--udp --bitrate 8M"), ("10.0.1.11", "")]
    {
        let others = flows(&site, target)?;
        let client = iperf::start(site.member("red-web2"), target, 4, options, site.directory())?;
        let early = under_way(&site, target, &others)?;
        std::thread::sleep(Duration::from_secs(1));
        let late = flows(&site, target)?;
        let report = client.finish()?;
        assert!(report.bits_per_second > 1e6, "{attach:?} {options}: {report:?}");
        inspect::assert_tier0_alone(&early, &late, &format!("{attach:?} {options}"));
    }
    Ok(())
}

fn flows(site: &Site, target: &str) -> Result<Vec<FlowView>, LabError> {
    inspect::flows(&site.edgectl(), &format!("{target}:5201"))
}

/// The flows of the stream to `target`, once it is under way; `others` were there before it.
fn under_way(site: &Site, target: &str, others: &[FlowView]) -> Result<Vec<FlowView>, LabError> {
    wait::value("the stream to be under way", Duration::from_secs(5), || {
        let mut flows = flows(site, target).map_err(|error| error.to_string())?;
        flows.retain(|flow| others.iter().all(|other| other.session != flow.session));
        let most = flows.iter().map(|flow| flow.tier0_packets).max().unwrap_or(0);
        if most > UNDER_WAY_PACKETS { Ok(flows) } else { Err(format!("{flows:#?}")) }
    })
}

#[test]
fn without_the_fast_path_the_engine_carries_everything() -> Result<(), LabError> {
    let site = tenants::start(Attach::Auto, false)?;
    let _outside = iperf::server(site.member(INTERNET), SERVER_IP, site.directory())?;
    let report = iperf::run(site.member("red-web2"), SERVER_IP, 2, "", site.directory())?;
    assert!(report.bits_per_second > 1e6, "{report:?}");
    let counters = inspect::counters(&site.edgectl())?;
    assert_eq!(counters.tier0_packets, 0, "{counters:?}");
    assert!(counters.engine_packets > 1000, "{counters:?}");
    Ok(())
}

#[test]
fn rules_of_load_balancers_count_what_both_tiers_carry() -> Result<(), LabError> {
    let mut site = tenants::start(Attach::Auto, true)?;
    let edgectl = site.edgectl();
    let virtual_ip = "10.0.1.100";
    edgectl.run(&format!(
        "create-lb red-shop --net red-front --vip {virtual_ip} --rule tcp:5201 --member 10.0.1.11"
    ))?;
    let _server = iperf::server(site.member("red-web1"), "10.0.1.11", site.directory())?;
    let report = iperf::run(site.member("red-web2"), virtual_ip, 2, "", site.directory())?;
    assert!(report.bits_per_second > 1e6, "{report:?}");

    let rule = || -> Result<_, LabError> {
        let rule = inspect::load_balancers(&edgectl)?.remove(0).rules.remove(0);
        Ok((
            rule.sessions,
            rule.connections,
            (rule.packets_in, rule.bytes_in),
            (rule.packets_out, rule.bytes_out),
        ))
    };
    // The last acknowledgements may still be on their way.
    let counted = wait::value("flows and rule to agree", Duration::from_secs(5), || {
        let flows = flows(&site, virtual_ip).map_err(|error| error.to_string())?;
        let sum = |direction: &str| {
            let flows = flows.iter().filter(|flow| flow.direction == direction);
            flows.fold((0, 0), |(packets, bytes), flow| (packets + flow.packets, bytes + flow.bytes))
        };
        let expected = (2, 2, sum("original"), sum("reply"));
        let counted = rule().map_err(|error| error.to_string())?;
        let by_tier0: u64 = flows.iter().map(|flow| flow.tier0_packets).sum();
        if counted == expected && by_tier0 > UNDER_WAY_PACKETS {
            Ok(counted)
        } else {
            Err(format!("the rule {counted:?}, the flows {expected:?}, tier 0 {by_tier0}"))
        }
    })?;
    edgectl.run(&format!("network-cli clear flows --address {virtual_ip}"))?;
    assert_eq!(rule()?, (0, counted.1, counted.2, counted.3), "what has ended still counts");
    let metrics = site.daemon().metrics()?;
    let told = |metric: &str, direction: &str, value: u64| {
        let is_it = |line: &&str| line.starts_with(metric) && line.contains(direction);
        let line = metrics.lines().find(is_it).unwrap_or_default();
        assert!(line.contains("lb=\"red-shop\"") && line.ends_with(&format!(" {value}")), "{value}: {line}");
    };
    // All of them were given to the only member.
    for what in ["rule", "member"] {
        told(&format!("edgestack_lb_{what}_connections_total"), "", counted.1);
        told(&format!("edgestack_lb_{what}_packets_total"), "direction=\"in\"", counted.2.0);
        told(&format!("edgestack_lb_{what}_bytes_total"), "direction=\"out\"", counted.3.1);
    }
    Ok(())
}
