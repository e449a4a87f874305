//! The dataplane as the daemon sees it: running, or off.
//!
//! Off is a state of its own so that the API works without root and without a kernel that can do eBPF (for tests and
//! for hosts that only keep desired state); every question about traffic is then refused with the reason.

use edgestack_dataplane::capture::{Capture, CaptureError};
use edgestack_dataplane::config::Config;
use edgestack_dataplane::engine::{ApplyReport, ConfigError};
use edgestack_dataplane::inspect::{
    CountersView, DropView, FlowView, NatView, NeighbourView, PortView, TraceReport, TraceRequest,
};

/// The dataplane, or why there is none.
#[derive(Debug)]
pub enum Gateway {
    /// It does not run.
    Off {
        /// Why.
        reason: String,
    },
}

/// Why a question about traffic has no answer.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The dataplane does not run.
    #[error("the dataplane does not run: {reason}")]
    Off {
        /// Why.
        reason: String,
    },
    /// The port is not known to the dataplane.
    #[error("the dataplane has no port `{0}`")]
    UnknownPort(String),
    /// The described packet cannot be.
    #[error("{0}")]
    Trace(String),
    /// The capture could not be started.
    #[error(transparent)]
    Capture(CaptureError),
}

impl Gateway {
    /// A dataplane that does not run.
    pub fn off(reason: impl Into<String>) -> Self {
        Self::Off { reason: reason.into() }
    }

    /// `running` or `off`, for `/version`.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Off { .. } => "off",
        }
    }

    /// Whether packets are carried.
    pub fn is_running(&self) -> bool {
        !matches!(self, Self::Off { .. })
    }

    /// Puts a configuration into effect, whole or not at all.
    pub fn apply(&self, _config: &Config) -> Result<ApplyReport, ConfigError> {
        Ok(ApplyReport::default())
    }

    /// The ports and their counters.
    pub fn ports(&self) -> Result<Vec<PortView>, GatewayError> {
        Err(self.refusal())
    }

    /// At most `limit` flows.
    pub fn flows(&self, _limit: usize) -> Result<Vec<FlowView>, GatewayError> {
        Err(self.refusal())
    }

    /// Translations.
    pub fn nat(&self) -> Result<Vec<NatView>, GatewayError> {
        Err(self.refusal())
    }

    /// Neighbours in external networks.
    pub fn neighbours(&self) -> Result<Vec<NeighbourView>, GatewayError> {
        Err(self.refusal())
    }

    /// Drops by reason.
    pub fn drops(&self) -> Result<Vec<DropView>, GatewayError> {
        Err(self.refusal())
    }

    /// Counters of the whole dataplane.
    pub fn counters(&self) -> Result<CountersView, GatewayError> {
        Err(self.refusal())
    }

    /// The configuration in effect.
    pub fn snapshot(&self) -> Result<Config, GatewayError> {
        Err(self.refusal())
    }

    /// What would happen to a packet.
    pub fn trace(&self, _request: &TraceRequest) -> Result<TraceReport, GatewayError> {
        Err(self.refusal())
    }

    /// Copies of the packets of a port.
    pub fn capture(&self, _port: &str, _limit: u64) -> Result<Capture, GatewayError> {
        Err(self.refusal())
    }

    fn refusal(&self) -> GatewayError {
        match self {
            Self::Off { reason } => GatewayError::Off { reason: reason.clone() },
        }
    }
}
