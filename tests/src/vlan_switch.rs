//! A VLAN switch: trunks with tags, each a host's, and access ports without, each a namespace's `eth0`.
//!
//! It learns no addresses: what comes in goes out by every other port of its VLAN. It is a thread between taps, so that it works on kernels that have no VLAN interfaces. The stack behind an access port is
//! the kernel's, and so is what a host does with its trunk. Used by the end-to-end tests, never for figures.
#![expect(unsafe_code, reason = "taps are made by an ioctl, and waited for by poll")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::error::LabError;
use crate::namespace::Namespace;

/// Longest frame: what a tap gives at once.
const FRAME_LENGTH_MAX: usize = 65_536;
/// How long the thread waits for frames before it looks whether it is to stop.
const WAIT_MS: i32 = 50;
/// Both MAC addresses.
const ADDRESSES_LENGTH: usize = 12;
const TAG_LENGTH: usize = 4;
const TAG_ETHER_TYPE: [u8; 2] = [0x81, 0x00];
const IDENTIFIER: u16 = 0x0fff;

/// A running switch; dropping it ends the thread and with it the taps.
#[derive(Debug)]
pub struct VlanSwitch {
    stop: Arc<AtomicBool>,
    strays: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// A port.
struct Port {
    member: Member,
    tap: File,
}

/// The VLANs that a port is in; none is what has no tag on trunks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    /// All, with tags.
    Trunk,
    /// One, without.
    Access(Option<u16>),
}

impl VlanSwitch {
    /// Makes the interface `trunk` in `host`, and an `eth0` in each of the namespaces of `access`. All of them are up.
    pub fn start(
        host: &Namespace,
        trunk: &str,
        access: &[(&Namespace, Option<u16>)],
    ) -> Result<Self, LabError> {
        Self::between(&[host], trunk, access)
    }

    /// The same with an interface `trunk` in each of the namespaces of `hosts`.
    pub fn between(
        hosts: &[&Namespace],
        trunk: &str,
        access: &[(&Namespace, Option<u16>)],
    ) -> Result<Self, LabError> {
        let mut ports = Vec::new();
        for host in hosts {
            ports.push(Port { member: Member::Trunk, tap: tap(host, trunk)? });
        }
        for (namespace, vlan) in access {
            ports.push(Port { member: Member::Access(*vlan), tap: tap(namespace, "eth0")? });
        }
        let (stop, strays) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, counted) = (Arc::clone(&stop), Arc::clone(&strays));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Acquire) {
                pass(&ports, &counted);
            }
        });
        Ok(Self { stop, strays, thread: Some(thread) })
    }

    /// Frames on a trunk in a VLAN that no access port is in.
    pub fn strays(&self) -> u64 {
        self.strays.load(Ordering::Acquire)
    }
}

impl Drop for VlanSwitch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed.
            let _ = thread.join();
        }
    }
}

/// Makes a tap and sets it up; it lives as long as the file.
fn tap(namespace: &Namespace, name: &str) -> Result<File, LabError> {
    let open = || -> io::Result<File> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
        // SAFETY: all zero is a valid request.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: the request is complete and outlives the call, which writes into it alone.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        if result == 0 { Ok(file) } else { Err(io::Error::last_os_error()) }
    };
    let file = namespace.enter(open)?.map_err(LabError::system(format!("make the tap {name}")))?;
    namespace.run(&format!("ip link set {name} up"))?;
    Ok(file)
}

/// Waits for frames a moment and passes on those that have come.
fn pass(ports: &[Port], strays: &AtomicU64) {
    let descriptor =
        |port: &Port| libc::pollfd { fd: port.tap.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut waited: Vec<libc::pollfd> = ports.iter().map(descriptor).collect();
    // SAFETY: the records are complete, as many as told, and outlive the call.
    unsafe { libc::poll(waited.as_mut_ptr(), waited.len() as libc::nfds_t, WAIT_MS) };
    let mut buffer = vec![0; FRAME_LENGTH_MAX];
    for (position, from) in ports.iter().enumerate() {
        while let Some(frame) = receive(&from.tap, &mut buffer) {
            let (vlan, untagged) = match from.member {
                Member::Trunk => untag(frame),
                Member::Access(vlan) => (vlan, frame.to_vec()),
            };
            if ports.iter().all(|port| port.member != Member::Access(vlan)) {
                strays.fetch_add(1, Ordering::AcqRel);
            }
            for (_, to) in ports.iter().enumerate().filter(|(other, _)| *other != position) {
                match to.member {
                    Member::Access(own) if own == vlan => send(&to.tap, &untagged),
                    Member::Access(_) => {}
                    Member::Trunk => match vlan {
                        Some(vlan) => send(&to.tap, &tag(&untagged, vlan)),
                        None => send(&to.tap, &untagged),
                    },
                }
            }
        }
    }
}

/// The next frame, none when there is none, or nobody is up.
fn receive<'a>(mut tap: &File, frame: &'a mut [u8]) -> Option<&'a [u8]> {
    let length = tap.read(frame).ok()?;
    frame.get(..length).filter(|frame| frame.len() > ADDRESSES_LENGTH + TAG_LENGTH)
}

/// A frame that cannot be sent is lost, as in any switch.
fn send(mut tap: &File, frame: &[u8]) {
    let _ = tap.write(frame);
}

fn untag(frame: &[u8]) -> (Option<u16>, Vec<u8>) {
    let (addresses, rest) = frame.split_at(ADDRESSES_LENGTH);
    match rest {
        [first, second, high, low, rest @ ..] if [*first, *second] == TAG_ETHER_TYPE => {
            (Some(u16::from_be_bytes([*high, *low]) & IDENTIFIER), [addresses, rest].concat())
        }
        _ => (None, frame.to_vec()),
    }
}

fn tag(frame: &[u8], vlan: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(ADDRESSES_LENGTH);
    [addresses, &TAG_ETHER_TYPE, &vlan.to_be_bytes(), rest].concat()
}

#[cfg(test)]
mod tests {
    use super::{tag, untag};

    #[test]
    fn a_tag_goes_in_and_comes_out() {
        let frame: Vec<u8> = (0..40).collect();
        let tagged = tag(&frame, 10);
        assert_eq!(tagged[12..16], [0x81, 0x00, 0, 10]);
        assert_eq!(untag(&tagged), (Some(10), frame.clone()));
        assert_eq!(untag(&frame), (None, frame));
    }
}
