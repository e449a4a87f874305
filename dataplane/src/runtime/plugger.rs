//! Plugs ports into interfaces: programs, sockets and table entries follow what is configured and what is there.
//!
//! [`Plugger::reconcile`] compares the two and may be called at any time: when the configuration changes, when the
//! kernel tells of an interface, and now and then. An interface that is missing is waited for; one that
//! disappears takes nothing with it but its sockets; one that comes back, under whatever index, is plugged in
//! again. Flows live in the tables and know ports only by number, so none of this touches them.
//!
//! Runs on the control threads, under the runtime's lock; never on the packet path.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgestack_abi::maps::MAX_INTERFACE_INDEX;

use super::port_log::{self, Change};
use super::settings::DataplaneSettings;
use super::socket_indices::SocketIndices;
use crate::address::MacAddress;
use crate::config::{Attach, Config, PortKind, RouterExternal};
use crate::engine::{Engine, InterfaceBinding};
use crate::fastpath::{FastPath, FastPathError, Hook, Trunk};
use crate::io::Port;
use crate::io::interface::{Interface, Interfaces, Promiscuous};
use crate::io::xsk::{XskError, XskSettings, XskSocket};
use crate::worker::{TRUNK, WorkerHandle};

/// Receive queues of an interface that are served. Packets of further queues would be lost, so an interface with
/// more is attached by TC only.
const QUEUES_MAX: u32 = 64;
/// How long the kernel may take to free the queues of a socket that was closed, by this process or one before it.
const QUEUE_RELEASE_TIME: Duration = Duration::from_secs(2);
/// How often a queue that is not free yet is asked for within that time.
const QUEUE_RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// A port that fell back to TC is tried with XDP again so often: what was in the way may have gone.
const XDP_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// What the configuration wants of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    number: u16,
    interface: Option<String>,
    uplink: bool,
    attach: Attach,
}

/// A port that is plugged in.
#[derive(Debug)]
struct Plug {
    interface: Interface,
    xdp: Option<XdpPlug>,
    promiscuous: Option<Promiscuous>,
    /// The engine was told of the interface.
    told: bool,
}

/// The trunk and the place of its first socket.
#[derive(Debug)]
struct TrunkPlug {
    trunk: Trunk,
    first_socket: u32,
}

/// The sockets of a port with XDP.
#[derive(Debug)]
struct XdpPlug {
    first_socket: u32,
    queues: u32,
}

/// A configured port and what became of it.
#[derive(Debug)]
struct PortState {
    wanted: Wanted,
    plug: Option<Plug>,
    /// Why it carries nothing; empty when it does.
    waiting: String,
    /// Why it is attached in another way than was asked.
    fallback: String,
    /// When XDP is tried again while there is a fallback.
    retry_at: Instant,
    /// The MAC addresses of the routers that an uplink leads to.
    routers: Vec<MacAddress>,
    /// What keeps it from working although it is attached; empty when nothing is known to.
    warning: String,
}

/// How a port stands, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PortStatus {
    /// `up`, `down` or `waiting`.
    pub(super) state: &'static str,
    /// Why, or what is less than was asked.
    pub(super) reason: String,
    /// `xdp+tc`, `tc` or `none`.
    pub(super) attached: &'static str,
    /// MTU of the interface.
    pub(super) mtu: Option<u16>,
}

/// Why an interface could not be plugged in.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlugError {
    #[error(transparent)]
    FastPath(#[from] FastPathError),
    #[error(transparent)]
    Socket(#[from] XskError),
    #[error("it has {0} receive queues, of which only {QUEUES_MAX} can be served")]
    Queues(u32),
    #[error("all sockets are in use")]
    Sockets,
    #[error("its index is {0}, and the largest that can be served is {max}", max = MAX_INTERFACE_INDEX - 1)]
    Index(u32),
}

/// The ports, and all that is needed to plug them.
#[derive(Debug)]
pub(super) struct Plugger {
    pub(super) fast_path: FastPath,
    pub(super) workers: Vec<WorkerHandle>,
    engine: Arc<Engine>,
    interfaces: Interfaces,
    xsk: XskSettings,
    indices: SocketIndices,
    tier0_enabled: bool,
    trunk: Option<TrunkPlug>,
    ports: BTreeMap<String, PortState>,
    /// Sockets of each worker, the trunk's included.
    sockets: Vec<u32>,
    /// Until when queues may still be held by sockets that are closed.
    queues_released_at: Instant,
}

impl Plugger {
    pub(super) fn new(
        fast_path: FastPath,
        workers: Vec<WorkerHandle>,
        engine: Arc<Engine>,
        interfaces: Interfaces,
        settings: &DataplaneSettings,
        predecessor_socket: u32,
    ) -> Self {
        Self {
            sockets: vec![0; workers.len()],
            queues_released_at: Instant::now() + QUEUE_RELEASE_TIME,
            fast_path,
            workers,
            engine,
            interfaces,
            xsk: settings.xsk,
            indices: SocketIndices::new(predecessor_socket),
            tier0_enabled: settings.fast_path_enabled,
            trunk: None,
            ports: BTreeMap::new(),
        }
    }

    /// Makes the trunk, or adopts the one that is there, opens its sockets, one for each worker, and tells tier 0.
    pub(super) fn plug_trunk(&mut self) -> Result<(), PlugError> {
        let queues = self.workers.len() as u32;
        let trunk = self.fast_path.set_up_trunk(queues)?;
        let first_socket = self.open_sockets(TRUNK, trunk.engine_index, queues)?;
        self.engine.set_tier0(self.tier0_enabled, trunk.kernel_index, first_socket);
        self.trunk = Some(TrunkPlug { trunk, first_socket });
        Ok(())
    }

    /// Makes the trunk again when somebody deleted it.
    fn reconcile_trunk(&mut self, gone: &[u32]) {
        if let Some(TrunkPlug { trunk, first_socket }) = &self.trunk {
            let (first_socket, queues) = (*first_socket, trunk.queues);
            // The kernel may have lost the message that an end is gone, so they are looked for, too.
            let is_there = |name: &str, index: u32| {
                let found = self.interfaces.find(name);
                !gone.contains(&index) && found.map_or(true, |end| end.is_some_and(|end| end.index == index))
            };
            if is_there(&trunk.engine_name, trunk.engine_index)
                && is_there(&trunk.kernel_name, trunk.kernel_index)
            {
                return;
            }
            tracing::warn!(interface = trunk.engine_name, "the trunk was deleted; making it again");
            self.trunk = None;
            self.engine.set_tier0(self.tier0_enabled, 0, first_socket);
            self.close_sockets(TRUNK, first_socket, queues);
        }
        if let Err(error) = self.plug_trunk() {
            tracing::error!(%error, "the trunk cannot be made; ports attached by TC do not reach the engine");
        }
    }

    /// Takes a configuration that the engine has accepted.
    pub(super) fn configure(&mut self, config: &Config) {
        let mut wanted: BTreeMap<String, Wanted> =
            config.ports.iter().filter_map(|port| self.wanted(port)).collect();
        let ids: Vec<String> = self.ports.keys().cloned().collect();
        for id in ids {
            let keep =
                self.ports.get(&id).zip(wanted.get(&id)).is_some_and(|(port, wanted)| port.wanted == *wanted);
            if keep {
                wanted.remove(&id);
            } else {
                self.unplug(&id);
                self.ports.remove(&id);
            }
        }
        for (id, wanted) in wanted {
            let state = PortState {
                wanted,
                plug: None,
                waiting: String::new(),
                fallback: String::new(),
                retry_at: Instant::now(),
                routers: Vec::new(),
                warning: String::new(),
            };
            self.ports.insert(id, state);
        }
        for (id, state) in self.ports.iter_mut().filter(|(_, state)| state.wanted.uplink) {
            let own = config.ports.iter().filter(|port| {
                let is_uplink = matches!(port.kind, PortKind::Uplink);
                port.id == *id || is_uplink && port.interface == state.wanted.interface
            });
            state.routers = own.flat_map(|port| router_macs(config, &port.network)).collect();
        }
        self.reconcile(&[]);
    }

    /// A VLAN has no interface of its own: it comes and goes with that of the port below.
    fn wanted(&self, port: &crate::config::Port) -> Option<(String, Wanted)> {
        let number = self.engine.port_number(&port.id)?;
        if self.engine.vlan_parent_id(number).is_some() {
            return None;
        }
        let wanted = Wanted {
            number,
            interface: port.interface.clone(),
            uplink: matches!(port.kind, PortKind::Uplink),
            attach: port.attach,
        };
        Some((port.id.clone(), wanted))
    }

    /// Removes programs of ports that are not configured any more, left by a process before this one.
    pub(super) fn detach_strangers(&mut self) -> Result<usize, FastPathError> {
        let keys: Vec<&str> = self.ports.keys().map(String::as_str).collect();
        self.fast_path.detach_others(&keys)
    }

    /// Brings every port in line with its interface. `gone` are interfaces that the kernel reported as gone, even if
    /// one of the same index is there again.
    pub(super) fn reconcile(&mut self, gone: &[u32]) {
        self.reconcile_trunk(gone);
        let ids: Vec<String> = self.ports.keys().cloned().collect();
        // Away first: an interface may have moved from one port to another.
        for id in &ids {
            self.unplug_stale(id, gone);
        }
        let changed: Vec<&String> = ids.iter().filter(|id| self.plug_or_wait(id)).collect();
        let changes: Vec<Change<'_>> = changed
            .into_iter()
            .filter_map(|id| {
                let PortState { wanted, waiting, .. } = self.ports.get(id)?;
                Some(Change { port: id, waiting, interface: wanted.interface.as_deref() })
            })
            .collect();
        port_log::tell(&changes);
    }

    fn find(&self, id: &str) -> Option<Interface> {
        let name = self.ports.get(id)?.wanted.interface.as_deref()?;
        self.interfaces.find(name).ok().flatten()
    }

    fn unplug_stale(&mut self, id: &str, gone: &[u32]) {
        let found = self.find(id);
        let Some(plug) = self.ports.get(id).and_then(|port| port.plug.as_ref()) else { return };
        let index = plug.interface.index;
        let is_other = found.is_none_or(|found| found.index != index) || gone.contains(&index);
        // Queues without a socket, and frames whose VLAN is not told, would be lost or taken for others.
        let is_unfit = plug.xdp.as_ref().is_some_and(|xdp| {
            found.is_some_and(|found| found.receive_queues != xdp.queues)
                || self.fast_path.check_vlan_tags(index).is_err()
        });
        if is_other || is_unfit {
            self.unplug(id);
        }
    }

    /// Whether it came up, or waits for something else than before.
    fn plug_or_wait(&mut self, id: &str) -> bool {
        let waiting = match (self.find(id), self.ports.get(id)) {
            (_, None) => return false,
            (None, Some(port)) => match &port.wanted.interface {
                Some(name) => format!("interface {name} does not exist"),
                None => "no interface is plugged in".to_owned(),
            },
            (Some(found), Some(port)) => match self.holder(id, found.index) {
                Some(holder) => {
                    format!(
                        "interface {} is in use by port {holder}",
                        port.wanted.interface.as_deref().unwrap_or("")
                    )
                }
                None => self.plug(id, found),
            },
        };
        let Some(port) = self.ports.get_mut(id).filter(|port| port.waiting != waiting) else { return false };
        port.waiting = waiting;
        true
    }

    /// The other port that the interface is plugged into.
    fn holder(&self, id: &str, index: u32) -> Option<&str> {
        let holds = |port: &PortState| port.plug.as_ref().is_some_and(|plug| plug.interface.index == index);
        self.ports
            .iter()
            .find(|(other, port)| other.as_str() != id && holds(port))
            .map(|(other, _)| other.as_str())
    }

    /// Plugs the port in, or keeps its plug up to date. Returns why it carries nothing, empty when it does.
    fn plug(&mut self, id: &str, found: Interface) -> String {
        let Some(port) = self.ports.get(id) else { return String::new() };
        let wanted = port.wanted.clone();
        if port.plug.is_none() {
            match self.attach(id, &wanted, found) {
                Ok((plug, fallback)) => {
                    if !fallback.is_empty() {
                        tracing::warn!(port = id, reason = fallback, "the port is attached by TC only");
                    }
                    if let Some(port) = self.ports.get_mut(id) {
                        port.plug = Some(plug);
                        port.fallback = fallback;
                        port.retry_at = Instant::now() + XDP_RETRY_INTERVAL;
                    }
                }
                Err(error) => {
                    return format!("interface {}: {error}", wanted.interface.as_deref().unwrap_or(""));
                }
            }
        } else if !port.fallback.is_empty() && Instant::now() >= port.retry_at {
            self.retry_xdp(id, wanted.number, found);
        }
        self.tell(id, &wanted, found)
    }

    /// Tries XDP again on a port that fell back to TC, which goes on working meanwhile.
    fn retry_xdp(&mut self, id: &str, number: u16, found: Interface) {
        let Some(mut plug) = self.ports.get_mut(id).and_then(|port| port.plug.take()) else { return };
        let attached = self.attach_xdp(id, number, found, &mut plug);
        let Some(port) = self.ports.get_mut(id) else { return };
        port.retry_at = Instant::now() + XDP_RETRY_INTERVAL;
        port.fallback = match attached {
            Ok(()) => {
                tracing::info!(port = id, "the port is attached by XDP after all");
                String::new()
            }
            Err(error) => fallback_reason(&error),
        };
        plug.told = false;
        port.plug = Some(plug);
    }

    /// Tells the engine what changed about the interface of a port that is plugged in.
    fn tell(&mut self, id: &str, wanted: &Wanted, found: Interface) -> String {
        let Some(port) = self.ports.get_mut(id) else { return String::new() };
        let warning = router_mac_warning(&port.routers, found.mac);
        if port.warning != warning {
            port.warning = warning;
            if !port.warning.is_empty() {
                tracing::warn!(port = id, reason = port.warning, "the uplink cannot work as configured");
            }
        }
        let Some(plug) = port.plug.as_mut() else { return String::new() };
        if !plug.told || plug.interface != found {
            plug.interface = found;
            plug.told = true;
            self.engine.set_interface(wanted.number, found.up.then(|| plug.binding()));
        }
        if found.up {
            String::new()
        } else {
            format!("interface {} is down", wanted.interface.as_deref().unwrap_or(""))
        }
    }

    fn attach(&mut self, id: &str, wanted: &Wanted, found: Interface) -> Result<(Plug, String), PlugError> {
        if found.index >= MAX_INTERFACE_INDEX {
            return Err(PlugError::Index(found.index));
        }
        let mut plug = Plug { interface: found, xdp: None, promiscuous: None, told: false };
        if wanted.uplink {
            match Promiscuous::new(found.index) {
                Ok(promiscuous) => plug.promiscuous = Some(promiscuous),
                Err(error) => tracing::warn!(port = id, %error, "the uplink is not promiscuous"),
            }
        }
        let mut fallback = String::new();
        let xdp_wanted = wanted.attach == Attach::Xdp || wanted.attach == Attach::Auto && wanted.uplink;
        if xdp_wanted && let Err(error) = self.attach_xdp(id, wanted.number, found, &mut plug) {
            fallback = fallback_reason(&error);
        }
        let attached = if plug.xdp.is_none() {
            // A process before this one may have left XDP there, without the sockets that it needs.
            let detached = self.fast_path.detach(id, Hook::Xdp);
            self.engine.set_interface(wanted.number, found.up.then(|| plug.binding()));
            detached
        } else {
            Ok(())
        };
        let attached = attached.and_then(|()| self.fast_path.attach_tc(id, found.index));
        if let Err(error) = attached {
            self.release(id, wanted.number, plug.xdp.as_ref());
            return Err(error.into());
        }
        Ok((plug, fallback))
    }

    /// Sockets first, then the tables, then the program that uses both; only then others send by it. If it fails, the
    /// port is left as one without XDP.
    fn attach_xdp(
        &mut self,
        id: &str,
        number: u16,
        found: Interface,
        plug: &mut Plug,
    ) -> Result<(), PlugError> {
        let queues = found.receive_queues;
        if queues > QUEUES_MAX {
            return Err(PlugError::Queues(queues));
        }
        self.fast_path.check_vlan_tags(found.index)?;
        let first_socket = self.open_sockets(number, found.index, queues)?;
        plug.xdp = Some(XdpPlug { first_socket, queues });
        let receives = InterfaceBinding { xdp_transmit: false, ..plug.binding() };
        self.engine.set_interface(number, found.up.then_some(receives));
        let attached = self
            .fast_path
            .set_device(number, Some(found.index))
            .and_then(|()| self.fast_path.attach_xdp(id, found.index));
        if let Err(error) = attached {
            plug.xdp = None;
            self.engine.set_interface(number, found.up.then(|| plug.binding()));
            self.close_sockets(number, first_socket, queues);
            return Err(error.into());
        }
        self.engine.set_interface(number, found.up.then(|| plug.binding()));
        Ok(())
    }

    /// Opens a socket on every queue, each for the worker that serves it, and returns the place of the first.
    fn open_sockets(&mut self, number: u16, interface_index: u32, queues: u32) -> Result<u32, PlugError> {
        let first = self.indices.take(queues).ok_or(PlugError::Sockets)?;
        let mut opened = Vec::new();
        let mut result = Ok(());
        for queue in 0..queues {
            let worker = queue as usize % self.workers.len();
            let sockets = self.sockets[worker] + queue / self.workers.len() as u32 + 1;
            result = self
                .open_socket(worker, interface_index, queue, sockets)
                .map_err(PlugError::from)
                .and_then(|socket| {
                    self.fast_path.set_socket(first + queue, Some(socket.as_fd()))?;
                    opened.push((worker, socket));
                    Ok(())
                });
            if result.is_err() {
                break;
            }
        }
        if let Err(error) = result {
            self.indices.release(first, queues);
            return Err(error);
        }
        for (worker, socket) in opened {
            self.sockets[worker] += 1;
            self.workers[worker].plug(number, Port::Xsk(Box::new(socket)));
        }
        Ok(first)
    }

    /// Opens a socket, waiting for the kernel to take the queue from one that was closed just now.
    fn open_socket(
        &self,
        worker: usize,
        interface_index: u32,
        queue: u32,
        sockets: u32,
    ) -> Result<XskSocket, XskError> {
        loop {
            let memory = self.workers[worker].memory();
            let opened = XskSocket::open(memory, interface_index, queue, &self.xsk, sockets);
            let is_in_use = matches!(opened, Err(XskError::QueueInUse { .. }));
            if !is_in_use || Instant::now() >= self.queues_released_at {
                return opened;
            }
            std::thread::sleep(QUEUE_RETRY_INTERVAL);
        }
    }

    fn close_sockets(&mut self, number: u16, first: u32, queues: u32) {
        if let Err(error) = self.fast_path.set_device(number, None) {
            tracing::warn!(port = number, %error, "the port's device stays in the map");
        }
        for queue in 0..queues {
            // The socket leaves the map by itself when the worker closes it; until then no packet should go there.
            if let Err(error) = self.fast_path.set_socket(first + queue, None) {
                tracing::warn!(port = number, %error, "the port's socket stays in the map until it is closed");
            }
            self.sockets[queue as usize % self.workers.len()] -= 1;
        }
        for worker in &self.workers {
            worker.unplug(number);
        }
        self.indices.release(first, queues);
        self.queues_released_at = Instant::now() + QUEUE_RELEASE_TIME;
    }

    /// Takes a port out of its interface.
    fn unplug(&mut self, id: &str) {
        let Some(port) = self.ports.get_mut(id) else { return };
        let number = port.wanted.number;
        let Some(plug) = port.plug.take() else { return };
        self.release(id, number, plug.xdp.as_ref());
        tracing::info!(port = id, interface_index = plug.interface.index, "the port is unplugged");
    }

    /// Takes everything away that a port has at its interface.
    fn release(&mut self, id: &str, number: u16, xdp: Option<&XdpPlug>) {
        self.engine.set_interface(number, None);
        for hook in [Hook::Xdp, Hook::Tc] {
            if let Err(error) = self.fast_path.detach(id, hook) {
                tracing::warn!(port = id, %error, "the program stays attached");
            }
        }
        if let Some(&XdpPlug { first_socket, queues }) = xdp {
            self.close_sockets(number, first_socket, queues);
        }
    }

    /// How a port stands.
    pub(super) fn status(&self, id: &str) -> PortStatus {
        let Some(port) = self.ports.get(id) else {
            return PortStatus { state: "waiting", attached: "none", ..PortStatus::default() };
        };
        let attached = match &port.plug {
            None => "none",
            Some(Plug { xdp: Some(_), .. }) => "xdp+tc",
            Some(_) => "tc",
        };
        let (state, reason) = if port.waiting.is_empty() {
            let reasons: Vec<&str> = [&port.warning, &port.fallback]
                .map(String::as_str)
                .into_iter()
                .filter(|text| !text.is_empty())
                .collect();
            ("up", reasons.join("; "))
        } else {
            ("waiting", port.waiting.clone())
        };
        let mtu = port.plug.as_ref().map(|plug| plug.interface.mtu);
        PortStatus { state, reason, attached, mtu }
    }
}

fn fallback_reason(error: &PlugError) -> String {
    format!("attached by TC only: {error}")
}

/// The MAC addresses of the gateway in an external network.
fn router_macs(config: &Config, network: &str) -> impl Iterator<Item = MacAddress> {
    let leads_to = move |external: &RouterExternal| external.network == network;
    let routers = config.routers.iter().filter(move |router| router.legs().any(leads_to));
    let overlay = config.overlay.iter().filter(move |overlay| overlay.network == network);
    routers.map(|router| router.mac_address).chain(overlay.map(|overlay| overlay.mac_address))
}

/// What is to be said of an uplink whose own MAC address is also a router's: frames to it belong to the host.
fn router_mac_warning(routers: &[MacAddress], mac: MacAddress) -> String {
    if routers.contains(&mac) {
        format!(
            "the interface's own MAC address {mac} is also a router's, so what is sent to the router ends at the host: give the router another"
        )
    } else {
        String::new()
    }
}

impl Plug {
    fn binding(&self) -> InterfaceBinding {
        InterfaceBinding {
            index: self.interface.index,
            mac: self.interface.mac,
            mtu: self.interface.mtu,
            xdp_transmit: self.xdp.is_some(),
            first_socket: self.xdp.as_ref().map_or(0, |xdp| xdp.first_socket),
        }
    }
}
