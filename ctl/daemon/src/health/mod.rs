//! Health checks: asks the members of load balancers from inside their networks, and tells the dataplane who answers.
//!
//! What is to be checked is read from the store and from the dataplane once a turn, so nothing has to be told of changes.
//! Each check is a task with a time limit; a fixed number of them run at once. A member's state changes only after so
//! many answers in a row as the load balancer says. Members that are not checked count as well.

mod check;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use check::Checker;
use edgestack_dataplane::inspect::MemberView;
use edgestack_dataplane::snapshot::load_balancer::Health;
use edgestack_model::health_check::{CheckKind, HealthCheck};
use edgestack_model::load_balancer::Protocol;
use edgestack_model::{LoadBalancerSpec, Spec as _};
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::app::record::{OBJECTS, Record};
use crate::gateway::Gateway;
use crate::store::Store;

/// How often it is looked what is due.
const TURN: Duration = Duration::from_millis(250);
/// Checks that run at once.
const CHECKS_AT_ONCE_MAX: usize = 64;
/// Results that may wait to be counted.
const RESULTS_MAX: usize = 256;

/// A member of a load balancer: the load balancer's id and the member's name.
pub type MemberKey = (String, String);

/// What is known of the members that are checked.
#[derive(Debug, Default)]
pub struct Board {
    states: Mutex<HashMap<MemberKey, MemberState>>,
}

/// What checks have found out about a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberState {
    /// The state.
    pub health: Health,
    /// Since when.
    pub since: Timestamp,
    /// What the last check found, in a sentence.
    pub reason: String,
}

/// How far a member is from its next check and its next state.
#[derive(Debug)]
struct Course {
    check: HealthCheck,
    due: Instant,
    running: bool,
    good: u32,
    bad: u32,
}

/// Runs the checks.
pub struct Monitor {
    store: Arc<dyn Store>,
    gateway: Arc<Gateway>,
    board: Arc<Board>,
    courses: HashMap<MemberKey, Course>,
    limit: Arc<Semaphore>,
}

/// What is asked of a member.
#[derive(Clone, Debug)]
struct Target {
    /// Identifier of its port.
    port: String,
    /// The gateway's address in its network.
    local: IpAddr,
    remote: SocketAddr,
}

impl Target {
    /// For people: a ping has no port.
    fn shown(&self) -> String {
        if self.remote.port() == 0 { self.remote.ip().to_string() } else { self.remote.to_string() }
    }
}

impl Board {
    /// The state of a member; none where it is not checked.
    pub fn state(&self, load_balancer: &str, member: &str) -> Option<MemberState> {
        self.states().get(&(load_balancer.to_owned(), member.to_owned())).cloned()
    }

    fn states(&self) -> MutexGuard<'_, HashMap<MemberKey, MemberState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitor {
    /// A monitor that has not run yet.
    pub fn new(store: &Arc<dyn Store>, gateway: &Arc<Gateway>, board: &Arc<Board>) -> Self {
        let limit = Arc::new(Semaphore::new(CHECKS_AT_ONCE_MAX));
        let (store, gateway, board) = (Arc::clone(store), Arc::clone(gateway), Arc::clone(board));
        Self { store, gateway, board, courses: HashMap::new(), limit }
    }

    /// Runs until `stop` says so. Without a dataplane there is nothing to check.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let Some(stack) = self.gateway.stack() else { return };
        let checker = match Checker::new(stack) {
            Ok(checker) => checker,
            Err(error) => return tracing::error!(%error, "members of load balancers are not checked"),
        };
        let (sender, mut results) = mpsc::channel(RESULTS_MAX);
        while !*stop.borrow() {
            tokio::select! {
                _ = stop.changed() => return,
                Some((key, result)) = results.recv() => self.count(&key, result),
                () = tokio::time::sleep(TURN) => self.turn(&checker, &sender).await,
            }
        }
    }

    /// Starts the checks that are due.
    async fn turn(&mut self, checker: &Checker, sender: &mpsc::Sender<(MemberKey, Result<String, String>)>) {
        let (store, gateway) = (Arc::clone(&self.store), Arc::clone(&self.gateway));
        let read = move || (checked(store.as_ref()), gateway.load_balancers_state().unwrap_or_default());
        let Ok((specs, views)) = tokio::task::spawn_blocking(read).await else { return };
        let now = Instant::now();
        let mut wanted = HashMap::new();
        for view in &views {
            let Some((spec, check)) = specs.get(&view.id) else { continue };
            for member in &view.members {
                let key = (view.id.clone(), member.name.clone());
                wanted.insert(key, (check.clone(), target(member, spec, check)));
            }
        }
        self.forget(|key| wanted.contains_key(key));
        for (key, (check, target)) in wanted {
            let course = self.courses.entry(key.clone()).or_insert_with(|| Course::new(check.clone(), now));
            if course.check != check {
                *course = Course { running: course.running, ..Course::new(check.clone(), now) };
            }
            if course.running || course.due > now {
                continue;
            }
            course.due = now + Duration::from_secs(check.interval_seconds.into());
            let Some(target) = target else {
                let reason = "nobody has its address, or the gateway has none in its network";
                self.count(&key, Err(reason.to_owned()));
                continue;
            };
            // More than can run at once wait for the next turn.
            let Ok(permit) = Arc::clone(&self.limit).try_acquire_owned() else {
                course.due = now;
                continue;
            };
            course.running = true;
            let (checker, sender) = (checker.clone(), sender.clone());
            tokio::spawn(async move {
                let result = checker.run(&target, &check).await;
                drop(permit);
                // Nobody listens when the daemon ends.
                let _ended = sender.send((key, result)).await;
            });
        }
    }

    /// Forgets members that are checked no more: they count as well again.
    fn forget(&mut self, is_wanted: impl Fn(&MemberKey) -> bool) {
        self.courses.retain(|key, _| is_wanted(key));
        let mut states = self.board.states();
        let gone: Vec<MemberKey> = states.keys().filter(|key| !is_wanted(key)).cloned().collect();
        for key in &gone {
            states.remove(key);
        }
        drop(states);
        let changes: Vec<_> = gone.into_iter().map(|(id, name)| (id, name, Health::Unchecked)).collect();
        self.gateway.set_health(&changes);
    }

    /// Counts what a check found; tells when that changes a member's state.
    fn count(&mut self, key: &MemberKey, result: Result<String, String>) {
        let Some(course) = self.courses.get_mut(key) else { return };
        course.running = false;
        let (is_good, reason) = match result {
            Ok(reason) => (true, reason),
            Err(reason) => (false, reason),
        };
        (course.good, course.bad) = if is_good { (course.good + 1, 0) } else { (0, course.bad + 1) };
        let mut states = self.board.states();
        let before = states.get(key).map_or(Health::Unchecked, |state| state.health);
        let health = if course.good >= course.check.healthy_threshold {
            Health::Healthy
        } else if course.bad >= course.check.unhealthy_threshold {
            Health::Unhealthy
        } else {
            before
        };
        let now = Timestamp::now();
        let state = states.entry(key.clone()).or_insert_with(|| MemberState {
            health: before,
            since: now,
            reason: String::new(),
        });
        // The reason is that of the state, not of an answer that has not changed it.
        if is_good == (health == Health::Healthy) || health == Health::Unchecked {
            state.reason = reason;
        }
        if health != before {
            state.health = health;
            state.since = now;
            tracing::info!(
                load_balancer = key.0,
                member = key.1,
                ?health,
                reason = state.reason,
                "health changed"
            );
            drop(states);
            self.gateway.set_health(&[(key.0.clone(), key.1.clone(), health)]);
        }
    }
}

impl Course {
    fn new(check: HealthCheck, now: Instant) -> Self {
        Self { check, due: now, running: false, good: 0, bad: 0 }
    }
}

/// The load balancers whose members are checked, by id.
fn checked(store: &dyn Store) -> HashMap<String, (LoadBalancerSpec, HealthCheck)> {
    let prefix = format!("{OBJECTS}{}/", LoadBalancerSpec::KIND.plural());
    let Ok(listing) = store.list(&prefix) else { return HashMap::new() };
    let records = listing.entries.iter().filter_map(|entry| {
        let record: Record<LoadBalancerSpec> = serde_json::from_slice(&entry.value).ok()?;
        let check = record.spec.health_check.clone()?;
        Some((record.id, (record.spec, check)))
    });
    records.collect()
}

/// Where a member is asked; none where it cannot be.
fn target(member: &MemberView, spec: &LoadBalancerSpec, check: &HealthCheck) -> Option<Target> {
    let protocol = match check.kind {
        CheckKind::Udp => Some(Protocol::Udp),
        CheckKind::Icmp => None,
        CheckKind::Tcp | CheckKind::Http | CheckKind::Https => Some(Protocol::Tcp),
    };
    // A rule of the same protocol before any other.
    let mut with_ports: Vec<_> = spec.rules.iter().filter(|rule| rule.port_range_min.is_some()).collect();
    with_ports.sort_by_key(|rule| Some(rule.protocol) != protocol);
    let by_rule = with_ports.first().and_then(|rule| rule.target_port.or(rule.port_range_min));
    let number = match protocol {
        Some(_) => check.port.or(member.own_port).or(by_rule)?,
        None => 0,
    };
    let (port, local) = (member.port.clone()?, member.gateway?);
    Some(Target { port, local, remote: SocketAddr::new(member.address, number) })
}
