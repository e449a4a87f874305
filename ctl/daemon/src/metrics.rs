//! Prometheus metrics: what the daemon counts itself, and what it reads from the dataplane when asked.
//!
//! Names start with `edgestack_`. Labels have closed sets of values, but for ports, which are bounded by the port
//! table, and rules of security groups, rules and members of load balancers and external addresses, which are bounded by the
//! configuration.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use edgestack_dataplane::inspect::{LoadBalancerView, NatView};
use edgestack_model::Kind;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::gateway::Gateway;
use crate::reconcile::Progress;
use crate::store::Store;

/// The daemon's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    path: String,
    status: u16,
}

impl Metrics {
    /// Metrics that read the dataplane, the store and the reconciler when they are rendered.
    pub fn new(gateway: Arc<Gateway>, store: Arc<dyn Store>, progress: Arc<Progress>) -> Self {
        let mut registry = Registry::with_prefix("edgestack");
        let requests = Family::default();
        registry.register("api_requests", "Requests by method, path and status", requests.clone());
        let request_seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 14));
        registry.register("api_request_seconds", "Time to answer requests", request_seconds.clone());
        registry.register_collector(Box::new(Readings { gateway, store, progress }));
        Self { registry, requests, request_seconds }
    }

    /// Counts one request.
    pub fn count_request(&self, method: &str, path: &str, status: u16, elapsed: Duration) {
        let labels = RequestLabels { method: method.to_owned(), path: path.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
        self.request_seconds.observe(elapsed.as_secs_f64());
    }

    /// Everything, in the text format.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// What is read at the moment of rendering.
struct Readings {
    gateway: Arc<Gateway>,
    store: Arc<dyn Store>,
    progress: Arc<Progress>,
}

impl fmt::Debug for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readings").finish_non_exhaustive()
    }
}

type Count = ConstCounter<u64>;

/// A translation's labels; `id` is that of the floating IP, the pool or the router.
fn translation_labels<'a>(nat: &'a NatView, address: &'a str) -> [(&'static str, &'a str); 3] {
    [("kind", &nat.kind), ("id", &nat.id), ("external_ip", address)]
}

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode_store(&mut encoder)?;
        self.encode_progress(&mut encoder)?;
        gauge(
            &mut encoder,
            "dataplane_up",
            "1 while the dataplane runs",
            f64::from(u8::from(self.gateway.is_running())),
        )?;
        self.encode_counters(&mut encoder)?;
        self.encode_ports(&mut encoder)?;
        self.encode_drops(&mut encoder)?;
        self.encode_rules(&mut encoder)?;
        self.encode_translations(&mut encoder)?;
        // All sessions are looked at for them: once.
        let Ok(balancers) = self.gateway.load_balancers() else { return Ok(()) };
        encode_members(&balancers, &mut encoder)?;
        encode_balanced(&balancers, &mut encoder)
    }
}

impl Readings {
    fn encode_store(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let revision = self.store.revision() as f64;
        gauge(encoder, "store_revision", "Revision of the last commit", revision)?;
        let mut family =
            encoder.encode_descriptor("objects", "Objects in the store", None, MetricType::Gauge)?;
        for kind in Kind::ALL {
            // Every object has one name, which is shorter to read than the object.
            // A store that cannot be read says nothing of their number.
            let Ok(listing) = self.store.list(&format!("names/{}/", kind.plural())) else { continue };
            let labels = [("kind", kind.singular())];
            ConstGauge::new(listing.entries.len() as i64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn encode_progress(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (applied, failed) = self.progress.counts();
        let mut family = encoder.encode_descriptor(
            "reconcile_runs",
            "Times that desired state was brought into effect",
            None,
            MetricType::Counter,
        )?;
        for (result, count) in [("applied", applied), ("failed", failed)] {
            Count::new(count).encode(family.encode_family(&[("result", result)])?)?;
        }
        let ready = f64::from(u8::from(self.progress.is_in_effect()));
        gauge(
            encoder,
            "ready",
            "1 while desired state is in effect, but for what statuses say is refused",
            ready,
        )?;
        let seconds = self.progress.last_duration().as_secs_f64();
        gauge(encoder, "reconcile_last_seconds", "Time that the last run took", seconds)
    }

    fn encode_counters(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Ok(counters) = self.gateway.counters() else { return Ok(()) };
        let all = counters.tier0_packets + counters.engine_packets;
        let share = if all == 0 { 0.0 } else { counters.tier0_packets as f64 / all as f64 };
        gauge(encoder, "tier0_share_ratio", "Share of packets that the kernel fast path carried", share)?;
        gauge(encoder, "sessions", "Sessions now", counters.sessions as f64)?;
        gauge(encoder, "sessions_limit", "Most sessions that there may be", counters.sessions_max as f64)?;
        let totals = [
            ("tier0_packets", "Packets that the kernel fast path forwarded", counters.tier0_packets),
            ("engine_packets", "Packets that the engine received", counters.engine_packets),
            ("engine_hits", "Packets that the engine forwarded by a known flow", counters.engine_hits),
            ("engine_decisions", "Packets that the engine decided", counters.engine_decisions),
            ("engine_responses", "Packets that the engine answered itself", counters.engine_responses),
            ("dropped_packets", "Packets dropped", counters.dropped_packets),
            ("sessions_created", "Sessions made", counters.sessions_created),
            ("sessions_expired", "Sessions ended by their timeout", counters.sessions_expired),
            ("sessions_evicted", "Sessions that gave way to others", counters.sessions_evicted),
            ("sessions_revoked", "Sessions that a change of configuration ended", counters.sessions_revoked),
            (
                "nat_high_waters",
                "Times that the used ports of an external address came to the high-water mark of its pool",
                counters.nat_high_waters,
            ),
            ("revalidations", "Packets of flows decided again after a change", counters.revalidations),
            ("denials_logged", "Denied packets that were logged", counters.denials_logged),
            (
                "denials_suppressed",
                "Denied packets that were over the limit of the log",
                counters.denials_suppressed,
            ),
        ];
        for (name, help, value) in totals {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            Count::new(value).encode(metric)?;
        }
        Ok(())
    }

    fn encode_ports(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Ok(ports) = self.gateway.ports() else { return Ok(()) };
        let mut up = encoder.encode_descriptor(
            "port_up",
            "1 while the port carries traffic",
            None,
            MetricType::Gauge,
        )?;
        for port in &ports {
            let labels = [("port", port.name.as_str()), ("network", port.network.as_str())];
            ConstGauge::new(i64::from(port.state == "up")).encode(up.encode_family(&labels)?)?;
        }
        let columns = [
            ("port_tier0_packets", "Packets that the kernel fast path received and forwarded"),
            ("port_tier0_bytes", "Bytes of those"),
            ("port_engine_packets", "Packets that the engine received"),
            ("port_engine_bytes", "Bytes of those"),
            ("port_transmitted_packets", "Packets sent"),
            ("port_transmitted_bytes", "Bytes of those"),
            ("port_dropped_packets", "Packets received and dropped"),
        ];
        for (index, (name, help)) in columns.into_iter().enumerate() {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for port in &ports {
                let counters = &port.counters;
                let values = [
                    counters.tier0_packets,
                    counters.tier0_bytes,
                    counters.engine_packets,
                    counters.engine_bytes,
                    counters.transmitted_packets,
                    counters.transmitted_bytes,
                    counters.dropped_packets,
                ];
                let labels = [("port", port.name.as_str())];
                Count::new(values[index]).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn encode_rules(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Ok(rules) = self.gateway.rule_hits() else { return Ok(()) };
        let help = "Connections that a rule has allowed, each when opened and when decided again";
        let mut family =
            encoder.encode_descriptor("security_group_rule_hits", help, None, MetricType::Counter)?;
        for rule in &rules {
            let labels = [("security_group", rule.security_group.as_str()), ("rule", rule.id.as_str())];
            Count::new(rule.hits).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn encode_translations(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Ok(translations) = self.gateway.nat() else { return Ok(()) };
        let columns = [
            ("nat_packets", "Packets that an external address was translated in, by direction"),
            ("nat_bytes", "Bytes of those"),
        ];
        for (index, (name, help)) in columns.into_iter().enumerate() {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for nat in &translations {
                let values = [[nat.packets_out, nat.packets_in], [nat.bytes_out, nat.bytes_in]][index];
                for (direction, value) in ["out", "in"].into_iter().zip(values) {
                    let address = nat.external_ip.to_string();
                    let labels = translation_labels(nat, &address);
                    let labels = [labels[0], labels[1], labels[2], ("direction", direction)];
                    Count::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        let help = "Sessions that an external address translates";
        let mut family = encoder.encode_descriptor("nat_sessions", help, None, MetricType::Gauge)?;
        for nat in &translations {
            let (address, sessions) = (nat.external_ip.to_string(), ConstGauge::new(nat.sessions as i64));
            sessions.encode(family.encode_family(&translation_labels(nat, &address))?)?;
        }
        Ok(())
    }

    fn encode_drops(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Ok(drops) = self.gateway.drops() else { return Ok(()) };
        let mut family = encoder.encode_descriptor(
            "drops",
            "Packets dropped, by reason and stage",
            None,
            MetricType::Counter,
        )?;
        for drop in &drops {
            let labels = [("reason", drop.reason.as_str()), ("stage", drop.stage.as_str())];
            Count::new(drop.packets).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn encode_members(
    balancers: &[LoadBalancerView],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let columns = [
        ("lb_member_sessions", "Sessions of a load balancer with a member"),
        ("lb_member_up", "1 while the member gets new connections"),
        ("lb_member_healthy", "1 while the member answers its checks"),
    ];
    for (index, (name, help)) in columns.into_iter().enumerate() {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let members = balancers
            .iter()
            .flat_map(|balancer| balancer.members.iter().map(move |member| (balancer.name.as_str(), member)));
        for (balancer, member) in members.filter(|(_, member)| index < 2 || member.health != "unchecked") {
            let values =
                [member.sessions as i64, i64::from(member.takes), i64::from(member.health == "healthy")];
            let labels = [("lb", balancer), ("member", member.name.as_str())];
            ConstGauge::new(values[index]).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// What rules and members have been given.
fn encode_balanced(
    balancers: &[LoadBalancerView],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut rules = Vec::new();
    let mut members = Vec::new();
    for balancer in balancers {
        rules.extend(balancer.rules.iter().map(|rule| Given {
            labels: [("lb", &balancer.name), ("rule", &rule.id)],
            connections: rule.connections,
            packets: [rule.packets_in, rule.packets_out],
            bytes: [rule.bytes_in, rule.bytes_out],
        }));
        members.extend(balancer.members.iter().map(|member| Given {
            labels: [("lb", &balancer.name), ("member", &member.name)],
            connections: member.connections,
            packets: [member.packets_in, member.packets_out],
            bytes: [member.bytes_in, member.bytes_out],
        }));
    }
    encode_given(&rules, ("lb_rule", "a rule of a load balancer"), encoder)?;
    encode_given(&members, ("lb_member", "a member of a load balancer"), encoder)
}

/// What a rule or a member has been given; packets and bytes in and out.
struct Given<'a> {
    labels: [(&'static str, &'a String); 2],
    connections: u64,
    packets: [u64; 2],
    bytes: [u64; 2],
}

fn encode_given(
    given: &[Given<'_>],
    (prefix, who): (&str, &str),
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let (name, help) = (format!("{prefix}_connections"), format!("Connections of {who}"));
    let mut family = encoder.encode_descriptor(&name, &help, None, MetricType::Counter)?;
    for one in given {
        Count::new(one.connections).encode(family.encode_family(&one.labels)?)?;
    }
    for (index, (what, title)) in [("packets", "Packets"), ("bytes", "Bytes")].into_iter().enumerate() {
        let name = format!("{prefix}_{what}");
        let help = format!("{title} of connections of {who}, by direction");
        let mut family = encoder.encode_descriptor(&name, &help, None, MetricType::Counter)?;
        for one in given {
            let [first, second] = one.labels;
            for (direction, value) in ["in", "out"].into_iter().zip([one.packets, one.bytes][index]) {
                let labels =
                    [(first.0, first.1.as_str()), (second.0, second.1.as_str()), ("direction", direction)];
                Count::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> Result<(), fmt::Error> {
    ConstGauge::<f64>::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}
