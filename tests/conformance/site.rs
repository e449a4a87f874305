//! The gateway under test: an engine, its frames, its clock, and the numbers of its ports.

use std::collections::BTreeMap;

use edgestack_abi::maps::TICK_MS;
use edgestack_dataplane::address::MacAddress;
use edgestack_dataplane::config::{Config, Port, PortKind};
use edgestack_dataplane::engine::{Engine, EngineSettings, InterfaceBinding, Transmit, Worker};
#[cfg(feature = "root")]
use edgestack_dataplane::inspect::{FlowFilter, FlowView, LoadBalancerView};
use edgestack_dataplane::packet::{BATCH_SIZE, FramePool};
use edgestack_dataplane::tables::region::Regions;

use crate::compare::Frames;
use crate::memory::SharedMemory;
use crate::mode::Mode;
#[cfg(feature = "root")]
use crate::tier0::{Hook, Tier0};

/// Ports of a case, and numbers of those that it had.
const PORTS_MAX: u16 = 256;
/// Buckets of the flow table: enough that no case evicts by accident.
const BUCKETS: u32 = 1024;
/// Sessions that there may be.
const SESSIONS: u32 = 2048;
/// Frames of the pool: enough for the largest batch and what may be held for ARP.
const FRAMES: u32 = 1024;
/// Any seed: the same in every run.
const HASH_SEED: u64 = 0x5eed_5eed_5eed_5eed;
/// Index of the interface of port number 0, if it had one.
const INTERFACE_BASE: u32 = 100;
/// Largest packet of every interface, so that only the networks' settings count.
const INTERFACE_MTU: u16 = 9000;
/// Time after which a new gateway has announced its addresses, in milliseconds.
const ANNOUNCED_MS: u64 = 5_000;
/// Time after which nothing is held any more, in milliseconds.
const SETTLE_MS: u64 = 120_000;

/// A gateway.
pub(crate) struct Site {
    settings: EngineSettings,
    engine: Engine,
    worker: Worker,
    pool: FramePool,
    now_ticks: u32,
    ports: BTreeMap<u16, String>,
    memory: Option<SharedMemory>,
    #[cfg(feature = "root")]
    tier0: Option<Tier0>,
}

impl Site {
    /// A gateway without configuration, with the kernel programs in front of it where the mode has them.
    pub(crate) fn new(mode: Mode, settings: EngineSettings) -> Result<Self, String> {
        match mode {
            Mode::Engine | Mode::Change => {
                let regions = Regions::anonymous(BUCKETS, SESSIONS, HASH_SEED);
                Self::over(regions.map_err(|error| error.to_string())?, settings)
            }
            Mode::Restart => {
                let memory = SharedMemory::new(BUCKETS, SESSIONS, HASH_SEED);
                let memory = memory.map_err(|error| error.to_string())?;
                let mut site = Self::over(memory.regions().map_err(|error| error.to_string())?, settings)?;
                site.memory = Some(memory);
                Ok(site)
            }
            #[cfg(feature = "root")]
            Mode::Xdp => Self::behind(Hook::Xdp, settings),
            #[cfg(feature = "root")]
            Mode::Tc => Self::behind(Hook::Tc, settings),
        }
    }

    #[cfg(feature = "root")]
    fn behind(hook: Hook, settings: EngineSettings) -> Result<Self, String> {
        let (tier0, regions) = Tier0::load(hook, BUCKETS, SESSIONS, HASH_SEED)?;
        let mut site = Self::over(regions, settings)?;
        site.engine.set_tier0(true, Tier0::trunk_index(), 0);
        site.tier0 = Some(tier0);
        Ok(site)
    }

    fn over(regions: Regions, settings: EngineSettings) -> Result<Self, String> {
        let engine = Engine::new(regions, settings.clone()).map_err(|error| error.to_string())?;
        let worker = engine.worker(0);
        let pool = FramePool::new(FRAMES).map_err(|error| error.to_string())?;
        let mut site = Self {
            settings,
            now_ticks: engine.now_ticks(),
            engine,
            worker,
            pool,
            ports: BTreeMap::new(),
            memory: None,
            #[cfg(feature = "root")]
            tier0: None,
        };
        site.advance(u64::from(TICK_MS))?;
        Ok(site)
    }

    /// Puts a new engine over the same memory in place of the old, which leaves nothing else behind.
    pub(crate) fn restart(&mut self, config: &Config) -> Result<(), String> {
        let Some(memory) = self.memory.take() else { return Ok(()) };
        let numbers = std::mem::take(&mut self.ports);
        let regions = memory.regions().map_err(|error| error.to_string())?;
        *self = Self::over(regions, self.settings.clone())?;
        self.memory = Some(memory);
        self.apply(config)?;
        for (number, port) in numbers {
            if self.engine.port_number(&port).is_some_and(|now| now != number) {
                return Err(format!("port `{port}` lost its number {number} in the restart"));
            }
        }
        self.settle()
    }

    /// Applies a configuration and plugs every port into an interface.
    pub(crate) fn apply(&mut self, config: &Config) -> Result<(), String> {
        self.engine.apply(config).map_err(|error| format!("the configuration is refused: {error}"))?;
        let is_here = |port: &&std::sync::Arc<Port>| !matches!(&port.kind, PortKind::Workload(workload) if workload.peer.is_some());
        for port in config.ports.iter().filter(is_here) {
            let number = self
                .engine
                .port_number(&port.id)
                .ok_or_else(|| format!("port `{}` has no number after it was applied", port.id))?;
            // A VLAN is plugged in by the interface of the port below.
            if self.engine.port_entry(number).tunnel != 0 {
                continue;
            }
            let before = self.ports.insert(number, port.id.clone());
            if before.as_ref() != Some(&port.id) {
                let [high, low] = number.to_be_bytes();
                let binding = InterfaceBinding {
                    index: INTERFACE_BASE + u32::from(number),
                    mac: MacAddress([0x02, 0xfe, 0, 0, high, low]),
                    mtu: INTERFACE_MTU,
                    xdp_transmit: true,
                    first_socket: 0,
                };
                self.engine.set_interface(number, Some(binding));
                // A number that was another port's before has its device already.
                #[cfg(feature = "root")]
                if let Some(tier0) = self.tier0.as_mut().filter(|_| before.is_none()) {
                    tier0.plug(number)?;
                }
            }
        }
        Ok(())
    }

    /// Lets the announcements of a new gateway's addresses pass, which no case but their own is about.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        self.advance(ANNOUNCED_MS).map(|_| ())
    }

    /// Lets the frames come in by `port`: to the engine as one batch or, where there is a tier 0, one by one to that
    /// first.
    pub(crate) fn send(&mut self, port: &str, frames: &[Vec<u8>]) -> Result<Frames, String> {
        let number =
            self.engine.port_number(port).ok_or_else(|| format!("`send`: there is no port `{port}`"))?;
        #[cfg(feature = "root")]
        if self.tier0.is_some() {
            return self.send_through_tier0(number, frames);
        }
        self.process(number, frames)
    }

    #[cfg(feature = "root")]
    fn send_through_tier0(&mut self, number: u16, frames: &[Vec<u8>]) -> Result<Frames, String> {
        let mut left = Frames::new();
        let ports: Vec<u16> = self.ports.keys().copied().collect();
        for frame in frames {
            let Some(tier0) = &mut self.tier0 else { return Ok(left) };
            let more = match tier0.run(number, &ports, frame)? {
                Some((port, frame)) => Frames::from([(self.ports[&port].clone(), vec![frame])]),
                None => self.process(number, std::slice::from_ref(frame))?,
            };
            for (port, frames) in more {
                left.entry(port).or_default().extend(frames);
            }
        }
        Ok(left)
    }

    /// Packets that tier 0 forwarded; none where there is no tier 0.
    pub(crate) fn tier0_hits(&self) -> Option<u64> {
        #[cfg(feature = "root")]
        return self.tier0.as_ref().map(Tier0::hits);
        #[cfg(not(feature = "root"))]
        None
    }

    fn process(&mut self, number: u16, frames: &[Vec<u8>]) -> Result<Frames, String> {
        let mut output = Vec::new();
        for frames in frames.chunks(BATCH_SIZE) {
            let mut batch = Vec::new();
            for frame in frames {
                let mut packet = self.pool.allocate(number).ok_or("the pool is empty: frames leak")?;
                self.pool.write(&mut packet, frame);
                batch.push(packet);
            }
            self.engine.process(&mut self.worker, &mut self.pool, &mut batch, &mut output);
            if !batch.is_empty() {
                return Err(format!("the engine left {} packets of the batch", batch.len()));
            }
        }
        self.collect(output)
    }

    /// Lets time pass, tick by tick.
    pub(crate) fn advance(&mut self, milliseconds: u64) -> Result<Frames, String> {
        let mut output = Vec::new();
        for _ in 0..milliseconds / u64::from(TICK_MS) {
            self.now_ticks += 1;
            self.engine.tick(&mut self.worker, &mut self.pool, self.now_ticks, &mut output);
        }
        self.collect(output)
    }

    fn collect(&mut self, output: Vec<Transmit>) -> Result<Frames, String> {
        let mut frames = Frames::new();
        for Transmit { port, packet } in output {
            let name =
                self.ports.get(&port).ok_or_else(|| format!("a packet left by unknown port {port}"))?;
            frames.entry(name.clone()).or_default().push(self.pool.data(&packet).to_vec());
            self.pool.free(packet);
        }
        Ok(frames)
    }

    /// Whether a workload is on this host.
    #[cfg(feature = "root")]
    pub(crate) fn has_port(&self, port: &str) -> bool {
        self.engine.port_number(port).is_some()
    }

    /// Drops by the ports that the packets came in by, all together.
    pub(crate) fn drops_by_port(&self) -> u64 {
        (0..PORTS_MAX).map(|port| self.engine.port_counters_view(port).dropped_packets).sum()
    }

    /// Drops by label of their reason.
    pub(crate) fn drops(&self) -> BTreeMap<String, u64> {
        let mut drops = BTreeMap::new();
        for drop in self.engine.drops_view() {
            *drops.entry(drop.reason).or_default() += drop.packets;
        }
        drops.retain(|_, packets| *packets > 0);
        drops
    }

    /// The flows, without what tells tier 0's share.
    #[cfg(feature = "root")]
    pub(crate) fn flows(&self) -> Vec<FlowView> {
        let flows = self.engine.flows_view(&FlowFilter::default(), SESSIONS as usize);
        let mut flows = flows.unwrap_or_default();
        for flow in &mut flows {
            flow.tier0 = false;
            flow.tier0_packets = 0;
        }
        flows
    }

    /// The load balancers, with what their rules have balanced.
    #[cfg(feature = "root")]
    pub(crate) fn load_balancers(&self) -> Vec<LoadBalancerView> {
        self.engine.load_balancers_view()
    }

    /// Number of sessions.
    pub(crate) fn sessions(&self) -> u64 {
        self.engine.counters_view().sessions
    }

    /// Lets everything that is held time out and checks that every frame came back.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        self.advance(SETTLE_MS)?;
        if self.pool.available() == self.pool.capacity() {
            Ok(())
        } else {
            Err(format!("{} frames leaked", self.pool.capacity() - self.pool.available()))
        }
    }
}
