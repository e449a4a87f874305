//! TCP connections that are established without a handshake (`TCP_REPAIR`): the programs leave SYN to the engine, and here
//! is none.

use std::io;
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const TCP_REPAIR: i32 = 19;
const TCP_REPAIR_QUEUE: i32 = 20;
const TCP_QUEUE_SEQ: i32 = 21;
const TCP_REPAIR_OPTIONS: i32 = 22;
const TCP_REPAIR_WINDOW: i32 = 29;
const TCP_RECEIVE_QUEUE: u32 = 1;
const TCP_SEND_QUEUE: u32 = 2;
/// Options of the handshake that did not take place: maximum segment size and window scale.
const OPTION_MSS: u32 = 2;
const OPTION_WINDOW: u32 = 3;
const MSS: u32 = 1460;
/// Both directions shift their windows by seven bits.
const WINDOW_SHIFTS: u32 = 7 | 7 << 16;

/// The window that each end may assume of the other; without one it would wait for a probe.
const WINDOW: u32 = 60_000;

/// One end of a connection, in the network namespace of the calling thread.
pub(crate) fn established(
    from: SocketAddrV4,
    to: SocketAddrV4,
    send_sequence: u32,
    receive_sequence: u32,
) -> io::Result<TcpStream> {
    // SAFETY: a plain system call; the result is checked before it is owned.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    set(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1u32)?;
    set(&socket, libc::IPPROTO_TCP, TCP_REPAIR, &1u32)?;
    address_call(libc::bind, &socket, from)?;
    for (queue, sequence) in [(TCP_SEND_QUEUE, send_sequence), (TCP_RECEIVE_QUEUE, receive_sequence)] {
        set(&socket, libc::IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue)?;
        set(&socket, libc::IPPROTO_TCP, TCP_QUEUE_SEQ, &sequence)?;
    }
    address_call(libc::connect, &socket, to)?;
    let options = [[OPTION_MSS, MSS], [OPTION_WINDOW, WINDOW_SHIFTS]];
    set(&socket, libc::IPPROTO_TCP, TCP_REPAIR_OPTIONS, &options)?;
    // struct tcp_repair_window: snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup.
    let windows = [receive_sequence, WINDOW, WINDOW, WINDOW, receive_sequence];
    set(&socket, libc::IPPROTO_TCP, TCP_REPAIR_WINDOW, &windows)?;
    set(&socket, libc::IPPROTO_TCP, TCP_REPAIR, &0u32)?;
    Ok(TcpStream::from(socket))
}

fn set<T>(socket: &OwnedFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the value is complete, of the length told, and outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

type AddressCall = unsafe extern "C" fn(i32, *const libc::sockaddr, libc::socklen_t) -> i32;

fn address_call(call: AddressCall, socket: &OwnedFd, address: SocketAddrV4) -> io::Result<()> {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: the address is complete, of the length told, and outlives the call.
    let result = unsafe {
        call(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_in>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
