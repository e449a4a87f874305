//! A gateway in memory for the benches: one tenant of many workloads behind one SNAT address, and frames for it.

#![allow(dead_code, reason = "each bench uses a part")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use edgestack_dataplane::address::{Cidr, MacAddress};
use edgestack_dataplane::config::{
    Attach, Config, Direction, Network, Port, PortKind, Router, RouterExternal, SecurityGroup,
    SecurityGroupRule, Workload,
};
use edgestack_dataplane::engine::{Engine, EngineSettings, InterfaceBinding, Transmit, Worker};
use edgestack_dataplane::packet::{BATCH_SIZE, FramePool, Packet};
use edgestack_dataplane::tables::region::{Region, Regions};

/// Workloads that send.
pub(crate) const HOSTS: u32 = 256;
/// Remote hosts that they send to.
pub(crate) const REMOTES: u32 = 64;
/// Packets that are made ready before the clock runs: few enough that they stay in the cache, as from a NIC.
pub(crate) const ROUND: usize = 32 * BATCH_SIZE;
/// Length of a frame: the shortest of Ethernet, without its checksum.
const FRAME_LENGTH: usize = 60;
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
const NEXT_HOP_MAC: [u8; 6] = [2, 0, 0, 0, 0xff, 1];

/// Random numbers (splitmix64), the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next one.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// A gateway.
pub(crate) struct Gateway {
    /// The engine.
    pub(crate) engine: Engine,
    worker: Worker,
    pool: FramePool,
    /// Number of each workload's port.
    numbers: Vec<u16>,
    batch: Vec<Packet>,
    output: Vec<Transmit>,
}

impl Gateway {
    /// A gateway with room for `flows` connections.
    pub(crate) fn new(flows: u32) -> Self {
        // Four entries a bucket, two entries a connection: a quarter full at most, as by default.
        let buckets = (2 * flows).max(1024).next_power_of_two();
        let regions = Regions::anonymous(buckets, flows.max(1024), 0x5eed).expect("memory");
        // The arrays of the kernel have their memory from the start; so has the one that is measured.
        touch(&regions.flows);
        touch(&regions.flow_tags);
        touch(&regions.sessions);
        let settings = EngineSettings { new_flows_per_second_per_port: 0, ..EngineSettings::default() };
        let engine = Engine::new(regions, settings).expect("fresh regions fit");
        let config = config();
        engine.apply(&config).expect("a sound configuration");
        let mut worker = engine.worker(0);
        let mut pool = FramePool::new(ROUND as u32 + 64).expect("memory");
        let numbers: Vec<u16> =
            config.ports.iter().map(|port| engine.port_number(&port.id).expect("applied")).collect();
        for number in &numbers {
            let binding = InterfaceBinding {
                index: 100 + u32::from(*number),
                mac: MacAddress([2, 0xfe, 0, 0, 0, 1]),
                mtu: 1500,
                xdp_transmit: true,
                first_socket: 0,
            };
            engine.set_interface(*number, Some(binding));
        }
        let mut output = Vec::new();
        // The announcements of the external address.
        for tick in 1..200 {
            engine.tick(&mut worker, &mut pool, tick, &mut output);
        }
        output.drain(..).for_each(|sent: Transmit| pool.free(sent.packet));
        Self { engine, worker, pool, numbers, batch: Vec::with_capacity(BATCH_SIZE), output }
    }

    /// Opens flows number 0 to `count`. Returns how many of them were refused.
    pub(crate) fn open(&mut self, count: u32) -> u32 {
        let mut left = 0;
        for first in (0..count).step_by(ROUND) {
            let packets = self.prepare((first..count.min(first + ROUND as u32)).map(u64::from));
            left += self.process(packets).1;
        }
        count - left as u32
    }

    /// Frames of the flows of these numbers, ready to be processed.
    pub(crate) fn prepare(&mut self, flows: impl Iterator<Item = u64>) -> Vec<Packet> {
        flows
            .map(|flow| {
                let host = flow as u32 % HOSTS;
                let number = self.numbers[host as usize];
                let mut packet = self.pool.allocate(number).expect("the pool holds a round");
                self.pool.write(&mut packet, &frame(flow));
                packet
            })
            .collect()
    }

    /// Processes packets in batches. The CPU time that it took, and how many packets left.
    pub(crate) fn process(&mut self, packets: Vec<Packet>) -> (Duration, usize) {
        let mut packets = packets.into_iter();
        let mut left = 0;
        let start = cpu_time();
        loop {
            self.batch.extend(packets.by_ref().take(BATCH_SIZE));
            if self.batch.is_empty() {
                return (cpu_time().saturating_sub(start), left);
            }
            self.engine.process(&mut self.worker, &mut self.pool, &mut self.batch, &mut self.output);
            left += self.output.len();
            self.output.drain(..).for_each(|sent| self.pool.free(sent.packet));
        }
    }
}

/// Has every page of a region made, which a first write does.
fn touch<T: Copy>(region: &Region<T>) {
    (0..region.len()).for_each(|index| region.write(index, region.read(index)));
}

/// CPU time of this thread, which other processes on the machine do not add to.
pub(crate) fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// The first 60 bytes of a UDP packet of a flow: host, remote and source port follow from its number.
pub(crate) fn frame(flow: u64) -> [u8; FRAME_LENGTH] {
    let host = (flow as u32) % HOSTS;
    let rest = flow as u32 / HOSTS;
    let (remote, port) = (rest % REMOTES, 1024 + (rest / REMOTES) * 7 + host);
    let mut frame = [0; FRAME_LENGTH];
    frame[..6].copy_from_slice(&ROUTER_MAC);
    frame[6..12].copy_from_slice(&host_mac(host));
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17]);
    frame[26..30].copy_from_slice(&host_ip(host).octets());
    frame[30..34].copy_from_slice(&[198, 51, 100, 1 + remote as u8]);
    frame[34..36].copy_from_slice(&(port as u16).to_be_bytes());
    frame[36..40].copy_from_slice(&[0, 53, 0, 26]);
    let mut sum: u32 = frame[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    // Any checksum but 0, so that translation has one to change.
    frame[40..42].copy_from_slice(&[0x12, 0x34]);
    frame
}

fn host_mac(host: u32) -> [u8; 6] {
    [2, 0, 0, 1, (host >> 8) as u8, host as u8]
}

fn host_ip(host: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0100 + host)
}

fn config() -> Config {
    let network = |id: &str, address: [u8; 4], prefix, gateway: [u8; 4], external| Network {
        gateway_ip: Some(gateway.into()),
        external,
        ..Network::new(id, Cidr::containing(Ipv4Addr::from(address), prefix))
    };
    let port = |id: String, network: &str, kind| Port {
        name: id.clone(),
        id,
        network: network.to_owned(),
        interface: None,
        kind,
        attach: Attach::Auto,
        admin_state_up: true,
    };
    let workload = |host| {
        let workload = Workload {
            security_groups: vec!["web".to_owned()],
            ..Workload::new(MacAddress(host_mac(host)), host_ip(host))
        };
        port(format!("host-{host}"), "tenant", PortKind::Workload(workload))
    };
    let rule = |id: &str, direction, protocol: Option<u8>, port: Option<u16>| SecurityGroupRule {
        protocol,
        port_range_min: port,
        port_range_max: port,
        ..SecurityGroupRule::new(id, direction)
    };
    Config {
        networks: vec![
            Arc::new(network("tenant", [10, 0, 0, 0], 16, [10, 0, 0, 1], false)),
            Arc::new(network("ext", [192, 0, 2, 0], 24, [192, 0, 2, 1], true)),
        ],
        ports: (0..HOSTS)
            .map(workload)
            .chain([port("wan".to_owned(), "ext", PortKind::Uplink)])
            .map(Arc::new)
            .collect(),
        routers: vec![Arc::new(Router {
            external: Some(RouterExternal {
                peer_mac: Some(MacAddress(NEXT_HOP_MAC)),
                ..RouterExternal::new("ext", Ipv4Addr::new(192, 0, 2, 10))
            }),
            ..Router::new("router", MacAddress(ROUTER_MAC), vec!["tenant".to_owned()])
        })],
        floating_ips: Vec::new(),
        security_groups: vec![Arc::new(SecurityGroup {
            id: "web".to_owned(),
            name: "web".to_owned(),
            log_denied: false,
            rules: vec![
                rule("http", Direction::Ingress, Some(6), Some(80)),
                rule("https", Direction::Ingress, Some(6), Some(443)),
                rule("ssh", Direction::Egress, Some(6), Some(22)),
                rule("dns", Direction::Egress, Some(17), Some(53)),
            ],
        })],
        ..Config::default()
    }
}
