//! The dataplane as the daemon drives it: engine, kernel programs, worker threads and interfaces, put together.
//!
//! [`Dataplane::start`] adopts what a process before it left pinned, so that no established flow notices a restart;
//! [`Dataplane::apply`] takes a configuration, whole or not at all; the rest is looking at it. Interfaces may come
//! and go at any time, see [`plugger`]. Dropping a dataplane stops its threads and leaves tier 0 forwarding.
//!
//! Two notes on interfaces that only their owner can act on: a veth takes frames that XDP redirects into it only while
//! its peer has GRO on or an XDP program of its own; and a workload behind `attach = "xdp"` must compute its checksums
//! (`ethtool -K eth0 tx off`), because XDP loses the note that they are missing. `attach = "tc"` needs neither.

mod lock;
mod plugger;
mod port_log;
mod settings;
mod socket_indices;
mod views;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::capture::{Capture, CaptureError, Captures, SNAP_LENGTH_MAX};
use crate::config::Config;
use crate::engine::{ApplyReport, ConfigError, Engine};
use crate::fastpath::{FastPath, FastPathError};
use crate::inspect::LiveTraceRequest;
use crate::io::interface::{Interfaces, LinkEvents};
use crate::live_trace::{LiveTrace, LiveTraceError};
use crate::virtual_stack::{StackHandle, VirtualStack};
use crate::worker::{WorkerHandle, WorkerSettings, allowed_cpus};
use lock::InstanceLock;
use plugger::{PlugError, Plugger};
pub use settings::{DataplaneSettings, FRAMES_MAX, FRAMES_MIN, StartError, WORKERS_MAX};

/// Captures that are over are ended at least so often.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Ports that live traces look at at a time where they name none, for the length of an interval.
const TRACED_PORTS_MAX: usize = 8;
/// Ports are compared with their interfaces each so many intervals, even if the kernel tells of no change.
const RECONCILE_INTERVALS: u32 = 4;
const WAKE_TOKEN: Token = Token(0);
const EVENT_TOKEN: Token = Token(1);

/// A running dataplane.
#[derive(Debug)]
pub struct Dataplane {
    shared: Arc<Shared>,
    watcher: Option<JoinHandle<()>>,
    stack: VirtualStack,
    _lock: InstanceLock,
}

/// What the threads of control share.
#[derive(Debug)]
struct Shared {
    engine: Arc<Engine>,
    captures: Arc<Captures>,
    state: Mutex<State>,
    /// Held while a configuration is taken, so that two never mix.
    applying: Mutex<()>,
    requests: Sender<Request>,
    watcher: Waker,
    stopping: AtomicBool,
}

/// What the watcher is asked to do, and who waits for it.
#[derive(Debug)]
struct Request {
    config: Config,
    done: Sender<()>,
}

#[derive(Debug)]
struct State {
    plugger: Plugger,
    /// The configuration in force; none before the first.
    config: Option<Config>,
    /// Ports whose packets all go to the engine: captured ones, and those that live traces look at.
    captured: Vec<u16>,
    /// Where live traces of no port in particular look next.
    traced_position: usize,
}

impl Shared {
    /// The state. A thread that panicked while it held the lock left it as whole as any other moment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_watcher(&self) {
        if let Err(error) = self.watcher.wake() {
            tracing::error!(%error, "the interface watcher looks only now and then");
        }
    }

    /// Writes down what security groups denied, as far as it was kept for that.
    fn log_denials(&self) {
        for denial in self.engine.take_denials() {
            tracing::info!(
                target: "edgestack::denied",
                port = denial.port,
                security_groups = denial.security_groups,
                direction = denial.direction,
                reason = denial.reason,
                protocol = denial.protocol,
                source = %denial.source,
                source_port = denial.source_port,
                destination = %denial.destination,
                destination_port = denial.destination_port,
                "denied by security groups"
            );
        }
    }

    /// Tells tier 0 which ports are captured or traced, and ends captures and live traces that are over.
    fn update_captures(&self, state: &mut State) {
        let mut captured = self.captures.reap();
        let traced = self.engine.live_traces().reap();
        captured.extend(traced.ports);
        if traced.any {
            let snapshot = self.engine.snapshot();
            let ports: Vec<u16> = snapshot.ports().map(|port| port.number).collect();
            state.traced_position = (state.traced_position + TRACED_PORTS_MAX) % ports.len().max(1);
            captured.extend(
                ports.iter().cycle().skip(state.traced_position).take(TRACED_PORTS_MAX.min(ports.len())),
            );
        }
        for port in captured.iter().filter(|port| !state.captured.contains(port)) {
            self.engine.set_punt_all(*port, true);
        }
        for port in state.captured.iter().filter(|port| !captured.contains(port)) {
            self.engine.set_punt_all(*port, false);
        }
        state.captured = captured;
    }
}

impl Dataplane {
    /// Starts threads, sockets and programs in the network namespace of the calling thread.
    pub fn start(settings: &DataplaneSettings) -> Result<Self, StartError> {
        let cpus = allowed_cpus().map_err(StartError::system("ask for the CPUs"))?;
        let workers = settings::check(settings, &cpus)?;
        let lock = InstanceLock::take(&settings.run_directory, &settings.fast_path.instance)?;
        let fast_path = FastPath::load(&settings.fast_path)?;
        let adopted = fast_path.regions()?.control.read(0);
        let engine = Arc::new(Engine::new(fast_path.regions()?, settings.engine.clone())?);
        let stack = VirtualStack::start(Arc::clone(&engine))
            .map_err(StartError::system("start the virtual stacks"))?;
        let captures = Arc::new(Captures::default());
        let interfaces = Interfaces::open().map_err(StartError::system("open a socket"))?;
        let events = LinkEvents::open().map_err(StartError::system("listen to the interfaces"))?;
        let handles = (0..workers)
            .map(|index| {
                let worker = WorkerSettings {
                    index,
                    cpu: settings.worker_cpus.get(index).copied(),
                    frames: settings.frames,
                    spin_us: settings.spin_us,
                    start_ticks: adopted.now_ticks,
                };
                WorkerHandle::start(worker, Arc::clone(&engine), Arc::clone(&captures))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(StartError::system("start a worker"))?;
        let mut plugger = Plugger::new(
            fast_path,
            handles,
            Arc::clone(&engine),
            interfaces,
            settings,
            adopted.trunk_first_socket,
        );
        plugger.plug_trunk().map_err(|error| match error {
            PlugError::FastPath(error) => StartError::FastPath(error),
            PlugError::Socket(error) => StartError::Socket(error),
            PlugError::Queues(_) | PlugError::Sockets | PlugError::Index(_) => {
                unreachable!("the trunk is the first to be plugged")
            }
        })?;
        let poll = Poll::new().map_err(StartError::system("watch the interfaces"))?;
        let waker =
            Waker::new(poll.registry(), WAKE_TOKEN).map_err(StartError::system("watch the interfaces"))?;
        let (requests, incoming) = bounded(1);
        let shared = Arc::new(Shared {
            engine,
            captures,
            state: Mutex::new(State { plugger, config: None, captured: Vec::new(), traced_position: 0 }),
            applying: Mutex::new(()),
            requests,
            watcher: waker,
            stopping: AtomicBool::new(false),
        });
        let watcher = Watcher { shared: Arc::clone(&shared), events, poll, incoming };
        let watcher = std::thread::Builder::new()
            .name("edgestack-watch".to_owned())
            .spawn(move || watcher.run())
            .map_err(StartError::system("start the interface watcher"))?;
        Ok(Self { shared, watcher: Some(watcher), stack, _lock: lock })
    }

    /// The gateway as a host inside tenant networks, for its own servers and clients.
    pub fn stack(&self) -> StackHandle {
        self.stack.handle()
    }

    /// Takes a new configuration, whole or not at all, and plugs its ports in.
    pub fn apply(&self, config: &Config) -> Result<ApplyReport, ConfigError> {
        let _turn = self.shared.applying.lock().unwrap_or_else(PoisonError::into_inner);
        self.end_captures_without(config);
        let report = self.shared.engine.apply(config)?;
        if self.needs_no_plugging(config) {
            return Ok(report);
        }
        // Interfaces are plugged by the watcher: its thread is in their network namespace, the caller's may not be.
        let (done, plugged) = bounded(1);
        if self.shared.requests.send(Request { config: config.clone(), done }).is_ok() {
            self.shared.wake_watcher();
            let _watcher_is_gone = plugged.recv();
        }
        Ok(report)
    }

    /// Puts a configuration in force that differs from the one before in nothing that interfaces are plugged by.
    fn needs_no_plugging(&self, config: &Config) -> bool {
        let mut state = self.shared.state();
        let is_same = state.config.as_ref().is_some_and(|before| {
            before.ports == config.ports
                && before.routers == config.routers
                && before.overlay == config.overlay
        });
        if is_same {
            state.config = Some(config.clone());
        }
        is_same
    }

    /// Ends the captures of ports that a configuration does not have, before their numbers can become other ports'.
    fn end_captures_without(&self, config: &Config) {
        let mut state = self.shared.state();
        if state.captured.is_empty() {
            return;
        }
        let ports = config.ports.iter();
        let kept: Vec<u16> = ports.filter_map(|port| self.shared.engine.port_number(&port.id)).collect();
        for number in state.captured.iter().filter(|number| !kept.contains(number)) {
            self.shared.captures.end(*number);
            self.shared.engine.live_traces().end(*number);
        }
        self.shared.update_captures(&mut state);
    }

    /// Copies at most `limit_packets` packets that the port (name or id) receives and sends.
    pub fn capture(&self, port: &str, limit_packets: u64) -> Result<Capture, CaptureError> {
        let mut state = self.shared.state();
        let config = state.config.as_ref();
        let id = config
            .and_then(|config| config.ports.iter().find(|other| other.id == port || other.name == port))
            .map(|port| port.id.clone());
        let number = id.as_deref().and_then(|id| self.shared.engine.port_number(id));
        let (Some(id), Some(number)) = (id, number) else {
            return Err(CaptureError::UnknownPort(port.to_owned()));
        };
        if state.plugger.status(&id).attached == "none" {
            return Err(CaptureError::NoInterface(port.to_owned()));
        }
        let capture = self.shared.captures.start(number, limit_packets, SNAP_LENGTH_MAX)?;
        self.shared.update_captures(&mut state);
        Ok(capture)
    }

    /// How packets that really pass are decided on, as many as are asked for. A live trace that names no port looks at some of
    /// the ports at a time, in turn, and at whatever else the engine gets to see.
    pub fn live_trace(&self, request: &LiveTraceRequest) -> Result<LiveTrace, LiveTraceError> {
        let mut state = self.shared.state();
        let live = self.shared.engine.live_trace(request)?;
        self.shared.update_captures(&mut state);
        Ok(live)
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Config {
        self.shared.state().config.clone().unwrap_or_default()
    }

    /// Removes everything that an instance left pinned, and its trunk: the end of all its connections.
    pub fn unpin(settings: &DataplaneSettings) -> Result<(), StartError> {
        let instance = &settings.fast_path.instance;
        let _lock = InstanceLock::take(&settings.run_directory, instance)?;
        let unpinned: Result<(), FastPathError> = FastPath::unpin(&settings.fast_path.pin_root, instance);
        Ok(unpinned?)
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.wake_watcher();
        if let Some(watcher) = self.watcher.take()
            && watcher.join().is_err()
        {
            tracing::error!("the interface watcher panicked; see its message above");
        }
        self.shared.state().plugger.workers.clear();
    }
}

/// The thread that keeps ports and interfaces in line until the dataplane stops.
struct Watcher {
    shared: Arc<Shared>,
    events: LinkEvents,
    poll: Poll,
    incoming: Receiver<Request>,
}

impl Watcher {
    fn run(mut self) {
        let descriptor = self.events.descriptor();
        let registry = self.poll.registry();
        if let Err(error) = registry.register(&mut SourceFd(&descriptor), EVENT_TOKEN, Interest::READABLE) {
            tracing::error!(%error, "interfaces are looked at now and then only");
        }
        let mut wakings = Events::with_capacity(4);
        let mut intervals = 0;
        while !self.shared.stopping.load(Ordering::Relaxed) {
            if let Err(error) = self.poll.poll(&mut wakings, Some(WATCH_INTERVAL))
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "waiting for interfaces failed");
                std::thread::sleep(WATCH_INTERVAL);
            }
            self.shared.log_denials();
            let changes = self.events.drain();
            let mut state = self.shared.state();
            intervals += 1;
            if changes.any || intervals >= RECONCILE_INTERVALS {
                intervals = 0;
                state.plugger.reconcile(&changes.gone);
            }
            if let Ok(request) = self.incoming.try_recv() {
                self.configure(&mut state, request);
            }
            self.shared.update_captures(&mut state);
        }
    }

    fn configure(&self, state: &mut State, request: Request) {
        state.plugger.configure(&request.config);
        if state.config.is_none() {
            self.clean_up_after_predecessor(&mut state.plugger, &request.config);
        }
        state.config = Some(request.config);
        let _caller_is_gone = request.done.send(());
    }

    /// Ends what a process before this one left: captures that nobody reads, programs of ports that are gone.
    fn clean_up_after_predecessor(&self, plugger: &mut Plugger, config: &Config) {
        for number in config.ports.iter().filter_map(|port| self.shared.engine.port_number(&port.id)) {
            self.shared.engine.set_punt_all(number, false);
        }
        if let Err(error) = plugger.detach_strangers() {
            tracing::warn!(%error, "programs of ports that left the configuration stay attached");
        }
    }
}
