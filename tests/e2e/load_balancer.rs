//! A load balancer in front of real web servers: spread, drain, and a member that is killed under load; checks of members by
//! both versions.

use std::time::{Duration, Instant};

use edgestack_tests::command::words;
use edgestack_tests::site::{INTERNET, Site};
use edgestack_tests::tenants::{self, Attach};
use edgestack_tests::traffic::http::{HttpServer, fetch};
use edgestack_tests::traffic::load::{Load, Request};
use edgestack_tests::traffic::nginx::Nginx;
use edgestack_tests::{LabError, wait};

const VIP: &str = "10.0.1.100";
const FLOATING_IP: &str = "198.51.100.150";

/// Pages fetched from the virtual address: how many of which server, and how many failed.
fn fetch_many(site: &Site, from: &str, target: &str, times: usize) -> Result<[usize; 3], LabError> {
    let mut counts = [0; 3];
    for _ in 0..times {
        match fetch(site.member(from), target)? {
            Some(page) if page.starts_with("red-web1 ") => counts[0] += 1,
            Some(page) if page.starts_with("red-web2 ") => counts[1] += 1,
            _ => counts[2] += 1,
        }
    }
    Ok(counts)
}

#[test]
fn a_member_is_drained_and_another_killed_under_load() -> Result<(), LabError> {
    let site = tenants::start(Attach::Auto, true)?;
    let edgectl = site.edgectl();
    let _web1 = HttpServer::start(site.member("red-web1"), "red-web1", 80)?;
    let web2 = HttpServer::start(site.member("red-web2"), "red-web2", 80)?;
    edgectl.run(&format!(
        "create-lb shop --net red-front --vip {VIP} --rule tcp:80 --member 10.0.1.11 --member 10.0.1.12 \
         --health http/,interval=1,timeout=1,up=1,down=2 --wait"
    ))?;
    edgectl.run(&format!("create-fip {FLOATING_IP} --net internet --lb shop"))?;
    // From its network, through the router, a member of itself, and from outside.
    for (from, target) in [("red-db", VIP), ("red-web1", VIP), (INTERNET, FLOATING_IP)] {
        let [first, second, failed] = fetch_many(&site, from, target, 24)?;
        assert!(first > 0 && second > 0 && failed == 0, "{from} to {target}: {first} {second} {failed}");
    }
    // Drain: no request fails, and soon none goes there.
    edgectl.run("update-lb shop --drain-member 10.0.1.11")?;
    let [first, second, failed] = fetch_many(&site, "red-db", VIP, 30)?;
    assert_eq!((first, second, failed), (0, 30, 0), "drained");
    edgectl.run("update-lb shop --weight 10.0.1.11=1")?;
    // Killed: after the threshold no request fails.
    drop(web2);
    let started = Instant::now();
    wait::value("the member to be found unhealthy", Duration::from_secs(15), || {
        let lb = edgectl.json("show-lb shop").map_err(|error| error.to_string())?;
        let text = lb.to_string();
        if text.contains("Unhealthy") { Ok(()) } else { Err(text) }
    })?;
    let [first, second, failed] = fetch_many(&site, "red-db", VIP, 30)?;
    assert_eq!((first, second, failed), (30, 0, 0), "after {:?}", started.elapsed());
    // Back again, it gets connections again.
    let _web2 = HttpServer::start(site.member("red-web2"), "red-web2", 80)?;
    wait::value("the member to get connections again", Duration::from_secs(15), || {
        let [_, second, _] = fetch_many(&site, "red-db", VIP, 8).map_err(|error| error.to_string())?;
        if second > 0 { Ok(()) } else { Err("none".to_owned()) }
    })
}

/// Waits until the status of every member is as `wanted` says: the address, and what it says.
fn wait_for_members(site: &Site, wanted: &[(&str, &str)]) -> Result<(), LabError> {
    let edgectl = site.edgectl();
    wait::value("members to be what they should", Duration::from_secs(30), || {
        let lb = edgectl.json("show-lb shop").map_err(|error| error.to_string())?;
        let conditions = lb["lb"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_so = |(member, reason): &(&str, &str)| {
            let kind = format!("Member {member}");
            conditions.iter().any(|condition| condition["type"] == *kind && condition["reason"] == *reason)
        };
        if wanted.iter().all(is_so) { Ok(()) } else { Err(format!("{conditions:?}")) }
    })
}

fn answered_by(requests: &[Request], name: &str) -> usize {
    let is_of = |request: &&Request| request.page.as_ref().is_some_and(|page| page.starts_with(name));
    requests.iter().filter(is_of).count()
}

fn failed(requests: &[Request]) -> usize {
    requests.iter().filter(|request| request.page.is_none()).count()
}

#[test]
fn nginx_behind_a_load_balancer_is_drained_and_killed_under_load() -> Result<(), LabError> {
    const MEMBERS: [&str; 3] = ["red-web1", "red-web2", "red-db"];
    let site = tenants::start(Attach::Auto, true)?;
    let edgectl = site.edgectl();
    let start = |name: &str| Nginx::start(site.member(name), name, site.directory());
    let mut servers = MEMBERS.map(|name| Some(start(name)));
    edgectl.run("create-sgr red-db --direction ingress --protocol tcp --port 80")?;
    edgectl.run(&format!(
        "create-lb shop --net red-front --vip {VIP} --rule tcp:80 --member 10.0.1.11 --member 10.0.1.12 \
         --member 10.0.2.21 --health https:443/,interval=1,timeout=1,up=1,down=2 --wait"
    ))?;
    edgectl.run(&format!("create-fip {FLOATING_IP} --net internet --lb shop"))?;
    for server in &mut servers {
        if let Some(Err(error)) = server.take_if(|server| server.is_err()) {
            return Err(error);
        }
    }
    wait_for_members(&site, &[("10.0.1.11", "Healthy"), ("10.0.1.12", "Healthy"), ("10.0.2.21", "Healthy")])?;
    let begin = Instant::now();
    let load = Load::start(site.member(INTERNET), FLOATING_IP, 4);
    let spread = load.next(60)?;
    assert!(MEMBERS.iter().all(|name| answered_by(&spread, name) > 0), "all of them answer: {spread:?}");

    edgectl.run("update-lb shop --drain-member 10.0.1.11")?;
    wait_for_members(&site, &[("10.0.1.11", "Draining")])?;
    let drained = load.next(60)?;
    assert_eq!(answered_by(&drained, "red-web1"), 0, "nothing new goes to who is drained");
    edgectl.run("update-lb shop --weight 10.0.1.11=1")?;
    wait_for_members(&site, &[("10.0.1.11", "Healthy")])?;
    load.next(30)?;
    let all = load.since(begin);
    assert_eq!(failed(&all), 0, "no request fails by a drain, of {}", all.len());

    servers[1] = None;
    wait_for_members(&site, &[("10.0.1.12", "Unhealthy")])?;
    let rest = load.next(90)?;
    assert_eq!((failed(&rest), answered_by(&rest, "red-web2")), (0, 0), "after the threshold: {rest:?}");
    servers[1] = Some(start("red-web2"));
    wait_for_members(&site, &[("10.0.1.12", "Healthy")])?;
    let again = load.next(90)?;
    assert!(answered_by(&again, "red-web2") > 0 && failed(&again) == 0, "it is back: {again:?}");
    drop(servers);
    Ok(())
}

#[test]
fn members_are_checked_by_datagrams_and_pings() -> Result<(), LabError> {
    let site = tenants::start(Attach::Auto, true)?;
    let edgectl = site.edgectl();
    let web1 = site.member("red-web1");
    let listening = web1.enter(|| std::net::UdpSocket::bind("0.0.0.0:5353"))?;
    edgectl.run(&format!(
        "create-lb shop --net red-front --vip {VIP} --rule udp:5353 --member 10.0.1.11 --member 10.0.1.12 \
         --health udp,interval=1,timeout=1,up=1,down=2 --wait"
    ))?;
    // The first is silent, but takes datagrams and answers pings; at the second nobody takes them.
    wait_for_members(&site, &[("10.0.1.11", "Healthy"), ("10.0.1.12", "Unhealthy")])?;
    edgectl.run("update-lb shop --health icmp,interval=1,timeout=1,up=1,down=2")?;
    wait_for_members(&site, &[("10.0.1.11", "Healthy"), ("10.0.1.12", "Healthy")])?;
    let silence = "sysctl -q -w net.ipv4.icmp_echo_ignore_all=1";
    web1.enter(|| edgestack_tests::command::run(&mut words(silence)))??;
    wait_for_members(&site, &[("10.0.1.11", "Unhealthy"), ("10.0.1.12", "Healthy")])?;
    drop(listening);
    Ok(())
}

/// IPv6 members in two networks are asked in all five ways, whatever their security groups let them send; one that is killed
/// gets no connections, and again when it answers.
#[test]
fn ipv6_members_are_checked_and_taken_out() -> Result<(), LabError> {
    const PACE: &str = "interval=1,timeout=1,up=1,down=2";
    const WEB1: &str = "2001:db8:1::11";
    const WEB2: &str = "2001:db8:1::12";
    const DB: &str = "2001:db8:2::21";
    const TARGET: &str = "[2001:db8:1::100]";
    let site = tenants::start(Attach::Auto, true)?;
    let edgectl = site.edgectl();
    crate::ipv6::configure(&site)?;
    edgectl.run("create-sgr red-web --direction ingress --protocol tcp --port 80 --ether IPv6")?;
    let start =
        |name: &str| HttpServer::start_at(site.member(name), name, "[::]:80".parse().expect("an address"));
    let (_web1, web2) = (start("red-web1")?, start("red-web2")?);
    edgectl.run(&format!(
        "create-lb shop --net red-front --vip 2001:db8:1::100 --rule tcp:80 --member {WEB1} --member {WEB2} \
         --health http/,{PACE} --wait"
    ))?;
    wait_for_members(&site, &[(WEB1, "Healthy"), (WEB2, "Healthy")])?;
    let [first, second, failed] = fetch_many(&site, INTERNET, TARGET, 24)?;
    assert!(first > 0 && second > 0 && failed == 0, "{first} {second} {failed}");
    drop(web2);
    wait_for_members(&site, &[(WEB1, "Healthy"), (WEB2, "Unhealthy")])?;
    assert_eq!(fetch_many(&site, INTERNET, TARGET, 24)?, [24, 0, 0], "after the threshold none fails");
    let web2 = start("red-web2")?;
    wait_for_members(&site, &[(WEB2, "Healthy")])?;
    let [first, second, failed] = fetch_many(&site, INTERNET, TARGET, 24)?;
    assert!(first > 0 && second > 0 && failed == 0, "it is back: {first} {second} {failed}");
    drop(web2);
    edgectl.run(&format!("update-lb shop --health tcp,{PACE}"))?;
    wait_for_members(&site, &[(WEB1, "Healthy"), (WEB2, "Unhealthy")])?;

    // By TLS, with the address in brackets as the host.
    let _tls = Nginx::start_at(site.member("red-web2"), "red-web2", site.directory(), "[::]")?;
    edgectl.run(&format!("update-lb shop --health https:443/,host=[{WEB2}],{PACE}"))?;
    wait_for_members(&site, &[(WEB1, "Unhealthy"), (WEB2, "Healthy")])?;

    // The database may send nothing by IPv6. It is silent, but takes datagrams; at the others nobody does.
    let listening = site.member("red-db").enter(|| std::net::UdpSocket::bind("[::]:5353"))?;
    edgectl
        .run(&format!("update-lb shop --add-member {DB} --remove-member {WEB1} --health udp:5353,{PACE}"))?;
    wait_for_members(&site, &[(DB, "Healthy"), (WEB2, "Unhealthy")])?;
    edgectl.run(&format!("update-lb shop --health icmp,{PACE}"))?;
    wait_for_members(&site, &[(DB, "Healthy"), (WEB2, "Healthy")])?;
    site.member("red-db").run("sysctl -q -w net.ipv6.icmp.echo_ignore_all=1")?;
    wait_for_members(&site, &[(DB, "Unhealthy"), (WEB2, "Healthy")])?;
    drop(listening);
    Ok(())
}
