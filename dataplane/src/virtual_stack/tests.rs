//! A server and a client on virtual stacks, with a workload whose host is another stack of smoltcp, through an engine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use smoltcp::iface::{Config as HostConfig, Interface, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::device::PortDevice;
use super::{Answer, Probe, StackHandle, TcpStream, VirtualStack};
use crate::address::MacAddress;
use crate::config::{Config, Endpoint, Network, Port, PortKind, Services, Workload};
use crate::engine::{Engine, EngineSettings, Transmit, Worker};
use crate::exchange::Exchange;
use crate::packet::FramePool;
use crate::tables::region::Regions;
use crate::wire::headers::{self, Ip, Network as Layer};
use crate::wire::icmp::{self, IcmpError};
use crate::wire::udp::{self, Place};

/// Where the payload of a datagram over IPv4 starts.
const DATAGRAM_START: usize = 42;
/// Where frames say that they are of IPv6, and of which protocol each version is.
const ETHER_TYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const PROTOCOL_AT: usize = 23;
const PROTOCOL_AT_IPV6: usize = 20;
const PATIENCE: Duration = Duration::from_secs(5);
const METADATA: [u8; 4] = [169, 254, 169, 254];
const WORKLOAD_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const WORKLOAD_IP: [u8; 4] = [10, 0, 0, 11];
/// The gateway and the workload by IPv4 and by IPv6.
const ENDS: [[IpAddr; 2]; 2] = [
    [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11))],
    [
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x11)),
    ],
];

/// Two tenants with equal addresses.
fn config() -> Config {
    let network = |id: &str| Network {
        id: id.to_owned(),
        name: id.to_owned(),
        cidr: "10.0.0.0/24".parse().unwrap(),
        gateway_ip: Some([10, 0, 0, 1].into()),
        ipv6_cidr: Some("fd00::/64".parse().unwrap()),
        ipv6_gateway_ip: Some("fd00::1".parse().unwrap()),
        mtu: 1500,
        external: false,
        segment: None,
        services: Services {
            endpoints: vec![
                Endpoint { address: METADATA.into(), protocol: 6, port: 80 },
                Endpoint { address: [10, 0, 0, 1].into(), protocol: 17, port: 53 },
            ],
            ..Services::default()
        },
    };
    let port = |id: &str, network: &str| Port {
        id: id.to_owned(),
        name: id.to_owned(),
        network: network.to_owned(),
        interface: None,
        kind: PortKind::Workload(Workload {
            mac_address: WORKLOAD_MAC,
            ip_address: WORKLOAD_IP.into(),
            ipv6_address: Some("fd00::11".parse().unwrap()),
            security_groups: Vec::new(),
            allowed_address_pairs: Vec::new(),
            port_security: true,
            peer: None,
        }),
        attach: crate::config::Attach::Auto,
        admin_state_up: true,
    };
    Config {
        networks: ["red", "blue"].map(|id| Arc::new(network(id))).to_vec(),
        ports: vec![Arc::new(port("red-1", "red")), Arc::new(port("blue-1", "blue"))],
        ..Config::default()
    }
}

/// An engine with its worker's part played by the test.
struct Bench {
    engine: Arc<Engine>,
    worker: Worker,
    pool: FramePool,
    stack: VirtualStack,
    /// The hosts behind the ports, by number.
    hosts: HashMap<u16, Host>,
}

/// A workload.
struct Host {
    /// What it sends waits here, and what it is sent.
    wire: Exchange,
    interface: Interface,
    sockets: SocketSet<'static>,
    gateway: MacAddress,
    started: Instant,
    datagrams: Vec<Vec<u8>>,
}

impl Host {
    fn new(gateway: MacAddress) -> Self {
        let wire = Exchange::default();
        wire.open(std::thread::current());
        let mut device = Self::device(&wire, gateway);
        let config = HostConfig::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut device, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            for [_, workload] in ENDS {
                addresses.push(IpCidr::new(IpAddress::from(workload), 24)).unwrap();
            }
        });
        interface.routes_mut().add_default_ipv4_route([10, 0, 0, 1].into()).unwrap();
        let sockets = SocketSet::new(Vec::new());
        Self { wire, interface, sockets, gateway, started: Instant::now(), datagrams: Vec::new() }
    }

    fn device(wire: &Exchange, gateway: MacAddress) -> PortDevice<'_> {
        let ends = (WORKLOAD_MAC, gateway);
        PortDevice { exchange: wire, received: None, port: 0, ends, mtu: 1500, has_sent: false }
    }

    /// Takes frames from the gateway; the frames that it sends.
    fn run(&mut self, frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let now = smoltcp::time::Instant::from_micros(self.started.elapsed().as_micros() as i64);
        for frame in frames.into_iter().map(Some).chain([None]) {
            let mut device = Self::device(&self.wire, self.gateway);
            device.received = frame.and_then(|frame| {
                let is_ipv6 = frame[12..14] == ETHER_TYPE_IPV6;
                if frame[if is_ipv6 { PROTOCOL_AT_IPV6 } else { PROTOCOL_AT }] == 17 {
                    self.datagrams.push(frame[DATAGRAM_START..].to_vec());
                    return None;
                }
                let mut parcel = self.wire.parcel().unwrap();
                parcel.frame.extend(frame);
                Some(parcel)
            });
            self.interface.poll(now, &mut device, &mut self.sockets);
        }
        let mut sent = Vec::new();
        while let Some(parcel) = self.wire.take_sent() {
            sent.push(parcel.frame.clone());
            self.wire.recycle(parcel);
        }
        sent
    }

    fn socket() -> Socket<'static> {
        Socket::new(SocketBuffer::new(vec![0; 4096]), SocketBuffer::new(vec![0; 4096]))
    }
}

impl Bench {
    fn new() -> Self {
        let engine = Engine::new(Regions::anonymous(16, 16, 1).unwrap(), EngineSettings::default()).unwrap();
        let engine = Arc::new(engine);
        engine.apply(&config()).unwrap();
        let stack = VirtualStack::start(Arc::clone(&engine)).unwrap();
        let snapshot = engine.snapshot();
        let hosts = snapshot.ports().map(|port| (port.number, Host::new(snapshot.gateway_mac(port.network))));
        let hosts = hosts.collect();
        Self { worker: engine.worker(0), pool: FramePool::new(64).unwrap(), engine, stack, hosts }
    }

    fn number(&self, port: &str) -> u16 {
        self.engine.port_number(port).unwrap()
    }

    /// Sends frames as a workload, without its host.
    fn send(&mut self, number: u16, frame: &[u8]) {
        let mut packet = self.pool.allocate(number).unwrap();
        self.pool.write(&mut packet, frame);
        let mut output = Vec::new();
        self.engine.process(&mut self.worker, &mut self.pool, &mut vec![packet], &mut output);
        assert!(output.is_empty());
        self.engine.exchange().wake_stack();
    }

    /// Frames that the gateway has sent, with the numbers of their ports.
    fn sent(&mut self) -> Vec<(u16, Vec<u8>)> {
        let mut output = Vec::new();
        self.engine.collect(&mut self.worker, &mut self.pool, &mut output);
        let frame = |transmit: Transmit| {
            let frame = self.pool.data(&transmit.packet).to_vec();
            self.pool.free(transmit.packet);
            (transmit.port, frame)
        };
        output.into_iter().map(frame).collect()
    }

    /// Moves frames between hosts and gateway until `done`.
    fn until(&mut self, mut done: impl FnMut(&mut HashMap<u16, Host>) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(&mut self.hosts) {
            assert!(Instant::now() < deadline, "it takes too long");
            let mut output = Vec::new();
            self.engine.collect(&mut self.worker, &mut self.pool, &mut output);
            let mut received: HashMap<u16, Vec<Vec<u8>>> = HashMap::new();
            for transmit in output {
                received.entry(transmit.port).or_default().push(self.pool.data(&transmit.packet).to_vec());
                self.pool.free(transmit.packet);
            }
            let numbers: Vec<u16> = self.hosts.keys().copied().collect();
            for number in numbers {
                let frames = received.remove(&number).unwrap_or_default();
                for frame in self.hosts.get_mut(&number).unwrap().run(frames) {
                    self.send(number, &frame);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(self.pool.available(), self.pool.capacity());
    }
}

struct Unparker(std::thread::Thread);

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for something that is polled.
fn block_on<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let waker = Waker::from(Arc::new(Unparker(std::thread::current())));
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Poll::Ready(value) = poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        assert!(Instant::now() < deadline, "nothing comes");
        std::thread::park_timeout(PATIENCE);
    }
}

/// Answers every connection with its caller and what it said, until `connections` have ended.
fn serve(stack: &StackHandle, connections: usize) -> std::thread::JoinHandle<()> {
    let listener = stack.listen(80);
    std::thread::spawn(move || {
        for _ in 0..connections {
            let stream = block_on(|context| listener.poll_accept(context));
            let mut text = [0; 64];
            let length = block_on(|context| stream.poll_read(context, &mut text)).unwrap();
            let said = String::from_utf8_lossy(&text[..length]).into_owned();
            write(&stream, format!("{} says {said}", stream.caller().port).as_bytes());
        }
    })
}

fn write(stream: &TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = block_on(|context| stream.poll_write(context, bytes)).unwrap();
        bytes = &bytes[written..];
    }
}

#[test]
fn a_server_knows_its_callers_by_their_ports() {
    let mut bench = Bench::new();
    let server = serve(&bench.stack.handle(), 2);
    let numbers = [bench.number("red-1"), bench.number("blue-1")];
    let handles = numbers.map(|number| {
        let host = bench.hosts.get_mut(&number).unwrap();
        let handle = host.sockets.add(Host::socket());
        // The same addresses and ports for both.
        let socket: &mut Socket<'_> = host.sockets.get_mut(handle);
        socket
            .connect(host.interface.context(), (IpAddress::from(IpAddr::from(METADATA)), 80), 5000)
            .unwrap();
        (number, handle)
    });
    let mut said = [false; 2];
    let mut heard = [Vec::new(), Vec::new()];
    bench.until(|hosts| {
        for (index, (number, handle)) in handles.iter().enumerate() {
            let socket: &mut Socket<'_> = hosts.get_mut(number).unwrap().sockets.get_mut(*handle);
            if socket.can_send() && !said[index] {
                said[index] = true;
                socket.send_slice(format!("hello {index}").as_bytes()).unwrap();
            }
            let _ = socket.recv(|bytes| {
                heard[index].extend_from_slice(bytes);
                (bytes.len(), ())
            });
        }
        handles.iter().all(|(number, handle)| {
            let socket: &mut Socket<'_> = hosts.get_mut(number).unwrap().sockets.get_mut(*handle);
            socket.state() == State::CloseWait && !socket.can_recv()
        })
    });
    server.join().unwrap();
    assert_eq!(
        heard.map(|bytes| String::from_utf8(bytes).unwrap()),
        ["red-1 says hello 0", "blue-1 says hello 1"]
    );
}

#[test]
fn nobody_is_connected_to_where_nothing_is_served() {
    let mut bench = Bench::new();
    let number = bench.number("red-1");
    // Of the configuration, but no server listens.
    let host = bench.hosts.get_mut(&number).unwrap();
    let handle = host.sockets.add(Host::socket());
    let socket: &mut Socket<'_> = host.sockets.get_mut(handle);
    socket.connect(host.interface.context(), (IpAddress::from(IpAddr::from(METADATA)), 80), 5000).unwrap();
    bench.until(|hosts| {
        let socket: &mut Socket<'_> = hosts.get_mut(&number).unwrap().sockets.get_mut(handle);
        socket.state() == State::Closed
    });
}

#[test]
fn a_client_reaches_a_workload_by_either_version() {
    for ends in ENDS {
        reach(ends);
    }
}

fn reach([gateway, workload]: [IpAddr; 2]) {
    let mut bench = Bench::new();
    let number = bench.number("blue-1");
    let host = bench.hosts.get_mut(&number).unwrap();
    let handle = host.sockets.add(Host::socket());
    let socket: &mut Socket<'_> = host.sockets.get_mut(handle);
    socket.listen(8080).unwrap();
    let stack = bench.stack.handle();
    let remote = SocketAddr::from((workload, 8080));
    assert!(stack.connect("green-1", gateway, remote).is_err());
    assert!(stack.connect("blue-1", IpAddr::from([0, 0, 0, 0]), remote).is_err());
    let open = stack.connect("blue-1", gateway, remote).unwrap();
    let closed = stack.connect("blue-1", gateway, SocketAddr::from((workload, 8081))).unwrap();
    let client = std::thread::spawn(move || {
        block_on(|context| open.poll_connected(context)).unwrap();
        write(&open, b"are you well?");
        open.shutdown();
        let mut buffer = [0; 16];
        let length = block_on(|context| open.poll_read(context, &mut buffer)).unwrap();
        let refused = block_on(|context| closed.poll_connected(context)).unwrap_err();
        (buffer[..length].to_vec(), refused.kind())
    });
    let mut heard = Vec::new();
    bench.until(|hosts| {
        let socket: &mut Socket<'_> = hosts.get_mut(&number).unwrap().sockets.get_mut(handle);
        let _ = socket.recv(|bytes| {
            heard.extend_from_slice(bytes);
            (bytes.len(), ())
        });
        if heard == b"are you well?" && socket.may_send() {
            socket.send_slice(b"quite").unwrap();
            socket.close();
        }
        client.is_finished()
    });
    assert_eq!(client.join().unwrap(), (b"quite".to_vec(), std::io::ErrorKind::ConnectionRefused));
}

#[test]
fn datagrams_are_answered_through_their_port() {
    let mut bench = Bench::new();
    let number = bench.number("blue-1");
    let server = bench.stack.handle().bind(53);
    let source = Place { mac_address: WORKLOAD_MAC, ip_address: WORKLOAD_IP.into(), port: 4000 };
    let gateway = bench.hosts[&number].gateway;
    let destination = Place { mac_address: gateway, ip_address: [10, 0, 0, 1].into(), port: 53 };
    let mut frame = [0; DATAGRAM_START + 5];
    frame[DATAGRAM_START..].copy_from_slice(b"query");
    udp::write_headers(&mut frame, source, destination, 5);
    bench.send(number, &frame);
    let datagram = block_on(|context| server.poll_receive(context));
    assert_eq!((&*datagram.caller.port, &*datagram.caller.network), ("blue-1", "blue"));
    assert_eq!(datagram.payload, b"query");
    assert!(!server.answer(&datagram, &[0; 1473]), "longer than the network's packets");
    assert!(server.answer(&datagram, b"reply"));
    bench.until(|hosts| hosts[&number].datagrams == [b"reply"]);
    assert!(bench.hosts[&bench.number("red-1")].datagrams.is_empty());

    // The port goes while an answer is looked for.
    let mut config = config();
    config.ports.pop();
    bench.engine.apply(&config).unwrap();
    assert!(!server.answer(&datagram, b"late"));
}

fn ip(frame: &[u8]) -> Ip {
    let Layer::Ip(ip) = headers::parse(frame).unwrap().network else { panic!("it is IP") };
    ip
}

/// What the receiver of a datagram answers.
fn datagram_back(frame: &[u8], remote_port: u16, payload: &[u8]) -> Vec<u8> {
    let asked = ip(frame);
    let start = udp::headers_length(asked.source);
    let own_port = u16::from_be_bytes([frame[start - 8], frame[start - 7]]);
    let mut gateway = [0; 6];
    gateway.copy_from_slice(&frame[6..12]);
    let source = Place { mac_address: WORKLOAD_MAC, ip_address: asked.destination, port: remote_port };
    let destination = Place { mac_address: MacAddress(gateway), ip_address: asked.source, port: own_port };
    let mut reply = [vec![0; start], payload.to_vec()].concat();
    udp::write_headers(&mut reply, source, destination, payload.len());
    reply
}

#[test]
fn probes_hear_replies_and_refusals_of_who_was_asked() {
    for ends in ENDS {
        probe(ends);
    }
}

fn probe([gateway, workload]: [IpAddr; 2]) {
    let mut bench = Bench::new();
    let (red, blue) = (bench.number("red-1"), bench.number("blue-1"));
    let stack = bench.stack.handle();
    assert!(stack.ping("green-1", gateway, workload).is_err());
    assert!(stack.ask("blue-1", gateway, SocketAddr::new(workload, 53), &[0; 4000]).is_err());
    let ping = stack.ping("blue-1", gateway, workload).unwrap();
    let asked = stack.ask("blue-1", gateway, SocketAddr::new(workload, 53), b"well?").unwrap();
    let refused = stack.ask("blue-1", gateway, SocketAddr::new(workload, 54), b"").unwrap();
    let frames: Vec<Vec<u8>> = bench
        .sent()
        .into_iter()
        .map(|(port, frame)| {
            assert_eq!(port, blue);
            frame
        })
        .collect();
    let [echo, datagram, unwanted] = frames.try_into().unwrap();
    assert_eq!(&datagram[udp::headers_length(workload)..], b"well?");
    let mut pong = echo.clone();
    icmp::echo_reply_in_place(&mut pong, &ip(&echo));
    // A workload of another tenant with the same addresses, and another port of the one that was asked.
    let mut forged = pong.clone();
    forged[..6].copy_from_slice(&bench.hosts[&red].gateway.0);
    bench.send(red, &forged);
    bench.send(blue, &datagram_back(&datagram, 5353, b"not me"));
    bench.send(blue, &datagram_back(&datagram, 53, b"quite"));
    let answer = |probe: &Probe| block_on(|context| probe.poll_answer(context));
    assert_eq!(answer(&asked), Answer::Reply(b"quite".to_vec()));
    let now = &mut Context::from_waker(Waker::noop());
    assert!(ping.poll_answer(now).is_pending() && refused.poll_answer(now).is_pending());
    let error = |kind| {
        let mut error = vec![0; icmp::ERROR_LENGTH_MAX];
        let from = (workload, WORKLOAD_MAC);
        let length = icmp::write_error(&mut error, kind, &unwanted, &ip(&unwanted), from);
        error.truncate(length.unwrap());
        error
    };
    // Its type is that of "unreachable" in the other version. What is sent next is heard after it.
    bench.send(blue, &error(IcmpError::TtlExceeded));
    bench.send(blue, &pong);
    assert_eq!(answer(&ping), Answer::Reply(Vec::new()));
    assert!(refused.poll_answer(now).is_pending(), "the way was too long, which says nothing of the port");
    bench.send(blue, &error(IcmpError::PortUnreachable));
    assert_eq!(answer(&refused), Answer::Unreachable);
}
