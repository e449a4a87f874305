//! Tier 0's counters, summed over the CPUs.

use aya::maps::PerCpuArray;
use edgestack_abi::{DropReason, PortCounters, maps};

use super::error::FastPathError;
use super::{FastPath, missing};

/// The record as aya reads it; the ABI's type, word by word.
type Words = [u64; size_of::<PortCounters>() / 8];

impl FastPath {
    /// Traffic of a port.
    pub fn port_counters(&self, port: u16) -> Result<PortCounters, FastPathError> {
        let map = self.object.map(maps::PORT_COUNTERS).ok_or_else(|| missing(maps::PORT_COUNTERS))?;
        let array: PerCpuArray<_, Words> =
            PerCpuArray::try_from(map).map_err(FastPathError::map(maps::PORT_COUNTERS))?;
        let values = array.get(&u32::from(port), 0).map_err(FastPathError::map(maps::PORT_COUNTERS))?;
        let sum = |index: usize| values.iter().map(|words| words[index]).sum();
        Ok(PortCounters {
            forwarded_packets: sum(0),
            forwarded_bytes: sum(1),
            punted_packets: sum(2),
            host_packets: sum(3),
            transmitted_packets: sum(4),
            transmitted_bytes: sum(5),
            dropped_packets: sum(6),
            zero: 0,
        })
    }

    /// Drops by reason, indexed by [`DropReason`].
    pub fn drops(&self) -> Result<[u64; DropReason::COUNT], FastPathError> {
        let map = self.object.map(maps::DROPS).ok_or_else(|| missing(maps::DROPS))?;
        let array: PerCpuArray<_, u64> =
            PerCpuArray::try_from(map).map_err(FastPathError::map(maps::DROPS))?;
        let mut drops = [0; DropReason::COUNT];
        for (index, drop) in drops.iter_mut().enumerate() {
            let values = array.get(&(index as u32), 0).map_err(FastPathError::map(maps::DROPS))?;
            *drop = values.iter().sum();
        }
        Ok(drops)
    }
}
