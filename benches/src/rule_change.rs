//! How long a changed rule takes to be in effect for packets: the real daemon with a large site in a namespace, and a flow between
//! two workloads that the kernel carries while the rule is there. Used by the bench of the control plane; needs root.

use std::error::Error;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edgestack_client::{Client, Method};
use edgestack_tests::namespace::Namespace;
use edgestack_tests::site::{Site, Workload};
use edgestack_tests::traffic::udp;
use serde_json::{Value, json};

/// The port that the changed rule is for.
pub const PORT: u16 = 9000;
/// The group that the rule is of, and the network of the two workloads.
pub const GROUP: &str = "g0";
const NETWORK: &str = "n0";

const SENDER: Workload = Workload {
    name: "live-a",
    mac_address: "02:00:00:0d:00:01",
    address: "10.0.0.201/24",
    gateway: "10.0.0.1",
};
const RECEIVER: Workload = Workload {
    name: "live-b",
    mac_address: "02:00:00:0d:00:02",
    address: "10.0.0.202/24",
    gateway: "10.0.0.1",
};
/// One datagram in this time: the time of a change is not known more exactly.
const INTERVAL: Duration = Duration::from_micros(100);
/// A flow of which nothing has come for so long has ended.
const QUIET: Duration = Duration::from_millis(300);
/// Longest that a change may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Path of the objects.
const OBJECTS: &str = "/edgetron/resources/kubevirt";

/// From the API's answer to the last, or first, datagram; zero where packets knew before.
#[derive(Debug, Default)]
pub struct Times {
    /// The rule was removed: until the last datagram that came through.
    pub removed: Vec<Duration>,
    /// The rule was made: until the first.
    pub made: Vec<Duration>,
}

/// Datagrams without end from one namespace to another, and when each arrived.
struct Flow {
    arrivals: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Removes and makes the rule so many times. The store at `path` holds a site whose group has the rule; programs and kernel programs must
/// have been built.
pub fn measure(path: &Path, rounds: usize) -> Result<Times, Box<dyn Error>> {
    let mut site = Site::unique()?;
    site.plug(&SENDER, false)?;
    site.plug(&RECEIVER, false)?;
    std::fs::copy(path, site.directory().join("edgestack.redb"))?;
    let settings = site.daemon_settings("auto");
    let socket = settings.socket_path();
    site.start_daemon(settings)?;
    let flow = Flow::start(site.member(SENDER.name), site.member(RECEIVER.name))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(change(&Client::new(socket), &flow, rounds))
}

async fn change(client: &Client, flow: &Flow, rounds: usize) -> Result<Times, Box<dyn Error>> {
    let group = json!({"security_group": {"name": "live", "rules": [{"direction": "egress"}]}});
    client.request(Method::POST, &format!("{OBJECTS}/security_groups"), Some(&group)).await?;
    for workload in [SENDER, RECEIVER] {
        let port = json!({"port": {"name": workload.name, "network": NETWORK, "interface": workload.name,
            "mac_address": workload.mac_address, "ip_address": workload.ip(), "security_groups": [GROUP, "live"]}});
        client.request(Method::POST, &format!("{OBJECTS}/ports"), Some(&port)).await?;
    }
    let rules = format!("{OBJECTS}/security_group_rules");
    let known = client.request(Method::GET, &format!("{rules}?protocol=udp&limit=1"), None).await?.body;
    let mut id = text(&known["security_group_rules"][0]["id"])?;
    let rule = json!({"security_group_rule": {"security_group_id": GROUP, "direction": "ingress",
        "protocol": "udp", "port_range_min": PORT, "port_range_max": PORT}});
    flow.first(Instant::now()).await?;
    let mut times = Times::default();
    for _ in 0..rounds {
        carried_by_the_kernel(client).await?;
        client.request(Method::DELETE, &format!("{rules}/{id}"), None).await?;
        let answered = Instant::now();
        times.removed.push(flow.last().await?.saturating_duration_since(answered));
        let asked = Instant::now();
        let made = client.request(Method::POST, &rules, Some(&rule)).await?.body;
        let answered = Instant::now();
        times.made.push(flow.first(asked).await?.saturating_duration_since(answered));
        id = text(&made["id"])?;
    }
    Ok(times)
}

/// Waits until the kernel carries the flow: what is measured must end there, too.
async fn carried_by_the_kernel(client: &Client) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let carried = async || client.counters().await.map(|counters| counters.tier0_packets);
    let before = carried().await?;
    while started.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if carried().await? > before + 100 {
            return Ok(());
        }
    }
    Err("the kernel does not carry the flow".into())
}

fn text(value: &Value) -> Result<String, Box<dyn Error>> {
    Ok(value.as_str().ok_or("the answer has no id")?.to_owned())
}

impl Flow {
    fn start(from: &Namespace, to: &Namespace) -> Result<Self, Box<dyn Error>> {
        let (arrivals, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let receiver = udp::bind(to, &format!("{}:{PORT}", RECEIVER.ip()))?;
        receiver.set_read_timeout(Some(QUIET))?;
        let sender = udp::bind(from, &format!("{}:0", SENDER.ip()))?;
        sender.connect((RECEIVER.ip(), PORT))?;
        let (noted, stopped) = (Arc::clone(&arrivals), Arc::clone(&stop));
        let receiving = std::thread::spawn(move || receive(&receiver, &noted, &stopped));
        let stopped = Arc::clone(&stop);
        let sending = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                // What is denied is told to nobody; what is not sent yet, for want of a port, comes later.
                let _ = sender.send(b"?");
                std::thread::sleep(INTERVAL);
            }
        });
        Ok(Self { arrivals, stop, threads: vec![receiving, sending] })
    }

    /// When the first datagram after `since` arrived.
    async fn first(&self, since: Instant) -> Result<Instant, Box<dyn Error>> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let found = self.noted().iter().copied().find(|arrival| *arrival >= since);
            if let Some(arrival) = found {
                return Ok(arrival);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err("no datagram comes through with the rule".into())
    }

    /// When the last datagram arrived, once nothing comes any more.
    async fn last(&self) -> Result<Instant, Box<dyn Error>> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let last = self.noted().last().copied();
            if let Some(last) = last.filter(|last| last.elapsed() > QUIET) {
                self.noted().clear();
                return Ok(last);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("datagrams go on coming through without the rule".into())
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn receive(socket: &UdpSocket, arrivals: &Mutex<Vec<Instant>>, stop: &AtomicBool) {
    let mut datagram = [0; 16];
    while !stop.load(Ordering::Acquire) {
        if socket.recv(&mut datagram).is_ok() {
            arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
