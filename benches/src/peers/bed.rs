//! A test bed: source, gateway and sink in namespaces, one veth between each two.
//!
//! ```text
//! source [eth0] ---- [in-NAME] gateway [out-NAME] ---- [eth0] sink
//! 10.1.1.0/24 hosts            198.51.100.2            198.51.100.1, behind it 203.0.113.64/26
//! ```
//!
//! All that the kernel does for a packet (make it, forward it, count it) happens on the core that sends it, so
//! nothing is lost on the way and the rate is that of one core. The gateways differ in the middle part only: the
//! plain redirect, which does nothing there, shows what the rest costs. An engine in user space has the other core.

use edgestack_tests::Namespace;
use edgestack_tests::link::{Plug, connect};
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::BenchError;

/// The first of the hosts that send.
pub const FIRST_HOST: [u8; 4] = [10, 1, 1, 0];
/// The first of the destinations; its last byte is a multiple of their number.
pub const FIRST_DESTINATION: [u8; 4] = [203, 0, 113, 64];
/// The gateway's address towards the hosts.
pub const GATEWAY_ADDRESS: &str = "10.1.0.1";
/// The address of the source's interface.
pub const SOURCE_ADDRESS: &str = "10.1.0.2";
/// The address that the gateway translates to.
pub const EXTERNAL_ADDRESS: &str = "198.51.100.2";
/// The next hop of the gateway, which is the sink.
pub const SINK_ADDRESS: &str = "198.51.100.1";
/// The core of the traffic and of what the kernel does with it.
pub const TRAFFIC_CORE: usize = 0;
/// The nice value of the source.
const HIGHEST_PRIORITY: i32 = -20;

/// MAC address of the source's interface.
pub const SOURCE_MAC: &str = "02:00:00:00:01:02";
/// MAC address of the sink's interface.
pub const SINK_MAC: &str = "02:00:00:00:02:01";

/// One gateway with its source and sink.
#[derive(Debug)]
pub struct Bed {
    /// Name of the gateway under test.
    pub name: String,
    /// Sends.
    pub source: Namespace,
    /// Forwards.
    pub gateway: Namespace,
    /// Receives.
    pub sink: Namespace,
}

impl Bed {
    /// Builds the bed of the gateway `name`, which has 9 characters at most. `checksums`: senders fill them in, as XDP
    /// needs it; without, frames keep segmentation and checksum offload, as TCP between namespaces does.
    pub fn create(prefix: &str, name: &str, checksums: bool) -> Result<Self, BenchError> {
        let bed = Self {
            name: name.to_owned(),
            source: Namespace::create(&format!("{prefix}-{name}-source"))?,
            gateway: Namespace::create(&format!("{prefix}-{name}-gw"))?,
            sink: Namespace::create(&format!("{prefix}-{name}-sink"))?,
        };
        let (inside, outside) = (bed.inside(), bed.outside());
        let inside = Plug {
            mac_address: Some(SOURCE_MAC),
            address: Some(&format!("{SOURCE_ADDRESS}/16")),
            gateway: Some(GATEWAY_ADDRESS),
            checksums,
            ..Plug::new(&inside)
        };
        connect(&bed.gateway, &bed.source, &inside)?;
        let outside = Plug {
            mac_address: Some(SINK_MAC),
            address: Some(&format!("{SINK_ADDRESS}/24")),
            checksums,
            ..Plug::new(&outside)
        };
        connect(&bed.gateway, &bed.sink, &outside)?;
        // Without an XDP program, GRO is what makes a veth take frames from the source by NAPI.
        bed.gateway.run(&format!("ethtool -K {} gro on", bed.inside()))?;
        Ok(bed)
    }

    /// The gateway's interface towards the source.
    pub fn inside(&self) -> String {
        format!("in-{}", self.name)
    }

    /// The gateway's interface towards the sink.
    pub fn outside(&self) -> String {
        format!("out-{}", self.name)
    }
}

/// Binds the calling thread to the core of the traffic, ahead of everything else that wants it.
pub fn claim_traffic_core() -> Result<(), BenchError> {
    let mut cores = CpuSet::new();
    cores.set(TRAFFIC_CORE);
    sched_setaffinity(None, &cores)
        .and_then(|()| setpriority_process(None, HIGHEST_PRIORITY))
        .map_err(|error| BenchError::Invalid(format!("cannot claim core {TRAFFIC_CORE}: {error}")))
}
