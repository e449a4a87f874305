//! What the demo checks: real traffic through the site, and what the gateway says about it.

use std::time::Duration;

use edgestack_dataplane::inspect::{CountersView, FlowView};
use edgestack_tests::capture::Capture;
use edgestack_tests::site::{INTERNET, SERVER_IP};
use edgestack_tests::traffic::{http, iperf, ping};
use edgestack_tests::{Edgectl, LabError, inspect, wait};

use crate::functions;
use crate::life;
use crate::screen::Screen;
use crate::story::{self, Demo};

/// Seconds of each throughput measurement.
const IPERF_SECONDS: u64 = 3;
/// Seconds of the stream that goes on while something changes.
const STREAM_SECONDS: u64 = 6;

/// A page that must start with the given text, or that must not be had.
type Page = (&'static str, &'static str, Option<&'static str>, &'static str);

const SAME_ADDRESSES: [Page; 2] = [
    ("red-web1", "10.0.1.12", Some("red-web2 sees 10.0.1.11"), "10.0.1.12 is red-web2 for red-web1"),
    ("blue-web1", "10.0.1.12", Some("blue-web2 sees 10.0.1.11"), "10.0.1.12 is blue-web2 for blue-web1"),
];

const OUT_AND_IN: [Page; 7] = [
    (
        "red-web2",
        SERVER_IP,
        Some("internet sees 198.51.100.11:"),
        "red-web2 leaves as its router, 198.51.100.11 (SNAT)",
    ),
    (
        "blue-web2",
        SERVER_IP,
        Some("internet sees 198.51.100.12:"),
        "blue-web2 leaves as its router, 198.51.100.12 (SNAT)",
    ),
    (
        "red-web1",
        SERVER_IP,
        Some("internet sees 198.51.100.101:"),
        "red-web1 leaves as its floating IP, 198.51.100.101",
    ),
    (
        INTERNET,
        "198.51.100.101",
        Some("red-web1 sees 198.51.100.1:"),
        "the internet reaches red-web1 as 198.51.100.101",
    ),
    (
        INTERNET,
        "198.51.100.102",
        Some("blue-web1 sees 198.51.100.1:"),
        "the internet reaches blue-web1 as 198.51.100.102",
    ),
    (
        "red-web2",
        "198.51.100.101",
        Some("red-web1 sees "),
        "red-web2 reaches red-web1's floating IP from inside",
    ),
    (
        "blue-web2",
        "198.51.100.101",
        Some("red-web1 sees 198.51.100.12:"),
        "blue-web2 reaches red only by its floating IP",
    ),
];

const REFUSED: [Page; 2] = [
    ("red-web1", "10.0.2.21:80", None, "the database takes nothing but port 5432"),
    (INTERNET, "198.51.100.101:8080", None, "port 8080 of red-web1 is closed"),
];

/// All checks, in the order of a tour.
pub(crate) fn all(demo: &mut Demo, screen: &mut Screen) -> Result<(), LabError> {
    screen.section("Inside a tenant");
    ping_check(demo, screen, "red-web1", "10.0.1.12", "red-web1 pings red-web2, same network")?;
    ping_check(demo, screen, "red-web1", "10.0.1.1", "red-web1 pings its gateway")?;
    ping_check(demo, screen, "red-web1", "10.0.2.21", "red-web1 pings red-db, routed between networks")?;
    let database =
        ("red-web1", "10.0.2.21:5432", Some("red-db sees 10.0.1.11"), "red-web1 reaches the database");
    page_check(demo, screen, database)?;

    screen.section("Tenants with the same addresses never meet");
    page_checks(demo, screen, &SAME_ADDRESSES)?;
    isolation(demo, screen)?;

    screen.section("Out to the internet, and in from it");
    page_checks(demo, screen, &OUT_AND_IN)?;
    ping_check(demo, screen, "red-db", SERVER_IP, "red-db pings the internet (SNAT of ICMP)")?;

    screen.section("Security groups");
    page_checks(demo, screen, &REFUSED)?;
    rule_changes(demo, screen)?;
    let refused = inspect::dropped(&demo.site.edgectl(), "firewall_ingress")?;
    screen.check(
        "what was refused is counted by reason",
        refused > 0,
        &format!("firewall_ingress: {refused} packets"),
    );

    screen.section("What the gateway serves to workloads");
    functions::served_to_workloads(demo, screen);

    screen.section("IPv6, and packets larger than any link");
    functions::both_versions(demo, screen)?;

    screen.section("A load balancer");
    functions::load_balancer(demo, screen)?;

    screen.section("The same API by curl");
    functions::by_curl(demo, screen)?;
    let _servers = life::plug_in(demo)?;
    life::by_curl(demo, screen)?;

    screen.section("A site in a file");
    life::from_a_file(demo, screen)?;

    screen.section("The kernel's fast path carries what is established");
    throughput(demo, screen)?;
    story::show_tables(demo, screen)?;

    screen.section("The daemon restarts, traffic goes on");
    restart(demo, screen)
}

fn ping_check(demo: &Demo, screen: &mut Screen, from: &str, to: &str, what: &str) -> Result<(), LabError> {
    let report = ping::ping(demo.site.member(from), to, 3)?;
    screen.check(what, report.all_answered(), &format!("{} of {} replies", report.received, report.sent));
    Ok(())
}

fn page_checks(demo: &Demo, screen: &mut Screen, pages: &[Page]) -> Result<(), LabError> {
    pages.iter().try_for_each(|page| page_check(demo, screen, *page))
}

fn page_check(
    demo: &Demo,
    screen: &mut Screen,
    (from, target, expected, what): Page,
) -> Result<(), LabError> {
    let page = http::fetch(demo.site.member(from), target)?;
    let passed = match (&page, expected) {
        (Some(page), Some(expected)) => page.starts_with(expected),
        (None, None) => true,
        _ => false,
    };
    screen.check(what, passed, &page.map_or("no answer".to_owned(), |page| format!("\"{page}\"")));
    Ok(())
}

/// Red asks for an address that only blue has, and blue hears nothing of it.
fn isolation(demo: &Demo, screen: &mut Screen) -> Result<(), LabError> {
    let capture = Capture::start(demo.site.member("blue-db"), "icmp", demo.site.directory())?;
    let report = ping::ping(demo.site.member("red-web1"), "10.0.2.22", 3)?;
    let heard = capture.packets().len();
    let passed = report.none_answered() && heard == 0;
    screen.check(
        "red cannot reach 10.0.2.22, which only blue has",
        passed,
        &format!("{} replies, blue-db saw {heard} packets", report.received),
    );
    Ok(())
}

/// A rule opens a port, and taking it away closes it, while an iperf3 stream under another rule goes on.
fn rule_changes(demo: &Demo, screen: &mut Screen) -> Result<(), LabError> {
    let edgectl = demo.site.edgectl();
    let target = "198.51.100.101:8080";
    let answer = Some("red-web1 sees 198.51.100.1:");
    let stream = stream(demo)?;
    let open = "create-sgr red-web --direction ingress --protocol tcp --port 8080";
    screen.command(&format!("edgectl {open}"));
    edgectl.run(open)?;
    page_check(demo, screen, (INTERNET, target, answer, "... a rule opens it"))?;
    let close = "remove-sgr red-web --match 'ingress tcp 8080'";
    screen.command(&format!("edgectl {close}"));
    edgectl.run(close)?;
    page_check(demo, screen, (INTERNET, target, None, "... and without the rule it is closed again"))?;
    let report = stream.finish()?;
    screen.check(
        "... while a stream under another rule lost nothing",
        report.is_whole(),
        &report.to_string(),
    );
    Ok(())
}

/// A stream from red-web2 to the internet that must lose nothing.
fn stream(demo: &Demo) -> Result<iperf::Stream, LabError> {
    let (sender, receiver) = (demo.site.member("red-web2"), demo.site.member(INTERNET));
    iperf::Stream::start(sender, receiver, SERVER_IP, STREAM_SECONDS, demo.site.directory())
}

fn throughput(demo: &Demo, screen: &mut Screen) -> Result<(), LabError> {
    let edgectl = demo.site.edgectl();
    let before = inspect::counters(&edgectl)?;
    for (from, to, options, what) in [
        ("red-web2", SERVER_IP, "", "red-web2 to the internet through SNAT, one TCP stream"),
        ("red-web2", SERVER_IP, "--parallel 4", "the same, four TCP streams"),
        ("red-web2", SERVER_IP, "--reverse", "the internet to red-web2, one TCP stream"),
        ("red-web2", "10.0.1.11", "", "red-web2 to red-web1, same network, one TCP stream"),
    ] {
        let client = iperf::start(demo.site.member(from), to, IPERF_SECONDS, options, demo.site.directory())?;
        let early = established(&edgectl, &format!("{to}:5201"))?;
        std::thread::sleep(Duration::from_secs(1));
        let late = inspect::flows(&edgectl, &format!("{to}:5201"))?;
        let report = client.finish()?;
        let (packets, user_space) = between(&early, &late);
        screen.check(
            what,
            report.bits_per_second > 0.0 && packets > 0 && user_space == 0,
            &format!(
                "{:6.2} Gb/s; in one second {packets} packets in the kernel, {user_space} in user space",
                report.gigabits_per_second(),
                packets = packets - user_space,
            ),
        );
    }
    let after = inspect::counters(&edgectl)?;
    let share = kernel_share(&before, &after);
    screen.check(
        "share of all packets that the kernel carried meanwhile",
        share > 99.0,
        &format!("{share:.3} %"),
    );
    Ok(())
}

/// The flows of a stream once it is under way: the handshakes of all its connections are over.
fn established(edgectl: &Edgectl, address: &str) -> Result<Vec<FlowView>, LabError> {
    std::thread::sleep(Duration::from_millis(500));
    wait::value("the stream to be under way", Duration::from_secs(5), || {
        let flows = inspect::flows(edgectl, address).map_err(|error| error.to_string())?;
        let carried: u64 = flows.iter().map(|flow| flow.tier0_packets).sum();
        if carried > 10_000 { Ok(flows) } else { Err(format!("{carried} packets so far")) }
    })
}

/// Packets of the flows in both lists, and those of them that user space carried, between the two.
fn between(early: &[FlowView], late: &[FlowView]) -> (u64, u64) {
    let mut sums = (0, 0);
    for flow in late {
        let same = |other: &&FlowView| other.session == flow.session && other.direction == flow.direction;
        if let Some(before) = early.iter().find(same) {
            let packets = flow.packets - before.packets;
            sums.0 += packets;
            sums.1 += packets - (flow.tier0_packets - before.tier0_packets).min(packets);
        }
    }
    sums
}

fn kernel_share(before: &CountersView, after: &CountersView) -> f64 {
    let kernel = (after.tier0_packets - before.tier0_packets) as f64;
    let engine = (after.engine_packets - before.engine_packets) as f64;
    100.0 * kernel / (kernel + engine).max(1.0)
}

fn restart(demo: &mut Demo, screen: &mut Screen) -> Result<(), LabError> {
    let answer = Some("internet sees 198.51.100.12:");
    let killed = [
        "killed (-9): an established stream lost nothing",
        "killed (-9): the new daemon knows the flow and its counters",
        "killed (-9): new connections work",
    ];
    let stopped = [
        "stopped: an established stream lost nothing",
        "stopped: the new daemon knows the flow and its counters",
        "stopped: new connections work",
    ];
    for (signal, [lossless, adopts, works]) in [("TERM", stopped), ("KILL", killed)] {
        let stream = stream(demo)?;
        std::thread::sleep(Duration::from_secs(1));
        screen.command(&format!("kill -s {signal} edgestackd; sleep 1; edgestackd --config ..."));
        let daemon = demo.site.daemon();
        if signal == "TERM" {
            daemon.stop()?;
        } else {
            daemon.kill();
        }
        std::thread::sleep(Duration::from_secs(1));
        daemon.launch()?;
        let flows = inspect::flows(&demo.site.edgectl(), &format!("{SERVER_IP}:5201"))?;
        let is_stream = |flow: &&FlowView| flow.protocol == "udp" && flow.idle_seconds < 1.0;
        let packets = flows.iter().filter(is_stream).map(|flow| flow.packets).max();
        let report = stream.finish()?;
        screen.check(lossless, report.is_whole(), &report.to_string());
        let packets = packets.unwrap_or(0);
        screen.check(adopts, packets > 100, &format!("{packets} packets so far"));
        page_check(demo, screen, ("blue-web2", SERVER_IP, answer, works))?;
    }
    Ok(())
}
