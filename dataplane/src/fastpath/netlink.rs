//! The few requests to the kernel that make, set up and remove the trunk's interfaces.
//!
//! One request, one answer, over a socket of the calling thread's network namespace. Never on the packet path.
#![expect(unsafe_code, reason = "netlink and ethtool requests that no light library wraps")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Attributes of `RTM_NEWLINK` (include/uapi/linux/if_link.h).
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const VETH_INFO_PEER: u16 = 1;

const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// Settings of an interface that are one ethtool value each (include/uapi/linux/ethtool.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Offload {
    /// `ETHTOOL_STXCSUM`: checksums are left to the interface on the way out.
    TransmitChecksum = 0x17,
    /// `ETHTOOL_SGRO`: received packets are merged.
    GenericReceive = 0x2c,
    /// `ETHTOOL_SFLAGS`: a set of flags, of which this module knows those for VLAN tags.
    Flags = 0x26,
}

/// `ETHTOOL_GFLAGS`.
const GET_FLAGS: u32 = 0x25;
/// `ETH_FLAG_TXVLAN` and `ETH_FLAG_RXVLAN`: VLAN tags travel beside the frame.
const TRANSMIT_VLAN: u32 = 1 << 7;
const RECEIVE_VLAN: u32 = 1 << 8;

/// Sends requests and waits for their answers.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct VethEnd<'a> {
    pub(super) name: &'a str,
    pub(super) queues: u32,
    pub(super) mtu: u32,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: a plain system call; the result is checked before it is owned.
        let socket = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self { socket: unsafe { OwnedFd::from_raw_fd(socket) }, sequence: 0 })
    }

    /// Makes a veth pair, both ends down.
    pub(super) fn create_veth(&mut self, near: VethEnd, far: VethEnd) -> io::Result<()> {
        let mut message =
            Message::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &link_header(0, 0, 0));
        message.veth_end(near);
        let info = message.open(IFLA_LINKINFO);
        message.attribute(IFLA_INFO_KIND, b"veth");
        let data = message.open(IFLA_INFO_DATA);
        let peer = message.open(VETH_INFO_PEER);
        message.bytes.extend_from_slice(&link_header(0, 0, 0));
        message.veth_end(far);
        message.close(peer);
        message.close(data);
        message.close(info);
        self.request(message)
    }

    /// Brings the interface up.
    pub(super) fn set_up(&mut self, interface_index: u32) -> io::Result<()> {
        let up = libc::IFF_UP as u32;
        self.request(Message::new(libc::RTM_NEWLINK, 0, &link_header(interface_index, up, up)))
    }

    /// Removes the interface, and with one end of a veth pair the other.
    pub(super) fn delete(&mut self, interface_index: u32) -> io::Result<()> {
        self.request(Message::new(libc::RTM_DELLINK, 0, &link_header(interface_index, 0, 0)))
    }

    fn request(&mut self, mut message: Message) -> io::Result<()> {
        self.sequence += 1;
        let length = message.bytes.len() as u32;
        message.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        message.bytes[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        let descriptor = self.socket.as_raw_fd();
        // SAFETY: the kernel reads the message, which outlives the call.
        let sent = unsafe { libc::send(descriptor, message.bytes.as_ptr().cast(), message.bytes.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        // The acknowledgement: a header, the error, and the request's header or all of it.
        let mut answer = [0u8; 4096];
        // SAFETY: the kernel writes at most the buffer's length.
        let received = unsafe { libc::recv(descriptor, answer.as_mut_ptr().cast(), answer.len(), 0) };
        if received < 20 {
            return Err(io::Error::last_os_error());
        }
        match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }
}

/// Sets an offload of the interface with this name.
pub(super) fn set_offload(name: &str, offload: Offload, on: bool) -> io::Result<()> {
    ethtool(name, offload as u32, u32::from(on)).map(drop)
}

/// Lets VLAN tags travel within frames, where a program that reads frames sees them.
pub(super) fn put_vlan_tags_into_frames(name: &str) -> io::Result<()> {
    clear_flags(name, TRANSMIT_VLAN | RECEIVE_VLAN)
}

/// Leaves VLAN tags in the frames that the interface with this index receives. False when it takes them off all the
/// same, which some drivers do whatever they are told.
pub(super) fn leave_vlan_tags_in_received_frames(interface_index: u32) -> io::Result<bool> {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the kernel writes a terminated name of at most the buffer's length.
    if unsafe { libc::if_indextoname(interface_index, name.as_mut_ptr()) }.is_null() {
        return Err(io::Error::last_os_error());
    }
    let bytes: Vec<u8> = name.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8).collect();
    let name = String::from_utf8_lossy(&bytes);
    if ethtool(&name, GET_FLAGS, 0)? & RECEIVE_VLAN == 0 {
        return Ok(true);
    }
    // What counts is not what the driver answers but what it does: read back.
    let _ = clear_flags(&name, RECEIVE_VLAN);
    Ok(ethtool(&name, GET_FLAGS, 0)? & RECEIVE_VLAN == 0)
}

fn clear_flags(name: &str, flags: u32) -> io::Result<()> {
    let set = ethtool(name, GET_FLAGS, 0)?;
    if set & flags == 0 {
        return Ok(());
    }
    ethtool(name, Offload::Flags as u32, set & !flags).map(drop)
}

fn ethtool(name: &str, command: u32, value: u32) -> io::Result<u32> {
    // SAFETY: a plain system call; the result is checked before it is owned.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let mut setting = [command, value];
    // SAFETY: all zero is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = setting.as_mut_ptr().cast();
    // SAFETY: the request and the setting it points to are complete and outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(setting[1]) } else { Err(io::Error::last_os_error()) }
}

/// A request: `struct nlmsghdr`, a fixed header, attributes.
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn new(kind: u16, flags: i32, header: &[u8]) -> Self {
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(header);
        Self { bytes }
    }

    fn veth_end(&mut self, end: VethEnd) {
        self.attribute(IFLA_IFNAME, &[end.name.as_bytes(), &[0]].concat());
        self.attribute(IFLA_MTU, &end.mtu.to_ne_bytes());
        self.attribute(IFLA_NUM_TX_QUEUES, &end.queues.to_ne_bytes());
        self.attribute(IFLA_NUM_RX_QUEUES, &end.queues.to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Starts an attribute that holds others; [`Message::close`] ends it.
    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.attribute(kind, &[]);
        start
    }

    fn close(&mut self, start: usize) {
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

/// `struct ifinfomsg`.
fn link_header(interface_index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&interface_index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}
