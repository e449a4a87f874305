//! Live traces: how packets that really passed were decided on, for `edgectl network-cli trace --live`.
//!
//! While one runs, tier 0 hands the packets of the ports that it looks at to the engine, as for a capture, and the engine
//! takes those that its filter wants through the pipeline with the record on, established flows too. A trace is bounded by a
//! number of packets and a rate; over the rate packets pass as ever. Without a live trace the cost is one load per batch.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use crossbeam::channel::{Receiver, Sender, bounded};

use crate::engine::TICKS_PER_SECOND;
use crate::inspect::{LiveTraceRequest, LiveTraceView};
use crate::wire::headers::{self, Network, Transport};
use crate::wire::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, protocol_number};

/// Live traces at one time.
pub const LIVE_TRACES_MAX: usize = 4;
/// Most packets of one live trace.
pub const LIVE_TRACE_PACKETS_MAX: u64 = 1000;
/// Packets of one where the request does not say.
pub const LIVE_TRACE_PACKETS_DEFAULT: u64 = 10;
/// How long one lasts at most.
pub const LIVE_TRACE_LASTS_MAX: Duration = Duration::from_mins(1);
/// Packets that one takes in a second.
const PACKETS_PER_SECOND_MAX: u32 = 200;
/// Records that wait for the reader.
const QUEUE_RECORDS: usize = 256;

/// Why a live trace could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiveTraceError {
    /// No such port.
    #[error("port: there is no port `{0}`")]
    UnknownPort(String),
    /// The protocol is none.
    #[error("protocol: `{0}` is no protocol that has a name here; write its number, 0 to 255")]
    UnknownProtocol(String),
    /// The number of packets is out of bounds.
    #[error("count: {0} is not between 1 and {LIVE_TRACE_PACKETS_MAX}")]
    Count(u64),
    /// The limit of live traces is reached.
    #[error("{LIVE_TRACES_MAX} live traces are running already; end one of them first")]
    TooMany,
}

/// The reading end of a live trace, which ends when it is dropped.
#[derive(Debug)]
pub struct LiveTrace {
    records: Receiver<LiveTraceView>,
    _reader: Arc<()>,
}

impl Deref for LiveTrace {
    type Target = Receiver<LiveTraceView>;

    fn deref(&self) -> &Self::Target {
        &self.records
    }
}

/// What packets a live trace wants. Everything left out is anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Filter {
    in_port: Option<u16>,
    protocols: Vec<u8>,
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
}

/// One live trace.
#[derive(Debug)]
pub(crate) struct Tap {
    filter: Filter,
    reader: Weak<()>,
    /// Packets still wanted.
    remaining: AtomicU64,
    /// The second that `taken` counts in. Both are written under the slow-path lock.
    second: AtomicU32,
    taken: AtomicU32,
    lost_packets: AtomicU64,
    queue: Sender<LiveTraceView>,
}

/// The ports that live traces look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    /// Those that are named.
    pub(crate) ports: Vec<u16>,
    /// One of them names none.
    pub(crate) any: bool,
}

/// The live traces of an engine.
#[derive(Debug, Default)]
pub(crate) struct LiveTraces {
    taps: ArcSwap<Vec<Arc<Tap>>>,
}

impl LiveTraces {
    /// Starts a live trace of packets that come in by `in_port`, or by any.
    pub(crate) fn start(
        &self,
        request: &LiveTraceRequest,
        in_port: Option<u16>,
    ) -> Result<LiveTrace, LiveTraceError> {
        let count = request.count.unwrap_or(LIVE_TRACE_PACKETS_DEFAULT);
        if !(1..=LIVE_TRACE_PACKETS_MAX).contains(&count) {
            return Err(LiveTraceError::Count(count));
        }
        let filter = Filter { in_port, ..Filter::new(request)? };
        if self.taps.load().len() >= LIVE_TRACES_MAX {
            return Err(LiveTraceError::TooMany);
        }
        let (queue, records) = bounded(QUEUE_RECORDS);
        let reader = Arc::new(());
        let tap = Arc::new(Tap {
            filter,
            reader: Arc::downgrade(&reader),
            remaining: count.into(),
            second: 0.into(),
            taken: 0.into(),
            lost_packets: 0.into(),
            queue,
        });
        self.taps.rcu(|taps| taps.iter().chain([&tap]).cloned().collect::<Vec<_>>());
        Ok(LiveTrace { records, _reader: reader })
    }

    /// Those that run.
    #[inline]
    pub(crate) fn taps(&self) -> Guard<Arc<Vec<Arc<Tap>>>> {
        self.taps.load()
    }

    /// Ends those of `port`, whose number may soon be another port's.
    pub(crate) fn end(&self, port: u16) {
        self.keep(|tap| tap.filter.in_port != Some(port));
    }

    /// Forgets those that are over, which closes their queues; the ports that are still looked at.
    pub(crate) fn reap(&self) -> Watched {
        self.keep(|tap| !tap.is_over());
        let taps = self.taps.load();
        let ports = taps.iter().filter_map(|tap| tap.filter.in_port).collect();
        Watched { ports, any: taps.iter().any(|tap| tap.filter.in_port.is_none()) }
    }

    fn keep(&self, is_kept: impl Fn(&Tap) -> bool) {
        if self.taps.load().iter().any(|tap| !is_kept(tap)) {
            self.taps.rcu(|taps| taps.iter().filter(|tap| is_kept(tap)).cloned().collect::<Vec<_>>());
        }
    }
}

impl Tap {
    /// Whether a packet is to be recorded.
    pub(crate) fn wants(&self, in_port: u16, frame: &[u8], now_ticks: u32) -> bool {
        let second = now_ticks / TICKS_PER_SECOND;
        let has_room = self.second.load(Ordering::Relaxed) != second
            || self.taken.load(Ordering::Relaxed) < PACKETS_PER_SECOND_MAX;
        has_room && !self.is_over() && self.filter.wants(in_port, frame)
    }

    /// As [`Self::wants`], and counts the packet. Called under the slow-path lock.
    pub(crate) fn take(&self, in_port: u16, frame: &[u8], now_ticks: u32) -> bool {
        if !self.wants(in_port, frame, now_ticks) {
            return false;
        }
        let second = now_ticks / TICKS_PER_SECOND;
        let before = if self.second.swap(second, Ordering::Relaxed) == second {
            self.taken.load(Ordering::Relaxed)
        } else {
            0
        };
        self.taken.store(before + 1, Ordering::Relaxed);
        self.remaining.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Hands a record to the reader; one that is too slow loses it and learns how many.
    pub(crate) fn tell(&self, record: LiveTraceView) {
        let lost_packets = self.lost_packets.load(Ordering::Relaxed);
        if self.queue.try_send(LiveTraceView { lost_packets, ..record }).is_err() {
            self.remaining.fetch_add(1, Ordering::Relaxed);
            self.lost_packets.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The number is reached or nobody reads.
    fn is_over(&self) -> bool {
        self.remaining.load(Ordering::Relaxed) == 0 || self.reader.strong_count() == 0
    }
}

impl Filter {
    fn new(request: &LiveTraceRequest) -> Result<Self, LiveTraceError> {
        let protocols = match request.protocol.as_deref() {
            None => Vec::new(),
            Some(name) => match protocol_number(name) {
                Some(PROTOCOL_ICMP) => vec![PROTOCOL_ICMP, PROTOCOL_ICMPV6],
                Some(number) => vec![number],
                None => return Err(LiveTraceError::UnknownProtocol(name.to_owned())),
            },
        };
        Ok(Self {
            in_port: None,
            protocols,
            source: request.source,
            destination: request.destination,
            source_port: request.source_port,
            destination_port: request.destination_port,
        })
    }

    fn wants(&self, in_port: u16, frame: &[u8]) -> bool {
        if self.in_port.is_some_and(|own| own != in_port) {
            return false;
        }
        let Self { in_port: _, protocols, source, destination, source_port, destination_port } = self;
        let has_ports = source_port.is_some() || destination_port.is_some();
        if protocols.is_empty() && source.is_none() && destination.is_none() && !has_ports {
            return true;
        }
        let Ok(headers::Headers { network: Network::Ip(ip), .. }) = headers::parse(frame) else {
            return false;
        };
        let ports = match ip.transport {
            Transport::Tcp { source_port, destination_port, .. }
            | Transport::Udp { source_port, destination_port }
            | Transport::UdpLite { source_port, destination_port } => Some((source_port, destination_port)),
            Transport::Sctp(packet) => Some((packet.source_port, packet.destination_port)),
            Transport::Other
            | Transport::IcmpEcho { .. }
            | Transport::IcmpError { .. }
            | Transport::LaterFragment => None,
        };
        (protocols.is_empty() || protocols.contains(&ip.protocol))
            && source.is_none_or(|source| source == ip.source)
            && destination.is_none_or(|destination| destination == ip.destination)
            && source_port.is_none_or(|port| ports.is_some_and(|(own, _)| own == port))
            && destination_port.is_none_or(|port| ports.is_some_and(|(_, own)| own == port))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        LIVE_TRACES_MAX, LiveTraceError, LiveTraces, PACKETS_PER_SECOND_MAX, QUEUE_RECORDS, Watched,
    };
    use crate::engine::TICKS_PER_SECOND;
    use crate::inspect::{LiveTraceRequest, LiveTraceView, TraceReport};

    /// UDP from 10.0.0.5:4000 to 10.0.0.9:53.
    fn frame() -> Vec<u8> {
        let mut frame = vec![0; 42];
        frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17]);
        frame[26..34].copy_from_slice(&[10, 0, 0, 5, 10, 0, 0, 9]);
        frame[34..40].copy_from_slice(&[15, 160, 0, 53, 0, 8]);
        crate::wire::write_ipv4_checksum(&mut frame[14..], 20);
        frame
    }

    fn record() -> LiveTraceView {
        let report = TraceReport {
            verdict: String::new(),
            reason: None,
            out_port: None,
            packet_out: None,
            steps: vec![],
        };
        LiveTraceView { in_port: String::new(), packet: String::new(), lost_packets: 0, report }
    }

    #[test]
    fn a_filter_takes_what_it_names() {
        let yes = [
            LiveTraceRequest::default(),
            LiveTraceRequest { protocol: Some("udp".into()), ..LiveTraceRequest::default() },
            LiveTraceRequest {
                source: "10.0.0.5".parse().ok(),
                destination: "10.0.0.9".parse().ok(),
                source_port: Some(4000),
                destination_port: Some(53),
                ..LiveTraceRequest::default()
            },
        ];
        let no = [
            LiveTraceRequest { protocol: Some("icmp".into()), ..LiveTraceRequest::default() },
            LiveTraceRequest { source: "10.0.0.9".parse().ok(), ..LiveTraceRequest::default() },
            LiveTraceRequest { destination_port: Some(4000), ..LiveTraceRequest::default() },
        ];
        for (requests, expected) in [(&yes[..], true), (&no[..], false)] {
            for request in requests {
                let traces = LiveTraces::default();
                let _reader = traces.start(request, Some(3)).unwrap();
                assert_eq!(traces.taps()[0].wants(3, &frame(), 0), expected, "{request:?}");
                assert!(!traces.taps()[0].wants(4, &frame(), 0), "another port");
            }
        }
        let traces = LiveTraces::default();
        let _reader = traces.start(&LiveTraceRequest::default(), None).unwrap();
        assert!(traces.taps()[0].wants(4, &[0; 3], 0), "what is no packet, too");
    }

    #[test]
    fn it_ends_by_number_and_keeps_to_its_rate() {
        let traces = LiveTraces::default();
        let request = LiveTraceRequest { count: Some(1000), ..LiveTraceRequest::default() };
        let reader = traces.start(&request, Some(1)).unwrap();
        let tap = std::sync::Arc::clone(&traces.taps()[0]);
        let taken = |second: u32| {
            (0..300).filter(|_| tap.take(1, &frame(), second * TICKS_PER_SECOND)).count() as u32
        };
        assert_eq!((taken(5), taken(5), taken(6)), (PACKETS_PER_SECOND_MAX, 0, PACKETS_PER_SECOND_MAX));
        assert_eq!((taken(7), taken(8), taken(9), taken(10)), (200, 200, 200, 0));
        assert_eq!(traces.reap(), Watched::default());
        drop(tap);
        assert!(reader.recv().is_err(), "the queue is closed");
    }

    #[test]
    fn a_slow_reader_learns_what_it_lost() {
        let traces = LiveTraces::default();
        let reader =
            traces.start(&LiveTraceRequest { count: Some(1000), ..LiveTraceRequest::default() }, None);
        let reader = reader.unwrap();
        let tap = std::sync::Arc::clone(&traces.taps()[0]);
        (0..QUEUE_RECORDS + 3).for_each(|_| tap.tell(record()));
        assert_eq!(reader.try_iter().count(), QUEUE_RECORDS);
        tap.tell(record());
        assert_eq!(reader.recv().unwrap().lost_packets, 3);
    }

    #[test]
    fn there_are_only_so_many_and_they_end_with_reader_and_port() {
        let traces = LiveTraces::default();
        let start = |port| traces.start(&LiveTraceRequest::default(), port);
        let readers: Vec<_> = (0..LIVE_TRACES_MAX as u16).map(|port| start(Some(port)).unwrap()).collect();
        assert_eq!(start(None).unwrap_err(), LiveTraceError::TooMany);
        traces.end(2);
        assert_eq!(traces.reap().ports, [0, 1, 3]);
        drop(readers);
        assert_eq!(traces.reap(), Watched::default());
        let many = LiveTraceRequest { count: Some(1001), ..LiveTraceRequest::default() };
        assert_eq!(traces.start(&many, None).unwrap_err(), LiveTraceError::Count(1001));
        let odd = LiveTraceRequest { protocol: Some("igmp".into()), ..LiveTraceRequest::default() };
        assert_eq!(traces.start(&odd, None).unwrap_err(), LiveTraceError::UnknownProtocol("igmp".into()));
    }
}
