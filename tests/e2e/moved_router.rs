//! A router and a floating IP that are removed and come back behind another MAC address, while hosts on both sides still
//! remember the one before.

use std::time::Duration;

use edgestack_tests::site::INTERNET;
use edgestack_tests::tenants::{self, Attach, TENANTS};
use edgestack_tests::traffic::ping::ping;
use edgestack_tests::{LabError, wait};

/// Shorter than hosts take to find out by themselves, as they are set up here.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_floating_ip_that_comes_back_behind_another_mac_address_is_reached() -> Result<(), LabError> {
    let site = tenants::start(Attach::Auto, true)?;
    let edgectl = site.edgectl();
    let [red, _] = &TENANTS;
    let (internet, web) = (site.member(INTERNET), site.member("red-web1"));
    for member in [internet, web] {
        // What they know they believe, and do not ask again.
        member.run("sysctl -q -w net.ipv4.neigh.eth0.base_reachable_time_ms=3600000")?;
        member.run("sysctl -q -w net.ipv4.neigh.eth0.delay_first_probe_time=3600")?;
    }
    let report = ping(internet, red.floating_ip, 3)?;
    assert!(report.all_answered(), "{}", report.output);
    edgectl.run(&format!("remove-fip {}", red.floating_ip))?;
    edgectl.run("remove-router red-router")?;
    wait::until("nobody to be there", PATIENCE, || {
        ping(internet, red.floating_ip, 1).is_ok_and(|report| report.none_answered())
    })?;
    edgectl.run(&format!(
        "create-router red-router --net red-front --net red-back --external internet --external-ip {} \
         --mac 02:00:00:00:99:01",
        red.external_ip
    ))?;
    edgectl.run(&format!("create-fip {} --net internet --port red-web1", red.floating_ip))?;
    wait::value("the floating IP to be reached", PATIENCE, || {
        let report = ping(internet, red.floating_ip, 1).map_err(|error| error.to_string())?;
        let known = |member: &edgestack_tests::namespace::Namespace| member.run("ip neighbour");
        if report.all_answered() { Ok(()) } else { Err(format!("{:?} {:?}", known(internet), known(web))) }
    })
}
