//! Bulk TCP between two stacks through a gateway, which keeps segmentation offload.

use std::path::Path;

use edgestack_tests::traffic::iperf;

use super::BenchError;
use super::bed::SINK_ADDRESS;
use super::gateway::Gateway;

/// Gigabits per second of `streams` TCP streams from the source to the sink of a bed during `seconds`.
pub fn measure(gateway: &Gateway, streams: u32, seconds: u64, directory: &Path) -> Result<f64, BenchError> {
    let bed = &gateway.bed;
    let _server = iperf::server(&bed.sink, SINK_ADDRESS, directory)?;
    let report = iperf::run(&bed.source, SINK_ADDRESS, seconds, &format!("--parallel {streams}"), directory)?;
    Ok(report.gigabits_per_second())
}
