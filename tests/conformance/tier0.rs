//! Tier 0 in front of the engine: the real kernel programs, run on each packet by the kernel (`BPF_PROG_TEST_RUN`)
//! over the very tables that the engine works on.

use edgestack_dataplane::fastpath::{FastPath, SkbOptions, TableSizes};
use edgestack_dataplane::tables::region::Regions;

/// Shortest frame that the kernel takes for such a run: Ethernet, and an IPv4 header where it says IPv4.
const FRAME_LENGTH_MIN: usize = 34;
/// Index of an interface that exists everywhere, for redirects that are decided and not carried out.
const LOOPBACK_INDEX: u32 = 1;

/// Which program a packet goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// The one of uplinks.
    Xdp,
    /// The one of workload ports.
    Tc,
}

/// The loaded programs.
pub(crate) struct Tier0 {
    fast_path: FastPath,
    regions: Regions,
    hook: Hook,
    hits: u64,
}

impl Tier0 {
    /// Loads the programs over tables of their own, and gives the tables for an engine.
    pub(crate) fn load(hook: Hook, buckets: u32, sessions: u32) -> Result<(Self, Regions), String> {
        let sizes = TableSizes { buckets, sessions };
        let fast_path =
            FastPath::load_unpinned(None, "conformance", sizes).map_err(|error| error.to_string())?;
        let regions = || fast_path.regions().map_err(|error| error.to_string());
        let (own, engine) = (regions()?, regions()?);
        Ok((Self { fast_path, regions: own, hook, hits: 0 }, engine))
    }

    /// Interface index of the trunk's end, for the engine to tell the programs.
    pub(crate) fn trunk_index() -> u32 {
        LOOPBACK_INDEX
    }

    /// Makes redirects to a port possible.
    pub(crate) fn plug(&mut self, port: u16) -> Result<(), String> {
        self.fast_path.set_device(port, Some(LOOPBACK_INDEX)).map_err(|error| error.to_string())
    }

    /// Packets that were forwarded.
    pub(crate) fn hits(&self) -> u64 {
        self.hits
    }

    /// Runs a frame that came in by `in_port`. The port and the frame that leaves, if tier 0 forwards it; none when
    /// it is the engine's, unchanged.
    pub(crate) fn run(
        &mut self,
        in_port: u16,
        ports: &[u16],
        frame: &[u8],
    ) -> Result<Option<(u16, Vec<u8>)>, String> {
        if frame.len() < FRAME_LENGTH_MIN {
            return Ok(None);
        }
        let sent =
            |port: u16| self.fast_path.port_counters(port).map(|counters| counters.transmitted_packets);
        let count = || ports.iter().map(|port| sent(*port)).collect::<Result<Vec<_>, _>>();
        let before = count().map_err(|error| error.to_string())?;
        let run = match self.hook {
            Hook::Xdp => self.fast_path.run_xdp(&self.regions, in_port, frame),
            Hook::Tc => self.fast_path.run_tc(&self.regions, in_port, frame, SkbOptions::default()),
        };
        let run = run.map_err(|error| error.to_string())?;
        let after = count().map_err(|error| error.to_string())?;
        let left: Vec<u16> = ports
            .iter()
            .zip(before.iter().zip(&after))
            .filter(|(_, (old, new))| old != new)
            .map(|(port, _)| *port)
            .collect();
        match left[..] {
            [] if run.packet == frame => Ok(None),
            [] => Err(format!("{:?} changed a packet that it hands to the engine", self.hook)),
            [port] => {
                self.hits += 1;
                Ok(Some((port, run.packet)))
            }
            _ => Err(format!("{:?} counted one packet at several ports: {left:?}", self.hook)),
        }
    }
}
