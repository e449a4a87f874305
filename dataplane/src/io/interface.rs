//! What the host's kernel tells of a network interface, and the two things that are changed about one.
//!
//! Only reads, except for promiscuous mode. Everything is asked over a socket, not read from `/sys`, so that the
//! answer is of the network namespace of the calling thread. Called by the runtime, never on the packet path.
#![expect(unsafe_code, reason = "interface ioctls that no safe library wraps")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::address::MacAddress;

/// Longest name of an interface in bytes.
pub const INTERFACE_NAME_LENGTH_MAX: usize = libc::IFNAMSIZ - 1;

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// What there is to know of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index; another after it was deleted and made again.
    pub index: u32,
    /// Its MAC address.
    pub mac: MacAddress,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Administratively up.
    pub up: bool,
    /// Queues that it receives by.
    pub receive_queues: u32,
}

/// `struct ethtool_channels` of the kernel.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    receive_max: u32,
    transmit_max: u32,
    other_max: u32,
    combined_max: u32,
    receive: u32,
    transmit: u32,
    other: u32,
    combined: u32,
}

/// Asks about interfaces; holds the socket that the questions go by.
#[derive(Debug)]
pub struct Interfaces {
    socket: OwnedFd,
}

impl Interfaces {
    /// Opens the socket, in the network namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        // SAFETY: a plain system call; the result is checked before it is owned.
        let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self { socket: unsafe { OwnedFd::from_raw_fd(socket) } })
    }

    /// What is known of the interface, none when there is no such one.
    pub fn find(&self, name: &str) -> io::Result<Option<Interface>> {
        let Some(mut request) = request(name) else { return Ok(None) };
        if let Err(error) = self.ask(libc::SIOCGIFINDEX, &mut request) {
            return if error.raw_os_error() == Some(libc::ENODEV) { Ok(None) } else { Err(error) };
        }
        // SAFETY: the kernel filled this member of the union for the request above; so it does below.
        let index = unsafe { request.ifr_ifru.ifru_ifindex } as u32;
        self.ask(libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: as above.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
        let mut mac = [0; 6];
        for (byte, from) in mac.iter_mut().zip(address) {
            *byte = from as u8;
        }
        self.ask(libc::SIOCGIFMTU, &mut request)?;
        // SAFETY: as above.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        self.ask(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: as above.
        let up = i32::from(unsafe { request.ifr_ifru.ifru_flags }) & libc::IFF_UP != 0;
        Ok(Some(Interface {
            index,
            mac: MacAddress(mac),
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
            up,
            receive_queues: self.receive_queues(name),
        }))
    }

    /// Queues that the driver receives by now; one where it does not tell.
    fn receive_queues(&self, name: &str) -> u32 {
        let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
        let Some(mut request) = request(name) else { return 1 };
        request.ifr_ifru.ifru_data = (&raw mut channels).cast();
        match self.ask(SIOCETHTOOL, &mut request) {
            Ok(()) => (channels.receive + channels.combined).max(1),
            Err(_not_told) => 1,
        }
    }

    fn ask(&self, question: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: the request is complete and outlives the call; the questions asked here write into it alone,
        // or into the record that it points to, which outlives the call too.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), question, std::ptr::from_mut(request)) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn request(name: &str) -> Option<libc::ifreq> {
    if name.is_empty() || name.len() > INTERFACE_NAME_LENGTH_MAX || name.contains(['/', '\0']) {
        return None;
    }
    // SAFETY: all zero is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Some(request)
}

/// Keeps an interface in promiscuous mode for as long as it lives, so that frames to the MAC addresses of
/// routers reach the host. Counted by the kernel: it neither takes nor disturbs what others asked for.
#[derive(Debug)]
pub struct Promiscuous {
    _socket: OwnedFd,
}

impl Promiscuous {
    /// Turns promiscuous mode on for the interface with this index.
    pub fn new(interface_index: u32) -> io::Result<Self> {
        // SAFETY: a plain system call; the result is checked before it is owned. Protocol 0 receives nothing.
        let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let membership = libc::packet_mreq {
            mr_ifindex: interface_index as i32,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        // SAFETY: the option's value is a complete record of the length told.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                (&raw const membership).cast(),
                size_of::<libc::packet_mreq>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(Self { _socket: socket }) } else { Err(io::Error::last_os_error()) }
    }
}

/// Tells when interfaces come, go or change.
#[derive(Debug)]
pub struct LinkEvents {
    socket: OwnedFd,
}

/// What [`LinkEvents::drain`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkChanges {
    /// Something changed.
    pub any: bool,
    /// Indices of interfaces that left this namespace; what was attached to them is gone even if an interface
    /// of the same index is there again.
    pub gone: Vec<u32>,
}

impl LinkEvents {
    /// Listens in the network namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: a plain system call; the result is checked before it is owned.
        let socket = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // SAFETY: all zero is a valid address.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = libc::RTMGRP_LINK as u32;
        // SAFETY: the address is a complete sockaddr_nl of the length told.
        let result = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_nl>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(Self { socket }) } else { Err(io::Error::last_os_error()) }
    }

    /// What becomes readable when there is something to [`LinkEvents::drain`].
    pub fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Waits at most `timeout_ms` for something to change.
    pub fn wait(&self, timeout_ms: u32) {
        let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one complete record, which outlives the call.
        unsafe { libc::poll(&raw mut poll, 1, timeout_ms as i32) };
    }

    /// Takes everything that happened since the last call.
    pub fn drain(&self) -> LinkChanges {
        const LENGTH: usize = 16 * 1024;
        let mut changes = LinkChanges::default();
        let mut buffer = [0u8; LENGTH];
        loop {
            // SAFETY: the kernel writes at most the buffer's length.
            let length =
                unsafe { libc::recv(self.socket.as_raw_fd(), buffer.as_mut_ptr().cast(), LENGTH, 0) };
            if length <= 0 {
                // An overrun loses messages: something changed, and nobody knows what.
                changes.any |= io::Error::last_os_error().raw_os_error() == Some(libc::ENOBUFS);
                return changes;
            }
            changes.any = true;
            collect_gone(&buffer[..length as usize], &mut changes.gone);
        }
    }
}

/// Reads the interface indices out of the `RTM_DELLINK` messages of a datagram.
fn collect_gone(mut datagram: &[u8], gone: &mut Vec<u32>) {
    const HEADER_LENGTH: usize = 16;
    const INDEX_OFFSET: usize = HEADER_LENGTH + 4;
    while datagram.len() >= INDEX_OFFSET + 4 {
        let word = |offset: usize| {
            u32::from_ne_bytes([
                datagram[offset],
                datagram[offset + 1],
                datagram[offset + 2],
                datagram[offset + 3],
            ])
        };
        let length = word(0) as usize;
        let message_type = u16::from_ne_bytes([datagram[4], datagram[5]]);
        if message_type == libc::RTM_DELLINK {
            gone.push(word(INDEX_OFFSET));
        }
        let next = length.next_multiple_of(4);
        if length < HEADER_LENGTH || next > datagram.len() {
            return;
        }
        datagram = &datagram[next..];
    }
}

#[cfg(test)]
mod tests {
    use super::{Interfaces, collect_gone};

    #[test]
    fn the_loopback_interface_is_found_and_others_are_not() {
        let interfaces = Interfaces::open().unwrap();
        let loopback = interfaces.find("lo").unwrap().unwrap();
        assert_eq!((loopback.index, loopback.receive_queues), (1, 1));
        assert!(loopback.mac.is_zero());
        for missing in ["", "no-such-iface", "a-name-longer-than-any-interface", "a/b", "a\0b"] {
            assert_eq!(interfaces.find(missing).unwrap(), None, "{missing:?}");
        }
    }

    #[test]
    fn deleted_interfaces_are_read_out_of_a_datagram() {
        let message = |message_type: u16, index: u32| {
            let mut bytes = vec![0; 32];
            bytes[..4].copy_from_slice(&32u32.to_ne_bytes());
            bytes[4..6].copy_from_slice(&message_type.to_ne_bytes());
            bytes[20..24].copy_from_slice(&index.to_ne_bytes());
            bytes
        };
        let datagram = [message(libc::RTM_NEWLINK, 4), message(libc::RTM_DELLINK, 7)].concat();
        let mut gone = Vec::new();
        collect_gone(&datagram, &mut gone);
        assert_eq!(gone, [7]);
        for length in 0..datagram.len() {
            collect_gone(&datagram[..length], &mut gone);
        }
        let mut lying = datagram;
        for length in [0u32, 15, 1000, u32::MAX] {
            lying[..4].copy_from_slice(&length.to_ne_bytes());
            collect_gone(&lying, &mut gone);
        }
    }
}
