//! Real traffic of known flows between hosts in namespaces, with no engine at all.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use edgestack_dataplane::fastpath::Attached;

use crate::packet::{TCP_ACK, Transport};
use crate::repair::established;
use crate::rig::{HOOKS, Hook, OUTSIDE, outbound};
use crate::site::{Flows, Site};

const UDP: Transport = Transport::Udp { checksum: true };
const TCP: Transport = Transport::Tcp { flags: TCP_ACK };
/// `UDP_SEGMENT` (include/uapi/linux/udp.h): the stack cuts what is sent into datagrams of this size.
const UDP_SEGMENT: i32 = 103;

#[test]
fn datagrams_arrive_translated_and_are_answered() {
    for hook in HOOKS {
        let site = Site::new(hook);
        let flows = site.insert(outbound(UDP));
        let (workload, outside) = site.udp();
        for round in 1..=20u8 {
            let sent = vec![round; usize::from(round) * 70];
            let mut buffer = [0; 2000];
            workload.send(&sent).unwrap();
            let length =
                outside.recv(&mut buffer).unwrap_or_else(|error| panic!("{hook:?} {round}: {error}"));
            assert_eq!(&buffer[..length], sent, "{hook:?}");
            outside.send(&sent).unwrap();
            let length =
                workload.recv(&mut buffer).unwrap_or_else(|error| panic!("{hook:?} {round}: {error}"));
            assert_eq!(&buffer[..length], sent, "{hook:?}");
        }
        for place in [flows.original, flows.reply] {
            assert_eq!(site.rig.entry(place).tier0_packets, 20, "{hook:?}");
        }
    }
}

#[test]
fn datagrams_that_the_stack_is_to_cut_stay_whole_through_tc() {
    let site = Site::new(Hook::Tc);
    let flows = site.insert(outbound(UDP));
    let (workload, outside) = site.udp();
    let size: i32 = 1000;
    // SAFETY: the value is complete, of the length told, and outlives the call.
    let result = unsafe {
        libc::setsockopt(
            workload.as_raw_fd(),
            libc::SOL_UDP,
            UDP_SEGMENT,
            (&raw const size).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    let before = site.sent_by("outside0");
    workload.send(&vec![7; 40_000]).unwrap();
    let mut buffer = [0; 2000];
    for _ in 0..40 {
        assert_eq!(outside.recv(&mut buffer).unwrap(), 1000, "the checksums were right");
    }
    let entry = site.rig.entry(flows.original);
    assert_eq!((entry.packets(), entry.bytes), (40, 40 * 1042));
    assert_eq!(site.sent_by("outside0") - before, 1, "one packet for the stack");
}

/// Both ends of a TCP connection through the site.
fn connection(site: &Site) -> (TcpStream, TcpStream, Flows) {
    let flows = site.insert(outbound(TCP));
    let address = |text: &str| text.parse().unwrap();
    let workload = site
        .workload
        .enter(|| established(address("10.0.0.5:40000"), address("198.51.100.7:443"), 1000, 2000));
    let outside = site
        .outside
        .enter(|| established(address("198.51.100.7:443"), address("203.0.113.9:61111"), 2000, 1000));
    let streams = [workload, outside].map(|end| end.unwrap().expect("establish"));
    let timeout = Some(std::time::Duration::from_secs(5));
    for stream in &streams {
        stream.set_read_timeout(timeout).unwrap();
        stream.set_write_timeout(timeout).unwrap();
    }
    let [workload, outside] = streams;
    (workload, outside, flows)
}

/// Sends `length` bytes and returns how many arrived as they were sent.
fn transfer(from: &mut TcpStream, to: &mut TcpStream, length: usize) -> usize {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let chunk: Vec<u8> = (0..251).cycle().take(251 * 400).collect();
            let mut left = length;
            while left > 0 {
                let count = left.min(chunk.len());
                from.write_all(&chunk[..count]).expect("send");
                left -= count;
            }
        });
        let mut buffer = vec![0; 1 << 16];
        let mut arrived = 0;
        while arrived < length {
            let count = to.read(&mut buffer).expect("receive");
            assert_ne!(count, 0, "the connection ended after {arrived} bytes");
            let right = |(index, byte): (usize, &u8)| *byte as usize == (arrived + index) % 251;
            assert!(buffer[..count].iter().enumerate().all(right), "wrong bytes after {arrived}");
            arrived += count;
        }
        arrived
    })
}

#[test]
fn streams_through_tc_keep_their_segments_whole() {
    const LENGTH: usize = 251 * 400 * 200;
    let site = Site::new(Hook::Tc);
    let (mut workload, mut outside, flows) = connection(&site);
    let before = site.sent_by("outside0");
    assert_eq!(transfer(&mut workload, &mut outside, LENGTH), LENGTH);
    let segments = site.rig.entry(flows.original).packets();
    let packets = site.sent_by("outside0") - before;
    assert!(segments as usize >= LENGTH / 1460, "{segments} segments carry {LENGTH} bytes");
    assert!(segments > 8 * packets, "{segments} segments were {packets} packets for the stack");
    assert_eq!(transfer(&mut outside, &mut workload, LENGTH), LENGTH);
}

#[test]
fn streams_through_xdp_arrive_whole() {
    const LENGTH: usize = 251 * 400 * 50;
    let site = Site::new(Hook::Xdp);
    let (mut workload, mut outside, flows) = connection(&site);
    assert_eq!(transfer(&mut workload, &mut outside, LENGTH), LENGTH);
    assert_eq!(transfer(&mut outside, &mut workload, LENGTH), LENGTH);
    let counters = site.rig.fast_path.port_counters(OUTSIDE).unwrap();
    assert!(counters.transmitted_packets as usize > LENGTH / 1460, "{counters:?}");
    assert!(site.rig.entry(flows.reply).tier0_packets as usize > LENGTH / 1460);
}

#[test]
fn xdp_hands_over_to_tc_for_a_port_that_is_tc_only() {
    const LENGTH: usize = 251 * 400 * 50;
    let mut site = Site::new(Hook::Tc);
    // The outside is an uplink with both programs, the workload is TC only: what comes in is merged by the stack.
    let index = site.rig.regions.ports.read(usize::from(OUTSIDE)).interface_index;
    let rig = &mut site.rig;
    site.host.enter(|| rig.fast_path.attach_xdp("outside0", index).expect("attach")).unwrap();
    site.outside.run("ethtool -K eth0 tx off").unwrap();
    let (mut workload, mut outside, flows) = connection(&site);
    assert_eq!(transfer(&mut outside, &mut workload, LENGTH), LENGTH);
    let segments = site.rig.entry(flows.reply).packets();
    assert!(segments as usize >= LENGTH / 1460);
}

#[test]
fn replacing_the_programs_of_pinned_links_loses_no_packet() {
    for hook in HOOKS {
        let mut site = Site::new(hook);
        site.insert(outbound(UDP));
        let (workload, outside) = site.udp();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let mut sent = 0u32;
                while !stop.load(Ordering::Relaxed) {
                    workload.send(&sent.to_be_bytes()).expect("send");
                    sent += 1;
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                sent
            });
            let receiver = scope.spawn(|| {
                let (mut received, mut bytes) = (Vec::new(), [0; 4]);
                while outside.recv(&mut bytes).is_ok() {
                    received.push(u32::from_be_bytes(bytes));
                }
                received
            });
            for _ in 0..10 {
                let attached = site.restart();
                assert!(attached.iter().all(|attached| *attached == Attached::Replaced), "{attached:?}");
            }
            stop.store(true, Ordering::Relaxed);
            let sent = sender.join().expect("the sender does not panic");
            let received = receiver.join().expect("the receiver does not panic");
            assert!(sent > 50, "{hook:?}: {sent} packets");
            assert!(received.iter().copied().eq(0..sent), "{hook:?}: {sent} sent, {received:?} received");
        });
    }
}
