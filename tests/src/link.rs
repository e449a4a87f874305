//! Veth pairs: the cables between the host of a site, its workloads and the world outside.
//!
//! One end stays in the host's namespace, where the daemon finds it by name; the other becomes `eth0` of a
//! namespace that plays a workload or the outside.

use crate::error::LabError;
use crate::namespace::Namespace;

/// How the far end of a cable is set up.
#[derive(Clone, Debug)]
pub struct Plug<'a> {
    /// Name of the end in the host's namespace, 15 characters at most.
    pub interface: &'a str,
    /// MAC address of the far end; the kernel's choice where left out.
    pub mac_address: Option<&'a str>,
    /// Address of the far end with its prefix length.
    pub address: Option<&'a str>,
    /// Next hop of the far end's default route.
    pub gateway: Option<&'a str>,
    /// MTU of both ends.
    pub mtu: u16,
    /// Fill in checksums before frames enter the cable, as a NIC would have. XDP needs it at the host's end: it
    /// loses the note that a checksum is still to be computed. TC does not.
    pub checksums: bool,
}

impl<'a> Plug<'a> {
    /// A plug with an MTU of 1500 and nothing else.
    pub fn new(interface: &'a str) -> Self {
        Self { interface, mac_address: None, address: None, gateway: None, mtu: 1500, checksums: false }
    }
}

/// Connects `host` with `eth0` of `far`.
pub fn connect(host: &Namespace, far: &Namespace, plug: &Plug) -> Result<(), LabError> {
    let interface = plug.interface;
    host.run(&format!(
        "ip link add {interface} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {far}",
        mtu = plug.mtu,
        far = far.name()
    ))?;
    if let Some(mac) = plug.mac_address {
        far.run(&format!("ip link set eth0 address {mac}"))?;
    }
    // A frame that XDP redirects into a veth is only taken where the peer has GRO on.
    far.run("ethtool -K eth0 gro on")?;
    if plug.checksums {
        far.run("ethtool -K eth0 tx off")?;
    }
    if let Some(address) = plug.address {
        far.run(&format!("ip address add {address} dev eth0"))?;
    }
    far.run("ip link set eth0 up")?;
    host.run(&format!("ip link set {interface} up"))?;
    if let Some(gateway) = plug.gateway {
        far.run(&format!("ip route add default via {gateway}"))?;
    }
    Ok(())
}

/// Removes a cable by its end in the host's namespace.
pub fn disconnect(host: &Namespace, interface: &str) -> Result<(), LabError> {
    host.run(&format!("ip link delete {interface}")).map(drop)
}
