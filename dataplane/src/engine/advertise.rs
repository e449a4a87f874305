//! Router advertisements: what each workload port is told of its network's router, when it asks and from time to time (RFC
//! 4861, section 6.2).
//!
//! A sweep looks at every port within [`SWEEP_TICKS`]. So a port that comes up, and a network whose advertisement changes,
//! need no hook: the sweep finds that the port was told something else, or nothing.

use std::net::Ipv6Addr;

use edgestack_abi::DropReason;

use super::commit::Hands;
use super::timers::TICKS_PER_SECOND;
use crate::address::MacAddress;
use crate::packet::Packet;
use crate::pipeline::Stage;
use crate::snapshot::{Port, Snapshot};
use crate::wire::router_discovery::{Advertisement, FRAME_LENGTH_MAX};

/// Within so many ticks every port is looked at.
const SWEEP_TICKS: u16 = 10;
/// Advertisements that nobody asked for, per tick.
const BATCH: usize = 64;
/// The first of them come faster, with this pause at most (RFC 4861, section 10).
const INITIAL_ADVERTISEMENTS: u8 = 3;
const INITIAL_INTERVAL_SECONDS: u16 = 16;
/// Pause between two that are for all.
const PAUSE_TICKS: u32 = 3 * TICKS_PER_SECOND;
/// Answers to solicitations that one port gets in a second.
const ANSWERS_PER_SECOND_AND_PORT: u32 = 10;

/// What the ports were told.
#[derive(Debug)]
pub(super) struct Advertisers {
    ports: Vec<Advertiser>,
    /// The port that the sweep comes to next.
    position: u16,
    /// One past the highest port that there ever was: the sweep ends there.
    end: u16,
}

/// What one port was told.
#[derive(Clone, Copy, Debug, Default)]
struct Advertiser {
    told: Option<Told>,
    /// When it is told again.
    due_ticks: u32,
    /// When all were told last.
    sent_ticks: Option<u32>,
    initial_left: u8,
}

/// What is told, to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    /// Hash of the port's id: numbers are used again.
    port: u64,
    /// The router.
    source: MacAddress,
    lifetime_seconds: u16,
    fingerprint: u64,
}

impl Advertisers {
    pub(super) fn new(ports: u16) -> Self {
        Self { ports: vec![Advertiser::default(); usize::from(ports)], position: 1, end: 1 }
    }
}

/// How long the gateway is a default router of a port's network.
fn lifetime_seconds(snapshot: &Snapshot, port: &Port) -> u16 {
    let network = &snapshot.networks[port.network];
    let advertised = network.services.advertisement.as_ref().filter(|_| network.router.is_some());
    advertised.map_or(0, |advertisement| advertisement.lifetime_seconds)
}

fn is_due(due_ticks: u32, now_ticks: u32) -> bool {
    now_ticks.wrapping_sub(due_ticks) as i32 >= 0
}

impl Hands<'_> {
    /// Answers a workload that asks for routers.
    pub(super) fn solicited(&mut self, packet: Packet, host: Option<(Ipv6Addr, MacAddress)>) {
        let number = packet.in_port;
        let rate = self.slow.service_rates.get_mut(usize::from(number));
        let is_too_fast =
            rate.is_some_and(|rate| !rate.solicitations.admit(self.now_ticks, ANSWERS_PER_SECOND_AND_PORT));
        if is_too_fast {
            return self.discard(packet, Stage::Respond, DropReason::ServiceRate);
        }
        self.pool.free(packet);
        let snapshot = self.engine.snapshot.load();
        let Some(port) = snapshot.port(number) else { return };
        if host.is_some() {
            return self.advertise(&snapshot, port, host);
        }
        let now_ticks = self.now_ticks;
        let Some(advertiser) = self.slow.advertisers.ports.get_mut(usize::from(number)) else { return };
        match advertiser.sent_ticks.map(|sent| sent.wrapping_add(PAUSE_TICKS)) {
            // Section 6.2.6: those that are for all have a pause between.
            Some(allowed) if !is_due(allowed, now_ticks) => advertiser.due_ticks = allowed,
            _ => {
                advertiser.sent_ticks = Some(now_ticks);
                self.advertise(&snapshot, port, None);
            }
        }
    }

    /// Looks at a part of the ports and tells those whose time has come.
    pub(super) fn advertise_due(&mut self) {
        let snapshot = self.engine.snapshot.load();
        let end = self.slow.advertisers.end.max(snapshot.ports_end());
        self.slow.advertisers.end = end;
        let mut sent = 0;
        for _ in 0..end.div_ceil(SWEEP_TICKS) {
            if sent >= BATCH {
                return; // The next tick goes on from here.
            }
            let number = self.slow.advertisers.position;
            self.slow.advertisers.position = if number + 1 < end { number + 1 } else { 1 };
            let Some(mut advertiser) = self.slow.advertisers.ports.get(usize::from(number)).copied() else {
                continue;
            };
            sent += self.visit(&snapshot, number, &mut advertiser);
            self.slow.advertisers.ports[usize::from(number)] = advertiser;
        }
    }

    /// Looks at one port; how much it was sent.
    fn visit(&mut self, snapshot: &Snapshot, number: u16, advertiser: &mut Advertiser) -> usize {
        // Workloads of other hosts hear of their own gateway.
        let is_here = |port: &&Port| port.workload.is_some() && port.remote.is_none();
        let port = snapshot.port(number).filter(is_here);
        let services = |port: &Port| &snapshot.networks[port.network].services;
        let offer = port.and_then(|port| Some((port, services(port).advertisement.as_ref()?)));
        if !self.engine.is_up(number) {
            *advertiser = Advertiser::default();
            return 0;
        }
        let offered = offer.map(|(port, advertisement)| Told {
            port: self.engine.ports.entry(number).id_hash,
            source: snapshot.gateway_mac(port.network),
            lifetime_seconds: lifetime_seconds(snapshot, port),
            fingerprint: advertisement.fingerprint,
        });
        let before = advertiser.told;
        let mut sent = 0;
        if before != offered {
            // Section 6.2.5: hosts are not left with a router that is none any more.
            let is_kept = |told: &Told| offered.is_some_and(|offer| offer.source == told.source);
            if let Some(former) = before.filter(|told| told.lifetime_seconds > 0 && !is_kept(told)) {
                self.withdraw(number, former.source);
                sent += 1;
            }
            *advertiser = Advertiser {
                told: offered,
                due_ticks: self.now_ticks,
                initial_left: INITIAL_ADVERTISEMENTS,
                sent_ticks: advertiser.sent_ticks,
            };
        }
        if let Some((port, advertisement)) = offer.filter(|_| is_due(advertiser.due_ticks, self.now_ticks)) {
            self.advertise(snapshot, port, None);
            sent += 1;
            advertiser.sent_ticks = Some(self.now_ticks);
            advertiser.initial_left = advertiser.initial_left.saturating_sub(1);
            let longest = advertisement.interval_seconds;
            let longest =
                if advertiser.initial_left > 0 { longest.min(INITIAL_INTERVAL_SECONDS) } else { longest };
            // Section 6.2.4: at random between a third and all of it, so that hosts do not follow in step.
            let longest_ticks = u32::from(longest) * TICKS_PER_SECOND;
            let shortest_ticks = (longest_ticks / 3).max(PAUSE_TICKS);
            let pause_ticks = shortest_ticks + self.slow.random() % (longest_ticks - shortest_ticks + 1);
            advertiser.due_ticks = self.now_ticks.wrapping_add(pause_ticks);
        }
        sent
    }

    /// Sends what holds for a port to one host, or to all.
    fn advertise(&mut self, snapshot: &Snapshot, port: &Port, host: Option<(Ipv6Addr, MacAddress)>) {
        let Some(advertised) = &snapshot.networks[port.network].services.advertisement else { return };
        let advertisement = Advertisement {
            managed: advertised.managed,
            other: advertised.other,
            lifetime_seconds: lifetime_seconds(snapshot, port),
            options: &advertised.options,
        };
        self.send_advertisement(port.number, &advertisement, snapshot.gateway_mac(port.network), host);
    }

    /// Tells all hosts of a port that a router is none any more.
    fn withdraw(&mut self, port: u16, source: MacAddress) {
        let advertisement = Advertisement { managed: false, other: false, lifetime_seconds: 0, options: &[] };
        self.send_advertisement(port, &advertisement, source, None);
    }

    fn send_advertisement(
        &mut self,
        port: u16,
        advertisement: &Advertisement<'_>,
        source: MacAddress,
        host: Option<(Ipv6Addr, MacAddress)>,
    ) {
        let mut buffer = [0; FRAME_LENGTH_MAX];
        let length = advertisement.write(&mut buffer, source, host);
        self.send_frame(port, &buffer[..length]);
    }
}
