//! Random packets of hosts that talk to each other: new connections, answers to what arrived, more of the same, and
//! now and then something broken.

use std::collections::VecDeque;
use std::net::IpAddr;

use edgestack_dataplane::config::{Config, PortKind};

use super::random::Random;
use super::segment::{
    ABORT, ACK, DATA, FIN, INIT, NOBODY, PSH, RST, SHUTDOWN, SYN, Segment, Transport, dhcp6, resolved,
    same_family,
};
use super::tunnel::Tunnel;
use crate::case::Host;

/// Answers that wait to be sent.
const ANSWERS_MAX: usize = 256;
/// Packets that may be sent again.
const RECENT_MAX: usize = 512;
/// Ports that hosts use: few, so that connections meet.
const FIRST_PORT: u64 = 2000;
const PORTS: u64 = 8;
/// Bytes above the transport header.
const PAYLOADS: [usize; 8] = [0, 1, 18, 64, 100, 512, 1253, 1472];
/// One packet in so many asks by DHCPv6: a Solicit, a Request, a Confirm, a Release, an Information-request.
const DHCP_EVERY: u64 = 200;
const DHCP_KINDS: [u8; 5] = [1, 3, 4, 8, 11];
/// Protocols without ports: GRE, ESP and one without a name.
const OTHERS: [u8; 3] = [47, 50, 253];
/// The uplink.
const UPLINK: &str = "wan";

/// Somebody who sends.
struct Station {
    port: String,
    /// What its subnet is, so that two of one are known; empty outside.
    network: String,
    mac: [u8; 6],
    addresses: Vec<IpAddr>,
    /// Whom it sends to for other networks, one of them.
    gateways: Vec<[u8; 6]>,
    /// The way from its host, where that is another.
    tunnel: Option<Tunnel>,
}

/// The traffic of a site.
pub(super) struct Traffic {
    stations: Vec<Station>,
    /// All addresses that mean something.
    destinations: Vec<IpAddr>,
    answers: VecDeque<(String, Vec<u8>)>,
    recent: VecDeque<(String, Segment)>,
}

impl Traffic {
    /// The hosts of a configuration and those outside.
    pub(super) fn new(config: &Config, hosts: &[Host]) -> Self {
        let mut stations = Vec::new();
        let mut destinations: Vec<IpAddr> = NOBODY.to_vec();
        for port in &config.ports {
            let PortKind::Workload(workload) = &port.kind else { continue };
            let routers = config.routers.iter().filter(|router| router.networks.contains(&port.network));
            let mut addresses = vec![IpAddr::V4(workload.ip_address)];
            addresses.extend(workload.ipv6_address.map(IpAddr::V6));
            destinations.extend(&addresses);
            let tunnel =
                workload.peer.as_ref().and_then(|peer| tunnel_from(config, hosts, peer, &port.network));
            stations.push(Station {
                tunnel,
                port: if tunnel.is_some() { UPLINK.to_owned() } else { port.id.clone() },
                network: port.network.clone(),
                mac: workload.mac_address.0,
                addresses,
                gateways: routers.map(|router| router.mac_address.0).collect(),
            });
        }
        for host in hosts {
            let mut addresses = vec![IpAddr::V4(host.ip_address)];
            addresses.extend(host.ipv6_address.map(IpAddr::V6));
            destinations.extend(&addresses);
            stations.push(Station {
                port: UPLINK.to_owned(),
                network: String::new(),
                mac: host.mac_address.0,
                addresses,
                gateways: config.routers.iter().map(|router| router.mac_address.0).collect(),
                tunnel: None,
            });
        }
        // What somebody else is the way to.
        let routes = config.routers.iter().flat_map(|router| &router.routes);
        destinations.extend(routes.map(|route| within(route.destination.address())));
        destinations.extend(config.networks.iter().filter_map(|network| network.gateway_ip).map(IpAddr::V4));
        destinations
            .extend(config.networks.iter().filter_map(|network| network.ipv6_gateway_ip).map(IpAddr::V6));
        destinations.extend(config.floating_ips.iter().map(|object| IpAddr::V4(object.floating_ip)));
        destinations.extend(config.load_balancers.iter().flat_map(|object| [object.vip; 3]));
        let externals = config.routers.iter().filter_map(|router| router.external.as_ref());
        destinations.extend(externals.map(|external| IpAddr::V4(external.ip_address)));
        destinations.extend(
            config.nat_pools.iter().flat_map(|pool| &pool.addresses).map(|address| IpAddr::V4(*address)),
        );
        Self { stations, destinations, answers: VecDeque::new(), recent: VecDeque::new() }
    }

    /// A frame, and the port that it comes in by.
    pub(super) fn next(&mut self, random: &mut Random) -> (String, Vec<u8>) {
        let answer = if random.below(10) < 3 { self.answers.pop_front() } else { None };
        let (port, mut frame) = answer.unwrap_or_else(|| {
            if random.one_in(DHCP_EVERY) {
                let station = random.choose(&self.stations);
                return (station.port.clone(), dhcp6(station.mac, *random.choose(&DHCP_KINDS)));
            }
            let is_fresh = self.recent.is_empty() || random.below(10) < 2;
            let (port, segment) = if is_fresh { self.fresh(random) } else { self.again(random) };
            let frame = segment.encode();
            self.remember(port.clone(), segment);
            (port, frame)
        });
        if random.one_in(60) {
            damage(&mut frame, random);
        }
        (port, frame)
    }

    /// A frame left by a port: whoever is there answers.
    pub(super) fn arrived(&mut self, port: &str, frame: &[u8], random: &mut Random) {
        if self.answers.len() >= ANSWERS_MAX {
            self.answers.pop_front();
        }
        let owner = self.stations.iter().find(|station| station.port == port && station.tunnel.is_none());
        if let Some(answer) = owner.and_then(|owner| resolved(frame, owner.mac)) {
            // Sooner than anything else: what is resolved would wait for it.
            self.answers.push_front((port.to_owned(), answer));
            return;
        }
        let Some(segment) = Segment::decode(frame) else { return };
        if random.one_in(40) {
            let (kind, code) = *random.choose(&[(3, 4), (3, 1), (3, 3), (11, 0), (4, 0)]);
            self.answers.push_back((port.to_owned(), segment.error(kind, code)));
        } else if let Some(answer) = segment.answer().filter(|_| random.below(10) < 8) {
            self.answers.push_back((port.to_owned(), answer.encode()));
            self.remember(port.to_owned(), answer);
        }
    }

    fn remember(&mut self, port: String, segment: Segment) {
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((port, segment));
    }

    /// The first packet of some connection.
    fn fresh(&self, random: &mut Random) -> (String, Segment) {
        let station = random.choose(&self.stations);
        let source = *random.choose(&station.addresses);
        let choices: Vec<IpAddr> =
            self.destinations.iter().copied().filter(|address| same_family(*address, source)).collect();
        let destination = *random.choose(&choices);
        let neighbour = self.stations.iter().find(|other| {
            other.network == station.network
                && !station.network.is_empty()
                && other.addresses.contains(&destination)
        });
        let gateway = || station.gateways.first().map_or([2; 6], |_| *gateway_for(station, destination));
        let port = |random: &mut Random| (FIRST_PORT + random.below(PORTS)) as u16;
        let transport = match random.below(20) {
            0..=6 => Transport::Udp { source: port(random), destination: port(random) },
            7..=15 => Transport::Tcp { source: port(random), destination: port(random), flags: SYN },
            16 => Transport::Sctp { source: port(random), destination: port(random), chunk: INIT, tag: 0 },
            17 => Transport::Other { protocol: *random.choose(&OTHERS) },
            _ => Transport::Echo { is_reply: false, identifier: port(random) },
        };
        let segment = Segment {
            ethernet_source: station.mac,
            ethernet_destination: neighbour.map_or_else(gateway, |neighbour| neighbour.mac),
            source,
            destination,
            ttl: 64,
            transport,
            payload_length: *random.choose(&PAYLOADS),
            tunnel: station.tunnel,
        };
        (station.port.clone(), segment)
    }

    /// A packet of a connection that there was one of, as it goes on.
    fn again(&self, random: &mut Random) -> (String, Segment) {
        let index = random.below(self.recent.len() as u64) as usize;
        let (port, mut segment) = self.recent[index].clone();
        segment.payload_length = *random.choose(&PAYLOADS);
        segment.ttl = if random.one_in(50) { *random.choose(&[0, 1, 2, 255]) } else { 64 };
        if let Transport::Tcp { flags, .. } = &mut segment.transport {
            *flags = match random.below(60) {
                0 => SYN,
                1 => FIN | ACK,
                2 => RST,
                3 => SYN | ACK,
                4..=20 => ACK | PSH,
                _ => ACK,
            };
        }
        if let Transport::Sctp { chunk, .. } = &mut segment.transport {
            *chunk = match random.below(60) {
                0 => INIT,
                1 => SHUTDOWN,
                2 => ABORT,
                3..=30 => DATA,
                _ => *chunk,
            };
        }
        (port, segment)
    }
}

/// The way from a peer for a network's packets; the MAC address of every host outside is that of the next hop.
fn tunnel_from(config: &Config, hosts: &[Host], peer: &str, network: &str) -> Option<Tunnel> {
    let peer = config.overlay.as_ref()?.peers.iter().find(|candidate| candidate.id == peer)?;
    let segment = config.networks.iter().find(|candidate| candidate.id == network)?.segment;
    Tunnel::from_peer(config, peer, segment, hosts.first()?.mac_address.0)
}

/// An address of a range that is not its first.
fn within(first: IpAddr) -> IpAddr {
    match first {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() | 5).into()),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() | 5).into()),
    }
}

/// The gateway of a station for a destination: of several, always the same one.
fn gateway_for(station: &Station, destination: IpAddr) -> &[u8; 6] {
    let index = match destination {
        IpAddr::V4(address) => usize::from(address.octets()[3] / 10),
        IpAddr::V6(_) => 0,
    };
    // 192.0.2.20 is the second router's, 192.0.2.10 and all others are the first one's.
    &station.gateways[usize::from(index == 2).min(station.gateways.len() - 1)]
}

/// Cuts, lengthens or overwrites.
fn damage(frame: &mut Vec<u8>, random: &mut Random) {
    match random.below(6) {
        0 => frame.truncate(random.below(frame.len() as u64 + 1) as usize),
        1 => frame.extend(std::iter::repeat_n(0, random.below(40) as usize)),
        _ => {
            for _ in 0..=random.below(3) {
                let at = random.below(frame.len().clamp(1, 64) as u64) as usize;
                if let Some(byte) = frame.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
        }
    }
}
