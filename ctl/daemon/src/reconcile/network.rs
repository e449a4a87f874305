//! The reconciler of the dataplane: stored objects become one [`Config`], which is applied whole.
//!
//! It watches first and lists then, so that no change is missed; waits a moment after a change, so that many changes
//! at once are one application; and does everything anew on a timer, so that whatever it missed does not stay.

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgestack_dataplane::address::{Cidr, MacAddress};
use edgestack_dataplane::config::{
    AddressGroup, AddressPair, Attach, Config, Direction, Ethertype, FloatingIp, FloatingIpLoadBalancer,
    FloatingIpTarget, LoadBalancer, LoadBalancerMember, LoadBalancerRule, Network, Port, PortKind, Remote,
    Router, RouterExternal, SecurityGroup, SecurityGroupRule, Services, StaticRoute, Workload,
};
use edgestack_dataplane::wire::has_selectors;
use edgestack_model::floating_ip::InstanceType;
use edgestack_model::security_group_rule::{Direction as RuleDirection, EthernetType};
use edgestack_model::{
    AddressGroupSpec, FloatingIpSpec, LoadBalancerSpec, NetworkSpec, PortSpec, RouterSpec,
    SecurityGroupRuleSpec, SecurityGroupSpec, Status, load_balancer, port,
};
use ipnet::{IpNet, Ipv4Net};
use tokio::sync::watch;

use super::built::Built;
use super::mirror::{Mirror, NameVersions};
use super::nat;
use super::overlay::{self, Overlay};
use super::plug::{self, Plugger};
use super::services::{self, ServiceSettings};
use super::status::{self, Situation};
use super::{Progress, quarantine};
use crate::app::record::{OBJECTS, Record, STATUSES};
use crate::gateway::Gateway;
use crate::health::Board;
use crate::services::directory::Directory;
use crate::store::{OPERATIONS_MAX, Store, StoreError, Transaction, Watch};

/// How long the reconciler waits after a change for more of them.
const SETTLE: Duration = Duration::from_millis(2);
/// How long it waits at most while changes keep coming.
const SETTLE_MAX: Duration = Duration::from_millis(20);
/// How often it looks after the ports' interfaces.
const OBSERVE_EVERY: Duration = Duration::from_secs(1);
/// How often it lists everything anew.
const RESYNC_EVERY: Duration = Duration::from_mins(5);
/// Pause after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An interface to the outside, from the daemon's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Name for people.
    pub name: String,
    /// The host's interface.
    pub interface: String,
    /// The physical network behind it, matched with `physnet_name` of networks.
    pub physical_network: String,
    /// How tier 0 is attached.
    pub attach: port::Attach,
    /// What it carries of tenant networks, between hosts.
    pub overlay: Option<Overlay>,
}

impl Uplink {
    /// Id of the uplink's port in the dataplane.
    pub fn port_id(&self, network_id: &str) -> String {
        format!("uplink-{}-{network_id}", self.name)
    }
}

/// The reconciler.
pub struct Reconciler {
    store: Arc<dyn Store>,
    gateway: Arc<Gateway>,
    progress: Arc<Progress>,
    uplinks: Vec<Uplink>,
    board: Arc<Board>,
    mirror: Mirror,
    built: Built,
    /// The version of [`Mirror::places`] that the directory was made of.
    directory_version: u64,
    /// Statuses as they were last written.
    statuses: BTreeMap<String, Status>,
    /// What was last desired and brought into effect, but for what was refused.
    desired: Option<Config>,
    /// What is in effect.
    effective: Option<Config>,
    /// Nothing of what is desired now could be brought into effect.
    blocked: bool,
    refused: Vec<(String, String)>,
    /// Makes the interfaces that ports ask for.
    plugger: Plugger,
    /// What stands in the way of an interface, by the id of its port.
    unplugged: BTreeMap<String, String>,
    /// What workloads are served.
    settings: ServiceSettings,
    /// Who is who, for the gateway's own servers.
    directory: watch::Sender<Arc<Directory>>,
}

impl Reconciler {
    /// A reconciler that has not run yet.
    pub fn new(
        store: Arc<dyn Store>,
        gateway: Arc<Gateway>,
        progress: Arc<Progress>,
        uplinks: Vec<Uplink>,
        board: Arc<Board>,
    ) -> Self {
        Self {
            store,
            gateway,
            progress,
            uplinks,
            board,
            mirror: Mirror::default(),
            built: Built::default(),
            directory_version: 0,
            statuses: BTreeMap::new(),
            desired: None,
            effective: None,
            blocked: false,
            refused: Vec::new(),
            plugger: Plugger::default(),
            unplugged: BTreeMap::new(),
            settings: ServiceSettings::default(),
            directory: watch::Sender::default(),
        }
    }

    /// The same, for networks whose workloads are served as `settings` say, by servers that ask `directory`.
    #[must_use]
    pub fn serving(mut self, settings: ServiceSettings, directory: watch::Sender<Arc<Directory>>) -> Self {
        self.settings = settings;
        self.directory = directory;
        self
    }

    /// The same, which makes the interfaces that ports ask for, as `plugger` does.
    #[must_use]
    pub fn plugging(self, plugger: Plugger) -> Self {
        Self { plugger, ..self }
    }

    /// Runs until `stop` says so.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let watch = tokio::select! {
                _ = stop.changed() => return,
                result = self.sync() => result,
            };
            let followed = match watch {
                Ok(watch) => self.follow(watch, &mut stop).await,
                Err(error) => Err(error),
            };
            if let Err(error) = followed {
                tracing::error!(%error, "desired state could not be read; trying again");
                self.progress.failed(error.to_string());
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }

    /// Reads everything and brings it into effect; returns the watch that goes on from there.
    async fn sync(&mut self) -> Result<Watch, StoreError> {
        let store = Arc::clone(&self.store);
        let (listing, statuses) = blocking(move || Ok((store.list(OBJECTS)?, store.list(STATUSES)?))).await?;
        self.mirror.replace(&listing);
        self.statuses = statuses
            .entries
            .into_iter()
            .map(|entry| (entry.key, serde_json::from_slice(&entry.value).unwrap_or_default()))
            .collect();
        self.apply().await?;
        Ok(self.store.watch(OBJECTS, listing.revision))
    }

    /// Takes over changes until it is time to read everything anew.
    async fn follow(&mut self, mut watch: Watch, stop: &mut watch::Receiver<bool>) -> Result<(), StoreError> {
        let resync = tokio::time::sleep(RESYNC_EVERY);
        tokio::pin!(resync);
        loop {
            let events = tokio::select! {
                _ = stop.changed() => return Ok(()),
                () = &mut resync => return Ok(()),
                () = tokio::time::sleep(OBSERVE_EVERY) => {
                    self.observe().await?;
                    continue;
                }
                events = watch.next() => events,
            };
            // Behind the log: read everything anew.
            let Ok(mut events) = events else { return Ok(()) };
            let started = Instant::now();
            while started.elapsed() < SETTLE_MAX {
                tokio::time::sleep(SETTLE).await;
                match watch.pending() {
                    Ok(more) if more.is_empty() => break,
                    Ok(more) => events.extend(more),
                    Err(_) => return Ok(()),
                }
            }
            for event in &events {
                self.mirror.update(event);
            }
            self.apply().await?;
        }
    }

    /// Brings the mirror into effect and writes what became of it.
    async fn apply(&mut self) -> Result<(), StoreError> {
        let started = Instant::now();
        if std::mem::replace(&mut self.directory_version, self.mirror.places()) != self.mirror.places() {
            let domain = self.settings.domain.as_deref().unwrap_or_default();
            self.directory.send_replace(Arc::new(Directory::new(&self.mirror, domain)));
        }
        let config = build(&self.mirror, &self.uplinks, &self.settings, &mut self.built);
        if self.desired.as_ref() != Some(&config) {
            let gateway = Arc::clone(&self.gateway);
            let before = self.effective.clone();
            let (config, outcome) = blocking(move || {
                let outcome = quarantine::apply(&config, before.as_ref(), |config| gateway.apply(config));
                Ok((config, outcome))
            })
            .await?;
            for (object, reason) in &outcome.refused {
                tracing::error!(
                    object,
                    reason,
                    "the dataplane refused an object; it stays as it was, or out"
                );
            }
            self.refused = outcome.refused;
            self.blocked = outcome.result.is_err();
            match outcome.result {
                Ok(report) => {
                    tracing::info!(
                        ports = config.ports.len(),
                        touched_ports = report.touched_ports.len(),
                        elapsed_us = started.elapsed().as_micros() as u64,
                        "desired state is in effect"
                    );
                    self.effective = outcome.effective;
                    self.desired = Some(config);
                    self.progress.applied(started.elapsed());
                }
                Err(error) => {
                    tracing::error!(%error, "the dataplane refused the configuration; the one before stays");
                    self.desired = None;
                    self.progress.failed(error.to_string());
                }
            }
        }
        self.observe().await
    }

    /// Looks after the interfaces of ports, and writes the statuses that changed.
    async fn observe(&mut self) -> Result<(), StoreError> {
        self.plug().await?;
        let gateway = Arc::clone(&self.gateway);
        let seen = blocking(move || Ok((gateway.ports().ok(), gateway.load_balancers_state().ok()))).await?;
        let (ports, load_balancers) = seen;
        let ports = ports.map(|ports| ports.into_iter().map(|port| (port.id.clone(), port)).collect());
        let situation = Situation {
            uplinks: &self.uplinks,
            ports,
            load_balancers: load_balancers.unwrap_or_default(),
            board: &self.board,
            refused: &self.refused,
            unplugged: &self.unplugged,
            blocked: self.blocked,
        };
        let statuses = status::compute(&self.mirror, &situation);
        let mut writes = Vec::new();
        for (key, status) in &statuses {
            if self.statuses.get(key) != Some(status) {
                writes.push((key.clone(), serde_json::to_vec(status).unwrap_or_default()));
            }
        }
        for chunk in writes.chunks(OPERATIONS_MAX) {
            let mut transaction = Transaction::default();
            for (key, value) in chunk {
                transaction.put(key.clone(), value.clone());
            }
            let store = Arc::clone(&self.store);
            blocking(move || store.commit(&transaction)).await?;
        }
        let before = std::mem::replace(&mut self.statuses, statuses);
        let gone: Vec<String> = before.into_keys().filter(|key| self.is_left_over(key)).collect();
        self.forget(gone).await
    }

    /// Makes the interfaces that ports ask for, and removes those that none does. Where packets are not carried, there
    /// is nobody to serve them.
    async fn plug(&mut self) -> Result<(), StoreError> {
        if !self.gateway.is_running() {
            return Ok(());
        }
        let (wanted, mut plugger) = (plug::wanted(&self.mirror), self.plugger.clone());
        let work = move || {
            let unplugged = plugger.look(&wanted);
            Ok((plugger, unplugged))
        };
        (self.plugger, self.unplugged) = blocking(work).await?;
        Ok(())
    }

    /// Whether a status is of an object that is no more.
    fn is_left_over(&self, status_key: &str) -> bool {
        !self.statuses.contains_key(status_key) && Mirror::is_of_this_reconciler(status_key)
    }

    /// Removes statuses that were written while their objects were removed.
    async fn forget(&self, keys: Vec<String>) -> Result<(), StoreError> {
        for chunk in keys.chunks(OPERATIONS_MAX) {
            let (chunk, store) = (chunk.to_vec(), Arc::clone(&self.store));
            let work = move || {
                let mut transaction = Transaction::default();
                for key in chunk {
                    if store.get(&key)?.is_some() {
                        transaction.delete(key);
                    }
                }
                if transaction.operations.is_empty() {
                    Ok(())
                } else {
                    store.commit(&transaction).map(|_| ())
                }
            };
            blocking(work).await?;
        }
        Ok(())
    }
}

/// Runs work that may block where that does no harm.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            Err(StoreError::Backend { path: String::new(), action: "finish a task", source: Box::new(error) })
        }
    }
}

/// The dataplane's configuration for everything that is stored; what is in `built` and unchanged is not made again.
pub fn build(mirror: &Mirror, uplinks: &[Uplink], settings: &ServiceSettings, built: &mut Built) -> Config {
    let names = LazyCell::new(|| Names::new(mirror));
    let (now, before) = (mirror.names(), std::mem::replace(&mut built.names, mirror.names()));
    let same_networks = now.networks == before.networks;
    let same_groups = now.security_groups == before.security_groups;
    let (nat_pools, port_forwards) = nat::of_routers(mirror, &names);
    let mut config = Config {
        networks: built
            .networks
            .bring_up_to_date(&mirror.networks, true, |record| Some(network(record, settings, uplinks))),
        ports: built.ports.bring_up_to_date(&mirror.ports, same_networks && same_groups, |record| {
            workload(record, &names, uplinks)
        }),
        routers: built
            .routers
            .bring_up_to_date(&mirror.routers, same_networks, |record| Some(router(record, &names))),
        // They name all kinds but groups.
        floating_ips: built.floating_ips.bring_up_to_date(
            &mirror.floating_ips,
            NameVersions { security_groups: before.security_groups, ..now } == before,
            |record| floating_ip(record, &names),
        ),
        load_balancers: built.load_balancers.bring_up_to_date(
            &mirror.load_balancers,
            same_networks && now.routers == before.routers,
            |record| load_balancer(record, &names),
        ),
        nat_pools,
        port_forwards,
        security_groups: built.security_groups.bring_up_to_date(
            &mirror.security_groups,
            &mirror.rules,
            is_carried,
            security_group,
        ),
        address_groups: built
            .address_groups
            .bring_up_to_date(&mirror.address_groups, true, |record| Some(address_group(record))),
        ..Config::default()
    };
    overlay::add(&mut config, mirror, uplinks);
    config
}

/// Ids by name: objects refer to each other by name, the dataplane by id.
pub(super) struct Names<'a> {
    pub(super) networks: Index<'a>,
    ports: Index<'a>,
    routers: Index<'a>,
    load_balancers: Index<'a>,
    groups: Index<'a>,
}

/// Ids by project and name.
pub(super) type Index<'a> = HashMap<(&'a str, &'a str), &'a str>;

/// In place of a project: the name is shared by all.
const SHARED: &str = "";

impl<'a> Names<'a> {
    fn new(mirror: &'a Mirror) -> Self {
        fn index<S: edgestack_model::Spec>(records: &BTreeMap<String, Arc<Record<S>>>) -> Index<'_> {
            let mut index = Index::with_capacity(records.len());
            for record in records.values() {
                let project = record.project.as_deref().unwrap_or(SHARED);
                index.insert((project, record.name.as_str()), record.id.as_str());
                if record.spec.is_shared() {
                    index.insert((SHARED, record.name.as_str()), record.id.as_str());
                }
            }
            index
        }
        Self {
            networks: index(&mirror.networks),
            ports: index(&mirror.ports),
            routers: index(&mirror.routers),
            load_balancers: index(&mirror.load_balancers),
            groups: index(&mirror.security_groups),
        }
    }
}

/// The id of what `record` calls `name`: an object of its project, or one that all share.
pub(super) fn id<S: edgestack_model::Spec>(
    names: &Index<'_>,
    record: &Record<S>,
    name: &str,
) -> Option<String> {
    let project = record.project.as_deref().unwrap_or(SHARED);
    names.get(&(project, name)).or_else(|| names.get(&(SHARED, name))).map(|id| (*id).to_owned())
}

fn network(record: &Record<NetworkSpec>, settings: &ServiceSettings, uplinks: &[Uplink]) -> Network {
    let spec = &record.spec;
    Network {
        name: record.shown_name(),
        gateway_ip: spec.gateway_ip,
        mtu: overlay::mtu(spec, uplinks),
        segment: overlay::segment(spec),
        external: spec.external,
        ipv6_cidr: spec.ipv6_cidr.map(|range| Cidr::containing(range.network(), range.prefix_len())),
        ipv6_gateway_ip: spec.effective_ipv6_gateway(),
        services: if spec.external { Services::default() } else { services::of_network(record, settings) },
        ..Network::new(record.id.clone(), cidr(spec.cidr))
    }
}

fn workload(record: &Record<PortSpec>, names: &Names<'_>, uplinks: &[Uplink]) -> Option<Port> {
    let PortSpec {
        network,
        mac_address,
        ip_address,
        ipv6_address,
        security_groups,
        allowed_address_pairs,
        port_security,
        admin_state_up,
        host,
        interface,
        // What is behind the interface is `plug.rs`'s to make.
        plug: _,
        attach: wanted_attach,
        user_data: _,
        metadata: _,
        ssh_keys: _,
        description: _,
    } = &record.spec;
    let groups =
        security_groups.iter().flatten().filter_map(|group| id(&names.groups, record, group)).collect();
    let pairs = allowed_address_pairs.iter().map(|pair| AddressPair {
        ip_address: any_cidr(pair.ip_address),
        mac_address: pair.mac_address.map(|mac| MacAddress(mac.0)),
    });
    Some(Port {
        id: record.id.clone(),
        name: record.shown_name(),
        network: id(&names.networks, record, network)?,
        // An uplink that the configuration got after the port: the host's way out goes before.
        interface: interface
            .clone()
            .filter(|interface| uplinks.iter().all(|uplink| uplink.interface != *interface)),
        kind: PortKind::Workload(Workload {
            security_groups: groups,
            allowed_address_pairs: pairs.collect(),
            port_security: *port_security,
            ipv6_address: *ipv6_address,
            peer: host.clone(),
            ..Workload::new(MacAddress((*mac_address)?.0), (*ip_address)?)
        }),
        attach: attach(*wanted_attach),
        admin_state_up: *admin_state_up,
    })
}

fn router(record: &Record<RouterSpec>, names: &Names<'_>) -> Router {
    let RouterSpec {
        mac,
        enable_snat,
        internal,
        external,
        further_externals,
        peer_router,
        routes,
        port_forwards: _,
        description: _,
    } = &record.spec;
    let leg = |leg: &edgestack_model::router::RouterExternal| {
        let network = id(&names.networks, record, &leg.network)?;
        Some(RouterExternal {
            enable_snat: *enable_snat && !leg.routed,
            routed: leg.routed,
            snat_exemptions: leg.snat_exemptions.iter().map(nat::exemption).collect(),
            snat_pool: leg.snat_pool.as_ref().map(|_| nat::pool_id(record, leg, &network)),
            ipv6_address: leg.ipv6,
            ..RouterExternal::new(network, leg.ip?)
        })
    };
    let external = external.as_ref().and_then(leg).map(|external| RouterExternal {
        peer_ip: peer_router.as_ref().map(|peer| peer.ip),
        peer_mac: peer_router.as_ref().and_then(|peer| peer.mac).map(|mac| MacAddress(mac.0)),
        ..external
    });
    let mac_address = mac.map_or_else(MacAddress::default, |mac| MacAddress(mac.0));
    let networks = internal.iter().filter_map(|network| id(&names.networks, record, network)).collect();
    let routes = routes.iter().map(|route| StaticRoute {
        destination: any_cidr(route.destination),
        next_hop: route.nexthop,
        reject: route.reject,
    });
    Router {
        name: record.shown_name(),
        // Without the first leg there are no further ones.
        further_externals: external.iter().flat_map(|_| further_externals.iter().filter_map(leg)).collect(),
        external,
        routes: routes.collect(),
        ..Router::new(record.id.clone(), mac_address, networks)
    }
}

fn floating_ip(record: &Record<FloatingIpSpec>, names: &Names<'_>) -> Option<FloatingIp> {
    let spec = &record.spec;
    let instance = spec.instance_name.as_ref();
    let is_balanced = spec.instance_type == Some(InstanceType::Lb);
    let port = instance.filter(|_| !is_balanced).and_then(|instance| id(&names.ports, record, instance));
    let balancer =
        instance.filter(|_| is_balanced).and_then(|instance| id(&names.load_balancers, record, instance));
    let router = spec.router.as_ref().and_then(|router| id(&names.routers, record, router));
    Some(FloatingIp {
        id: record.id.clone(),
        floating_ip: spec.floating_ip?,
        network: id(&names.networks, record, &spec.network)?,
        target: port.zip(router.clone()).map(|(port, router)| FloatingIpTarget { port, router }),
        load_balancer: balancer
            .zip(router)
            .map(|(load_balancer, router)| FloatingIpLoadBalancer { load_balancer, router }),
    })
}

fn load_balancer(record: &Record<LoadBalancerSpec>, names: &Names<'_>) -> Option<LoadBalancer> {
    let spec = &record.spec;
    let rule = |rule: &load_balancer::Rule| LoadBalancerRule {
        id: rule.id.clone(),
        protocol: rule.protocol.number(),
        port_range_min: rule.port_range_min,
        port_range_max: rule.port_range_max,
        target_port: rule.target_port,
    };
    let member = |member: &load_balancer::Member| LoadBalancerMember {
        address: member.address,
        port: member.port,
        weight: member.weight,
        backup: member.backup,
        admin_state_up: member.admin_state_up,
    };
    Some(LoadBalancer {
        id: record.id.clone(),
        name: record.shown_name(),
        network: id(&names.networks, record, &spec.network)?,
        vip: spec.virtual_ip?,
        router: spec.router.as_ref().and_then(|router| id(&names.routers, record, router)),
        rules: spec.rules.iter().map(rule).collect(),
        members: spec.members.iter().map(member).collect(),
        affinity_seconds: spec.affinity_seconds,
        reject: spec.on_no_member == load_balancer::OnNoMember::Reject,
        admin_state_up: spec.admin_state_up,
    })
}

fn security_group(
    record: &Record<SecurityGroupSpec>,
    rules: &[Arc<Record<SecurityGroupRuleSpec>>],
) -> SecurityGroup {
    SecurityGroup {
        id: record.id.clone(),
        name: record.shown_name(),
        log_denied: false,
        rules: rules.iter().map(|record| rule(record)).collect(),
    }
}

/// Whether the dataplane can follow the rule: it knows the ports of some protocols only.
pub fn is_carried(rule: &Record<SecurityGroupRuleSpec>) -> bool {
    rule.spec.port_range_min.is_none() || rule.spec.protocol.number().is_none_or(has_selectors)
}

fn rule(record: &Record<SecurityGroupRuleSpec>) -> SecurityGroupRule {
    let spec = &record.spec;
    let remote = match (&spec.remote_group_id, &spec.remote_address_group_id, spec.remote_ip_prefix) {
        (Some(group), _, _) => Remote::Group { group: group.clone() },
        (None, Some(addresses), _) => Remote::AddressGroup { address_group: addresses.clone() },
        (None, None, Some(prefix)) if prefix.prefix_len() > 0 => Remote::Cidr { cidr: any_cidr(prefix) },
        (None, None, _) => Remote::Any,
    };
    // All addresses of a version are those of that version only.
    let of_prefix = spec.remote_ip_prefix.map(|prefix| match prefix {
        IpNet::V4(_) => Ethertype::Ipv4,
        IpNet::V6(_) => Ethertype::Ipv6,
    });
    let ethertype = match spec.ethernet_type {
        EthernetType::Ipv4 => Some(Ethertype::Ipv4),
        EthernetType::Ipv6 => Some(Ethertype::Ipv6),
        EthernetType::All => of_prefix,
    };
    SecurityGroupRule {
        id: record.id.clone(),
        direction: match spec.direction {
            RuleDirection::Ingress => Direction::Ingress,
            RuleDirection::Egress => Direction::Egress,
        },
        ethertype,
        protocol: spec.protocol.number(),
        port_range_min: spec.port_range_min,
        port_range_max: spec.port_range_max,
        remote,
    }
}

fn address_group(record: &Record<AddressGroupSpec>) -> AddressGroup {
    AddressGroup {
        id: record.id.clone(),
        name: record.shown_name(),
        addresses: record.spec.addresses.iter().copied().map(any_cidr).collect(),
    }
}

pub(super) fn ipv4_address(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

pub(super) fn ipv6_address(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    }
}

pub(super) fn ipv4(range: IpNet) -> Option<Cidr> {
    match range {
        IpNet::V4(range) => Some(cidr(range)),
        IpNet::V6(_) => None,
    }
}

pub(super) fn any_cidr(range: IpNet) -> Cidr {
    Cidr::containing(range.network(), range.prefix_len())
}

fn cidr(range: Ipv4Net) -> Cidr {
    Cidr::containing(range.network(), range.prefix_len())
}

/// How tier 0 is attached to a port.
pub(super) fn attach(attach: port::Attach) -> Attach {
    match attach {
        port::Attach::Auto => Attach::Auto,
        port::Attach::Xdp => Attach::Xdp,
        port::Attach::Tc => Attach::Tc,
    }
}
