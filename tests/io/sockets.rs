//! AF_XDP sockets on veth pairs: frames arrive, leave, and none is lost to the pool.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use edgestack_dataplane::io::interface::{Interfaces, LinkEvents};
use edgestack_dataplane::io::xsk::{XskError, XskSettings, XskSocket};
use edgestack_dataplane::packet::FramePool;
use edgestack_tests::link::{Plug, connect, disconnect};
use edgestack_tests::namespace::{Namespace, unique_prefix};
use edgestack_tests::traffic::ping;
use edgestack_tests::{LabError, wait};

use crate::patch::Patch;

const FRAMES: u32 = 1024;
const SETTINGS: XskSettings = XskSettings {
    receive_ring_packets: 256,
    transmit_ring_packets: 256,
    fill_ring_frames: 256,
    zero_copy: true,
    busy_poll_us: 0,
};

/// Two hosts, each on a cable of its own that ends at `left` and `right` of the first namespace.
fn site() -> Result<[Namespace; 3], LabError> {
    let prefix = unique_prefix();
    let [host, left, right] =
        ["host", "left", "right"].map(|name| Namespace::create(&format!("{prefix}-{name}")));
    let (host, left, right) = (host?, left?, right?);
    for (far, interface, address) in [(&left, "left", "192.0.2.1/24"), (&right, "right", "192.0.2.2/24")] {
        connect(&host, far, &Plug { address: Some(address), checksums: true, ..Plug::new(interface) })?;
    }
    Ok([host, left, right])
}

#[test]
fn frames_cross_between_two_sockets_and_all_return() -> Result<(), LabError> {
    let [host, left, _right] = site()?;
    let stop = AtomicBool::new(false);
    let pool = host.enter(|| {
        let mut patch = Patch::join(["left", "right"], FRAMES, &SETTINGS);
        std::thread::scope(|scope| {
            let pings = scope.spawn(|| {
                let pings = ping::ping(&left, "192.0.2.2", 50);
                stop.store(true, Ordering::Relaxed);
                pings
            });
            while !stop.load(Ordering::Relaxed) {
                if patch.turn() == 0 {
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
            let pings = pings.join().expect("the pinging thread")?;
            assert!(pings.all_answered(), "{pings:?}");
            for end in &patch.ends {
                let statistics = end.statistics();
                assert_eq!((statistics.invalid_descriptors, statistics.receive_dropped), (0, 0));
            }
            assert!(patch.pool.available() < patch.pool.capacity(), "the rings hold frames");
            Ok::<FramePool, LabError>(patch.close())
        })
    })??;
    assert_eq!(pool.available(), pool.capacity());
    Ok(())
}

#[test]
fn frames_return_when_the_interface_goes() -> Result<(), LabError> {
    let [host, _left, _right] = site()?;
    let pool = host.enter(|| {
        let events = LinkEvents::open().expect("listen to the interfaces");
        let interfaces = Interfaces::open().expect("open a socket");
        let index = interfaces.find("left").expect("ask").expect("the interface").index;
        let mut patch = Patch::join(["left", "right"], FRAMES, &SETTINGS);
        disconnect(&host, "left")?;
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut gone = Vec::new();
        while !gone.contains(&index) {
            assert!(Instant::now() < deadline, "the interface's end was not told");
            events.wait(100);
            gone.extend(events.drain().gone);
        }
        assert_eq!(interfaces.find("left").expect("ask"), None);
        for _ in 0..10 {
            patch.turn();
        }
        Ok::<FramePool, LabError>(patch.close())
    })??;
    assert_eq!(pool.available(), pool.capacity());
    Ok(())
}

#[test]
fn a_socket_that_cannot_be_says_why() -> Result<(), LabError> {
    let [host, _left, _right] = site()?;
    host.enter(|| {
        let index = Interfaces::open().and_then(|all| all.find("left")).expect("ask").expect("it").index;
        let pool = FramePool::new(FRAMES).expect("memory");
        let open = |index, queue, sockets| XskSocket::open(pool.memory(), index, queue, &SETTINGS, sockets);
        let first = open(index, 0, 1).expect("the first socket");
        assert!(!first.is_zero_copy(), "veth copies");
        let error = open(index, 0, 2).expect_err("the queue is taken");
        assert!(matches!(error, XskError::QueueInUse { queue: 0, .. }), "{error}");
        let error = open(index, 4000, 2).expect_err("no such queue");
        assert!(matches!(error, XskError::NoSuchQueue { queue: 4000, .. }), "{error}");
        let error = open(index + 1000, 0, 2).expect_err("no such interface");
        assert!(matches!(error, XskError::NoSuchQueue { .. }), "{error}");
        let error = open(index, 0, 4).expect_err("too few frames");
        assert!(error.to_string().contains("raise `frames`"), "{error}");
        drop(first);
        wait::until("the queue to be free again", Duration::from_secs(2), || open(index, 0, 1).is_ok())
    })?
}
