//! A third tenant's whole life, once by curl and once from a file: made, used, changed and removed.

use std::time::Duration;

use edgestack_tests::site::{INTERNET, SERVER_IP, Workload};
use edgestack_tests::traffic::http::{self, HttpServer};
use edgestack_tests::{LabError, wait};
use serde_json::{Value, json};

use crate::screen::Screen;
use crate::story::Demo;

/// How long a change may take to reach packets.
const PATIENCE: Duration = Duration::from_secs(10);
/// Paths of objects.
const OBJECTS: &str = "/edgetron/resources/kubevirt";

const GREEN: Workload = Workload {
    name: "green1",
    mac_address: "02:00:00:0c:01:11",
    address: "10.0.1.11/24",
    gateway: "10.0.1.1",
};

const SITE: &str = "\
network: {name: green-front, cidr: 10.0.1.0/24, mtu: 1500}
---
security_group: {name: green-web, rules: ['egress', 'ingress tcp 80']}
---
router:
  {name: green-router, internal: [green-front],
   external: {network: internet, ip: 198.51.100.13}}
---
port:
  {name: green1, network: green-front, mac_address: '02:00:00:0c:01:11', ip_address: 10.0.1.11,
   security_groups: [green-web], interface: green1}
---
floating_ip: {name: green-ip, network: internet, floating_ip: 198.51.100.104, instance_name: green1}
";

/// Plugs the tenant's workload in, with the web server that both lives are seen by.
pub(crate) fn plug_in(demo: &mut Demo) -> Result<[HttpServer; 2], LabError> {
    demo.site.plug(&GREEN, false)?;
    let member = demo.site.member(GREEN.name);
    Ok([HttpServer::start(member, GREEN.name, 80)?, HttpServer::start(member, GREEN.name, 8080)?])
}

/// Everything by curl alone.
pub(crate) fn by_curl(demo: &Demo, screen: &mut Screen) -> Result<(), LabError> {
    let curl = Curl(demo);
    for (kind, body) in objects() {
        let answer = curl.send(screen, "POST", kind, Some(&body))?;
        if answer["message"] != "OK" {
            screen.check(&format!("{kind} are made with curl"), false, &answer.to_string());
            return Ok(());
        }
    }
    let active = wait::value("the port to be active", PATIENCE, || {
        let answer = curl.ask("GET", "ports/green1", None).map_err(|error| error.to_string())?;
        let phase = answer["port"]["status"]["phase"].clone();
        if phase == "Active" { Ok(()) } else { Err(phase.to_string()) }
    });
    screen.check("a tenant made with curl alone: its port is active", active.is_ok(), "");
    seen(
        demo,
        screen,
        INTERNET,
        "198.51.100.104",
        Some("green1 sees "),
        "... the internet reaches its floating IP",
    );
    seen(
        demo,
        screen,
        GREEN.name,
        SERVER_IP,
        Some("internet sees 198.51.100.104:"),
        "... by which it leaves, too",
    );
    for path in [
        "floating_ips/green-ip",
        "ports/green1",
        "routers/green-router",
        "security_groups/green-web",
        "networks/green-front",
    ] {
        curl.send(screen, "DELETE", path, None)?;
    }
    let left = curl.ask("GET", "ports?name=green1", None)?["total"].clone();
    seen(
        demo,
        screen,
        INTERNET,
        "198.51.100.104",
        None,
        "... and when all of it is removed, nobody is there",
    );
    screen.check("... nor is any port of it listed", left == 0, &format!("total {left}"));
    Ok(())
}

/// What the tenant has, with the path of its kind, in the order that it is made in.
fn objects() -> [(&'static str, Value); 5] {
    [
        ("networks", json!({"network": {"name": "green-front", "cidr": "10.0.1.0/24", "mtu": 1500}})),
        (
            "security_groups",
            json!({"security_group": {"name": "green-web", "rules": [{"direction": "egress"},
                {"direction": "ingress", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80}]}}),
        ),
        (
            "routers",
            // With another MAC address in each life, which all neighbours are told of.
            json!({"router": {"name": "green-router", "internal": ["green-front"],
                "external": {"network": "internet", "ip": "198.51.100.13"}}}),
        ),
        (
            "ports",
            json!({"port": {"name": "green1", "network": "green-front", "mac_address": GREEN.mac_address,
                "ip_address": "10.0.1.11", "security_groups": ["green-web"], "interface": "green1"}}),
        ),
        (
            "floating_ips",
            json!({"floating_ip": {"name": "green-ip", "network": "internet",
                "floating_ip": "198.51.100.104", "instance_name": "green1"}}),
        ),
    ]
}

/// The same tenant from a file: applied, changed, compared and removed.
pub(crate) fn from_a_file(demo: &Demo, screen: &mut Screen) -> Result<(), LabError> {
    let file = demo.site.directory().join("green.yaml");
    let edgectl = demo.site.edgectl();
    let run = |screen: &Screen, words: &str| {
        screen.command(&format!("edgectl {words} -f green.yaml"));
        edgectl.ask(&format!("{words} -f {}", file.display()))
    };
    let write = |text: &str| std::fs::write(&file, text).map_err(LabError::system("write the site's file"));
    write(SITE)?;
    let before = run(screen, "diff")?;
    let applied = run(screen, "apply")?;
    let after = run(screen, "diff")?;
    screen.check(
        "a file describes a tenant: applied, nothing differs any more",
        (before.code, applied.code, after.code) == (1, 0, 0) && after.output.is_empty(),
        applied.output.lines().last().unwrap_or_default(),
    );
    seen(
        demo,
        screen,
        INTERNET,
        "198.51.100.104",
        Some("green1 sees "),
        "... the internet reaches its floating IP",
    );
    seen(demo, screen, INTERNET, "198.51.100.104:8080", None, "... but not at port 8080");
    write(&SITE.replace("'ingress tcp 80'", "'ingress tcp 8080'"))?;
    let difference = run(screen, "diff")?;
    screen.table(&difference.output);
    let applied = run(screen, "apply")?;
    let again = run(screen, "apply")?;
    screen.check(
        "... changed: the difference is one rule, and applied once it is none",
        difference.output.contains("+- ingress tcp 8080")
            && applied.code == 0
            && again.output.contains("unchanged security group green-web"),
        again.output.lines().last().unwrap_or_default(),
    );
    seen(demo, screen, INTERNET, "198.51.100.104:8080", Some("green1 sees "), "... now at port 8080");
    seen(demo, screen, INTERNET, "198.51.100.104", None, "... and at port 80 no more");
    let removed = run(screen, "delete")?;
    let left = edgectl.json("list-networks")?.to_string();
    screen.check(
        "... removed: nothing of it is left",
        removed.code == 0 && !left.contains("green-front"),
        removed.output.lines().last().unwrap_or_default(),
    );
    seen(demo, screen, INTERNET, "198.51.100.104:8080", None, "... and nobody is there");
    Ok(())
}

/// Whether a page becomes as expected, or can no longer be had.
fn seen(demo: &Demo, screen: &mut Screen, from: &str, target: &str, expected: Option<&str>, what: &str) {
    let mut page = None;
    let passed = wait::until(what, PATIENCE, || {
        let Ok(fetched) = http::fetch(demo.site.member(from), target) else { return false };
        page = fetched;
        match (&page, expected) {
            (Some(page), Some(expected)) => page.starts_with(expected),
            (None, None) => true,
            _ => false,
        }
    });
    screen.check(what, passed.is_ok(), &page.map_or("no answer".to_owned(), |page| format!("\"{page}\"")));
}

/// curl on the daemon's control socket.
struct Curl<'a>(&'a Demo);

impl Curl<'_> {
    /// Sends a request that is shown.
    fn send(
        &self,
        screen: &Screen,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, LabError> {
        let json = body.map_or_else(String::new, |body| format!(" --json '{body}'"));
        screen.command(&format!("curl --unix-socket edgestackd.sock -X {method} {OBJECTS}/{path}{json}"));
        self.ask(method, path, body)
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, LabError> {
        let socket = self.0.site.directory().join("edgestackd.sock");
        // Words are cut at spaces, of which these bodies have none.
        let json = body.map_or_else(String::new, |body| format!(" --json {body}"));
        let line = format!(
            "curl -s -m 5 --unix-socket {} -X {method} http://localhost{OBJECTS}/{path}{json}",
            socket.display()
        );
        let output = self.0.site.host().run(&line)?;
        serde_json::from_str(&output)
            .map_err(|error| LabError::Unexpected { what: format!("{method} {path} ({error})"), output })
    }
}
