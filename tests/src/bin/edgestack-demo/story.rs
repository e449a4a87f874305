//! Building the site, as an operator would, and showing what there is at the end.

use edgestack_tests::site::Site;
use edgestack_tests::tenants::{self, Attach};
use edgestack_tests::{LabError, Process};

use crate::PREFIX;
use crate::screen::Screen;
use crate::services;

const PICTURE: &str = "red-web1  10.0.1.11 ─┐
red-web2  10.0.1.12 ─┼─ red-router  198.51.100.11 ──┐
red-db    10.0.2.21 ─┘                              │   uplink    internet
                                                    ├──────────── 198.51.100.1
blue-web1 10.0.1.11 ─┐                              │             203.0.113.10
blue-web2 10.0.1.12 ─┼─ blue-router 198.51.100.12 ──┘
blue-db   10.0.2.22 ─┘
floating IPs: 198.51.100.101 is red-web1, 198.51.100.102 is blue-web1";

/// The site with everything that runs in it.
pub(crate) struct Demo {
    pub(crate) site: Site,
    servers: Vec<Process>,
}

impl Demo {
    /// Leaves everything running.
    pub(crate) fn keep(&mut self) {
        self.site.keep();
        self.servers.drain(..).for_each(Process::detach);
    }
}

/// Builds namespaces, starts the daemon and the servers, and creates the objects.
pub(crate) fn build(screen: &mut Screen) -> Result<Demo, LabError> {
    screen.table(PICTURE);
    screen.section("Building the site");
    let mut site = Site::named(PREFIX)?;
    tenants::plug_in(&mut site, Attach::Auto)?;
    screen.line("six workloads, the host and the world outside: a namespace each, joined by veth pairs");
    let settings = site.daemon_settings(Attach::Auto.word());
    screen.command(&format!("edgestackd --config {}", settings.config_path().display()));
    site.start_daemon(settings)?;
    let edgectl = site.edgectl();
    for command in tenants::commands(Attach::Auto) {
        screen.command(&format!("edgectl {command}"));
        edgectl.run(&command)?;
    }
    tenants::wait_for_ports(&site)?;
    let servers = services::start(&site)?;
    Ok(Demo { site, servers })
}

/// What the gateway says about itself.
pub(crate) fn show_tables(demo: &Demo, screen: &mut Screen) -> Result<(), LabError> {
    let edgectl = demo.site.edgectl();
    for (title, table) in [
        ("Ports", "network-cli show ports"),
        ("Flows: one connection, both directions", "network-cli show flows --port red-web2 --limit 6"),
        ("Translations", "network-cli show nat"),
        ("Neighbours outside", "network-cli show neighbours"),
        ("Drops by reason", "network-cli show drops"),
    ] {
        screen.section(title);
        screen.command(&format!("edgectl {table}"));
        screen.table(&edgectl.run(table)?);
    }
    screen.section("Why would a packet be dropped? Ask, without sending one");
    let trace = "network-cli trace red-web1 'tcp 10.0.2.21:80'";
    screen.command(&format!("edgectl {trace}"));
    screen.table(&edgectl.run(trace)?);
    Ok(())
}

/// What to do with a site that was left up.
pub(crate) fn print_things_to_try(demo: &Demo) {
    let socket = demo.site.directory().join("edgestackd.sock");
    let binary = edgestack_tests::daemon::binary("edgectl");
    println!(
        "
The site is up. Things to try:

  export EDGECTL_SOCKET={socket}
  alias edgectl={edgectl}

  edgectl list-ports
  edgectl network-cli show flows
  edgectl network-cli trace red-web1 'tcp 10.0.2.21:80'
  edgectl network-cli capture red-web1 -w red-web1.pcap

  ip netns exec {PREFIX}-red-web2 ping 10.0.1.1
  ip netns exec {PREFIX}-red-web2 curl http://203.0.113.10/          # SNAT
  ip netns exec {PREFIX}-internet curl http://198.51.100.101/        # floating IP
  ip netns exec {PREFIX}-red-web2 iperf3 -c 203.0.113.10
  ip netns exec {PREFIX}-internet curl -m 2 http://198.51.100.101:8080/  # refused ...
  edgectl create-sgr red-web --direction ingress --protocol tcp --port 8080   # ... until now

The daemon's configuration and log are in {directory}.
make demo-down removes it all.",
        socket = socket.display(),
        edgectl = binary.display(),
        directory = demo.site.directory().display(),
    );
}
