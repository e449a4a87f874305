//! What the demo shows of the network's other functions: what the gateway itself serves to workloads, IPv6, packets in
//! parts, a load balancer, and the same API by curl.

use std::time::Duration;

use edgestack_tests::site::INTERNET;
use edgestack_tests::traffic::{http, ping};
use edgestack_tests::{LabError, wait};

use crate::screen::Screen;
use crate::story::Demo;

/// Requests to the load balancer, over which each member must be met.
const REQUESTS: usize = 20;
/// The virtual address of the load balancer.
const VIRTUAL_IP: &str = "10.0.1.100";

/// Metadata, names and addresses, each by the client that a workload would use.
pub(crate) fn served_to_workloads(demo: &Demo, screen: &mut Screen) {
    let ask =
        |member: &str, line: &str| demo.site.member(member).run(line).map(|text| text.trim().to_owned());
    for (member, line, expected, what) in [
        (
            "red-web1",
            "curl -s -m 5 http://169.254.169.254/latest/meta-data/hostname",
            "red-web1",
            "metadata says who asks, by the port and not by the address: red",
        ),
        (
            "blue-web1",
            "curl -s -m 5 http://169.254.169.254/latest/meta-data/hostname",
            "blue-web1",
            "... and blue",
        ),
        (
            "red-web1",
            "dig @10.0.1.1 +short +time=2 +tries=2 red-web2.red-front.edgestack.internal",
            "10.0.1.12",
            "DNS knows the workloads of a tenant",
        ),
        (
            "blue-web1",
            "dig @10.0.1.1 +short +time=2 +tries=2 red-web2.red-front.edgestack.internal",
            "",
            "... and tells nobody else's",
        ),
    ] {
        let answer = ask(member, line).unwrap_or_else(|error| error.to_string());
        screen.check(what, answer == expected, &format!("\"{answer}\""));
    }
    let lease = ask("red-web2", "busybox udhcpc -i eth0 -f -q -n -t 5 -T 1 -s /bin/true");
    let seen = lease.as_ref().map_or_else(ToString::to_string, |_| "udhcpc has a lease".to_owned());
    screen.check("DHCP gives red-web2 its address", lease.is_ok(), &seen);
}

/// IPv6 beside IPv4, and packets larger than any link of the way.
pub(crate) fn both_versions(demo: &Demo, screen: &mut Screen) -> Result<(), LabError> {
    let edgectl = demo.site.edgectl();
    for command in [
        "update-network red-front --ipv6 2001:db8:1::/64",
        "update-network red-back --ipv6 2001:db8:2::/64",
        "update-port red-web1 --ipv6 2001:db8:1::11",
        "update-port red-db --ipv6 2001:db8:2::21",
        "create-sgr red-web --direction egress --ether IPv6",
        "create-sgr red-db --direction ingress --protocol ipv6-icmp",
    ] {
        screen.command(&format!("edgectl {command}"));
        edgectl.run(command)?;
    }
    for (member, network, last) in [("red-web1", 1, "11"), ("red-db", 2, "21")] {
        let member = demo.site.member(member);
        // Addresses and routes by hand, so that nothing is waited for.
        member.run("sysctl -q -w net.ipv6.conf.eth0.accept_ra=0")?;
        member.run("sysctl -q -w net.ipv6.conf.all.disable_ipv6=0")?;
        member.run(&format!("ip -6 address add 2001:db8:{network}::{last}/64 dev eth0 nodad"))?;
        member.run(&format!("ip -6 route add default via 2001:db8:{network}::1"))?;
    }
    for (target, size, what) in [
        ("2001:db8:2::21", "-s 56", "red-web1 pings red-db by IPv6, routed between networks"),
        ("2001:db8:2::21", "-s 4000", "... with packets in three parts"),
        ("10.0.2.21", "-s 4000", "... by IPv4 as well"),
    ] {
        let report = ping::ping_with(demo.site.member("red-web1"), target, 3, size)?;
        screen.check(what, report.all_answered(), &format!("{} of {} replies", report.received, report.sent));
    }
    Ok(())
}

/// Two web servers behind one address; one of them is drained.
pub(crate) fn load_balancer(demo: &Demo, screen: &mut Screen) -> Result<(), LabError> {
    let edgectl = demo.site.edgectl();
    let run = |screen: &Screen, command: &str| {
        screen.command(&format!("edgectl {command}"));
        edgectl.run(command)
    };
    run(
        screen,
        &format!(
            "create-lb red-shop --net red-front --vip {VIRTUAL_IP} --rule tcp:80 --member 10.0.1.11 \
             --member 10.0.1.12 --health http,interval=1"
        ),
    )?;
    run(screen, "create-fip 198.51.100.103 --net internet --lb red-shop")?;
    for (from, target, what) in [
        ("red-db", VIRTUAL_IP, "red-db reaches both web servers by the virtual address"),
        (INTERNET, "198.51.100.103", "the internet reaches both by a floating IP of the load balancer"),
    ] {
        let met = met(demo, from, target)?;
        screen.check(what, met.0 > 0 && met.1 > 0 && met.0 + met.1 == REQUESTS, &counts(met));
    }
    run(screen, "update-lb red-shop --drain-member 10.0.1.11")?;
    let after = met(demo, INTERNET, "198.51.100.103")?;
    screen.check(
        "a drained member gets nothing new, and no request fails",
        after == (0, REQUESTS),
        &counts(after),
    );
    screen.table(&run(screen, "show-lb red-shop")?);
    Ok(())
}

/// Pages fetched from a target: how many came from each of the two web servers.
fn met(demo: &Demo, from: &str, target: &str) -> Result<(usize, usize), LabError> {
    let mut met = (0, 0);
    for _ in 0..REQUESTS {
        let page = http::fetch(demo.site.member(from), target)?.unwrap_or_default();
        met.0 += usize::from(page.starts_with("red-web1 sees "));
        met.1 += usize::from(page.starts_with("red-web2 sees "));
    }
    Ok(met)
}

fn counts((first, second): (usize, usize)) -> String {
    format!("of {REQUESTS} requests {first} to red-web1, {second} to red-web2")
}

/// The API that edgectl uses, by curl: a rule is made, is in effect, and goes.
pub(crate) fn by_curl(demo: &Demo, screen: &mut Screen) -> Result<(), LabError> {
    let socket = demo.site.directory().join("edgestackd.sock");
    let curl = |screen: &Screen, line: &str| {
        screen.command(&format!("curl --unix-socket edgestackd.sock {line}"));
        let line = line.replace("/edgetron", "http://localhost/edgetron");
        demo.site.host().run(&format!("curl -s -m 5 --unix-socket {} {line}", socket.display()))
    };
    let rule = r#"{"security_group_rule":{"security_group_id":"red-web","direction":"ingress","protocol":"tcp","port_range_min":8080,"port_range_max":8080}}"#;
    let rules = "/edgetron/resources/kubevirt/security_group_rules";
    let answer = curl(screen, &format!("{rules} --json {rule}"))?;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
    let id = answer["id"].as_str().unwrap_or_default().to_owned();
    let target = "198.51.100.101:8080";
    let opened = http::fetch(demo.site.member(INTERNET), target)?;
    screen.check(
        "a rule that was made with curl is in effect",
        answer["message"] == "OK" && opened.is_some(),
        &format!("rule {id}"),
    );
    curl(screen, &format!("-X DELETE {rules}/{id}"))?;
    let closed = wait::until("the port to be closed", Duration::from_secs(2), || {
        matches!(http::fetch(demo.site.member(INTERNET), target), Ok(None))
    });
    screen.check("... and without it the port is closed again", closed.is_ok(), "");
    Ok(())
}
