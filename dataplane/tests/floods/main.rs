//! What one port can take from the others: with small tables, on the engine alone.

#[path = "../../fuzz/src/site.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the fuzz targets, which use all of it")]
mod site;

use std::net::Ipv4Addr;

use edgestack_dataplane::engine::{Engine, EngineSettings, Transmit, Worker};
use edgestack_dataplane::packet::{FramePool, Packet};
use edgestack_dataplane::tables::region::Regions;

/// Sessions of the test.
const SESSIONS: u16 = 64;
/// Variant of the configuration in which the next hop is known, so that nothing waits.
const VARIANT: u16 = 1 << 7;
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 2;
const ACK: u8 = 16;

struct Gateway {
    engine: Engine,
    worker: Worker,
    pool: FramePool,
}

/// A packet of a flow.
#[derive(Clone, Copy)]
struct Flow {
    from: &'static str,
    to_mac: [u8; 6],
    to_ip: Ipv4Addr,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
    ttl: u8,
}

impl Gateway {
    fn new(settings: EngineSettings) -> Self {
        let regions = Regions::anonymous(8192, u32::from(SESSIONS), 7).expect("memory");
        let engine = Engine::new(regions, settings).expect("fresh regions fit");
        let config = site::config(VARIANT);
        engine.apply(&config).expect("a sound configuration");
        site::plug(&engine, &config, None);
        let worker = engine.worker(0);
        Self { engine, worker, pool: FramePool::new(64).expect("memory") }
    }

    /// Sends a packet; the ports by which packets left.
    fn send(&mut self, flow: Flow, tcp_flags: u8) -> Vec<u16> {
        let port = self.engine.port_number(flow.from).expect("applied");
        let mut packet = self.pool.allocate(port).expect("the pool holds a packet");
        self.pool.write(&mut packet, &flow.frame(tcp_flags));
        let (mut batch, mut output): (Vec<Packet>, Vec<Transmit>) = (vec![packet], Vec::new());
        self.engine.process(&mut self.worker, &mut self.pool, &mut batch, &mut output);
        output
            .into_iter()
            .map(|sent| {
                self.pool.free(sent.packet);
                sent.port
            })
            .collect()
    }

    /// Completes a handshake between red-1 and red-2; whether all of it passed.
    fn establish(&mut self, source_port: u16) -> bool {
        let there = Flow {
            from: "red-1",
            to_mac: site::own_mac("red-2"),
            to_ip: site::own_ip("red-2"),
            source_port,
            destination_port: 80,
            protocol: TCP,
            ttl: 64,
        };
        let back = Flow {
            from: "red-2",
            to_mac: site::own_mac("red-1"),
            to_ip: site::own_ip("red-1"),
            source_port: 80,
            destination_port: source_port,
            ..there
        };
        [(there, SYN), (back, SYN | ACK), (there, ACK)]
            .into_iter()
            .all(|(flow, flags)| self.send(flow, flags).len() == 1)
    }

    fn number(&self, port: &str) -> u16 {
        self.engine.port_number(port).expect("applied")
    }
}

impl Flow {
    /// A UDP packet from a port to a host outside.
    fn outside(from: &'static str, source_port: u16, ttl: u8) -> Self {
        let (to_mac, to_ip) = (site::gateway_mac(from), OUTSIDE);
        Self { from, to_mac, to_ip, source_port, destination_port: 53, protocol: UDP, ttl }
    }

    fn frame(&self, tcp_flags: u8) -> [u8; 60] {
        let mut frame = [0; 60];
        frame[..6].copy_from_slice(&self.to_mac);
        frame[6..12].copy_from_slice(&site::own_mac(self.from));
        frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, self.ttl, self.protocol]);
        frame[26..30].copy_from_slice(&site::own_ip(self.from).octets());
        frame[30..34].copy_from_slice(&self.to_ip.octets());
        frame[34..36].copy_from_slice(&self.source_port.to_be_bytes());
        frame[36..38].copy_from_slice(&self.destination_port.to_be_bytes());
        if self.protocol == UDP {
            frame[38..40].copy_from_slice(&26_u16.to_be_bytes());
        } else {
            frame[46..48].copy_from_slice(&[5 << 4, tcp_flags]);
        }
        let words = frame[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        frame
    }
}

#[test]
fn who_hoards_established_connections_makes_room_for_others() {
    let mut gateway = Gateway::new(EngineSettings::default());
    for number in 0..SESSIONS {
        assert!(gateway.establish(4000 + number), "connection {number}");
    }
    let wan = gateway.number("wan");
    assert_eq!(gateway.send(Flow::outside("blue-1", 5000, 64), 0), [wan], "another port opens a flow");
    assert_eq!(gateway.send(Flow::outside("blue-1", 5001, 64), 0), [wan]);
}

#[test]
fn a_few_established_connections_outlast_a_flood() {
    let mut gateway = Gateway::new(EngineSettings::default());
    for number in 0..4 {
        assert!(gateway.establish(4000 + number), "connection {number}");
    }
    for number in 0..4 * SESSIONS {
        gateway.send(Flow::outside("blue-1", 5000 + number, 64), 0);
    }
    let there = Flow {
        to_mac: site::own_mac("red-2"),
        to_ip: site::own_ip("red-2"),
        destination_port: 80,
        protocol: TCP,
        ..Flow::outside("red-1", 0, 64)
    };
    let target = gateway.number("red-2");
    for source_port in 4000..4004 {
        assert_eq!(gateway.send(Flow { source_port, ..there }, ACK), [target], "connection {source_port}");
    }
}

#[test]
fn nobody_takes_the_errors_of_all_others() {
    let settings = EngineSettings { icmp_errors_per_second: 8, ..EngineSettings::default() };
    let mut gateway = Gateway::new(settings);
    let told = |gateway: &mut Gateway, port: &'static str| {
        let own = gateway.number(port);
        (0..20).filter(|number| gateway.send(Flow::outside(port, 5000 + number, 1), 0) == [own]).count()
    };
    assert_eq!(told(&mut gateway, "red-1"), 2, "a quarter of the limit");
    assert_eq!(told(&mut gateway, "blue-1"), 2, "another is told all the same");
}
