//! The dataplane as the daemon sees it: running, or off.
//!
//! Off is a state of its own so that the API works without root and without a kernel that can do eBPF (for tests and
//! for hosts that only keep desired state); every question about traffic is then refused with the reason.

use edgestack_dataplane::capture::{Capture, CaptureError};
use edgestack_dataplane::config::Config as Desired;
use edgestack_dataplane::engine::{
    ApplyReport, ConfigError, EngineSettings, FlowFilterError, Timeouts, TraceError,
};
use edgestack_dataplane::fastpath::{FastPathSettings, TableSizes, diagnose};
use edgestack_dataplane::inspect::{
    CountersView, DropView, FlowFilter, FlowView, LiveTraceRequest, LoadBalancerView, NatView, NeighbourView,
    PortView, RuleHitsView, TraceReport, TraceRequest,
};
use edgestack_dataplane::io::xsk::XskSettings;
use edgestack_dataplane::live_trace::{LiveTrace, LiveTraceError};
use edgestack_dataplane::runtime::{Dataplane, DataplaneSettings, StartError};
use edgestack_dataplane::snapshot::load_balancer::Health;
use edgestack_dataplane::virtual_stack::StackHandle;

use crate::config::{Config, Switch};

/// Entries of one bucket of the flow table.
const BUCKET_ENTRIES: u32 = edgestack_abi::flow::BUCKET_ENTRIES as u32;

/// The dataplane, or why there is none.
#[derive(Debug)]
pub enum Gateway {
    /// It carries traffic.
    Running(Box<Dataplane>),
    /// It does not run.
    Off {
        /// Why.
        reason: &'static str,
    },
}

/// Why a question about traffic has no answer.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The dataplane does not run.
    #[error("the dataplane does not run: {reason}")]
    Off {
        /// Why.
        reason: &'static str,
    },
    /// The filter means nothing.
    #[error(transparent)]
    Filter(#[from] FlowFilterError),
    /// The described packet cannot be.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The live trace could not be started.
    #[error(transparent)]
    LiveTrace(#[from] LiveTraceError),
    /// The capture could not be started.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

impl Gateway {
    /// Starts the dataplane of a configuration, or leaves it off as the configuration says.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        if !config.dataplane.enabled {
            return Ok(Self::Off { reason: "`dataplane.enabled` is false" });
        }
        for warning in config.dataplane.timeouts.warnings() {
            tracing::warn!(subject = "timeouts", "{warning}");
        }
        let started = Dataplane::start(&settings(config));
        if started.is_err() {
            for finding in host_findings(config).into_iter().filter(|finding| !finding.ok) {
                tracing::warn!(subject = finding.subject, "{}", finding.message);
            }
        }
        started.map(|dataplane| Self::Running(Box::new(dataplane)))
    }

    /// Detaches the programs of a configuration's instance and removes what it pinned.
    pub fn unpin(config: &Config) -> Result<(), StartError> {
        Dataplane::unpin(&settings(config))
    }

    /// `running` or `off`, for `/version`.
    pub fn state(&self) -> &'static str {
        if self.is_running() { "running" } else { "off" }
    }

    /// Whether packets are carried.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    fn running(&self) -> Result<&Dataplane, GatewayError> {
        match self {
            Self::Running(dataplane) => Ok(dataplane),
            Self::Off { reason } => Err(GatewayError::Off { reason }),
        }
    }

    /// Puts a configuration into effect, whole or not at all. An absent dataplane takes everything.
    pub fn apply(&self, desired: &Desired) -> Result<ApplyReport, ConfigError> {
        match self {
            Self::Running(dataplane) => dataplane.apply(desired),
            Self::Off { .. } => Ok(ApplyReport::default()),
        }
    }

    /// The ports and their counters.
    pub fn ports(&self) -> Result<Vec<PortView>, GatewayError> {
        Ok(self.running()?.ports())
    }

    /// The flows of at most `limit` sessions that a filter means.
    pub fn flows(&self, filter: &FlowFilter, limit: usize) -> Result<Vec<FlowView>, GatewayError> {
        Ok(self.running()?.flows(filter, limit)?)
    }

    /// Ends the connections that a filter means; how many that were.
    pub fn clear_flows(&self, filter: &FlowFilter) -> Result<u64, GatewayError> {
        Ok(self.running()?.clear_flows(filter)?)
    }

    /// Translations.
    pub fn nat(&self) -> Result<Vec<NatView>, GatewayError> {
        Ok(self.running()?.nat())
    }

    /// Neighbours in external networks.
    pub fn neighbours(&self) -> Result<Vec<NeighbourView>, GatewayError> {
        Ok(self.running()?.neighbours())
    }

    /// Drops by reason.
    pub fn drops(&self) -> Result<Vec<DropView>, GatewayError> {
        Ok(self.running()?.drops())
    }

    /// What the rules of security groups have allowed so far.
    pub fn rule_hits(&self) -> Result<Vec<RuleHitsView>, GatewayError> {
        Ok(self.running()?.rule_hits())
    }

    /// Counters of the whole dataplane.
    pub fn counters(&self) -> Result<CountersView, GatewayError> {
        Ok(self.running()?.counters())
    }

    /// Load balancers and their members.
    pub fn load_balancers(&self) -> Result<Vec<LoadBalancerView>, GatewayError> {
        Ok(self.running()?.load_balancers())
    }

    /// The same without sessions and what they have carried, for which all sessions would be looked at.
    pub fn load_balancers_state(&self) -> Result<Vec<LoadBalancerView>, GatewayError> {
        Ok(self.running()?.load_balancers_state())
    }

    /// Tells which members of load balancers answer, by the load balancer's id and the member's name.
    pub fn set_health(&self, found: &[(String, String, Health)]) {
        if let Self::Running(dataplane) = self {
            dataplane.set_health(found);
        }
    }

    /// The configuration in effect.
    pub fn snapshot(&self) -> Result<Desired, GatewayError> {
        Ok(self.running()?.snapshot())
    }

    /// What would happen to a packet.
    pub fn trace(&self, request: &TraceRequest) -> Result<TraceReport, GatewayError> {
        Ok(self.running()?.trace(request)?)
    }

    /// What becomes of packets that pass.
    pub fn live_trace(&self, request: &LiveTraceRequest) -> Result<LiveTrace, GatewayError> {
        Ok(self.running()?.live_trace(request)?)
    }

    /// The gateway as a host inside tenant networks, for its own servers and health checks; none while the dataplane does not run.
    pub fn stack(&self) -> Option<StackHandle> {
        self.running().ok().map(Dataplane::stack)
    }

    /// Copies of at most `limit` packets of a port.
    pub fn capture(&self, port: &str, limit: u64) -> Result<Capture, GatewayError> {
        Ok(self.running()?.capture(port, limit)?)
    }
}

/// What the fast path needs of this host, and whether it is there.
pub fn host_findings(config: &Config) -> Vec<edgestack_dataplane::fastpath::Finding> {
    diagnose(&settings(config).fast_path.pin_root)
}

/// The settings of the dataplane that a configuration describes.
fn settings(config: &Config) -> DataplaneSettings {
    let crate::config::Dataplane {
        enabled: _,
        fast_path,
        workers,
        worker_cpus,
        frames,
        spin_us,
        zero_copy,
        busy_poll_us,
        flow_table_entries,
        sessions,
        instance,
        ebpf_object,
        new_flows_per_second_per_port,
        icmp_errors_per_second,
        log_denied,
        denied_logs_per_second,
        tcp_pickup,
        timeouts,
    } = &config.dataplane;
    DataplaneSettings {
        fast_path: FastPathSettings {
            object_path: ebpf_object.clone(),
            instance: instance.get_ref().clone(),
            sizes: TableSizes {
                buckets: flow_table_entries.get_ref() / BUCKET_ENTRIES,
                sessions: *sessions.get_ref(),
            },
            ..FastPathSettings::default()
        },
        fast_path_enabled: *fast_path == Switch::On,
        engine: EngineSettings {
            new_flows_per_second_per_port: *new_flows_per_second_per_port,
            timeouts: Timeouts {
                tcp_half_open_seconds: *timeouts.tcp_half_open_seconds.get_ref(),
                tcp_established_seconds: *timeouts.tcp_established_seconds.get_ref(),
                tcp_closing_seconds: *timeouts.tcp_closing_seconds.get_ref(),
                udp_seconds: *timeouts.udp_seconds.get_ref(),
                icmp_seconds: *timeouts.icmp_seconds.get_ref(),
                sctp_half_open_seconds: *timeouts.sctp_half_open_seconds.get_ref(),
                sctp_established_seconds: *timeouts.sctp_established_seconds.get_ref(),
                sctp_closing_seconds: *timeouts.sctp_closing_seconds.get_ref(),
                other_seconds: *timeouts.other_seconds.get_ref(),
            },
            tcp_pickup: *tcp_pickup,
            icmp_errors_per_second: *icmp_errors_per_second,
            log_denied: *log_denied,
            denied_logs_per_second: *denied_logs_per_second,
            ..EngineSettings::default()
        },
        workers: if *workers.get_ref() == 0 { worker_cpus.get_ref().len() } else { *workers.get_ref() },
        worker_cpus: worker_cpus.get_ref().clone(),
        frames: *frames.get_ref(),
        spin_us: *spin_us,
        xsk: XskSettings { zero_copy: *zero_copy, busy_poll_us: *busy_poll_us, ..XskSettings::default() },
        run_directory: config.run_dir.clone(),
    }
}

#[cfg(test)]
mod tests {
    use edgestack_dataplane::runtime::DataplaneSettings;

    use super::settings;
    use crate::config::Config;

    #[test]
    fn the_defaults_of_the_file_are_those_of_the_dataplane() {
        assert_eq!(settings(&Config::default()), DataplaneSettings::default());
    }
}
