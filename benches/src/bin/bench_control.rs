//! Measures the control plane with a large site: start-up to full sync, lists, writes, dry runs, memory.
//!
//! The daemon runs within this process, on a store on disk, with its real HTTP stack on a socket and the dataplane off; how
//! long the dataplane takes to compile the same configuration is measured beside it. With root, and programs that were built, a
//! changed rule is followed to the packets, too.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgestack_benches::rule_change::{self, Times};
use edgestack_client::{Client, Method};
use edgestack_dataplane::snapshot::Snapshot;
use edgestack_model::limits::Limits;
use edgestack_model::project::DEFAULT_PROJECT;
use edgestack_model::{Draft, NetworkSpec, PortSpec, RouterSpec, SecurityGroupSpec, read_draft};
use edgestack_tests::daemon::{binary, ebpf_object};
use edgestackd::app::record::OBJECTS;
use edgestackd::app::{App, Noun};
use edgestackd::config::Config;
use edgestackd::reconcile::built::Built;
use edgestackd::reconcile::mirror::Mirror;
use edgestackd::reconcile::network::build;
use edgestackd::reconcile::services::ServiceSettings;
use edgestackd::store::backup::{Backup, FORMAT_VERSION, Header};
use edgestackd::store::{MemoryStore, RedbStore, SCHEMA_VERSION, Store};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Networks, each with a router of its own.
const NETWORKS: usize = 1000;
/// Ports of each network.
const PORTS_PER_NETWORK: usize = 10;
/// Groups.
const GROUPS: usize = 10;
/// Rules of each group.
const RULES_PER_GROUP: usize = 1000;
/// Times that a request is measured.
const ROUNDS: usize = 20;
/// Lets the bench ask as often as it likes.
const FAST: &str = "[api]\nrequests_per_second = 100000\nrequests_burst = 100000\n";
/// Path of the objects.
const OBJECTS_PATH: &str = "/edgetron/resources/kubevirt";

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let started = Instant::now();
    let memory = Arc::new(MemoryStore::default());
    let app = App::new(Arc::clone(&memory) as Arc<dyn Store>, Vec::new());
    app.prepare()?;
    raise_limits(&app)?;
    fill(&app)?;
    let listing = memory.list("")?;
    println!(
        "site: {NETWORKS} networks, {NETWORKS} routers, {} ports, {} rules ({:.1} s to make in memory)",
        NETWORKS * PORTS_PER_NETWORK,
        GROUPS * RULES_PER_GROUP,
        started.elapsed().as_secs_f64()
    );
    compile(&memory)?;
    drop(memory);
    let header = Header {
        edgestack_backup: FORMAT_VERSION,
        schema_version: SCHEMA_VERSION,
        revision: listing.revision,
        entries: listing.entries.len() as u64,
        created_at: jiff::Timestamp::now(),
        written_by: "bench".to_owned(),
    };
    let path = directory.path().join("edgestackd.toml");
    let place = directory.path().display();
    std::fs::write(
        &path,
        format!(
            "state_dir = \"{place}/state\"\nrun_dir = \"{place}/run\"\n[dataplane]\nenabled = false\n{FAST}"
        ),
    )?;
    let config = Config::load(&path)?;
    std::fs::create_dir_all(&config.state_dir)?;
    RedbStore::restore(&config.store_path(), &Backup { header, entries: listing.entries }, false)?;
    // A second store, for a daemon of its own.
    let second = directory.path().join("second.redb");
    std::fs::copy(config.store_path(), &second)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(config))?;
    drop(runtime);
    follow_a_rule(&second)
}

/// One rule changed, from the API's answer to the packets.
fn follow_a_rule(store: &Path) -> Result<(), Box<dyn Error>> {
    let is_built = binary("edgestackd").exists() && ebpf_object().exists();
    if !(rustix::process::geteuid().is_root() && is_built) {
        println!("one rule changed: not measured, it needs root and `make ebpf`");
        return Ok(());
    }
    let Times { removed, made } = rule_change::measure(store, ROUNDS)?;
    print_times("rule removed, answer to last packet", removed);
    print_times("rule made, answer to first packet", made);
    Ok(())
}

fn draft<S: Noun>(body: &Value) -> Result<Draft<S>, String> {
    read_draft(body).map_err(|errors| format!("{body}: {errors:?}"))
}

/// The site is of one project, and larger than a project may be where nobody says otherwise.
fn raise_limits(app: &App) -> Result<(), Box<dyn Error>> {
    let enough = 2 * NETWORKS * PORTS_PER_NETWORK;
    let kinds = ["networks", "routers", "ports", "security_groups", "security_group_rules"];
    let limits = kinds.into_iter().map(|kind| (kind.to_owned(), json!(enough)));
    let body = json!({ "quota": limits.collect::<serde_json::Map<_, _>>() });
    app.set_limits(DEFAULT_PROJECT, &Limits::read(&body).map_err(|errors| format!("{errors:?}"))?)?;
    Ok(())
}

fn fill(app: &App) -> Result<(), Box<dyn Error>> {
    for group in 0..GROUPS {
        let rule = |number: usize| match (group, number) {
            // The one that is changed.
            (0, 0) => json!({"direction": "ingress", "protocol": "udp",
                "port_range_min": rule_change::PORT, "port_range_max": rule_change::PORT}),
            _ => {
                json!({"direction": if number.is_multiple_of(2) { "ingress" } else { "egress" }, "protocol": "tcp",
                "port_range_min": number + 1, "port_range_max": number + 1})
            }
        };
        let rules: Vec<Value> = (0..RULES_PER_GROUP).map(rule).collect();
        let body = json!({"security_group": {"name": format!("g{group}"), "rules": rules}});
        app.create(&draft::<SecurityGroupSpec>(&body)?)?;
    }
    for network in 0..NETWORKS {
        let (high, low) = (network / 256, network % 256);
        let body =
            json!({"network": {"name": format!("n{network}"), "cidr": format!("10.{high}.{low}.0/24")}});
        app.create(&draft::<NetworkSpec>(&body)?)?;
        let body = json!({"router": {"name": format!("r{network}"), "internal": [format!("n{network}")]}});
        app.create(&draft::<RouterSpec>(&body)?)?;
        for port in 0..PORTS_PER_NETWORK {
            let body = json!({"port": {"name": format!("p{network}-{port}"), "network": format!("n{network}"),
                "security_groups": [format!("g{}", network % GROUPS)], "labels": {"tier": format!("t{port}")}}});
            app.create(&draft::<PortSpec>(&body)?)?;
        }
    }
    Ok(())
}

/// How long the dataplane takes to compile the site.
fn compile(store: &MemoryStore) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let (mirror, mut built) = (Mirror::new(&store.list(OBJECTS)?), Built::default());
    let config = build(&mirror, &[], &ServiceSettings::default(), &mut built);
    print("configuration from objects", started.elapsed());
    let numbers = config.ports.iter().zip(1u16..).map(|(port, number)| (port.id.clone(), number)).collect();
    let started = Instant::now();
    Snapshot::compile(&config, &numbers)?;
    print("snapshot compiled", started.elapsed());
    Ok(())
}

async fn measure(config: Config) -> Result<(), Box<dyn Error>> {
    let client = Client::new(config.socket_path());
    let (stop, stopped) = watch::channel(false);
    let started = Instant::now();
    let daemon = tokio::spawn(edgestackd::daemon::run(config, stopped));
    while client.request(Method::GET, "/readyz", None).await.is_err() {
        if daemon.is_finished() {
            daemon.await??;
            return Err("the daemon ended".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    print("start-up to ready", started.elapsed());
    while !has_statuses(&client).await? {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    print("start-up to every status", started.elapsed());
    print_memory("before lists")?;
    let path = format!("{OBJECTS_PATH}/ports");
    let started = Instant::now();
    client.text(&path).await?;
    print("first list of all ports", started.elapsed());
    for (name, query) in [
        ("list of all ports", "ports"),
        ("list of 100 ports", "ports?limit=100"),
        ("100 ports by address", "ports?limit=100&sort_by=ip_address"),
        ("ports of one network", "ports?network=n500"),
        ("ports by label", "ports?label_selector=tier%3Dt3"),
        ("list of all networks", "networks"),
        ("list of all routers", "routers"),
        ("list of all rules", "security_group_rules"),
        ("list of all groups", "security_groups"),
        ("one port", "ports/p500-5"),
    ] {
        let path = format!("{OBJECTS_PATH}/{query}");
        repeat(name, async || client.text(&path).await.map(|_| ())).await?;
    }
    print_memory("after lists")?;
    let number = std::cell::Cell::new(0);
    let path = format!("{OBJECTS_PATH}/ports");
    repeat("port created", async || {
        number.set(number.get() + 1);
        let body = json!({"port": {"name": format!("new-{}", number.get()), "network": "n1"}});
        client.request(Method::POST, &path, Some(&body)).await.map(|_| ())
    })
    .await?;
    let path = format!("{OBJECTS_PATH}/ports/p500-5?dry_run=true");
    let body = json!({"port": {"ip_address": "10.1.244.200"}});
    repeat("dry run of a change", async || {
        client.request(Method::PATCH, &path, Some(&body)).await.map(|_| ())
    })
    .await?;
    print_memory("at the end")?;
    stop.send(true)?;
    daemon.await??;
    Ok(())
}

/// Whether the last port that was made has a status.
async fn has_statuses(client: &Client) -> Result<bool, Box<dyn Error>> {
    let path = format!("{OBJECTS_PATH}/ports/p{}-{}", NETWORKS - 1, PORTS_PER_NETWORK - 1);
    let port = client.request(Method::GET, &path, None).await?.body;
    Ok(port["port"]["status"]["observed_generation"] == 1)
}

async fn repeat<E: Error + 'static>(
    name: &str,
    mut request: impl AsyncFnMut() -> Result<(), E>,
) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        request().await?;
        times.push(started.elapsed());
    }
    print_times(name, times);
    Ok(())
}

fn print_times(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    println!(
        "{name:36} {:9.2} ms median {:9.2} ms largest of {ROUNDS}",
        milliseconds(times[ROUNDS / 2]),
        milliseconds(times[ROUNDS - 1])
    );
}

fn print(name: &str, time: Duration) {
    println!("{name:36} {:9.2} ms", milliseconds(time));
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn print_memory(when: &str) -> Result<(), Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    for line in status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM")) {
        println!("memory of daemon and bench {when}: {line}");
    }
    Ok(())
}
