//! A worker: one thread with its own frames and sockets that moves packets through the engine.
//!
//! [`WorkerLoop::run`] is the whole life of a packet in user space: receive, process, transmit, recycle, tick. The
//! loop decides nothing about packets, takes no lock, allocates nothing per packet, logs nothing and reads the
//! clock once per turn. While packets come it polls; after [`WorkerSettings::spin_us`] without one it sleeps
//! until a socket, a command or the next tick wakes it.
//!
//! Frames of the trunk carry their port in a tag ([`edgestack_abi::punt`]); everywhere else a packet's port is
//! the one that its socket belongs to. Started and commanded by the runtime.

mod affinity;
mod ports;
mod statistics;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use edgestack_abi::DropReason;
use edgestack_abi::maps::TICK_MS;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

pub use affinity::allowed_cpus;
pub use statistics::WorkerStatistics;

use crate::capture::{CaptureDirection, Captures};
use crate::engine::{Engine, Transmit, Worker};
use crate::io::Port;
use crate::packet::{BATCH_SIZE, FrameMemory, FramePool, Packet};
use ports::Ports;

/// Number that stands for the trunk where a port's number is expected: port 0 is none.
pub const TRUNK: u16 = 0;

/// Commands that wait for a worker.
const COMMAND_QUEUE: usize = 64;
/// Frames of a closed socket rest so long, because a driver in zero copy mode may still write to them.
const REST_TICKS: u32 = 2;
/// A port that cannot wake the worker is looked at so often: one without a descriptor, or one whose interface refused
/// packets. So is another worker's success in finding a next hop that packets here wait for.
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// Packets that the engine puts out in one turn without the list growing.
const OUTPUT_CAPACITY: usize = 8 * BATCH_SIZE;
/// Sockets that are told of at one waking; the others are looked at all the same.
const EVENTS_CAPACITY: usize = 64;
/// Each how many ticks the kernel's counters of the sockets are read.
const STATISTICS_TICKS: u32 = 5;
const TICK: Duration = Duration::from_millis(TICK_MS as u64);
/// The worker that sends what the gateway's own servers send.
const SERVICE_WORKER: usize = 0;
const WAKE_TOKEN: Token = Token(usize::MAX);

/// How a worker works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerSettings {
    /// Number of the worker; worker 0 drives the engine's timers.
    pub index: usize,
    /// The CPU that it is pinned to.
    pub cpu: Option<usize>,
    /// Frames of its pool.
    pub frames: u32,
    /// How long it polls without a packet before it sleeps, in microseconds.
    pub spin_us: u32,
    /// The engine's clock when the worker starts, in ticks.
    pub start_ticks: u32,
}

/// What the runtime tells a worker.
#[derive(Debug)]
enum Command {
    /// Use this port from now on, beside others of the same number (queues of one interface).
    Plug { number: u16, port: Port },
    /// Close the ports of this number.
    Unplug { number: u16 },
    /// Close all ports and end.
    Stop,
}

/// The runtime's hold on a worker thread. Dropping it stops the thread.
#[derive(Debug)]
pub struct WorkerHandle {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    statistics: Arc<WorkerStatistics>,
    memory: FrameMemory,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    /// Starts a worker thread in the calling thread's network namespace.
    pub fn start(settings: WorkerSettings, engine: Arc<Engine>, captures: Arc<Captures>) -> io::Result<Self> {
        let (commands, receiver) = bounded(COMMAND_QUEUE);
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE_TOKEN)?);
        if settings.index == SERVICE_WORKER {
            engine.exchange().set_worker(Arc::clone(&waker));
        }
        let pool = FramePool::new(settings.frames)?;
        let memory = pool.memory();
        let statistics = Arc::new(WorkerStatistics::default());
        let worker = WorkerLoop {
            state: engine.worker(settings.index),
            engine,
            captures,
            pool,
            ports: Ports::new(),
            batch: Vec::with_capacity(BATCH_SIZE),
            output: Vec::with_capacity(OUTPUT_CAPACITY),
            resting: Vec::new(),
            commands: receiver,
            statistics: Arc::clone(&statistics),
            poll,
            events: Events::with_capacity(EVENTS_CAPACITY),
            started: Instant::now(),
            ticks: settings.start_ticks,
            idle_since: None,
            stopping: false,
            settings,
        };
        let name = format!("edgestack-w{}", settings.index);
        let thread = std::thread::Builder::new().name(name).spawn(move || worker.run())?;
        Ok(Self { commands, waker, statistics, memory, thread: Some(thread) })
    }

    /// The memory that the sockets of this worker's ports must be registered with.
    pub fn memory(&self) -> FrameMemory {
        self.memory.clone()
    }

    /// Gives the worker a port, or a further queue of one; [`TRUNK`] is the trunk.
    pub fn plug(&self, number: u16, port: Port) {
        self.command(Command::Plug { number, port });
    }

    /// Takes a port away, with all its queues; it is closed.
    pub fn unplug(&self, number: u16) {
        self.command(Command::Unplug { number });
    }

    /// What the worker counts.
    pub fn statistics(&self) -> &WorkerStatistics {
        &self.statistics
    }

    fn command(&self, command: Command) {
        // The queue's other end lives as long as the thread; a thread that panicked can do nothing more.
        if self.commands.send(command).is_ok() {
            let _already_awake = self.waker.wake();
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.command(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker thread panicked; see its message above");
        }
    }
}

/// The state of a worker thread.
struct WorkerLoop {
    settings: WorkerSettings,
    engine: Arc<Engine>,
    captures: Arc<Captures>,
    state: Worker,
    pool: FramePool,
    ports: Ports,
    batch: Vec<Packet>,
    output: Vec<Transmit>,
    /// Frames of closed ports, and the tick at which they may be used again.
    resting: Vec<(u32, Vec<u32>)>,
    commands: Receiver<Command>,
    statistics: Arc<WorkerStatistics>,
    poll: Poll,
    events: Events,
    started: Instant,
    ticks: u32,
    idle_since: Option<Instant>,
    stopping: bool,
}

impl WorkerLoop {
    fn run(mut self) {
        if let Some(cpu) = self.settings.cpu
            && let Err(error) = affinity::pin(cpu)
        {
            tracing::warn!(worker = self.settings.index, cpu, %error, "the worker is not pinned to its CPU");
        }
        while !self.stopping {
            let received = self.receive_and_process() + self.serve();
            self.transmit();
            self.ports.recycle(&mut self.pool);
            let now = Instant::now();
            self.tick(now);
            self.obey();
            self.rest(received, now);
        }
        self.close_all();
    }

    /// One batch from each port. Returns how many packets there were.
    fn receive_and_process(&mut self) -> usize {
        let mut received = 0;
        for index in 0..self.ports.len() {
            self.ports.receive(index, &mut self.pool, &mut self.batch, &self.statistics);
            if self.batch.is_empty() {
                continue;
            }
            received += self.batch.len();
            let packets = self.batch.iter().map(|packet| (packet.in_port, packet));
            self.captures.observe(&self.pool, CaptureDirection::In, packets);
            self.engine.process(&mut self.state, &mut self.pool, &mut self.batch, &mut self.output);
            debug_assert!(self.batch.is_empty(), "the engine left packets in the batch");
        }
        if received == 0 && self.state.held() > 0 {
            // Another worker may have received the answer that these packets wait for.
            self.engine.process(&mut self.state, &mut self.pool, &mut self.batch, &mut self.output);
        }
        received
    }

    /// Brings packets to the gateway's own servers and from them. Returns how many it sent for them.
    fn serve(&mut self) -> usize {
        self.engine.exchange().wake_stack();
        if self.settings.index == SERVICE_WORKER {
            self.engine.collect(&mut self.state, &mut self.pool, &mut self.output)
        } else {
            0
        }
    }

    /// Sends all that the engine put out.
    fn transmit(&mut self) {
        if self.output.is_empty() {
            return;
        }
        let packets = self.output.iter().map(|transmit| (transmit.port, &transmit.packet));
        self.captures.observe(&self.pool, CaptureDirection::Out, packets);
        for Transmit { port, packet } in self.output.drain(..) {
            if let Err((reason, packet)) = self.ports.transmit(port, &mut self.pool, packet) {
                self.pool.free(packet);
                self.statistics.count_drop(reason);
            }
        }
        self.ports.flush();
    }

    /// What is due each [`TICK`]: the engine's timers, frames that have rested, the kernel's counters.
    fn tick(&mut self, now: Instant) {
        let elapsed_ticks = (now.duration_since(self.started).as_millis() / TICK.as_millis()) as u32;
        let now_ticks = self.settings.start_ticks.wrapping_add(elapsed_ticks);
        if now_ticks == self.ticks {
            return;
        }
        self.ticks = now_ticks;
        self.engine.tick(&mut self.state, &mut self.pool, now_ticks, &mut self.output);
        self.transmit();
        self.resting.retain(|(until_ticks, frames)| {
            let rested = now_ticks.wrapping_sub(*until_ticks) as i32 >= 0;
            if rested {
                for frame in frames {
                    self.pool.free_frame(*frame);
                }
            }
            !rested
        });
        if now_ticks.is_multiple_of(STATISTICS_TICKS) {
            self.ports.count_receive_drops(&self.statistics);
        }
        self.statistics.set_frames(self.pool.available(), self.pool.capacity());
    }

    /// Carries out what the runtime told.
    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Plug { number, port } => self.plug(number, port),
                Command::Unplug { number } => self.unplug(number),
                Command::Stop => self.stopping = true,
            }
        }
    }

    fn plug(&mut self, number: u16, mut port: Port) {
        port.recycle(&mut self.pool);
        if let Some(descriptor) = port.descriptor() {
            let token = Token(usize::from(number));
            let source = &mut SourceFd(&descriptor);
            if let Err(error) = self.poll.registry().register(source, token, Interest::READABLE) {
                tracing::error!(port = number, %error, "the port's socket cannot be waited on; it is polled");
            }
        }
        self.ports.insert(number, port);
    }

    fn unplug(&mut self, number: u16) {
        let mut frames = Vec::new();
        while let Some(port) = self.ports.remove(number, &self.statistics) {
            port.close(&mut frames);
        }
        if !frames.is_empty() {
            self.resting.push((self.ticks.wrapping_add(REST_TICKS), frames));
        }
    }

    /// Sleeps when there is nothing to do.
    fn rest(&mut self, received: usize, now: Instant) {
        if received > 0 || self.stopping {
            self.idle_since = None;
            return;
        }
        let idle_since = *self.idle_since.get_or_insert(now);
        let spin = Duration::from_micros(self.settings.spin_us.into());
        if self.ports.wants_polling() || now.duration_since(idle_since) < spin {
            // Not a yield: that gives the CPU away for a whole time slice when others want it.
            std::hint::spin_loop();
            return;
        }
        let into_tick_us = now.duration_since(self.started).as_micros() % TICK.as_micros();
        let until_tick = Duration::from_micros((TICK.as_micros() - into_tick_us) as u64);
        let must_look = self.ports.wakes_nobody() || self.state.held() > 0;
        let timeout = if must_look { POLL_INTERVAL } else { until_tick };
        if let Err(error) = self.poll.poll(&mut self.events, Some(timeout))
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "waiting for packets failed; polling instead");
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Ends every port; packets that the engine holds go with the pool.
    fn close_all(&mut self) {
        let mut frames = Vec::new();
        for number in self.ports.numbers() {
            if let Some(port) = self.ports.remove(number, &self.statistics) {
                port.close(&mut frames);
            }
        }
        for frame in self.resting.drain(..).flat_map(|(_, frames)| frames).chain(frames) {
            self.pool.free_frame(frame);
        }
        self.statistics.set_frames(self.pool.available(), self.pool.capacity());
    }
}

/// Why a packet was not sent, and the packet.
type Refused = (DropReason, Packet);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::{TRUNK, WorkerHandle, WorkerSettings};
    use crate::capture::Captures;
    use crate::config::{Config, Network, Port as ConfiguredPort, PortKind, Router, Workload};
    use crate::engine::{Engine, EngineSettings, InterfaceBinding};
    use crate::io::Port;
    use crate::io::memory::MemoryPort;
    use crate::tables::region::Regions;

    const SETTINGS: WorkerSettings =
        WorkerSettings { index: 0, cpu: None, frames: 64, spin_us: 0, start_ticks: 1000 };
    const PATIENCE: Duration = Duration::from_secs(5);

    fn engine() -> Arc<Engine> {
        let regions = Regions::anonymous(16, 16, 1).unwrap();
        Arc::new(Engine::new(regions, EngineSettings::default()).unwrap())
    }

    #[test]
    fn a_worker_returns_every_frame() {
        let worker = WorkerHandle::start(SETTINGS, engine(), Arc::new(Captures::default())).unwrap();
        let (worker_end, test_end) = MemoryPort::pair(32);
        worker.plug(TRUNK, Port::Memory(worker_end));
        for length in 0..32 {
            assert!(test_end.send(&vec![0; length]));
        }
        let deadline = Instant::now() + PATIENCE;
        while !test_end.is_drained() || worker.statistics().frames() != (64, 64) {
            assert!(Instant::now() < deadline, "frames: {:?}", worker.statistics().frames());
            std::thread::sleep(Duration::from_millis(10));
        }
        worker.unplug(TRUNK);
    }

    /// A network with one workload, and a router that answers for its gateway.
    fn config() -> Config {
        Config {
            networks: vec![Arc::new(Network {
                gateway_ip: Some([10, 0, 0, 1].into()),
                ..Network::new("network", "10.0.0.0/24".parse().unwrap())
            })],
            ports: vec![Arc::new(ConfiguredPort {
                id: "port".to_owned(),
                name: "port".to_owned(),
                network: "network".to_owned(),
                interface: None,
                kind: PortKind::Workload(Workload::new(
                    "02:00:00:00:00:05".parse().unwrap(),
                    [10, 0, 0, 5].into(),
                )),
                attach: crate::config::Attach::Tc,
                admin_state_up: true,
            })],
            routers: vec![Arc::new(Router::new(
                "router",
                "02:00:00:00:00:01".parse().unwrap(),
                vec!["network".to_owned()],
            ))],
            ..Config::default()
        }
    }

    #[test]
    fn packets_go_through_the_engine_and_back() {
        let engine = engine();
        engine.apply(&config()).unwrap();
        let number = engine.port_number("port").unwrap();
        let mac = "02:00:00:00:00:99".parse().unwrap();
        let binding = InterfaceBinding { index: 7, mac, mtu: 1500, xdp_transmit: false, first_socket: 0 };
        engine.set_interface(number, Some(binding));
        let worker = WorkerHandle::start(SETTINGS, engine, Arc::new(Captures::default())).unwrap();
        let (worker_end, test_end) = MemoryPort::pair(32);
        worker.plug(number, Port::Memory(worker_end));

        let mut question = vec![0xff; 6];
        question.extend([2, 0, 0, 0, 0, 5, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 5, 10, 0, 0, 5]);
        question.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
        assert!(test_end.send(&question));
        let deadline = Instant::now() + PATIENCE;
        let answer = loop {
            if let Some(answer) = test_end.take() {
                break answer;
            }
            assert!(Instant::now() < deadline, "no answer");
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(answer[..12], [2, 0, 0, 0, 0, 5, 2, 0, 0, 0, 0, 1], "to the asker, from the router");
        assert_eq!(answer[22..32], [2, 0, 0, 0, 0, 1, 10, 0, 0, 1], "the gateway is at the router");
    }
}
