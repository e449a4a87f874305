//! Security groups: what they let through, and what becomes of connections when they change.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use edgestack_tests::site::{INTERNET, Site};
use edgestack_tests::tenants::{self, Attach};
use edgestack_tests::traffic::http::{HttpServer, fetch};
use edgestack_tests::traffic::ping::ping;
use edgestack_tests::{LabError, Namespace, inspect, wait};

/// How long a segment may take on a busy machine, its retransmissions included.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long a change may take to show; the API answers when it is kept, and the dataplane follows.
const EFFECT_TIMEOUT: Duration = Duration::from_secs(2);

#[test]
fn groups_allow_deny_and_know_each_other() -> Result<(), LabError> {
    let site = tenants::start(Attach::Auto, true)?;
    let edgectl = site.edgectl();
    let _web = HttpServer::start(site.member("red-web1"), "red-web1", 80)?;
    let _closed = HttpServer::start(site.member("red-web1"), "red-web1", 8080)?;
    let _db = HttpServer::start(site.member("red-db"), "red-db", 5432)?;

    assert!(fetch(site.member("red-db"), "10.0.1.11")?.is_some(), "everybody reaches port 80");
    assert_eq!(fetch(site.member("red-web2"), "10.0.1.11:8080")?, None, "of the same group, same network");
    assert_eq!(fetch(site.member(INTERNET), "198.51.100.101:8080")?, None, "from outside");
    assert!(inspect::dropped(&edgectl, "firewall_ingress")? > 0);

    // The database knows the group of web servers, whose members change.
    assert!(fetch(site.member("red-web2"), "10.0.2.21:5432")?.is_some(), "a member of the remote group");
    edgectl.run("update-port red-web2 --sg red-db")?;
    assert_eq!(fetch(site.member("red-web2"), "10.0.2.21:5432")?, None, "no member any more");
    edgectl.run("update-port red-web2 --add-sg red-web")?;
    assert!(fetch(site.member("red-web2"), "10.0.2.21:5432")?.is_some(), "a member again");

    // No group: the gateway answers, nothing else does.
    edgectl.run("update-port red-web2 --no-sg")?;
    assert!(ping(site.member("red-web2"), "10.0.1.1", 2)?.all_answered());
    assert!(ping(site.member("red-web2"), "10.0.1.11", 1)?.none_answered());
    assert!(inspect::dropped(&edgectl, "firewall_egress")? > 0);
    Ok(())
}

#[test]
fn a_rule_taken_away_ends_its_connections_and_no_others() -> Result<(), LabError> {
    for attach in [Attach::Xdp, Attach::Tc] {
        let site = tenants::start(attach, true)?;
        let edgectl = site.edgectl();
        edgectl.run("create-sgr red-web --direction ingress --protocol tcp --port 9000")?;
        let mut allowed = connection(&site, 80)?;
        let mut revoked = connection(&site, 9000)?;
        assert!(allowed.echoes() && revoked.echoes());
        edgectl.run("remove-sgr red-web --match 'ingress tcp 9000'")?;
        wait::until("the connection without a rule to stop", EFFECT_TIMEOUT, || !revoked.echoes())?;
        assert!(allowed.echoes(), "{attach:?}: another rule's connection goes on");
        drop(revoked);
        edgectl.run("create-sgr red-web --direction ingress --protocol tcp --port 9000")?;
        assert!(connection(&site, 9000)?.echoes(), "{attach:?}: the rule is back");
    }
    Ok(())
}

#[test]
fn spoofed_addresses_are_dropped() -> Result<(), LabError> {
    let site = tenants::start(Attach::Auto, true)?;
    let edgectl = site.edgectl();
    let web = site.member("red-web1");
    web.run("ip address add 10.0.1.77/32 dev eth0")?;
    let report = edgestack_tests::traffic::ping::ping_with(web, "10.0.1.12", 2, "-I 10.0.1.77")?;
    assert!(report.none_answered(), "{}", report.output);
    assert!(inspect::dropped(&edgectl, "spoofed_ip")? > 0, "{:?}", inspect::drops(&edgectl)?);

    web.run("ip link set eth0 address 02:00:00:00:66:66")?;
    assert!(ping(web, "10.0.1.12", 2)?.none_answered());
    assert!(inspect::dropped(&edgectl, "spoofed_mac")? > 0, "{:?}", inspect::drops(&edgectl)?);
    Ok(())
}

/// A TCP connection from the internet to a port of red-web1, and its other end.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    _listener: TcpListener,
}

fn connection(site: &Site, port: u16) -> Result<Connection, LabError> {
    let listener = site.member("red-web1").enter(|| TcpListener::bind(("0.0.0.0", port)))?;
    let listener = listener.map_err(LabError::system("listen"))?;
    let client = connect(site.member(INTERNET), &format!("198.51.100.101:{port}"))?;
    let (server, _) = listener.accept().map_err(LabError::system("accept"))?;
    Ok(Connection { client, server, _listener: listener })
}

fn connect(from: &Namespace, target: &str) -> Result<TcpStream, LabError> {
    let address: SocketAddr = target.parse().expect("an address");
    let stream = from.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(3)))?;
    stream.map_err(LabError::system(format!("connect to {target}")))
}

impl Connection {
    /// A byte gets through in both directions.
    fn echoes(&mut self) -> bool {
        let mut byte = [0];
        let streams = [&self.client, &self.server];
        for stream in streams {
            stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a timeout is set");
        }
        self.client.write_all(b"?").is_ok()
            && self.server.read_exact(&mut byte).is_ok()
            && self.server.write_all(b"!").is_ok()
            && self.client.read_exact(&mut byte).is_ok()
    }
}
