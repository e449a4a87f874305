//! What the engine is told at its start and what it answers to a configuration: plain types.

use crate::address::MacAddress;
use crate::tables::maglev;

/// How an engine is set up; the defaults suit a small edge host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// New flows per second that one port may open; 0 is no limit.
    pub new_flows_per_second_per_port: u32,
    /// Idle times after which sessions end.
    pub timeouts: Timeouts,
    /// Segments from inside connections that nothing is known of open them, as after a loss of all state; false: only SYN does.
    pub tcp_pickup: bool,
    /// ICMP messages per second that the gateway sends of its own accord (errors); 0 is no limit.
    pub icmp_errors_per_second: u32,
    /// Places of a load balancer's table, a prime: more make shares finer and take more memory.
    pub maglev_places: u32,
    /// Every packet that security groups deny may be logged, not only those at members of groups with `log_denied`.
    pub log_denied: bool,
    /// Denied packets that are logged in a second, of all ports; the others are counted.
    pub denied_logs_per_second: u32,
}

/// Idle times in seconds after which a session ends, by the state of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP before the handshake is complete.
    pub tcp_half_open_seconds: u32,
    /// TCP established (RFC 5382, REQ-5: at least 2 hours and 4 minutes).
    pub tcp_established_seconds: u32,
    /// TCP after a FIN or RST (RFC 5382, REQ-5: at least 4 minutes).
    pub tcp_closing_seconds: u32,
    /// UDP (RFC 4787, REQ-5: at least 2 minutes, 5 recommended).
    pub udp_seconds: u32,
    /// ICMP queries (RFC 5508, REQ-2: at least 60 seconds).
    pub icmp_seconds: u32,
    /// SCTP before the handshake is complete.
    pub sctp_half_open_seconds: u32,
    /// SCTP established. Its endpoints send heartbeats (RFC 9260, section 8.3).
    pub sctp_established_seconds: u32,
    /// SCTP after a SHUTDOWN or ABORT.
    pub sctp_closing_seconds: u32,
    /// Protocols without states and ports.
    pub other_seconds: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_half_open_seconds: 240,
            tcp_established_seconds: 7440,
            tcp_closing_seconds: 240,
            udp_seconds: 300,
            icmp_seconds: 60,
            sctp_half_open_seconds: 240,
            sctp_established_seconds: 7440,
            sctp_closing_seconds: 240,
            other_seconds: 600,
        }
    }
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            new_flows_per_second_per_port: 50_000,
            timeouts: Timeouts::default(),
            tcp_pickup: false,
            icmp_errors_per_second: 1000,
            maglev_places: maglev::PLACES_DEFAULT,
            log_denied: false,
            denied_logs_per_second: 10,
        }
    }
}

/// What the runtime tells of the interface that a port is plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceBinding {
    /// Index of the interface.
    pub index: u32,
    /// Its own MAC address.
    pub mac: MacAddress,
    /// Its MTU.
    pub mtu: u16,
    /// XDP may redirect frames into it.
    pub xdp_transmit: bool,
    /// Index of its first socket in the map of sockets.
    pub first_socket: u32,
}

/// What an accepted configuration changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplyReport {
    /// Names of the ports whose flows will be decided again.
    pub touched_ports: Vec<String>,
}

/// Why a configuration was refused; nothing of it was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct ConfigError {
    /// Everything that is wrong with it.
    pub problems: Vec<ConfigProblem>,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {field}: {message}")]
pub struct ConfigProblem {
    /// Kind and name of the object: `router r1`.
    pub object: String,
    /// The field.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Why an engine could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The regions do not fit together.
    #[error("the flow table has {buckets} buckets while its control record says {expected}")]
    TableSize {
        /// Buckets of the region.
        buckets: usize,
        /// Buckets by the control record.
        expected: usize,
    },
}
