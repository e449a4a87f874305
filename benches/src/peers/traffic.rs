//! The frames of the bench: made, counted and looked at by kernel programs (`ebpf/lab`).

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{Array, DevMap, PerCpuArray, PerCpuValues};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use super::BenchError;
use super::bed::{self, Bed};
use super::layout::{self, Sink, Source};

/// Frames that one call of the kernel sends; between two calls the source looks whether it should stop.
const FRAMES_PER_CALL: u32 = 1 << 19;
/// Frames that the source hands over together.
const FRAMES_PER_BATCH: u32 = 64;

#[expect(unsafe_code, reason = "records are shared with the kernel as bytes")]
mod pod {
    use super::{Sink, Source};
    // SAFETY: `repr(C)` without padding, valid for any bytes.
    unsafe impl aya::Pod for Source {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Sink {}
}

/// The loaded programs.
#[derive(Debug)]
pub struct Traffic {
    programs: Ebpf,
}

/// What went through a gateway while it was measured.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Packets per second that the sink received.
    pub received: f64,
    /// Packets per second that the source sent, those that the gateway's queue had no room for included.
    pub sent: f64,
}

/// What the sink saw during a census.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Different pairs of destination and translated source port.
    pub flows: u64,
    /// Packets with a wrong checksum.
    pub broken: u64,
    /// Rounds of a second that it took.
    pub rounds: u32,
}

impl Traffic {
    /// Loads the programs that `make ebpf` built.
    pub fn load() -> Result<Self, BenchError> {
        let path = object();
        let mut programs = EbpfLoader::new()
            .load_file(&path)
            .map_err(BenchError::kernel(format!("load {} (run make ebpf)", path.display())))?;
        for name in [layout::PROGRAM_SOURCE, layout::PROGRAM_SINK, layout::PROGRAM_REDIRECT] {
            program(&mut programs, name)?.load().map_err(BenchError::kernel(format!("load {name}")))?;
        }
        Ok(Self { programs })
    }

    /// Attaches the sink to a bed.
    pub fn attach_sink(&mut self, bed: &Bed) -> Result<(), BenchError> {
        let programs = &mut self.programs;
        bed.sink.enter(|| {
            let sink = program(programs, layout::PROGRAM_SINK)?;
            sink.attach("eth0", XdpMode::Driver).map_err(BenchError::kernel("attach the sink"))
        })??;
        Ok(())
    }

    /// Makes the gateway of a bed one that redirects every frame as it is.
    pub fn attach_redirect(&mut self, bed: &Bed) -> Result<(), BenchError> {
        let programs = &mut self.programs;
        bed.gateway.enter(|| {
            let outside = interface_index(&bed.outside())?;
            let mut devices: DevMap<_> = map(programs, layout::REDIRECT)?;
            devices.set(0, outside, None, 0).map_err(BenchError::kernel("set the redirect's target"))?;
            let redirect = program(programs, layout::PROGRAM_REDIRECT)?;
            redirect.attach(&bed.inside(), XdpMode::Driver).map_err(BenchError::kernel("attach the redirect"))
        })??;
        Ok(())
    }

    /// Sends `flows` flows through the gateway for `warm` and `measured`, and counts during the latter. Frames go
    /// to the MAC address `gateway_mac`.
    pub fn measure(
        &mut self,
        bed: &Bed,
        gateway_mac: [u8; 6],
        flows: u32,
        warm: Duration,
        measured: Duration,
    ) -> Result<Sample, BenchError> {
        self.set_source(flows, gateway_mac)?;
        let stop = AtomicBool::new(false);
        let source: &Xdp =
            self.programs.program(layout::PROGRAM_SOURCE).expect("loaded").try_into().expect("XDP");
        let sink = PerCpuArray::try_from(self.programs.map(layout::SINK).expect("declared"))
            .map_err(BenchError::kernel("open the sink's counters"))?;
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| bed.source.enter(|| send(source, &stop)));
            let counts =
                || -> Result<(Instant, u64), BenchError> { Ok((Instant::now(), received(&sink)?.packets)) };
            let window = (|| -> Result<_, BenchError> {
                std::thread::sleep(warm);
                let start = counts()?;
                std::thread::sleep(measured);
                Ok((start, counts()?))
            })();
            stop.store(true, Ordering::Release);
            let sent = sender.join().expect("the source does not panic")??;
            let (start, end) = window?;
            let seconds = (end.0 - start.0).as_secs_f64();
            Ok(Sample { received: (end.1 - start.1) as f64 / seconds, sent })
        })
    }

    /// Sends every flow round after round, until the sink has seen all of them or `rounds` of a second are over, and has
    /// the sink look at every packet.
    pub fn census(
        &mut self,
        bed: &Bed,
        gateway_mac: [u8; 6],
        flows: u32,
        rounds: u32,
    ) -> Result<Census, BenchError> {
        let mut words: Array<_, u64> = map(&mut self.programs, layout::CENSUS)?;
        for index in 0..layout::CENSUS_WORDS {
            words.set(index, 0, 0).map_err(BenchError::kernel("clear the census"))?;
        }
        let before = self.sink()?.broken;
        let mut census = Census { flows: 0, broken: 0, rounds: 0 };
        while census.rounds < rounds && census.flows < u64::from(flows) {
            self.set_census(true)?;
            let result = self.measure(bed, gateway_mac, flows, Duration::ZERO, Duration::from_secs(1));
            self.set_census(false)?;
            result?;
            census.rounds += 1;
            census.flows = self.seen()?;
        }
        census.broken = self.sink()?.broken - before;
        Ok(census)
    }

    fn seen(&mut self) -> Result<u64, BenchError> {
        let words: Array<_, u64> = map(&mut self.programs, layout::CENSUS)?;
        let mut seen = 0;
        for word in words.iter() {
            seen += u64::from(word.map_err(BenchError::kernel("read the census"))?.count_ones());
        }
        Ok(seen)
    }

    fn set_source(&mut self, flows: u32, gateway_mac: [u8; 6]) -> Result<(), BenchError> {
        let mut ethernet = [0; 12];
        ethernet[..6].copy_from_slice(&gateway_mac);
        ethernet[6..].copy_from_slice(&parse_mac(bed::SOURCE_MAC)?);
        let mut sources: Array<_, Source> = map(&mut self.programs, layout::SOURCE)?;
        let last = sources.get(&0, 0).map_err(BenchError::kernel("read the source"))?;
        let record = Source {
            flows,
            // Goes on where it stopped, so that several rounds meet every flow.
            next: if last.next < flows { last.next } else { 0 },
            first_host: Ipv4Addr::from(bed::FIRST_HOST).to_bits(),
            first_destination: Ipv4Addr::from(bed::FIRST_DESTINATION).to_bits(),
            ethernet,
        };
        sources.set(0, record, 0).map_err(BenchError::kernel("configure the source"))
    }

    fn set_census(&mut self, enabled: bool) -> Result<(), BenchError> {
        let mut switch: Array<_, u32> = map(&mut self.programs, layout::CENSUS_ENABLED)?;
        switch.set(0, u32::from(enabled), 0).map_err(BenchError::kernel("switch the census"))
    }

    fn sink(&mut self) -> Result<Sink, BenchError> {
        let sink: PerCpuArray<_, Sink> = map(&mut self.programs, layout::SINK)?;
        received(&sink)
    }
}

/// Sends until told to stop; returns the packets per second sent.
fn send(source: &Xdp, stop: &AtomicBool) -> Result<f64, BenchError> {
    bed::claim_traffic_core()?;
    let index = interface_index("eth0")?;
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let mut context = [0; 24];
    context[4..8].copy_from_slice(&(layout::FRAME_LENGTH as u32).to_ne_bytes());
    context[12..16].copy_from_slice(&index.to_ne_bytes());
    let frame = [0; layout::FRAME_LENGTH];
    let started = Instant::now();
    let mut frames: u64 = 0;
    while !stop.load(Ordering::Acquire) {
        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame);
        options.ctx_in = Some(&context);
        options.repeat = FRAMES_PER_CALL;
        options.attrs = TestRunAttrs::new().xdp_live_frames(FRAMES_PER_BATCH);
        source.test_run(options).map_err(BenchError::kernel("run the source"))?;
        frames += u64::from(FRAMES_PER_CALL);
    }
    Ok(frames as f64 / started.elapsed().as_secs_f64())
}

fn received<T: std::borrow::Borrow<aya::maps::MapData>>(
    sink: &PerCpuArray<T, Sink>,
) -> Result<Sink, BenchError> {
    let values: PerCpuValues<Sink> =
        sink.get(&0, 0).map_err(BenchError::kernel("read the sink's counters"))?;
    Ok(values.iter().fold(Sink::default(), |sum, value| Sink {
        packets: sum.packets + value.packets,
        broken: sum.broken + value.broken,
    }))
}

fn program<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, BenchError> {
    let program =
        programs.program_mut(name).ok_or_else(|| BenchError::Invalid(format!("no program {name}")))?;
    program.try_into().map_err(BenchError::kernel(format!("program {name}")))
}

fn map<'a, T>(programs: &'a mut Ebpf, name: &str) -> Result<T, BenchError>
where
    T: TryFrom<&'a mut aya::maps::Map>,
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let map = programs.map_mut(name).ok_or_else(|| BenchError::Invalid(format!("no map {name}")))?;
    T::try_from(map).map_err(BenchError::kernel(format!("map {name}")))
}

/// Index of an interface of the caller's namespace.
fn interface_index(interface: &str) -> Result<u32, BenchError> {
    let output =
        edgestack_tests::run(&mut edgestack_tests::command::words(&format!("ip -o link show {interface}")))?;
    let index = output.split(':').next().and_then(|number| number.parse().ok());
    index.ok_or_else(|| BenchError::Invalid(format!("no index of {interface} in {output}")))
}

/// The six bytes of a MAC address as `ip` prints it.
pub fn parse_mac(text: &str) -> Result<[u8; 6], BenchError> {
    let mut bytes = [0; 6];
    let mut parts = text.trim().split(':');
    for byte in &mut bytes {
        let part = parts.next().and_then(|part| u8::from_str_radix(part, 16).ok());
        *byte = part.ok_or_else(|| BenchError::Invalid(format!("`{text}` is no MAC address")))?;
    }
    Ok(bytes)
}

fn object() -> PathBuf {
    edgestack_tests::daemon::ebpf_object().with_file_name("edgestack-lab.o")
}
