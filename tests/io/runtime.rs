//! The runtime on real interfaces: trunk and XDP, interfaces that come and go, restarts, captures.

use std::net::UdpSocket;
use std::time::Duration;

use edgestack_abi::maps::MAX_INTERFACE_INDEX;
use edgestack_dataplane::capture::{CaptureDirection, CaptureError, CapturedPacket};
use edgestack_dataplane::config::{Attach, Config};
use edgestack_dataplane::fastpath::trunk_names;
use edgestack_dataplane::inspect::{FlowFilter, PortView};
use edgestack_dataplane::io::interface::Interfaces;
use edgestack_dataplane::io::xsk::{XskSettings, XskSocket};
use edgestack_dataplane::packet::FramePool;
use edgestack_dataplane::runtime::{Dataplane, DataplaneSettings};
use edgestack_tests::link::{connect, disconnect};
use edgestack_tests::namespace::Namespace;
use edgestack_tests::traffic::udp::UdpEcho;
use edgestack_tests::traffic::{ping, udp};
use edgestack_tests::{LabError, wait};

use crate::site::{ONE, OUTSIDE, Site, TWO, config};

/// How long the runtime may take to see what happened to an interface.
const PATIENCE: Duration = Duration::from_secs(5);

/// When the runtime has looked at the interfaces again, even if nothing told it to.
const SEEN_AFTER: Duration = Duration::from_secs(3);

const TWO_ADDRESS: &str = "10.0.0.12";
const GATEWAY: &str = "10.0.0.1";
const OUTSIDE_ADDRESS: &str = "198.51.100.1";

fn assert_answers(dataplane: &Dataplane, from: &Namespace, to: &str, count: u32) {
    let pings = ping::ping(from, to, count).expect("ping");
    assert!(pings.all_answered(), "{to}: {pings:?}\n{:#?}\n{:#?}", dataplane.ports(), dataplane.drops());
}

fn ping_everywhere(attach: Attach, attached: [&str; 3]) -> Result<(), LabError> {
    let site = Site::new()?;
    let dataplane = site.start_with(&config(attach));
    let ports = dataplane.ports();
    let states: Vec<_> = ports.iter().map(|port| (port.state.as_str(), port.attached.as_str())).collect();
    assert_eq!(states, attached.map(|attached| ("up", attached)), "{ports:#?}");
    assert_answers(&dataplane, &site.one, GATEWAY, 3);
    assert_answers(&dataplane, &site.one, TWO_ADDRESS, 20);
    assert_answers(&dataplane, &site.two, OUTSIDE_ADDRESS, 20);
    let counters = dataplane.counters();
    assert!(
        counters.tier0_packets >= 30,
        "{counters:#?}\n{:#?}",
        dataplane.flows(&FlowFilter::default(), 10)
    );
    Ok(())
}

#[test]
fn packets_pass_by_the_trunk_and_by_xdp() -> Result<(), LabError> {
    ping_everywhere(Attach::Auto, ["tc", "tc", "xdp+tc"])
}

#[test]
fn packets_pass_by_the_trunk_alone() -> Result<(), LabError> {
    ping_everywhere(Attach::Tc, ["tc", "tc", "tc"])
}

#[test]
fn packets_pass_by_xdp_alone() -> Result<(), LabError> {
    ping_everywhere(Attach::Xdp, ["xdp+tc", "xdp+tc", "xdp+tc"])
}

/// Waits until the port with this name is in the state.
fn wait_for(dataplane: &Dataplane, name: &str, state: &str) -> Result<PortView, LabError> {
    wait::value(&format!("port {name} to be {state}"), PATIENCE, || {
        let ports = dataplane.ports();
        let port = ports.into_iter().find(|port| port.name == name).expect("the port");
        if port.state == state { Ok(port) } else { Err(format!("{port:#?}")) }
    })
}

/// Asks the server outside until it answers: a kernel takes up to a second to use an interface that has just been
/// connected, and loses what is sent before.
fn first_answer(dataplane: &Dataplane, socket: &UdpSocket) -> Result<String, LabError> {
    let outside = format!("{OUTSIDE_ADDRESS}:7");
    wait::value("an answer from outside", PATIENCE, || match udp::ask(socket, &outside) {
        Ok(Some(answer)) => Ok(answer),
        other => Err(format!("{other:?}\n{:#?}", dataplane.drops())),
    })
}

#[test]
fn an_interface_may_come_late_go_and_come_back() -> Result<(), LabError> {
    let site = Site::new()?;
    let _echo = UdpEcho::start(&site.outside, "0.0.0.0:7")?;
    disconnect(&site.host, ONE.interface)?;
    let dataplane = site.start_with(&config(Attach::Auto));
    let port = wait_for(&dataplane, "one", "waiting")?;
    assert_eq!((port.attached.as_str(), port.reason.as_str()), ("none", "interface one does not exist"));
    let error = dataplane.capture("one", 1).expect_err("nothing to capture");
    assert_eq!(error, CaptureError::NoInterface("one".to_owned()));

    connect(&site.host, &site.one, &ONE)?;
    wait_for(&dataplane, "one", "up")?;
    let socket = udp::bind(&site.one, "0.0.0.0:4000")?;
    let seen_as = first_answer(&dataplane, &socket)?;

    // Deleted and made again: another index, the same flow, with the same translation.
    disconnect(&site.host, ONE.interface)?;
    wait_for(&dataplane, "one", "waiting")?;
    drop(socket);
    connect(&site.host, &site.one, &ONE)?;
    wait_for(&dataplane, "one", "up")?;
    let socket = udp::bind(&site.one, "0.0.0.0:4000")?;
    assert_eq!(first_answer(&dataplane, &socket)?, seen_as);

    // The uplink, with XDP and sockets of its own; its neighbour is found again.
    disconnect(&site.host, OUTSIDE.interface)?;
    wait_for(&dataplane, "uplink", "waiting")?;
    connect(&site.host, &site.outside, &OUTSIDE)?;
    assert_eq!(wait_for(&dataplane, "uplink", "up")?.attached, "xdp+tc");
    assert_eq!(first_answer(&dataplane, &socket)?, seen_as);

    site.host.run("ip link set one down")?;
    assert_eq!(wait_for(&dataplane, "one", "waiting")?.reason, "interface one is down");
    site.host.run("ip link set one up")?;
    wait_for(&dataplane, "one", "up")?;
    first_answer(&dataplane, &socket)?;
    assert_answers(&dataplane, &site.one, TWO_ADDRESS, 3);
    Ok(())
}

#[test]
fn an_interface_index_beyond_the_table_is_told_of() -> Result<(), LabError> {
    let site = Site::new()?;
    for (index, state) in [(MAX_INTERFACE_INDEX, "waiting"), (MAX_INTERFACE_INDEX - 1, "up")] {
        disconnect(&site.host, TWO.interface)?;
        site.host.run(&format!(
            "ip link add two index {index} mtu 1500 type veth peer name eth0 netns {}",
            site.two.name()
        ))?;
        site.two.run("ethtool -K eth0 gro on tx off")?;
        site.two.run("ip link set eth0 address 02:00:00:00:01:02")?;
        site.two.run("ip address add 10.0.0.12/24 dev eth0")?;
        site.two.run("ip link set eth0 up")?;
        site.host.run("ip link set two up")?;
        let dataplane = site.start_with(&config(Attach::Auto));
        let port = wait_for(&dataplane, "two", state)?;
        assert_eq!(port.reason.contains(&index.to_string()), state == "waiting", "{port:#?}");
        if state == "up" {
            wait::until("the workload to answer", PATIENCE, || {
                ping::ping(&site.one, TWO_ADDRESS, 1).is_ok_and(|pings| pings.all_answered())
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_queue_that_is_held_is_waited_for_and_taken_later() -> Result<(), LabError> {
    const RINGS: u32 = 64;
    let site = Site::new()?;
    let settings = XskSettings {
        receive_ring_packets: RINGS,
        transmit_ring_packets: RINGS,
        fill_ring_frames: RINGS,
        ..XskSettings::default()
    };
    let hold = || {
        site.host.enter(|| {
            let pool = FramePool::new(512).expect("frames");
            let index =
                Interfaces::open().and_then(|all| all.find("uplink")).expect("ask").expect("it").index;
            XskSocket::open(pool.memory(), index, 0, &settings, 1).expect("a socket")
        })
    };
    // Held for a moment only, as by a process that was killed: nobody sees it.
    let holder = hold()?;
    let dataplane = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            drop(holder);
        });
        site.start_with(&config(Attach::Auto))
    });
    assert_eq!(wait_for(&dataplane, "uplink", "up")?.attached, "xdp+tc");
    drop(dataplane);

    // Held for long: TC serves meanwhile.
    std::thread::sleep(Duration::from_millis(500));
    let holder = hold()?;
    let dataplane = site.start_with(&config(Attach::Auto));
    let port = wait_for(&dataplane, "uplink", "up")?;
    assert_eq!(port.attached, "tc");
    assert!(port.reason.contains("attached by TC only"), "{port:#?}");
    assert_answers(&dataplane, &site.one, OUTSIDE_ADDRESS, 3);
    drop(holder);
    wait::value("XDP", Duration::from_secs(15), || {
        let port = wait_for(&dataplane, "uplink", "up").map_err(|error| error.to_string())?;
        if port.attached == "xdp+tc" && port.reason.is_empty() { Ok(()) } else { Err(format!("{port:#?}")) }
    })?;
    assert_answers(&dataplane, &site.one, OUTSIDE_ADDRESS, 3);
    Ok(())
}

#[test]
fn an_uplink_with_the_mac_address_of_a_router_is_told_of() -> Result<(), LabError> {
    let site = Site::new()?;
    site.host.run("ip link set uplink address 02:00:00:00:00:01")?;
    let dataplane = site.start_with(&config(Attach::Auto));
    let port = wait_for(&dataplane, "uplink", "up")?;
    assert!(port.reason.contains("02:00:00:00:00:01 is also a router's"), "{port:#?}");
    site.host.run("ip link set uplink address 02:00:00:00:02:02")?;
    wait::until("the reason to go", PATIENCE, || {
        wait_for(&dataplane, "uplink", "up").is_ok_and(|port| port.reason.is_empty())
    })
}

#[test]
fn the_trunk_is_made_again_when_somebody_deletes_it() -> Result<(), LabError> {
    let site = Site::new()?;
    let dataplane = site.start_with(&config(Attach::Tc));
    assert_answers(&dataplane, &site.one, GATEWAY, 3);
    let [trunk, _] = trunk_names(&site.settings.fast_path.instance);
    site.host.run(&format!("ip link delete {trunk}"))?;
    wait::until("the trunk to be there again", PATIENCE, || {
        ping::ping(&site.one, GATEWAY, 1).is_ok_and(|pings| pings.all_answered())
    })?;
    assert_answers(&dataplane, &site.two, OUTSIDE_ADDRESS, 3);
    Ok(())
}

#[test]
fn every_queue_of_an_interface_is_served_by_any_number_of_workers() -> Result<(), LabError> {
    for workers in [1, 2] {
        let mut site = Site::new()?;
        site.settings.workers = workers;
        disconnect(&site.host, OUTSIDE.interface)?;
        site.host.run(&format!(
            "ip link add uplink numrxqueues 4 numtxqueues 4 type veth peer name eth0 numrxqueues 4 numtxqueues 4 netns {}",
            site.outside.name()
        ))?;
        site.outside.run("ethtool -K eth0 gro on tx off")?;
        site.outside.run("ip address add 198.51.100.1/24 dev eth0")?;
        site.outside.run("ip link set eth0 up")?;
        site.outside.run("ethtool -L eth0 tx 2")?;
        site.host.run("ethtool -L uplink rx 2")?;
        site.host.run("ip link set uplink up")?;
        let _echo = UdpEcho::start(&site.outside, "0.0.0.0:7")?;
        site.settings.fast_path_enabled = false;
        let dataplane = site.start_with(&config(Attach::Auto));
        assert_eq!(wait_for(&dataplane, "uplink", "up")?.attached, "xdp+tc");
        first_answer(&dataplane, &udp::bind(&site.one, "0.0.0.0:0")?)?;
        // Queues that come later are served, too.
        site.host.run("ethtool -L uplink rx 4")?;
        site.outside.run("ethtool -L eth0 tx 4")?;
        std::thread::sleep(SEEN_AFTER);
        // The outside's stack spreads flows over its queues by their hash.
        for port in 4000..4032 {
            let answer = udp::ask(
                &udp::bind(&site.one, &format!("0.0.0.0:{port}"))?,
                &format!("{OUTSIDE_ADDRESS}:7"),
            )?;
            assert!(answer.is_some(), "{workers} workers, port {port}: {:#?}", dataplane.drops());
        }
    }
    Ok(())
}

#[test]
fn a_restart_is_not_noticed() -> Result<(), LabError> {
    let site = Site::new()?;
    let config = config(Attach::Auto);
    let _echo = UdpEcho::start(&site.outside, "0.0.0.0:7")?;
    let outside = format!("{OUTSIDE_ADDRESS}:7");
    let socket = udp::bind(&site.one, "0.0.0.0:4000")?;
    let first = site.start_with(&config);
    let seen_as = udp::ask(&socket, &outside)?.expect("an answer");
    assert_eq!(udp::ask(&socket, &outside)?.as_deref(), Some(seen_as.as_str()));
    let sessions = first.counters().sessions;

    let error = site.host.enter(|| Dataplane::start(&site.settings))?.expect_err("one is running");
    let message = error.to_string();
    assert!(message.contains(&format!("process with id {}", std::process::id())), "{message}");

    drop(first);
    for _ in 0..10 {
        assert_eq!(udp::ask(&socket, &outside)?.as_deref(), Some(seen_as.as_str()), "no engine runs");
    }
    let second = site.start();
    for _ in 0..10 {
        assert_eq!(udp::ask(&socket, &outside)?.as_deref(), Some(seen_as.as_str()), "not yet configured");
    }
    second.apply(&config).expect("apply");
    for _ in 0..10 {
        assert_eq!(udp::ask(&socket, &outside)?.as_deref(), Some(seen_as.as_str()), "adopted");
    }
    assert_eq!(second.counters().sessions, sessions);
    assert_answers(&second, &site.two, OUTSIDE_ADDRESS, 3);

    // A port that is not configured any more loses its programs, also when its daemon did not run meanwhile.
    drop(second);
    let mut without_two = config;
    without_two.ports.retain(|port| port.name != "two");
    let third = site.start_with(&without_two);
    assert_answers(&third, &site.one, OUTSIDE_ADDRESS, 3);
    assert!(ping::ping(&site.two, OUTSIDE_ADDRESS, 1)?.none_answered());
    Ok(())
}

#[test]
fn without_the_fast_path_the_answers_are_the_same() -> Result<(), LabError> {
    let mut site = Site::new()?;
    site.settings.fast_path_enabled = false;
    let dataplane = site.start_with(&config(Attach::Auto));
    assert_answers(&dataplane, &site.one, TWO_ADDRESS, 10);
    assert_answers(&dataplane, &site.one, OUTSIDE_ADDRESS, 10);
    let counters = dataplane.counters();
    assert_eq!(counters.tier0_packets, 0);
    assert!(counters.engine_packets >= 40, "{counters:#?}");
    Ok(())
}

#[test]
fn busy_polling_carries_the_same_packets() -> Result<(), LabError> {
    let mut site = Site::new()?;
    site.settings.fast_path_enabled = false;
    site.settings.xsk.busy_poll_us = 20;
    site.settings.xsk.zero_copy = false;
    let dataplane = site.start_with(&config(Attach::Auto));
    assert_answers(&dataplane, &site.one, TWO_ADDRESS, 10);
    assert_answers(&dataplane, &site.two, OUTSIDE_ADDRESS, 10);
    Ok(())
}

#[test]
fn a_capture_sees_every_packet_of_its_port_both_ways() -> Result<(), LabError> {
    let site = Site::new()?;
    let dataplane = site.start_with(&config(Attach::Auto));
    assert_answers(&dataplane, &site.one, OUTSIDE_ADDRESS, 3);
    let tier0_before = dataplane.counters().tier0_packets;
    assert_eq!(
        dataplane.capture("three", 1).expect_err("no such port"),
        CaptureError::UnknownPort("three".to_owned())
    );
    for port in ["one", "port-uplink"] {
        let capture = dataplane.capture(port, 1000).expect("a capture");
        assert_answers(&dataplane, &site.one, OUTSIDE_ADDRESS, 5);
        let packets: Vec<CapturedPacket> = capture.try_iter().collect();
        let count = |direction, address: [u8; 4]| {
            let is_echo = |packet: &&CapturedPacket| {
                packet.direction == direction
                    && packet.bytes.get(23) == Some(&1)
                    && (packet.bytes[26..30] == address || packet.bytes[30..34] == address)
            };
            packets.iter().filter(is_echo).count()
        };
        // Addresses as on the wire of that port: inside before translation, outside after.
        let address = if port == "one" { [10, 0, 0, 11] } else { [198, 51, 100, 2] };
        let counts = [CaptureDirection::In, CaptureDirection::Out].map(|way| count(way, address));
        assert_eq!(counts, [5, 5], "{port}: {packets:#?}");
        assert_eq!(dataplane.counters().tier0_packets, tier0_before, "all of it went through the engine");
    }
    // Nobody reads any more: tier 0 forwards again.
    wait::until("tier 0 to forward again", PATIENCE, || {
        assert_answers(&dataplane, &site.one, OUTSIDE_ADDRESS, 3);
        dataplane.counters().tier0_packets > tier0_before
    })
}

#[test]
fn every_frame_is_accounted_for() -> Result<(), LabError> {
    let mut site = Site::new()?;
    site.settings.workers = 2;
    let dataplane = site.start_with(&config(Attach::Xdp));
    for (from, to) in [(&site.one, TWO_ADDRESS), (&site.two, OUTSIDE_ADDRESS)] {
        assert_answers(&dataplane, from, to, 20);
    }
    let nothing = Config::default();
    dataplane.apply(&nothing).expect("apply nothing");
    // What is left are the frames of the trunk's fill rings, one for each worker.
    let filled = u64::from(site.settings.xsk.fill_ring_frames);
    wait::value("all frames but the trunk's to return", PATIENCE, || {
        let frames = dataplane.frames();
        let missing: Vec<u64> = frames.iter().map(|(available, all)| all - available).collect();
        if missing.iter().all(|missing| *missing <= filled) { Ok(()) } else { Err(format!("{missing:?}")) }
    })
}

#[test]
fn a_start_that_cannot_be_says_why() -> Result<(), LabError> {
    let mut site = Site::new()?;
    let whole = site.settings.clone();
    let fails = |settings: &DataplaneSettings| {
        let error =
            site.host.enter(|| Dataplane::start(settings)).expect("enter").expect_err("it cannot start");
        error.to_string()
    };
    let mut settings = whole.clone();
    settings.fast_path.object_path = Some("/no/such/object.o".into());
    let message = fails(&settings);
    assert!(message.contains("/no/such/object.o") && message.contains("make ebpf"), "{message}");

    let mut settings = whole.clone();
    settings.run_directory = "/proc/no-such".into();
    let message = fails(&settings);
    assert!(message.contains("run_dir`"), "{message}");

    let mut settings = whole.clone();
    settings.frames = 1024;
    let message = fails(&settings);
    assert!(message.contains("raise `frames`"), "{message}");
    site.settings = whole;
    // Nothing of the failed starts is left in the way.
    let dataplane = site.start_with(&config(Attach::Auto));
    assert_answers(&dataplane, &site.one, TWO_ADDRESS, 3);
    Ok(())
}
