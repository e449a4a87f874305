//! Two hosts in namespaces, joined by the programs in a third: what a flow in the table carries for real.

use std::net::UdpSocket;

use edgestack_abi::port::PORT_XDP_TRANSMIT;
use edgestack_dataplane::fastpath::Attached;
use edgestack_dataplane::io::interface::Interfaces;
use edgestack_tests::Namespace;
use edgestack_tests::link::{Plug, connect};
use edgestack_tests::namespace::unique_prefix;

use crate::instance::Instance;
use crate::packet::{Frame, Transport};
use crate::rig::{Hook, INSIDE, OUTSIDE, Place, Rig, SIZES, key, outbound, translated, verdict};

/// The ports and the host's interfaces for them.
const PLUGS: [(u16, &str); 2] = [(INSIDE, "inside0"), (OUTSIDE, "outside0")];

/// The workload, the outside, and the programs between them. Packets are routed and translated as
/// [`crate::rig::translated`] says, and back.
pub(crate) struct Site {
    pub(crate) rig: Rig,
    pub(crate) workload: Namespace,
    pub(crate) outside: Namespace,
    pub(crate) host: Namespace,
    instance: Instance,
    hook: Hook,
}

/// Tells the tables which interfaces the ports are.
fn plug_in(rig: &mut Rig, hook: Hook) {
    for (port, name) in PLUGS {
        let index = interface_index(name);
        rig.set_port(port, |entry| {
            entry.interface_index = index;
            if hook == Hook::Tc {
                entry.flags &= !PORT_XDP_TRANSMIT;
            }
        });
        rig.regions.port_by_interface.write(index as usize, u32::from(port));
        rig.fast_path.set_device(port, Some(index)).expect("set the device");
    }
}

fn attach(rig: &mut Rig, hook: Hook) -> Vec<Attached> {
    let mut attached = Vec::new();
    for (_, name) in PLUGS {
        let index = interface_index(name);
        if hook == Hook::Xdp {
            attached.push(rig.fast_path.attach_xdp(name, index).expect("attach XDP"));
        }
        attached.push(rig.fast_path.attach_tc(name, index).expect("attach TC"));
    }
    attached
}

fn interface_index(name: &str) -> u32 {
    Interfaces::open().expect("open").find(name).expect("ask").expect(name).index
}

/// Both directions of a connection in the table.
pub(crate) struct Flows {
    pub(crate) original: Place,
    pub(crate) reply: Place,
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

impl Site {
    pub(crate) fn new(hook: Hook) -> Self {
        let prefix = unique_prefix();
        let name = |part: &str| Namespace::create(&format!("{prefix}-{part}")).expect("make a namespace");
        let (workload, outside, host) = (name("workload"), name("outside"), name("host"));
        let frame = outbound(Transport::Udp { checksum: true });
        let checksums = hook == Hook::Xdp;
        for (interface, namespace, mac, address) in [
            ("inside0", &workload, frame.ethernet_source, "10.0.0.5/24"),
            ("outside0", &outside, translated(frame).ethernet_destination, "198.51.100.7/24"),
        ] {
            let (mac, address) = (text(mac), Some(address));
            let plug = Plug { mac_address: Some(&mac), address, checksums, ..Plug::new(interface) };
            connect(&host, namespace, &plug).expect("connect");
        }
        let router = text(frame.ethernet_destination);
        for (namespace, gateway) in [(&workload, "10.0.0.1"), (&outside, "198.51.100.1")] {
            let neighbour = format!("ip neighbour add {gateway} lladdr {router} dev eth0 nud permanent");
            namespace.run(&neighbour).expect("set the neighbour");
            namespace.run(&format!("ip route add default via {gateway}")).expect("set the route");
        }
        let instance = Instance::new(&prefix, SIZES);
        let (rig, attached) = host
            .enter(|| {
                let mut rig = Rig::over(instance.load());
                plug_in(&mut rig, hook);
                let attached = attach(&mut rig, hook);
                (rig, attached)
            })
            .expect("enter the host");
        assert!(attached.iter().all(|attached| *attached == Attached::New), "{attached:?}");
        Self { rig, workload, outside, host, instance, hook }
    }

    /// Does what a daemon does that starts while another's programs are at work; returns what became of the links.
    pub(crate) fn restart(&mut self) -> Vec<Attached> {
        let (instance, hook) = (&self.instance, self.hook);
        let attach = || {
            let mut rig = Rig::adopt(instance.load());
            let attached = attach(&mut rig, hook);
            (rig, attached)
        };
        let (rig, attached) = self.host.enter(attach).expect("enter the host");
        self.rig = rig;
        attached
    }

    /// Puts both directions of the connection of `frame` into the table.
    pub(crate) fn insert(&self, frame: Frame) -> Flows {
        let after = translated(frame);
        let backwards = |frame: Frame| Frame {
            ethernet_source: frame.ethernet_destination,
            ethernet_destination: frame.ethernet_source,
            source: frame.destination,
            destination: frame.source,
            source_port: frame.destination_port,
            destination_port: frame.source_port,
            ..frame
        };
        let original = self.rig.insert(key(&frame, INSIDE), verdict(&frame, &after));
        let (reply, reply_after) = (backwards(after), backwards(frame));
        let mut back = verdict(&reply, &reply_after);
        back.out_port = INSIDE;
        Flows { original, reply: self.rig.insert(key(&reply, OUTSIDE), back) }
    }

    /// A UDP socket of the workload and one of the outside, each connected to the other as it sees it.
    pub(crate) fn udp(&self) -> (UdpSocket, UdpSocket) {
        let open = |namespace: &Namespace, from: &str, to: &str| {
            let socket = namespace.enter(|| UdpSocket::bind(from)).expect("enter").expect("bind");
            socket.connect(to).expect("connect");
            socket.set_read_timeout(Some(std::time::Duration::from_secs(2))).expect("set the timeout");
            socket
        };
        (
            open(&self.workload, "10.0.0.5:40000", "198.51.100.7:443"),
            open(&self.outside, "198.51.100.7:443", "203.0.113.9:61111"),
        )
    }

    /// Packets that the stack handed to an interface of the host, a segmented one counted once.
    pub(crate) fn sent_by(&self, interface: &str) -> u64 {
        let path = format!("/sys/class/net/{interface}/statistics/tx_packets");
        // /sys shows the namespace that it was mounted in; `ip` asks in the thread's own.
        let output = self.host.run(&format!("ip -statistics -json link show {interface}")).expect(&path);
        let links: serde_json::Value = serde_json::from_str(&output).expect("JSON");
        links[0]["stats64"]["tx"]["packets"].as_u64().expect("a number")
    }
}
