//! The few requests to the kernel that make, set up and remove interfaces: the trunk's, and those of workloads (`io/plug.rs`).
//!
//! One request, one answer, over a socket of the calling thread's network namespace. Never on the packet path.
#![expect(unsafe_code, reason = "netlink and ethtool requests that no light library wraps")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Attributes of `RTM_NEWLINK` (include/uapi/linux/if_link.h).
pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFLA_MTU: u16 = 4;
pub(crate) const IFLA_LINKINFO: u16 = 18;
pub(crate) const IFLA_INFO_KIND: u16 = 1;
pub(crate) const IFLA_INFO_DATA: u16 = 2;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
pub(crate) const VETH_INFO_PEER: u16 = 1;

/// Bytes of one part of a list: the kernel fills at most so many where they are offered.
const LIST_BUFFER_BYTES: usize = 32 * 1024;

const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// Settings of an interface that are one ethtool value each (include/uapi/linux/ethtool.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Offload {
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
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VethEnd<'a> {
    pub(crate) name: &'a str,
    pub(crate) queues: u32,
    pub(crate) mtu: u32,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
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
    pub(crate) fn create_veth(&mut self, near: VethEnd, far: VethEnd) -> io::Result<()> {
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
    pub(crate) fn set_up(&mut self, interface_index: u32) -> io::Result<()> {
        let up = libc::IFF_UP as u32;
        self.request(Message::new(libc::RTM_NEWLINK, 0, &link_header(interface_index, up, up)))
    }

    /// Removes the interface, and with one end of a veth pair the other.
    pub(crate) fn delete(&mut self, interface_index: u32) -> io::Result<()> {
        self.request(Message::new(libc::RTM_DELLINK, 0, &link_header(interface_index, 0, 0)))
    }

    /// Sends a request, and waits until it is done.
    pub(crate) fn request(&mut self, message: Message) -> io::Result<()> {
        self.send(message)?;
        // The acknowledgement: a header, the error, and the request's header or all of it.
        let mut answer = [0u8; 4096];
        if self.receive(&mut answer)? < 20 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }

    /// Sends a request for a list; `each` gets what follows the header of every message of the answer.
    pub(crate) fn list(&mut self, message: Message, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        self.send(message)?;
        let mut buffer = vec![0u8; LIST_BUFFER_BYTES];
        loop {
            let length = self.receive(&mut buffer)?;
            let mut rest = &buffer[..length];
            while let Some(header) = rest.first_chunk::<16>() {
                let size = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
                let body = rest.get(16..size).ok_or(io::ErrorKind::InvalidData)?;
                match i32::from(u16::from_ne_bytes([header[4], header[5]])) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => {
                        let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                        return Err(io::Error::from_raw_os_error(-code));
                    }
                    _ => each(body),
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    fn send(&mut self, mut message: Message) -> io::Result<()> {
        self.sequence += 1;
        let length = message.bytes.len() as u32;
        message.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        message.bytes[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        let (bytes, length) = (message.bytes.as_ptr().cast(), message.bytes.len());
        // SAFETY: the kernel reads the message, which outlives the call.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), bytes, length, 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (bytes, length) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: the kernel writes at most the buffer's length.
        let received = unsafe { libc::recv(self.socket.as_raw_fd(), bytes, length, 0) };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }
}

/// Sets an offload of the interface with this name.
pub(crate) fn set_offload(name: &str, offload: Offload, on: bool) -> io::Result<()> {
    ethtool(name, offload as u32, u32::from(on)).map(drop)
}

/// Lets VLAN tags travel within frames, where a program that reads frames sees them.
pub(crate) fn put_vlan_tags_into_frames(name: &str) -> io::Result<()> {
    clear_flags(name, TRANSMIT_VLAN | RECEIVE_VLAN)
}

/// Leaves VLAN tags in the frames that the interface with this index receives. False when it takes them off all the
/// same, which some drivers do whatever they are told.
pub(crate) fn leave_vlan_tags_in_received_frames(interface_index: u32) -> io::Result<bool> {
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
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
}

impl Message {
    pub(crate) fn new(kind: u16, flags: i32, header: &[u8]) -> Self {
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

    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Starts an attribute that holds others; [`Message::close`] ends it.
    pub(crate) fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.attribute(kind, &[]);
        start
    }

    pub(crate) fn close(&mut self, start: usize) {
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

/// `struct ifinfomsg`.
pub(crate) fn link_header(interface_index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&interface_index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}
