//! Interfaces that are made for workloads: taps, and veth pairs whose far end is in the workload's network namespace.
//!
//! Every interface that is made here carries a mark (its alias in the kernel), by which it is found again after a
//! restart; others are never touched. A mark is there as soon as the interface is, so that nothing is left behind
//! unknown by whoever is killed in between. Called by the daemon; never on the packet path.
#![expect(unsafe_code, reason = "tap ioctls and network namespaces that no light library wraps")]

use std::fs::{File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::interface::Interfaces;
use crate::address::MacAddress;
use crate::fastpath::netlink::{
    self, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MTU, Message, Netlink, Offload,
    VETH_INFO_PEER, link_header,
};

/// Attributes of links, addresses and routes (include/uapi/linux/if_link.h, if_addr.h, rtnetlink.h).
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

/// An interface that carries a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedLink {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its mark.
    pub mark: String,
}

/// The end of an interface that the dataplane serves.
#[derive(Clone, Copy, Debug)]
pub struct NearEnd<'a> {
    /// Name.
    pub name: &'a str,
    /// Mark.
    pub mark: &'a str,
    /// Largest IP packet in bytes.
    pub mtu: u16,
}

/// The end of a veth pair that the workload has.
#[derive(Clone, Copy, Debug)]
pub struct FarEnd<'a> {
    /// The workload's network namespace.
    pub namespace: BorrowedFd<'a>,
    /// Name within it.
    pub name: &'a str,
    /// MAC address.
    pub mac_address: MacAddress,
    /// Addresses to be set, each with the length of its prefix.
    pub addresses: &'a [(IpAddr, u8)],
    /// Next hops of default routes.
    pub gateways: &'a [IpAddr],
    /// Checksums are filled in before frames leave: XDP loses the note that one is still to be computed.
    pub checksums: bool,
}

/// The interfaces of the calling thread's network namespace that carry a mark beginning with `prefix`.
pub fn marked(prefix: &str) -> io::Result<Vec<MarkedLink>> {
    let mut found = Vec::new();
    let request = Message::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &link_header(0, 0, 0));
    Netlink::open()?.list(request, |body| {
        if let Some(link) = read_link(body).filter(|link| link.mark.starts_with(prefix)) {
            found.push(link);
        }
    })?;
    Ok(found)
}

/// Removes an interface, and with the near end of a veth pair the far one. One that is gone already is no error.
pub fn remove(index: u32) -> io::Result<()> {
    match Netlink::open()?.delete(index) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        result => result,
    }
}

/// Makes a tap that stays when nobody has it open; `owner` may open it beside root.
pub fn make_tap(near: &NearEnd<'_>, owner: Option<u32>) -> io::Result<()> {
    refuse_taken(near.name)?;
    let tap = open_tap(near.name)?;
    let index = index_of(near.name)?;
    let mut netlink = Netlink::open()?;
    netlink.request(near_end(index, near))?;
    // Until here it goes with this descriptor.
    if let Some(owner) = owner {
        control(&tap, libc::TUNSETOWNER, owner.into())?;
    }
    control(&tap, libc::TUNSETPERSIST, 1)?;
    netlink.set_up(index)
}

/// Opens a tap as the program does that plays the machine behind it; makes one, for as long as it is open, where there
/// is none.
pub fn open_tap(name: &str) -> io::Result<File> {
    let tap = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: all zero is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request is complete and outlives the call.
    let result = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(tap) }
}

/// Makes a veth pair, its far end in the workload's namespace from its first moment on, and sets both up. All of it or
/// nothing: the near end gets its mark in a namespace that nobody else has and that ends with the thread that made it.
pub fn make_veth(near: &NearEnd<'_>, far: &FarEnd<'_>) -> io::Result<()> {
    refuse_taken(near.name)?;
    let host = File::open("/proc/thread-self/ns/net")?;
    let host = host.as_fd();
    on_own_thread(move || {
        // SAFETY: a plain system call; it changes the thread that was made for this and ends with it.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut netlink = Netlink::open()?;
        netlink.request(new_veth(near, far))?;
        let index = index_of(near.name)?;
        netlink.request(near_end(index, near))?;
        within(far.namespace, || configure(far))?;
        let mut request = Message::new(libc::RTM_NEWLINK, 0, &link_header(index, 0, 0));
        request.attribute(IFLA_NET_NS_FD, &host.as_raw_fd().to_ne_bytes());
        netlink.request(request)
    })?;
    let index = index_of(near.name)?;
    let result = Netlink::open()?.set_up(index);
    if result.is_err() {
        remove(index)?;
    }
    result
}

fn new_veth(near: &NearEnd<'_>, far: &FarEnd<'_>) -> Message {
    let mut request =
        Message::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &link_header(0, 0, 0));
    request.attribute(IFLA_IFNAME, &terminated(near.name));
    request.attribute(IFLA_MTU, &u32::from(near.mtu).to_ne_bytes());
    let info = request.open(IFLA_LINKINFO);
    request.attribute(IFLA_INFO_KIND, b"veth");
    let data = request.open(IFLA_INFO_DATA);
    let peer = request.open(VETH_INFO_PEER);
    request.bytes.extend_from_slice(&link_header(0, 0, 0));
    request.attribute(IFLA_IFNAME, &terminated(far.name));
    request.attribute(IFLA_MTU, &u32::from(near.mtu).to_ne_bytes());
    request.attribute(IFLA_ADDRESS, &far.mac_address.0);
    request.attribute(IFLA_NET_NS_FD, &far.namespace.as_raw_fd().to_ne_bytes());
    request.close(peer);
    request.close(data);
    request.close(info);
    request
}

/// Sets the far end up, on a thread that is in its namespace.
fn configure(far: &FarEnd<'_>) -> io::Result<()> {
    let index = index_of(far.name)?;
    // A frame that XDP redirects into a veth is only taken where the peer merges received packets.
    netlink::set_offload(far.name, Offload::GenericReceive, true)?;
    if far.checksums {
        netlink::set_offload(far.name, Offload::TransmitChecksum, false)?;
    }
    let mut netlink = Netlink::open()?;
    netlink.set_up(index)?;
    for (address, prefix_length) in far.addresses {
        netlink.request(new_address(index, *address, *prefix_length))?;
    }
    for gateway in far.gateways {
        match netlink.request(new_default_route(index, *gateway)) {
            // The workload has a way out of its own.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
    }
    Ok(())
}

/// Does something in another network namespace, on a thread of its own.
fn within<T: Send>(
    namespace: BorrowedFd<'_>,
    action: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    on_own_thread(move || {
        // SAFETY: a plain system call; it changes the thread that was made for this and ends with it.
        if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } < 0 {
            return Err(io::Error::last_os_error());
        }
        action()
    })
}

fn on_own_thread<T: Send>(action: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| match scope.spawn(action).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Gives the near end its MTU and its mark.
fn near_end(index: u32, near: &NearEnd<'_>) -> Message {
    let mut request = Message::new(libc::RTM_NEWLINK, 0, &link_header(index, 0, 0));
    request.attribute(IFLA_MTU, &u32::from(near.mtu).to_ne_bytes());
    request.attribute(IFLA_IFALIAS, near.mark.as_bytes());
    request
}

fn new_address(index: u32, address: IpAddr, prefix_length: u8) -> Message {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    // `struct ifaddrmsg`. IPv6: no detection of duplicates, which the gateway's own table of addresses excludes.
    let (family, address_flags) = match address {
        IpAddr::V4(_) => (libc::AF_INET as u8, 0),
        IpAddr::V6(_) => (libc::AF_INET6 as u8, libc::IFA_F_NODAD as u8),
    };
    let mut header = [family, prefix_length, address_flags, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let mut request = Message::new(libc::RTM_NEWADDR, flags, &header);
    request.attribute(IFA_LOCAL, &octets(address));
    request.attribute(IFA_ADDRESS, &octets(address));
    request
}

fn new_default_route(index: u32, gateway: IpAddr) -> Message {
    let family = if gateway.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
    // `struct rtmsg`: to everywhere, of the main table, in the whole world, one next hop.
    let (table, protocol, scope, kind) =
        (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST);
    let header = [family, 0, 0, 0, table, protocol, scope, kind, 0, 0, 0, 0];
    let mut request = Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &header);
    request.attribute(RTA_GATEWAY, &octets(gateway));
    request.attribute(RTA_OIF, &index.to_ne_bytes());
    request
}

/// Reads what follows the header of an `RTM_NEWLINK`; none where the link has no mark.
fn read_link(body: &[u8]) -> Option<MarkedLink> {
    let index = u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
    let (mut name, mut mark) = (None, None);
    let mut rest = body.get(16..)?;
    while let Some(header) = rest.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = rest.get(4..length)?;
        let text = || String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
        match u16::from_ne_bytes([header[2], header[3]]) {
            IFLA_IFNAME => name = Some(text()),
            IFLA_IFALIAS => mark = Some(text()),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(MarkedLink { index, name: name?, mark: mark? })
}

fn refuse_taken(name: &str) -> io::Result<()> {
    let message = "an interface of that name is there already";
    match Interfaces::open()?.find(name)? {
        Some(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, message)),
        None => Ok(()),
    }
}

fn index_of(name: &str) -> io::Result<u32> {
    let found = Interfaces::open()?.find(name)?;
    Ok(found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?.index)
}

fn control(tap: &File, request: libc::Ioctl, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: these requests take a number, not a pointer.
    let result = unsafe { libc::ioctl(tap.as_raw_fd(), request, value) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::{IFLA_IFALIAS, IFLA_IFNAME, MarkedLink, read_link};
    use crate::fastpath::netlink::{Message, link_header};

    #[test]
    fn a_link_is_read_by_its_name_and_mark_and_nothing_else() {
        let mut message = Message::new(0, 0, &link_header(7, 0, 0));
        message.attribute(1, &[2, 0, 0, 0, 0, 1]);
        message.attribute(IFLA_IFNAME, b"tap0\0");
        assert_eq!(read_link(&message.bytes[16..]), None, "without a mark it is somebody else's");
        message.attribute(IFLA_IFALIAS, b"edgestack default x");
        let wanted = MarkedLink { index: 7, name: "tap0".to_owned(), mark: "edgestack default x".to_owned() };
        assert_eq!(read_link(&message.bytes[16..]), Some(wanted));
        for length in 0..message.bytes.len() - 16 {
            let _ = read_link(&message.bytes[16..16 + length]);
        }
        assert_eq!(read_link(&[0; 20]), None, "an attribute of no length ends it");
    }
}
