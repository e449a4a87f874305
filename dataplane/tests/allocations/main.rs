//! How often the engine asks for memory: never for a packet of a known flow, and rarely for the first of a new one.

#[path = "../../fuzz/src/site.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the fuzz targets, which use all of it")]
mod site;

use edgestack_dataplane::engine::{Engine, EngineSettings, Transmit, Worker};
use edgestack_dataplane::packet::{BATCH_SIZE, FramePool, Packet};
use edgestack_dataplane::tables::region::Regions;

/// Flows of the test.
const FLOWS: u16 = 4096;
/// Most allocations per thousand first packets, beyond which somebody allocates for each: what remains is the growth
/// of the tables of translated ports.
const PER_THOUSAND_MISSES_MAX: u64 = 300;
/// Variant of the configuration in which the next hop is known, so that nothing waits.
const VARIANT: u16 = 1 << 7;

struct Gateway {
    engine: Engine,
    worker: Worker,
    pool: FramePool,
    batch: Vec<Packet>,
    output: Vec<Transmit>,
    port: u16,
}

impl Gateway {
    fn new() -> Self {
        let regions = Regions::anonymous(8192, u32::from(FLOWS) * 2, 7).expect("memory");
        let settings = EngineSettings { new_flows_per_second_per_port: 0, ..EngineSettings::default() };
        let engine = Engine::new(regions, settings).expect("fresh regions fit");
        let config = site::config(VARIANT);
        engine.apply(&config).expect("a sound configuration");
        site::plug(&engine, &config, None);
        let worker = engine.worker(0);
        let port = engine.port_number("red-1").expect("applied");
        let pool = FramePool::new(64).expect("memory");
        let (batch, output) = (Vec::with_capacity(BATCH_SIZE), Vec::with_capacity(2 * BATCH_SIZE));
        Self { engine, worker, pool, batch, output, port }
    }

    /// Sends one packet of every flow and returns how many left.
    fn send_all(&mut self) -> usize {
        let mut left = 0;
        for first in (0..FLOWS).step_by(BATCH_SIZE) {
            for flow in first..first + BATCH_SIZE as u16 {
                let mut packet = self.pool.allocate(self.port).expect("the pool holds a batch");
                self.pool.write(&mut packet, &frame(flow));
                self.batch.push(packet);
            }
            self.engine.process(&mut self.worker, &mut self.pool, &mut self.batch, &mut self.output);
            left += self.output.len();
            self.output.drain(..).for_each(|sent| self.pool.free(sent.packet));
        }
        left
    }
}

/// A UDP packet from red-1 to a host outside; the flow is in its source port.
fn frame(flow: u16) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..6].copy_from_slice(&site::MACS[0]);
    frame[6..12].copy_from_slice(&site::own_mac("red-1"));
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17]);
    frame[26..30].copy_from_slice(&site::own_ip("red-1").octets());
    frame[30..34].copy_from_slice(&[198, 51, 100, (flow % 64) as u8 + 1]);
    frame[34..40].copy_from_slice(&[(flow >> 8) as u8 | 0x40, flow as u8, 0, 53, 0, 26]);
    let mut sum: u32 = frame[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame
}

#[test]
fn known_flows_allocate_nothing_and_new_ones_little() {
    let mut gateway = Gateway::new();
    let mut left = 0;
    let misses = allocation_counter::measure(|| left = gateway.send_all()).count_total;
    // A few may find their places in the table taken.
    assert!(left > usize::from(FLOWS) - 50, "only {left} of {FLOWS} flows were opened");
    let per_thousand = misses * 1000 / u64::from(FLOWS);
    println!("{misses} allocations for {FLOWS} new flows: {per_thousand} per thousand");
    assert!(per_thousand <= PER_THOUSAND_MISSES_MAX, "{misses} allocations for {FLOWS} new flows");

    // Those that were refused at first come in now.
    gateway.send_all();
    let hits = allocation_counter::measure(|| left = gateway.send_all()).count_total;
    assert!(left > usize::from(FLOWS) - 50, "only {left} of {FLOWS} packets were forwarded");
    assert_eq!(hits, 0, "{hits} allocations for {left} packets of known flows");
}
