//! The system calls behind [`super::xsk`]: open, register, map, bind, wake, count.
//!
//! Nothing here keeps state, and nothing touches a packet. The order of the calls is the kernel's
//! (Documentation/networking/af_xdp.rst).
#![expect(unsafe_code, reason = "system calls that no safe library wraps")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::rings::{ConsumerRing, ProducerRing};
use super::xsk::{XskError, XskSettings, XskStatistics};
use crate::packet::{FRAME_SIZE, FrameMemory};

/// Packets that the kernel sends in one system call in copy mode. Before Linux 6.17 it is always 32.
const TRANSMIT_BUDGET: u32 = 128;
/// Bytes of packets that may wait in the interface in copy mode.
const SEND_BUFFER_BYTES: u32 = 4 << 20;
/// System calls that one flush makes at most, when the kernel sends only a part each time.
const WAKE_ROUNDS_MAX: usize = 64;
/// Packets that the kernel takes from the queue in one busy poll.
const BUSY_POLL_BUDGET: u32 = 64;

// From the kernel's headers; the libc crate does not have them.
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;
const SO_PREFER_BUSY_POLL: i32 = 69;
const SO_BUSY_POLL: i32 = 46;
const SO_BUSY_POLL_BUDGET: i32 = 70;

/// A bound socket and its rings.
pub(super) struct SocketParts {
    pub(super) socket: OwnedFd,
    pub(super) fill: ProducerRing<u64>,
    pub(super) completion: ConsumerRing<u64>,
    pub(super) receive: ConsumerRing<libc::xdp_desc>,
    pub(super) transmit: ProducerRing<libc::xdp_desc>,
    pub(super) zero_copy: bool,
}

pub(super) fn open(
    memory: &FrameMemory,
    interface_index: u32,
    queue: u32,
    settings: &XskSettings,
) -> Result<SocketParts, XskError> {
    let socket = new_socket()?;
    let descriptor = socket.as_fd();
    register(descriptor, memory)?;
    // Sent packets complete at most as many as can be sent.
    let (fill_size, completion_size) = (settings.fill_ring_frames, settings.transmit_ring_packets);
    let sizes = [
        (libc::XDP_UMEM_FILL_RING, fill_size, "set the fill ring's size"),
        (libc::XDP_UMEM_COMPLETION_RING, completion_size, "set the completion ring's size"),
        (libc::XDP_RX_RING, settings.receive_ring_packets, "set the receive ring's size"),
        (libc::XDP_TX_RING, settings.transmit_ring_packets, "set the transmit ring's size"),
    ];
    for (option, size, step) in sizes {
        set_option(descriptor, libc::SOL_XDP, option, &size).map_err(system(step))?;
    }
    let offsets: libc::xdp_mmap_offsets =
        get_option(descriptor, libc::XDP_MMAP_OFFSETS).map_err(system("ask for the rings' layout"))?;
    let (fill_page, completion_page) =
        (libc::XDP_UMEM_PGOFF_FILL_RING as i64, libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64);
    let (receive_page, transmit_page) = (libc::XDP_PGOFF_RX_RING, libc::XDP_PGOFF_TX_RING);
    let map = system("map a ring");
    let fill = ProducerRing::map(descriptor, fill_page, offsets.fr, fill_size).map_err(map)?;
    let completion =
        ConsumerRing::map(descriptor, completion_page, offsets.cr, completion_size).map_err(map)?;
    let receive = ConsumerRing::map(descriptor, receive_page, offsets.rx, settings.receive_ring_packets)
        .map_err(map)?;
    let transmit = ProducerRing::map(descriptor, transmit_page, offsets.tx, settings.transmit_ring_packets)
        .map_err(map)?;
    tune(descriptor, settings)?;
    bind(descriptor, interface_index, queue, settings.zero_copy)?;
    let options: libc::xdp_options =
        get_option(descriptor, libc::XDP_OPTIONS).map_err(system("ask for zero copy"))?;
    let zero_copy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
    Ok(SocketParts { socket, fill, completion, receive, transmit, zero_copy })
}

fn system(step: &'static str) -> impl Fn(io::Error) -> XskError + Copy {
    move |source| XskError::System { step, source }
}

fn new_socket() -> Result<OwnedFd, XskError> {
    // SAFETY: a plain system call; the result is checked before it is owned.
    let socket = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if socket >= 0 {
        // SAFETY: the descriptor is new and nobody else's.
        return Ok(unsafe { OwnedFd::from_raw_fd(socket) });
    }
    let error = io::Error::last_os_error();
    Err(match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => XskError::Capability,
        Some(libc::EAFNOSUPPORT) => XskError::Unsupported,
        _ => XskError::System { step: "open", source: error },
    })
}

fn register(socket: BorrowedFd<'_>, memory: &FrameMemory) -> Result<(), XskError> {
    let registration = libc::xdp_umem_reg {
        addr: memory.address(),
        len: memory.length() as u64,
        chunk_size: FRAME_SIZE as u32,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set_option(socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &registration).map_err(|source| {
        match source.raw_os_error() {
            Some(libc::ENOBUFS) => XskError::Memlock { bytes: memory.length() },
            _ => XskError::System { step: "register the frames", source },
        }
    })
}

/// What makes it faster where the kernel has it, and works without.
fn tune(socket: BorrowedFd<'_>, settings: &XskSettings) -> Result<(), XskError> {
    let _before_6_17 = set_option(socket, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &TRANSMIT_BUDGET);
    set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER_BYTES)
        .map_err(system("set the send buffer's size"))?;
    if settings.busy_poll_us > 0 {
        let options = [
            (SO_PREFER_BUSY_POLL, 1),
            (SO_BUSY_POLL, settings.busy_poll_us),
            (SO_BUSY_POLL_BUDGET, BUSY_POLL_BUDGET),
        ];
        for (option, value) in options {
            set_option(socket, libc::SOL_SOCKET, option, &value)
                .map_err(system("turn busy polling on (needs Linux 5.11)"))?;
        }
    }
    Ok(())
}

/// Binds the socket. Without a flag the kernel takes zero copy where the driver has it, and copies else.
fn bind(socket: BorrowedFd<'_>, interface_index: u32, queue: u32, zero_copy: bool) -> Result<(), XskError> {
    let copy = if zero_copy { 0 } else { libc::XDP_COPY };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: libc::XDP_USE_NEED_WAKEUP | copy,
        sxdp_ifindex: interface_index,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    // SAFETY: the address is a complete sockaddr_xdp of the length told.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_xdp>() as libc::socklen_t,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let source = io::Error::last_os_error();
    Err(match source.raw_os_error() {
        Some(libc::EBUSY) => XskError::QueueInUse { interface_index, queue },
        Some(libc::ENODEV | libc::EINVAL) => XskError::NoSuchQueue { interface_index, queue },
        _ => XskError::System { step: "bind", source },
    })
}

/// Makes the kernel send. True when packets are left that the interface does not take now.
pub(super) fn wake_transmit(socket: BorrowedFd<'_>, mut pending: impl FnMut() -> u32) -> bool {
    let mut before = u32::MAX;
    for _ in 0..WAKE_ROUNDS_MAX {
        // SAFETY: a send without data or address.
        let result = unsafe {
            libc::sendto(socket.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
        };
        let error = if result < 0 { io::Error::last_os_error().raw_os_error() } else { None };
        match error {
            None | Some(libc::EAGAIN | libc::EBUSY | libc::EINTR | libc::ENOBUFS) => {}
            // The interface is down or gone, which the control thread sees too.
            Some(_) => return false,
        }
        // The kernel stops after its budget, which is no reason to wait, or at a packet that the interface refused.
        let left = pending();
        if left == 0 || left == before {
            return left > 0;
        }
        before = left;
    }
    true
}

/// Makes the kernel look at the fill ring, and at the interface's queue in busy polling.
pub(super) fn wake_receive(socket: BorrowedFd<'_>) {
    // SAFETY: a receive without room for data or address.
    unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            std::ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
}

pub(super) fn statistics(socket: BorrowedFd<'_>) -> io::Result<XskStatistics> {
    let counted: libc::xdp_statistics = get_option(socket, libc::XDP_STATISTICS)?;
    Ok(XskStatistics {
        receive_dropped: counted.rx_dropped,
        receive_ring_full: counted.rx_ring_full,
        fill_ring_empty: counted.rx_fill_ring_empty_descs,
        invalid_descriptors: counted.rx_invalid_descs + counted.tx_invalid_descs,
    })
}

fn set_option<T: Copy>(socket: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the value is plain data of the length told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads a record of the socket. `T` must be one of the `xdp_*` records, which are valid for any bytes.
fn get_option<T: Copy>(socket: BorrowedFd<'_>, option: i32) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            option,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all bytes are initialised, to zero or by the kernel, and any bytes are a valid `T`.
    Ok(unsafe { value.assume_init() })
}
