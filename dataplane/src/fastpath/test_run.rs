//! Running the programs on a packet without an interface (`BPF_PROG_TEST_RUN`): for the tests that hold tier 0 against the
//! engine.
//!
//! The kernel needs some interface for the packet to have come from; loopback stands for all ports, and which port
//! it is, is written into the table before each run. So a fast path that runs tests must not be in use.

use aya::programs::{Program, TestRun as _, TestRunOptions};
use edgestack_abi::maps;

use super::error::FastPathError;
use super::{FastPath, missing};
use crate::tables::region::Regions;

/// Index of loopback, in every network namespace.
const LOOPBACK_INDEX: u32 = 1;
/// Room for the packet that comes out: a tag may have been pushed.
const OUTPUT_LENGTH: usize = 65_536 + 64;

/// What a program did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Redirected: to a port, a socket or the trunk.
    Redirect,
    /// Left to the stack.
    Pass,
    /// Dropped.
    Drop,
    /// A number that the programs never return.
    Other(u32),
}

/// What came of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// What the program returned.
    pub verdict: Verdict,
    /// The packet as it was left. The trunk's tag, which the kernel keeps beside the packet, is not in it.
    pub packet: Vec<u8>,
    /// Time of one run in nanoseconds.
    pub duration_ns: u64,
}

/// What the stack knows of a packet beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkbOptions {
    /// Bytes of payload per segment; 0 when the packet is to be sent as it is.
    pub gso_size: u32,
    /// Number of segments.
    pub gso_segments: u32,
}

impl FastPath {
    /// Runs the XDP program of ports on a frame received on `port`.
    pub fn run_xdp(&self, regions: &Regions, port: u16, frame: &[u8]) -> Result<TestRun, FastPathError> {
        regions.port_by_interface.write(LOOPBACK_INDEX as usize, u32::from(port));
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, frame.len() as u32, 0, LOOPBACK_INDEX, 0, 0];
        let run = self.run(maps::PROGRAM_XDP_PORT, frame, &bytes(&context))?;
        let verdict = match run.0 {
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            4 => Verdict::Redirect,
            other => Verdict::Other(other),
        };
        Ok(TestRun { verdict, packet: run.1, duration_ns: run.2 })
    }

    /// Runs the TC program of ports on a packet received on `port`.
    pub fn run_tc(
        &self,
        regions: &Regions,
        port: u16,
        packet: &[u8],
        options: SkbOptions,
    ) -> Result<TestRun, FastPathError> {
        regions.port_by_interface.write(LOOPBACK_INDEX as usize, u32::from(port));
        // struct __sk_buff, in words: ifindex is the 11th, gso_segs the 42nd, gso_size the 45th.
        let mut context = [0u32; 48];
        context[10] = LOOPBACK_INDEX;
        context[41] = options.gso_segments;
        context[44] = options.gso_size;
        let run = self.run(maps::PROGRAM_TC_PORT, packet, &bytes(&context))?;
        let verdict = match run.0 {
            0 => Verdict::Pass,
            2 => Verdict::Drop,
            7 => Verdict::Redirect,
            other => Verdict::Other(other),
        };
        Ok(TestRun { verdict, packet: run.1, duration_ns: run.2 })
    }

    fn run(
        &self,
        name: &'static str,
        packet: &[u8],
        context: &[u8],
    ) -> Result<(u32, Vec<u8>, u64), FastPathError> {
        let mut output = vec![0; OUTPUT_LENGTH];
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut output),
            ctx_in: Some(context),
            ..TestRunOptions::new()
        };
        let result = match self.object.program(name) {
            Some(Program::Xdp(program)) => program.test_run(options),
            Some(Program::SchedClassifier(program)) => program.test_run(options),
            _ => return Err(missing(name)),
        };
        let result = result.map_err(|source| FastPathError::Program { name, source: Box::new(source) })?;
        output.truncate(result.data_size_out as usize);
        Ok((result.return_value, output, result.duration.as_nanos() as u64))
    }
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
