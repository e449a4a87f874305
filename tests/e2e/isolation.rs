//! Tenants with equal addresses never meet.

use edgestack_tests::capture::Capture;
use edgestack_tests::site::{INTERNET, SERVER_IP};
use edgestack_tests::tenants::{self, Attach};
use edgestack_tests::traffic::http::{HttpServer, fetch};
use edgestack_tests::traffic::ping::ping;
use edgestack_tests::traffic::udp::{self, UdpEcho};
use edgestack_tests::{LabError, inspect};

#[test]
fn equal_addresses_are_different_workloads() -> Result<(), LabError> {
    for attach in [Attach::Xdp, Attach::Tc] {
        let site = tenants::start(attach, true)?;
        let names = ["red-web2", "blue-web2"];
        let _servers: Vec<HttpServer> = names
            .iter()
            .map(|name| HttpServer::start(site.member(name), name, 80))
            .collect::<Result<_, _>>()?;
        let blue = ["blue-web1", "blue-web2", "blue-db"]
            .map(|name| Capture::start(site.member(name), "ip", site.directory()))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        for _ in 0..3 {
            let page = fetch(site.member("red-web1"), "10.0.1.12")?.expect("red answers red");
            assert!(page.starts_with("red-web2 sees 10.0.1.11:"), "{page}");
        }
        // An address that only blue has, from the same network and through the router.
        for from in ["red-db", "red-web1"] {
            assert!(ping(site.member(from), "10.0.2.22", 2)?.none_answered(), "{attach:?} {from}");
        }
        let heard: Vec<String> = blue.iter().flat_map(Capture::packets).collect();
        assert!(heard.is_empty(), "{attach:?}: blue heard of red: {heard:#?}");
        let page = fetch(site.member("blue-web1"), "10.0.1.12")?.expect("blue answers blue");
        assert!(page.starts_with("blue-web2 sees 10.0.1.11:"), "{page}");
    }
    Ok(())
}

/// The very same 5-tuple from both tenants at once: two flows, two translations, and no answer to the wrong one.
#[test]
fn one_tuple_of_two_tenants_is_two_flows() -> Result<(), LabError> {
    let site = tenants::start(Attach::Auto, true)?;
    let _echo = UdpEcho::start(site.member(INTERNET), &format!("{SERVER_IP}:7"))?;
    let red = udp::bind(site.member("red-web2"), "10.0.1.12:4000")?;
    let blue = udp::bind(site.member("blue-web2"), "10.0.1.12:4000")?;
    for _ in 0..10 {
        let answers = [&red, &blue].map(|socket| udp::ask(socket, &format!("{SERVER_IP}:7")));
        let [red_answer, blue_answer] = answers;
        assert!(red_answer?.expect("red is answered").starts_with("198.51.100.11:"));
        assert!(blue_answer?.expect("blue is answered").starts_with("198.51.100.12:"));
    }
    let flows = inspect::flows(&site.edgectl(), "10.0.1.12:4000")?;
    assert_eq!(flows.len(), 4, "two connections, both directions: {flows:#?}");
    Ok(())
}
