//! Tier 0 in front of the engine: the real kernel programs, run on each packet by the kernel (`BPF_PROG_TEST_RUN`)
//! over the very tables that the engine works on.

use std::collections::BTreeMap;

use edgestack_abi::PortCounters;
use edgestack_abi::maps::Control;
use edgestack_abi::tunnel::KIND_VLAN;
use edgestack_dataplane::fastpath::{FastPath, SkbOptions, TableSizes};
use edgestack_dataplane::tables::region::Regions;

/// Shortest frames that the kernel takes for such a run: Ethernet, and a whole header where it says IPv4 or IPv6.
const FRAME_LENGTH_MIN: usize = 34;
const IPV6_FRAME_LENGTH_MIN: usize = 54;
/// Index of an interface that exists everywhere, for redirects that are decided and not carried out.
const LOOPBACK_INDEX: u32 = 1;

/// Tunnels that a case may have, and one.
const TUNNELS_LOOKED_AT: usize = 32;

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
    /// What ports had forwarded and transmitted when that was last read.
    forwarded: BTreeMap<u16, u64>,
    transmitted: BTreeMap<u16, u64>,
}

impl Tier0 {
    /// Loads the programs over tables of their own, and gives the tables for an engine.
    pub(crate) fn load(
        hook: Hook,
        buckets: u32,
        sessions: u32,
        hash_seed: u64,
    ) -> Result<(Self, Regions), String> {
        let sizes = TableSizes { buckets, sessions };
        let fast_path =
            FastPath::load_unpinned(None, "conformance", sizes).map_err(|error| error.to_string())?;
        let regions = || fast_path.regions().map_err(|error| error.to_string());
        let (own, engine) = (regions()?, regions()?);
        // The same in every run and every mode, so that an engine alone makes the same choices.
        own.control.write(0, Control { hash_seed, ..own.control.read(0) });
        let (forwarded, transmitted) = (BTreeMap::new(), BTreeMap::new());
        Ok((Self { fast_path, regions: own, hook, hits: 0, forwarded, transmitted }, engine))
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
        let is_ipv6 = frame.get(12..14) == Some(&[0x86, 0xdd]);
        if frame.len() < if is_ipv6 { IPV6_FRAME_LENGTH_MIN } else { FRAME_LENGTH_MIN } {
            return Ok(None);
        }
        let run = match self.hook {
            Hook::Xdp => self.fast_path.run_xdp(&self.regions, in_port, frame),
            Hook::Tc => self.fast_path.run_tc(&self.regions, in_port, frame, SkbOptions::default()),
        };
        let run = run.map_err(|error| error.to_string())?;
        let mut left = Vec::new();
        // The ports that sent are looked for only where the port received and forwarded: a reading is a system call.
        let forwarded = self.counters(in_port)?.forwarded_packets;
        if changed(&mut self.forwarded, in_port, forwarded) {
            for port in ports {
                let transmitted = self.counters(*port)?.transmitted_packets;
                if changed(&mut self.transmitted, *port, transmitted) {
                    left.push(*port);
                }
            }
        }
        match left[..] {
            [] if run.packet == frame => Ok(None),
            [] => Err(format!("{:?} changed a packet that it hands to the engine", self.hook)),
            [port] => {
                self.hits += 1;
                let mut packet = run.packet;
                // TC leaves a tag beside the packet, where the stack would put it in on the way out.
                if self.hook == Hook::Tc
                    && let Some(identifier) = self.vlan_sent_by(port)?
                {
                    let [high, low] = identifier.to_be_bytes();
                    packet.splice(12..12, [0x81, 0x00, high, low]);
                }
                Ok(Some((port, packet)))
            }
            _ => Err(format!("{:?} counted one packet at several ports: {left:?}", self.hook)),
        }
    }

    /// The VLAN of the interface of `under` that has just sent.
    fn vlan_sent_by(&mut self, under: u16) -> Result<Option<u16>, String> {
        for number in 1..TUNNELS_LOOKED_AT {
            let entry = self.regions.tunnels.read(number);
            if entry.kind == KIND_VLAN && entry.under_port == under {
                let transmitted = self.counters(entry.port)?.transmitted_packets;
                if changed(&mut self.transmitted, entry.port, transmitted) {
                    return Ok(Some(entry.identifier as u16));
                }
            }
        }
        Ok(None)
    }

    fn counters(&self, port: u16) -> Result<PortCounters, String> {
        self.fast_path.port_counters(port).map_err(|error| error.to_string())
    }
}

/// Whether a port's counter is another than when this was last asked.
fn changed(seen: &mut BTreeMap<u16, u64>, port: u16, now: u64) -> bool {
    seen.insert(port, now).unwrap_or_default() != now
}
